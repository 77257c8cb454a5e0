"""
What a plan holds: the facts that it binds a run to, and what a person should see before approving it. Reads only.

Binding is who is rebuilt from what, and where its data lie: if any of that changes, the plan is void. What moves all
the time, sizes, positions and times, is shown and does not bind.
"""

import hashlib
import json
import textwrap

from salt.exceptions import CommandExecutionError

__virtualname__ = "planning"

SECONDS = 15
# The steps of orch/reprovision.sls whose time is told beforehand.
COPY = "10 data copied from the donor"
# The two of them with a hot copy, which never takes the donor.
STREAM, PREPARE = "10 data streamed from the donor", "10 backup prepared"
REPLICAS = "16 replicas provisioned"
# Without it all of the copy is made while the donor is out of service.
AHEAD = "10 data copied ahead"
# From the one to the other the donor is out of service; the copy is one of them.
DONOR_OUT = ("06 donor shunned, its replicator offline", "07 mysqld of the donor stopped", "11 donor given back")
# Assumed as long as no run on record tells better: bytes a second, and seconds.
RATE = 100_000_000
DONOR_SECONDS = 30
LEFT_SHARE = 0.1
OTHER_SECONDS = 120
# A copy of less tells how long it takes to begin one, not how fast it goes.
TELLING_BYTES = 100_000_000
# What applied.read and the orchestration's steps say.
UNCHANGED = "nothing to change"
LEFT_OUT = "Done in attempt "
NOT_PLANNED = "No step of a "
WIDTH = 110


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "planning asks nodes and reads records from the master; this is a minion"
    return __virtualname__


# --- what binds


def binding(topology, found):
    """
    Return the facts that a plan binds its run to.

    topology
        As ``topology.merge`` returns it.
    found
        As ``survey.take`` returns it, without an error among its findings.

    Returns ``{"order": {"failed", "definitive", "donor": the one found, "method", "warm", "replica_method"},
    "primaries": {site: host}, "nodes": {site: {host: minion}}, "sites": {site: {"service", "cluster_home",
    "cross_site_home", "user", "mysql"}}, "locations": {minion: {name: {"path", "files"}}} of failed primary and donor,
    "extension": digest of the code on all nodes, "resumes": id of the run that is gone on with, or None}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd planning.binding "$topology" "$found"
    """
    order, sites = topology["reprovision"], topology["sites"]
    kept = ("service", "cluster_home", "cross_site_home", "user", "mysql")
    facts = {
        "order": {**{key: order[key] for key in ("failed", "definitive", "method", "warm", "replica_method")},
                  "donor": found["donor"]},
        "primaries": found["primaries"],
        "nodes": {site: settings["nodes"] for site, settings in sites.items()},
        "sites": {site: {key: settings[key] for key in kept} for site, settings in sites.items()},
        "locations": {minion: _paths(found["facts"].get(minion, {})) for minion in _copied_between(topology, found)},
        "extension": __salt__["readiness.extension"]()["digest"],
        "resumes": found["run"],
    }
    # As they will be read again, so that a plan compares equal with its own file.
    return json.loads(json.dumps(facts))


def _copied_between(topology, found):
    """The minions of the failed primary and the donor."""
    order, sites = topology["reprovision"], topology["sites"]
    primary = found["primaries"][order["failed"]]
    return [sites[order["failed"]]["nodes"][primary], sites[order["definitive"]]["nodes"][found["donor"]]]


def _paths(fact):
    """As the guards know them; what else lies in them is none of a plan's business."""
    places = fact.get("locations") or fact.get("contents") or {}
    return {name: {"path": place["path"], "files": place.get("files", [])} for name, place in places.items()}


def digest(facts):
    """
    Return the SHA-256 of binding facts, in hex: the same for the same facts, whatever order they are in.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd planning.digest "$facts"
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def changes(before, now):
    """
    Name what differs between binding facts. Pure.

    before, now
        As ``binding`` returns them.

    Returns a list of texts, ``primaries:west was west1, is west2``; empty if nothing does.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd planning.changes "$before" "$now"
    """
    was, are = dict(_flat(before)), dict(_flat(now))
    keys = [*was, *(key for key in are if key not in was)]
    return [f"{key} was {_said(was.get(key))}, is {_said(are.get(key))}"
            for key in keys if (was.get(key) or None) != (are.get(key) or None)]


def _flat(value, path=""):
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _flat(part, f"{path}:{key}" if path else str(key))
    else:
        yield path, value


def _said(value):
    if value in (None, {}, []):
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


# --- what is shown


def steps(states, topology):
    """
    Put what an orchestration with ``test=True`` returned into steps for people. Pure.

    states
        The states of the master as ``state.orchestrate`` returns them: ``{tag: {"name", "comment", "result",
        "__run_num__"}}``.
    topology
        As ``topology.merge`` returns it, for the minions' names.

    Returns ``[{"step", "nodes": [minions], "what": [texts], "needed": False if an earlier attempt of the run has done
    it for good}]``. Raises CommandExecutionError that quotes every state that failed.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd planning.steps "$states" "$topology"
    """
    if not isinstance(states, dict):
        raise CommandExecutionError(f"The orchestration could not be tried with test=True: {states}")
    failed = [f"{state.get('name')}: {state.get('comment')}" for state in states.values() if state["result"] is False]
    if failed:
        raise CommandExecutionError("Tried with test=True the orchestration failed:\n  " + "\n  ".join(failed))
    minions = [minion for site in topology["sites"].values() for minion in site["nodes"].values()]
    listed = []
    for state in sorted(states.values(), key=lambda state: state["__run_num__"]):
        if state["comment"].startswith(NOT_PLANNED):
            continue
        what, nodes = [], []
        for line in filter(str.strip, state["comment"].splitlines()):
            node = next((minion for minion in minions if line.startswith(f"{minion}: ")), None)
            if node and node not in nodes:
                nodes.append(node)
            # It is so now, before the steps ahead of it.
            what.append(f"{node}: as it is now" if line == f"{node}: {UNCHANGED}" else line.strip())
        listed.append({"step": state["name"], "nodes": nodes, "what": what,
                       "needed": not state["comment"].startswith(LEFT_OUT)})
    return listed


def make(topology, found, steps, losses):
    """
    Put a plan together. The positions in the failed site's log are read from the nodes; nothing is changed.

    topology
        As ``topology.merge`` returns it.
    found
        As ``survey.take`` returns it, without an error among its findings.
    steps
        As ``steps`` returns them.
    losses
        What the newest drift check says of the failed site: ``{"check", "finished", "verdict", "reference", "tables":
        {table: {"changed", "missing", "extra"}}, "saved": where, or None}``; None if there is none that still counts.

    Returns ``{"site", "binding", "digest", "second_person", "resumes", "why_not_resumed", "steps", "sizes": {minion:
    {"used", "free"}}, "expected": {"copy", "replicas": {host}, "other", "donor_outage", "total"}, each {"seconds",
    "basis"}, "warnings": [texts], "lost": {"unreplicated": {site: {"transactions", "what"}}, "rows", "save"}}``; what
    could not be read is None. Raises CommandExecutionError if the master's own records cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd planning.make "$topology" "$found" "$steps" None
    """
    facts = binding(topology, found)
    failed = facts["order"]["failed"]
    warnings = [finding for finding in found["findings"] if finding["level"] != "error"]
    return {
        "site": failed,
        "binding": facts,
        "digest": digest(facts),
        "second_person": topology["plans"]["second_person"],
        "resumes": found["run"],
        "why_not_resumed": found["why"],
        "steps": steps,
        "sizes": {minion: _size(found["facts"].get(minion, {})) for site in topology["sites"].values()
                  for minion in site["nodes"].values()},
        "expected": _expected(topology, found, steps),
        "warnings": __salt__["readiness.text"](warnings),
        "lost": {
            "unreplicated": _unreplicated(topology, found),
            "rows": losses,
            "save": [
                {"what": "name the rows that differ",
                 "command": f"salt-run drift.check reference={facts['order']['definitive']}"},
                {"what": "write them to SQL files of its nodes", "command": f"salt-run drift.save {failed}"},
                {"what": f"on {facts['primaries'][failed]}, show what no replicator has extracted",
                 "command": "tungsten_find_orphaned"},
            ],
        },
    }


def _size(fact):
    contents = fact.get("contents")
    if not contents:
        return {"used": None, "free": None}
    # One file system's room is there only once.
    free = {place["device"]: place["free"] for place in contents.values()}
    return {"used": sum(place["bytes"] for place in contents.values()), "free": sum(free.values())}


# --- how long it takes


def _expected(topology, found, steps):
    order, sites = topology["reprovision"], topology["sites"]
    primary, donor = _copied_between(topology, found)
    size = _size(found["facts"].get(donor, {}))["used"]
    replicas = [host for host, minion in sites[order["failed"]]["nodes"].items() if minion != primary]
    done = {step["step"] for step in steps if not step["needed"]}
    runs = _earlier(sites)
    copy = _copying(size, runs) if not {COPY, PREPARE} & done else _done()
    one = _provisioning(size, runs, order["replica_method"]) if REPLICAS not in done else _done()
    other = _other(runs)
    taken = _taken(copy, runs, __salt__["topology.way"](order)) if COPY not in done else _done()
    return {"copy": {**copy, "bytes": size}, "replicas": {host: dict(one) for host in replicas}, "other": other,
            "donor_outage": taken, "total": _summed(copy, *[one] * len(replicas), other)}


def _done():
    return {"seconds": 0, "basis": "it has been done"}


def _summed(*parts):
    if any(part["seconds"] is None for part in parts):
        return {"seconds": None, "basis": "its parts are not all known"}
    bases = list(dict.fromkeys(part["basis"] for part in parts))
    return {"seconds": round(sum(part["seconds"] for part in parts)), "basis": "; ".join(bases)}


def _earlier(sites):
    """The runs to learn from, newest first: of one attempt, since in several of them a step's time is only its last."""
    runs = [run for site in sites for run in __salt__["runrecord.every"](site)
            if run["state"] == "done" and len(run.get("attempts", [])) == 1]
    return sorted(runs, key=lambda run: run["run"], reverse=True)


def _took(run, *names):
    """Seconds of some of a run's steps; None if it does not tell them all."""
    seconds = [run["steps"].get(name, {}).get("seconds") for name in names]
    return None if None in seconds else sum(seconds)


def _at_the_rate(size, amounts):
    """Seconds for so many bytes, at the rate of the first of (run, bytes, seconds) that tells one."""
    if size is None:
        return {"seconds": None, "basis": "the donor does not tell how much it has"}
    for run, amount, seconds in amounts:
        if amount and amount >= TELLING_BYTES and seconds:
            return {"seconds": round(size * seconds / amount), "basis": f"as run {run['run']} did"}
    return {"seconds": round(size / RATE), "basis": f"assumed: {RATE // 1_000_000} MB/s"}


def _copying(size, runs):
    return _at_the_rate(size, ((run, run.get("bytes"), _took(run, *_copy_steps(run))) for run in runs))


def _copy_steps(run):
    return [name for name in (AHEAD, COPY, STREAM, PREPARE) if name in run["plan"]]


def _provisioning(size, runs, method):
    def amounts():
        for run in runs:
            count = len(run["nodes"][run["failed"]]) - 1
            if count and run["replica_method"] == method:
                yield run, run.get("bytes"), (_took(run, REPLICAS) or 0) / count

    return _at_the_rate(size, amounts())


def _taken(copy, runs, way):
    """How long the donor is out of service."""
    if way == "hot":
        return {"seconds": 0, "basis": "it goes on serving"}
    if way == "cold":
        return _summed(copy, _beside(runs))
    for run in runs:
        seconds = _took(run, COPY, *DONOR_OUT) if AHEAD in run["plan"] else None
        if seconds is not None:
            return {"seconds": round(seconds), "basis": f"as run {run['run']} did"}
    left = copy["seconds"] and {"seconds": round(copy["seconds"] * LEFT_SHARE),
                                "basis": f"assumed: {LEFT_SHARE:.0%} of the copy are left to it"}
    return _summed(left or copy, _beside(runs))


def _beside(runs):
    """What the donor is out of service beside the copy."""
    for run in runs:
        seconds = _took(run, *DONOR_OUT)
        if seconds is not None:
            return {"seconds": round(seconds), "basis": f"as run {run['run']} did"}
    return {"seconds": DONOR_SECONDS, "basis": f"assumed: {DONOR_SECONDS} s beside the copy"}


def _other(runs):
    """All steps but those that depend on the amount of data."""
    for run in runs:
        seconds = _took(run, *(name for name in run["plan"] if name not in (*_copy_steps(run), REPLICAS)))
        if seconds is not None:
            return {"seconds": round(seconds), "basis": f"as run {run['run']} did"}
    return {"seconds": OTHER_SECONDS, "basis": f"assumed: {OTHER_SECONDS} s"}


# --- what would be lost


def _unreplicated(topology, found):
    failed = topology["reprovision"]["failed"]
    sites = topology["sites"]
    others = [site for site in sites if site != failed]
    if found["resumes"]:
        # Its log begins anew in a run, and the others forget where they were in it.
        why = f"cannot be told any more: run {found['run']} has begun"
        return {site: {"transactions": None, "what": why} for site in others}
    service, primary = sites[failed]["service"], found["primaries"][failed]
    # The others first: what is written meanwhile is then counted in, and not overlooked.
    hosts = {minion: host for site in others for host, minion in sites[site]["nodes"].items()}
    applied = _positions(list(hosts), service, "cross_site")
    minion = sites[failed]["nodes"][primary]
    written = _positions([minion], service, "cluster")[minion]
    told = {}
    for site in others:
        there = {host: applied[minion] for host, minion in sites[site]["nodes"].items()}
        unread = [f"{host}: {position}" for host, position in there.items() if not isinstance(position, int)]
        if not isinstance(written, int):
            unread.insert(0, f"{primary}: {written}")
        if unread:
            told[site] = {"transactions": None, "what": "; ".join(unread)}
            continue
        host = min(there, key=there.get)
        what = f"{primary} is at {written}, {host} at {there[host]}"
        if there[host] > written:
            told[site] = {"transactions": None, "what": f"{what}: these are positions of two logs"}
        else:
            told[site] = {"transactions": written - there[host], "what": what}
    return told


def _positions(minions, service, which):
    """{minion: its position in a service's log, or why it does not tell it}."""
    gathered = __salt__["fleet.gather"](
        minions, "trepctl.position", kwarg={"service": service, "which": which}, timeout=SECONDS)
    return {
        minion: gathered["faults"].get(minion) or (
            answer if isinstance(answer := gathered["answers"].get(minion), int) else f"tells {answer!r}")
        for minion in minions
    }


# --- for a terminal


def text(plan):
    """
    Put a plan into lines for a terminal. Pure.

    plan
        As ``plans.propose`` returns it.

    Returns a text of lines of 110 columns at the most, but for a single word that is longer.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd planning.text "$plan"
    """
    return "\n".join([
        *_head(plan), *_lost(plan), *_sized(plan), *_timed(plan), *_stepped(plan), *_warned(plan), *_foot(plan)])


def _wrapped(line, first="  ", then="    "):
    # A path or a command is never broken: it is there to be copied.
    return textwrap.wrap(line, WIDTH, initial_indent=first, subsequent_indent=then, break_on_hyphens=False,
                         break_long_words=False) or [""]


def _table(rows, indent="  "):
    """Rows of texts as aligned columns; the last one is wrapped."""
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]) - 1)] if rows else []
    lines = []
    for *row, last in rows:
        first = indent + "".join(f"{cell:{width}}  " for cell, width in zip(row, widths))
        # A name may be as long as it likes, what stands beside it must stay readable.
        lines += _wrapped(last, first, " " * min(len(first), WIDTH // 2)) if last.strip() else [first.rstrip()]
    return lines


def _head(plan):
    facts = plan["binding"]
    order, primaries = facts["order"], facts["primaries"]
    failed, definitive = order["failed"], order["definitive"]
    rows = [
        ("Rebuild", f"{failed}: {', '.join(facts['nodes'][failed])}; primary {primaries[failed]}"),
        ("From", f"{definitive}, by a copy of {order['donor']}; primary {primaries[definitive]}"),
        ("How", f"{order['method']}, its replicas by {order['replica_method']}"),
        ("Goes on", f"with run {plan['resumes']}" if plan["resumes"] else f"with no run: {plan['why_not_resumed']}"),
        ("Made", f"{plan['made']} by {plan['by']}" + (f": {plan['why']}" if plan["why"] else "")),
        ("Open until", plan["expires"]),
    ]
    return [f"Plan {plan['plan']}: {plan['state']}", *_table(rows)]


def _lost(plan):
    lost, failed = plan["lost"], plan["site"]
    lines = ["", f"What {failed} alone has is lost:"]
    lines += _table([
        (f"transactions not in {site}",
         "unknown" if each["transactions"] is None else f"{each['transactions']}, at the most", each["what"])
        for site, each in lost["unreplicated"].items()])
    rows = lost["rows"]
    if rows is None:
        definitive = plan["binding"]["order"]["definitive"]
        lines += _wrapped(f"rows: unknown, there is no drift check of {failed} against {definitive} that still counts; "
                          f"to get one: salt-run drift.check reference={definitive}")
    else:
        kept = f"saved in {rows['saved']}" if rows.get("saved") else "not saved"
        differ = "none differ" if rows["verdict"] == "equal" else f"in {len(rows['tables'])} tables, {kept}"
        lines += _wrapped(f"rows, by drift check {rows['check']} of {rows['finished']} ({rows.get('verdict')}, against "
                          f"{rows.get('reference')}): {differ}")
        lines += _table([
            (name, f"{each['changed']} changed, {each['extra']} only here, {each['missing']} missing here"
             + ("" if each["complete"] else ", at least"))
            for name, each in sorted(rows["tables"].items())], "    ")
        for kind, begin in (("schema", ""), ("unproved", "may differ: "), ("skipped", "not looked at: ")):
            lines += _table([(name, begin + why) for name, why in sorted(rows[kind].items())], "    ")
    lines.append("  save them before:")
    return lines + _table([(each["what"], each["command"]) for each in lost["save"]], "    ")


def _sized(plan):
    size_of = __salt__["runwords.size"]
    return ["", "Data:", *_table([
        (minion, f"{size_of(size['used'])} used", f"{size_of(size['free'])} free")
        for minion, size in plan["sizes"].items()])]


def _timed(plan):
    size_of, duration = __salt__["runwords.size"], __salt__["runwords.duration"]
    expected, order = plan["expected"], plan["binding"]["order"]
    rows = [(f"copy of {size_of(expected['copy']['bytes'])} from {order['donor']}", expected["copy"])]
    rows += [(f"{order['replica_method']} to {host}", each) for host, each in expected["replicas"].items()]
    rows += [("all else", expected["other"]), ("in total", expected["total"]),
             (f"{order['donor']} out of service", expected["donor_outage"])]
    return ["", "Time:", *_table([(what, duration(each["seconds"]), f"({each['basis']})") for what, each in rows])]


def _stepped(plan):
    lines = ["", "Steps:"]
    for step in plan["steps"]:
        lines += _wrapped(step["step"] + ("" if step["needed"] else " - has been done"))
        for what in step["what"]:
            lines += _wrapped(what, "      ", "        ")
    return lines


def _warned(plan):
    return ["", "Warnings:", *(line for warning in plan["warnings"] for line in _wrapped(warning))] if (
        plan["warnings"]) else []


def _foot(plan):
    if plan["state"] != "open":
        return []
    somebody = f" (somebody else than {plan['by']})" if plan["second_person"] and plan["by"] != "event" else ""
    return ["", f"Run exactly this{somebody}:", f"  salt-run reprovision.approve {plan['plan']}",
            "Drop it:", f"  salt-run reprovision.deny {plan['plan']}"]
