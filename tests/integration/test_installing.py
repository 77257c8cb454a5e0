"""Every way to bring the code to a master and its minions, with real daemons: gitfs, a wheel, both; and rid of it."""

import json
import shutil
import subprocess
import sys
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import salt
import yaml

from tests.integration.conftest import QUIET, records
from tests.support import wheel
from tests.support.loader import ROOT

CODE = ("_modules", "_states", "_runners", "_beacons", "_output")
SERVED = (*CODE, "orch", "reactor")
ORCHESTRATION = "orch/reprovision.sls"


# --- the ways


class Environment:
    """A Python environment that has the Salt of the tests, and what is installed into it."""

    def __init__(self, home):
        venv.create(home)
        self.python = home / "bin/python"
        (self.site,) = home.glob("lib/python3*/site-packages")
        (self.site / "salt.pth").write_text(f"{salt.__path__[0].rpartition('/')[0]}\n")

    def pip(self, *words):
        wheel.pip("--python", self.python, *words)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    made = Environment(tmp_path_factory.mktemp("environment"))
    made.pip("install", "--no-deps", wheel.build(tmp_path_factory.mktemp("wheel")))
    return made


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    tree = tmp_path_factory.mktemp("checkout")
    for folder in SERVED:
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tree


@pytest.fixture(scope="module")
def repository(checkout, tmp_path_factory):
    """A bare one, whose tag v1 is this tree and whose branch has gone on to something that cannot work."""
    bare = tmp_path_factory.mktemp("repository") / "reprovision.git"

    def git(*words):
        author = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *author, *map(str, words)], cwd=checkout, check=True, stdout=subprocess.DEVNULL)

    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("commit", "--quiet", "--message=Released")
    git("tag", "v1")
    git("rm", "--quiet", ORCHESTRATION)
    git("commit", "--quiet", "--message=Not yet released")
    git("clone", "--quiet", "--bare", ".", bare)
    git("checkout", "--quiet", "v1")
    return f"file://{bare}"


# --- the daemons


@contextmanager
def started(factories, name, settings, minions, python=None):
    """A master and one minion a site: ``minions`` is {id: the Python it runs on, None for the tests' own}."""
    pillar = factories.tmp_root_dir / f"{name}-pillar"
    pillar.mkdir()
    sites = {site: {"nodes": {f"{site}1": minion}, "user": "root"} for site, minion in zip(("east", "west"), minions)}
    order = {"failed": "east", "definitive": "west"}
    (pillar / "top.sls").write_text(json.dumps({"base": {"*": ["tungsten"]}}))
    (pillar / "tungsten.sls").write_text(json.dumps({"tungsten": {"sites": sites, "reprovision": order}}))
    reactor = yaml.safe_load((ROOT / "reactor/master.d/reprovision.conf").read_text())
    master = factories.salt_master_daemon(
        name, defaults={"interface": "127.0.0.1", "transport": "zeromq"},
        overrides={**QUIET, "auto_accept": True, "open_mode": True, "worker_threads": 3,
                   "pillar_roots": {"base": [str(pillar)]}, **reactor, **settings})
    master.python_executable = str(python or sys.executable)
    master.minions = {}
    for minion, its in minions.items():
        master.minions[minion] = master.salt_minion_daemon(minion, defaults={"transport": "zeromq"}, overrides=QUIET)
        master.minions[minion].python_executable = str(its or sys.executable)
    with master.started(start_timeout=120), ThreadPoolExecutor() as pool:
        try:
            list(pool.map(lambda minion: minion.start(start_timeout=120), master.minions.values()))
            yield master
        finally:
            list(pool.map(lambda minion: minion.terminate(), master.minions.values()))


def run(master, *words):
    """salt-run's answer."""
    done = master.salt_run_cli(timeout=120).run(*words)
    assert done.returncode == 0, done
    return done.data


def ask(master, function, *words, target="*"):
    """{minion: its answer}"""
    done = master.salt_cli(timeout=120).run(function, *words, minion_tgt=target)
    return done.data if target == "*" else {target: done.data}


@pytest.fixture(scope="module")
def by_git(salt_factories, repository, environment):
    """The master has all from gitfs; one minion has synced it, the other one has the wheel."""
    # Left to itself Salt would take pygit2, whose version 1.21 Salt 3008.3 does not start with.
    settings = {"fileserver_backend": ["roots", "gitfs"], "gitfs_provider": "gitpython",
                "gitfs_remotes": [{repository: [{"base": "v1"}]}]}
    minions = {"git-synced": None, "git-wheel": environment.python}
    with started(salt_factories, "git-master", settings, minions) as master:
        run(master, "saltutil.sync_all")
        ask(master, "saltutil.sync_all", target="git-synced")
        yield master


@pytest.fixture(scope="module")
def by_wheel(salt_factories, checkout, environment):
    """The master has the wheel and syncs nothing; one minion has the wheel too, the other one has synced a checkout."""
    code = salt_factories.tmp_root_dir / "code"
    for folder in CODE:
        shutil.copytree(checkout / folder, code / folder)
    roots = [str(environment.site / "tungsten_reprovision/files"), str(code)]
    minions = {"wheel-wheel": environment.python, "wheel-synced": None}
    with started(salt_factories, "wheel-master", {"file_roots": {"base": roots}}, minions,
                 environment.python) as master:
        ask(master, "saltutil.sync_all", target="wheel-synced")
        yield master


@pytest.fixture(params=["by_git", "by_wheel"])
def master(request):
    return request.getfixturevalue(request.param)


# --- what each of them has to give


def test_every_minion_knows_its_place(master):
    nodes = ask(master, "topology.node")
    assert {minion: node["minion"] for minion, node in nodes.items()} == {name: name for name in master.minions}
    assert sorted(node["site"] for node in nodes.values()) == ["east", "west"]


def test_master_and_minions_have_the_same_code_however_they_came_by_it(master):
    """It is what the preflight compares."""
    own = run(master, "salt.cmd", "readiness.extension")
    assert ask(master, "readiness.extension") == dict.fromkeys(master.minions, own)


def test_the_runners_answer(master):
    assert run(master, "reprovision.status", "nodes=False") == {"east": {"run": None}, "west": {"run": None}}


def test_the_orchestration_asks_every_node(master):
    """It goes as far as it can where there is no Tungsten."""
    done = master.salt_run_cli(timeout=120).run("state.orch", "orch.reprovision", "test=True")
    assert done.returncode == 1
    (states,) = done.data["data"].values()
    first = min(states.values(), key=lambda state: state["__run_num__"])
    assert first["__id__"] == "00 preflight" and first["result"] is False
    for minion in master.minions:
        assert f"ERROR {minion}: There is no cctrl: " in first["comment"]
    assert "saltutil" not in first["comment"]


def test_nodes_are_served_the_steps(master):
    for states in ask(master, "state.show_sls", "orch.node.mysqld_stopped").values():
        assert [state["__sls__"] for state in states.values()] == ["orch.node.mysqld_stopped"]


def test_an_event_makes_the_master_look(master):
    minion = next(iter(master.minions.values()))
    assert minion.salt_call_cli(timeout=60).run("event.send", "tungsten/drift/east").data is True
    note, deadline = records(master) / "east/drift.json", time.monotonic() + 120
    while not note.exists():
        assert time.monotonic() < deadline, "the reactor has not handed it on"
        time.sleep(0.2)
    assert run(master, "reprovision.reported", "east")["proved"] is False


def test_a_branch_that_has_gone_on_changes_nothing_for_who_pins_a_tag(by_git):
    assert ORCHESTRATION in run(by_git, "fileserver.file_list", "saltenv=base")
    assert ORCHESTRATION not in run(by_git, "fileserver.file_list", "saltenv=main")


def test_salt_lists_the_wheel_among_its_extensions(by_wheel):
    report = by_wheel.minions["wheel-wheel"].salt_call_cli(timeout=60).run("test.versions_report")
    assert "tungsten-reprovision: 0.1.0" in report.data


def test_when_it_is_uninstalled_nothing_of_it_is_left(by_wheel, environment):
    """The last test: it takes away what the others have."""
    environment.pip("uninstall", "--yes", "tungsten-reprovision")
    minion = by_wheel.minions["wheel-wheel"]
    minion.terminate()
    minion.start(start_timeout=120)
    assert ask(by_wheel, "topology.node", target=minion.id)[minion.id] == "'topology.node' is not available."
    refused = by_wheel.salt_run_cli(timeout=60).run("reprovision.status", "nodes=False")
    assert refused.stdout.strip() == "'reprovision.status' is not available."
    assert [path for path in environment.site.glob("tungsten*/**/*") if path.is_file()] == []
