"""What must be true whatever befalls a run: watched while it goes on, and asked when it has ended."""

import json
import threading
import time
from pathlib import Path

from . import data
from .plan import MASTER

RECORDS = "var/cache/salt/master/reprovision"


def records(lab, failed):
    """All records of runs of a site, oldest first."""
    found = []
    for path in sorted((lab.root(MASTER) / RECORDS / failed).glob("2*.json")):
        try:
            found.append(json.loads(path.read_text()))
        except ValueError:
            continue
    return found


def manager(lab, site):
    """The emulated manager's own state of a site; {} while it is being replaced."""
    try:
        return json.loads((lab.shared / site / "manager.json").read_text())
    except (OSError, ValueError):
        return {}


def table_files(lab, host):
    """The files that hold the tables: their names, since their content moves under load."""
    folder = lab.root(host) / "var/lib/mysql" / data.SCHEMA
    return sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []


class Watch(threading.Thread):
    """Looks every half second; what it saw wrong is in ``violations``."""

    def __init__(self, lab, failed, definitive):
        super().__init__(daemon=True)
        self.lab, self.failed, self.definitive = lab, failed, definitive
        self.others = [host for site, nodes in lab.site_nodes().items() if site != failed for host in nodes]
        self.files = {host: table_files(lab, host) for host in self.others}
        self.violations, self.most_out = [], 0
        self.was_offline = False
        self.ending = threading.Event()

    def run(self):
        while not self.ending.wait(0.5):
            self.look()

    def end(self):
        self.ending.set()
        self.join()
        self.look()
        return sorted(set(self.violations))

    def look(self):
        for host in self.others:
            if table_files(self.lab, host) != self.files[host]:
                self.violations.append(f"files of {host}, outside the failed site, have changed")
        out = [host for host, source in manager(self.lab, self.definitive).get("datasources", {}).items()
               if source["state"] != "ONLINE"]
        self.most_out = max(self.most_out, len(out))
        if len(out) > 1:
            self.violations.append(f"more than one node of {self.definitive} out of service: {', '.join(out)}")
        self._routers()

    def _routers(self):
        found = records(self.lab, self.failed)
        states = {router["state"] for router in manager(self.lab, self.failed).get("routers", {}).values()}
        if not found or not states or found[-1]["state"] == "done":
            return
        steps = found[-1]["steps"]
        isolated = "done_in" in steps.get("02 routers offline", {})
        verified = "done_in" in steps.get("verified before traffic", {})
        if isolated and not verified and "ONLINE" in states:
            self.violations.append(f"routers of {self.failed} are ONLINE before its data were verified")


def untouched(lab, site, before, rows):
    """The rows of a site that the load leaves alone are what they were, on every node that answers."""
    wrong = []
    for host in lab.site_nodes()[site]:
        try:
            now = data.resting_on(lab, host, rows)
        except data.LabError:
            # The donor's server may be stopped, or its host just booting: asked again at the end.
            continue
        if now != before[host]:
            wrong.append(f"data of {host}, of the definitive site, have changed")
    return wrong


def truth(lab, record, exit_code):
    """What the record says against what is so."""
    wrong = []
    done = {name for name, about in record["steps"].items() if about["state"] == "done"}
    # Their numbers; of those that matter here none has more than one step.
    steps, begun = {name[:2] for name in done}, {name[:2] for name in record["steps"]}
    if exit_code == 0 and (record["state"] != "done" or done != set(record["plan"])):
        wrong.append(f"exit code 0, but the record is {record['state']}")
    if record["state"] == "done" and exit_code not in (0, None):
        wrong.append(f"the record is done, but the exit code {exit_code}")
    failed = manager(lab, record["failed"])
    if "01" in steps and "20" not in begun and failed["policy"] != "MAINTENANCE":
        wrong.append(f"the record says MAINTENANCE, the policy is {failed['policy']}")
    routers = {router["state"] for router in failed["routers"].values()}
    if "02" in steps and "19" not in begun and routers != {"OFFLINE"}:
        wrong.append(f"the record says that the routers are OFFLINE, they are {routers}")
    donor = manager(lab, record["definitive"])["datasources"][record["donor"]]["state"]
    if record["donor_state"] != "taken" and donor != "ONLINE":
        wrong.append(f"the record says that the donor is {record['donor_state']}, its datasource is {donor}")
    return wrong


def interrupted(record):
    return record["state"] == "running"


def wait_until_step(lab, failed, step, known, ended, timeout=300):
    """Wait until the record says that a step runs (or is past it); False if the run ended before."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = records(lab, failed)
        if found and len(found) > known:
            about = found[-1]["steps"].get(step)
            if about:
                return about["state"] == "running"
        if ended():
            return False
        time.sleep(0.02)
    return False


def save(path, value):
    temporary = Path(f"{path}.new")
    temporary.write_text(json.dumps(value, indent=1))
    temporary.replace(path)
