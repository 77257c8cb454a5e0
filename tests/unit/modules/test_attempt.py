"""attempt: what is refused by the records alone, and what the record of a run begins and goes on with."""

from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

attempt = load("_modules", "attempt")
resume = load("_modules", "resume")
runrecord = load("_modules", "runrecord")
runwords = load("_modules", "runwords")
topology_module = load("_modules", "topology")

RUN = "20260101T000000-7"
NOW = "2026-01-02T03:04:05Z"
THIS = {"started": NOW, "pid": 4711, "who": "alice"}
PLAN = ["00 preflight", "05 shunned", "10 copied"]
DONE = {"run": RUN, "state": "done", "finished": "2026-01-02T00:00:00Z"}


@pytest.fixture
def functions():
    return {
        "resume.done": create_autospec(resume.done, side_effect=resume.done),
        "runrecord.latest": create_autospec(runrecord.latest, return_value=None),
        "runrecord.now": create_autospec(runrecord.now, return_value=NOW),
        "runrecord.reported": create_autospec(runrecord.reported, return_value=None),
        "runwords.command": create_autospec(runwords.command, side_effect=runwords.command),
        "runwords.person": create_autospec(runwords.person, side_effect=runwords.person),
    }


@pytest.fixture
def configure_loader_modules(functions):
    return {attempt: {"__salt__": functions, "__opts__": {"__role": "master", "user": "sudo_alice"}}}


@pytest.fixture(autouse=True)
def process(monkeypatch):
    monkeypatch.setattr(attempt.os, "getpid", lambda: 4711)
    # Of whoever started the master: it says nothing about who ordered the run.
    monkeypatch.setenv("SUDO_USER", "mallory")


def order(**more):
    return {"failed": "east", "definitive": "west", "method": "rsync", "warm": True,
            "replica_method": "xtrabackup", "insist": False, "fresh": False, "donor_lease": 900, **more}


def test_only_on_the_master():
    assert attempt.__virtual__() == "attempt"
    attempt.__opts__["__role"] = "minion"
    assert attempt.__virtual__()[0] is False


class TestRefuseRepetition:
    @pytest.mark.parametrize("previous", [None, {}, {"state": "running"}, {"state": "failed"}, {"state": "aborted"}])
    def test_what_is_not_done_is_not_repeated(self, functions, previous):
        assert attempt.refuse_repetition("east", previous, order()) is None
        functions["runrecord.reported"].assert_not_called()

    def test_insisted(self, functions):
        assert attempt.refuse_repetition("east", DONE, order(insist=True)) is None
        functions["runrecord.reported"].assert_not_called()

    def test_who_approved_a_plan_has_insisted(self, functions):
        assert attempt.refuse_repetition("east", DONE, order(plan="east-20260101T000000-1a2b")) is None
        with pytest.raises(CommandExecutionError, match="There is nothing to repair"):
            attempt.refuse_repetition("east", DONE, order(plan=None))

    @pytest.mark.parametrize("previous, reported, told", [
        (None, None, False), ({"state": "failed"}, None, False), (DONE, None, True),
        (DONE, "2026-01-01T23:59:59Z", True), (DONE, "2026-01-02T00:00:01Z", False)])
    def test_needless_tells_the_same_without_a_refusal(self, functions, previous, reported, told):
        functions["runrecord.reported"].return_value = reported and {"reported": reported, "proved": True}
        why = attempt.needless("east", previous)
        assert why == (told and (
            "There is nothing to repair: site east was re-provisioned and verified at 2026-01-02T00:00:00Z (run "
            f"{RUN}), and no drift of it has been proved since.") or None)

    def test_reported_since(self, functions):
        functions["runrecord.reported"].return_value = {"reported": "2026-01-02T00:00:01Z", "proved": True}
        assert attempt.refuse_repetition("east", DONE, order()) is None
        functions["runrecord.reported"].assert_called_once_with("east")

    def test_reported_since_but_not_proved(self, functions):
        functions["runrecord.reported"].return_value = {"reported": "2026-01-02T00:00:01Z", "proved": False}
        assert attempt.needless("east", DONE).startswith("There is nothing to repair")

    @pytest.mark.parametrize("reported", [None, "2026-01-01T23:59:59Z", "2026-01-02T00:00:00Z"])
    def test_refused_with_the_command_that_insists(self, functions, reported):
        functions["runrecord.reported"].return_value = reported and {"reported": reported, "proved": True}
        with pytest.raises(CommandExecutionError) as error:
            attempt.refuse_repetition("east", DONE, order())
        assert str(error.value) == (
            "There is nothing to repair: site east was re-provisioned and verified at 2026-01-02T00:00:00Z (run "
            f"{RUN}), and no drift of it has been proved since. If you know better, insist: "
            "salt-run state.orch orch.reprovision "
            'pillar=\'{"reprovision": {"failed": "east", "definitive": "west", "method": "rsync", "warm": true, '
            '"replica_method": "xtrabackup", "insist": true}}\'')

    def test_the_command_that_insists_orders_the_same_way_to_copy(self):
        with pytest.raises(CommandExecutionError, match='"method": "rsync", "warm": false, "replica_method"'):
            attempt.refuse_repetition("east", DONE, order(warm=False))

    def test_the_command_that_insists_names_a_donor_only_if_one_was_ordered(self):
        with pytest.raises(CommandExecutionError, match='"donor": "west2"'):
            attempt.refuse_repetition("east", DONE, order(donor="west2"))
        with pytest.raises(CommandExecutionError) as error:
            attempt.refuse_repetition("east", DONE, order(donor=None))
        assert "donor" not in str(error.value)


class TestRefuseHalfBuilt:
    @pytest.mark.parametrize("last", [None, DONE])
    def test_a_site_that_is_whole(self, functions, last):
        functions["runrecord.latest"].return_value = last
        assert attempt.refuse_half_built("west") is None
        functions["runrecord.latest"].assert_called_once_with("west")

    @pytest.mark.parametrize("state", ["running", "failed", "aborted"])
    def test_a_site_that_was_left_unfinished(self, functions, state):
        functions["runrecord.latest"].return_value = {"run": RUN, "state": state}
        with pytest.raises(CommandExecutionError) as error:
            attempt.refuse_half_built("west")
        assert str(error.value) == (
            f"Site west cannot be the definitive one: its own re-provisioning (run {RUN}) has not been completed. "
            "Complete it first, or name another site")


class TestBegin:
    FOUND = {"primaries": {"east": "east1", "west": "west1"}, "donor": "west2", "findings": [], "resumes": False,
             "run": None, "why": "no run of this site is unfinished",
             "facts": {"west2": {"contents": {"datadir": {"bytes": 70}, "log_bin_basename": {"bytes": 7}}},
                       "m1": {"contents": {"datadir": {"bytes": 1000}}}}}

    @pytest.fixture
    def topology(self):
        return topology_module.merge({
            "sites": {"east": {"nodes": {"east1": "m1", "east2": "m2"}}, "west": {"nodes": ["west1", "west2"]}},
            "reprovision": {"failed": "east", "definitive": "west"}}, None)

    def test_the_whole_record(self, topology):
        assert attempt.begin(RUN, order(), self.FOUND, topology, PLAN) == {
            "run": RUN,
            "state": "running",
            "failed": "east",
            "definitive": "west",
            "primary": "east1",
            "donor": "west2",
            "primaries": {"east": "east1", "west": "west1"},
            "method": "rsync",
            "warm": True,
            "replica_method": "xtrabackup",
            "nodes": {"east": {"east1": "m1", "east2": "m2"}, "west": {"west1": "west1", "west2": "west2"}},
            "bytes": 77,
            "started": NOW,
            "plan": PLAN,
            "attempts": [THIS],
            "kept": [],
            "donor_state": "in its site",
            "copied": False,
            "steps": {},
        }

    def test_it_holds_the_way_to_copy(self, topology):
        assert attempt.begin(RUN, order(warm=False), self.FOUND, topology, PLAN)["warm"] is False

    def test_the_primary_is_the_failed_sites(self, topology):
        found = {**self.FOUND, "donor": "east2"}
        run = attempt.begin(RUN, order(failed="west", definitive="east"), found, topology, PLAN)
        assert (run["failed"], run["definitive"], run["primary"]) == ("west", "east", "west1")

    @pytest.mark.parametrize("fact", [{}, {"contents": None}])
    def test_a_donor_that_does_not_tell_how_much_it_has(self, topology, fact):
        assert attempt.begin(RUN, order(), {**self.FOUND, "facts": {"west2": fact}}, topology, PLAN)["bytes"] is None
        assert attempt.begin(RUN, order(), {**self.FOUND, "facts": {}}, topology, PLAN)["bytes"] is None

    @pytest.mark.parametrize("user, who", [
        ("root", "root"), ("sudo_bob", "bob"), ("carol", "carol"), ("Reactor", "event"), (None, "unknown")])
    def test_who_ordered_it(self, topology, user, who):
        attempt.__opts__["user"] = user
        assert attempt.begin(RUN, order(), self.FOUND, topology, PLAN)["attempts"][0]["who"] == who


def record(**more):
    """What an attempt has left behind whose process has died."""
    return {
        "run": RUN, "state": "running", "plan": PLAN, "kept": [], "donor_state": "taken", "copied": True,
        "attempts": [{"started": "2026-01-01T00:00:00Z", "pid": 7, "who": "bob"}],
        "steps": {"00 preflight": {"state": "done", "done_in": 1}, "05 shunned": {"state": "running", "clock": 5.0}},
        **more,
    }  # fmt: skip


class TestGoOn:
    def test_it_is_the_same_record_with_an_attempt_more(self):
        run = record()
        assert attempt.go_on(run, {}) is run
        assert run["attempts"][1:] == [THIS]
        assert {key: run[key] for key in ("run", "plan", "donor_state", "copied")} == {
            key: record()[key] for key in ("run", "plan", "donor_state", "copied")}

    @pytest.mark.parametrize("before, pid", [({}, 7), ({"run": "x"}, 7), ({"run": "x", "pid": 99}, 99)])
    def test_who_has_died_is_the_holder_of_the_lock_or_else_the_attempts_process(self, before, pid):
        assert attempt.go_on(record(), before)["attempts"][0] == {
            **record()["attempts"][0], "ended": "unknown",
            "how": f"its process {pid} has died; its lock was found free and taken over"}

    def test_an_attempt_that_ended_keeps_its_own_words(self):
        ended = {"started": "x", "pid": 7, "who": "bob", "ended": "y", "how": "failed at step '05 shunned'"}
        run = attempt.go_on(record(attempts=[{"pid": 6}, dict(ended)]), {"pid": 99})
        assert run["attempts"] == [{"pid": 6}, ended, THIS], "only the last one is asked why"

    @pytest.mark.parametrize("step, then", [
        ({"state": "running", "clock": 5.0, "done_in": 1}, {"state": "interrupted", "done_in": 1}),
        ({"state": "running"}, {"state": "interrupted"}),
        *[({"state": state, "seconds": 1.5}, {"state": state, "seconds": 1.5})
          for state in ("done", "failed", "interrupted")],
    ])
    def test_only_a_step_that_it_was_at_was_interrupted(self, step, then):
        assert attempt.go_on(record(steps={"05 shunned": dict(step)}), {})["steps"] == {"05 shunned": then}

    def test_what_was_ever_done_is_kept_in_place_of_what_was_kept_before(self):
        steps = {"10 copied": {"state": "failed", "done_in": 1}, "00 preflight": {"state": "done", "done_in": 2}}
        assert attempt.go_on(record(kept=["05 shunned"], steps=steps), {})["kept"] == ["00 preflight", "10 copied"]

    @pytest.mark.parametrize("end", [
        {"state": "failed", "finished": "z"}, {"state": "aborted", "finished": "z"}, {"state": "running"}])
    def test_it_runs_again_and_has_no_end(self, end):
        run = attempt.go_on(record(**end), {})
        assert run["state"] == "running" and "finished" not in run
