"""trepctl: its parsers against recordings of a real one, its commands against one that lies."""

import json
import time
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

mysqld = load("_modules", "mysqld")
topology = load("_modules", "topology")
trepctl = load("_modules", "trepctl")
vendorlog = load("_modules", "vendorlog")

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "trepctl"
RECORDINGS = {}
for line in (FIXTURES / "recordings.jsonl").read_text().splitlines():
    recording = json.loads(line)
    RECORDINGS[recording["name"]] = recording

NODE = {
    "site": "west", "service": "west", "host": "west1", "minion": "west1", "user": "tungsten",
    "cluster_home": "/opt/continuent", "cross_site_home": "/opt/replicator", "other_services": ["east"],
}  # fmt: skip


def named(verb, good):
    return [name for name, made in RECORDINGS.items() if verb in made["argv"] and (made["rc"] == 0) is good]


def printed(name):
    return RECORDINGS[name]["stdout"]


# --- parsers


@pytest.mark.parametrize("name", named("services", True))
def test_every_recorded_list_of_services_is_read(name):
    found = trepctl.parse_services(printed(name))
    if name.startswith("32"):
        return
    assert found
    for service, values in found.items():
        assert values["serviceName"] == service
        assert values["state"] in (
            "ONLINE",
            "OFFLINE:NORMAL",
            "OFFLINE:ERROR",
            "GOING-ONLINE:SYNCHRONIZING",
            "Unknown",
        )
        assert isinstance(values["started"], bool)
        assert values["started"] is (values["state"] != "Unknown")


@pytest.mark.parametrize("name", named("status", True))
def test_every_recorded_status_is_read(name):
    found = trepctl.parse_status(printed(name))
    assert found["state"] in ("ONLINE", "OFFLINE:NORMAL", "OFFLINE:ERROR", "GOING-ONLINE:SYNCHRONIZING")
    assert isinstance(found["appliedLastSeqno"], int)
    assert isinstance(found["appliedLatency"], float)
    assert (found["state"] == "OFFLINE:ERROR") == (found["pendingError"] is not None)


@pytest.mark.parametrize("name", named("status", False) + named("services", False))
def test_a_recorded_refusal_is_no_answer(name):
    for parse in (trepctl.parse_services, trepctl.parse_status):
        with pytest.raises(CommandExecutionError):
            parse(printed(name))


def test_a_replicator_without_services_has_none():
    assert trepctl.parse_services(printed("323-empty-services-json")) == {}


def test_two_services():
    found = trepctl.parse_services(printed("228-error-services"))
    assert {name: values["state"] for name, values in found.items()} == {
        "east": "OFFLINE:ERROR",
        "west": "ONLINE",
    }
    with pytest.raises(CommandExecutionError):
        trepctl.parse_status(printed("228-error-services"))


def test_a_service_that_is_not_loaded():
    east = trepctl.parse_services(printed("193-services-unloaded"))["east"]
    assert (east["state"], east["started"], east["appliedLastSeqno"]) == ("Unknown", False, None)


def test_dots_before_the_json():
    assert printed("315-retry-dots-before-json").startswith("...")
    assert trepctl.parse_services(printed("315-retry-dots-before-json"))["west"]["state"] == "ONLINE"
    assert trepctl.parse_status(printed("316-retry-dots-before-status-json"))["serviceName"] == "west"


def test_table_and_json_say_the_same_of_an_error_of_several_lines():
    table = trepctl.parse_status(printed("231-error-status"))
    whole = trepctl.parse_services(printed("230-error-services-full-json"))["east"]
    assert table["pendingExceptionMessage"].count("\n") == 5
    for moving in ("currentTimeMillis", "timeInStateSeconds", "uptimeSeconds"):
        table.pop(moving), whole.pop(moving)
    whole.pop("started")
    assert table == whole


@pytest.mark.parametrize(
    "file, key, value",
    [
        ("status-slave-online-8.0-padding-collapsed.txt", "applying", "207 / 0 (92.86%)"),
        ("status-slave-online-8.0-padding-collapsed.txt", "appliedLastGoodSeqno", 206),
        ("status-slave-online-8.0-padding-collapsed.txt", "extensions", None),
        ("status-master-event-extraction-failed-5.x.txt", "pendingError", "Event extraction failed"),
        ("status-offline-normal-fragment-7.0.txt", "state", "OFFLINE:NORMAL"),
        ("status-goodlag-fragment-7.0.txt", "appliedLastSeqno", 21),
    ],
)
def test_what_the_vendor_prints_in_other_versions(file, key, value):
    assert trepctl.parse_status((FIXTURES / file).read_text())[key] == value


@pytest.mark.parametrize("file, seqno", [("master", 365), ("slave", 211)])
def test_services_of_the_7_1_manual(file, seqno):
    found = trepctl.parse_services((FIXTURES / f"services-{file}-online-7.1.txt").read_text())
    assert found["firstrep"]["appliedLastSeqno"] == seqno
    assert found["firstrep"]["appliedLatency"] > 0


@pytest.mark.parametrize("text", ["", "\n", "...", "[1, 2]", "[", "{", "trepctl: not found", '[{"a": "b"'])
def test_what_is_no_answer_is_never_an_empty_one(text):
    for parse in (trepctl.parse_services, trepctl.parse_status):
        with pytest.raises(CommandExecutionError):
            parse(text)


@pytest.mark.parametrize("value", [
    "Infinity", "NaN", "[1]", "{}", '"nan"', '"1_0"', "true", "null", "1e999", "9" * 4000, '"' + "9" * 5000 + '"'])
def test_what_is_no_number_is_none(value):
    found = trepctl.parse_status(f'{{"serviceName": "east", "appliedLastSeqno": {value}, "appliedLatency": {value}}}')
    assert (found["appliedLastSeqno"], found["appliedLatency"]) == (None, None)


def test_json_that_has_values_of_its_own_says_the_same_as_text():
    own = '[{"serviceName": "east", "started": true, "appliedLastSeqno": 7, "appliedLatency": 1.5, "state": null}]'
    text = ('[{"serviceName": "east", "started": "true", "appliedLastSeqno": "7", "appliedLatency": "1.5", '
            '"state": ""}]')
    assert trepctl.parse_services(own) == trepctl.parse_services(text)
    assert trepctl.parse_services(own)["east"]["started"] is True
    assert trepctl.parse_status('{"appliedLatency": "9.0E-4"}') == {"appliedLatency": 0.0009}


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000])
def test_a_nest_without_end_is_refused(text):
    for parse in (trepctl.parse_services, trepctl.parse_status):
        with pytest.raises(CommandExecutionError, match="not an answer of trepctl"):
            parse(text)


@pytest.mark.parametrize("end, expected", [
    ("appliedLastSeqno: 4", {}),
    ("appliedLastSeqno: 4\n", {"appliedLastSeqno": 4}),
    ("state           : ONLINE", {"serviceName": "east"}),
    ("state           : ONLINE\n", {"serviceName": "east", "state": "ONLINE"}),
])
def test_the_line_in_which_a_table_was_cut_is_not_read(end, expected):
    text = printed("001-services")
    found = trepctl.parse_status(text[: text.index(end) + len(end)])
    assert {key: found.get(key) for key in expected} == expected and ("state" in found) is ("state" in expected)
    assert ("appliedLastSeqno" in found) is (end != "appliedLastSeqno: 4")


def test_tables_that_have_run_into_each_other_are_refused():
    lines = printed("001-services").splitlines(keepends=True)
    other = [line.replace("ONLINE", "OFFLINE:NORMAL") for line in lines]
    mixed = [*lines[:3], *(line for pair in zip(lines[3:], other[3:]) for line in pair)]
    # The name of the one stands above the state of the other.
    west = [line.replace("east", "west") for line in other]
    late = [*lines[:-3], *west[:-3], *lines[-3:], *west[-3:]]
    for parse in (trepctl.parse_services, trepctl.parse_status):
        for text in (mixed, late):
            with pytest.raises(CommandExecutionError, match="not an answer of trepctl"):
                parse("".join(text))


def test_a_service_that_is_told_of_twice_is_refused():
    with pytest.raises(CommandExecutionError, match="not an answer of trepctl services"):
        trepctl.parse_services('[{"serviceName": "east", "state": "ONLINE"}, {"serviceName": "east"}]')


def test_a_message_of_very_many_lines_is_read_in_no_time():
    began = time.monotonic()
    found = trepctl.parse_status(
        "Processing status command...\nNAME          VALUE\npendingError: x\n" + "              abc\n" * 300_000)
    assert found["pendingError"].count("\nabc") == 300_000 and time.monotonic() - began < 4


@given(st.text(max_size=200), st.sampled_from(["", "Processing services command...\n", "[", "{"]))
def test_a_parser_reads_or_refuses_whatever_it_gets(text, before):
    for parse in (trepctl.parse_services, trepctl.parse_status):
        try:
            assert isinstance(parse(before + text), dict)
        except CommandExecutionError:
            pass


@given(st.integers(min_value=0, max_value=95))
def test_a_json_answer_that_is_cut_short_is_refused(percent):
    text = printed("203-two-services-json")
    with pytest.raises(CommandExecutionError):
        trepctl.parse_services(text[: len(text.rstrip()) * percent // 100])


# --- commands


LOOK = "services -full -json"


class Replicator:
    """The service east of one replicator, others beside it; what it does with a command can be changed by the test."""

    def __init__(self, state="ONLINE", seqno=7):
        self.state, self.seqno, self.rows = state, seqno, [{"seqno": str(seqno)}]
        self.others, self.refused = {}, set()
        self.calls, self.later = [], []
        self.error = "NONE"
        self.pings = True
        self.log = None
        self.lies = ()
        self.run = create_autospec(vendorlog.run, side_effect=self.answer)

    def answer(self, argv, seconds, **kwargs):
        self.calls.append(argv)
        words = argv[1:]
        assert words[:2] == ["-retry", "0"]
        words = words[2:]
        service = words.pop(1) if words[0] == "-service" else None
        if service:
            words.pop(0)
        code, out = getattr(self, words[0])(service, words[1:])
        return {"retcode": code, "stdout": out, "stderr": ""}

    def shown(self):
        if self.later:
            self.state = self.later.pop(0)
        seqno = self.seqno if self.state == "ONLINE" else -1
        return {"serviceName": "east", "state": self.state, "appliedLastSeqno": str(seqno),
                "pendingError": self.error, "pendingExceptionMessage": "NONE", "started": "true"}  # fmt: skip

    def status(self, service, words):
        return (0, json.dumps(self.shown())) if service == "east" else (1, "Operation failed: null\n")

    def services(self, service, words):
        return 0, json.dumps([self.shown(), *({"serviceName": name, "state": state, "appliedLastSeqno": "5"}
                                              for name, state in self.others.items())])  # fmt: skip

    def properties(self, service, words):
        if self.log is None:
            return 1, "Unrecognized command: properties"
        return 0, json.dumps(
            {"replicator.schema": "tungsten_east", "replicator.store.thl.log_dir": str(self.log)}
        )

    def offline(self, service, words):
        return self.go(service, "offline", "OFFLINE:NORMAL")

    def online(self, service, words):
        return self.go(service, "online", "ONLINE")

    def go(self, service, command, state):
        if service in self.refused:
            return 1, "Operation failed: null\n"
        if service in self.others:
            self.others[service] = state
        elif command not in self.lies:
            self.state, self.error = state, "NONE"
        return 0, ""

    def heartbeat(self, service, words):
        if self.state != "ONLINE":
            return 1, "Operation failed: Heartbeat operation failed: Operation irrelevant in current state\n"
        return 0, ""

    def reset(self, service, words):
        if words != ["-all", "-y"]:
            return 0, "Do you really want to delete replication service east completely? [yes/NO] "
        if "reset" not in self.lies:
            self.rows = None
        return 0, ""

    def query(self, sql):
        if "information_schema" in sql:
            assert "'tungsten_east'" in sql
            return [{"name": "trep_commit_seqno"}] if self.rows is not None else []
        assert "`tungsten_east`.trep_commit_seqno" in sql
        return self.rows

    def said(self):
        return [" ".join(argv[3:]).replace("-service ", "") for argv in self.calls]

    def verbs(self):
        reads = ("status", "services", "properties")
        return [" ".join(argv[1:]) for argv in self.calls if not set(reads) & set(argv)]


@pytest.fixture
def configure_loader_modules():
    return {trepctl: {"__salt__": {}, "__context__": {}}}


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


@pytest.fixture
def replicator(monkeypatch, clock):
    fake = Replicator()
    monkeypatch.setattr(trepctl.os.path, "isfile", lambda path: True)
    monkeypatch.setattr(trepctl, "__context__", {}, raising=False)
    monkeypatch.setattr(trepctl, "__salt__", {
        "vendorlog.run": fake.run,
        "topology.node": create_autospec(topology.node, return_value=NODE),
        "mysqld.ping": create_autospec(mysqld.ping, side_effect=lambda: fake.pings),
        "mysqld.query": create_autospec(mysqld.query, side_effect=fake.query),
    }, raising=False)  # fmt: skip
    return fake


@pytest.mark.parametrize("which, home", [("cluster", "/opt/continuent"), ("cross_site", "/opt/replicator")])
def test_the_file_itself_is_called_as_the_tungsten_user(replicator, which, home):
    assert trepctl.services(which)["east"]["state"] == "ONLINE"
    assert replicator.calls == [
        [f"{home}/tungsten/tungsten-replicator/bin/trepctl", "-retry", "0", "services", "-json"]
    ]


def test_everything_of_all_services_in_one_call(replicator):
    replicator.services = lambda *_: (0, printed("230-error-services-full-json"))
    found = trepctl.services("cross_site", full=True)
    assert [argv[1:] for argv in replicator.calls] == [["-retry", "0", "services", "-full", "-json"]]
    assert found["east"]["pendingErrorSeqno"] == 3 and found["west"]["maximumStoredSeqNo"] == 2


def of_both(fake, **answers):
    """Let the replicator in each home, /opt/continuent and /opt/replicator, say what it has been given."""
    fake.services = lambda *_: answers[fake.calls[-1][0].split("/")[2]]


def test_positions_are_those_of_both_replicators_in_two_calls(replicator):
    of_both(
        replicator,
        continuent=(0, json.dumps([{"serviceName": "west", "state": "ONLINE", "appliedLastSeqno": "12",
                                    "appliedLatency": "0.25", "role": "master", "started": "true"}])),
        replicator=(0, printed("228-error-services").replace("west", "north")),
    )
    assert trepctl.positions() == {
        "west": {"state": "ONLINE", "appliedLastSeqno": 12, "appliedLatency": 0.25},
        **{name: {key: trepctl.parse_services(printed("228-error-services"))[recorded][key]
                  for key in ("state", "appliedLastSeqno", "appliedLatency")}
           for name, recorded in (("east", "east"), ("north", "west"))},
    }
    assert [(argv[0].split("/")[2], argv[1:]) for argv in replicator.calls] == [
        (home, ["-retry", "0", "services", "-json"]) for home in ("continuent", "replicator")]


def test_the_position_of_a_service_that_is_not_loaded_is_not_known(replicator):
    of_both(replicator, continuent=(0, "[]"), replicator=(0, printed("193-services-unloaded")))
    assert trepctl.positions()["east"] == {"state": "Unknown", "appliedLastSeqno": None, "appliedLatency": None}


def test_positions_of_a_service_that_tells_only_its_state(replicator):
    of_both(replicator, continuent=(0, "[]"), replicator=(0, '[{"serviceName": "east", "state": "OFFLINE:NORMAL"}]'))
    assert trepctl.positions()["east"] == {"state": "OFFLINE:NORMAL", "appliedLastSeqno": None, "appliedLatency": None}


@pytest.mark.parametrize("down", ["continuent", "replicator"])
def test_half_of_the_positions_are_none(replicator, down):
    answers = {"continuent": (0, "[]"), "replicator": (0, "[]"), down: (1, printed("296-down-services-json-retry0"))}
    of_both(replicator, **answers)
    with pytest.raises(CommandExecutionError, match=f"/opt/{down}.*the replicator does not run"):
        trepctl.positions()


def test_services_waits_no_longer_than_it_is_told(replicator):
    trepctl.services("cross_site", full=True, timeout=7)
    assert replicator.run.call_args.args[1] == 7
    trepctl.services("cross_site")
    assert replicator.run.call_args.args[1] == 90
    replicator.services = lambda *_: (124, "")
    with pytest.raises(CommandExecutionError, match="services -full -json did not end within 7 s"):
        trepctl.services("cross_site", full=True, timeout=7)


@pytest.mark.parametrize("timeout", [0, -1, "20", True, None, 1.5])
def test_services_refuses_what_is_no_time(replicator, timeout):
    with pytest.raises(SaltInvocationError):
        trepctl.services("cross_site", timeout=timeout)
    assert replicator.calls == []


def test_a_missing_trepctl_is_named(replicator, monkeypatch):
    monkeypatch.setattr(trepctl.os.path, "isfile", lambda path: False)
    with pytest.raises(
        CommandExecutionError, match="/opt/replicator/tungsten/tungsten-replicator/bin/trepctl"
    ):
        trepctl.services("cross_site")


@pytest.mark.parametrize("code", [124, 137])
def test_a_hanging_replicator(replicator, code):
    replicator.services = lambda *_: (code, "")
    with pytest.raises(CommandExecutionError, match="did not end within 90 s"):
        trepctl.services("cluster")


def test_a_stopped_replicator_is_told_from_an_error(replicator):
    replicator.services = lambda *_: (1, printed("296-down-services-json-retry0"))
    with pytest.raises(CommandExecutionError, match="the replicator does not run"):
        trepctl.services("cluster")


@pytest.mark.parametrize("service", ["", "-y", "east west", "east;ls", "east\n", "*", None, "a" * 64])
@pytest.mark.parametrize(
    "function",
    [trepctl.status, trepctl.offline, trepctl.online, trepctl.reset, trepctl.heartbeat, trepctl.position],
)
def test_a_bad_name_never_gets_on_a_command_line(replicator, function, service):
    with pytest.raises(SaltInvocationError):
        function(service, "cluster")
    assert replicator.calls == []


def test_which_is_one_of_two(replicator):
    with pytest.raises(SaltInvocationError):
        trepctl.services("/opt/other")


def test_offline_waits_for_the_state(replicator):
    replicator.lies = ("offline",)
    replicator.later = ["ONLINE", "GOING-OFFLINE", "GOING-OFFLINE", "OFFLINE:NORMAL"]
    assert trepctl.offline("east", "cross_site") == {
        "east": {"before": "ONLINE", "after": "OFFLINE:NORMAL", "pending_error": None}}  # fmt: skip
    assert replicator.said() == [LOOK, "east offline", LOOK, LOOK, LOOK]


def test_offline_of_what_is_offline_does_nothing(replicator):
    replicator.state = "OFFLINE:NORMAL"
    assert trepctl.offline("east", "cluster")["east"]["after"] == "OFFLINE:NORMAL"
    assert replicator.said() == [LOOK]


def test_offline_keeps_the_error_that_it_erases(replicator):
    replicator.state, replicator.error = "OFFLINE:ERROR", "Event application failed: seqno=3"
    ret = trepctl.offline("east", "cluster")["east"]
    assert ret["after"] == "OFFLINE:NORMAL"
    assert ret["pending_error"] == "Event application failed: seqno=3"
    assert replicator.error == "NONE"


def test_offline_that_lies_is_found_out(replicator, clock):
    replicator.lies = ("offline",)
    with pytest.raises(CommandExecutionError, match="east is ONLINE after 5 s"):
        trepctl.offline("east", "cluster", timeout=5)
    assert 5 < clock[0] < 6.5


def test_online_wants_two_reads_in_a_row(replicator):
    replicator.state = "OFFLINE:NORMAL"
    going = "GOING-ONLINE:SYNCHRONIZING"
    replicator.later = ["OFFLINE:NORMAL", going, "ONLINE", going, "ONLINE", "ONLINE"]
    assert trepctl.online("east", "cluster") == {
        "east": {"before": "OFFLINE:NORMAL", "after": "ONLINE", "seqno": 7}}  # fmt: skip
    assert replicator.later == []
    assert replicator.said() == [LOOK, "east online", *[LOOK] * 5]


def test_online_of_what_is_online_only_looks(replicator):
    assert trepctl.online("east", "cluster") == {"east": {"before": "ONLINE", "after": "ONLINE", "seqno": 7}}
    assert replicator.said() == [LOOK]


def test_online_that_ends_in_error_quotes_it(replicator, clock):
    replicator.state, replicator.lies, replicator.error = (
        "OFFLINE:NORMAL",
        ("online",),
        "Duplicate entry '500'",
    )
    replicator.later = ["OFFLINE:NORMAL", "ONLINE", "OFFLINE:ERROR", "OFFLINE:ERROR"]
    with pytest.raises(CommandExecutionError, match="OFFLINE:ERROR: Duplicate entry '500'"):
        trepctl.online("east", "cluster")
    assert clock[0] < 5


def test_online_that_never_synchronizes(replicator):
    replicator.state = "GOING-ONLINE:SYNCHRONIZING"
    with pytest.raises(
        CommandExecutionError, match="GOING-ONLINE:SYNCHRONIZING, not steadily ONLINE, after 5 s"
    ):
        trepctl.online("east", "cluster", timeout=5)


@pytest.mark.parametrize("timeout", [0, -1, "60", True, 1.5])
def test_timeouts_are_whole_seconds(replicator, timeout):
    for function in (trepctl.offline, trepctl.online, trepctl.reset):
        with pytest.raises(SaltInvocationError):
            function("east", "cluster", timeout=timeout)
    assert replicator.calls == []


GOALS = [("offline", "ONLINE", "OFFLINE:NORMAL", 1), ("online", "OFFLINE:NORMAL", "ONLINE", 2)]


@pytest.mark.parametrize("goal, old, new, looks", GOALS)
def test_several_services_share_their_looks(replicator, goal, old, new, looks):
    replicator.state, replicator.others = old, {"west": old, "north": new, "south": old}
    found = getattr(trepctl, goal)(["west", "east", "north"], "cross_site")
    assert {name: (now["before"], now["after"]) for name, now in found.items()} == {
        "east": (old, new), "north": (new, new), "west": (old, new)}  # fmt: skip
    assert replicator.said() == [LOOK, f"east {goal}", f"west {goal}", *[LOOK] * looks]
    assert replicator.others["south"] == old


def test_all_are_online_in_the_same_two_looks(replicator):
    replicator.state, replicator.others = "OFFLINE:NORMAL", {"west": "OFFLINE:NORMAL"}
    replicator.later = ["OFFLINE:NORMAL", "GOING-ONLINE:SYNCHRONIZING", "ONLINE", "ONLINE"]
    trepctl.online(["east", "west"], "cross_site")
    assert replicator.said() == [LOOK, "east online", "west online", LOOK, LOOK, LOOK]


def test_the_first_look_comes_at_once_and_the_others_half_a_second_later(replicator, clock):
    replicator.state, replicator.lies = "OFFLINE:NORMAL", ("online",)
    replicator.later = ["OFFLINE:NORMAL", "GOING-ONLINE:SYNCHRONIZING", "ONLINE", "ONLINE"]
    looks = []
    shown = replicator.shown
    replicator.shown = lambda: looks.append(clock[0]) or shown()
    trepctl.online("east", "cross_site")
    assert looks == [0, 0, 0.5, 1]


def test_what_is_on_its_way_gets_no_command(replicator):
    replicator.later = ["GOING-ONLINE:SYNCHRONIZING", "ONLINE", "ONLINE"]
    assert trepctl.online("east", "cross_site")["east"]["before"] == "GOING-ONLINE:SYNCHRONIZING"
    assert replicator.said() == [LOOK] * 3


@pytest.mark.parametrize("goal, old, new, looks", GOALS)
def test_every_service_without_its_name(replicator, goal, old, new, looks):
    replicator.state, replicator.others = old, {"north": old}
    assert set(getattr(trepctl, goal)(None, "cross_site", every=True)) == {"east", "north"}
    assert replicator.said() == [LOOK, f"east {goal}", f"north {goal}", *[LOOK] * looks]


def test_some_services_are_left_as_they_are(replicator):
    replicator.state, replicator.others = "OFFLINE:NORMAL", {"north": "OFFLINE:NORMAL"}
    assert set(trepctl.online(None, "cross_site", every=True, but=["north"])) == {"east"}
    assert replicator.said() == [LOOK, "east online", LOOK, LOOK]


@pytest.mark.parametrize("goal", ["offline", "online"])
@pytest.mark.parametrize(
    "services, which, every, missing",
    [("west", "cross_site", False, "west"), (["west", "east"], "cross_site", True, "west"),
     (None, "cluster", True, "west"), (["west", "a"], "cluster", False, "a, west")])  # fmt: skip
def test_a_service_that_is_not_there_is_refused_with_those_that_are(
    replicator, goal, services, which, every, missing
):
    replicator.state = "OFFLINE:ERROR"
    with pytest.raises(CommandExecutionError) as caught:
        getattr(trepctl, goal)(services, which, every=every)
    assert str(caught.value) == f"the {which} replicator has no service {missing}; its services are: east"
    assert replicator.said() == [LOOK]


@pytest.mark.parametrize("services", [None, 7, {"east": 1}, ["east", None], ["-y"]])
def test_what_names_no_services_is_refused(replicator, services):
    for function in (trepctl.offline, trepctl.online):
        with pytest.raises(SaltInvocationError):
            function(services, "cluster")
    with pytest.raises(SaltInvocationError):
        trepctl.online("east", "cluster", but=services)
    assert replicator.calls == []


@pytest.mark.parametrize("goal, old, new, looks", GOALS)
@pytest.mark.parametrize("test", [False, True])
def test_in_test_mode_there_is_one_look_and_no_command(replicator, goal, old, new, looks, test):
    replicator.state, replicator.others = old, {"north": new}
    found = getattr(trepctl, goal)(["east", "north"], "cross_site", test=test)
    assert found["east"]["after"] == (goal.upper() if test else new)
    assert found["north"]["after"] == new
    assert replicator.said() == [LOOK, *([] if test else [f"east {goal}", *[LOOK] * looks])]


@pytest.mark.parametrize("goal, old, new, looks", GOALS)
def test_one_that_refuses_does_not_keep_the_others_back(replicator, goal, old, new, looks):
    replicator.state, replicator.others, replicator.refused = old, {"north": old}, {"east"}
    with pytest.raises(CommandExecutionError) as caught:
        getattr(trepctl, goal)(["east", "north"], "cross_site")
    assert caught.value.error == (
        f"/opt/replicator: trepctl -service east {goal} failed: Operation failed: null (it is {old})")
    assert caught.value.info == {"changes": {"north": {"old": old, "new": new}}}
    assert replicator.said() == [LOOK, f"east {goal}", f"north {goal}", *[LOOK] * looks]


def test_one_that_refused_and_did_it_all_the_same_is_told_with_what_became_of_it(replicator):
    replicator.refused = {"east"}
    replicator.later = ["ONLINE", "OFFLINE:NORMAL"]
    with pytest.raises(CommandExecutionError, match="it is OFFLINE:NORMAL") as caught:
        trepctl.offline("east", "cluster")
    assert caught.value.info == {"changes": {"east": {"old": "ONLINE", "new": "OFFLINE:NORMAL"}}}


def test_one_in_error_does_not_end_the_wait_for_the_others(replicator):
    replicator.state, replicator.others = "OFFLINE:NORMAL", {"north": "OFFLINE:NORMAL"}
    replicator.lies = ("online",)
    replicator.error = "Duplicate entry '500'"
    replicator.later = ["OFFLINE:NORMAL", "OFFLINE:ERROR"]
    with pytest.raises(CommandExecutionError, match="east went OFFLINE:ERROR: Duplicate entry '500'") as caught:
        trepctl.online(["east", "north"], "cross_site")
    assert caught.value.info["changes"] == {
        "east": {"old": "OFFLINE:NORMAL", "new": "OFFLINE:ERROR"},
        "north": {"old": "OFFLINE:NORMAL", "new": "ONLINE"}}  # fmt: skip
    assert replicator.said() == [LOOK, "east online", "north online", LOOK, LOOK]


def test_an_error_of_before_that_the_first_look_still_shows_is_none(replicator):
    replicator.state, replicator.error, replicator.lies = "OFFLINE:ERROR", "old", ("online",)
    replicator.later = ["OFFLINE:ERROR", "OFFLINE:ERROR", "GOING-ONLINE:SYNCHRONIZING", "ONLINE", "ONLINE"]
    assert trepctl.online("east", "cluster")["east"]["after"] == "ONLINE"


def test_one_that_was_there_and_goes_meanwhile_is_noticed(replicator):
    replicator.others = {"north": "OFFLINE:NORMAL"}
    replicator.later = ["ONLINE", "OFFLINE:NORMAL"]
    with pytest.raises(CommandExecutionError, match="east is OFFLINE:NORMAL, not steadily ONLINE, after 3 s"):
        trepctl.online(["east", "north"], "cross_site", timeout=3)


def test_one_that_is_gone_afterwards_is_missing(replicator):
    replicator.others = {"north": "ONLINE"}
    replicator.offline = lambda service, words: replicator.others.clear() or (0, "")
    with pytest.raises(CommandExecutionError, match="north is missing after 2 s") as caught:
        trepctl.offline("north", "cross_site", timeout=2)
    assert caught.value.info == {"changes": {"north": {"old": "ONLINE", "new": "missing"}}}


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("goal, old, new, looks", GOALS)
def test_what_is_not_loaded_gets_no_command(replicator, goal, old, new, looks, test):
    replicator.state, replicator.others = "Unknown", {"north": old}
    with pytest.raises(CommandExecutionError, match="service east is not loaded") as caught:
        getattr(trepctl, goal)(["east", "north"], "cross_site", test=test)
    assert caught.value.info == (None if test else {"changes": {"north": {"old": old, "new": new}}})
    assert replicator.said() == [LOOK, *([] if test else [f"north {goal}", *[LOOK] * looks])]


def test_an_error_is_told_also_where_another_service_fails(replicator):
    replicator.state, replicator.error = "OFFLINE:ERROR", "Duplicate entry '500'"
    replicator.others, replicator.refused = {"north": "ONLINE"}, {"north"}
    with pytest.raises(CommandExecutionError, match="north offline failed.*; east was in error: Duplicate entry '500'"):
        trepctl.offline(["east", "north"], "cross_site")


@pytest.mark.parametrize("goal, old, new, looks", GOALS)
def test_when_nothing_tells_what_became_of_them(replicator, goal, old, new, looks):
    replicator.state, shown = old, replicator.services
    replicator.services = lambda *words: shown(*words) if len(replicator.calls) == 1 else (1, "Connection failed")
    told = f"^{goal} was told to east, and what became of them cannot be read.*does not run"
    with pytest.raises(CommandExecutionError, match=told) as caught:
        getattr(trepctl, goal)("east", "cluster")
    assert caught.value.info is None
    assert replicator.said() == [LOOK, f"east {goal}", LOOK]


def test_a_command_that_hangs_is_given_up_and_what_became_of_it_looked_for(replicator):
    replicator.offline = lambda *_: (124, "")
    with pytest.raises(CommandExecutionError, match=r"offline did not end within 5 s \(it is ONLINE\)"):
        trepctl.offline("east", "cluster", timeout=5)
    assert replicator.said() == [LOOK, "east offline", LOOK]


def test_the_status_of_another_service_is_no_answer(replicator):
    replicator.shown = lambda: {"serviceName": "north", "state": "ONLINE"}
    with pytest.raises(CommandExecutionError, match="was asked for service east, and tells of 'north'"):
        trepctl.status("east", "cluster")


def test_of_words_without_end_the_beginning_is_quoted(replicator):
    replicator.offline = lambda *_: (1, "Operation failed: " + "word " * 2_000_000)
    with pytest.raises(CommandExecutionError, match="Operation failed: word word") as caught:
        trepctl.offline("east", "cluster", timeout=5)
    assert len(str(caught.value)) < 1000


def test_an_answer_without_a_state_is_none(replicator):
    replicator.shown = lambda: {"serviceName": "east", "state": ""}
    for function in (trepctl.offline, trepctl.online):
        with pytest.raises(CommandExecutionError, match="does not tell the state of service east"):
            function("east", "cluster")


def test_the_error_that_a_real_replicator_told_of_all_its_services_is_kept(replicator):
    told = printed("230-error-services-full-json")
    after = told.replace("OFFLINE:ERROR", "OFFLINE:NORMAL")
    replicator.services = lambda *_: (0, after if "offline" in replicator.calls[-2:][0] else told)
    said = trepctl.offline(["east"], "cluster")["east"]
    assert (said["before"], said["after"]) == ("OFFLINE:ERROR", "OFFLINE:NORMAL")
    assert said["pending_error"].startswith("Event application failed: seqno=3")
    assert "Failing statement : INSERT INTO `app`.`e`" in said["pending_error"]


def test_reset_is_asked_for_in_the_order_that_works(replicator):
    replicator.state = "OFFLINE:NORMAL"
    ret = trepctl.reset("east", "cross_site")
    assert replicator.said() == [
        "east status -json", "east properties", "east reset -all -y", "east status -json"]  # fmt: skip
    assert ret == {"reset": True, "before": {"rows": 1, "seqno": 7, "log_files": None},
                   "after": {"rows": 0, "seqno": -1, "log_files": None}}  # fmt: skip


CLEAN = {"rows": 0, "seqno": -1, "log_files": 0}


@pytest.mark.parametrize("test", [False, True])
def test_a_reset_of_what_has_neither_position_nor_log_is_not_done(replicator, tmp_path, test):
    replicator.state, replicator.rows, replicator.log = "OFFLINE:NORMAL", None, tmp_path
    assert trepctl.reset("east", "cross_site", test=test) == {"reset": False, "before": CLEAN, "after": CLEAN}
    assert replicator.said() == ["east status -json", "east properties"]


@pytest.mark.parametrize("rows, files, known", [([], 1, True), ([{"seqno": "7"}], 0, True), ([], 0, False)])
@pytest.mark.parametrize("test", [False, True])
def test_a_reset_is_done_unless_nothing_is_surely_left(replicator, tmp_path, rows, files, known, test):
    replicator.state, replicator.rows, replicator.log = "OFFLINE:NORMAL", rows, tmp_path if known else None
    for number in range(files):
        (tmp_path / f"thl.data.{number}").touch()

    def reset(service, words):
        [path.unlink() for path in tmp_path.iterdir()]
        return Replicator.reset(replicator, service, words)

    replicator.reset = reset
    ret = trepctl.reset("east", "cross_site", test=test)
    assert ret["reset"] is True
    assert ret["before"]["log_files"] == (files if known else None)
    assert replicator.verbs() == ([] if test else ["-retry 0 -service east reset -all -y"])


def test_a_reset_in_test_mode_does_not_mind_the_steps_before_it(replicator):
    replicator.pings = False
    assert trepctl.reset("east", "cluster", test=True) == {"reset": True, "before": None, "after": None}
    assert replicator.verbs() == []


def test_an_online_service_without_traces_is_not_taken_for_reset(replicator, tmp_path):
    replicator.rows, replicator.log = None, tmp_path
    assert trepctl.reset("east", "cluster", test=True)["reset"] is True
    with pytest.raises(CommandExecutionError, match="OFFLINE is needed"):
        trepctl.reset("east", "cluster")


FULL = {"rows": 1, "seqno": 7, "log_files": 1}


@pytest.mark.parametrize("code, text", [(1, "reset -all -y failed"), (0, "still has position 7")])
def test_half_a_reset_says_what_was_done(replicator, tmp_path, code, text):
    replicator.state, replicator.log = "OFFLINE:NORMAL", tmp_path
    (tmp_path / "thl.data.0000000001").touch()
    replicator.reset = lambda *_: [path.unlink() for path in tmp_path.iterdir()] and (code, "")
    with pytest.raises(CommandExecutionError, match=text) as caught:
        trepctl.reset("east", "cluster")
    assert caught.value.info == {"changes": {"east": {"old": FULL, "new": {**FULL, "log_files": 0}}}}


def test_a_refused_reset_has_changed_nothing(replicator):
    replicator.state = "OFFLINE:NORMAL"
    replicator.reset = lambda *_: (1, "Operation failed: null")
    with pytest.raises(CommandExecutionError, match="reset -all -y failed") as caught:
        trepctl.reset("east", "cluster")
    assert caught.value.info is None


def test_a_refused_reset_is_told_in_the_tools_words_also_where_mysql_fails_then(replicator, monkeypatch):
    replicator.state = "OFFLINE:NORMAL"

    def reset(*_):
        lost = create_autospec(mysqld.query, side_effect=CommandExecutionError("Lost connection to MySQL server"))
        monkeypatch.setitem(trepctl.__salt__, "mysqld.query", lost)
        return 1, "Operation failed: cannot remove THL dir"

    replicator.reset = reset
    with pytest.raises(CommandExecutionError, match="cannot remove THL dir$"):
        trepctl.reset("east", "cluster")


@pytest.mark.parametrize("state, seqno", [("ONLINE", 7), ("OFFLINE:NORMAL", 3)])
def test_a_reset_after_which_the_replicator_shows_a_state_or_position_is_found_out(replicator, state, seqno):
    replicator.state = "OFFLINE:NORMAL"
    answers = iter([replicator.shown(), {**replicator.shown(), "state": state, "appliedLastSeqno": str(seqno)}])
    replicator.status = lambda *_: (0, json.dumps(next(answers)))
    with pytest.raises(CommandExecutionError, match=f"it shows position {seqno}"):
        trepctl.reset("east", "cluster")


@pytest.mark.parametrize("state", ["ONLINE", "GOING-ONLINE:SYNCHRONIZING", "GOING-OFFLINE", "Unknown"])
def test_reset_is_refused_unless_offline(replicator, state):
    replicator.state = state
    with pytest.raises(CommandExecutionError, match="OFFLINE is needed"):
        trepctl.reset("east", "cluster")
    assert replicator.verbs() == []


def test_reset_is_refused_without_mysql(replicator):
    replicator.state, replicator.pings = "OFFLINE:NORMAL", False
    with pytest.raises(CommandExecutionError, match="MySQL does not answer"):
        trepctl.reset("east", "cluster")
    assert replicator.verbs() == []


def test_a_reset_that_left_the_position_is_found_out(replicator):
    replicator.state, replicator.lies = "OFFLINE:NORMAL", ("reset",)
    with pytest.raises(CommandExecutionError, match="tracking table still has position 7"):
        trepctl.reset("east", "cluster")


def test_a_reset_that_left_the_log_is_found_out(replicator, tmp_path):
    replicator.state, replicator.log = "OFFLINE:NORMAL", tmp_path
    (tmp_path / "thl.data.0000000001").touch()
    with pytest.raises(CommandExecutionError, match="log still has 1 files"):
        trepctl.reset("east", "cluster")


def test_a_reset_that_only_asked_is_found_out(replicator):
    replicator.state = "OFFLINE:NORMAL"
    replicator.reset = lambda service, words: Replicator.reset(replicator, service, ["-y", "-all"])
    with pytest.raises(CommandExecutionError, match="Do you really want"):
        trepctl.reset("east", "cluster")


def test_an_empty_table_counts_as_none(replicator):
    replicator.state, replicator.rows = "OFFLINE:NORMAL", []
    assert trepctl.traces("east", "cluster") == {"rows": 0, "seqno": -1, "log_files": None}


def test_position_online_comes_from_the_replicator(replicator):
    replicator.rows = [{"seqno": "3"}]
    assert trepctl.position("east", "cluster") == 7


def test_position_offline_comes_from_the_slowest_channel(replicator):
    replicator.state, replicator.rows = "OFFLINE:NORMAL", [{"seqno": "9"}, {"seqno": "8"}]
    assert trepctl.position("east", "cluster") == 8


def test_the_schema_is_what_the_replicator_says(replicator):
    replicator.state = "OFFLINE:NORMAL"
    replicator.properties = lambda *_: (0, json.dumps({"replicator.schema": "x'; DROP DATABASE y"}))
    with pytest.raises(CommandExecutionError, match="says that the schema"):
        trepctl.position("east", "cluster")


def test_heartbeat(replicator):
    assert trepctl.heartbeat("east", "cluster") is True
    replicator.state = "OFFLINE:NORMAL"
    with pytest.raises(CommandExecutionError, match="Operation irrelevant"):
        trepctl.heartbeat("east", "cluster")


@pytest.fixture
def own(replicator, monkeypatch):
    """The service east is the host's own."""
    node = create_autospec(topology.node, return_value={**NODE, "service": "east"})
    monkeypatch.setitem(trepctl.__salt__, "topology.node", node)
    return replicator


STATUS, HEARTBEAT = "east status -json", "east heartbeat"


@pytest.mark.parametrize("looks", [1, 3])
def test_a_beat_waits_until_the_own_position_moves(own, looks):
    numbers = iter([7, *[7] * (looks - 1), 9])
    shown = own.shown
    own.shown = lambda: {**shown(), "appliedLastSeqno": str(next(numbers))}
    assert trepctl.beat() == {"service": "east", "before": 7, "seqno": 9}
    assert own.said() == [STATUS, HEARTBEAT, *[STATUS] * looks]
    assert all(argv[0].startswith("/opt/continuent/") for argv in own.calls)


def test_a_beat_after_which_the_position_stays_proves_that_nothing_is_logged(own, clock):
    with pytest.raises(CommandExecutionError, match="service east was sent, but its position stays at 7 after 5 s"):
        trepctl.beat(timeout=5)
    assert 5 < clock[0] < 6


def test_a_beat_that_is_refused(own):
    own.state = "OFFLINE:NORMAL"
    with pytest.raises(CommandExecutionError, match="Operation irrelevant"):
        trepctl.beat()
    assert own.said().count(STATUS) == 1


@pytest.mark.parametrize("timeout", [0, "60", None])
def test_a_beat_refuses_what_is_no_time_before_it_sends_anything(own, timeout):
    with pytest.raises(SaltInvocationError):
        trepctl.beat(timeout=timeout)
    assert own.calls == []


@pytest.fixture
def ini(replicator, monkeypatch, tmp_path):
    monkeypatch.setattr(trepctl, "INI_FILES", (f"{tmp_path}/tungsten*.ini",))
    monkeypatch.setattr(
        trepctl.pwd, "getpwnam", lambda user: type("User", (), {"pw_dir": str(tmp_path / "home")})
    )
    (tmp_path / "home").mkdir()
    return tmp_path


ACTIVE_ACTIVE = "[east]\ntopology=clustered\n[east_west]\ntopology=cluster-slave\nmaster-dataservice=west\n"


def test_no_sign_of_a_composite(ini):
    (ini / "tungsten.ini").write_text(ACTIVE_ACTIVE + "#composite-datasources=east,west\n")
    assert trepctl.composite_signs() == []


@pytest.mark.parametrize("path", ["tungsten.ini", "tungsten-2.ini", "home/tungsten.ini"])
@pytest.mark.parametrize(
    "line", ["composite-datasources=east,west", " topology = composite-multi-master",
             "dataservice_composite_datasources=a,b"])  # fmt: skip
def test_a_composite_in_an_ini_file(ini, path, line):
    (ini / path).write_text(f"{ACTIVE_ACTIVE}[global]\n{line}\n")
    (sign,) = trepctl.composite_signs()
    assert str(ini / path) in sign


def test_a_composite_by_its_services(replicator, ini):
    replicator.shown = lambda: {"serviceName": "east_from_west", "state": "ONLINE"}
    (sign,) = trepctl.composite_signs()
    assert "east_from_west" in sign


@pytest.mark.parametrize("names, found", [([], 0), (["east"], 0), (["east", "east_from_west"], 1)])
def test_service_names_that_are_known_are_not_asked_for_again(replicator, ini, names, found):
    assert len(trepctl.composite_signs(names)) == found
    assert replicator.calls == []
