"""The ways to re-provision a site that are measured against each other, and one run of one of them."""

import json
import re
import subprocess
import time
from pathlib import Path

from labkit import hosts, invariants, salt
from labkit.plan import MASTER
from labkit.shell import LabError

from . import figures, observe
from .field import DEFINITIVE, FAILED

BY_HAND = "by-hand"
# What a mode orders beside which site is rebuilt from which.
ORDERS = {
    "cold": {"warm": False},
    "warm": {"warm": True},
    "hot": {"method": "mariabackup"},
}
MODES = (BY_HAND, *ORDERS)
SCRIPT = Path(__file__).resolve().parents[1] / "by_hand.sh"
LIMIT = 7200


def run(field, mode, log):
    """Do it; return what was seen. LabError if it did not end well: then there is nothing to be measured."""
    watch = observe.Watch(field.lab, DEFINITIVE, field.donor, field.primary)
    size, others = field.bytes_of_donor(), observe.Others(field.lab)
    watch.start()
    begin = time.time()
    try:
        found = (_by_hand if mode == BY_HAND else _orchestrated)(field, mode, log)
        end, busy = time.time(), others.cores()
    finally:
        watch.end()
    mysqld = [span for lines in observe.journals(field.lab, "mariadb.service", begin).values()
              for span in figures.spans_of_unit(lines)]
    return {
        "from": begin, "until": end, "outages": watch.spans(outage=True), "copying": watch.spans(outage=False),
        "mysqld": mysqld, "bytes": size, "calls": figures.calls_within(observe.calls(field.lab), begin, end),
        "others": busy, **found,
    }


def _started(field, argv, log, last_words):
    """Run it on the master, with its output in a file; return that."""
    with log.open("w") as out:
        done = subprocess.run(hosts.command(field.lab, MASTER, argv), stdin=subprocess.DEVNULL, stdout=out,
                              stderr=subprocess.STDOUT, timeout=LIMIT)
    if done.returncode:
        raise LabError(f"ended with {done.returncode}: {last_words(log.read_text())}")
    return log.read_text()


def _by_hand(field, mode, log):
    sites = field.lab.site_nodes()
    others = [site for site in sites if site != FAILED]
    program = field.lab.root(MASTER) / "root/by_hand.sh"
    program.write_text(SCRIPT.read_text())
    program.chmod(0o755)
    environment = {
        "FAILED": FAILED, "FAILED_HOSTS": " ".join(sites[FAILED]),
        "DEFINITIVE": DEFINITIVE, "DEFINITIVE_HOSTS": " ".join(sites[DEFINITIVE]), "DONOR": field.donor,
        "OTHER_SITES": " ".join(others), "OTHER_HOSTS": " ".join(host for site in others for host in sites[site]),
    }
    argv = ["env", *(f"{key}={value}" for key, value in environment.items()), "/root/by_hand.sh"]
    said = _started(field, argv, log, lambda text: text[-600:])
    steps, spans = figures.steps_of_script(said)
    copying = [(begin, end) for begin, end, name in spans if re.search(figures.PHASES["copy"], name)]
    return {"steps": steps, "copying": copying}


def _orchestrated(field, mode, log):
    # It has just been repaired by the run before, and nothing has reported drift.
    order = {"failed": FAILED, "definitive": DEFINITIVE, "donor": field.donor, "insist": True, **ORDERS[mode]}
    _started(field, ["salt-run", "state.orch", "orch.reprovision", f"pillar={json.dumps({'reprovision': order})}",
                     "--out=json", "--log-level=quiet"], log, salt.last_words)
    record = invariants.records(field.lab, FAILED)[-1]
    if record["state"] != "done":
        raise LabError(f"the record says {record['state']}")
    return {"steps": figures.steps_of_record(record), "recorded outages": figures.outages_of_record(record)}


def yardstick(field):
    """tar through ssh of the donor's data to the failed primary's disk: ``{"bytes", "seconds"}``. Nothing is written
    to the servers meanwhile, but they run: what changes while it is read does not matter here."""
    folder = "/var/tmp/yardstick"
    size = field.bytes_of_donor()
    hosts.execute(field.lab, field.primary, ["rm", "-rf", folder], capture=True)
    hosts.execute(field.lab, field.primary, ["mkdir", folder], capture=True)
    begin = time.monotonic()
    done = hosts.execute(field.lab, field.donor, [
        "bash", "-c", f"set -o pipefail; tar --create --warning=no-file-changed --directory=/var/lib/mysql . | "
                      f"ssh root@{field.primary} tar --extract --directory={folder}"], capture=True, timeout=LIMIT)
    seconds = time.monotonic() - begin
    hosts.execute(field.lab, field.primary, ["rm", "-rf", folder], capture=True)
    # 1: a file changed as it was read.
    if done.returncode > 1:
        raise LabError(f"tar through ssh: {done.stderr.strip()}")
    return {"bytes": size, "seconds": round(seconds, 2)}
