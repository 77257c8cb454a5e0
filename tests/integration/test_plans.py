"""A plan over real Salt: made without a change, approved by a person, run exactly, refused when the facts moved."""

import json
import stat
import time

import pytest
import yaml

from tests.integration.conftest import put, records, write_pillar

def run(master, function, *arguments, **words):
    """What a runner returned, and its exit code."""
    done = master.salt_run_cli(timeout=180).run(f"reprovision.{function}", *arguments, **words)
    return done.data, done.returncode


def plan(master, *arguments, **words):
    done = master.salt_run_cli(timeout=180).run("reprovision.plan", *arguments, **words)
    assert done.returncode == 0 and isinstance(done.data, dict), done.stdout[-3000:]
    return done.data


def refused(master, function, *arguments):
    """What it said; an error is no JSON."""
    done = master.salt_run_cli(timeout=180).run(f"reprovision.{function}", *arguments)
    assert done.returncode != 0 and not isinstance(done.data, dict), done.stdout
    return " ".join((done.stdout + done.stderr).split())


def runs(master):
    return [json.loads(path.read_text()) for path in sorted((records(master) / "east").glob("2*.json"))]


def until_ended(master, count=1, seconds=400):
    deadline = time.monotonic() + seconds
    while True:
        found = runs(master)
        if len(found) == count and found[-1]["state"] != "running":
            return found[-1]
        assert time.monotonic() < deadline, f"waited in vain: {found}"
        time.sleep(0.5)


def state_of(master, plan_id):
    (found,) = [each for each in run(master, "plans", "east")[0] if each["plan"] == plan_id]
    return found["state"]


def set_pillar(pillar_root, **plans):
    write_pillar(pillar_root)
    path = pillar_root / "sites/order.sls"
    tungsten = yaml.safe_load(path.read_text())
    tungsten["tungsten"]["plans"] = plans
    put(path, tungsten)


def switch_primary(world):
    state = world.read()
    for node, role in (("east1", "slave"), ("east2", "master")):
        state["sites"]["east"]["datasources"][node]["role"] = role
    world.write(state)


def order(**words):
    return "pillar=" + json.dumps({"reprovision": words})


def test_a_plan_changes_nothing_and_once_approved_it_is_run_once(master, world):
    before = world.state()
    done = master.salt_run_cli(timeout=180).run("reprovision.plan", "east")
    made = done.data
    assert done.returncode == 0 and "Run exactly this" in done.stderr and "Run exactly this" not in done.stdout
    assert world.state() == before and world.journal() == [] and runs(master) == []
    assert (made["site"], made["state"], made["by"]) == ("east", "open", "root")
    assert made["binding"]["order"] == {
        "failed": "east", "definitive": "west", "donor": "west2", "method": "rsync", "warm": True,
        "replica_method": "xtrabackup"}
    steps = {step["step"]: step for step in made["steps"]}
    assert len(steps) == 24 and all(step["needed"] for step in steps.values())
    assert steps["03 cross-site service of the failed site reset"]["nodes"] == ["west1", "west2"]
    assert steps["16 replicas provisioned"]["nodes"] == ["east2"]
    assert any("/nowhere/mysql" in what for what in steps["08 data locations emptied"]["what"])
    assert made["lost"]["unreplicated"]["west"]["transactions"] == 0
    assert made["sizes"]["east1"] == {"used": 1, "free": 9}
    file = records(master) / "east/plans" / f"{made['plan']}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and json.loads(file.read_text()) == made
    # The same once more is the same plan.
    assert plan(master, "east")["plan"] == made["plan"]

    answer, code = run(master, "approve", made["plan"], "go on")
    assert code == 0 and answer["watch"] == "salt-run reprovision.watch east" and answer["jid"]
    record = until_ended(master)
    assert (record["state"], record["plan_id"], record["donor"]) == ("done", made["plan"], "west2")
    assert record["attempts"][0]["who"] == "root" and record["bytes"] == 1
    assert {node["data"] for node in world.state()["nodes"].values()} == {"good"}
    (listed,) = run(master, "plans")[0]
    assert (listed["state"], listed["run"], listed["decided"]["reason"]) == ("used", record["run"], "go on")

    # Neither twice by approval nor by typing its order.
    assert f"is used by run {record['run']}" in refused(master, "approve", made["plan"])
    world.change(journal=[])
    said = master.salt_run_cli(timeout=180).run(
        "state.orch", "orch.reprovision", order(failed="east", definitive="west", plan=made["plan"]))
    assert said.returncode != 0 and f"is used by run {record['run']}" in said.stdout
    assert world.journal() == []

    # A further plan says that nothing is to be repaired; approving it is to insist.
    again = plan(master, "east")
    assert any("There is nothing to repair" in warning for warning in again["warnings"])
    assert f"as run {record['run']} did" in again["expected"]["other"]["basis"]
    assert run(master, "approve", again["plan"])[1] == 0
    assert until_ended(master, 2)["plan_id"] == again["plan"]


def test_facts_that_have_changed_outdate_a_plan(master, world):
    made = plan(master, "east")
    switch_primary(world)
    said = refused(master, "approve", made["plan"])
    assert "primaries:east was east1, is east2" in said and "salt-run reprovision.plan east west" in said
    assert state_of(master, made["plan"]) == "outdated"
    assert "is outdated" in refused(master, "approve", made["plan"])
    assert world.journal() == [] and runs(master) == []


def test_facts_that_change_after_the_approval_stop_the_run_before_its_first_change(master, world):
    made = plan(master, "east")
    file = records(master) / "east/plans" / f"{made['plan']}.json"
    approved = {**made, "state": "approved", "expires": "2999-01-01T00:00:00Z",
                "decided": {"state": "approved", "who": "root", "reason": None, "at": made["made"]}}
    file.write_text(json.dumps(approved))
    switch_primary(world)
    said = master.salt_run_cli(timeout=180).run(
        "state.orch", "orch.reprovision", order(**made["binding"]["order"], plan=made["plan"]))
    assert said.returncode != 0 and "primaries:east was east1, is east2" in said.stdout
    assert "Nothing was changed." in said.stdout
    assert world.journal() == [] and runs(master) == [] and state_of(master, made["plan"]) == "refused"


def test_errors_make_no_plan_and_let_none_be_approved(master, world):
    world.change(faults={"west2 ssh": "fail"})
    assert "ssh: this is not allowed" in refused(master, "plan", "east")
    assert run(master, "plans")[0] == []
    world.change(faults={})
    made = plan(master, "east")
    world.change(faults={"west2 ssh": "fail"})
    assert "ssh: this is not allowed" in refused(master, "approve", made["plan"])
    # That may pass: the plan is still good.
    assert state_of(master, made["plan"]) == "open" and world.journal() == []


def test_what_is_denied_stays_denied(master, world):
    made = plan(master, "east", "why=the replicator of east1 is in error")
    assert made["why"] == "the replicator of east1 is in error"
    denied, code = run(master, "deny", made["plan"], "it was late")
    assert code == 0 and denied["decided"]["who"] == "root" and denied["decided"]["reason"] == "it was late"
    assert "is denied by root" in refused(master, "approve", made["plan"])
    assert plan(master, "east")["plan"] != made["plan"]
    assert world.journal() == []


def test_a_second_person(master, world, pillar_root):
    set_pillar(pillar_root, second_person=True)
    # Nothing runs without a plan.
    said = master.salt_run_cli(timeout=180).run("state.orch", "orch.reprovision")
    assert said.returncode != 0 and "second person has approved" in said.stdout and world.journal() == []
    made = plan(master, "east")
    assert "made by root; somebody else has to approve it" in refused(master, "approve", made["plan"])
    # No argument names somebody else.
    for forged in ("__user__=bob", "who=bob"):
        run(master, "approve", made["plan"], forged)
        assert state_of(master, made["plan"]) == "open" and world.journal() == []
    done = master.salt_run_cli(timeout=180).run("reprovision.approve", made["plan"], env={"SUDO_USER": "bob"})
    assert done.returncode == 0, done
    record = until_ended(master)
    assert record["state"] == "done" and record["attempts"][0]["who"] == "bob"
    (listed,) = run(master, "plans")[0]
    assert (listed["by"], listed["decided"]["who"]) == ("root", "bob")


def test_a_run_that_stops_goes_on_under_its_plan(master, world, pillar_root):
    set_pillar(pillar_root, second_person=True)
    made = plan(master, "east")
    world.change(faults={"east1 mysqld.stop": "lie"})
    master.salt_run_cli(timeout=180).run("reprovision.approve", made["plan"], env={"SUDO_USER": "bob"})
    record = until_ended(master)
    assert record["state"] == "failed" and record["plan_id"] == made["plan"]
    told = next(step["comment"] for step in record["steps"].values() if step["state"] == "failed")
    world.change(faults={})
    command = run(master, "status", "east")[0]["east"]["run"]["next"]
    pillar = json.loads(command.partition("pillar='")[2].rstrip("'"))
    assert pillar["reprovision"]["plan"] == made["plan"], told
    again = master.salt_run_cli(timeout=300).run("state.orch", "orch.reprovision", order(**pillar["reprovision"]))
    assert again.returncode == 0, again.stdout
    record = until_ended(master)
    assert record["state"] == "done" and len(record["attempts"]) == 2


@pytest.mark.parametrize("forged", ["../../etc/passwd", "nowhere-20260101T000000-1a2b"])
def test_forged_ids(master, world, forged):
    for function in ("approve", "deny"):
        said = refused(master, function, forged)
        assert "is not the id of a plan" in said or "There is no plan" in said
    assert not (records(master) / "nowhere").exists()
