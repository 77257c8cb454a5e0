"""From what was seen of runs to figures: pure functions, seconds since the epoch and bytes all through."""

import re
import statistics
from datetime import datetime

# What the phases are called, whoever runs the procedure: the steps have the manual's words.
PHASES = {"copy": r"\bcopied\b|\bstreamed\b|\bbackup prepared\b", "replicas": r"\breplicas provisioned\b"}
VERIFICATION = r"\bpreflight\b|\bverified\b|\bcomplete\b"
# systemd's message ids: of a unit that starts, has started, stops, has stopped.
STARTING, STARTED = "7d4958e842da4a758f6c1cdc7b36dcc5", "39f53479d3a045ac8e11786248231fbf"
STOPPING, STOPPED = "de5b426a63be47a7b6ac3eaac82e2f6f", "9d1aaa27d60140bd96365438aad20286"
BEGIN_AND_END = ((STARTING, STARTED), (STOPPING, STOPPED))


def union(intervals):
    """Seconds that are covered by at least one of the intervals ``[(from, until)]``."""
    covered, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered


def clipped(intervals, begin, end):
    """The parts of the intervals that lie between two moments; one without an end lasts until the second."""
    cut = [(max(one, begin), min(end if two is None else two, end)) for one, two in intervals]
    return [(one, two) for one, two in cut if two > one]


def steps_of_script(text):
    """``{step: seconds}`` of what by_hand.sh told, and ``[(from, until, step)]``."""
    told = [(float(at), name) for at, name in re.findall(r"^@ (\d+\.\d+) (.+)$", text, re.MULTILINE)]
    spans = [(at, following, name) for (at, name), (following, _) in zip(told, told[1:])]
    return {name: end - begin for begin, end, name in spans}, spans


def steps_of_record(record):
    """``{step: seconds}`` of a run's record."""
    return {name: step["seconds"] for name, step in record["steps"].items() if step["state"] == "done"}


def phase(steps, pattern):
    """Seconds of all steps whose name has these words. An unknown name is an error, not 0 s."""
    found = [seconds for name, seconds in steps.items() if re.search(pattern, name)]
    if not found:
        raise ValueError(f"no step of {sorted(steps)} matches {pattern}")
    return sum(found)


def outages_of_record(record):
    """``[(from, until)]`` of the record's own ``donor_outages``, which have whole seconds."""
    def moment(text):
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp() if text else None
    return [(moment(outage["from"]), moment(outage["until"])) for outage in record.get("donor_outages", [])]


def calls_within(lines, begin, end):
    """The calls of vendor tools that ended between two moments: ``[{"tool", "time", "seconds", …}]``."""
    return [call for call in lines if begin <= call["time"] <= end]


def calls_by_tool(calls):
    tools = sorted({call["tool"] for call in calls})
    return {tool: sum(call["tool"] == tool for call in calls) for tool in tools}


def spans_of_calls(calls):
    return [(call["time"] - call["seconds"], call["time"]) for call in calls]


def spans_of_unit(lines):
    """``[(from, until)]`` in which a unit was starting or stopping, from its journal's lines in their order."""
    spans, begun = [], {}
    for line in lines:
        at = int(line["__REALTIME_TIMESTAMP"]) / 1e6
        for begin, end in BEGIN_AND_END:
            if line.get("MESSAGE_ID") == begin:
                begun[end] = at
            elif line.get("MESSAGE_ID") == end and end in begun:
                spans.append((begun.pop(end), at))
    return spans


def assembled(seen):
    """The figures of one run from what was seen of it.

    seen
        ``{"from", "until", "steps": {name: seconds}, "outages": [(from, until)], "calls": [call], "mysqld":
        [(from, until)], "copying": [(from, until)], "bytes": of the donor's data, "others": cores}``
    """
    begin, end = seen["from"], seen["until"]
    parts = {
        "tools": clipped(spans_of_calls(seen["calls"]), begin, end),
        "mysqld": clipped(seen["mysqld"], begin, end),
        "copying": clipped(seen["copying"], begin, end),
    }
    copying = union(parts["copying"])
    whole = end - begin
    found = {
        "whole": whole,
        "donor out": union(clipped(seen["outages"], begin, end)),
        "copy": phase(seen["steps"], PHASES["copy"]),
        "replicas": phase(seen["steps"], PHASES["replicas"]),
        "verification": sum(seconds for name, seconds in seen["steps"].items() if re.search(VERIFICATION, name)),
        "copying": copying,
        "rate": seen["bytes"] / copying / 1e6 if copying else None,
        # A second in which two of them work counts once.
        "rest": whole - union([span for spans in parts.values() for span in spans]),
        **{f"in {name}": union(spans) for name, spans in parts.items() if name != "copying"},
        "others": seen["others"],
    }
    return {name: value if value is None else round(value, 2) for name, value in found.items()}


def summary(values):
    """``{"median", "min", "max", "runs"}``; None where nothing was measured."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def ratio(value, base):
    """How many times the base, or None where there is no such figure."""
    return value / base if base and value is not None else None


def of_mode(runs, name):
    """The summary of one figure over all runs of a mode."""
    return summary([run["figures"][name] for run in runs])


def settings(megabytes, nodes, sites, link):
    """What is measured: the first values together, then each other value with the first ones of the others."""
    varied = {"megabytes": megabytes, "nodes": nodes, "sites": sites, "link": link}
    first = {key: values[0] for key, values in varied.items()}
    return [first, *({**first, key: value} for key, values in varied.items() for value in values[1:])]
