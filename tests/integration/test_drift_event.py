"""An event on the bus, from a minion, through the reactor: what the site's pillar says is done, and nothing else."""

import json
import time

from tests.integration.conftest import records, write_pillar

SETTLE = 3


def send(minions, tag, *data, node="east2"):
    done = minions[node].salt_call_cli(timeout=60).run("event.send", tag, *data)
    assert done.data is True


def runs(master):
    return list((records(master) / "east").glob("2*.json"))


def reported(master, site="east"):
    path = records(master) / site / "drift.json"
    return json.loads(path.read_text()) if path.exists() else None


def until(condition, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


def test_plan_notes_that_a_person_must_decide(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="plan")
    send(minions, "tungsten/drift/east")
    until(lambda: reported(master))
    note = reported(master)
    assert note["command"] == "salt-run state.orch orch.reprovision" and "a person must decide" in note["decision"]
    assert note["reporter"] == "east2"
    time.sleep(SETTLE)
    assert runs(master) == [] and world.journal() == []


def test_ignore_does_nothing(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="ignore")
    send(minions, "tungsten/drift/east")
    time.sleep(SETTLE)
    assert reported(master) is None and runs(master) == [] and world.journal() == []


def test_reprovision_makes_one_run_of_several_events_and_believes_no_payload(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="reprovision")
    for node in ("east1", "east2", "west1"):
        send(minions, "tungsten/drift/east", '{"donor": "east2", "failed": "west", "definitive": "east"}', node=node)
    until(lambda: runs(master) and json.loads(runs(master)[0].read_text())["state"] != "running")
    assert len(runs(master)) == 1
    record = json.loads(runs(master)[0].read_text())
    assert (record["state"], record["failed"], record["donor"]) == ("done", "east", "west2")
    assert {node["data"] for node in world.state()["nodes"].values()} == {"good"}
    assert [entry[0] for entry in world.journal() if entry[1] == "datadir.empty"] == ["east1"]


def test_a_site_that_pillar_does_not_name_as_failed_is_left_alone(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="reprovision")
    send(minions, "tungsten/drift/west", node="west1")
    until(lambda: reported(master, "west"))
    assert "not started" in reported(master, "west")["decision"]
    time.sleep(SETTLE)
    assert world.journal() == []


def test_forged_site_names_do_nothing(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="reprovision")
    for site in ("nowhere", "east;reboot", "{{ 7*7 }}", "../east", 'east"\nx: y'):
        send(minions, f"tungsten/drift/{site}")
    time.sleep(SETTLE)
    assert runs(master) == [] and world.journal() == []
    assert [path.name for path in records(master).glob("*")] in ([], ["east"])
