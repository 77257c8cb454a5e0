"""What the reactor and an operator ask the master: drift decided by the pillar alone, records, watching."""

import copy
import json
import logging
from unittest.mock import Mock, create_autospec

import pytest
import salt.runner
import salt.runners.pillar
import salt.runners.salt
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

reprovision = load("_runners", "reprovision")
topology = load("_modules", "topology")
runrecord = load("_modules", "runrecord")

TUNGSTEN = {
    "sites": {"east": {"nodes": ["east1"], "on_drift": "reprovision"}, "west": {"nodes": ["west1"]}},
    "reprovision": {"failed": "east", "definitive": "west"},
}
FORGED = [
    "",
    "south",
    "east/../west",
    "../../etc",
    "east\n",
    "east west",
    "$(reboot)",
    "`id`",
    "east; rm -rf /",
    "{{ salt['cmd.run']('id') }}",
    "{% raw %}",
    "*",
    "E@.*",
    "x" * 1_000_000,
    None,
    7,
    ["east"],
    {"east": 1},
    True,
]


@pytest.fixture
def pillar():
    return {"tungsten": copy.deepcopy(TUNGSTEN)}


@pytest.fixture
def functions():
    """The execution modules on the master, behind ``salt.cmd``."""
    found = {
        f"runrecord.{name}": create_autospec(getattr(runrecord, name), side_effect=getattr(runrecord, name))
        for name in ("running", "claim_start", "report", "reported", "load", "latest")
    }
    found["topology.validate"] = create_autospec(topology.validate, side_effect=topology.validate)
    return found


@pytest.fixture
def client(monkeypatch):
    """Salt's client of runners: what starts an orchestration."""
    instance = create_autospec(salt.runner.RunnerClient, instance=True)
    instance.asynchronous.return_value = {"jid": "20260101", "tag": "x"}
    monkeypatch.setattr(
        reprovision.salt.runner, "RunnerClient", Mock(spec=salt.runner.RunnerClient, return_value=instance)
    )
    return instance


@pytest.fixture(autouse=True)
def log(monkeypatch):
    mock = create_autospec(logging.Logger, instance=True)
    monkeypatch.setattr(reprovision, "log", mock)
    return mock


@pytest.fixture
def configure_loader_modules(functions, pillar, client, tmp_path):
    def cmd(fun, *args, **kwargs):
        return functions[fun](*args, **kwargs) if fun in functions else f"'{fun}' is not available."

    opts = {"__role": "master", "cachedir": str(tmp_path), "id": "vm_master", "user": "root"}
    return {
        reprovision: {
            "__salt__": {
                "salt.cmd": create_autospec(salt.runners.salt.cmd, side_effect=cmd),
                "pillar.show_pillar": create_autospec(
                    salt.runners.pillar.show_pillar, side_effect=lambda minion: {"vm_master": pillar}[minion]
                ),
            },
            "__opts__": opts,
        },
        runrecord: {"__opts__": opts},
    }


def noted(site="east"):
    return runrecord.reported(site)


def test_ignore(pillar, client):
    pillar["tungsten"]["sites"]["east"]["on_drift"] = "ignore"
    assert reprovision.drift("east", "east1") == {"site": "east", "on_drift": "ignore", "decision": "ignored"}
    assert noted() is None
    client.asynchronous.assert_not_called()


@pytest.mark.parametrize(
    "site, command",
    [
        ("east", "salt-run state.orch orch.reprovision"),
        (
            "west",
            "salt-run state.orch orch.reprovision pillar="
            + '\'{"reprovision": {"failed": "west", "definitive": "THE GOOD SITE"}}\'',
        ),
    ],
)
def test_plan_notes_the_command_and_starts_nothing(pillar, client, site, command):
    for name in ("east", "west"):
        pillar["tungsten"]["sites"][name]["on_drift"] = "plan"
    decision = reprovision.drift(site, "east1")
    assert decision["decision"].startswith("a person must decide") and decision["command"] == command
    assert noted(site) == decision and decision["reporter"] == "east1"
    client.asynchronous.assert_not_called()


def test_reprovision_starts_the_orchestration_of_the_pillar(client):
    decision = reprovision.drift("east", "east1")
    assert decision["decision"] == "the orchestration was started" and decision["jid"] == "20260101"
    client.asynchronous.assert_called_once_with(
        "state.orchestrate", {"mods": "orch.reprovision"}, user="root"
    )
    assert noted()["decision"] == "the orchestration was started"


def test_the_report_is_written_before_the_start(client):
    """A run that was verified before is repeated only if something was reported since."""
    client.asynchronous.side_effect = lambda *_, **__: {"jid": noted()["reported"]}
    assert reprovision.drift("east")["jid"] == noted()["reported"]


@pytest.mark.parametrize("order", [{"failed": "west", "definitive": "east"}, {"failed": "east"}, {}])
def test_a_pillar_that_names_another_site_starts_nothing(pillar, client, order):
    pillar["tungsten"]["reprovision"] = order
    decision = reprovision.drift("east", "east1")
    assert decision["decision"].startswith(
        "not started: tungsten:reprovision in pillar does not name this site"
    )
    assert noted() == decision
    client.asynchronous.assert_not_called()


def test_many_events_one_start(client):
    decisions = [reprovision.drift("east", "east1")["decision"] for _ in range(5)]
    assert decisions == ["the orchestration was started"] + ["nothing started: a run is already on it"] * 4
    client.asynchronous.assert_called_once()


def test_nothing_is_started_while_a_run_has_the_site(functions, client):
    functions["runrecord.running"].side_effect = None
    functions["runrecord.running"].return_value = "20260101T000000-7"
    decision = reprovision.drift("east", "east1")
    assert decision["decision"] == "nothing started: 20260101T000000-7 is already on it"
    functions["runrecord.claim_start"].assert_not_called()
    client.asynchronous.assert_not_called()


@pytest.mark.parametrize("site", FORGED, ids=lambda value: repr(value)[:30])
def test_forged_sites(client, log, tmp_path, site):
    with pytest.raises(CommandExecutionError, match="is none of the sites east, west") as error:
        reprovision.drift(site, "east1")
    assert len(str(error.value)) < 200
    text, *values = log.warning.call_args.args
    assert len(text % tuple(values)) < 300 and "\n" not in text % tuple(values)
    assert not list(tmp_path.iterdir()), "nothing is written under a name from outside"
    client.asynchronous.assert_not_called()


@pytest.mark.parametrize(
    "reporter", [None, "", "a b", "x" * 1_000_000, "{{ 1 }}", "m\nERROR", ["east1"], {"id": 1}]
)
def test_a_forged_reporter_is_unknown(pillar, reporter):
    pillar["tungsten"]["sites"]["east"]["on_drift"] = "plan"
    assert reprovision.drift("east", reporter)["reporter"] == "unknown"


@pytest.mark.parametrize("tungsten", [None, {}, {"sites": {"east": {"nodes": ["a"]}}}])
def test_a_pillar_with_faults_judges_nothing(pillar, client, tungsten):
    pillar["tungsten"] = tungsten
    with pytest.raises(CommandExecutionError, match=r"(?s)the pillar has faults.*tungsten:sites"):
        reprovision.drift("east")
    client.asynchronous.assert_not_called()


def test_modules_that_the_master_has_not_synced(functions):
    functions.clear()
    with pytest.raises(
        CommandExecutionError, match="topology.validate is not available on the master: salt-run salt"
    ):
        reprovision.drift("east")


def record(state="done", steps=(), run="20260101T000000-7"):
    return {
        "run": run,
        "failed": "east",
        "state": state,
        "plan": ["00 a", "01 b"],
        "steps": {name: {"state": what, "seconds": 1.5, "comment": f"{name}: said"} for name, what in steps},
    }


def test_record():
    with pytest.raises(CommandExecutionError, match="no record of a run for site east"):
        reprovision.record("east")
    runrecord.save(record())
    runrecord.save(record(run="20260102T000000-8"))
    assert reprovision.record("east")["run"] == "20260102T000000-8"
    assert reprovision.record("east", "20260101T000000-7")["run"] == "20260101T000000-7"
    with pytest.raises(CommandExecutionError, match="no record"):
        reprovision.record("east", "20990101T000000-7")


def test_reported():
    assert reprovision.reported("east") is None
    runrecord.report("east", {"decision": "x"})
    assert reprovision.reported("east")["decision"] == "x"


class Bus:
    """The event bus; each event is a function that changes the world and returns what was heard."""

    def __init__(self, *events):
        self.events = list(events)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def get_event(self, wait, tag, match_type):
        assert match_type == "startswith" and tag.startswith("salt/reprovision/east/")
        return self.events.pop(0)() if self.events else None


@pytest.fixture
def hear(monkeypatch):
    def hear(*events):
        monkeypatch.setattr(reprovision.salt.utils.event, "get_event", lambda *_, **__: Bus(*events))

    return hear


def test_watch_shows_each_step_once_until_the_end(functions, hear, capsys):
    functions["runrecord.running"].side_effect = lambda site: "20260101T000000-7"
    runrecord.save(record("running", [("00 a", "running")]))
    hear(
        lambda: runrecord.save(record("running", [("00 a", "done"), ("01 b", "running")])) and {"run": "x"},
        lambda: {"run": "x"},
        lambda: runrecord.save(record("failed", [("00 a", "done"), ("01 b", "failed")])) and {"run": "x"},
    )
    assert reprovision.watch("east") == {"run": "20260101T000000-7", "state": "failed", "steps": 2}
    out, err = capsys.readouterr()
    assert out == "", "stdout is for the outcome"
    assert [" ".join(line.split()) for line in err.splitlines()] == [
        "[ 1/2] 00 a … 1.5 s",
        "[ 1/2] 00 a ok 1.5 s",
        "[ 2/2] 01 b … 1.5 s",
        "[ 2/2] 01 b FAILED 1.5 s",
        "01 b: said",
    ]


def test_watch_waits_for_a_run_to_begin(functions, hear):
    functions["runrecord.running"].side_effect = lambda site: None
    runrecord.save(record("done", [("00 a", "done")]))
    hear(lambda: None, lambda: {"run": "20260101T000000-7"})
    assert reprovision.watch("east")["state"] == "done"


def test_watch_gives_up_when_none_begins(hear, monkeypatch):
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(reprovision.time, "monotonic", lambda: next(clock))
    hear()
    with pytest.raises(CommandExecutionError, match="No run of site east has begun within 60 s"):
        reprovision.watch("east")


def test_watch_sees_a_run_that_died(functions, hear):
    runs = iter(["20260101T000000-7"])
    functions["runrecord.running"].side_effect = lambda site: next(runs, None)
    runrecord.save(record("running", [("00 a", "running")]))
    hear()
    with pytest.raises(CommandExecutionError, match="Run 20260101T000000-7 ended without closing its record"):
        reprovision.watch("east")


def test_answers_are_plain_json():
    assert json.loads(json.dumps(reprovision.drift("east", "east1")))
