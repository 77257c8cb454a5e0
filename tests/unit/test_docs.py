"""The pages hold: commands can be typed as they stand, links lead somewhere, YAML is a pillar, files are there."""

import configparser
import copy
import re

import pytest
import salt.config
import salt.utils.minions
import yaml
from salt.exceptions import SaltInvocationError

from tests.support import commands, pages
from tests.support.loader import ROOT, load

topology = load("_modules", "topology")

BLOCKS = [block for page in pages.PAGES for block in pages.blocks(page)]
TYPED = [(block, line) for block in BLOCKS if not block.language for line in block.text.splitlines() if line.strip()]
SALT = [(block, line) for block, line in TYPED if line.split()[0] in commands.PARSERS]
MENTIONED = [(pages.name(page), words) for page in pages.PAGES for words in pages.words_of_code(page)
             if words.split()[0] in commands.PARSERS and " " in words]
YAML = [block for block in BLOCKS if block.language == "yaml"]
EXECUTED = [path.read_text() for folder in ("integration", "lab") for path in (ROOT / "tests" / folder).rglob("*.py")]
# Every host has these.
OTHERS = {"git", "systemctl", "salt-pip", "python3"}
UNITS = {"salt-master", "salt-minion", "salt-api"}
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {".git"}
ALL_SITES = {
    "sites": {"east": {"nodes": ["east1", "east2", "east3"]}, "west": {"nodes": ["west1", "west2", "west3"]}},
    "reprovision": {"failed": "east", "definitive": "west"},
}


def merged(into, more):
    """As Salt merges pillar."""
    for key, value in more.items():
        into[key] = merged(into.get(key, {}), value) if isinstance(value, dict) else value
    return into


def is_executed(dotted):
    """Whether a test over real Salt calls it, by its name or with a helper that is for this module."""
    module, _, function = dotted.partition(".")
    helper, handed = f'f"{module}.{{function}}"', f'(master, "{function}"'
    return any(re.search(rf"\b{re.escape(dotted)}\b", text) or helper in text and handed in text
               for text in EXECUTED)


def test_the_pages_are_found():
    assert len(pages.PAGES) > 10 and len(SALT) > 30 and len(MENTIONED) > 20 and len(YAML) > 5


@pytest.mark.parametrize("block, line", SALT, ids=[f"{block.page}: {line}" for block, line in SALT])
def test_a_command_can_be_typed_as_it_stands(block, line):
    for kind, dotted, arguments in commands.called(line):
        given = commands.bound(kind, dotted, arguments)
        if dotted == "state.orch":
            assert (ROOT / f"{given['mods'].replace('.', '/')}.sls").exists()
            order = given.get("pillar") or {}
            topology.merge(copy.deepcopy(ALL_SITES), order.get("reprovision"))


@pytest.mark.parametrize("page, words", MENTIONED, ids=[f"{page}: {words}" for page, words in MENTIONED])
def test_what_is_mentioned_exists(page, words):
    for kind, dotted, arguments in commands.called(words):
        assert callable(commands.function(kind, dotted))
        # Without arguments it is a name, not a command.
        if arguments:
            assert commands.bound(kind, dotted, arguments)


@pytest.mark.parametrize("line", [
    "salt-run drift.check nonsense=1", "salt-run drift.chek", "salt-run --bogus drift.check", "salt east1 test.ping x",
    "salt-run reprovision.list_", "salt-run reprovision._exec", "salt-run state.orch orch.reprovision insist=True",
    "salt-run salt.cmd plans.lod x", "salt-run", "salt-run reprovision.approve",
])
def test_what_cannot_be_typed_is_found(line):
    with pytest.raises((commands.Wrong, SaltInvocationError)):
        for call in commands.called(line):
            commands.bound(*call)


def test_what_no_test_executes_says_so():
    for block in BLOCKS:
        never = sorted({dotted for other, line in SALT if other is block
                        for _, dotted, _ in commands.called(line) if not is_executed(dotted)})
        assert bool(never) == bool(block.excuse), (
            f"{block.page}: {never or block.text}: '<!-- not executed by a test: why -->' before it, or not any more")


@pytest.mark.parametrize("block, line", [each for each in TYPED if each not in SALT])
def test_other_commands(block, line):
    words = commands.words(line)
    assert words[0] in OTHERS or words[0].startswith("tests/"), f"{block.page}: what is {words[0]}?"
    if words[0] == "systemctl":
        assert set(words[2:]) <= UNITS


SCRIPTS = [(pages.name(page), words) for page in pages.PAGES for words in pages.words_of_code(page)
           if re.match(r"(python3 )?tests/\S*", words)] + [
    (block.page, line) for block, line in TYPED if re.match(r"(python3 )?tests/", line)]


@pytest.mark.parametrize("page, words", SCRIPTS, ids=[f"{page}: {words}" for page, words in SCRIPTS])
def test_a_script_has_the_options_that_it_is_said_to_have(page, words):
    path, *rest = words.removeprefix("python3 ").split("#")[0].replace("[", "").replace("]", "").split()
    if not rest:
        return
    text = (ROOT / path).read_text()
    # What it starts has them.
    text += "".join((ROOT / other).read_text() for other in re.findall(r"tests/[\w/]+\.py", text))
    own = rest[:rest.index("HOST")] if "HOST" in rest else rest
    assert [word for word in own if word.startswith("--") and f'"{word}"' not in text and f" {word}" not in text] == []


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_links_lead_somewhere(page):
    for target in pages.links(page):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in pages.anchors(there), target


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_files_that_are_named_are_there(page):
    for words in pages.words_of_code(page):
        path = re.match(r"(?:python3 )?((?:[\w.-]+/)+[\w.*-]*)", words)
        if not path or "<" in words:
            continue
        first = path[1].partition("/")[0]
        beside = first in {each.name for each in page.parent.iterdir() if each.is_dir()}
        if first in FOLDERS or beside:
            assert list(ROOT.glob(path[1])) or list(page.parent.glob(path[1])), f"{page.name}: {words}"


@pytest.mark.parametrize("block", YAML, ids=[block.page for block in YAML])
def test_yaml_is_what_it_is_said_to_be(block):
    words = yaml.safe_load(block.text)
    assert isinstance(words, dict)
    if "tungsten" in words:
        # What tells of no site is an addition to a pillar.
        around = {} if "sites" in words["tungsten"] else copy.deepcopy(ALL_SITES)
        assert topology.validate(merged(around, words["tungsten"]))["faults"] == []
    for reaction in words.get("reactor", ()):
        for files in reaction.values():
            assert [file for file in files if not (ROOT / file.removeprefix("salt://")).exists()] == []


def test_each_pillar_of_the_quickstart_is_whole():
    found = [yaml.safe_load(block.text) for block in YAML if block.page == "docs/quickstart.md"]
    pillars = [words["tungsten"] for words in found if "tungsten" in words]
    assert len(pillars) == 2
    for tungsten in pillars:
        order = topology.merge(tungsten, None)["reprovision"]
        assert (order["failed"], order["definitive"]) == ("east", "west")
    (top,) = [words["base"] for words in found if "base" in words]
    assert top == yaml.safe_load((ROOT / "pillar/top.sls").read_text())["base"]


def allowed(words):
    """Every function that an access list of a page allows, with the kind of it."""
    for people in words.get("external_auth", {}).values():
        for functions in people.values():
            for each in functions:
                for kind, names in (each if isinstance(each, dict) else {"_modules": [each]}).items():
                    yield from (("_runners" if kind == "@runner" else kind, name) for name in names)
    for functions in words.get("publisher_acl", {}).values():
        yield from (("_modules", name) for name in functions)


OWN = {kind: [f"{path.stem}.{name}" for path in sorted((ROOT / kind).glob("*.py"))
              for name in commands.offered(kind, path.stem)] for kind in ("_modules", "_runners")}
# Salt's own and this project's: who may call one of these may do everything.
EVERYTHING = ["state.orchestrate", "state.orch", "state.apply", "salt.cmd", "saltutil.sync_all", "cmd.run",
              "mysqld.query", "longjob.start", "cctrl.session", "datadir.empty"]


def test_each_entry_of_an_access_list_allows_one_function_of_this_project():
    entries = [entry for block in YAML for entry in allowed(yaml.safe_load(block.text))]
    assert len(entries) > 20
    for kind, expression in entries:
        # As Salt does it: from the beginning, not to the end.
        assert len([dotted for dotted in OWN[kind] if re.match(expression, dotted)]) == 1, expression
        assert [dotted for dotted in EVERYTHING if re.match(expression, dotted)] == [], expression


def test_salt_itself_lets_the_people_of_the_security_page_do_what_it_says():
    page = [yaml.safe_load(block.text) for block in YAML if block.page == "docs/security.md"]
    (people,) = [words["external_auth"]["pam"] for words in page if "external_auth" in words]
    allows = salt.utils.minions.CkMinions({**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}).runner_check
    functions, nothing = [*OWN["_runners"], *EVERYTHING], {"arg": [], "kwarg": {}}
    may = {who: {dotted for dotted in functions if allows(entries, dotted, nothing)} for who, entries in people.items()}
    look = {"drift.show", *(f"reprovision.{name}" for name in (
        "status", "preflight", "plans", "plan_record", "list", "record", "report", "reported", "watch"))}
    assert may == {
        "watcher": look, "alice": look | {"drift.check", "drift.save", "reprovision.plan"},
        "bob": look | {"reprovision.approve", "reprovision.deny", "reprovision.abort"}}


def test_the_wheel_is_called_as_pip_calls_it():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for page in pages.PAGES:
        named = re.findall(r"tungsten_reprovision-([\d.]+)-py3", page.read_text())
        assert set(named) <= {setup["metadata"]["version"]}, page.name


EVENTS = (ROOT / "docs/events.md").read_text()


def tags(text, around):
    """Tags of events, with <> for what differs from one to the next."""
    return {re.sub(r"<[^>]*>|\{[^}]*\}", "<>", tag) for tag in re.findall(around, text)}


def test_every_tag_that_the_code_fires_is_told():
    code = "\n".join(path.read_text() for folder in ("_modules", "_states", "_runners", "_beacons")
                     for path in sorted((ROOT / folder).glob("*.py")))
    fired = tags(code, r'f"((?:salt/reprovision|tungsten/drift)/[^"]*)"')
    assert len(fired) >= 4
    told = tags(EVENTS, r"`((?:salt/reprovision|tungsten/drift)/[^`]*)`")
    # A step's last part is told one by one.
    told |= {"salt/reprovision/<>/<>/<>/<>"} if {
        f"salt/reprovision/<>/<>/<>/{what}" for what in ("start", "progress", "done", "failed")} <= told else set()
    assert fired <= told


def test_every_runner_is_told_with_its_exit_code_and_its_json():
    json_part = EVENTS.partition("## What `--out=json` gives")[2]
    assert [dotted for dotted in OWN["_runners"] if f"`{dotted}`" not in json_part] == []
