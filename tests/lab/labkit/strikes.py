"""What can befall a run: each fault strikes a lab at a moment and can be undone."""

import json
import os
import signal
import subprocess
import time

from . import hosts, shims
from .plan import MASTER
from .shell import LabError

# Where nobody has freed it, a full disk stays full; a cut network is restored, as networks are.
NETWORK_SECONDS = 15
FULL_SECONDS = 60
# What an operator would do about a tool that hangs without a time limit of its own worth waiting for.
PATIENCE_WITH_A_HANGING_COPY = 10


class Strike:
    """One fault. ``at`` is the case: the step's role host, its tool and the words that it is called with."""

    def __init__(self, lab, at):
        self.lab, self.at = lab, at

    def strike(self):
        raise NotImplementedError

    def heal(self):
        """Undo it. Called as soon as the run has ended, or earlier by the fault itself; safe to repeat."""

    def later(self, seconds, passed):
        """Called all the time while the run goes on."""


class Tool(Strike):
    """A tool's answer: ``fail``, ``lie`` (0, nothing done), ``hang``."""

    how = None

    def strike(self):
        if self.at["tool"] in shims.TOOLS:
            shims.order(self.lab, self.at["host"], self.at["tool"], self.at["words"], self.how)
            return
        path = self.lab.shared / "faults.json"
        path.write_text(json.dumps([
            {"host": "*", "tool": self.at["tool"], "words": self.at["words"], "how": self.how, "times": 1}]))
        os.chmod(path, 0o666)

    def heal(self):
        shims.cancel(self.lab)
        (self.lab.shared / "faults.json").unlink(missing_ok=True)


class ToolFails(Tool):
    how = "fail"


class ToolLies(Tool):
    how = "lie"


class ToolHangs(Tool):
    how = "hang"
    helped = False

    def later(self, seconds, passed):
        if self.helped or passed < PATIENCE_WITH_A_HANGING_COPY:
            return
        if self.at["tool"] in ("rsync", "mariadb-backup"):
            self.helped = True
            hosts.execute(self.lab, MASTER, ["salt-run", "reprovision.abort", "east", "the copy hangs", "wait=1"],
                          capture=True, timeout=120)
        if self.at["tool"] == "tprovision":
            self.helped = True
            hosts.execute(self.lab, MASTER, ["salt", self.at["host"], "longjob.stop_all", "tprovision-"],
                          capture=True, timeout=120)


class MinionKilled(Strike):
    """The node's salt-minion with everything in its control group; nothing starts it again meanwhile."""

    def strike(self):
        hosts.execute(self.lab, self.at["host"], ["systemctl", "kill", "--signal=KILL", "salt-minion"], capture=True)

    def heal(self):
        hosts.execute(self.lab, self.at["host"], ["systemctl", "start", "salt-minion"], capture=True)


class PowerCut(Strike):
    """The node is gone at once, and boots again."""

    def strike(self):
        hosts.power_cut(self.lab, self.at["host"])
        hosts.boot(self.lab, self.at["host"])

    def heal(self):
        hosts.await_boot(self.lab, self.at["host"])


class MasterKilled(Strike):
    struck = False

    def strike(self):
        hosts.execute(self.lab, MASTER, ["systemctl", "kill", "--signal=KILL", "salt-master"], capture=True)
        self.struck = True

    def later(self, seconds, passed):
        if passed > NETWORK_SECONDS:
            self.heal()

    def heal(self):
        if self.struck:
            self.struck = False
            hosts.execute(self.lab, MASTER, ["systemctl", "restart", "salt-master"], capture=True)


class RunKilled(Strike):
    """The operator's salt-run, all of its processes."""

    signal = signal.SIGKILL

    def strike(self):
        hosts.execute(self.lab, MASTER, ["pkill", f"--signal={int(self.signal)}", "-f", "salt-run state.orch"],
                      capture=True)


class TerminalGone(RunKilled):
    signal = signal.SIGHUP


class NetworkCut(Strike):
    """Nothing passes between the nodes of different sites; the master reaches all."""

    cut = False

    def _routes(self, verb):
        sites = self.lab.site_nodes()
        for site, nodes in sites.items():
            others = [host for other, members in sites.items() if other != site for host in members]
            words = "; ".join(f"ip route {verb} blackhole {self.lab.address(host)}/32" for host in others)
            for node in nodes:
                hosts.execute(self.lab, node, ["sh", "-c", words], capture=True)

    def strike(self):
        self._routes("add")
        self.cut = True

    def later(self, seconds, passed):
        if passed > NETWORK_SECONDS:
            self.heal()

    def heal(self):
        if self.cut:
            self.cut = False
            self._routes("del")


class DiskFull(Strike):
    """Not a byte is left on the failed primary's disk, which holds its data and everything else."""

    @property
    def filler(self):
        return hosts.disk(self.lab, self.lab.site_nodes()["east"][0]) / "filler"

    def strike(self):
        with self.filler.open("wb", buffering=0) as file:
            chunk = bytes(1 << 20)
            while chunk:
                try:
                    file.write(chunk)
                except OSError:
                    chunk = chunk[: len(chunk) // 2]

    def later(self, seconds, passed):
        if passed > FULL_SECONDS:
            self.heal()

    def heal(self):
        self.filler.unlink(missing_ok=True)


FAULTS = {
    "tool fails": ToolFails,
    "tool lies": ToolLies,
    "tool hangs": ToolHangs,
    "minion killed": MinionKilled,
    "power cut": PowerCut,
    "master killed": MasterKilled,
    "salt-run killed": RunKilled,
    "terminal gone": TerminalGone,
    "network cut": NetworkCut,
    "disk full": DiskFull,
}


def wait_for_salt(lab, timeout=90):
    """Every minion answers the master again."""
    deadline = time.monotonic() + timeout
    expected = set(lab.hosts()) - {MASTER}
    missing = expected
    while missing:
        if time.monotonic() > deadline:
            raise LabError(f"after the fault these minions do not answer: {', '.join(sorted(missing))}")
        try:
            done = hosts.execute(lab, MASTER, ["salt", "*", "test.ping", "--timeout=2", "--static", "--out=json"],
                                 capture=True, timeout=30)
            missing = expected - {name for name in expected if f'"{name}": true' in done.stdout}
        except subprocess.TimeoutExpired:
            continue
