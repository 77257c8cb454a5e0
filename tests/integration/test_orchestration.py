"""The orchestration over real Salt: what runs where and in which order, what is refused, and what a failure leaves."""

import json

import pytest

from tests.integration.conftest import NODES, records


def orchestrate(master, *arguments):
    """Exit code and the states in their order; the JSON has to be readable from its first bracket on."""
    done = master.salt_run_cli(timeout=300).run("state.orch", "orch.reprovision", *arguments)
    text = done.stdout
    answer = done.data if isinstance(done.data, dict) else json.loads(text[text.index("{"):])
    states = next(iter(answer.get("data", answer).values()))
    assert isinstance(states, dict), states
    return done.returncode, sorted(states.values(), key=lambda state: state["__run_num__"])


def order(**words):
    return "pillar=" + json.dumps({"reprovision": words})


def refused(master, world, *arguments):
    """The preflight's words; nothing may have been done."""
    before = world.state()
    code, states = orchestrate(master, *arguments)
    assert code != 0 and len(states) >= 1 and states[0]["result"] is False
    assert world.state() == before and world.journal() == []
    return states[0]["comment"]


def latest(master, site="east"):
    found = sorted((records(master) / site).glob("2*.json"))
    return json.loads(found[-1].read_text()) if found else None


def test_a_whole_run_and_the_reason_that_a_second_one_needs(master, world):
    code, states = orchestrate(master)
    assert [(state["name"], state["comment"]) for state in states if state["result"] is not True] == []
    assert code == 0
    record = latest(master)
    assert (record["state"], record["primary"], record["donor"]) == ("done", "east1", "west2")
    assert list(record["steps"]) == record["plan"] and len(record["plan"]) == 24
    after = world.state()
    assert {node["data"] for node in after["nodes"].values()} == {"good"}
    assert after["sites"]["east"]["policy"] == "AUTOMATIC" and after["sites"]["east"]["routers"] == "ONLINE"
    done = [(entry[0], entry[1]) for entry in world.journal()]
    in_order = [
        ("east1", "cctrl.policy"), ("east1", "cctrl.routers"), ("west1", "trepctl.offline"), ("west1", "trepctl.reset"),
        ("east1", "cctrl.shun"), ("east1", "mysqld.stop"), ("east1", "datadir.empty"), ("west2", "datacopy.ahead"),
        ("west2", "datacopy.again"), ("west2", "cctrl.shun"), ("west2", "mysqld.stop"), ("west2", "datacopy.files"),
        ("west2", "datacopy.sync"),
        ("west2", "mysqld.start"), ("west2", "cctrl.recover"), ("east1", "mysqld.start"), ("east1", "trepctl.reset"),
        ("east1", "cctrl.welcome"), ("east2", "tprovision"), ("east1", "trepctl.heartbeat"), ("east1", "cctrl.routers"),
        ("east1", "cctrl.policy"),
    ]
    at = -1
    for entry in in_order:
        assert entry in done[at + 1:], f"{entry} does not come after {done[:at + 1][-1:]}"
        at = done.index(entry, at + 1)
    assert [node for node, did in done if did == "datadir.empty"] == ["east1"]
    # Only the failed site's service is ever reset.
    resets = {(entry[0], entry[3], entry[4]) for entry in world.journal() if entry[1] == "trepctl.reset"}
    assert resets == {("west1", "cross_site", "east"), ("west2", "cross_site", "east"), ("east1", "cluster", "east")}

    # A second one is refused until drift is reported or somebody insists.
    world.change(journal=[])
    comment = refused(master, world)
    assert "There is nothing to repair" in comment and '"insist": true' in comment
    # This time as the manual has it: all of the copy with the donor out of service.
    code, states = orchestrate(master, order(failed="east", definitive="west", insist=True, warm=False))
    done = [(entry[0], entry[1]) for entry in world.journal()]
    assert code == 0 and [did for did in done if did[1].startswith("datacopy.")] == [
        ("west2", "datacopy.files"), ("west2", "datacopy.sync")]
    assert done.index(("west2", "cctrl.shun")) < done.index(("west2", "datacopy.sync"))
    left_out = [state["name"] for state in states if state["comment"] == "No step of a cold copy."]
    assert left_out == ["10 data copied ahead", "10 data streamed from the donor", "10 backup prepared"]
    record = latest(master)
    assert list(record["steps"]) == record["plan"] and len(record["plan"]) == 23
    assert not set(left_out) & set(record["plan"])


def test_test_mode_changes_nothing_and_tells_every_step(master, world):
    before = world.state()
    code, states = orchestrate(master, "test=True")
    assert code == 0 and len(states) == 26
    assert world.state() == before and world.journal() == [] and latest(master) is None
    told = {state["name"]: state["comment"] for state in states}
    assert "/nowhere/mysql" in told["08 data locations emptied"]
    assert "tprovision -s east1" in told["16 replicas provisioned"]
    assert "copied to east1 while the server here goes on serving" in told["10 data copied ahead"]


@pytest.mark.parametrize("words, expected", [
    ({"failed": "nowhere"}, "'nowhere' is not one of the sites east, west"),
    ({"failed": "west"}, "'west' is the failed site; it cannot repair itself"),
    ({"donor": "east2"}, "'east2' is not a node of the definitive site 'west'"),
    ({"donor": "west1"}, "west1: cannot be the donor: its role is master"),
    ({"failed": "east", "donor": "$(reboot)"}, "is not a node of the definitive site"),
])
def test_an_order_that_does_not_fit(master, world, words, expected):
    assert expected in refused(master, world, order(**words))


def test_a_silent_minion_is_named(master, world, minions):
    minions["west1"].terminate()
    try:
        assert "west1: does not answer" in refused(master, world)
    finally:
        minions["west1"].start(start_timeout=120)


def test_a_composite_installation_is_refused(master, world):
    state = world.read()
    state["sites"]["west"]["composite"] = True
    world.write(state)
    assert "west1: this is a composite installation" in refused(master, world)


def test_unreadable_output_names_the_node_and_quotes_the_tool(master, world):
    world.change(faults={"east2 cctrl": "garbage"})
    comment = refused(master, world)
    assert "east2: cctrl's answer to ls cannot be read" in comment and "state ONLI" in comment


EMPTIED = [("east1", "datadir.empty")]
AHEAD = [("west2", "datacopy.ahead"), ("west2", "datacopy.again")]


@pytest.mark.parametrize("fault, step, node, touched", [
    ({"west1 trepctl.reset": "fail"}, "03 cross-site service of the failed site reset", "west1", []),
    ({"east1 mysqld.stop": "lie"}, "07 mysqld stopped", "east1", []),
    ({"west2 datacopy.ahead": "fail"}, "10 data copied ahead", "west2", EMPTIED),
    ({"west2 cctrl.shun": "lie"}, "06 donor shunned, its replicator offline", "west2", [*EMPTIED, *AHEAD]),
    ({"west2 mysqld.stop": "lie"}, "07 mysqld of the donor stopped", "west2", [*EMPTIED, *AHEAD]),
])
def test_a_failing_step_stops_the_run_and_the_same_command_completes_it(master, world, fault, step, node, touched):
    world.change(faults=fault)
    code, states = orchestrate(master)
    assert code != 0
    failed = [state for state in states if state["result"] is False]
    assert failed[0]["name"] == step
    assert f"{node}: " in failed[0]["comment"] and "run it again" in failed[0]["comment"]
    assert [(entry[0], entry[1]) for entry in world.journal()
            if entry[1].startswith(("datadir.", "datacopy."))] == touched
    assert world.state()["sites"]["east"]["policy"] == "MAINTENANCE"
    assert world.state()["sites"]["east"]["routers"] == "OFFLINE"
    record = latest(master)
    assert record["state"] == "failed" and record["steps"][step]["state"] == "failed"
    world.change(faults={})
    code, states = orchestrate(master)
    assert [(state["name"], state["comment"]) for state in states if state["result"] is not True] == []
    assert code == 0 and {node["data"] for node in world.state()["nodes"].values()} == {"good"}


def test_traffic_does_not_return_to_data_that_differ(master, world):
    # tprovision says that all is well and has done nothing.
    world.change(faults={"east2 tprovision": "lie"})
    code, states = orchestrate(master)
    assert code != 0
    last = [state for state in states if state["result"] is False][0]
    assert last["name"] == "verified before traffic" and "app.words" in last["comment"]
    assert world.state()["sites"]["east"]["routers"] == "OFFLINE"


def test_every_node_says_which_it_is(master, minions, world):
    answer = master.salt_cli(timeout=60).run("topology.node", minion_tgt="*")
    assert {node: about["host"] for node, about in answer.data.items()} == {node: node for node in NODES}
