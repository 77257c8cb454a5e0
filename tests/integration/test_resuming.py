"""A run that stops, over real Salt: what it gives back by itself, what the operator is told of it, what is not done
twice when it goes on."""

import threading
import time

import pytest

from tests.integration.conftest import records
from tests.integration.test_orchestration import latest, orchestrate, order

STARTED = "13 mysqld started"
COPIED = "10 data copied from the donor"


def ask(master, function, *arguments):
    """What a runner of this extension says, as JSON."""
    done = master.salt_run_cli(timeout=120).run(f"reprovision.{function}", *arguments)
    assert done.returncode == 0 and isinstance(done.data, dict | list), done
    return done.data


def journal(world, *kinds):
    return [(node, did) for node, did, *_ in world.journal() if did in kinds]


def failed(states):
    return [(state["name"], state["comment"]) for state in states if state["result"] is not True]


def runs(master, site="east"):
    return sorted(path.stem for path in (records(master) / site).glob("2*.json"))


def assert_back(world, host="west2"):
    """The donor serves as before the run: only the service of the site that is being rebuilt waits for it."""
    state = world.state()
    assert state["sites"]["west"]["datasources"][host] == {"role": "slave", "state": "ONLINE", "replicator": "ONLINE"}
    node = state["nodes"][host]
    assert node["mysqld"] and node["lease"] is None and "running" not in node["jobs"].values()
    assert node["cluster"]["west"]["state"] == "ONLINE"


def assert_out_of_use(world):
    site = world.state()["sites"]["east"]
    assert (site["policy"], site["routers"]) == ("MAINTENANCE", "OFFLINE")


def assert_whole(world):
    state = world.state()
    assert {node["data"] for node in state["nodes"].values()} == {"good"}
    assert (state["sites"]["east"]["policy"], state["sites"]["east"]["routers"]) == ("AUTOMATIC", "ONLINE")
    assert all(source["state"] == source["replicator"] == "ONLINE"
               for site in state["sites"].values() for source in site["datasources"].values())
    assert_back(world)


def test_a_run_that_fails_after_the_copy_goes_on_without_a_second_one(master, world):
    world.change(faults={"east1 mysqld.start": "fail"})
    code, states = orchestrate(master)
    name, comment = failed(states)[0]
    assert code != 0 and name == STARTED and "The donor west2 is back in its site." in comment
    assert_back(world)
    assert_out_of_use(world)
    status = ask(master, "status", "east")["east"]["run"]
    run = runs(master)[0]
    assert (status["run"], status["state"], status["step"], status["steps"], status["attempts"]) == (
        run, "failed", STARTED, "14 of 24", 1)
    assert (status["donor"], status["donor_state"], status["process"]) == ("west2", "returned", None)
    assert "run it again" in status["next"] and '"failed": "east"' in status["next"]
    look = ask(master, "preflight")
    assert (look["ready"], look["resumes"], look["donor"]) == (True, True, "west2")

    before = len(world.journal())
    world.change(faults={})
    code, states = orchestrate(master)
    assert failed(states) == [] and code == 0
    assert_whole(world)
    assert journal(world, "datadir.empty", "datacopy.sync") == [("east1", "datadir.empty"), ("west2", "datacopy.sync")]
    again = [(node, did) for node, did, *_ in world.journal()[before:]]
    assert ("west2", "donor.lend") not in again and ("west2", "cctrl.shun") not in again
    told = {state["name"]: state["comment"] for state in states}
    assert told[COPIED] == "Done in attempt 1; it happens once in a run."
    record = latest(master)
    assert runs(master) == [run] and record["state"] == "done" and record["copied"]
    assert [attempt["how"] for attempt in record["attempts"]] == [f"failed at step {STARTED!r}", "done"]
    assert (record["steps"][COPIED]["done_in"], record["steps"][STARTED]["done_in"]) == (1, 2)
    assert ask(master, "status", "east")["east"]["run"]["next"] == "nothing to do"


def test_a_failed_copy_gives_the_donor_back_and_a_fresh_run_begins_anew(master, world):
    world.change(faults={"west2 datacopy.sync": "fail"})
    code, states = orchestrate(master)
    name, comment = failed(states)[0]
    assert code != 0 and name == COPIED and "ended with exit code 23" in comment
    assert "The donor west2 is back in its site." in comment
    assert_back(world)
    assert_out_of_use(world)
    record = latest(master)
    assert (record["state"], record["donor_state"], record["copied"]) == ("failed", "returned", False)
    first = record["run"]
    assert ask(master, "preflight")["resumes"] is True

    # This time up to the copy and beyond, so that there is something that a fresh run does not believe.
    world.change(faults={"east1 mysqld.start": "fail"})
    code, states = orchestrate(master)
    assert code != 0 and failed(states)[0][0] == STARTED
    assert latest(master)["run"] == first and latest(master)["steps"][COPIED]["done_in"] == 2
    assert journal(world, "datadir.empty", "datacopy.sync") == [("east1", "datadir.empty"), ("west2", "datacopy.sync")]

    world.change(faults={})
    code, states = orchestrate(master, order(failed="east", definitive="west", fresh=True))
    assert failed(states) == [] and code == 0
    assert f"run {first} is not gone on with, since a fresh one was ordered" in states[0]["comment"]
    assert_whole(world)
    assert journal(world, "datadir.empty", "datacopy.sync") == [
        ("east1", "datadir.empty"), ("west2", "datacopy.sync")] * 2
    listed = ask(master, "list", "east")
    assert [(item["run"], item["state"], item["attempts"]) for item in listed] == [
        (first, "failed", 2), (latest(master)["run"], "done", 1)]
    assert first != latest(master)["run"]


def test_an_aborted_copy_ends_the_donor_comes_back_and_the_same_command_completes_it(master, world):
    world.change(faults={"west2 datacopy.sync": "hang"})
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(orchestrate(master)))
    thread.start()
    try:
        wait_for(outcome, lambda: "progress" in ((latest(master) or {"steps": {}})["steps"].get(COPIED) or {}))
        status = ask(master, "status", "east")["east"]["run"]
        assert (status["state"], status["step"], status["donor_state"]) == ("running", COPIED, "taken")
        assert status["process"]["run"] == status["run"] == runs(master)[0]
        assert status["progress"]["west2"]["percent"] == 45
        assert world.state()["nodes"]["west2"]["lease"]["run"] == status["run"]
        stopped = ask(master, "abort", "east", "wrong donor")
    finally:
        world.change(faults={})
        thread.join(timeout=300)
    assert (stopped["run"], stopped["state"], stopped["donor_state"]) == (status["run"], "aborted", "returned")
    code, states = outcome[0]
    name, comment = failed(states)[0]
    assert code != 0 and name == COPIED and "asked this run to stop" in comment and "wrong donor" in comment
    assert_back(world)
    assert_out_of_use(world)
    assert journal(world, "datacopy.sync") == []
    assert ask(master, "status", "east")["east"]["run"]["state"] == "aborted"

    code, states = orchestrate(master)
    assert failed(states) == [] and code == 0
    assert_whole(world)
    assert journal(world, "datadir.empty", "datacopy.sync") == [("east1", "datadir.empty"), ("west2", "datacopy.sync")]
    assert runs(master) == [status["run"]]
    assert [attempt["how"] for attempt in latest(master)["attempts"]] == [f"aborted at step {COPIED!r}", "done"]


def wait_for(outcome, condition, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert not outcome, failed(outcome[0][1])
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


@pytest.mark.parametrize("fault, node, what", [
    ("west2 ssh", "west2", "the Tungsten user cannot run rsync by ssh and sudo on east1: ssh: this is not allowed"),
    ("east1 sudo", "east1", "the Tungsten user cannot run rsync by sudo: sudo: this is not allowed"),
])
def test_what_would_break_the_copy_is_found_before_anything_is_changed(master, world, fault, node, what):
    world.change(faults={fault: "fail"})
    before = world.state()
    look = ask(master, "preflight")
    assert look["ready"] is False and look["resumes"] is False
    found = [finding for finding in look["findings"] if finding["level"] == "error"]
    assert [(finding["node"], finding["what"]) for finding in found] == [(node, what)] and found[0]["do"]
    code, states = orchestrate(master)
    assert code != 0 and f"ERROR {node}: {what} - {found[0]['do']}" in states[0]["comment"]
    assert world.state() == before and world.journal() == [] and latest(master) is None


def test_all_is_well_and_nothing_was_ever_run(master, world):
    look = ask(master, "preflight", "failed=east", "definitive=west")
    assert (look["ready"], look["findings"], look["donor"], look["resumes"]) == (True, [], "west2", False)
    assert look["primaries"] == {"east": "east1", "west": "west1"}
    assert ask(master, "list") == []
    assert [view["run"] for view in ask(master, "status").values()] == [None, None]
    assert world.journal() == []
