"""tprovision: when it may start, how it is started, and how its work is judged."""

import copy
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

longjob = load("_modules", "longjob")
mysqld = load("_modules", "mysqld")
topology = load("_modules", "topology")
tprovision = load("_modules", "tprovision")
trepctl = load("_modules", "trepctl")

NODE = {
    "site": "east",
    "service": "east",
    "host": "east2",
    "cluster_home": "/opt/continuent",
    "user": "tungsten",
}
DATASOURCE = {"role": "slave", "state": "ONLINE", "dataserver": "ONLINE", "replicator": {"state": "ONLINE"}}
LS = {
    "coordinator": {"host": "east1", "policy": "MAINTENANCE", "state": "ONLINE"},
    "datasources": {"east1": {**DATASOURCE, "role": "master"}, "east2": DATASOURCE},
}


class Host:
    def __init__(self):
        self.ls = copy.deepcopy(LS)
        self.services = {
            "cluster": {"east": {"state": "ONLINE"}},
            "cross_site": {"west": {"state": "OFFLINE:NORMAL"}},
        }
        self.pings, self.uptime = True, 10
        self.job = {"name": "tprovision-r1", "state": "done", "age": 60.0}
        self.start = create_autospec(longjob.start, return_value={"state": "running"})

    def salt(self):
        nodes = {"east1": "east1", "east2": "east2", "east3": "east3"}
        return {
            "topology.node": create_autospec(topology.node, return_value=NODE),
            "topology.get": create_autospec(topology.get, return_value={"sites": {"east": {"nodes": nodes}}}),
            "cctrl.ls": lambda: self.ls,
            "trepctl.services": create_autospec(
                trepctl.services, side_effect=lambda which: self.services[which]
            ),
            "mysqld.ping": create_autospec(mysqld.ping, side_effect=lambda: self.pings),
            "mysqld.query": create_autospec(
                mysqld.query, side_effect=lambda sql: [{"Variable_name": "Uptime", "Value": str(self.uptime)}]
            ),
            "longjob.start": self.start,
            "longjob.status": create_autospec(longjob.status, side_effect=lambda name: self.job),
        }


@pytest.fixture
def configure_loader_modules():
    return {tprovision: {"__salt__": {}}}


@pytest.fixture
def host(monkeypatch):
    fake = Host()
    monkeypatch.setattr(tprovision, "__salt__", fake.salt(), raising=False)
    monkeypatch.setattr(tprovision.os.path, "isfile", lambda path: path.endswith("/scripts/tprovision"))
    return fake


def test_start_is_detached_as_the_tungsten_user(host):
    tprovision.start("east1", "20260101-east", "rsync", 600)
    host.start.assert_called_once_with(
        "tprovision-20260101-east",
        ["/opt/continuent/tungsten/tungsten-replicator/scripts/tprovision", "-s", "east1", "-m", "rsync"],
        user="tungsten",
        deadline=600,
    )


def test_a_missing_tool_is_named(host, monkeypatch):
    monkeypatch.setattr(tprovision.os.path, "isfile", lambda path: False)
    with pytest.raises(CommandExecutionError, match="/opt/continuent/tungsten/cluster-home/bin/tprovision"):
        tprovision.start("east1", "r1")
    host.start.assert_not_called()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda host: host.ls["coordinator"].update(policy="AUTOMATIC"), "policy of east is AUTOMATIC"),
        (lambda host: host.ls.update(coordinator=None), "policy of east is None"),
        (lambda host: host.ls["datasources"]["east2"].update(role="master"), "east2 is master"),
        (lambda host: host.ls["datasources"].pop("east2"), "does not list east2"),
        (
            lambda host: host.ls["datasources"]["east1"].update(state="SHUNNED"),
            "east1 to copy from is SHUNNED",
        ),
        (lambda host: host.ls["datasources"].pop("east1"), "east1 to copy from is missing"),
        (lambda host: host.services["cross_site"]["west"].update(state="ONLINE"), "west is ONLINE"),
        (
            lambda host: host.services["cross_site"]["west"].update(state="GOING-OFFLINE"),
            "west is GOING-OFFLINE",
        ),
    ],
)
def test_it_does_not_start_when_something_speaks_against_it(host, change, words):
    host.ls["datasources"]["east2"] = dict(DATASOURCE)
    change(host)
    with pytest.raises(CommandExecutionError, match=words):
        tprovision.start("east1", "r1")
    host.start.assert_not_called()


@pytest.mark.parametrize("source", ["east2", "west1", "-h", "east1;ls", ""])
def test_the_source_is_another_host_of_the_site(host, source):
    with pytest.raises(CommandExecutionError, match="not another host of the site east"):
        tprovision.start(source, "r1")
    host.start.assert_not_called()


@pytest.mark.parametrize("run", ["", "a/b", "a b", "a" * 65, "a\n", None])
def test_a_run_has_a_plain_name(host, run):
    with pytest.raises(SaltInvocationError):
        tprovision.start("east1", run)


def test_an_unknown_method(host):
    with pytest.raises(SaltInvocationError):
        tprovision.start("east1", "r1", "dd")
    host.start.assert_not_called()


@pytest.mark.parametrize(
    "method, uptime, expected",
    [
        ("xtrabackup", 20, True),
        ("xtrabackup", 3600, False),
        ("rsync", 3600, False),
        ("mysqldump", 3600, True),
    ],
)
def test_a_tool_that_did_nothing_did_not_restart_mysql(host, method, uptime, expected):
    host.uptime = uptime
    assert tprovision.replaced("r1", method) is expected


def test_nothing_is_said_of_a_job_that_is_not_there(host):
    host.job = {"name": "tprovision-r1", "state": "absent", "age": None}
    with pytest.raises(CommandExecutionError, match="no job tprovision-r1"):
        tprovision.replaced("r1", "xtrabackup")


def test_no_faults(host):
    assert tprovision.faults() == []


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda host: setattr(host, "pings", False), "MySQL is not answering"),
        (lambda host: host.ls["datasources"].pop("east2"), "its datasource is missing"),
        (lambda host: host.ls["datasources"]["east2"].update(state="OFFLINE"), "its datasource is OFFLINE"),
        (
            lambda host: host.ls["datasources"]["east2"].update(replicator=None),
            "as cctrl sees it, is missing",
        ),
        (
            lambda host: host.services["cluster"]["east"].update(state="OFFLINE:ERROR"),
            "service east is OFFLINE:ERROR",
        ),
    ],
)
def test_faults(host, change, words):
    host.ls["datasources"]["east2"] = dict(DATASOURCE)
    change(host)
    assert words in "; ".join(tprovision.faults())
