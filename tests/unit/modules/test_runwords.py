"""runwords: what people read before a run and after it has stopped, and what they are told to type."""

import copy
import json
import shlex
import time
from unittest.mock import create_autospec

import pytest

from tests.support.loader import load

runwords = load("_modules", "runwords")
readiness = load("_modules", "readiness")

STEPS = ["00 preflight", "05 shunned", "10 copied", "15 welcomed"]
AGAIN = ("salt-run state.orch orch.reprovision "
         'pillar=\'{"reprovision": {"failed": "east", "definitive": "west", "donor": "west3", "method": "rsync", '
         '"warm": true, "replica_method": "xtrabackup"}}\'')
WILL = ("Site east (east1, east2; primary east1) will be rebuilt from west, by a copy of west3. Transactions that only "
        "east has will be lost.")


@pytest.fixture
def configure_loader_modules():
    return {runwords: {"__salt__": {"readiness.text": create_autospec(readiness.text, side_effect=readiness.text)}}}


def record(*done, **more):
    return {
        "run": "20260101T000000-7", "state": "failed", "failed": "east", "definitive": "west", "primary": "east1",
        "donor": "west3", "method": "rsync", "warm": True, "replica_method": "xtrabackup",
        "donor_state": "in its site", "donor_lease": 900,
        "nodes": {"east": {"east1": "m1", "east2": "m2"}, "west": {"west3": "m3"}}, "plan": STEPS,
        "attempts": [{}], "kept": [], "steps": {name: {"state": "done"} for name in done}, **more,
    }  # fmt: skip


def finding(level, node="m1"):
    return {"node": node, "level": level, "what": "the clock is off", "do": "Set it."}


def test_it_may_run_anywhere():
    assert runwords.__virtual__() == "runwords"


class TestCommand:
    @pytest.mark.parametrize("nothing", [(), (None,), ({},)])
    def test_the_standing_order(self, nothing):
        assert runwords.command(*nothing) == "salt-run state.orch orch.reprovision"

    def test_an_order_of_its_own(self):
        assert runwords.command({"failed": "east", "definitive": "west", "insist": True}) == (
            "salt-run state.orch orch.reprovision "
            'pillar=\'{"reprovision": {"failed": "east", "definitive": "west", "insist": true}}\'')

    def test_it_goes_on_with_what_the_run_was_begun_with(self):
        assert runwords.again(record()) == AGAIN
        assert runwords.again(record(warm=False)) == AGAIN.replace('"warm": true', '"warm": false')

    def test_a_run_of_an_older_release_says_nothing_of_what_it_did_not_know(self):
        run = record()
        del run["warm"]
        assert runwords.again(run) == AGAIN.replace('"warm": true, ', "")

    def test_a_run_under_a_plan_goes_on_under_it(self):
        run = record(plan_id="east-20260101T000000-1a2b")
        assert runwords.again(run) == AGAIN.replace('"}}', '", "plan": "east-20260101T000000-1a2b"}}')
        assert runwords.again(record(plan_id=None)) == AGAIN

    @pytest.mark.parametrize("user, who", [
        ("root", "root"), ("sudo_alice", "alice"), ("alice", "alice"), ("sudo_sudo_alice", "sudo_alice"),
        ("Reactor", "event"), ("UNKNOWN", "unknown"), ("", "unknown"), ("sudo_", "unknown"), (None, "unknown"),
        (["alice"], "unknown")])
    def test_a_person_is_the_same_in_whichever_way_she_comes(self, user, who):
        assert runwords.person(user) == who

    def test_a_shell_hands_salt_the_whole_order(self):
        order = {"failed": "east", "definitive": "THE GOOD SITE", "donor": None}
        *words, pillar = shlex.split(runwords.command(order))
        assert words == ["salt-run", "state.orch", "orch.reprovision"]
        name, _, value = pillar.partition("=")
        assert name == "pillar" and json.loads(value) == {"reprovision": order}


class TestPlan:
    def found(self, *findings, resumes=False):
        return {"resumes": resumes, "why": None if resumes else "the nodes are others", "findings": list(findings)}

    @pytest.mark.parametrize("previous", [None, {}, {"state": "done"}], ids=["none", "empty", "done"])
    def test_a_first_run(self, previous):
        assert runwords.plan(record(), previous, self.found()) == WILL

    @pytest.mark.parametrize("state", ["running", "failed", "aborted"])
    def test_an_unfinished_run_that_is_not_gone_on_with(self, state):
        plan = runwords.plan(record(), {"state": state}, self.found())
        assert plan == f"{WILL} From the beginning: the nodes are others."

    @pytest.mark.parametrize("kept, last", [([], "none"), (STEPS[:1], STEPS[0]), (STEPS[:3], STEPS[2])])
    def test_a_run_that_goes_on(self, kept, last):
        run = record(attempts=[{}, {}, {}], kept=kept)
        assert runwords.plan(run, run, self.found(resumes=True)) == (
            f"{WILL} Attempt 3 goes on after the last step done, '{last}'.")

    def test_each_warning_stands_on_its_own_line_and_errors_are_not_among_them(self):
        findings = [finding("warning"), finding("error", "m2"), finding("warning", "m3")]
        assert runwords.plan(record(), None, self.found(*findings)).split("\n") == [
            WILL, "  WARNING m1: the clock is off - Set it.", "  WARNING m3: the clock is off - Set it."]

    def test_it_changes_nothing(self):
        given = [record(), {"state": "failed"}, self.found(finding("error"))]
        before = copy.deepcopy(given)
        runwords.plan(*given)
        assert given == before


class TestHowToGoOn:
    LAST = f"When the cause is removed, run it again: it looks at what has been done and goes on from there. {AGAIN}"
    SERVED = ("Site east stays in MAINTENANCE with its routers offline, unless step 19 has been reached: "
              "nobody is served half-built data.")
    TIMER = ("A timer on it does so once its lease of 900 s has run out and no copy runs; by hand: start mysqld on it, "
             "then cctrl> datasource west3 recover")

    def lines(self, run):
        return runwords.how_to_go_on(run, "05 shunned").split("\n")

    @pytest.mark.parametrize("count", [0, 1])
    def test_before_the_first_change(self, count):
        assert self.lines(record(*STEPS[:count])) == [
            f"The run stopped at step '05 shunned'; done are {count} of 4 steps.", self.LAST]

    @pytest.mark.parametrize("count", [2, 4])
    def test_after_it_nobody_is_served(self, count):
        assert self.lines(record(*STEPS[:count])) == [
            f"The run stopped at step '05 shunned'; done are {count} of 4 steps.", self.SERVED, self.LAST]

    @pytest.mark.parametrize("state", ["failed", "running", "interrupted"])
    def test_only_what_is_done_in_the_end_and_in_the_plan_counts(self, state):
        run = record(STEPS[0], "of another plan")
        run["steps"][STEPS[1]] = {"state": state, "done_in": 1}
        assert self.lines(run)[0] == "The run stopped at step '05 shunned'; done are 1 of 4 steps."

    @pytest.mark.parametrize("trouble, told", [
        ({}, ""), ({"donor_trouble": None}, ""), ({"donor_trouble": "ValueError: gone"}, " (ValueError: gone)")])
    def test_a_donor_that_is_still_out(self, trouble, told):
        assert self.lines(record(donor_state="taken", **trouble))[1:] == [
            f"The donor west3 is out of service, and could not be given back{told}. {self.TIMER}", self.LAST]

    def test_a_donor_that_is_back(self):
        run = record(donor_state="returned", donor_trouble="of the first time")
        assert self.lines(run)[1:] == ["The donor west3 is back in its site.", self.LAST]

    def test_the_site_comes_before_the_donor(self):
        words = self.lines(record(*STEPS[:2], donor_state="returned"))
        assert words[1:] == [self.SERVED, "The donor west3 is back in its site.", self.LAST]


LATE = " 90  100%  2.0kB/s  0:00:00 (xfr#3)"


@pytest.mark.parametrize("logs, expected", [
    ([], {}),
    ([""], {}),
    ([None], {}),
    (["sending incremental file list", None], {}),
    (["      1,234,567  45%   10.00MB/s    0:00:10"], {"bytes": 1234567, "percent": 45, "rate": "10.5 MB/s"}),
    ([f"a 99% of all\n  5  1%  1.0kB/s  0:00:01\n{LATE}"], {"bytes": 90, "percent": 100, "rate": "2.0 kB/s"}),
    (["  0   0%    0.00kB/s    0:00:00"], {"bytes": 0, "percent": 0, "rate": "0 bytes/s"}),
    (["  512   2%    3.50B/s    0:00:00"], {"bytes": 512, "percent": 2, "rate": "4 bytes/s"}),
    ([" 1,000  10%  1.00TB/s  0:00:01"], {"bytes": 1000, "percent": 10, "rate": "1.1 TB/s"}),
])
def test_progress_is_what_rsync_said_last(logs, expected):
    assert runwords.copy_progress(logs) == expected


@pytest.mark.parametrize("logs, expected", [
    # Half of 2000 and a quarter of 4000.
    (["1,000  50%  1.00MB/s  0:00:01", "1,000  25%  2.00MB/s  0:00:01"], (2000, 33, "3.1 MB/s")),
    (["1,000  50%  1.00MB/s  0:00:01", "", None], (1000, 50, "1.0 MB/s")),
    ([LATE, LATE], (180, 100, "4.1 kB/s")),
    # One has all of it behind it, the other one nothing: how much that is nobody knows yet.
    ([LATE, "0  0%  0.00kB/s  0:00:00"], (90, 100, "2.0 kB/s")),
    (["1,000  50%  1.00kB/s  0:00:01", "3,000,000,000  0%  1.00kB/s  0:00:01"], (3000001000, 1, "2.0 kB/s")),
    (["1,000  99%  1.00GB/s  0:00:01", "1  1%  1.00kB/s  0:00:01"], (1001, 90, "1.1 GB/s")),
])
def test_of_several_that_go_side_by_side_it_is_of_all_together(logs, expected):
    assert tuple(runwords.copy_progress(logs).values()) == expected


@pytest.mark.parametrize("log", [
    ",,  45%  1.00MB/s", "1,000  45%  1.0.0MB/s", f"1,000  45%  {'9' * 400}MB/s", f"{'9' * 5000}  45%  1.00MB/s",
    "1,000  450%  1.00MB/s"])
def test_what_is_no_progress_is_none(log):
    assert runwords.copy_progress([log]) == {}


def test_empty_lines_are_not_gone_through_again_and_again():
    began = time.monotonic()
    assert runwords.copy_progress(["\n" * 200_000]) == {} and time.monotonic() - began < 3


@pytest.mark.parametrize("seconds, told", [
    (None, "unknown"), (0, "0 s"), (59, "59 s"), (4.2, "4.2 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"),
    (7325, "2 h 02 min")])
def test_durations(seconds, told):
    assert runwords.duration(seconds) == told


@pytest.mark.parametrize("count, told", [
    (None, "unknown"), (0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (10**9, "1.0 GB"),
    (5 * 10**15, "5000.0 TB")])
def test_sizes(count, told):
    assert runwords.size(count) == told
