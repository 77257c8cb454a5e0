"""verify: no traffic before every service is ONLINE and a heartbeat of every site has arrived everywhere."""

import inspect
from unittest.mock import Mock, create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

verify = load("_modules", "verify")
fleet = load("_modules", "fleet")
trepctl = load("_modules", "trepctl")
topology_module = load("_modules", "topology")

PRIMARIES = {"east": "east1", "west": "w1"}


@pytest.fixture
def topology():
    return topology_module.validate(
        {
            "sites": {
                "east": {"service": "alpha", "nodes": {"east1": "m-east1", "east2": "m-east2"}},
                "west": {"nodes": ["w1"]},
            }
        }
    )["topology"]


class Nodes:
    """The nodes behind ``fleet.ask``: their services' states, their positions, and what a heartbeat does."""

    def __init__(self):
        self.states = {
            minion: {"cluster": {own: "ONLINE"}, "cross_site": {other: "ONLINE"}}
            for minion, own, other in (
                ("m-east1", "alpha", "west"),
                ("m-east2", "alpha", "west"),
                ("w1", "west", "alpha"),
            )
        }
        self.positions = {(minion, service): 10 for minion in self.states for service in ("alpha", "west")}
        self.stuck = set()
        self.asked = []

    def ask(self, minions, function, kwarg=None, timeout=60):
        # The arguments have to fit the function that the minion will call.
        inspect.signature(getattr(trepctl, function.partition(".")[2])).bind(**kwarg)
        self.asked.append((function, tuple(minions)))
        return {minion: getattr(self, function.partition(".")[2])(minion, **kwarg) for minion in minions}

    def services(self, minion, which):
        return {service: {"state": state} for service, state in self.states[minion][which].items()}

    def position(self, minion, service, which):
        assert service in self.states[minion][which], f"{minion} has no {which} service {service}"
        return self.positions[minion, service]

    def heartbeat(self, minion, service, which):
        assert which == "cluster" and service in self.states[minion]["cluster"]
        for key in self.positions:
            if key[1] == service and key not in self.stuck:
                self.positions[key] += 1
        return True


@pytest.fixture
def nodes():
    return Nodes()


@pytest.fixture
def clock(monkeypatch):
    """Time passes by sleeping only."""
    now = [0.0]
    monkeypatch.setattr(verify.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(verify.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


@pytest.fixture
def configure_loader_modules(nodes, clock):
    def ask(minions, function, kwarg=None, timeout=60):
        inspect.signature(fleet.ask).bind(minions, function, kwarg=kwarg, timeout=timeout)
        return nodes.ask(minions, function, kwarg, timeout)

    return {verify: {"__salt__": {"fleet.ask": ask}, "__opts__": {"__role": "master"}}}


def test_only_on_the_master():
    assert verify.__virtual__() == "verify"
    verify.__opts__["__role"] = "minion"
    assert verify.__virtual__()[0] is False


def test_all_services_online(topology, nodes):
    found = verify.services(topology)
    assert found["w1"] == {
        "cluster": {"west": {"state": "ONLINE"}},
        "cross_site": {"alpha": {"state": "ONLINE"}},
    }
    assert verify.judge_services(topology, found) == []


@pytest.mark.parametrize(
    "state", ["OFFLINE:NORMAL", "OFFLINE:ERROR", "GOING-ONLINE:SYNCHRONIZING", "DEGRADED", None]
)
@pytest.mark.parametrize("which, service", [("cluster", "alpha"), ("cross_site", "west")])
def test_one_service_is_not_online(topology, nodes, clock, which, service, state):
    if state:
        nodes.states["m-east2"][which][service] = state
    else:
        del nodes.states["m-east2"][which][service]
    with pytest.raises(CommandExecutionError) as error:
        verify.services(topology, timeout=30)
    assert str(error.value).splitlines()[1:] == [
        f"  m-east2: {which} service {service} is {state or 'missing'}"
    ]
    assert 30 < clock[0] < 40


def test_services_that_come_online_are_waited_for(topology, nodes, clock, monkeypatch):
    nodes.states["w1"]["cross_site"]["alpha"] = "GOING-ONLINE"

    def sleep(seconds):
        clock[0] += seconds
        if clock[0] > 8:
            nodes.states["w1"]["cross_site"]["alpha"] = "ONLINE"

    monkeypatch.setattr(verify.time, "sleep", sleep)
    verify.services(topology, timeout=30)
    assert 8 < clock[0] < 12


def test_heartbeats_arrive_everywhere(topology, nodes):
    nodes.positions["m-east1", "alpha"] = -1
    nodes.positions["m-east2", "alpha"] = nodes.positions["w1", "alpha"] = -1
    assert verify.heartbeats(topology, PRIMARIES) == {"east": 0, "west": 11}
    assert [minions for function, minions in nodes.asked if function == "trepctl.heartbeat"] == [
        ("m-east1",),
        ("w1",),
    ]


def test_a_primary_that_logs_nothing(topology, nodes):
    nodes.stuck = {(minion, "west") for minion in nodes.states}
    with pytest.raises(
        CommandExecutionError, match="^w1: a heartbeat of service west was sent, .* stays at 10$"
    ):
        verify.heartbeats(topology, PRIMARIES, timeout=30)


@pytest.mark.parametrize(
    "minion, service, site",
    [
        ("m-east2", "alpha", "own"),
        ("w1", "alpha", "other"),
        ("m-east1", "west", "other"),
        ("m-east2", "west", "other"),
    ],
)
def test_a_node_where_a_heartbeat_does_not_arrive(topology, nodes, clock, minion, service, site):
    nodes.stuck = {(minion, service)}
    with pytest.raises(CommandExecutionError) as error:
        verify.heartbeats(topology, PRIMARIES, timeout=30)
    assert str(error.value) == (
        f"After 30 s the heartbeat 11 of service {service} has not arrived: {minion} is at 10"
    )
    assert 30 < clock[0] < 40


def test_a_minion_that_does_not_answer_ends_it(topology, nodes):
    def ask(*args, **kwargs):
        raise CommandExecutionError("w1: does not answer")

    verify.__salt__["fleet.ask"] = ask
    for check in (lambda: verify.services(topology), lambda: verify.heartbeats(topology, PRIMARIES)):
        with pytest.raises(CommandExecutionError, match="w1: does not answer"):
            check()


# --- whether replication has passed


def told(**services):
    return {name: {"state": state, "appliedLastSeqno": seqno, "appliedLatency": latency}
            for name, (state, seqno, latency) in services.items()}


class Gather:
    """``fleet.gather`` of trepctl.positions, one answer a call; the last one stays."""

    def __init__(self, *answers, faults=None):
        self.answers, self.faults, self.calls = list(answers), faults or {}, 0

    def __call__(self, minions, function, kwarg=None, timeout=60):
        assert function == "trepctl.positions"
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        return {"answers": {minion: answer[minion] for minion in minions if minion in answer}, "faults": self.faults}


@pytest.fixture
def gather(monkeypatch):
    def use(*answers, faults=None):
        fake = Gather(*answers, faults=faults)
        monkeypatch.setitem(verify.__salt__, "fleet.gather", create_autospec(fleet.gather, side_effect=fake))
        clock = iter(range(0, 10000, 10))
        monkeypatch.setattr(verify, "time", Mock(spec=["monotonic", "sleep"], monotonic=lambda: next(clock)))
        return fake
    return use


HERE = told(east=("ONLINE", 9, 0.1), west=("ONLINE", 0, 0.1))


def test_who_has_all_that_anybody_has_is_passed(gather):
    fake = gather({"a": HERE, "b": HERE})
    assert verify.passed(["a", "b"]) == {} and fake.calls == 1


def test_the_goal_is_what_was_applied_at_the_first_look(gather):
    later = told(east=("ONLINE", 12, 0.1), west=("ONLINE", 3, 0.1))
    behind = told(east=("ONLINE", 8, 0.1), west=("ONLINE", -1, 0.1))
    fake = gather({"a": HERE, "b": behind}, {"a": later, "b": HERE})
    assert verify.passed(["a", "b"]) == {} and fake.calls == 2


def test_who_does_not_get_there_in_time_is_late(gather):
    behind = told(east=("ONLINE", 8, 0.1), west=("ONLINE", 0, 0.1))
    gather({"a": HERE, "b": behind})
    assert verify.passed(["a", "b"], timeout=60) == {
        "b": "its service east is ONLINE at 8, others have applied 9"}


@pytest.mark.parametrize("state, calls", [("OFFLINE:ERROR", 1), ("OFFLINE:NORMAL", 1), ("missing", 1)])
def test_a_service_that_is_not_online_is_not_waited_for(gather, state, calls):
    broken = told(east=(state, -1, -1.0), west=("ONLINE", 0, 0.1))
    if state == "missing":
        del broken["east"]
    fake = gather({"a": HERE, "b": broken})
    assert f"east is {state}" in verify.passed(["a", "b"])["b"] and fake.calls == calls


def test_a_silent_node_is_late_and_the_others_are_judged(gather):
    gather({"a": HERE}, faults={"b": "does not answer trepctl.positions"})
    assert verify.passed(["a", "b"]) == {"b": "does not answer trepctl.positions"}


def test_who_is_behind(gather):
    slow = told(east=("ONLINE", 8, 61.0), west=("ONLINE", 0, 0.1))
    error = told(east=("OFFLINE:ERROR", -1, 400.0), west=("ONLINE", 0, None))
    gather({"a": HERE, "b": slow, "c": error}, faults={"d": "silent"})
    # A service in error, and a node that does not answer, will not catch up by being waited for.
    assert verify.behind(["a", "b", "c", "d"], 60) == {"b": "service east is 61 s behind"}
    assert verify.behind(["a", "b", "c", "d"], 61) == {}, "so far behind it may be"


def test_who_has_all_that_there_is_is_not_behind_however_old_that_is(gather):
    old = told(east=("ONLINE", 9, 4000.0), west=("ONLINE", 0, 0.1))
    newest = told(east=("ONLINE", 9, 4000.0), west=("ONLINE", 7, 4000.0))
    gather({"a": HERE, "b": old, "c": newest})
    # Judged by service: in west they have not all of it, but are quick.
    assert verify.behind(["a", "b", "c"], 60) == {}
    gather({"a": old})
    assert verify.behind(["a"], 60) == {}, "there is nobody to be behind of"


def test_who_has_applied_nothing_yet_is_behind(gather):
    empty = told(east=("ONLINE", None, 61.0), west=("ONLINE", 0, 0.1))
    unknown = told(east=("ONLINE", 3, None), west=("ONLINE", 0, 0.1))
    gather({"a": HERE, "b": empty, "c": unknown})
    assert verify.behind(["a", "b", "c"], 60) == {"b": "service east is 61 s behind"}
    gather({"a": told(east=("ONLINE", 0, 0.1)), "b": told(east=("ONLINE", None, 61.0))})
    assert verify.behind(["a", "b"], 60) == {"b": "service east is 61 s behind"}, "the first number is 0"


def test_one_service_of_many_is_named(gather):
    slow = told(east=("ONLINE", 9, 90.0), west=("ONLINE", -1, 75.4))
    gather({"a": HERE, "b": slow})
    assert verify.behind(["a", "b"], 60) == {"b": "service west is 75 s behind"}


# --- that it passes from the primaries on: a heartbeat comes after all that a client has written


SOURCES = {"m-east1": "alpha", "w1": "west"}
ALL = ("m-east1", "m-east2", "w1")


@pytest.fixture
def replicators(nodes, monkeypatch):
    """``trepctl.positions`` of these nodes; ``nodes.later`` is what happens before they are asked for the n-th time."""
    nodes.later, nodes.looks, nodes.silent = {}, 0, {}

    def positions(minions, function, kwarg=None, timeout=60):
        assert function == "trepctl.positions" and kwarg is None
        nodes.looks += 1
        nodes.positions.update(nodes.later.get(nodes.looks, {}))
        nodes.asked.append((function, tuple(minions)))
        return {"answers": {
            minion: told(**{service: (state, nodes.positions[minion, service], 0.1)
                            for which in nodes.states[minion].values() for service, state in which.items()})
            for minion in minions if minion not in nodes.silent}, "faults": dict(nodes.silent)}

    monkeypatch.setitem(verify.__salt__, "fleet.gather", create_autospec(fleet.gather, side_effect=positions))
    return nodes


def beats(nodes):
    return [minions for function, minions in nodes.asked if function == "trepctl.heartbeat"]


def test_without_sources_no_heartbeat_is_sent(replicators):
    assert verify.passed(ALL) == {} and verify.passed(ALL, sources={}) == {}
    assert [function for function, _ in replicators.asked] == ["trepctl.positions"] * 2


def test_a_heartbeat_is_sent_at_each_primary_and_has_to_arrive(replicators, clock):
    # It is in the primaries' logs at once, and elsewhere later.
    replicators.stuck = {key for key in replicators.positions if key not in SOURCES.items()}
    replicators.later = {2: {("m-east2", "alpha"): 11, ("w1", "alpha"): 11, ("m-east1", "west"): 11},
                         4: {("m-east2", "west"): 11}}
    assert verify.passed(ALL, timeout=60, sources=SOURCES) == {}
    assert beats(replicators) == [("m-east1",), ("w1",)] and replicators.looks == 4 and 0 < clock[0] < 60
    last = max(number for number, (function, _) in enumerate(replicators.asked) if function == "trepctl.heartbeat")
    assert "trepctl.positions" not in [function for function, _ in replicators.asked[:last]]


def test_the_first_heartbeat_of_a_log(replicators):
    replicators.positions.update({key: -1 for key in replicators.positions if key[1] == "alpha"})
    replicators.stuck = {("m-east2", "alpha"), ("w1", "alpha")}
    replicators.later = {3: {("m-east2", "alpha"): 0, ("w1", "alpha"): 0}}
    assert verify.passed(ALL, sources={"m-east1": "alpha"}) == {} and replicators.looks == 3


@pytest.mark.parametrize("minion, service", [
    ("m-east2", "alpha"), ("w1", "alpha"), ("m-east1", "west"), ("m-east2", "west")])
def test_where_it_does_not_arrive(replicators, clock, minion, service):
    replicators.stuck = {(minion, service)}
    assert verify.passed(ALL, timeout=60, sources=SOURCES) == {
        minion: f"its service {service} is ONLINE at 10, others have applied 11"}
    assert 60 < clock[0] < 70


def test_a_heartbeat_that_takes_its_time_to_be_logged_is_the_goal_all_the_same(replicators):
    replicators.stuck = {key for key in replicators.positions if key[1] == "west"}
    # What was written before it comes with it.
    replicators.later = {3: {("w1", "west"): 14}}
    assert verify.passed(ALL, timeout=60, sources={"w1": "west"}) == {
        minion: "its service west is ONLINE at 10, others have applied 14" for minion in ("m-east1", "m-east2")}
    replicators.positions["w1", "west"], replicators.looks = 10, 0
    replicators.later[5] = {("m-east1", "west"): 14, ("m-east2", "west"): 15}
    assert verify.passed(ALL, timeout=60, sources={"w1": "west"}) == {} and replicators.looks == 5


def test_a_primary_whose_position_does_not_move(replicators, clock):
    replicators.stuck = {key for key in replicators.positions if key[1] == "alpha"}
    assert verify.passed(ALL, timeout=60, sources=SOURCES) == {
        "m-east1": "a heartbeat of service alpha was sent there, and its position stays at 10"}
    assert 60 < clock[0] < 70, "it is waited for"


@pytest.mark.parametrize("question", ["trepctl.position", "trepctl.heartbeat"])
def test_a_primary_where_no_heartbeat_can_be_sent(replicators, clock, question):
    ask = verify.__salt__["fleet.ask"]

    def fails(minions, function, kwarg=None, timeout=60):
        if function == question and minions == ["m-east1"]:
            raise CommandExecutionError("m-east1: Connection refused")
        return ask(minions, function, kwarg, timeout)

    verify.__salt__["fleet.ask"] = fails
    assert verify.passed(ALL, sources=SOURCES) == {"m-east1": "m-east1: Connection refused"}
    assert clock[0] == 0, "nothing is waited for that cannot come"
    assert beats(replicators) == [("w1",)]
    # All others are judged, by what the other primary has sent.
    replicators.stuck = {("m-east2", "west")}
    assert verify.passed(ALL, sources=SOURCES) == {
        "m-east1": "m-east1: Connection refused",
        "m-east2": "its service west is ONLINE at 11, others have applied 12"}


def test_a_primary_that_falls_silent_after_its_heartbeat_is_late(replicators, clock):
    replicators.silent = {"w1": "does not answer trepctl.positions"}
    assert set(verify.passed(ALL, sources=SOURCES)) == {"w1"} and clock[0] == 0


def test_a_primary_whose_service_is_offline_is_not_waited_for(replicators, clock):
    replicators.states["w1"]["cluster"]["west"] = "OFFLINE:ERROR"
    replicators.stuck = {key for key in replicators.positions if key[1] == "west"}
    assert verify.passed(ALL, sources=SOURCES) == {
        "w1": "its service west is OFFLINE:ERROR at 10, others have applied 10"}
    assert clock[0] == 0
