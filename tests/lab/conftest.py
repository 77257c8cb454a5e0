"""One lab for all lab tests, with the hosts' real delays left out: what is tested is what happens, not how long."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from labkit import data, hosts, plan, salt  # noqa: E402

MEGABYTES = 40


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab():
    """Two sites of three nodes, filled, in replication, written to at both sites."""
    if os.geteuid():
        pytest.skip("the lab needs root")
    lab = plan.Lab(name="test", delays={})
    hosts.down(lab)
    try:
        hosts.up(lab)
        salt.ready(lab)
        data.wait_online(lab)
        lab.rows = data.fill(lab, MEGABYTES)
        data.start_load(lab, lab.rows)
        yield lab
    finally:
        hosts.down(lab)
    assert not (plan.WORK / "test").exists()
