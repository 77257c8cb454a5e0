"""The demonstration: fill two sites, write to both, let one drift, re-provision it, prove that it is right again."""

import argparse
import json
import subprocess
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from labkit import configure, data, hosts, plan, salt  # noqa: E402
from labkit.plan import MASTER  # noqa: E402
from labkit.shell import LabError, say  # noqa: E402

FAILED, DEFINITIVE = plan.SITE_NAMES[:2]


class Clock:
    def __init__(self):
        self.begun = time.monotonic()

    def lap(self, what):
        print(f"\n=== {what}   [{time.monotonic() - self.begun:.0f} s]", flush=True)


def table(title, rows):
    """Print rows of equal length under a title, in columns."""
    rows = [[str(field) for field in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for number, row in enumerate(rows):
        print("  " + "  ".join(field.ljust(width) for field, width in zip(row, widths)).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))


def state_of_data(title, sums):
    names = list(next(iter(sums.values())))
    table(title, [["node", *names], *([host, *(sums[host][name] for name in names)] for host in sums)])
    return sums


def state_of_cluster(lab, title):
    found = data.cluster(lab)
    rows = [["site", "policy", "routers", "node", "datasource", "replicators"]]
    for site, about in found.items():
        for host, services in about["services"].items():
            rows.append([site, about["policy"], about["routers"].get(host, "-"), host,
                         about["datasources"].get(host, "?"),
                         ", ".join(f"{name} {state}" for name, state in services.items())])
    table(title, rows)
    return found


def orchestrate(lab):
    """Run the operator's command with a live view beside it; return its exit code and answer."""
    log = (lab.home / "orchestration.json").open("w+")
    orders = subprocess.Popen(
        hosts.command(lab, MASTER, ["salt-run", "state.orch", "orch.reprovision", "--out=json", "--log-level=quiet"]),
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    watch(lab)
    code = orders.wait(600)
    log.seek(0)
    return code, log.read()


def watch(lab, wait=60):
    """Show the run's steps as they happen, once it has begun within so many seconds."""
    shown = subprocess.Popen(
        hosts.command(lab, MASTER, ["salt-run", "reprovision.watch", FAILED, f"wait={wait}", "--log-level=quiet"]),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in shown.stderr:
        # Salt 3008's own farewell, harmless.
        if not line.startswith("unclosed "):
            print(line, end="", flush=True)
    shown.wait(900)


def by_event(lab):
    """Somebody's monitoring says on a node of the failed site that it has drifted; twice, as monitoring does."""
    reporter = lab.site_nodes()[FAILED][1]
    for _ in range(2):
        hosts.execute(
            lab, reporter, ["salt-call", "event.send", f"tungsten/drift/{FAILED}", "--out=quiet"], capture=True)
    # The master looks for itself, makes a plan, saves what would be lost, and approves the plan before it begins.
    watch(lab, wait=600)
    note = salt.call(lab, ["salt-run", "reprovision.reported", FAILED, "--out=json"])
    print(f"\nWhat the master had seen: {note['why']}\nWhat it decided: {note['decision']}")
    print(f"Rows that would have been lost are in: {json.dumps(note['saved'])}", flush=True)
    record = salt.call(lab, ["salt-run", "reprovision.record", FAILED, "--out=json"])
    return 0 if record["state"] == "done" else 1, json.dumps(record, indent=2)


def failures(lab, identities, written):
    """Everything that has to be true at the end and is not, in words."""
    wrong = []
    sums = state_of_data("CHECKSUM TABLE after (load stopped, positions caught up)", data.checksums(lab))
    if len({json.dumps(each, sort_keys=True) for each in sums.values()}) != 1:
        wrong.append("the nodes' checksums differ")
    for site in (DEFINITIVE, FAILED):
        lost = data.missing(lab, site, written[site] if site == DEFINITIVE else written[site][-1:])
        print(f"  {site}: {len(written[site])} transactions were committed during the demonstration; "
              + (f"missing: {lost}" if lost else "nothing that had to survive is missing"))
        if lost:
            wrong.append(f"transactions of {site} are missing: {lost}")
    after = state_of_cluster(lab, "The sites after")
    for site, about in after.items():
        if about["policy"] != "AUTOMATIC":
            wrong.append(f"policy of {site} is {about['policy']}")
        wrong.extend(f"router {host} is {state}" for host, state in about["routers"].items() if state != "ONLINE")
        if len(about["routers"]) != lab.nodes:
            wrong.append(f"{site} shows {len(about['routers'])} routers")
        wrong.extend(f"{host} {name} is {state}" for host, services in about["services"].items()
                     for name, state in services.items() if state != "ONLINE")
        wrong.extend(f"datasource {host} is {state}" for host, state in about["datasources"].items()
                     if state != "ONLINE")
    primary = lab.site_nodes()[FAILED][0]
    now = data.identity(lab, primary)
    table(f"{primary}'s identity and data directory", [
        ["", "before", "after"], *([key, identities[key], now[key]] for key in now)])
    if now != identities:
        wrong.append(f"{primary} is {now}, it was {identities}")
    return wrong


def demonstrate(lab, options):
    clock = Clock()
    clock.lap(f"The lab: a Salt master and {lab.sites} sites of {lab.nodes} nodes")
    hosts.up(lab)
    if options.by_event:
        configure.pillar(lab, lab.root(MASTER), {FAILED: "reprovision"})
    salt.ready(lab)
    data.wait_online(lab)
    clock.lap(f"Filling every node with {options.megabytes} MB, and writing at both sites from now on")
    rows = data.fill(lab, options.megabytes)
    data.start_load(lab, rows)
    identities = data.identity(lab, lab.site_nodes()[FAILED][0])
    clock.lap(f"Making {FAILED} drift: rows changed, deleted and added behind replication's back")
    data.make_drift(lab, FAILED, rows)
    before = state_of_data("Checksums before, of the rows that the load leaves alone", data.resting(lab, rows))
    kinds = {site: {str(before[host]) for host in nodes} for site, nodes in lab.site_nodes().items()}
    if len(kinds[DEFINITIVE]) != 1 or len(kinds[FAILED] - kinds[DEFINITIVE]) != lab.nodes:
        raise LabError("the sites do not differ as they should: nothing to demonstrate")
    state_of_cluster(lab, "The sites before")
    started = {site: data.committed(lab, site) for site in lab.site_nodes()}
    clock.lap("salt-run state.orch orch.reprovision" if not options.by_event
              else f"salt-call event.send tungsten/drift/{FAILED}, and nothing else")
    begun = time.monotonic()
    code, answer = by_event(lab) if options.by_event else orchestrate(lab)
    seconds = time.monotonic() - begun
    if code:
        print(answer[-6000:])
        raise LabError(f"the orchestration ended with exit code {code}")
    during = data.committed(lab, DEFINITIVE) - started[DEFINITIVE]
    print(f"\nRe-provisioned and verified in {seconds:.0f} s; {DEFINITIVE} committed {during} transactions meanwhile.")
    # Traffic is back on the rebuilt site: its writes have to arrive at the other one as well.
    time.sleep(3)
    clock.lap("Stopping the load and proving it")
    written = data.stop_load(lab)
    data.settled(lab)
    wrong = failures(lab, identities, written)
    if during < 1:
        wrong.append(f"{DEFINITIVE} committed nothing during the run")
    clock.lap("Done" if not wrong else "WRONG")
    for fault in wrong:
        print(f"  {fault}")
    return not wrong


def main():
    parser = argparse.ArgumentParser(prog="tests/demo", description=__doc__)
    parser.add_argument("--by-event", action="store_true", help="let a drift event start the run, nobody else")
    parser.add_argument("--keep", action="store_true", help="leave the lab up: tests/lab/lab --lab demo status")
    parser.add_argument("--megabytes", type=int, default=210, help="data of each node (210)")
    options = parser.parse_args()
    lab = plan.Lab(name="demo")
    # Also when it is told to end: the lab must not stay behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        hosts.down(lab)
        good = demonstrate(lab, options)
    except LabError as error:
        say(f"demo: {error}")
        good = False
    finally:
        if not options.keep:
            hosts.down(lab)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
