"""docs/configuration.md: its tables say what the schema, the code and the beacon say."""

import copy
import json
import re

import jsonschema
import pytest

from tests.support import configuration
from tests.support.loader import ROOT, load

SCHEMA = json.loads(configuration.SCHEMA.read_text())
PAGE = configuration.PAGE.read_text()
topology = load("_modules", "topology")
beacon = load("_beacons", "tungsten_drift")

GOOD = {
    "sites": {"east": {"nodes": ["east1", "east2", "east3"]}, "west": {"nodes": ["west1", "west2", "west3"]}},
    "reprovision": {"failed": "east", "definitive": "west"},
}
KEYS = [(section, key, value) for section, _ in configuration.SECTIONS
        for key, value in configuration.leaves(SCHEMA, SCHEMA["$defs"][section]["properties"])]
# Salt's own, which every extension reads.
INNER = {"__role", "test"}


def test_the_page_is_what_the_script_writes():
    assert PAGE == configuration.page(PAGE, SCHEMA), "python3 tests/support/configuration.py"


def test_a_page_without_its_marks_is_refused():
    with pytest.raises(SystemExit, match="has lost the lines"):
        configuration.page("# Every key\n", SCHEMA)


@pytest.mark.parametrize("section, key, value", KEYS, ids=[f"{section}:{key}" for section, key, _ in KEYS])
def test_every_example_may_stand_there(section, key, value):
    assert value["description"].endswith((".", "**")) and value["examples"]
    for example in value["examples"]:
        tungsten = copy.deepcopy(GOOD)
        where = tungsten["sites"]["east"] if section == "site" else tungsten.setdefault(section, {})
        *parents, last = key.split(":")
        for parent in parents:
            where = where.setdefault(parent, {})
        where[last] = example
        assert topology.validate(tungsten)["faults"] == []
        assert jsonschema.Draft202012Validator(SCHEMA).is_valid(tungsten)


def test_what_is_for_one_run_is_called_so():
    told = {key for section, key, value in KEYS if value["description"].startswith("For one run only:")}
    assert told == set(topology.ORDER_ONLY)


def test_every_key_of_salts_configuration_that_the_code_reads_is_told():
    code = "\n".join(path.read_text() for folder in ("_modules", "_states", "_runners", "_beacons", "_output")
                     for path in sorted((ROOT / folder).glob("*.py")))
    read = {a or b for a, b in re.findall(r'__opts__(?:\["(\w+)"\]|\.get\("(\w+)")', code)} - INNER
    assert read >= {"cachedir", "conf_file", "id"}
    assert "config.get" not in code and "config.option" not in code
    assert [key for key in sorted(read) if f"`{key}`" not in PAGE] == []


@pytest.mark.parametrize("page", ["configuration", "beacon"])
def test_the_beacons_defaults_and_limits(page):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    for key, (default, least, most) in beacon.LIMITS.items():
        row = re.search(rf"^\| `{key}` \|(.*)$", text, re.MULTILINE)[1]
        assert re.search(rf"\b{default}\b", row), row
        if page == "configuration":
            assert f"whole number, {least} to {most}" in row
