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


class Replicator:
    """One service of one replicator; what it does with a command can be changed by the test."""

    def __init__(self, state="ONLINE", seqno=7):
        self.state, self.seqno, self.rows = state, seqno, [{"seqno": str(seqno)}]
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
        return 0, f"[\n{json.dumps(self.shown())}\n\n]\n"

    def properties(self, service, words):
        if self.log is None:
            return 1, "Unrecognized command: properties"
        return 0, json.dumps(
            {"replicator.schema": "tungsten_east", "replicator.store.thl.log_dir": str(self.log)}
        )

    def offline(self, service, words):
        if "offline" not in self.lies:
            self.state, self.error = "OFFLINE:NORMAL", "NONE"
        return 0, ""

    def online(self, service, words):
        if "online" not in self.lies:
            self.state = "ONLINE"
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
        "before": "ONLINE", "after": "OFFLINE:NORMAL", "pending_error": None}  # fmt: skip
    assert replicator.verbs() == ["-retry 0 -service east offline"]


def test_offline_of_what_is_offline_does_nothing(replicator):
    replicator.state = "OFFLINE:NORMAL"
    assert trepctl.offline("east", "cluster")["before"] == "OFFLINE:NORMAL"
    assert replicator.verbs() == []


def test_offline_keeps_the_error_that_it_erases(replicator):
    replicator.state, replicator.error = "OFFLINE:ERROR", "Event application failed: seqno=3"
    ret = trepctl.offline("east", "cluster")
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
    assert trepctl.online("east", "cluster") == {"before": "OFFLINE:NORMAL", "after": "ONLINE", "seqno": 7}
    assert replicator.later == []
    assert replicator.verbs() == ["-retry 0 -service east online"]


def test_online_of_what_is_online_only_looks(replicator):
    assert trepctl.online("east", "cluster")["before"] == "ONLINE"
    assert replicator.verbs() == []


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
    for function in (trepctl.offline, trepctl.online):
        with pytest.raises(SaltInvocationError):
            function("east", "cluster", timeout=timeout)


def test_reset_is_asked_for_in_the_order_that_works(replicator):
    replicator.state = "OFFLINE:NORMAL"
    ret = trepctl.reset("east", "cross_site")
    assert replicator.verbs() == ["-retry 0 -service east reset -all -y"]
    assert ret["before"] == {"rows": 1, "seqno": 7, "log_files": None}
    assert ret["after"] == {"rows": 0, "seqno": -1, "log_files": None}


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
