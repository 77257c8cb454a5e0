"""Look at a run from outside, the same way whoever does it: the donor, the copies, the servers, the vendor's tools."""

import json
import os
import re
import socket
import threading
import time
from pathlib import Path

from labkit import data, hosts, invariants
from labkit.shell import LabError

EVERY = 0.1
SOCKET = "run/mysqld/mysqld.sock"
# What the orchestration copies and prepares with; the other jobs on these hosts are the looks after the donor's lease.
COPIES = re.compile(r"reprovision-(?!donor)")


class Watch(threading.Thread):
    """When the donor is out of service (its datasource not ONLINE, or its server without an answer), and when a copy
    runs on donor or failed primary."""

    def __init__(self, lab, site, donor, primary):
        super().__init__(daemon=True)
        self.lab, self.site, self.donor = lab, site, donor
        self.init = hosts.leader(lab, donor)
        self.groups = [group for host in (donor, primary) for group in hosts.control_groups(lab, host)]
        # {what: [(from, until)]}; until is None while it lasts.
        self.seen = {}
        self.ending, self.error = threading.Event(), None

    def run(self):
        while not self.ending.wait(EVERY):
            try:
                self.look()
            except Exception as error:  # who ends the watch has to know that it has not seen all
                self.error = error
                return

    def end(self):
        self.ending.set()
        self.join()
        if self.error:
            raise LabError(f"the watch over {self.donor} has ended early: {self.error!r}")
        self.look()

    def look(self):
        now, there = time.time(), self.copies()
        if not self.in_service():
            there.add("outage")
        lasting = {what for what, spans in self.seen.items() if spans[-1][1] is None}
        for what in there - lasting:
            self.seen.setdefault(what, []).append((now, None))
        for what in lasting - there:
            self.seen[what][-1] = (self.seen[what][-1][0], now)

    def spans(self, outage):
        """Those of the donor's outages, or those of the copies."""
        return [span for what, spans in self.seen.items() for span in spans if (what == "outage") == outage]

    def copies(self):
        # A unit's group is there as long as one of its processes.
        while True:
            try:
                return {path.name for group in self.groups
                        for path in group.glob("**/system.slice/reprovision-*.service") if COPIES.match(path.name)}
            except FileNotFoundError:
                # One went away while it was being looked through.
                continue

    def in_service(self):
        known = invariants.manager(self.lab, self.site)
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


class Others:
    """Processor time of what is neither the lab nor this program: with much of it a figure is worth little."""

    def __init__(self, lab):
        self.lab = lab
        self.before = self._now()

    def _now(self):
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        # user, nice, system, irq, softirq
        busy = sum(ticks[place] for place in (0, 1, 2, 5, 6)) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy - self._lab() - sum(os.times()[:4])

    def _lab(self):
        used = 0
        for host in self.lab.hosts():
            for group in hosts.control_groups(self.lab, host):
                path = group / "cpu.stat"
                if path.exists():
                    used += int(path.read_text().split()[1])
        return used / 1e6

    def cores(self):
        """How many cores they have kept busy since."""
        began, before = self.before
        now, used = self._now()
        return max(0.0, (used - before) / (now - began))


def calls(lab):
    """Every call of a vendor tool so far."""
    path = lab.shared / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def journals(lab, unit, since):
    """``{host: the lines that systemd itself has written on a unit}``"""
    def one(host):
        done = hosts.execute(lab, host, ["journalctl", f"--unit={unit}", f"--since=@{int(since)}", "--output=json",
                                         "--no-pager", "_PID=1"], capture=True, timeout=60)
        if done.returncode:
            raise LabError(done.stderr.strip())
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return data.everywhere(lab, one)
