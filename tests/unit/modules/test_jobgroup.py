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
        self.known, self.started, self.later = {}, [], {}

    def status(self, name):
        return {"name": name, "log_path": f"/log/{name}.log", **self.known.get(name, ABSENT)}

    def names(self, prefix):
        return sorted(name for name in self.known if name.startswith(prefix))

    def start(self, name, argv, user=None, deadline=None, well=()):
        self.started.append((name, argv, user, deadline, well))
        self.known[name] = job("running")

    def stop_each(self, jobs):
        for name in jobs:
            del self.known[name]
        return jobs

    def put(self, **jobs):
        """``put(copy=…, s0of1=…)``: the job ``copy-1`` itself, and those of the group."""
        self.known.update({"copy-1" if name == "copy" else f"copy-1-{name}": each for name, each in jobs.items()})

    def put_all(self, *jobs):
        """A whole group."""
        self.put(**{f"s{number}of{len(jobs)}": each for number, each in enumerate(jobs)})


@pytest.fixture
def units():
    return Units()


@pytest.fixture
def functions(units):
    return {
        **{f"longjob.{name}": create_autospec(getattr(longjob, name), side_effect=getattr(units, name))
           for name in ("status", "names", "start", "stop_each")},
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
        assert jobgroup.start("copy-1", [["a", "b"], ["c"]], deadline=60) == ["copy-1-s0of2", "copy-1-s1of2"]
        assert units.started == [
            ("copy-1-s0of2", ["a", "b"], None, 60, ()), ("copy-1-s1of2", ["c"], None, 60, ())]
        assert jobgroup.status("copy-1")["state"] == "running"

    def test_codes_that_are_as_good_as_0_are_so_for_each(self, units):
        jobgroup.start("copy-1", [["a"], ["b"]], well=(23, 24))
        assert [well for *_, well in units.started] == [(23, 24), (23, 24)]

    def test_with_no_commands_nothing_is_started(self, units):
        assert jobgroup.start("copy-1", []) == []
        assert units.started == [] and jobgroup.status("copy-1")["state"] == "absent"

    @pytest.mark.parametrize("error", [SaltInvocationError("cannot name a job"), CommandExecutionError("is running")])
    def test_what_cannot_be_started_is_an_error(self, functions, error):
        functions["longjob.start"].side_effect = error
        with pytest.raises(type(error), match=str(error)):
            jobgroup.start("copy-1", [["a"]])

    def test_a_group_that_was_begun_by_half_has_failed(self, units, functions):
        def start(name, argv, **more):
            if name == "copy-1-s1of2":
                raise CommandExecutionError("systemd did not start")
            units.start(name, argv, **more)

        functions["longjob.start"].side_effect = start
        with pytest.raises(CommandExecutionError, match="did not start"):
            jobgroup.start("copy-1", [["a"], ["b"]])
        assert jobgroup.status("copy-1")["state"] == "failed" and jobgroup.stop("copy-1") == ["copy-1-s0of2"]

    def test_so_long_a_name_is_one_of_all_its_jobs(self):
        """16 streams at most, of files with holes and of files without."""
        assert longjob.NAME.fullmatch("x" * 92 + "-s31of32")


class TestOf:
    @pytest.mark.parametrize("job, group", [
        ("copy-1-s0of2", "copy-1"), ("copy-1-s15of16", "copy-1"), ("copy-ahead-0-r-1-s1of2", "copy-ahead-0-r-1"),
        ("copy-1", "copy-1"), ("copy-1-s0", "copy-1-s0"), ("copy-1-s0of", "copy-1-s0of"),
        ("copy-1-sof2", "copy-1-sof2"), ("copy-1-s0of2-x", "copy-1-s0of2-x"),
        ("copy-1s0of2", "copy-1s0of2"), ("copy-1-s0of2-s1of2", "copy-1-s0of2"),
    ])
    def test_which_group_a_job_is_of(self, job, group):
        assert jobgroup.of(job) == group

    def test_each_is_of_the_group_it_was_started_in(self):
        assert [jobgroup.of(job) for job in jobgroup.start("r-1", [["a"]] * 12)] == ["r-1"] * 12


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
        units.put_all(*(job(each, rc=11) for each in states))
        assert jobgroup.status("copy-1")["state"] == state

    def test_seconds_are_of_the_one_that_took_longest_and_each_has_its_log(self, units):
        units.put_all(job("done", 5.0, log="one"), job("running", 7.5, log="two"), job("done", 0.1, log=""))
        assert jobgroup.status("copy-1") == {
            "name": "copy-1", "state": "running", "seconds": 7.5, "logs": ["one", "two", ""], "why": None}

    def test_the_first_that_failed_is_told_in_words(self, units):
        units.put_all(job("done"), job("failed", 2.0, rc=11, log="no space"), job("failed", rc=12))
        assert jobgroup.status("copy-1")["why"] == (
            "The job copy-1-s1of3 ended with exit code 11 after 2.0 s. End of /log/copy-1-s1of3.log:\nno space")

    @pytest.mark.parametrize("state", ["running", "done", "failed"])
    def test_a_single_job_is_a_group(self, units, state):
        units.put(copy=job(state, 3.0, rc=11))
        found = jobgroup.status("copy-1")
        assert (found["state"], found["seconds"], found["logs"]) == (state, 3.0, ["said"])
        assert bool(found["why"]) is (state == "failed")

    @pytest.mark.parametrize("other", [
        "copy-1-again-0", "copy-10", "copy-10-s0of1", "copy-2-s0of1", "copy-1-s0of1-s0of1", "copy-1-s9", "copy-1-stop"])
    def test_other_jobs_are_not_of_it(self, units, other):
        units.put_all(job("done"))
        units.known[other] = job("failed", rc=11)
        assert jobgroup.status("copy-1")["state"] == "done"

    @pytest.mark.parametrize("states", [["running"], ["done"], ["running", "done"]])
    @pytest.mark.parametrize("lost", [0, 1, 2])
    def test_one_that_is_missing_makes_a_group_failed(self, units, states, lost):
        """A reboot, or whoever ended it, took it: nobody has done its part."""
        there = [number for number in range(3) if number != lost][:len(states)]
        units.put(**{f"s{number}of3": job(state) for number, state in zip(there, states, strict=True)})
        found = jobgroup.status("copy-1")
        assert (found["state"], found["why"]) == (
            "failed", f"of the 3 jobs of copy-1 only {len(states)} are there: the others were ended or never begun")

    def test_one_that_has_failed_is_told_before_one_that_is_missing(self, units):
        units.put(s1of3=job("failed", rc=11, log="no space"))
        found = jobgroup.status("copy-1")
        assert found["state"] == "failed" and "no space" in found["why"] and "only" not in found["why"]

    def test_jobs_of_two_beginnings_are_no_group(self, units):
        """As many as one of them wants, and yet neither is whole."""
        units.put(s0of2=job("done"), s1of3=job("done"))
        assert jobgroup.status("copy-1")["state"] == "failed"

    def test_what_ended_with_a_code_as_good_as_0_is_done(self, units):
        units.put_all({**job("done"), "rc": 24}, job("running"))
        assert jobgroup.status("copy-1")["state"] == "running"
        units.put_all({**job("done"), "rc": 24}, job("done"))
        assert (jobgroup.status("copy-1")["state"], jobgroup.status("copy-1")["why"]) == ("done", None)

    def test_what_systemd_does_not_tell_is_an_error(self, functions):
        functions["longjob.names"].side_effect = CommandExecutionError("systemd did not list")
        with pytest.raises(CommandExecutionError, match="did not list"):
            jobgroup.status("copy-1")


class TestWait:
    def test_until_all_have_ended(self, units, naps):
        units.put_all(job("running"), job("running"))
        units.later = {1: {"s0of2": job("done")}, 2: {"s1of2": job("done")}}
        assert jobgroup.wait("copy-1", 60)["state"] == "done"
        assert 2 <= sum(naps) <= 2.5

    def test_until_one_has_failed_whatever_the_others_do(self, units, naps):
        units.put_all(job("running"), job("running"))
        units.later = {1: {"s1of2": job("failed", rc=11)}}
        found = jobgroup.wait("copy-1", 60)
        assert found["state"] == "failed" and "copy-1-s1of2" in found["why"]
        assert 1 <= sum(naps) <= 1.5

    def test_until_one_is_missing(self, units, naps, monkeypatch):
        units.put_all(job("running"), job("running"))
        sleep = time.sleep
        monkeypatch.setattr(time, "sleep", lambda seconds: (sleep(seconds), units.known.pop("copy-1-s0of2", None)))
        found = jobgroup.wait("copy-1", 60)
        assert found["state"] == "failed" and "only 1 are there" in found["why"] and len(naps) == 1

    @pytest.mark.parametrize("timeout, slept", [
        (1.5, [0.1, 0.15, 0.225, 0.3375, 0.5, 0.1875]), (0.05, [0.05]), (0, []), (-1, [])])
    def test_no_longer_than_told(self, units, naps, timeout, slept):
        units.put_all(job("running", 9.0))
        assert jobgroup.wait("copy-1", timeout) == {
            "name": "copy-1", "state": "running", "seconds": 9.0, "logs": ["said"], "why": None}
        assert naps == pytest.approx(slept)

    @pytest.mark.parametrize("state", ["done", "failed", "absent"])
    def test_what_does_not_run_is_not_waited_for(self, units, naps, state):
        if state != "absent":
            units.put_all(job(state, rc=11))
        assert jobgroup.wait("copy-1", 60)["state"] == state and naps == []


class TestStop:
    def test_all_of_them_are_ended_and_forgotten(self, units):
        units.put_all(job("running"), job("done"), job("failed", rc=11))
        assert jobgroup.stop("copy-1") == ["copy-1-s0of3", "copy-1-s1of3", "copy-1-s2of3"]
        assert units.known == {} and jobgroup.status("copy-1")["state"] == "absent"

    def test_a_single_job_too(self, units):
        units.put(copy=job("running"))
        assert jobgroup.stop("copy-1") == ["copy-1"] and units.known == {}

    def test_what_is_left_of_one_that_is_not_whole_too(self, units):
        units.put(s1of3=job("running"), s0of2=job("done"))
        assert jobgroup.stop("copy-1") == ["copy-1-s0of2", "copy-1-s1of3"] and units.known == {}

    def test_other_jobs_go_on(self, units):
        units.put_all(job("running"))
        others = {name: job("running") for name in ("copy-10-s0of1", "copy-1-again-0", "copy-1-s0of1-s0of1")}
        units.known.update(others)
        assert jobgroup.stop("copy-1") == ["copy-1-s0of1"]
        assert units.known == others

    def test_none(self):
        assert jobgroup.stop("copy-1") == []

    def test_one_that_does_not_end_is_an_error(self, units, functions):
        units.put_all(job("running"))
        functions["longjob.stop_each"].side_effect = CommandExecutionError("is running after systemctl stop")
        with pytest.raises(CommandExecutionError, match="is running after"):
            jobgroup.stop("copy-1")
