"""Look at a run from outside, the same way whoever does it: the donor, the vendor's tools, the servers, the copies."""

import json
import socket
import threading
import time

from labkit import data, hosts, invariants
from labkit.shell import LabError

EVERY = 0.1
SOCKET = "run/mysqld/mysqld.sock"


class DonorWatch(threading.Thread):
    """When the donor is out of service: its datasource is not ONLINE, or its server does not answer."""

    def __init__(self, lab, site, donor):
        super().__init__(daemon=True)
        self.lab, self.site, self.donor = lab, site, donor
        self.init = hosts.leader(lab, donor)
        self.outages = []
        self.ending = threading.Event()

    def run(self):
        while True:
            now, out = time.time(), not self.in_service()
            open_one = bool(self.outages) and self.outages[-1][1] is None
            if out and not open_one:
                self.outages.append((now, None))
            elif open_one and not out:
                self.outages[-1] = (self.outages[-1][0], now)
            if self.ending.wait(EVERY):
                return

    def in_service(self):
        known = invariants.manager(self.lab, self.site)
        # Being replaced just now: as before.
        if not known:
            return not (self.outages and self.outages[-1][1] is None)
        return known["datasources"][self.donor]["state"] == "ONLINE" and self.answers()

    def answers(self):
        """Whether the server greets who comes; over the socket, which counts no failed connections."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            try:
                client.connect(f"/proc/{self.init}/root/{SOCKET}")
                return bool(client.recv(1))
            except OSError:
                return False

    def end(self):
        self.ending.set()
        self.join()
        return self.outages


def calls(lab):
    """Every call of a vendor tool so far."""
    path = lab.shared / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def journal(lab, host, unit, since):
    """The lines that systemd itself has written on a unit."""
    done = hosts.execute(lab, host, ["journalctl", f"--unit={unit}", f"--since=@{int(since)}", "--output=json",
                                     "--no-pager", "_PID=1"], capture=True, timeout=60)
    if done.returncode:
        raise LabError(f"{host}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def journals(lab, unit, since):
    return data.everywhere(lab, lambda host: journal(lab, host, unit, since))


def jobs(lab, host, since):
    """``{unit: (from, until)}`` of the long jobs that were begun on a host since then; until is None while one runs."""
    done = hosts.execute(lab, host, [
        "systemctl", "show", "reprovision-*", "--property=Id,ExecMainStartTimestampMonotonic,"
        "ExecMainExitTimestampMonotonic"], capture=True, timeout=60)
    to_clock, found = time.time() - time.monotonic(), {}
    for block in done.stdout.split("\n\n"):
        shown = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        begun = int(shown.get("ExecMainStartTimestampMonotonic") or 0) / 1e6
        ended = int(shown.get("ExecMainExitTimestampMonotonic") or 0) / 1e6
        if begun and begun + to_clock >= since:
            found[shown["Id"]] = (begun + to_clock, ended + to_clock if ended else None)
    return found
