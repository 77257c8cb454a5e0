"""verify: no traffic before every service is ONLINE and a heartbeat of every site has arrived everywhere."""

import inspect

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
