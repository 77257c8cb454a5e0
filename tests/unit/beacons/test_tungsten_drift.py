"""The beacon: what it tells, when, and that no service however restless makes it tell more."""

import logging
import random
import time
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.modules import event

from tests.support.loader import load

driftsigns = load("_modules", "driftsigns")
hostrecord = load("_modules", "hostrecord")
topology = load("_modules", "topology")
trepctl = load("_modules", "trepctl")
tungsten_drift = load("_beacons", "tungsten_drift")

INTERVAL = 60
DUPLICATE = "Event application failed: seqno=5 fragno=0 message=Duplicate entry '5' for key 'PRIMARY'"
# Without the value: events are read by many.
TOLD = DUPLICATE.replace("'5'", "'?'")
REFUSED = "Heartbeat operation failed: Connection refused"


def service(state="ONLINE", applied=10, stored=10, latency=0.5, error=None):
    return {"state": state, "started": True, "appliedLastSeqno": applied, "maximumStoredSeqNo": stored,
            "appliedLatency": latency, "pendingError": error, "pendingExceptionMessage": None}  # fmt: skip


WELL = service()
LATE = service(stored=12, latency=301.0)
OFFLINE = service("OFFLINE:NORMAL", -1, -1, -1.0)
ERROR = service("OFFLINE:ERROR", -1, -1, -1.0, DUPLICATE)
OTHER_ERROR = service("OFFLINE:ERROR", -1, -1, -1.0, REFUSED)
SILENT = CommandExecutionError("/opt/replicator: trepctl services -full -json did not end\nwithin 20 s")


class Minion:
    """What Salt, the replicator and the disk are to the beacon. One look a minute."""

    def __init__(self, clock):
        self.clock = clock
        self.node = {"site": "east", "other_services": ["west"]}
        self.services = {"west": WELL}
        self.disk = {}
        self.fired = []
        self.events = []
        self.context = {}
        self.config = []
        self.trepctl = create_autospec(trepctl.services, side_effect=lambda *_, **__: self._answer(self.services))
        self.load = create_autospec(hostrecord.load, side_effect=lambda name: self._answer(self.disk.get(name)))
        self.save = create_autospec(hostrecord.save, side_effect=self.disk.__setitem__)
        self.send = create_autospec(event.send, side_effect=lambda *fired: self.fired.append(fired) or True)
        self.salt = {
            "topology.node": create_autospec(topology.node, side_effect=lambda: self._answer(self.node)),
            "trepctl.services": self.trepctl,
            "driftsigns.judge": driftsigns.judge,
            "hostrecord.load": self.load,
            "hostrecord.save": self.save,
            "event.send": self.send,
        }

    @staticmethod
    def _answer(what):
        if isinstance(what, Exception):
            raise what
        return what

    def look(self, *shown, times=1):
        """Look once for each thing shown of service west; the events of all these looks."""
        events = []
        for west in shown or [self.services] * times:
            self.services = west if isinstance(west, Exception) or "west" in west or not west else {"west": west}
            self.clock[0] += INTERVAL
            events += tungsten_drift.beacon([*self.config, {"_beacon_name": "tungsten_drift"}])
        self.events += events
        return events

    def told(self, *shown, **kwargs):
        return [(said["service"], said["sign"]) for said in self.look(*shown, **kwargs)]


@pytest.fixture
def configure_loader_modules():
    return {tungsten_drift: {"__salt__": {}, "__context__": {}}}


@pytest.fixture
def minion(monkeypatch):
    clock = [1_800_000_000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    made = Minion(clock)
    monkeypatch.setattr(tungsten_drift, "__salt__", made.salt, raising=False)
    monkeypatch.setattr(tungsten_drift, "__context__", made.context, raising=False)
    return made


# --- configuration


@pytest.mark.parametrize("config", [
    [],
    [{"interval": 60}],
    [{"latency": 300}, {"confirm": 3}, {"heartbeat": 0}, {"timeout": 20}],
    [{"interval": 0.5, "enabled": True, "disable_during_state_run": True, "run_once": False}],
    [{"beacon_module": "tungsten_drift"}, {"_beacon_name": "east"}],
])
def test_a_good_configuration(config):
    assert tungsten_drift.validate(config) == (True, "Valid beacon configuration")


@pytest.mark.parametrize("config, words", [
    ({}, "must be a list"),
    ("latency: 5", "must be a list"),
    (None, "must be a list"),
    ([{"latency": 5}, "confirm"], "must be a list"),
    ([{"latncy": 5}], "latncy: no such key; known are confirm, heartbeat, latency, timeout"),
    ([{7: 5}], "7: no such key"),
    *[([{key: bad}], f"{key}: must be a whole number")
      for key in ("latency", "confirm", "heartbeat", "timeout") for bad in (-1, 1.5, "5", None, True, [], 10**9)],
    ([{"confirm": 0}], "1 to 100"),
    ([{"latency": 0}], "1 to 604800"),
    ([{"timeout": 0}], "1 to 120"),
    *[([{"interval": bad}], "interval: must be a number") for bad in (0, -5, "60", None, True)],
])
def test_a_bad_configuration_is_named(config, words):
    good, text = tungsten_drift.validate(config)
    assert good is False and words in text and text.startswith("tungsten_drift: ")


def test_every_fault_is_named_at_once():
    good, text = tungsten_drift.validate([{"confirm": 0}, {"latency": "x"}, {"interval": "x"}, {"other": 1}])
    assert not good and all(f"{key}: " in text for key in ("confirm", "latency", "interval", "other"))


def test_a_configuration_is_left_as_it_is():
    config = [{"interval": 60}, {"confirm": 2}]
    tungsten_drift.validate(config)
    assert config == [{"interval": 60}, {"confirm": 2}]


def test_it_says_why_it_cannot_run(minion):
    assert tungsten_drift.__virtual__() == "tungsten_drift"
    del minion.salt["trepctl.services"]
    good, why = tungsten_drift.__virtual__()
    assert good is False and "trepctl.services" in why and "saltutil.sync_all" in why


# --- one look


def test_a_look_costs_one_call_of_trepctl(minion):
    minion.config = [{"timeout": 7}]
    minion.look(times=50)
    assert minion.trepctl.call_count == 50
    minion.trepctl.assert_called_with("cross_site", full=True, timeout=7)


def test_what_is_well_is_never_told(minion):
    assert minion.look(times=200) == [] and minion.fired == []
    assert minion.save.call_count == 0 and minion.load.call_count == 1


def test_an_error_is_told_once_it_was_seen_three_times_in_a_row(minion):
    assert minion.told(WELL, ERROR, ERROR) == []
    said = minion.look(ERROR)
    assert said == [{
        "tag": "east", "site": "east", "service": "west", "sign": "error", "data": True, "confirmed": 3,
        "applied": None, "stored": None, "what": f"service west is OFFLINE:ERROR: {TOLD}",
    }]  # fmt: skip
    assert minion.fired == [("tungsten/drift/east", {"service": "west", "sign": "error"})]
    assert minion.look(times=40) == [] and len(minion.fired) == 1


@pytest.mark.parametrize("confirm", [1, 2, 5])
def test_how_often_it_must_be_seen_can_be_set(minion, confirm):
    minion.config = [{"confirm": confirm}]
    assert minion.told(*[ERROR] * (confirm - 1)) == []
    assert minion.told(ERROR) == [("west", "error")]


def test_what_is_interrupted_is_counted_anew(minion):
    assert minion.told(ERROR, ERROR, WELL, ERROR, ERROR) == []
    assert minion.told(ERROR) == [("west", "error")]


@pytest.mark.parametrize("shown, sign", [
    (LATE, "late"), ({}, "vanished"), (service("Unknown"), "unloaded"), (ERROR, "error"),
])
def test_each_bad_sign_is_told_and_fired(minion, shown, sign):
    assert minion.told(*[shown] * 3) == [("west", sign)]
    assert minion.fired == [("tungsten/drift/east", {"service": "west", "sign": sign})]


def test_the_limit_of_latency_can_be_set(minion):
    minion.config = [{"latency": 10}]
    assert minion.told(*[service(stored=12, latency=11.0)] * 3) == [("west", "late")]


def test_one_that_was_late_and_has_nothing_to_do_since_is_well_again(minion):
    assert minion.told(*[LATE] * 3) == [("west", "late")]
    assert minion.told(*[service(applied=12, stored=12, latency=301.0)] * 4) == [("west", "well")]


def test_well_again(minion):
    minion.look(*[ERROR] * 3)
    assert minion.told(WELL, WELL) == []
    said = minion.look(WELL)
    assert [(one["sign"], one["what"]) for one in said] == [("well", "well again: service west is ONLINE at 10")]
    assert len(minion.fired) == 1  # nobody has to look at a site because it is well
    assert minion.look(times=200) == []


def test_offline_is_told_to_people_and_to_nobody_else(minion):
    assert minion.told(*[OFFLINE] * 3) == [("west", "offline")]
    assert minion.told(times=300) == []  # no heartbeat either
    assert minion.fired == []
    assert minion.told(*[WELL] * 3) == [("west", "well")]


def test_a_new_bad_sign_is_told(minion):
    assert minion.told(*[LATE] * 3, *[ERROR] * 3, *[{}] * 3) == [
        ("west", "late"), ("west", "error"), ("west", "vanished")]  # fmt: skip
    assert len(minion.fired) == 3


def test_an_error_that_turns_into_one_of_the_data_is_told(minion):
    assert [said["data"] for said in minion.look(*[OTHER_ERROR] * 3, *[ERROR] * 3)] == [False, True]
    assert len(minion.fired) == 2


# --- stalled


def test_a_service_that_stands_while_its_log_grows(minion):
    assert minion.told(service(stored=10), service(stored=11), service(stored=12)) == []
    assert minion.told(service(stored=13)) == [("west", "stalled")]
    assert minion.events[0]["what"] == "service west stands at 10, while its log has grown from 10 to 13"
    assert (minion.events[0]["applied"], minion.events[0]["stored"]) == (10, 13)


def test_a_log_that_grows_seldom_is_seen_to_grow_as_well(minion):
    stored = [10, 11, 11, 11]
    assert minion.told(*[service(stored=number) for number in stored]) == [("west", "stalled")]


def test_a_service_that_applies_is_never_stalled_however_far_behind(minion):
    assert minion.look(*[service(applied=number, stored=9 * number) for number in range(1, 50)]) == []


def test_a_source_that_rests_is_not_stalled(minion):
    assert minion.look(*[service(applied=10, stored=12)] * 50) == []


def test_offline_in_between_is_no_position_to_compare_with(minion):
    assert minion.told(service(stored=10), OFFLINE, service(stored=20), service(stored=20), service(stored=20)) == []


def test_a_log_whose_end_was_not_told_once_is_nothing_to_compare_with_for_ever(minion):
    stored = [None, 10, 11, 11, 11]
    assert minion.told(*[service(stored=number) for number in stored]) == [("west", "stalled")]


# --- silent


def test_a_replicator_that_does_not_answer(minion):
    assert minion.told(SILENT, SILENT) == []
    said = minion.look(SILENT)
    assert (said[0]["sign"], said[0]["data"], said[0]["applied"]) == ("silent", False, None)
    assert said[0]["what"].endswith("trepctl services -full -json did not end within 20 s")
    assert minion.fired == [("tungsten/drift/east", {"service": "west", "sign": "silent"})]
    assert minion.told(*[WELL] * 3) == [("west", "well")]


def test_one_lost_answer_is_nothing(minion):
    assert minion.look(WELL, SILENT, WELL, SILENT, SILENT, WELL) == []


@pytest.mark.parametrize("error", [SaltInvocationError("timeout must be…"), KeyError("os"), OSError("no fork")])
def test_whatever_goes_wrong_with_the_call_is_silence_too(minion, error):
    said = minion.look(*[error] * 3)
    assert [one["sign"] for one in said] == ["silent"] and repr(error) in said[0]["what"]


def test_a_long_complaint_is_cut(minion):
    assert len(minion.look(*[CommandExecutionError("x" * 9000)] * 3)[0]["what"]) == 500


@pytest.fixture
def slow(minion, monkeypatch):
    """Each call takes as many seconds; Salt makes a round a second, which a beacon holds up."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def rounds(number, seconds, shown):
        spent = []

        def answer(*_, **__):
            spent.append(seconds)
            now[0] += seconds
            minion.clock[0] += seconds
            return minion._answer(shown)

        minion.trepctl.side_effect = answer
        began, events = now[0], []
        for _ in range(number):
            now[0] += 1
            minion.clock[0] += 1
            events += tungsten_drift.beacon(minion.config)
        return sum(spent), now[0] - began, events

    return rounds


def test_a_replicator_that_hangs_leaves_the_minion_most_of_its_time(slow):
    away, passed, events = slow(3000, 25, SILENT)
    assert 0.15 < away / passed <= 0.21
    assert [said["sign"] for said in events][:1] == ["silent"]  # and is told of all the same


def test_an_answer_that_comes_soon_is_followed_by_no_rest(minion, slow):
    assert slow(100, 5, {"west": WELL})[0] == 500
    assert slow(100, 0.4, {"west": WELL})[0] == pytest.approx(40)


def test_after_the_rest_it_looks_as_often_as_before(minion, slow):
    slow(1, 20, SILENT)
    assert slow(79, 0.4, {"west": WELL})[0] == 0
    assert slow(10, 0.4, {"west": WELL})[0] == pytest.approx(4.0)


# --- several services


def test_one_event_a_service_and_one_for_the_reactor(minion):
    minion.node["other_services"] = ["west", "north", "south"]
    shown = {"west": LATE, "north": ERROR, "south": WELL}
    assert minion.told(*[shown] * 3) == [("north", "error"), ("west", "late")]
    assert minion.fired == [("tungsten/drift/east", {"service": "north", "sign": "error"})]


def test_silence_is_told_of_every_service_and_fired_once(minion):
    minion.node["other_services"] = ["west", "north"]
    assert minion.told(*[SILENT] * 3) == [("north", "silent"), ("west", "silent")]
    assert len(minion.fired) == 1


def test_services_are_counted_each_for_itself(minion):
    minion.node["other_services"] = ["west", "north"]
    assert minion.told({"west": ERROR, "north": WELL}, {"west": ERROR, "north": ERROR}) == []
    assert minion.told({"west": ERROR, "north": ERROR}) == [("west", "error")]
    assert minion.told({"west": ERROR, "north": ERROR}) == [("north", "error")]


def test_a_service_that_leaves_the_pillar_is_forgotten(minion):
    minion.node["other_services"] = ["west", "north"]
    minion.look(*[{"west": WELL, "north": ERROR}] * 3)
    minion.node["other_services"] = ["west"]
    assert minion.look(*[{"west": WELL, "north": WELL}] * 5) == []
    assert "north" not in minion.context["tungsten_drift"]["told"]


# --- heartbeat


def test_a_bad_sign_is_told_again_every_so_often(minion):
    minion.look(*[ERROR] * 3)
    assert minion.look(times=59) == []
    assert minion.told(times=1) == [("west", "error")]
    assert minion.told(times=600) == [("west", "error")] * 10
    assert len(minion.fired) == 12


def test_no_heartbeat_if_it_is_0(minion):
    minion.config = [{"heartbeat": 0}]
    assert minion.told(*[ERROR] * 500) == [("west", "error")]
    assert len(minion.fired) == 1


def test_no_heartbeat_in_between_if_the_sign_is_not_confirmed(minion):
    minion.look(*[ERROR] * 3)
    assert minion.told(*[WELL, ERROR] * 200) == []


def test_a_clock_that_is_set_back_does_not_silence_it(minion):
    minion.look(*[ERROR] * 3)
    minion.clock[0] -= 86400
    assert minion.told(times=2) == [("west", "error")]


# --- what is remembered


def forgetful(minion, monkeypatch):
    """As Salt does with each refresh of pillar or modules."""
    minion.context = {}
    monkeypatch.setattr(tungsten_drift, "__context__", minion.context, raising=False)


def test_a_refresh_makes_nobody_tell_it_again(minion, monkeypatch):
    minion.look(*[ERROR] * 3)
    for _ in range(10):
        forgetful(minion, monkeypatch)
        assert minion.look(times=5) == []
    assert len(minion.fired) == 1


def test_well_again_is_told_after_a_refresh_as_well(minion, monkeypatch):
    minion.look(*[ERROR] * 3)
    forgetful(minion, monkeypatch)
    assert minion.told(*[WELL] * 3) == [("west", "well")]


def test_a_refresh_does_not_confirm(minion, monkeypatch):
    minion.look(ERROR, ERROR)
    forgetful(minion, monkeypatch)
    assert minion.told(ERROR, ERROR) == []


def test_what_another_site_was_told_is_not_believed(minion, monkeypatch):
    minion.look(*[ERROR] * 3)
    minion.node["site"] = "north"
    forgetful(minion, monkeypatch)
    assert minion.told(times=3) == [("west", "error")]
    assert minion.fired[-1][0] == "tungsten/drift/north"


@pytest.mark.parametrize("record", [
    [], "x", 5, {}, {"site": "east"}, {"site": "east", "services": []}, {"site": "east", "services": {"west": "error"}},
    {"site": "east", "services": {"west": {"sign": "error", "at": 5}}},
    {"site": "east", "services": {"west": {"sign": "error", "data": True, "at": "yesterday"}}},
    CommandExecutionError("may be written by others: not trusted"), OSError("Input/output error"),
])
def test_a_record_that_is_not_its_own_is_no_obstacle(minion, caplog, record):
    minion.disk["drift-told.json"] = record
    with caplog.at_level(logging.WARNING):
        assert minion.told(*[ERROR] * 3) == [("west", "error")]
    assert len(caplog.records) == 1 and "does not know what it has told" in caplog.text


@pytest.mark.parametrize("error", [OSError("No space left on device"), CommandExecutionError("x")])
def test_a_disk_that_is_full_is_no_obstacle(minion, caplog, error):
    minion.save.side_effect = error
    with caplog.at_level(logging.WARNING):
        assert minion.told(*[ERROR] * 20) == [("west", "error")]
    assert "cannot write down" in caplog.text and len(caplog.records) == 1


# --- what goes wrong


def test_a_minion_that_pillar_does_not_know_is_quiet_and_says_so_once(minion, caplog):
    minion.node = CommandExecutionError("tungsten:sites: minion db9 is a node of none of east, west")
    with caplog.at_level(logging.WARNING):
        assert minion.look(times=50) == []
    assert len(caplog.records) == 1 and "minion db9 is a node of none" in caplog.text
    assert minion.trepctl.call_count == 0 and minion.fired == []


def test_it_begins_when_pillar_knows_the_minion_and_complains_anew_later(minion, caplog):
    known, unknown = minion.node, CommandExecutionError("no such minion")
    for minion.node in (unknown, known, unknown):
        minion.look(times=5)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert minion.trepctl.call_count == 5


def test_an_event_that_salt_cannot_send_is_logged_and_not_hammered(minion, caplog):
    minion.send.side_effect = lambda *_: False
    assert minion.told(*[ERROR] * 30) == [("west", "error")]
    assert minion.send.call_count == 1 and "could not send the event tungsten/drift/east" in caplog.text


# --- it never storms


def most(looks, confirm, services=1):
    """Events that the rule allows: one a service, each time that a sign can have been confirmed anew."""
    return services * (looks // confirm)


def test_a_service_that_flaps_at_every_look_is_never_told(minion):
    assert minion.look(*[ERROR, WELL] * 500) == []
    assert minion.look(*[ERROR, LATE, WELL, {}, SILENT] * 200) == []
    assert minion.fired == []


def test_the_worst_flapping_that_there_can_be(minion):
    """Just as long in each state as it takes to be confirmed."""
    said = minion.look(*(([ERROR] * 3 + [WELL] * 3) * 167)[:1000])
    assert len(said) == most(1000, 3) == 333
    assert len(minion.fired) == 167


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("confirm", [2, 3, 5])
def test_1000_looks_at_four_restless_services(minion, seed, confirm):
    dice = random.Random(seed)
    names = ["west", "north", "south", "isle"]
    minion.node["other_services"] = names
    minion.config = [{"confirm": confirm}]
    steady = dice.choice([0.0, 0.5, 0.9])
    shown = dict.fromkeys(names, WELL)
    for _ in range(1000):
        shown = {name: shown[name] if name in shown and dice.random() < steady else
                 dice.choice([WELL, LATE, OFFLINE, ERROR, OTHER_ERROR]) for name in names if dice.random() < 0.97}
        before = len(minion.fired)
        minion.look(SILENT if dice.random() < 0.05 else {"west": WELL, **shown})
        assert len(minion.fired) - before <= 1
    assert len(minion.events) <= most(1000, confirm, len(names))
    assert len(minion.fired) <= min(len(minion.events), 1000)
    for name in names:
        # never the same twice in a row, but for the heartbeat
        mine = [(said["sign"], said["data"]) for said in minion.events if said["service"] == name]
        repeated = sum(one == two for one, two in zip(mine, mine[1:]))
        assert repeated <= 1000 * INTERVAL // 3600


def test_a_steady_error_over_1000_looks(minion):
    assert len(minion.look(*[ERROR] * 1000)) == 1 + (1000 - 3) * INTERVAL // 3600
    assert minion.trepctl.call_count == 1000
