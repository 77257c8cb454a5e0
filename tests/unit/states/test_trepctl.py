"""The trepctl states: one call of the function that looks, acts and looks again, told as Salt wants it."""

from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

functions = load("_modules", "trepctl")
trepctl = load("_states", "trepctl")

EMPTY = {"rows": 0, "seqno": -1, "log_files": 0}
FULL = {"rows": 1, "seqno": 7, "log_files": 2}


@pytest.fixture
def configure_loader_modules():
    return {trepctl: {"__salt__": {}}}


@pytest.fixture
def host(monkeypatch):
    """One function, which answers or raises; no other can be called, so nothing is looked at twice."""

    def install(function, answer, test=False):
        raises = isinstance(answer, Exception)
        mock = create_autospec(
            getattr(functions, function), **{"side_effect" if raises else "return_value": answer})
        monkeypatch.setattr(trepctl, "__salt__", {f"trepctl.{function}": mock}, raising=False)
        monkeypatch.setattr(trepctl, "__opts__", {"test": test}, raising=False)
        monkeypatch.setattr(trepctl, "__grains__", {"id": "east1"}, raising=False)
        return mock

    return install


def went(before, after, **more):
    return {"before": before, "after": after, **more}


GOALS = [("offline", "ONLINE", "OFFLINE:NORMAL"), ("online", "OFFLINE:NORMAL", "ONLINE")]
TEST = pytest.mark.parametrize("test", [False, True])


@TEST
@pytest.mark.parametrize("goal, old, new", GOALS)
def test_one_service(host, test, goal, old, new):
    new = goal.upper() if test else new
    mock = host(goal, {"west": went(old, new)}, test)
    ret = getattr(trepctl, goal)("west", "cross_site", timeout=7)
    assert ret == {
        "name": "west", "result": None if test else True, "changes": {"west": {"old": old, "new": new}},
        "comment": f"The cross_site service west would be put {goal}" if test
        else f"The cross_site services are {goal}: west"}  # fmt: skip
    mock.assert_called_once_with("west", "cross_site", timeout=7, test=test)


@TEST
@pytest.mark.parametrize("goal, old, new", GOALS)
def test_a_second_time_changes_nothing(host, test, goal, old, new):
    mock = host(goal, {"west": went(new, new)}, test)
    ret = getattr(trepctl, goal)("west", "cross_site")
    assert (ret["result"], ret["changes"]) == (True, {})
    mock.assert_called_once_with("west", "cross_site", timeout=120, test=test)


@TEST
@pytest.mark.parametrize("goal, old, new", GOALS)
@pytest.mark.parametrize("services", [None, ["west"]])
def test_all_services(host, test, goal, old, new, services):
    mock = host(goal, {"west": went(old, new), "north": went(new, new), "east": went(old, new)}, test)
    ret = getattr(trepctl, f"{goal}_all")("free text", "cross_site", services=services)
    assert ret["name"] == "free text"
    assert ret["result"] is (None if test else True)
    assert list(ret["changes"]) == ["east", "west"]
    assert ("service east, west would be" if test else f"are {goal}: east, north, west") in ret["comment"]
    but = {"but": ()} if goal == "online" else {}
    mock.assert_called_once_with(services, "cross_site", timeout=120, test=test, every=True, **but)


@TEST
def test_some_are_left_as_they_are(host, test):
    mock = host("online", {"west": went("ONLINE", "ONLINE")}, test)
    assert trepctl.online_all("free text", "cross_site", but=["north"], timeout=7)["result"] is True
    mock.assert_called_once_with(None, "cross_site", timeout=7, test=test, every=True, but=["north"])


@pytest.mark.parametrize("goal", ["offline_all", "online_all"])
def test_a_replicator_without_services(host, goal):
    host(goal.removesuffix("_all"), {})
    assert getattr(trepctl, goal)("free text", "cross_site")["comment"].endswith(": there are none")


@TEST
@pytest.mark.parametrize("error", [CommandExecutionError, SaltInvocationError])
@pytest.mark.parametrize("state", ["offline", "online", "offline_all", "online_all", "reset"])
def test_a_refusal_is_told_with_the_host(host, test, error, state):
    host(state.removesuffix("_all"), error("the cluster replicator has no service west"), test)
    ret = getattr(trepctl, state)("west", "cluster")
    assert ret == {"name": "west", "result": False, "changes": {},
                   "comment": "east1: the cluster replicator has no service west"}  # fmt: skip


@pytest.mark.parametrize("state", ["offline", "online", "offline_all", "online_all", "reset"])
def test_one_that_fails_does_not_hide_what_was_done(host, state):
    changes = {"west": {"old": "ONLINE", "new": "OFFLINE:NORMAL"}}
    error = CommandExecutionError("north does not want to")
    error.info = {"changes": changes}
    host(state.removesuffix("_all"), error)
    ret = getattr(trepctl, state)("free text", "cross_site")
    assert (ret["result"], ret["changes"]) == (False, changes)
    assert ret["comment"] == "east1: north does not want to"


@pytest.mark.parametrize("state", ["offline", "offline_all"])
def test_an_error_is_kept_in_the_comment(host, state):
    host("offline", {
        "west": went("OFFLINE:ERROR", "OFFLINE:NORMAL", pending_error="Duplicate entry '500'"),
        "north": went("ONLINE", "OFFLINE:NORMAL", pending_error=None)})  # fmt: skip
    ret = getattr(trepctl, state)("west", "cross_site")
    assert ret["result"] is True
    assert ret["comment"].splitlines()[1:] == ["west was in error: Duplicate entry '500'"]
    assert ret["changes"]["west"] == {"old": "OFFLINE:ERROR", "new": "OFFLINE:NORMAL"}


@TEST
@pytest.mark.parametrize("before", [FULL, None])
def test_reset(host, test, before):
    after = before if test else EMPTY
    mock = host("reset", {"reset": True, "before": before, "after": after}, test)
    ret = trepctl.reset("west", "cross_site", timeout=7)
    assert ret["result"] is (None if test else True)
    assert ret["changes"] == {"west": {"old": before, "new": "no position and no log" if test else EMPTY}}
    assert ("would be reset" if test else "is reset") in ret["comment"]
    mock.assert_called_once_with("west", "cross_site", timeout=7, test=test)


@TEST
def test_nothing_to_reset(host, test):
    mock = host("reset", {"reset": False, "before": EMPTY, "after": EMPTY}, test)
    ret = trepctl.reset("west", "cross_site")
    assert (ret["result"], ret["changes"]) == (True, {})
    assert ret["comment"] == "The cross_site service west has no position and no log"
    mock.assert_called_once_with("west", "cross_site", timeout=120, test=test)


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(
    "signs, result", [([], True), (["tungsten.ini has topology=composite-multi-master"], False)]
)
def test_not_composite(host, test, signs, result):
    host("composite_signs", signs, test)
    ret = trepctl.not_composite("free text")
    assert (ret["result"], ret["changes"]) == (result, {})
    assert all(sign in ret["comment"] for sign in signs)
