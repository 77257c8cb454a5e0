"""reprovision.status and .report over real Salt: what they show, for people and for programs."""

import json
from pathlib import Path


def status(master, *arguments):
    return master.salt_run_cli(timeout=120).run("reprovision.status", *arguments)


def as_json(master, *arguments):
    """The whole of stdout has to be JSON: no picture, no colour."""
    done = status(master, *arguments, "--out=json", "--force-color")
    assert done.returncode == 0
    return json.loads(done.stdout)


def test_healthy_sites_for_programs_and_for_people(master, world):
    shown = as_json(master)
    assert list(shown) == ["east", "west"]
    for site, view in shown.items():
        assert (view["policy"], view["primary"], view["wrong"], view["run"]) == ("AUTOMATIC", f"{site}1", [], None)
        assert view["routers"] == {f"connector@{site}{number}": "ONLINE" for number in (1, 2)}
        assert {node["datasource"] for node in view["nodes"].values()} == {"ONLINE"}
        assert all(set(node["services"]) == {"east", "west"} for node in view["nodes"].values())
    # salt-factories asks for JSON unless it is told otherwise.
    lines = status(master, "--out=tungsten_sites").stdout.splitlines()
    assert "east  policy AUTOMATIC   primary east1   routers 2 of 2 ONLINE" in lines
    assert "  east2  slave   ONLINE  mysql ONLINE  east ONLINE 5 ?  west ONLINE 5 ?" in lines
    assert world.journal() == []


def test_what_is_wrong_is_said_in_words(master, world, minions):
    state = world.read()
    state["sites"]["east"]["policy"] = "MAINTENANCE"
    state["sites"]["east"]["datasources"]["east2"]["state"] = "SHUNNED(MANUALLY-SHUNNED)"
    state["nodes"]["east2"]["cross_site"]["west"] = {
        "state": "OFFLINE:ERROR", "pendingError": "Event application failed: seqno=6"}
    world.write(state)
    minions["west2"].terminate()
    try:
        shown = as_json(master)
    finally:
        minions["west2"].start(start_timeout=120)
    assert shown["east"]["wrong"] == [
        "east: its policy is MAINTENANCE, so nothing recovers by itself",
        "east2: its datasource is SHUNNED (MANUALLY-SHUNNED)",
        "east2: service west is OFFLINE:ERROR: Event application failed: seqno=6",
    ]
    assert shown["west"]["wrong"] == ["west2: does not answer nodeview.look (salt west2 test.ping)"]
    assert shown["west"]["policy"] == "AUTOMATIC" and shown["west"]["nodes"]["west2"]["services"] == {}


def test_of_one_site_and_of_none_that_the_pillar_does_not_name(master, world):
    assert list(as_json(master, "west")) == ["west"]
    refused = status(master, "nowhere")
    assert refused.returncode != 0 and "is not one of the sites east, west" in refused.stdout + refused.stderr


def test_a_report_of_a_run_for_a_ticket_for_programs_and_as_a_page(master, world):
    assert master.salt_run_cli(timeout=300).run("state.orch", "orch.reprovision").returncode == 0
    done = master.salt_run_cli(timeout=60).run("reprovision.report", "east", "page=True")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert (report["state"], report["donor"], len(report["steps"])) == ("done", "west2", 24)
    assert {step["state"] for step in report["steps"]} == {"done"}
    (outage,) = report["donor_out"]
    taken, given_back = (next(step for step in report["steps"] if step["name"].startswith(number))
                         for number in ("06", "11"))
    assert outage["from"] <= taken["started"] and outage["until"] >= given_back["started"]
    said = {each["node"] for step in report["steps"] for each in step["said"]}
    assert {"east1", "east2", "west1", "west2"} <= said
    assert Path(report["page"]).read_text().startswith("<!DOCTYPE html>")
    text = master.salt_run_cli(timeout=60).run("reprovision.report", "east", "--out=tungsten_report").stdout
    assert text.startswith("Site east is re-provisioned and verified") and "out of service from" in text
