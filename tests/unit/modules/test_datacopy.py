"""datacopy: what a copy needs, how it is made and proved, and the copy ahead that is worth nothing by itself."""

import os
import time
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support import datahost
from tests.support.datahost import (
    BINLOGS,
    UNFIT_PLACES,
    UNFIT_TARGET,
    datacontent,
    datacopy,
    datadir,
    hostrecord,
)
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


class Jobs:
    """``longjob``: what is begun ends at once, done after a second unless ``ends`` tells otherwise for its name."""

    def __init__(self):
        self.known, self.ends, self.begun, self.order = {}, {}, [], []

    def put(self, name, state, seconds=1.0, rc=None):
        self.known[name] = {"name": name, "state": state, "seconds": seconds, "rc": 0 if state == "done" else rc}

    def status(self, name):
        return self.known.get(name) or {"name": name, "state": "absent", "seconds": None, "rc": None}

    def start(self, name, argv, user=None, deadline=None):
        assert self.status(name)["state"] != "running", "not started twice"
        self.begun.append((name, argv, user, deadline))
        self.order.append(("begun", name))
        self.put(name, **self.ends.get(name, {"state": "done"}))

    def wait(self, name, timeout):
        if self.status(name)["state"] != "done":
            raise CommandExecutionError(f"the job {name} is {self.status(name)['state']}")
        return self.status(name)

    def stop(self, name):
        self.order.append(("forgotten", name))
        self.known.pop(name, None)

    def stop_all(self, prefix):
        self.order.append(("ended", prefix))
        self.known = {name: job for name, job in self.known.items() if not name.startswith(prefix)}

    def did(self, what):
        return [about for did, about in self.order if did == what]


@pytest.fixture
def jobs(functions):
    jobs = Jobs()
    functions.update({
        **{f"longjob.{name}": create_autospec(getattr(longjob, name), side_effect=getattr(jobs, name))
           for name in ("status", "start", "stop", "stop_all", "wait")},
        "longjob.failure": create_autospec(longjob.failure, return_value="the job failed: No space left on device"),
    })
    return jobs


@pytest.fixture
def donor(facts, functions, jobs):
    """This host is west3, and east1 has been emptied for it."""
    # What each look for differences finds; the last one is found for ever.
    facts["left"] = ["<f+++++++++ ibdata1\n", ""]

    def look(words):
        assert words[0] == "rsync" and "-n" in words
        left = facts["left"].pop(0) if len(facts["left"]) > 1 else facts["left"][0]
        return {"retcode": 0, "stdout": left, "stderr": ""}

    datahost.become_donor(facts, functions, look)
    return facts


@pytest.fixture
def logs(donor, tmp_path):
    """The binary logs lie in a directory of their own."""
    logs = tmp_path / "logs"
    logs.mkdir()
    donor["settings"]["explicit"]["log_bin"] = str(logs / "mysql-bin")
    donor["record"]["directories"]["log_bin_basename"] = {
        "path": str(logs), "files": BINLOGS, "free": 10**9, "device": 2}
    return logs


@pytest.mark.parametrize("missing", ["find", "ionice", "nice", "rsync"])
def test_without_its_tools_it_is_not_there(monkeypatch, missing):
    monkeypatch.setattr(datacopy.salt.utils.path, "which", lambda tool: None if tool == missing else f"/bin/{tool}")
    assert datacopy.__virtual__() == (False, f"not in the PATH: {missing}")


def test_sync_copies_as_root_without_the_identity(donor, jobs, tmp_path):
    assert datacopy.sync("east1", "east", "r-1", deadline=600) == {"running": None, "copied": True}
    [(name, argv, user, deadline)] = jobs.begun
    assert name == "copy-0-r-1" and user is None and deadline == 600
    assert jobs.order == [("ended", "copy-0-"), ("ended", "copy-ahead-"), ("begun", "copy-0-r-1")], (
        "no copy of a run that died goes on beside it")
    assert argv[-2:] == [f"{tmp_path}/data/", "tungsten@east1:/data on east/"]
    assert {"--exclude=/auto.cnf", "--exclude=/.reprovision", "--delete"} < set(argv)
    assert "-n" not in argv and "-z" not in argv
    assert not [word for word in argv if word.startswith(("--compress", "--bwlimit", "--inplace"))]
    assert "--rsync-path=sudo -n rsync" in argv
    assert argv[argv.index("-e") + 1].startswith(
        "runuser -u tungsten -- ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"
    )


def test_sync_hands_the_record_over_only_when_all_is_equal(donor):
    datacopy.sync("east1", "east", "r-1")
    assert donor["told"] == [{**donor["record"], "state": "copied"}]


def test_sync_waits_for_a_copy_that_goes_on(donor, jobs):
    donor["left"] = [""]
    jobs.put("copy-0-r-1", "running")
    assert datacopy.sync("east1", "east", "r-1") == {"running": "copy-0-r-1", "copied": True}
    assert jobs.order == donor["told"] == [], "neither begun twice nor declared complete"


def test_sync_of_what_is_there_already_copies_nothing(donor, jobs):
    donor["left"] = [""]
    assert datacopy.sync("east1", "east", "r-1") == {"running": None, "copied": False}
    assert jobs.begun == [] and len(donor["told"]) == 1


@pytest.mark.parametrize("begun", [True, False])
def test_a_copy_that_failed_is_begun_again_by_another_attempt_only(donor, jobs, begun):
    jobs.put("copy-0-r-1", "failed", rc=11)
    if begun:
        with pytest.raises(CommandExecutionError, match="No space left on device"):
            datacopy.sync("east1", "east", "r-1", begun=True)
        assert jobs.order == [("forgotten", "copy-0-r-1")]
    else:
        datacopy.sync("east1", "east", "r-1")
        assert len(jobs.begun) == 1


def test_a_copy_that_ended_well_and_differs_is_an_error_in_its_own_attempt(donor, jobs):
    donor["left"] = ["<f.st...... ibdata1\n"]
    jobs.put("copy-0-r-1", "done")
    with pytest.raises(CommandExecutionError, match="differs.*ibdata1"):
        datacopy.sync("east1", "east", "r-1", begun=True)
    assert donor["told"] == [] and jobs.order == [("forgotten", "copy-0-r-1")]


@pytest.mark.parametrize("rc", [11, 24])
def test_a_copy_that_fails_while_it_is_waited_for(donor, jobs, rc):
    """With the server at rest no file goes away."""
    jobs.ends["copy-0-r-1"] = {"state": "failed", "rc": rc}
    with pytest.raises(CommandExecutionError, match="is failed"):
        datacopy.sync("east1", "east", "r-1")
    assert donor["told"] == [] and jobs.did("forgotten") == ["copy-0-r-1"]


def test_sync_of_logs_takes_their_own_files_only(donor, jobs, logs):
    donor["left"] = ["<f a\n", "", "<f b\n", ""]
    datacopy.sync("east1", "east", "r-1")
    assert [name for name, *_ in jobs.begun] == ["copy-0-r-1", "copy-1-r-1"]
    argv = jobs.begun[1][1]
    assert [word for word in argv if "clude" in word] == [f"--include=/{name}" for name in BINLOGS] + [
        "--exclude=*"
    ]


def test_sync_proves_the_copy(donor, jobs):
    donor["left"] = ["<f.st...... ibdata1\n"]
    with pytest.raises(CommandExecutionError, match="differs.*ibdata1"):
        datacopy.sync("east1", "east", "r-1")
    assert len(jobs.begun) == 1 and donor["told"] == []


def test_differences_are_told_and_nothing_is_copied(donor, jobs):
    assert datacopy.differences("east1", "east", "r-1") == ["<f+++++++++ ibdata1"]
    assert datacopy.differences("east1", "east", "r-1") == []
    assert jobs.order == donor["told"] == []


def test_the_marker_has_one_name():
    assert datacopy.MARKER == datadir.MARKER and datadir.MARKER in datacontent.OWN_FILES


# {what is wrong: (where in the facts, the value there, what sync says to it)}: what this host is like itself.
UNFIT_HERE = {
    "server here": (["status", "running"], True, "not stopped"),
    "crashed": (["status", "result"], "signal", "not clean"),
    "not shunned": (["ls", "datasources", "west3", "state"], "ONLINE", "not SHUNNED"),
    "a master": (["ls", "datasources", "west3", "role"], "master", "must be a slave"),
}
UNFIT_THERE = {**UNFIT_TARGET, **UNFIT_PLACES}
UNFIT = {**UNFIT_HERE, **UNFIT_THERE}
STRANGE = [{"host": "east1 -oProxyCommand=x"}, {"host": "-e"}, {"site": "*"}, {"run": "r 1"}, {"run": "x" * 65}]


@pytest.mark.parametrize("function", ["sync", "differences"])
@pytest.mark.parametrize("keys, value, words", UNFIT.values(), ids=UNFIT)
def test_sync_refuses(donor, jobs, function, keys, value, words):
    datahost.spoil(donor, keys, value)
    with pytest.raises(CommandExecutionError, match=words):
        getattr(datacopy, function)("east1", "east", "r-1")
    assert jobs.order == donor["told"] == []


@pytest.mark.parametrize("keys, value, words", UNFIT_THERE.values(), ids=UNFIT_THERE)
def test_ahead_refuses(donor, jobs, keys, value, words):
    datahost.spoil(donor, keys, value)
    with pytest.raises(CommandExecutionError, match=words):
        datacopy.ahead("east1", "east", "r-1")
    assert jobs.order == donor["told"] == []
    assert hostrecord.load(datacopy.AHEAD) is None


@pytest.mark.parametrize("function", ["sync", "ahead", "differences"])
@pytest.mark.parametrize("change", STRANGE)
def test_no_strange_words(donor, jobs, function, change):
    with pytest.raises(SaltInvocationError):
        getattr(datacopy, function)(**{"host": "east1", "site": "east", "run": "r-1", **change})
    assert jobs.order == donor["asked"] == []


@pytest.mark.parametrize("function", ["sync", "ahead"])
@pytest.mark.parametrize("site, host", [("west", "east1"), ("east", "west3"), ("north", "east1")])
def test_only_into_the_failed_site(donor, jobs, function, site, host):
    with pytest.raises(CommandExecutionError, match="not a host of the failed site"):
        getattr(datacopy, function)(host, site, "r-1")
    assert jobs.order == []


@pytest.mark.parametrize("function", ["sync", "ahead"])
@pytest.mark.parametrize("name, outside", [("x.isl", None), ("link", "/etc"), ("link", "mysql")])
def test_data_that_lie_outside_are_refused(donor, jobs, tmp_path, function, name, outside):
    path = tmp_path / "data" / name
    if outside:
        path.symlink_to(outside)
    else:
        path.write_text("/elsewhere/x.ibd", encoding="utf-8")
    if outside == "mysql":
        getattr(datacopy, function)("east1", "east", "r-1")
    else:
        with pytest.raises(CommandExecutionError, match=name):
            getattr(datacopy, function)("east1", "east", "r-1")
        assert jobs.begun == []


# --- on its way


WRONG_WAY = [
    *({"compress": value} for value in ("gzip", "", None, True, "zstd --rsync-path=x", ["zstd"])),
    *({"bwlimit": value} for value in (-1, "50", 1.5, None, True, "1 --delete", [])),
]


@pytest.mark.parametrize("function", ["sync", "ahead"])
@pytest.mark.parametrize("way", WRONG_WAY, ids=repr)
def test_an_unknown_way_is_refused_before_anything_is_asked(donor, jobs, functions, function, way):
    with pytest.raises(SaltInvocationError, match=next(iter(way))):
        getattr(datacopy, function)("east1", "east", "r-1", **way)
    functions["cmd.run_all"].assert_not_called()
    assert jobs.order == []


@pytest.mark.parametrize("way, told", [
    ({}, []),
    ({"compress": "none", "bwlimit": 0}, []),
    ({"compress": "zstd"}, ["--compress", "--compress-choice=zstd", "--compress-level=1"]),
    ({"compress": "lz4", "bwlimit": 50},
     ["--compress", "--compress-choice=lz4", "--compress-level=1", "--bwlimit=50M"]),
    ({"bwlimit": 1}, ["--bwlimit=1M"]),
])
def test_every_copy_is_compressed_and_limited_as_ordered(donor, jobs, way, told):
    datacopy.ahead("east1", "east", "r-1", **way)
    datacopy.sync("east1", "east", "r-1", **way)
    assert [name for name, *_ in jobs.begun] == ["copy-ahead-0-0-r-1", "copy-touched-0-r-1", "copy-0-r-1"]
    for _, argv, _, _ in jobs.begun:
        assert [word for word in argv if word.startswith(("--compress", "--bwlimit"))] == told
        assert {"--info=progress2", "--stats"} < set(argv)


# --- ahead


SLOW = {"state": "done", "seconds": 60.0}
AHEAD = [f"copy-ahead-0-{turn}-r-1" for turn in range(4)]


def ahead(**more):
    return datacopy.ahead("east1", "east", "r-1", **more)


def test_ahead_copies_while_the_server_serves(donor, jobs, functions, tmp_path):
    donor["status"].update(running=True, active="active")
    donor["ls"] = {"service": "west", "datasources": {"west3": {"role": "slave", "state": "ONLINE"}}}
    donor["ping"] = True
    before = int(time.time())
    assert ahead(deadline=600) == {"running": None}
    [(name, argv, user, deadline)] = jobs.begun
    assert (name, user, deadline) == ("copy-ahead-0-0-r-1", None, 600)
    assert argv[:8] == ["nice", "-n", "19", "ionice", "-c", "2", "-n", "7"], "whoever else wants it is first"
    assert argv[8:10] == ["rsync", "-a"] and argv[-2:] == [f"{tmp_path}/data/", "tungsten@east1:/data on east/"]
    assert {"--exclude=/auto.cnf", "--exclude=/.reprovision", "--exclude=/lost+found", "--delete", "--omit-dir-times",
            "--protect-args", "--timeout=300", "--rsync-path=sudo -n rsync"} < set(argv)
    assert not {"--inplace", "--no-whole-file"} & set(argv), "a file that is not yet whole lies beside the old one"
    known = hostrecord.load(datacopy.AHEAD)
    assert {**known, "began": 0} == {"host": "east1", "run": "r-1", "began": 0}
    assert before <= known["began"] <= time.time()
    assert donor["told"] == [], "emptied is what it is called until the copy that counts"
    functions["cctrl.ls"].assert_not_called()


def test_what_an_attempt_that_died_has_left_going_is_ended_before_anything_is_begun(donor, jobs):
    for name in ("copy-ahead-0-0-r-0", "copy-0-r-1", "copy-touched-0-r-1", AHEAD[0]):
        jobs.put(name, "running")
    assert ahead() == {"running": None}
    assert jobs.order == [("ended", "copy-"), ("begun", AHEAD[0])]


def test_when_it_began_is_remembered_before_anything_is_begun(donor, jobs, functions):
    seen = []
    functions["longjob.start"].side_effect = lambda name, argv, **more: (
        seen.append(hostrecord.load(datacopy.AHEAD)["run"]), jobs.start(name, argv, **more))
    ahead()
    assert seen == ["r-1"]


def test_a_later_call_of_the_same_attempt_finds_its_copy_again(donor, jobs):
    jobs.ends[AHEAD[0]] = {"state": "running"}
    assert ahead() == {"running": AHEAD[0]}
    began = {"host": "east1", "run": "r-1", "began": 7}
    hostrecord.save(datacopy.AHEAD, began)
    jobs.order.clear()
    assert ahead(begun=True) == {"running": AHEAD[0]}
    assert jobs.order == [], "neither ended nor begun twice"
    jobs.put(AHEAD[0], "done")
    assert ahead(begun=True) == {"running": None}
    assert jobs.order == [] and hostrecord.load(datacopy.AHEAD) == began


def test_it_waits_as_long_as_it_is_told(donor, functions):
    ahead(wait=5)
    functions["longjob.wait"].assert_called_once_with(AHEAD[0], 5)


@pytest.mark.parametrize("seconds, turns", [
    ([59.9], 1), ([60.0, 59.9], 2), ([3600.0, 60.0, 59.9], 3), ([3600.0, 3600.0, 3600.0], 3)])
def test_what_took_long_is_done_again_in_place(donor, jobs, seconds, turns):
    for name, took in zip(AHEAD, seconds, strict=False):
        jobs.ends[name] = {"state": "done", "seconds": took}
    assert ahead() == {"running": None}
    assert [name for name, *_ in jobs.begun] == AHEAD[:turns]
    for turn, (_, argv, _, _) in enumerate(jobs.begun):
        assert {"--inplace", "--no-whole-file"} <= set(argv) if turn else "--inplace" not in argv
        assert "--delete" in argv and argv[0] == "nice"


def test_the_locations_take_long_together(donor, jobs, logs):
    for number in (0, 1):
        jobs.ends[f"copy-ahead-{number}-0-r-1"] = {"state": "done", "seconds": 30.0}
    ahead()
    assert [name for name, *_ in jobs.begun] == [
        f"copy-ahead-{number}-{turn}-r-1" for turn in (0, 1) for number in (0, 1)]
    argv = jobs.begun[1][1]
    assert [word for word in argv if "clude" in word] == [f"--include=/{name}" for name in BINLOGS] + ["--exclude=*"]


def test_turns_go_on_over_calls(donor, jobs):
    jobs.ends.update({AHEAD[0]: SLOW, AHEAD[1]: {"state": "running"}})
    assert ahead() == {"running": AHEAD[1]}
    assert ahead(begun=True) == {"running": AHEAD[1]}
    jobs.put(AHEAD[1], "done", seconds=1.0)
    assert ahead(begun=True) == {"running": None}
    assert jobs.did("begun") == AHEAD[:2]


def test_files_that_went_away_meanwhile_are_harmless(donor, jobs):
    jobs.ends[AHEAD[0]] = {"state": "failed", "seconds": 60.0, "rc": 24}
    assert ahead() == {"running": None}
    assert jobs.did("begun") == AHEAD[:2] and jobs.did("forgotten") == []
    assert ahead(begun=True) == {"running": None}
    assert jobs.did("begun") == AHEAD[:2], "it counts as done"


@pytest.mark.parametrize("rc", [1, 11, 12, 23, 30, 255, -15, None])
def test_other_failures_are_not(donor, jobs, rc):
    jobs.ends[AHEAD[0]] = {"state": "failed", "rc": rc}
    with pytest.raises(CommandExecutionError, match="is failed"):
        ahead()
    assert jobs.did("forgotten") == [AHEAD[0]]


def test_one_that_failed_between_two_calls_is_an_error_in_its_own_attempt(donor, jobs):
    jobs.put(AHEAD[0], "failed", rc=11)
    with pytest.raises(CommandExecutionError, match="is failed"):
        ahead(begun=True)
    assert jobs.order == [("forgotten", AHEAD[0])]


def test_a_target_that_is_said_to_be_copied_is_told_first_that_it_is_not(donor, jobs, functions):
    donor["record"]["state"] = "copied"
    told = []
    functions["longjob.start"].side_effect = lambda name, argv, **more: (
        told.append(list(donor["told"])), jobs.start(name, argv, **more))
    ahead()
    assert told == [[{**donor["record"], "state": "emptied"}]], "one that is not whole is never taken into use"


def test_a_target_that_cannot_be_told_is_not_touched(donor, jobs, functions):
    donor["record"]["state"] = "copied"
    functions["copytarget.tell"].side_effect = CommandExecutionError("connection closed")
    with pytest.raises(CommandExecutionError, match="connection closed"):
        ahead()
    assert jobs.begun == []


def test_when_the_first_of_a_run_began_counts(donor, jobs):
    began = {"host": "east1", "run": "r-1", "began": 7}
    hostrecord.save(datacopy.AHEAD, began)
    ahead()
    assert hostrecord.load(datacopy.AHEAD) == began


@pytest.mark.parametrize("other", [{"run": "r-0"}, {"host": "east2"}])
def test_that_of_another_run_or_target_does_not(donor, jobs, other):
    hostrecord.save(datacopy.AHEAD, {"host": "east1", "run": "r-1", "began": 7, **other})
    before = int(time.time())
    ahead()
    known = hostrecord.load(datacopy.AHEAD)
    assert (known["host"], known["run"]) == ("east1", "r-1") and known["began"] >= before


# --- the copy after it


TOUCHED, COPY = "copy-touched-0-r-1", "copy-0-r-1"


@pytest.fixture
def copied_ahead(donor, tmp_path):
    """A copy ahead began an hour ago; ``since``, ``before`` and the like were written to at that time or around it."""
    began = int(time.time()) - 3600
    hostrecord.save(datacopy.AHEAD, {"host": "east1", "run": "r-1", "began": began})
    for path in (tmp_path / "data").rglob("*"):
        os.utime(path, (1, 1))
    for name, mtime in {"mysql/before": began - datacopy.MARGIN - 1, "mysql/margin": began - datacopy.MARGIN + 1,
                        "while it ran\n": began + 30, "lost+found/x": began + 30}.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name, encoding="utf-8")
        os.utime(path, (mtime, mtime))
    return donor


def sync(**more):
    return datacopy.sync("east1", "east", "r-1", **more)


def test_what_was_touched_is_compared_before_anything_else(copied_ahead, jobs, tmp_path):
    assert sync(deadline=600) == {"running": None, "copied": True}
    assert jobs.order == [("ended", "copy-"), ("begun", TOUCHED), ("ended", "copy-0-"), ("ended", "copy-ahead-"),
                          ("begun", COPY)]
    name, argv, user, deadline = jobs.begun[0]
    assert (user, deadline) == (None, 600)
    names = hostrecord.path("touched-0.names")
    assert {"--ignore-times", "--inplace", "--no-whole-file", "--from0", f"--files-from={names}", "-a",
            "--exclude=/auto.cnf", "--exclude=/.reprovision", "--rsync-path=sudo -n rsync"} < set(argv)
    assert "--delete" not in argv and "-n" not in argv and argv[0] == "rsync", "the donor is out: it makes haste"
    assert argv[-2:] == [f"{tmp_path}/data/", "tungsten@east1:/data on east/"]
    with open(names, encoding="utf-8") as listed:
        assert sorted(listed.read().split("\0")) == ["", "mysql/margin", "while it ran\n"]
    assert "--delete" in jobs.begun[1][1] and "--ignore-times" not in jobs.begun[1][1]
    assert copied_ahead["told"] == [{**copied_ahead["record"], "state": "copied"}]


def test_of_logs_only_their_own_files_are_compared(copied_ahead, jobs, logs):
    for name in ("mysql-bin.000007", "mysql-bin.index", "error.log"):
        (logs / name).write_text("x", encoding="utf-8")
    copied_ahead["left"] = [""]
    sync()
    assert [name for name, *_ in jobs.begun] == [TOUCHED, "copy-touched-1-r-1"]
    with open(hostrecord.path("touched-1.names"), encoding="utf-8") as listed:
        assert sorted(listed.read().split("\0")) == ["", "mysql-bin.000007", "mysql-bin.index"]
    assert f"--files-from={hostrecord.path('touched-1.names')}" in jobs.begun[1][1]


def test_equal_by_size_and_time_it_is_compared_all_the_same(copied_ahead, jobs):
    copied_ahead["left"] = [""]
    assert sync() == {"running": None, "copied": True}
    assert jobs.did("begun") == [TOUCHED] and len(copied_ahead["told"]) == 1


def test_a_fresh_attempt_compares_anew(copied_ahead, jobs):
    """Whatever was compared before, the server has run since, perhaps."""
    copied_ahead["left"] = [""]
    jobs.put(TOUCHED, "done")
    jobs.put(COPY, "running")
    assert sync() == {"running": None, "copied": True}
    assert jobs.order == [("ended", "copy-"), ("begun", TOUCHED)]


def test_its_own_attempt_compares_once(copied_ahead, jobs):
    copied_ahead["left"] = [""]
    jobs.put(TOUCHED, "done")
    jobs.put(COPY, "done")
    assert sync(begun=True) == {"running": None, "copied": True}
    assert jobs.order == [] and len(copied_ahead["told"]) == 1


def test_a_comparison_that_goes_on_is_named_and_nothing_else_begun(copied_ahead, jobs):
    jobs.ends[TOUCHED] = {"state": "running"}
    for begun in (False, True):
        assert sync(begun=begun) == {"running": TOUCHED, "copied": True}
    assert jobs.did("begun") == [TOUCHED] and copied_ahead["told"] == []


@pytest.mark.parametrize("rc", [11, 24])
def test_a_comparison_that_fails_is_an_error(copied_ahead, jobs, rc):
    jobs.ends[TOUCHED] = {"state": "failed", "rc": rc}
    with pytest.raises(CommandExecutionError, match="is failed"):
        sync()
    assert jobs.did("begun") == [TOUCHED] and jobs.did("forgotten") == [TOUCHED] and copied_ahead["told"] == []


@pytest.mark.parametrize("other", [{"run": "r-0"}, {"host": "east2"}])
def test_without_a_copy_ahead_of_this_run_nothing_is_compared(copied_ahead, jobs, other):
    hostrecord.save(datacopy.AHEAD, {**hostrecord.load(datacopy.AHEAD), **other})
    assert datacopy.differences("east1", "east", "r-1") == ["<f+++++++++ ibdata1"]
    copied_ahead["left"] = ["<f+++++++++ ibdata1\n", ""]
    assert sync() == {"running": None, "copied": True}
    assert jobs.did("begun") == [COPY] and jobs.did("ended") == ["copy-0-", "copy-ahead-"]


def test_differences_name_what_has_to_be_compared(copied_ahead, jobs, tmp_path):
    copied_ahead["left"] = ["<f.st...... ibdata1\n"]
    found = datacopy.differences("east1", "east", "r-1")
    assert found[0] == "<f.st...... ibdata1"
    assert sorted(filter(None, found[1:])) == [f"{tmp_path}/data/mysql/margin", f"{tmp_path}/data/while it ran"]
    assert jobs.order == copied_ahead["told"] == []


def test_what_is_copied_has_been_compared(copied_ahead):
    copied_ahead["record"]["state"] = "copied"
    copied_ahead["left"] = [""]
    assert datacopy.differences("east1", "east", "r-1") == []


@pytest.mark.parametrize("found", [{"retcode": 1, "stderr": "find: Input/output error"}, {"retcode": 124}])
def test_what_was_touched_has_to_be_known(copied_ahead, jobs, functions, found):
    run = functions["cmd.run_all"].side_effect
    functions["cmd.run_all"].side_effect = lambda argv, **more: (
        {"stdout": "", "stderr": "", **found} if "-newermt" in argv else run(argv, **more))
    with pytest.raises(CommandExecutionError, match="find (failed with 1: find: Input|did not end within 600 s)"):
        sync()
    assert jobs.begun == [] and copied_ahead["told"] == []
