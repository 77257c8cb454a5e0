"""plans: what may become of a plan, who may decide, and that of several who try at once one does."""

import copy
import json
import logging
import re
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

notify = load("_modules", "notify")
plans = load("_modules", "plans")
planning = load("_modules", "planning")
runrecord = load("_modules", "runrecord")

RUN, OTHER = "20260101T000000-7", "20260102T000000-8"
ORDER = {"failed": "east", "definitive": "west", "donor": "west2", "method": "rsync", "warm": True,
         "replica_method": "xtrabackup"}
BINDING = {"order": ORDER, "primaries": {"east": "east1", "west": "west1"}, "resumes": None}
TOPOLOGY = {"sites": {"east": {"on_drift": "plan"}, "west": {"on_drift": "plan"}}, "plans": {"second_person": False}}
FOUND = {"resumes": False, "run": None}
BAD_IDS = [None, 3, ["x"], {}, "", "east", "../east-20260101T000000-1a2b", "east-20260101T000000-1A2B",
           "east-20260101T000000-1a2b\n", "east/../x-20260101T000000-1a2b", "-20260101T000000-1a2b",
           "east-20260101T000000-1a2b.json", "e" * 64 + "-20260101T000000-1a2b", "{{ 7*7 }}", "x" * 1_000_000]


@pytest.fixture
def clock(monkeypatch):
    """The time of this module and of the records; tests put it forward."""
    now = [1767225600.0]
    for module in (plans, runrecord):
        stand_in = create_autospec(time)
        stand_in.time.side_effect = lambda: now[0]
        stand_in.gmtime.side_effect = lambda seconds=None: time.gmtime(now[0] if seconds is None else seconds)
        stand_in.strftime.side_effect = time.strftime
        monkeypatch.setattr(module, "time", stand_in)
    return now


class Bus:
    """The event bus, which remembers."""

    def __init__(self):
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def fire_event(self, data, tag):
        self.events.append((tag, data))


@pytest.fixture(autouse=True)
def bus(monkeypatch):
    bus = Bus()
    monkeypatch.setattr(plans.salt.utils.event, "get_event", lambda *_, **__: bus)
    return bus


@pytest.fixture
def functions():
    return {
        "notify.of_plan": create_autospec(notify.of_plan),
        "runrecord.now": create_autospec(runrecord.now, side_effect=runrecord.now),
        "runrecord.sites": create_autospec(runrecord.sites, side_effect=runrecord.sites),
        "planning.digest": create_autospec(planning.digest, side_effect=planning.digest),
        "planning.changes": create_autospec(planning.changes, side_effect=planning.changes),
        "planning.binding": create_autospec(planning.binding, return_value=copy.deepcopy(BINDING)),
    }


@pytest.fixture
def configure_loader_modules(functions, tmp_path, clock):
    opts = {"__role": "master", "cachedir": str(tmp_path)}
    return {plans: {"__salt__": functions, "__opts__": opts}, runrecord: {"__opts__": opts}}


def made(by="alice", hours=24, why=None, **binding):
    facts = {**BINDING, **binding}
    site = facts["order"]["failed"]
    plan = {"site": site, "binding": facts, "digest": planning.digest(facts), "steps": []}
    return plans.propose(plan, by, hours, why)


def approved(**more):
    plan = made(**more)
    return plans.decide(plan["plan"], "approved", "bob")


def state(plan):
    return plans.load(plan["plan"])["state"]


def admit(plan, found=FOUND, **topology):
    return plans.admit({**ORDER, "plan": plan and plan["plan"]}, found, {**TOPOLOGY, **topology})


def tags(bus):
    return [tag.rsplit("/", 1)[1] for tag, _ in bus.events]


def test_only_on_the_master():
    assert plans.__virtual__() == "plans"
    plans.__opts__["__role"] = "minion"
    assert plans.__virtual__() == (False, "plans keeps the master's plans; this is a minion")


class TestPropose:
    def test_a_new_plan_is_open_and_nobody_else_can_read_it(self, tmp_path, bus):
        plan = made(why="east1 is in error")
        assert re.fullmatch("east-20260101T000000-[0-9a-f]{4}", plan["plan"])
        assert {key: plan[key] for key in ("state", "by", "why", "made", "expires", "decided", "run")} == {
            "state": "open", "by": "alice", "why": "east1 is in error", "made": "2026-01-01T00:00:00Z",
            "expires": "2026-01-02T00:00:00Z", "decided": None, "run": None}
        path = tmp_path / "reprovision/east/plans" / f"{plan['plan']}.json"
        assert json.loads(path.read_text()) == plan and stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert plans.open_("east") == plan == plans.load(plan["plan"])
        ((tag, data),) = bus.events
        assert tag == f"salt/reprovision/east/plan/{plan['plan']}/open" and data["by"] == "alice"

    def test_it_is_no_run(self):
        made()
        assert runrecord.latest("east") is None and runrecord.every("east") == []

    def test_the_same_facts_make_no_second_plan(self, clock, bus):
        first = made()
        clock[0] += 60
        assert made(by="event", why="again") == first
        assert plans.every("east") == [first] and tags(bus) == ["open"]

    def test_that_it_waits_is_told_once(self, functions):
        plan = made()
        assert made() == plan
        functions["notify.of_plan"].assert_called_once_with(plan)

    def test_many_who_want_the_same_at_once_make_one(self):
        begin = threading.Barrier(8)

        def propose(_):
            begin.wait()
            return made()["plan"]

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(propose, range(8)))) == 1
        assert len(plans.every("east")) == 1

    def test_other_facts_supersede_the_older_one(self, clock, bus):
        first = made()
        clock[0] += 1
        second = made(primaries={"east": "east2"})
        assert state(first) == "superseded" and plans.open_("east") == second
        assert tags(bus) == ["open", "superseded", "open"]
        with pytest.raises(CommandExecutionError, match="is superseded, not open"):
            plans.decide(first["plan"], "approved", "bob")

    @pytest.mark.parametrize("end", ["denied", "outdated", "approved", "expired"])
    def test_one_that_is_not_open_any_more_is_neither_returned_nor_superseded(self, clock, end):
        first = made()
        if end == "expired":
            clock[0] += 24 * 3600
        else:
            plans.decide(first["plan"], end, "bob")
        assert made()["plan"] != first["plan"] and state(first) == end

    def test_each_site_has_its_own(self):
        east, north = made(), made(order={**ORDER, "failed": "north"})
        assert (plans.open_("east"), plans.open_("north")) == (east, north)
        assert {plan["plan"] for plan in plans.every()} == {east["plan"], north["plan"]}
        assert plans.every("west") == []

    @pytest.mark.parametrize("why, kept", [
        (None, None), ("", None), ("a\nb\x1b[2J c\x07", "a b[2J c"), ("x" * 9000, "x" * 500), (7, "7")])
    def test_words_for_the_record_can_do_a_terminal_no_harm(self, why, kept):
        assert made(why=why)["why"] == kept

    @pytest.mark.parametrize("site", ["", "../x", "a/b", "x" * 64, None, 7])
    def test_no_folder_for_what_is_no_site(self, tmp_path, site):
        with pytest.raises(CommandExecutionError, match="is not a site name"):
            plans.propose({"site": site, "digest": "d", "binding": BINDING}, "alice", 1)
        assert list(tmp_path.iterdir()) == []

    def test_old_ones_are_thrown_away_but_for_those_that_a_run_may_have_to_show(self, clock, monkeypatch):
        monkeypatch.setattr(plans, "KEPT", 3)
        used = approved()
        plans.use(used["plan"], RUN)
        clock[0] += 1
        waiting = approved()
        for number in range(5):
            clock[0] += 1
            last = made(primaries={"east": f"east{number}"})
        left = [plan["plan"] for plan in plans.every("east")]
        assert left[:2] == [used["plan"], waiting["plan"]] and left[-1] == last["plan"] and len(left) == 5

    def test_a_bus_that_is_down_keeps_no_plan_from_being_made(self, monkeypatch):
        log = create_autospec(logging.Logger, instance=True)
        monkeypatch.setattr(plans, "log", log)

        def broken(*_, **__):
            raise OSError("no socket")

        monkeypatch.setattr(plans.salt.utils.event, "get_event", broken)
        assert plans.open_("east") is None
        plan = made()
        assert plans.open_("east") == plan
        log.warning.assert_called_once()


class TestIds:
    @pytest.mark.parametrize("plan", BAD_IDS, ids=lambda value: repr(value)[:40])
    def test_what_is_no_id_never_becomes_a_path(self, tmp_path, plan):
        made()
        before = sorted(tmp_path.rglob("*"))
        for ask in (lambda: plans.load(plan), lambda: plans.decide(plan, "approved", "bob"),
                    lambda: plans.use(plan, RUN), lambda: plans.consider(plan, "bob")):
            with pytest.raises(CommandExecutionError, match="is not the id of a plan") as error:
                ask()
            assert len(str(error.value)) < 200
        assert sorted(tmp_path.rglob("*")) == before

    @pytest.mark.parametrize("plan", ["north-20260101T000000-1a2b", "east-20260101T000000-1a2b"])
    def test_a_plan_that_nobody_made(self, tmp_path, plan):
        made()
        for ask in (plans.load, lambda plan: plans.decide(plan, "denied", "bob"), lambda plan: plans.use(plan, RUN)):
            with pytest.raises(CommandExecutionError, match=f"There is no plan {plan}"):
                ask(plan)
        assert not (tmp_path / "reprovision/north").exists(), "an unknown site gets no folder"

    def test_a_site_with_dashes(self):
        plan = made(order={**ORDER, "failed": "new-york-2"})
        assert plans.load(plan["plan"]) == plan

    def test_a_file_that_is_no_plan_is_named(self, tmp_path):
        plan = made()
        path = tmp_path / "reprovision/east/plans" / f"{plan['plan']}.json"
        path.write_text("{")
        with pytest.raises(CommandExecutionError, match=f"{path} is not readable as JSON"):
            plans.load(plan["plan"])


class TestDecide:
    def test_an_approval(self, bus):
        plan = plans.decide(made()["plan"], "approved", "bob", "seen\nit")
        assert plan["state"] == "approved" and plan["expires"] == "2026-01-01T01:00:00Z"
        assert plan["decided"] == {
            "state": "approved", "who": "bob", "reason": "seen it", "at": "2026-01-01T00:00:00Z"}
        assert plans.load(plan["plan"]) == plan and plans.open_("east") is None
        assert bus.events[-1][1]["decided"] == plan["decided"] and tags(bus) == ["open", "approved"]

    @pytest.mark.parametrize("end", ["denied", "outdated"])
    def test_the_other_ends(self, bus, end):
        plan = plans.decide(made()["plan"], end, "unknown", None)
        assert plan["state"] == end and plan["expires"] == "2026-01-02T00:00:00Z" and tags(bus) == ["open", end]

    @pytest.mark.parametrize("first", plans.DECISIONS)
    @pytest.mark.parametrize("second", plans.DECISIONS)
    def test_only_what_is_open_can_be_decided(self, first, second):
        plan = plans.decide(made()["plan"], first, "bob")
        with pytest.raises(CommandExecutionError) as error:
            plans.decide(plan["plan"], second, "carol")
        assert str(error.value) == (
            f"Plan {plan['plan']} is {first} by bob at 2026-01-01T00:00:00Z, not open. A new one: "
            "salt-run reprovision.plan east west")
        assert plans.load(plan["plan"]) == plan

    @pytest.mark.parametrize("end", ["used", "refused", "superseded", "expired", "open", "", None])
    def test_nobody_decides_on_another_end(self, end):
        plan = made()
        with pytest.raises(CommandExecutionError, match="A plan can be approved, denied, outdated"):
            plans.decide(plan["plan"], end, "bob")
        assert state(plan) == "open"

    def test_of_two_approvals_at_once_one_comes_too_late(self):
        plan = made()["plan"]
        begin = threading.Barrier(6)

        def approve(number):
            begin.wait()
            try:
                return plans.decide(plan, "approved", f"person{number}")["decided"]["who"]
            except CommandExecutionError as error:
                assert "is approved by person" in str(error)
                return None

        with ThreadPoolExecutor(6) as pool:
            (who,) = [who for who in pool.map(approve, range(6)) if who]
        assert plans.load(plan)["decided"]["who"] == who

    @pytest.mark.parametrize("seconds, then", [(3599, "open"), (3600, "expired"), (999999, "expired")])
    def test_after_its_time_it_is_void_though_nobody_came_by(self, clock, seconds, then):
        plan = made(hours=1)
        clock[0] += seconds
        assert state(plan) == then == plans.every("east")[0]["state"]
        assert bool(plans.open_("east")) is (then == "open")
        if then == "expired":
            for ask in (lambda: plans.consider(plan["plan"], "bob"),
                        lambda: plans.decide(plan["plan"], "approved", "bob")):
                with pytest.raises(CommandExecutionError, match="is expired, not open"):
                    ask()

    def test_a_file_that_was_meddled_with_is_not_approved(self, tmp_path):
        plan = made()
        path = tmp_path / "reprovision/east/plans" / f"{plan['plan']}.json"
        path.write_text(json.dumps({**plan, "binding": {**BINDING, "order": {**ORDER, "donor": "west1"}}}))
        with pytest.raises(CommandExecutionError, match="is damaged"):
            plans.decide(plan["plan"], "approved", "bob")


class TestPersons:
    @pytest.mark.parametrize("by, who, second, may", [
        ("alice", "bob", True, True),
        ("alice", "alice", True, False),
        ("alice", "alice", False, True),
        ("event", "alice", True, True),
        # Nobody knows who it was: it may have been the same person.
        ("unknown", "bob", True, False),
        ("unknown", "bob", False, True),
        ("alice", "unknown", False, False),
        ("alice", "event", False, False),
        ("event", "event", False, False),
        ("event", "unknown", True, False),
        ("alice", None, False, False),
        ("alice", "", False, False),
    ])
    def test_who_may_approve(self, by, who, second, may):
        plan = made(by=by)["plan"]
        for ask in (plans.consider, lambda plan, *args: plans.decide(plan, "approved", args[0], None, *args[1:])):
            if may:
                assert ask(plan, who, second)["plan"] == plan
            else:
                with pytest.raises(CommandExecutionError, match="by a person, not by|somebody else has to approve it"):
                    ask(plan, who, second)
                assert plans.load(plan)["state"] == "open"

    @pytest.mark.parametrize("by, second, by_itself, may", [
        ("event", False, True, True),
        ("event", True, True, False),
        ("event", False, False, False),
        # What a person has planned waits for a person.
        ("alice", False, True, False),
    ])
    def test_an_event_approves_only_its_own_plan_where_the_pillar_lets_it(self, by, second, by_itself, may):
        plan = made(by=by)["plan"]
        if may:
            assert plans.decide(plan, "approved", "event", None, second, by_itself)["state"] == "approved"
        else:
            with pytest.raises(CommandExecutionError, match="by a person, not by event"):
                plans.decide(plan, "approved", "event", None, second, by_itself)

    def test_anybody_may_deny(self):
        assert plans.decide(made(by="alice")["plan"], "denied", "alice", None, True)["state"] == "denied"


class TestAdmit:
    def test_an_approved_plan_for_these_very_facts(self, functions):
        plan = approved()
        topology = {**TOPOLOGY, "plans": {"second_person": True}}
        assert plans.admit({**ORDER, "plan": plan["plan"]}, FOUND, topology) == plan
        functions["planning.binding"].assert_called_once_with(topology, FOUND)
        assert state(plan) == "approved", "it is used up by use"

    def test_none_is_needed(self, functions):
        assert admit(None) is None
        assert plans.admit(ORDER, FOUND, TOPOLOGY) is None
        functions["planning.binding"].assert_not_called()

    def test_one_is_needed(self):
        with pytest.raises(CommandExecutionError) as error:
            admit(None, plans={"second_person": True})
        assert "salt-run reprovision.plan east west" in str(error.value) and "second person" in str(error.value)

    @pytest.mark.parametrize("end", ["open", "denied", "outdated"])
    def test_what_is_not_approved(self, end):
        plan = made()
        if end != "open":
            plans.decide(plan["plan"], end, "bob")
        with pytest.raises(CommandExecutionError, match=f"is {end}.*, not approved"):
            admit(plan)
        assert state(plan) == end

    def test_approved_but_not_begun_within_the_hour(self, clock):
        plan = approved()
        clock[0] += 3599
        assert admit(plan)
        clock[0] += 1
        for ask in (lambda: admit(plan), lambda: plans.use(plan["plan"], RUN)):
            with pytest.raises(CommandExecutionError, match="is expired, not approved"):
                ask()

    def test_other_facts_than_were_approved_refuse_it_for_good(self, functions, bus):
        plan = approved()
        functions["planning.binding"].return_value = {**BINDING, "primaries": {"east": "east2", "west": "west1"}}
        with pytest.raises(CommandExecutionError, match="primaries:east was east1, is east2"):
            admit(plan)
        kept = plans.load(plan["plan"])
        assert kept["state"] == "refused" and kept["changed"] == ["primaries:east was east1, is east2"]
        assert tags(bus)[-1] == "refused"
        functions["planning.binding"].return_value = copy.deepcopy(BINDING)
        with pytest.raises(CommandExecutionError, match="is refused, not approved"):
            admit(plan)

    @pytest.mark.parametrize("order", [{"donor": "west3"}, {"definitive": "north"}, {"method": "tar"}])
    def test_another_order_than_was_approved(self, functions, order):
        plan = approved()
        functions["planning.binding"].return_value = {**BINDING, "order": {**ORDER, **order}}
        with pytest.raises(CommandExecutionError, match="was approved for other facts"):
            admit(plan)

    def test_of_another_site(self):
        plan = approved(order={**ORDER, "failed": "north"})
        with pytest.raises(CommandExecutionError, match="is for site north, not for east"):
            admit(plan)
        assert state(plan) == "approved"

    def test_a_file_that_was_meddled_with(self, tmp_path):
        plan = approved()
        facts = {**BINDING, "order": {**ORDER, "donor": "west1"}}
        path = tmp_path / "reprovision/east/plans" / f"{plan['plan']}.json"
        path.write_text(json.dumps({**plan, "binding": facts}))
        with pytest.raises(CommandExecutionError, match="is damaged"):
            admit(plan)

    def test_a_second_person_that_is_wanted_only_since_the_approval(self):
        plan = plans.decide(made(by="bob")["plan"], "approved", "bob")
        assert admit(plan)
        with pytest.raises(CommandExecutionError, match="somebody else has to approve it"):
            admit(plan, plans={"second_person": True})

    @pytest.mark.parametrize("on_drift, may", [("reprovision", True), ("plan", False), ("ignore", False)])
    def test_what_an_event_has_approved_holds_while_the_pillar_lets_it(self, on_drift, may):
        plan = plans.decide(made(by="event")["plan"], "approved", "event", by_itself=True)
        sites = {"east": {"on_drift": on_drift}}
        if may:
            assert admit(plan, sites=sites)
        else:
            with pytest.raises(CommandExecutionError, match="by a person"):
                admit(plan, sites=sites)

    def test_a_used_one_lets_only_its_own_run_go_on(self, functions):
        plan = approved()
        plans.use(plan["plan"], RUN)
        functions["planning.binding"].side_effect = AssertionError("half-built facts are compared with nothing")
        assert admit(plan, {"resumes": True, "run": RUN}, plans={"second_person": True})["run"] == RUN
        for found in (FOUND, {"resumes": True, "run": OTHER}, {"resumes": False, "run": None}):
            with pytest.raises(CommandExecutionError, match=f"is used by run {RUN}, not approved"):
                admit(plan, found)
        with pytest.raises(CommandExecutionError, match="is for site east, not for west"):
            plans.admit({"failed": "west", "definitive": "east", "plan": plan["plan"]},
                        {"resumes": True, "run": RUN}, TOPOLOGY)


class TestUse:
    def test_once(self, bus):
        plan = approved()
        used = plans.use(plan["plan"], RUN)
        assert (used["state"], used["run"]) == ("used", RUN) and plans.load(plan["plan"]) == used
        assert plans.use(plan["plan"], RUN) == used, "the same run once more"
        assert tags(bus) == ["open", "approved", "used"]
        with pytest.raises(CommandExecutionError, match=f"is used by run {RUN}"):
            plans.use(plan["plan"], OTHER)

    def test_it_does_not_expire_any_more(self, clock):
        plan = approved()
        plans.use(plan["plan"], RUN)
        clock[0] += 10 * 24 * 3600
        assert state(plan) == "used"

    @pytest.mark.parametrize("end", ["open", "denied", "outdated"])
    def test_only_an_approved_one(self, end):
        plan = made()
        if end != "open":
            plans.decide(plan["plan"], end, "bob")
        with pytest.raises(CommandExecutionError, match="not approved"):
            plans.use(plan["plan"], RUN)

    def test_of_two_runs_at_once_one_gets_it(self):
        plan = approved()["plan"]
        begin = threading.Barrier(6)

        def use(number):
            begin.wait()
            try:
                return plans.use(plan, f"20260101T000000-{number}")["run"]
            except CommandExecutionError:
                return None

        with ThreadPoolExecutor(6) as pool:
            (run,) = [run for run in pool.map(use, range(6)) if run]
        assert plans.load(plan)["run"] == run


class TestBegun:
    """A run has begun: what other plans say of the site is over."""

    @pytest.mark.parametrize("make", [made, approved])
    def test_what_was_planned_beside_it_is_closed(self, make, bus):
        plan = make()
        assert plans.begun("east", RUN) == [plan["plan"]]
        kept = plans.load(plan["plan"])
        assert (kept["state"], kept["run"]) == ("superseded", RUN) and tags(bus)[-1] == "superseded"
        assert plans.open_("east") is None
        with pytest.raises(CommandExecutionError, match=f"is superseded by run {RUN}, not open"):
            plans.consider(plan["plan"], "bob")

    def test_the_runs_own_plan_and_decided_ones_stay_as_they_are(self):
        used = approved()
        plans.use(used["plan"], RUN)
        denied = made(resumes=RUN)
        plans.decide(denied["plan"], "denied", "bob")
        assert plans.begun("east", RUN) == []
        assert (state(used), state(denied)) == ("used", "denied")

    def test_of_another_site_nothing_is_closed(self):
        plan = made()
        assert plans.begun("west", RUN) == [] and state(plan) == "open"
