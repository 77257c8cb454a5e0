import copy
import os
import pwd
import subprocess
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

datacontent = load("_modules", "datacontent")
datadir = load("_modules", "datadir")
longjob = load("_modules", "longjob")
mysqld = load("_modules", "mysqld")

WHOLE = []
BINLOGS = ["mysql-bin.[0-9]*", "mysql-bin.index", "mysql-bin.state"]


@pytest.fixture
def facts(tmp_path):
    """What the host is like: all is as it must be for emptying east1, each test spoils something."""
    home = tmp_path / "data"
    (home / "mysql").mkdir(parents=True)
    (home / "mysql" / "user.frm").write_text("x", encoding="utf-8")
    (home / ".hidden").write_text("x", encoding="utf-8")
    (tmp_path / "my.cnf").write_text("", encoding="utf-8")
    return {
        "node": {"site": "east", "service": "east", "host": "east1", "minion": "e1.example",
                 "user": "tungsten",
                 "cluster_home": "/opt/continuent", "cross_site_home": "/opt/replicator",
                 "mysql": {"unit": "auto", "defaults_file": str(tmp_path / "my.cnf")}},
        "topology": {"sites": {"east": {"nodes": {"east1": "e1.example", "east2": "e2.example"}},
                               "west": {"nodes": {"west3": "w3.example"}}}},
        "ls": {"service": "east", "composite": False, "coordinator": {"policy": "MAINTENANCE"},
               "routers": {"connector@east1": {"state": "OFFLINE"}, "connector@east2": {"state": "OFFLINE"}},
               "datasources": {"east1": {"role": "master", "state": "SHUNNED"}}},
        "ping": False,
        "variables": {"datadir": f"{home}/"},
        "settings": {"explicit": {"datadir": str(home)}, "effective": {}},
        "status": {"unit": "mariadb", "active": "inactive", "result": "success", "running": False,
                   "processes": []},
        "processes": {},
    }  # fmt: skip


def run_all(argv, **kwargs):
    assert kwargs["python_shell"] is False
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return {"retcode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


@pytest.fixture
def functions(facts, tmp_path, monkeypatch):
    def settings():
        if isinstance(facts["settings"], Exception):
            raise facts["settings"]
        return facts["settings"]

    dunder = {
        "cmd.run_all": create_autospec(run_all, side_effect=run_all),
        "topology.node": lambda: facts["node"],
        "topology.get": lambda: facts["topology"],
        "cctrl.ls": lambda: facts["ls"],
        "mysqld.ping": create_autospec(mysqld.ping, side_effect=lambda timeout=10: facts["ping"]),
        "mysqld.variables": create_autospec(
            mysqld.variables, side_effect=lambda names, timeout=30: facts["variables"]
        ),
        "mysqld.settings": create_autospec(mysqld.settings, side_effect=settings),
        "mysqld.status": create_autospec(mysqld.status, side_effect=lambda: facts["status"]),
        "mysqld.processes": create_autospec(
            mysqld.processes, side_effect=lambda directory=None: facts["processes"].get(directory, [])
        ),
    }
    dunder["datacontent.foreign"] = create_autospec(datacontent.foreign, return_value=[])
    monkeypatch.setattr(datadir, "STATE_DIR", str(tmp_path / "remembered"))
    return dunder


@pytest.fixture
def configure_loader_modules(functions):
    return {datadir: {"__salt__": functions}}


def places(facts, **variables):
    facts["ping"] = True
    facts["settings"]["explicit"] = {}
    facts["variables"] = {"datadir": "/var/lib/mysql/", **variables}
    return {name: (place["path"], place["files"]) for name, place in datadir.locations().items()}


# --- locations


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, {}),
        ({"innodb_log_group_home_dir": "./", "innodb_data_home_dir": "", "innodb_undo_directory": "."}, {}),
        ({"innodb_log_group_home_dir": "redo", "log_bin_basename": "/var/lib/mysql/binlog"}, {}),
        ({"log_bin_basename": "mysql-bin", "log_bin_index": "./mysql-bin.index"}, {}),
        ({"innodb_undo_directory": "/undo/", "innodb_data_home_dir": "/undo/ibdata"},
         {"innodb_undo_directory": ("/undo", WHOLE)}),
        ({"innodb_undo_directory": "../mysql2"}, {"innodb_undo_directory": ("/var/lib/mysql2", WHOLE)}),
        ({"log_bin_basename": "/logs/mysql-bin", "log_bin_index": "/logs/mysql-bin.index"},
         {"log_bin_basename": ("/logs", BINLOGS)}),
        ({"log_bin_index": "/logs/other.idx"}, {"log_bin_index": ("/logs", ["other.idx"])}),
        ({"relay_log_basename": "/logs/relay", "log_bin_basename": "/logs/mysql-bin"},
         {"log_bin_basename": ("/logs", BINLOGS),
          "relay_log_basename": ("/logs", ["relay.[0-9]*", "relay.index", "relay.state", "relay-*.[0-9]*",
                                           "relay-*.index"])}),
        ({"tmpdir": "/tmp"}, {}),
    ],
)  # fmt: skip
def test_locations_are_absolute_and_hold_each_file_once(facts, variables, expected):
    assert places(facts, **variables) == {"datadir": ("/var/lib/mysql", WHOLE), **expected}


@pytest.mark.parametrize(
    "variables, words",
    [
        ({"innodb_undo_directory": "/var/lib"}, "contains the data directory"),
        ({"innodb_data_file_path": "/disk/ibdata1:12M:autoextend"}, "absolute file"),
        ({"innodb_directories": "/more"}, "outside"),
        ({"log_bin_basename": "/logs/*"}, "safely"),
        ({"datadir": "mysql"}, "not an absolute path"),
        ({"datadir": ""}, "not an absolute path"),
    ],
)
def test_locations_that_cannot_be_handled(facts, variables, words):
    with pytest.raises(CommandExecutionError, match=words):
        places(facts, **variables)


def test_locations_are_remembered_from_the_running_server(facts, tmp_path):
    places(facts, log_bin_basename="/logs/mysql-bin")
    facts["ping"] = False
    facts["settings"] = CommandExecutionError("my.cnf is gone")
    assert datadir.locations()["log_bin_basename"]["path"] == "/logs"
    assert os.stat(tmp_path / "remembered" / "locations.json").st_mode & 0o777 == 0o600


def test_a_memory_that_others_may_write_is_not_trusted(facts, tmp_path):
    places(facts)
    facts["ping"] = False
    os.chmod(tmp_path / "remembered" / "locations.json", 0o666)
    with pytest.raises(CommandExecutionError, match="not trusted"):
        datadir.locations()


def test_a_server_never_asked_is_read_from_its_files(facts):
    facts["settings"] = {
        "explicit": {"log_bin": "/logs/mysql-bin.log"},
        "effective": {"datadir": "/var/lib/mysql/", "log_bin": "x", "relay_log": None},
    }
    found = {name: (place["path"], place["files"]) for name, place in datadir.locations().items()}
    assert found == {"datadir": ("/var/lib/mysql", WHOLE), "log_bin_basename": ("/logs", BINLOGS)}


@pytest.mark.parametrize(
    "settings", [{"explicit": {}, "effective": {}}, CommandExecutionError("my_print_defaults is not there")]
)
def test_nothing_to_read_is_refused(facts, settings):
    facts["settings"] = settings
    with pytest.raises(CommandExecutionError, match="never asked"):
        datadir.locations()


@pytest.mark.parametrize("ping", [True, False])
def test_option_files_changed_since_the_start_are_refused(facts, ping):
    datadir._save("locations.json", facts["variables"])
    facts["ping"] = ping
    facts["settings"]["explicit"] = {"datadir": "/elsewhere"}
    with pytest.raises(CommandExecutionError, match="datadir=/elsewhere.*agree"):
        datadir.locations()


# --- guards of a path


@pytest.mark.parametrize(
    "path",
    ["/", "//", "/var", "/var/lib", "/var/log", "/var/anything", "/home", "/home/tungsten", "/etc/mysql",
     "/usr", "/usr/lib/mysql", "/usr/local", "/usr/local/mysql", "/root/data", "/proc/1",
     "/dev/shm", "/run/mysqld", "/tmp", "/opt", "/opt/continuent", "/opt/continuent/data",
     "/opt/replicator/thl", "/boot", "/srv", "/mnt", "relative", "", "/var/lib/../lib/mysql",
     "/var/lib/./mysql", "/data/*", "/data/a\nb", "/data;x", "/data/$x", "/data//x", "/data/x/",
     "/does/not/exist"],
)  # fmt: skip
@pytest.mark.parametrize("files", [WHOLE, BINLOGS])
def test_paths_that_are_no_data_location(facts, path, files):
    with pytest.raises(CommandExecutionError):
        datadir._guard_path(path, files, facts["node"])


def test_a_plain_directory_passes(facts, tmp_path):
    spaced = tmp_path / "my data #1"
    spaced.mkdir()
    datadir._guard_path(str(spaced), WHOLE, facts["node"])


def test_a_link_is_refused(facts, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(CommandExecutionError, match="symbolic link"):
        datadir._guard_path(str(tmp_path / "link"), WHOLE, facts["node"])


def test_a_directory_with_the_option_file_in_it_is_refused(facts, tmp_path):
    facts["node"]["mysql"]["defaults_file"] = str(tmp_path / "data" / "my.cnf")
    with pytest.raises(CommandExecutionError, match="my.cnf, which must stay"):
        datadir._guard_path(str(tmp_path / "data"), WHOLE, facts["node"])


def test_own_memory_is_refused(facts, tmp_path):
    (tmp_path / "remembered" / "data").mkdir(parents=True)
    with pytest.raises(CommandExecutionError, match="in one another"):
        datadir._guard_path(str(tmp_path / "remembered" / "data"), WHOLE, facts["node"])


@pytest.mark.parametrize("inside, refused", [("", False), ("/tmp", True), ("2", False)])
def test_only_the_location_itself_may_be_a_mount_point(facts, tmp_path, monkeypatch, inside, refused):
    path = str(tmp_path / "data")
    monkeypatch.setattr(datadir, "_mounts", lambda: ["/", "/proc", path + inside])
    if refused:
        with pytest.raises(CommandExecutionError, match="mounted inside"):
            datadir._guard_path(path, WHOLE, facts["node"])
    else:
        datadir._guard_path(path, WHOLE, facts["node"])


def test_mounts_reads_the_kernel():
    assert "/" in datadir._mounts() and "/proc" in datadir._mounts()


# --- emptying


def deleted(dunder):
    return [
        call.args[0] for call in dunder["cmd.run_all"].mock_calls if call.args and "-delete" in call.args[0]
    ]


def test_empty(facts, tmp_path, functions):
    assert datadir.empty("east", "west3", "r-1")["datadir"]["entries"] == 3
    assert os.listdir(tmp_path / "data") == []
    record = datadir._load("ownership.json")
    assert (record["state"], record["site"], record["donor"], record["host"]) == (
        "emptied",
        "east",
        "west3",
        "east1",
    )
    assert record["directories"]["datadir"]["free"] > 0
    assert deleted(functions)[0][:5] == [
        "find", str(tmp_path / "data"), "-ignore_readdir_race", "-xdev", "-mindepth"]


SPOILED = {
    "other site": (["node", "site"], "west", "not of the failed site"),
    "is donor": (["node", "host"], "west3", "is the donor"),
    "is donor by minion": (["node", "minion"], "west3", "is the donor"),
    "donor is of the failed site": (
        ["topology", "sites", "east", "nodes", "west3"],
        "x",
        "is of the failed site",
    ),
    "server runs": (["status", "running"], True, "not stopped"),
    "composite": (["ls", "composite"], True, "composite"),
    "other service": (["ls", "service"], "west", "is of service west"),
    "no service": (["ls", "service"], None, "is of service None"),
    "policy": (["ls", "coordinator", "policy"], "AUTOMATIC", "AUTOMATIC, not MAINTENANCE"),
    "no coordinator": (["ls", "coordinator"], None, "None, not MAINTENANCE"),
    "router": (["ls", "routers", "connector@east2", "state"], "ONLINE", "connector@east2"),
    "no router": (["ls", "routers"], {}, "no router"),
    "online": (["ls", "datasources", "east1", "state"], "ONLINE", "is ONLINE, not SHUNNED"),
    "unknown datasource": (["ls", "datasources"], {"east2": {"state": "SHUNNED"}}, "unknown, not SHUNNED"),
    "option files": (["settings", "explicit", "datadir"], "/var/log", "operating system"),
}


@pytest.mark.parametrize("keys, value, words", SPOILED.values(), ids=SPOILED)
def test_one_false_answer_stops_before_the_first_byte(facts, tmp_path, functions, keys, value, words):
    place = facts
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(CommandExecutionError, match=words):
        datadir.empty("east", "west3", "r-1")
    assert deleted(functions) == []
    assert (tmp_path / "data" / ".hidden").exists()
    assert not (tmp_path / "remembered" / "ownership.json").exists()


def test_a_tool_that_cannot_tell_stops_it(tmp_path, functions):
    def unreadable():
        raise CommandExecutionError("neither coordinator nor datasource")

    datadir.__salt__["cctrl.ls"] = unreadable
    with pytest.raises(CommandExecutionError, match="neither"):
        datadir.empty("east", "west3", "r-1")
    assert (tmp_path / "data" / ".hidden").exists()


def test_another_server_on_the_directory_stops_it(facts, tmp_path):
    facts["processes"][str(tmp_path / "data")] = [{"pid": 99, "name": "mysqld"}]
    with pytest.raises(CommandExecutionError, match="in use by mysqld, process 99"):
        datadir.empty("east", "west3", "r-1")
    assert (tmp_path / "data" / ".hidden").exists()


def test_a_server_started_after_the_guards_stops_it(facts, tmp_path, functions):
    stopped, started = facts["status"], {**facts["status"], "running": True}
    functions["mysqld.status"].side_effect = [stopped, started]
    with pytest.raises(CommandExecutionError, match="not stopped"):
        datadir.empty("east", "west3", "r-1")
    assert deleted(functions) == []
    assert (tmp_path / "data" / ".hidden").exists()


def test_a_directory_that_is_no_data_directory_is_left(tmp_path):
    (tmp_path / "data" / "mysql" / "user.frm").unlink()
    (tmp_path / "data" / "mysql").rmdir()
    with pytest.raises(CommandExecutionError, match="does not look like a data directory"):
        datadir.empty("east", "west3", "r-1")
    assert (tmp_path / "data" / ".hidden").exists()


def test_foreign_files_in_a_directory_of_innodb_stop_it(facts, tmp_path):
    redo = tmp_path / "redo"
    redo.mkdir()
    for name in ("ib_logfile0", "my-thesis.odt"):
        (redo / name).write_text("x", encoding="utf-8")
    facts["settings"]["explicit"]["innodb_log_group_home_dir"] = str(redo)
    with pytest.raises(CommandExecutionError, match="not of the server: my-thesis.odt"):
        datadir.empty("east", "west3", "r-1")
    assert (tmp_path / "data" / ".hidden").exists()
    (redo / "my-thesis.odt").unlink()
    datadir.empty("east", "west3", "r-1")
    assert os.listdir(redo) == []


def test_a_second_try_goes_on_and_keeps_the_first_owner(facts, tmp_path, functions):
    os.chmod(tmp_path / "data", 0o750)
    real = functions["cmd.run_all"].side_effect

    def broken(argv, **kwargs):
        if "-delete" in argv:
            run_all(["rm", "-r", str(tmp_path / "data" / "mysql")], **kwargs)
            return {"retcode": 1, "stdout": "", "stderr": "find: Input/output error"}
        return real(argv, **kwargs)

    functions["cmd.run_all"].side_effect = broken
    with pytest.raises(CommandExecutionError, match="Input/output error"):
        datadir.empty("east", "west3", "r-1")
    assert datadir._load("ownership.json")["state"] == "emptying"
    functions["cmd.run_all"].side_effect = real
    os.chmod(tmp_path / "data", 0o777)
    datadir.empty("east", "west3", "r-1")
    assert os.listdir(tmp_path / "data") == []
    assert datadir._load("ownership.json")["directories"]["datadir"]["mode"] == "0750"


def test_what_is_still_there_is_told(functions):
    real = functions["cmd.run_all"].side_effect
    functions["cmd.run_all"].side_effect = lambda argv, **kwargs: (
        {"retcode": 0, "stdout": "", "stderr": ""} if "-delete" in argv else real(argv, **kwargs)
    )
    with pytest.raises(CommandExecutionError, match="still holds 3 entries"):
        datadir.empty("east", "west3", "r-1")


@pytest.mark.parametrize(
    "site, donor", [("east; rm", "west3"), ("east", "west3\n"), (None, "west3"), ("east", None)]
)
def test_bad_names(site, donor):
    with pytest.raises(SaltInvocationError):
        datadir.empty(site, donor, "r-1")


# --- copying


@pytest.fixture
def donor(facts, tmp_path, functions):
    """This host is west3, and east1 has been emptied for it."""
    record = {"state": "emptied", "run": "r-1", "site": "east", "donor": "west3", "host": "east1",
              "directories": {
                  "datadir": {"path": "/data on east", "files": [], "free": 10**12, "device": 1}}}  # fmt: skip
    facts["node"].update(site="west", service="west", host="west3", minion="w3.example")
    facts["ls"] = {"service": "west", "datasources": {"west3": {"role": "slave", "state": "SHUNNED"}}}
    # ``left``: what each look for differences finds; the last one is found for ever.
    facts.update(record=record, pgrep=1, left=["<f+++++++++ ibdata1\n", ""], jobs=[], job="absent", told=[])

    def programs(argv, **kwargs):
        line = " ".join(argv)
        if argv[0] == "find":
            return run_all(argv, **kwargs)
        if "pgrep" in line:
            return {"retcode": facts["pgrep"], "stdout": "812", "stderr": ""}
        if line.endswith("ownership.json"):
            facts["told"].append(datadir._load("target-east1.json"))
            return {"retcode": 0, "stdout": "", "stderr": ""}
        if "ownership.json" in line:
            datadir._save("target-east1.json", facts["record"])
            return {"retcode": 0, "stdout": "", "stderr": ""}
        assert "-n" in argv
        left = facts["left"].pop(0) if len(facts["left"]) > 1 else facts["left"][0]
        return {"retcode": 0, "stdout": left, "stderr": ""}

    functions["cmd.run_all"].side_effect = programs
    facts["stopped"], facts["forgotten"] = [], []

    def start(name, argv, user=None, deadline=None):
        facts["jobs"].append((name, argv, user, deadline))
        facts["job"] = facts.get("ends", "done")

    def wait(name, timeout):
        if facts["job"] != "done":
            raise CommandExecutionError(f"the job {name} is {facts['job']}")
        return {"state": "done", "rc": 0}

    functions.update({
        "longjob.status": create_autospec(longjob.status, side_effect=lambda name: {"state": facts["job"]}),
        "longjob.start": create_autospec(longjob.start, side_effect=start),
        "longjob.stop": create_autospec(longjob.stop, side_effect=facts["forgotten"].append),
        "longjob.stop_all": create_autospec(longjob.stop_all, side_effect=facts["stopped"].append),
        "longjob.wait": create_autospec(longjob.wait, side_effect=wait),
        "longjob.failure": create_autospec(longjob.failure, return_value="the job failed: No space left on device"),
    })  # fmt: skip
    return facts


def test_sync_copies_as_root_without_the_identity(donor, tmp_path):
    assert datadir.sync("east1", "east", "r-1", deadline=600) == {"running": None, "copied": True}
    [(name, argv, user, deadline)] = donor["jobs"]
    assert name == "copy-0-r-1" and user is None and deadline == 600
    assert donor["stopped"] == ["copy-0-"], "no copy of a run that died goes on beside it"
    assert argv[-2:] == [f"{tmp_path}/data/", "tungsten@east1:/data on east/"]
    assert {"--exclude=/auto.cnf", "--exclude=/.reprovision", "--delete"} < set(argv)
    assert "-n" not in argv and "-z" not in argv
    assert "--rsync-path=sudo -n rsync" in argv
    assert argv[argv.index("-e") + 1].startswith(
        "runuser -u tungsten -- ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"
    )


def test_sync_hands_the_record_over_only_when_all_is_equal(donor):
    datadir.sync("east1", "east", "r-1")
    assert donor["told"] == [{**donor["record"], "state": "copied"}]


def test_sync_waits_for_a_copy_that_goes_on(donor):
    donor.update(job="running", left=[""])
    assert datadir.sync("east1", "east", "r-1") == {"running": "copy-0-r-1", "copied": True}
    assert donor["jobs"] == donor["stopped"] == donor["told"] == [], "neither begun twice nor declared complete"


def test_sync_of_what_is_there_already_copies_nothing(donor):
    donor["left"] = [""]
    assert datadir.sync("east1", "east", "r-1") == {"running": None, "copied": False}
    assert donor["jobs"] == [] and len(donor["told"]) == 1


@pytest.mark.parametrize("begun", [True, False])
def test_a_copy_that_failed_is_begun_again_by_another_attempt_only(donor, begun):
    donor["job"] = "failed"
    if begun:
        with pytest.raises(CommandExecutionError, match="No space left on device"):
            datadir.sync("east1", "east", "r-1", begun=True)
        assert donor["jobs"] == [] and donor["forgotten"] == ["copy-0-r-1"]
    else:
        datadir.sync("east1", "east", "r-1")
        assert len(donor["jobs"]) == 1


def test_a_copy_that_ended_well_and_differs_is_an_error_in_its_own_attempt(donor):
    donor.update(job="done", left=["<f.st...... ibdata1\n"])
    with pytest.raises(CommandExecutionError, match="differs.*ibdata1"):
        datadir.sync("east1", "east", "r-1", begun=True)
    assert donor["jobs"] == donor["told"] == [] and donor["forgotten"] == ["copy-0-r-1"]


def test_a_copy_that_fails_while_it_is_waited_for(donor):
    donor["ends"] = "failed"
    with pytest.raises(CommandExecutionError, match="is failed"):
        datadir.sync("east1", "east", "r-1")
    assert donor["told"] == [] and donor["forgotten"] == ["copy-0-r-1"]


def test_sync_of_logs_takes_their_own_files_only(donor, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    donor["settings"]["explicit"]["log_bin"] = str(logs / "mysql-bin")
    donor["record"]["directories"]["log_bin_basename"] = {"path": str(logs), "files": BINLOGS, "free": 10**9,
                                                             "device": 2}
    donor["left"] = ["<f a\n", "", "<f b\n", ""]
    donor["job"] = "absent"
    datadir.sync("east1", "east", "r-1")
    argv = donor["jobs"][1][1]
    assert [word for word in argv if "clude" in word] == [f"--include=/{name}" for name in BINLOGS] + [
        "--exclude=*"
    ]


@pytest.mark.parametrize("room, logs_on, logs_room, enough", [
    (7, 1, 7, True), (6, 1, 6, False), (6, 2, 6, True), (4, 2, 3, True), (3, 2, 3, False), (4, 2, 2, False)])
def test_locations_on_one_file_system_share_its_room(room, logs_on, logs_room, enough):
    there = {"datadir": {"path": "/data", "free": room, "device": 1},
             "log_bin_basename": {"path": "/logs", "free": logs_room, "device": logs_on}}
    needed = {"datadir": 4, "log_bin_basename": 3}
    if enough:
        datadir._guard_room("east1", needed, there)
    else:
        with pytest.raises(CommandExecutionError, match="have . bytes here, east1 has room for . in /"):
            datadir._guard_room("east1", needed, there)


def test_sync_proves_the_copy(donor):
    donor["left"] = ["<f.st...... ibdata1\n"]
    with pytest.raises(CommandExecutionError, match="differs.*ibdata1"):
        datadir.sync("east1", "east", "r-1")
    assert len(donor["jobs"]) == 1 and donor["told"] == []


@pytest.mark.parametrize("log, expected", [
    ("", {}),
    (None, {}),
    ("sending incremental file list", {}),
    ("      1,234,567  45%   10.00MB/s    0:00:10", {"bytes": 1234567, "percent": 45, "rate": "10.00MB/s"}),
    ("a 99% of all\n  5  1%  1.0kB/s  0:00:01\n 90  100%  2.0kB/s  0:00:00 (xfr#3)",
     {"bytes": 90, "percent": 100, "rate": "2.0kB/s"}),
])
def test_progress_is_what_rsync_said_last(log, expected):
    assert datadir.progress(log) == expected


UNFIT = {
    "own site": (["node", "site"], "east", "not a host of the failed site"),
    "server here": (["status", "running"], True, "not stopped"),
    "crashed": (["status", "result"], "signal", "not clean"),
    "not shunned": (["ls", "datasources", "west3", "state"], "ONLINE", "not SHUNNED"),
    "a master": (["ls", "datasources", "west3", "role"], "master", "must be a slave"),
    "server there": (["pgrep"], 0, "process"),
    "cannot tell": (["pgrep"], 255, "no server runs there"),
    "in use again": (["record", "state"], "owned", "has not been emptied"),
    "half emptied": (["record", "state"], "emptying", "has not been emptied"),
    "other host": (["record", "host"], "east2", "has not been emptied"),
    "other run": (["record", "run"], "r-0", "emptied for run r-0, not for r-1"),
    "other donor": (["record", "donor"], "west2", "for donor west2"),
    "no room": (["record", "directories", "datadir", "free"], 1, "has room for 1"),
    "strange path": (["record", "directories", "datadir", "path"], "/x;reboot", "plain absolute"),
    "other locations": (
        ["record", "directories", "innodb_undo_directory"],
        {"path": "/undo", "free": 10**12, "device": 1},
        "locations differ",
    ),
}


@pytest.mark.parametrize("keys, value, words", UNFIT.values(), ids=UNFIT)
def test_sync_refuses(donor, keys, value, words):
    place = donor
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(CommandExecutionError, match=words):
        datadir.sync("east1", "east", "r-1")
    assert donor["jobs"] == []


@pytest.mark.parametrize(
    "change",
    [{"host": "east1 -oProxyCommand=x"}, {"host": "-e"}, {"site": "*"}, {"run": "r 1"}, {"run": "x" * 65}],
)
def test_sync_takes_no_strange_words(donor, change):
    with pytest.raises(SaltInvocationError):
        datadir.sync(**{"host": "east1", "site": "east", "run": "r-1", **change})
    assert donor["jobs"] == []


@pytest.mark.parametrize("site, host", [("west", "east1"), ("east", "west3"), ("north", "east1")])
def test_sync_only_into_the_failed_site(donor, site, host):
    with pytest.raises(CommandExecutionError, match="not a host of the failed site"):
        datadir.sync(host, site, "r-1")


@pytest.mark.parametrize("name, outside", [("x.isl", None), ("link", "/etc"), ("link", "mysql")])
def test_sync_refuses_data_that_lie_outside(donor, tmp_path, name, outside):
    path = tmp_path / "data" / name
    if outside:
        path.symlink_to(outside)
    else:
        path.write_text("/elsewhere/x.ibd", encoding="utf-8")
    if outside == "mysql":
        datadir.sync("east1", "east", "r-1")
    else:
        with pytest.raises(CommandExecutionError, match=name):
            datadir.sync("east1", "east", "r-1")


# --- owner


def complete(**more):
    """The donor has told this host that its copy is complete."""
    datadir._save("ownership.json", {**datadir._load("ownership.json"), "state": "copied", **more})


def test_own_needs_the_record():
    with pytest.raises(CommandExecutionError, match="was not emptied"):
        datadir.own("r-1")


@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")
def test_own_restores_and_closes_the_record(tmp_path):
    home = tmp_path / "data"
    nobody = pwd.getpwnam("nobody")
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    os.chmod(home, 0o750)
    datadir.empty("east", "west3", "r-1")
    complete()
    os.chmod(home, 0o700)
    os.chown(home, 0, 0)
    (home / "new").write_text("x", encoding="utf-8")
    (home / "etc").symlink_to("/etc/hostname")
    assert len(datadir.own("r-1")) == 3
    assert home.stat().st_mode & 0o7777 == 0o750 and home.owner() == (home / "new").owner() == "nobody"
    assert os.stat("/etc/hostname").st_uid == 0
    assert datadir.misowned() == [] and datadir.copy() == {"run": "r-1", "state": "owned"}
    assert datadir.own("r-1") == [], "a second time changes nothing"


def test_own_believes_its_eyes(functions, tmp_path):
    datadir.empty("east", "west3", "r-1")
    complete()
    os.chmod(tmp_path / "data", 0o700)
    functions["cmd.run_all"].side_effect = lambda argv, **kwargs: {
        "retcode": 0, "stdout": "", "stderr": ""}  # fmt: skip
    with pytest.raises(CommandExecutionError, match="still not owned"):
        datadir.own("r-1")
    assert datadir._load("ownership.json")["state"] == "copied"


@pytest.mark.parametrize("record, run", [
    ({"state": "emptied"}, "r-1"), ({"state": "emptying"}, "r-1"), ({"state": "copied"}, "r-2"),
    ({"state": "owned"}, "r-1"),
], ids=["empty", "half empty", "of another run", "without its marker"])
def test_what_is_not_this_runs_complete_copy_is_not_taken_into_use(tmp_path, record, run):
    datadir.empty("east", "west3", "r-1")
    complete(**record)
    with pytest.raises(CommandExecutionError, match=f"not the complete copy of run {run}"):
        datadir.own(run)
    assert os.listdir(tmp_path / "data") == []


# --- which run's copy it is


def test_an_emptied_host_holds_no_copy():
    assert datadir.copy() is None
    datadir.empty("east", "west3", "r-1")
    assert datadir.copy() is None
    complete()
    assert datadir.copy() == {"run": "r-1", "state": "copied"}


@pytest.mark.parametrize("marker", [None, "", "r-0", "r-1 "])
def test_taken_into_use_the_data_themselves_bear_it_out(tmp_path, marker):
    datadir.empty("east", "west3", "r-1")
    complete(state="owned")
    if marker is not None:
        (tmp_path / "data" / ".reprovision").write_text(marker, encoding="utf-8")
    assert datadir.copy() == ({"run": "r-1", "state": "owned"} if marker == "r-1 " else None)


def test_a_marker_is_not_written_through_a_link(tmp_path):
    datadir.empty("east", "west3", "r-1")
    complete()
    (tmp_path / "precious").write_text("x", encoding="utf-8")
    (tmp_path / "data" / ".reprovision").symlink_to(tmp_path / "precious")
    datadir.own("r-1")
    assert (tmp_path / "precious").read_text() == "x" and datadir.copy()["state"] == "owned"


def test_emptied_once_in_a_run(facts, tmp_path, functions):
    datadir.empty("east", "west3", "r-1")
    assert datadir.emptied("east", "west3", "r-1")
    (tmp_path / "data" / "ibdata1").write_text("copied", encoding="utf-8")
    for again in ("emptied", "copied", "owned"):
        complete(state=again)
        assert datadir.empty("east", "west3", "r-1") == {}
    assert (tmp_path / "data" / "ibdata1").exists()
    assert datadir.empty("east", "west3", "r-2")["datadir"]["entries"] == 1
    assert os.listdir(tmp_path / "data") == []


@pytest.mark.parametrize("other", [{"site": "west"}, {"donor": "west2"}, {"run": "r-2"}])
def test_emptied_for_something_else_is_not_emptied(other):
    datadir.empty("east", "west3", "r-1")
    assert not datadir.emptied(**{"site": "east", "donor": "west3", "run": "r-1", **other})


def test_what_no_server_has_written_stops_it_and_is_named(functions, tmp_path):
    functions["datacontent.foreign"].return_value = [
        {"entry": "dump.sql", "why": "a file that no server has written"}]
    with pytest.raises(CommandExecutionError, match="not the server's alone.*data/dump.sql: a file that no"):
        datadir.empty("east", "west3", "r-1")
    assert (tmp_path / "data" / ".hidden").exists()


def test_directories_of_the_server_inside_its_own_are_not_foreign(facts, functions, tmp_path):
    for folder in ("redo", "logs/binary"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    facts.update(ping=True)
    facts["variables"].update(innodb_log_group_home_dir="redo", log_bin_basename=f"{tmp_path}/data/logs/binary/bin")
    facts["settings"]["explicit"]["innodb_log_group_home_dir"] = "redo"
    functions["datacontent.foreign"].return_value = [
        {"entry": entry, "why": "x"} for entry in ("redo", "logs/binary", "other")]
    assert datadir.foreign() == [f"{tmp_path}/data/other: x"]


def test_locations_that_changed_after_the_emptying_are_not_taken(facts, tmp_path):
    datadir.empty("east", "west3", "r-1")
    complete()
    before = copy.deepcopy(datadir._load("ownership.json"))
    (tmp_path / "data2" / "mysql").mkdir(parents=True)
    facts["settings"]["explicit"]["datadir"] = str(tmp_path / "data2")
    for act in (lambda: datadir.own("r-1"), lambda: datadir.empty("east", "west3", "r-2")):
        with pytest.raises(CommandExecutionError, match="have changed"):
            act()
    assert datadir._load("ownership.json") == before
    assert (tmp_path / "data2" / "mysql").exists()
