"""siteview: what every node shows, and in words what of it is wrong; nothing is assumed of a silent one."""

import copy
import inspect
from unittest.mock import create_autospec

import pytest

from tests.support.loader import load

siteview = load("_modules", "siteview")
fleet = load("_modules", "fleet")
nodeview = load("_modules", "nodeview")
driftsigns = load("_modules", "driftsigns")
topology_module = load("_modules", "topology")

TUNGSTEN = {"sites": {
    "east": {"nodes": {"east1": "m-east1", "east2": "m-east2"}},
    "west": {"nodes": {"west1": "m-west1", "west2": "m-west2"}},
}}
NODES = {site: list(settings["nodes"]) for site, settings in TUNGSTEN["sites"].items()}
SILENT = "does not answer nodeview.look (salt m-east2 test.ping)"
EVERYBODY = ["m-east1", "m-east2", "m-west1", "m-west2"]
ALL, REPLICATORS = ["cctrl", "cluster", "cross_site"], ["cluster", "cross_site"]


def service(state="ONLINE", role="slave", seqno=7, latency=0.5, **more):
    return {"state": state, "role": role, "appliedLastSeqno": seqno, "maximumStoredSeqNo": seqno,
            "appliedLatency": latency, **more}


def source(role):
    return {"role": role, "state": "ONLINE", "reason": None, "alert": "OK", "alert_reason": None, "manager": "ONLINE",
            "dataserver": "ONLINE", "replicator": {"role": role, "state": "ONLINE"}}


def listing(site):
    first, second = NODES[site]
    return {
        "coordinator": {"host": first, "policy": "AUTOMATIC", "state": "ONLINE"},
        "routers": {f"connector@{host}": {"host": host, "state": "ONLINE"} for host in NODES[site]},
        "datasources": {first: source("master"), second: source("slave")},
    }


class World:
    """What each minion would say; a test changes it before it looks."""

    def __init__(self):
        self.topology = topology_module.validate(copy.deepcopy(TUNGSTEN))["topology"]
        self.asked, self.silent, self.failing, self.nonsense = [], set(), {}, {}
        self.cctrl = {f"m-{host}": listing(site) for site in NODES for host in NODES[site]}
        self.cluster = {f"m-{host}": {site: service(role="master" if host.endswith("1") else "slave")}
                        for site in NODES for host in NODES[site]}
        other = {"east": "west", "west": "east"}
        self.cross_site = {f"m-{host}": {other[site]: service()} for site in NODES for host in NODES[site]}
        self.second = {}

    def gather(self, minions, function, kwarg=None, timeout=60):
        assert (function, timeout, kwarg["timeout"]) == ("nodeview.look", 15, siteview.TOOL_SECONDS)
        inspect.signature(nodeview.look).bind(**kwarg)
        self.asked.append((kwarg["parts"], list(minions)))
        answers, faults = {}, {}
        for minion in minions:
            if minion in self.silent:
                faults[minion] = f"does not answer {function} (salt {minion} test.ping)"
            else:
                answers[minion] = self.nonsense.get(minion, self.shown(minion, kwarg["parts"]))
        return {"answers": answers, "faults": faults}

    def shown(self, minion, parts):
        shown = {"answers": {}, "faults": {}}
        for part in ("node", *parts):
            if (minion, part) in self.failing:
                shown["faults"][part] = self.failing[minion, part]
            elif part == "node":
                shown["answers"]["node"] = {"minion": minion}
            else:
                again = (part, minion) in self.second and len(self.asked) > 1
                shown["answers"][part] = self.second[part, minion] if again else getattr(self, part)[minion]
        return shown

    def facts(self):
        """What a survey has read before."""
        return {minion: {**self.shown(minion, ALL)["answers"], "locations": {}} for minion in EVERYBODY}

    def look(self, *sites):
        return siteview.look(self.topology, list(sites or NODES))

    def wrong(self, site="east"):
        return self.look(site)[site]["wrong"]


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(siteview, "__salt__", {
        "fleet.gather": create_autospec(fleet.gather, side_effect=world.gather),
        "driftsigns.judge": create_autospec(driftsigns.judge, side_effect=driftsigns.judge),
    }, raising=False)
    return world


def test_only_the_master_has_it(monkeypatch):
    monkeypatch.setattr(siteview, "__opts__", {"__role": "minion"}, raising=False)
    assert siteview.__virtual__() == (False, "siteview asks all nodes from the master; this is a minion")
    siteview.__opts__["__role"] = "master"
    assert siteview.__virtual__() == "siteview"


def test_healthy_sites_as_they_are(world):
    views = world.look()
    assert list(views) == ["east", "west"]
    assert views["east"] == {
        "policy": "AUTOMATIC", "primary": "east1", "wrong": [],
        "routers": {"connector@east1": "ONLINE", "connector@east2": "ONLINE"},
        "nodes": {
            host: {
                "minion": f"m-{host}", "role": role, "datasource": "ONLINE", "reason": None, "dataserver": "ONLINE",
                "manager": "ONLINE", "services": {
                    "east": {"home": "cluster", "role": role, "state": "ONLINE", "seqno": 7, "stored": 7,
                             "latency": 0.5},
                    "west": {"home": "cross_site", "role": "slave", "state": "ONLINE", "seqno": 7, "stored": 7,
                             "latency": 0.5},
                },
            } for host, role in (("east1", "master"), ("east2", "slave"))
        },
    }
    assert world.asked == [(ALL, EVERYBODY)], "one round for all of it"


def test_one_site_alone(world):
    assert list(world.look("west")) == ["west"]
    assert {minion for _, minions in world.asked for minion in minions} == {"m-west1", "m-west2"}


def test_a_silent_node_is_named_once_and_waited_for_once(world):
    world.silent = {"m-east2"}
    view = world.look("east")["east"]
    assert view["wrong"] == [f"m-east2: {SILENT}"]
    assert view["nodes"]["east2"]["services"] == {} and view["nodes"]["east2"]["datasource"] == "ONLINE"
    assert world.asked == [(ALL, ["m-east1", "m-east2"])]


def test_a_node_that_does_not_know_itself_is_named_once(world):
    world.failing["m-east2", "node"] = "minion m-east2 is a node of none"
    assert world.wrong() == ["m-east2: minion m-east2 is a node of none"]


def test_of_a_site_that_is_silent_nothing_is_known(world):
    world.silent = {"m-east1", "m-east2"}
    view = world.look("east")["east"]
    assert (view["policy"], view["primary"], view["routers"]) == (None, None, {})
    assert {node["datasource"] for node in view["nodes"].values()} == {None}
    assert view["wrong"][0] == (
        "east: no node tells what cctrl shows; policy, routers and datasources are not known")
    assert len(view["wrong"]) == 3
    assert len(world.asked) == 1, "nobody is there to be asked more"


@pytest.mark.parametrize("which, nonsense", [
    *[("cctrl", answer) for answer in (None, "east", [], {}, {"coordinator": {}, "routers": {}, "datasources": []})],
    *[("cluster", answer) for answer in (None, 7, ["east"], {"east": None}, {"east": {"appliedLatency": "<b>"}})],
])
def test_a_node_that_tells_nonsense_is_named_and_spoils_no_view(world, which, nonsense):
    getattr(world, which)["m-east2"] = nonsense
    shown = world.look("east")["east"]
    function = {"cctrl": "cctrl.ls", "cluster": "trepctl.services"}[which]
    assert f"m-east2: its answer to {function} is none" in shown["wrong"]
    assert shown["primary"] == "east1" and set(shown["nodes"]["east1"]["services"]) == {"east", "west"}


@pytest.mark.parametrize("which, rest", [("cctrl", {"east", "west"}), ("cluster", {"west"}), ("cross_site", {"east"})])
def test_a_tool_that_fails_is_quoted_and_the_rest_is_shown(world, which, rest):
    world.failing["m-east1", which] = "it cannot be read"
    view = world.look("east")["east"]
    assert view["wrong"] == ["m-east1: it cannot be read"]
    assert set(view["nodes"]["east1"]["services"]) == rest
    assert view["policy"] == "AUTOMATIC", "the other node tells it"


@pytest.mark.parametrize("answer", [None, "east", [], {}, {"answers": {}, "faults": []}, {"answers": 7, "faults": {}}])
def test_a_node_whose_whole_answer_is_nonsense_is_named_once(world, answer):
    world.nonsense["m-east2"] = answer
    assert world.wrong() == ["m-east2: its answer to nodeview.look is none"]


def test_what_a_node_leaves_out_is_not_told(world):
    world.nonsense["m-east2"] = {"answers": {"node": {}, "cctrl": listing("east")}, "faults": {"cluster": "it hangs"}}
    assert world.wrong() == ["m-east2: it hangs", "m-east2: its answer to trepctl.services is none"]


def test_a_tool_that_fails_in_the_same_words_is_told_once(world):
    for which in ("cluster", "cross_site"):
        world.failing["m-east1", which] = "trepctl is not there"
    assert world.wrong() == ["m-east1: trepctl is not there"]


def change(world, host, **more):
    """What cctrl shows of a datasource, on all nodes of east."""
    for minion in ("m-east1", "m-east2"):
        world.cctrl[minion]["datasources"][host].update(more)


@pytest.mark.parametrize("more, told", [
    ({"state": "SHUNNED", "reason": "MANUALLY-SHUNNED", "alert": "SHUNNED"},
     "its datasource is SHUNNED (MANUALLY-SHUNNED)"),
    ({"state": "FAILED"}, "its datasource is FAILED"),
    ({"state": None}, "its datasource is not readable"),
    ({"alert": "CRITICAL", "alert_reason": "REPLICATOR IS OFFLINE"}, "cctrl says CRITICAL: REPLICATOR IS OFFLINE"),
    ({"alert": "WARN"}, "cctrl says WARN: no reason told"),
    ({"manager": "STATUS NOT AVAILABLE"}, "cctrl shows its manager as STATUS NOT AVAILABLE"),
    ({"dataserver": "STOPPED"}, "cctrl shows its data server as STOPPED"),
    ({"dataserver": None}, "cctrl shows its data server as unknown"),
    ({"replicator": {"role": "slave", "state": "OFFLINE"}}, "cctrl shows its cluster replicator as OFFLINE"),
    ({"replicator": None}, "cctrl shows its cluster replicator as unknown"),
])
def test_what_is_wrong_with_a_datasource(world, more, told):
    change(world, "east2", **more)
    assert world.wrong() == [f"m-east2: {told}"]


def test_a_policy_that_lets_nothing_recover(world):
    for minion in ("m-east1", "m-east2"):
        world.cctrl[minion]["coordinator"]["policy"] = "MAINTENANCE"
    assert world.wrong() == ["east: its policy is MAINTENANCE, so nothing recovers by itself"]


def test_no_coordinator_is_no_policy(world):
    for minion in ("m-east1", "m-east2"):
        world.cctrl[minion]["coordinator"] = None
    assert world.wrong() == ["east: its policy is not known, so nothing recovers by itself"]


def test_a_router_that_is_off(world):
    world.cctrl["m-east1"]["routers"]["connector@east2"]["state"] = "OFFLINE"
    assert world.wrong() == ["east: router connector@east2 is OFFLINE"]


def test_the_coordinators_own_view_counts(world):
    for minion in ("m-east1", "m-east2"):
        world.cctrl[minion]["coordinator"]["host"] = "east2"
    world.cctrl["m-east1"]["routers"] = {}
    assert len(world.look("east")["east"]["routers"]) == 2


def test_nodes_that_do_not_agree(world):
    world.cctrl["m-east2"]["coordinator"]["policy"] = "MANUAL"
    world.cctrl["m-east2"]["datasources"]["east1"]["role"] = "slave"
    assert world.wrong() == [
        "east: its nodes do not agree on the policy: east1 sees AUTOMATIC, east2 sees MANUAL",
        "east: its nodes do not agree on the primary: east1 sees east1, east2 sees none",
    ]


def test_two_primaries(world):
    change(world, "east2", role="master")
    assert world.wrong() == ["east: cctrl shows more than one primary: east1 and east2"]


def test_no_primary(world):
    change(world, "east1", role="slave")
    assert world.wrong() == ["east: cctrl shows no primary"]
    assert world.look("east")["east"]["primary"] is None


def test_a_node_that_only_one_of_pillar_and_cctrl_knows(world):
    for minion in ("m-east1", "m-east2"):
        sources = world.cctrl[minion]["datasources"]
        sources["east9"] = sources.pop("east2")
    assert world.wrong() == [
        "east: cctrl lists east9, which is not in the pillar", "m-east2: cctrl does not list it"]


@pytest.mark.parametrize("home, name", [("cluster", "east"), ("cross_site", "west")])
@pytest.mark.parametrize("now, told", [
    (service("OFFLINE:ERROR", seqno=-1, pendingError="it broke", pendingErrorSeqno=8), "is OFFLINE:ERROR: it broke"),
    (service("OFFLINE:NORMAL", seqno=-1), "is OFFLINE:NORMAL"),
    (service("GOING-ONLINE:SYNCHRONIZING", timeInStateSeconds=5.0), "is GOING-ONLINE:SYNCHRONIZING"),
    (None, "is gone: its replicator has none"),
])
def test_what_is_wrong_with_a_service(world, home, name, now, told):
    getattr(world, home)["m-east2"] = {name: now} if now else {}
    (text,) = world.wrong()
    assert text.startswith(f"m-east2: service {name} {told}")


def test_what_an_offline_service_shows_is_no_position(world):
    world.cross_site["m-east2"] = {"west": service("OFFLINE:NORMAL", seqno=-1, latency=-1.0)}
    told = world.look("east")["east"]["nodes"]["east2"]["services"]["west"]
    assert (told["state"], told["seqno"], told["stored"], told["latency"]) == ("OFFLINE:NORMAL", None, None, None)


def test_one_that_lags(world):
    world.cross_site["m-east2"] = {"west": service(seqno=7, latency=400.0)}
    world.second["cross_site", "m-east2"] = {"west": service(seqno=8, latency=401.0)}
    assert world.wrong() == ["m-east2: service west is 401 s behind, more than 300 s"]
    assert world.asked == [(ALL, ["m-east1", "m-east2"]), (REPLICATORS, ["m-east2"])], "only who is late, once more"


def test_one_that_rests_since_a_transaction_that_came_late(world):
    world.cross_site["m-east2"] = {"west": service(seqno=7, latency=400.0)}
    assert world.wrong() == []


def test_one_that_falls_silent_before_the_second_look(world):
    world.cross_site["m-east2"] = {"west": service(seqno=7, latency=400.0)}
    gather = siteview.__salt__["fleet.gather"].side_effect

    def silent_later(minions, *words, **more):
        if world.asked:
            world.silent = {"m-east2"}
        return gather(minions, *words, **more)

    siteview.__salt__["fleet.gather"].side_effect = silent_later
    assert world.wrong() == [f"m-east2: {SILENT}"]


# --- from what was read already


def test_facts_tell_the_same_as_a_look_and_nobody_is_asked(world):
    change(world, "east2", state="FAILED")
    assert siteview.of_facts(world.topology, world.facts()) == world.look()
    assert len(world.asked) == 1, "by the look"


def test_by_facts_as_well_only_who_seems_late_is_asked_again(world):
    world.cross_site["m-west2"] = {"east": service(seqno=7, latency=400.0)}
    facts = world.facts()
    assert siteview.of_facts(world.topology, facts)["west"]["wrong"] == []
    assert world.asked == [(REPLICATORS, ["m-west2"])]
    world.cross_site["m-west2"] = {"east": service(seqno=9, latency=500.0)}
    assert siteview.of_facts(world.topology, facts)["west"]["wrong"] == [
        "m-west2: service east is 500 s behind, more than 300 s"]


def test_facts_that_are_nonsense_spoil_no_view(world):
    facts = world.facts()
    facts["m-east2"]["cluster"] = {"east": {"appliedLatency": "<b>"}}
    view = siteview.of_facts(world.topology, facts)
    assert view["east"]["wrong"] == ["m-east2: its answer to trepctl.services is none"]
    assert view["west"]["wrong"] == []
