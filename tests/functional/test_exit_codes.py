"""What salt-run ends with, and what it prints as JSON, as docs/events.md tells it. No daemon is needed for these."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.loader import ROOT

SITES = {"east": {"nodes": ["east1"]}, "west": {"nodes": ["west1"]}}


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """The configuration of a master that does not run, with this project synced and a pillar of two sites."""
    root = tmp_path_factory.mktemp("master")
    # A copy, so that Salt need not walk the whole tree.
    for folder in ("_modules", "_states", "_runners", "_output", "orch"):
        shutil.copytree(ROOT / folder, root / "tree" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("pillar", "var/cache/salt/master/proc", "var/run/salt/master"):
        (root / folder).mkdir(parents=True)
    order = {"failed": "east", "definitive": "west"}
    for name, words in (("top", {"base": {"*": ["tungsten"]}}),
                        ("tungsten", {"tungsten": {"sites": SITES, "reprovision": order}})):
        (root / f"pillar/{name}.sls").write_text(yaml.safe_dump(words))
    (root / "master").write_text(yaml.safe_dump({
        "root_dir": str(root), "id": "here_master", "log_level": "quiet",
        "file_roots": {"base": [str(root / "tree")]}, "pillar_roots": {"base": [str(root / "pillar")]}}))
    code, found = salt_run(root, "saltutil.sync_all")
    assert code == 0 and "runners.reprovision" in found["runners"]
    return root


def salt_run(root, *words):
    """Exit code, and what was printed, which has to be JSON as a whole."""
    program = Path(sys.executable).with_name("salt-run")
    done = subprocess.run([program, "-c", root, *words, "--out=json"], capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("words, answer", [
    (("reprovision.status", "nodes=False"), {"east": {"run": None}, "west": {"run": None}}),
    (("drift.react", "nowhere"), {"site": "nowhere", "decision": "nothing: it is none of the sites east, west"}),
], ids=["status", "react"])
def test_an_answer_is_json_and_0(master, words, answer):
    assert salt_run(master, *words) == (0, answer)


def test_an_error_is_a_text_whose_last_line_says_what_is_wrong_and_1(master):
    code, text = salt_run(master, "reprovision.record", "east")
    assert code == 1 and text.rstrip().endswith("There is no record of a run for site east")


@pytest.mark.parametrize("words", [("drift.chek",), ("drift.check", "nonsense=1")], ids=" ".join)
def test_what_is_misspelt_is_no_error_to_salt(master, words):
    """docs/events.md warns of it: a script has to look at what was printed."""
    code, answer = salt_run(master, *words)
    assert code == 0
    # No function of that name; of one that takes no such argument it shows the help.
    assert "is not available" in str(answer) or "Compare the data of the sites" in str(answer)


def test_an_orchestration_that_is_refused_ends_with_1(master):
    code, answer = salt_run(master, "state.orch", "orch.reprovision", "test=True")
    states = sorted(answer["data"]["here_master"].values(), key=lambda state: state["__run_num__"])
    # Nobody can ask the nodes.
    assert code == 1 and len(states) == 26 and states[0]["comment"].endswith("Nothing was changed.")
