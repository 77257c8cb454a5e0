"""copytarget: what a host has to be for a copy to go there, asked of that host, and what it is told."""

import os
import zlib
from types import SimpleNamespace

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support import datahost
from tests.support.datahost import BINLOGS, UNFIT_PLACES, UNFIT_TARGET, copytarget, datadir, hostrecord

SSH = ["runuser", "-u", "tungsten", "--", "ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
       "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15",
       "-o", "Ciphers=^aes128-gcm@openssh.com,aes256-gcm@openssh.com"]
MEGA = 1000**2
LIMIT = ["timeout", "--kill-after=5", "60"]


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
def donor(facts, functions):
    """This host is west3, and east1 has been emptied for it."""
    datahost.become_donor(facts, functions, lambda words: pytest.fail(f"nobody needs {words}"))
    return facts


@pytest.fixture
def places(tmp_path):
    """This host's locations."""
    return {"datadir": {"path": str(tmp_path / "data"), "files": []}}


def answers(functions, **answer):
    functions["cmd.run_all"].side_effect = lambda argv, **kwargs: {"retcode": 0, "stdout": "", "stderr": "", **answer}


@pytest.mark.parametrize("missing", ["rsync", "runuser", "ssh"])
def test_without_its_tools_it_is_not_there(monkeypatch, missing):
    monkeypatch.setattr(copytarget.salt.utils.path, "which", lambda tool: None if tool == missing else f"/bin/{tool}")
    assert copytarget.__virtual__() == (False, f"not in the PATH: {missing}")


def test_with_them_it_is(monkeypatch):
    monkeypatch.setattr(copytarget.salt.utils.path, "which", lambda tool: f"/bin/{tool}")
    assert copytarget.__virtual__() == "copytarget"


def test_the_record_has_one_name():
    assert copytarget.RECORD == datadir.RECORD


class TestAddress:
    def test_it_is_reached_by_the_tungsten_user_without_a_question(self, donor):
        assert copytarget.ssh() == SSH
        assert copytarget.address("east1") == "tungsten@east1"

    def test_the_user_is_the_pillars(self, donor):
        donor["node"]["user"] = "continuent"
        assert copytarget.ssh()[:4] == ["runuser", "-u", "continuent", "--"]
        assert copytarget.address("east1") == "continuent@east1"

    @pytest.mark.parametrize("host", ["-oProxyCommand=x", "east1 -e", "", None, "a/b"])
    def test_no_strange_host(self, donor, host):
        with pytest.raises(SaltInvocationError):
            copytarget.address(host)


class TestRecord:
    def test_it_is_asked_each_time_whether_a_server_runs_and_what_its_record_says(self, donor):
        for _ in range(2):
            donor["asked"].clear()
            assert copytarget.record("east1", "east", "r-1") == donor["record"]
            assert donor["asked"] == [
                [*LIMIT, *SSH, "tungsten@east1", "pgrep -x 'mysqld|mariadbd'"],
                [*LIMIT, "rsync", "--ignore-times", "--chmod=F600", "-e", " ".join(SSH), "--rsync-path=sudo -n rsync",
                 f"tungsten@east1:{hostrecord.path('ownership.json')}", hostrecord.path("target-east1.json")],
            ]
        assert donor["told"] == []

    def test_what_was_copied_may_be_copied_again(self, donor):
        donor["record"]["state"] = "copied"
        assert copytarget.record("east1", "east", "r-1")["state"] == "copied"

    @pytest.mark.parametrize("name", ["west3", "w3.example"])
    def test_the_donor_may_go_by_its_host_or_its_minion(self, donor, name):
        donor["record"]["donor"] = name
        assert copytarget.record("east1", "east", "r-1")["donor"] == name

    @pytest.mark.parametrize("keys, value, words", UNFIT_TARGET.values(), ids=UNFIT_TARGET)
    def test_it_refuses(self, donor, keys, value, words):
        datahost.spoil(donor, keys, value)
        with pytest.raises(CommandExecutionError, match=words):
            copytarget.record("east1", "east", "r-1")
        assert donor["told"] == []

    @pytest.mark.parametrize("pgrep", [0, 255, 2, 127])
    def test_where_a_server_may_run_no_record_is_read(self, donor, pgrep):
        donor["pgrep"] = pgrep
        with pytest.raises(CommandExecutionError, match="has not told that no server runs there: process"):
            copytarget.record("east1", "east", "r-1")
        assert len(donor["asked"]) == 1

    def test_why_it_does_not_tell_is_told(self, donor, functions):
        answers(functions, retcode=255, stderr="Host key verification failed.\n")
        with pytest.raises(CommandExecutionError, match="no server runs there: Host key verification failed"):
            copytarget.record("east1", "east", "r-1")

    @pytest.mark.parametrize("retcode", [124, 137])
    def test_one_that_hangs_is_not_waited_for(self, donor, functions, retcode):
        answers(functions, retcode=retcode)
        with pytest.raises(CommandExecutionError, match="runuser did not end within 60 s"):
            copytarget.record("east1", "east", "r-1")

    def test_one_that_was_never_emptied_has_no_record(self, donor, functions):
        functions["cmd.run_all"].side_effect = lambda argv, **kwargs: {
            "retcode": 1 if "pgrep" in argv[-1] else 23, "stdout": "", "stderr": "link_stat failed: No such file"}
        with pytest.raises(CommandExecutionError, match="rsync failed with 23: link_stat failed: No such file"):
            copytarget.record("east1", "east", "r-1")

    @pytest.mark.parametrize("site, host", [("west", "east1"), ("east", "west3"), ("north", "east1")])
    def test_only_a_host_of_the_failed_site(self, donor, site, host):
        with pytest.raises(CommandExecutionError, match="not a host of the failed site"):
            copytarget.record(host, site, "r-1")
        assert donor["asked"] == []

    @pytest.mark.parametrize("change", [
        {"host": "east1 -oProxyCommand=x"}, {"host": "-e"}, {"site": "*"}, {"run": "r 1"}, {"run": "x" * 65},
        {"run": None}])
    def test_no_strange_words(self, donor, change):
        with pytest.raises(SaltInvocationError):
            copytarget.record(**{"host": "east1", "site": "east", "run": "r-1", **change})
        assert donor["asked"] == []


class TestGuardPlaces:
    @pytest.fixture
    def there(self, donor):
        return donor["record"]["directories"]

    @pytest.fixture
    def logs(self, there, places, functions):
        """A second location, of certain files; each of the two has the bytes that are put into what is returned."""
        sizes = {"/data": 4, "/logs": 3}
        places["datadir"]["path"] = "/data"
        places["log_bin_basename"] = {"path": "/logs", "files": BINLOGS}
        there["log_bin_basename"] = {"path": "/logs", "files": BINLOGS, "free": 10**9, "device": 2}
        functions["datalocation.measure"].side_effect = lambda place: {"bytes": sizes[place["path"]]}
        return sizes

    def test_the_same_locations_with_room_for_them(self, there, places):
        assert copytarget.guard_places("east1", there, places) is None

    @pytest.mark.parametrize("keys, value, words", UNFIT_PLACES.values(), ids=UNFIT_PLACES)
    def test_it_refuses(self, donor, there, places, keys, value, words):
        datahost.spoil(donor, keys, value)
        with pytest.raises(CommandExecutionError, match=words):
            copytarget.guard_places("east1", there, places)

    def test_a_location_that_only_this_host_has(self, there, places):
        places["innodb_undo_directory"] = {"path": "/undo", "files": []}
        with pytest.raises(CommandExecutionError, match=r"here \['datadir', 'innodb_undo_directory'\], on east1"):
            copytarget.guard_places("east1", there, places)

    def test_logs_lie_at_the_same_path(self, there, places, logs):
        assert copytarget.guard_places("east1", there, places) is None

    @pytest.mark.parametrize("change", [{"path": "/other"}, {"files": ["binlog.*"]}])
    def test_logs_at_another_path_or_of_another_name(self, there, places, logs, change):
        there["log_bin_basename"].update(change)
        with pytest.raises(CommandExecutionError, match="log_bin_basename is /logs here and /"):
            copytarget.guard_places("east1", there, places)

    @pytest.mark.parametrize("path", ["/data/../etc", "data", "/data/$(id)", "/data\n"])
    def test_no_path_that_anybody_reads_differently(self, there, places, path):
        there["datadir"]["path"] = path
        with pytest.raises(CommandExecutionError, match="not a plain absolute path"):
            copytarget.guard_places("east1", there, places)

    @pytest.mark.parametrize("room, logs_on, logs_room, enough", [
        (7, 1, 7, True), (6, 1, 6, False), (6, 2, 6, True), (4, 2, 3, True), (3, 2, 3, False), (4, 2, 2, False)])
    def test_locations_on_one_file_system_share_its_room(self, there, places, logs, room, logs_on, logs_room, enough):
        there["datadir"].update(free=room, device=1)
        there["log_bin_basename"].update(free=logs_room, device=logs_on)
        if enough:
            copytarget.guard_places("east1", there, places)
        else:
            with pytest.raises(CommandExecutionError, match="have . bytes here, east1 has room for . in /"):
                copytarget.guard_places("east1", there, places)


class TestTell:
    @pytest.mark.parametrize("state", ["copied", "emptied"])
    def test_the_target_gets_its_own_record_with_that_state(self, donor, state):
        assert copytarget.tell("east1", {**donor["record"], "state": "x"}, state) is None
        assert donor["told"] == [{**donor["record"], "state": state}]
        assert donor["asked"] == [
            [*LIMIT, "rsync", "--ignore-times", "--chmod=F600", "-e", " ".join(SSH), "--rsync-path=sudo -n rsync",
             hostrecord.path("target-east1.json"), f"tungsten@east1:{hostrecord.path('ownership.json')}"]]

    def test_one_that_cannot_be_told_is_an_error(self, donor, functions):
        answers(functions, retcode=12, stderr="connection unexpectedly closed\n")
        with pytest.raises(CommandExecutionError, match="rsync failed with 12: connection unexpectedly closed"):
            copytarget.tell("east1", donor["record"], "copied")


class TestTransport:
    """How a copy goes there: as ordered, or as the link is measured to be."""

    AUTO = {"compress": "auto", "bwlimit": 0, "streams": 4, "rate": None}
    TOLD = ("rsync  version 3.5.0  protocol version 32\nChecksum list:\n    xxh128 md5\nCompress list:\n"
            "    zstd lz4 zlibx zlib none\nDaemon auth list:\n    sha512 md5\n\nrsync comes with\n")

    @pytest.fixture
    def link(self, donor, functions, monkeypatch):
        """Sending a sample takes ``opening`` seconds and goes at ``rate`` MB/s, or it ``hangs``."""
        link = SimpleNamespace(now=100.0, rate=50, opening=0.5, hangs=False, sent=[], here=self.TOLD, there=self.TOLD)
        monkeypatch.setattr(copytarget, "time", SimpleNamespace(monotonic=lambda: link.now))

        def run_all(argv, **kwargs):
            words = argv[3:]
            if words[-1] in ("--version", "sudo -n rsync --version"):
                return {"retcode": 0, "stdout": link.here if words[0] == "rsync" else link.there, "stderr": ""}
            with open(words[-2], "rb") as sample:
                link.sent.append((argv, sample.read()))
            link.now += link.opening + len(link.sent[-1][1]) / link.rate / 1000**2
            return {"retcode": 124 if link.hangs else 0, "stdout": "", "stderr": ""}

        functions["cmd.run_all"].side_effect = run_all
        return link

    def transport(self, **more):
        return copytarget.transport("east1", "r-1", **more)

    @pytest.mark.parametrize("ordered", [
        {"compress": "none"}, {"compress": "lz4"}, {"compress": "zstd", "bwlimit": 50, "streams": 16},
        {"compress": "none", "bwlimit": 100000, "streams": 1}])
    def test_as_ordered_and_nothing_is_measured(self, link, functions, ordered):
        assert self.transport(**ordered) == {**self.AUTO, **ordered}
        functions["cmd.run_all"].assert_not_called()
        assert hostrecord.load(copytarget.LINK) is None

    @pytest.mark.parametrize("wrong", [
        *({"compress": value} for value in ("gzip", "", None, True, "zstd --rsync-path=x", ["zstd"])),
        *({"bwlimit": value} for value in (-1, 100001, "50", 1.5, None, True, "1 --delete", [])),
        *({"streams": value} for value in (0, 17, -1, "4", 1.5, None, True, [])),
    ], ids=repr)
    def test_an_unknown_way_is_refused_before_anything_is_asked(self, link, functions, wrong):
        with pytest.raises(SaltInvocationError, match=next(iter(wrong))):
            self.transport(**wrong)
        functions["cmd.run_all"].assert_not_called()

    @pytest.mark.parametrize("rate, compress", [
        (5, "zstd"), (99, "zstd"), (100, "lz4"), (299, "lz4"), (300, "none"), (900, "none")])
    def test_what_fits_the_link(self, link, rate, compress):
        link.rate = rate
        assert self.transport() == {**self.AUTO, "compress": compress, "rate": rate}

    @pytest.mark.parametrize("bwlimit, compress", [(0, "none"), (50, "zstd"), (200, "lz4"), (1000, "none")])
    def test_a_limit_is_what_the_link_is(self, link, bwlimit, compress):
        link.rate = 500
        assert self.transport(bwlimit=bwlimit) == {
            "compress": compress, "bwlimit": bwlimit, "streams": 4, "rate": 500}

    @pytest.mark.parametrize("here, there, compress", [
        (TOLD, TOLD, "zstd"), (TOLD.replace("zstd ", ""), TOLD, "none"), (TOLD, TOLD.replace("zstd ", ""), "none"),
        ("rsync  version 3.1.3  protocol version 31", TOLD, "none"), (TOLD, "", "none")])
    def test_only_what_both_rsyncs_know(self, link, here, there, compress):
        link.here, link.there = here, there
        assert self.transport()["compress"] == compress

    def test_how_long_a_connection_takes_is_not_counted(self, link):
        link.opening = 4
        assert self.transport()["rate"] == 50

    def test_a_sample_that_cannot_be_compressed_is_sent_and_then_a_byte_in_its_place(self, link, donor):
        self.transport()
        (argv, first), (again, then) = link.sent
        assert (len(first), len(then)) == (copytarget.SAMPLE_BYTES, 1) and argv == again
        assert len(zlib.compress(first[:MEGA], 1)) > 0.99 * MEGA
        path = hostrecord.path("link-sample")
        assert argv == ["timeout", "--kill-after=5", "15", "rsync", "--ignore-times", "--whole-file", "--protect-args",
                        "--chmod=F600", "-e", " ".join(SSH), "--rsync-path=sudo -n rsync", path,
                        f"tungsten@east1:{path}"]
        assert not os.path.exists(path), "here nothing of it stays"

    def test_a_link_that_is_too_slow_for_it_is_as_slow_as_that(self, link):
        link.hangs = True
        assert self.transport() == {**self.AUTO, "compress": "zstd", "rate": 4}
        assert len(link.sent) == 1 and not os.path.exists(hostrecord.path("link-sample"))

    def test_a_target_that_cannot_be_reached_is_an_error(self, link, functions):
        functions["cmd.run_all"].side_effect = lambda argv, **kwargs: {
            "retcode": 12, "stdout": "", "stderr": "connection unexpectedly closed\n"}
        with pytest.raises(CommandExecutionError, match="rsync failed with 12: connection unexpectedly closed"):
            self.transport()
        assert hostrecord.load(copytarget.LINK) is None and not os.path.exists(hostrecord.path("link-sample"))

    def test_it_is_measured_once_in_a_run(self, link, functions):
        first = self.transport()
        link.rate = 900
        functions["cmd.run_all"].reset_mock()
        assert self.transport() == first
        # An order may be another one meanwhile; the link is not.
        assert self.transport(bwlimit=20, streams=2) == {"compress": "zstd", "bwlimit": 20, "streams": 2, "rate": 50}
        functions["cmd.run_all"].assert_not_called()

    @pytest.mark.parametrize("other", [{"run": "r-0"}, {"host": "east2"}])
    def test_that_of_another_run_or_target_says_nothing(self, link, other):
        hostrecord.save(copytarget.LINK, {"host": "east1", "run": "r-1", "rate": 7, "compressions": [], **other})
        assert self.transport()["rate"] == 50
        assert hostrecord.load(copytarget.LINK) == {
            "host": "east1", "run": "r-1", "rate": 50, "compressions": ["lz4", "none", "zlib", "zlibx", "zstd"]}

    @pytest.mark.parametrize("host, run", [("-oProxyCommand=x", "r-1"), ("east1", "r 1"), ("east1", None)])
    def test_no_strange_words(self, link, host, run):
        with pytest.raises(SaltInvocationError):
            copytarget.transport(host, run)
