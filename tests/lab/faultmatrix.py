"""Every step of the orchestration × everything that can befall it, on the lab; then the same command again.

A case: east is made to drift, the run is started, at the step the fault strikes. When the run has ended, however it
has, the invariants are checked, the fault is undone, the same command is given again, and they are checked once more:
all nodes equal, all services ONLINE, nothing that west committed missing. Results lie in a folder, a file a case, and
what is there is not done again: so the whole may be stopped and gone on with, or be shared by several labs at once.
"""

import argparse
import contextlib
import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import demo  # noqa: E402
from labkit import data, hosts, invariants, plan, salt, shims, strikes  # noqa: E402
from labkit.plan import MASTER, REPOSITORY  # noqa: E402
from labkit.shell import LabError, run, say  # noqa: E402

FAILED, DEFINITIVE = demo.FAILED, demo.DEFINITIVE
MEGABYTES = 4
DISK_MB = 900
# Enough that a lost transaction shows, and little enough that several labs fit a small machine.
LOAD_EVERY_MS = 250
RUN_SECONDS = 900
# How long a silent minion is waited for; pillar's default is longer.
PATIENCE = 15
MOST_REPETITIONS = 3
# Which tool does the step's work, called with which words; on which host of its role the fault strikes.
WORK = {
    "00": ("east1", "cctrl", "ls"),
    "01": ("east1", "cctrl", "policy maintenance"),
    "02": ("east1", "cctrl", "router offline"),
    "03": ("west2", "trepctl", "reset"),
    "04": ("east2", "trepctl", "offline"),
    "05": ("east1", "cctrl", "shun"),
    "06": ("west2", "cctrl", "shun"),
    "07 mysqld stopped": ("east1", "systemctl", "stop"),
    "07 mysqld of the donor stopped": ("west2", "systemctl", "stop"),
    "08": ("east1", "cctrl", "ls"),
    "10 data copied ahead": ("west2", "rsync", "--from0"),
    "10 data copied from the donor": ("west2", "rsync", "--from0"),
    "10 data streamed from the donor": ("west2", "mariadb-backup", "--backup"),
    "10 backup prepared": ("east1", "mariadb-backup", "--prepare"),
    "11": ("west2", "cctrl", "recover"),
    "12": ("east1", None, None),
    "13": ("east1", "systemctl", "start"),
    "14": ("east1", "trepctl", "reset"),
    "15": ("east1", "cctrl", "welcome"),
    "16": ("east2", "tprovision", ""),
    "17": ("east2", "trepctl", "online"),
    "18": ("west2", "trepctl", "online"),
    "verified before traffic": ("east1", "trepctl", "heartbeat"),
    "19": ("east1", "cctrl", "router online"),
    "20": ("east1", "cctrl", "policy automatic"),
    "complete": ("east1", "cctrl", "ls"),
}
# What tests/run --all does of it: at the steps where most harm could be done.
SUBSET = (
    ("08", "tool lies"), ("07 mysqld stopped", "minion killed"), ("10 data copied ahead", "network cut"),
    ("10 data copied from the donor", "salt-run killed"), ("10 data copied from the donor", "network cut"),
    ("10 data copied from the donor", "disk full"), ("16", "power cut"),
)
# The pillar's method, and the way to copy that it makes.
METHODS = {"rsync": "warm", "mariabackup": "hot"}


def steps(way="warm"):
    """The steps of a run in their order, from the very file."""
    text = re.sub(r"\{#.*?#\}", "", (REPOSITORY / "orch/reprovision.sls").read_text(), flags=re.DOTALL)
    _, *parts = re.split(r"^(\S[^#\n]*):$", text, flags=re.MULTILINE)
    ways = [re.search(r"- ways: \[(.*)\]", body) for body in parts[1::2]]
    return [name for name, found in zip(parts[::2], ways) if not found or way in found[1].split(", ")]


def key(step):
    return step if step in WORK else step[:2]


def cases(way="warm"):
    """[(step, fault)] of the whole matrix; where a step calls no tool there is none to misbehave."""
    return [
        (step, fault) for step in steps(way) for fault in strikes.FAULTS
        if WORK[key(step)][1] or not fault.startswith("tool")
    ]


def code():
    """Which code a case was run with: a digest of all that is installed."""
    digest = hashlib.sha256()
    for folder in ("_modules", "_states", "_runners", "orch"):
        for path in sorted((REPOSITORY / folder).rglob("*.[ps][yl]*")):
            if path.suffix in (".py", ".sls"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def report_drift(lab):
    """Note what a look at the site would, without its time: a run of a site that was repaired before wants a reason."""
    note = {"proved": True, "why": "the fault matrix has made it drift", "decision": "none"}
    salt.call(lab, ["salt-run", "salt.cmd", "runrecord.report", FAILED, json.dumps(note), "--out=json"])


class Matrix:
    def __init__(self, name, results, method="rsync"):
        self.method = method
        self.lab = plan.Lab(name=name, nodes=2, delays={}, disks={"east1": DISK_MB})
        self.results = results
        self.rows = None

    def bring_up(self):
        """A new lab, filled and written to."""
        hosts.down(self.lab)
        hosts.up(self.lab)
        shims.install(self.lab)
        pillar = self.lab.root(MASTER) / "srv/pillar/tungsten/reprovision.sls"
        standing = json.loads(pillar.read_text())
        standing["tungsten"]["reprovision"].update(patience=PATIENCE, method=self.method)
        pillar.write_text(json.dumps(standing))
        salt.ready(self.lab)
        data.wait_online(self.lab)
        self.rows = data.fill(self.lab, MEGABYTES)
        data.start_load(self.lab, self.rows, LOAD_EVERY_MS)
        self.identities = data.identity(self.lab, f"{FAILED}1")

    def do(self, step, fault):
        """One case; returns what is written down of it."""
        if self.rows is None:
            self.bring_up()
        begun = time.monotonic()
        result = {"step": step, "fault": fault, "violations": [], "struck": False, "runs": [], "code": code(),
                  "date": time.strftime("%Y-%m-%d")}
        try:
            self._case(step, fault, result)
        except (LabError, subprocess.TimeoutExpired, OSError, KeyError, ValueError) as error:
            result["violations"].append(f"the case itself: {type(error).__name__}: {error}")
        result["seconds"] = round(time.monotonic() - begun)
        if result["violations"]:
            # Nothing is built on a lab in an unknown state.
            self.rows = None
        return result

    def _case(self, step, fault, result):
        host, tool, words = WORK[key(step)]
        data.make_drift(self.lab, FAILED, self.rows)
        report_drift(self.lab)
        before = data.resting(self.lab, self.rows)
        known = len(invariants.records(self.lab, FAILED))
        strike = strikes.FAULTS[fault](self.lab, {"host": host, "tool": tool, "words": words})
        code = self._orchestrate(result, step, strike)
        strike.heal()
        strikes.wait_for_salt(self.lab)
        self._look(result, code, before, known)
        while not self._done(result) and len(result["runs"]) <= MOST_REPETITIONS:
            code = self._orchestrate(result)
            self._look(result, code, before, known)
        if not self._done(result):
            result["violations"].append(f"not completed by {MOST_REPETITIONS} repetitions: {result['runs'][-1]['end']}")
        self._prove(result)

    def _orchestrate(self, result, step=None, strike=None):
        """Give the operator's command; the fault strikes when the step begins. Returns the exit code."""
        known = len(invariants.records(self.lab, FAILED))
        watch = invariants.Watch(self.lab, FAILED, DEFINITIVE)
        watch.start()
        with (self.lab.home / "orchestration.json").open("w+") as log:
            orders = subprocess.Popen(
                hosts.command(self.lab, MASTER, ["salt-run", "state.orch", "orch.reprovision", "--out=json",
                                                 "--log-level=quiet"]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
            if strike:
                result["struck"] = self._strike(step, strike, orders, known)
            deadline, struck_at = time.monotonic() + RUN_SECONDS, time.monotonic()
            while orders.poll() is None:
                if time.monotonic() > deadline:
                    orders.kill()
                    deadline += RUN_SECONDS
                    result["violations"].append(f"the run did not end within {RUN_SECONDS} s")
                if strike:
                    strike.later(0, time.monotonic() - struck_at)
                time.sleep(0.1)
            log.seek(0)
            result["runs"].append({"code": orders.returncode, "end": salt.last_words(log.read()), "most_out": 0})
        result["violations"].extend(watch.end())
        result["runs"][-1]["most_out"] = watch.most_out
        return orders.returncode

    def _strike(self, step, strike, orders, known):
        if step == "00 preflight":
            # Not on record before it has ended.
            time.sleep(1.2 if strike.__class__.__name__.startswith(("Run", "Terminal", "Master")) else 0)
            strike.strike()
            return True
        struck = invariants.wait_until_step(self.lab, FAILED, step, known, lambda: orders.poll() is not None)
        strike.strike()
        return struck

    def _look(self, result, code, before, known):
        result["violations"].extend(invariants.untouched(self.lab, DEFINITIVE, before, self.rows))
        found = invariants.records(self.lab, FAILED)
        # A run that ended in its preflight has left no record; the last one is of the case before.
        if len(found) > known:
            record = found[-1]
            result["runs"][-1]["record"] = record["state"]
            if not (code and invariants.interrupted(record)):
                result["violations"].extend(invariants.truth(self.lab, record, code))

    def _done(self, result):
        return result["runs"][-1]["code"] == 0 and result["runs"][-1].get("record") == "done"

    def _prove(self, result):
        written = data.stop_load(self.lab)
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            data.settled(self.lab)
            result["violations"].extend(demo.failures(self.lab, self.identities, written))
        data.start_load(self.lab, self.rows, LOAD_EVERY_MS)


def path_of(results, step, fault):
    return results / (re.sub(r"[^a-z0-9]+", "-", f"{step} {fault}".lower()) + ".json")


def verdict(result):
    if result["violations"]:
        return "VIOLATION"
    repetitions = len(result["runs"]) - 1
    return {0: "went through", 1: "1 repetition"}.get(repetitions, f"{repetitions} repetitions")


def table(results, way="warm"):
    """The whole matrix as Markdown: a row a step, a column a fault."""
    rows = [["step", *strikes.FAULTS], ["---"] * (1 + len(strikes.FAULTS))]
    known = set(cases(way))
    for step in steps(way):
        row = [step]
        for fault in strikes.FAULTS:
            path = path_of(results, step, fault)
            if (step, fault) not in known:
                row.append("–")
            elif not path.exists():
                row.append("not run")
            else:
                result = json.loads(path.read_text())
                row.append({"went through": "0", "1 repetition": "1"}.get(verdict(result), verdict(result)))
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def summary(results, way="warm"):
    done = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    return {
        "cases": len(cases(way)), "run": len(done),
        "violations": [f"{each['step']} × {each['fault']}" for each in done if each["violations"]],
        "went through": sum(verdict(each) == "went through" for each in done),
        "one repetition": sum(verdict(each) == "1 repetition" for each in done),
        "more": [f"{each['step']} × {each['fault']}" for each in done if len(each["runs"]) > 2],
        "minutes": round(sum(each["seconds"] for each in done) / 60),
    }


def main():
    parser = argparse.ArgumentParser(prog="tests/faults", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subset", action="store_true", help="only the cases that CI runs")
    parser.add_argument("--only", default="", metavar="WORDS", help="only cases whose step or fault contains this")
    parser.add_argument("--method", choices=METHODS, default="rsync", help="how the data are copied (rsync)")
    parser.add_argument("--part", default="1/1", help="for several labs at once: 1/2 and 2/2 (1/1)")
    parser.add_argument("--lab", default="faults", help="name of the lab (faults)")
    parser.add_argument("--results", type=Path, default=Path("/var/tmp/tungsten-reprovision-faults"),
                        help="folder of the results; what is there is not done again")
    parser.add_argument("--table", action="store_true", help="only print what has been done so far")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    parser.add_argument("--keep", action="store_true", help="leave the lab up, and stop at the first violation")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    if not options.table:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
        # Started by nohup it would be ignored, and so by the salt-run whose terminal goes away.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        run([REPOSITORY / "tests/setup", "lab"], timeout=1200)
        go_through(options)
    way = METHODS[options.method]
    found = json.dumps(summary(options.results, way), indent=1)
    print(found if options.json else f"{table(options.results, way)}\n\n{found}")
    raise SystemExit(1 if json.loads(found)["violations"] else 0)


def chosen(options):
    part, parts = map(int, options.part.split("/"))
    wanted = [(step, fault) for step, fault in cases(METHODS[options.method])
              if not options.subset or (key(step), fault) in SUBSET]
    wanted = [case for case in wanted if options.only in f"{case[0]} × {case[1]}"]
    return wanted[part - 1::parts]


def go_through(options):
    matrix = Matrix(options.lab, options.results, options.method)
    todo = [case for case in chosen(options) if not path_of(options.results, *case).exists()]
    try:
        for number, (step, fault) in enumerate(todo, start=1):
            result = matrix.do(step, fault)
            invariants.save(path_of(options.results, step, fault), result)
            say(f"[{number}/{len(todo)}] {step} × {fault}: {verdict(result)}, {result['seconds']} s")
            for violation in result["violations"]:
                say(f"    {violation}")
            if result["violations"] and options.keep:
                break
    finally:
        if not options.keep:
            hosts.down(matrix.lab)


if __name__ == "__main__":
    main()
