"""jobgroup: several jobs that are one piece of work."""

import time
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

jobgroup = load("_modules", "jobgroup")
longjob = load("_modules", "longjob")

ABSENT = {"state": "absent", "seconds": None, "rc": None, "log": ""}


def job(state, seconds=1.0, rc=None, log="said", outcome="exit-code"):
    return {"state": state, "seconds": seconds, "rc": 0 if state == "done" else rc, "log": log, "outcome": outcome}


class Units:
    """``longjob`` over units that are what ``known`` says; ``later`` makes them something else while time passes."""

    def __init__(self):
        self.known, self.started, self.stopped, self.later = {}, [], [], {}

    def status(self, name):
        return {"name": name, "log_path": f"/log/{name}.log", **self.known.get(name, ABSENT)}

    def names(self, prefix):
        return sorted(name for name in self.known if name.startswith(prefix))

    def start(self, name, argv, user=None, deadline=None, well=()):
        self.started.append((name, argv, user, deadline, well))
        self.known[name] = job("running")

    def stop(self, name):
        before = self.known.pop(name, ABSENT)["state"]
        self.stopped.append(name)
        return {"stopped": before == "running", "before": before}

    def put(self, **jobs):
        """``put(copy=…, s0of1=…)``: the job ``copy-1`` itself, and those of the group."""
        self.known.update({"copy-1" if name == "copy" else f"copy-1-{name}": each for name, each in jobs.items()})


@pytest.fixture
def units():
    return Units()


@pytest.fixture
def functions(units):
    return {
        **{f"longjob.{name}": create_autospec(getattr(longjob, name), side_effect=getattr(units, name))
           for name in ("status", "names", "start", "stop")},
        "longjob.failure": longjob.failure,
    }


@pytest.fixture
def configure_loader_modules(functions):
    return {jobgroup: {"__salt__": functions}}


@pytest.fixture
def naps(units, monkeypatch):
    """Time passes only by sleeping; at each second of ``units.later`` the units become what stands there."""
    now, naps = [1000.0], []

    def sleep(seconds):
        naps.append(seconds)
        now[0] += seconds
        for at in [at for at in units.later if 1000 + at <= now[0]]:
            units.put(**units.later.pop(at))

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return naps


class TestStart:
    def test_each_command_is_a_job_of_its_own_with_the_same_deadline(self, units):
        assert jobgroup.start("copy-1", [["a", "b"], ["c"]], deadline=60) == ["copy-1-s0", "copy-1-s1"]
        assert units.started == [("copy-1-s0", ["a", "b"], None, 60), ("copy-1-s1", ["c"], None, 60)]

    def test_with_no_commands_nothing_is_started(self, units):
        assert jobgroup.start("copy-1", []) == []
        assert units.started == [] and jobgroup.status("copy-1")["state"] == "absent"

    @pytest.mark.parametrize("error", [SaltInvocationError("cannot name a job"), CommandExecutionError("is running")])
    def test_what_cannot_be_started_is_an_error(self, functions, error):
        functions["longjob.start"].side_effect = error
        with pytest.raises(type(error), match=str(error)):
            jobgroup.start("copy-1", [["a"]])

    def test_so_long_a_name_is_one_of_all_its_jobs(self):
        """16 streams at most."""
        assert longjob.NAME.fullmatch("x" * 75 + "-s15")


class TestStatus:
    def test_none(self):
        assert jobgroup.status("copy-1") == {
            "name": "copy-1", "state": "absent", "seconds": None, "logs": [], "why": None}

    @pytest.mark.parametrize("states, state", [
        (["running"], "running"), (["done"], "done"), (["failed"], "failed"),
        (["running", "running"], "running"), (["done", "running"], "running"), (["running", "done"], "running"),
        (["done", "done"], "done"), (["failed", "running"], "failed"), (["done", "failed"], "failed"),
        (["running", "done", "failed"], "failed"),
    ])
    def test_it_is_as_all_of_its_jobs_are(self, units, states, state):
        units.put(**{f"s{number}": job(each, rc=11) for number, each in enumerate(states)})
        assert jobgroup.status("copy-1")["state"] == state

    def test_seconds_are_of_the_one_that_took_longest_and_each_has_its_log(self, units):
        units.put(s0=job("done", 5.0, log="one"), s1=job("running", 7.5, log="two"), s2=job("done", 0.1, log=""))
        assert jobgroup.status("copy-1") == {
            "name": "copy-1", "state": "running", "seconds": 7.5, "logs": ["one", "two", ""], "why": None}

    def test_the_first_that_failed_is_told_in_words(self, units):
        units.put(s0=job("done"), s1=job("failed", 2.0, rc=11, log="no space"), s2=job("failed", rc=12))
        assert jobgroup.status("copy-1")["why"] == (
            "The job copy-1-s1 ended with exit code 11 after 2.0 s. End of /log/copy-1-s1.log:\nno space")

    @pytest.mark.parametrize("state", ["running", "done", "failed"])
    def test_a_single_job_is_a_group(self, units, state):
        units.put(copy=job(state, 3.0, rc=11))
        found = jobgroup.status("copy-1")
        assert (found["state"], found["seconds"], found["logs"]) == (state, 3.0, ["said"])
        assert bool(found["why"]) is (state == "failed")

    @pytest.mark.parametrize("other", ["copy-1-again-0", "copy-10", "copy-10-s0", "copy-2-s0"])
    def test_other_jobs_are_not_of_it(self, units, other):
        units.put(s0=job("done"))
        units.known[other] = job("failed", rc=11)
        assert jobgroup.status("copy-1")["state"] == "done"

    @pytest.mark.parametrize("harmless, state, why", [
        ((), "failed", "exit code 24"), ((24,), "done", None), ((11, 24), "done", None), ((11,), "failed", "code 24")])
    def test_some_codes_may_be_as_good_as_0(self, units, harmless, state, why):
        units.put(s0=job("failed", rc=24), s1=job("done"))
        found = jobgroup.status("copy-1", harmless)
        assert found["state"] == state and (why in found["why"] if why else found["why"] is None)

    def test_a_harmless_one_hides_no_other(self, units):
        units.put(s0=job("failed", rc=24), s1=job("failed", rc=11), s2=job("running"))
        found = jobgroup.status("copy-1", (24,))
        assert found["state"] == "failed" and "copy-1-s1" in found["why"]
        units.put(s1=job("done"))
        assert jobgroup.status("copy-1", (24,))["state"] == "running"

    @pytest.mark.parametrize("rc", [None, -24, 0])
    def test_what_a_signal_or_the_deadline_ended_is_never_harmless(self, units, rc):
        units.put(s0=job("failed", rc=rc, outcome="timeout"))
        assert jobgroup.status("copy-1", (24,))["state"] == "failed"

    def test_what_systemd_does_not_tell_is_an_error(self, functions):
        functions["longjob.names"].side_effect = CommandExecutionError("systemd did not list")
        with pytest.raises(CommandExecutionError, match="did not list"):
            jobgroup.status("copy-1")


class TestWait:
    def test_until_all_have_ended(self, units, naps):
        units.put(s0=job("running"), s1=job("running"))
        units.later = {1: {"s0": job("done")}, 2: {"s1": job("done")}}
        assert jobgroup.wait("copy-1", 60)["state"] == "done"
        assert sum(naps) == 2

    def test_until_one_has_failed_whatever_the_others_do(self, units, naps):
        units.put(s0=job("running"), s1=job("running"))
        units.later = {1: {"s1": job("failed", rc=11)}}
        found = jobgroup.wait("copy-1", 60)
        assert found["state"] == "failed" and "copy-1-s1" in found["why"] and sum(naps) == 1

    def test_a_harmless_one_is_not_waited_for_and_the_others_are(self, units, naps):
        units.put(s0=job("failed", rc=24), s1=job("running"))
        units.later = {3: {"s1": job("done")}}
        assert jobgroup.wait("copy-1", 60, (24,))["state"] == "done"
        assert sum(naps) == 3

    @pytest.mark.parametrize("timeout, slept", [(1.2, [0.5, 0.5, 0.2]), (0.1, [0.1]), (0, []), (-1, [])])
    def test_no_longer_than_told(self, units, naps, timeout, slept):
        units.put(s0=job("running", 9.0))
        assert jobgroup.wait("copy-1", timeout) == {
            "name": "copy-1", "state": "running", "seconds": 9.0, "logs": ["said"], "why": None}
        assert naps == pytest.approx(slept)

    @pytest.mark.parametrize("state", ["done", "failed", "absent"])
    def test_what_does_not_run_is_not_waited_for(self, units, naps, state):
        if state != "absent":
            units.put(s0=job(state, rc=11))
        assert jobgroup.wait("copy-1", 60)["state"] == state and naps == []


class TestStop:
    def test_all_of_them_are_ended_and_forgotten(self, units):
        units.put(s0=job("running"), s1=job("done"), s2=job("failed", rc=11))
        assert jobgroup.stop("copy-1") == ["copy-1-s0", "copy-1-s1", "copy-1-s2"]
        assert units.known == {} and jobgroup.status("copy-1")["state"] == "absent"

    def test_a_single_job_too(self, units):
        units.put(copy=job("running"))
        assert jobgroup.stop("copy-1") == ["copy-1"] and units.known == {}

    def test_other_jobs_go_on(self, units):
        units.put(s0=job("running"))
        units.known.update({"copy-10-s0": job("running"), "copy-1-again-0": job("running")})
        assert jobgroup.stop("copy-1") == ["copy-1-s0"]
        assert set(units.known) == {"copy-10-s0", "copy-1-again-0"}

    def test_none(self):
        assert jobgroup.stop("copy-1") == []

    def test_one_that_does_not_end_is_an_error(self, units, functions):
        units.put(s0=job("running"))
        functions["longjob.stop"].side_effect = CommandExecutionError("is running after systemctl stop")
        with pytest.raises(CommandExecutionError, match="is running after"):
            jobgroup.stop("copy-1")
