"""A drift event gets a look and no more; what is proved decides, the pillar alone says what is done; checks go on."""

import copy
import inspect
import json
import logging
import os
from unittest.mock import create_autospec

import pytest
import salt.loader
import salt.runners.pillar
import salt.utils.event
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

drift = load("_runners", "drift")
reprovision = load("_runners", "reprovision")
checkrecord = load("_modules", "checkrecord")
driftfindings = load("_modules", "driftfindings")
driftlook = load("_modules", "driftlook")
fleet = load("_modules", "fleet")
freshjob = load("_modules", "freshjob")
plans = load("_modules", "plans")
rowsave = load("_modules", "rowsave")
runlock = load("_modules", "runlock")
runrecord = load("_modules", "runrecord")
tablecompare = load("_modules", "tablecompare")
tabledata = load("_modules", "tabledata")
topology = load("_modules", "topology")
verify = load("_modules", "verify")

RUN = "20260101T000000-7"
PLAN = "east-20260101T000000-1a2b"
ID = "20260101T000000-0001"
# The reference is not the first site, nor does its name come first.
TUNGSTEN = {
    "sites": {"east": {"nodes": ["east1", "east2"], "on_drift": "reprovision"}, "west": {"nodes": ["west1", "west2"]}},
    "reprovision": {"failed": "east", "definitive": "west", "donor": "west2"},
}
FORGED = [
    "", "south", "East", "east/../west", "../../etc", "east\n", "east west", "$(reboot)", "`id`", "east; rm -rf /",
    "{{ salt['cmd.run']('id') }}", "{% raw %}", "*", "E@.*", "\x1b[31m", "x" * 1_000_000, None, 7, ["east"],
    {"east": 1}, True,
]
ERROR = {"sign": "error", "what": "service west is OFFLINE:ERROR: Duplicate entry", "data": True}
STOPPED = {"east1": {"west": ERROR}, "east2": {"west": ERROR}}
LATE = {"sign": "late", "what": "service west is 900 s behind", "data": False}
DIFFERING = {"shop.orders": {"17": {"east2": "a", "west2": "b"}}}
HERE_ALONE = {"shop.orders": {"17": {"east2": "a", "west2": None}}}


def result(differing=None, **more):
    """As tablecompare.result returns it."""
    found = {"tables": 1, "rows": 100, "parts": 4, "looks": 3, "differing": differing or {}, "unproved": {},
             "whole": {}, "schema": {}, "skipped": {}, **more}
    return {"equal": not (found["differing"] or found["unproved"] or found["schema"]), **found}


class Nodes:
    """A comparison of some steps, and what it finds; each step is one more of the rows read."""

    def __init__(self):
        self.found, self.again, self.steps, self.breaks, self.phase = result(), result(), 3, None, "reading"

    def begin(self, minions, looks=3, share=100, everything=False, only=None, sources=None):
        assert not everything, "a check keeps nobody out"
        return {"minions": list(minions), "phase": self.phase, "rows": 0, "estimate": self.steps, "parts": 0,
                "suspects": [], "keys": {}, "schema": {}, "look": 0,
                "tables": {"shop.orders": {"key": [["id", "number"]]}},
                "kind": "found"}

    def recheck(self, minions, keys, looks=3, share=100, sources=None):
        return {**self.begin(minions), "phase": "rows", "keys": keys, "kind": "again"}

    def step(self, state):
        if self.breaks == state["rows"]:
            raise CommandExecutionError("east2: does not answer tabledata.checksums")
        state = {**state, "rows": state["rows"] + 1}
        return {**state, "phase": "done"} if state["rows"] == self.steps else state

    def result(self, state):
        assert state["phase"] == "done"
        return copy.deepcopy(getattr(self, state["kind"]))


@pytest.fixture
def nodes():
    return Nodes()


@pytest.fixture
def pillar():
    return {"tungsten": copy.deepcopy(TUNGSTEN)}


def real(module, names):
    found = {name: getattr(module, name) for name in names.split()}
    return {f"{module.__virtualname__}.{name}": create_autospec(each, side_effect=each) for name, each in found.items()}


def answer(minions, function, kwarg=None, timeout=60):
    if function == "tabledata.definitions":
        return {minion: {} for minion in minions}
    # The arguments are bound to the real one.
    inspect.signature({"rowsave.save": rowsave.save}[function]).bind(**kwarg)
    return {minion: {"path": f"/saved/{kwarg['name']}-{minion}.sql", "rows": 1, "tables": {}} for minion in minions}


@pytest.fixture
def functions(nodes):
    """The execution modules on the master: those that ask nobody are the real ones."""
    return {
        **real(topology, "checked"), **real(runlock, "running claim claimed look_begins look_ends unclaim"),
        **real(runrecord, "now report reported latest"), **real(checkrecord, "acquire release new_id save load latest"),
        **real(driftfindings, "judge schema verdict text drifted"), **real(driftlook, "conclude"),
        "plans.open": create_autospec(plans.open_, return_value=None),
        "driftlook.nodes": create_autospec(
            driftlook.nodes, return_value=({"east": ["east2"], "west": ["west2"]}, {"west1": "it is shunned"},
                                           {"east2": "east"})),
        "driftlook.signs": create_autospec(driftlook.signs, return_value={}),
        **{f"tablecompare.{name}": create_autospec(getattr(tablecompare, name), side_effect=getattr(nodes, name))
           for name in ("begin", "recheck", "step", "result")},
        "verify.behind": create_autospec(verify.behind, return_value={}),
        "fleet.ask": create_autospec(fleet.ask, side_effect=answer),
        "freshjob.start": create_autospec(freshjob.start, return_value={"jid": "20260101", "tag": "x"}),
    }


@pytest.fixture
def start(functions):
    """What starts a look."""
    return functions["freshjob.start"]


@pytest.fixture
def bus(monkeypatch):
    """The master's event bus."""
    instance = create_autospec(salt.utils.event.SaltEvent, instance=True)
    instance.__enter__.return_value = instance
    monkeypatch.setattr(
        drift.salt.utils.event, "get_event", create_autospec(salt.utils.event.get_event, return_value=instance))
    return instance


@pytest.fixture(autouse=True)
def log(monkeypatch):
    mock = create_autospec(logging.Logger, instance=True)
    monkeypatch.setattr(drift, "log", mock)
    return mock


@pytest.fixture
def runners(pillar):
    return {
        "pillar.show_pillar": create_autospec(
            salt.runners.pillar.show_pillar, side_effect=lambda minion: {"vm_master": pillar}[minion]),
        "reprovision.plan": create_autospec(reprovision.plan, return_value={"plan": PLAN}),
        "reprovision.approve": create_autospec(
            reprovision.approve, return_value={"plan": PLAN, "site": "east", "run": None, "jid": "20260102"}),
    }


@pytest.fixture
def configure_loader_modules(functions, runners, bus, tmp_path):
    opts = {"__role": "master", "cachedir": str(tmp_path), "id": "vm_master", "user": "root"}
    return {
        drift: {"__salt__": runners, "__opts__": opts, "__context__": {"reprovision.functions": functions}},
        **{module: {"__opts__": opts, "__salt__": functions, "__context__": {}}
           for module in (checkrecord, runrecord, runlock, driftlook)},
    }


@pytest.fixture(autouse=True)
def released():
    """Locks end with their process; this one lives on, for the next test."""
    yield
    checkrecord.release()
    while runlock._held:
        os.close(runlock._held.popitem()[1])


def files(tmp_path):
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))


def messages(log):
    return [text % tuple(values) for text, *values in (call.args for call in log.warning.call_args_list)]


def test_modules_that_the_master_has_not_synced(functions):
    functions.clear()
    for call in (lambda: drift.react("east"), lambda: drift.look("east"), drift.check, drift.show):
        with pytest.raises(CommandExecutionError, match="is not available on the master: salt-run saltutil.sync_all"):
            call()


def test_the_modules_are_loaded_once_and_no_call_reads_the_grains_again(monkeypatch):
    claimed = create_autospec(runlock.claimed, return_value=True)
    loaded = create_autospec(salt.loader.minion_mods, return_value={"runlock.claimed": claimed})
    grains = create_autospec(salt.loader.grains, return_value={})
    monkeypatch.setattr(drift.salt.loader, "minion_mods", loaded)
    monkeypatch.setattr(drift.salt.loader, "grains", grains)
    drift.__context__.clear()
    for _ in range(5):
        drift.react("east")
    assert loaded.call_count == grains.call_count == 1
    assert loaded.call_args.kwargs["context"]["reprovision.functions"] is loaded.return_value


# --- what an event sets off


class TestReact:
    def test_it_starts_one_look_that_no_person_has_asked_for(self, start, tmp_path):
        assert drift.react("east", "east2") == {"site": "east", "decision": "it is looked at", "jid": "20260101"}
        start.assert_called_once_with("drift.look", {"site": "east", "reporter": "east2"})
        assert runlock.claimed("east", "look")

    def test_the_look_takes_those_arguments(self, start):
        drift.react("east", "east2")
        inspect.signature(drift.look).bind(**start.call_args.args[1])

    def test_a_thousand_events_are_one_look_and_read_the_pillar_for_the_first_only(self, start, runners):
        decisions = [drift.react("east", "east2")["decision"] for _ in range(1000)]
        assert decisions == ["it is looked at"] + ["nothing: it was looked at a while ago"] * 999
        start.assert_called_once()
        assert runners["pillar.show_pillar"].call_count <= 2

    def test_nothing_is_read_for_a_site_that_was_looked_at(self, runners, start):
        runlock.claim("east", "look", 60)
        assert drift.react("east")["decision"] == "nothing: it was looked at a while ago"
        runners["pillar.show_pillar"].assert_not_called()
        start.assert_not_called()

    def test_of_two_at_the_same_time_one_starts_it(self, functions, start):
        functions["runlock.claimed"].side_effect = lambda site, what: False
        assert [drift.react("east")["decision"] for _ in range(3)] == [
            "it is looked at", "nothing: it is being looked at already", "nothing: it is being looked at already"]
        start.assert_called_once()

    def test_a_look_that_cannot_be_started_is_tried_again_by_the_next_event(self, start):
        start.side_effect = CommandExecutionError("no memory")
        with pytest.raises(CommandExecutionError, match="no memory"):
            drift.react("east")
        start.side_effect = None
        assert drift.react("east")["decision"] == "it is looked at"

    def test_another_site_is_looked_at_all_the_same(self, start):
        drift.react("east")
        assert drift.react("west")["decision"] == "it is looked at"
        assert start.call_count == 2

    @pytest.mark.parametrize("cooldown, seconds", [(0, 10), (5, 10), (600, 600), (None, 900)])
    def test_the_cool_down_is_the_pillars_and_never_none(self, pillar, functions, cooldown, seconds):
        if cooldown is not None:
            pillar["tungsten"]["drift"] = {"cooldown": cooldown}
        drift.react("east")
        functions["runlock.claim"].assert_called_once_with("east", "look", seconds)

    def test_ignore(self, pillar, start, log, tmp_path):
        pillar["tungsten"]["sites"]["east"]["on_drift"] = "ignore"
        assert drift.react("east", "east2") == {"site": "east", "decision": "ignored"}
        assert drift.react("east")["decision"] == "nothing: it was looked at a while ago", "and logged once"
        start.assert_not_called()
        assert runrecord.reported("east") is None and len(messages(log)) == 1

    @pytest.mark.parametrize("site", FORGED, ids=lambda value: repr(value)[:30])
    def test_forged_sites(self, start, log, functions, tmp_path, site):
        decision = drift.react(site, "east2")
        assert decision["decision"] == "nothing: it is none of the sites east, west" and len(decision["site"]) <= 80
        (line,) = messages(log)
        assert len(line) < 300 and line.isprintable()
        assert files(tmp_path) == [], "nothing is written under a name from outside"
        functions["runlock.claim"].assert_not_called()
        start.assert_not_called()

    def test_a_storm_of_unknown_sites_reads_the_pillar_now_and_then(self, runners, monkeypatch):
        clock = [0.0]
        monkeypatch.setattr(drift.time, "monotonic", lambda: clock[0])
        for number in range(500):
            drift.react(f"site{number}")
        assert runners["pillar.show_pillar"].call_count == 1
        clock[0] += drift.KNOWN_SECONDS + 1
        drift.react("south")
        assert runners["pillar.show_pillar"].call_count == 2

    def test_what_is_remembered_of_the_pillar_decides_nothing(self, pillar, start):
        drift.react("south")
        pillar["tungsten"]["sites"]["east"]["on_drift"] = "ignore"
        assert drift.react("east")["decision"] == "ignored"
        start.assert_not_called()

    @pytest.mark.parametrize(
        "reporter", [None, "", "a b", "x" * 1_000_000, "{{ 1 }}", "m\nERROR", ["east2"], {"id": 1}],
        ids=lambda value: repr(value)[:20])
    def test_a_forged_reporter_is_unknown(self, start, log, reporter):
        drift.react("east", reporter)
        assert start.call_args.args[1] == {"site": "east", "reporter": "unknown"}
        assert all(len(line) < 200 and line.isprintable() for line in messages(log))

    @pytest.mark.parametrize("tungsten", [None, {}, {"sites": {"east": {"nodes": ["a"]}}}, {"sites": "east"}])
    def test_a_pillar_with_faults_judges_nothing(self, pillar, start, tmp_path, tungsten):
        pillar["tungsten"] = tungsten
        with pytest.raises(CommandExecutionError, match=r"(?s)The topology in pillar has faults.*tungsten:sites"):
            drift.react("east")
        start.assert_not_called()
        assert files(tmp_path) == []

    def test_the_payload_has_no_way_in(self):
        assert list(inspect.signature(drift.react).parameters) == ["site", "reporter"]
        assert list(inspect.signature(drift.look).parameters) == ["site", "reporter"]


def looked(**more):
    """A look, its note as it is kept, and that both are the same."""
    note = drift.look("east", "east2", **more)
    assert runrecord.reported("east") == json.loads(json.dumps(note)) == note
    return note


@pytest.fixture
def nobody_is_asked(functions):
    yield
    for name in ("driftlook.signs", "driftlook.nodes", "tablecompare.begin", "tablecompare.recheck", "fleet.ask"):
        functions[name].assert_not_called()


@pytest.fixture
def nothing_is_done(runners):
    yield
    runners["reprovision.plan"].assert_not_called()
    runners["reprovision.approve"].assert_not_called()


@pytest.mark.usefixtures("nobody_is_asked", "nothing_is_done")
class TestLookEndsEarly:
    @pytest.mark.parametrize("site", FORGED, ids=lambda value: repr(value)[:30])
    def test_for_a_site_that_nobody_knows(self, tmp_path, site):
        with pytest.raises(CommandExecutionError, match="is none of the sites east, west") as error:
            drift.look(site)
        assert len(str(error.value)) < 200 and files(tmp_path) == []

    @pytest.mark.parametrize("holder, named", [({"run": RUN}, RUN), ({}, "None")])
    def test_while_a_run_has_the_site(self, functions, holder, named):
        functions["runlock.running"].side_effect = lambda site: holder if site == "east" else None
        note = looked()
        assert note["decision"] == f"nothing: run {named} is on it" and note["proved"] is False
        assert note["command"] == "salt-run reprovision.watch east"

    def test_while_a_run_is_about_to_begin(self):
        runlock.claim("east", "starting", 120)
        note = looked()
        assert note["decision"].startswith("nothing: run") and note["command"] == "salt-run reprovision.watch east"

    def test_while_a_plan_is_open(self, functions):
        functions["plans.open"].side_effect = lambda site: (
            {"plan": PLAN, "by": "event", "why": "17 rows differ"} if site == "east" else None)
        note = looked()
        assert (note["decision"], note["plan"]) == (f"nothing: plan {PLAN} is open", PLAN)
        assert note["command"] == f"salt-run reprovision.approve {PLAN}"

    def test_where_the_pillar_ignores_drift(self, pillar):
        pillar["tungsten"]["sites"]["east"]["on_drift"] = "ignore"
        assert looked()["decision"] == "nothing: on_drift is ignore"

    @pytest.mark.parametrize("on_drift", ["plan", "reprovision"])
    @pytest.mark.parametrize("order", [{"failed": "west", "definitive": "east"}, {"failed": "east"}, {}])
    def test_where_the_pillar_names_another_site_as_failed(self, pillar, on_drift, order):
        pillar["tungsten"]["reprovision"] = order
        pillar["tungsten"]["sites"]["east"]["on_drift"] = on_drift
        note = looked()
        assert note["decision"].startswith("nothing: tungsten:reprovision in pillar does not name this site as failed")
        assert note["proved"] is False and note["command"] == "salt-run drift.check"

    def test_where_the_pillar_has_faults(self, pillar, tmp_path):
        pillar["tungsten"]["sites"]["east"]["nodes"] = []
        with pytest.raises(CommandExecutionError, match="The topology in pillar has faults"):
            drift.look("east")
        assert files(tmp_path) == []


class TestLook:
    def test_nothing_is_proved(self, runners, nothing_is_done):
        note = looked()
        assert (note["proved"], note["decision"]) == (False, "nothing: no drift is proved")
        assert note["why"] == "its replicators and its data are well" and note["reporter"] == "east2"

    def test_a_service_that_is_only_late_is_no_drift(self, functions, nothing_is_done):
        functions["driftlook.signs"].return_value = {"east1": {"west": LATE}}
        note = looked()
        assert note["proved"] is False and "900 s behind" in note["why"]

    def test_one_drifted_node_of_two_is_no_drift_of_the_site(self, functions, nodes, nothing_is_done):
        functions["driftlook.nodes"].return_value = {"east": ["east1", "east2"], "west": ["west2"]}, {}, {}
        nodes.found = result({"shop.orders": {"17": {"east1": "b", "east2": "a", "west2": "b"}}})
        note = looked()
        assert note["proved"] is False and "east2 alone has drifted from its own site" in note["why"]

    def test_what_could_not_be_proved_is_not_acted_on(self, nodes, nothing_is_done):
        nodes.found = result(unproved={"shop.orders": {"keys": ["17"], "why": "they were written before every look"}})
        assert looked()["proved"] is False

    def test_drift_of_the_definitive_site_is_not_acted_on(self, nodes, functions, nothing_is_done):
        functions["driftlook.nodes"].return_value = {"east": ["east2"], "west": ["west1", "west2"]}, {}, {}
        nodes.found = result({"shop.orders": {"17": {"east2": "a", "west1": "a", "west2": "b"}}})
        assert looked()["proved"] is False

    def test_the_data_are_compared_with_the_pillars_definitive_site(self, functions):
        looked()
        functions["tablecompare.begin"].assert_called_once()
        assert functions["tablecompare.begin"].call_args.args == (["west2", "east2"],)
        assert checkrecord.latest()["settings"]["reference"] == "west"

    def test_plan_makes_one_of_the_pillars_order_that_a_person_must_approve(self, nodes, pillar, runners, functions):
        pillar["tungsten"]["sites"]["east"]["on_drift"] = "plan"
        nodes.found = result(DIFFERING)
        note = looked()
        assert note["decision"] == "a plan was made; a person must approve it" and note["proved"] is True
        assert (note["plan"], note["command"], note["saved"]) == (PLAN, f"salt-run reprovision.approve {PLAN}", None)
        runners["reprovision.plan"].assert_called_once_with(
            failed="east", definitive="west", donor="west2", why=note["why"])
        assert "1 rows of shop.orders" in note["why"]
        runners["reprovision.approve"].assert_not_called()
        functions["fleet.ask"].assert_not_called()

    def test_an_order_without_a_donor_leaves_it_to_the_plan(self, nodes, pillar, runners):
        del pillar["tungsten"]["reprovision"]["donor"]
        nodes.found = result(DIFFERING)
        looked()
        assert set(runners["reprovision.plan"].call_args.kwargs) == {"failed", "definitive", "why"}

    def test_replicators_stopped_by_their_data_are_enough_for_a_plan(self, functions, pillar, runners):
        pillar["tungsten"]["sites"]["east"]["on_drift"] = "plan"
        functions["driftlook.signs"].return_value = STOPPED
        functions["driftlook.nodes"].side_effect = CommandExecutionError("No node of site east can be looked at")
        note = looked()
        assert note["proved"] and note["plan"] == PLAN and "Duplicate entry" in note["why"]

    def test_reprovision_saves_then_plans_then_approves(self, nodes, runners, functions):
        done = []
        functions["fleet.ask"].side_effect = lambda *args, **kwargs: (done.append(args[1]), answer(*args, **kwargs))[1]
        runners["reprovision.plan"].side_effect = lambda **_: (done.append("plan"), {"plan": PLAN})[1]
        runners["reprovision.approve"].side_effect = lambda *_, **__: (done.append("approve"), {"jid": "20260102"})[1]
        nodes.found = result(HERE_ALONE)
        note = looked()
        assert done == ["rowsave.save", "plan", "approve"]
        runners["reprovision.approve"].assert_called_once_with(PLAN, reason="on_drift: reprovision")
        assert note["decision"] == f"plan {PLAN} was made, approved and started as job 20260102"
        assert list(note["saved"]["files"]) == ["east2"] and note["command"] == "salt-run reprovision.watch east"
        assert note["saved"]["check"] == checkrecord.latest()["check"]

    @pytest.mark.parametrize("words", ["rowsave.save failed: the disk is full", "does not answer rowsave.save"])
    def test_rows_that_cannot_be_saved_are_not_thrown_away(self, nodes, runners, functions, words):
        functions["fleet.ask"].side_effect = CommandExecutionError(f"east2: {words}")
        nodes.found = result(DIFFERING)
        note = looked()
        runners["reprovision.approve"].assert_not_called()
        assert note["decision"] == "a plan was made; a person must approve it" and note["plan"] == PLAN
        assert f"its rows could not be saved: east2: {words}" in note["why"] and note["saved"] is None
        assert runners["reprovision.plan"].call_args.kwargs["why"] == note["why"], "who decides sees it"

    def test_data_that_could_not_be_compared_are_not_thrown_away_unsaved(self, runners, functions, nodes):
        """Another check may be running: what of this site's rows would be lost, nobody knows then."""
        functions["driftlook.signs"].return_value = STOPPED
        functions["checkrecord.acquire"].side_effect = CommandExecutionError("A drift check is running already")
        note = looked()
        runners["reprovision.approve"].assert_not_called()
        assert note["plan"] == PLAN and "what would be lost is not known: its data could not be compared" in note["why"]

    @pytest.mark.parametrize("skipped, left_out, words", [
        ({"shop.audit": "its engine would keep writers out"}, {}, "shop.audit was not looked at: its engine"),
        ({}, {"east1": "its datasource is SHUNNED"}, "east1 was not looked at: its datasource is SHUNNED"),
    ])
    def test_what_nobody_has_looked_at_is_not_thrown_away(self, nodes, runners, functions, skipped, left_out, words):
        functions["driftlook.nodes"].return_value = {"east": ["east2"], "west": ["west2"]}, left_out, {}
        nodes.found = result(HERE_ALONE, skipped=skipped)
        note = looked()
        runners["reprovision.approve"].assert_not_called()
        functions["fleet.ask"].assert_not_called()
        assert note["plan"] == PLAN and words in note["why"] and "a person has to decide" in note["why"]

    def test_a_node_of_another_site_that_was_not_looked_at_is_no_reason(self, nodes, runners):
        nodes.found = result(HERE_ALONE)
        assert looked()["decision"].startswith(f"plan {PLAN} was made, approved")
        assert checkrecord.latest()["not_looked_at"] == {"west1": "it is shunned"}

    def test_where_nobody_is_asked_all_nodes_are_looked_at_anew(self, nodes, functions):
        nodes.breaks = 2
        with pytest.raises(CommandExecutionError, match="east2: does not answer"):
            drift.check(nodes="all")
        nodes.breaks, nodes.found = None, result(HERE_ALONE)
        interrupted = checkrecord.latest()["check"]
        assert looked()["saved"]["check"] != interrupted
        assert functions["driftlook.nodes"].call_args.args[1] == "all"
        assert functions["tablecompare.begin"].call_args.kwargs["sources"] == {"east2": "east"}

    def test_one_node_that_could_not_apply_what_the_other_could(self, functions, nothing_is_done):
        functions["driftlook.signs"].return_value = {"east1": {"west": ERROR}}
        note = looked()
        assert note["proved"] is False and "only east1 stopped there" in note["why"]

    def test_where_no_row_differs_there_is_nothing_to_save(self, runners, functions):
        functions["driftlook.signs"].return_value = STOPPED
        note = looked()
        functions["fleet.ask"].assert_not_called()
        runners["reprovision.approve"].assert_called_once()
        assert note["saved"] is None and note["decision"].startswith(f"plan {PLAN} was made, approved")

    @pytest.mark.parametrize("on_drift", ["plan", "reprovision"])
    def test_with_a_second_person_no_event_approves_anything(self, nodes, pillar, runners, on_drift):
        pillar["tungsten"]["sites"]["east"]["on_drift"] = on_drift
        pillar["tungsten"]["plans"] = {"second_person": True}
        nodes.found = result(DIFFERING)
        assert looked()["decision"] == "a plan was made; a person must approve it"
        runners["reprovision.approve"].assert_not_called()

    @pytest.mark.parametrize("which", ["reprovision.plan", "reprovision.approve"])
    def test_what_speaks_against_a_run_is_on_record(self, nodes, runners, which):
        nodes.found = result(DIFFERING)
        runners[which].side_effect = CommandExecutionError("This cannot be run now: ERROR west2: its disk is full")
        with pytest.raises(CommandExecutionError, match="its disk is full"):
            drift.look("east")
        note = runrecord.reported("east")
        assert note["decision"].startswith("it could not be looked at to the end: This cannot be run now: ERROR west2")
        assert note["command"] == "salt-run drift.look east"
        assert runlock.claimed("east", "look"), "and it is not tried again at once"

    @pytest.mark.parametrize("fault", [KeyError("sites"), CommandExecutionError("nobody answers"), OSError(28, "full")])
    def test_any_fault_on_the_way_is_on_record(self, functions, fault, nothing_is_done):
        functions["driftlook.signs"].side_effect = fault
        with pytest.raises(type(fault)):
            drift.look("east")
        assert runrecord.reported("east")["decision"].startswith("it could not be looked at to the end: ")

    def test_the_cool_down_begins_at_its_end(self, functions, monkeypatch):
        clock = [1000.0]
        monkeypatch.setattr(runlock.time, "time", lambda: clock[0])
        runlock.claim("east", "look", 900)
        functions["driftlook.signs"].side_effect = lambda *_: clock.__setitem__(0, 1800.0) or {}
        looked()
        clock[0] = 2699.0
        assert runlock.claimed("east", "look")
        clock[0] = 2700.0
        assert not runlock.claimed("east", "look")

    def test_one_look_at_a_time_however_long_it_takes(self, functions, runners, nothing_is_done):
        """The cool-down may be over before a look at much data is: then an event starts one that ends at once."""
        seen = []
        functions["driftlook.signs"].side_effect = lambda *_: seen.append(drift.look("east")["decision"]) or {}
        looked()
        assert seen == ["nothing: it is being looked at already"]
        assert runlock.look_begins("east"), "and that right ends with it"
        runlock.look_ends()

    def test_a_look_by_hand_takes_no_notice_of_the_cool_down(self, functions):
        runlock.claim("east", "look", 900)
        looked()
        functions["driftlook.signs"].assert_called_once()


def ended(**more):
    """The record of a check that has ended: row 17 of shop.orders differs on east."""
    settings = {"reference": "west", "nodes": "replicas", "tables": None, "looks": 3, "share": 50}
    found = {
        "check": ID, "verdict": "drifted", "reference": "west", "settings": settings, "looked_at": ["west2", "east2"],
        "nodes_of": {"west": ["west2"], "east": ["east2"]}, "primaries": {"east2": "east"}, "nodes": {}, "schema": {},
        "unproved": {},
        "sites": {"east": {"tables": {"shop.orders": {"changed": 1, "missing": 0, "extra": 0}}}},
        "rows_found": {"keys": {"shop.orders": ["17"]}, "whole": {}}, "started": "2026-01-01T00:00:00Z", **more}
    checkrecord.save(found)
    return found


class TestLookAgain:
    """The rows that a check has found are looked at anew; if they still differ, a person need be told no more."""

    @pytest.fixture(autouse=True)
    def a_person_decides(self, pillar):
        pillar["tungsten"]["sites"]["east"]["on_drift"] = "plan"

    def test_rows_that_still_differ_are_proof(self, nodes, functions):
        ended()
        nodes.again = result(DIFFERING)
        note = looked()
        functions["tablecompare.recheck"].assert_called_once_with(
            ["west2", "east2"], {"shop.orders": ["17"]}, sources={"east2": "east"})
        functions["tablecompare.begin"].assert_not_called()
        assert note["proved"] and ID in note["why"] and note["plan"] == PLAN

    def test_where_nobody_is_asked_more_than_those_may_be_lost(self, nodes, functions, pillar):
        pillar["tungsten"]["sites"]["east"]["on_drift"] = "reprovision"
        ended()
        nodes.again, nodes.found = result(DIFFERING), result(HERE_ALONE)
        assert looked()["saved"]["check"] != ID
        functions["tablecompare.recheck"].assert_not_called()

    @pytest.mark.parametrize("again", [
        result(),
        result(unproved={"shop.orders": {"keys": ["17"], "why": "east2: its service west is OFFLINE:ERROR"}})])
    def test_rows_that_are_not_proved_now_were_drift_then(self, nodes, functions, again, nothing_is_done):
        ended()
        nodes.again = again
        assert looked()["proved"] is False
        functions["tablecompare.begin"].assert_called_once()

    @pytest.mark.parametrize("more", [
        {"reference": "east", "settings": {"reference": "east", "nodes": "all", "tables": None}},
        {"sites": {}, "verdict": "equal"},
        {"rows_found": {"keys": {}, "whole": {}}},
        {"verdict": None, "compared": Nodes().begin(["west2", "east2"]), "worked": 0.0, "not_looked_at": {}, "at": 0},
        {"settings": {"reference": "west", "nodes": "replicas", "tables": ["shop.orders"]}},
        {"settings": {"reference": "west", "nodes": "one", "tables": None}},
        {"sites": {}, "nodes": {"west2": {"tables": {}}}}, {"nodes_of": {"west": ["west2"]}, "sites": {}},
    ], ids=["other reference", "equal", "only tables", "unfinished", "some tables", "one node", "other node",
            "other sites"])
    def test_a_check_that_says_nothing_of_this_site_is_not_asked(self, nodes, functions, more, nothing_is_done):
        ended(**more)
        nodes.again = result(DIFFERING)
        assert looked()["proved"] is False
        functions["tablecompare.recheck"].assert_not_called()
        assert functions["tablecompare.step"].call_count == nodes.steps, "all data are compared"

    def test_a_node_that_is_down_by_now_is_no_reason_to_give_up(self, nodes, functions):
        ended()
        functions["tablecompare.recheck"].side_effect = CommandExecutionError("east2: does not answer tabledata.tables")
        functions["driftlook.nodes"].return_value = {"east": ["east1"], "west": ["west2"]}, {}, {}
        nodes.found = result({"shop.orders": {"17": {"east1": "a", "west2": "b"}}})
        note = looked()
        assert note["proved"] and checkrecord.latest()["looked_at"] == ["west2", "east1"]


# --- what would be lost


class TestSave:
    def asked(self, functions):
        (call,) = functions["fleet.ask"].call_args_list
        return call.args, call.kwargs["kwarg"]

    def test_every_node_that_was_looked_at_saves_the_rows_that_differ(self, functions):
        ended(nodes_of={"west": ["west2"], "east": ["east2", "east3"]},
              rows_found={"keys": {"shop.orders": ["17", "18"]}, "whole": {}})
        answered = drift.save("east")
        args, kwarg = self.asked(functions)
        assert args == (["east2", "east3"], "rowsave.save")
        assert kwarg == {"name": f"{ID}-east", "rows": {"shop.orders": {"keys": ["17", "18"], "parts": []}}}
        assert rowsave.NAME.fullmatch(kwarg["name"])
        assert answered["check"] == ID and set(answered["files"]) == {"east2", "east3"}

    def test_of_what_was_not_narrowed_down_all_is_saved(self, functions):
        ended(rows_found={"keys": {"shop.orders": ["17"]}, "whole": {
            "shop.orders": [{"after": "18", "upto": None}], "shop.log": [{"after": None, "upto": None}]}})
        drift.save("east")
        assert self.asked(functions)[1]["rows"] == {
            "shop.log": {"keys": [], "parts": [{"after": None, "upto": None}]},
            "shop.orders": {"keys": ["17"], "parts": [{"after": "18", "upto": None}]}}

    def test_a_table_that_is_made_otherwise_is_saved_as_a_whole(self, functions):
        """It was not compared; one that only this site has would be gone with all its rows."""
        ended(schema={"shop.extra": {"reason": "missing on west2", "differences": [], "sites": ["east"]}},
              rows_found={"keys": {}, "whole": {}})
        drift.save("east")
        assert self.asked(functions)[1]["rows"] == {"shop.extra": {"keys": [], "parts": [{}]}}

    def test_where_they_are_is_on_record_each_time(self):
        ended()
        first, second = drift.save("east"), drift.save("east")
        kept = checkrecord.load(ID)["saved"]["east"]
        assert [each["files"] for each in kept] == [first["files"], second["files"]] and kept[0]["at"]

    def test_what_was_not_written_is_not_on_record(self, functions):
        ended()
        functions["fleet.ask"].side_effect = CommandExecutionError("east2: rowsave.save failed: the disk is full")
        with pytest.raises(CommandExecutionError, match="the disk is full"):
            drift.save("east")
        assert "saved" not in checkrecord.load(ID)

    def test_of_the_check_that_was_named(self, functions):
        ended()
        ended(check="20260202T000000-0002", rows_found={"keys": {"shop.orders": ["99"]}, "whole": {}})
        assert drift.save("east", ID)["check"] == ID
        assert self.asked(functions)[1]["rows"]["shop.orders"]["keys"] == ["17"]

    @pytest.mark.parametrize("site, more, words", [
        ("east", {"rows_found": {"keys": {}, "whole": {}}}, "found no rows that differ: there is nothing to save"),
        ("south", {}, "did not look at a site 'south'"), ("x" * 100_000, {}, "did not look at a site 'xxx"),
        ("east", {"verdict": None}, "no drift check that has ended"),
    ], ids=["no rows", "unknown", "long", "unfinished"])
    def test_what_cannot_be_saved(self, functions, site, more, words):
        ended(**more)
        with pytest.raises(CommandExecutionError, match=words) as error:
            drift.save(site)
        assert len(str(error.value)) < 300
        functions["fleet.ask"].assert_not_called()

    @pytest.mark.parametrize("check", ["../../etc/passwd", f"{ID}/x", "latest"])
    def test_forged_ids(self, functions, check):
        ended()
        with pytest.raises(CommandExecutionError, match="is not the id of a check"):
            drift.save("east", check)
        with pytest.raises(CommandExecutionError, match="is not the id of a check"):
            drift.show(check)
        functions["fleet.ask"].assert_not_called()

    def test_without_any_check(self):
        with pytest.raises(CommandExecutionError, match="There is no drift check that has ended: salt-run drift.check"):
            drift.save("east")


# --- the check

UNPROVED = {"unproved": {"shop.orders": {"keys": ["17"], "why": "they were written before every look"}}}


class TestCheck:
    @pytest.mark.parametrize("found, verdict, code", [
        (result(), "equal", 0), (result(DIFFERING), "drifted", 2), (result(**UNPROVED), "unproved", 3),
        (result({"shop.people": {"7": {"east2": "a", "west2": "b"}}}, **UNPROVED), "drifted", 2),
        (result(schema={"shop.orders": {"missing": ["east2"], "prints": {"east2": None, "west2": "f"}}}), "drifted", 2),
        (result(skipped={"shop.log": "its engine would keep writers out"}), "equal", 0)])
    def test_its_verdict_is_its_exit_code(self, nodes, functions, found, verdict, code):
        functions["driftfindings.judge"].side_effect = lambda compared, tables, *more: driftfindings.judge(
            compared, {name: {"key": [["id", "number"]]} for name in compared["differing"]}, *more)
        nodes.found = found
        answered = drift.check()
        assert (answered["verdict"], answered["retcode"]) == (verdict, code), "salt-run ends with that retcode"
        assert "retcode" not in drift.__context__, "a look that has found drift has not failed"

    def test_what_it_returns_and_what_it_keeps(self, nodes, capsys):
        nodes.found = result(HERE_ALONE, skipped={"shop.log": "it is big"})
        found = drift.check()
        assert found["sites"] == {"east": {"tables": {"shop.orders": {
            "changed": 0, "missing": 0, "extra": 1, "complete": True,
            "keys": {"changed": [], "missing": [], "extra": ["17"]}}}}}
        assert (found["reference"], found["looked_at"], found["skipped"]) == (
            "west", ["west2", "east2"], {"shop.log": "it is big"})
        assert found["not_looked_at"] == {"west1": "it is shunned"} and found["rows"] == 100 and found["finished"]
        assert not {"settings", "nodes_of", "primaries", "rows_found", "compared"} & set(found)
        assert json.loads(json.dumps(found)) == found
        kept = checkrecord.load(found["check"])
        assert found.pop("retcode") == 2 and "retcode" not in kept
        assert {key: kept[key] for key in found} == found and "compared" not in kept
        assert kept["rows_found"] == {"keys": {"shop.orders": ["17"]}, "whole": {}}
        out, err = capsys.readouterr()
        assert out == "" and "site east has drifted" in err

    def test_rows_that_could_not_be_proved_are_kept_too(self, nodes):
        """They may be lost as well."""
        nodes.found = result(DIFFERING, unproved={
            "shop.orders": {"keys": ["18"], "why": "x"}, "shop.people": {"keys": ["7"], "why": "x"}},
            whole={"shop.orders": [{"after": "99", "upto": None}]})
        assert checkrecord.load(drift.check()["check"])["rows_found"] == {
            "keys": {"shop.orders": ["17", "18"], "shop.people": ["7"]},
            "whole": {"shop.orders": [{"after": "99", "upto": None}]}}

    def test_of_a_table_of_which_no_row_is_named_all_may_be_lost(self, nodes):
        nodes.found = result(unproved={"shop.new": {"keys": [], "why": "east2: its service west is OFFLINE"}})
        assert checkrecord.load(drift.check()["check"])["rows_found"] == {"keys": {}, "whole": {"shop.new": [{}]}}

    def test_rows_of_which_no_node_of_the_reference_is_known_are_not_proved(self, nodes, functions):
        functions["driftlook.nodes"].return_value = {"east": ["east1", "east2"], "west": ["west2"]}, {}, {}
        nodes.found = result({"shop.orders": {"17": {"east1": "a", "east2": "b"}}})
        found = drift.check()
        assert (found["verdict"], found["sites"], found["nodes"]) == ("unproved", {}, {})
        assert found["unproved"] == {"shop.orders": "replication has passed no node of west"}

    @pytest.mark.parametrize("order, given, reference", [
        (TUNGSTEN["reprovision"], None, "west"), (TUNGSTEN["reprovision"], "east", "east"), ({}, None, "east"),
        ({"failed": "west"}, None, "east")])
    def test_the_reference(self, pillar, functions, order, given, reference):
        pillar["tungsten"]["reprovision"] = order
        assert drift.check(reference=given)["reference"] == reference
        first = functions["tablecompare.begin"].call_args.args[0][0]
        assert first == f"{reference}2", "its nodes come first: they say where tables are cut"

    def test_it_is_done_as_was_asked(self, functions, pillar):
        pillar["tungsten"]["drift"] = {"share": 30}
        drift.check(nodes="one", tables=["shop.orders"], looks=5)
        assert functions["driftlook.nodes"].call_args.args[1] == "one"
        assert functions["tablecompare.begin"].call_args.kwargs == {
            "looks": 5, "share": 30, "only": ["shop.orders"], "sources": {"east2": "east"}}
        drift.check(share=100)
        assert functions["tablecompare.begin"].call_args.kwargs == {
            "looks": 3, "share": 100, "only": None, "sources": {"east2": "east"}}

    @pytest.mark.parametrize("nonsense, words", [
        ({"nodes": "primaries"}, "nodes must be one of replicas, one, all"), ({"nodes": None}, "nodes must be one of"),
        ({"looks": 0}, "looks must be a whole number, 1 to 20"), ({"looks": 21}, "looks must be"),
        ({"looks": True}, "looks must be"), ({"looks": "3"}, "looks must be"), ({"looks": 2.5}, "looks must be"),
        ({"share": 0}, "share must be a whole number, 1 to 100"), ({"share": 101}, "share must be"),
        ({"share": False}, "share must be"), ({"tables": "shop.orders"}, "tables must be a list"),
        ({"tables": []}, "tables must be a list"), ({"tables": [1]}, "tables must be"),
        ({"tables": ["a"]}, "tables must be"),
        ({"reference": "south"}, "'south' is none of the sites east, west"),
        ({"reference": ["east"]}, "is none of the sites")])
    def test_nonsense_is_refused_before_anything_is_done(self, functions, tmp_path, nonsense, words):
        with pytest.raises(CommandExecutionError, match=words):
            drift.check(**nonsense)
        functions["driftlook.nodes"].assert_not_called()
        assert files(tmp_path) == []

    def test_a_pillar_with_faults(self, pillar, functions):
        pillar["tungsten"]["sites"]["east"]["nodes"] = []
        with pytest.raises(CommandExecutionError, match="The topology in pillar has faults"):
            drift.check()
        functions["driftlook.nodes"].assert_not_called()


class TestOneCheckAtATime:
    def test_another_one_is_running(self, functions):
        checkrecord.acquire()
        with pytest.raises(CommandExecutionError, match="A drift check is running already"):
            drift.check()
        functions["driftlook.nodes"].assert_not_called()
        functions["checkrecord.release"].assert_not_called()
        assert checkrecord.release() is True, "the other one still has it"

    @pytest.mark.parametrize("where", [
        "driftlook.nodes", "tablecompare.begin", "tablecompare.step", "tablecompare.result", "checkrecord.save",
        "driftfindings.judge", "verify.behind"])
    @pytest.mark.parametrize("fault", [CommandExecutionError("nobody answers"), KeyError("x"), KeyboardInterrupt()])
    def test_whatever_happens_the_next_one_can_begin(self, functions, monkeypatch, where, fault):
        monkeypatch.setattr(drift, "LAG_EVERY", 0)
        functions[where].side_effect = fault
        with pytest.raises(type(fault)):
            drift.check()
        assert checkrecord.acquire() and checkrecord.release()

    def test_it_has_the_lock_while_it_works_and_not_afterwards(self, functions, nodes):
        def step(state):
            with pytest.raises(CommandExecutionError, match="is running already"):
                checkrecord.acquire()
            return nodes.step(state)

        functions["tablecompare.step"].side_effect = step
        drift.check()
        assert functions["tablecompare.step"].call_count == nodes.steps
        assert checkrecord.release() is False


class TestGoingOn:
    ASKED = {"reference": "west", "nodes": "replicas", "tables": ["shop.orders"], "looks": 3, "share": 50}

    @pytest.fixture
    def interrupted(self, nodes):
        nodes.breaks = 2
        with pytest.raises(CommandExecutionError, match="east2: does not answer"):
            drift.check(**self.ASKED)
        nodes.breaks = None
        return checkrecord.latest()

    def test_what_was_done_is_on_record(self, interrupted):
        assert interrupted["verdict"] is None and interrupted["compared"]["rows"] == 2
        assert interrupted["settings"] == self.ASKED
        assert checkrecord.latest(finished=True) is None

    def test_the_same_command_goes_on_from_there(self, interrupted, functions, nodes, capsys):
        functions["tablecompare.begin"].reset_mock()
        functions["tablecompare.step"].reset_mock()
        nodes.found = result(DIFFERING)
        found = drift.check(**self.ASKED)
        assert (found["check"], found["started"]) == (interrupted["check"], interrupted["started"])
        functions["tablecompare.begin"].assert_not_called()
        assert functions["tablecompare.step"].call_count == nodes.steps - 2
        assert found["verdict"] == "drifted" and found["retcode"] == 2
        assert f"Going on with check {interrupted['check']}" in capsys.readouterr().err

    @pytest.mark.parametrize("other", [
        {"reference": "east"}, {"nodes": "all"}, {"tables": None}, {"tables": ["shop.people"]}, {"looks": 4},
        {"share": 51}, {"fresh": True}], ids=lambda other: next(iter(other)))
    def test_another_command_begins_anew(self, interrupted, functions, other):
        functions["tablecompare.begin"].reset_mock()
        found = drift.check(**{**self.ASKED, **other})
        assert found["check"] != interrupted["check"]
        functions["tablecompare.begin"].assert_called_once()

    def test_other_nodes_than_then_begin_anew(self, interrupted, functions):
        functions["driftlook.nodes"].return_value = {"east": ["east1"], "west": ["west2"]}, {}, {}
        assert drift.check(**self.ASKED)["check"] != interrupted["check"]

    @pytest.mark.parametrize("seconds, same", [(drift.RESUMED_SECONDS - 60, True), (drift.RESUMED_SECONDS + 60, False)])
    def test_what_was_read_long_ago_is_read_again(self, interrupted, seconds, same):
        checkrecord.save({**interrupted, "at": interrupted["at"] - seconds})
        assert (drift.check(**self.ASKED)["check"] == interrupted["check"]) is same

    @pytest.mark.parametrize("started, same", [("2000-01-01T00:00:00Z", True), ("2099-01-01T00:00:00Z", False)])
    def test_what_a_run_has_replaced_since_is_read_again(self, interrupted, functions, started, same):
        functions["runrecord.latest"].side_effect = lambda site: {"started": started} if site == "east" else None
        assert (drift.check(**self.ASKED)["check"] == interrupted["check"]) is same

    def test_an_event_may_be_asked_for_later(self, interrupted):
        assert drift.check(**self.ASKED, event=True)["check"] == interrupted["check"]

    def test_one_that_has_ended_is_not_gone_on_with(self, functions):
        first = drift.check(**self.ASKED)
        assert drift.check(**self.ASKED)["check"] != first["check"]
        assert functions["tablecompare.begin"].call_count == 2

    def test_the_time_of_both_is_told(self, interrupted, monkeypatch, nodes):
        clock = [0.0]
        monkeypatch.setattr(drift.time, "monotonic", lambda: clock[0])
        step = nodes.step
        nodes.step = lambda state: (clock.__setitem__(0, clock[0] + 5), step(state))[1]
        drift.__context__["reprovision.functions"]["tablecompare.step"].side_effect = nodes.step
        assert drift.check(**self.ASKED)["seconds"] == round(interrupted["worked"] + 5, 1)


class TestEvent:
    def test_for_each_site_that_has_drifted_and_for_no_other(self, nodes, bus):
        nodes.found = result(DIFFERING)
        found = drift.check(event=True)
        bus.fire_event.assert_called_once_with({"check": found["check"], "id": "vm_master"}, "tungsten/drift/east")

    def test_only_when_asked(self, nodes, bus):
        nodes.found = result(DIFFERING)
        drift.check()
        bus.fire_event.assert_not_called()

    @pytest.mark.parametrize("found", [
        result(), result(**UNPROVED),
        result({"shop.orders": {"17": {"east1": "b", "east2": "a", "west1": "b", "west2": "b"}}}),
        result({"shop.orders": {"17": {"east1": "b", "east2": "b", "west1": "b", "west2": "a"}}}),
    ], ids=["equal", "unproved", "one node", "one node of the reference"])
    def test_none_where_no_site_has_drifted(self, nodes, functions, bus, found):
        functions["driftlook.nodes"].return_value = {"east": ["east1", "east2"], "west": ["west1", "west2"]}, {}, {}
        nodes.found = found
        drift.check(event=True)
        bus.fire_event.assert_not_called()

    def test_a_reference_of_ones_own_is_never_told_as_drifted(self, nodes, bus):
        nodes.found = result(DIFFERING)
        drift.check(reference="east", event=True)
        assert [call.args[1] for call in bus.fire_event.call_args_list] == ["tungsten/drift/west"]

    def test_the_lock_is_free_by_then(self, nodes, bus):
        """The look that the event sets off wants to compare."""
        nodes.found = result(DIFFERING)
        bus.fire_event.side_effect = lambda *_: checkrecord.acquire() and checkrecord.release()
        drift.check(event=True)
        bus.fire_event.assert_called_once()


class TestPace:
    @pytest.fixture
    def clock(self, monkeypatch, functions, nodes):
        """Each step takes 15 seconds; time passes by sleeping too."""
        now, slept = [0.0], []
        monkeypatch.setattr(drift.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(drift.time, "sleep", lambda seconds: slept.append(seconds))

        def step(state):
            now[0] += 15
            return nodes.step(state)

        functions["tablecompare.step"].side_effect = step
        nodes.steps = 9
        return slept

    def test_nodes_are_asked_now_and_then_how_far_behind_they_are(self, clock, functions, pillar):
        pillar["tungsten"]["drift"] = {"max_lag": 7}
        drift.check()
        assert functions["verify.behind"].call_count == 4
        functions["verify.behind"].assert_called_with(["west2", "east2"], 7)
        assert clock == []

    def test_a_node_that_is_behind_is_waited_for(self, clock, functions, capsys):
        functions["verify.behind"].side_effect = [{"east2": "service west is 90 s behind"}] * 3 + [{}] * 9
        drift.check()
        assert len(clock) == 3
        assert "waiting: east2: service west is 90 s behind" in capsys.readouterr().err

    def test_a_node_that_does_not_catch_up_is_not_waited_for_for_ever(self, clock, functions, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(drift.time, "monotonic", lambda: now.__setitem__(0, now[0] + 15) or now[0])
        functions["verify.behind"].return_value = {"east2": "service west is 90 s behind"}
        with pytest.raises(CommandExecutionError, match="service west is 90 s behind .*The same command goes on"):
            drift.check()
        assert len(clock) < 200 and checkrecord.acquire() and checkrecord.release()

    def test_rows_are_looked_at_without_waiting(self, clock, functions, nodes):
        nodes.phase = "rows"
        drift.check()
        functions["verify.behind"].assert_not_called()

    def test_progress_says_how_long_it_takes(self, clock, capsys):
        drift.check()
        err = capsys.readouterr().err
        assert "  33%  3 of about 9 rows, 0 parts, 0 to be looked at again, about 90 s left\n" in err


class TestShow:
    def test_none(self):
        for check in (None, ID):
            with pytest.raises(CommandExecutionError, match="There is no such drift check on record"):
                drift.show(check)

    def test_the_newest_and_the_named_one(self, capsys):
        first, second = ({key: value for key, value in drift.check().items() if key != "retcode"} for _ in range(2))
        # Both may be of the same second.
        newest = max(first, second, key=lambda found: found["check"])
        assert drift.show() == newest
        assert drift.show(first["check"]) == first and drift.show(second["check"]) == second
        out, err = capsys.readouterr()
        assert out == "" and f"Check {first['check']}: EQUAL" in err

    @pytest.mark.parametrize("compared, words", [
        ({"phase": "reading"}, "33%  1 of about 3 rows, 0 parts, 0 to be looked at again, about 20 s left"),
        ({"phase": "reading", "estimate": 0}, "0%  1 of about 0 rows, 0 parts, 0 to be looked at again"),
        ({"phase": "reading", "rows": 9}, "100%  9 of about 3 rows, 0 parts, 0 to be looked at again, about 0 s left"),
        ({"phase": "again", "suspects": [{}, {}]}, "2 parts that differed are looked at again"),
        ({"phase": "rows", "keys": {"a": {"1": {}}, "b": {"2": {}, "3": {}}}, "look": 2},
         "look 2 at 3 rows that differ"),
        ({"phase": "tables", "schema": {"a": {}}}, "1 tables that were not alike are looked at again")])
    def test_how_far_it_is(self, compared, words):
        state = {"minions": [], "rows": 1, "estimate": 3, "parts": 0, "suspects": [], "keys": {}, "look": 0, **compared}
        checkrecord.save({"check": ID, "verdict": None, "started": "2026-01-01T00:00:00Z", "worked": 10.0,
                          "compared": state})
        assert drift.show() == {"check": ID, "verdict": None, "started": "2026-01-01T00:00:00Z", "progress": words}

    def test_a_check_that_runs_can_be_shown(self):
        checkrecord.save({"check": ID, "verdict": None, "started": "x", "worked": 0.0,
                          "compared": Nodes().begin(["east2"])})
        checkrecord.acquire()
        assert drift.show()["check"] == ID
