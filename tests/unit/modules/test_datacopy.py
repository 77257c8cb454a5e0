from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support import datahost
from tests.support.datahost import BINLOGS, datacontent, datacopy, datadir, hostrecord, run_all
from tests.support.loader import load

longjob = load("_modules", "longjob")


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
            facts["told"].append(hostrecord.load("target-east1.json"))
            return {"retcode": 0, "stdout": "", "stderr": ""}
        if "ownership.json" in line:
            hostrecord.save("target-east1.json", facts["record"])
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
    assert datacopy.sync("east1", "east", "r-1", deadline=600) == {"running": None, "copied": True}
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
    datacopy.sync("east1", "east", "r-1")
    assert donor["told"] == [{**donor["record"], "state": "copied"}]


def test_sync_waits_for_a_copy_that_goes_on(donor):
    donor.update(job="running", left=[""])
    assert datacopy.sync("east1", "east", "r-1") == {"running": "copy-0-r-1", "copied": True}
    assert donor["jobs"] == donor["stopped"] == donor["told"] == [], "neither begun twice nor declared complete"


def test_sync_of_what_is_there_already_copies_nothing(donor):
    donor["left"] = [""]
    assert datacopy.sync("east1", "east", "r-1") == {"running": None, "copied": False}
    assert donor["jobs"] == [] and len(donor["told"]) == 1


@pytest.mark.parametrize("begun", [True, False])
def test_a_copy_that_failed_is_begun_again_by_another_attempt_only(donor, begun):
    donor["job"] = "failed"
    if begun:
        with pytest.raises(CommandExecutionError, match="No space left on device"):
            datacopy.sync("east1", "east", "r-1", begun=True)
        assert donor["jobs"] == [] and donor["forgotten"] == ["copy-0-r-1"]
    else:
        datacopy.sync("east1", "east", "r-1")
        assert len(donor["jobs"]) == 1


def test_a_copy_that_ended_well_and_differs_is_an_error_in_its_own_attempt(donor):
    donor.update(job="done", left=["<f.st...... ibdata1\n"])
    with pytest.raises(CommandExecutionError, match="differs.*ibdata1"):
        datacopy.sync("east1", "east", "r-1", begun=True)
    assert donor["jobs"] == donor["told"] == [] and donor["forgotten"] == ["copy-0-r-1"]


def test_a_copy_that_fails_while_it_is_waited_for(donor):
    donor["ends"] = "failed"
    with pytest.raises(CommandExecutionError, match="is failed"):
        datacopy.sync("east1", "east", "r-1")
    assert donor["told"] == [] and donor["forgotten"] == ["copy-0-r-1"]


def test_sync_of_logs_takes_their_own_files_only(donor, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    donor["settings"]["explicit"]["log_bin"] = str(logs / "mysql-bin")
    donor["record"]["directories"]["log_bin_basename"] = {"path": str(logs), "files": BINLOGS, "free": 10**9,
                                                             "device": 2}
    donor["left"] = ["<f a\n", "", "<f b\n", ""]
    donor["job"] = "absent"
    datacopy.sync("east1", "east", "r-1")
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
        datacopy._guard_room("east1", needed, there)
    else:
        with pytest.raises(CommandExecutionError, match="have . bytes here, east1 has room for . in /"):
            datacopy._guard_room("east1", needed, there)


def test_sync_proves_the_copy(donor):
    donor["left"] = ["<f.st...... ibdata1\n"]
    with pytest.raises(CommandExecutionError, match="differs.*ibdata1"):
        datacopy.sync("east1", "east", "r-1")
    assert len(donor["jobs"]) == 1 and donor["told"] == []


def test_differences_are_told_and_nothing_is_copied(donor):
    assert datacopy.differences("east1", "east", "r-1") == ["<f+++++++++ ibdata1"]
    assert datacopy.differences("east1", "east", "r-1") == []
    assert donor["jobs"] == donor["told"] == []


def test_the_record_and_the_marker_have_one_name():
    assert datacopy.RECORD == datadir.RECORD
    assert datacopy.MARKER == datadir.MARKER and datadir.MARKER in datacontent.OWN_FILES


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
    datahost.spoil(donor, keys, value)
    with pytest.raises(CommandExecutionError, match=words):
        datacopy.sync("east1", "east", "r-1")
    assert donor["jobs"] == []


@pytest.mark.parametrize(
    "change",
    [{"host": "east1 -oProxyCommand=x"}, {"host": "-e"}, {"site": "*"}, {"run": "r 1"}, {"run": "x" * 65}],
)
def test_sync_takes_no_strange_words(donor, change):
    with pytest.raises(SaltInvocationError):
        datacopy.sync(**{"host": "east1", "site": "east", "run": "r-1", **change})
    assert donor["jobs"] == []


@pytest.mark.parametrize("site, host", [("west", "east1"), ("east", "west3"), ("north", "east1")])
def test_sync_only_into_the_failed_site(donor, site, host):
    with pytest.raises(CommandExecutionError, match="not a host of the failed site"):
        datacopy.sync(host, site, "r-1")


@pytest.mark.parametrize("name, outside", [("x.isl", None), ("link", "/etc"), ("link", "mysql")])
def test_sync_refuses_data_that_lie_outside(donor, tmp_path, name, outside):
    path = tmp_path / "data" / name
    if outside:
        path.symlink_to(outside)
    else:
        path.write_text("/elsewhere/x.ibd", encoding="utf-8")
    if outside == "mysql":
        datacopy.sync("east1", "east", "r-1")
    else:
        with pytest.raises(CommandExecutionError, match=name):
            datacopy.sync("east1", "east", "r-1")
