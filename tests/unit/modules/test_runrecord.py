"""runrecord: whole records or an error, a lock that dies with its holder, a claim granted once."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import ROOT, load

runrecord = load("_modules", "runrecord")

# Another process of the master, with the module loaded as here.
OTHER = """
import sys, time
sys.path.insert(0, {root!r})
from tests.support.loader import load
runrecord = load("_modules", "runrecord")
runrecord.__opts__ = {{"cachedir": {cachedir!r}, "__role": "master"}}
"""
HOLD = OTHER + "runrecord.acquire('east', '20260101T000000-7'); print('held', flush=True); time.sleep(60)"
CLAIM = OTHER + "sys.stdin.readline(); print(runrecord.claim_start('east', 60))"
SAVE = (
    OTHER
    + """
for number in range(10 ** 9):
    runrecord.save({{"failed": "east", "run": "20260101T000000-7", "number": number, "filler": "x" * 20000}})
    if number == 20: print("going", flush=True)
"""
)


@pytest.fixture
def configure_loader_modules(tmp_path):
    return {runrecord: {"__opts__": {"cachedir": str(tmp_path), "__role": "master"}}}


@pytest.fixture(autouse=True)
def released():
    """Locks end with their process; this one lives on, for the next test."""
    yield
    while runrecord._held:
        os.close(runrecord._held.popitem()[1])


@contextlib.contextmanager
def other(code, tmp_path, **kwargs):
    script = code.format(root=str(ROOT), cachedir=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", script], stdout=subprocess.PIPE, text=True, **kwargs
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def record(run="20260101T000000-7", **more):
    return {"run": run, "failed": "east", "state": "running", **more}


def test_only_on_the_master():
    assert runrecord.__virtual__() == "runrecord"
    runrecord.__opts__["__role"] = "minion"
    assert runrecord.__virtual__()[0] is False


def test_what_is_saved_is_loaded(tmp_path):
    assert runrecord.latest("east") is None
    assert runrecord.load("east", "20260101T000000-7") is None
    runrecord.save(record(steps={"03 ü": {"state": "done"}}))
    assert runrecord.load("east", "20260101T000000-7") == record(steps={"03 ü": {"state": "done"}})
    assert runrecord.latest("west") is None
    assert stat.S_IMODE((tmp_path / "reprovision" / "east").stat().st_mode) == 0o700


def test_the_latest_is_the_newest_run_and_no_other_file(tmp_path):
    runrecord.report("east", {"on_drift": "plan"})
    for run in ("20260301T000000-1", "20260101T000000-99", "20251231T235959-3"):
        runrecord.save(record(run))
    (tmp_path / "reprovision" / "east" / ".___atomic_write99").write_text("{")
    assert runrecord.latest("east")["run"] == "20260301T000000-1"


@pytest.mark.parametrize("text", ["", "{", '{"run": "2026', "\x00\x00"])
def test_a_damaged_record_is_an_error_not_a_missing_one(tmp_path, text):
    runrecord.save(record())
    path = tmp_path / "reprovision" / "east" / "20260101T000000-7.json"
    path.write_text(text)
    with pytest.raises(CommandExecutionError, match=f"{path.name} is not readable as JSON"):
        runrecord.latest("east")
    with pytest.raises(CommandExecutionError, match="is not readable as JSON"):
        runrecord.load("east", "20260101T000000-7")


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path):
    runrecord.save(record())
    with pytest.raises(TypeError):
        runrecord.save(record(steps=object()))
    assert runrecord.latest("east") == record()
    assert [path.name for path in (tmp_path / "reprovision" / "east").iterdir()] == ["20260101T000000-7.json"]


def test_a_writer_killed_at_any_moment_leaves_a_whole_record(tmp_path):
    with other(SAVE, tmp_path) as writer:
        assert writer.stdout.readline() == "going\n"
        for _ in range(200):
            assert len(runrecord.latest("east")["filler"]) == 20000
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert runrecord.latest("east")["number"] >= 20


@pytest.mark.parametrize("site", ["", "..", "../east", "a/b", "east\n", "-x", "e" * 64, None, 3, ["east"]])
def test_no_folder_outside(tmp_path, site):
    for function in (runrecord.latest, runrecord.running, runrecord.reported):
        with pytest.raises(CommandExecutionError, match="is not a site name"):
            function(site)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("run", ["../../x", "a/b", "", "x.json"])
def test_no_record_outside(run):
    with pytest.raises(CommandExecutionError, match="is not the id of a run"):
        runrecord.load("east", run)


def test_the_lock_is_seen_by_others_and_dies_with_its_process(tmp_path):
    assert runrecord.running("east") is None
    with other(HOLD, tmp_path) as holder:
        assert holder.stdout.readline() == "held\n"
        assert runrecord.running("east") == "20260101T000000-7"
        assert runrecord.running("west") is None
        with pytest.raises(CommandExecutionError, match="by run 20260101T000000-7: one run at a time"):
            runrecord.acquire("east", "20260101T000001-8")
        assert runrecord.running("east") == "20260101T000000-7", "who is refused does not put its name there"
        assert runrecord.acquire("west", "20260101T000001-8"), "another site is free"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert runrecord.running("east") is None
        assert runrecord.acquire("east", "8")
    assert runrecord.running("east") == "8", "nothing is left of the longer name"


def test_the_lock_of_this_process_refuses_this_process_too():
    runrecord.acquire("east", "first")
    with pytest.raises(CommandExecutionError, match="by run first"):
        runrecord.acquire("east", "second")


def test_the_definitive_site_is_shared_but_not_rebuilt_meanwhile(tmp_path):
    with other(HOLD, tmp_path) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CommandExecutionError, match="Site east is being re-provisioned"):
            runrecord.acquire("east", "8", shared=True)
        holder.kill()
        holder.wait()
    assert runrecord.acquire("west", "8", shared=True)
    assert runrecord.running("west") is None, "copied from is not being rebuilt"
    with pytest.raises(CommandExecutionError):
        runrecord.acquire("west", "9")


def test_release_gives_everything_back():
    runrecord.acquire("east", "8")
    runrecord.acquire("west", "8", shared=True)
    assert runrecord.release() == ["east", "west"]
    assert runrecord.acquire("west", "9") and runrecord.acquire("east", "9", shared=True)


def test_one_claim_of_many_threads(monkeypatch):
    def slow():
        time.sleep(0.005)
        return real()

    real = time.time
    monkeypatch.setattr(runrecord.time, "time", slow)
    # Salt's dunders are context variables, which threads do not see: the values are handed in as attributes.
    opts = dict(runrecord.__opts__)
    runrecord.__opts__ = opts
    with ThreadPoolExecutor(8) as pool:
        granted = list(pool.map(lambda _: runrecord.claim_start("east", 60), range(24)))
    assert granted.count(True) == 1


def test_one_claim_of_many_processes(tmp_path):
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(other(CLAIM, tmp_path, stdin=subprocess.PIPE)) for _ in range(4)]
        answers = [process.communicate("\n")[0].strip() for process in processes]
    assert sorted(answers) == ["False"] * 3 + ["True"]


def test_a_claim_holds_for_its_time_and_site(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(runrecord.time, "time", lambda: clock[0])
    assert runrecord.claim_start("east", 120)
    assert runrecord.claim_start("west", 120)
    clock[0] += 119
    assert not runrecord.claim_start("east", 120)
    clock[0] += 1
    assert runrecord.claim_start("east", 120)
    clock[0] -= 86400
    assert runrecord.claim_start("east", 120), "a clock set back must not claim a site for a day"


def test_a_damaged_claim_claims_nothing(tmp_path):
    runrecord.claim_start("east", 60)
    (tmp_path / "reprovision" / "east" / "starting").write_text("no time")
    assert runrecord.claim_start("east", 60)
    assert not runrecord.claim_start("east", 60)


def test_reports():
    assert runrecord.reported("east") is None
    note = runrecord.report("east", {"on_drift": "plan", "decision": "x"})
    assert note == {"site": "east", "reported": note["reported"], "on_drift": "plan", "decision": "x"}
    assert runrecord.reported("east") == note
    assert runrecord.latest("east") is None, "a report is no run"
