"""From an event to what comes of it: forged ones, a storm of them, a plan that a person approves, and nobody typing."""

import json
import time
from pathlib import Path

import demo
import pytest
from labkit import configure, data, hosts, invariants, salt
from labkit.plan import MASTER

from test_reprovision import prove

NODES = 2
FAILED, DEFINITIVE = demo.FAILED, demo.DEFINITIVE
STORM = 1000
# Each is the end of a tag, and names no site.
FORGED = ("nowhere", "east;reboot", "$(reboot)", "{{ 7*7 }}", "{% raw %}", "../east", "east/../west", 'east"\nx: y', "")


def pillar(lab, **on_drift):
    # The least cool-down there is, so that each test's events count.
    configure.pillar(lab, lab.root(MASTER), on_drift, drift={"cooldown": 0, "share": 100})


def send(lab, node, tag, count=1, size=0, payload=None):
    script = lab.root(node) / "root/events.py"
    script.write_text((Path(__file__).parent / "events.py").read_text())
    done = hosts.execute(
        lab, node, ["/opt/salt/bin/python3", "/root/events.py", str(count), str(size), tag, json.dumps(payload or {})],
        capture=True, timeout=300)
    assert done.stdout.split()[-1] == str(count), done.stderr


def plans(lab):
    return salt.answer(lab, ["salt-run", "reprovision.plans", "--out=json"])[1] or []


def reported(lab, site=FAILED):
    path = lab.root(MASTER) / invariants.RECORDS / site / "drift.json"
    return json.loads(path.read_text()) if path.exists() else None


def looked_at(lab, before, site=FAILED, timeout=300):
    """What the look has found that an event has set off."""
    deadline = time.monotonic() + timeout
    while (note := reported(lab, site)) == before:
        assert time.monotonic() < deadline, "no look came to its end"
        time.sleep(0.5)
    return note


def cool_down():
    time.sleep(11)


def test_forged_events_do_nothing(lab):
    pillar(lab, east="reprovision", west="reprovision")
    before = data.cluster(lab)
    for name in FORGED:
        send(lab, "west1", f"tungsten/drift/{name}")
    lies = {"failed": DEFINITIVE, "definitive": FAILED, "donor": "east2", "insist": True, "proved": True}
    send(lab, "west1", f"tungsten/drift/{DEFINITIVE}", payload=lies)
    assert "does not name this site as failed" in looked_at(lab, None, DEFINITIVE)["decision"]
    # The site that the pillar calls failed is looked at, and found to be well: its event comes with a megabyte of lies.
    send(lab, "west1", f"tungsten/drift/{FAILED}", size=1_000_000, payload=lies)
    note = looked_at(lab, None)
    assert note["proved"] is False and "no drift is proved" in note["decision"]
    assert plans(lab) == [] and invariants.records(lab, FAILED) == [] and invariants.records(lab, DEFINITIVE) == []
    assert data.cluster(lab) == before
    folders = {path.name for path in (lab.root(MASTER) / invariants.RECORDS).iterdir()}
    assert folders <= {FAILED, DEFINITIVE, "_checks"}


def test_a_storm_of_events_makes_one_plan_and_the_master_answers(lab):
    pillar(lab, east="plan")
    data.make_drift(lab, FAILED, lab.rows)
    before = reported(lab)
    cool_down()
    send(lab, "east2", f"tungsten/drift/{FAILED}", count=STORM)
    answers = salt.call(lab, ["salt", "*", "test.ping", "--static", "--timeout=20", "--out=json"])
    assert answers == dict.fromkeys(lab.hosts()[1:], True)
    note = looked_at(lab, before)
    assert note["proved"] is True and note["decision"] == "a plan was made; a person must approve it"
    cool_down()
    send(lab, "east1", f"tungsten/drift/{FAILED}", count=STORM // 20)
    note = looked_at(lab, note)
    assert f"plan {note['plan']} is open" in note["decision"]
    (plan,) = plans(lab)
    assert (plan["plan"], plan["state"], plan["by"]) == (note["plan"], "open", "event")
    assert invariants.records(lab, FAILED) == []


def test_the_plan_tells_what_would_be_lost(lab):
    (plan,) = plans(lab)
    code, held, said = salt.answer(lab, ["salt-run", "reprovision.plan", FAILED, "--out=json"])
    assert code == 0 and held["plan"] == plan["plan"], "the same facts are the same plan"
    assert held["lost"]["rows"]["tables"]["shop.payments"]["extra"] >= 1
    assert {step["step"] for step in held["steps"]} >= {"08 data locations emptied", "16 replicas provisioned"}
    assert all(size["used"] > 40_000_000 for size in held["sizes"].values())
    assert held["plan"] in said


def test_approved_it_is_carried_out(lab):
    identities = data.identity(lab, "east1")
    (plan,) = plans(lab)
    code, started, said = salt.answer(lab, ["salt-run", "reprovision.approve", plan["plan"], "--out=json"])
    assert code == 0, said
    demo.watch(lab)
    (record,) = invariants.records(lab, FAILED)
    assert (record["state"], record["plan_id"]) == ("done", plan["plan"])
    assert plans(lab)[0]["state"] == "used" and plans(lab)[0]["run"] == record["run"]
    again = hosts.execute(lab, MASTER, ["salt-run", "reprovision.approve", plan["plan"]], capture=True, timeout=120)
    assert again.returncode and f"is used by run {record['run']}" in again.stdout + again.stderr
    prove(lab, identities)


@pytest.fixture
def beacon(lab):
    """The beacon of the examples on a node of the failed site, but for its times."""
    path = lab.root("east1") / "etc/salt/minion.d/tungsten_drift.conf"
    text = (Path(lab.repository) / "examples/beacons/tungsten_drift.conf").read_text()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.replace("interval: 60", "interval: 2").replace("confirm: 3", "confirm: 2"))
    hosts.execute(lab, "east1", ["systemctl", "restart", "salt-minion"], capture=True)
    salt.ready(lab)
    yield
    path.unlink()
    hosts.execute(lab, "east1", ["systemctl", "restart", "salt-minion"], capture=True)


def test_from_the_beacon_to_a_healthy_site_with_nobody_typing(lab, beacon):
    pillar(lab, east="reprovision")
    identities, known, before = data.identity(lab, "east1"), len(invariants.records(lab, FAILED)), reported(lab)
    lost = int(lab.rows * data.LOADED_SHARE) + 50
    for node in lab.site_nodes()[FAILED]:
        data.sql(lab, node, f"SET sql_log_bin=0; DELETE FROM shop.orders WHERE id = {lost};")
    # Now the definitive site changes a row that the failed one has not: its replicators stop there.
    data.sql(lab, "west1", f"UPDATE shop.orders SET amount = amount + 1 WHERE id = {lost};")
    demo.watch(lab, wait=300)
    note = looked_at(lab, before)
    assert note["proved"] is True and "OFFLINE:ERROR" in note["why"], note
    assert note["decision"].endswith("approved and started as job " + note["decision"].split()[-1])
    record = invariants.records(lab, FAILED)[-1]
    assert len(invariants.records(lab, FAILED)) == known + 1 and record["state"] == "done"
    assert [plan["by"] for plan in plans(lab) if plan["run"] == record["run"]] == ["event"]
    prove(lab, identities)
