"""The orchestration's steps on the master: roles, records, refusals, and what is said when a step fails."""

import copy
from unittest.mock import Mock, call, create_autospec

import pytest
import salt.states.saltmod
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

reprovision = load("_states", "reprovision")
topology = load("_modules", "topology")
fleet = load("_modules", "fleet")
preflight = load("_modules", "preflight")
verify = load("_modules", "verify")
runrecord = load("_modules", "runrecord")

TUNGSTEN = {
    "sites": {
        "east": {"nodes": {"east1": "m1", "east2": "m2", "east3": "m3"}},
        "west": {"nodes": ["west1", "west2", "west3"]},
        "north": {"nodes": ["north1"]},
    },
    "reprovision": {"failed": "east", "definitive": "west"},
}
ROLES = {"faults": [], "primaries": {"east": "east1", "west": "west1", "north": "north1"}, "donor": "west3"}
PLAN = ["00 preflight", "01 policy", "06 donor shunned", "11 donor given back", "verified", "complete"]


FIRE = reprovision._fire


def compare(minions):
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
        "topology.merge": create_autospec(topology.merge, side_effect=topology.merge),
        "fleet.gather": create_autospec(fleet.gather, return_value={"answers": {"all": 1}, "faults": {}}),
        "preflight.judge": create_autospec(
            preflight.judge, side_effect=lambda *_, **__: copy.deepcopy(ROLES)
        ),
        "runrecord.acquire": create_autospec(runrecord.acquire, return_value=True),
        "runrecord.release": create_autospec(runrecord.release, return_value=[]),
        "runrecord.latest": create_autospec(runrecord.latest, return_value=None),
        "runrecord.reported": create_autospec(runrecord.reported, return_value=None),
        "runrecord.now": create_autospec(runrecord.now, side_effect=runrecord.now),
        "runrecord.save": create_autospec(runrecord.save, side_effect=runrecord.save),
        "verify.services": create_autospec(verify.services, return_value={}),
        "verify.heartbeats": create_autospec(verify.heartbeats, return_value={"east": 1, "west": 9}),
        "tablecompare.run": create_autospec(compare, return_value={"equal": True, "tables": 3, "rows": 70}),
    }


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
        runrecord: {"__opts__": opts},
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


def only_east(functions, record):
    """The last run of the failed site; the others have none."""
    functions["runrecord.latest"].side_effect = lambda site: record if site == "east" else None


class TestPreflight:
    def test_freezes_the_roles_and_begins_the_record(self, functions, events):
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is True and ret["changes"] == {}
        assert "by a copy of west3" in ret["comment"] and "will be lost" in ret["comment"]
        record = saved()
        assert {
            key: record[key] for key in ("state", "failed", "definitive", "primary", "donor", "plan")
        } == {
            "state": "running",
            "failed": "east",
            "definitive": "west",
            "primary": "east1",
            "donor": "west3",
            "plan": PLAN,
        }
        assert record["steps"]["00 preflight"]["state"] == "done"
        assert functions["runrecord.acquire"].call_args_list == [
            call("east", record["run"]), call("west", record["run"], shared=True)]
        functions["runrecord.release"].assert_not_called()
        functions["fleet.gather"].assert_called_once_with(
            ["m1", "m2", "m3", "west1", "west2", "west3", "north1"], "preflight.facts", timeout=90
        )
        assert [call.args[2] for call in events.call_args_list] == ["start", "done"]

    @pytest.mark.parametrize("test", [True, False])
    def test_a_half_built_site_is_no_source(self, functions, events, test):
        set_test(test)
        half = {"run": "7", "state": "failed"}
        functions["runrecord.latest"].side_effect = lambda site: half if site == "west" else None
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is False and "west cannot be the definitive one" in ret["comment"]
        functions["fleet.gather"].assert_not_called()
        assert functions["runrecord.release"].called is not test

    def test_in_test_mode_no_lock_and_no_record(self, functions, events, tmp_path):
        set_test(True)
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is None and "will be rebuilt from west" in ret["comment"]
        functions["runrecord.acquire"].assert_not_called()
        functions["runrecord.save"].assert_not_called()
        events.assert_not_called()
        assert not list(tmp_path.rglob("*.json"))

    @pytest.mark.parametrize("test", [True, False])
    def test_the_operators_order(self, functions, test):
        set_test(test)
        reprovision.__pillar__["reprovision"] = {"failed": "north", "definitive": "east", "donor": "east2"}
        reprovision.preflight("00 preflight")
        assert functions["preflight.judge"].call_args.args[0]["reprovision"]["failed"] == "north"
        assert functions["runrecord.latest"].call_args_list == [call("north"), call("east")]

    @pytest.mark.parametrize("test", [True, False])
    @pytest.mark.parametrize(
        "name, answer, words",
        [
            ("topology.merge", CommandExecutionError("tungsten:sites: bad"), "tungsten:sites: bad"),
            (
                "runrecord.latest",
                CommandExecutionError("x.json is not readable as JSON"),
                "x.json is not readable",
            ),
            (
                "fleet.gather",
                {"answers": {}, "faults": {"m2": "does not answer preflight.facts"}},
                "m2: does not answer preflight.facts",
            ),
            (
                "preflight.judge",
                {**ROLES, "faults": ["east: no primary", "west: none"]},
                "east: no primary\n  west: none",
            ),
        ],
    )
    def test_refuses(self, functions, test, name, answer, words):
        set_test(test)
        functions[name].side_effect = answer if isinstance(answer, Exception) else [answer]
        ret = reprovision.preflight("00 preflight")
        assert (
            ret["result"] is False
            and words in ret["comment"]
            and ret["comment"].endswith("Nothing was changed.")
        )
        functions["runrecord.save"].assert_not_called()
        assert "reprovision" not in reprovision.__context__

    def test_refuses_while_another_run_has_the_site(self, functions):
        functions["runrecord.acquire"].side_effect = CommandExecutionError("being re-provisioned by run 7")
        assert "by run 7" in reprovision.preflight("00 preflight")["comment"]
        functions["fleet.gather"].assert_not_called()
        functions["runrecord.save"].assert_not_called()

    def test_a_silent_node_keeps_the_others_from_being_judged(self, functions):
        functions["fleet.gather"].return_value = {"answers": {"m1": {}}, "faults": {"m2": "does not answer"}}
        reprovision.preflight("00 preflight")
        functions["preflight.judge"].assert_not_called()


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
        functions["runrecord.latest"].return_value = dict(DONE)
        return functions

    @pytest.mark.parametrize("test", [True, False])
    @pytest.mark.parametrize("reported", [None, "2026-01-01T23:59:59Z", "2026-01-02T00:00:00Z"])
    def test_refused(self, functions, test, reported):
        set_test(test)
        functions["runrecord.reported"].return_value = reported and {"reported": reported}
        ret = reprovision.preflight("00 preflight")
        assert ret["result"] is False
        assert "verified at 2026-01-02T00:00:00Z (run 7)" in ret["comment"]
        assert '"insist": true' in ret["comment"] and "salt-run state.orch orch.reprovision" in ret["comment"]
        functions["runrecord.acquire"].assert_not_called()
        functions["fleet.gather"].assert_not_called()

    def test_insisted(self, functions):
        reprovision.__pillar__["reprovision"] = {"insist": True}
        assert reprovision.preflight("00 preflight")["result"] is True

    def test_reported_since(self, functions):
        functions["runrecord.reported"].return_value = {"reported": "2026-01-02T00:00:01Z"}
        assert reprovision.preflight("00 preflight")["result"] is True

    @pytest.mark.parametrize("state", ["failed", "running"])
    def test_an_unfinished_run_is_gone_on_with_and_keeps_its_donor(self, functions, state):
        only_east(functions, {**DONE, "state": state, "donor": "west2"})
        assert reprovision.preflight("00 preflight")["result"] is True
        judged = functions["preflight.judge"].call_args
        assert judged.kwargs == {"resumes": True}
        assert judged.args[0]["reprovision"]["donor"] == "west2"

    @pytest.mark.parametrize("order", [{"donor": "west1"}, {"definitive": "north"}])
    def test_another_donor_or_site_is_no_continuation(self, functions, order):
        only_east(functions, {**DONE, "state": "failed", "donor": "west2"})
        reprovision.__pillar__["reprovision"] = order
        reprovision.preflight("00 preflight")
        judged = functions["preflight.judge"].call_args
        assert judged.kwargs == {"resumes": False}
        assert judged.args[0]["reprovision"].get("donor") == order.get("donor")


@pytest.mark.usefixtures("begun")
class TestStep:
    @pytest.mark.parametrize(
        "nodes, expected",
        [
            ("failed primary", ["m1"]),
            ("failed replicas", ["m2", "m3"]),
            ("failed site", ["m1", "m2", "m3"]),
            ("donor", ["west3"]),
            ("failed primary and donor", ["m1", "west3"]),
            ("other sites", ["west1", "west2", "west3", "north1"]),
        ],
    )
    def test_roles(self, minions, nodes, expected):
        assert set(reprovision.ROLES) == {
            "failed primary",
            "failed replicas",
            "failed site",
            "donor",
            "failed primary and donor",
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
                    "replica_method": "xtrabackup",
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
        ret = step(nodes="failed site")
        assert ret["result"] is False
        assert words in ret["comment"].splitlines()
        assert set(ret["changes"]) == {"m1", "m3"}, "what the others did is not lost"

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
        ret = step(nodes="failed site")
        assert ret["result"] is False and "m3: gave no answer" in ret["comment"]

    def test_a_failure_is_recorded_with_how_to_go_on(self, minions, events):
        step()
        minions.answers["west3"] = states("west3", False, {"mysqld": "stopped"}, "no shun")
        ret = step("06 donor shunned", "donor")
        assert ret["changes"] == {"west3": {"b": {"mysqld": "stopped"}}}, "what was done before it failed"
        lines = ret["comment"].splitlines()
        assert "west3: no shun" in lines
        assert "The run stopped at step '06 donor shunned'; the last one done is '01 policy'." in lines
        assert "stays in MAINTENANCE with its routers offline" in ret["comment"]
        assert "The donor west3 is out of service." in ret["comment"]
        assert lines[-1].endswith(
            "salt-run state.orch orch.reprovision "
            'pillar=\'{"reprovision": {"failed": "east", "definitive": "west", "donor": "west3", "method": "rsync", '
            '"replica_method": "xtrabackup"}}\''
        )
        record = saved()
        assert record["state"] == "failed" and record["finished"]
        assert record["steps"]["06 donor shunned"]["state"] == "failed"
        assert "no shun" in record["steps"]["06 donor shunned"]["comment"]
        assert events.call_args.args[2] == "failed"

    def test_a_donor_given_back_or_never_taken_is_not_mentioned(self, minions):
        minions.answers["m1"] = states("m1", False, {}, "no")
        assert "out of service" not in step()["comment"]
        minions.answers.clear()
        step("06 donor shunned", "donor")
        step("11 donor given back", "donor")
        minions.answers["m1"] = states("m1", False, {}, "no")
        assert "out of service" not in step()["comment"]

    def test_an_error_of_salt_itself_is_recorded_too(self):
        reprovision.__states__["salt.state"].side_effect = ValueError("master gone")
        ret = step()
        assert ret["result"] is False and ret["comment"].startswith("m1: ValueError: master gone")
        assert saved()["state"] == "failed"

    @pytest.mark.parametrize("test", [True, False])
    def test_one_by_one_stops_at_the_first_that_fails(self, minions, test):
        set_test(test)
        assert step(nodes="failed site", one_by_one=True)["result"] is (None if test else True)
        assert targets(minions) == [["m1"], ["m2"], ["m3"]]
        minions.calls.clear()
        minions.answers["m2"] = states("m2", False, {}, "no")
        ret = step(nodes="failed site", one_by_one=True)
        assert ret["result"] is False and set(ret["changes"]) == {"m1"}
        assert targets(minions) == [["m1"], ["m2"]]

    @pytest.mark.parametrize("one_by_one", [True, False])
    def test_a_role_of_nobody(self, minions, one_by_one):
        run = reprovision.__context__["reprovision"]["run"]
        run["nodes"]["east"] = {"east1": "m1"}
        ret = step(nodes="failed replicas", one_by_one=one_by_one)
        assert ret["result"] is True and ret["comment"] == "There are no failed replicas."
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
        with pytest.raises(OSError, match="no space"):
            step()
        assert minions.calls == []


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
        functions["verify.heartbeats"].assert_called_once_with(topology_used, ROLES["primaries"], timeout=9)
        functions["tablecompare.run"].assert_called_once_with(
            ["m1", "m2", "m3", "west1", "west2", "west3", "north1"]
        )
        assert saved()["verified"] == {"heartbeats": {"east": 1, "west": 9}, "tables": 3, "rows": 70}
        assert saved()["steps"]["verified"]["state"] == "done"

    def test_in_test_mode_nothing_is_asked(self, functions):
        functions["runrecord.save"].reset_mock()
        set_test(True)
        assert reprovision.verified("verified")["result"] is None
        for name in ("verify.services", "verify.heartbeats", "tablecompare.run", "runrecord.save"):
            functions[name].assert_not_called()

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
            ("tablecompare.run", [{"equal": False, "differing": ["shop.orders"]}], "shop.orders"),
            ("tablecompare.run", KeyError("rows"), "rows"),
        ],
    )
    def test_one_doubt_is_a_failure(self, functions, name, answer, words):
        functions[name].side_effect = answer
        ret = reprovision.verified("verified")
        assert ret["result"] is False and words in ret["comment"]
        assert "run it again" in ret["comment"]
        assert saved()["state"] == "failed" and saved()["steps"]["verified"]["state"] == "failed"
        assert "verified" not in saved()


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

    @pytest.mark.parametrize("missing", PLAN[1:-1])
    def test_a_missing_step(self, missing):
        self.steps(missing)
        ret = reprovision.complete("complete")
        assert ret["result"] is False and ret["comment"] == f"These steps are missing: {missing}"
        assert saved()["state"] == "failed"

    def test_a_step_that_did_not_end(self, minions):
        self.steps()
        minions.answers["m1"] = False
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
