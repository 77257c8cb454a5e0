import copy
import os
import pwd

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support import datahost
from tests.support.datahost import SPOILED, datacopy, datadir, dataguard, datalocation, hostrecord, run_all


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


@pytest.mark.parametrize("tool, modules", [
    *((tool, (datadir, dataguard, datalocation, datacopy)) for tool in ("find", "rsync")),
    ("chown", (datadir, dataguard, datalocation))])
def test_without_a_tool_none_of_the_modules_loads(tool, modules, monkeypatch):
    assert [module.__virtual__() for module in modules] == [module.__virtualname__ for module in modules]
    monkeypatch.setattr(datadir.salt.utils.path, "which", lambda name: None if name == tool else name)
    assert [module.__virtual__() for module in modules] == [
        (False, f"not in the PATH: {tool}")] * len(modules)


# --- emptying


def deleted(dunder):
    return [
        call.args[0] for call in dunder["cmd.run_all"].mock_calls if call.args and "-delete" in call.args[0]
    ]


def test_empty(facts, tmp_path, functions):
    assert datadir.empty("east", "west3", "r-1")["datadir"]["entries"] == 3
    assert os.listdir(tmp_path / "data") == []
    record = hostrecord.load("ownership.json")
    assert (record["state"], record["site"], record["donor"], record["host"]) == (
        "emptied",
        "east",
        "west3",
        "east1",
    )
    assert record["directories"]["datadir"]["free"] > 0
    assert deleted(functions)[0][:5] == [
        "find", str(tmp_path / "data"), "-ignore_readdir_race", "-xdev", "-mindepth"]


@pytest.mark.parametrize("guard, keys, value, words", SPOILED.values(), ids=SPOILED)
def test_one_false_answer_stops_before_the_first_byte(facts, tmp_path, functions, guard, keys, value, words):
    datahost.spoil(facts, keys, value)
    with pytest.raises(CommandExecutionError, match=words):
        datadir.empty("east", "west3", "r-1")
    assert deleted(functions) == []
    assert (tmp_path / "data" / ".hidden").exists()
    assert not (tmp_path / "remembered" / "ownership.json").exists()


def test_a_tool_that_cannot_tell_stops_it(tmp_path, functions):
    functions["cctrl.ls"].side_effect = CommandExecutionError("neither coordinator nor datasource")
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


def test_what_is_deleted_is_guarded_again_right_before(facts, tmp_path, functions):
    (tmp_path / "undo").mkdir()
    facts["settings"]["explicit"]["innodb_undo_directory"] = f"{tmp_path}/undo"
    asked = []

    def watched(name, real):
        def call(*args, **kwargs):
            if name != "cmd.run_all" or "-delete" in args[0]:
                asked.append((name, args[0][1] if name == "cmd.run_all" else args[0].get("path")))
            return real(*args, **kwargs)

        return call

    for name in ("cmd.run_all", "dataguard.location", "dataguard.stopped"):
        functions[name].side_effect = watched(name, functions[name].side_effect)
    datadir.empty("east", "west3", "r-1")
    assert asked == [
        ("dataguard.stopped", None),
        ("dataguard.location", f"{tmp_path}/data"), ("dataguard.stopped", None), ("cmd.run_all", f"{tmp_path}/data"),
        ("dataguard.location", f"{tmp_path}/undo"), ("dataguard.stopped", None), ("cmd.run_all", f"{tmp_path}/undo"),
    ]


@pytest.mark.parametrize("guard", [
    "dataguard.name", "dataguard.run_id", "dataguard.check", "dataguard.stopped", "dataguard.cluster",
    "dataguard.location"])
def test_without_one_of_the_guards_nothing_is_deleted(tmp_path, functions, guard):
    functions[guard].side_effect = CommandExecutionError("no")
    with pytest.raises(CommandExecutionError, match="no"):
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


def test_what_no_server_has_written_stops_it_and_is_named(functions, tmp_path):
    functions["datacontent.foreign"].return_value = [
        {"entry": "dump.sql", "why": "a file that no server has written"}]
    with pytest.raises(CommandExecutionError, match="not the server's alone.*data/dump.sql: a file that no"):
        datadir.empty("east", "west3", "r-1")
    assert (tmp_path / "data" / ".hidden").exists()


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
    assert hostrecord.load("ownership.json")["state"] == "emptying"
    functions["cmd.run_all"].side_effect = real
    os.chmod(tmp_path / "data", 0o777)
    datadir.empty("east", "west3", "r-1")
    assert os.listdir(tmp_path / "data") == []
    assert hostrecord.load("ownership.json")["directories"]["datadir"]["mode"] == "0750"


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


# --- owner


def complete(**more):
    """The donor has told this host that its copy is complete."""
    hostrecord.save("ownership.json", {**hostrecord.load("ownership.json"), "state": "copied", **more})


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
    assert hostrecord.load("ownership.json")["state"] == "copied"


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


# --- a host that has booted


@pytest.fixture
def reboot(functions):
    """From the call on, the host has booted once more."""
    return lambda boot="later": setattr(functions["hostrecord.boot"], "side_effect", lambda: boot)


def test_which_boot_it_was_emptied_in_is_remembered(tmp_path):
    datadir.empty("east", "west3", "r-1")
    assert hostrecord.load("ownership.json")["boot"] == hostrecord.boot()


@pytest.mark.parametrize("state", ["emptied", "copied"])
def test_what_was_copied_before_a_boot_is_no_copy_and_is_emptied_again(tmp_path, reboot, state):
    """What was not written through to the disk by then is lost, whatever the donor has seen here."""
    os.chmod(tmp_path / "data", 0o750)
    datadir.empty("east", "west3", "r-1")
    (tmp_path / "data" / "ibdata1").write_text("half", encoding="utf-8")
    complete(state=state)
    os.chmod(tmp_path / "data", 0o777)
    reboot()
    assert datadir.copy() is None and not datadir.emptied("east", "west3", "r-1")
    with pytest.raises(CommandExecutionError, match="has booted since it was emptied.*copied anew"):
        datadir.own("r-1")
    assert os.listdir(tmp_path / "data") == ["ibdata1"], "neither marked nor given away"
    assert datadir.empty("east", "west3", "r-1")["datadir"]["entries"] == 1
    assert os.listdir(tmp_path / "data") == []
    record = hostrecord.load("ownership.json")
    assert (record["state"], record["boot"], record["directories"]["datadir"]["mode"]) == ("emptied", "later", "0750")
    assert datadir.emptied("east", "west3", "r-1")
    complete()
    assert datadir.copy() == {"run": "r-1", "state": "copied"}


def test_in_use_a_boot_is_the_servers_own_affair(tmp_path, reboot):
    datadir.empty("east", "west3", "r-1")
    complete()
    datadir.own("r-1")
    reboot()
    assert datadir.copy() == {"run": "r-1", "state": "owned"} and datadir.emptied("east", "west3", "r-1")
    assert datadir.own("r-1") == [] and datadir.empty("east", "west3", "r-1") == {}


def test_a_copy_that_is_on_the_disk_outlives_a_boot(reboot):
    """One that was prepared here says so."""
    datadir.empty("east", "west3", "r-1")
    complete(boot=None)
    reboot()
    assert datadir.copy() == {"run": "r-1", "state": "copied"} and datadir.emptied("east", "west3", "r-1")
    datadir.own("r-1")
    assert datadir.copy()["state"] == "owned"


def test_all_of_it_is_on_the_disk_before_it_is_said_to_be_in_use(monkeypatch):
    said = []
    monkeypatch.setattr(os, "sync", lambda: said.append((
        hostrecord.load("ownership.json")["state"], datadir.misowned(), datadir._marked(datadir._wanted()[0]))))
    datadir.empty("east", "west3", "r-1")
    complete()
    datadir.own("r-1")
    assert said == [("copied", [], "r-1")]
    assert hostrecord.load("ownership.json")["state"] == "owned"


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


def test_locations_that_changed_after_the_emptying_are_not_taken(facts, tmp_path):
    datadir.empty("east", "west3", "r-1")
    complete()
    before = copy.deepcopy(hostrecord.load("ownership.json"))
    (tmp_path / "data2" / "mysql").mkdir(parents=True)
    facts["settings"]["explicit"]["datadir"] = str(tmp_path / "data2")
    for act in (lambda: datadir.own("r-1"), lambda: datadir.empty("east", "west3", "r-2")):
        with pytest.raises(CommandExecutionError, match="have changed"):
            act()
    assert hostrecord.load("ownership.json") == before
    assert (tmp_path / "data2" / "mysql").exists()
