"""copytarget: what a host has to be for a copy to go there, asked of that host, and what it is told."""

import os
import re

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support import datahost
from tests.support.datahost import BINLOGS, UNFIT_PLACES, UNFIT_TARGET, copytarget, datadir, hostrecord

SSH = ["runuser", "-u", "tungsten", "--", "ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
       "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15",
       "-o", "Ciphers=aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr"]
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


MODERN = "rsync  version 3.2.7  protocol version 31\nCompress list:\n    {}\nDaemon auth list:\n    sha512 md5\n"
ANCIENT = "rsync  version 3.1.3  protocol version 31\nCapabilities:\n    64-bit files\n"
BOTH = MODERN.format("zstd lz4 zlibx zlib none")


@pytest.fixture
def link(donor, functions, monkeypatch):
    """
    A link that needs ``seconds`` for the sample and ``short`` for a byte, between an rsync that says what stands in
    ``here`` and one that says what stands in ``there``. ``sent`` are the sizes of what went, ``asked`` all commands.
    """
    link = {"seconds": 1.4, "short": 0.4, "here": BOTH, "there": BOTH, "sent": [], "asked": [], "fails": {}}
    now = [1000.0]
    monkeypatch.setattr(copytarget.time, "monotonic", lambda: now[0])

    def programs(argv, **kwargs):
        assert kwargs["python_shell"] is False and argv[:2] == ["timeout", "--kill-after=5"]
        link["asked"].append(argv)
        if argv[-1].endswith("--version"):
            there = "ssh" in argv
            return {"retcode": 0, "stdout": link["there" if there else "here"], "stderr": "", **link["fails"]}
        path, target = argv[-2:]
        assert target == f"tungsten@east1:{path}" and path == hostrecord.path(copytarget.SAMPLE)
        link["sent"].append(os.path.getsize(path))
        took = link["seconds"] if link["sent"][-1] > 1 else link["short"]
        now[0] += min(took, int(argv[2]))
        if took > int(argv[2]):
            return {"retcode": 124, "stdout": "", "stderr": ""}
        return {"retcode": 0, "stdout": "", "stderr": "", **link["fails"]}

    os.makedirs(hostrecord.folder(), exist_ok=True)
    functions["cmd.run_all"].side_effect = programs
    return link


def transport(**more):
    return copytarget.transport("east1", "r-1", **more)


class TestTransport:
    @pytest.mark.parametrize("ordered", [
        {"compress": "none"}, {"compress": "lz4", "bwlimit": 50}, {"compress": "zstd", "streams": 16}])
    def test_what_is_ordered_is_not_measured(self, link, ordered):
        assert transport(**ordered) == {"bwlimit": 0, "streams": 4, "rate": None, **ordered}
        assert link["asked"] == [] and hostrecord.load(copytarget.LINK) is None

    @pytest.mark.parametrize("wrong", [
        *({"compress": value} for value in ("gzip", "zlib", "", None, True, "zstd -x", ["zstd"])),
        *({"bwlimit": value} for value in (-1, 100001, "50", 1.5, None, True, [])),
        *({"streams": value} for value in (0, -1, 17, "4", 2.0, None, True, []))], ids=repr)
    def test_other_values_are_refused_before_anything_is_asked(self, link, wrong):
        (name,) = wrong
        with pytest.raises(SaltInvocationError, match=f"^{name} must be"):
            transport(**wrong)
        assert link["asked"] == []

    @pytest.mark.parametrize("right", [{"bwlimit": 0}, {"bwlimit": 100000}, {"streams": 1}, {"streams": 16}])
    def test_the_least_and_the_most(self, link, right):
        assert transport(compress="none", **right) == {
            "compress": "none", "bwlimit": 0, "streams": 4, "rate": None, **right}

    @pytest.mark.parametrize("change", [{"host": "-oProxyCommand=x"}, {"host": "a b"}, {"run": "r 1"}, {"run": None}])
    def test_no_strange_words(self, link, change):
        with pytest.raises(SaltInvocationError):
            copytarget.transport(**{"host": "east1", "run": "r-1", **change})
        assert link["asked"] == [] and hostrecord.load(copytarget.LINK) is None

    @pytest.mark.parametrize("seconds, rate, compress", [
        # 64 MB, without the 0.4 s that a byte takes.
        (0.41, 1280, "none"), (0.5, 640, "none"), (0.61, 305, "none"), (0.62, 291, "lz4"), (1.04, 100, "lz4"),
        (1.05, 98, "zstd"), (14.9, 4, "zstd")])
    def test_the_slower_the_link_the_more_is_compressed(self, link, seconds, rate, compress):
        link["seconds"] = seconds
        assert transport() == {"compress": compress, "bwlimit": 0, "streams": 4, "rate": rate}

    def test_a_connection_that_opens_slowly_is_no_slow_link(self, link):
        link.update(seconds=5.1, short=5.0)
        assert transport()["rate"] == 640

    @pytest.mark.parametrize("bwlimit, compress", [(400, "none"), (300, "none"), (299, "lz4"), (99, "zstd")])
    def test_what_may_be_taken_makes_it_slower(self, link, bwlimit, compress):
        link["seconds"] = 0.5
        assert transport(bwlimit=bwlimit) == {"compress": compress, "bwlimit": bwlimit, "streams": 4, "rate": 640}

    def test_and_never_faster(self, link):
        link["seconds"] = 10.4
        assert transport(bwlimit=400) == {"compress": "zstd", "bwlimit": 400, "streams": 4, "rate": 6}

    def test_a_sample_that_takes_too_long_is_measured_all_the_same(self, link):
        """What it would have been at most."""
        link["seconds"] = 15.1
        assert transport() == {"compress": "zstd", "bwlimit": 0, "streams": 4, "rate": 4}
        assert link["sent"] == [64_000_000]

    def test_the_sample_cannot_be_compressed_and_only_a_byte_of_it_stays(self, link, functions):
        samples = []
        program = functions["cmd.run_all"].side_effect

        def look(argv, **kwargs):
            if argv[-1].endswith(copytarget.SAMPLE):
                with open(argv[-2], "rb") as stream:
                    samples.append(stream.read(1_000_000))
            return program(argv, **kwargs)

        functions["cmd.run_all"].side_effect = look
        transport()
        assert link["sent"] == [64_000_000, 1]
        assert len(set(samples[0])) == 256 and max(map(samples[0].count, map(bytes, zip(range(256))))) < 5000
        for argv in link["asked"][:2]:
            assert argv[2:-2] == [
                "15", "rsync", "--ignore-times", "--whole-file", "--protect-args", "--chmod=F600", "-e", " ".join(SSH),
                "--rsync-path=sudo -n rsync"], "as the copy itself, in a file of the same name"

    @pytest.mark.parametrize("fault", [{"retcode": 12, "stderr": "connection unexpectedly closed"}, {"retcode": 124}])
    def test_the_sample_goes_away_also_when_it_fails(self, link, fault):
        link["fails"] = fault
        if fault["retcode"] == 12:
            with pytest.raises(CommandExecutionError, match="rsync failed with 12: connection unexpectedly closed"):
                transport()
            assert hostrecord.load(copytarget.LINK) is None, "measured once more by the next one"
        else:
            with pytest.raises(CommandExecutionError, match="rsync did not end within 60 s"):
                transport()
        assert link["sent"] == [64_000_000]
        assert copytarget.SAMPLE not in os.listdir(hostrecord.folder())

    def test_nor_does_it_stay_when_all_is_well(self, link):
        transport()
        assert os.listdir(hostrecord.folder()) == [copytarget.LINK]

    @pytest.mark.parametrize("here, there, compress", [
        (BOTH, BOTH, "zstd"),
        (MODERN.format("lz4 zlib none"), BOTH, "lz4"),
        (MODERN.format("lz4 none"), MODERN.format("zstd none"), "none"),
        (BOTH, MODERN.format("zlibx zlib none"), "none"),
        (ANCIENT, BOTH, "none"), (BOTH, ANCIENT, "none"), ("", "", "none"),
    ])
    def test_what_one_side_cannot_compress_with_is_not_chosen(self, link, here, there, compress):
        link.update(here=here, there=there)
        assert transport() == {"compress": compress, "bwlimit": 0, "streams": 4, "rate": 64}

    def test_both_sides_are_asked(self, link):
        transport()
        assert link["asked"][2:] == [
            [*LIMIT, "rsync", "--version"], [*LIMIT, *SSH, "tungsten@east1", "sudo -n rsync --version"]]

    def test_it_is_measured_once_in_a_run(self, link):
        first = transport()
        link["seconds"] = 15.1
        link["asked"].clear()
        assert transport() == first and transport(bwlimit=50)["rate"] == first["rate"] and link["asked"] == []

    @pytest.mark.parametrize("other", [{"host": "east2", "run": "r-1"}, {"host": "east1", "run": "r-0"}])
    def test_for_each_target_and_run(self, link, other):
        hostrecord.save(copytarget.LINK, {**other, "rate": 5000, "compressions": []})
        assert transport()["rate"] == 64
        assert {**hostrecord.load(copytarget.LINK), "rate": 0} == {
            "host": "east1", "run": "r-1", "rate": 0, "compressions": ["lz4", "none", "zlib", "zlibx", "zstd"]}


def test_what_this_hosts_rsync_says_is_understood(link, functions):
    """Whatever the one here can do: the names are rsync's own."""
    told = datahost.run_all(["rsync", "--version"], python_shell=False)["stdout"]
    link.update(here=told, there=told)
    transport()
    known = hostrecord.load(copytarget.LINK)["compressions"]
    assert set(known) == set(re.findall(r"\b(?:zstd|lz4|zlibx|zlib|none)\b", told.partition("Compress list")[2]))
