"""An event on the bus, from a minion, through the reactor: the master looks for itself, the pillar says what to do."""

import json
import time

import pytest
import salt.utils.event

from tests.integration.conftest import records, write_pillar

SETTLE = 3
FORGED = '{"donor": "east2", "failed": "west", "definitive": "east", "on_drift": "reprovision", "site": "west"}'
DUPLICATE = {"state": "OFFLINE:ERROR", "appliedLastSeqno": -1, "pendingError": "Event application failed: seqno=6",
             "pendingExceptionMessage": "java.sql.SQLException: Duplicate entry '7' for key 'PRIMARY'"}
DISK_FULL = {**DUPLICATE, "pendingExceptionMessage": "java.io.IOException: No space left on device"}


def send(minions, tag, *data, node="east2"):
    done = minions[node].salt_call_cli(timeout=90).run("event.send", tag, *data)
    assert done.data is True


def ask(master, function, *arguments):
    """What a runner returned, and its exit code."""
    done = master.salt_run_cli(timeout=180).run(function, *arguments)
    return done.data, done.returncode


def load(folder, pattern):
    return [json.loads(path.read_text()) for path in sorted(folder.glob(pattern))]


def runs(master):
    return load(records(master) / "east", "2*.json")


def plans(master, site="east"):
    return load(records(master) / site / "plans", f"{site}-*.json")


def checks(master):
    return load(records(master) / "_checks", "2*.json")


def reported(master, site="east"):
    path = records(master) / site / "drift.json"
    return json.loads(path.read_text()) if path.exists() else None


def until(condition, seconds=400):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


def until_reported(master, site="east"):
    until(lambda: reported(master, site))
    return reported(master, site)


def until_handled(master, minions):
    """One more event: when that has led to its note, the reactor has had those before as well."""
    send(minions, "tungsten/drift/west", node="west1")
    until_reported(master, "west")
    time.sleep(SETTLE)


def ended(master):
    return [run for run in runs(master) if run["state"] != "running"]


def set_world(world, **nodes):
    """Change what some nodes hold: ``east2=("data", "good")``."""
    state = world.read()
    for node, (*path, value) in nodes.items():
        target = state["nodes"][node]
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value
    world.write({"nodes": state["nodes"]})


def changes(world):
    """[(node, what was done)], without the heartbeats by which a comparison knows that replication has passed."""
    return [(node, what) for node, what, *_ in world.journal() if what != "trepctl.heartbeat"]


def equal(world):
    set_world(world, east1=("data", "good"), east2=("data", "good"))


def test_plan_waits_for_a_person_and_an_open_one_is_enough(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="plan", drift={"cooldown": 0})
    before = world.state()
    send(minions, "tungsten/drift/east", FORGED)
    note = until_reported(master)
    (plan,) = plans(master)
    assert (note["proved"], note["plan"], note["reporter"]) == (True, plan["plan"], "east2")
    assert "1 rows of app.words" in note["why"] and note["saved"] is None
    assert (plan["state"], plan["by"], plan["why"]) == ("open", "event", note["why"])
    assert plan["binding"]["order"] == {
        "failed": "east", "definitive": "west", "donor": "west2", "method": "rsync", "warm": True,
        "replica_method": "xtrabackup"}
    (check,) = checks(master)
    assert (check["verdict"], check["reference"], check["looked_at"]) == ("drifted", "west", ["west2", "east2"])
    assert plan["lost"]["rows"]["tables"] == {
        "app.words": {"changed": 1, "missing": 0, "extra": 0, "complete": True}}

    # The same once more finds it open, compares nothing and makes no other.
    again, code = ask(master, "drift.look", "east")
    assert code == 0 and again["plan"] == plan["plan"] and "is open" in again["decision"]
    assert [each["plan"] for each in plans(master)] == [plan["plan"]] and len(checks(master)) == 1
    assert world.state() == before and changes(world) == [] and runs(master) == []


def test_reprovision_saves_plans_approves_and_runs_with_nobody_there(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="reprovision")
    for node in ("east1", "east2", "west1"):
        send(minions, "tungsten/drift/east", FORGED, node=node)
    until(lambda: ended(master))
    (record,) = runs(master)
    (plan,) = plans(master)
    assert (record["state"], record["failed"], record["donor"]) == ("done", "east", "west2")
    assert (record["plan_id"], plan["state"], plan["run"]) == (plan["plan"], "used", record["run"])
    assert (plan["by"], plan["decided"]["who"], plan["decided"]["reason"]) == (
        "event", "event", "on_drift: reprovision")
    assert {node["data"] for node in world.state()["nodes"].values()} == {"good"}

    # What its nodes had was saved before anything else was done, once, and the primary was looked at as well.
    did = changes(world)
    assert sorted(did[:2]) == [("east1", "rowsave.save"), ("east2", "rowsave.save")]
    assert not [each for each in did[2:] if each[1] == "rowsave.save"]
    assert [node for node, what in did if what == "datadir.empty"] == ["east1"]
    (check,) = checks(master)
    assert sorted(check["looked_at"]) == ["east1", "east2", "west1", "west2"]
    saved = world.state()["nodes"]["east2"]["saved"]
    assert saved == {"name": f"{check['check']}-east", "word": "drifted on east2",
                     "rows": {"app.words": {"keys": ["1"], "parts": []}}}
    assert reported(master)["saved"]["files"] == check["saved"]["east"][0]["files"]
    assert plan["lost"]["rows"]["saved"] == ", ".join(
        f"{node}:/nowhere/saved/{check['check']}-east.sql" for node in ("east1", "east2"))

    # Repaired: the rows that were found then are equal now, and so is all the rest.
    world.change(journal=[])
    note, code = ask(master, "drift.look", "east")
    assert code == 0 and note["decision"] == "nothing: no drift is proved", note
    assert checks(master)[-1]["verdict"] == "equal" and changes(world) == [] and len(runs(master)) == 1


@pytest.mark.parametrize("fault", ["east2 rowsave.save", "second person"])
def test_what_keeps_an_event_from_approving(master, minions, world, pillar_root, fault):
    second_person = fault == "second person"
    write_pillar(pillar_root, on_drift="reprovision", plans={"second_person": second_person})
    world.change(faults={} if second_person else {fault: "fail"})
    send(minions, "tungsten/drift/east")
    note = until_reported(master)
    assert note["decision"] == "a plan was made; a person must approve it"
    assert ("its rows could not be saved: east2: rowsave.save failed" in note["why"]) is not second_person
    time.sleep(SETTLE)
    assert [plan["state"] for plan in plans(master)] == ["open"]
    # A node that could save its rows has done so.
    assert changes(world) in ([], [("east1", "rowsave.save")]) and runs(master) == []


def test_what_is_not_proved_is_not_acted_on(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="reprovision")
    equal(world)
    set_world(world, east1=("cross_site", "west", DISK_FULL))
    send(minions, "tungsten/drift/east", FORGED)
    note = until_reported(master)
    assert (note["proved"], note["decision"]) == (False, "nothing: no drift is proved")
    assert "No space left" in note["why"]
    assert [check["verdict"] for check in checks(master)] == ["equal"]
    # In errors that are about data it is proved, though no row that can be seen differs.
    write_pillar(pillar_root, on_drift="plan")
    set_world(world, east1=("cross_site", "west", DUPLICATE), east2=("cross_site", "west", DUPLICATE))
    note, code = ask(master, "drift.look", "east")
    assert code == 0 and note["proved"] and "Duplicate entry" in note["why"] and note["plan"]
    assert changes(world) == [] and runs(master) == []


def test_ignore_and_a_site_that_the_pillar_does_not_name(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="ignore")
    send(minions, "tungsten/drift/east", FORGED)
    until(lambda: (records(master) / "east/look").exists())
    write_pillar(pillar_root, on_drift="reprovision")
    until_handled(master, minions)
    assert reported(master) is None
    assert "does not name this site as failed" in reported(master, "west")["decision"]
    assert checks(master) == plans(master) == plans(master, "west") == runs(master) == [] and changes(world) == []


def test_forged_site_names_do_nothing(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="reprovision")
    for site in ("nowhere", "east;reboot", "{{ 7*7 }}", "../east", 'east"\nx: y', "west/../east", "x" * 1000):
        send(minions, f"tungsten/drift/{site}", FORGED)
    until_handled(master, minions)
    assert sorted(path.name for path in records(master).glob("*")) == ["west"]
    assert changes(world) == []


def test_many_events_are_one_look_and_one_plan(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="plan")
    with salt.utils.event.get_event("master", opts=dict(master.config), listen=False) as bus:
        for number in range(300):
            assert bus.fire_event({"id": f"east{number}", "data": {"n": number}}, "tungsten/drift/east")
    assert ask(master, "test.arg", "still here")[1] == 0
    note = until_reported(master)
    until_handled(master, minions)
    assert [plan["plan"] for plan in plans(master)] == [note["plan"]] and len(checks(master)) == 1
    assert changes(world) == [] and runs(master) == []


def test_a_check_by_hand_its_exit_codes_and_its_event(master, minions, world, pillar_root):
    write_pillar(pillar_root, on_drift="plan")
    found, code = ask(master, "drift.check", "nodes=all", "looks=2")
    assert (code, found["verdict"], found["looked_at"]) == (2, "drifted", ["west1", "west2", "east1", "east2"])
    assert found["sites"]["east"]["tables"]["app.words"]["keys"]["changed"] == ["1"]
    assert reported(master) is None, "nobody asked for an event"
    shown, code = ask(master, "drift.show")
    assert code == 0 and shown["check"] == found["check"]
    saved, code = ask(master, "drift.save", "east")
    assert code == 0 and set(saved["files"]) == {"east1", "east2"}
    assert ask(master, "drift.check", "nodes=primaries")[1] == 1

    equal(world)
    found, code = ask(master, "drift.check")
    assert (code, found["verdict"]) == (0, "equal")
    set_world(world, east2=("data", "drifted"), west2=("cross_site", "east", DISK_FULL))
    found, code = ask(master, "drift.check")
    assert (code, found["verdict"]) == (3, "unproved") and "west2" in found["unproved"]["app.words"]

    set_world(world, west2=("cross_site", "east", {"state": "ONLINE", "appliedLastSeqno": 5}))
    assert ask(master, "drift.check", "event=True")[1] == 2
    assert until_reported(master)["plan"], "the look that followed has found the same"
