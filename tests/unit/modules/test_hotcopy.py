from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support import datahost
from tests.support.datahost import hostrecord
from tests.support.loader import load

copytarget = load("_modules", "copytarget")
hotcopy = load("_modules", "hotcopy")
hotguard = load("_modules", "hotguard")
hotpipe = load("_modules", "hotpipe")
longjob = load("_modules", "longjob")

METHOD = "mariabackup"
SSH = ["runuser", "-u", "tungsten", "--", "ssh", "-o", "BatchMode=yes"]


@pytest.fixture
def facts(tmp_path):
    """This host is west3, and east1 has been emptied for it."""
    facts = datahost.new_facts(tmp_path)
    facts["node"].update(site="west", service="west", host="west3", minion="w3.example")
    facts["ls"] = {"service": "west", "datasources": {"west3": {"role": "slave", "state": "ONLINE"}}}
    facts.update(
        ping=True, job="absent", jobs=[], ends="done", stopped=[], forgotten=[], told=[], faults=[], unreachable=None,
        refused=None, tells=0,
        record={"state": "emptied", "run": "r-1", "site": "east", "donor": "west3", "host": "east1",
                "unpacks": {"method": METHOD, "series": "10.11"},
                "directories": {"datadir": {"path": "/data on east", "files": [], "user": "mysql", "free": 10**12,
                                            "device": 1}}})  # fmt: skip
    return facts


@pytest.fixture
def functions(facts, tmp_path, monkeypatch):
    monkeypatch.setattr(copytarget, "OPTIONS", ("BatchMode=yes",))
    monkeypatch.setattr(hostrecord, "STATE_DIR", str(tmp_path / "remembered"))
    functions = datahost.new_functions(facts)

    def programs(argv, **kwargs):
        if argv[0] == "find":
            return datahost.run_all(argv, **kwargs)
        assert argv[:4] == ["timeout", "--kill-after=5", "60", argv[3]] and kwargs["stdin"] == ""
        if argv[3] == "rsync":
            assert argv[-1] == f"tungsten@east1:{hostrecord.path('ownership.json')}"
            assert "--rsync-path=sudo -n rsync" in argv and " ".join(SSH) in argv
            if facts["unreachable"]:
                return {"retcode": 255, "stdout": "", "stderr": facts["unreachable"]}
            facts["record"] = hostrecord.load(argv[-2].rpartition("/")[2])
            facts["told"].append(facts["record"].get("stream"))
            return {"retcode": 0, "stdout": "", "stderr": ""}
        assert argv[3 : 3 + len(SSH)] == SSH
        facts["tried"] = argv[3:]
        return {"retcode": facts["tells"], "stdout": "", "stderr": facts["refused"] or ""}

    def start(name, argv, user=None, deadline=None):
        facts["jobs"].append((name, argv, user, deadline))
        facts["job"] = facts["ends"]

    def wait(name, timeout):
        if facts["job"] != "done":
            raise CommandExecutionError(f"the job {name} is {facts['job']}")
        return {"state": "done"}

    functions["cmd.run_all"].side_effect = programs
    functions.update({
        "copytarget.record": create_autospec(copytarget.record, side_effect=lambda *args: dict(facts["record"])),
        "copytarget.guard_places": create_autospec(copytarget.guard_places),
        "copytarget.ssh": create_autospec(copytarget.ssh, return_value=list(SSH)),
        "copytarget.address": create_autospec(copytarget.address, side_effect=lambda host: f"tungsten@{host}"),
        "copytarget.telling": create_autospec(copytarget.telling, side_effect=copytarget.telling),
        "hotguard.tool": create_autospec(
            hotguard.tool, return_value={"path": "/usr/bin/mariadb-backup", "series": "10.11"}),
        "hotguard.unpack": create_autospec(hotguard.unpack, side_effect=hotguard.unpack),
        "hotguard.elsewhere": create_autospec(hotguard.elsewhere, side_effect=hotguard.elsewhere),
        "hotguard.data_faults": create_autospec(hotguard.data_faults, side_effect=lambda method: facts["faults"]),
        "hotpipe.argv": create_autospec(hotpipe.argv, side_effect=lambda *order: list(order)),
        "longjob.status": create_autospec(longjob.status, side_effect=lambda name: {"state": facts["job"]}),
        "longjob.start": create_autospec(longjob.start, side_effect=start),
        "longjob.stop": create_autospec(longjob.stop, side_effect=facts["forgotten"].append),
        "longjob.stop_all": create_autospec(longjob.stop_all, side_effect=facts["stopped"].append),
        "longjob.wait": create_autospec(longjob.wait, side_effect=wait),
    })  # fmt: skip
    return functions


@pytest.fixture
def configure_loader_modules(functions):
    return {**datahost.loader_modules(functions), hotcopy: {"__salt__": functions}}


def stream(**changes):
    return hotcopy.stream(**{"host": "east1", "site": "east", "run": "r-1", "method": METHOD, **changes})


def test_a_backup_is_piped_to_where_it_is_unpacked(facts, tmp_path):
    assert stream(deadline=600, bwlimit=50) == {"running": None, "copied": True}
    [(name, (source, sink, said, then, expected, bwlimit), user, deadline)] = facts["jobs"]
    assert (name, user, deadline, bwlimit) == ("copy-0-r-1", None, 600, 50)
    assert source == [
        "env", "HOME=/root", "/usr/bin/mariadb-backup", f"--defaults-extra-file={tmp_path}/my.cnf", "--backup",
        "--stream=xbstream", "--parallel=4", f"--datadir={tmp_path}/data",
        f"--target-dir={tmp_path}/remembered/scratch",
    ]  # fmt: skip
    assert sink == [*SSH, "-o", "LogLevel=ERROR", "tungsten@east1",
                    "sudo -n -u mysql mbstream -x -p 4 -C '/data on east'"]  # fmt: skip
    assert said == "completed OK!" and expected >= 2
    assert then[0] == "rsync" and hostrecord.load(then[-2].rpartition("/")[2])["stream"] == "whole"
    assert facts["stopped"] == ["copy-"], "no copy of a run that died goes on beside it"


@pytest.mark.parametrize("code, words, told", [
    (126, "this key is for copies by reprovision only", "this key is for copies"),
    (0, "sudo: unable to resolve host east1", "east1 must not say anything .*: sudo: unable to resolve"),
])
def test_that_it_is_unpacked_there_is_tried_before_it_begins(facts, code, words, told):
    facts.update(tells=code, refused=words)
    with pytest.raises(CommandExecutionError, match=told):
        stream()
    assert facts["jobs"] == facts["told"] == []
    assert facts["tried"][-1] == "sudo -n -u mysql mbstream -x -p 4 -C '/data on east'"


def test_the_target_knows_before_the_first_byte_and_after_the_last(facts, functions):
    def start(name, argv, user=None, deadline=None):
        assert facts["told"] == ["going"]
        facts["job"] = "done"

    functions["longjob.start"].side_effect = start
    stream()
    assert facts["told"] == ["going", "whole"] and facts["record"]["state"] == "emptied", "it is no copy yet"


def test_what_the_unit_has_told_is_not_told_again(facts, functions):
    def start(name, argv, user=None, deadline=None):
        facts["job"], facts["record"]["stream"] = "done", "whole"

    functions["longjob.start"].side_effect = start
    assert stream() == {"running": None, "copied": True}
    assert facts["told"] == ["going"]


def test_a_stream_that_could_not_be_announced_does_not_begin(facts):
    facts["unreachable"] = "no route to host"
    with pytest.raises(CommandExecutionError, match="no route to host"):
        stream()
    assert facts["jobs"] == []


@pytest.mark.parametrize("changes", [{"stream": "whole"}, {"state": "copied", "stream": "whole"}])
def test_a_whole_stream_is_not_made_again(facts, changes):
    facts["record"].update(changes)
    assert stream() == {"running": None, "copied": False}
    assert facts["jobs"] == facts["told"] == []


def test_one_that_goes_on_is_waited_for(facts, functions):
    facts["ends"] = "running"
    assert stream(wait=1) == {"running": "copy-0-r-1", "copied": True}
    functions["hotguard.data_faults"].reset_mock()
    assert stream(wait=1) == {"running": "copy-0-r-1", "copied": True}
    assert len(facts["jobs"]) == 1 and facts["told"] == ["going"]
    assert not functions["hotguard.data_faults"].called, "each look at it would ask for all tables"
    facts["job"] = "done"
    assert stream() == {"running": None, "copied": True}
    assert facts["told"] == ["going", "whole"]


@pytest.mark.parametrize("state", ["failed", "absent"])
def test_one_that_died_is_cut(facts, state):
    facts["record"]["stream"] = "going"
    facts["job"] = state
    with pytest.raises(CommandExecutionError, match=f"is {state}"):
        stream()
    assert facts["told"] == ["cut"] and facts["forgotten"] == ["copy-0-r-1"] and facts["jobs"] == []
    facts["job"] = "done"
    with pytest.raises(CommandExecutionError, match="has to be emptied anew"):
        stream()
    assert facts["told"] == ["cut"] and facts["jobs"] == []


def test_one_that_ends_just_after_it_was_waited_for_is_not_cut(facts, functions):
    facts["record"]["stream"] = "going"
    facts["job"] = "running"

    def wait(name, timeout):
        facts["job"] = "done"
        raise CommandExecutionError("did not end within 1 s")

    functions["longjob.wait"].side_effect, waits = wait, functions["longjob.wait"].side_effect
    assert stream(wait=1) == {"running": "copy-0-r-1", "copied": True}
    assert facts["told"] == facts["forgotten"] == []
    functions["longjob.wait"].side_effect = waits
    assert stream() == {"running": None, "copied": True}
    assert facts["told"] == ["whole"]


def test_one_that_died_with_its_link(facts):
    facts.update(job="failed", unreachable="no route to host")
    facts["record"]["stream"] = "going"
    with pytest.raises(CommandExecutionError, match="is failed"):
        stream()
    assert facts["forgotten"] == ["copy-0-r-1"]


def test_what_an_earlier_stream_left_is_not_taken_for_this_one(facts):
    """The target has been emptied since: a unit that ended well then proves nothing now."""
    facts["job"] = "done"
    stream()
    assert len(facts["jobs"]) == 1


UNFIT = {
    "a master": (["ls", "datasources", "west3", "role"], "master", "must be a slave"),
    "unknown": (["ls", "datasources"], {}, "must be a slave"),
    "down": (["ping"], False, "does not answer"),
    "emptied for a cold copy": (["record", "unpacks"], None, "has been emptied for None"),
    "other series there": (["record", "unpacks", "series"], "10.6", "'10.6'.*, not for .*'10.11'"),
    "other method there": (["record", "unpacks", "method"], "xtrabackup", "emptied for .*xtrabackup"),
    "engine": (["faults"], ["tables of the engine ROCKSDB"], "ROCKSDB"),
    "no user": (["record", "directories", "datadir", "user"], "1001", "no user's name"),
}


@pytest.mark.parametrize("keys, value, words", UNFIT.values(), ids=UNFIT)
def test_stream_refuses_to_begin(facts, keys, value, words):
    datahost.spoil(facts, keys, value)
    with pytest.raises(CommandExecutionError, match=words):
        stream()
    assert facts["jobs"] == facts["told"] == facts["stopped"] == []


def test_stream_refuses_a_target_without_room(facts, functions):
    functions["copytarget.guard_places"].side_effect = CommandExecutionError("has room for 1")
    with pytest.raises(CommandExecutionError, match="has room for 1"):
        stream()
    assert facts["jobs"] == facts["told"] == []


@pytest.mark.parametrize("name, outside", [("x.isl", None), ("link", "/etc")])
def test_stream_refuses_data_that_lie_outside(facts, tmp_path, name, outside):
    path = tmp_path / "data" / name
    if outside:
        path.symlink_to(outside)
    else:
        path.write_text("/elsewhere/x.ibd", encoding="utf-8")
    with pytest.raises(CommandExecutionError, match=f"through a link: .*{name}"):
        stream()
    assert facts["jobs"] == []


def test_stream_refuses_data_beside_the_data_directory(facts, tmp_path):
    (tmp_path / "undo").mkdir()
    facts["variables"]["innodb_undo_directory"] = str(tmp_path / "undo")
    with pytest.raises(CommandExecutionError, match="innodb_undo_directory"):
        stream()
    assert facts["jobs"] == []


@pytest.mark.parametrize("bwlimit", [-1, "5", 1.5, True, None])
def test_a_limit_is_a_number(facts, bwlimit):
    with pytest.raises(SaltInvocationError, match="bwlimit"):
        stream(bwlimit=bwlimit)
    assert facts["jobs"] == []
