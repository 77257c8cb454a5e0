"""
datacopy: what a copy needs, how it goes side by side and is proved, and the copy ahead that is worth nothing by itself.
"""

import os
import time
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support import datahost
from tests.support.datahost import (
    BINLOGS,
    UNFIT_PLACES,
    UNFIT_TARGET,
    copystreams,
    copytarget,
    datacontent,
    datacopy,
    datadir,
    hostrecord,
)
from tests.support.loader import load

jobgroup = load("_modules", "jobgroup")
longjob = load("_modules", "longjob")

# Where nothing else is measured: a link that is faster than any compression.
TRANSPORT = {"compress": "none", "bwlimit": 0, "streams": 4, "rate": 1000}
# The groups of jobs of a copy with one location, and the only job of each; the last one is no group.
FILES, REST = "copy-files-0-r-1", "copy-rest-0-r-1"
FILES_0 = f"{FILES}-s0of1"
FILES_OF_2 = [f"{FILES}-s0of2", f"{FILES}-s1of2"]


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
        self.known, self.ends, self.begun, self.order, self.well = {}, {}, [], [], {}

    def put(self, name, state, seconds=1.0, rc=None):
        self.known[name] = {
            "name": name, "state": state, "seconds": seconds, "rc": rc or 0 if state == "done" else rc,
            "log": f"{name} said",
            "outcome": "exit-code", "log_path": f"/var/log/reprovision/{name}.log"}

    def status(self, name):
        return self.known.get(name) or {"name": name, "state": "absent", "seconds": None, "rc": None, "log": ""}

    def start(self, name, argv, user=None, deadline=None, well=()):
        assert self.status(name)["state"] != "running", "not started twice"
        self.begun.append((name, argv, user, deadline))
        self.order.append(("begun", name))
        self.well[name] = well
        end = self.ends.get(name, {"state": "done"})
        # As systemd does.
        self.put(name, **end if end.get("rc") not in well else {**end, "state": "done"})

    def stop_each(self, jobs):
        for name in jobs:
            before = self.known.pop(name)["state"]
            self.order.append(("ended" if before == "running" else "forgotten", name))
        return jobs

    def names(self, prefix):
        return [name for name in self.known if name.startswith(prefix)]

    def did(self, what):
        return [about for did, about in self.order if did == what]


@pytest.fixture
def jobs(functions):
    """Groups are real ones; nobody waits."""
    jobs = Jobs()
    functions.update({
        **{f"longjob.{name}": create_autospec(getattr(longjob, name), side_effect=getattr(jobs, name))
           for name in ("status", "start", "stop_each", "names")},
        "longjob.failure": longjob.failure,
        **{f"jobgroup.{name}": create_autospec(getattr(jobgroup, name), side_effect=getattr(jobgroup, name))
           for name in ("start", "status", "stop", "of")},
        "jobgroup.wait": create_autospec(jobgroup.wait, side_effect=lambda name, timeout: jobgroup.status(name)),
    })
    return jobs


@pytest.fixture
def donor(facts, functions, jobs):
    """This host is west3, and east1 has been emptied for it; the link to it was measured."""
    # What each look for differences finds; the last one is found for ever.
    facts["left"] = ["<f+++++++++ ibdata1\n", ""]

    def look(words):
        assert words[0] == "rsync" and "-n" in words
        left = facts["left"].pop(0) if len(facts["left"]) > 1 else facts["left"][0]
        return {"retcode": 0, "stdout": left, "stderr": ""}

    datahost.become_donor(facts, functions, look)
    hostrecord.save(copytarget.LINK, {
        "host": "east1", "run": "r-1", "rate": TRANSPORT["rate"], "compressions": ["lz4", "zstd"]})
    return facts


@pytest.fixture
def logs(donor, tmp_path):
    """The binary logs lie in a directory of their own."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("mysql-bin.000007", "mysql-bin.index", "error.log"):
        (logs / name).write_text("x", encoding="utf-8")
    donor["settings"]["explicit"]["log_bin"] = str(logs / "mysql-bin")
    donor["record"]["directories"]["log_bin_basename"] = {
        "path": str(logs), "files": BINLOGS, "free": 10**9, "device": 2}
    return logs


@pytest.fixture
def two_streams(monkeypatch):
    """As many streams as there are files, since no amount is too small for one: two, of what ``new_facts`` has."""
    monkeypatch.setattr(copystreams, "LEAST", 1)


def ahead(**more):
    return datacopy.ahead("east1", "east", "r-1", **more)


def sync(**more):
    return datacopy.sync("east1", "east", "r-1", **more)


def going(name):
    """What is returned while a group goes on."""
    return {"running": name, "copied": True, "transport": TRANSPORT}


def ended(copied=True):
    return {"running": None, "copied": copied, "transport": TRANSPORT}


def names_of(argv):
    """What stands in the file of names that a command reads."""
    (path,) = [word.removeprefix("--files-from=") for word in argv if word.startswith("--files-from=")]
    with open(path, encoding="utf-8") as listed:
        *names, last = listed.read().split("\0")
    assert last == "" and "--from0" in argv
    return sorted(names)


@pytest.mark.parametrize("missing", ["find", "ionice", "nice", "rsync"])
def test_without_its_tools_it_is_not_there(monkeypatch, missing):
    monkeypatch.setattr(datacopy.salt.utils.path, "which", lambda tool: None if tool == missing else f"/bin/{tool}")
    assert datacopy.__virtual__() == (False, f"not in the PATH: {missing}")


# --- the copy


def test_sync_copies_as_root_without_the_identity(donor, jobs, tmp_path):
    assert sync(deadline=600) == ended()
    assert [(name, user, deadline) for name, _, user, deadline in jobs.begun] == [
        (FILES_0, None, 600), (REST, None, 600)]
    for _, argv, _, _ in jobs.begun:
        assert argv[:2] == ["rsync", "-a"] and argv[-2:] == [f"{tmp_path}/data/", "tungsten@east1:/data on east/"]
        assert {"--exclude=/auto.cnf", "--exclude=/.reprovision", "--exclude=/lost+found", "--omit-dir-times",
                "--protect-args", "--timeout=300", "--info=progress2", "--rsync-path=sudo -n rsync"} < set(argv)
        assert argv[argv.index("-e") + 1].startswith(
            "runuser -u tungsten -- ssh -o BatchMode=yes -o StrictHostKeyChecking=yes")
        assert not {"-n", "-z", "--inplace", "--ignore-times", "--sparse"} & set(argv)
        assert not [word for word in argv if word.startswith(("--compress", "--bwlimit"))]


def test_the_files_go_first_and_what_has_no_content_or_is_no_longer_here_last(donor, jobs):
    sync()
    files, rest = (argv for _, argv, _, _ in jobs.begun)
    assert names_of(files) == [".hidden", "mysql/user.frm"] and "--delete" not in files
    assert "--delete" in rest and not [word for word in rest if word.startswith(("--files-from", "--from0"))]


def test_sync_hands_the_record_over_only_when_all_is_equal(donor):
    sync()
    assert donor["told"] == [{**donor["record"], "state": "copied"}]


@pytest.mark.parametrize("begun", [True, False])
def test_sync_waits_for_the_files_of_an_attempt_that_died_too(donor, jobs, begun):
    jobs.put(FILES_0, "running")
    assert sync(begun=begun) == going(FILES)
    assert jobs.order == donor["told"] == [], "neither begun twice nor declared complete"


@pytest.mark.parametrize("begun", [True, False])
def test_sync_waits_for_the_rest_too(donor, jobs, begun):
    donor["left"] = [""]
    jobs.put(REST, "running")
    assert sync(begun=begun) == going(REST)
    assert jobs.order == donor["told"] == []


def test_it_waits_as_long_as_it_is_told(donor, functions):
    sync(wait=5)
    assert [(call.args[:2]) for call in functions["jobgroup.wait"].call_args_list] == [(FILES, 5), (REST, 5)]


def test_a_later_call_of_the_same_attempt_finds_its_jobs_again(donor, jobs):
    donor["left"] = ["<f+++++++++ ibdata1\n", ""]
    jobs.ends[FILES_0] = {"state": "running"}
    assert sync() == going(FILES)
    jobs.put(FILES_0, "done")
    jobs.ends[REST] = {"state": "running"}
    assert sync(begun=True) == going(REST)
    assert sync(begun=True) == going(REST)
    assert donor["told"] == [] and jobs.order == [("begun", FILES_0), ("begun", REST)]
    jobs.put(REST, "done")
    assert sync(begun=True) == ended()
    assert len(donor["told"]) == 1 and jobs.order == [("begun", FILES_0), ("begun", REST)]


def test_sync_of_what_is_there_already_copies_nothing(donor, jobs):
    donor["left"] = [""]
    assert sync() == ended(copied=False)
    assert jobs.begun == [] and len(donor["told"]) == 1


def test_what_has_ended_in_an_earlier_attempt_says_nothing(donor, jobs):
    """The server here may have run since."""
    donor["left"] = ["<f.st...... ibdata1\n", ""]
    jobs.put(FILES_0, "done")
    jobs.put(REST, "done")
    assert sync() == ended()
    assert jobs.order == [("forgotten", FILES_0), ("forgotten", REST), ("begun", FILES_0), ("begun", REST)]


@pytest.mark.parametrize("state", ["running", "done", "failed"])
@pytest.mark.parametrize("job", ["copy-files-0-r-0-s0of1", "copy-rest-0-r-0", "copy-ahead-0-r-0-s1of2",
                                 "copy-ahead-0-r-1-s0of1", "copy-ahead-0-again-1-r-1", "copy-0-r-0",
                                 "copy-files-0-x-r-1", "copy-rest-0-r-11"])
def test_nothing_of_another_run_or_ahead_goes_on_beside_it(donor, jobs, job, state):
    jobs.put(job, state, rc=11)
    assert sync() == ended()
    assert jobs.order[0] == ("ended" if state == "running" else "forgotten", job)
    assert jobs.did("begun") == [FILES_0, REST]


def test_a_location_without_files_has_a_rest_too(donor, jobs, tmp_path):
    """Directories, links, and what is to be deleted there."""
    (tmp_path / "data" / "mysql" / "user.frm").unlink()
    (tmp_path / "data" / ".hidden").unlink()
    assert sync() == ended()
    assert jobs.did("begun") == [REST] and len(donor["told"]) == 1


@pytest.mark.parametrize("job, group", [(FILES_0, FILES), (REST, REST)])
@pytest.mark.parametrize("begun", [True, False])
def test_a_copy_that_failed_is_begun_again_by_another_attempt_only(donor, jobs, begun, job, group):
    jobs.put(FILES_0, "done")
    jobs.put(job, "failed", rc=11)
    if begun:
        with pytest.raises(CommandExecutionError, match=f"The job {job} ended with exit code 11 .*\n{job} said"):
            sync(begun=True)
        assert jobs.order == [("forgotten", job)]
    else:
        assert sync() == ended()
        assert jobs.did("begun") == [FILES_0, REST]


@pytest.mark.parametrize("rc", [1, 11, 23, 24])
@pytest.mark.parametrize("job", [FILES_0, REST])
def test_a_copy_that_fails_while_it_is_waited_for(donor, jobs, job, rc):
    """With the server at rest no file goes away: that is no excuse."""
    jobs.ends[job] = {"state": "failed", "rc": rc}
    with pytest.raises(CommandExecutionError, match=f"The job {job} ended with exit code {rc}"):
        sync()
    assert donor["told"] == [] and job not in jobs.known
    assert (REST in jobs.did("begun")) is (job == REST)


def test_sync_proves_the_copy(donor, jobs):
    donor["left"] = ["<f.st...... ibdata1\n"]
    with pytest.raises(CommandExecutionError, match="east1 differs from this host after the copy: .*ibdata1$") as told:
        sync()
    assert told.value.info == {"begun": True}
    assert jobs.order == [("begun", FILES_0), ("begun", REST), ("forgotten", FILES_0), ("forgotten", REST)]
    assert donor["told"] == []


def test_a_copy_that_ended_well_and_differs_is_an_error_in_its_own_attempt(donor, jobs):
    donor["left"] = ["<f.st...... ibdata1\n"]
    jobs.put(FILES_0, "done")
    jobs.put(REST, "done")
    with pytest.raises(CommandExecutionError, match="differs.*ibdata1"):
        sync(begun=True)
    assert donor["told"] == [] and jobs.order == [("forgotten", FILES_0), ("forgotten", REST)]


def test_sync_of_logs_takes_their_own_files_only(donor, jobs, logs):
    donor["left"] = ["<f a\n", "", "<f b\n", ""]
    assert sync() == ended()
    assert jobs.did("begun") == [FILES_0, REST, "copy-files-1-r-1-s0of1", "copy-rest-1-r-1"]
    assert names_of(jobs.begun[2][1]) == ["mysql-bin.000007", "mysql-bin.index"]
    for _, argv, _, _ in jobs.begun[2:]:
        assert [word for word in argv if "clude" in word] == [f"--include=/{name}" for name in BINLOGS] + [
            "--exclude=*"]
        assert argv[-2:] == [f"{logs}/", f"tungsten@east1:{logs}/"]


def test_of_several_locations_those_that_are_equal_are_left_alone(donor, jobs, logs):
    donor["left"] = ["", "<f b\n", ""]
    assert sync() == ended()
    assert jobs.did("begun") == ["copy-files-1-r-1-s0of1", "copy-rest-1-r-1"]


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
    with pytest.raises(CommandExecutionError, match=words) as told:
        getattr(datacopy, function)("east1", "east", "r-1")
    assert jobs.order == donor["told"] == [] and told.value.info is None


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


# --- side by side


def test_each_file_goes_through_one_of_the_streams(donor, jobs, two_streams):
    sync()
    assert jobs.did("begun") == [*FILES_OF_2, REST]
    assert sorted(name for _, argv, _, _ in jobs.begun[:2] for name in names_of(argv)) == [".hidden", "mysql/user.frm"]


def test_as_many_as_ordered_at_most(donor, jobs, two_streams):
    assert sync(streams=1)["transport"] == {**TRANSPORT, "streams": 1}
    assert jobs.did("begun") == [FILES_0, REST] and len(names_of(jobs.begun[0][1])) == 2


@pytest.mark.parametrize("one, other", [("running", "running"), ("running", "done"), ("done", "running")])
def test_all_of_them_have_to_end(donor, jobs, two_streams, one, other):
    jobs.ends.update(zip(FILES_OF_2, ({"state": one}, {"state": other}), strict=True))
    for begun in (False, True):
        assert sync(begun=begun) == going(FILES)
    assert REST not in jobs.known and donor["told"] == []


@pytest.mark.parametrize("failed, other", [FILES_OF_2, FILES_OF_2[::-1]])
@pytest.mark.parametrize("state", ["running", "done"])
def test_one_that_fails_ends_all_of_them_and_is_quoted(donor, jobs, two_streams, failed, other, state):
    jobs.ends.update({failed: {"state": "failed", "rc": 11}, other: {"state": state}})
    with pytest.raises(CommandExecutionError, match=f"{failed} ended with exit code 11 .*\n{failed} said"):
        sync()
    assert jobs.known == {} and donor["told"] == []
    assert jobs.did("ended") == ([other] if state == "running" else [])


def test_a_file_with_holes_keeps_them(donor, jobs, tmp_path):
    holes = tmp_path / "data" / "compressed.ibd"
    with open(holes, "wb") as stream:
        stream.truncate(10**6)
    donor["left"] = [""]
    ahead()
    sync()
    whole, sparse, again, *_ = (argv for _, argv, _, _ in jobs.begun)
    assert "--sparse" in sparse and names_of(sparse) == ["compressed.ibd"]
    assert "--sparse" not in whole and names_of(whole) == [".hidden", "mysql/user.frm"]
    assert "--sparse" not in again, "what has grown meanwhile has no more holes to keep"
    touched = [argv for name, argv, _, _ in jobs.begun if name.startswith(FILES)]
    assert len(touched) == 2 and ["--sparse" in argv for argv in touched] == [False, False], "it changes them in place"


# --- on its way


WRONG_WAY = [
    *({"compress": value} for value in ("gzip", "", None, True, "zstd --rsync-path=x", ["zstd"])),
    *({"bwlimit": value} for value in (-1, "50", 1.5, None, True, "1 --delete", [])),
    *({"streams": value} for value in (0, -1, 17, "4", 1.5, None, True, [])),
]


@pytest.mark.parametrize("function", ["sync", "ahead"])
@pytest.mark.parametrize("way", WRONG_WAY, ids=repr)
def test_an_unknown_way_is_refused_before_anything_is_begun(donor, jobs, function, way):
    with pytest.raises(SaltInvocationError, match=next(iter(way))):
        getattr(datacopy, function)("east1", "east", "r-1", **way)
    assert jobs.order == donor["told"] == [] and hostrecord.load(datacopy.AHEAD) is None


ZSTD = ["--compress", "--compress-choice=zstd", "--compress-level=1"]
LZ4 = ["--compress", "--compress-choice=lz4", "--compress-level=1"]


@pytest.mark.parametrize("way, told", [
    ({"compress": "none", "bwlimit": 0}, []),
    ({"compress": "zstd"}, ZSTD),
    ({"compress": "lz4", "bwlimit": 50}, [*LZ4, "--bwlimit=51200"]),
    ({"compress": "none", "bwlimit": 1}, ["--bwlimit=1024"]),
    # The link was measured at 1000 MB/s: what is ordered makes it slower.
    ({}, []),
    ({"bwlimit": 299}, [*LZ4, "--bwlimit=306176"]),
    ({"bwlimit": 50}, [*ZSTD, "--bwlimit=51200"]),
])
def test_every_copy_is_compressed_and_limited_as_ordered(donor, jobs, way, told):
    ahead(**way)
    donor["left"] = [""]
    sync(**way)
    assert jobs.did("begun") == ["copy-ahead-0-r-1-s0of1", "copy-ahead-0-again-0-r-1", FILES_0, REST]
    for _, argv, _, _ in jobs.begun:
        assert [word for word in argv if word.startswith(("--compress", "--bwlimit"))] == told
        assert "--info=progress2" in argv


@pytest.mark.parametrize("bwlimit, each", [(1, "--bwlimit=512"), (50, "--bwlimit=25600")])
def test_the_streams_share_what_they_may_take(donor, jobs, two_streams, bwlimit, each):
    sync(bwlimit=bwlimit)
    assert [[word for word in argv if word.startswith("--bwlimit")] for _, argv, _, _ in jobs.begun] == [
        [each], [each], [f"--bwlimit={bwlimit * 1024}"]]


def test_a_link_that_cannot_be_measured_is_an_error_before_anything_is_begun(donor, jobs, functions):
    functions["copytarget.transport"].side_effect = CommandExecutionError("rsync failed with 12")
    for function in (ahead, sync):
        with pytest.raises(CommandExecutionError, match="failed with 12"):
            function()
    assert jobs.order == donor["told"] == []


# --- ahead


FIRST = "copy-ahead-0-r-1"
FIRST_0 = f"{FIRST}-s0of1"
AGAIN = [f"copy-ahead-0-again-{turn}-r-1" for turn in range(4)]
SLOW = {"state": "done", "seconds": 60.0}
COPIED_AHEAD = {"running": None, "transport": TRANSPORT}


def test_ahead_copies_while_the_server_serves(donor, jobs, functions, tmp_path):
    donor["status"].update(running=True, active="active")
    donor["ls"] = {"service": "west", "datasources": {"west3": {"role": "slave", "state": "ONLINE"}}}
    donor["ping"] = True
    before = int(time.time())
    assert ahead(deadline=600) == COPIED_AHEAD
    assert [(name, user, deadline) for name, _, user, deadline in jobs.begun] == [
        (FIRST_0, None, 600), (AGAIN[0], None, 600)]
    for _, argv, _, _ in jobs.begun:
        assert argv[:7] == ["nice", "-n", "19", "ionice", "-c", "2", "-n"], "whoever else wants it is first"
        assert argv[8:10] == ["rsync", "-a"] and argv[-2:] == [f"{tmp_path}/data/", "tungsten@east1:/data on east/"]
        assert {"--exclude=/auto.cnf", "--exclude=/.reprovision", "--exclude=/lost+found", "--omit-dir-times",
                "--protect-args", "--timeout=300", "--rsync-path=sudo -n rsync"} < set(argv)
    files, again = (argv for _, argv, _, _ in jobs.begun)
    assert names_of(files) == [".hidden", "mysql/user.frm"]
    assert not {"--inplace", "--no-whole-file", "--delete"} & set(files), "a file that is not yet whole lies beside"
    assert {"--inplace", "--no-whole-file", "--delete"} < set(again)
    known = hostrecord.load(datacopy.AHEAD)
    assert {**known, "began": 0} == {"host": "east1", "run": "r-1", "began": 0, "boot": "b-1", "filled": [0]}
    assert before <= known["began"] <= time.time()
    assert donor["told"] == [], "emptied is what it is called until the copy that counts"
    functions["cctrl.ls"].assert_not_called()


def test_ahead_goes_side_by_side_too_and_what_has_changed_does_not(donor, jobs, two_streams):
    assert ahead() == COPIED_AHEAD
    assert jobs.did("begun") == [f"{FIRST}-s0of2", f"{FIRST}-s1of2", AGAIN[0]]


@pytest.mark.parametrize("state", ["running", "done", "failed"])
@pytest.mark.parametrize("job", ["copy-ahead-0-r-0-s0of1", "copy-0-r-0", "copy-rest-0-r-0", FILES_0, REST])
def test_what_others_have_left_is_ended_before_anything_is_begun(donor, jobs, job, state):
    """Other runs, and an attempt of this one that died at rest: two that write into one directory undo each other."""
    jobs.put(job, state, rc=11)
    assert ahead() == COPIED_AHEAD
    assert jobs.order == [
        ("ended" if state == "running" else "forgotten", job), ("begun", FIRST_0), ("begun", AGAIN[0])]


def test_what_an_attempt_that_died_has_left_going_is_waited_for(donor, jobs):
    jobs.put(FIRST_0, "running")
    assert ahead() == {"running": FIRST, "transport": TRANSPORT}
    assert jobs.order == []


@pytest.mark.parametrize("state", ["done", "failed"])
def test_what_has_ended_in_an_earlier_attempt_is_copied_anew(donor, jobs, state):
    for job in (FIRST_0, AGAIN[0]):
        jobs.put(job, state, rc=11)
    assert ahead() == COPIED_AHEAD
    assert jobs.order == [("forgotten", FIRST_0), ("forgotten", AGAIN[0]), ("begun", FIRST_0), ("begun", AGAIN[0])]


@pytest.mark.parametrize("job", AGAIN[:3])
@pytest.mark.parametrize("state", ["running", "done", "failed"])
def test_what_is_copied_again_does_not_go_on_into_another_attempt(donor, jobs, job, state):
    """It would delete there what the first copy, begun anew, brings."""
    jobs.put(job, state, rc=11)
    assert ahead() == COPIED_AHEAD
    assert jobs.order == [
        ("ended" if state == "running" else "forgotten", job), ("begun", FIRST_0), ("begun", AGAIN[0])]


@pytest.mark.parametrize("left", [["s0of2"], ["s1of2"]])
@pytest.mark.parametrize("group, act, anew", [
    (FIRST, ahead, [FIRST_0, AGAIN[0]]), (FILES, sync, [FILES_0, REST])], ids=["ahead", "sync"])
def test_of_a_group_that_is_not_whole_nothing_is_waited_for(donor, jobs, group, act, anew, left):
    """What the one that systemd has forgotten, or that was never begun, had to copy nobody copies."""
    jobs.put(f"{group}-{left[0]}", "running")
    act()
    assert jobs.order == [("ended", f"{group}-{left[0]}"), *(("begun", job) for job in anew)]


@pytest.mark.parametrize("group, act", [(FIRST, ahead), (FILES, sync)], ids=["ahead", "sync"])
def test_a_group_that_is_not_whole_any_more_is_an_error_in_its_own_attempt(donor, jobs, group, act):
    jobs.put(f"{group}-s1of2", "done")
    with pytest.raises(CommandExecutionError, match=f"of the 2 jobs of {group} only 1 are there"):
        act(begun=True)
    assert jobs.order == [("forgotten", f"{group}-s1of2")] and donor["told"] == []


@pytest.mark.parametrize("group, act", [(FIRST, ahead), (FILES, sync)], ids=["ahead", "sync"])
def test_a_group_that_is_whole_is_kept_whole(donor, jobs, group, act):
    """One that has ended already is one of it still."""
    jobs.put(f"{group}-s0of2", "done")
    jobs.put(f"{group}-s1of2", "running")
    assert act()["running"] == group
    assert jobs.order == []


@pytest.mark.parametrize("begun", [True, False])
def test_another_attempt_changes_in_place_what_is_there_already(donor, jobs, begun):
    """Beside it each large file would need its room once more."""
    ahead()
    assert not {"--inplace", "--no-whole-file"} & set(jobs.begun[0][1])
    jobs.begun.clear()
    if begun:
        jobs.stop_each([FIRST_0])
    ahead(begun=begun)
    assert jobs.begun[0][0] == FIRST_0 and {"--inplace", "--no-whole-file"} < set(jobs.begun[0][1])


def test_emptied_anew_since_nothing_is_there_to_be_changed_in_place(donor, jobs):
    """Holes would be filled that way."""
    ahead()
    donor["record"]["boot"] = "b-2"
    jobs.begun.clear()
    ahead()
    assert jobs.begun[0][0] == FIRST_0 and not {"--inplace", "--no-whole-file"} & set(jobs.begun[0][1])
    assert hostrecord.load(datacopy.AHEAD)["boot"] == "b-2"


@pytest.mark.parametrize("act", [datacopy.ahead, datacopy.sync])
def test_the_longest_name_of_a_run_is_not_too_long_for_its_jobs(donor, jobs, logs, act):
    run = "r" * 64
    donor["record"]["run"] = run
    donor["left"] = ["<f a\n", "", "<f b\n", ""]
    act("east1", "east", run, compress="none")
    assert jobs.begun
    for name, *_ in jobs.begun:
        assert longjob.NAME.fullmatch(name + "xx"), "with as many streams as there may be"


def test_only_ahead_files_may_go_away(donor, jobs):
    ahead()
    donor["left"] = [""]
    sync()
    assert jobs.well == {FIRST_0: (23, 24), AGAIN[0]: (23, 24), FILES_0: (), REST: ()}


def test_when_it_began_is_remembered_before_anything_is_begun(donor, jobs, functions):
    seen = []
    functions["longjob.start"].side_effect = lambda name, argv, **more: (
        seen.append(hostrecord.load(datacopy.AHEAD)["run"]), jobs.start(name, argv, **more))
    ahead()
    assert seen == ["r-1", "r-1"]


def test_a_later_call_of_the_same_attempt_finds_its_copy_again(donor, jobs):
    jobs.ends[FIRST_0] = {"state": "running"}
    assert ahead() == {"running": FIRST, "transport": TRANSPORT}
    began = {"host": "east1", "run": "r-1", "began": 7}
    hostrecord.save(datacopy.AHEAD, began)
    jobs.order.clear()
    assert ahead(begun=True) == {"running": FIRST, "transport": TRANSPORT}
    assert jobs.order == [], "neither ended nor begun twice"
    jobs.put(FIRST_0, "done")
    for _ in range(2):
        assert ahead(begun=True) == COPIED_AHEAD
        assert jobs.order == [("begun", AGAIN[0])] and hostrecord.load(datacopy.AHEAD) == began


def test_ahead_waits_as_long_as_it_is_told(donor, functions):
    ahead(wait=5)
    assert [call.args for call in functions["jobgroup.wait"].call_args_list] == [(FIRST, 5), (AGAIN[0], 5)]


@pytest.mark.parametrize("seconds, turns", [
    ([59.9], 1), ([60.0, 59.9], 2), ([3600.0, 60.0, 59.9], 3), ([3600.0, 3600.0, 3600.0], 3)])
def test_what_took_long_is_done_again_in_place(donor, jobs, seconds, turns):
    for name, took in zip(AGAIN, seconds, strict=False):
        jobs.ends[name] = {"state": "done", "seconds": took}
    assert ahead() == COPIED_AHEAD
    assert jobs.did("begun") == [FIRST_0, *AGAIN[:turns]]
    for _, argv, _, _ in jobs.begun[1:]:
        assert {"--inplace", "--no-whole-file", "--delete"} <= set(argv) and argv[0] == "nice"


def test_the_locations_take_long_together(donor, jobs, logs):
    for number in (0, 1):
        jobs.ends[f"copy-ahead-{number}-again-0-r-1"] = {"state": "done", "seconds": 30.0}
    ahead()
    assert jobs.did("begun") == [
        FIRST_0, "copy-ahead-1-r-1-s0of1", *(f"copy-ahead-{number}-again-{turn}-r-1" for turn in (0, 1)
                                          for number in (0, 1))]
    for name, argv, _, _ in jobs.begun:
        if name.startswith("copy-ahead-1"):
            assert [word for word in argv if "clude" in word] == [f"--include=/{name}" for name in BINLOGS] + [
                "--exclude=*"]


def test_turns_go_on_over_calls(donor, jobs):
    jobs.ends.update({AGAIN[0]: SLOW, AGAIN[1]: {"state": "running"}})
    assert ahead() == {"running": AGAIN[1], "transport": TRANSPORT}
    assert ahead(begun=True) == {"running": AGAIN[1], "transport": TRANSPORT}
    jobs.put(AGAIN[1], "done", seconds=1.0)
    assert ahead(begun=True) == COPIED_AHEAD
    assert jobs.did("begun") == [FIRST_0, *AGAIN[:2]]


@pytest.mark.parametrize("job, begun", [(FIRST_0, [FIRST_0, AGAIN[0]]), (AGAIN[0], [FIRST_0, *AGAIN[:2]])])
@pytest.mark.parametrize("rc", [23, 24])
def test_files_that_went_away_meanwhile_are_harmless(donor, jobs, job, begun, rc):
    jobs.ends[job] = {"state": "failed", "seconds": 60.0, "rc": rc}
    assert ahead() == COPIED_AHEAD
    assert jobs.did("begun") == begun and jobs.did("forgotten") == []
    assert ahead(begun=True) == COPIED_AHEAD
    assert jobs.did("begun") == begun, "it counts as done"


@pytest.mark.parametrize("other, running", [("done", False), ("running", True)])
def test_nor_do_they_end_the_streams_beside(donor, jobs, two_streams, other, running):
    jobs.ends.update({f"{FIRST}-s0of2": {"state": "failed", "rc": 24}, f"{FIRST}-s1of2": {"state": other}})
    assert ahead()["running"] == (FIRST if running else None)
    assert jobs.did("ended") == jobs.did("forgotten") == []


@pytest.mark.parametrize("rc", [1, 11, 12, 30, 255, -15, None])
@pytest.mark.parametrize("job", [FIRST_0, AGAIN[0]])
def test_other_failures_are_not(donor, jobs, job, rc):
    jobs.ends[job] = {"state": "failed", "rc": rc}
    with pytest.raises(CommandExecutionError, match=f"The job {job} "):
        ahead()
    assert jobs.did("forgotten") == [job]


def test_one_that_failed_between_two_calls_is_an_error_in_its_own_attempt(donor, jobs):
    jobs.put(FIRST_0, "failed", rc=11)
    with pytest.raises(CommandExecutionError, match=f"The job {FIRST_0} ended with exit code 11"):
        ahead(begun=True)
    assert jobs.order == [("forgotten", FIRST_0)]


def test_a_target_that_is_said_to_be_copied_is_told_first_that_it_is_not(donor, jobs, functions):
    donor["record"]["state"] = "copied"
    told = []
    functions["longjob.start"].side_effect = lambda name, argv, **more: (
        told.append(list(donor["told"])), jobs.start(name, argv, **more))
    ahead()
    emptied = [{**donor["record"], "state": "emptied"}]
    assert told == [emptied, emptied], "one that is not whole is never taken into use"


def test_a_target_that_cannot_be_told_is_not_touched(donor, jobs, functions):
    donor["record"]["state"] = "copied"
    functions["copytarget.tell"].side_effect = CommandExecutionError("connection closed")
    with pytest.raises(CommandExecutionError, match="connection closed"):
        ahead()
    assert jobs.begun == []


def test_when_the_first_of_a_run_began_counts(donor, jobs):
    began = {"host": "east1", "run": "r-1", "began": 7, "boot": "b-1", "filled": [0]}
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
def copied_ahead(donor, tmp_path, monkeypatch):
    """
    A copy ahead began an hour ago; ``margin``, ``before`` and the like were written to at that time or around it.

    When a file was put in place nobody can set: all of them were long before it, and the clock here is ahead.
    """
    began = int(time.time()) + 3600
    monkeypatch.setattr(datacopy, "time", SimpleNamespace(time=lambda: began + 3600))
    hostrecord.save(datacopy.AHEAD, {"host": "east1", "run": "r-1", "began": began})
    for path in (tmp_path / "data").rglob("*"):
        os.utime(path, (1, 1))
    for name, mtime in {"mysql/before": began - datacopy.MARGIN - 1, "mysql/margin": began - datacopy.MARGIN + 1,
                        "while it ran\n": began + 30, "lost+found/x": began + 30}.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name, encoding="utf-8")
        os.utime(path, (mtime, mtime))
    # Only what comes out of it is looked at.
    donor["left"] = [""]
    return donor


def test_what_was_touched_is_compared_before_anything_else(copied_ahead, jobs, tmp_path):
    assert sync(deadline=600) == ended()
    assert jobs.order == [("begun", FILES_0), ("begun", REST)]
    _, argv, user, deadline = jobs.begun[0]
    assert (user, deadline) == (None, 600)
    assert {"--ignore-times", "--inplace", "--no-whole-file", "-a", "--exclude=/auto.cnf", "--exclude=/.reprovision",
            "--rsync-path=sudo -n rsync"} < set(argv)
    assert "--delete" not in argv and "-n" not in argv and argv[0] == "rsync", "the donor is out: it makes haste"
    assert argv[-2:] == [f"{tmp_path}/data/", "tungsten@east1:/data on east/"]
    assert names_of(argv) == ["mysql/margin", "while it ran\n"]
    assert "--delete" in jobs.begun[1][1] and "--ignore-times" not in jobs.begun[1][1]
    assert copied_ahead["told"] == [{**copied_ahead["record"], "state": "copied"}]


def test_what_was_put_in_place_since_is_compared_too(donor, jobs, tmp_path):
    """Renamed, or copied there with the time it had: it says that it is old."""
    for path in (tmp_path / "data").rglob("*"):
        os.utime(path, (1, 1))
    hostrecord.save(datacopy.AHEAD, {"host": "east1", "run": "r-1", "began": int(time.time())})
    donor["left"] = [""]
    places = [f"{tmp_path}/data/.hidden", f"{tmp_path}/data/mysql/user.frm"]
    assert sorted(datacopy.differences("east1", "east", "r-1")) == places
    assert sync() == ended()
    assert names_of(jobs.begun[0][1]) == [".hidden", "mysql/user.frm"] and "--ignore-times" in jobs.begun[0][1]


@pytest.mark.parametrize("known", [None, {"run": "r-0"}, {"host": "east2"}])
def test_a_host_that_has_forgotten_when_compares_all_of_it(copied_ahead, jobs, known):
    """A record that was lost, or another run's: a copy ahead was made all the same."""
    if known is None:
        os.unlink(hostrecord.path(datacopy.AHEAD))
    else:
        hostrecord.save(datacopy.AHEAD, {**hostrecord.load(datacopy.AHEAD), **known})
    assert sync(warm=True) == ended()
    assert jobs.did("begun") == [FILES_0, REST]
    assert {"--ignore-times", "--inplace", "--no-whole-file"} < set(jobs.begun[0][1])
    assert names_of(jobs.begun[0][1]) == [
        ".hidden", "mysql/before", "mysql/margin", "mysql/user.frm", "while it ran\n"]


def test_with_that_record_only_what_was_touched_is_compared_in_a_warm_run_too(copied_ahead, jobs):
    assert sync(warm=True) == ended()
    assert names_of(jobs.begun[0][1]) == ["mysql/margin", "while it ran\n"]


@pytest.mark.parametrize("late, compared", [(0, 2), (-1, 5)])
def test_by_a_clock_that_was_put_back_nobody_can_tell(copied_ahead, jobs, monkeypatch, late, compared):
    began = hostrecord.load(datacopy.AHEAD)["began"]
    monkeypatch.setattr(datacopy, "time", SimpleNamespace(time=lambda: began + late))
    assert len(list(filter(None, datacopy.differences("east1", "east", "r-1")))) == compared
    assert sync() == ended()
    assert len(names_of(jobs.begun[0][1])) == compared and "--ignore-times" in jobs.begun[0][1]


def test_it_is_compared_side_by_side(copied_ahead, jobs, two_streams):
    sync()
    assert jobs.did("begun") == [*FILES_OF_2, REST]
    for _, argv, _, _ in jobs.begun[:2]:
        assert len(names_of(argv)) == 1 and {"--ignore-times", "--inplace", "--no-whole-file"} < set(argv)


def test_of_logs_only_their_own_files_are_compared(copied_ahead, jobs, logs):
    began = hostrecord.load(datacopy.AHEAD)["began"]
    for path in logs.iterdir():
        os.utime(path, (began, began))
    sync()
    assert jobs.did("begun") == [FILES_0, REST, "copy-files-1-r-1-s0of1", "copy-rest-1-r-1"]
    assert names_of(jobs.begun[2][1]) == ["mysql-bin.000007", "mysql-bin.index"]


def test_equal_by_size_and_time_it_is_compared_all_the_same(copied_ahead, jobs):
    assert sync() == ended()
    assert jobs.did("begun") == [FILES_0, REST] and len(copied_ahead["told"]) == 1


@pytest.mark.parametrize("state", ["running", "done", "failed"])
@pytest.mark.parametrize("left", [[FILES_0], FILES_OF_2, [FILES_0, REST]])
def test_a_fresh_attempt_compares_anew_and_as_a_whole(copied_ahead, jobs, left, state):
    """
    Whatever was compared before, the server has run since, perhaps; and what comes after would not make up for a part
    that has failed.
    """
    for job in left:
        jobs.put(job, state, rc=11)
    assert sync() == ended()
    assert jobs.order == [
        *(("ended" if state == "running" else "forgotten", job) for job in left), ("begun", FILES_0), ("begun", REST)]


def test_its_own_attempt_compares_once(copied_ahead, jobs):
    jobs.put(FILES_0, "done")
    jobs.put(REST, "done")
    assert sync(begun=True) == ended()
    assert jobs.order == [] and len(copied_ahead["told"]) == 1


def test_a_comparison_that_goes_on_is_named_and_nothing_else_begun(copied_ahead, jobs):
    jobs.ends[FILES_0] = {"state": "running"}
    for begun in (False, True):
        assert sync(begun=begun) == going(FILES)
    assert jobs.did("begun") == [FILES_0] and copied_ahead["told"] == []


@pytest.mark.parametrize("rc", [11, 23, 24])
def test_a_comparison_that_fails_is_an_error(copied_ahead, jobs, rc):
    jobs.ends[FILES_0] = {"state": "failed", "rc": rc}
    with pytest.raises(CommandExecutionError, match=f"The job {FILES_0} ended with exit code {rc}"):
        sync()
    assert jobs.did("begun") == jobs.did("forgotten") == [FILES_0] and copied_ahead["told"] == []


def test_one_that_finds_nothing_touched_copies_the_rest(copied_ahead, jobs, tmp_path):
    for path in (tmp_path / "data").rglob("*"):
        os.utime(path, (1, 1))
    assert sync() == ended()
    assert jobs.did("begun") == [REST]


@pytest.mark.parametrize("other", [{"run": "r-0"}, {"host": "east2"}])
def test_without_a_copy_ahead_of_this_run_nothing_is_compared(copied_ahead, jobs, other):
    hostrecord.save(datacopy.AHEAD, {**hostrecord.load(datacopy.AHEAD), **other})
    assert datacopy.differences("east1", "east", "r-1") == []
    copied_ahead["left"] = ["<f+++++++++ ibdata1\n", ""]
    assert sync() == ended()
    assert jobs.did("begun") == [FILES_0, REST]
    assert {"mysql/before", ".hidden"} < set(names_of(jobs.begun[0][1])), "all of it"
    assert not {"--ignore-times", "--inplace"} & set(jobs.begun[0][1])


def test_differences_name_what_has_to_be_compared(copied_ahead, jobs, tmp_path):
    copied_ahead["left"] = ["<f.st...... ibdata1\n"]
    found = datacopy.differences("east1", "east", "r-1")
    assert found[0] == "<f.st...... ibdata1"
    assert sorted(filter(None, found[1:])) == [f"{tmp_path}/data/mysql/margin", f"{tmp_path}/data/while it ran"]
    assert jobs.order == copied_ahead["told"] == []


def test_when_nobody_knows_when_it_began_they_name_every_file(copied_ahead, tmp_path):
    copied_ahead["left"] = [""]
    os.unlink(hostrecord.path(datacopy.AHEAD))
    assert datacopy.differences("east1", "east", "r-1") == []
    assert f"{tmp_path}/data/mysql/before" in datacopy.differences("east1", "east", "r-1", warm=True)


def test_what_is_copied_has_been_compared(copied_ahead):
    copied_ahead["record"]["state"] = "copied"
    assert datacopy.differences("east1", "east", "r-1") == []


@pytest.mark.parametrize("found", [{"retcode": 1, "stderr": "find: Input/output error"}, {"retcode": 124}])
def test_what_was_touched_has_to_be_known(copied_ahead, jobs, functions, found):
    run = functions["cmd.run_all"].side_effect
    functions["cmd.run_all"].side_effect = lambda argv, **more: (
        {"stdout": "", "stderr": "", **found} if "-newermt" in argv else run(argv, **more))
    with pytest.raises(CommandExecutionError, match="find failed with (1: find: Input|124)"):
        sync()
    assert jobs.begun == [] and copied_ahead["told"] == []
