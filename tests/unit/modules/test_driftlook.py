"""driftlook: which nodes are looked at, what their replicators say, and what of that proves that a site has drifted."""

import copy
import json
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

driftlook = load("_modules", "driftlook")
driftfindings = load("_modules", "driftfindings")
driftsigns = load("_modules", "driftsigns")
fleet = load("_modules", "fleet")

TOPOLOGY = {"sites": {
    "east": {"service": "e", "nodes": {"east1": "m-east1", "east2": "m-east2", "east3": "m-east3"}},
    "west": {"service": "w", "nodes": {"west1": "m-west1", "west2": "m-west2", "west3": "m-west3"}},
    "north": {"service": "n", "nodes": {"north1": "m-north1"}},
}}
EAST, WEST = (list(TOPOLOGY["sites"][site]["nodes"].values()) for site in ("east", "west"))
ONLINE = {"state": "ONLINE", "started": True, "appliedLastSeqno": 7, "maximumStoredSeqNo": 7, "appliedLatency": 0.4}
BROKEN = {**ONLINE, "state": "OFFLINE:ERROR", "appliedLastSeqno": -1}
DUPLICATE = {**BROKEN, "pendingError": "Event application failed: seqno=8",
             "pendingExceptionMessage": "java.sql.SQLException: Duplicate entry '7' for key 'PRIMARY'"}
DISK_FULL = {**BROKEN, "pendingError": "Event application failed", "pendingExceptionMessage": "No space left on device"}


def source(role="slave", state="ONLINE", latency=0.5, dataserver="ONLINE"):
    return {"role": role, "state": state, "latency": latency, "dataserver": dataserver}


@pytest.fixture
def fleet_of():
    """{minion: {function: what it answers, or the fault}}; all is well at first."""
    found = {}
    for site in TOPOLOGY["sites"].values():
        hosts = {host: source("master" if host.endswith("1") else "slave") for host in site["nodes"]}
        for minion in site["nodes"].values():
            others = {other["service"]: dict(ONLINE) for other in TOPOLOGY["sites"].values() if other is not site}
            found[minion] = {"cctrl.ls": {"datasources": hosts}, "trepctl.services": others}
    return found


@pytest.fixture
def gather(fleet_of):
    def answer(minions, function, kwarg=None, timeout=60):
        answers, faults = {}, {}
        for minion in minions:
            said = fleet_of[minion][function]
            (faults if isinstance(said, str) else answers)[minion] = copy.deepcopy(said)
        return {"answers": answers, "faults": faults}

    return create_autospec(fleet.gather, side_effect=answer)


@pytest.fixture
def configure_loader_modules(gather):
    functions = {
        "fleet.gather": gather,
        **{f"driftsigns.{name}": create_autospec(getattr(driftsigns, name), side_effect=getattr(driftsigns, name))
           for name in ("judge", "alarming")},
        "driftfindings.drifted": create_autospec(driftfindings.drifted, side_effect=driftfindings.drifted),
    }
    return {driftlook: {"__opts__": {"__role": "master"}, "__salt__": functions}}


def test_only_on_the_master():
    assert driftlook.__virtual__() == "driftlook"
    driftlook.__opts__["__role"] = "minion"
    assert driftlook.__virtual__()[0] is False


# --- which nodes


def test_replicas_and_a_primary_only_where_there_is_nothing_else():
    assert driftlook.nodes(TOPOLOGY, "replicas") == (
        {"east": ["m-east2", "m-east3"], "west": ["m-west2", "m-west3"], "north": ["m-north1"]},
        {}, {"m-north1": "n"})


def test_all_are_primaries_as_well():
    chosen, left_out, primaries = driftlook.nodes(TOPOLOGY, "all")
    assert chosen["east"] == ["m-east1", "m-east2", "m-east3"] and chosen["north"] == ["m-north1"]
    assert left_out == {} and primaries == {"m-east1": "e", "m-west1": "w", "m-north1": "n"}


@pytest.mark.parametrize("two, three, best", [
    (3.0, 0.2, "m-east3"), (0.2, 3.0, "m-east2"), (None, 40.0, "m-east3"), (40.0, None, "m-east2"),
    (-1.0, 40.0, "m-east3"), (None, None, "m-east2"), (0.0, -1.0, "m-east2")])
def test_one_is_the_replica_that_is_least_behind(fleet_of, two, three, best):
    """One that tells no latency may be any time behind."""
    sources = fleet_of["m-east1"]["cctrl.ls"]["datasources"]
    sources.update(east1=source("master", latency=0.0), east2=source(latency=two), east3=source(latency=three))
    chosen, left_out, primaries = driftlook.nodes(TOPOLOGY, "one")
    assert chosen["east"] == [best] and chosen["north"] == ["m-north1"]
    assert left_out == {}, "who was not chosen is not unfit"
    assert primaries == {"m-north1": "n"}, "of a site that has replicas none is chosen"


@pytest.mark.parametrize("spoiled, why", [
    (None, "cctrl does not list it"),
    (source(dataserver="STOPPED"), "its data server is STOPPED"),
    (source(state="SHUNNED"), "its datasource is SHUNNED"),
    (source(state="FAILED"), "its datasource is FAILED"),
])
@pytest.mark.parametrize("which", ["replicas", "one", "all"])
def test_who_is_unfit_is_left_out_with_the_reason(fleet_of, spoiled, why, which):
    sources = fleet_of["m-east1"]["cctrl.ls"]["datasources"]
    if spoiled is None:
        del sources["east2"]
    else:
        sources["east2"] = {**spoiled, "latency": 0.0}
    chosen, left_out, primaries = driftlook.nodes(TOPOLOGY, which)
    assert "m-east2" not in chosen["east"] and "m-east3" in chosen["east"]
    assert left_out == {"m-east2": why} and "m-east2" not in primaries


@pytest.mark.parametrize("which", ["replicas", "one", "all"])
@pytest.mark.parametrize("state", ["ONLINE", "SHUNNED"])
def test_a_witness_is_neither_chosen_nor_missed(fleet_of, which, state):
    fleet_of["m-east1"]["cctrl.ls"]["datasources"]["east2"] = source("witness", state, 0.0, None)
    chosen, left_out, primaries = driftlook.nodes(TOPOLOGY, which)
    assert chosen["east"] == (["m-east1", "m-east3"] if which == "all" else ["m-east3"])
    assert left_out == {} and "m-east2" not in primaries


@pytest.mark.parametrize("which", ["replicas", "one", "all"])
def test_a_witness_never_stands_in(fleet_of, which):
    sources = fleet_of["m-east1"]["cctrl.ls"]["datasources"]
    sources.update(east2=source("witness"), east3=source("witness"))
    chosen, left_out, primaries = driftlook.nodes(TOPOLOGY, which)
    assert chosen["east"] == ["m-east1"] and left_out == {} and primaries["m-east1"] == "e"
    sources["east1"] = source("witness")
    with pytest.raises(CommandExecutionError, match="No node of site east can be looked at"):
        driftlook.nodes(TOPOLOGY, which)


def test_one_that_is_offline_or_tells_of_no_data_server_can_be_looked_at(fleet_of):
    fleet_of["m-east1"]["cctrl.ls"]["datasources"]["east2"] = source(state="OFFLINE")
    fleet_of["m-east1"]["cctrl.ls"]["datasources"]["east3"] = source(dataserver=None)
    assert driftlook.nodes(TOPOLOGY, "replicas")[0]["east"] == ["m-east2", "m-east3"]


def test_a_silent_node_is_left_out_and_the_others_tell_the_roles(fleet_of):
    fleet_of["m-east1"]["cctrl.ls"] = "does not answer cctrl.ls"
    fleet_of["m-east3"]["cctrl.ls"] = "cctrl.ls failed: no manager"
    chosen, left_out, primaries = driftlook.nodes(TOPOLOGY, "all")
    assert chosen["east"] == ["m-east2"] and "m-east1" not in primaries
    assert left_out == {"m-east1": "does not answer cctrl.ls", "m-east3": "cctrl.ls failed: no manager"}


def test_a_primary_stands_in_where_no_replica_is_fit(fleet_of):
    for host in ("east2", "east3"):
        fleet_of["m-east1"]["cctrl.ls"]["datasources"][host]["state"] = "SHUNNED"
    for which in ("replicas", "one"):
        chosen, _, primaries = driftlook.nodes(TOPOLOGY, which)
        assert chosen["east"] == ["m-east1"] and primaries == {"m-east1": "e", "m-north1": "n"}


def test_the_primary_is_the_one_of_now(fleet_of):
    """Not the one of the pillar's order: roles are switched."""
    fleet_of["m-east1"]["cctrl.ls"]["datasources"].update(east1=source(), east3=source("master"))
    chosen, _, primaries = driftlook.nodes(TOPOLOGY, "all")
    assert chosen["east"] == ["m-east1", "m-east2", "m-east3"]
    assert primaries == {"m-east3": "e", "m-west1": "w", "m-north1": "n"}
    assert driftlook.nodes(TOPOLOGY, "replicas")[0]["east"] == ["m-east1", "m-east2"]


def test_a_site_of_which_nobody_answers_cannot_be_looked_at(fleet_of):
    for host in ("m-east1", "m-east2", "m-east3"):
        fleet_of[host]["cctrl.ls"] = "does not answer cctrl.ls"
    with pytest.raises(CommandExecutionError, match="No node of site east tells who is its primary: .*m-east2.*does"):
        driftlook.nodes(TOPOLOGY, "replicas")


def test_a_site_without_a_fit_node_cannot_be_looked_at(fleet_of):
    for host in ("east1", "east2", "east3"):
        fleet_of["m-east1"]["cctrl.ls"]["datasources"][host]["dataserver"] = "STOPPED"
    fleet_of["m-east3"]["cctrl.ls"] = "does not answer cctrl.ls"
    with pytest.raises(CommandExecutionError, match="No node of site east can be looked at: m-east1: its data "
                                                    "server is STOPPED; .*m-east3: does not answer cctrl.ls"):
        driftlook.nodes(TOPOLOGY, "all")


# --- their replicators


def test_every_node_of_the_site_is_asked_for_the_services_of_the_others(gather, fleet_of):
    assert driftlook.signs(TOPOLOGY, "east") == {}
    gather.assert_called_once_with(
        ["m-east1", "m-east2", "m-east3"], "trepctl.services", kwarg={"which": "cross_site", "full": True})
    del fleet_of["m-east2"]["trepctl.services"]["w"]
    del fleet_of["m-east2"]["trepctl.services"]["n"]
    assert {name: sign["sign"] for name, sign in driftlook.signs(TOPOLOGY, "east")["m-east2"].items()} == {
        "w": "vanished", "n": "vanished"}, "not its own service"


def test_only_what_is_alarming(fleet_of):
    fleet_of["m-east1"]["trepctl.services"]["w"] = dict(DUPLICATE)
    fleet_of["m-east2"]["trepctl.services"]["n"] = {**ONLINE, "state": "OFFLINE:NORMAL"}
    fleet_of["m-east3"]["trepctl.services"] = "trepctl.services failed: it hangs"
    found = driftlook.signs(TOPOLOGY, "east")
    assert list(found["m-east1"]) == ["w"] and found["m-east1"]["w"]["data"] is True
    assert "m-east2" not in found, "somebody has put it offline"
    assert found["m-east3"] == {"": {"sign": "silent", "what": "trepctl.services failed: it hangs", "data": False}}


# --- what that proves


def sign(kind="error", what="service w is OFFLINE:ERROR: Duplicate entry", data=True):
    return {"sign": kind, "what": what, "data": data}


def rows(table="shop.orders", **kinds):
    return {"tables": {table: {"changed": 0, "missing": 0, "extra": 0, **kinds, "complete": True, "keys": {}}}}


def check(**more):
    return {
        "check": "20260101T000000-0001", "reference": "west", "sites": {}, "nodes": {}, "schema": {}, "unproved": {},
        "nodes_of": {"east": ["m-east2", "m-east3"], "west": ["m-west2"]}, **more}


WELL = {"proved": False, "why": "its replicators and its data are well"}


def test_all_is_well():
    assert driftlook.conclude("east", EAST, {}, check()) == WELL
    # Nothing is said of data that nobody has seen.
    assert driftlook.conclude("east", EAST, {}, None) == {"proved": False, "why": "its data could not be compared"}


SILENT = {"": {"sign": "silent", "what": "no answer", "data": False}}
DUPLICATES = "service w is OFFLINE:ERROR: Duplicate entry"
REBUILD = ("only {} stopped there, nothing proves it of the other nodes: rebuild from its own site what stopped")


def stopped(*minions):
    return {minion: {"w": sign()} for minion in minions}


@pytest.mark.parametrize("compared", [True, False])
def test_replicators_that_stopped_on_every_node_because_of_what_their_tables_hold_prove_it(compared):
    found = driftlook.conclude("east", EAST, stopped(*EAST), check() if compared else None)
    assert found == {"proved": True, "why": "; ".join(f"{minion}: {DUPLICATES}" for minion in EAST)}


@pytest.mark.parametrize("minions", [["m-east1"], ["m-east3"], ["m-east1", "m-east2"]])
def test_where_only_some_stopped_they_are_to_be_rebuilt(minions):
    found = driftlook.conclude("east", EAST, stopped(*reversed(minions)), check())
    assert found == {"proved": False, "why": "; ".join([*(f"{minion}: {DUPLICATES}" for minion in minions),
                                                        REBUILD.format(", ".join(minions))])}


def test_it_proves_nothing_that_the_other_nodes_are_in_trouble_of_another_kind():
    found = driftlook.conclude("east", EAST, {
        **stopped("m-east1", "m-east2"), "m-east3": {"w": sign("error", "the disk is full", False)}}, None)
    assert found["proved"] is False and "rebuild from its own site" in found["why"]
    assert "the disk is full" in found["why"]


def test_one_service_of_a_node_that_has_such_an_error_is_enough():
    found = stopped(*EAST)
    found["m-east2"] = {"n": sign("late", "n is late", False), "w": sign()}
    found = driftlook.conclude("east", EAST, found, None)
    assert found == {"proved": True, "why": "; ".join(f"{minion}: {DUPLICATES}" for minion in EAST)}


def test_a_silent_node_does_not_count_either_way():
    found = driftlook.conclude("east", EAST, {**stopped("m-east1", "m-east3"), "m-east2": SILENT}, None)
    assert found["proved"] is True
    found = driftlook.conclude("east", EAST, {**stopped("m-east1"), "m-east2": SILENT}, check())
    assert found == {"proved": False, "why": f"m-east1: {DUPLICATES}; m-east2: no answer; {REBUILD.format('m-east1')}"}
    found = driftlook.conclude("east", EAST, dict.fromkeys(EAST, SILENT), check())
    assert found == {"proved": False, "why": "; ".join(f"{minion}: no answer" for minion in EAST)}


def test_a_site_of_one_node_is_proved_by_it():
    assert driftlook.conclude("north", ["m-north1"], stopped("m-north1"), None)["proved"] is True


def test_rows_on_every_node_prove_it_though_one_replicator_alone_stopped():
    found = driftlook.conclude("east", EAST, stopped("m-east2"), check(sites={"east": rows(changed=2)}))
    assert found["proved"] and found["why"].startswith("its data differ from west on every node"), "what proves it"


@pytest.mark.parametrize("kind", ["error", "late", "stalled", "vanished", "unloaded", "silent"])
def test_any_other_trouble_is_no_drift_and_is_told(kind):
    found = driftlook.conclude("east", EAST, {"m-east1": {"w": sign(kind, "w: the disk is full", False)}}, check())
    assert found == {"proved": False, "why": "m-east1: w: the disk is full"}


def test_what_real_replicators_say_is_told_apart(fleet_of):
    for said, proved in ((DUPLICATE, True), (DISK_FULL, False), (None, False)):
        for minion in EAST:
            services = fleet_of[minion]["trepctl.services"]
            services.pop("w", None)
            if said:
                services["w"] = dict(said)
        assert driftlook.conclude("east", EAST, driftlook.signs(TOPOLOGY, "east"), None)["proved"] is proved


def test_rows_that_differ_on_every_node_prove_it_and_are_counted():
    found = driftlook.conclude("east", EAST, {}, check(sites={"east": rows(changed=2, extra=1)}))
    assert found == {"proved": True, "why": "its data differ from west on every node that was looked at (check "
                                            "20260101T000000-0001): 3 rows of shop.orders"}


def test_nodes_that_differ_each_in_another_row_are_a_site_that_has_drifted():
    found = driftlook.conclude("east", EAST, {}, check(nodes={
        "m-east2": rows(changed=1), "m-east3": rows("shop.people", missing=4)}))
    assert found["proved"] and "1 rows of shop.orders, 4 rows of shop.people" in found["why"]


def test_one_node_that_differs_from_its_own_site_is_no_drift_of_the_site():
    found = driftlook.conclude("east", EAST, {}, check(nodes={"m-east2": rows(changed=1)}))
    assert found == {"proved": False, "why": "m-east2 alone has drifted from its own site (check "
                                             "20260101T000000-0001): rebuild that node"}


def test_another_sites_drift_is_not_this_ones():
    drifted = check(sites={"north": rows(changed=1)}, nodes={"m-west2": rows(changed=1)})
    assert driftlook.conclude("east", EAST, {}, drifted) == WELL


def test_a_reference_that_differs_is_never_the_one_that_drifted():
    """What is right is not for a check to decide."""
    found = driftlook.conclude("west", WEST, {}, check(nodes={"m-west2": rows(changed=1)}))
    assert found["proved"] is False


def test_tables_that_are_made_otherwise_on_every_node():
    other = {"reason": "its definition differs", "differences": [], "sites": ["east"]}
    found = driftlook.conclude("east", EAST, {}, check(schema={"shop.orders": other}))
    assert found["proved"] and "shop.orders: its definition differs" in found["why"]
    other["sites"] = []
    assert driftlook.conclude("east", EAST, {}, check(schema={"shop.orders": other}))["proved"] is False


def test_what_could_not_be_proved_is_told_and_proves_nothing():
    unproved = check(unproved={"shop.orders": "m-east2: its service w is OFFLINE:ERROR at -1"})
    found = driftlook.conclude("east", EAST, {"m-east2": {"w": sign("error", "the disk is full", False)}}, unproved)
    assert found == {"proved": False, "why": "m-east2: the disk is full; shop.orders could not be proved either way: "
                                             "m-east2: its service w is OFFLINE:ERROR at -1"}


def test_reasons_of_both_kinds_are_told_together_and_nothing_else():
    found = driftlook.conclude(
        "east", EAST, {**stopped("m-east1", "m-east3"), "m-east2": SILENT},
        check(sites={"east": rows(missing=1)}))
    assert found["proved"] and found["why"].startswith("m-east1: service w") and "1 rows of shop.orders" in found["why"]
    assert "no answer" not in found["why"]


def test_what_it_says_can_be_kept():
    assert json.loads(json.dumps(driftlook.conclude("east", EAST, stopped(*EAST), check())))
