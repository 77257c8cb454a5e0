"""checkrecord: one check at a time, whole records for the master's user alone, and not more of them than are kept."""

import contextlib
import json
import os
import re
import stat
import subprocess
import sys

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import ROOT, load

checkrecord = load("_modules", "checkrecord")

FIRST, SECOND = "20260101T000000-0001", "20260101T000001-0002"
# Another process of the master, with the module loaded as here.
OTHER = """
import sys
sys.path.insert(0, {root!r})
from tests.support.loader import load
checkrecord = load("_modules", "checkrecord")
checkrecord.__opts__ = {{"cachedir": {cachedir!r}, "__role": "master"}}
checkrecord.__context__ = {{}}
checkrecord.acquire()
print("held", flush=True)
sys.stdin.readline()
checkrecord.release()
print("released", flush=True)
sys.stdin.readline()
"""
FORGED = ["", "..", "../../etc/passwd", "20260101T000000-0001/../x", f"{FIRST}\n", "20260101T000000-000G", "lock", "*",
          "20260101T000000-00011", "x" * 100_000, None, 7, ["20260101T000000-0001"]]


@pytest.fixture
def configure_loader_modules(tmp_path):
    return {checkrecord: {"__opts__": {"cachedir": str(tmp_path), "__role": "master"}, "__context__": {}}}


@pytest.fixture(autouse=True)
def released():
    """The lock ends with its process; this one lives on, for the next test."""
    yield
    checkrecord.release()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "reprovision" / "_checks"


@contextlib.contextmanager
def holder(tmp_path):
    script = OTHER.format(root=str(ROOT), cachedir=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def record(check=FIRST, verdict="equal", **more):
    return {"check": check, "verdict": verdict, **more}


def test_only_on_the_master():
    assert checkrecord.__virtual__() == "checkrecord"
    checkrecord.__opts__["__role"] = "minion"
    assert checkrecord.__virtual__()[0] is False


# --- ids


def test_ids_are_ids_sort_by_their_time_and_differ(monkeypatch):
    made = {checkrecord.new_id() for _ in range(20)}
    assert len(made) > 15, "two checks within a second are two"
    assert all(re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{4}", each) for each in made)
    monkeypatch.setattr(checkrecord.time, "gmtime", lambda real=checkrecord.time.gmtime: real(0))
    assert checkrecord.new_id() < min(made)
    assert checkrecord.save(record(checkrecord.new_id()))


@pytest.mark.parametrize("check", FORGED, ids=lambda value: repr(value)[:30])
def test_no_path_is_made_of_what_is_no_id(tmp_path, check):
    for call in (lambda: checkrecord.load(check), lambda: checkrecord.save(record(check))):
        with pytest.raises(CommandExecutionError, match="is not the id of a check") as error:
            call()
        assert len(str(error.value)) < 150
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# --- records


def test_what_is_saved_is_loaded_and_only_the_masters_user_reads_it(folder):
    assert checkrecord.latest() is None and checkrecord.load(FIRST) is None
    before = os.umask(0)
    try:
        checkrecord.save(record(keys={"shop.orders": ["ü"]}))
    finally:
        os.umask(before)
    assert checkrecord.load(FIRST) == record(keys={"shop.orders": ["ü"]})
    assert stat.S_IMODE((folder / f"{FIRST}.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_record_that_cannot_be_written_leaves_the_old_one(folder):
    checkrecord.save(record())
    with pytest.raises(TypeError):
        checkrecord.save(record(rows=object()))
    assert checkrecord.load(FIRST) == record()
    assert [path.name for path in folder.iterdir()] == [f"{FIRST}.json"]


def test_the_latest_of_a_kind():
    checkrecord.save(record(SECOND, None))
    checkrecord.save(record(FIRST, "drifted"))
    assert checkrecord.latest()["check"] == SECOND
    assert checkrecord.latest(finished=True)["check"] == FIRST
    assert checkrecord.latest(finished=False)["check"] == SECOND


def test_an_unfinished_check_under_a_newer_one_is_not_gone_on_with():
    checkrecord.save(record(FIRST, None))
    checkrecord.save(record(SECOND, "equal"))
    assert checkrecord.latest(finished=False) is None
    assert checkrecord.latest(finished=True)["check"] == SECOND


def test_without_an_ended_one_there_is_none():
    checkrecord.save(record(FIRST, None))
    assert checkrecord.latest(finished=True) is None


WHOLE = {"tables": None, "nodes": "replicas"}


@pytest.mark.parametrize("settings, whole", [
    (WHOLE, True),
    ({"tables": None, "nodes": "all"}, True),
    ({"tables": None, "nodes": "one"}, False),
    ({"tables": ["shop.orders"], "nodes": "replicas"}, False),
    ({"tables": ["shop.orders"], "nodes": "all"}, False),
    ({"tables": ["shop.orders"], "nodes": "one"}, False),
])
def test_the_latest_that_looked_at_all_tables_on_more_than_one_node(settings, whole):
    checkrecord.save(record(FIRST, settings=WHOLE))
    checkrecord.save(record(SECOND, settings=settings))
    assert checkrecord.latest(whole=True)["check"] == (SECOND if whole else FIRST)
    assert checkrecord.latest(finished=True, whole=True)["check"] == (SECOND if whole else FIRST)
    assert checkrecord.latest()["check"] == checkrecord.latest(whole=False)["check"] == SECOND


def test_if_none_has_looked_at_all_there_is_none():
    checkrecord.save(record(FIRST, settings={"tables": None, "nodes": "one"}))
    checkrecord.save(record(SECOND, settings={"tables": ["shop.orders"], "nodes": "all"}))
    assert checkrecord.latest(whole=True) is None and checkrecord.latest(finished=True, whole=True) is None


def test_the_latest_whole_one_has_to_have_ended_too():
    checkrecord.save(record(FIRST, settings=WHOLE))
    checkrecord.save(record(SECOND, None, settings=WHOLE))
    assert checkrecord.latest(finished=True, whole=True)["check"] == FIRST
    assert checkrecord.latest(finished=False, whole=True)["check"] == SECOND
    assert checkrecord.latest(whole=True)["check"] == SECOND


def test_other_files_are_no_records(folder):
    checkrecord.save(record())
    for name in ("99990101T000000-zzzz.json", ".___atomic_write99", "notes.json"):
        (folder / name).write_text("{")
    assert checkrecord.latest()["check"] == FIRST


def test_the_oldest_make_room_for_a_new_one_and_no_other_file_does(folder, monkeypatch):
    monkeypatch.setattr(checkrecord, "KEPT", 3)
    folder.mkdir(parents=True)
    (folder / "notes.json").write_text("{}")
    ids = [f"2026010{day}T000000-0000" for day in range(1, 6)]
    for check in ids[:3]:
        checkrecord.save(record(check))
    checkrecord.save(record(ids[0], "drifted"))
    assert checkrecord.load(ids[0]), "to write one again throws none away"
    for check in ids[3:]:
        checkrecord.save(record(check))
    assert sorted(path.stem for path in folder.glob("*.json")) == [*ids[2:], "notes"]


# --- the lock


def test_one_check_at_a_time(tmp_path):
    with holder(tmp_path) as other:
        with pytest.raises(CommandExecutionError, match="is running already; look at it with: salt-run drift.show"):
            checkrecord.acquire()
        assert checkrecord.release() is False, "who is refused holds nothing"
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "released\n"
        assert checkrecord.acquire(), "the other one lives, and has given it back"


def test_who_has_died_holds_nothing(tmp_path):
    with holder(tmp_path) as other:
        other.kill()
        other.wait()
        assert checkrecord.acquire()


def test_this_process_too_has_it_once():
    checkrecord.acquire()
    with pytest.raises(CommandExecutionError, match="is running already"):
        checkrecord.acquire()
    assert checkrecord.release() is True
    assert checkrecord.release() is False
    assert checkrecord.acquire()


def test_the_lock_is_not_lost_with_the_module(folder):
    """A runner's call of an execution module loads all of them anew; what lasts is the context."""
    checkrecord.acquire()
    assert json.dumps(dict(checkrecord.__context__)), "nothing in it that could not be kept"
    again = load("_modules", "checkrecord").__dict__
    assert not [name for name, value in again.items() if isinstance(value, list) and not name.startswith("__")]
    assert checkrecord.release() is True


def test_a_child_does_not_hold_it():
    checkrecord.acquire()
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        checkrecord.release()
        assert checkrecord.acquire()
    finally:
        child.kill()
        child.wait()


def test_the_lock_and_its_folder_are_the_masters_users(folder):
    checkrecord.acquire()
    assert stat.S_IMODE((folder / "lock").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert checkrecord.latest() is None, "it is no record"
