"""runrecord: whole records or an error, and what was asked of a run or reported against a site."""

import contextlib
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import ROOT, load

runrecord = load("_modules", "runrecord")

# Another process of the master, with the module loaded as here.
OTHER = """
import sys
sys.path.insert(0, {root!r})
from tests.support.loader import load
runrecord = load("_modules", "runrecord")
runrecord.__opts__ = {{"cachedir": {cachedir!r}, "__role": "master"}}
"""
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


@contextlib.contextmanager
def other(code, tmp_path):
    script = code.format(root=str(ROOT), cachedir=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-B", "-c", script], stdout=subprocess.PIPE, text=True)
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
    for function in (runrecord.latest, runrecord.every, runrecord.reported, runrecord.forget_stop):
        with pytest.raises(CommandExecutionError, match="is not a site name"):
            function(site)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("run", ["../../x", "a/b", "", "x.json"])
def test_no_record_outside(run):
    with pytest.raises(CommandExecutionError, match="is not the id of a run"):
        runrecord.load("east", run)


def test_a_page_lies_beside_the_record_and_is_none(tmp_path):
    runrecord.save({"run": "20260101T000000-7", "failed": "east"})
    path = Path(runrecord.keep_page("east", "20260101T000000-7", "<html>…"))
    assert path == tmp_path / "reprovision/east/20260101T000000-7.html"
    assert path.read_text() == "<html>…" and path.stat().st_mode & 0o777 == 0o600
    assert [each["run"] for each in runrecord.every("east")] == ["20260101T000000-7"]
    assert runrecord.latest("east")["run"] == "20260101T000000-7"


@pytest.mark.parametrize("run", ["", "../x", "a/b", "x.html", "a\0"])
def test_no_page_outside(tmp_path, run):
    with pytest.raises(CommandExecutionError, match="is not the id of a run"):
        runrecord.keep_page("east", run, "x")
    assert list(tmp_path.rglob("*.html")) == []


def test_a_page_that_cannot_be_written(tmp_path):
    (tmp_path / "reprovision/east/20260101T000000-7.html").mkdir(parents=True)
    with pytest.raises(CommandExecutionError, match="The report cannot be written to .*7.html"):
        runrecord.keep_page("east", "20260101T000000-7", "x")


def test_every_record_of_a_site_oldest_first(tmp_path):
    assert runrecord.every("east") == []
    runrecord.report("east", {"on_drift": "plan"})
    runrecord.ask_to_stop("east", "20260101T000000-99", "alice", None)
    for run in ("20260301T000000-1", "20251231T235959-3", "20260101T000000-99"):
        runrecord.save(record(run))
    runrecord.save({**record("20270101T000000-1"), "failed": "west"})
    assert [found["run"] for found in runrecord.every("east")] == [
        "20251231T235959-3",
        "20260101T000000-99",
        "20260301T000000-1",
    ]
    (tmp_path / "reprovision" / "east" / "20260101T000000-99.json").write_text("{")
    with pytest.raises(CommandExecutionError, match="20260101T000000-99.json is not readable"):
        runrecord.every("east")


def test_the_sites_of_which_there_is_any_memory(tmp_path):
    assert runrecord.sites() == [] and not list(tmp_path.iterdir()), "to ask leaves nothing behind"
    runrecord.save({**record(), "failed": "west"})
    runrecord.report("east", {"on_drift": "plan"})
    (tmp_path / "reprovision" / "a file").write_text("")
    (tmp_path / "reprovision" / "north").write_text("")
    (tmp_path / "reprovision" / "lost+found").mkdir()
    assert runrecord.sites() == ["east", "west"]


def test_who_asked_a_run_to_stop_and_why(monkeypatch):
    monkeypatch.setattr(runrecord.time, "gmtime", lambda real=time.gmtime: real(1767225600))
    assert runrecord.asked_to_stop("east", "20260101T000000-7") is None
    note = runrecord.ask_to_stop("east", "20260101T000000-7", "alice", "wrong donor")
    assert note == {
        "run": "20260101T000000-7",
        "who": "alice",
        "reason": "wrong donor",
        "at": "2026-01-01T00:00:00Z",
    }
    assert runrecord.asked_to_stop("east", "20260101T000000-7") == note
    assert runrecord.latest("east") is None, "a wish is no run"


def test_only_the_run_that_was_meant_is_asked_to_stop():
    runrecord.ask_to_stop("east", "20260101T000000-7", "alice", None)
    assert runrecord.asked_to_stop("east", "20260102T000000-8") is None
    assert runrecord.asked_to_stop("west", "20260101T000000-7") is None
    runrecord.ask_to_stop("east", "20260102T000000-8", "bob", None)
    assert runrecord.asked_to_stop("east", "20260102T000000-8")["who"] == "bob"


def test_a_forgotten_wish_stops_nobody():
    assert runrecord.forget_stop("east"), "there need not be one"
    runrecord.ask_to_stop("east", "20260101T000000-7", "alice", None)
    runrecord.ask_to_stop("west", "20260101T000000-7", "alice", None)
    assert runrecord.forget_stop("east")
    assert runrecord.asked_to_stop("east", "20260101T000000-7") is None
    assert runrecord.asked_to_stop("west", "20260101T000000-7")


def test_reports():
    assert runrecord.reported("east") is None
    note = runrecord.report("east", {"on_drift": "plan", "decision": "x"})
    assert note == {"site": "east", "reported": note["reported"], "on_drift": "plan", "decision": "x"}
    assert runrecord.reported("east") == note
    assert runrecord.latest("east") is None, "a report is no run"
