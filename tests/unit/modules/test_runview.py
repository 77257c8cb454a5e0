"""runview: where a run stands, in as many lines as there are."""

import pytest

from tests.support.loader import load

runview = load("_modules", "runview")
runwords = load("_modules", "runwords")
NOW = 1000.0
PLAN = [f"{number:02} work" for number in range(22)]


@pytest.fixture
def configure_loader_modules():
    return {runview: {"__salt__": {
        f"runwords.{name}": getattr(runwords, name) for name in ("size", "duration", "printable")}}}


def record(done=0, now=None, state="running", **more):
    """So many steps are done, and the next one is as ``now`` says."""
    steps = {name: {"state": "done", "seconds": 2.5, "comment": "well"} for name in PLAN[:done]}
    if now:
        steps[PLAN[done]] = now
    return {"run": "20260101T000000-7", "failed": "east", "definitive": "west", "state": state, "plan": PLAN,
            "attempts": [{}], "steps": steps, "bytes": 80_000_000_000, **more}


RUNNING = {"state": "running", "clock": NOW - 75}
COPIES = {"state": "running", "clock": NOW - 75, "progress": {
    "west3": {"job": "copy", "seconds": 60, "bytes": 12_000_000_000, "percent": 15, "rate": "110.05MB/s"}}}


def lines(run, width=100, height=50):
    return [row["text"] for row in runview.picture(run, NOW, width, height)]


def test_all_steps_done_running_and_to_come():
    shown = lines(record(10, COPIES))
    assert shown[0] == "Site east from west: running, 10 of 22 steps (run 20260101T000000-7)"
    assert shown[1].split() == ["ok", "00", "work", "2.5", "s"]
    assert shown[11].split() == ["…", "10", "work", "1", "min", "15", "s"]
    assert shown[12].strip() == "west3  12.0 GB of 80.0 GB, 15 %, 110.05MB/s, about 5 min 40 s left"
    assert shown[13].split() == ["11", "work"] and len(shown) == 24


def test_the_state_of_each_line_gives_its_colour():
    assert [row["state"] for row in runview.picture(record(1, COPIES), NOW, 80, 50)][:5] == [
        "running", "done", "running", "running", "to come"]
    assert runview.picture(record(22, state="done"), NOW, 80, 50)[0]["state"] == "done"


@pytest.mark.parametrize("height", [4, 10, 12, 23, 24, 25])
@pytest.mark.parametrize("done, now", [(0, RUNNING), (10, COPIES), (21, RUNNING), (22, None), (21, {
    "state": "failed", "seconds": 3, "comment": "no"})])
def test_never_more_lines_than_fit_and_what_is_going_on_is_among_them(done, now, height):
    shown = lines(record(done, now), height=height)
    assert len(shown) <= max(height - 1, 4)
    if now:
        assert any(PLAN[done] in line for line in shown)
    counted = [int(line.split()[0]) for line in shown[1:] if line.endswith(("steps done", "steps to come"))]
    seen = [line for line in shown[1:] if any(name in line for name in PLAN)]
    assert len(seen) + sum(counted) == len(PLAN)


def test_no_line_is_broken_by_a_narrow_terminal():
    assert max(map(len, lines(record(10, COPIES), width=40))) == 39


def test_another_attempt_is_told():
    assert "attempt 2)" in lines(record(attempts=[{}, {}]))[0]


def test_a_job_that_does_not_tell_how_far_it_is():
    shown = lines(record(16, {**RUNNING, "progress": {"east2": {"job": "tprovision", "seconds": 61.2}}}))
    assert shown[18].strip() == "east2  at work for 1 min 01 s"


def test_news_are_told_once():
    shown = {}
    first = runview.news(record(1, COPIES), shown)
    assert [" ".join(line.split()) for line in first] == [
        "[ 1/22] 00 work ok 2.5 s", "west3: 12.0 GB, 15 %, 110.05MB/s, about 5 min 40 s left", "[ 2/22] 01 work …"]
    assert runview.news(record(1, COPIES), shown) == []
    failed = record(1, {"state": "failed", "seconds": 9, "comment": "west3: no\nroom"}, state="failed")
    assert [" ".join(line.split()) for line in runview.news(failed, shown)] == [
        "[ 2/22] 01 work FAILED 9 s", "west3: no", "room"]
    assert runview.why(failed) == ["west3: no", "room"]


def test_why_is_nothing_where_nothing_has_failed():
    assert runview.why(record(3, RUNNING)) == []


def test_a_tools_words_cannot_move_the_cursor():
    words = "\x1b[2J\x9b\rgone"
    failed = {"state": "failed", "seconds": 9, "comment": words}
    copies = {"state": "running", "clock": NOW, "progress": {words: {
        "seconds": 6, "bytes": 1, "percent": 1, "rate": words}}}
    told = [*lines(record(3, copies)), *runview.news(record(3, copies), {}), *runview.news(record(3, failed), {}),
            *runview.why(record(3, failed))]
    assert all(line.isprintable() for line in told) and any("?[2J" in line for line in told)
