import os
import signal
import subprocess
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support import datahost
from tests.support.datahost import copytarget, datadir, datalocation, hostrecord
from tests.support.loader import load

hotcopy = load("_modules", "hotcopy")
hotguard = load("_modules", "hotguard")
hottarget = load("_modules", "hottarget")
jobgroup = load("_modules", "jobgroup")
longjob = load("_modules", "longjob")

METHOD = "mariabackup"
ORDER = {"site": "east", "donor": "west3", "run": "r-1", "method": METHOD}
SAID = "[00] 2026-11-23 10:00:00 Last binlog file , position 0\n[00] 2026-11-23 10:00:01 completed OK!"


@pytest.fixture
def facts(tmp_path):
    return datahost.new_facts(tmp_path)


@pytest.fixture
def functions(facts, tmp_path, monkeypatch):
    monkeypatch.setattr(hostrecord, "STATE_DIR", str(tmp_path / "remembered"))
    functions = datahost.new_functions(facts)
    facts.update(job="absent", jobs=[], log=SAID, stopped=[], faults=[])
    home = tmp_path / "data"

    def tool(method):
        if isinstance(facts.get("tool"), Exception):
            raise facts["tool"]
        return {"path": "/usr/bin/mariadb-backup", "series": "10.11"}

    def start(name, argv, user=None, deadline=None, well=()):
        facts["on record"] = record().get("stream")
        facts["jobs"].append((name, argv, user, deadline))
        facts["job"] = "running"
        if facts.get("ends"):
            facts["job"] = facts["ends"]
            checkpoints(home, facts.get("leaves", "full-prepared"))

    def status(name):
        return {"name": name, "state": facts["job"], "seconds": 1.0, "log": facts["log"]}

    def stop(name):
        before, facts["job"] = facts["job"], "absent"
        facts["stopped"] += [name] if before != "absent" else []
        return {"stopped": before == "running", "before": before}

    functions.update({
        "datadir.emptied": create_autospec(datadir.emptied, side_effect=datadir.emptied),
        "datadir.empty": create_autospec(datadir.empty, side_effect=datadir.empty),
        "datalocation.contents": create_autospec(datalocation.contents, side_effect=datalocation.contents),
        "hotguard.tool": create_autospec(hotguard.tool, side_effect=tool),
        "hotguard.elsewhere": create_autospec(hotguard.elsewhere, side_effect=hotguard.elsewhere),
        "hotguard.target_faults": create_autospec(
            hotguard.target_faults, side_effect=lambda method, places: facts["faults"]),
        "jobgroup.wait": create_autospec(jobgroup.wait, side_effect=jobgroup.wait),
        "longjob.names": create_autospec(longjob.names, return_value=[]),
        "longjob.status": create_autospec(longjob.status, side_effect=status),
        "longjob.start": create_autospec(longjob.start, side_effect=start),
        "longjob.stop": create_autospec(longjob.stop, side_effect=stop),
        "longjob.failure": create_autospec(longjob.failure, return_value="the job failed: corrupted page"),
    })  # fmt: skip
    return functions


@pytest.fixture
def configure_loader_modules(functions):
    return {**datahost.loader_modules(functions), hottarget: {"__salt__": functions},
            jobgroup: {"__salt__": functions}}


def checkpoints(home, kind):
    (home / "xtrabackup_checkpoints").write_text(f"backup_type = {kind}\nfrom_lsn = 0\n", encoding="utf-8")


def record():
    return hostrecord.load("ownership.json")


def note(**changes):
    hostrecord.save("ownership.json", {**record(), **changes})


@pytest.fixture
def home(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def emptied(functions, configure_loader_modules, home):
    hottarget.empty(**ORDER)
    assert os.listdir(home) == []


# --- before


def test_empty_deletes_and_tells_what_can_be_unpacked(emptied, home):
    assert record()["state"] == "emptied" and "stream" not in record()
    assert record()["unpacks"] == {"method": METHOD, "series": "10.11"}
    assert record()["directories"]["datadir"]["path"] == str(home)


def test_empty_tells_what_it_has_deleted(home):
    assert hottarget.empty(**ORDER)["datadir"]["entries"] == 3


@pytest.mark.parametrize("spoiled, words", [
    ({"tool": CommandExecutionError("there is no mariadb-backup")}, "there is no mariadb-backup"),
    ({"faults": ["tungsten may not run by sudo: mbstream"]}, "may not run by sudo"),
])
def test_nothing_is_deleted_for_a_stream_that_could_not_be_unpacked(facts, home, spoiled, words):
    facts.update(spoiled)
    with pytest.raises(CommandExecutionError, match=words):
        hottarget.empty(**ORDER)
    assert len(os.listdir(home)) == 2 and record() is None


def test_nothing_is_deleted_where_data_would_come_to_lie_elsewhere(facts, home, tmp_path):
    (tmp_path / "undo").mkdir()
    facts["settings"]["explicit"]["innodb_undo_directory"] = str(tmp_path / "undo")
    with pytest.raises(CommandExecutionError, match="innodb_undo_directory .* is not in the data directory"):
        hottarget.empty(**ORDER)
    assert len(os.listdir(home)) == 2


@pytest.mark.parametrize("guard, keys, value, words", datahost.SPOILED.values(), ids=datahost.SPOILED)
def test_empty_has_the_guards_of_every_deletion(facts, home, guard, keys, value, words):
    datahost.spoil(facts, keys, value)
    with pytest.raises(CommandExecutionError, match=words):
        hottarget.empty(**ORDER)
    assert len(os.listdir(home)) == 2


@pytest.mark.parametrize("how", ["going", "cut"])
def test_half_a_stream_is_deleted_and_all_guards_asked_once_more(emptied, facts, functions, home, how):
    note(stream=how)
    (home / "ibdata1").write_text("half", encoding="utf-8")
    facts["ls"]["datasources"]["east1"]["state"] = "ONLINE"
    with pytest.raises(CommandExecutionError, match="not SHUNNED"):
        hottarget.empty(**ORDER)
    assert (home / "ibdata1").exists() and record()["state"] == "emptying"
    facts["ls"]["datasources"]["east1"]["state"] = "SHUNNED"
    assert hottarget.empty(**ORDER)["datadir"]["entries"] == 1
    assert record()["state"] == "emptied" and "stream" not in record() and "unpacks" in record()


@pytest.mark.parametrize("changes", [
    {"stream": "whole"}, {"stream": "preparing"}, {"stream": "whole", "state": "copied"}, {"state": "owned"}])
def test_what_a_whole_stream_has_brought_is_left_alone(emptied, functions, home, changes):
    note(**changes)
    (home / "ibdata1").write_text("whole", encoding="utf-8")
    functions["datadir.empty"].reset_mock()
    assert hottarget.empty(**ORDER) == {}
    assert (home / "ibdata1").exists() and not functions["datadir.empty"].called


@pytest.mark.parametrize("how", ["whole", "preparing"])
def test_what_may_be_lost_in_part_since_the_host_has_booted_is_deleted(emptied, home, how):
    note(stream=how, boot="another")
    (home / "ibdata1").write_text("whole", encoding="utf-8")
    assert hottarget.empty(**ORDER)["datadir"]["entries"] == 1
    assert "stream" not in record() and record()["boot"] == hostrecord.boot()


@pytest.fixture
def unpacker():
    """Something that can be ended."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def unpacks(facts, home, process):
    facts["processes"][str(home)] = [{"pid": process.pid, "name": "mbstream", "datadir": str(home)}]


def test_a_stream_that_still_goes_on_is_left_alone(emptied, facts, home, unpacker):
    note(stream="going")
    unpacks(facts, home, unpacker)
    (home / "ibdata1").write_text("half", encoding="utf-8")
    assert hottarget.empty(**ORDER) == {}
    assert (home / "ibdata1").exists() and record()["stream"] == "going" and unpacker.poll() is None


@pytest.mark.parametrize("changes", [{"stream": "cut"}, {"stream": "going", "run": "r-0"}], ids=["cut", "other run"])
def test_one_that_nobody_waits_for_is_ended_first(emptied, facts, home, unpacker, monkeypatch, changes):
    note(**changes)
    unpacks(facts, home, unpacker)
    kill = os.kill

    def end(pid, number):
        assert number == signal.SIGTERM
        kill(pid, number)
        unpacker.wait()
        facts["processes"].clear()

    monkeypatch.setattr(os, "kill", end)
    (home / "ibdata1").write_text("half", encoding="utf-8")
    hottarget.empty(**ORDER)
    assert os.listdir(home) == [] and unpacker.returncode == -signal.SIGTERM and record()["run"] == "r-1"


def test_one_that_does_not_end_stops_it(emptied, facts, home, unpacker, monkeypatch):
    note(stream="cut")
    unpacks(facts, home, unpacker)
    monkeypatch.setattr(hottarget, "ENDS", 0)
    (home / "ibdata1").write_text("half", encoding="utf-8")
    with pytest.raises(CommandExecutionError, match=f"{unpacker.pid}.* still unpacks"):
        hottarget.empty(**ORDER)
    assert (home / "ibdata1").exists()


def test_another_servers_unpacker_is_not_touched(facts, home, unpacker):
    """Where no run has emptied anything."""
    unpacks(facts, home, unpacker)
    with pytest.raises(CommandExecutionError, match="in use by mbstream"):
        hottarget.empty(**ORDER)
    assert unpacker.poll() is None and len(os.listdir(home)) == 2


# --- after


@pytest.fixture
def streamed(emptied, facts, home):
    note(stream="whole")
    (home / "ibdata1").write_text("whole", encoding="utf-8")
    checkpoints(home, "full-backuped")
    facts["ends"] = "done"


def test_prepare_makes_it_a_copy(streamed, facts, home):
    for name in ("auto.cnf", "xtrabackup_logfile"):
        (home / name).write_text("x", encoding="utf-8")
    assert hottarget.prepare("r-1", METHOD, deadline=600) == {"running": None, "prepared": True}
    [(name, argv, user, deadline)] = facts["jobs"]
    assert (name, deadline) == ("prepare-r-1", 600)
    assert user == record()["directories"]["datadir"]["user"], "what it makes is the server's at once"
    assert argv[:2] == ["/usr/bin/mariadb-backup", "--prepare"] and argv[-1] == f"--target-dir={home}"
    assert int(argv[2].removeprefix("--use-memory=")) >= 128 << 20
    assert facts["on record"] == "preparing", "before the first page of it is changed"
    assert datadir.copy() == {"run": "r-1", "state": "copied"}
    assert record()["boot"] is None, "it is on the disk: what boots since takes nothing away"
    assert hottarget.prepare("r-1", METHOD) == {"running": None, "prepared": False}
    assert sorted(os.listdir(home)) == ["ibdata1", "xtrabackup_checkpoints"]


@pytest.mark.parametrize("word", ["full-prepared", "log-applied"])
def test_both_tools_words_are_understood(streamed, facts, word):
    facts["leaves"] = word
    assert hottarget.prepare("r-1", METHOD)["prepared"] and datadir.copy()


def test_a_whole_stream_is_no_copy_before(streamed):
    assert datadir.copy() is None and datadir.emptied("east", "west3", "r-1")


@pytest.mark.parametrize("state", ["copied", "owned"])
def test_prepare_is_done_once(streamed, facts, state):
    note(state=state)
    assert hottarget.prepare("r-1", METHOD) == {"running": None, "prepared": False}
    assert facts["jobs"] == [] and record()["state"] == state


def test_prepare_is_waited_for(streamed, facts, home):
    facts["ends"] = None
    for _ in range(2):
        assert hottarget.prepare("r-1", METHOD, wait=0) == {"running": "prepare-r-1", "prepared": True}
        assert record()["stream"] == "preparing" and hottarget.empty(**ORDER) == {}
    assert len(facts["jobs"]) == 1 and datadir.copy() is None and facts["stopped"] == []
    facts["job"] = "done"
    checkpoints(home, "full-prepared")
    assert hottarget.prepare("r-1", METHOD) == {"running": None, "prepared": True}
    assert len(facts["jobs"]) == 1 and datadir.copy() == {"run": "r-1", "state": "copied"}


def test_what_an_attempt_that_died_has_prepared_is_not_prepared_again(streamed, facts, home):
    note(stream="preparing")
    facts["job"] = "done"
    checkpoints(home, "full-prepared")
    assert hottarget.prepare("r-1", METHOD) == {"running": None, "prepared": True}
    assert facts["jobs"] == [] and datadir.copy()


def test_a_unit_of_before_this_stream_proves_nothing(streamed, facts):
    """The host has been emptied and filled anew since it ended."""
    facts["job"] = "done"
    hottarget.prepare("r-1", METHOD)
    assert facts["stopped"] == ["prepare-r-1"] and len(facts["jobs"]) == 1


def spoils(words):
    """Preparing raises, and what lies here is then streamed anew, by no means prepared again."""
    with pytest.raises(CommandExecutionError, match=f"(?s){words}.*has to be emptied anew"):
        hottarget.prepare("r-1", METHOD)
    assert (record()["state"], record()["stream"]) == ("emptied", "cut") and datadir.copy() is None
    with pytest.raises(CommandExecutionError, match="stream cut"):
        hottarget.prepare("r-1", METHOD)
    assert hottarget.empty(**ORDER)["datadir"]["entries"] == 2
    assert "stream" not in record()


def test_one_that_fails_while_it_is_waited_for_has_spoiled_the_stream(streamed, facts):
    facts["ends"] = "failed"
    spoils("corrupted page")
    assert len(facts["jobs"]) == 1 and facts["stopped"] == ["prepare-r-1"]


@pytest.mark.parametrize("kind", ["full-backuped", "full-prepared"])
@pytest.mark.parametrize("job, words", [
    ("failed", "corrupted page"), ("absent", "is gone, and nobody knows how far it was")])
def test_one_that_was_interrupted_is_not_begun_again(streamed, facts, home, job, words, kind):
    note(stream="preparing")
    facts["job"] = job
    checkpoints(home, kind)
    spoils(words)
    assert facts["jobs"] == []


def test_one_that_systemd_does_not_take_is_not_taken_for_one_that_runs(streamed, facts, functions):
    functions["longjob.start"].side_effect = CommandExecutionError("systemd does not answer")
    with pytest.raises(CommandExecutionError, match="systemd does not answer"):
        hottarget.prepare("r-1", METHOD)
    spoils("is gone")


@pytest.mark.parametrize("spoiled", [
    {"log": SAID + "\nterminated"}, {"log": ""}, {"leaves": "full-backuped"}, {"leaves": "incremental"}])
def test_an_exit_code_alone_is_not_believed(streamed, facts, spoiled):
    facts.update(spoiled)
    spoils("has ended, .* last words should")
    assert facts["stopped"] == ["prepare-r-1"]


def test_newer_names_of_the_checkpoints_are_known(streamed, home):
    assert hottarget._backup(str(home)) == "full-backuped"
    (home / "xtrabackup_checkpoints").rename(home / "mariadb_backup_checkpoints")
    assert hottarget._backup(str(home)) == "full-backuped"
    (home / "mariadb_backup_checkpoints").write_text("nonsense", encoding="utf-8")
    assert hottarget._backup(str(home)) is None


@pytest.mark.parametrize("changes, words", [
    ({"stream": "going"}, "stream going"), ({"stream": "cut"}, "stream cut"), ({"state": "emptying"}, "says emptying"),
    ({"run": "r-0"}, "run r-0"), ({"unpacks": {"method": "xtrabackup", "series": "8.0"}}, "a stream of xtrabackup"),
])
def test_prepare_wants_the_whole_stream_of_this_run(streamed, facts, changes, words):
    note(**changes)
    with pytest.raises(CommandExecutionError, match=words):
        hottarget.prepare("r-1", METHOD)
    assert facts["jobs"] == []


@pytest.mark.parametrize("how", ["whole", "preparing"])
@pytest.mark.parametrize("job", ["absent", "done"])
def test_a_host_that_has_booted_since_may_have_lost_what_was_streamed(streamed, facts, home, how, job):
    note(stream=how, boot="another")
    facts["job"] = job
    checkpoints(home, "full-prepared" if job == "done" else "full-backuped")
    spoils("has booted since it was emptied")
    assert facts["jobs"] == [] and record()["boot"] == hostrecord.boot()


def test_prepare_where_nothing_was_emptied(facts):
    with pytest.raises(CommandExecutionError, match="says missing"):
        hottarget.prepare("r-1", METHOD)
    assert facts["jobs"] == []


@pytest.mark.parametrize("keys, value, words", [
    (["status", "running"], True, "not stopped"), (["node", "site"], "west", "not of the failed site"),
    (["settings", "explicit", "datadir"], "/var/log", "operating system"),
])
def test_prepare_has_guards(streamed, facts, keys, value, words):
    datahost.spoil(facts, keys, value)
    with pytest.raises(CommandExecutionError, match=words):
        hottarget.prepare("r-1", METHOD)
    assert facts["jobs"] == []


def test_prepare_where_the_data_lie_elsewhere_by_now(streamed, facts, tmp_path):
    (tmp_path / "other").mkdir()
    facts["settings"]["explicit"]["datadir"] = str(tmp_path / "other")
    with pytest.raises(CommandExecutionError, match="the data directory is .*other now"):
        hottarget.prepare("r-1", METHOD)
    assert facts["jobs"] == []


@pytest.mark.parametrize("kind", [None, "incremental", "full-prepared", "log-applied"])
def test_prepare_does_not_touch_what_is_no_backup_as_it_was_streamed(streamed, facts, home, kind):
    checkpoints(home, kind)
    if kind is None:
        (home / "xtrabackup_checkpoints").write_text("", encoding="utf-8")
    spoils(f"does not hold a full backup, its checkpoints say {kind}")
    assert facts["jobs"] == []


def test_names_are_those_of_the_donors_side():
    assert hottarget.WELL == hotcopy.WELL
    assert hottarget.RECORD == copytarget.RECORD == datadir.RECORD
    assert set(hottarget.UNPACKERS) == {known["unpacks"] for known in hotguard.METHODS.values()}
    tools = {tool for known in hotguard.METHODS.values() for tool in known["tools"]}
    assert {*hottarget.UNPACKERS, *tools} <= set(datahost.mysqld.PROGRAMS), "no directory is emptied under them"
