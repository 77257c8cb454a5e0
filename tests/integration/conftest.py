"""A Salt master and the minions of two sites on this machine, with stand-ins for what only real hosts have."""

import fcntl
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from pytestshellutils.utils import ports

from tests.support.loader import ROOT

STANDINS = ROOT / "tests/integration/standins"
# Five daemons that write down every step of theirs are slow on two cores.
QUIET = {"log_level_logfile": "warning"}
SITES = {"east": ["east1", "east2"], "west": ["west1", "west2"]}
# These are the project's own, with what is found beside the name at their bottom.
EXTENDED = ("cctrl", "copytarget", "datacopy", "datadir", "dataguard", "datalocation", "donor", "hostrecord", "longjob",
            "readiness", "tprovision", "trepctl")
# Here every tool answers at once; what is not so after that time stays so.
HURRIED = {"cctrl": ("SECONDS = 60", "SECONDS = 5")}
# Who of the example's salt-api.conf may do what, and the password.
PEOPLE = {
    "lucy": (["tungsten-look%"], "lucy's word"),
    "adam": (["tungsten-look%", "tungsten-approve%"], "adam's word"),
}
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
                # What the extension itself leaves on a node.
                **dict.fromkeys(("record", "ahead", "marker", "lease", "filled", "saved")), "jobs": {},
            } for site, nodes in SITES.items() for node in nodes
        },
    }


class World:
    """The state file, as the tests see it."""

    def __init__(self, path):
        self.path = path

    def read(self):
        with self._opened() as file:
            return json.load(file)

    def write(self, state):
        self.change(**state)

    def change(self, **words):
        # As the stand-ins do it, who may be at work meanwhile.
        with self._opened() as file:
            state = {**json.load(file), **words}
            file.seek(0)
            file.truncate()
            json.dump(state, file)

    @contextmanager
    def _opened(self):
        with self.path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

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


def put(path, words):
    """A minion that reads its pillar at that moment must not find half of it, and keep that."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(yaml.safe_dump(words))
    new.replace(path)


def write_pillar(root, on_drift="plan", drift=None, plans=None, **order):
    """The project's own layout: one file a site."""
    put(root / "top.sls", {"base": {"*": ["sites.east", "sites.west", "sites.order"]}})
    (root / "sites").mkdir(exist_ok=True)
    for site, nodes in SITES.items():
        put(root / f"sites/{site}.sls",
            {"tungsten": {"sites": {site: {"nodes": nodes, "on_drift": on_drift, "user": "root"}}}})
    order = {"failed": "east", "definitive": "west", "donor": "west2", **order}
    put(root / "sites/order.sls",
        {"tungsten": {"reprovision": order, "drift": drift or {}, "plans": plans or {}}})


class Hook(BaseHTTPRequestHandler):
    """Whoever is told by a webhook."""

    def do_POST(self):  # noqa: N802 - http.server's name
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Nothing on stderr."""


@pytest.fixture(scope="session")
def hook():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.got = []
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def api(tmp_path_factory):
    """The master's settings for salt-api: the example's, but for the port, TLS, and PAM, which knows no such people."""
    settings = yaml.safe_load((ROOT / "examples/master.d/salt-api.conf").read_text())
    groups = settings["external_auth"].pop("pam")
    passwords = tmp_path_factory.mktemp("api") / "passwords"
    passwords.write_text("".join(f"{name}:{password}\n" for name, (_, password) in PEOPLE.items()))
    settings["external_auth"]["file"] = {
        "^filename": str(passwords),
        **{name: [right for group in member for right in groups[group]] for name, (member, _) in PEOPLE.items()},
    }
    web = settings["rest_cherrypy"]
    settings["rest_cherrypy"] = {
        "host": "127.0.0.1", "port": ports.get_unused_localhost_port(), "disable_ssl": True,
        "static": str(ROOT / "dashboard"), "static_path": web["static_path"],
    }
    return settings


@pytest.fixture(scope="session")
def master(salt_factories, pillar_root, world_file, api, hook, tmp_path_factory):
    # What the operator would have: this tree. The stand-ins come first, and the tests' own files stay out of it.
    tree = tmp_path_factory.mktemp("tree")
    for folder in ("_modules", "_states", "_runners", "_output", "orch", "reactor"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (patient, hurried) in HURRIED.items():
        module = tree / f"_modules/{name}.py"
        text = module.read_text()
        assert text.count(f"\n{patient}\n") == 1, name
        module.write_text(text.replace(patient, hurried))
    standins = tmp_path_factory.mktemp("standins") / "tree"
    shutil.copytree(STANDINS, standins)
    for name in EXTENDED:
        with (standins / f"_modules/{name}.py").open("r+") as file:
            standin = file.read()
            file.seek(0)
            file.write((tree / f"_modules/{name}.py").read_text() + "\n\n" + standin)
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
            "reprovision_notify": [{"webhook": f"http://127.0.0.1:{hook.server_port}/hooks/canary"}],
            **reactor,
            **api,
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
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda factory: factory.terminate(), factories.values()))


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
