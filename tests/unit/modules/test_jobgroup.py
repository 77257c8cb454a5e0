"""jobgroup: jobs that are one piece of work, and a single job that is one by itself."""

from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

jobgroup = load("_modules", "jobgroup")
longjob = load("_modules", "longjob")


@pytest.fixture
def known():
    """The jobs that systemd knows, by name."""
    return {}


@pytest.fixture
def functions(known):
    def status(name):
        return known.get(name) or {"name": name, "state": "absent", "rc": None, "seconds": None, "log": ""}

    def stop(name):
        return {"stopped": False, "before": known.pop(name, {"state": "absent"})["state"]}

    return {
        "longjob.status": create_autospec(longjob.status, side_effect=status),
        "longjob.start": create_autospec(longjob.start),
        "longjob.stop": create_autospec(longjob.stop, side_effect=stop),
        "longjob.names": create_autospec(
            longjob.names, side_effect=lambda prefix: [name for name in known if name.startswith(prefix)]),
        "longjob.failure": create_autospec(longjob.failure, side_effect=lambda job: f"{job['name']}: {job['rc']}"),
    }


@pytest.fixture
def configure_loader_modules(functions):
    return {jobgroup: {"__salt__": functions}}


def job(name, state, seconds=1.0, rc=None):
    return {name: {"name": name, "state": state, "seconds": seconds, "rc": 0 if state == "done" else rc,
                   "log": f"log of {name}"}}


def test_it_may_run_anywhere():
    assert jobgroup.__virtual__() == "jobgroup"


class TestStart:
    def test_each_command_is_a_job_of_its_own(self, functions):
        assert jobgroup.start("copy-1", [["a", "b"], ["c"]], deadline=60) == ["copy-1-s0", "copy-1-s1"]
        assert [(call.args, call.kwargs) for call in functions["longjob.start"].call_args_list] == [
            (("copy-1-s0", ["a", "b"]), {"deadline": 60}), (("copy-1-s1", ["c"]), {"deadline": 60})]

    def test_of_no_commands_there_are_no_jobs(self, functions):
        assert jobgroup.start("copy-1", []) == []
        functions["longjob.start"].assert_not_called()
        assert jobgroup.status("copy-1")["state"] == "absent"

    def test_one_that_cannot_be_started_is_an_error(self, functions):
        functions["longjob.start"].side_effect = [None, CommandExecutionError("not started twice")]
        with pytest.raises(CommandExecutionError, match="not started twice"):
            jobgroup.start("copy-1", [["a"], ["b"], ["c"]])
        assert functions["longjob.start"].call_count == 2


class TestStatus:
    @pytest.mark.parametrize("states, state", [
        ([], "absent"),
        (["done"], "done"),
        (["done", "done"], "done"),
        (["running", "done"], "running"),
        (["running", "running"], "running"),
        (["failed", "running"], "failed"),
        (["done", "failed"], "failed"),
    ])
    def test_it_has_failed_as_soon_as_one_has_and_is_done_when_all_are(self, known, states, state):
        for number, each in enumerate(states):
            known.update(job(f"copy-1-s{number}", each, rc=11))
        now = jobgroup.status("copy-1")
        assert (now["name"], now["state"]) == ("copy-1", state)
        assert (now["why"] is not None) == (state == "failed")

    @pytest.mark.parametrize("state", ["running", "done", "failed"])
    def test_a_single_job_is_a_group_of_one(self, known, state):
        known.update(job("copy-1", state, seconds=7.0, rc=11))
        assert jobgroup.status("copy-1") == {
            "name": "copy-1", "state": state, "seconds": 7.0, "logs": ["log of copy-1"],
            "why": "copy-1: 11" if state == "failed" else None}

    def test_one_that_systemd_does_not_know(self):
        assert jobgroup.status("copy-1") == {
            "name": "copy-1", "state": "absent", "seconds": None, "logs": [], "why": None}

    def test_it_takes_as_long_as_the_one_that_takes_longest(self, known):
        known.update({**job("copy-1-s0", "done", 3.0), **job("copy-1-s1", "running", 9.0),
                      **job("copy-1-s2", "done", 5.0)})
        now = jobgroup.status("copy-1")
        assert now["seconds"] == 9.0 and now["logs"] == [f"log of copy-1-s{number}" for number in range(3)]

    def test_jobs_of_other_groups_are_none_of_it(self, known):
        known.update({**job("copy-10", "failed", rc=1), **job("copy-10-s0", "failed", rc=1), **job("copy-1-s0", "done"),
                      **job("copy-0-s1", "running")})
        assert jobgroup.status("copy-1")["state"] == "done"

    @pytest.mark.parametrize("rc, harmless, state", [
        (24, (24,), "done"), (24, (), "failed"), (23, (24,), "failed"), (23, (24, 23), "done"),
        (None, (24,), "failed")])
    def test_a_harmless_exit_code_is_as_good_as_none(self, known, rc, harmless, state):
        known.update({**job("copy-1-s0", "done"), **job("copy-1-s1", "failed", rc=rc)})
        now = jobgroup.status("copy-1", harmless)
        assert now["state"] == state and now["why"] == (f"copy-1-s1: {rc}" if state == "failed" else None)

    def test_the_first_that_has_really_failed_is_told(self, known):
        known.update({**job("copy-1-s0", "failed", rc=24), **job("copy-1-s1", "failed", rc=12),
                      **job("copy-1-s2", "failed", rc=11)})
        assert jobgroup.status("copy-1", (24,))["why"] == "copy-1-s1: 12"


class TestWait:
    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch):
        """Nobody waits: each sleep puts the clock forward, and calls what is to happen then."""
        now = SimpleNamespace(seconds=0.0, happens=lambda: None)

        def sleep(seconds):
            now.seconds += seconds
            now.happens()

        monkeypatch.setattr(jobgroup, "time", SimpleNamespace(monotonic=lambda: now.seconds, sleep=sleep))
        return now

    @pytest.mark.parametrize("state", ["done", "failed", "absent"])
    def test_what_has_ended_is_not_waited_for(self, known, clock, state):
        if state != "absent":
            known.update(job("copy-1-s0", state, rc=11))
        assert jobgroup.wait("copy-1", 60)["state"] == state and clock.seconds == 0

    @pytest.mark.parametrize("state", ["done", "failed"])
    def test_until_it_ends(self, known, clock, state):
        known.update(job("copy-1-s0", "running"))
        clock.happens = lambda: clock.seconds >= 7 and known.update(job("copy-1-s0", state, rc=11))
        assert jobgroup.wait("copy-1", 60)["state"] == state and clock.seconds == 7

    def test_one_that_fails_ends_the_waiting_for_the_others(self, known, clock):
        known.update({**job("copy-1-s0", "running"), **job("copy-1-s1", "running")})
        clock.happens = lambda: known.update(job("copy-1-s1", "failed", rc=11))
        assert jobgroup.wait("copy-1", 60)["state"] == "failed" and clock.seconds == jobgroup.PAUSE

    @pytest.mark.parametrize("timeout", [0, 0.2, 5])
    def test_no_longer_than_it_is_told(self, known, clock, timeout):
        known.update(job("copy-1-s0", "running"))
        assert jobgroup.wait("copy-1", timeout)["state"] == "running" and clock.seconds == pytest.approx(timeout)

    def test_what_is_harmless_is_as_good_as_done(self, known):
        known.update(job("copy-1", "failed", rc=24))
        assert jobgroup.wait("copy-1", 60, (24,))["state"] == "done"


def test_all_of_a_group_are_stopped_and_nothing_else(known):
    known.update({**job("copy-1", "done"), **job("copy-1-s0", "running"), **job("copy-1-s1", "failed"),
                  **job("copy-10-s0", "running")})
    assert jobgroup.stop("copy-1") == ["copy-1", "copy-1-s0", "copy-1-s1"]
    assert list(known) == ["copy-10-s0"]
    assert jobgroup.stop("copy-1") == []
