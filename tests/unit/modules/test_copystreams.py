"""copystreams: which files go through which stream, with real find over real files."""

import itertools
import os
import subprocess
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.support import datahost
from tests.support.datahost import BINLOGS, copystreams, hostrecord, run_all

MIB = 1024**2


@pytest.fixture
def functions(tmp_path, monkeypatch):
    monkeypatch.setattr(hostrecord, "STATE_DIR", str(tmp_path / "remembered"))
    (tmp_path / "remembered").mkdir()
    return datahost.new_functions(datahost.new_facts(tmp_path))


@pytest.fixture
def configure_loader_modules(functions):
    return datahost.loader_modules(functions)


@pytest.fixture
def data(tmp_path, functions):
    """An empty data location."""
    data = tmp_path / "big"
    data.mkdir()
    return data


def split(data, streams=4, files=(), **more):
    return copystreams.split({"path": str(data), "files": list(files)}, "location-0", streams, **more)


def names(part):
    """The names that a stream's rsync reads, as bytes."""
    with open(part["names"], "rb") as stream:
        *listed, last = stream.read().split(b"\0")
    assert last == b"", "each is followed by a zero byte"
    return listed


def fill(folder, sizes):
    """Files whose content takes the room on the disk that it has."""
    for name, size in sizes.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(os.urandom(size))


def hollow(path, size, content=0):
    with open(path, "wb") as stream:
        stream.write(os.urandom(content))
        stream.truncate(size)


def found(functions, *files):
    """Let find have found files: (bytes, how much of it is allocated, name)."""
    functions["cmd.run_all"].side_effect = lambda argv, **kwargs: {
        "retcode": 0, "stderr": "", "stdout": "".join(f"{size} {share} {name}\0" for size, share, name in files)}


class TestSharingOut:
    def test_about_the_same_amount_to_each(self, data, functions):
        """The largest first, each to whoever has least."""
        found(functions, *((size * MIB, 1, f"{size}") for size in (10, 70, 20, 60, 50, 30)))
        parts = split(data, 3)
        assert [(part["bytes"] // MIB, names(part)) for part in parts] == [
            (80, [b"70", b"10"]), (80, [b"60", b"20"]), (80, [b"50", b"30"])]
        assert [part["holes"] for part in parts] == [False] * 3

    def test_many_small_files_are_shared_out_too(self, data, functions):
        found(functions, *((0, 1, f"{number}") for number in range(4000)))
        parts = split(data, 4)
        assert [len(names(part)) for part in parts] == [1000] * 4 and {part["bytes"] for part in parts} == {0}

    def test_a_large_one_is_alone_and_the_small_ones_make_up_for_it(self, data, functions):
        found(functions, (100 * MIB, 1, "large"), *((MIB, 1, f"{number}") for number in range(60)))
        large, others = split(data, 2)
        assert names(large) == [b"large"] and len(names(others)) == 60

    @pytest.mark.parametrize("total, streams, expected", [
        (1, 4, 1), (15, 4, 1), (31, 4, 1), (32, 4, 2), (47, 4, 2), (64, 4, 4), (64, 1, 1), (1000, 4, 4),
        (1000, 16, 16)])
    def test_no_more_streams_than_the_amount_is_worth(self, data, functions, total, streams, expected):
        size = MIB - copystreams.BESIDE
        found(functions, *((size, 1, f"{number}") for number in range(total)))
        parts = split(data, streams)
        assert len(parts) == expected and sum(len(names(part)) for part in parts) == total

    def test_no_more_streams_than_files(self, data, functions):
        found(functions, (999 * MIB, 1, "a"), (1, 1, "b"))
        assert [names(part) for part in split(data, 16)] == [[b"a"], [b"b"]]

    def test_every_file_goes_through_one_of_them(self, data, functions):
        files = [((number * 7919) % 100 * MIB, (number % 7) / 5, f"t {number}") for number in range(500)]
        found(functions, *files)
        parts = split(data, 5)
        listed = list(itertools.chain.from_iterable(map(names, parts)))
        assert len(parts) == 10 and sorted(listed) == sorted(name.encode() for _, _, name in files)
        assert sum(part["bytes"] for part in parts) == sum(size for size, _, _ in files)
        for holes in (False, True):
            loads = [part["bytes"] for part in parts if part["holes"] is holes]
            assert max(loads) - min(loads) <= 100 * MIB

    def test_nothing_has_no_stream(self, data):
        (data / "empty directory").mkdir()
        assert split(data) == []


class TestRealFiles:
    def test_what_is_a_file_wherever_it_lies(self, data):
        fill(data, {"ibdata1": 9000, "app db/t 1.ibd": 5000, ".rocksdb/x": 0})
        (data / "app db" / "link.ibd").symlink_to("t 1.ibd")
        os.mkfifo(data / "mysql.fifo")
        (part,) = split(data)
        assert {**part, "names": None} == {"names": None, "bytes": 14000, "holes": False}
        assert sorted(names(part)) == [b".rocksdb/x", b"app db/t 1.ibd", b"ibdata1"]

    @pytest.mark.parametrize("name", [
        b"new\nline", b"spaces  in it ", b" before", b"\xff\xfe not utf-8", "Zoë".encode(), b"a\rb\r\nc", b"\\0", b"-n",
        b"tab\tand \x1b[1m", b"*", b"'\"$(id)`", b"\xc2\x85\xe2\x80\xa8", b"x" * 255])
    def test_odd_names_survive(self, data, name):
        with open(os.path.join(os.fsencode(data), name), "wb") as stream:
            stream.write(b"123")
        (part,) = split(data)
        assert (names(part), part["bytes"]) == ([name], 3)

    def test_they_are_what_rsync_reads(self, data, tmp_path):
        odd = [b"new\nline", b"\xff\xfe", b"a\rb", b" before", b"behind ", b"db\x01/t\n.ibd"]
        for name in odd:
            path = os.path.join(os.fsencode(data), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as stream:
                stream.write(name)
        (part,) = split(data)
        there = tmp_path / "there"
        subprocess.run(["rsync", "-a", "--from0", f"--files-from={part['names']}", f"{data}/", f"{there}/"], check=True)
        for name in odd:
            with open(os.path.join(os.fsencode(there), name), "rb") as stream:
                assert stream.read() == name

    def test_what_has_holes_is_apart(self, data):
        fill(data, {"ibdata1": MIB, "t1.ibd": MIB})
        hollow(data / "compressed.ibd", MIB, content=MIB // 2)
        hollow(data / "hollow.ibd", 5 * MIB)
        whole, holes = split(data)
        assert (whole["holes"], whole["bytes"], sorted(names(whole))) == (False, 2 * MIB, [b"ibdata1", b"t1.ibd"])
        assert (holes["holes"], holes["bytes"]) == (True, 6 * MIB)
        assert sorted(names(holes)) == [b"compressed.ibd", b"hollow.ibd"]
        assert whole["names"] != holes["names"]

    def test_of_a_small_file_nobody_counts_the_blocks(self, data):
        hollow(data / "small", copystreams.BESIDE)
        hollow(data / "larger", copystreams.BESIDE + 1)
        whole, holes = split(data)
        assert (names(whole), names(holes)) == ([b"small"], [b"larger"])

    def test_since_then_only_what_was_written_to(self, data):
        # Later than they are put in place here, which no time that is set hides.
        since = int(time.time()) + 1000
        for name, more in {"before": -1, "just before": -0.1, "at": 0.5, "after": 9}.items():
            (data / name).write_text(name, encoding="utf-8")
            os.utime(data / name, (since + more, since + more))
        (part,) = split(data, since=since)
        assert sorted(names(part)) == [b"after", b"at"]
        assert split(data, since=since + 10) == []
        assert len(names(split(data)[0])) == 4

    def test_what_was_renamed_or_put_in_place_says_that_it_is_old(self, data):
        fill(data, {"a": 5, "b": 5, "left": 5, "sub/c": 5})
        beside = data.parent / "beside"
        beside.write_text("another", encoding="utf-8")
        for path in (data / "a", data / "b", data / "left", data / "sub" / "c", beside):
            os.utime(path, (1, 1))
        # The kernel's own clock lags a little.
        time.sleep(0.1)
        since = time.time()
        time.sleep(0.1)
        (data / "a").rename(data / "renamed")
        beside.replace(data / "b")
        os.chmod(data / "sub" / "c", 0o600)
        (part,) = split(data, since=since)
        assert sorted(names(part)) == [b"b", b"renamed", b"sub/c"]

    @pytest.mark.parametrize("mtime", [0, 1, -86400])
    def test_since_1970_is_all_of_them(self, data, mtime):
        (data / "x").write_text("x", encoding="utf-8")
        os.utime(data / "x", (mtime, mtime))
        assert names(split(data, since=0)[0]) == [b"x"]

    def test_of_logs_only_their_own_files(self, data):
        fill(data, {"mysql-bin.000007": 5, "mysql-bin.index": 5, "error.log": 5, "sub/mysql-bin.000008": 5})
        (part,) = split(data, files=BINLOGS)
        assert sorted(names(part)) == [b"mysql-bin.000007", b"mysql-bin.index"]

    def test_what_is_of_the_file_system_stays(self, data):
        fill(data, {"lost+found/#1": 5, "ibdata1": 5})
        (part,) = split(data)
        assert names(part) == [b"ibdata1"]

    def test_another_location_has_files_of_names_of_its_own(self, data):
        fill(data, {"ibdata1": 5})
        place = {"path": str(data), "files": []}
        paths = [part["names"] for label in ("location-0", "location-1") for part in copystreams.split(place, label, 4)]
        assert paths == [hostrecord.path(f"location-{number}-whole-0.names") for number in (0, 1)]

    def test_what_stood_in_them_is_forgotten(self, data):
        fill(data, {"a rather long name": 5})
        split(data)
        (data / "a rather long name").rename(data / "b")
        (part,) = split(data)
        assert names(part) == [b"b"]


class TestFindFails:
    def test_a_location_that_is_not_there(self, data):
        with pytest.raises(CommandExecutionError, match="find failed with 1: .*No such file"):
            split(data / "nowhere")

    @pytest.mark.parametrize("retcode", [1, 124, 137])
    def test_half_an_answer_is_none(self, data, functions, retcode):
        """Whoever copies only those would believe to have copied all."""
        functions["cmd.run_all"].side_effect = lambda argv, **kwargs: {
            "retcode": retcode, "stdout": "5 1 ibdata1\0", "stderr": "find: ‘x’: Input/output error\n"}
        with pytest.raises(CommandExecutionError, match=f"find failed with {retcode}: find: ‘x’: Input/output error"):
            split(data)
        assert os.listdir(hostrecord.folder()) == []

    def test_it_has_a_time_limit(self, data, functions):
        split(data)
        (call,) = functions["cmd.run_all"].call_args_list
        assert call.args[0][:4] == ["timeout", "--kill-after=5", str(copystreams.SECONDS), "find"]
        assert call.kwargs["output_loglevel"] == "quiet", "a million names are nothing for a log"
        assert functions["cmd.run_all"].side_effect is run_all
