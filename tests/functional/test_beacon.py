"""The beacon as Salt runs it: found in its folder, over the real modules, against a trepctl that only prints."""

import json
import os
import shutil
from pathlib import Path

import pytest
import salt.beacons
import salt.config
import salt.loader
import yaml

ROOT = Path(__file__).resolve().parents[2]
# What the modules write to is here below the test's own folder.
REMEMBERED = {"hostrecord": ("/var/lib/reprovision", "lib"), "vendorlog": ("/var/log/reprovision", "log")}
RECORDED = ROOT / "tests" / "fixtures" / "trepctl-recordings.jsonl"
# What cmd.run_all reads.
GRAINS = {"id": "west1", "os": "Debian", "os_family": "Debian", "kernel": "Linux", "shell": "/bin/sh"}
TREPCTL = """#!/bin/sh
echo "$*" >> {calls}
[ -f {answer} ] || {{ echo "Connection failed: A component of type 'replicator' is not available."; exit 1; }}
cat {answer}
"""
# Salt's own would want a minion's event bus.
EVENT = """
import json


def send(tag, data=None):
    with open({sent!r}, "a", encoding="utf-8") as stream:
        stream.write(json.dumps([tag, data]) + "\\n")
    return True
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs trepctl as another user, as root")


def recorded(name):
    for line in RECORDED.read_text(encoding="utf-8").splitlines():
        made = json.loads(line)
        if made["name"] == name:
            return made["stdout"]
    raise LookupError(name)


class Minion:
    def __init__(self, root):
        self.root = root
        self.answer, self.calls, self.sent = root / "answer", root / "calls", root / "sent"
        self.config = [{"confirm": 2}]
        modules = root / "modules"
        shutil.copytree(ROOT / "_modules", modules, ignore=shutil.ignore_patterns("__pycache__"))
        for name, (path, own) in REMEMBERED.items():
            text = (modules / f"{name}.py").read_text(encoding="utf-8")
            assert text.count(path) == 1
            (modules / f"{name}.py").write_text(text.replace(path, str(root / own)), encoding="utf-8")
        fakes = root / "fakes"
        fakes.mkdir()
        (fakes / "event.py").write_text(EVENT.format(sent=str(self.sent)), encoding="utf-8")
        program = root / "replicator/tungsten/tungsten-replicator/bin/trepctl"
        program.parent.mkdir(parents=True)
        program.write_text(TREPCTL.format(calls=self.calls, answer=self.answer), encoding="utf-8")
        program.chmod(0o755)
        self.opts = salt.config.DEFAULT_MINION_OPTS.copy()
        sites = {
            "west": {"nodes": ["west1"], "user": "root", "cross_site_home": str(root / "replicator")},
            "east": {"nodes": ["east1"]},
        }
        self.opts.update(
            id="west1", root_dir=str(root), cachedir=str(root / "cache"), extension_modules=str(root / "extmods"),
            pki_dir=str(root / "pki"), sock_dir=str(root / "run"), conf_file=str(root / "minion"),
            file_client="local", grains=dict(GRAINS), pillar={"tungsten": {"sites": sites}},
            module_dirs=[str(fakes), str(modules)], beacons_dirs=[str(ROOT / "_beacons")],
        )  # fmt: skip
        self.start()

    def start(self):
        """What Salt does at its start, and with the beacons at each refresh."""
        functions = salt.loader.minion_mods(self.opts, loaded_base_name="reprovision.beacon")
        self.beacons = salt.beacons.Beacon(self.opts, functions, interval_map={})

    def look(self, name="tungsten_drift"):
        return self.beacons.process({name: [dict(item) for item in self.config]}, self.opts["grains"])

    def says(self, recording):
        self.answer.write_text(recorded(recording), encoding="utf-8")

    def fired(self):
        return [json.loads(line) for line in self.sent.read_text().splitlines()] if self.sent.exists() else []


@pytest.fixture
def minion(tmp_path):
    return Minion(tmp_path)


def test_salt_finds_it_and_offers_nothing_else(minion):
    offered = {name for name in minion.beacons.beacons if name.startswith("tungsten_drift.")}
    assert offered == {"tungsten_drift.beacon", "tungsten_drift.validate"}


def test_an_error_becomes_an_event_and_one_for_the_reactor(minion):
    minion.says("230-error-services-full-json")
    assert minion.look() == []
    (event,) = minion.look()
    assert event["tag"] == "salt/beacon/west1/tungsten_drift/west" and event["beacon_name"] == "tungsten_drift"
    assert event["data"]["what"].startswith("service east is OFFLINE:ERROR: Event application failed: seqno=3")
    assert {key: event["data"][key] for key in ("id", "site", "service", "sign", "data", "confirmed")} == {
        "id": "west1", "site": "west", "service": "east", "sign": "error", "data": True, "confirmed": 2}  # fmt: skip
    assert minion.fired() == [["tungsten/drift/west", {"service": "east", "sign": "error"}]]
    assert [minion.look() for _ in range(5)] == [[]] * 5 and len(minion.fired()) == 1
    assert minion.calls.read_text().splitlines() == ["-retry 0 services -full -json"] * 7


def test_its_memory_survives_a_look_and_a_refresh(minion):
    minion.says("230-error-services-full-json")
    minion.look(), minion.look()
    minion.start()
    minion.look(), minion.look()
    assert len(minion.fired()) == 1
    minion.answer.write_text(minion.answer.read_text().replace("OFFLINE:ERROR", "ONLINE"), encoding="utf-8")
    minion.start()
    assert minion.look() == []
    assert [event["data"]["sign"] for event in minion.look()] == ["well"]
    assert (minion.root / "lib/drift-told.json").stat().st_mode & 0o077 == 0


def test_a_replicator_that_does_not_run(minion):
    minion.look()
    (event,) = minion.look()
    assert event["data"]["sign"] == "silent" and "the replicator does not run" in event["data"]["what"]


@pytest.mark.parametrize("recording, sign", [
    ("195-services-full-json-unloaded", "unloaded"), ("323-empty-services-json", "vanished"),
])
def test_other_signs(minion, recording, sign):
    minion.says(recording)
    minion.look()
    assert [event["data"]["sign"] for event in minion.look()] == [sign]


def test_a_minion_that_is_in_no_site(minion):
    minion.opts["grains"] = {**GRAINS, "id": "db9"}
    minion.start()
    minion.says("230-error-services-full-json")
    assert [minion.look() for _ in range(4)] == [[]] * 4
    assert not minion.calls.exists() and minion.fired() == []


def test_an_interval_counts_salts_rounds(minion):
    minion.says("230-error-services-full-json")
    minion.config = [{"interval": 5}, {"confirm": 2}]
    assert sum(len(minion.look()) for _ in range(26)) == 1
    assert len(minion.calls.read_text().splitlines()) == 5


def test_a_bad_configuration_does_nothing(minion):
    minion.says("230-error-services-full-json")
    minion.config = [{"confirm": 0}]
    assert [minion.look() for _ in range(3)] == [[]] * 3
    assert not minion.calls.exists()


def test_under_another_name(minion):
    minion.says("230-error-services-full-json")
    minion.config = [{"beacon_module": "tungsten_drift"}, {"confirm": 1}]
    assert [event["tag"] for event in minion.look("watch")] == ["salt/beacon/west1/watch/west"]


def test_without_the_modules_it_does_not_load(minion):
    minion.opts["module_dirs"] = []
    minion.start()
    assert "tungsten_drift.beacon" not in minion.beacons.beacons
    assert "trepctl.services not available here" in minion.beacons.beacons.missing_fun_string("tungsten_drift.beacon")


def test_the_example_is_a_good_one(minion):
    text = (ROOT / "examples/beacons/tungsten_drift.conf").read_text(encoding="utf-8")
    config = yaml.safe_load(text)["beacons"]["tungsten_drift"]
    assert minion.beacons.beacons["tungsten_drift.validate"](config) == (True, "Valid beacon configuration")
    assert {"interval", "latency", "confirm", "heartbeat", "timeout"} <= {key for item in config for key in item}
    minion.says("230-error-services-full-json")
    minion.config = config
    assert [minion.look() for _ in range(3)] == [[]] * 3
