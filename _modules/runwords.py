"""
What is said to people about a run: what it will do, how far it is, how it has left things, and the command to type.
Pure.
"""

import re

import salt.utils.json

__virtualname__ = "runwords"

UNITS = ("bytes", "kB", "MB", "GB", "TB")
# As rsync --info=progress2 writes it; the numbers are no longer than those of anything that can be copied.
PROGRESS = re.compile(
    r"^[ \t]*(\d[\d,]{0,30})[ \t]+(\d\d?|100)%[ \t]+(\d{1,9}(?:\.\d{1,9})?)([kMGT]?)B/s", re.ASCII | re.MULTILINE)
COMMAND = "salt-run state.orch orch.reprovision"


def __virtual__():
    return __virtualname__


def command(order=None):
    """
    Return the command that starts the orchestration.

    order
        What to put over the standing order in pillar: ``{"failed", "definitive", "donor", …}``. Nothing if not given.

    Returns one line for a shell.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runwords.command '{"failed": "east", "definitive": "west"}'
    """
    return f"{COMMAND} pillar='{salt.utils.json.dumps({'reprovision': order})}'" if order else COMMAND


def again(run):
    """
    Return the command that goes on with a run.

    run
        Its record.

    Returns one line for a shell.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runwords.again "$record"
    """
    kept = ("failed", "definitive", "donor", "method", "warm", "replica_method")
    # A record of an older release does not know them all.
    order = {key: run[key] for key in kept if key in run}
    # The plan that was approved for this run is approved for all of its attempts.
    return command({**order, "plan": run["plan_id"]} if run.get("plan_id") else order)


def person(user):
    """
    Return the name of who called, of the name that Salt gives a caller.

    user
        Salt's ``__user__``: ``root``, ``sudo_alice``, the user of salt-api, ``Reactor`` or ``UNKNOWN``.

    Returns ``alice`` for alice, in whichever way she came, ``event`` for the reactor, ``unknown`` for nobody in
    particular.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runwords.person sudo_alice
    """
    if not isinstance(user, str) or user in ("", "UNKNOWN"):
        return "unknown"
    return "event" if user == "Reactor" else user.removeprefix("sudo_") or "unknown"


def plan(run, previous, found):
    """
    Tell what a run will do, before it does it.

    run
        Its record, which may not be written yet.
    previous
        The record of the site's newest run before it, or None.
    found
        As ``survey.take`` returns it, for ``resumes``, ``why`` and ``findings``; those that are errors are left out.

    Returns a text; each warning stands on a line of its own.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runwords.plan "$record" None '{"resumes": false, "findings": []}'
    """
    text = (
        f"Site {run['failed']} ({', '.join(run['nodes'][run['failed']])}; primary {run['primary']}) will be rebuilt "
        f"from {run['definitive']}, by a copy of {run['donor']}. Transactions that only {run['failed']} has will be "
        "lost."
    )
    if found["resumes"]:
        last = run["kept"][-1] if run["kept"] else "none"
        text += f" Attempt {len(run['attempts'])} goes on after the last step done, {last!r}."
    elif previous and previous["state"] != "done":
        text += f" From the beginning: {found['why']}."
    warnings = __salt__["readiness.text"]([item for item in found["findings"] if item["level"] != "error"])
    return "\n  ".join([text, *warnings])


def how_to_go_on(run, failed_step):
    """
    Tell how a run that stopped has left things, and how to go on.

    run
        Its record, after the donor was given back, or could not be.
    failed_step
        The name of the step at which it stopped.

    Returns a text of several lines, the last of which ends with the command.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runwords.how_to_go_on "$record" '10 data copied'
    """
    done = [step for step in run["plan"] if run["steps"].get(step, {}).get("state") == "done"]
    lines = [f"The run stopped at step {failed_step!r}; done are {len(done)} of {len(run['plan'])} steps."]
    if len(done) > 1:
        lines.append(
            f"Site {run['failed']} stays in MAINTENANCE with its routers offline, unless step 19 has been reached: "
            "nobody is served half-built data."
        )
    if run["donor_state"] == "taken":
        lines.append(
            f"The donor {run['donor']} is out of service, and could not be given back"
            + (f" ({run['donor_trouble']})" if run.get("donor_trouble") else "")
            + f". A timer on it does so once its lease of {run['donor_lease']} s has run out and no copy runs; by "
            f"hand: start mysqld on it, then cctrl> datasource {run['donor']} recover"
        )
    elif run["donor_state"] == "returned":
        lines.append(f"The donor {run['donor']} is back in its site.")
    lines.append(
        "When the cause is removed, run it again: it looks at what has been done and goes on from there. "
        f"{again(run)}"
    )
    return "\n".join(lines)


def copy_progress(logs):
    """
    Read how far a copy has come from the ends of the logs of the rsyncs that make it side by side. Pure.

    logs
        The ``logs`` of ``jobgroup.status``.

    Returns ``{"bytes", "percent", "rate": text}``, or {} before one of them has said anything.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runwords.copy_progress '["1,234,567  45%  10.00MB/s  0:00:10"]'
    """
    told = [lines[-1] for log in logs if (lines := PROGRESS.findall(log or ""))]
    if not told:
        return {}
    sent = [int(each[0].replace(",", "")) for each in told]
    # As much as it will be, as far as it can be told from how much of it that is.
    # At 0% it is less than one of a hundred parts: half of one is as good a guess as any.
    whole = sum(so_far * 100 / (int(each[1]) or 0.5) for so_far, each in zip(sent, told))
    rate = sum(float(each[2]) * 1024 ** " kMGT".index(each[3] or " ") for each in told)
    return {"bytes": sum(sent), "percent": round(sum(sent) * 100 / whole) if whole else 0,
            "rate": f"{size(round(rate))}/s"}


def printable(text):
    """
    Make a text fit to be shown: a tool's words could hold what moves a terminal's cursor. Pure.

    text
        The text. Ends of lines stay.

    Returns it with ``?`` for every other sign that cannot be printed.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runwords.printable 'cctrl said'
    """
    return "".join(sign if sign == "\n" or sign.isprintable() else "?" for sign in text)


def size(count):
    """
    Say a number of bytes as people do. Pure.

    count
        The number; a kB has 1000 of them. None if it is not known.

    Returns a text, for example ``109.2 MB``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runwords.size 109166899
    """
    if count is None:
        return "unknown"
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {UNITS[unit]}" if unit else f"{count} {UNITS[unit]}"


def duration(seconds):
    """
    Say a duration as people do. Pure.

    seconds
        The duration. None if it is not known.

    Returns a text, for example ``4.2 s``, ``3 min 05 s`` or ``1 h 02 min``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runwords.duration 185
    """
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
