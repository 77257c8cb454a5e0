"""runreport: everything on record of a run, as data and in words, whatever state it is in."""

import re

import pytest

from tests.support.loader import ROOT, load

runreport = load("_modules", "runreport")
runwords = load("_modules", "runwords")

COMMAND = "salt-run state.orch orch.reprovision"
AHEAD, COPY, STREAMED, PREPARED = runreport.COPIES


def step(state="done", at=0, seconds=2.5, comment="m-east1: nothing to change", **more):
    return {"state": state, "started": f"2026-01-01T00:00:{at:02}Z", "seconds": seconds, "comment": comment,
            "done_in": 1, **more}


def record(**more):
    return {
        "run": "20260101T000000-7", "failed": "east", "definitive": "west", "primary": "east1", "donor": "west2",
        "method": "rsync", "warm": True, "replica_method": "xtrabackup", "state": "done",
        "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T01:02:03Z", "bytes": 109_000_000, "copied": True,
        "nodes": {"east": {"east1": "m-east1"}, "west": {"west1": "m-west1", "west2": "m-west2"}},
        "attempts": [
            {"started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T01:02:03Z", "who": "alice", "how": "done"}],
        "plan": ["00 preflight", COPY, "complete"],
        "steps": {"00 preflight": step(), COPY: step(at=7, seconds=10), "complete": step(at=30)},
        "verified": {"equal": True, "rows": 8272, "tables": 4, "heartbeats": {}},
        "donor_outages": [{"from": "2026-01-01T00:00:05Z", "until": "2026-01-01T00:03:10Z"}], **more,
    }


PLAN = {"plan": "east-1", "by": "alice", "decided": {"state": "approved", "who": "bob", "reason": "seen", "at": "x"},
        "binding": {}, "digest": "d"}


@pytest.fixture
def configure_loader_modules():
    return {runreport: {"__salt__": {
        f"runwords.{name}": getattr(runwords, name) for name in ("again", "size", "duration", "printable")}}}


def test_the_copies_are_steps_of_the_orchestration():
    for name in runreport.COPIES:
        assert f"\n{name}:\n" in (ROOT / "orch/reprovision.sls").read_text()


@pytest.mark.parametrize("ahead, seconds", [
    (step(seconds=90), 100), (step("running", seconds=None), None), (None, None)])
def test_the_bytes_of_a_warm_run_were_copied_in_both_steps(ahead, seconds):
    run = record()
    run["plan"] = ["00 preflight", AHEAD, COPY, "complete"]
    if ahead:
        run["steps"][AHEAD] = ahead
    assert runreport.tell(run, "done")["copied"] == {
        "bytes": 109_000_000, "seconds": seconds, "bytes_per_second": seconds and 1_090_000}


@pytest.mark.parametrize("streamed, prepared, copied, seconds", [
    (step(seconds=80), step(seconds=20), True, 100), (step(seconds=80), step("failed", seconds=20), False, None),
    (step(seconds=80), step("running", seconds=None), False, None), (step(seconds=80), None, False, None)])
def test_those_of_a_hot_run_when_they_were_prepared_too(streamed, prepared, copied, seconds):
    run = record(method="mariabackup", copied=copied, donor_outages=[])
    run["plan"] = ["00 preflight", STREAMED, PREPARED, "complete"]
    run["steps"] = {"00 preflight": step(), STREAMED: streamed, **({PREPARED: prepared} if prepared else {})}
    report = runreport.tell(run, "running")
    assert report["method"] == "mariabackup" and report["copied"] == {
        "bytes": 109_000_000, "seconds": seconds, "bytes_per_second": seconds and 1_090_000}
    words = runreport.text(report)
    assert ("109.0 MB copied in 1 min 40 s, 1.1 MB/s." in words) is copied and "out of service" not in words


def test_what_other_ways_have_of_steps_is_not_waited_for():
    run = record()
    run["steps"][STREAMED] = step(seconds=1000)
    assert runreport.tell(run, "done")["copied"]["seconds"] == 10


def test_a_run_that_is_done():
    report = runreport.tell(record(), "done", PLAN)
    assert (report["site"], report["state"], report["outcome"]) == ("east", "done", "is re-provisioned and verified")
    assert report["seconds"] == 3723 and report["again"] is None
    assert report["attempts"] == [{"started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T01:02:03Z", "who": "alice",
                                   "how": "done", "seconds": 3723}]
    assert report["approved"] == {key: PLAN[key] for key in ("plan", "by", "decided")}
    assert report["donor_out"] == [{"from": "2026-01-01T00:00:05Z", "until": "2026-01-01T00:03:10Z", "seconds": 185}]
    assert report["copied"] == {"bytes": 109_000_000, "seconds": 10, "bytes_per_second": 10_900_000}
    assert report["steps"][1] == {
        "name": COPY, "state": "done", "attempt": 1, "started": "2026-01-01T00:00:07Z", "seconds": 10,
        "offset": 7, "said": [{"node": "m-east1", "text": "nothing to change"}]}


def test_how_the_sites_stood_and_what_the_tools_were_told():
    asked = {"answers": {"m-east1": []}, "faults": {}}
    report = runreport.tell(record(before={"east": {}}, after={"west": {}}), "done", commands=asked)
    assert (report["before"], report["after"], report["commands"]) == ({"east": {}}, {"west": {}}, asked)
    older = runreport.tell(record(), "done")
    assert (older["before"], older["after"], older["commands"]) == (None, None, None)


def test_its_words():
    assert runreport.text(runreport.tell(record(), "done", PLAN)).splitlines() == [
        "Site east is re-provisioned and verified (run 20260101T000000-7).",
        "From west, by a copy of west2 over east1.",
        "Begun 2026-01-01T00:00:00Z by alice, ended 2026-01-01T01:02:03Z after 1 h 02 min.",
        "Plan east-1 by alice, approved by bob: seen.",
        "Donor west2 out of service from 2026-01-01T00:00:05Z to 2026-01-01T00:03:10Z, 3 min 05 s.",
        "109.0 MB copied in 10 s, 10.9 MB/s.",
        "Verified: 8,272 rows of 4 tables are equal on all nodes.",
    ]


@pytest.mark.parametrize("state, outcome", [
    ("failed", "is not re-provisioned: the run has failed"),
    ("aborted", "is not re-provisioned: the run was stopped"),
    ("interrupted", "is not re-provisioned: the run's process has died"),
])
def test_one_that_has_stopped_says_where_and_how_to_go_on(state, outcome):
    attempts = record()["attempts"] * 2
    run = record(state="failed", attempts=attempts, copied=False, verified=None, finished=None, donor_outages=[
        {"from": "2026-01-01T00:00:05Z", "until": None}], steps={
        "00 preflight": step(), COPY: step("failed", comment="m-west2: no room\nrsync said:\n  it broke")})
    report = runreport.tell(run, state)
    lines = runreport.text(report).splitlines()
    assert lines[0] == f"Site east {outcome} (run 20260101T000000-7)."
    assert "not ended, 2 attempts." in lines[2]
    assert "Donor west2 out of service from 2026-01-01T00:00:05Z on." in lines
    at = lines.index(f"Stopped at {COPY}:")
    assert lines[at + 1:at + 4] == ["  m-west2: no room", "    rsync said:", "      it broke"]
    assert lines[-1].startswith(f"To go on: {COMMAND} pillar=") and lines[-1] == f"To go on: {report['again']}"
    assert not any("copied in" in line or "Verified" in line or "Plan" in line for line in lines)


def test_one_that_has_only_begun():
    run = record(steps={}, copied=False, verified=None, finished=None, bytes=None, donor_outages=[])
    del run["donor_outages"], run["verified"]
    report = runreport.tell(run, "running")
    assert [each["state"] for each in report["steps"]] == ["to come"] * 3
    assert report["copied"] == {"bytes": None, "seconds": None, "bytes_per_second": None}
    assert (report["donor_out"], report["verified"], report["again"], report["seconds"]) == ([], None, None, None)
    assert len(runreport.text(report).splitlines()) == 3


def test_data_that_differ_are_not_told_as_equal():
    run = record(verified={"equal": False, "rows": 5, "tables": 1, "heartbeats": {}})
    assert "5 rows of 1 tables DIFFER on all nodes" in runreport.text(runreport.tell(run, "failed"))


def test_whose_words_a_line_is():
    comment = "of the master\nm-east1: one\nm-nobody: quoted\nm-west2: two\nmore: of it"
    said = runreport.tell(record(steps={"00 preflight": step(comment=comment)}), "done")["steps"][0]["said"]
    assert said == [
        {"node": None, "text": "of the master"}, {"node": "m-east1", "text": "one\nm-nobody: quoted"},
        {"node": "m-west2", "text": "two\nmore: of it"}]
    assert runreport.tell(record(steps={"00 preflight": step(comment=None)}), "done")["steps"][0]["said"] == []


def test_a_tools_words_cannot_move_the_cursor():
    run = record(steps={"00 preflight": step("failed", comment="m-east1: \x1b[2J\r\x9b gone")})
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", runreport.text(runreport.tell(run, "failed")))
