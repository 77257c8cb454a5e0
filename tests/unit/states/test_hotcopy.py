"""The states of a hot copy: what they do, tell and leave alone."""

from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

datadir = load("_modules", "datadir")
dataguard = load("_modules", "dataguard")
datalocation = load("_modules", "datalocation")
hotguard = load("_modules", "hotguard")
module = load("_modules", "hotcopy")
hottarget = load("_modules", "hottarget")
hotcopy = load("_states", "hotcopy")


def held(entries, path="/data"):
    return {"path": path, "entries": entries, "bytes": entries * 10, "free": 1, "device": 1}


@pytest.fixture
def host():
    """What lies here, and what other modules say of it."""
    return {"contents": {"datadir": held(3)}, "emptied": False, "copy": None, "faults": [],
            "stream": {"running": None, "copied": True}, "prepare": {"running": None, "prepared": True}}


@pytest.fixture
def functions(host):
    def empty(site, donor, run, method):
        before = host["contents"]
        host["contents"] = {name: held(0, place["path"]) for name, place in before.items()}
        return before

    return {
        "dataguard.check": create_autospec(dataguard.check, return_value={"datadir": {"path": "/data", "files": []}}),
        "datadir.copy": create_autospec(datadir.copy, side_effect=lambda: host["copy"]),
        "datadir.emptied": create_autospec(datadir.emptied, side_effect=lambda site, donor, run: host["emptied"]),
        "datalocation.contents": create_autospec(datalocation.contents, side_effect=lambda: host["contents"]),
        "hotguard.faults": create_autospec(hotguard.faults, side_effect=lambda method: host["faults"]),
        "hottarget.empty": create_autospec(hottarget.empty, side_effect=empty),
        "hottarget.prepare": create_autospec(
            hottarget.prepare, side_effect=lambda run, method, wait=0, deadline=0: host["prepare"]),
        "hotcopy.stream": create_autospec(
            module.stream,
            side_effect=lambda name, site, run, method, wait=0, deadline=0, bwlimit=0: host["stream"]),
    }


@pytest.fixture
def configure_loader_modules(functions):
    return {hotcopy: {"__salt__": functions, "__opts__": {"test": False}, "__grains__": {"id": "m-east1"}}}


@pytest.fixture
def trial():
    hotcopy.__opts__["test"] = True


CALLS = {
    "emptied": (("x", "east", "west3", "r-1", "xtrabackup"), "hottarget.empty"),
    "streamed": (("east1", "east", "r-1", "xtrabackup"), "hotcopy.stream"),
    "prepared": (("x", "r-1", "xtrabackup"), "hottarget.prepare"),
}


def apply(state, **more):
    return getattr(hotcopy, state)(*CALLS[state][0], **more)


@pytest.mark.parametrize("state", CALLS)
@pytest.mark.parametrize("error", [CommandExecutionError("disk on fire"), SaltInvocationError("no such method")])
def test_what_goes_wrong_names_the_node(functions, state, error):
    functions[CALLS[state][1]].side_effect = error
    assert apply(state) == {
        "name": CALLS[state][0][0], "result": False, "changes": {}, "comment": f"m-east1: {error}"}


@pytest.mark.parametrize("state", CALLS)
def test_a_fault_of_this_extension_is_none_of_the_nodes(functions, state):
    functions[CALLS[state][1]].side_effect = KeyError("x")
    with pytest.raises(KeyError):
        apply(state)


@pytest.mark.parametrize("state", CALLS)
def test_a_trial_changes_nothing(functions, state, trial):
    ret = apply(state)
    assert ret["result"] is None and ret["changes"] and ret["comment"]
    functions[CALLS[state][1]].assert_not_called()


class TestEmptied:
    def test_what_was_there_is_told(self, functions, host):
        host["contents"] = {"datadir": held(3), "log_bin_basename": held(0, "/logs"), "undo": held(2, "/undo")}
        ret = apply("emptied")
        assert ret["result"] is True and ret["changes"] == {
            "/data": {"old": "3 entries, 30 bytes", "new": "empty"},
            "/undo": {"old": "2 entries, 20 bytes", "new": "empty"}}
        functions["hottarget.empty"].assert_called_once_with("east", "west3", "r-1", "xtrabackup")

    def test_what_this_runs_stream_has_brought_is_no_change(self, functions):
        functions["hottarget.empty"].side_effect = lambda site, donor, run, method: {}
        ret = apply("emptied")
        assert (ret["result"], ret["changes"]) == (True, {})
        assert ret["comment"] == "emptied for this run's stream, or filled by it"

    def test_it_is_proved_here_first_that_data_may_be_deleted(self, functions):
        functions["dataguard.check"].side_effect = CommandExecutionError("is the donor")
        ret = apply("emptied")
        assert ret["result"] is False and "is the donor" in ret["comment"]
        functions["dataguard.check"].assert_called_once_with("east", "west3")
        functions["hottarget.empty"].assert_not_called()

    def test_a_trial_fails_on_the_wrong_host_too(self, functions, trial):
        functions["dataguard.check"].side_effect = CommandExecutionError("not of the failed site")
        ret = apply("emptied")
        assert ret["result"] is False and ret["changes"] == {} and "not of the failed site" in ret["comment"]

    def test_a_trial_names_what_would_go(self, host, trial):
        host["contents"] = {"datadir": held(3), "log_bin_basename": held(0, "/logs"), "undo": held(2, "/undo")}
        ret = apply("emptied")
        assert ret["changes"] == {"/data": {"new": "empty"}, "/undo": {"new": "empty"}}
        assert (ret["result"], ret["comment"]) == (None, "would be emptied: /data, /undo")

    def test_in_a_trial_nothing_would(self, host, trial):
        host["contents"] = {"datadir": held(0)}
        ret = apply("emptied")
        assert (ret["result"], ret["changes"], ret["comment"]) == (True, {}, "nothing old is left")

    def test_in_a_trial_of_a_run_that_goes_on_what_came_after_the_emptying_stays(self, functions, host, trial):
        host["emptied"] = True
        ret = apply("emptied")
        assert (ret["result"], ret["changes"], ret["comment"]) == (True, {}, "nothing old is left")
        functions["datadir.emptied"].assert_called_once_with("east", "west3", "r-1")


class TestStreamed:
    def test_once_it_has_ended_the_target_holds_it(self, functions):
        ret = apply("streamed", wait=5, deadline=60, bwlimit=50)
        assert (ret["result"], ret["comment"]) == (True, "east1 holds the whole stream")
        assert ret["changes"] == {"east1": {"old": "without the data of this host", "new": "streamed"}}
        functions["hotcopy.stream"].assert_called_once_with(
            "east1", "east", "r-1", "xtrabackup", wait=5, deadline=60, bwlimit=50)

    def test_what_was_there_before_is_no_change(self, host):
        host["stream"] = {"running": None, "copied": False}
        ret = apply("streamed")
        assert (ret["result"], ret["changes"]) == (True, {})

    def test_one_that_goes_on_is_named_and_not_done(self, host):
        host["stream"] = {"running": "copy-0-r-1", "copied": True}
        ret = apply("streamed")
        assert (ret["result"], ret["changes"]) == (False, {"still running": "copy-0-r-1"})
        assert ret["comment"] == "the stream to east1 goes on in the unit reprovision-copy-0-r-1"

    def test_a_trial_tells_what_would_be_streamed(self, functions, trial):
        assert apply("streamed") == {
            "name": "east1", "result": None,
            "changes": {"east1": {"old": "without the data of this host", "new": "xtrabackup of this host"}},
            "comment": "a xtrabackup of this host would be streamed to east1, while it serves"}
        functions["hotguard.faults"].assert_called_once_with("xtrabackup")

    def test_a_trial_fails_with_all_that_speaks_against_it(self, host, trial):
        host["faults"] = ["no xtrabackup here", "the server can encrypt its tables"]
        ret = apply("streamed")
        assert (ret["result"], ret["changes"]) == (False, {})
        assert ret["comment"] == "m-east1: no xtrabackup here; the server can encrypt its tables"

    def test_a_trial_with_a_server_that_does_not_answer_fails(self, functions, trial):
        functions["hotguard.faults"].side_effect = CommandExecutionError("does not answer")
        assert apply("streamed")["result"] is False


class TestPrepared:
    def test_once_it_is_the_copy_is_complete(self, functions):
        ret = apply("prepared", wait=5, deadline=60)
        assert (ret["result"], ret["comment"]) == (True, "the copy is complete")
        assert ret["changes"] == {"old": "a stream", "new": "prepared"}
        functions["hottarget.prepare"].assert_called_once_with("r-1", "xtrabackup", wait=5, deadline=60)

    def test_what_was_prepared_before_is_no_change(self, host):
        host["prepare"] = {"running": None, "prepared": False}
        ret = apply("prepared")
        assert (ret["result"], ret["changes"]) == (True, {})

    def test_one_that_goes_on_is_named_and_not_done(self, host):
        host["prepare"] = {"running": "prepare-r-1", "prepared": True}
        ret = apply("prepared")
        assert (ret["result"], ret["changes"]) == (False, {"still running": "prepare-r-1"})
        assert ret["comment"] == "it is being prepared in the unit reprovision-prepare-r-1"

    @pytest.mark.parametrize("there", [None, {"run": "r-0", "state": "copied"}])
    def test_a_trial_of_what_is_not_here_yet(self, host, there, trial):
        host["copy"] = there
        ret = apply("prepared")
        assert (ret["result"], ret["comment"]) == (None, "would be prepared, once the stream is here")
        assert ret["changes"] == {"old": "a stream", "new": "prepared"}

    def test_a_trial_of_what_is(self, host, trial):
        host["copy"] = {"run": "r-1", "state": "copied"}
        ret = apply("prepared")
        assert (ret["result"], ret["changes"], ret["comment"]) == (True, {}, "the copy is complete")
