"""The trepctl states: read, compare, test, act, read again."""

from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

functions = load("_modules", "trepctl")
mysqld = load("_modules", "mysqld")
topology = load("_modules", "topology")
trepctl = load("_states", "trepctl")

EMPTY = {"rows": 0, "seqno": -1, "log_files": 0}
FULL = {"rows": 1, "seqno": 7, "log_files": 2}


class Replicator:
    def __init__(self, **states):
        self.states = states
        self.broken = set()
        self.error = None
        self.found = dict(FULL)
        self.pings = True
        self.offline = create_autospec(functions.offline, side_effect=self.to("OFFLINE:NORMAL"))
        self.online = create_autospec(functions.online, side_effect=self.to("ONLINE"))
        self.reset = create_autospec(functions.reset, side_effect=self.forget)

    def to(self, state):
        def change(service, which, timeout):
            if service in self.broken:
                raise CommandExecutionError(f"{service} does not want to")
            before, self.states[service] = self.states[service], state
            return {"before": before, "after": state, "pending_error": self.error}

        return change

    def forget(self, service, which, timeout):
        before = dict(self.found)
        if "half" in self.broken:
            self.found["log_files"] = 0
            raise CommandExecutionError("tracking table still has position 7")
        if not self.states[service].startswith("OFFLINE"):
            raise CommandExecutionError("OFFLINE is needed for a reset")
        self.found = dict(EMPTY)
        return {"before": before, "after": dict(EMPTY)}

    def services(self, which):
        return {name: {"state": state} for name, state in self.states.items()}

    def salt(self):
        node = {"service": "east", "other_services": ["west", "north"]}
        return {
            "trepctl.status": create_autospec(
                functions.status, side_effect=lambda service, which: {"state": self.states[service]}),
            "trepctl.services": create_autospec(functions.services, side_effect=self.services),
            "trepctl.offline": self.offline,
            "trepctl.online": self.online,
            "trepctl.reset": self.reset,
            "trepctl.traces": create_autospec(functions.traces, side_effect=lambda *_: dict(self.found)),
            "mysqld.ping": create_autospec(mysqld.ping, side_effect=lambda: self.pings),
            "topology.node": create_autospec(topology.node, return_value=node),
        }  # fmt: skip


@pytest.fixture
def configure_loader_modules():
    return {trepctl: {"__salt__": {}}}


@pytest.fixture
def host(monkeypatch):
    def install(test=False, **states):
        fake = Replicator(**states)
        monkeypatch.setattr(trepctl, "__salt__", fake.salt(), raising=False)
        monkeypatch.setattr(trepctl, "__opts__", {"test": test}, raising=False)
        monkeypatch.setattr(trepctl, "__grains__", {"id": "east1"}, raising=False)
        return fake

    return install


GOALS = [("offline", "ONLINE", "OFFLINE:NORMAL"), ("online", "OFFLINE:NORMAL", "ONLINE")]


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("goal, old, new", GOALS)
def test_one_service(host, test, goal, old, new):
    fake = host(test=test, west=old)
    ret = getattr(trepctl, goal)("west", "cross_site")
    assert ret["name"] == "west"
    if test:
        assert ret["result"] is None
        assert ret["changes"] == {"west": {"old": old, "new": goal.upper()}}
        getattr(fake, goal).assert_not_called()
    else:
        assert ret["result"] is True
        assert ret["changes"] == {"west": {"old": old, "new": new}}
        getattr(fake, goal).assert_called_once_with("west", "cross_site", timeout=120)


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("goal, old, new", GOALS)
def test_a_second_time_changes_nothing(host, test, goal, old, new):
    fake = host(test=test, west=new)
    ret = getattr(trepctl, goal)("west", "cross_site")
    assert (ret["result"], ret["changes"]) == (True, {})
    getattr(fake, goal).assert_not_called()


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("goal, old, new", GOALS)
def test_all_services(host, test, goal, old, new):
    fake = host(test=test, west=old, north=new)
    ret = getattr(trepctl, f"{goal}_all")("free text", "cross_site")
    assert ret["result"] is (None if test else True)
    assert set(ret["changes"]) == {"west"}
    assert getattr(fake, goal).called is not test


@pytest.mark.parametrize("test", [False, True])
def test_a_service_that_must_be_there_is_not(host, test):
    fake = host(test=test, west="ONLINE")
    ret = trepctl.offline_all("free text", "cross_site")
    assert ret["result"] is False
    assert "no service north" in ret["comment"]
    assert ret["comment"].startswith("east1: ")
    fake.offline.assert_not_called()


def test_services_may_be_named(host):
    host(west="ONLINE")
    assert trepctl.offline_all("free text", "cross_site", services=["west"])["result"] is True


def test_those_of_the_cluster(host):
    host(east="ONLINE")
    assert trepctl.offline_all("free text", "cluster")["result"] is True


def test_one_that_fails_does_not_hide_what_was_done(host):
    fake = host(west="ONLINE", north="ONLINE")
    fake.broken.add("north")
    ret = trepctl.offline_all("free text", "cross_site")
    assert ret["result"] is False
    assert "north does not want to" in ret["comment"]
    assert ret["changes"] == {"west": {"old": "ONLINE", "new": "OFFLINE:NORMAL"}}


def test_a_success_that_is_none_is_found_out(host):
    fake = host(west="OFFLINE:NORMAL")
    fake.online.side_effect = lambda service, which, timeout: {"after": "ONLINE"}
    ret = trepctl.online("west", "cross_site")
    assert ret["result"] is False
    assert "west is OFFLINE:NORMAL" in ret["comment"]
    assert ret["changes"] == {}


def test_an_error_is_kept_in_the_comment(host):
    fake = host(west="OFFLINE:ERROR")
    fake.error = "Duplicate entry '500'"
    ret = trepctl.offline("west", "cross_site")
    assert ret["result"] is True
    assert "Duplicate entry '500'" in ret["comment"]
    assert ret["changes"] == {"west": {"old": "OFFLINE:ERROR", "new": "OFFLINE:NORMAL"}}


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("goal", ["offline", "online", "reset"])
def test_a_replicator_that_does_not_answer(host, monkeypatch, test, goal):
    host(test=test, west="ONLINE")
    silent = create_autospec(functions.status, side_effect=CommandExecutionError("Connection failed"))
    monkeypatch.setitem(trepctl.__salt__, "trepctl.status", silent)
    ret = getattr(trepctl, goal)("west", "cross_site")
    assert ret["result"] is False
    assert ret["comment"] == "east1: Connection failed"


@pytest.mark.parametrize("test", [False, True])
def test_reset(host, test):
    fake = host(test=test, west="OFFLINE:NORMAL")
    ret = trepctl.reset("west", "cross_site")
    if test:
        assert ret["result"] is None
        assert ret["changes"]["west"]["old"] == FULL
        fake.reset.assert_not_called()
    else:
        assert ret["result"] is True
        assert ret["changes"] == {"west": {"old": FULL, "new": EMPTY}}
        assert trepctl.reset("west", "cross_site")["changes"] == {}
        fake.reset.assert_called_once_with("west", "cross_site", timeout=120)


@pytest.mark.parametrize(
    "found", [FULL, {**EMPTY, "log_files": None}, {**EMPTY, "log_files": 3}, {**EMPTY, "rows": 1}]
)
def test_reset_is_done_unless_nothing_is_surely_left(host, found):
    fake = host(west="OFFLINE:NORMAL")
    fake.found = dict(found)
    assert trepctl.reset("west", "cross_site")["result"] is True
    fake.reset.assert_called_once()


def test_reset_in_test_mode_does_not_mind_the_steps_before_it(host):
    fake = host(test=True, west="ONLINE")
    fake.pings = False
    ret = trepctl.reset("west", "cross_site")
    assert ret["result"] is None
    fake.reset.assert_not_called()


def test_reset_of_what_is_online_fails(host):
    host(west="ONLINE")
    ret = trepctl.reset("west", "cross_site")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "OFFLINE is needed" in ret["comment"]


def test_half_a_reset_says_what_was_done(host):
    fake = host(west="OFFLINE:NORMAL")
    fake.broken.add("half")
    ret = trepctl.reset("west", "cross_site")
    assert ret["result"] is False
    assert "still has position 7" in ret["comment"]
    assert ret["changes"] == {"west": {"old": FULL, "new": {**FULL, "log_files": 0}}}


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(
    "signs, result", [([], True), (["tungsten.ini has topology=composite-multi-master"], False)]
)
def test_not_composite(host, monkeypatch, test, signs, result):
    host(test=test)
    look = create_autospec(functions.composite_signs, return_value=signs)
    monkeypatch.setitem(trepctl.__salt__, "trepctl.composite_signs", look)
    ret = trepctl.not_composite("free text")
    assert (ret["result"], ret["changes"]) == (result, {})
    assert all(sign in ret["comment"] for sign in signs)
