"""Whoever the master's configuration names is told of a run and of a plan, by the master itself."""

import pytest


@pytest.fixture
def told(hook):
    hook.got.clear()
    return hook.got


def orchestrate(master, *arguments):
    return master.salt_run_cli(timeout=300).run("state.orch", "orch.reprovision", *arguments)


def test_of_a_run_its_begin_and_its_end(master, world, told):
    assert orchestrate(master).returncode == 0
    begun, ended = told
    assert (begun["what"], ended["what"]) == ("started", "done")
    assert begun["run"] == ended["run"] and begun["site"] == "east"
    assert begun["text"].startswith("Site east is being re-provisioned")
    assert ended["text"].startswith("Site east is re-provisioned and verified")


def test_of_a_run_that_stops_how_to_go_on(master, world, told):
    world.change(faults={"east1 cctrl": "garbage"})
    assert orchestrate(master).returncode != 0
    (refused,) = told
    assert (refused["what"], refused["site"]) == ("failed", "east")
    assert "cannot be read" in refused["text"] and refused["text"].endswith("Nothing was changed.")


def test_of_a_trial_nothing(master, world, told):
    assert orchestrate(master, "test=True").returncode == 0
    assert told == []


def test_of_a_plan_once(master, world, told):
    plans = [master.salt_run_cli(timeout=120).run("reprovision.plan", "east").data["plan"] for _ in range(2)]
    (waiting,) = told
    assert waiting["what"] == "approval" and plans == [waiting["plan"]] * 2
    assert f"salt-run reprovision.approve {plans[0]}" in waiting["text"]


def test_by_hand_to_see_whether_it_arrives(master, world, told):
    done = master.salt_run_cli(timeout=60).run("reprovision.notify", "failed", "hello")
    assert done.returncode == 0 and done.data == ["webhook"]
    assert [message["text"] for message in told] == ["hello"]
