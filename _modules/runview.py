"""
How far a run is, for whoever watches it: all of its steps as a picture for a terminal, or what is new for a pipe.

Pure: both are made of the run's record.
"""

__virtualname__ = "runview"

MARKS = {"running": "…", "done": "ok", "failed": "FAILED", "interrupted": "interrupted"}
# As wide as the longest step's name, nearly always.
NAME = 50
# Of the steps done so many stay in sight when there is no room for all.
KEPT = 2


def __virtual__():
    return __virtualname__


def news(run, shown):
    """
    Tell what is new of a run.

    run
        Its record.
    shown
        What was told before: a dictionary that this function keeps up to date, empty at first.

    Returns lines of text.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runview.news "$record" '{}'
    """
    lines, total = [], len(run["plan"])
    for number, name in enumerate(run["plan"], start=1):
        step = run["steps"].get(name)
        if not step:
            continue
        for node, far in step.get("progress", {}).items():
            if "percent" in far and shown.get((name, node)) != far["percent"]:
                shown[name, node] = far["percent"]
                lines.append(f"        {node}: {_progress(far, None)}")
        if shown.get(name) != step["state"]:
            shown[name] = step["state"]
            seconds = f" {step['seconds']} s" if "seconds" in step else ""
            lines.append(f"[{number:2}/{total}] {name:{NAME}} {MARKS[step['state']]}{seconds}")
            if step["state"] == "failed":
                lines += step["comment"].splitlines()
    return [__salt__["runwords.printable"](line) for line in lines]


def why(run):
    """
    Return what the step at which a run stopped has said, as lines; none if no step has failed.

    run
        Its record.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runview.why "$record"
    """
    return [__salt__["runwords.printable"](line) for name in run["plan"] for step in [run["steps"].get(name, {})]
            if step.get("state") == "failed" for line in step["comment"].splitlines()]


def picture(run, now, width, height):
    """
    Draw where a run stands: every step, done, running or to come, and how far each node's copy is.

    run
        Its record.
    now
        Seconds since 1970.
    width, height
        Of the terminal, in signs and lines. Where not all steps fit, those long done and those far off are counted.

    Returns ``[{"state": of what is told, a step's or the run's, "text": a line}]``, at most ``height - 1`` of them.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runview.picture "$record" 1795748400 80 24
    """
    done = [name for name in run["plan"] if run["steps"].get(name, {}).get("state") == "done"]
    attempt = f", attempt {len(run['attempts'])}" if len(run["attempts"]) > 1 else ""
    head = {"state": run["state"], "text": (
        f"Site {run['failed']} from {run['definitive']}: {run['state']}, {len(done)} of {len(run['plan'])} steps "
        f"(run {run['run']}{attempt})")}
    steps = [row for name in run["plan"] for row in _step(run, name, now)]
    at = next((number for number, row in enumerate(steps) if row["state"] != "done"), len(steps))
    rows = [head, *_fitting(steps, at, max(height - 2, 3))]
    return [{"state": row["state"], "text": __salt__["runwords.printable"](row["text"])[:max(width - 1, 1)]}
            for row in rows]


def _step(run, name, now):
    step = run["steps"].get(name, {})
    state = step.get("state", "to come")
    seconds = step.get("seconds", now - step["clock"] if "clock" in step else None)
    took = "" if seconds is None else __salt__["runwords.duration"](round(seconds, 1 if seconds < 10 else None))
    rows = [{"state": state, "step": name, "text": f"{MARKS.get(state, ''):>6}  {name:{NAME}} {took:>12}".rstrip()}]
    if state == "running":
        rows += [{"state": state, "text": f"          {node}  {_progress(far, run.get('bytes'))}"}
                 for node, far in sorted(step.get("progress", {}).items())]
    return rows


def _fitting(rows, at, room):
    if len(rows) <= room:
        return rows
    # In a very low one, what goes on stands between the two counts.
    kept = KEPT if room > KEPT + 2 else 1
    begin = max(0, min(at - kept, len(rows) - room))
    shown = rows[begin:begin + room]
    before, after = rows[:begin + 1], rows[begin + room - 1:]
    if begin:
        shown[0] = {"state": "done", "text": f"{'':6}  {_steps(before)} steps done"}
    if len(after) > 1:
        shown[-1] = {"state": "to come", "text": f"{'':6}  {_steps(after)} steps to come"}
    return shown


def _steps(rows):
    return sum("step" in row for row in rows)


def _progress(far, whole):
    if "percent" not in far:
        return f"at work for {__salt__['runwords.duration'](round(far['seconds']))}"
    # rsync's own word for it is, at the end of every file, the time that has passed.
    left = far["percent"] and round(far["seconds"] * (100 - far["percent"]) / far["percent"])
    of = f" of {__salt__['runwords.size'](whole)}" if whole else ""
    return (f"{__salt__['runwords.size'](far['bytes'])}{of}, {far['percent']} %, {far['rate']}"
            + (f", about {__salt__['runwords.duration'](left)} left" if left else ""))
