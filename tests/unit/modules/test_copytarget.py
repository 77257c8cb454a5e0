"""copytarget: what a host has to be for a copy to go there, asked of that host, and what it is told."""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support import datahost
from tests.support.datahost import BINLOGS, UNFIT_PLACES, UNFIT_TARGET, copytarget, datadir, hostrecord

SSH = ["runuser", "-u", "tungsten", "--", "ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
       "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15",
       "-o", "Ciphers=^aes128-gcm@openssh.com,aes256-gcm@openssh.com"]
LIMIT = ["timeout", "--kill-after=5", "60"]


@pytest.fixture
def facts(tmp_path):
    return datahost.new_facts(tmp_path)


@pytest.fixture
def functions(facts, tmp_path, monkeypatch):
    monkeypatch.setattr(hostrecord, "STATE_DIR", str(tmp_path / "remembered"))
    return datahost.new_functions(facts)


@pytest.fixture
def configure_loader_modules(functions):
    return datahost.loader_modules(functions)


@pytest.fixture
def donor(facts, functions):
    """This host is west3, and east1 has been emptied for it."""
    datahost.become_donor(facts, functions, lambda words: pytest.fail(f"nobody needs {words}"))
    return facts


@pytest.fixture
def places(tmp_path):
    """This host's locations."""
    return {"datadir": {"path": str(tmp_path / "data"), "files": []}}


def answers(functions, **answer):
    functions["cmd.run_all"].side_effect = lambda argv, **kwargs: {"retcode": 0, "stdout": "", "stderr": "", **answer}


@pytest.mark.parametrize("missing", ["rsync", "runuser", "ssh"])
def test_without_its_tools_it_is_not_there(monkeypatch, missing):
    monkeypatch.setattr(copytarget.salt.utils.path, "which", lambda tool: None if tool == missing else f"/bin/{tool}")
    assert copytarget.__virtual__() == (False, f"not in the PATH: {missing}")


def test_with_them_it_is(monkeypatch):
    monkeypatch.setattr(copytarget.salt.utils.path, "which", lambda tool: f"/bin/{tool}")
    assert copytarget.__virtual__() == "copytarget"


def test_the_record_has_one_name():
    assert copytarget.RECORD == datadir.RECORD


class TestAddress:
    def test_it_is_reached_by_the_tungsten_user_without_a_question(self, donor):
        assert copytarget.ssh() == SSH
        assert copytarget.address("east1") == "tungsten@east1"

    def test_the_user_is_the_pillars(self, donor):
        donor["node"]["user"] = "continuent"
        assert copytarget.ssh()[:4] == ["runuser", "-u", "continuent", "--"]
        assert copytarget.address("east1") == "continuent@east1"

    @pytest.mark.parametrize("host", ["-oProxyCommand=x", "east1 -e", "", None, "a/b"])
    def test_no_strange_host(self, donor, host):
        with pytest.raises(SaltInvocationError):
            copytarget.address(host)


class TestRecord:
    def test_it_is_asked_each_time_whether_a_server_runs_and_what_its_record_says(self, donor):
        for _ in range(2):
            donor["asked"].clear()
            assert copytarget.record("east1", "east", "r-1") == donor["record"]
            assert donor["asked"] == [
                [*LIMIT, *SSH, "tungsten@east1", "pgrep -x 'mysqld|mariadbd'"],
                [*LIMIT, "rsync", "--ignore-times", "--chmod=F600", "-e", " ".join(SSH), "--rsync-path=sudo -n rsync",
                 f"tungsten@east1:{hostrecord.path('ownership.json')}", hostrecord.path("target-east1.json")],
            ]
        assert donor["told"] == []

    def test_what_was_copied_may_be_copied_again(self, donor):
        donor["record"]["state"] = "copied"
        assert copytarget.record("east1", "east", "r-1")["state"] == "copied"

    @pytest.mark.parametrize("name", ["west3", "w3.example"])
    def test_the_donor_may_go_by_its_host_or_its_minion(self, donor, name):
        donor["record"]["donor"] = name
        assert copytarget.record("east1", "east", "r-1")["donor"] == name

    @pytest.mark.parametrize("keys, value, words", UNFIT_TARGET.values(), ids=UNFIT_TARGET)
    def test_it_refuses(self, donor, keys, value, words):
        datahost.spoil(donor, keys, value)
        with pytest.raises(CommandExecutionError, match=words):
            copytarget.record("east1", "east", "r-1")
        assert donor["told"] == []

    @pytest.mark.parametrize("pgrep", [0, 255, 2, 127])
    def test_where_a_server_may_run_no_record_is_read(self, donor, pgrep):
        donor["pgrep"] = pgrep
        with pytest.raises(CommandExecutionError, match="has not told that no server runs there: process"):
            copytarget.record("east1", "east", "r-1")
        assert len(donor["asked"]) == 1

    def test_why_it_does_not_tell_is_told(self, donor, functions):
        answers(functions, retcode=255, stderr="Host key verification failed.\n")
        with pytest.raises(CommandExecutionError, match="no server runs there: Host key verification failed"):
            copytarget.record("east1", "east", "r-1")

    @pytest.mark.parametrize("retcode", [124, 137])
    def test_one_that_hangs_is_not_waited_for(self, donor, functions, retcode):
        answers(functions, retcode=retcode)
        with pytest.raises(CommandExecutionError, match="runuser did not end within 60 s"):
            copytarget.record("east1", "east", "r-1")

    def test_one_that_was_never_emptied_has_no_record(self, donor, functions):
        functions["cmd.run_all"].side_effect = lambda argv, **kwargs: {
            "retcode": 1 if "pgrep" in argv[-1] else 23, "stdout": "", "stderr": "link_stat failed: No such file"}
        with pytest.raises(CommandExecutionError, match="rsync failed with 23: link_stat failed: No such file"):
            copytarget.record("east1", "east", "r-1")

    @pytest.mark.parametrize("site, host", [("west", "east1"), ("east", "west3"), ("north", "east1")])
    def test_only_a_host_of_the_failed_site(self, donor, site, host):
        with pytest.raises(CommandExecutionError, match="not a host of the failed site"):
            copytarget.record(host, site, "r-1")
        assert donor["asked"] == []

    @pytest.mark.parametrize("change", [
        {"host": "east1 -oProxyCommand=x"}, {"host": "-e"}, {"site": "*"}, {"run": "r 1"}, {"run": "x" * 65},
        {"run": None}])
    def test_no_strange_words(self, donor, change):
        with pytest.raises(SaltInvocationError):
            copytarget.record(**{"host": "east1", "site": "east", "run": "r-1", **change})
        assert donor["asked"] == []


class TestGuardPlaces:
    @pytest.fixture
    def there(self, donor):
        return donor["record"]["directories"]

    @pytest.fixture
    def logs(self, there, places, functions):
        """A second location, of certain files; each of the two has the bytes that are put into what is returned."""
        sizes = {"/data": 4, "/logs": 3}
        places["datadir"]["path"] = "/data"
        places["log_bin_basename"] = {"path": "/logs", "files": BINLOGS}
        there["log_bin_basename"] = {"path": "/logs", "files": BINLOGS, "free": 10**9, "device": 2}
        functions["datalocation.measure"].side_effect = lambda place: {"bytes": sizes[place["path"]]}
        return sizes

    def test_the_same_locations_with_room_for_them(self, there, places):
        assert copytarget.guard_places("east1", there, places) is None

    @pytest.mark.parametrize("keys, value, words", UNFIT_PLACES.values(), ids=UNFIT_PLACES)
    def test_it_refuses(self, donor, there, places, keys, value, words):
        datahost.spoil(donor, keys, value)
        with pytest.raises(CommandExecutionError, match=words):
            copytarget.guard_places("east1", there, places)

    def test_a_location_that_only_this_host_has(self, there, places):
        places["innodb_undo_directory"] = {"path": "/undo", "files": []}
        with pytest.raises(CommandExecutionError, match=r"here \['datadir', 'innodb_undo_directory'\], on east1"):
            copytarget.guard_places("east1", there, places)

    def test_logs_lie_at_the_same_path(self, there, places, logs):
        assert copytarget.guard_places("east1", there, places) is None

    @pytest.mark.parametrize("change", [{"path": "/other"}, {"files": ["binlog.*"]}])
    def test_logs_at_another_path_or_of_another_name(self, there, places, logs, change):
        there["log_bin_basename"].update(change)
        with pytest.raises(CommandExecutionError, match="log_bin_basename is /logs here and /"):
            copytarget.guard_places("east1", there, places)

    @pytest.mark.parametrize("path", ["/data/../etc", "data", "/data/$(id)", "/data\n"])
    def test_no_path_that_anybody_reads_differently(self, there, places, path):
        there["datadir"]["path"] = path
        with pytest.raises(CommandExecutionError, match="not a plain absolute path"):
            copytarget.guard_places("east1", there, places)

    @pytest.mark.parametrize("room, logs_on, logs_room, enough", [
        (7, 1, 7, True), (6, 1, 6, False), (6, 2, 6, True), (4, 2, 3, True), (3, 2, 3, False), (4, 2, 2, False)])
    def test_locations_on_one_file_system_share_its_room(self, there, places, logs, room, logs_on, logs_room, enough):
        there["datadir"].update(free=room, device=1)
        there["log_bin_basename"].update(free=logs_room, device=logs_on)
        if enough:
            copytarget.guard_places("east1", there, places)
        else:
            with pytest.raises(CommandExecutionError, match="have . bytes here, east1 has room for . in /"):
                copytarget.guard_places("east1", there, places)


class TestTell:
    @pytest.mark.parametrize("state", ["copied", "emptied"])
    def test_the_target_gets_its_own_record_with_that_state(self, donor, state):
        assert copytarget.tell("east1", {**donor["record"], "state": "x"}, state) is None
        assert donor["told"] == [{**donor["record"], "state": state}]
        assert donor["asked"] == [
            [*LIMIT, "rsync", "--ignore-times", "--chmod=F600", "-e", " ".join(SSH), "--rsync-path=sudo -n rsync",
             hostrecord.path("target-east1.json"), f"tungsten@east1:{hostrecord.path('ownership.json')}"]]

    def test_one_that_cannot_be_told_is_an_error(self, donor, functions):
        answers(functions, retcode=12, stderr="connection unexpectedly closed\n")
        with pytest.raises(CommandExecutionError, match="rsync failed with 12: connection unexpectedly closed"):
            copytarget.tell("east1", donor["record"], "copied")
