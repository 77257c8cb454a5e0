import os

import pytest
from salt.exceptions import CommandExecutionError

from tests.support import datahost
from tests.support.datahost import BINLOGS, WHOLE, datalocation, hostrecord


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


def places(facts, **variables):
    facts["ping"] = True
    facts["settings"]["explicit"] = {}
    facts["variables"] = {"datadir": "/var/lib/mysql/", **variables}
    return {name: (place["path"], place["files"]) for name, place in datalocation.locations().items()}


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
    assert datalocation.locations()["log_bin_basename"]["path"] == "/logs"
    assert os.stat(tmp_path / "remembered" / "locations.json").st_mode & 0o777 == 0o600


def test_a_memory_that_others_may_write_is_not_trusted(facts, tmp_path):
    places(facts)
    facts["ping"] = False
    os.chmod(tmp_path / "remembered" / "locations.json", 0o666)
    with pytest.raises(CommandExecutionError, match="not trusted"):
        datalocation.locations()


def test_a_server_never_asked_is_read_from_its_files(facts):
    facts["settings"] = {
        "explicit": {"log_bin": "/logs/mysql-bin.log"},
        "effective": {"datadir": "/var/lib/mysql/", "log_bin": "x", "relay_log": None},
    }
    found = {name: (place["path"], place["files"]) for name, place in datalocation.locations().items()}
    assert found == {"datadir": ("/var/lib/mysql", WHOLE), "log_bin_basename": ("/logs", BINLOGS)}


@pytest.mark.parametrize(
    "settings", [{"explicit": {}, "effective": {}}, CommandExecutionError("my_print_defaults is not there")]
)
def test_nothing_to_read_is_refused(facts, settings):
    facts["settings"] = settings
    with pytest.raises(CommandExecutionError, match="never asked"):
        datalocation.locations()


@pytest.mark.parametrize("ping", [True, False])
def test_option_files_changed_since_the_start_are_refused(facts, ping):
    hostrecord.save("locations.json", facts["variables"])
    facts["ping"] = ping
    facts["settings"]["explicit"] = {"datadir": "/elsewhere"}
    with pytest.raises(CommandExecutionError, match="datadir=/elsewhere.*agree"):
        datalocation.locations()


# --- names that only the settings tell


def test_what_the_server_was_told_to_call_its_own_is_named(facts, tmp_path):
    hostrecord.save("locations.json", {
        "datadir": f"{tmp_path}/data/", "innodb_data_file_path": "ibdata1:12M;more:12M:autoextend",
        "innodb_log_group_home_dir": "./redo/a", "innodb_undo_directory": "/undo", "aria_log_dir_path": "./",
        "log_bin_basename": f"{tmp_path}/data/logs/bin", "relay_log_index": "relays/index"})
    assert datalocation.named(f"{tmp_path}/data") == {
        "files": ["ibdata1", "more"], "directories": ["logs", "redo", "relays"]}


def test_of_a_server_never_asked_nothing_is_named():
    assert datalocation.named("/var/lib/mysql") == {"files": [], "directories": []}


# --- what they hold


def test_all_of_a_location_is_found_but_itself_and_what_is_the_file_systems():
    argv = datalocation.find({"path": "/data", "files": WHOLE})
    assert argv == ["find", "/data", "-ignore_readdir_race", "-xdev", "-mindepth", "1",
                    "!", "-path", "/data/lost+found", "!", "-path", "/data/lost+found/*"]


def test_of_logs_their_own_files_are_found():
    argv = datalocation.find({"path": "/logs", "files": ["bin.[0-9]*", "bin.index"]})
    assert argv == ["find", "/logs", "-ignore_readdir_race", "-xdev", "-mindepth", "1", "-maxdepth", "1",
                    "-type", "f", "(", "-name", "bin.[0-9]*", "-o", "-name", "bin.index", ")"]


def test_contents_are_counted(tmp_path):
    (tmp_path / "data" / "ibdata1").write_text("123456", encoding="utf-8")
    (tmp_path / "data" / "lost+found").mkdir()
    found = datalocation.contents()["datadir"]
    folder = os.stat(tmp_path / "data" / "mysql").st_size
    assert (found["path"], found["entries"], found["bytes"]) == (f"{tmp_path}/data", 4, 6 + 1 + 1 + folder)
    assert found["free"] > 0 and found["device"] == os.stat(tmp_path).st_dev
    assert datalocation.measure({"path": f"{tmp_path}/data", "files": ["ibdata*"]})["bytes"] == 6


def test_a_failing_find_is_told(functions):
    functions["cmd.run_all"].side_effect = lambda argv, **kwargs: {
        "retcode": 1, "stdout": "", "stderr": "find: Permission denied"}
    with pytest.raises(CommandExecutionError, match="find failed with 1: find: Permission denied"):
        datalocation.contents()


def test_links_are_outside_if_they_lead_out_of_all_locations(tmp_path):
    data, undo = tmp_path / "data", tmp_path / "undo"
    undo.mkdir()
    (data / "in").symlink_to("mysql")
    (data / "other").symlink_to(undo)
    (data / "out").symlink_to("/etc")
    (data / "x.isl").write_text(f"{data}/x.ibd", encoding="utf-8")
    places = {"datadir": {"path": str(data), "files": WHOLE}, "undo": {"path": str(undo), "files": WHOLE}}
    assert sorted(datalocation.outside(places["datadir"], places)) == [f"{data}/out", f"{data}/x.isl"]
    assert datalocation.outside(places["undo"], places) == []
