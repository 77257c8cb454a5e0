"""What a lab consists of: sites, their nodes, addresses, and the settings of every host."""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from .shell import LabError

WORK = Path(os.environ.get("REPROVISION_LAB_DIR", "/var/lib/tungsten-reprovision-lab"))
REPOSITORY = Path(__file__).resolve().parents[3]
MASTER = "master"
# The first two are the runbook's; with more sites only the names change.
SITE_NAMES = ("east", "west", "north", "south", "centre")
NETWORK = "10.77.0"


@dataclass
class Lab:
    """The plan of one lab; written to disk so that every later command means the same hosts."""

    name: str = "lab"
    sites: int = 2
    nodes: int = 3
    delays: dict = field(default_factory=lambda: {"trepctl": 0.4, "cctrl": 1.0})
    repository: str = str(REPOSITORY)
    # Megabytes of a disk of its own, for hosts that are to have one.
    disks: dict = field(default_factory=dict)

    def __post_init__(self):
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,20}", self.name):
            raise LabError(f"{self.name!r} cannot name a lab: lower case letters, digits and dashes")
        if not 2 <= self.sites <= len(SITE_NAMES) or not 1 <= self.nodes <= 9:
            raise LabError(f"a lab has 2 to {len(SITE_NAMES)} sites of 1 to 9 nodes")

    @property
    def home(self):
        return WORK / self.name

    @property
    def shared(self):
        """Where the emulated tools of all hosts keep their state."""
        return self.home / "shared"

    @property
    def namespace(self):
        return f"reprovision-{self.name}"

    def site_nodes(self):
        """``{"east": ["east1", …], …}``"""
        return {
            site: [f"{site}{number}" for number in range(1, self.nodes + 1)] for site in SITE_NAMES[: self.sites]
        }

    def site_of(self, host):
        return next((site for site, nodes in self.site_nodes().items() if host in nodes), None)

    def hosts(self):
        return [MASTER, *(node for nodes in self.site_nodes().values() for node in nodes)]

    def address(self, host):
        return f"{NETWORK}.{10 + self.hosts().index(host)}"

    def root(self, host):
        return self.home / "hosts" / host / "root"

    def domain(self, site):
        """The GTID domain of the transactions that are born at this site."""
        return list(self.site_nodes()).index(site) + 1

    def save(self):
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "lab.json").write_text(json.dumps(self.__dict__, indent=2))

    @classmethod
    def load(cls, name):
        try:
            return cls(**json.loads((WORK / name / "lab.json").read_text()))
        except FileNotFoundError:
            raise LabError(f"there is no lab named {name!r}; tests/lab/lab up makes one") from None
