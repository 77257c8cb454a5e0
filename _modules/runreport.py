"""
What is told of a run when it is over, or how far it is: as data, and as a text for a ticket. ``runpage`` makes a page.

Pure: everything is read from the run's record and the plan that it followed.
"""

import datetime

__virtualname__ = "runreport"

# One way to copy has some of them, another one others.
COPIES = ("10 data copied ahead", "10 data copied from the donor", "10 data streamed from the donor",
          "10 backup prepared")
OUTCOMES = {
    "done": "is re-provisioned and verified",
    "running": "is being re-provisioned",
    "failed": "is not re-provisioned: the run has failed",
    "aborted": "is not re-provisioned: the run was stopped",
    "interrupted": "is not re-provisioned: the run's process has died",
}


def __virtual__():
    return __virtualname__


def tell(run, state, plan=None, commands=None):
    """
    Make the report of a run.

    run
        Its record.
    state
        As ``reprovision.status`` tells it: ``interrupted`` if the record says running, but nobody runs it.
    plan
        The plan that was approved for it, as ``plans.load`` returns it. None if there was none.
    commands
        What the vendor's tools were told meanwhile: as ``fleet.gather`` returns the answers of ``vendorlog.read``. None
        if nobody was asked.

    Returns ``{"site", "run", "state", "outcome", "definitive", "primary", "donor", "method", "nodes": {site: {host:
    minion}}, "started", "finished", "seconds", "attempts": [{"started", "ended", "who", "how", "seconds"}],
    "approved": {"plan", "by", "decided"} or None, "donor_out": [{"from", "until", "seconds"}], "copied": {"bytes",
    "seconds", "bytes_per_second"}, "steps": [{"name", "state", "attempt", "started", "seconds", "offset", "said":
    [{"node", "text"}]}], "findings", "verified", "before", "after": the sites as ``siteview.look`` returned them,
    "commands", "again": command or None}``. Times are UTC in ISO 8601, durations in seconds; ``offset`` is that of the
    step's beginning from the run's. What is not known, or not known yet, is None.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runreport.tell "$record" done
    """
    nodes = {minion for members in run["nodes"].values() for minion in members.values()}
    return {
        "site": run["failed"], "run": run["run"], "state": state, "outcome": OUTCOMES[state],
        **{key: run[key] for key in ("definitive", "primary", "donor", "method", "nodes", "started")},
        "finished": run.get("finished"), "seconds": _between(run["started"], run.get("finished")),
        "attempts": [
            {**{key: attempt.get(key) for key in ("started", "ended", "who", "how")},
             "seconds": _between(attempt["started"], attempt.get("ended"))} for attempt in run["attempts"]],
        "approved": {key: plan[key] for key in ("plan", "by", "decided")} if plan else None,
        "donor_out": [{**outage, "seconds": _between(outage["from"], outage["until"])}
                      for outage in run.get("donor_outages", [])],
        "copied": _copied(run),
        "steps": [_step(run, name, nodes) for name in run["plan"]],
        "findings": run.get("findings", []), "commands": commands,
        **{key: run.get(key) for key in ("verified", "before", "after")},
        "again": None if state in ("done", "running") else __salt__["runwords.again"](run),
    }


def _between(begin, end):
    if not (begin and end):
        return None
    begin, end = (datetime.datetime.strptime(each, "%Y-%m-%dT%H:%M:%SZ") for each in (begin, end))
    return int((end - begin).total_seconds())


def _copied(run):
    took = [run["steps"].get(name, {}).get("seconds") for name in COPIES if name in run["plan"]]
    seconds = sum(took) if took and None not in took and run.get("copied") else None
    size = run.get("bytes")
    return {"bytes": size, "seconds": seconds,
            "bytes_per_second": round(size / seconds) if size and seconds else None}


def _step(run, name, nodes):
    found = run["steps"].get(name, {})
    return {
        "name": name, "state": found.get("state", "to come"), "attempt": found.get("done_in"),
        "started": found.get("started"), "seconds": found.get("seconds"),
        "offset": _between(run["started"], found.get("started")), "said": _said(found.get("comment") or "", nodes)}


def _said(comment, nodes):
    """Whose words each line is: those after a node's name up to the next one's are its own."""
    said = []
    for line in comment.splitlines():
        node, colon, text = line.partition(": ")
        if colon and node in nodes:
            said.append({"node": node, "text": text})
        elif said:
            said[-1]["text"] += f"\n{line}"
        else:
            said.append({"node": None, "text": line})
    return said


def text(report):
    """
    Put the report into a few lines, for a ticket.

    report
        As ``tell`` returns it.

    Returns the text, of printable signs only.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runreport.text "$report"
    """
    size, duration = __salt__["runwords.size"], __salt__["runwords.duration"]
    first = report["attempts"][0]
    lines = [
        f"Site {report['site']} {report['outcome']} (run {report['run']}).",
        f"From {report['definitive']}, by a copy of {report['donor']} over {report['primary']}.",
        f"Begun {report['started']} by {first['who']}, "
        + (f"ended {report['finished']} after {duration(report['seconds'])}" if report["finished"] else "not ended")
        + (f", {len(report['attempts'])} attempts." if len(report["attempts"]) > 1 else "."),
    ]
    if report["approved"]:
        decided = report["approved"]["decided"]
        lines.append(f"Plan {report['approved']['plan']} by {report['approved']['by']}, {decided['state']} by "
                     f"{decided['who']}" + (f": {decided['reason']}" if decided["reason"] else "") + ".")
    lines += [f"Donor {report['donor']} out of service from {out['from']} "
              + (f"to {out['until']}, {duration(out['seconds'])}." if out["until"] else "on.")
              for out in report["donor_out"]]
    if report["copied"]["bytes_per_second"]:
        lines.append(f"{size(report['copied']['bytes'])} copied in {duration(report['copied']['seconds'])}, "
                     f"{size(report['copied']['bytes_per_second'])}/s.")
    if report["verified"]:
        equal = "are equal" if report["verified"]["equal"] else "DIFFER"
        lines.append(f"Verified: {report['verified']['rows']:,} rows of {report['verified']['tables']} tables "
                     f"{equal} on all nodes.")
    for step in report["steps"]:
        if step["state"] in ("failed", "interrupted"):
            lines += [f"Stopped at {step['name']}:", *(f"  {_line(each)}" for each in step["said"])]
    if report["again"]:
        lines.append(f"To go on: {report['again']}")
    return __salt__["runwords.printable"]("\n".join(lines))


def _line(said):
    words = said["text"].replace("\n", "\n    ")
    return f"{said['node']}: {words}" if said["node"] else words

