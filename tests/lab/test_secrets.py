"""A canary lies where passwords live; after a whole run it must not show anywhere else."""

import json
import subprocess
import threading
from pathlib import Path

import demo
import pytest
from labkit import data, hosts, salt
from labkit.plan import MASTER

from test_reprovision import orchestrate

NODES = 2
CANARY = "Canary-7f3a91-in-the-coal-mine"
# Where an installation keeps passwords: of the replicator, in the vendor's ini, of root's client.
HOMES = ("etc/tungsten/emulator.cnf", "etc/tungsten/tungsten.ini", "root/.my.cnf")
# What people or machines read, on the master and on the nodes.
PLACES = ("var/log", "var/cache/salt", "var/lib/reprovision", "etc/systemd/system", "run/systemd/transient", "tmp",
          "var/tmp")


class Arguments(threading.Thread):
    """Every process of every host is one of this machine too: their command lines, again and again."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ending, self.found, self.looks = threading.Event(), set(), 0

    def run(self):
        while not self.ending.wait(0.02):
            self.looks += 1
            for path in Path("/proc").glob("[0-9]*"):
                try:
                    words = (path / "cmdline").read_bytes()
                    environment = (path / "environ").read_bytes()
                except OSError:
                    continue
                if CANARY.encode() in words or CANARY.encode() in environment:
                    self.found.add(words.replace(b"\0", b" ").decode(errors="replace"))


@pytest.fixture
def listened(lab):
    """All that goes over the event bus meanwhile, in a file of the master."""
    path = lab.root(MASTER) / "root/events"
    with path.open("wb") as file:
        listener = subprocess.Popen(
            hosts.command(lab, MASTER, ["salt-run", "state.event"]), stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.DEVNULL)
    yield path
    listener.kill()
    listener.wait()


def put_canary(lab):
    # An address that is told to nobody, at which nobody listens.
    told = {"reprovision_notify": [{"webhook": f"http://127.0.0.1:1/hooks/{CANARY}"}]}
    (lab.root(MASTER) / "etc/salt/master.d/notify.conf").write_text(json.dumps(told))
    for host in lab.hosts()[1:]:
        data.sql(lab, host, f"SET sql_log_bin=0; ALTER USER tungsten IDENTIFIED BY '{CANARY}';")
        root = lab.root(host)
        path = root / HOMES[0]
        path.write_text(path.read_text().replace("lab-only", CANARY))
        ini = root / HOMES[1]
        ini.write_text(ini.read_text().replace("[defaults]\n", f"[defaults]\ndatasource-password={CANARY}\n", 1))
        (root / HOMES[2]).write_text(f"[client]\npassword={CANARY}\n")
        (root / HOMES[2]).chmod(0o600)


def holding(lab, host):
    """Files of a host, in the places people and machines read, that hold the canary."""
    root = lab.root(host)
    done = subprocess.run(
        ["grep", "-rslaF", CANARY, *(str(root / place) for place in PLACES if (root / place).exists())],
        capture_output=True, text=True, check=False)
    return done.stdout.split("\n")[:-1]


def test_no_secret_shows_after_a_whole_run(lab, listened):
    put_canary(lab)
    data.make_drift(lab, demo.FAILED, lab.rows)
    watching = Arguments()
    watching.start()
    code, states = orchestrate(lab)
    watching.ending.set()
    watching.join()
    assert [(state["name"], state["comment"]) for state in states if state["result"] is False] == []
    assert code == 0
    page = salt.call(lab, ["salt-run", "reprovision.report", demo.FAILED, "page=True", "--out=json"])
    assert CANARY not in json.dumps(page) and page["commands"]["answers"]["east1"]
    assert watching.looks > 100 and watching.found == set()
    events = listened.read_bytes()
    assert b"salt/reprovision/east" in events and CANARY.encode() not in events
    assert {host: holding(lab, host) for host in lab.hosts() if holding(lab, host)} == {}
    journal = [
        host for host in lab.hosts()
        if CANARY in hosts.execute(lab, host, ["journalctl", "--no-pager", "--quiet"], capture=True).stdout
    ]
    assert journal == []


def test_the_canary_would_have_been_seen(lab):
    (lab.root(MASTER) / "var/log/canary").write_text(f"password {CANARY}\n")
    assert holding(lab, MASTER) == [str(lab.root(MASTER) / "var/log/canary")]
