"""With three sites every other one has to forget the failed site's log, and nobody anything else."""

import demo
import pytest
from labkit import data
from test_reprovision import orchestrate

SITES, NODES = 3, 2


@pytest.mark.long
def test_one_of_three_sites_is_repaired_under_load(lab):
    data.make_drift(lab, demo.FAILED, lab.rows)
    code, states = orchestrate(lab)
    assert [(state["name"], state["comment"]) for state in states if state["result"] is not True] == []
    assert code == 0
    written = data.stop_load(lab)
    data.settled(lab)
    assert len({str(sums) for sums in data.checksums(lab).values()}) == 1
    for site in ("west", "north"):
        assert written[site] and data.missing(lab, site, written[site]) == {}
    data.wait_online(lab)
