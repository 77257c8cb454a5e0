"""What an operator asks the master: looking, planning and approving, watching, stopping."""

import contextlib
import copy
import io
import json
import logging
import os
import shlex
import time
from types import SimpleNamespace
from unittest.mock import Mock, call, create_autospec

import pytest
import salt.runner
import salt.runners.pillar
import salt.utils.color
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

reprovision = load("_runners", "reprovision")
topology = load("_modules", "topology")
runrecord = load("_modules", "runrecord")
runlock = load("_modules", "runlock")
runwords = load("_modules", "runwords")
fleet = load("_modules", "fleet")
survey = load("_modules", "survey")
attempt = load("_modules", "attempt")
checkrecord = load("_modules", "checkrecord")
notify = load("_modules", "notify")
planning = load("_modules", "planning")
plans = load("_modules", "plans")
readiness = load("_modules", "readiness")
runpage = load("_modules", "runpage")
runview = load("_modules", "runview")
runreport = load("_modules", "runreport")
siteview = load("_modules", "siteview")

RUN = "20260101T000000-7"
HOLDER = {"run": RUN, "pid": 7, "since": "2026-01-01T00:00:00Z"}

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
    """The execution modules on the master."""
    found = {
        f"{module.__virtualname__}.{name}": create_autospec(
            getattr(module, name), side_effect=getattr(module, name)
        )
        for module, names in (
            (runrecord, "now save load latest every sites keep_page ask_to_stop asked_to_stop report reported"),
            (runlock, "running claim take_away"),
            (runwords, "command again person size duration printable"),
            (runreport, "tell text"),
            (runpage, "make"),
            (runview, "news picture why"),
            (attempt, "refuse_repetition refuse_half_built needless"),
            (plans, "propose load every consider decide"),
            (planning, "binding digest changes steps make text"),
            (readiness, "text"),
            (topology, "validate checked merge way"),
        )
        for name in names.split()
    }
    found["notify.of_plan"] = create_autospec(notify.of_plan)
    found["fleet.ask"] = create_autospec(fleet.ask, side_effect=CommandExecutionError("nobody is to be asked"))
    found["survey.take"] = create_autospec(survey.take)
    found["siteview.look"] = create_autospec(siteview.look, side_effect=lambda topology, sites: {
        site: {"policy": f"AUTOMATIC of {site}", "primary": None, "routers": {}, "nodes": {}, "wrong": []}
        for site in sites})
    found["plans.open"] = create_autospec(plans.open_, side_effect=plans.open_)
    found["checkrecord.latest"] = create_autospec(checkrecord.latest, return_value=None)
    found["readiness.extension"] = create_autospec(readiness.extension, return_value={"version": "1", "digest": "d"})
    found["fleet.gather"] = create_autospec(
        fleet.gather, side_effect=lambda minions, *_, **__: {"answers": dict.fromkeys(minions, 5), "faults": {}})
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
    opts = {"__role": "master", "cachedir": str(tmp_path), "id": "vm_master", "user": "root"}
    return {
        reprovision: {
            "__salt__": {
                "pillar.show_pillar": create_autospec(
                    salt.runners.pillar.show_pillar, side_effect=lambda minion: {"vm_master": pillar}[minion]
                ),
            },
            "__opts__": opts,
            "__context__": {"reprovision.functions": functions},
        },
        runrecord: {"__opts__": opts},
        runlock: {"__opts__": opts},
        attempt: {"__opts__": opts, "__salt__": functions},
        plans: {"__opts__": opts, "__salt__": functions},
        planning: {"__opts__": opts, "__salt__": functions},
        runreport: {"__salt__": functions},
        runpage: {"__salt__": functions},
        runview: {"__salt__": functions},
    }


@pytest.fixture(autouse=True)
def released():
    """Locks end with their process; this one lives on, for the next test."""
    yield
    while runlock._held:
        os.close(runlock._held.popitem()[1])


def test_modules_that_the_master_has_not_synced(functions):
    functions.clear()
    with pytest.raises(CommandExecutionError, match="topology.merge is not available on the master: salt-run salt"):
        reprovision.preflight()


def record(state="done", steps=(), run=RUN, **more):
    return {
        "run": run,
        "failed": "east",
        "definitive": "west",
        "primary": "east1",
        "donor": "west1",
        "donor_state": "in its site",
        "method": "rsync",
        "warm": True,
        "replica_method": "xtrabackup",
        "nodes": {"east": {"east1": "m-east1"}, "west": {"west1": "m-west1"}},
        "state": state,
        "started": "2026-01-01T00:00:00Z",
        "attempts": [{"started": "2026-01-01T00:00:00Z", "pid": 7, "who": "alice"}],
        "plan": ["00 a", "01 b"],
        "steps": {name: {"state": what, "seconds": 1.5, "comment": f"{name}: said"} for name, what in steps},
        **more,
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
    """The event bus; each event is a function that changes the world, and waiting for it takes its time."""

    def __init__(self, clock, events):
        self.clock, self.events = clock, list(events)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def get_event(self, wait, tag, match_type):
        assert (tag, match_type) == ("salt/reprovision/east/", "startswith")
        self.clock[0] += wait
        assert self.clock[0] < 1000, "it watches for ever"
        return self.events.pop(0)() if self.events else None


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only by sleeping and listening."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    stand_in = create_autospec(time)
    stand_in.monotonic.side_effect = lambda: now[0]
    stand_in.sleep.side_effect = sleep
    monkeypatch.setattr(reprovision, "time", stand_in)
    return now


@pytest.fixture
def hear(monkeypatch, clock):
    def hear(*events):
        monkeypatch.setattr(reprovision.salt.utils.event, "get_event", lambda *_, **__: Bus(clock, events))

    return hear


def test_watch_shows_each_step_once_until_the_end(functions, hear, capsys):
    functions["runlock.running"].side_effect = lambda site: HOLDER
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


@pytest.fixture
def holders(functions):
    """Who has the site, from one look to the next; the last one stays."""

    def holders(*runs):
        runs = list(runs)

        def running(site):
            run = runs.pop(0) if len(runs) > 1 else runs[0]
            return {**HOLDER, "run": run} if run else None

        functions["runlock.running"].side_effect = running

    return holders


def test_watch_waits_for_a_run_to_begin_and_does_not_take_an_old_one_for_it(holders, hear):
    holders(None, None, "20260201T000000-8")
    runrecord.save(record("failed", [("00 a", "failed")]))
    hear(lambda: None, lambda: runrecord.save(record("done", [("00 a", "done")], run="20260201T000000-8")))
    assert reprovision.watch("east") == {"run": "20260201T000000-8", "state": "done", "steps": 1}


@pytest.mark.parametrize("wait", [60, 0])
def test_watch_gives_up_when_none_begins(hear, clock, wait):
    runrecord.save(record("failed", [("00 a", "failed")]))
    hear()
    with pytest.raises(CommandExecutionError, match=f"No run of site east has begun within {wait} s"):
        reprovision.watch("east", wait=wait)
    assert wait < clock[0] <= wait + 2


def test_watch_does_not_give_up_on_a_run_that_takes_long(holders, hear, clock):
    holders(RUN)
    runrecord.save(record("running", [("00 a", "running")]))
    hear(*[lambda: None] * 99, lambda: runrecord.save(record("done", [("00 a", "done")])))
    assert reprovision.watch("east", wait=60)["state"] == "done"
    assert clock[0] == 200


def test_watch_sees_a_run_that_died(holders, hear):
    holders(RUN, None)
    runrecord.save(record("running", [("00 a", "running")]))
    hear()
    with pytest.raises(CommandExecutionError, match=f"Run {RUN} ended without closing its record"):
        reprovision.watch("east")


def test_watch_ends_with_a_run_that_was_refused_before_it_had_a_record(holders, hear):
    holders("20260201T000000-8", "20260201T000000-8", None)
    runrecord.save(record("failed", [("00 a", "failed")]))
    hear()
    with pytest.raises(CommandExecutionError, match="Run 20260201T000000-8 ended without closing its record"):
        reprovision.watch("east")


def test_watch_follows_a_run_to_the_one_it_goes_on_with(holders, hear):
    holders("20260201T000000-8", "20260201T000000-8", RUN)
    runrecord.save(record("failed", [("00 a", "failed")]))
    hear(
        lambda: runrecord.save(record("running", [("00 a", "running")])),
        lambda: None,
        lambda: runrecord.save(record("done", [("00 a", "done"), ("01 b", "done")])),
    )
    assert reprovision.watch("east") == {"run": RUN, "state": "done", "steps": 2}


def test_watch_tells_how_a_run_ended_that_let_go_of_its_lock_meanwhile(holders, hear):
    holders(RUN, None)
    runrecord.save(record("running", [("00 a", "running")]))
    hear(lambda: runrecord.save(record("aborted", [("00 a", "failed")])))
    assert reprovision.watch("east")["state"] == "aborted"


def test_watch_shows_how_far_the_copy_is_once_a_percent(functions, hear, capsys):
    functions["runlock.running"].side_effect = lambda site: HOLDER

    def far(percent, state="running"):
        found = record(state, [("00 a", state)])
        found["steps"]["00 a"]["progress"] = {
            "west1": {"job": "copy-0", "seconds": 3, "bytes": 1234567, "percent": percent, "rate": "9MB/s"},
            "west2": {"job": "copy-1", "seconds": 3},
        }
        return lambda: runrecord.save(found) and {"run": RUN}

    hear(far(0), far(0), far(10), far(10, "failed"))
    reprovision.watch("east")
    shown = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines() if "west1" in line]
    assert shown == ["west1: 1.2 MB, 0 %, 9MB/s", "west1: 1.2 MB, 10 %, 9MB/s, about 27 s left"]


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def fileno(self):
        return 2


@pytest.fixture
def terminal(monkeypatch):
    """stderr is one, of 30 lines."""
    stderr = Terminal()
    monkeypatch.setattr(reprovision, "sys", SimpleNamespace(stderr=stderr))
    monkeypatch.setattr(reprovision.os, "get_terminal_size", create_autospec(
        os.get_terminal_size, return_value=os.terminal_size((100, 30))))
    return stderr


def test_on_a_terminal_watch_draws_each_picture_over_the_one_before(functions, hear, capsys, terminal):
    reprovision.__opts__["no_color"] = True
    functions["runlock.running"].side_effect = lambda site: HOLDER
    runrecord.save(record("running", [("00 a", "running")]))
    hear(
        lambda: runrecord.save(record("running", [("00 a", "done"), ("01 b", "running")])) and {"run": "x"},
        lambda: runrecord.save(record("failed", [("00 a", "done"), ("01 b", "failed")])) and {"run": "x"},
    )
    assert reprovision.watch("east")["state"] == "failed"
    assert capsys.readouterr() == ("", "")
    first, second, third = terminal.getvalue().split("\x1b[3A\x1b[J")
    assert [" ".join(line.split()) for line in first.splitlines()] == [
        f"Site east from west: running, 0 of 2 steps (run {RUN})", "… 00 a 1.5 s", "01 b"]
    assert [" ".join(line.split()) for line in second.splitlines()][1:] == ["ok 00 a 1.5 s", "… 01 b 1.5 s"]
    assert [" ".join(line.split()) for line in third.splitlines()][1:] == [
        "ok 00 a 1.5 s", "FAILED 01 b 1.5 s", "01 b: said"]


def test_its_colours_are_those_of_the_states(functions, hear, terminal):
    functions["runlock.running"].side_effect = lambda site: HOLDER
    runrecord.save(record("failed", [("00 a", "done"), ("01 b", "failed")]))
    hear()
    reprovision.watch("east")
    colours = salt.utils.color.get_colors(True)
    for line, colour in zip(terminal.getvalue().splitlines(), ("LIGHT_RED", "LIGHT_GREEN", "LIGHT_RED")):
        assert line.startswith(str(colours[colour])) and line.endswith(str(colours["ENDC"]))


# --- preflight


ERROR = {"node": "east1", "level": "error", "what": "it is full", "do": "Make room."}
WARNING = {"node": "east1", "level": "warning", "what": "its clock is off", "do": "Set it."}


def surveyed(*findings):
    return {
        "findings": list(findings),
        "primaries": {"east": "east1", "west": "west1"},
        "donor": "west1",
        "resumes": False,
        "run": None,
        "why": "no run of this site is unfinished",
        "facts": {},
    }


@pytest.mark.parametrize(
    "findings, ready", [((), True), ((WARNING,), True), ((ERROR,), False), ((WARNING, ERROR), False)]
)
def test_preflight_is_ready_without_errors(functions, findings, ready):
    functions["survey.take"].return_value = surveyed(*findings)
    found = surveyed(*findings)
    del found["facts"]
    assert reprovision.preflight() == {"ready": ready, **found}


def test_preflight_is_about_the_standing_order_and_the_latest_run(functions, pillar):
    runrecord.save(record("failed"))
    runrecord.save({**record("failed", run="20270101T000000-9"), "failed": "west"})
    functions["survey.take"].return_value = surveyed()
    reprovision.preflight()
    functions["survey.take"].assert_called_once_with(topology.merge(pillar["tungsten"], {}), record("failed"))


def test_preflight_is_about_what_is_named(functions, pillar):
    pillar["tungsten"]["reprovision"]["donor"] = "west1"
    runrecord.save(record("failed"))
    functions["survey.take"].return_value = surveyed()
    reprovision.preflight(failed="west", definitive="east", donor="east1")
    merged, previous = functions["survey.take"].call_args.args
    order = {key: merged["reprovision"][key] for key in ("failed", "definitive", "donor")}
    assert order == {"failed": "west", "definitive": "east", "donor": "east1"}
    assert previous is None, "the failed site's run, not the other's"


@pytest.mark.parametrize("site, name", [("east", "east"), ("west", "west")])
def test_preflight_tells_who_is_at_work(functions, site, name):
    functions["survey.take"].return_value = surveyed(ERROR)
    functions["runlock.running"].side_effect = lambda asked: dict(HOLDER) if asked == site else None
    found = reprovision.preflight()
    assert not found["ready"] and found["findings"][1] == ERROR
    assert found["findings"][0] == {
        "node": name, "level": "error", "what": f"is being re-provisioned by run {RUN}",
        "do": f"Wait for its end: salt-run reprovision.watch {name}"}


def test_preflight_tells_that_there_is_nothing_to_repair(functions):
    functions["survey.take"].return_value = surveyed()
    runrecord.save({**record("done"), "finished": "2026-01-02T00:00:00Z"})
    found = reprovision.preflight()
    assert not found["ready"] and "There is nothing to repair" in found["findings"][0]["what"]


def test_preflight_tells_that_the_source_is_half_built(functions):
    functions["survey.take"].return_value = surveyed()
    runrecord.save({**record("failed"), "failed": "west"})
    found = reprovision.preflight()
    assert not found["ready"] and found["findings"][0]["node"] == "west"
    assert "cannot be the definitive one" in found["findings"][0]["what"]


def test_preflight_changes_nothing(functions, tmp_path):
    runrecord.save(record("failed"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    functions["survey.take"].return_value = surveyed(ERROR)
    reprovision.preflight()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "args, words",
    [
        ({"failed": "south"}, "'south' is not one of the sites"),
        ({"definitive": "east"}, "cannot repair itself"),
        ({"donor": "east1"}, "is not a node of the definitive site"),
    ],
)
def test_preflight_of_what_the_pillar_does_not_know_asks_nobody(functions, args, words):
    with pytest.raises(CommandExecutionError, match=words):
        reprovision.preflight(**args)
    functions["survey.take"].assert_not_called()


@pytest.mark.parametrize("tungsten", [None, {}, {"sites": {"east": {"nodes": ["a"]}}}])
def test_preflight_of_a_pillar_with_faults_asks_nobody(functions, pillar, tungsten):
    pillar["tungsten"] = tungsten
    with pytest.raises(CommandExecutionError, match="The topology in pillar has faults"):
        reprovision.preflight()
    functions["survey.take"].assert_not_called()


# --- status


def held(run):
    return {**HOLDER, "run": run}


def run_of(site):
    return reprovision.status(site)["data"][site]["run"]


@pytest.mark.parametrize(
    "state, holder, shown",
    [
        ("running", held(RUN), "running"),
        ("running", None, "interrupted"),
        ("running", {}, "interrupted"),
        ("running", held("20990101T000000-1"), "interrupted"),
        ("failed", None, "failed"),
        ("aborted", None, "aborted"),
        ("done", None, "done"),
    ],
)
def test_status_believes_the_record_only_while_its_process_lives(functions, state, holder, shown):
    functions["runlock.running"].side_effect = lambda site: holder
    runrecord.save(record(state))
    status = run_of("east")
    assert (status["state"], status["process"]) == (shown, holder)
    if shown == "running":
        assert status["next"] == "salt-run reprovision.watch east"
    elif shown == "done":
        assert status["next"] == "nothing to do"
    else:
        words, _, command = status["next"].partition(": ")
        assert words == "run it again, it goes on from there"
        program, function, sls, order = shlex.split(command)
        assert [program, function, sls] == ["salt-run", "state.orch", "orch.reprovision"]
        name, _, value = order.partition("=")
        merged = topology.merge(TUNGSTEN, json.loads(value)["reprovision"])["reprovision"]
        kept = ("failed", "definitive", "donor", "method", "warm", "replica_method")
        assert name == "pillar" and {key: merged[key] for key in kept} == {key: record()[key] for key in kept}


@pytest.mark.parametrize(
    "steps, at, count",
    [
        ([], None, "0 of 2"),
        ([("00 a", "running")], "00 a", "0 of 2"),
        ([("00 a", "done")], None, "1 of 2"),
        ([("00 a", "done"), ("01 b", "failed")], "01 b", "1 of 2"),
        ([("00 a", "done"), ("01 b", "interrupted")], "01 b", "1 of 2"),
        ([("00 a", "done"), ("01 b", "done"), ("of another plan", "done")], None, "2 of 2"),
    ],
)
def test_status_tells_the_step_and_how_many_are_done(steps, at, count):
    runrecord.save(record("failed", steps))
    status = run_of("east")
    assert (status["step"], status["steps"], status["progress"]) == (at, count, {})


def test_status_tells_all_that_is_known_of_the_newest_run():
    found = record("failed", [("00 a", "running")], run="20260201T000000-7", donor_state="taken")
    found["attempts"] = found["attempts"] * 3
    found["steps"]["00 a"]["progress"] = {"west1": {"percent": 10}}
    runrecord.save(found)
    runrecord.save(record("done"))
    status = run_of("east")
    del status["next"]
    assert status == {
        "run": "20260201T000000-7",
        "state": "failed",
        "step": "00 a",
        "steps": "0 of 2",
        "attempts": 3,
        "donor": "west1",
        "donor_state": "taken",
        "progress": {"west1": {"percent": 10}},
        "process": None,
    }


def test_status_shows_every_site_of_the_pillar_with_or_without_a_run(functions):
    runrecord.save(record("failed"))
    runrecord.report("west", {"decision": "x"})
    shown = reprovision.status()
    assert shown["outputter"] == "tungsten_sites"
    assert {name: (view["run"] or {}).get("state") for name, view in shown["data"].items()} == {
        "east": "failed", "west": None}
    assert [view["policy"] for view in shown["data"].values()] == ["AUTOMATIC of east", "AUTOMATIC of west"]
    assert set(shown["data"]["east"]) == {"policy", "primary", "routers", "nodes", "wrong", "run"}
    asked, sites = functions["siteview.look"].call_args.args
    assert asked["sites"]["east"]["nodes"] == {"east1": "east1"} and sites == ["east", "west"]


def test_status_of_one_site_asks_no_other(functions):
    assert list(reprovision.status("west")["data"]) == ["west"]
    assert functions["siteview.look"].call_args.args[1] == ["west"]


def test_status_of_the_runs_alone_asks_no_node(functions):
    runrecord.save(record("failed"))
    shown = reprovision.status(nodes=False)["data"]
    assert shown["east"]["run"]["state"] == "failed" and shown["west"] == {"run": None}
    assert set(shown["east"]) == {"run"}, "nothing is said of what was not looked at"
    functions["siteview.look"].assert_not_called()


@pytest.mark.parametrize("site", [each for each in FORGED if each is not None], ids=lambda site: repr(site)[:20])
def test_status_of_a_site_that_the_pillar_does_not_name(functions, site):
    with pytest.raises(CommandExecutionError, match="is not one of the sites east, west"):
        reprovision.status(site)
    functions["siteview.look"].assert_not_called()


def test_status_with_faults_in_the_pillar_names_them(pillar):
    pillar["tungsten"]["sites"]["east"]["nodes"] = 7
    with pytest.raises(CommandExecutionError, match="tungsten:sites:east:nodes"):
        reprovision.status()


# --- report


def test_a_report_of_the_newest_run_for_a_terminal_and_for_programs(functions, capsys):
    runrecord.save(record("done"))
    runrecord.save(record("failed", [("00 a", "failed")], run="20260201T000000-7"))
    told = reprovision.report("east")
    assert told["outputter"] == "tungsten_report"
    data = told["data"]
    assert (data["run"], data["state"], data["page"]) == ("20260201T000000-7", "failed", None)
    assert data["text"].startswith("Site east is not re-provisioned: the run has failed (run 20260201T000000-7).")
    assert data["approved"] is None
    assert reprovision.report("east", RUN)["data"]["state"] == "done"
    assert capsys.readouterr() == ("", "")
    functions["runpage.make"].assert_not_called()


def test_a_report_of_a_run_whose_process_has_died(functions):
    runrecord.save(record("running"))
    assert reprovision.report("east")["data"]["state"] == "interrupted"
    functions["runlock.running"].side_effect = lambda site: held(RUN)
    assert reprovision.report("east")["data"]["state"] == "running"


def test_a_report_tells_who_approved(functions):
    plan = {"plan": "east-20260101T000000-1a2b", "by": "alice", "decided": {
        "state": "approved", "who": "bob", "reason": None, "at": "x"}}
    functions["plans.load"].side_effect = lambda name: {plan["plan"]: plan}[name]
    runrecord.save({**record("done"), "plan_id": plan["plan"]})
    assert reprovision.report("east")["data"]["approved"] == plan


COMMAND = {"at": "2026-01-01T00:30:00Z", "took": 0.5, "argv": ["cctrl"], "typed": ["ls"], "code": 0, "answer": "well"}


@pytest.mark.parametrize("answer", [
    None, "many", [], {"commands": "no", "parts": 1}, {"commands": [{"at": "x"}], "parts": 1},
    {"commands": [{**COMMAND, "took": "long"}], "parts": 1}, {"commands": [], "parts": "two"}])
def test_a_node_that_answers_nonsense_is_named_and_spoils_no_report(functions, answer):
    runrecord.save(record("done"))
    functions["fleet.gather"].side_effect = lambda *_, **__: {"answers": {
        "m-east1": answer, "m-west1": {"commands": [COMMAND], "parts": 1}}, "faults": {}}
    told = reprovision.report("east", commands=True)["data"]["commands"]
    assert told["faults"] == {"m-east1": "its answer to vendorlog.read is none"}
    assert told["answers"]["m-west1"] == [COMMAND]


def test_a_node_that_never_comes_to_an_end_is_given_up(functions):
    runrecord.save(record("done"))
    functions["fleet.gather"].side_effect = lambda *_, **__: {
        "answers": {"m-east1": {"commands": [], "parts": 10**12}}, "faults": {}}
    reprovision.report("east", commands=True)
    assert functions["fleet.gather"].call_count == reprovision.MOST_PARTS


def test_the_commands_are_asked_of_all_nodes_for_the_time_of_the_run(functions):
    found = record("done", finished="2026-01-01T01:00:00Z")
    runrecord.save(found)
    functions["fleet.gather"].side_effect = [
        {"answers": {"m-east1": {"commands": [COMMAND] * 2, "parts": 2}}, "faults": {"m-west1": "does not answer"}},
        {"answers": {"m-east1": {"commands": [COMMAND], "parts": 2}}, "faults": {}}]
    assert reprovision.report("east", commands=True)["data"]["commands"] == {
        "answers": {"m-east1": [COMMAND] * 3, "m-west1": []}, "faults": {"m-west1": "does not answer"}}
    during = {"begun": found["started"], "ended": found["finished"]}
    assert functions["fleet.gather"].call_args_list == [
        call(minions, "vendorlog.read", timeout=15, kwarg={**during, "part": part})
        for part, minions in enumerate((["m-east1", "m-west1"], ["m-east1"]))]


def test_of_a_run_that_has_not_ended_until_now(functions):
    runrecord.save({**record("running"), "finished": None})
    functions["runrecord.now"].side_effect = lambda: "2026-01-01T09:00:00Z"
    functions["fleet.gather"].side_effect = lambda minions, *_, **__: {
        "answers": {}, "faults": dict.fromkeys(minions, "does not answer")}
    reprovision.report("east", commands=True)
    assert functions["fleet.gather"].call_args.kwargs["kwarg"]["ended"] == "2026-01-01T09:00:00Z"


def test_no_node_is_asked_for_a_ticket(functions):
    runrecord.save(record("done"))
    assert reprovision.report("east")["data"]["commands"] is None
    functions["fleet.gather"].assert_not_called()


@pytest.mark.parametrize("told, words", [
    ([], "names no way to tell 'failed'"),
    ([{"way": "webhook", "fault": "HTTP Error 404"}, {"way": "syslog", "fault": None}], "webhook: HTTP Error 404"),
])
def test_a_message_that_does_not_arrive_is_an_error(functions, told, words):
    functions["notify.send"] = create_autospec(notify.send, return_value=told)
    with pytest.raises(CommandExecutionError, match=words):
        reprovision.notify("failed")
    assert functions["notify.send"].call_args.args[:2] == ("failed", "none")


def test_a_message_that_arrives(functions):
    functions["notify.send"] = create_autospec(notify.send, return_value=[{"way": "syslog", "fault": None}])
    assert reprovision.notify(text="hello") == ["syslog"]
    functions["notify.send"].assert_called_once_with("done", "none", "hello")


def test_a_report_as_a_page_lies_beside_the_record_for_root_alone(functions):
    functions["fleet.gather"].side_effect = lambda *_, **__: {
        "answers": {"m-east1": {"commands": [], "parts": 1}}, "faults": {"m-west1": "does not answer"}}
    runrecord.save(record("done"))
    path = reprovision.report("east", page=True)["data"]["page"]
    assert path.endswith(f"/reprovision/east/{RUN}.html")
    assert open(path).read().startswith("<!DOCTYPE html>") and os.stat(path).st_mode & 0o777 == 0o600
    assert [found["run"] for found in reprovision.list_("east")] == [RUN], "it is no record"


@pytest.mark.parametrize("page", ["/etc/passwd", "True", 1])
def test_no_report_is_written_where_somebody_says(functions, page):
    runrecord.save(record("done"))
    assert reprovision.report("east", page=page)["data"]["page"] is None
    functions["runrecord.keep_page"].assert_not_called()


def test_there_is_no_report_of_no_run():
    with pytest.raises(CommandExecutionError, match="no record of a run for site east"):
        reprovision.report("east")


# --- list


def test_list_tells_every_run_oldest_first():
    assert reprovision.list_() == []
    second = record("done", run="20260201T000000-7", finished="2026-02-01T01:00:00Z")
    second["attempts"] = [*second["attempts"], {**second["attempts"][0], "who": "bob"}]
    runrecord.save(second)
    runrecord.save(record("failed"))
    runrecord.save({**record("running", run="20251231T000000-7"), "failed": "north"})
    listed = reprovision.list_()
    assert [(item["site"], item["run"]) for item in listed] == [
        ("east", RUN),
        ("east", "20260201T000000-7"),
        ("north", "20251231T000000-7"),
    ]
    assert listed[1] == {
        "site": "east",
        "run": "20260201T000000-7",
        "state": "done",
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-02-01T01:00:00Z",
        "attempts": 2,
        "who": "bob",
    }
    assert listed[0]["finished"] is None, "it has not ended"
    assert reprovision.list_("north") == listed[2:]
    assert reprovision.list_("west") == []


# --- abort


@pytest.fixture(autouse=True)
def operator(monkeypatch):
    """Who types the commands: Salt puts his name into the module. The environment is that of who started the master."""
    monkeypatch.setattr(reprovision, "__user__", "sudo_bob", raising=False)
    monkeypatch.setenv("SUDO_USER", "mallory")


@pytest.fixture
def nodes(functions):
    """What is asked of the nodes, in order; the states that were applied went well."""
    asked = []
    states = {"mysqld_|-x": {"result": True, "comment": "running"}, "cctrl_|-x": {"result": None, "comment": "y"}}

    def ask(minions, function, kwarg=None, timeout=60):
        asked.append((tuple(minions), function, kwarg))
        return {minion: states if function == "state.apply" else [] for minion in minions}

    functions["fleet.ask"].side_effect = ask
    ask.asked, ask.states = asked, states
    return ask


GIVEN_BACK = [
    (("m-west1",), "longjob.stop_all", {"prefix": "copy-"}),
    (
        ("m-west1",),
        "state.apply",
        {
            "mods": "orch.node.donor_given_back",
            "pillar": {"reprovision_run": {"run": RUN, "failed": "east", "donor": "west1"}},
            "queue": True,
        },
    ),
]


@pytest.mark.parametrize("state, donor", [("done", "taken"), ("done", "returned"), ("aborted", "returned")])
def test_what_has_ended_is_not_aborted(functions, clock, state, donor):
    runrecord.save(record(state, donor_state=donor))
    with pytest.raises(CommandExecutionError, match=f"The newest run of site east, {RUN}, is {state}"):
        reprovision.abort("east")
    functions["runrecord.ask_to_stop"].assert_not_called()
    functions["fleet.ask"].assert_not_called()


def test_a_site_without_a_run_has_nothing_to_abort(functions, clock):
    with pytest.raises(CommandExecutionError, match="no record of a run for site east"):
        reprovision.abort("east")
    functions["runrecord.ask_to_stop"].assert_not_called()


def test_a_living_run_is_asked_to_stop_and_ends_itself(functions, clock):
    runrecord.save(record("running", [("00 a", "running")], donor_state="taken"))
    stopped = record("aborted", [("00 a", "failed")], donor_state="returned", finished="2026-01-01T00:10:00Z")

    def running(site):
        wish = runrecord.asked_to_stop("east", RUN)
        assert (wish["who"], wish["reason"]) == ("bob", "wrong donor")
        if clock[0] < 5:
            return HOLDER
        runrecord.save(stopped)
        return None

    functions["runlock.running"].side_effect = running
    assert reprovision.abort("east", "wrong donor") == {"run": RUN, "state": "aborted", "donor_state": "returned"}
    assert runrecord.latest("east") == stopped, "its own record stays as it wrote it"
    functions["fleet.ask"].assert_not_called()


@pytest.mark.parametrize("wait", [60, "60", 0])
def test_a_run_that_does_not_stop_in_time_is_left_to_itself(functions, clock, wait):
    """Somebody alive is at work with the donor: it must not be taken from under it."""
    functions["runlock.running"].side_effect = lambda site: HOLDER
    runrecord.save(record("running", donor_state="taken"))
    stopping = {"run": RUN, "state": "stopping", "donor_state": "taken"}
    assert reprovision.abort("east", wait=wait) == stopping
    assert float(wait) < clock[0] <= float(wait) + 2
    assert runrecord.latest("east") == record("running", donor_state="taken")
    assert runrecord.asked_to_stop("east", RUN)["reason"] is None, "it stops later"
    functions["fleet.ask"].assert_not_called()


def test_what_a_dead_process_has_left_is_ended_and_the_donor_given_back(clock, nodes):
    runrecord.save(record("running", [("00 a", "running")], donor_state="taken"))
    assert reprovision.abort("east") == {"run": RUN, "state": "aborted", "donor_state": "returned"}
    assert nodes.asked == GIVEN_BACK, "the copy is ended before the server that is copied from starts"
    found = runrecord.latest("east")
    assert (found["state"], found["donor_state"]) == ("aborted", "returned")
    attempt = found["attempts"][-1]
    assert attempt["ended"] == found["finished"] and attempt["how"] == "its process had died; aborted by bob"
    assert clock[0] == 0, "there is nobody to wait for"


@pytest.mark.parametrize("donor_state", ["in its site", "returned"])
def test_a_donor_that_is_in_service_is_left_alone(functions, clock, donor_state):
    runrecord.save(record("running", donor_state=donor_state))
    assert reprovision.abort("east") == {"run": RUN, "state": "aborted", "donor_state": donor_state}
    functions["fleet.ask"].assert_not_called()


@pytest.mark.parametrize("state, after", [("running", "aborted"), ("failed", "failed")])
@pytest.mark.parametrize("step", ["10 data copied ahead", "10 data streamed from the donor"])
@pytest.mark.parametrize("how", ["running", "failed", "done"])
def test_a_copy_of_a_donor_that_serves_is_ended_too(clock, nodes, state, after, step, how):
    runrecord.save(record(state, [("00 a", "done"), (step, how)], donor_state="in its site"))
    assert reprovision.abort("east") == {"run": RUN, "state": after, "donor_state": "in its site"}
    assert nodes.asked == GIVEN_BACK[:1], "nothing else is done to it"
    assert runrecord.latest("east")["state"] == after


def test_of_a_copy_that_is_complete_nothing_goes_on(functions, clock):
    runrecord.save({**record("running", [("10 backup prepared", "done")], donor_state="in its site"), "copied": True})
    assert reprovision.abort("east")["state"] == "aborted"
    functions["fleet.ask"].assert_not_called()


def test_with_a_copy_that_may_still_be_written_it_is_to_be_aborted_again(functions, clock):
    functions["fleet.ask"].side_effect = CommandExecutionError("m-west1: longjob.stop_all failed")
    before = record("running", [("10 data copied ahead", "running")], donor_state="in its site")
    runrecord.save(before)
    with pytest.raises(CommandExecutionError, match="longjob.stop_all failed"):
        reprovision.abort("east")
    assert runrecord.latest("east") == before


def test_a_failed_run_gives_its_donor_back_and_stays_failed(clock, nodes):
    runrecord.save(record("failed", donor_state="taken"))
    assert reprovision.abort("east") == {"run": RUN, "state": "failed", "donor_state": "returned"}
    assert nodes.asked == GIVEN_BACK
    assert runrecord.latest("east") == record("failed", donor_state="returned")


def test_a_donor_that_could_not_be_given_back_stays_on_record_as_taken(clock, functions):
    def ask(minions, function, kwarg=None, timeout=60):
        if function == "state.apply":
            raise CommandExecutionError("m-west1: state.apply failed: recover was refused")

    functions["fleet.ask"].side_effect = ask
    runrecord.save(record("running", donor_state="taken"))
    with pytest.raises(CommandExecutionError, match="recover was refused"):
        reprovision.abort("east")
    assert runrecord.latest("east") == record("running", donor_state="taken"), "to be aborted again"


def test_a_copy_that_cannot_be_ended_is_not_disturbed(clock, nodes, functions):
    functions["fleet.ask"].side_effect = CommandExecutionError("m-west1: longjob.stop_all failed")
    runrecord.save(record("failed", donor_state="taken"))
    with pytest.raises(CommandExecutionError, match="longjob.stop_all failed"):
        reprovision.abort("east")
    assert functions["fleet.ask"].call_count == 1, "no server is started under a copy that still runs"
    assert runrecord.latest("east")["donor_state"] == "taken"


@pytest.mark.parametrize("user, who", [
    ("root", "root"), ("sudo_carol", "carol"), ("carol", "carol"), ("Reactor", "event"), ("UNKNOWN", "unknown")])
def test_who_asked_is_the_person_that_salt_names(functions, clock, monkeypatch, user, who):
    monkeypatch.setattr(reprovision, "__user__", user)
    runrecord.save(record("running"))
    reprovision.abort("east")
    assert runrecord.asked_to_stop("east", RUN)["who"] == who
    assert runrecord.latest("east")["attempts"][-1]["how"].endswith(f"aborted by {who}")


# --- unlock


def test_unlock_takes_the_lock_away_and_notes_who_did_and_why(clock):
    runlock.acquire("east", "west", RUN)
    before = runlock.running("east")
    runrecord.save(record("running"))
    assert reprovision.unlock("east", RUN, "it hangs") == before
    assert runlock.running("east") is None
    with pytest.raises(CommandExecutionError, match="was taken away"):
        runlock.keep()
    attempt = runrecord.latest("east")["attempts"][-1]
    assert attempt.pop("ended")
    assert attempt == {
        **record()["attempts"][-1],
        "how": f"bob took the lock away from process {os.getpid()}: it hangs",
    }


def test_unlock_frees_the_definitive_site_of_that_run(clock):
    runlock.acquire("east", "north", RUN)
    runrecord.save(record("running", definitive="north"))
    reprovision.unlock("east", RUN, "it hangs")
    runlock.release()
    assert runlock.acquire("north", "west", "20260102T000000-8") == {}


@pytest.mark.parametrize("reason", ["", None, 7, ["it hangs"]])
def test_unlock_needs_a_reason(clock, reason):
    runlock.acquire("east", "west", RUN)
    runrecord.save(record("running"))
    with pytest.raises(CommandExecutionError, match="A reason is needed"):
        reprovision.unlock("east", RUN, reason)
    assert runlock.keep()


@pytest.mark.parametrize(
    "holder, words", [(None, "Nobody holds the lock"), ("20260102T000000-8", "is held by run 20260102T000000-8")]
)
def test_unlock_of_a_run_that_does_not_hold_it_changes_nothing(clock, holder, words):
    if holder:
        runlock.acquire("east", "west", holder)
    runrecord.save(record("running"))
    with pytest.raises(CommandExecutionError, match=words):
        reprovision.unlock("east", RUN, "it hangs")
    assert runrecord.latest("east") == record("running")
    if holder:
        assert runlock.keep()


def test_unlock_of_a_run_that_hangs_before_it_has_a_record(clock):
    runlock.acquire("east", "west", RUN)
    assert reprovision.unlock("east", RUN, "it hangs")["run"] == RUN
    assert runlock.running("east") is None and runrecord.latest("east") is None


# --- plan, approve, deny


STATES = {
    "reprovision_|-a_|-00 preflight_|-preflight": {
        "name": "00 preflight", "comment": "Site east will be rebuilt.", "result": None, "__run_num__": 0},
    "reprovision_|-b_|-01 b_|-step": {
        "name": "01 b", "comment": "east1: nothing to change", "result": True, "__run_num__": 1},
}
NEEDLESS = "There is nothing to repair"


@pytest.fixture
def nodes_are_well(functions, client, monkeypatch):
    """Everybody answers, and the orchestration can be tried."""
    functions["survey.take"].side_effect = lambda topology, previous: {
        **surveyed(WARNING), "donor": topology["reprovision"].get("donor") or "west1"}
    client.cmd.return_value = {"data": {"vm_master": STATES}, "outputter": "highstate", "retcode": 0}
    monkeypatch.setattr(plans.salt.utils.event, "get_event", lambda *_, **__: contextlib.nullcontext(
        Mock(spec=["fire_event"])))


def call_as(monkeypatch, user):
    monkeypatch.setattr(reprovision, "__user__", user)


@pytest.mark.usefixtures("nodes_are_well")
class TestPlan:
    def test_it_is_kept_returned_and_told_on_stderr(self, capsys):
        made = reprovision.plan("east", why="east1 is in error")
        assert plans.load(made["plan"]) == made == plans.open_("east")
        assert {key: made[key] for key in ("site", "state", "by", "why")} == {
            "site": "east", "state": "open", "by": "bob", "why": "east1 is in error"}
        assert [step["step"] for step in made["steps"]] == ["00 preflight", "01 b"]
        assert made["warnings"] == ["WARNING east1: its clock is off - Set it."]
        out, err = capsys.readouterr()
        assert out == "" and f"salt-run reprovision.approve {made['plan']}" in err
        assert json.loads(json.dumps(made)) == made

    def test_the_orchestration_itself_is_tried_for_this_very_order_and_changes_nothing(self, client):
        before = copy.deepcopy(dict(reprovision.__opts__))
        reprovision.plan("east")
        client.cmd.assert_called_once_with(
            "state.orchestrate", pub_data={"user": "sudo_bob"}, print_event=False, kwarg={
            "mods": "orch.reprovision", "test": True, "pillar": {"reprovision": {
                "failed": "east", "definitive": "west", "donor": "west1", "method": "rsync",
                "warm": True, "replica_method": "xtrabackup", "insist": True}}})
        client.asynchronous.assert_not_called()
        used = reprovision.salt.runner.RunnerClient.call_args.args[0]
        assert used == before and used is not reprovision.__opts__, "state.orchestrate writes into its options"

    @pytest.mark.parametrize("returned", [
        "Exception occurred in runner state.orchestrate: no SLS",
        {"data": {"vm_master": {"a": {"name": "00 preflight", "comment": "west2 is silent", "result": False,
                                      "__run_num__": 0}}}},
        {"data": {"vm_master": ["Rendering SLS failed"]}},
    ])
    def test_what_cannot_be_tried_is_not_planned(self, client, returned, tmp_path):
        client.cmd.return_value = returned
        with pytest.raises(CommandExecutionError, match="no SLS|west2 is silent|Rendering SLS failed"):
            reprovision.plan("east")
        assert plans.every() == [] and not list(tmp_path.rglob("east-*"))

    def test_everything_that_speaks_against_a_run_is_told_and_nothing_kept(self, functions, client, tmp_path):
        functions["survey.take"].side_effect = lambda *_: surveyed(WARNING, ERROR)
        runrecord.save({**record("failed"), "failed": "west"})
        with pytest.raises(CommandExecutionError) as error:
            reprovision.plan("east")
        assert "ERROR east1: it is full - Make room." in str(error.value)
        assert "west cannot be the definitive one" in str(error.value) and "Nothing was changed" in str(error.value)
        client.cmd.assert_not_called()
        assert not list(tmp_path.rglob("plans"))

    def test_nothing_is_planned_while_a_run_has_the_site(self, functions):
        functions["runlock.running"].side_effect = lambda site: dict(HOLDER) if site == "east" else None
        with pytest.raises(CommandExecutionError, match=f"is being re-provisioned by run {RUN}"):
            reprovision.plan("east")

    @pytest.mark.parametrize("args, words", [
        ({"failed": "south"}, "'south' is not one of the sites"), ({"definitive": "east"}, "cannot repair itself"),
        ({"donor": "east1"}, "is not a node of the definitive site")])
    def test_of_what_the_pillar_does_not_know_asks_nobody(self, functions, args, words):
        with pytest.raises(CommandExecutionError, match=words):
            reprovision.plan(**args)
        functions["survey.take"].assert_not_called()

    def test_the_same_facts_give_the_same_plan(self, functions):
        first = reprovision.plan("east")
        assert reprovision.plan("east", why="again") == first
        assert len(plans.every("east")) == 1

    def test_two_replicas_as_good_as_each_other_make_one_plan(self, functions, pillar):
        pillar["tungsten"]["sites"]["west"]["nodes"] = ["west1", "west2"]
        nearest = ["west1"]
        functions["survey.take"].side_effect = lambda topology, _: {
            **surveyed(), "donor": topology["reprovision"].get("donor") or nearest[0]}
        first = reprovision.plan("east")
        nearest[0] = "west2"
        assert reprovision.plan("east") == first
        # But who names another one, or if that one is no good any more, gets another plan.
        named = reprovision.plan("east", donor="west2")
        assert named["binding"]["order"]["donor"] == "west2" and plans.load(first["plan"])["state"] == "superseded"
        functions["survey.take"].side_effect = lambda topology, _: {
            **surveyed(*[ERROR] * (topology["reprovision"].get("donor") == "west2")), "donor": "west1"}
        assert reprovision.plan("east")["binding"]["order"]["donor"] == "west1"

    def test_that_there_is_nothing_to_repair_is_a_warning(self):
        runrecord.save({**record("done"), "finished": "2026-01-02T00:00:00Z"})
        assert any(NEEDLESS in warning for warning in reprovision.plan("east")["warnings"])

    @pytest.mark.parametrize("user, by", [
        ("root", "root"), ("sudo_bob", "bob"), ("carol", "carol"), ("Reactor", "event"), ("UNKNOWN", "unknown")])
    def test_who_made_it_is_who_salt_names(self, monkeypatch, user, by):
        call_as(monkeypatch, user)
        assert reprovision.plan("east")["by"] == by

    @pytest.mark.parametrize("forged", ["by", "who", "user", "__user__", "topology"])
    def test_nobody_names_himself(self, forged):
        for function in (reprovision.plan, reprovision.approve, reprovision.deny):
            with pytest.raises(TypeError):
                function("east", **{forged: "carol"})

    def test_it_is_open_as_long_as_the_pillar_says(self, pillar, functions):
        pillar["tungsten"]["plans"] = {"hours": 7}
        reprovision.plan("east")
        assert functions["plans.propose"].call_args.args[2] == 7


@pytest.mark.usefixtures("nodes_are_well")
class TestLosses:
    CHECK = {
        "check": "20260101T000000-aaaa", "verdict": "drifted", "reference": "west", "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T01:00:00Z", "nodes_of": {"west": ["west1"], "east": ["east1"]},
        "sites": {"east": {"tables": {"shop.t": {"changed": 1, "missing": 2, "extra": 3, "complete": True,
                                                 "keys": {"changed": ["17"]}}}}},
        "nodes": {}, "schema": {}, "unproved": {}, "skipped": {},
    }  # fmt: skip

    def rows(self, functions, **more):
        functions["checkrecord.latest"].return_value = {**self.CHECK, **more}
        return reprovision.plan("east")["lost"]["rows"]

    def test_of_the_newest_check_that_has_ended(self, functions):
        assert self.rows(functions) == {
            "check": "20260101T000000-aaaa", "finished": "2026-01-01T01:00:00Z", "verdict": "drifted",
            "reference": "west", "saved": None, "schema": {}, "unproved": {}, "skipped": {},
            "tables": {"shop.t": {"changed": 1, "missing": 2, "extra": 3, "complete": True}}}
        functions["checkrecord.latest"].assert_called_with(finished=True, whole=True)

    def test_what_was_not_looked_at_row_by_row_is_told(self, functions):
        rows = self.rows(
            functions, schema={"shop.x": {"reason": "missing on west1", "differences": [], "sites": ["east"]}},
            unproved={"shop.y": "written before every look"}, skipped={"shop.z": "it is big"},
            sites={"east": {"tables": {"shop.t": {"changed": 1, "missing": 0, "extra": 0, "complete": False}}}})
        assert rows["schema"] == {"shop.x": "missing on west1"} and rows["tables"]["shop.t"]["complete"] is False
        assert rows["unproved"] == {"shop.y": "written before every look"}
        assert rows["skipped"] == {"shop.z": "it is big"}

    def test_nodes_that_have_drifted_each_in_its_own_way_are_counted_in(self, functions):
        nodes = {
            "east1": {"tables": {"shop.t": {"changed": 0, "missing": 0, "extra": 4, "complete": True}, "shop.u": {
                "changed": 5, "missing": 0, "extra": 0, "complete": False}}},
            "west1": {"tables": {"shop.v": {"changed": 1, "missing": 0, "extra": 0, "complete": True}}},
        }
        assert self.rows(functions, nodes=nodes)["tables"] == {
            "shop.t": {"changed": 1, "missing": 2, "extra": 7, "complete": True},
            "shop.u": {"changed": 5, "missing": 0, "extra": 0, "complete": False}}

    def test_where_they_were_saved_last(self, functions):
        saved = {"east": [{"at": "x", "files": {"east1": {"path": "/old.sql"}}},
                          {"at": "y", "files": {"east2": {"path": "/b.sql"}, "east1": {"path": "/a.sql"}}}]}
        assert self.rows(functions, saved=saved)["saved"] == "east1:/a.sql, east2:/b.sql"

    def test_rows_of_a_node_that_has_drifted_in_its_own_way_are_lost_too(self, functions):
        rows = {"complete": True, "keys": {}}
        nodes = {"east1": {"tables": {"shop.t": {"changed": 10, "missing": 0, "extra": 0, **rows},
                                      "shop.u": {"changed": 0, "missing": 0, "extra": 1, **rows}}},
                 "west1": {"tables": {"shop.v": {"changed": 9, "missing": 9, "extra": 9, **rows}}}}
        assert self.rows(functions, nodes=nodes)["tables"] == {
            "shop.t": {"changed": 11, "missing": 2, "extra": 3, "complete": True},
            "shop.u": {"changed": 0, "missing": 0, "extra": 1, "complete": True}}

    def test_none_that_differ(self, functions):
        assert self.rows(functions, sites={}, verdict="equal")["tables"] == {}

    @pytest.mark.parametrize("more", [{"reference": "east"}, {"reference": "north"}, {"nodes_of": {"west": ["west1"]}}])
    def test_a_check_of_something_else_says_nothing(self, functions, more):
        assert self.rows(functions, **more) is None

    @pytest.mark.parametrize("started, counts", [("2025-12-31T00:00:00Z", True), ("2026-01-01T00:30:00Z", False)])
    def test_a_check_of_data_that_a_run_has_replaced_does_not_count(self, functions, started, counts):
        runrecord.save({**record("done"), "started": started, "finished": "2026-01-01T00:40:00Z"})
        assert (self.rows(functions) is not None) is counts


@pytest.mark.usefixtures("nodes_are_well")
class TestApprove:
    def test_it_starts_the_orchestration_of_exactly_that_plan(self, client, functions):
        made = reprovision.plan("east")
        answer = reprovision.approve(made["plan"], "go on")
        order = {"failed": "east", "definitive": "west", "donor": "west1", "method": "rsync",
                 "warm": True, "replica_method": "xtrabackup", "plan": made["plan"]}
        client.asynchronous.assert_called_once_with(
            "state.orchestrate", {"mods": "orch.reprovision", "pillar": {"reprovision": order}}, user="sudo_bob")
        assert answer == {"plan": made["plan"], "site": "east", "run": None, "jid": "20260101",
                          "watch": "salt-run reprovision.watch east", "command": runwords.command(order)}
        kept = plans.load(made["plan"])
        assert kept["state"] == "approved" and kept["decided"]["who"] == "bob" and kept["decided"]["reason"] == "go on"
        functions["runlock.claim"].assert_called_once_with("east", "starting", reprovision.STARTING_SECONDS)

    def test_it_is_approved_before_it_is_started(self, client):
        made = reprovision.plan("east")
        client.asynchronous.side_effect = lambda *_, **__: {"jid": plans.load(made["plan"])["state"]}
        assert reprovision.approve(made["plan"])["jid"] == "approved"

    def test_twice_starts_once(self, client):
        made = reprovision.plan("east")
        reprovision.approve(made["plan"])
        with pytest.raises(CommandExecutionError, match="is approved by bob"):
            reprovision.approve(made["plan"])
        client.asynchronous.assert_called_once()

    def test_a_decision_between_the_look_and_the_approval_counts(self, client, functions):
        made = reprovision.plan("east")
        look = functions["survey.take"].side_effect

        def denied_meanwhile(*args):
            plans.decide(made["plan"], "denied", "carol")
            return look(*args)

        functions["survey.take"].side_effect = denied_meanwhile
        with pytest.raises(CommandExecutionError, match="is denied by carol"):
            reprovision.approve(made["plan"])
        client.asynchronous.assert_not_called()

    @pytest.mark.parametrize("change, words", [
        (lambda found: {**found, "primaries": {"east": "east1", "west": "west2"}}, "west was west1, is west2"),
        (lambda found: {**found, "resumes": True, "run": RUN}, f"resumes was none, is {RUN}"),
        (lambda found: {**found, "facts": {"east1": {"locations": {"datadir": {"path": "/d"}}}}}, "was none, is /d"),
    ])
    def test_what_has_changed_outdates_it(self, client, functions, change, words):
        made = reprovision.plan("east")
        look = functions["survey.take"].side_effect
        functions["survey.take"].side_effect = lambda *args: change(look(*args))
        with pytest.raises(CommandExecutionError, match="nothing was started") as error:
            reprovision.approve(made["plan"])
        assert words in str(error.value) and "A new one: salt-run reprovision.plan east west" in str(error.value)
        kept = plans.load(made["plan"])
        assert kept["state"] == "outdated" and words in kept["decided"]["reason"]
        client.asynchronous.assert_not_called()

    def test_a_pillar_that_has_changed_outdates_it(self, client, pillar):
        made = reprovision.plan("east")
        pillar["tungsten"]["sites"]["west"]["cluster_home"] = "/opt/another"
        with pytest.raises(CommandExecutionError, match="sites:west:cluster_home was /opt/continuent, is /opt/another"):
            reprovision.approve(made["plan"])
        client.asynchronous.assert_not_called()

    def test_what_is_in_the_way_now_may_pass(self, client, functions):
        made = reprovision.plan("east")
        look = functions["survey.take"].side_effect
        functions["survey.take"].side_effect = lambda *_: surveyed(ERROR)
        with pytest.raises(CommandExecutionError, match="ERROR east1: it is full"):
            reprovision.approve(made["plan"])
        client.asynchronous.assert_not_called()
        functions["survey.take"].side_effect = look
        assert reprovision.approve(made["plan"])["jid"]

    def test_the_donor_of_the_plan_is_looked_at_and_no_other(self, functions, pillar):
        pillar["tungsten"]["sites"]["west"]["nodes"] = ["west1", "west2"]
        made = reprovision.plan("east", donor="west2")
        reprovision.approve(made["plan"])
        assert functions["survey.take"].call_args.args[0]["reprovision"]["donor"] == "west2"

    def test_a_second_person(self, monkeypatch, pillar, client, functions):
        pillar["tungsten"]["plans"] = {"second_person": True}
        made = reprovision.plan("east")
        looks = functions["survey.take"].call_count
        for user in ("sudo_bob", "bob", "UNKNOWN", "Reactor"):
            call_as(monkeypatch, user)
            with pytest.raises(CommandExecutionError, match="somebody else|by a person"):
                reprovision.approve(made["plan"])
        assert functions["survey.take"].call_count == looks, "that is found out before anybody is asked"
        client.asynchronous.assert_not_called()
        call_as(monkeypatch, "carol")
        assert reprovision.approve(made["plan"])["plan"] == made["plan"]
        assert client.asynchronous.call_args.kwargs == {"user": "carol"}

    @pytest.mark.parametrize("on_drift, second_person, may", [
        ("reprovision", False, True), ("reprovision", True, False), ("plan", False, False), ("ignore", False, False)])
    def test_an_event_approves_what_it_planned_only_where_the_pillar_lets_it(
            self, monkeypatch, pillar, client, on_drift, second_person, may):
        pillar["tungsten"]["sites"]["east"]["on_drift"] = on_drift
        pillar["tungsten"]["plans"] = {"second_person": second_person}
        call_as(monkeypatch, "Reactor")
        made = reprovision.plan("east")
        if may:
            assert reprovision.approve(made["plan"])["jid"]
        else:
            with pytest.raises(CommandExecutionError, match="by a person, not by event"):
                reprovision.approve(made["plan"])
            client.asynchronous.assert_not_called()

    def test_it_tells_the_run_that_is_gone_on_with(self, functions):
        functions["survey.take"].side_effect = lambda *_: {**surveyed(), "resumes": True, "run": RUN, "why": None}
        made = reprovision.plan("east")
        assert made["resumes"] == RUN and reprovision.approve(made["plan"])["run"] == RUN

    @pytest.mark.parametrize("plan", FORGED, ids=lambda value: repr(value)[:30])
    def test_forged_ids(self, plan, functions, client, tmp_path):
        for function in (reprovision.approve, reprovision.deny):
            with pytest.raises(CommandExecutionError, match="is not the id of a plan|There is no plan"):
                function(plan)
        functions["survey.take"].assert_not_called()
        client.asynchronous.assert_not_called()
        assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("nodes_are_well")
class TestDenyAndPlans:
    def test_deny(self, client):
        made = reprovision.plan("east")
        denied = reprovision.deny(made["plan"], "it was late")
        assert denied["state"] == "denied" and denied["decided"]["who"] == "bob"
        assert denied["decided"]["reason"] == "it was late"
        with pytest.raises(CommandExecutionError, match="is denied by bob"):
            reprovision.approve(made["plan"])
        with pytest.raises(CommandExecutionError, match="is denied by bob"):
            reprovision.deny(made["plan"])
        client.asynchronous.assert_not_called()

    def test_plans_are_listed_briefly(self):
        assert reprovision.plans() == []
        made = reprovision.plan("east")
        reprovision.deny(made["plan"])
        (listed,) = reprovision.plans("east")
        assert listed == reprovision.plans()[0] and reprovision.plans("west") == []
        assert set(listed) == {"plan", "site", "state", "by", "why", "made", "expires", "decided", "run"}
        assert (listed["plan"], listed["state"], listed["by"]) == (made["plan"], "denied", "bob")

    def test_a_plan_is_shown_whole_and_asks_no_node(self, functions):
        made = reprovision.plan("east")
        functions["survey.take"].reset_mock()
        assert reprovision.plan_record(made["plan"]) == made
        functions["survey.take"].assert_not_called()
        with pytest.raises(CommandExecutionError, match="is not the id of a plan"):
            reprovision.plan_record("../../etc/passwd")
