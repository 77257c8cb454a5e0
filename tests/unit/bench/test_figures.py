"""The benchmark's figures: seconds that are counted once, steps, the journal, statistics."""

import pytest

from tests.bench.benchkit import figures


@pytest.mark.parametrize("intervals, seconds", [
    ([], 0),
    ([(1, 3), (5, 6)], 3),
    ([(1, 4), (2, 3)], 3),
    ([(5, 8), (1, 6)], 7),
    ([(1, 2), (2, 3)], 2),
    ([(1, 9), (2, 3), (4, 5), (8, 10)], 9),
])
def test_what_happens_at_the_same_time_counts_once(intervals, seconds):
    assert figures.union(intervals) == seconds


def test_only_what_lies_in_the_run_counts_and_what_has_not_ended_lasts_to_its_end():
    assert figures.clipped([(1, 4), (8, None), (9, 30), (20, 25), (0, 2)], 2, 10) == [(2, 4), (8, 10), (9, 10)]


SAID = """\
@ 100.5 05 primary shunned
@ a line of a tool
@ 103.000000001 06 donor shunned
DataSource 'west3' set to SHUNNED
@ 110.25 end
"""


def test_the_steps_of_the_script():
    steps, spans = figures.steps_of_script(SAID)
    assert steps == {"05 primary shunned": pytest.approx(2.5), "06 donor shunned": pytest.approx(7.25)}
    assert [name for _, _, name in spans] == ["05 primary shunned", "06 donor shunned"]
    assert spans[1][:2] == (103.000000001, 110.25)


def test_the_steps_of_a_record_are_those_that_were_done():
    record = {"steps": {"01 policy MAINTENANCE": {"state": "done", "seconds": 2.5}, "19 routers online": {
        "state": "running"}}}
    assert figures.steps_of_record(record) == {"01 policy MAINTENANCE": 2.5}


STEPS = {"10 data copied ahead": 20.0, "10 data copied from the donor": 3.0, "16 replicas provisioned": 12.0}


def test_a_phase_is_all_its_steps():
    assert figures.phase(STEPS, figures.PHASES["copy"]) == 23
    assert figures.phase(STEPS, figures.PHASES["replicas"]) == 12


def test_a_phase_that_no_step_is_named_after_is_no_zero():
    with pytest.raises(ValueError, match="no step of .*16 replicas provisioned.* matches"):
        figures.phase(STEPS, r"\bsnapshot\b")


def test_the_outages_that_a_record_tells_of():
    assert figures.outages_of_record({"donor_outages": [
        {"from": "1970-01-01T00:01:00Z", "until": "1970-01-01T00:01:09Z"},
        {"from": "1970-01-01T00:02:00Z", "until": None}]}) == [(60, 69), (120, None)]
    assert figures.outages_of_record({}) == []


def line(at, message):
    return {"__REALTIME_TIMESTAMP": str(int(at * 1e6)), "MESSAGE_ID": message}


def test_a_unit_starts_and_stops_in_the_journal():
    lines = [
        # A start from before the first line that was asked for.
        line(1, figures.STARTED),
        line(2, figures.STOPPING), line(2.5, "anything"), line(4, figures.STOPPED),
        {"__REALTIME_TIMESTAMP": "5000000"},
        line(6, figures.STARTING), line(6.5, figures.STARTED),
        line(9, figures.STOPPING),
    ]
    assert figures.spans_of_unit(lines) == [(2, 4), (6, 6.5)]


CALLS = [
    {"tool": "cctrl", "time": 99.9, "seconds": 1.2},
    {"tool": "cctrl", "time": 102, "seconds": 1.5},
    {"tool": "trepctl", "time": 102.5, "seconds": 1},
    {"tool": "trepctl", "time": 120, "seconds": 0.5},
    {"tool": "trepctl", "time": 120.1, "seconds": 0.5},
]
SEEN = {
    "from": 100, "until": 120, "steps": {**STEPS, "00 preflight": 1.5, "verified before traffic": 0.5}, "others": 0.123,
    "outages": [(104, 110), (119, None)], "mysqld": [(103, 104), (103, 105)], "copying": [(105, 109)],
    "bytes": 200_000_000,
}


def test_the_calls_of_a_run():
    calls = figures.calls_within(CALLS, 100, 120)
    assert figures.calls_by_tool(calls) == {"cctrl": 1, "trepctl": 2}


def test_the_figures_of_a_run():
    found = figures.assembled({**SEEN, "calls": figures.calls_within(CALLS, 100, 120)})
    assert found == {
        "whole": 20, "donor out": 7, "copy": 23, "replicas": 12, "verification": 2, "copying": 4, "rate": 50,
        # cctrl from 100.5 to 102 and trepctl to 102.5, and the last half second.
        "in tools": 2.5, "in mysqld": 2, "rest": 20 - 2.5 - 2 - 4, "others": 0.12,
    }


def test_a_run_that_copied_nothing_has_no_rate():
    assert figures.assembled({**SEEN, "calls": [], "copying": []})["rate"] is None


def test_statistics():
    assert figures.summary([3, 1, None, 10]) == {"median": 3, "min": 1, "max": 10, "runs": 3}
    assert figures.summary([2, 4]) == {"median": 3, "min": 2, "max": 4, "runs": 2}
    assert figures.summary([None]) is None
    assert (figures.ratio(3, 4), figures.ratio(0, 4), figures.ratio(3, 0), figures.ratio(None, 4)) == (
        0.75, 0, None, None)


def test_one_thing_is_varied_at_a_time():
    assert figures.settings([500, 10], [3, 2], [2], [0, 200]) == [
        {"megabytes": 500, "nodes": 3, "sites": 2, "link": 0}, {"megabytes": 10, "nodes": 3, "sites": 2, "link": 0},
        {"megabytes": 500, "nodes": 2, "sites": 2, "link": 0}, {"megabytes": 500, "nodes": 3, "sites": 2, "link": 200}]
