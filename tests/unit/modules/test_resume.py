"""resume: when a run goes on where an earlier one stopped, and what it need not do again."""

import copy

import pytest

from tests.support.loader import load

resume = load("_modules", "resume")
topology_module = load("_modules", "topology")

RUN = "20260101T000000-7"
TUNGSTEN = {
    "sites": {
        "east": {"nodes": {"east1": "m-east1", "east2": "m-east2"}},
        "west": {"nodes": ["west1", "west2", "west3"]},
    },
    "reprovision": {"failed": "east", "definitive": "west"},
}
PLAN = ["00 preflight", "05 shunned", "10 copied", "15 welcomed"]


def topology(**order):
    return topology_module.merge(copy.deepcopy(TUNGSTEN), order)


def record(**more):
    """An unfinished run as its record tells it."""
    return {
        "run": RUN,
        "state": "failed",
        "failed": "east",
        "definitive": "west",
        "primary": "east1",
        "donor": "west2",
        "method": "rsync",
        "warm": True,
        "replica_method": "xtrabackup",
        "nodes": {site: settings["nodes"] for site, settings in topology()["sites"].items()},
        "plan": PLAN,
        "attempts": [{"started": "2026-01-01T00:00:00Z"}],
        "steps": {},
        "copied": False,
        **more,
    }


def test_it_may_run_anywhere():
    assert resume.__virtual__() == "resume"


class TestRefusal:
    @pytest.mark.parametrize("state", ["running", "failed", "aborted"])
    def test_an_unfinished_run_of_the_same_order_is_gone_on_with(self, state):
        assert resume.refusal(record(state=state), topology()) is None

    @pytest.mark.parametrize("previous", [None, {}, record(state="done")], ids=["none", "empty", "done"])
    def test_there_is_nothing_to_go_on_with(self, previous):
        assert resume.refusal(previous, topology()) == "no run of this site is unfinished"

    def test_a_fresh_run_was_ordered(self):
        words = f"run {RUN} is not gone on with, since a fresh one was ordered"
        assert resume.refusal(record(), topology(fresh=True)) == words

    @pytest.mark.parametrize("steps, goes_on", [
        (PLAN, True), (None, True), (PLAN[1:], False), ([*PLAN, "21 new"], False), (PLAN[::-1], False)])
    def test_one_that_was_begun_with_other_steps(self, steps, goes_on):
        words = f"run {RUN} was begun by a release with other steps"
        assert resume.refusal(record(), topology(), steps) == (None if goes_on else words)

    @pytest.mark.parametrize(
        "change, what",
        [
            ({"failed": "north"}, "failed"),
            ({"definitive": "north"}, "definitive"),
            ({"method": "mariabackup"}, "method"),
            ({"replica_method": "mysqldump"}, "replica_method"),
            ({"warm": False}, "warm"),
            ({"method": "mariabackup", "warm": False}, "method and warm"),
            ({"definitive": "north", "replica_method": "rsync"}, "definitive and replica_method"),
        ],
    )
    def test_it_was_begun_with_another_order(self, change, what):
        words = f"run {RUN} was begun with another {what}"
        assert resume.refusal(record(**change), topology()) == words
        # Of another way to copy the steps are others, too: that is not the release's doing.
        assert resume.refusal(record(**change), topology(), PLAN[1:]) == words

    @pytest.mark.parametrize("warm", [True, False])
    def test_the_same_way_to_copy_may_be_ordered_again(self, warm):
        assert resume.refusal(record(warm=warm), topology(warm=warm), PLAN) is None

    @pytest.mark.parametrize("warm", [True, False])
    def test_one_of_an_older_release_knows_no_way(self, warm):
        previous = record()
        del previous["warm"]
        assert resume.refusal(previous, topology(warm=warm)) == f"run {RUN} was begun by an older release"

    def test_another_donor_than_before_is_ordered(self):
        assert resume.refusal(record(), topology(donor="west3")) == f"run {RUN} was begun with another donor"

    @pytest.mark.parametrize("order", [{}, {"donor": None}, {"donor": "west2"}])
    def test_its_own_donor_may_be_ordered_again_or_left_open(self, order):
        assert resume.refusal(record(), topology(**order)) is None

    @pytest.mark.parametrize(
        "order", [{"insist": True}, {"donor_lease": 60}, {"patience": 600}, {"compress": "zstd"}, {"bwlimit": 50},
                  {"streams": 8}, {"replica_parallel": 2}], ids=lambda order: next(iter(order))
    )
    def test_what_decides_nothing_about_the_steps_may_be_another(self, order):
        assert resume.refusal(record(), topology(**order)) is None

    @pytest.mark.parametrize(
        "site, nodes",
        [
            ("east", {"east1": "m-east1"}),
            ("east", {"east1": "m-east1", "east2": "other"}),
            ("west", {"west1": "west1", "west2": "west2"}),
            ("north", {"north1": "north1"}),
        ],
    )
    def test_the_pillar_names_other_nodes_now(self, site, nodes):
        previous = record()
        previous["nodes"] = {**previous["nodes"], site: nodes}
        assert resume.refusal(previous, topology()) == f"run {RUN} was begun with another nodes"

    def test_all_that_is_different_is_named(self):
        previous = record(definitive="north", nodes={})
        words = f"run {RUN} was begun with another definitive and donor and nodes"
        assert resume.refusal(previous, topology(donor="west1")) == words

    def test_data_that_were_found_to_differ_are_not_gone_on_with(self):
        previous = record(verified={"equal": False, "tables": 3})
        assert resume.refusal(previous, topology()) == f"run {RUN} found the nodes' data to differ after the copy"

    def test_data_that_were_found_equal_are(self):
        assert resume.refusal(record(verified={"equal": True, "tables": 3}), topology()) is None

    def test_it_is_pure(self):
        previous, merged = record(), topology(donor="west3")
        before = copy.deepcopy((previous, merged))
        resume.refusal(previous, merged)
        assert (previous, merged) == before


class TestContradiction:
    @pytest.mark.parametrize("found", [None, {"run": "20250101T000000-1", "state": "owned"}])
    def test_before_the_copy_it_does_not_matter_whose_data_there_are(self, found):
        assert resume.contradiction(record(), "east1", found) is None

    @pytest.mark.parametrize("state", ["copied", "owned"])
    def test_the_copy_of_that_run_is_there(self, state):
        assert resume.contradiction(record(copied=True), "east1", {"run": RUN, "state": state}) is None

    @pytest.mark.parametrize("found", [None, {}, {"run": "20250101T000000-1", "state": "owned"}])
    def test_the_copy_of_that_run_is_gone(self, found):
        words = f"the data on east1 are no longer the copy that run {RUN} made"
        assert resume.contradiction(record(copied=True), "east1", found) == words

    @pytest.mark.parametrize("copied", [True, False])
    def test_another_node_has_become_the_primary(self, copied):
        words = f"the primary is east2 now, in run {RUN} it was east1"
        found = {"run": RUN, "state": "owned"}
        assert resume.contradiction(record(copied=copied), "east2", found) == words


class TestDone:
    def test_nothing_was_done(self):
        assert resume.done(record()) == []

    def test_what_was_ever_done_in_the_order_of_the_plan(self):
        steps = {
            "10 copied": {"state": "failed", "done_in": 1},
            "00 preflight": {"state": "done", "done_in": 2},
            "05 shunned": {"state": "interrupted"},
            "15 welcomed": {"state": "running"},
            "of another plan": {"state": "done", "done_in": 1},
        }
        assert resume.done(record(steps=steps)) == ["00 preflight", "10 copied"]


class TestLeftOut:
    @pytest.mark.parametrize("until, once", [(None, False), ("15 welcomed", False), (None, True)])
    @pytest.mark.parametrize("kept", [[], ["15 welcomed"]])
    def test_what_was_never_done_is_applied(self, until, once, kept):
        assert resume.left_out("05 shunned", until, once, kept) is None

    def test_what_holds_to_the_end_is_applied_again(self):
        assert resume.left_out("05 shunned", None, False, PLAN) is None

    def test_what_nothing_has_ended_yet_is_applied_again(self):
        assert resume.left_out("05 shunned", "15 welcomed", False, ["05 shunned", "10 copied"]) is None

    def test_what_a_later_step_has_ended_is_not(self):
        words = "it holds until step '15 welcomed', which has been done"
        assert resume.left_out("05 shunned", "15 welcomed", False, PLAN) == words

    @pytest.mark.parametrize("until", [None, "15 welcomed"])
    def test_what_may_happen_once_is_not(self, until):
        assert resume.left_out("10 copied", until, True, ["10 copied"]) == "it happens once in a run"

    @pytest.mark.parametrize("until", [
        ["10 copied", "10 prepared"], ["10 prepared", "10 copied"], ["10 prepared", "of no plan", "10 copied"]])
    def test_of_several_ways_each_has_an_end_of_its_own(self, until):
        assert resume.left_out("05 shunned", until, False, ["05 shunned"]) is None
        assert resume.left_out("05 shunned", until, False, ["10 copied"]) is None, "it was never done itself"
        for end in ("10 copied", "10 prepared"):
            assert resume.left_out("05 shunned", until, False, ["05 shunned", end]) == (
                f"it holds until step {end!r}, which has been done")
