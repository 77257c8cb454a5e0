"""The drift check on real servers that are being written to: no false alarm, and every kind of drift named exactly.

The same in full size, and what it costs: driftproof.py.
"""

import driftproof
import pytest
from labkit import data, hosts, manytables, plan, salt

# Not the proof's own: a test must not take it away while somebody waits for it.
NAME = "drift"
ROWS = 40_000


@pytest.fixture(scope="module")
def lab():
    """Two sites of two nodes, filled with many tables and written to at both."""
    lab = plan.Lab(name=NAME, nodes=2, delays={})
    hosts.down(lab)
    try:
        hosts.up(lab)
        salt.ready(lab)
        data.wait_online(lab)
        lab.top = manytables.fill(lab, ROWS)
        manytables.start_load(lab, lab.top)
        yield lab
    finally:
        hosts.down(lab)
    assert not (plan.WORK / NAME).exists()


def assert_equal_under_load(lab, *words):
    before = {site: data.committed(lab, site) for site in lab.site_nodes()}
    answer = driftproof.check(lab, *words)
    assert driftproof.judged(answer, []) == []
    # The ledger is one more.
    assert answer["tables"] == len(manytables.TABLES) + 1 and answer["rows"] >= ROWS * 0.95
    assert all(data.committed(lab, site) > before[site] for site in before)


def test_healthy_sites_are_equal_while_they_are_written_to(lab):
    assert_equal_under_load(lab)


def test_every_kind_of_drift_is_named_exactly_and_saved_and_gone_when_undone(lab):
    made = [make(lab, lab.top) for make in manytables.DRIFTS.values()]
    # With two nodes a site, one replica is all that a site has: only its primary tells its drift from the site's.
    answer = driftproof.check(lab, "nodes=all", "share=100")
    assert driftproof.judged(answer, made) == []
    _, wrong = driftproof.save(lab, answer)
    assert wrong == []
    for each in made:
        each.undo()
    assert_equal_under_load(lab, "nodes=all", "share=100")


def test_the_load_has_kept_the_sites_alike(lab):
    written = data.stop_load(lab)
    data.settled(lab)
    assert {site: data.missing(lab, site, numbers) for site, numbers in written.items()} == {"east": {}, "west": {}}
    assert len({str(sorted(sums.items())) for sums in manytables.checksums(lab).values()}) == 1
