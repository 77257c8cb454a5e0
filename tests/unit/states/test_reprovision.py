"""The orchestration's steps on the master: roles, records, refusals, and what is said when a step fails."""

import copy
import itertools
import time
from types import SimpleNamespace
from unittest.mock import Mock, call, create_autospec

import pytest
import salt.states.saltmod
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

reprovision = load("_states", "reprovision")
applied = load("_modules", "applied")
attempt = load("_modules", "attempt")
topology = load("_modules", "topology")
fleet = load("_modules", "fleet")
datacopy = load("_modules", "datacopy")
longjob = load("_modules", "longjob")
readiness = load("_modules", "readiness")
resume = load("_modules", "resume")
runlock = load("_modules", "runlock")
survey = load("_modules", "survey")
verify = load("_modules", "verify")
planning = load("_modules", "planning")
plans = load("_modules", "plans")
runrecord = load("_modules", "runrecord")
driftfindings = load("_modules", "driftfindings")
runwords = load("_modules", "runwords")
siteview = load("_modules", "siteview")
notify = load("_modules", "notify")

TUNGSTEN = {
    "sites": {
        "east": {"nodes": {"east1": "m1", "east2": "m2", "east3": "m3"}},
        "west": {"nodes": ["west1", "west2", "west3"]},
        "north": {"nodes": ["north1"]},
    },
    "reprovision": {"failed": "east", "definitive": "west"},
}
PRIMARIES = {"east": "east1", "west": "west1", "north": "north1"}
FOUND = {"findings": [], "primaries": PRIMARIES, "donor": "west3", "resumes": False, "run": None,
         "why": "no run is unfinished", "facts": {"m1": {"node": {"host": "east1"}}}}
STANDING = {"east": {"primary": "east1", "wrong": ["m2: it lags"]}, "west": {"primary": "west1", "wrong": []}}
PLAN = ["00 preflight", "01 policy", "06 donor shunned", "11 donor given back", "verified", "complete"]


FIRE = reprovision._fire


def compare(minions, sources=None):
    """The signature of ``tablecompare.run``."""


class Minions:
    """The nodes behind ``salt.state``. Like Salt's own it only names unchanged nodes, at the end."""

    def __init__(self):
        self.answers = {}
        self.calls = []

    def state(self, name, tgt, **kwargs):
        self.calls.append((list(tgt), kwargs))
        returned, failed, unchanged = {}, [], []
        for minion in tgt:
            answer = self.answers.get(minion, "changed")
            if answer == "changed":
                returned[minion] = states(minion, True, {"old": 1, "new": 2})
            elif answer == "unchanged":
                unchanged.append(minion)
            elif answer == "missing":
                continue
            else:
                failed.append(minion)
                returned[minion] = answer
        if failed:
            comment = f"Run failed on minions: {', '.join(failed)}"
        else:
            comment = "States ran successfully."
            if returned:
                comment += f" Updating {', '.join(returned)}."
            if unchanged:
                comment += f" No changes made to {', '.join(unchanged)}."
        changes = {"out": "highstate", "ret": returned} if returned else {}
        result = not failed
        if reprovision.__opts__["test"] and returned and result:
            result = None
        return {"name": name, "result": result, "comment": comment, "changes": changes}


def states(minion, result, changes, comment="done"):
    first = {
        "comment": "was there",
        "result": True,
        "changes": {},
        "__run_num__": 0,
        "__id__": "a",
        "name": "a",
    }
    second = {
        "comment": f"{minion}: {comment}",
        "result": result,
        "changes": changes,
        "__run_num__": 1,
        "__id__": "b",
        "name": "b",
    }
    return {"cctrl_|-b_|-b_|-policy": second, "cctrl_|-a_|-a_|-ls": first}


@pytest.fixture
def minions():
    return Minions()


@pytest.fixture
def functions():
    return {
        "applied.read": create_autospec(applied.read, side_effect=applied.read),
        "attempt.refuse_repetition": create_autospec(
            attempt.refuse_repetition, side_effect=attempt.refuse_repetition),
        "attempt.refuse_half_built": create_autospec(
            attempt.refuse_half_built, side_effect=attempt.refuse_half_built),
        "attempt.begin": create_autospec(attempt.begin, side_effect=attempt.begin),
        "attempt.go_on": create_autospec(attempt.go_on, side_effect=attempt.go_on),
        "plans.admit": create_autospec(plans.admit, return_value=None),
        "plans.use": create_autospec(plans.use), "plans.begun": create_autospec(plans.begun, return_value=[]),
        "siteview.look": create_autospec(siteview.look, side_effect=lambda *_: copy.deepcopy(STANDING)),
        "siteview.of_facts": create_autospec(siteview.of_facts, side_effect=lambda *_: copy.deepcopy(STANDING)),
        "notify.of_run": create_autospec(notify.of_run), "notify.send": create_autospec(notify.send),
        "runwords.command": create_autospec(runwords.command, side_effect=runwords.command),
        "runwords.person": runwords.person,
        "runwords.plan": create_autospec(runwords.plan, side_effect=runwords.plan),
        "runwords.how_to_go_on": create_autospec(runwords.how_to_go_on, side_effect=runwords.how_to_go_on),
        "topology.merge": create_autospec(topology.merge, side_effect=topology.merge),
        "topology.way": create_autospec(topology.way, side_effect=topology.way),
        "survey.take": create_autospec(survey.take, side_effect=lambda *_: copy.deepcopy(FOUND)),
        "readiness.text": readiness.text,
        "resume.done": resume.done,
        "resume.left_out": resume.left_out,
        "runlock.acquire": create_autospec(runlock.acquire, return_value={}),
        "runlock.sign": create_autospec(runlock.sign, return_value=2),
        "runlock.unclaim": create_autospec(runlock.unclaim, return_value=True),
        "runlock.keep": create_autospec(runlock.keep, return_value=True),
        "runlock.release": create_autospec(runlock.release, return_value=2),
        "runrecord.latest": create_autospec(runrecord.latest, side_effect=runrecord.latest),
        "runrecord.reported": create_autospec(runrecord.reported, return_value=None),
        "runrecord.now": create_autospec(runrecord.now, side_effect=runrecord.now),
        "runrecord.save": create_autospec(runrecord.save, side_effect=runrecord.save),
        "runrecord.asked_to_stop": create_autospec(runrecord.asked_to_stop, return_value=None),
        "runrecord.forget_stop": create_autospec(runrecord.forget_stop, return_value=True),
        "fleet.ask": create_autospec(fleet.ask, return_value={}),
        "fleet.gather": create_autospec(fleet.gather),
        "runwords.copy_progress": runwords.copy_progress,
        "verify.services": create_autospec(verify.services, return_value={}),
        "verify.heartbeats": create_autospec(verify.heartbeats, return_value={"east": 1, "west": 9}),
        "tablecompare.run": create_autospec(compare, return_value={"equal": True, "tables": 3, "rows": 70}),
        "driftfindings.briefly": create_autospec(
            driftfindings.briefly, side_effect=lambda compared: f"{compared['differing']} differ"),
    }


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Nobody waits: each sleep puts the clock forward by what was to be slept."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(reprovision, "time", SimpleNamespace(
        time=lambda: now.seconds, monotonic=lambda: now.seconds, gmtime=time.gmtime, strftime=time.strftime,
        sleep=lambda seconds: setattr(now, "seconds", now.seconds + seconds)))
    return now


@pytest.fixture
def events(monkeypatch):
    fired = create_autospec(reprovision._fire)
    monkeypatch.setattr(reprovision, "_fire", fired)
    return fired


@pytest.fixture(autouse=True)
def lowstate(monkeypatch):
    chunks = [{"name": name, "state": "reprovision"} for name in PLAN] + [{"name": "x", "state": "test"}]
    monkeypatch.setattr(reprovision, "__lowstate__", chunks, raising=False)


@pytest.fixture
def configure_loader_modules(functions, minions, tmp_path, events):
    opts = {"test": False, "__role": "master", "cachedir": str(tmp_path), "user": "root"}
    state = create_autospec(salt.states.saltmod.state, side_effect=minions.state)
    return {
        reprovision: {
            "__salt__": functions,
            "__states__": {"salt.state": state},
            "__opts__": opts,
            "__context__": {},
            "__pillar__": {"tungsten": copy.deepcopy(TUNGSTEN)},
        },
        attempt: {"__salt__": functions, "__opts__": opts},
        runrecord: {"__opts__": opts},
        runwords: {"__salt__": functions},
    }


@pytest.fixture
def begun():
    """A run whose preflight is done."""
    assert reprovision.preflight("00 preflight")["result"] is True


def saved():
    return runrecord.latest("east")


def step(name="01 policy", nodes="failed primary", **more):
    return reprovision.step(
        name, **{"nodes": nodes, "sls": "orch.node.policy", "expect_minions": True, **more}
    )


def targets(minions):
    return [target for target, _ in minions.calls]


def set_test(yes):
    reprovision.__opts__["test"] = yes


def test_only_on_the_master():
    assert reprovision.__virtual__() == "reprovision"
    reprovision.__opts__["__role"] = "minion"
    assert reprovision.__virtual__()[0] is False


def previously(**more):
    """What an earlier attempt has left on record: half the plan done, then its process died."""
    step_done = {"state": "done", "done_in": 1, "comment": "done"}
    record = {
        "run": "20260101T000000-7", "state": "running", "failed": "east", "definitive": "west", "primary": "east1",
        "donor": "west3", "primaries": PRIMARIES, "method": "rsync", "warm": True,
        "replica_method": "xtrabackup", "plan": PLAN,
        "nodes": {"east": {"east1": "m1", "east2": "m2", "east3": "m3"},
                  "west": {name: name for name in ("west1", "west2", "west3")}, "north": {"north1": "north1"}},
        "attempts": [{"started": "2026-01-01T00:00:00Z", "pid": 7, "who": "bob"}], "kept": [], "copied": False,
        "donor_state": "taken",
        "steps": {"00 preflight": dict(step_done), "01 policy": dict(step_done),
                  "06 donor shunned": {"state": "running", "clock": 5.0}},
        **more,
    }  # fmt: skip
    runrecord.save(record)
    return record


def resumes(functions):
    functions["survey.take"].side_effect = lambda *_: {
        **copy.deepcopy(FOUND), "resumes": True, "run": "20260101T000000-7", "why": None}


class TestPreflight:
    def test_freezes_the_roles_and_begins_the_record(self, functions, events):
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is True and ret["changes"] == {}
        assert "by a copy of west3" in ret["comment"] and "will be lost" in ret["comment"]
        record = saved()
        assert {
            key: record[key] for key in ("state", "failed", "definitive", "primary", "donor", "plan", "donor_state")
        } == {
            "state": "running",
            "failed": "east",
            "definitive": "west",
            "primary": "east1",
            "donor": "west3",
            "plan": PLAN,
            "donor_state": "in its site",
        }
        assert record["steps"]["00 preflight"]["state"] == "done" and record["kept"] == []
        assert len(record["attempts"]) == 1 and "ended" not in record["attempts"][0]
        functions["runlock.acquire"].assert_called_once_with("east", "west", record["run"])
        functions["runlock.sign"].assert_called_once_with(record["run"])
        functions["runlock.unclaim"].assert_called_once_with("east", "starting")
        functions["runlock.release"].assert_not_called()
        functions["runrecord.forget_stop"].assert_called_once_with("east")
        assert [call.args[2] for call in events.call_args_list] == ["start", "done"]
        assert record["before"] == STANDING
        assert functions["survey.take"].call_args.args[2] == PLAN, "an upgrade may have changed the steps"
        functions["siteview.of_facts"].assert_called_once_with(
            reprovision.__context__["reprovision"]["topology"], FOUND["facts"])
        functions["siteview.look"].assert_not_called()
        functions["notify.of_run"].assert_called_once()
        assert functions["notify.of_run"].call_args.args[0]["state"] == "running"

    @pytest.mark.parametrize("test", [True, False])
    @pytest.mark.parametrize("order, site", [
        ({"failed": "west"}, "west"), (None, "east"), ({"failed": ["x"] * 99}, str(["x"] * 99)[:63]), ("east", "east")])
    def test_a_refusal_is_told_since_nobody_may_sit_before_it(self, functions, monkeypatch, test, order, site):
        set_test(test)
        monkeypatch.setitem(reprovision.__pillar__, "reprovision", order)
        functions["attempt.refuse_half_built"].side_effect = CommandExecutionError("half built")
        functions["topology.merge"].side_effect = lambda *_: topology.merge(TUNGSTEN, None)
        assert reprovision.preflight("00 preflight")["result"] is False
        told = [] if test else [call("failed", site, "A run was refused: half built\nNothing was changed.")]
        assert functions["notify.send"].call_args_list == told
        functions["siteview.of_facts"].assert_not_called()

    @pytest.mark.parametrize("pillar", [{}, {"tungsten": None}, {"tungsten": ["x"]}, {"tungsten": {"reprovision": 7}}])
    def test_it_is_told_as_well_if_the_pillar_names_no_site(self, functions, monkeypatch, pillar):
        monkeypatch.setattr(reprovision, "__pillar__", pillar)
        assert reprovision.preflight("00 preflight")["result"] is False
        assert functions["notify.send"].call_args.args[:2] == ("failed", "unknown")

    def test_a_look_that_fails_keeps_no_run_from_beginning(self, functions):
        functions["siteview.of_facts"].side_effect = TypeError("None")
        assert reprovision.preflight("00 preflight")["result"] is True and saved()["before"] is None

    def test_a_plan_is_not_used_up_before_the_look(self, functions):
        functions["plans.admit"].return_value = {"plan": "east-1"}
        functions["siteview.of_facts"].side_effect = lambda *_: functions["plans.use"].assert_not_called() or {}
        assert reprovision.preflight("00 preflight")["result"] is True
        functions["plans.use"].assert_called_once()
        assert saved()["before"] == {}

    def test_warnings_are_told_and_kept(self, functions):
        warning = {"node": "m1", "level": "warning", "what": "somebody writes here", "do": "Ask them to stop."}
        functions["survey.take"].side_effect = lambda *_: {**FOUND, "findings": [warning]}
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is True and "WARNING m1: somebody writes here" in ret["comment"]
        assert saved()["findings"] == [warning]

    @pytest.mark.parametrize("test", [True, False])
    def test_an_error_among_the_findings_stops_it_and_all_are_told(self, functions, test):
        set_test(test)
        findings = [{"node": "m2", "level": "error", "what": "no room", "do": "Make room."},
                    {"node": "m3", "level": "warning", "what": "a charset", "do": "Look at it."}]
        functions["survey.take"].side_effect = lambda *_: {**FOUND, "findings": findings}
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is False and ret["comment"].endswith("Nothing was changed.")
        assert "ERROR m2: no room" in ret["comment"] and "WARNING m3: a charset" in ret["comment"]
        functions["runrecord.save"].assert_not_called()
        assert functions["runlock.release"].called is not test
        assert "reprovision" not in reprovision.__context__

    @pytest.mark.parametrize("test", [True, False])
    def test_a_half_built_site_is_no_source(self, functions, events, test):
        set_test(test)
        half = {"run": "7", "state": "failed"}
        functions["runrecord.latest"].side_effect = lambda site: half if site == "west" else None
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is False and "west cannot be the definitive one" in ret["comment"]
        functions["survey.take"].assert_not_called()
        functions["runlock.acquire"].assert_not_called()

    def test_in_test_mode_no_lock_and_no_record(self, functions, events, tmp_path):
        set_test(True)
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is None and "will be rebuilt from west" in ret["comment"]
        for name in ("runlock.acquire", "runlock.sign", "runrecord.save", "runrecord.forget_stop"):
            functions[name].assert_not_called()
        events.assert_not_called()
        assert not list(tmp_path.rglob("*.json"))

    @pytest.mark.parametrize("test", [True, False])
    def test_the_operators_order(self, functions, test):
        set_test(test)
        reprovision.__pillar__["reprovision"] = {"failed": "north", "definitive": "east", "donor": "east2"}
        reprovision.preflight("00 preflight")
        assert functions["survey.take"].call_args.args[0]["reprovision"]["failed"] == "north"
        assert call("east") in functions["runrecord.latest"].call_args_list

    @pytest.mark.parametrize("test", [True, False])
    @pytest.mark.parametrize("name", ["topology.merge", "runrecord.latest", "survey.take"])
    def test_refuses(self, functions, test, name):
        set_test(test)
        functions[name].side_effect = CommandExecutionError("tungsten:sites: bad")
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is False and "tungsten:sites: bad" in ret["comment"]
        assert ret["comment"].endswith("Nothing was changed.")
        functions["runrecord.save"].assert_not_called()
        assert "reprovision" not in reprovision.__context__

    def test_refuses_what_another_run_has_done_until_the_lock_was_free(self, functions):
        locked = functions["runlock.acquire"]
        functions["runrecord.latest"].side_effect = lambda site: (
            dict(DONE) if site == "east" and locked.called else None)
        assert reprovision.preflight("00 preflight")["result"] is False
        functions["survey.take"].assert_not_called()

    def test_refuses_while_another_run_has_the_site(self, functions):
        functions["runlock.acquire"].side_effect = CommandExecutionError("being re-provisioned by run 7")
        assert "by run 7" in reprovision.preflight("00 preflight")["comment"]
        functions["survey.take"].assert_not_called()
        functions["runrecord.save"].assert_not_called()

    @pytest.mark.parametrize("name", ["survey.take", "runrecord.save", "runlock.sign"])
    def test_whatever_goes_wrong_the_lock_is_given_back_and_no_step_follows(self, functions, minions, name):
        functions[name].side_effect = OSError("no space left")
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is False and ret["comment"] == "OSError: no space left\nNothing was changed."
        functions["runlock.release"].assert_called_once_with()
        assert step()["result"] is False and minions.calls == []


DONE = {
    "run": "7",
    "state": "done",
    "finished": "2026-01-02T00:00:00Z",
    "donor": "west3",
    "definitive": "west",
}


class TestRepetition:
    @pytest.fixture
    def functions(self, functions):
        functions["runrecord.latest"].side_effect = lambda site: dict(DONE)
        return functions

    @pytest.mark.parametrize("test", [True, False])
    @pytest.mark.parametrize("reported", [None, "2026-01-01T23:59:59Z", "2026-01-02T00:00:00Z"])
    def test_refused(self, functions, test, reported):
        set_test(test)
        functions["runrecord.reported"].return_value = reported and {"reported": reported, "proved": True}
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is False
        assert "verified at 2026-01-02T00:00:00Z (run 7)" in ret["comment"]
        assert '"insist": true' in ret["comment"] and "salt-run state.orch orch.reprovision" in ret["comment"]
        functions["runlock.acquire"].assert_not_called()
        functions["survey.take"].assert_not_called()

    def test_insisted(self, functions):
        reprovision.__pillar__["reprovision"] = {"insist": True}
        assert reprovision.preflight("00 preflight")["result"] is True

    def test_reported_since(self, functions):
        functions["runrecord.reported"].return_value = {"reported": "2026-01-02T00:00:01Z", "proved": True}
        assert reprovision.preflight("00 preflight")["result"] is True


ID = "east-20260101T000000-1a2b"


class TestPlanned:
    @pytest.fixture(autouse=True)
    def ordered(self, functions):
        functions["plans.admit"].return_value = {"plan": ID, "state": "approved"}
        reprovision.__pillar__["reprovision"] = {"plan": ID}

    def test_it_is_admitted_under_the_lock_by_what_was_found_and_used_up(self, functions):
        functions["plans.admit"].side_effect = lambda *_: (
            functions["runlock.acquire"].called and functions["survey.take"].called and {"plan": ID})
        assert reprovision.preflight("00 preflight")["result"] is True
        order, found, whole = functions["plans.admit"].call_args.args
        assert order["plan"] == ID and found == FOUND and whole["reprovision"] == order
        functions["plans.use"].assert_called_once_with(ID, saved()["run"])
        functions["plans.begun"].assert_called_once_with("east", saved()["run"])
        assert saved()["plan_id"] == ID

    def test_it_is_used_up_before_the_record_says_that_a_run_has_it(self, functions):
        functions["plans.use"].side_effect = lambda *_: functions["runrecord.save"].assert_not_called()
        assert reprovision.preflight("00 preflight")["result"] is True
        assert functions["runrecord.save"].called

    @pytest.mark.parametrize("name", ["plans.admit", "plans.use"])
    def test_what_it_refuses_is_not_begun(self, functions, minions, name):
        functions[name].side_effect = CommandExecutionError("the primary was another")
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is False and ret["comment"] == "the primary was another\nNothing was changed."
        functions["runrecord.save"].assert_not_called()
        functions["runlock.release"].assert_called_once_with()
        assert step()["result"] is False and minions.calls == []

    def test_without_one_it_is_asked_whether_it_needs_one(self, functions):
        reprovision.__pillar__["reprovision"] = {}
        functions["plans.admit"].side_effect = CommandExecutionError("a second person has to approve")
        assert "a second person" in reprovision.preflight("00 preflight")["comment"]
        functions["runrecord.save"].assert_not_called()

    def test_an_error_among_the_findings_leaves_it_as_it_is(self, functions):
        finding = {"node": "m2", "level": "error", "what": "no room", "do": "Make room."}
        functions["survey.take"].side_effect = lambda *_: {**FOUND, "findings": [finding]}
        assert reprovision.preflight("00 preflight")["result"] is False
        functions["plans.admit"].assert_not_called()

    def test_in_test_mode_none_is_needed_and_none_is_used_up(self, functions):
        set_test(True)
        functions["plans.admit"].side_effect = CommandExecutionError("a second person has to approve")
        assert reprovision.preflight("00 preflight")["result"] is None
        functions["plans.admit"].assert_not_called()
        functions["plans.use"].assert_not_called()

    def test_it_insists(self, functions):
        functions["runrecord.latest"].side_effect = lambda site: dict(DONE)
        assert reprovision.preflight("00 preflight")["result"] is True

    def test_a_run_that_goes_on_keeps_its_plan_or_gets_another(self, functions):
        previously(plan_id="east-20250101T000000-0000")
        resumes(functions)
        functions["plans.admit"].return_value = None
        assert reprovision.preflight("00 preflight")["result"] is True
        assert saved()["plan_id"] == "east-20250101T000000-0000"
        functions["plans.use"].assert_not_called()
        functions["plans.admit"].return_value = {"plan": ID}
        assert reprovision.preflight("00 preflight")["result"] is True
        assert saved()["plan_id"] == ID
        functions["plans.use"].assert_called_once_with(ID, "20260101T000000-7")


class TestResuming:
    @pytest.fixture
    def resumed(self, functions, events):
        before = previously()
        resumes(functions)
        functions["runlock.acquire"].return_value = {"run": before["run"], "pid": 7}
        return reprovision.preflight("00 preflight")

    def test_the_record_goes_on_with_another_attempt(self, functions, resumed):
        assert resumed["result"] is True
        assert "Attempt 2 goes on after the last step done, '01 policy'" in resumed["comment"]
        record = saved()
        assert record["run"] == "20260101T000000-7" and record["state"] == "running"
        assert record["kept"] == ["00 preflight", "01 policy"]
        functions["runlock.sign"].assert_called_once_with("20260101T000000-7")

    def test_why_the_one_before_has_ended_is_on_record(self, resumed):
        first, second = saved()["attempts"]
        assert first["how"] == "its process 7 has died; its lock was found free and taken over"
        assert "ended" in first and "ended" not in second
        assert saved()["steps"]["06 donor shunned"]["state"] == "interrupted"

    @pytest.mark.parametrize("before, pid", [({"run": "x", "pid": 99}, 99), ({}, 7)])
    def test_the_process_that_has_died_is_the_holder_of_the_lock_or_else_the_attempts(self, functions, before, pid):
        previously()
        resumes(functions)
        functions["runlock.acquire"].return_value = before
        reprovision.preflight("00 preflight")
        assert saved()["attempts"][0]["how"].startswith(f"its process {pid} has died;")

    def test_in_test_mode_the_record_of_the_earlier_run_stays_as_it_is(self, functions):
        before = previously()
        functions["runrecord.save"].reset_mock()
        resumes(functions)
        set_test(True)
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is None and "Attempt 2 goes on after the last step done, '01 policy'" in ret["comment"]
        assert saved() == before

    def test_an_attempt_that_ended_keeps_its_own_words(self, functions):
        attempts = [{"started": "x", "pid": 7, "who": "bob", "ended": "y", "how": "failed at step '06'"}]
        previously(state="failed", attempts=attempts)
        resumes(functions)
        reprovision.preflight("00 preflight")
        assert saved()["attempts"][0] == attempts[0]

    def test_a_run_from_the_beginning_says_why(self, functions):
        previously()
        assert "From the beginning: no run is unfinished" in reprovision.preflight("00 preflight")["comment"]
        assert saved()["run"] != "20260101T000000-7"

    @pytest.mark.parametrize("test", [True, False])
    @pytest.mark.parametrize("how", [{"once": True}, {"until": "00 preflight"}])
    def test_what_is_done_and_ended_is_not_applied_again(self, resumed, minions, how, test):
        set_test(test)
        before = saved()
        ret = step(**how)
        assert ret["result"] is True and "Done in attempt 1" in ret["comment"] and ret["changes"] == {}
        assert minions.calls == [] and saved() == before

    @pytest.mark.parametrize("how", [{"once": True}, {"until": "00 preflight"}])
    def test_what_was_interrupted_is_applied_again_whatever_it_is(self, resumed, minions, how):
        assert step("06 donor shunned", "donor", takes_donor=True, **how)["result"] is True
        assert targets(minions) == [["west3"]]
        about = saved()["steps"]["06 donor shunned"]
        assert (about["state"], about["done_in"]) == ("done", 2)

    @pytest.mark.parametrize("test", [True, False])
    def test_what_is_of_use_while_the_donor_serves_is_not_applied_again_without_it(self, resumed, minions, test):
        set_test(test)
        before = saved()
        assert before["donor_state"] == "taken"
        ret = step(until="11 donor given back", while_donor_serves=True)
        assert (ret["result"], ret["changes"]) == (True, {})
        assert ret["comment"] == "Done in attempt 1; the donor is out of service already."
        assert minions.calls == [] and saved() == before

    @pytest.mark.parametrize("donor_state", ["in its site", "returned"])
    def test_with_the_donor_in_service_it_is(self, resumed, minions, donor_state):
        reprovision.__context__["reprovision"]["run"]["donor_state"] = donor_state
        assert step(until="11 donor given back", while_donor_serves=True)["result"] is True
        assert targets(minions) == [["m1"]]

    def test_what_was_interrupted_then_is_applied_all_the_same(self, resumed, minions):
        assert "06 donor shunned" not in saved()["kept"]
        assert step("06 donor shunned", "donor", while_donor_serves=True)["result"] is True
        assert targets(minions) == [["west3"]]

    def test_a_step_that_this_attempt_has_done_ends_nothing_in_it(self, resumed, minions):
        """What an attempt goes by is what it found done, so that its steps are all applied in their order."""
        step("11 donor given back")
        minions.calls.clear()
        step(until="11 donor given back")
        assert targets(minions) == [["m1"]]

    def test_a_step_that_was_interrupted_and_then_aborted_took_no_time(self, resumed, functions):
        functions["runrecord.asked_to_stop"].return_value = {"who": "bob", "at": "now", "reason": None}
        assert step("06 donor shunned", "donor", takes_donor=True)["result"] is False
        assert saved()["steps"]["06 donor shunned"]["seconds"] == 0

    def test_a_donor_that_the_earlier_attempt_has_taken_is_given_back_by_this_one(self, resumed, functions, minions):
        minions.answers["m1"] = states("m1", False, {}, "no")
        assert "The donor west3 is back in its site." in step()["comment"]
        assert targets(minions) == [["m1"], ["west3"]] and saved()["donor_state"] == "returned"

    @pytest.mark.parametrize("how", [{}, {"until": "11 donor given back"}])
    def test_what_should_still_hold_is_applied_again(self, resumed, minions, how):
        assert step(**how)["result"] is True
        assert targets(minions) == [["m1"]]
        assert saved()["steps"]["01 policy"]["done_in"] == 2

    def test_failing_the_second_time_it_has_been_done_all_the_same(self, resumed, minions):
        minions.answers["m1"] = states("m1", False, {}, "no")
        assert step()["result"] is False
        about = saved()["steps"]["01 policy"]
        assert (about["state"], about["done_in"]) == ("failed", 1)
        assert resume.done(saved()) == ["00 preflight", "01 policy"]

    @pytest.mark.parametrize("donor_state, asked", [
        ("taken", ["west1", "west2", "north1"]), ("returned", ["west1", "west2", "west3", "north1"])])
    def test_a_donor_at_rest_is_not_asked_again(self, resumed, minions, donor_state, asked):
        reprovision.__context__["reprovision"]["run"]["donor_state"] = donor_state
        step(nodes="other sites")
        assert targets(minions) == [asked]

    @pytest.mark.parametrize("test", [True, False])
    def test_verified_is_behind_a_run_that_has_let_traffic_back(self, functions, test):
        done = {"state": "done", "done_in": 1}
        previously(steps={name: dict(done) for name in PLAN[:-1]})
        resumes(functions)
        reprovision.preflight("00 preflight")
        set_test(test)
        ret = reprovision.verified("verified", until="11 donor given back")
        assert ret["result"] is (None if test else True)
        functions["verify.services"].assert_not_called()


AHEAD = "10 ahead"


class TestWays:
    """A step that only some ways to copy have."""

    @pytest.fixture(autouse=True)
    def lowstate(self, monkeypatch):
        chunks = [{"name": name, "state": "reprovision"} for name in PLAN] + [{"name": "x", "state": "test"}]
        chunks.insert(2, {"name": AHEAD, "state": "reprovision", "ways": ["warm"]})
        chunks.insert(3, {"name": "10 of both", "state": "reprovision", "ways": ["warm", "cold"]})
        chunks.insert(4, {"name": "10 of another", "state": "reprovision", "ways": ["tar"]})
        chunks.insert(5, {"name": "10 streamed", "state": "reprovision", "ways": ["hot"]})
        monkeypatch.setattr(reprovision, "__lowstate__", chunks, raising=False)

    def begin(self, warm, **order):
        reprovision.__pillar__["reprovision"] = {"warm": warm, **order}
        assert reprovision.preflight("00 preflight")["result"] is not False

    @pytest.mark.parametrize("warm, more", [(True, [AHEAD, "10 of both"]), (False, ["10 of both"])])
    def test_a_run_has_the_steps_of_its_way(self, functions, warm, more):
        self.begin(warm)
        plan = [*PLAN[:2], *more, *PLAN[2:]]
        assert saved()["plan"] == plan and saved()["warm"] is warm
        assert functions["survey.take"].call_args.args[2] == plan

    @pytest.mark.parametrize("warm", [True, False])
    @pytest.mark.parametrize("method", ["mariabackup", "xtrabackup"])
    def test_with_a_method_other_than_rsync_it_is_hot(self, functions, minions, method, warm):
        self.begin(warm, method=method)
        plan = [*PLAN[:2], "10 streamed", *PLAN[2:]]
        assert (saved()["plan"], saved()["method"]) == (plan, method)
        assert functions["survey.take"].call_args.args[2] == plan
        assert step(AHEAD, "donor", ways=["warm"])["comment"] == "No step of a hot copy."
        assert step("10 streamed", "donor", ways=["hot"])["result"] is True
        assert minions.calls[0][1]["pillar"]["reprovision_run"]["method"] == method

    @pytest.mark.parametrize("test", [True, False])
    def test_a_step_of_another_way_is_none(self, minions, events, test):
        set_test(test)
        self.begin(False)
        events.reset_mock()
        ret = step(AHEAD, "donor", ways=["warm"], takes_donor=True)
        assert (ret["result"], ret["comment"], ret["changes"]) == (True, "No step of a cold copy.", {})
        assert ret["comment"].startswith(planning.NOT_PLANNED), "a plan leaves it out by these words"
        assert minions.calls == []
        events.assert_not_called()
        if not test:
            assert AHEAD not in saved()["steps"] and saved()["donor_state"] == "in its site"

    def test_one_of_its_own_way_is_a_step_like_all(self, minions, events):
        self.begin(True)
        assert step(AHEAD, "donor", ways=["warm"])["result"] is True
        assert targets(minions) == [["west3"]] and saved()["steps"][AHEAD]["state"] == "done"
        assert (events.call_args.kwargs["number"], events.call_args.kwargs["of"]) == (3, 8)

    def test_it_is_known_by_its_words_in_a_plan(self, functions):
        """The one whose steps are told to people: a step left out is not among them."""
        set_test(True)
        self.begin(False)
        states = {"a": {**step(AHEAD, "donor", ways=["warm"]), "__run_num__": 0}}
        assert planning.steps(states, reprovision.__context__["reprovision"]["topology"]) == []


class TestPace:
    """How a run goes about it is each attempt's own."""

    PACE = {"donor_lease": 60, "patience": 7, "compress": "zstd", "bwlimit": 50, "streams": 8,
            "replica_parallel": 3}

    def test_they_are_the_states_own(self):
        assert set(self.PACE) == set(reprovision.PACE)

    def test_a_first_run(self):
        reprovision.__pillar__["reprovision"] = dict(self.PACE)
        reprovision.preflight("00 preflight")
        assert {key: saved()[key] for key in self.PACE} == self.PACE

    def test_one_that_goes_on(self, functions, minions):
        previously(**dict.fromkeys(self.PACE, 1))
        resumes(functions)
        reprovision.__pillar__["reprovision"] = dict(self.PACE)
        reprovision.preflight("00 preflight")
        assert saved()["run"] == "20260101T000000-7"
        assert {key: saved()[key] for key in self.PACE} == self.PACE
        step()
        told = minions.calls[0][1]["pillar"]["reprovision_run"]
        assert {key: told[key] for key in ("compress", "bwlimit", "streams", "donor_lease")} == {
            "compress": "zstd", "bwlimit": 50, "streams": 8, "donor_lease": 60}


@pytest.mark.usefixtures("begun")
class TestStep:
    @pytest.mark.parametrize(
        "nodes, expected",
        [
            ("failed primary", ["m1"]),
            ("failed replicas", ["m2", "m3"]),
            ("failed site", ["m1", "m2", "m3"]),
            ("donor", ["west3"]),
            ("other sites", ["west1", "west2", "west3", "north1"]),
        ],
    )
    def test_roles(self, minions, nodes, expected):
        assert set(reprovision.ROLES) == {
            "failed primary",
            "failed replicas",
            "failed site",
            "donor",
            "other sites",
        }
        assert step(nodes=nodes)["result"] is True
        assert targets(minions) == [expected]

    def test_what_the_nodes_are_told(self, minions):
        step(timeout=77)
        (_, kwargs), record = minions.calls[0], saved()
        assert kwargs == {
            "tgt_type": "list",
            "sls": "orch.node.policy",
            "expect_minions": True,
            "queue": True,
            "timeout": 77,
            "pillar": {
                "reprovision_run": {
                    "run": record["run"],
                    "failed": "east",
                    "definitive": "west",
                    "primary": "east1",
                    "donor": "west3",
                    "method": "rsync",
                    "warm": record["warm"],
                    "replica_method": "xtrabackup",
                    "donor_lease": 900,
                    "compress": "auto",
                    "bwlimit": 0,
                    "streams": 4,
                    "begun": False,
                }
            },
        }

    def test_done_is_recorded_and_told(self, events):
        ret = step()
        assert ret["result"] is True
        assert ret["changes"] == {"m1": {"b": {"old": 1, "new": 2}}}
        assert ret["comment"] == "m1: was there\nm1: done", (
            "in the order of the states, each naming the node once"
        )
        record = saved()
        assert record["state"] == "running" and record["steps"]["01 policy"]["state"] == "done"
        assert record["steps"]["01 policy"]["seconds"] >= 0 and "clock" not in record["steps"]["01 policy"]
        assert [call.args[1:3] for call in events.call_args_list][-2:] == [
            ("01 policy", "start"),
            ("01 policy", "done"),
        ]
        assert events.call_args.kwargs["number"] == 2 and events.call_args.kwargs["of"] == len(PLAN)

    def test_the_record_says_running_while_the_nodes_work(self, minions):
        seen = []
        act = minions.state

        def look(name, tgt, **kwargs):
            seen.append(saved()["steps"]["01 policy"]["state"])
            return act(name, tgt, **kwargs)

        reprovision.__states__["salt.state"].side_effect = look
        step()
        assert seen == ["running"]

    @pytest.mark.parametrize("quiet", [["m1", "m2", "m3"], ["m2"]])
    def test_nodes_without_a_change_are_done(self, minions, quiet):
        minions.answers = dict.fromkeys(quiet, "unchanged")
        ret = step(nodes="failed site")
        assert ret["result"] is True, ret["comment"]
        assert all(f"{minion}: nothing to change" in ret["comment"] for minion in quiet)
        assert not set(quiet) & set(ret["changes"])

    @pytest.mark.parametrize("test", [True, False])
    @pytest.mark.parametrize(
        "answer, words",
        [
            (False, "m2: gave no answer (salt m2 test.ping)"),
            (["Pillar failed to render"], "m2: ['Pillar failed to render']"),
            ("missing", "m2: gave no answer (salt m2 test.ping)"),
            (
                states("m2", False, {}, "cctrl says: MEMBER IS NOT REACHABLE"),
                "m2: cctrl says: MEMBER IS NOT REACHABLE",
            ),
        ],
    )
    def test_one_node_fails_or_is_silent(self, minions, answer, words, test):
        minions.answers["m2"] = answer
        set_test(test)
        reprovision.__salt__["fleet.gather"].return_value = {"answers": {}, "faults": {"m2": "does not answer"}}
        ret = step(nodes="failed site")
        assert ret["result"] is False
        assert words in ret["comment"].splitlines()
        if test:
            assert set(ret["changes"]) == {"m1", "m3"}

    def test_beside_a_failure_the_unchanged_are_not_blamed(self, minions):
        minions.answers = {"m1": "unchanged", "m2": states("m2", False, {}, "no")}
        ret = step(nodes="failed site")
        assert ret["result"] is False
        assert not [line for line in ret["comment"].splitlines() if line.startswith("m1: ")]

    def test_nobody_returned_at_all(self):
        reprovision.__states__["salt.state"].side_effect = lambda *_, **__: {
            "name": "x",
            "result": False,
            "changes": {},
            "comment": "No minions returned",
        }
        reprovision.__salt__["fleet.gather"].return_value = {"answers": {}, "faults": {"m3": "does not answer"}}
        ret = step(nodes="failed site")
        assert ret["result"] is False and "m3: gave no answer" in ret["comment"]

    def test_a_failure_is_recorded_with_how_to_go_on(self, minions, events):
        minions.answers["m1"] = states("m1", False, {}, "no policy")
        ret = step()
        lines = ret["comment"].splitlines()
        assert "m1: no policy" in lines
        assert "The run stopped at step '01 policy'; done are 1 of 6 steps." in lines
        assert "out of service" not in ret["comment"]
        assert lines[-1].endswith(
            "salt-run state.orch orch.reprovision "
            'pillar=\'{"reprovision": {"failed": "east", "definitive": "west", "donor": "west3", "method": "rsync", '
            '"warm": true, "replica_method": "xtrabackup"}}\''
        )
        record = saved()
        assert record["state"] == "failed" and record["finished"]
        assert record["attempts"][0]["how"] == "failed at step '01 policy'"
        assert record["steps"]["01 policy"]["state"] == "failed"
        assert "no policy" in record["steps"]["01 policy"]["comment"]
        assert events.call_args.args[2] == "failed"
        reprovision.__salt__["runlock.release"].assert_called_once_with()

    def test_an_error_of_salt_itself_is_recorded_too(self):
        reprovision.__states__["salt.state"].side_effect = ValueError("master gone")
        ret = step()
        assert ret["result"] is False and ret["comment"].startswith("ValueError: master gone")
        assert saved()["state"] == "failed"

    @pytest.mark.parametrize("test", [True, False])
    @pytest.mark.parametrize("at_once, groups", [
        (1, [["m1"], ["m2"], ["m3"]]), (2, [["m1", "m2"], ["m3"]]), (3, [["m1", "m2", "m3"]]),
        (9, [["m1", "m2", "m3"]])])
    def test_few_at_once_stops_where_one_fails(self, minions, test, at_once, groups):
        set_test(test)
        reprovision.__context__["reprovision"]["run"]["replica_parallel"] = at_once
        assert step(nodes="failed site", few_at_once=True)["result"] is (None if test else True)
        assert targets(minions) == groups
        minions.calls.clear()
        minions.answers["m2"] = states("m2", False, {}, "no")
        ret = step(nodes="failed site", few_at_once=True)
        assert ret["result"] is False and "m1: done" in ret["comment"]
        assert targets(minions) == groups[:next(at for at, group in enumerate(groups) if "m2" in group) + 1]

    def test_how_many_at_once_is_said_of_replicas_alone(self, minions):
        reprovision.__context__["reprovision"]["run"]["replica_parallel"] = 2
        step(nodes="failed site")
        assert targets(minions) == [["m1", "m2", "m3"]]

    @pytest.mark.parametrize("few_at_once", [True, False])
    def test_a_role_of_nobody(self, minions, few_at_once):
        run = reprovision.__context__["reprovision"]["run"]
        run["nodes"]["east"] = {"east1": "m1"}
        ret = step(nodes="failed replicas", few_at_once=few_at_once)
        assert ret["result"] is True and ret["comment"] == "There are no such nodes."
        assert minions.calls == []

    @pytest.mark.parametrize("test", [True, False])
    @pytest.mark.parametrize("value", [False, None, "True", 1])
    def test_silent_nodes_may_not_be_allowed(self, minions, test, value):
        set_test(test)
        ret = step(expect_minions=value)
        assert ret["result"] is False and "a silent node is not a success" in ret["comment"]
        assert minions.calls == [] and "01 policy" not in saved()["steps"]

    @pytest.mark.parametrize("nodes", ["*", "east1", "", "donors"])
    def test_no_such_role(self, minions, nodes):
        ret = step(nodes=nodes)
        assert ret["result"] is False and "no such role" in ret["comment"]
        assert minions.calls == []

    @pytest.mark.parametrize("answer, result", [("changed", None), ("unchanged", True)])
    def test_in_test_mode_nothing_is_recorded(self, functions, minions, events, answer, result):
        functions["runrecord.save"].reset_mock()
        events.reset_mock()
        set_test(True)
        minions.answers = dict.fromkeys(("m1", "m2", "m3"), answer)
        assert step(nodes="failed site")["result"] is result
        assert targets(minions) == [["m1", "m2", "m3"]]
        functions["runrecord.save"].assert_not_called()
        events.assert_not_called()

    def test_a_record_that_cannot_be_written_stops_the_run_before_the_nodes(self, functions, minions):
        functions["runrecord.save"].side_effect = OSError("no space left")
        ret = step()
        assert ret["result"] is False and "cannot write its records" in ret["comment"]
        assert "no space left" in ret["comment"] and "run it again" in ret["comment"]
        assert minions.calls == []
        assert functions["notify.of_run"].call_args.args[0]["state"] == "failed"


def copy_was_begun():
    reprovision.__context__["reprovision"]["run"]["steps"]["10 data copied ahead"] = {"state": "done"}


@pytest.mark.usefixtures("begun")
class TestDonor:
    """From its taking on it is given back whatever happens."""

    def take(self, minions):
        assert step("06 donor shunned", "donor", takes_donor=True)["result"] is True
        minions.calls.clear()

    def test_it_is_out_from_the_beginning_of_the_step_that_takes_it(self, minions):
        seen = []
        reprovision.__states__["salt.state"].side_effect = lambda name, tgt, **kwargs: (
            seen.append(saved()["donor_state"]), minions.state(name, tgt, **kwargs))[1]
        self.take(minions)
        assert seen == ["taken"] and saved()["donor_state"] == "taken"

    def fails(self, minions):
        """The step's own SLS fails; the one that gives the donor back does not."""
        def act(name, tgt, **kwargs):
            own = kwargs["sls"] != reprovision.RETURN_DONOR
            minions.answers = dict.fromkeys(tgt, states(tgt[0], False, {}, "no") if own else "changed")
            return minions.state(name, tgt, **kwargs)

        reprovision.__states__["salt.state"].side_effect = act

    @pytest.mark.parametrize("name, nodes, more", [
        ("06 donor shunned", "donor", {"takes_donor": True}),
        ("01 policy", "failed site", {}),
        ("01 policy", "failed primary", {}),
        ("01 policy", "donor", {"once": True, "copies": True}),
    ])
    def test_a_failing_step_gives_it_back_after_its_copy_is_ended(self, functions, minions, name, nodes, more):
        self.take(minions)
        self.fails(minions)
        order = Mock(spec=["ask", "state"])
        order.attach_mock(functions["fleet.ask"], "ask")
        order.attach_mock(reprovision.__states__["salt.state"], "state")
        ret = step(name, nodes, **more)
        assert ret["result"] is False and "west3 is out of service" not in ret["comment"]
        assert "The donor west3 is back in its site." in ret["comment"].splitlines()
        assert [each[0] for each in order.mock_calls] == ["state", "ask", "state"]
        assert order.mock_calls[1] == call.ask(["west3"], "longjob.stop_all", kwarg={"prefix": "copy-"}, timeout=10)
        (_, first), (target, second) = minions.calls
        assert (target, second["sls"]) == (["west3"], "orch.node.donor_given_back")
        assert {**second, "sls": first["sls"]} == first, "told the same as every step, and expected to answer"
        record = saved()
        assert (record["donor_state"], record["donor_trouble"]) == ("returned", None)
        assert (record["state"], record["copied"]) == ("failed", False)
        assert record["steps"][name]["state"] == "failed"
        assert "back in its site" not in record["steps"][name]["comment"], "the step's words are about the step"

    @pytest.mark.parametrize("name", ["verify.services", "tablecompare.run"])
    def test_doubts_give_it_back_too(self, functions, minions, name):
        self.take(minions)
        functions[name].side_effect = CommandExecutionError("m2: OFFLINE")
        assert "The donor west3 is back in its site." in reprovision.verified("verified")["comment"]
        assert targets(minions) == [["west3"]] and saved()["donor_state"] == "returned"

    def test_a_donor_that_was_never_taken_is_left_alone(self, functions, minions):
        self.fails(minions)
        ret = step()
        assert ret["result"] is False and "The donor" not in ret["comment"]
        assert targets(minions) == [["m1"]] and saved()["donor_state"] == "in its site"
        functions["fleet.ask"].assert_not_called()

    def test_how_long_it_is_out_is_on_record(self, functions, minions):
        times = iter(range(100))
        functions["runrecord.now"].side_effect = lambda: f"at {next(times):03}"
        step()
        assert "donor_outages" not in saved()
        self.take(minions)
        (outage,) = saved()["donor_outages"]
        assert outage["until"] is None
        # A second attempt takes what an attempt that died has left out: it is the same outage.
        self.take(minions)
        assert saved()["donor_outages"] == [outage]
        step("11 donor given back", "donor", gives_donor_back=True)
        (ended,) = saved()["donor_outages"]
        assert ended["from"] == outage["from"] and ended["until"] > ended["from"]
        self.take(minions)
        first, second = saved()["donor_outages"]
        assert first == ended and second["until"] is None
        self.fails(minions)
        step()
        assert saved()["donor_outages"][1]["until"], "given back after a failure, too"

    @pytest.mark.parametrize("test, state", [(True, "in its site"), (False, "taken")])
    def test_in_test_mode_it_is_neither_taken_nor_given_back(self, functions, minions, test, state):
        set_test(test)
        minions.answers["west3"] = states("west3", False, {}, "no")
        assert step("06 donor shunned", "donor", takes_donor=True)["result"] is False
        assert saved()["donor_state"] == state
        assert functions["fleet.ask"].called is not test

    @pytest.mark.parametrize("trouble", ["ask", "apply", "salt"])
    def test_one_that_could_not_be_given_back_is_told(self, functions, minions, trouble):
        self.take(minions)
        minions.answers["m1"] = states("m1", False, {}, "no")
        if trouble == "ask":
            functions["fleet.ask"].side_effect = CommandExecutionError("west3: does not answer")
        elif trouble == "salt":
            functions["fleet.ask"].side_effect = ValueError("master gone")
        else:
            minions.answers["west3"] = states("west3", False, {}, "mysqld does not start")
        ret = step()
        assert ret["result"] is False and "m1: no" in ret["comment"].splitlines(), "what it failed of comes first"
        assert "The donor west3 is out of service, and could not be given back" in ret["comment"]
        assert "back in its site" not in ret["comment"]
        assert {"ask": "does not answer", "apply": "mysqld does not start", "salt": "master gone"}[trouble] in (
            ret["comment"])
        assert "its lease of 900 s" in ret["comment"] and "datasource west3 recover" in ret["comment"]
        assert (saved()["donor_state"], saved()["state"]) == ("taken", "failed")
        functions["runlock.release"].assert_called_once_with()
        assert targets(minions) == ([["m1"], ["west3"]] if trouble == "apply" else [["m1"]]), (
            "while its copy may go on it is not given back")

    def test_the_step_that_gives_it_back_is_not_tried_twice(self, functions, minions):
        self.take(minions)
        minions.answers["west3"] = states("west3", False, {}, "mysqld does not start")
        ret = step("11 donor given back", "donor", gives_donor_back=True)
        assert ret["result"] is False and "is out of service" in ret["comment"]
        assert len(minions.calls) == 1
        functions["fleet.ask"].assert_not_called()
        assert (saved()["donor_state"], saved()["state"]) == ("taken", "failed")

    def test_asked_to_stop_at_the_step_that_gives_it_back_it_is_given_back_all_the_same(self, functions, minions):
        self.take(minions)
        functions["runrecord.asked_to_stop"].return_value = {"who": "bob", "at": "now", "reason": None}
        assert step("11 donor given back", "donor", gives_donor_back=True)["result"] is False
        assert saved()["donor_state"] == "returned"

    @pytest.mark.parametrize("copied", [False, True])
    def test_stopped_before_it_was_taken_what_copies_from_it_is_ended_as_long_as_a_copy_is_made(
            self, functions, minions, copied):
        if copied:
            assert step("01 policy", "donor", copies=True)["result"] is True
        copy_was_begun()
        minions.calls.clear()
        functions["runrecord.asked_to_stop"].return_value = {"who": "bob", "at": "now", "reason": None}
        assert step("06 donor shunned", "donor", takes_donor=True)["result"] is False
        assert minions.calls == [] and (saved()["state"], saved()["donor_state"]) == ("aborted", "in its site")
        assert functions["fleet.ask"].call_args_list == ([] if copied else [
            call(["west3"], "longjob.stop_all", kwarg={"prefix": "copy-"}, timeout=10)])

    @pytest.mark.parametrize("copying", [False, True])
    def test_so_is_it_when_the_run_has_failed_if_any_can_have_been_begun(self, functions, minions, copying):
        if copying:
            copy_was_begun()
        self.fails(minions)
        assert step()["result"] is False and saved()["state"] == "failed"
        assert functions["fleet.ask"].call_count == copying

    @pytest.mark.parametrize("trouble", [CommandExecutionError("west3: does not answer"), ValueError("master gone")])
    def test_what_could_not_be_ended_is_no_reason_to_say_anything_else(self, functions, caplog, trouble):
        copy_was_begun()
        functions["fleet.ask"].side_effect = trouble
        functions["runrecord.asked_to_stop"].return_value = {"who": "bob", "at": "now", "reason": "wrong site"}
        ret = step()
        assert ret["comment"].startswith("bob asked this run to stop at now: wrong site\n")
        assert saved()["state"] == "aborted" and str(trouble) not in ret["comment"]
        functions["runlock.release"].assert_called_once_with()
        assert f"What copies on west3 was not ended: {type(trouble).__name__}: {trouble}" in caplog.text

    def test_given_back_it_is_not_touched_any_more(self, functions, minions):
        self.take(minions)
        step("11 donor given back", "donor", gives_donor_back=True)
        assert saved()["donor_state"] == "returned"
        minions.calls.clear()
        minions.answers["m1"] = states("m1", False, {}, "no")
        step()
        assert targets(minions) == [["m1"]]
        functions["fleet.ask"].assert_not_called()

    @pytest.mark.parametrize("result", [True, False])
    def test_copied_is_on_record_only_when_it_is_done(self, minions, result):
        if not result:
            minions.answers["m1"] = states("m1", False, {}, "no")
        step(copies=True)
        assert saved()["copied"] is result


ACTS = {"step": step, "verified": lambda: reprovision.verified("verified"),
        "complete": lambda: reprovision.complete("complete")}


@pytest.mark.usefixtures("begun")
class TestStopped:
    @pytest.fixture(params=sorted(ACTS))
    def act(self, request, minions):
        """Whatever comes next when the donor has been taken."""
        step("06 donor shunned", "donor", takes_donor=True)
        minions.calls.clear()
        return ACTS[request.param]

    def test_without_its_lock_nothing_more_is_touched(self, functions, minions, events, act):
        before = saved()
        functions["runrecord.save"].reset_mock()
        events.reset_mock()
        functions["runlock.keep"].side_effect = CommandExecutionError("was taken away from this run")
        ret = act()
        assert ret["result"] is False and "was taken away from this run" in ret["comment"]
        assert "run it again" not in ret["comment"], "somebody else may be at work"
        assert minions.calls == [] and saved() == before
        for name in ("runrecord.save", "runlock.release", "fleet.ask", "verify.services"):
            functions[name].assert_not_called()
        events.assert_not_called()

    def test_a_lost_lock_counts_more_than_a_wish_to_stop(self, functions, act):
        functions["runlock.keep"].side_effect = CommandExecutionError("was taken away from this run")
        functions["runrecord.asked_to_stop"].return_value = {"who": "bob", "at": "now", "reason": None}
        act()
        assert saved()["state"] == "running"

    def test_asked_to_stop_it_stops_before_the_next_step(self, functions, minions, act):
        functions["runrecord.asked_to_stop"].return_value = {"who": "bob", "at": "now", "reason": "wrong site"}
        ret = act()
        assert ret["result"] is False and "bob asked this run to stop at now: wrong site" in ret["comment"]
        assert "run it again" in ret["comment"]
        assert [(target, kwargs["sls"]) for target, kwargs in minions.calls] == [
            (["west3"], "orch.node.donor_given_back")], "only the donor is given back"
        record = saved()
        assert (record["state"], record["donor_state"]) == ("aborted", "returned") and record["finished"]
        (attempt,) = record["attempts"]
        assert attempt["ended"] == record["finished"] and attempt["how"].startswith("aborted at step ")
        functions["runrecord.asked_to_stop"].assert_called_with("east", record["run"])
        functions["runlock.release"].assert_called_once_with()
        functions["verify.services"].assert_not_called()

    @pytest.mark.parametrize("act", [step, ACTS["verified"], ACTS["complete"]])
    def test_in_test_mode_nobody_asks_for_lock_or_wish(self, functions, act):
        functions["runlock.keep"].reset_mock()
        set_test(True)
        act()
        functions["runlock.keep"].assert_not_called()
        functions["runrecord.asked_to_stop"].assert_not_called()


def lose_lock(functions, looks):
    """The lock is there for so many looks at it, and then no more."""
    functions["runlock.keep"].side_effect = itertools.chain(
        itertools.repeat(True, looks), itertools.repeat(CommandExecutionError("was taken away from this run")))


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize("act, looks, saves", [
    (step, 1, 0), (step, 2, 1), (ACTS["verified"], 2, 1), (ACTS["complete"], 2, 1), (ACTS["complete"], 3, 1)])
def test_without_its_lock_a_run_writes_into_no_record(functions, act, looks, saves):
    before = functions["runrecord.save"].call_count
    lose_lock(functions, looks)
    ret = act()
    assert ret["result"] is False
    assert "was taken away from this run" in ret["comment"] and "goes on there" in ret["comment"]
    assert functions["runrecord.save"].call_count - before == saves
    functions["runlock.release"].assert_not_called()
    functions["fleet.ask"].assert_not_called()


@pytest.mark.usefixtures("begun")
class TestLongJobs:
    """A state that says which job still runs is polled and applied again."""

    RUNNING = {"result": False, "comment": "goes on", "changes": {"still running": "copy-0-r"}, "__run_num__": 0}

    @pytest.fixture
    def answers(self, minions, functions):
        """What ``jobgroup.status`` answers, one after the other; then the job is done."""
        found = []
        minions.answers["m1"] = {"a": dict(self.RUNNING)}

        def gather(asked, function, kwarg=None, timeout=60):
            assert (asked, function, kwarg) == (["m1"], "jobgroup.status", {"name": "copy-0-r"})
            answer = found.pop(0) if found else {"state": "done"}
            if answer is None:
                return {"answers": {}, "faults": {"m1": "does not answer"}}
            if answer["state"] != "running":
                minions.answers["m1"] = "changed"
            return {"answers": {"m1": answer}, "faults": {}}

        functions["fleet.gather"].side_effect = gather
        return found

    def test_it_is_polled_until_it_ends_and_proved_by_another_application(self, minions, answers, events):
        logs = ["  1,000  40%  2.00MB/s  0:00:10", "  500  20%  1.00MB/s  0:00:05", ""]
        answers += [{"state": "running", "seconds": 3, "logs": logs}, {"state": "running", "seconds": 6, "logs": [""]}]
        ret = step()
        assert ret["result"] is True and ret["changes"] == {"m1": {"b": {"old": 1, "new": 2}}}
        assert [kwargs["pillar"]["reprovision_run"]["begun"] for _, kwargs in minions.calls] == [False, True]
        told = [each for each in events.call_args_list if each.args[2] == "progress"]
        assert [each.kwargs for each in told] == [
            {"node": "m1", "job": "copy-0-r", "seconds": 3, "bytes": 1500, "percent": 30, "rate": "3.1 MB/s"},
            {"node": "m1", "job": "copy-0-r", "seconds": 6}]
        assert {each.args[1] for each in told} == {"01 policy"}
        assert "goes on" not in ret["comment"], "what is told is the last application's"
        assert "progress" not in saved()["steps"]["01 policy"], "of a step that is done nothing is in progress"

    def test_how_far_it_is_stands_in_the_record(self, answers, functions):
        answers += [{"state": "running", "seconds": 3, "logs": ["  7  1%  1.0kB/s  0:00:01"]}]
        seen = []

        def save(record):
            seen.append(copy.deepcopy(record["steps"].get("01 policy", {}).get("progress")))
            return runrecord.save(record)

        functions["runrecord.save"].side_effect = save
        step()
        assert {"m1": {"job": "copy-0-r", "seconds": 3, "bytes": 7, "percent": 1, "rate": "1.0 kB/s"}} in seen

    @pytest.mark.parametrize("state", ["done", "failed", "absent"])
    def test_however_it_has_ended_the_state_is_applied_again_to_judge_it(self, answers, minions, state):
        answers += [{"state": "running", "seconds": 3, "logs": [""]}, {"state": state}]
        assert step()["result"] is True
        assert len(minions.calls) == 2 and answers == []

    @pytest.mark.parametrize("looks, least, most", [(1, 1, 1.1), (10, 5, 6), (200, 400, 603)])
    def test_between_two_looks_it_rests_the_longer_it_goes_on(self, answers, clock, looks, least, most):
        begun_at = clock.seconds
        answers += [{"state": "running", "seconds": 3, "logs": [""]}] * looks
        step()
        assert least <= clock.seconds - begun_at <= most

    def test_of_several_nodes_each_is_polled_until_its_own_job_ends(self, minions, functions):
        minions.answers.update({minion: {"a": {**self.RUNNING, "changes": {"still running": f"copy-{minion}"}}}
                                for minion in ("m1", "m3")})
        asked, left = [], {"m1": 1, "m3": 3}

        def gather(nodes, function, kwarg=None, timeout=60):
            (minion,) = nodes
            assert kwarg == {"name": f"copy-{minion}"}
            asked.append(minion)
            left[minion] -= 1
            if left[minion]:
                return {"answers": {minion: {"state": "running", "seconds": 3, "logs": [""]}}, "faults": {}}
            minions.answers[minion] = "unchanged"
            return {"answers": {minion: {"state": "done"}}, "faults": {}}

        functions["fleet.gather"].side_effect = gather
        assert step(nodes="failed site")["result"] is True
        assert asked == ["m1", "m3", "m3", "m3"]
        assert targets(minions) == [["m1", "m2", "m3"]] * 2

    @pytest.mark.parametrize("at_once, told", [
        (1, [(["m2"], False), (["m2"], True), (["m3"], False), (["m3"], True)]),
        (2, [(["m2", "m3"], False), (["m2", "m3"], True)]),
    ])
    def test_of_few_at_once_each_group_begins_for_itself(self, minions, functions, at_once, told):
        reprovision.__context__["reprovision"]["run"]["replica_parallel"] = at_once
        minions.answers.update({minion: {"a": {**self.RUNNING, "changes": {"still running": f"tprovision-{minion}"}}}
                                for minion in ("m2", "m3")})

        def gather(nodes, function, kwarg=None, timeout=60):
            minions.answers[nodes[0]] = "changed"
            return {"answers": {nodes[0]: {"state": "done"}}, "faults": {}}

        functions["fleet.gather"].side_effect = gather
        assert step(nodes="failed replicas", few_at_once=True)["result"] is True
        assert [(target, kwargs["pillar"]["reprovision_run"]["begun"]) for target, kwargs in minions.calls] == told

    def test_a_node_that_is_silent_for_a_while_is_waited_for(self, answers):
        """Twice nearly as long as the patience: each silence counts for itself."""
        answers += ([None] * 19 + [{"state": "running", "seconds": 3, "logs": [""]}]) * 2
        assert step()["result"] is True
        assert answers == []

    def test_a_node_that_stays_silent_is_named(self, answers, minions, clock):
        answers += [None] * 100
        begun_at = clock.seconds
        ret = step()
        assert ret["result"] is False and "m1: does not tell how its job copy-0-r stands" in ret["comment"]
        assert "the job goes on there: does not answer" in ret["comment"]
        assert 60 < clock.seconds - begun_at < 70 and len(minions.calls) == 1
        assert (saved()["state"], saved()["steps"]["01 policy"]["state"]) == ("failed", "failed")

    def test_a_failure_beside_it_is_told(self, answers, minions):
        answers += [{"state": "failed"}]
        acts = [{"a": dict(self.RUNNING)}, states("m1", False, {}, "No space left on device")]
        reprovision.__states__["salt.state"].side_effect = lambda name, tgt, **kwargs: {
            "result": False, "changes": {"ret": {"m1": acts.pop(0)}}, "comment": "failed"}
        ret = step()
        assert ret["result"] is False and "No space left on device" in ret["comment"]

    def test_asked_to_stop_it_is_waited_for_no_longer(self, answers, functions):
        answers += [{"state": "running", "seconds": 3, "logs": [""]}] * 100
        functions["runrecord.asked_to_stop"].side_effect = [None, None, {"who": "bob", "at": "now", "reason": None}]
        ret = step(takes_donor=True)
        assert ret["result"] is False and "no reason given" in ret["comment"]
        assert saved()["state"] == "aborted" and len(answers) == 99
        functions["fleet.ask"].assert_called_once_with(
            ["west3"], "longjob.stop_all", kwarg={"prefix": "copy-"}, timeout=10)
        assert saved()["donor_state"] == "returned"

    def test_of_a_donor_that_goes_on_serving_only_the_copy_is_ended(self, answers, functions, minions):
        answers += [{"state": "running", "seconds": 3, "logs": [""]}] * 100
        functions["runrecord.asked_to_stop"].side_effect = [None, None, {"who": "bob", "at": "now", "reason": None}]
        copy_was_begun()
        ret = step()
        assert ret["result"] is False and "The donor" not in ret["comment"]
        functions["fleet.ask"].assert_called_once_with(
            ["west3"], "longjob.stop_all", kwarg={"prefix": "copy-"}, timeout=10)
        assert len(minions.calls) == 1 and (saved()["state"], saved()["donor_state"]) == ("aborted", "in its site")

    @pytest.mark.parametrize("copied, copying, wish", [(True, True, True), (True, True, False), (False, False, True)])
    def test_none_is_ended_that_was_made_or_never_begun(self, answers, functions, copied, copying, wish):
        run = reprovision.__context__["reprovision"]["run"]
        run["copied"] = copied
        if copying:
            run["steps"]["10 data copied ahead"] = {"state": "done"}
        if wish:
            functions["runrecord.asked_to_stop"].return_value = {"who": "bob", "at": "now", "reason": None}
        else:
            reprovision.__states__["salt.state"].side_effect = ValueError("master gone")
        assert step()["result"] is False
        assert saved()["state"] == ("aborted" if wish else "failed")
        functions["fleet.ask"].assert_not_called()

    @pytest.mark.parametrize("looks", [2, 3], ids=["before it is polled", "while it is polled"])
    def test_a_lock_that_is_lost_meanwhile_ends_the_polling_and_touches_nothing(
            self, answers, functions, minions, looks):
        answers += [{"state": "running", "seconds": 3, "logs": [""]}] * 100
        lose_lock(functions, looks)
        ret = step(takes_donor=True)
        assert ret["result"] is False and "goes on there" in ret["comment"]
        record = saved()
        assert (record["state"], record["donor_state"]) == ("running", "taken")
        assert record["steps"]["01 policy"]["state"] == "running" and "progress" not in record["steps"]["01 policy"]
        assert len(minions.calls) == 1
        functions["fleet.ask"].assert_not_called()
        functions["runlock.release"].assert_not_called()

    def test_in_test_mode_nothing_is_polled(self, answers, functions, minions, events, clock):
        functions["runrecord.save"].reset_mock()
        events.reset_mock()
        begun_at = clock.seconds
        set_test(True)
        step()
        assert len(minions.calls) == 1 and clock.seconds == begun_at
        functions["fleet.gather"].assert_not_called()
        functions["runrecord.save"].assert_not_called()
        events.assert_not_called()


@pytest.mark.usefixtures("begun")
class TestSilentNodes:
    @pytest.fixture
    def node(self, minions, functions):
        """m2 is silent at first; ``says`` is what it answers to whether it still works on it."""
        minions.answers["m2"] = False
        says = []

        def gather(asked, function, kwarg=None, timeout=60):
            assert (asked, function, kwarg) == (["m2"], "saltutil.is_running", {"fun": "state.*"})
            answer = says.pop(0) if says else None
            if answer is None:
                return {"answers": {}, "faults": {"m2": "does not answer"}}
            if not answer:
                minions.answers["m2"] = "changed"
            return {"answers": {"m2": answer}, "faults": {}}

        functions["fleet.gather"].side_effect = gather
        return says

    def test_back_in_time_it_is_told_again(self, node, minions):
        node += [None, None, []]
        ret = step(nodes="failed site")
        assert ret["result"] is True and "gave no answer" not in ret["comment"]
        assert targets(minions) == [["m1", "m2", "m3"]] * 2
        assert {kwargs["pillar"]["reprovision_run"]["begun"] for _, kwargs in minions.calls} == {False}

    def test_still_at_work_it_is_waited_for(self, node, minions):
        node += [[{"fun": "state.apply"}]] * 200 + [[]]
        assert step(nodes="failed site")["result"] is True

    def test_silent_for_longer_than_the_patience_it_is_named(self, node, minions, clock):
        begun_at = clock.seconds
        ret = step(nodes="failed site")
        assert ret["result"] is False and "m2: gave no answer (salt m2 test.ping)" in ret["comment"]
        assert 60 <= clock.seconds - begun_at < 70
        assert len(minions.calls) == 1
        assert (saved()["state"], saved()["steps"]["01 policy"]["state"]) == ("failed", "failed")

    def test_waited_for_it_is_no_longer_when_somebody_asks_to_stop(self, node, minions, functions):
        node += [None] * 100
        functions["runrecord.asked_to_stop"].side_effect = [None, None, {"who": "bob", "at": "now", "reason": None}]
        assert "bob asked this run to stop" in step(nodes="failed site")["comment"]
        assert saved()["state"] == "aborted" and len(node) == 99

    def test_a_lock_that_is_lost_meanwhile_ends_the_waiting_and_touches_nothing(self, node, minions, functions):
        node += [None] * 100
        lose_lock(functions, 2)
        assert "was taken away from this run" in step(nodes="failed site")["comment"]
        assert saved()["state"] == "running" and len(minions.calls) == 1

    def test_in_test_mode_nobody_is_waited_for(self, node, minions, functions, clock):
        begun_at = clock.seconds
        set_test(True)
        ret = step(nodes="failed site")
        assert ret["result"] is False and "m2: gave no answer (salt m2 test.ping)" in ret["comment"]
        assert len(minions.calls) == 1 and clock.seconds == begun_at
        functions["fleet.gather"].assert_not_called()

    def test_silent_a_second_time_it_is_not_told_for_ever(self, node, minions):
        node += [[]]
        reprovision.__states__["salt.state"].side_effect = lambda name, tgt, **kwargs: (
            minions.calls.append(1), {"result": False, "changes": {"ret": {"m2": False}}, "comment": "x"})[1]
        assert step(nodes="failed site")["result"] is False
        assert len(minions.calls) == 2

    def test_beside_a_failure_nobody_is_waited_for(self, node, minions, functions):
        minions.answers["m1"] = states("m1", False, {}, "no")
        assert step(nodes="failed site")["result"] is False
        functions["fleet.gather"].assert_not_called()


@pytest.mark.parametrize("test", [True, False])
def test_no_step_without_the_preflight(minions, test):
    set_test(test)
    ret = step()
    assert ret["result"] is False and "preflight has not run" in ret["comment"]
    assert minions.calls == []


@pytest.mark.parametrize("state", [reprovision.verified, reprovision.complete])
def test_no_end_without_the_preflight(state):
    ret = state("x")
    assert ret["result"] is False and "preflight has not run" in ret["comment"]


@pytest.mark.usefixtures("begun")
class TestVerified:
    def test_all_is_equal(self, functions):
        ret = reprovision.verified("verified", timeout=9)
        assert ret["result"] is True and "70 rows in 3 tables" in ret["comment"]
        topology_used = reprovision.__context__["reprovision"]["topology"]
        functions["verify.services"].assert_called_once_with(topology_used, timeout=9)
        functions["verify.heartbeats"].assert_called_once_with(topology_used, PRIMARIES, timeout=9)
        functions["tablecompare.run"].assert_called_once_with(
            ["m1", "m2", "m3", "west1", "west2", "west3", "north1"],
            sources={"m1": "east", "west1": "west", "north1": "north"})
        assert saved()["verified"] == {
            "heartbeats": {"east": 1, "west": 9}, "equal": True, "tables": 3, "rows": 70}
        assert saved()["steps"]["verified"]["state"] == "done"

    def test_in_test_mode_nothing_is_asked(self, functions):
        functions["runrecord.save"].reset_mock()
        set_test(True)
        assert reprovision.verified("verified")["result"] is None
        for name in ("verify.services", "verify.heartbeats", "tablecompare.run", "runrecord.save"):
            functions[name].assert_not_called()

    @pytest.mark.parametrize("test", [True, False])
    def test_not_without_a_preflight(self, functions, test):
        reprovision.__context__.clear()
        set_test(test)
        assert "preflight has not run" in reprovision.verified("verified")["comment"]
        functions["verify.services"].assert_not_called()

    @pytest.mark.parametrize(
        "name, answer, words",
        [
            (
                "verify.services",
                CommandExecutionError("m2: cluster service east is OFFLINE"),
                "m2: cluster service",
            ),
            ("verify.heartbeats", CommandExecutionError("has not arrived: west3 is at 4"), "west3 is at 4"),
            ("tablecompare.run", CommandExecutionError("m3: no answer"), "m3: no answer"),
            ("tablecompare.run", [{"equal": False, "tables": 3, "rows": 7, "differing": ["shop.orders"]}],
             "shop.orders"),
            ("tablecompare.run", KeyError("rows"), "rows"),
        ],
    )
    def test_one_doubt_is_a_failure(self, functions, name, answer, words):
        functions[name].side_effect = answer
        ret = reprovision.verified("verified")
        assert ret["result"] is False and words in ret["comment"]
        assert "run it again" in ret["comment"]
        assert saved()["state"] == "failed" and saved()["steps"]["verified"]["state"] == "failed"
        assert saved().get("verified", {}).get("equal") is (False if "shop.orders" in words else None)


@pytest.mark.usefixtures("begun")
class TestComplete:
    def steps(self, *left_out):
        for name in PLAN[1:-2]:
            if name not in left_out:
                assert step(name)["result"] is True
        if "verified" not in left_out:
            assert reprovision.verified("verified")["result"] is True

    def test_all_done(self):
        self.steps()
        assert saved()["state"] == "running"
        ret = reprovision.complete("complete")
        assert ret["result"] is True and ret["changes"] == {"east": "re-provisioned"}
        record = saved()
        assert record["state"] == "done" and record["finished"]
        assert [record["steps"][name]["state"] for name in PLAN] == ["done"] * len(PLAN)

    def test_how_the_sites_stand_afterwards_is_kept_and_what_is_wrong_told(self, functions):
        self.steps()
        functions["siteview.look"].reset_mock()
        ret = reprovision.complete("complete")
        assert ret["result"] is True and ret["comment"].endswith("verified.\nTo be looked at: m2: it lags")
        assert saved()["after"] == STANDING
        functions["siteview.look"].assert_called_once_with(
            reprovision.__context__["reprovision"]["topology"], list(TUNGSTEN["sites"]))

    @pytest.mark.parametrize("trouble", [TypeError("None"), CommandExecutionError("Salt"), KeyError("coordinator")])
    def test_a_look_that_fails_is_no_reason_to_fail(self, functions, caplog, trouble):
        self.steps()
        functions["siteview.look"].side_effect = trouble
        ret = reprovision.complete("complete")
        assert ret["result"] is True and saved()["state"] == "done" and saved()["after"] is None
        assert "How the sites stand is not on record" in caplog.text

    def test_the_end_is_told_once_it_is_on_record(self, functions):
        self.steps()
        functions["notify.of_run"].reset_mock()
        reprovision.complete("complete")
        functions["notify.of_run"].assert_called_once()
        assert functions["notify.of_run"].call_args.args[0]["state"] == "done"

    def test_that_nobody_can_be_told_stops_nothing(self, functions, caplog):
        self.steps()
        functions["notify.of_run"].side_effect = KeyError("text")
        assert reprovision.complete("complete")["result"] is True
        assert saved()["state"] == "done" and "Nobody was told: KeyError: 'text'" in caplog.text

    @pytest.mark.parametrize("missing", PLAN[1:-1])
    def test_a_missing_step(self, missing):
        self.steps(missing)
        ret = reprovision.complete("complete")
        assert ret["result"] is False and f"These steps are missing: {missing}\n" in ret["comment"]
        assert saved()["state"] == "failed"

    def test_a_step_that_did_not_end(self, minions):
        self.steps()
        minions.answers["m1"] = states("m1", False, {}, "no")
        step("01 policy")
        ret = reprovision.complete("complete")
        assert ret["result"] is False and "01 policy" in ret["comment"]
        assert saved()["state"] == "failed"

    def test_in_test_mode_the_record_stays_as_it_is(self, functions):
        before = saved()
        functions["runrecord.save"].reset_mock()
        set_test(True)
        assert reprovision.complete("complete")["result"] is None
        functions["runrecord.save"].assert_not_called()
        assert saved() == before

    @pytest.mark.parametrize("test", [True, False])
    def test_not_without_a_preflight(self, test):
        reprovision.__context__.clear()
        set_test(test)
        ret = reprovision.complete("complete")
        assert ret["result"] is False and "preflight has not run" in ret["comment"]

    def test_what_nobody_foresaw_is_a_failure_with_its_kind(self, functions):
        self.steps()
        functions["runrecord.asked_to_stop"].side_effect = KeyError("at")
        ret = reprovision.complete("complete")
        assert ret["result"] is False and ret["comment"].startswith("KeyError: 'at'\n")
        assert saved()["state"] == "failed"


def test_a_bus_that_cannot_be_heard_stops_nothing(monkeypatch, caplog):
    monkeypatch.setattr(reprovision.salt.utils.event, "get_event", Mock(spec=[], side_effect=OSError("no socket")))
    FIRE({"failed": "east", "run": "r-1"}, "01 policy", "done", seconds=2)
    assert "01 policy/done was not sent: no socket" in caplog.text


def test_progress_events(monkeypatch):
    bus = Mock(spec=["fire_event", "__enter__", "__exit__"])
    bus.__enter__ = Mock(return_value=bus)
    bus.__exit__ = Mock(return_value=None)
    bus.fire_event.return_value = False
    monkeypatch.setattr(reprovision.salt.utils.event, "get_event", lambda *_, **__: bus)
    FIRE({"failed": "east", "run": "r-1"}, "01 policy", "done", seconds=2)
    bus.fire_event.assert_called_once_with(
        {"run": "r-1", "site": "east", "step": "01 policy", "seconds": 2},
        "salt/reprovision/east/r-1/01 policy/done",
    )
