from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

module = load("_modules", "datadir")
datacopy = load("_modules", "datacopy")
dataguard = load("_modules", "dataguard")
datalocation = load("_modules", "datalocation")
datadir = load("_states", "datadir")

TRANSPORT = {"compress": "lz4", "bwlimit": 0, "streams": 4, "rate": 110}
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

    def own(run):
        before, host["wrong"] = host["wrong"], []
        return before

    def empty(site, donor, run):
        host.update(entries=0, emptied=run)

    def sync(target, site, run, warm=False, begun=False, wait=1, deadline=1, compress="auto", bwlimit=0, streams=4):
        copied = bool(host["differences"])
        host.update(differences=[])
        return {"running": None, "copied": copied, "transport": TRANSPORT}

    dunder = {
        "dataguard.check": create_autospec(dataguard.check, return_value=PLACES),
        "datalocation.contents": create_autospec(datalocation.contents, side_effect=contents),
        "datadir.empty": create_autospec(module.empty, side_effect=empty),
        "datadir.emptied": create_autospec(
            module.emptied, side_effect=lambda site, donor, run: host.get("emptied") == run
        ),
        "datacopy.differences": create_autospec(
            datacopy.differences, side_effect=lambda target, site, run, warm=False: host["differences"]
        ),
        "datacopy.sync": create_autospec(datacopy.sync, side_effect=sync),
        "datacopy.ahead": create_autospec(
            datacopy.ahead, return_value={"running": None, "transport": TRANSPORT}),
        "datadir.copy": create_autospec(module.copy, side_effect=lambda: host.get("copy", {"run": "r-1"})),
        "datadir.misowned": create_autospec(module.misowned, side_effect=lambda: host["wrong"]),
        "datadir.own": create_autospec(module.own, side_effect=own),
    }
    return dunder


@pytest.fixture
def configure_loader_modules(functions):
    return {datadir: {"__salt__": functions, "__opts__": {"test": False}, "__grains__": {"id": "east1"}}}


WAY = {"compress": "auto", "bwlimit": 0, "streams": 4}
CALLS = {
    "emptied": (("x", "east", "west3", "r-1"), "datadir.empty"),
    "copied": (("east1", "east", "r-1"), "datacopy.sync"),
    "owned": (("x", "r-1"), "datadir.own"),
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
    functions["dataguard.check"].side_effect = CommandExecutionError("not of the failed site")
    ret = datadir.emptied("x", "east", "west3", "r-1")
    assert ret["result"] is False and ret["changes"] == {}
    functions["datadir.empty"].assert_not_called()


def test_emptied_tells_what_went_before_it_failed(functions, host):
    def half(site, donor, run):
        host["entries"] = 1
        raise CommandExecutionError("Input/output error")

    functions["datadir.empty"].side_effect = half
    ret = datadir.emptied("x", "east", "west3", "r-1")
    assert ret["result"] is False
    assert ret["changes"] == {"/data": {"old": "3 entries, 30 bytes", "new": "1 entries, 10 bytes"}}


def test_emptied_looks_again(functions):
    functions["datadir.empty"].side_effect = None
    ret = datadir.emptied("x", "east", "west3", "r-1")
    assert ret["result"] is False and ret["changes"] == {} and "/data" in ret["comment"]


def test_emptied_proves_the_guards_of_empty_locations_too(functions, host):
    host["entries"] = 0
    assert datadir.emptied("x", "east", "west3", "r-1")["result"] is True
    functions["datadir.empty"].assert_called_once_with("east", "west3", "r-1")


@pytest.mark.parametrize("test, result", [(True, None), (False, False)])
def test_copied_before_its_time(functions, test, result):
    datadir.__opts__["test"] = test
    for function in ("datacopy.differences", "datacopy.sync"):
        functions[function].side_effect = CommandExecutionError("not stopped")
    ret = datadir.copied("east1", "east", "r-1")
    assert ret["result"] is result and "not stopped" in ret["comment"]
    assert functions["datacopy.sync"].called is not test
    # The guards have refused it, so nothing was changed there.
    assert test or ret["changes"] == {}


@pytest.mark.parametrize("test, result", [(True, None), (False, False)])
def test_owned_before_its_time(functions, test, result):
    datadir.__opts__["test"] = test
    for function in ("datadir.misowned", "datadir.own"):
        functions[function].side_effect = CommandExecutionError("was not emptied")
    ret = datadir.owned("x", "r-1")
    assert ret["result"] is result and "was not emptied" in ret["comment"]


def test_owned_looks_again(functions, host):
    functions["datadir.own"].side_effect = lambda run: ["/data/a"]
    ret = datadir.owned("x", "r-1")
    assert ret["result"] is False and "not as before: /data/a" in ret["comment"]


@pytest.mark.parametrize("copy", [None, {"run": "r-0"}])
def test_owned_is_only_this_runs_copy(host, copy):
    host["copy"] = copy
    ret = datadir.owned("x", "r-1")
    assert ret["result"] is False and "not the copy of run r-1" in ret["comment"]


@pytest.mark.parametrize("copy", [None, {"run": "r-0"}])
def test_tried_on_an_earlier_runs_copy_it_fails_nothing(functions, host, copy):
    """A plan is made by such a trial, also of a site that was rebuilt before."""
    datadir.__opts__["test"], host["copy"] = True, copy
    ret = datadir.owned("x", "r-1")
    assert ret["result"] is None and "as soon as this run's copy is here" in ret["comment"] and ret["changes"] == {}
    functions["datadir.own"].assert_not_called()


@pytest.mark.parametrize("test", [True, False])
def test_what_came_after_the_emptying_of_this_run_stays(functions, host, test):
    datadir.__opts__["test"] = test
    host["emptied"] = "r-1"
    ret = datadir.emptied("x", "east", "west3", "r-1")
    assert ret["result"] is True and ret["changes"] == {}
    functions["datadir.empty"].assert_not_called()


def test_a_copy_that_goes_on_is_named_and_not_done(functions):
    functions["datacopy.sync"].side_effect = None
    functions["datacopy.sync"].return_value = {"running": "copy-files-0-r-1", "copied": True, "transport": TRANSPORT}
    ret = datadir.copied("east1", "east", "r-1", wait=5)
    assert ret["result"] is False and ret["changes"] == {"still running": "copy-files-0-r-1"}
    assert ret["comment"] == "the copy to east1 goes on in the unit reprovision-copy-files-0-r-1"
    functions["datacopy.sync"].assert_called_once_with(
        "east1", "east", "r-1", warm=False, begun=False, wait=5, deadline=86400, **WAY)


def test_a_copy_of_an_earlier_attempt_that_ends_just_now_is_told(functions, host):
    host["differences"] = []
    functions["datacopy.sync"].side_effect = None
    functions["datacopy.sync"].return_value = {"running": None, "copied": True, "transport": TRANSPORT}
    ret = datadir.copied("east1", "east", "r-1")
    assert ret["result"] is True and ret["changes"]["east1"]["new"] == "equal"


def test_a_copy_that_fails_says_that_the_target_is_touched(functions):
    error = CommandExecutionError("No space left on device")
    error.info = {"begun": True}
    functions["datacopy.sync"].side_effect = error
    ret = datadir.copied("east1", "east", "r-1")
    assert ret["result"] is False and "No space left" in ret["comment"]
    assert ret["changes"]["east1"]["new"] == "not proved to be equal"
    functions["datacopy.differences"].assert_not_called()


@pytest.mark.parametrize("state, acting, more", [
    ("copied", "datacopy.sync", {"warm": True}), ("copied", "datacopy.sync", {"warm": False}),
    ("copied_ahead", "datacopy.ahead", {})])
def test_a_copy_is_made_as_ordered(functions, state, acting, more):
    ordered = {"begun": True, "wait": 5, "deadline": 60, "compress": "zstd", "bwlimit": 50, "streams": 8, **more}
    assert getattr(datadir, state)("east1", "east", "r-1", **ordered)["result"] is True
    functions[acting].assert_called_once_with("east1", "east", "r-1", **ordered)


@pytest.mark.parametrize("rate, told", [
    (None, "compression lz4"), (0, "compression lz4, the link was measured at 0 MB/s"),
    (110, "compression lz4, the link was measured at 110 MB/s")])
@pytest.mark.parametrize("state, acting, holds", [
    ("copied", "datacopy.sync", "the same data"), ("copied_ahead", "datacopy.ahead", "what lay here a moment ago")])
def test_how_it_went_is_told(functions, state, acting, holds, rate, told):
    functions[acting].side_effect = None
    functions[acting].return_value = {"running": None, "copied": True, "transport": {**TRANSPORT, "rate": rate}}
    assert getattr(datadir, state)("east1", "east", "r-1")["comment"] == f"east1 holds {holds}; {told}"


class TestCopiedAhead:
    def test_in_test_mode_it_tells_what_would_be_copied(self, functions):
        datadir.__opts__["test"] = True
        ret = datadir.copied_ahead("east1", "east", "r-1")
        assert (ret["result"], ret["comment"]) == (
            None, "/data would be copied to east1 while the server here goes on serving")
        assert ret["changes"] == {"east1": {"old": "without the data of this host", "new": "copy ahead of /data"}}
        for name in ("datacopy.ahead", "datacopy.differences"):
            functions[name].assert_not_called()

    def test_in_test_mode_too_it_fails_where_no_data_may_lie(self, functions):
        datadir.__opts__["test"] = True
        functions["dataguard.check"].side_effect = CommandExecutionError("/etc is of the operating system")
        ret = datadir.copied_ahead("east1", "east", "r-1")
        assert ret["result"] is False and ret["changes"] == {} and "operating system" in ret["comment"]

    def test_it_copies_each_time_it_is_applied(self, functions):
        """Meanwhile more has changed: there is nothing that could be found done."""
        for _ in range(2):
            ret = datadir.copied_ahead("east1", "east", "r-1")
            assert (ret["result"], ret["comment"]) == (
                True, "east1 holds what lay here a moment ago; compression lz4, the link was measured at 110 MB/s")
            assert ret["changes"] == {"east1": {"old": "without the data of this host", "new": "copied ahead"}}
        assert functions["datacopy.ahead"].call_count == 2
        functions["datacopy.ahead"].assert_called_with(
            "east1", "east", "r-1", begun=False, wait=86400, deadline=86400, **WAY)
        functions["datacopy.sync"].assert_not_called()

    def test_one_that_goes_on_is_named_and_not_done(self, functions):
        functions["datacopy.ahead"].return_value = {"running": "copy-ahead-0-r-1", "transport": TRANSPORT}
        ret = datadir.copied_ahead("east1", "east", "r-1", wait=5)
        assert ret["result"] is False and ret["changes"] == {"still running": "copy-ahead-0-r-1"}
        assert ret["comment"] == "the copy ahead to east1 goes on in the unit reprovision-copy-ahead-0-r-1"

    def test_one_that_fails_names_the_node(self, functions):
        functions["datacopy.ahead"].side_effect = CommandExecutionError("No space left on device")
        ret = datadir.copied_ahead("east1", "east", "r-1")
        assert ret["result"] is False and ret["changes"] == {}
        assert "east1" in ret["comment"] and "No space left on device" in ret["comment"]
