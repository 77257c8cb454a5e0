import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support import datahost
from tests.support.datahost import BINLOGS, SPOILED, WHOLE, dataguard, datalocation, hostrecord


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


# --- words


@pytest.mark.parametrize("value", ["east1", "w3.example", "a_b-c", "x" * 255])
def test_a_name(value):
    assert dataguard.name(value, "host") == value


@pytest.mark.parametrize("value", ["", "-e", ".x", "a b", "a;b", "a\n", "*", None, 7, ["a"], "x" * 256])
def test_no_name(value):
    with pytest.raises(SaltInvocationError, match="host is not a valid name"):
        dataguard.name(value, "host")


@pytest.mark.parametrize("run, good", [
    ("20261123-east", True), ("x" * 64, True), ("", False), ("r 1", False), ("r_1", False), ("x" * 65, False),
    (None, False), ("r-1\n", False)])
def test_the_name_of_a_run(run, good):
    if good:
        assert dataguard.run_id(run) == run
    else:
        with pytest.raises(SaltInvocationError, match="run must be"):
            dataguard.run_id(run)


@pytest.mark.parametrize("path, plain", [
    ("/var/lib/mysql", True), ("/data on east/#1", True), ("/x;reboot", False), ("/data/*", False), ("data", False),
    ("/", False), ("/data/", False), ("", False), ("/a\nb", False), ("/data/../etc", False), ("/data/.", False)])
def test_a_plain_path(path, plain):
    assert dataguard.plain(path) is plain


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
def test_paths_that_are_no_data_location(path, files):
    with pytest.raises(CommandExecutionError):
        dataguard.location({"path": path, "files": files})


def test_a_plain_directory_passes(tmp_path):
    spaced = tmp_path / "my data #1"
    spaced.mkdir()
    dataguard.location({"path": str(spaced), "files": WHOLE})


def test_a_link_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(CommandExecutionError, match="symbolic link"):
        dataguard.location({"path": str(tmp_path / "link"), "files": WHOLE})


def test_a_directory_with_the_option_file_in_it_is_refused(facts, tmp_path):
    facts["node"]["mysql"]["defaults_file"] = str(tmp_path / "data" / "my.cnf")
    with pytest.raises(CommandExecutionError, match="my.cnf, which must stay"):
        dataguard.location({"path": str(tmp_path / "data"), "files": WHOLE})


def test_own_memory_is_refused(tmp_path):
    (tmp_path / "remembered" / "data").mkdir(parents=True)
    with pytest.raises(CommandExecutionError, match="in one another"):
        dataguard.location({"path": str(tmp_path / "remembered" / "data"), "files": WHOLE})


@pytest.mark.parametrize("inside, refused", [("", False), ("/tmp", True), ("2", False)])
def test_only_the_location_itself_may_be_a_mount_point(tmp_path, monkeypatch, inside, refused):
    path = str(tmp_path / "data")
    monkeypatch.setattr(dataguard, "_mounts", lambda: ["/", "/proc", path + inside])
    if refused:
        with pytest.raises(CommandExecutionError, match="mounted inside"):
            dataguard.location({"path": path, "files": WHOLE})
    else:
        dataguard.location({"path": path, "files": WHOLE})


def test_mounts_reads_the_kernel():
    assert "/" in dataguard._mounts() and "/proc" in dataguard._mounts()


# --- what must be true for emptying east1, each guard by itself


GUARDS = {
    "check": lambda: dataguard.check("east", "west3"),
    "stopped": lambda: dataguard.stopped({}),
    "cluster": lambda: dataguard.cluster(failed=True),
}


def test_all_pass_where_nothing_is_wrong(facts):
    assert dataguard.check("east", "west3") == datalocation.locations()
    assert dataguard.stopped(datalocation.locations()) == facts["status"]
    assert dataguard.cluster(failed=True) is None


@pytest.mark.parametrize("guard, keys, value, words", SPOILED.values(), ids=SPOILED)
def test_each_guard_refuses_by_itself(facts, guard, keys, value, words):
    datahost.spoil(facts, keys, value)
    with pytest.raises(CommandExecutionError, match=words):
        GUARDS[guard]()


@pytest.mark.parametrize("site, donor", [("east", None), (None, "west3"), ("*", "west3"), ("east", "-e")])
def test_check_takes_no_half_an_order(site, donor):
    with pytest.raises(SaltInvocationError):
        dataguard.check(site, donor)


def test_without_an_order_only_the_places_are_checked(facts, functions):
    functions["datacontent.foreign"].return_value = [{"entry": "dump.sql", "why": "x"}]
    assert dataguard.check() == datalocation.locations()
    facts["settings"]["explicit"]["datadir"] = "/var/log"
    with pytest.raises(CommandExecutionError, match="operating system"):
        dataguard.check()


@pytest.mark.parametrize("source, words", [
    ({"role": "slave", "state": "SHUNNED"}, None),
    ({"role": "slave", "state": "ONLINE"}, "is ONLINE, not SHUNNED"),
    ({"role": "master", "state": "SHUNNED"}, "a donor must be a slave"),
])
def test_of_a_donor_only_itself_has_to_be_out_of_use(facts, source, words):
    facts["ls"].update(coordinator=None, routers={}, datasources={"east1": source})
    if words:
        with pytest.raises(CommandExecutionError, match=words):
            dataguard.cluster(failed=False)
    else:
        assert dataguard.cluster(failed=False) is None


def test_a_process_on_one_of_the_places_is_told(facts):
    facts["processes"]["/logs"] = [{"pid": 99, "name": "mysqld"}]
    with pytest.raises(CommandExecutionError, match="/logs is in use by mysqld, process 99"):
        dataguard.stopped({"datadir": {"path": "/data", "files": WHOLE}, "logs": {"path": "/logs", "files": BINLOGS}})


# --- what lies there


def test_directories_of_the_server_inside_its_own_are_not_foreign(facts, functions, tmp_path):
    for folder in ("redo", "logs/binary"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    facts.update(ping=True)
    facts["variables"].update(innodb_log_group_home_dir="redo", log_bin_basename=f"{tmp_path}/data/logs/binary/bin")
    facts["settings"]["explicit"]["innodb_log_group_home_dir"] = "redo"
    functions["datacontent.foreign"].return_value = [
        {"entry": entry, "why": "x"} for entry in ("redo", "logs/binary", "other")]
    assert dataguard.foreign() == [f"{tmp_path}/data/other: x"]


@pytest.mark.parametrize("state, site, looked", [
    ("emptying", "east", False), ("emptied", "east", False), ("copied", "east", False), ("owned", "east", True),
    ("emptied", "west", True)])
def test_what_a_run_has_begun_to_fill_is_not_looked_at(functions, state, site, looked):
    functions["datacontent.foreign"].return_value = [{"entry": "dump.sql", "why": "x"}]
    hostrecord.save("ownership.json", {"state": state, "site": site})
    assert bool(dataguard.foreign()) is looked
