"""The wheel that setup.cfg makes: installed beside Salt, it gives Salt's loader all that the tree has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import wheel
from tests.support.loader import ROOT, load

# They say that they are not available where there is no systemd, or nothing that dumps a database.
NEEDY = {"longjob", "rowsave"}
# What Salt itself says that it has, asked in another process, whose Salt has never seen the tree.
ASK = """
import json, sys
import salt.config, salt.loader
root = sys.argv[1]
def options(read, **more):
    found = read(None)
    found.update(root_dir=root, cachedir=f"{root}/cache", extension_modules=f"{root}/ext", file_client="local", **more)
    found["grains"] = salt.loader.grains(found)
    return found
minion, master = options(salt.config.minion_config, id="east1"), options(salt.config.master_config, __role="master")
modules, masters = salt.loader.minion_mods(minion), salt.loader.minion_mods(master)
loaded = {
    "minion's modules": modules, "master's modules": masters,
    "minion's states": salt.loader.states(minion, modules, None, None),
    "master's states": salt.loader.states(master, masters, None, None),
    "runners": salt.loader.runner(master), "beacons": salt.loader.beacons(minion, modules),
    "outputters": salt.loader.outputters(master),
}
print(json.dumps({
    **{kind: sorted(functions) for kind, functions in loaded.items()},
    "digest": modules["readiness.extension"]()["digest"],
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The directory into which pip has put the wheel."""
    home = tmp_path_factory.mktemp("wheel")
    wheel.pip("install", "--no-deps", "--target", home / "site", wheel.build(home))
    return home / "site"


@pytest.fixture(scope="module")
def loaded(installed, tmp_path_factory):
    asked = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path_factory.mktemp("salt"))], cwd="/",
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    return json.loads(asked.stdout.splitlines()[-1])


def stems(folder):
    return {path.stem for path in (ROOT / folder).glob("*.py")}


def names(functions):
    return {function.partition(".")[0] for function in functions}


def test_every_module_is_for_the_minion_or_for_the_master(loaded):
    missing = stems("_modules") - names(loaded["minion's modules"]) - names(loaded["master's modules"])
    assert missing <= NEEDY
    assert "cctrl.ls" in loaded["minion's modules"] and "survey.take" not in loaded["minion's modules"]
    assert "survey.take" in loaded["master's modules"]


def test_every_state_is(loaded):
    assert stems("_states") <= names(loaded["minion's states"]) | names(loaded["master's states"])
    assert "reprovision.step" in loaded["master's states"] and "datadir.emptied" in loaded["minion's states"]


@pytest.mark.parametrize("folder, kind", [
    ("_runners", "runners"), ("_beacons", "beacons"), ("_output", "outputters")])
def test_so_are_the_runners_the_beacon_and_the_outputters(loaded, folder, kind):
    assert stems(folder) <= names(loaded[kind])


def test_it_is_the_trees_own_code(loaded):
    """Minions that have the wheel and a master that has synced are at one, and the preflight lets them."""
    assert loaded["digest"] == load("_modules", "readiness").extension()["digest"]


def test_orchestration_reactor_and_dashboard_come_along(installed):
    files = installed / "tungsten_reprovision/files"
    there = {str(path.relative_to(files)) for path in files.rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert there == {str(path.relative_to(ROOT)) for folder, kind in (
        ("orch", "*.sls"), ("reactor", "*.sls"), ("dashboard", "*.*")) for path in (ROOT / folder).rglob(kind)}
    assert {"orch/reprovision.sls", "dashboard/index.html"} <= there


def test_nothing_else_is_installed(installed):
    assert {path.name for path in Path(installed).iterdir() if path.suffix != ".dist-info"} == {"tungsten_reprovision"}
