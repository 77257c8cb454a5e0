from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

module = load("_modules", "datadir")
datadir = load("_states", "datadir")

PLACES = {"datadir": {"path": "/data", "files": []}}


@pytest.fixture
def host():
    return {"entries": 3, "differences": ["<f+++ a", "<f+++ b"], "wrong": ["/data/a"]}


@pytest.fixture
def functions(host):
    def contents():
        return {
            "datadir": {"path": "/data", "entries": host["entries"], "bytes": host["entries"] * 10, "free": 1}
        }

    def own():
        before, host["wrong"] = host["wrong"], []
        return before

    dunder = {
        "datadir.check": create_autospec(module.check, return_value=PLACES),
        "datadir.contents": create_autospec(module.contents, side_effect=contents),
        "datadir.empty": create_autospec(
            module.empty, side_effect=lambda site, donor: host.update(entries=0)
        ),
        "datadir.differences": create_autospec(
            module.differences, side_effect=lambda target, site: host["differences"]
        ),
        "datadir.sync": create_autospec(
            module.sync, side_effect=lambda target, site, run, timeout=1: host.update(differences=[])
        ),
        "datadir.misowned": create_autospec(module.misowned, side_effect=lambda: host["wrong"]),
        "datadir.own": create_autospec(module.own, side_effect=own),
    }
    return dunder


@pytest.fixture
def configure_loader_modules(functions):
    return {datadir: {"__salt__": functions, "__opts__": {"test": False}, "__grains__": {"id": "east1"}}}


CALLS = {
    "emptied": (("x", "east", "west3"), "datadir.empty"),
    "copied": (("east1", "east", "r-1"), "datadir.sync"),
    "owned": (("x",), "datadir.own"),
}


@pytest.mark.parametrize("state", CALLS)
@pytest.mark.parametrize("test", [True, False])
def test_acts_once_and_not_in_test_mode(functions, state, test):
    args, acting = CALLS[state]
    datadir.__opts__["test"] = test
    ret = getattr(datadir, state)(*args)
    assert ret["result"] is (None if test else True), ret
    assert ret["changes"]
    assert functions[acting].called is not test
    if not test:
        for again in (False, True):
            datadir.__opts__["test"] = again
            ret = getattr(datadir, state)(*args)
            assert ret["result"] is True and ret["changes"] == {}


@pytest.mark.parametrize("state", CALLS)
def test_failure_names_the_node(functions, state):
    args, acting = CALLS[state]
    functions[acting].side_effect = CommandExecutionError("disk on fire")
    ret = getattr(datadir, state)(*args)
    assert ret["result"] is False and "east1" in ret["comment"] and "disk on fire" in ret["comment"]


@pytest.mark.parametrize("test", [True, False])
def test_emptied_on_the_wrong_host_fails_in_test_mode_too(functions, test):
    datadir.__opts__["test"] = test
    functions["datadir.check"].side_effect = CommandExecutionError("not of the failed site")
    ret = datadir.emptied("x", "east", "west3")
    assert ret["result"] is False and ret["changes"] == {}
    functions["datadir.empty"].assert_not_called()


def test_emptied_tells_what_went_before_it_failed(functions, host):
    def half(site, donor):
        host["entries"] = 1
        raise CommandExecutionError("Input/output error")

    functions["datadir.empty"].side_effect = half
    ret = datadir.emptied("x", "east", "west3")
    assert ret["result"] is False
    assert ret["changes"] == {"/data": {"old": "3 entries, 30 bytes", "new": "1 entries, 10 bytes"}}


def test_emptied_looks_again(functions):
    functions["datadir.empty"].side_effect = None
    ret = datadir.emptied("x", "east", "west3")
    assert ret["result"] is False and ret["changes"] == {} and "/data" in ret["comment"]


def test_emptied_proves_the_guards_of_empty_locations_too(functions, host):
    host["entries"] = 0
    assert datadir.emptied("x", "east", "west3")["result"] is True
    functions["datadir.empty"].assert_called_once_with("east", "west3")


@pytest.mark.parametrize("test, result", [(True, None), (False, False)])
def test_copied_before_its_time(functions, test, result):
    datadir.__opts__["test"] = test
    functions["datadir.differences"].side_effect = CommandExecutionError("not stopped")
    ret = datadir.copied("east1", "east", "r-1")
    assert ret["result"] is result and "not stopped" in ret["comment"]
    functions["datadir.sync"].assert_not_called()


@pytest.mark.parametrize("test, result", [(True, None), (False, False)])
def test_owned_before_its_time(functions, test, result):
    datadir.__opts__["test"] = test
    for function in ("datadir.misowned", "datadir.own"):
        functions[function].side_effect = CommandExecutionError("was not emptied")
    ret = datadir.owned("x")
    assert ret["result"] is result and "was not emptied" in ret["comment"]


def test_owned_looks_again(functions, host):
    functions["datadir.own"].side_effect = lambda: ["/data/a"]
    ret = datadir.owned("x")
    assert ret["result"] is False and "1 are not owned" in ret["comment"]
