"""A Salt master and the minions of two sites on this machine, with stand-ins for what only real hosts have."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.loader import ROOT

STANDINS = ROOT / "tests/integration/standins"
# Five daemons that write down every step of theirs are slow on two cores.
QUIET = {"log_level_logfile": "warning"}
SITES = {"east": ["east1", "east2"], "west": ["west1", "west2"]}
NODES = [node for nodes in SITES.values() for node in nodes]


def new_world():
    """Two sites at work; east's nodes hold other data than west's."""
    other = {"east": "west", "west": "east"}
    return {
        "faults": {},
        "journal": [],
        "logs": {"east": 5, "west": 7},
        "sites": {
            site: {
                "policy": "AUTOMATIC",
                "routers": "ONLINE",
                "datasources": {
                    node: {"role": "master" if node == nodes[0] else "slave", "state": "ONLINE", "replicator": "ONLINE"}
                    for node in nodes
                },
            } for site, nodes in SITES.items()
        },
        "nodes": {
            node: {
                "mysqld": True,
                "data": "good" if site == "west" else f"drifted on {node}",
                "cluster": {site: {"state": "ONLINE", "appliedLastSeqno": 5}},
                "cross_site": {other[site]: {"state": "ONLINE", "appliedLastSeqno": 5}},
            } for site, nodes in SITES.items() for node in nodes
        },
    }


class World:
    """The state file, as the tests see it."""

    def __init__(self, path):
        self.path = path

    def read(self):
        return json.loads(self.path.read_text())

    def write(self, state):
        self.path.write_text(json.dumps(state))

    def change(self, **words):
        self.write({**self.read(), **words})

    def state(self):
        """Everything but what was done to get there."""
        return {key: value for key, value in self.read().items() if key not in ("journal", "faults")}

    def journal(self):
        return self.read()["journal"]


@pytest.fixture(scope="session")
def world_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("world") / "world.json"
    path.write_text(json.dumps(new_world()))
    return path


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory):
    """Everything of these daemons below one directory that pytest clears away."""
    return {"root_dir": str(tmp_path_factory.mktemp("salt")), "log_server_level": "error"}


@pytest.fixture(scope="session")
def pillar_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("pillar")
    write_pillar(root)
    return root


def write_pillar(root, on_drift="plan", **order):
    """The project's own layout: one file a site."""
    (root / "top.sls").write_text(yaml.safe_dump({"base": {"*": ["sites.east", "sites.west", "sites.order"]}}))
    (root / "sites").mkdir(exist_ok=True)
    for site, nodes in SITES.items():
        (root / f"sites/{site}.sls").write_text(yaml.safe_dump(
            {"tungsten": {"sites": {site: {"nodes": nodes, "on_drift": on_drift, "user": "root"}}}}))
    order = {"failed": "east", "definitive": "west", "donor": "west2", **order}
    (root / "sites/order.sls").write_text(yaml.safe_dump({"tungsten": {"reprovision": order}}))


@pytest.fixture(scope="session")
def master(salt_factories, pillar_root, world_file, tmp_path_factory):
    # What the operator would have: this tree. The stand-ins come first, and the tests' own files stay out of it.
    tree = tmp_path_factory.mktemp("tree")
    for folder in ("_modules", "_states", "_runners", "orch", "reactor"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    standins = tmp_path_factory.mktemp("standins") / "tree"
    shutil.copytree(STANDINS, standins)
    # cctrl is the project's own, but for the session at its bottom.
    with (standins / "_modules/cctrl.py").open("r+") as file:
        session = file.read()
        file.seek(0)
        file.write((ROOT / "_modules/cctrl.py").read_text() + "\n\n" + session)
    reactor = yaml.safe_load((ROOT / "reactor/master.d/reprovision.conf").read_text())
    factory = salt_factories.salt_master_daemon(
        "reprovision-master",
        defaults={"interface": "127.0.0.1", "transport": "zeromq"},
        overrides={
            **QUIET,
            "auto_accept": True,
            "open_mode": True,
            "timeout": 5,
            "gather_job_timeout": 5,
            "worker_threads": 3,
            "file_roots": {"base": [str(standins), str(tree)]},
            "pillar_roots": {"base": [str(pillar_root)]},
            **reactor,
        },
    )
    with factory.started(start_timeout=120):
        yield factory


@pytest.fixture(scope="session")
def minions(master, world_file):
    factories = {
        node: master.salt_minion_daemon(
            node, defaults={"transport": "zeromq"}, overrides={"reprovision_world": str(world_file), **QUIET})
        for node in NODES
    }
    for factory in factories.values():
        factory.start(start_timeout=120)
    run = master.salt_run_cli(timeout=120)
    assert run.run("saltutil.sync_all").returncode == 0
    synced = master.salt_cli(timeout=120).run("saltutil.sync_all", minion_tgt="*")
    assert set(synced.data) == set(NODES)
    yield factories
    for factory in factories.values():
        factory.terminate()


@pytest.fixture
def world(world_file, pillar_root, master, minions):
    """A fresh world, a fresh memory of the master, the pillar as it was."""
    write_pillar(pillar_root)
    shutil.rmtree(records(master), ignore_errors=True)
    fresh = World(world_file)
    fresh.write(new_world())
    return fresh


def records(master):
    return Path(master.config["cachedir"]) / "reprovision"
