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
    copytarget,
    datacontent,
    datacopy,
    datadir,
    hostrecord,
)
from tests.support.loader import load

copystreams = load("_modules", "copystreams")
jobgroup = load("_modules", "jobgroup")
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
    return {**datahost.loader_modules(functions), jobgroup: {"__salt__": functions}}


class Jobs:
    """``longjob``: what is begun ends at once, done after a second unless ``ends`` tells otherwise for its name."""

    def __init__(self):
        self.known, self.ends, self.begun, self.order = {}, {}, [], []

    def put(self, name, state, seconds=1.0, rc=None):
        self.known[name] = {"name": name, "state": state, "seconds": seconds, "rc": 0 if state == "done" else rc,
                            "log": f"of {name}"}

    def status(self, name):
        return self.known.get(name) or {"name": name, "state": "absent", "seconds": None, "rc": None, "log": ""}

    def start(self, name, argv, user=None, deadline=None):
        assert self.status(name)["state"] != "running", "not started twice"
        self.begun.append((name, argv, user, deadline))
        self.order.append(("begun", name))
        self.put(name, **self.ends.get(name, {"state": "done"}))

    def stop(self, name):
        before = self.status(name)["state"]
        if before != "absent":
            self.order.append(("ended" if before == "running" else "forgotten", name))
            del self.known[name]
        return {"stopped": before == "running", "before": before}

    def names(self, prefix):
        return [name for name in self.known if name.startswith(prefix)]

    def did(self, what):
        return [about for did, about in self.order if did == what]


@pytest.fixture
def jobs(functions):
    jobs = Jobs()
    functions.update({
        **{f"longjob.{name}": create_autospec(getattr(longjob, name), side_effect=getattr(jobs, name))
           for name in ("status", "start", "stop", "names")},
        "longjob.failure": create_autospec(
            longjob.failure, side_effect=lambda job: f"{job['name']} ended with exit code {job['rc']}"),
        **{f"jobgroup.{name}": create_autospec(getattr(jobgroup, name), side_effect=getattr(jobgroup, name))
           for name in ("status", "start", "stop", "wait")},
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
    # What is to be copied side by side, by location; only how much of it there is is told of the files themselves.
    facts["parts"] = {}
    functions["copystreams.split"] = create_autospec(
        copystreams.split, side_effect=lambda place, label, streams, since=None: facts["parts"].get(
            label, [{"names": f"/names/{label}", "bytes": 1, "holes": False}]))
    facts["transport"] = {"compress": "none", "bwlimit": 0, "streams": 4, "rate": None}
    functions["copytarget.transport"] = create_autospec(
        copytarget.transport, side_effect=lambda *args, **kwargs: dict(facts["transport"]))
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


FILES, REST = "copy-files-0-r-1", "copy-rest-0-r-1"
NO_TRANSPORT = {"compress": "none", "bwlimit": 0, "streams": 4, "rate": None}
COPIED = {"running": None, "copied": True, "transport": NO_TRANSPORT}


def sync(**more):
    return datacopy.sync("east1", "east", "r-1", **more)


def test_sync_copies_as_root_without_the_identity(donor, jobs, functions, tmp_path):
    assert sync(deadline=600) == COPIED
    (name, files, user, deadline), (then, rest, *others) = jobs.begun
    assert (name, user, deadline) == (f"{FILES}-s0", None, 600) and (then, *others) == (REST, None, 600)
    for argv in (files, rest):
        assert argv[:2] == ["rsync", "-a"] and argv[-2:] == [f"{tmp_path}/data/", "tungsten@east1:/data on east/"]
        assert {"--exclude=/auto.cnf", "--exclude=/.reprovision", "--exclude=/lost+found", "--omit-dir-times",
                "--protect-args", "--timeout=300", "--info=progress2", "--rsync-path=sudo -n rsync"} < set(argv)
        assert "-n" not in argv and "-z" not in argv
        assert not [word for word in argv if word.startswith(("--compress", "--bwlimit", "--inplace", "--sparse"))]
        assert argv[argv.index("-e") + 1].startswith(
            "runuser -u tungsten -- ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"
        )
    assert {"--from0", "--files-from=/names/location-0"} < set(files) and "--delete" not in files
    assert "--delete" in rest and "--from0" not in rest, "what has no content of its own, and what is no longer here"
    (place, label, streams, since), _ = functions["copystreams.split"].call_args
    assert (place["path"], label, streams, since) == (f"{tmp_path}/data", "location-0", 4, None)


def test_files_go_side_by_side_and_those_with_holes_keep_them(donor, jobs):
    donor["parts"]["location-0"] = [
        {"names": "/names/a", "bytes": 9, "holes": False}, {"names": "/names/b", "bytes": 8, "holes": False},
        {"names": "/names/c", "bytes": 7, "holes": True}]
    assert sync() == COPIED
    assert jobs.did("begun") == [*(f"{FILES}-s{number}" for number in range(3)), REST]
    assert [[word for word in argv if word.startswith(("--files-from", "--sparse"))] for _, argv, *_ in jobs.begun] == [
        ["--files-from=/names/a"], ["--files-from=/names/b"], ["--sparse", "--files-from=/names/c"], []]


def test_with_no_file_to_copy_there_is_still_the_rest(donor, jobs):
    donor["parts"]["location-0"] = []
    assert sync() == COPIED
    assert jobs.did("begun") == [REST]


def test_sync_hands_the_record_over_only_when_all_is_equal(donor):
    sync()
    assert donor["told"] == [{**donor["record"], "state": "copied"}]


@pytest.mark.parametrize("name", [f"{FILES}-s1", REST])
def test_sync_waits_for_a_copy_that_goes_on(donor, jobs, name):
    donor["left"] = ["<f+++++++++ ibdata1\n"]
    if name == REST:
        jobs.put(f"{FILES}-s0", "done")
    jobs.put(name, "running")
    group = REST if name == REST else FILES
    for begun in (False, True):
        assert sync(begun=begun, wait=0) == {**COPIED, "running": group}
    assert jobs.did("begun") == jobs.did("ended") == donor["told"] == [], "neither begun twice nor declared complete"


def test_sync_of_what_is_there_already_copies_nothing(donor, jobs):
    donor["left"] = [""]
    assert sync() == {**COPIED, "copied": False}
    assert jobs.begun == [] and len(donor["told"]) == 1


def test_it_waits_as_long_as_it_is_told(donor, functions):
    sync(wait=5)
    assert [call.args[:2] for call in functions["jobgroup.wait"].call_args_list] == [(FILES, 5), (REST, 5)]


@pytest.mark.parametrize("left", ["copy-0-r-0", "copy-files-0-r-0-s3", "copy-rest-0-r-0", "copy-ahead-0-r-1-s0",
                                  "copy-ahead-0-again-2-r-1"])
@pytest.mark.parametrize("state", ["running", "done", "failed"])
def test_of_what_others_have_left_nothing_goes_on_beside_it(donor, jobs, left, state):
    jobs.put(left, state, rc=1)
    assert sync() == COPIED
    assert jobs.order[0] == ("ended" if state == "running" else "forgotten", left)
    assert jobs.did("begun") == [f"{FILES}-s0", REST]


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("name", [f"{FILES}-s1", REST])
def test_a_copy_that_failed_is_begun_again_by_another_attempt_only(donor, jobs, begun, name):
    jobs.put(f"{FILES}-s0", "done")
    jobs.put(name, "failed", rc=11)
    if begun:
        with pytest.raises(CommandExecutionError, match=f"{name} ended with exit code 11"):
            sync(begun=True)
        assert ("forgotten", name) in jobs.order and jobs.begun == donor["told"] == []
    else:
        assert sync() == COPIED
        assert jobs.did("begun") == [f"{FILES}-s0", REST]


def test_a_copy_that_ended_well_and_differs_is_an_error_in_its_own_attempt(donor, jobs):
    donor["left"] = ["<f.st...... ibdata1\n"]
    jobs.put(f"{FILES}-s0", "done")
    jobs.put(REST, "done")
    with pytest.raises(CommandExecutionError, match="differs.*ibdata1"):
        sync(begun=True)
    assert donor["told"] == [] and jobs.order == [("forgotten", f"{FILES}-s0"), ("forgotten", REST)]


@pytest.mark.parametrize("rc", [11, 24])
@pytest.mark.parametrize("name", [f"{FILES}-s0", REST])
def test_a_copy_that_fails_while_it_is_waited_for(donor, jobs, name, rc):
    """With the server at rest no file goes away."""
    jobs.ends[name] = {"state": "failed", "rc": rc}
    with pytest.raises(CommandExecutionError, match=f"{name} ended with exit code {rc}"):
        sync()
    assert donor["told"] == [] and jobs.order[-1] == ("forgotten", name)


def test_sync_of_logs_takes_their_own_files_only(donor, jobs, logs):
    donor["left"] = ["<f a\n", "", "<f b\n", ""]
    sync()
    assert jobs.did("begun") == [f"{FILES}-s0", REST, "copy-files-1-r-1-s0", "copy-rest-1-r-1"]
    for _, argv, *_ in jobs.begun[2:]:
        assert [word for word in argv if "clude" in word] == [f"--include=/{name}" for name in BINLOGS] + [
            "--exclude=*"
        ]


def test_sync_proves_the_copy(donor, jobs):
    donor["left"] = ["<f.st...... ibdata1\n"]
    with pytest.raises(CommandExecutionError, match="differs.*ibdata1"):
        sync()
    assert jobs.did("begun") == [f"{FILES}-s0", REST] and donor["told"] == []
    assert jobs.did("forgotten") == jobs.did("begun"), "so that the next attempt begins it again"


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


@pytest.mark.parametrize("transport, one, each_of_two", [
    ({}, [], []),
    ({"compress": "zstd"}, ["--compress", "--compress-choice=zstd", "--compress-level=1"],
     ["--compress", "--compress-choice=zstd", "--compress-level=1"]),
    ({"compress": "lz4", "bwlimit": 50},
     ["--compress", "--compress-choice=lz4", "--compress-level=1", "--bwlimit=51200"],
     ["--compress", "--compress-choice=lz4", "--compress-level=1", "--bwlimit=25600"]),
    ({"bwlimit": 1}, ["--bwlimit=1024"], ["--bwlimit=512"]),
])
def test_every_copy_goes_the_way_that_was_chosen(donor, jobs, transport, one, each_of_two):
    """What all of it may take of the link its streams share."""
    donor["transport"].update(transport)
    donor["parts"]["location-0"] = [{"names": f"/names/{name}", "bytes": 1, "holes": False} for name in "ab"]
    donor["left"] = [""]
    ahead()
    sync()
    told = {name: [word for word in argv if word.startswith(("--compress", "--bwlimit"))]
            for name, argv, *_ in jobs.begun}
    assert told == {"copy-ahead-0-r-1-s0": each_of_two, "copy-ahead-0-r-1-s1": each_of_two,
                    "copy-ahead-0-again-0-r-1": one, f"{FILES}-s0": each_of_two, f"{FILES}-s1": each_of_two, REST: one}


def test_a_limit_never_becomes_none(donor, jobs):
    donor["transport"]["bwlimit"] = 1
    donor["parts"]["location-0"] = [{"names": f"/names/{number}", "bytes": 1, "holes": False} for number in range(2000)]
    sync()
    assert "--bwlimit=1" in jobs.begun[0][1]


@pytest.mark.parametrize("function", ["sync", "ahead"])
def test_the_way_is_that_of_the_order_and_is_told(donor, functions, function):
    donor["transport"]["rate"] = 40
    answer = getattr(datacopy, function)("east1", "east", "r-1", compress="auto", bwlimit=50, streams=8)
    functions["copytarget.transport"].assert_called_once_with("east1", "r-1", "auto", 50, 8)
    assert answer["transport"] == {**NO_TRANSPORT, "rate": 40}


@pytest.mark.parametrize("function", ["sync", "ahead"])
@pytest.mark.parametrize("error", [
    SaltInvocationError("streams must be"), CommandExecutionError("rsync failed with 12")])
def test_without_a_way_nothing_is_begun(donor, jobs, functions, function, error):
    functions["copytarget.transport"].side_effect = error
    with pytest.raises(type(error), match=str(error)):
        getattr(datacopy, function)("east1", "east", "r-1")
    assert jobs.order == donor["told"] == [] and hostrecord.load(datacopy.AHEAD) is None


# --- ahead


GROUP = "copy-ahead-0-r-1"
FIRST = f"{GROUP}-s0"
AGAIN = [f"copy-ahead-0-again-{turn}-r-1" for turn in range(3)]


def ahead(**more):
    return datacopy.ahead("east1", "east", "r-1", **more)


def goes_on(name):
    return {"running": name, "transport": NO_TRANSPORT}


MADE = goes_on(None)


def test_ahead_copies_while_the_server_serves(donor, jobs, functions, tmp_path):
    donor["status"].update(running=True, active="active")
    donor["ls"] = {"service": "west", "datasources": {"west3": {"role": "slave", "state": "ONLINE"}}}
    donor["ping"] = True
    before = int(time.time())
    assert ahead(deadline=600) == MADE
    (name, files, *others), (then, again, *more) = jobs.begun
    assert (name, *others) == (FIRST, None, 600) and (then, *more) == (AGAIN[0], None, 600)
    for argv in (files, again):
        assert argv[:8] == ["nice", "-n", "19", "ionice", "-c", "2", "-n", "7"], "whoever else wants it is first"
        assert argv[8:10] == ["rsync", "-a"] and argv[-2:] == [f"{tmp_path}/data/", "tungsten@east1:/data on east/"]
        assert {"--exclude=/auto.cnf", "--exclude=/.reprovision", "--exclude=/lost+found", "--omit-dir-times",
                "--protect-args", "--timeout=300", "--rsync-path=sudo -n rsync"} < set(argv)
    assert {"--from0", "--files-from=/names/location-0"} < set(files)
    assert not {"--inplace", "--no-whole-file", "--delete"} & set(files), "what is not whole lies beside the old one"
    assert {"--inplace", "--no-whole-file", "--delete"} < set(again) and "--from0" not in again
    (_, label, streams, since), _ = functions["copystreams.split"].call_args
    assert (label, streams, since) == ("location-0", 4, None)
    known = hostrecord.load(datacopy.AHEAD)
    assert {**known, "began": 0} == {"host": "east1", "run": "r-1", "began": 0}
    assert before <= known["began"] <= time.time()
    assert donor["told"] == [], "emptied is what it is called until the copy that counts"
    functions["cctrl.ls"].assert_not_called()


def test_files_with_holes_keep_them_when_they_come_and_are_then_changed_in_place(donor, jobs):
    donor["parts"]["location-0"] = [{"names": "/names/a", "bytes": 9, "holes": False},
                                    {"names": "/names/b", "bytes": 9, "holes": True}]
    assert ahead() == MADE
    assert [name for name, argv, *_ in jobs.begun if "--sparse" in argv] == [f"{GROUP}-s1"]


OTHERS = ["copy-0-r-0", "copy-ahead-0-r-0-s0", "copy-rest-0-r-0", "copy-files-0-r-1-s0", "copy-rest-0-r-1"]


@pytest.mark.parametrize("state", ["running", "done", "failed"])
def test_what_others_and_the_copy_at_rest_have_left_is_ended_before_anything_is_begun(donor, jobs, state):
    """Two writers into one directory undo each other."""
    for name in OTHERS:
        jobs.put(name, state, rc=1)
    assert ahead() == MADE
    what = "ended" if state == "running" else "forgotten"
    assert jobs.order == [*((what, name) for name in OTHERS), ("begun", FIRST), ("begun", AGAIN[0])]


@pytest.mark.parametrize("state, begun", [("done", [FIRST, AGAIN[0]]), ("failed", [FIRST, AGAIN[0]]), ("running", [])])
def test_an_attempt_takes_up_what_goes_on_and_makes_anew_what_has_ended(donor, jobs, state, begun):
    """What was done before says nothing of now."""
    jobs.put(FIRST, state, rc=11)
    assert ahead(wait=0) == (goes_on(GROUP) if state == "running" else MADE)
    assert jobs.did("begun") == begun


def test_when_it_began_is_remembered_before_anything_is_begun(donor, jobs, functions):
    seen = []
    functions["longjob.start"].side_effect = lambda name, argv, **more: (
        seen.append(hostrecord.load(datacopy.AHEAD)["run"]), jobs.start(name, argv, **more))
    ahead()
    assert seen == ["r-1", "r-1"]


def test_a_later_call_of_the_same_attempt_finds_its_copy_again(donor, jobs):
    jobs.ends[FIRST] = {"state": "running"}
    assert ahead(wait=0) == goes_on(GROUP)
    began = {"host": "east1", "run": "r-1", "began": 7}
    hostrecord.save(datacopy.AHEAD, began)
    jobs.order.clear()
    assert ahead(begun=True, wait=0) == goes_on(GROUP)
    assert jobs.order == [], "neither ended nor begun twice"
    jobs.put(FIRST, "done")
    assert ahead(begun=True) == MADE
    assert jobs.order == [("begun", AGAIN[0])]
    assert ahead(begun=True) == MADE
    assert jobs.did("begun") == [AGAIN[0]] and hostrecord.load(datacopy.AHEAD) == began


def test_it_waits_for_each_as_long_as_it_is_told(donor, functions):
    ahead(wait=5)
    assert [call.args for call in functions["jobgroup.wait"].call_args_list] == [
        (GROUP, 5, datacopy.VANISHED), (AGAIN[0], 5, datacopy.VANISHED)]


@pytest.mark.parametrize("seconds, turns", [
    ([59.9], 1), ([60.0, 59.9], 2), ([3600.0, 60.0, 59.9], 3), ([3600.0, 3600.0, 3600.0], 3)])
def test_what_took_long_is_done_again_in_place(donor, jobs, seconds, turns):
    jobs.ends[FIRST] = {"state": "done", "seconds": 36000.0}
    for name, took in zip(AGAIN, seconds, strict=False):
        jobs.ends[name] = {"state": "done", "seconds": took}
    assert ahead() == MADE
    assert jobs.did("begun") == [FIRST, *AGAIN[:turns]]
    for _, argv, *_ in jobs.begun[1:]:
        assert {"--inplace", "--no-whole-file", "--delete"} < set(argv) and argv[0] == "nice"


def test_the_locations_take_long_together(donor, jobs, logs):
    for number in (0, 1):
        jobs.ends[f"copy-ahead-{number}-again-0-r-1"] = {"state": "done", "seconds": 30.0}
    ahead()
    assert jobs.did("begun") == [FIRST, "copy-ahead-1-r-1-s0", *(
        f"copy-ahead-{number}-again-{turn}-r-1" for turn in (0, 1) for number in (0, 1))]
    for name, argv, *_ in jobs.begun:
        if name.startswith("copy-ahead-1-"):
            assert [word for word in argv if "clude" in word] == [f"--include=/{file}" for file in BINLOGS] + [
                "--exclude=*"]


def test_turns_go_on_over_calls(donor, jobs):
    jobs.ends.update({AGAIN[0]: {"state": "done", "seconds": 60.0}, AGAIN[1]: {"state": "running"}})
    for begun in (False, True):
        assert ahead(begun=begun, wait=0) == goes_on(AGAIN[1])
        jobs.ends.clear()
    jobs.put(AGAIN[1], "done", seconds=1.0)
    assert ahead(begun=True) == MADE
    assert jobs.did("begun") == [FIRST, *AGAIN[:2]]


@pytest.mark.parametrize("name", [FIRST, AGAIN[0]])
def test_files_that_went_away_meanwhile_are_harmless(donor, jobs, name):
    jobs.ends[name] = {"state": "failed", "rc": 24}
    for begun in (False, True):
        assert ahead(begun=begun) == MADE
    assert jobs.did("begun") == [FIRST, AGAIN[0]] and jobs.did("forgotten") == [], "it counts as done"


@pytest.mark.parametrize("name", [FIRST, AGAIN[0]])
@pytest.mark.parametrize("rc", [1, 11, 12, 23, 30, 255, -15, None])
def test_other_failures_are_not(donor, jobs, name, rc):
    jobs.ends[name] = {"state": "failed", "rc": rc}
    with pytest.raises(CommandExecutionError, match=f"{name} ended with exit code {rc}"):
        ahead()
    assert jobs.did("forgotten") == [name], "the next attempt begins it again"


def test_one_that_failed_between_two_calls_is_an_error_in_its_own_attempt(donor, jobs):
    jobs.put(FIRST, "failed", rc=11)
    with pytest.raises(CommandExecutionError, match="exit code 11"):
        ahead(begun=True)
    assert jobs.order == [("forgotten", FIRST)]


def test_a_target_that_is_said_to_be_copied_is_told_first_that_it_is_not(donor, jobs, functions):
    donor["record"]["state"] = "copied"
    told = []
    functions["longjob.start"].side_effect = lambda name, argv, **more: (
        told.append(list(donor["told"])), jobs.start(name, argv, **more))
    ahead()
    assert told[0] == [{**donor["record"], "state": "emptied"}], "one that is not whole is never taken into use"


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


@pytest.fixture
def copied_ahead(donor, tmp_path):
    """A copy ahead began an hour ago; files were written to at that time or around it."""
    began = int(time.time()) - 3600
    hostrecord.save(datacopy.AHEAD, {"host": "east1", "run": "r-1", "began": began})
    for path in (tmp_path / "data").rglob("*"):
        os.utime(path, (1, 1))
    for name, mtime in {"mysql/before": began - datacopy.MARGIN - 1, "mysql/margin": began - datacopy.MARGIN + 1,
                        "while it ran": began + 30, "lost+found/x": began + 30}.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name, encoding="utf-8")
        os.utime(path, (mtime, mtime))
    donor.update(began=began, left=[""])
    return donor


def test_what_was_touched_is_compared_before_anything_else(copied_ahead, jobs, functions, tmp_path):
    copied_ahead["parts"]["location-0"] = [{"names": "/names/a", "bytes": 9, "holes": True}]
    assert sync(deadline=600) == COPIED
    assert jobs.order == [("begun", f"{FILES}-s0"), ("begun", REST)]
    (_, argv, *others), (_, rest, *_) = jobs.begun
    assert others == [None, 600]
    assert {"--ignore-times", "--inplace", "--no-whole-file", "--from0", "--files-from=/names/a", "-a",
            "--exclude=/auto.cnf", "--exclude=/.reprovision", "--rsync-path=sudo -n rsync"} < set(argv)
    assert not {"--delete", "-n", "--sparse"} & set(argv)
    assert argv[0] == rest[0] == "rsync", "the donor is out: it makes haste"
    assert argv[-2:] == [f"{tmp_path}/data/", "tungsten@east1:/data on east/"]
    (place, label, streams, since), _ = functions["copystreams.split"].call_args
    assert (label, streams, since) == ("location-0", 4, copied_ahead["began"] - datacopy.MARGIN)
    assert "--delete" in rest and "--ignore-times" not in rest
    assert copied_ahead["told"] == [{**copied_ahead["record"], "state": "copied"}]


def test_equal_by_size_and_time_it_is_compared_all_the_same(copied_ahead, jobs):
    assert sync() == COPIED
    assert jobs.did("begun") == [f"{FILES}-s0", REST] and len(copied_ahead["told"]) == 1


@pytest.mark.parametrize("state", ["running", "done", "failed"])
@pytest.mark.parametrize("name", [f"{FILES}-s0", f"{FILES}-s7", REST, FIRST, AGAIN[1]])
def test_a_fresh_attempt_compares_anew(copied_ahead, jobs, name, state):
    """Whatever was compared before, the server has run since, perhaps."""
    jobs.put(name, state, rc=1)
    assert sync() == COPIED
    assert jobs.order == [("ended" if state == "running" else "forgotten", name), ("begun", f"{FILES}-s0"),
                          ("begun", REST)]


def test_its_own_attempt_compares_once(copied_ahead, jobs):
    jobs.put(f"{FILES}-s0", "done")
    jobs.put(REST, "done")
    assert sync(begun=True) == COPIED
    assert jobs.order == [] and len(copied_ahead["told"]) == 1


def test_a_comparison_that_goes_on_is_named_and_nothing_else_begun(copied_ahead, jobs):
    jobs.ends[f"{FILES}-s0"] = {"state": "running"}
    assert sync(wait=0) == {**COPIED, "running": FILES}
    assert sync(begun=True, wait=0) == {**COPIED, "running": FILES}
    assert jobs.did("begun") == [f"{FILES}-s0"] and copied_ahead["told"] == []


@pytest.mark.parametrize("rc", [11, 24])
def test_a_comparison_that_fails_is_an_error(copied_ahead, jobs, rc):
    jobs.ends[f"{FILES}-s0"] = {"state": "failed", "rc": rc}
    with pytest.raises(CommandExecutionError, match=f"exit code {rc}"):
        sync()
    assert jobs.did("begun") == jobs.did("forgotten") == [f"{FILES}-s0"] and copied_ahead["told"] == []


@pytest.mark.parametrize("other", [{"run": "r-0"}, {"host": "east2"}])
def test_without_a_copy_ahead_of_this_run_nothing_is_compared(copied_ahead, jobs, functions, other):
    hostrecord.save(datacopy.AHEAD, {**hostrecord.load(datacopy.AHEAD), **other})
    assert datacopy.differences("east1", "east", "r-1") == []
    copied_ahead["left"] = ["<f+++++++++ ibdata1\n", ""]
    assert sync() == COPIED
    assert "--ignore-times" not in jobs.begun[0][1]
    assert functions["copystreams.split"].call_args.args[3] is None


def test_differences_name_what_has_to_be_compared(copied_ahead, jobs, tmp_path):
    copied_ahead["left"] = ["<f.st...... ibdata1\n"]
    found = datacopy.differences("east1", "east", "r-1")
    assert found[0] == "<f.st...... ibdata1"
    assert sorted(found[1:]) == [f"{tmp_path}/data/mysql/margin", f"{tmp_path}/data/while it ran"]
    assert jobs.order == copied_ahead["told"] == []


def test_what_is_copied_has_been_compared(copied_ahead):
    copied_ahead["record"]["state"] = "copied"
    assert datacopy.differences("east1", "east", "r-1") == []


@pytest.mark.parametrize("found", [{"retcode": 1, "stderr": "find: Input/output error"}, {"retcode": 124}])
def test_what_was_touched_has_to_be_known(copied_ahead, functions, found):
    run = functions["cmd.run_all"].side_effect
    functions["cmd.run_all"].side_effect = lambda argv, **more: (
        {"stdout": "", "stderr": "", **found} if "-newermt" in argv else run(argv, **more))
    with pytest.raises(CommandExecutionError, match="find (failed with 1: find: Input|did not end within 1800 s)"):
        datacopy.differences("east1", "east", "r-1")


def test_files_that_cannot_be_shared_out_are_not_copied(copied_ahead, jobs, functions):
    functions["copystreams.split"].side_effect = CommandExecutionError("find failed with 1")
    for function in (ahead, sync):
        with pytest.raises(CommandExecutionError, match="find failed with 1"):
            function()
    assert jobs.begun == copied_ahead["told"] == []
