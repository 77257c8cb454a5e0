"""The tprovision state: begins, waits, goes on from where an earlier attempt stopped."""

from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

functions = load("_modules", "tprovision")
longjob = load("_modules", "longjob")
mysqld = load("_modules", "mysqld")
topology = load("_modules", "topology")
trepctl_states = load("_states", "trepctl")
tprovision = load("_states", "tprovision")


class Host:
    def __init__(self, state):
        self.state, self.faulty, self.works = state, state != "done", True
        self.start = create_autospec(functions.start, side_effect=self.begin)
        self.wait = create_autospec(longjob.wait, side_effect=self.finish)
        self.serving = {"name": "east2", "result": True, "changes": {"east2": "ONLINE"}, "comment": "ONLINE"}
        self.faults = create_autospec(
            functions.faults, side_effect=lambda: ["its datasource is OFFLINE"] if self.faulty else []
        )
        self.ping = create_autospec(mysqld.ping, return_value=True)
        self.note_filled = create_autospec(functions.note_filled, side_effect=self.note)
        ok = {"name": "east", "result": True, "changes": {}, "comment": "east is ONLINE"}
        self.online = create_autospec(trepctl_states.online, return_value=ok)
        self.did = []
        self.filled = None

    def job(self):
        return {
            "name": "tprovision-r1",
            "state": self.state,
            "seconds": 5,
            "log": "NOTE >> done",
            "log_path": "/l",
        }

    def begin(self, source, run, method, timeout):
        self.state = "running"
        return self.job()

    def finish(self, name, timeout):
        self.state = "done"
        return self.job()

    def note(self, source, run):
        self.filled = (source, run)

    def serve(self, name, how, timeout):
        self.did.append((name, how))
        self.faulty = not self.serving["result"]
        return self.serving

    def salt(self):
        return {
            "longjob.status": create_autospec(longjob.status, side_effect=lambda name: self.job()),
            "longjob.wait": self.wait,
            "topology.node": create_autospec(
                topology.node, return_value={"host": "east2", "service": "east"}
            ),
            "longjob.failure": longjob.failure,
            "tprovision.job": functions.job,
            "tprovision.filled": create_autospec(
                functions.filled, side_effect=lambda source, run: self.filled == (source, run)
            ),
            "tprovision.note_filled": self.note_filled,
            "tprovision.start": self.start,
            "tprovision.replaced": create_autospec(
                functions.replaced, side_effect=lambda run, method: self.works
            ),
            "tprovision.faults": self.faults,
            "mysqld.ping": self.ping,
        }

    def states(self):
        return {"cctrl.datasource_online": self.serve, "trepctl.online": self.online}


@pytest.fixture
def configure_loader_modules():
    return {tprovision: {"__salt__": {}}}


@pytest.fixture
def host(monkeypatch):
    def install(state, test=False):
        fake = Host(state)
        monkeypatch.setattr(tprovision, "__salt__", fake.salt(), raising=False)
        monkeypatch.setattr(tprovision, "__states__", fake.states(), raising=False)
        monkeypatch.setattr(tprovision, "__opts__", {"test": test}, raising=False)
        monkeypatch.setattr(tprovision, "__grains__", {"id": "east2"}, raising=False)
        return fake

    return install


@pytest.mark.parametrize("state", ["absent", "failed"])
@pytest.mark.parametrize("test", [False, True])
def test_it_is_filled(host, test, state):
    fake = host(state, test)
    ret = tprovision.provisioned("east1", "r1", timeout=600)
    if test:
        assert ret["result"] is None
        assert "would be replaced by those of east1" in ret["comment"]
        fake.start.assert_not_called()
        assert fake.did == []
    else:
        assert ret["result"] is True
        fake.start.assert_called_once_with("east1", "r1", "xtrabackup", 600)
        assert ret["changes"]["data"]["new"] == "filled from east1 by xtrabackup"
        assert fake.did == [("east2", "recover")]
        fake.online.assert_called_once_with(name="east", which="cluster", timeout=120)
        # Both states look themselves, and nothing was done after them.
        fake.faults.assert_not_called()
        fake.ping.assert_called_once_with()


@pytest.mark.parametrize("test", [False, True])
def test_a_second_time_changes_nothing(host, test):
    fake = host("done", test)
    fake.filled = ("east1", "r1")
    fake.serving["changes"] = {}
    ret = tprovision.provisioned("east1", "r1")
    assert (ret["result"], ret["changes"]) == (True, {})
    fake.start.assert_not_called()
    fake.wait.assert_not_called()
    fake.note_filled.assert_not_called()
    # One look at the datasource and one at the service: in test mode by faults, else by the states.
    assert fake.faults.call_count == (1 if test else 0)
    assert fake.did == ([] if test else [("east2", "recover")])


@pytest.mark.parametrize("test", [False, True])
def test_a_job_that_goes_on_is_waited_for(host, test):
    fake = host("running", test)
    ret = tprovision.provisioned("east1", "r1")
    assert ret["result"] is (None if test else True)
    fake.start.assert_not_called()
    assert fake.wait.called is not test


@pytest.mark.parametrize("test", [False, True])
def test_a_job_that_is_done_is_only_brought_online(host, test):
    fake = host("done", test)
    fake.faulty = True
    ret = tprovision.provisioned("east1", "r1")
    assert ret["result"] is (None if test else True)
    fake.start.assert_not_called()
    fake.wait.assert_not_called()
    if not test:
        assert ret["changes"] == {"cctrl.datasource_online": {"east2": "ONLINE"}}


def test_a_tool_that_did_nothing_is_found_out(host):
    fake = host("absent")
    fake.works = False
    ret = tprovision.provisioned("east1", "r1")
    assert ret["result"] is False
    assert "MySQL was not restarted" in ret["comment"]
    assert "NOTE >> done" in ret["comment"]
    assert fake.did == []


def test_what_was_done_in_vain_is_done_again(host):
    fake = host("done")
    fake.works = False
    tprovision.provisioned("east1", "r1")
    fake.start.assert_called_once()


def test_a_start_that_is_refused(host):
    fake = host("absent")
    fake.start.side_effect = CommandExecutionError("This host must not be filled now: east2 is master")
    ret = tprovision.provisioned("east1", "r1")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].startswith("east2: ")
    assert "east2 is master" in ret["comment"]


def test_a_copy_that_fails_says_that_the_data_are_touched(host):
    fake = host("absent")

    def fail(name, timeout):
        fake.state = "failed"
        raise CommandExecutionError("The job tprovision-r1 ended with exit code 1")

    fake.wait.side_effect = fail
    ret = tprovision.provisioned("east1", "r1")
    assert ret["result"] is False
    assert ret["changes"]["data"]["new"] == "begun to be replaced by those of east1"
    assert "exit code 1" in ret["comment"]


def test_a_datasource_that_does_not_come_online(host):
    fake = host("absent")
    fake.serving.update(result=False, comment="DataSource 'east2' is now OFFLINE")
    ret = tprovision.provisioned("east1", "r1")
    assert ret["result"] is False
    assert "is now OFFLINE" in ret["comment"]
    assert ret["changes"]["data"]["new"].startswith("filled")


def test_a_service_that_does_not_come_online(host):
    fake = host("absent")
    fake.online.return_value = {"name": "east", "result": False, "changes": {}, "comment": "east is OFFLINE:ERROR"}
    ret = tprovision.provisioned("east1", "r1")
    assert ret["result"] is False and "east is OFFLINE:ERROR" in ret["comment"]


@pytest.mark.parametrize("faulty", [False, True])
def test_after_the_service_was_put_online_all_is_looked_at_again(host, faulty):
    fake = host("absent")

    def put_online(name, which, timeout):
        fake.faulty = faulty
        return {"name": name, "result": True, "changes": {"east": "ONLINE"}, "comment": "east is ONLINE"}

    fake.online.side_effect = put_online
    ret = tprovision.provisioned("east1", "r1")
    assert ret["result"] is not faulty
    fake.faults.assert_called_once_with()
    assert ("its datasource is OFFLINE" in ret["comment"]) is faulty


def test_a_server_that_does_not_answer(host):
    fake = host("absent")
    fake.ping.return_value = False
    ret = tprovision.provisioned("east1", "r1")
    assert ret["result"] is False and ret["comment"].endswith("MySQL is not answering")


def test_a_tool_that_goes_on_is_named_and_not_done(host):
    fake = host("absent")
    fake.wait.side_effect = CommandExecutionError("The job tprovision-r1 is still running")
    ret = tprovision.provisioned("east1", "r1", wait=5)
    assert ret["result"] is False and ret["changes"] == {"still running": "tprovision-r1"}
    assert fake.did == [] and fake.filled is None


@pytest.mark.parametrize("state, words", [("failed", "ended with exit code 1"), ("done", "cannot have replaced")])
def test_what_failed_in_this_attempt_is_not_begun_again(host, monkeypatch, state, words):
    fake = host(state)
    fake.works = False
    job = {**fake.job(), "rc": 1, "outcome": "exit-code"}
    monkeypatch.setitem(tprovision.__salt__, "longjob.status", lambda name: dict(job))
    ret = tprovision.provisioned("east1", "r1", begun=True)
    assert ret["result"] is False and words in ret["comment"]
    fake.start.assert_not_called()


@pytest.mark.parametrize("test", [False, True])
def test_what_was_filled_before_a_boot_is_not_filled_again(host, test):
    fake = host("absent", test)
    fake.filled, fake.faulty = ("east1", "r1"), False
    fake.serving["changes"] = {}
    ret = tprovision.provisioned("east1", "r1")
    assert (ret["result"], ret["changes"]) == (True, {})
    fake.start.assert_not_called()


def test_that_it_is_filled_is_noted_before_it_serves(host):
    fake = host("absent")
    fake.serving.update(result=False, comment="it stays OFFLINE")
    tprovision.provisioned("east1", "r1")
    assert fake.filled == ("east1", "r1")
