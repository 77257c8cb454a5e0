"""verify: no traffic before every service is ONLINE and a heartbeat of every site has arrived everywhere."""

import inspect
from unittest.mock import Mock, create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

verify = load("_modules", "verify")
fleet = load("_modules", "fleet")
nodeview = load("_modules", "nodeview")
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


def beat(timeout=60):
    """The signature of ``trepctl.beat``."""


CALLED = {"nodeview.look": nodeview.look, "trepctl.positions": trepctl.positions, "trepctl.beat": beat}


class Nodes:
    """The nodes behind ``fleet``: their services' states, their positions, and what a heartbeat does."""

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
        # What happens before they are asked for their positions for the n-th time, and who fails how.
        self.later, self.looks, self.failing = {}, 0, {}
        self.asked, self.kwargs = [], {}

    def gather(self, minions, function, kwarg=None, timeout=60):
        # The arguments have to fit the function that the minion will call.
        inspect.signature(CALLED[function]).bind(**(kwarg or {}))
        # What a node waits for by itself has to end there, with its words, before Salt gives the node up.
        assert timeout > (kwarg or {}).get("timeout", 0)
        self.asked.append((function, tuple(minions)))
        self.kwargs[function] = kwarg
        if function == "trepctl.positions":
            self.looks += 1
            self.positions.update(self.later.get(self.looks, {}))
        answers, faults = {}, {}
        for minion in minions:
            try:
                say = {"nodeview.look": self.look, "trepctl.positions": self.told, "trepctl.beat": self.beat}[function]
                answers[minion] = say(minion, **(kwarg or {}))
            except CommandExecutionError as error:
                faults[minion] = f"{function} failed: ERROR: {error}"
        return {"answers": answers, "faults": faults}

    def ask(self, minions, function, kwarg=None, timeout=60):
        gathered = self.gather(minions, function, kwarg, timeout)
        if gathered["faults"]:
            raise CommandExecutionError(
                "\n".join(f"{minion}: {fault}" for minion, fault in sorted(gathered["faults"].items())))
        return gathered["answers"]

    def fail(self, minion, function):
        if (minion, function) in self.failing:
            raise CommandExecutionError(self.failing[minion, function])

    def look(self, minion, parts):
        assert parts == ["cluster", "cross_site"]
        self.fail(minion, "nodeview.look")
        faults = {which: self.failing[minion, which] for which in parts if (minion, which) in self.failing}
        return {"answers": {which: {service: {"state": state} for service, state in self.states[minion][which].items()}
                            for which in parts if which not in faults}, "faults": faults}

    def told(self, minion):
        self.fail(minion, "trepctl.positions")
        return told(**{
            service: (state, self.positions[minion, service] if state == "ONLINE" else -1, 0.1)
            for which in self.states[minion].values() for service, state in which.items()})

    def beat(self, minion, timeout):
        self.fail(minion, "trepctl.beat")
        (service,) = self.states[minion]["cluster"]
        before = self.positions[minion, service]
        for key in self.positions:
            if key[1] == service and key not in self.stuck:
                self.positions[key] += 1
        if self.positions[minion, service] == before:
            raise CommandExecutionError(
                f"a heartbeat of service {service} was sent, but its position stays at {before}")
        return {"service": service, "before": before, "seqno": self.positions[minion, service]}


def rounds(nodes):
    return [function for function, _ in nodes.asked]


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
    return {verify: {"__salt__": {"fleet.ask": create_autospec(fleet.ask, side_effect=nodes.ask),
                                  "fleet.gather": create_autospec(fleet.gather, side_effect=nodes.gather)},
                     "__opts__": {"__role": "master"}}}


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
    assert nodes.asked == [("nodeview.look", ("m-east1", "m-east2", "w1"))], "one round for both replicators"


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


@pytest.mark.parametrize("which", ["cluster", "cross_site"])
def test_a_replicator_that_does_not_answer_ends_it_at_once(topology, nodes, clock, which):
    nodes.failing["w1", which] = "the replicator does not run"
    with pytest.raises(CommandExecutionError, match="^w1: the replicator does not run$"):
        verify.services(topology)
    assert clock[0] == 0


def test_heartbeats_arrive_everywhere(topology, nodes, clock):
    nodes.positions["m-east1", "alpha"] = -1
    nodes.positions["m-east2", "alpha"] = nodes.positions["w1", "alpha"] = -1
    assert verify.heartbeats(topology, PRIMARIES, timeout=33) == {"east": 0, "west": 11}
    assert nodes.asked == [("trepctl.beat", ("m-east1", "w1")), ("trepctl.positions", ("m-east1", "m-east2", "w1"))]
    assert nodes.kwargs["trepctl.beat"] == {"timeout": 33} and clock[0] == 0


def test_only_who_has_not_received_all_is_asked_again(topology, nodes, clock):
    nodes.stuck = {("m-east2", "west"), ("w1", "alpha")}
    nodes.later = {2: {("w1", "alpha"): 11}, 4: {("m-east2", "west"): 12}}
    assert verify.heartbeats(topology, PRIMARIES) == {"east": 11, "west": 11}
    assert [minions for _, minions in nodes.asked[1:]] == [
        ("m-east1", "m-east2", "w1"), ("m-east2", "w1"), ("m-east2",), ("m-east2",)]


def test_all_primaries_that_log_nothing_are_named(topology, nodes):
    nodes.stuck = {(minion, "west") for minion in nodes.states}
    nodes.failing["m-east1", "trepctl.beat"] = "Connection refused"
    with pytest.raises(CommandExecutionError) as error:
        verify.heartbeats(topology, PRIMARIES, timeout=30)
    assert str(error.value).splitlines() == [
        "m-east1: no heartbeat of service alpha is in its log: trepctl.beat failed: ERROR: Connection refused",
        "w1: no heartbeat of service west is in its log: trepctl.beat failed: ERROR: a heartbeat of service west was "
        "sent, but its position stays at 10",
    ]
    assert rounds(nodes) == ["trepctl.beat"], "nothing can arrive"


def test_a_heartbeat_of_another_service_than_the_pillars_proves_nothing(topology, nodes):
    topology["sites"]["west"]["service"] = "paris"
    with pytest.raises(CommandExecutionError, match="^w1: no heartbeat of service paris .* through service west$"):
        verify.heartbeats(topology, PRIMARIES)


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


@pytest.mark.parametrize("state", ["OFFLINE:ERROR", "GOING-ONLINE:SYNCHRONIZING", "missing"])
def test_a_node_whose_service_went_away_after_the_look_at_it(topology, nodes, state):
    nodes.states["m-east2"]["cross_site"]["west"] = state
    if state == "missing":
        del nodes.states["m-east2"]["cross_site"]["west"]
    nodes.stuck = {("w1", "alpha")}
    with pytest.raises(CommandExecutionError) as error:
        verify.heartbeats(topology, PRIMARIES, timeout=30)
    assert str(error.value).splitlines() == [
        "After 30 s the heartbeat 11 of service alpha has not arrived: w1 is at 10",
        f"After 30 s the heartbeat 11 of service west has not arrived: m-east2 is {state}",
    ]


def test_a_minion_that_does_not_answer_ends_it(topology, nodes):
    for function, check in (("nodeview.look", lambda: verify.services(topology)),
                            ("trepctl.beat", lambda: verify.heartbeats(topology, PRIMARIES)),
                            ("trepctl.positions", lambda: verify.heartbeats(topology, PRIMARIES))):
        nodes.failing = {("w1", function): "it is gone"}
        with pytest.raises(CommandExecutionError, match=f"^w1: .*{function} failed: ERROR: it is gone"):
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


def test_without_sources_no_heartbeat_is_sent(nodes):
    assert verify.passed(ALL) == {} and verify.passed(ALL, sources={}) == {}
    assert rounds(nodes) == ["trepctl.positions"] * 2


def test_usually_two_rounds_tell_that_it_has_passed(nodes, clock):
    assert verify.passed(ALL, timeout=44, sources=SOURCES) == {}
    assert nodes.asked == [("trepctl.beat", ("m-east1", "w1")), ("trepctl.positions", ALL)]
    assert nodes.kwargs == {"trepctl.beat": {"timeout": 44}, "trepctl.positions": None} and clock[0] == 0


def test_a_heartbeat_is_sent_at_each_primary_and_has_to_arrive(nodes, clock):
    # It is in the primaries' logs at once, and elsewhere later.
    nodes.stuck = {key for key in nodes.positions if key not in SOURCES.items()}
    nodes.later = {2: {("m-east2", "alpha"): 11, ("w1", "alpha"): 11, ("m-east1", "west"): 11},
                   4: {("m-east2", "west"): 11}}
    assert verify.passed(ALL, timeout=60, sources=SOURCES) == {}
    assert rounds(nodes) == ["trepctl.beat", *["trepctl.positions"] * 4] and 0 < clock[0] < 60


def test_the_first_heartbeat_of_a_log(nodes):
    nodes.positions.update({key: -1 for key in nodes.positions if key[1] == "alpha"})
    nodes.stuck = {("m-east2", "alpha"), ("w1", "alpha")}
    nodes.later = {3: {("m-east2", "alpha"): 0, ("w1", "alpha"): 0}}
    assert verify.passed(ALL, sources={"m-east1": "alpha"}) == {} and nodes.looks == 3


@pytest.mark.parametrize("minion, service", [
    ("m-east2", "alpha"), ("w1", "alpha"), ("m-east1", "west"), ("m-east2", "west")])
def test_where_it_does_not_arrive(nodes, clock, minion, service):
    nodes.stuck = {(minion, service)}
    assert verify.passed(ALL, timeout=60, sources=SOURCES) == {
        minion: f"its service {service} is ONLINE at 10, others have applied 11"}
    assert 60 < clock[0] < 70


def test_what_a_primary_has_logged_until_the_first_look_is_the_goal(nodes):
    nodes.later = {1: {("w1", "west"): 14}}
    assert verify.passed(ALL, timeout=60, sources={"w1": "west"}) == {
        minion: "its service west is ONLINE at 11, others have applied 14" for minion in ("m-east1", "m-east2")}


def test_the_heartbeats_number_is_the_goal_though_no_look_shows_it(nodes):
    nodes.later = {1: {(minion, "west"): 10 for minion in ALL}, 2: {(minion, "west"): 11 for minion in ALL}}
    assert verify.passed(ALL, timeout=60, sources={"w1": "west"}) == {} and nodes.looks == 2


@pytest.mark.parametrize("words", ["Connection refused", "its position stays at 10"])
def test_a_primary_whose_log_the_heartbeat_does_not_reach(nodes, clock, words):
    nodes.failing["m-east1", "trepctl.beat"] = words
    late = {"m-east1": f"no heartbeat of service alpha is in its log: trepctl.beat failed: ERROR: {words}"}
    assert verify.passed(ALL, sources=SOURCES) == late
    assert clock[0] == 0, "nothing is waited for that cannot come"
    assert nodes.asked == [("trepctl.beat", ("m-east1", "w1")), ("trepctl.positions", ALL)]
    # All others are judged, by what the other primary has sent.
    nodes.stuck = {("m-east2", "west")}
    assert verify.passed(ALL, sources=SOURCES) == {
        **late, "m-east2": "its service west is ONLINE at 11, others have applied 12"}


def test_a_heartbeat_that_went_through_another_service_is_no_goal(nodes):
    assert verify.passed(ALL, sources={"m-east1": "alpha", "w1": "paris"}) == {
        "w1": "no heartbeat of service paris is in its log: it was sent through service west"}


def test_a_primary_that_falls_silent_after_its_heartbeat_is_late(nodes, clock):
    nodes.failing["w1", "trepctl.positions"] = "it is gone"
    assert verify.passed(ALL, sources=SOURCES) == {"w1": "trepctl.positions failed: ERROR: it is gone"}
    assert clock[0] == 0


def test_a_primary_whose_service_is_offline_is_not_waited_for(nodes, clock):
    nodes.states["w1"]["cluster"]["west"] = "OFFLINE:ERROR"
    nodes.failing["w1", "trepctl.beat"] = "the service is not ONLINE"
    assert verify.passed(ALL, sources=SOURCES) == {
        "w1": "its service west is OFFLINE:ERROR at -1, others have applied 10"}
    assert clock[0] == 0
