"""copystreams: each file of a location goes through one stream, about as much through each; over real files."""

import os
import subprocess
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.support import datahost
from tests.support.datahost import BINLOGS, hostrecord
from tests.support.loader import load

copystreams = load("_modules", "copystreams")
MEGA = 1024**2


@pytest.fixture
def functions(tmp_path, monkeypatch):
    monkeypatch.setattr(hostrecord, "STATE_DIR", str(tmp_path / "remembered"))
    (tmp_path / "remembered").mkdir()
    functions = datahost.new_functions(datahost.new_facts(tmp_path))
    functions["cmd.run_all"].side_effect = run_all
    return functions


def run_all(argv, python_shell, ignore_retcode, rstrip, output_encoding, output_loglevel):
    """Salt's own, as far as this module relies on it: the bytes come as they are."""
    assert (python_shell, rstrip, argv[:3]) == (False, False, ["timeout", "--kill-after=5", "1800"])
    done = subprocess.run(argv, capture_output=True, check=False)
    return {"retcode": done.returncode, "stdout": done.stdout.decode(output_encoding),
            "stderr": done.stderr.decode(output_encoding)}


@pytest.fixture
def configure_loader_modules(functions):
    return {**datahost.loader_modules(functions), copystreams: {"__salt__": functions}}


@pytest.fixture
def place(tmp_path):
    """A location, which ``new_facts`` has put two files of a byte into."""
    return {"path": str(tmp_path / "data"), "files": []}


def fill(place, **sizes):
    """Files of so many MB, whose blocks are all there."""
    for name, size in sizes.items():
        path = os.path.join(place["path"], name)
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size * MEGA)


def names(part):
    with open(part["names"], "rb") as file:
        listed = file.read().split(b"\0")
    assert listed.pop() == b"", "each is followed by a zero byte"
    return sorted(listed)


def split(place, streams=4, since=None):
    return copystreams.split(place, "location-0", streams, since)


def test_it_may_run_anywhere():
    assert copystreams.__virtual__() == "copystreams"


def test_little_goes_through_one_stream(place, tmp_path):
    (part,) = split(place)
    assert part == {"names": f"{tmp_path}/remembered/location-0-whole-0.names", "bytes": 2, "holes": False}
    assert names(part) == [b".hidden", b"mysql/user.frm"]


def test_about_as_much_goes_through_each(place):
    fill(place, a=40, b=20, c=20, d=10, e=10, f=20)
    parts = split(place, streams=3)
    assert [part["bytes"] // MEGA for part in parts] == [40, 40, 40]
    assert sorted(name for part in parts for name in names(part)) == [
        b".hidden", b"a", b"b", b"c", b"d", b"e", b"f", b"mysql/user.frm"], "each file once"
    assert len({part["names"] for part in parts}) == 3


@pytest.mark.parametrize("streams", [1, 2, 16])
def test_there_are_as_many_as_ordered_at_the_most(place, streams):
    fill(place, **{f"t{number}": 20 for number in range(20)})
    parts = split(place, streams)
    assert len(parts) == streams and sum(len(names(part)) for part in parts) == 22


def test_no_stream_is_opened_for_less_than_it_costs(place):
    fill(place, a=17, b=16)
    assert len(split(place, streams=16)) == 2


def test_one_file_cannot_be_shared_out(place):
    fill(place, a=90)
    parts = split(place)
    assert [names(part) for part in parts] == [[b"a"], [b"mysql/user.frm"], [b".hidden"]]


def test_many_small_files_cost_as_well(place):
    for number in range(600):
        (open(os.path.join(place["path"], f"t{number:03}"), "wb")).close()
    parts = split(place)
    assert len(parts) == 2 and abs(len(names(parts[0])) - len(names(parts[1]))) <= 2


def test_files_with_holes_have_streams_of_their_own(place):
    fill(place, whole=20)
    for name, size in (("holed", 40 * MEGA), ("holed too", 40 * MEGA), ("small", 4096 * 15)):
        with open(os.path.join(place["path"], name), "wb") as file:
            file.truncate(size)
    parts = split(place, streams=2)
    assert [part["holes"] for part in parts] == [False, True, True]
    assert sorted(names(parts[1]) + names(parts[2])) == [b"holed", b"holed too"]
    assert b"small" in names(parts[0]), "of a small file they are not worth it"
    assert [os.path.basename(part["names"]) for part in parts] == [
        "location-0-whole-0.names", "location-0-holes-0.names", "location-0-holes-1.names"]


def test_any_name_comes_back_as_it_was(place):
    odd = [b"a b", b"line\nbreak", b"\xff\xfe", "ü".encode(), b"-e", b"%P", b" led", b"trailed "]
    for name in odd:
        open(os.path.join(place["path"].encode(), name), "wb").close()
    (part,) = split(place)
    assert names(part) == sorted([*odd, b".hidden", b"mysql/user.frm"])


def test_directories_and_links_are_no_files(place):
    os.mkdir(os.path.join(place["path"], "empty"))
    os.symlink("mysql", os.path.join(place["path"], "link"))
    os.mkfifo(os.path.join(place["path"], "fifo"))
    os.mkdir(os.path.join(place["path"], "lost+found"))
    open(os.path.join(place["path"], "lost+found", "x"), "wb").close()
    (part,) = split(place)
    assert names(part) == [b".hidden", b"mysql/user.frm"]


def test_only_what_was_written_to_since(place):
    since = int(time.time()) - 100
    for name, mtime in (("before", since - 1), ("after", since + 1)):
        path = os.path.join(place["path"], name)
        open(path, "wb").close()
        os.utime(path, (mtime, mtime))
    (part,) = split(place, since=since)
    assert names(part) == [b".hidden", b"after", b"mysql/user.frm"]
    assert split(place, since=int(time.time()) + 100) == [], "none of them is empty"


def test_of_logs_only_their_own_files(place):
    place["files"] = BINLOGS
    for name in ("mysql-bin.000001", "mysql-bin.index", "mysql-bin.txt"):
        open(os.path.join(place["path"], name), "wb").close()
    (part,) = split(place)
    assert names(part) == [b"mysql-bin.000001", b"mysql-bin.index"]


@pytest.mark.parametrize("retcode", [1, 124, 137])
def test_files_that_cannot_be_listed_are_an_error(place, functions, retcode):
    functions["cmd.run_all"].side_effect = lambda argv, **_: {
        "retcode": retcode, "stdout": "1 1.0 a\0", "stderr": "find: Input/output error\n"}
    with pytest.raises(CommandExecutionError, match=f"find failed with {retcode}: find: Input/output error"):
        split(place)
