"""runlock: locks that die with their holder, sites that are rebuilt or copied from but not both, a claim once."""

import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import ROOT, load

runlock = load("_modules", "runlock")

FIRST, SECOND = "20260101T000000-7", "20260101T000001-8"
# Another process of the master, with the module loaded as here. It does what it is told, a JSON line each.
OTHER = """
import json, os, subprocess, sys
sys.path.insert(0, {root!r})
from salt.exceptions import CommandExecutionError
from tests.support.loader import load
runlock = load("_modules", "runlock")
runlock.__opts__ = {{"cachedir": {cachedir!r}, "__role": "master"}}
runlock.child = lambda: subprocess.Popen(
    ["sleep", "60"], close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).pid
for line in sys.stdin:
    name, args = json.loads(line)
    try:
        answer = [True, getattr(runlock, name)(*args)]
    except CommandExecutionError as error:
        answer = [False, str(error)]
    print(json.dumps(answer), flush=True)
"""
BAD_SITES = ["", "..", "../east", "a/b", "east\n", "-x", "e" * 64, None, 3, ["east"]]


class Master:
    """Another process that runs an orchestration; a real one, since locks are the kernel's."""

    def __init__(self, cachedir):
        script = OTHER.format(root=str(ROOT), cachedir=str(cachedir))
        self.process = subprocess.Popen(
            [sys.executable, "-B", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, name, *args):
        self.process.stdin.write(json.dumps([name, args]) + "\n")
        self.process.stdin.flush()

    def hear(self):
        good, answer = json.loads(self.process.stdout.readline())
        if not good:
            raise CommandExecutionError(answer)
        return answer

    def call(self, name, *args):
        self.ask(name, *args)
        return self.hear()

    def die(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(tmp_path):
    with contextlib.ExitStack() as stack:

        def begin():
            found = Master(tmp_path)
            stack.callback(found.die)
            return found

        yield begin


@pytest.fixture
def master(start):
    return start()


@pytest.fixture
def configure_loader_modules(tmp_path):
    return {runlock: {"__opts__": {"cachedir": str(tmp_path), "__role": "master"}}}


@pytest.fixture(autouse=True)
def released():
    """Locks end with their process; this one lives on, for the next test."""
    yield
    while runlock._held:
        os.close(runlock._held.popitem()[1])
    runlock.look_ends()


def folder(tmp_path, site):
    return tmp_path / "reprovision" / site


def test_only_on_the_master():
    assert runlock.__virtual__() == "runlock"
    runlock.__opts__["__role"] = "minion"
    assert runlock.__virtual__()[0] is False


# --- the failed site


def test_the_lock_is_seen_by_others(master):
    assert runlock.running("east") is None
    assert master.call("acquire", "east", "west", FIRST) == {}, "nobody had it before"
    holder = runlock.running("east")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", holder.pop("since"))
    assert holder == {"run": FIRST, "pid": master.process.pid, "definitive": "west"}
    assert master.call("running", "east")["run"] == FIRST, "its holder sees it too"
    assert runlock.running("west") is None, "copied from is not being rebuilt"


def test_one_run_a_site_at_a_time_and_the_refusal_names_it(master):
    master.call("acquire", "east", "west", FIRST)
    words = f"Site east is being re-provisioned by run {FIRST}, process {master.process.pid}: one run at a time"
    with pytest.raises(CommandExecutionError, match=words):
        runlock.acquire("east", "north", SECOND)
    assert runlock.running("east")["run"] == FIRST, "who is refused does not put its name there"
    assert runlock.acquire("south", "north", SECOND) == {}, "another site is free"


def test_of_many_at_the_same_time_one_gets_it(start):
    masters = [start() for _ in range(4)]
    for number, one in enumerate(masters):
        one.ask("acquire", "east", "west", f"2026010{number}T000000-7")
    refused = 0
    for one in masters:
        try:
            assert one.hear() == {}
        except CommandExecutionError as error:
            assert "one run at a time" in str(error)
            refused += 1
    assert refused == 3


def test_the_lock_of_this_process_refuses_this_process_too():
    runlock.acquire("east", "west", "first")
    with pytest.raises(CommandExecutionError, match="by run first"):
        runlock.acquire("east", "west", "second")


def test_a_holder_that_died_holds_nothing_and_is_told_of(master):
    master.call("acquire", "east", "west", FIRST)
    held = runlock.running("east")
    master.die()
    assert runlock.running("east") is None
    assert runlock.acquire("east", "west", "8") == held
    assert runlock.running("east")["run"] == "8", "nothing is left of the longer name"
    assert runlock.keep()


def test_who_released_it_is_not_taken_for_one_that_died(master):
    master.call("acquire", "east", "west", FIRST)
    assert master.call("release") == 2
    assert runlock.running("east") is None
    assert runlock.acquire("east", "west", SECOND) == {}


def test_to_release_nothing_is_no_error():
    assert runlock.release() == 0


def test_a_child_that_outlives_its_run_does_not_hold_its_lock(master):
    master.call("acquire", "east", "west", FIRST)
    child = master.call("child")
    try:
        master.die()
        os.kill(child, 0)
        assert runlock.running("east") is None
        assert runlock.acquire("west", "east", SECOND) == {}
    finally:
        os.kill(child, 9)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"east"', b"\xff\xfe", b"\x00" * 9, b"7"])
def test_a_damaged_lock_is_a_lock_all_the_same(tmp_path, master, content):
    master.call("acquire", "east", "west", FIRST)
    (folder(tmp_path, "east") / "lock").write_bytes(content)
    assert runlock.running("east") == {}, "held, though nobody knows by whom"
    with pytest.raises(CommandExecutionError, match="by run unknown, process unknown"):
        runlock.acquire("east", "west", SECOND)
    master.die()
    assert runlock.acquire("east", "west", SECOND) == {}


def test_somebody_who_only_looks_is_waited_for(monkeypatch, tmp_path):
    runlock.running("east")
    looking = os.open(folder(tmp_path, "east") / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_SH)
    slept = []

    def sleep(seconds):
        if not slept:
            os.close(looking)
        slept.append(seconds)

    monkeypatch.setattr(runlock.time, "sleep", sleep)
    assert runlock.acquire("east", "west", FIRST) == {}
    assert len(slept) == 1


def test_the_locks_are_for_the_masters_user_alone(tmp_path):
    runlock.acquire("east", "west", FIRST)
    for path in (folder(tmp_path, "east") / "lock", folder(tmp_path, "west") / "source-of-east.lock"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


# --- the definitive site


def test_two_runs_of_different_sites_may_share_their_source(master):
    master.call("acquire", "east", "west", FIRST)
    assert runlock.acquire("north", "west", SECOND) == {}
    assert runlock.keep() and master.call("keep")


def test_a_site_that_is_copied_from_cannot_be_rebuilt(master):
    master.call("acquire", "east", "west", FIRST)
    with pytest.raises(CommandExecutionError, match=f"Site west is being copied from by run {FIRST}: it cannot be"):
        runlock.acquire("west", "north", SECOND)
    assert runlock.running("west") is None, "who is refused keeps nothing"
    master.call("release")
    assert runlock.acquire("west", "north", SECOND) == {}


def test_the_last_of_two_who_copy_from_a_site_still_protects_it(start):
    one, two = start(), start()
    one.call("acquire", "east", "west", FIRST)
    two.call("acquire", "north", "west", SECOND)
    one.call("release")
    with pytest.raises(CommandExecutionError, match=f"being copied from by run {SECOND}"):
        runlock.acquire("west", "south", "9")
    two.die()
    assert runlock.acquire("west", "south", "9") == {}, "a source whose run has died is free"


def test_a_site_that_is_being_rebuilt_cannot_be_copied_from(master):
    master.call("acquire", "east", "west", FIRST)
    words = f"Site east cannot be the definitive one: it is being re-provisioned itself, by run {FIRST}"
    with pytest.raises(CommandExecutionError, match=words):
        runlock.acquire("north", "east", SECOND)
    assert runlock.running("north") is None, "who is refused keeps nothing"
    master.die()
    assert runlock.acquire("north", "east", SECOND) == {}


def test_a_site_cannot_be_rebuilt_from_itself():
    with pytest.raises(CommandExecutionError, match="Site east cannot be the definitive one"):
        runlock.acquire("east", "east", FIRST)
    assert runlock.running("east") is None


# --- another name in the locks


def test_sign_puts_the_run_that_is_gone_on_with_into_both_locks(master):
    master.call("acquire", "east", "west", SECOND)
    assert master.call("sign", FIRST) == 2
    holder = runlock.running("east")
    assert (holder["run"], holder["pid"]) == (FIRST, master.process.pid)
    with pytest.raises(CommandExecutionError, match=f"copied from by run {FIRST}:"):
        runlock.acquire("west", "north", "9")
    assert master.call("keep")


def test_who_holds_nothing_signs_nothing(master, tmp_path):
    master.call("acquire", "east", "west", FIRST)
    assert runlock.sign(SECOND) == 0
    assert runlock.running("east")["run"] == FIRST


# --- kept, and taken away


def test_who_holds_nothing_keeps_nothing(master):
    master.call("acquire", "east", "west", FIRST)
    with pytest.raises(CommandExecutionError, match="holds no lock"):
        runlock.keep()
    master.call("release")
    with pytest.raises(CommandExecutionError, match="holds no lock"):
        master.call("keep")


def test_who_hangs_loses_the_locks_and_finds_out_while_another_goes_on(master):
    master.call("acquire", "east", "west", FIRST)
    held = runlock.running("east")
    assert master.call("keep")
    assert runlock.take_away("east", FIRST) == held
    assert runlock.running("east") is None
    with pytest.raises(CommandExecutionError, match=r"was taken away from this run \(reprovision.unlock\)"):
        master.call("keep")
    assert runlock.acquire("east", "west", SECOND) == {}
    with pytest.raises(CommandExecutionError, match="was taken away"):
        master.call("keep")
    assert master.call("sign", "9") == 2
    assert master.call("release") == 2
    assert runlock.running("east")["run"] == SECOND, "the old holder's end does not touch the new one's lock"
    assert runlock.keep()


def test_the_source_is_free_too_when_the_locks_were_taken_away(master):
    master.call("acquire", "east", "west", FIRST)
    runlock.take_away("east", FIRST)
    assert runlock.acquire("west", "north", SECOND) == {}


def test_the_lock_of_the_source_alone_is_missed_as_well(master, tmp_path):
    master.call("acquire", "east", "west", FIRST)
    (folder(tmp_path, "west") / "source-of-east.lock").unlink()
    with pytest.raises(CommandExecutionError, match="source-of-east.lock was taken away"):
        master.call("keep")


def test_only_the_run_that_was_looked_at_is_taken_away_from(master):
    master.call("acquire", "east", "west", FIRST)
    with pytest.raises(CommandExecutionError, match=f"is held by run {FIRST}, not by {SECOND}"):
        runlock.take_away("east", SECOND)
    assert runlock.running("east")["run"] == FIRST
    assert master.call("keep")


def test_nothing_is_taken_away_from_who_has_died(master):
    master.call("acquire", "east", "west", FIRST)
    master.die()
    with pytest.raises(CommandExecutionError, match="Nobody holds the lock of site east"):
        runlock.take_away("east", FIRST)
    assert runlock.acquire("east", "west", SECOND)["run"] == FIRST, "what its lock said is still there"


# --- names


@pytest.mark.parametrize("site", BAD_SITES)
def test_no_folder_outside(tmp_path, site):
    for function, args in (
        (runlock.running, ()),
        (runlock.claim, ("look", 60)),
        (runlock.unclaim, ("look",)),
        (runlock.acquire, ("west", FIRST)),
        (runlock.take_away, (FIRST,)),
    ):
        with pytest.raises(CommandExecutionError, match="is not a site name"):
            function(site, *args)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("site", BAD_SITES)
def test_no_source_outside(tmp_path, site):
    with pytest.raises(CommandExecutionError, match="is not a site name"):
        runlock.acquire("east", site, FIRST)
    assert runlock.running("east") is None
    assert [path.name for path in tmp_path.rglob("*")] == ["reprovision", "east", "lock"]


# --- the claim


def test_one_claim_of_many_threads(monkeypatch):
    def slow():
        time.sleep(0.005)
        return real()

    real = time.time
    monkeypatch.setattr(runlock.time, "time", slow)
    # Salt's dunders are context variables, which threads do not see: the values are handed in as attributes.
    opts = dict(runlock.__opts__)
    runlock.__opts__ = opts
    with ThreadPoolExecutor(8) as pool:
        granted = list(pool.map(lambda _: runlock.claim("east", "look", 60), range(24)))
    assert granted.count(True) == 1


def test_one_claim_of_many_processes(start):
    masters = [start() for _ in range(4)]
    for one in masters:
        one.ask("claim", "east", "look", 60)
    assert sorted(one.hear() for one in masters) == [False, False, False, True]
    assert all(one.call("claimed", "east", "look") for one in masters)


def test_a_claim_holds_for_its_time_site_and_purpose(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(runlock.time, "time", lambda: clock[0])
    assert runlock.claim("east", "look", 120)
    assert not runlock.claimed("west", "look") and not runlock.claimed("east", "starting")
    assert runlock.claim("west", "look", 120)
    assert runlock.claim("east", "starting", 500)
    clock[0] += 119
    assert runlock.claimed("east", "look") and not runlock.claim("east", "look", 120)
    clock[0] += 1
    assert not runlock.claimed("east", "look") and runlock.claim("east", "look", 120)
    assert runlock.claimed("east", "starting")


def test_who_is_refused_does_not_make_it_longer(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(runlock.time, "time", lambda: clock[0])
    assert runlock.claim("east", "look", 120)
    clock[0] += 60
    assert not runlock.claim("east", "look", 10_000)
    clock[0] += 60
    assert not runlock.claimed("east", "look")


def test_a_clock_that_was_set_back_does_not_claim_a_site_for_ever(monkeypatch):
    clock = [1_000_000_000.0]
    monkeypatch.setattr(runlock.time, "time", lambda: clock[0])
    assert runlock.claim("east", "look", runlock.LONGEST_CLAIM)
    assert runlock.claimed("east", "look"), "the longest cool-down of the pillar holds"
    clock[0] -= 86400
    assert not runlock.claimed("east", "look")
    assert runlock.claim("east", "look", 120)
    assert runlock.claimed("east", "look")


@pytest.mark.parametrize("text", ["", "no time", "nan", "inf", "-inf", "1e999", "0", "[]", "\x00"])
def test_a_damaged_claim_claims_nothing(tmp_path, text):
    runlock.claim("east", "look", 60)
    (folder(tmp_path, "east") / "look").write_text(text)
    assert not runlock.claimed("east", "look")
    assert runlock.claim("east", "look", 60)
    assert not runlock.claim("east", "look", 60) and runlock.claimed("east", "look")


def test_what_was_let_go_can_be_claimed_again():
    assert runlock.unclaim("east", "look"), "there need not be a claim"
    assert runlock.claim("east", "look", 60) and runlock.claim("east", "starting", 60)
    assert runlock.unclaim("east", "look")
    assert not runlock.claimed("east", "look") and runlock.claimed("east", "starting")
    assert runlock.claim("east", "look", 60)


@pytest.mark.parametrize("site", ["east", *BAD_SITES])
def test_to_ask_leaves_nothing_behind(tmp_path, site):
    """Events name sites that nobody knows; so this raises nothing either."""
    assert runlock.claimed(site, "look") is False
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["lock", "drift.json", "../../x", "", None])
def test_nothing_else_can_be_claimed(tmp_path, what):
    for function, args in ((runlock.claim, (60,)), (runlock.claimed, ()), (runlock.unclaim, ())):
        with pytest.raises(CommandExecutionError, match="cannot be claimed, only starting, look"):
            function("east", what, *args)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_claim_is_no_lock():
    runlock.claim("east", "look", 60)
    runlock.claim("east", "starting", 60)
    assert runlock.running("east") is None
    assert runlock.acquire("east", "west", FIRST) == {}


def test_one_look_at_a_time_however_long_it_takes():
    assert runlock.look_begins("east") is True
    assert runlock.look_begins("east") is False and runlock.look_begins("west") is True
    assert runlock.look_ends() is True and runlock.look_ends() is False
    assert runlock.look_begins("east") is True
    runlock.look_ends()


def test_who_asks_for_a_claim_locks_nothing(monkeypatch):
    """A fork of the master at that moment would keep the lock, and no look could begin."""
    runlock.claim("east", "look", 60)
    monkeypatch.setattr(runlock.fcntl, "flock", create_autospec(fcntl.flock))
    assert runlock.claimed("east", "look") is True and runlock.claimed("west", "look") is False
    runlock.fcntl.flock.assert_not_called()


def test_a_child_that_has_the_file_open_does_not_go_on_looking(tmp_path, master):
    """As one that Salt forks meanwhile: it has all descriptors of this process, for as long as it lives."""
    assert runlock.look_begins("east") and runlock.look_begins("west")
    handles = tuple(runlock._looking)
    child = subprocess.Popen(["sleep", "60"], pass_fds=handles)
    try:
        assert master.call("look_begins", "east") is False
        assert runlock.look_ends() is True
        open_there = {os.readlink(f"/proc/{child.pid}/fd/{handle}") for handle in handles}
        assert open_there == {str(folder(tmp_path, site) / "looking") for site in ("east", "west")}
        assert master.call("look_begins", "east") is True and runlock.look_begins("west") is True
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_nobody_elses_look_is_ended(master):
    assert master.call("look_begins", "east") is True
    assert runlock.look_begins("east") is False and runlock.look_ends() is False
    assert master.call("look_ends") is True and runlock.look_begins("east") is True
    runlock.look_ends()


def test_who_has_died_does_not_go_on_looking(master):
    master.call("look_begins", "east")
    assert runlock.look_begins("east") is False
    master.die()
    assert runlock.look_begins("east") is True
