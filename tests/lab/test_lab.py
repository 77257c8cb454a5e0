"""The lab itself: it comes up again where it is, and goes without a trace whatever happened to it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from labkit import hosts, plan
from labkit.shell import LabError

TOOL = Path(__file__).with_name("lab")


def traces(lab):
    """What a lab leaves on a machine, as the kernel tells it."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(lab.home) in line]
    namespaces = [lab.namespace] if Path("/run/netns", lab.namespace).exists() else []
    groups = [str(group) for root in hosts._control_group_roots() for group in root.glob(f"reprovision-{lab.name}-*")]
    files = [str(lab.home)] if lab.home.exists() else []
    return mounts + namespaces + groups + files + [str(pid) for pid in hosts._supervisors(lab)]


@pytest.fixture
def small():
    lab = plan.Lab(name="small", sites=2, nodes=1, delays={})
    hosts.down(lab)
    yield lab
    hosts.down(lab)
    assert traces(lab) == []


def test_up_status_exec_and_down(small):
    hosts.up(small)
    before = {host: hosts.leader(small, host) for host in small.hosts()}
    # A second up finds everything there and starts nothing.
    hosts.up(small)
    assert {host: hosts.leader(small, host) for host in small.hosts()} == before
    rows = hosts.status(small)
    assert rows["east1"]["units"]["mariadb"] == "active" and rows["master"]["units"]["salt-master"] == "active"
    assert hosts.execute(small, "west1", ["hostname"], capture=True).stdout.strip() == "west1"
    # Nothing can leave: no route but to the lab's own network.
    assert "default" not in hosts.execute(small, "east1", ["ip", "route"], capture=True).stdout


def test_a_crash_leaves_nothing_that_down_does_not_take_away(small):
    hosts.up(small)
    for pid in hosts._supervisors(small):
        os.kill(pid, signal.SIGKILL)
    assert traces(small)
    hosts.down(small)
    assert traces(small) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_up_that_is_interrupted_takes_itself_away(small, number):
    # Whoever runs the tests in the background has SIGINT ignored, and so would have the lab.
    up = subprocess.Popen([sys.executable, TOOL, "--lab", small.name, "up", "--nodes", "1"], stderr=subprocess.PIPE,
                          text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    for line in up.stderr:
        if "the hosts to boot: done" in line:
            up.send_signal(number)
            break
    up.stderr.read()
    assert up.wait(60) != 0
    assert traces(small) == []


@pytest.mark.parametrize("words", [{"sites": 1}, {"sites": 6}, {"nodes": 0}, {"name": "../x"}, {"name": "A b"}])
def test_a_lab_that_cannot_be(words):
    with pytest.raises(LabError):
        plan.Lab(**words)
