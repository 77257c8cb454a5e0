"""The proof of the drift check: two sites with millions of rows, written to all the time. Healthy sites must be called
equal every time, each kind of drift must be named exactly, and the nodes must hardly notice. As root:

    tests/lab/driftproof.py --megarows 2 --healthy 20 --json results.json

Drift is made behind replication, on rows that the load leaves alone, between rows that it writes to. An answer is right
if it names those rows and nothing else. Exit code 1 if anything was missed, invented or not proved.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from labkit import data, hosts, manytables, plan, salt  # noqa: E402
from labkit.shell import LabError, say  # noqa: E402

NAME = "proof"
FAILED = plan.SITE_NAMES[0]
# Where drift.save leaves what it saved, put for a moment to see whether it is what was there.
SCRATCH = "saved_rows"
CHECK_SECONDS = 3600
EXIT = {"equal": 0, "drifted": 2, "unproved": 3}
# What drift.check tells of a table's rows that a site has, and so could lose.
THERE = ("changed", "extra")
TICKS = 100


class Clock:
    def __init__(self):
        self.begun = time.monotonic()

    def say(self, text):
        print(f"[{time.monotonic() - self.begun:5.0f} s] {text}", flush=True)


# --- the commands of the operator


def check(lab, *words):
    """drift.check, begun anew; its answer, with the exit code and the seconds that it took from outside."""
    begun = time.monotonic()
    code, found, said = salt.answer(
        lab, ["salt-run", "drift.check", "fresh=True", *words, "--out=json", "--log-level=quiet"], CHECK_SECONDS)
    if "verdict" not in found:
        raise LabError(f"drift.check did not answer (exit code {code}): {str(found)[-1500:]} {said[-1500:]}")
    return {**found, "exit": code, "wall": round(time.monotonic() - begun, 1)}


def judged(answer, made):
    """All that is wrong with an answer, in words."""
    words = manytables.wrong(answer, made)
    if answer["exit"] != EXIT[answer["verdict"]]:
        words.append(f"exit code {answer['exit']} for {answer['verdict']}")
    return words


def save(lab, answer):
    """drift.save of the failed site: what it answered, and what is wrong with its files, in words."""
    code, saved, said = salt.answer(
        lab, ["salt-run", "drift.save", FAILED, "--out=json", "--log-level=quiet"], CHECK_SECONDS)
    nodes = [node for node in answer["looked_at"] if lab.site_of(node) == FAILED]
    if code or sorted(saved.get("files", {})) != sorted(nodes):
        return saved, [f"drift.save ended with {code}: {str(saved)[-800:]} {said[-800:]}"]
    wanted = {}
    for found in (answer["sites"].get(FAILED), *(answer["nodes"].get(node) for node in nodes)):
        for name, rows in (found or {"tables": {}})["tables"].items():
            wanted.setdefault(name, set()).update(*(rows["keys"][kind] for kind in THERE))
    return saved, [word for node, file in saved["files"].items() for word in _wrong_file(
        lab, node, file, wanted, answer["schema"])]


def _wrong_file(lab, node, file, wanted, schema):
    """A file is right if a server takes it, and has then just the rows that were found, as they are on the node."""
    # A table that is made differently was not compared, and is saved as a whole; a missing one has no rows here.
    there = {f"{data.SCHEMA}.{row[0]}" for row in data.sql(lab, node, f"SHOW TABLES FROM {data.SCHEMA};")}
    tables = [manytables.BY_NAME[name.split(".")[1]] for name in sorted({*wanted, *(there & set(schema))})]
    text = hosts.execute(lab, node, ["cat", file["path"]], capture=True).stdout
    mode = hosts.execute(lab, node, ["stat", "-c", "%U %a", file["path"]], capture=True).stdout.strip()
    words = [] if mode == "root 600" else [f"{file['path']} is {mode}: others can read it"]
    begin = f"SET NAMES utf8mb4; SET sql_log_bin=0; CREATE SCHEMA {SCRATCH}; USE {SCRATCH};"
    begin += "".join(f"CREATE TABLE {table.name} LIKE {table.full_name};" for table in tables)
    try:
        data.sql(lab, node, f"{begin} BEGIN; {text} COMMIT;", timeout=900)
        for table in tables:
            name, told = table.full_name, file["tables"].get(table.full_name, 0)
            number = int(data.sql(lab, node, f"SELECT COUNT(*) FROM {SCRATCH}.{table.name};")[0][0])
            if number != told:
                words.append(f"{name}: {told} rows are told, {number} are in {node}'s file")
            if not table.key:
                # Saved as a whole, and it may have been written to since.
                if not number:
                    words.append(f"{name} is not in {node}'s file")
                continue
            shown = f"SET NAMES utf8mb4; SELECT {table.shown()} FROM {{}}.{table.name};"
            keys = {row[0] for row in data.sql(lab, node, shown.format(SCRATCH))}
            # Where rows are only missing there is nothing to save.
            right = wanted[name] if name in wanted else {
                row[0] for row in data.sql(lab, node, shown.format(data.SCHEMA))}
            if keys != right:
                words.append(f"{name}: {node}'s file has {len(keys)} rows, such as {sorted(keys)[:20]}, it should have "
                             f"{len(right)}, such as {sorted(right)[:20]}")
            # The server's dump tool prints six digits of a FLOAT; more cannot be in the file.
            columns = ", ".join(f"CAST(`{column}` AS CHAR)" if kind == "FLOAT" else f"`{column}`"
                                for column, (kind, _) in {**table.key, **table.columns}.items())
            other = data.sql(lab, node, f"SELECT COUNT(*) FROM (SELECT {columns} FROM {SCRATCH}.{table.name} EXCEPT "
                                        f"SELECT {columns} FROM {name}) AS e;", timeout=900)[0][0]
            if other != "0":
                words.append(f"{name}: {other} rows of the file are not as they are on {node}")
        return words
    except LabError as error:
        return [*words, f"{file['path']} is not taken by a server: {error}"]
    finally:
        data.sql(lab, node, f"SET sql_log_bin=0; DROP SCHEMA IF EXISTS {SCRATCH};")


# --- what a check costs


class Watch(threading.Thread):
    """How old the newest write of each site is on a node, twice a second."""

    def __init__(self, lab, node):
        super().__init__(daemon=True)
        self.lab, self.node, self.ages, self.ending = lab, node, [], threading.Event()

    def run(self):
        client = subprocess.Popen(
            hosts.command(self.lab, self.node, ["mariadb", "--batch", "--skip-column-names", "--unbuffered"]),
            text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        ask = " UNION ALL ".join(
            f"(SELECT TIMESTAMPDIFF(MICROSECOND, at, NOW(6)) FROM {data.SCHEMA}.ledger WHERE site = '{site}' "
            "ORDER BY number DESC LIMIT 1)" for site in self.lab.site_nodes()) + ";\n"
        while not self.ending.wait(0.5):
            client.stdin.write(ask)
            client.stdin.flush()
            self.ages += [int(client.stdout.readline()) / 1e6 for _ in self.lab.site_nodes()]
        client.stdin.close()
        client.wait()


def processor_seconds(lab, node):
    """({what: seconds of processor time} so far) of the server and of the whole host, children that ended included."""
    text = hosts.execute(lab, node, ["sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null"], capture=True).stdout
    used = {"mariadbd": 0.0, "host": 0.0}
    for line in text.splitlines():
        # The name stands in brackets, and may hold spaces.
        name, fields = line[line.index("(") + 1:line.rindex(")")], line[line.rindex(")") + 2:].split()
        seconds = sum(map(int, fields[11:15])) / TICKS
        used["host"] += seconds
        if name in ("mariadbd", "mysqld"):
            used["mariadbd"] += seconds
    return used


def watched(lab, function):
    """Run something; return its answer and what the replicas had to do meanwhile, a second."""
    nodes = [node for nodes in lab.site_nodes().values() for node in nodes[1:] or nodes]
    watches = [Watch(lab, node) for node in nodes]
    before, began = {node: processor_seconds(lab, node) for node in nodes}, time.monotonic()
    written = {site: data.committed(lab, site) for site in lab.site_nodes()}
    for each in watches:
        each.start()
    try:
        answer = function()
    finally:
        seconds = time.monotonic() - began
        for each in watches:
            each.ending.set()
        for each in watches:
            each.join()
    used = {node: processor_seconds(lab, node) for node in nodes}
    ages = sorted(age for each in watches for age in each.ages)
    return answer, {
        "seconds": round(seconds, 1),
        "processor": {
            what: round(statistics.mean((used[node][what] - before[node][what]) / seconds for node in nodes), 3)
            for what in ("mariadbd", "host")},
        "latency": {"median": round(statistics.median(ages), 3), "95 %": round(ages[len(ages) * 95 // 100], 3),
                    "most": round(ages[-1], 3)},
        "committed a second": {site: round((data.committed(lab, site) - written[site]) / seconds, 1)
                               for site in lab.site_nodes()},
    }


def figures(lab, clock):
    """Rows a second, and what the replicas pay, at full and at half speed; CHECKSUM TABLE on the same data."""
    clock.say("figures: a minute without a check")
    _, idle = watched(lab, lambda: time.sleep(60))
    clock.say(f"  {idle}")
    found = {"without": idle}
    for share in (100, 50):
        answer, during = watched(lab, lambda share=share: check(lab, f"share={share}"))
        seconds = during["seconds"]
        found[f"share {share}"] = {
            **during, "verdict": answer["verdict"], "rows": answer["rows"], "check": answer["seconds"],
            "rows a second": round(answer["rows"] / answer["seconds"]), "wall": answer["wall"],
            "rows a second of all nodes": round(answer["rows"] * len(answer["looked_at"]) / answer["seconds"]),
            # On each replica, of one core.
            "added": {what: round(during["processor"][what] - idle["processor"][what], 3)
                      for what in ("mariadbd", "host")},
            "added seconds of processor": {
                what: round((during["processor"][what] - idle["processor"][what]) * seconds, 1)
                for what in ("mariadbd", "host")},
        }
        clock.say(f"  share={share}: {found[f'share {share}']}")
    replica = lab.site_nodes()[FAILED][-1]
    before = processor_seconds(lab, replica)["mariadbd"]
    seconds = [round(manytables.checksum_table_seconds(lab, replica), 2) for _ in range(3)]
    used = (processor_seconds(lab, replica)["mariadbd"] - before) / 3
    found["CHECKSUM TABLE"] = {"node": replica, "seconds": seconds, "processor seconds of mariadbd": round(used, 2)}
    clock.say(f"  CHECKSUM TABLE of all tables on {replica}, three times: {seconds} s")
    return found


# --- the proof


def healthy(lab, times, clock, found):
    found.update({"checks": 0, "false alarms": 0, "unproved": 0, "seconds": [], "wrong": []})
    for number in range(1, times + 1):
        answer = check(lab, "share=100")
        words = judged(answer, [])
        found["checks"] += 1
        found["false alarms"] += answer["verdict"] == "drifted"
        found["unproved"] += answer["verdict"] == "unproved"
        found["seconds"].append(answer["seconds"])
        found["wrong"] += [f"healthy check {number}: {word}" for word in words]
        clock.say(f"healthy {number}/{times}: {answer['verdict']}, {answer['rows']:,} rows, {answer['seconds']} s"
                  + (f"; WRONG: {words}" if words else ""))


def kinds(lab, top, wanted, clock, found):
    """Each kind alone: made, found, undone."""
    for kind in wanted:
        made = manytables.DRIFTS[kind](lab, top)
        try:
            answer = check(lab, "share=100")
            words = judged(answer, [made])
        finally:
            made.undo()
        found[kind] = {"wrong": words, "seconds": answer["seconds"], "sites": answer["sites"], "nodes": answer["nodes"],
                       "schema": answer["schema"]}
        clock.say(f"{kind}: {'found exactly' if not words else f'WRONG: {words}'}, {answer['seconds']} s")


def together(lab, top, clock):
    """All kinds at once; the failed site's rows are saved, everything is undone, and the sites are equal again."""
    made = [make(lab, top) for make in manytables.DRIFTS.values()]
    try:
        answer = check(lab, "share=100")
        words = judged(answer, made)
        clock.say(f"all at once: {'found exactly' if not words else f'WRONG: {words}'}, {answer['seconds']} s")
        saved, not_saved = save(lab, answer)
        clock.say(f"drift.save: {saved or 'nothing'}" + (f"; WRONG: {not_saved}" if not_saved else ""))
    finally:
        for each in made:
            each.undo()
    after = check(lab, "share=100")
    left = [f"after all was undone: {word}" for word in judged(after, [])]
    clock.say(f"all undone: {after['verdict']}" + (f"; WRONG: {left}" if left else ""))
    return {"wrong": words + not_saved + left, "saved": saved, "seconds": answer["seconds"]}


def prove(lab, options, clock, found):
    everything = {"all": list(manytables.DRIFTS), "asked": manytables.ASKED, "": []}
    wanted = everything.get(options.kinds, options.kinds.split(","))
    unknown = [kind for kind in wanted if kind not in manytables.DRIFTS]
    if unknown:
        raise LabError(f"no such kind of drift: {', '.join(unknown)}. There are: {', '.join(manytables.DRIFTS)}")
    hosts.up(lab)
    salt.ready(lab)
    data.wait_online(lab)
    top = _filled(lab, options, clock, found)
    manytables.start_load(lab, top, every_ms=options.every_ms)
    started = {site: data.committed(lab, site) for site in lab.site_nodes()}
    time.sleep(5)
    # Filled as they go on: what has been found by then is kept if the proof is ended early.
    if options.healthy:
        healthy(lab, options.healthy, clock, found.setdefault("healthy", {}))
    kinds(lab, top, wanted, clock, found.setdefault("kinds", {}))
    if wanted:
        found["together"] = together(lab, top, clock)
    if options.figures:
        found["figures"] = figures(lab, clock)
    written = data.stop_load(lab)
    data.settled(lab)
    found["committed"] = {site: len(numbers) - started[site] for site, numbers in written.items()}
    clock.say(f"the load is stopped; committed meanwhile: {found['committed']}")
    found["wrong"] = _all_wrong(found)
    if not all(found["committed"].values()):
        found["wrong"].append("a site wrote nothing: nothing has been proved")
    sums = manytables.checksums(lab)
    if len({json.dumps(each, sort_keys=True) for each in sums.values()}) != 1:
        found["wrong"].append("the nodes differ at the end, by MariaDB's own checksums")


def _all_wrong(found):
    words = list(found.get("healthy", {}).get("wrong", []))
    words += [f"{kind}: {word}" for kind, each in found.get("kinds", {}).items() for word in each["wrong"]]
    words += found.get("together", {}).get("wrong", [])
    words += [f"figures, {name}: {each['verdict']}" for name, each in found.get("figures", {}).items()
              if each.get("verdict", "equal") != "equal"]
    return words


def _filled(lab, options, clock, found):
    """Fill the nodes, unless an earlier proof has left them so."""
    rows, note = int(options.megarows * 1e6), lab.home / "filled.json"
    if note.exists():
        there = json.loads(note.read_text())
        if there["rows"] != rows:
            raise LabError(f"lab {lab.name} has been filled with {there['rows']} rows: take it down first")
        return there["top"]
    begun = time.monotonic()
    top = manytables.fill(lab, rows)
    found["filled"] = {"rows": rows, "seconds": round(time.monotonic() - begun, 1)}
    clock.say(f"every node has {rows:,} rows in {len(manytables.TABLES)} tables, in {found['filled']['seconds']} s")
    note.write_text(json.dumps({"rows": rows, "top": top}))
    return top


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megarows", type=float, default=2, help="millions of rows of each node (2)")
    parser.add_argument("--healthy", type=int, default=20, help="checks of healthy sites (20)")
    parser.add_argument("--kinds", default="asked", help="kinds of drift to be made alone, by comma, or all, or asked: "
                        "the seven that must be found (asked). Then all are made at once, unless this is empty")
    parser.add_argument("--every-ms", type=int, default=20, help="pause of the load between transactions (20)")
    parser.add_argument("--no-figures", dest="figures", action="store_false", help="leave out what a check costs")
    parser.add_argument("--nodes", type=int, default=3, help="nodes of each site (3)")
    parser.add_argument("--json", metavar="FILE", help="where the results go")
    parser.add_argument("--keep", action="store_true", help="leave the lab up, and use one that is up")
    options = parser.parse_args()
    lab = plan.Lab(name=NAME, nodes=options.nodes)
    clock, found = Clock(), {"megarows": options.megarows, "every_ms": options.every_ms}
    # Also when it is told to end: the lab must not stay behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        if not options.keep:
            hosts.down(lab)
        prove(lab, options, clock, found)
    except LabError as error:
        say(f"driftproof: {error}")
        found["wrong"] = [*_all_wrong(found), str(error)]
    finally:
        if options.json:
            Path(options.json).write_text(json.dumps(found, indent=2, ensure_ascii=False))
        if not options.keep:
            hosts.down(lab)
    clock.say("PROVED" if not found["wrong"] else f"WRONG in {len(found['wrong'])} points")
    for word in found["wrong"]:
        print(f"  {word}")
    raise SystemExit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
