"""The labs of the tests, with the delays of the real tools left out: what is tested is what happens, not how long."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from labkit import data, hosts, plan, salt  # noqa: E402

MEGABYTES = 40


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="module")
def lab(request):
    """Filled sites in replication, written to at all of them: two of three nodes, or the module's SITES of NODES."""
    lab = plan.Lab(name="test", sites=getattr(request.module, "SITES", 2), nodes=getattr(request.module, "NODES", 3),
                   delays={})
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
