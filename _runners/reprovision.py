"""
What an operator and the reactor ask the master for: react to a drift event, watch a run, read its record.
"""

import logging
import re
import sys
import time

import salt.runner
import salt.utils.event
import salt.utils.json
from salt.exceptions import CommandExecutionError

__virtualname__ = "reprovision"

log = logging.getLogger(__name__)

# Between the start of an orchestration and its taking of the lock; a second event in that time is the same drift.
STARTING_SECONDS = 120
_REPORTER = re.compile(r"[A-Za-z0-9._-]{1,255}")


def __virtual__():
    return __virtualname__


def _exec(function, *args, **kwargs):
    """One of this extension's execution modules, on the master."""
    answer = __salt__["salt.cmd"](function, *args, **kwargs)
    if answer == f"'{function}' is not available.":
        raise CommandExecutionError(f"{function} is not available on the master: salt-run saltutil.sync_all")
    return answer


def _tungsten():
    """The pillar of the orchestration itself: what may be destroyed is decided by this and nothing else."""
    return __salt__["pillar.show_pillar"](minion=__opts__["id"]).get("tungsten")


def _command(site, tungsten):
    standing = (tungsten or {}).get("reprovision") or {}
    if standing.get("failed") == site:
        return "salt-run state.orch orch.reprovision"
    order = salt.utils.json.dumps({"reprovision": {"failed": site, "definitive": "THE GOOD SITE"}})
    return f"salt-run state.orch orch.reprovision pillar='{order}'"


def drift(site, reporter=None):
    """
    React to an event ``tungsten/drift/<site>``: look at that site's pillar and do what its ``on_drift`` says.

    ``ignore`` logs it. ``plan`` notes that a person must decide, with the command to run. ``reprovision`` starts the
    orchestration, if the pillar names this site as the failed one and nothing is running yet. The event's payload is
    not even passed here.

    site
        The last part of the event's tag; checked against the pillar.
    reporter
        The minion that sent the event, for the log only.

    Returns ``{"site", "on_drift", "decision", …}``. Raises CommandExecutionError when the pillar has faults or does
    not know the site.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.drift east
    """
    reporter = reporter if isinstance(reporter, str) and _REPORTER.fullmatch(reporter) else "unknown"
    tungsten = _tungsten()
    checked = _exec("topology.validate", tungsten)
    if checked["faults"]:
        raise CommandExecutionError("A drift event cannot be judged, the pillar has faults:\n  "
                                    + "\n  ".join(checked["faults"]))
    sites = checked["topology"]["sites"]
    if not isinstance(site, str) or site not in sites:
        log.warning("Drift event of %s for an unknown site ignored: %.80r", reporter, site)
        raise CommandExecutionError(f"{str(site)[:80]!r} is none of the sites {', '.join(sites)}")
    on_drift = sites[site]["on_drift"]
    if on_drift == "ignore":
        log.warning("Drift of site %s reported by %s; on_drift is ignore, nothing is done", site, reporter)
        return {"site": site, "on_drift": on_drift, "decision": "ignored"}
    decision = {"site": site, "on_drift": on_drift, "reporter": reporter, "command": _command(site, tungsten)}
    order = checked["topology"]["reprovision"]
    if on_drift == "plan":
        decision["decision"] = "a person must decide; to re-provision the site run the command"
    elif order.get("failed") != site or not order.get("definitive"):
        decision["decision"] = (
            "not started: tungsten:reprovision in pillar does not name this site as failed and another as definitive; "
            "a person must decide")
    else:
        return _start_once(site, decision)
    log.warning("Drift of site %s reported by %s: %s: %s", site, reporter, decision["decision"], decision["command"])
    return _exec("runrecord.report", site, decision)


def _start_once(site, decision):
    """Many events, one run: what is running or starting already is not started again."""
    running = _exec("runrecord.running", site)
    if running or not _exec("runrecord.claim_start", site, STARTING_SECONDS):
        decision["decision"] = f"nothing started: {running or 'a run'} is already on it"
        log.warning("Drift of site %s reported again: %s", site, decision["decision"])
        return decision
    decision["decision"] = "the orchestration was started"
    noted = _exec("runrecord.report", site, decision)
    client = salt.runner.RunnerClient(__opts__)
    job = client.asynchronous("state.orchestrate", {"mods": "orch.reprovision"}, user=__opts__.get("user"))
    log.warning("Drift of site %s reported by %s: orchestration started as job %s", site, decision["reporter"],
                job["jid"])
    return {**noted, "jid": job["jid"]}


def record(site, run=None):
    """
    Return the record of a run: who, when, roles, every step with its state and comment.

    site
        The failed site.
    run
        The id of the run; the newest one if not given.

    Raises CommandExecutionError when there is none.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.record east --out=json
    """
    found = _exec("runrecord.load", site, run) if run else _exec("runrecord.latest", site)
    if not found:
        raise CommandExecutionError(f"There is no record of a run for site {site}")
    return found


def reported(site):
    """
    Return what was last reported against a site and what was decided, or None.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.reported east
    """
    return _exec("runrecord.reported", site)


def watch(site, wait=60):
    """
    Show the steps of a site's run as they happen, until it ends. The run does not notice that it is watched.

    The lines go to stderr; what is returned at the end is the run's outcome.

    site
        The failed site.
    wait
        Seconds to wait for a run to begin, if none is on.

    Returns ``{"run", "state", "steps": number done}``. Raises CommandExecutionError when no run begins in time or it
    ends without having closed its record.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.watch east
    """
    prefix = f"salt/reprovision/{site}/"
    shown, begun = {}, time.monotonic()
    with salt.utils.event.get_event("master", opts=__opts__, listen=True) as bus:
        run = _exec("runrecord.running", site)
        while not run:
            event = bus.get_event(wait=5, tag=prefix, match_type="startswith")
            run = event["run"] if event else None
            if not run and time.monotonic() - begun > wait:
                raise CommandExecutionError(f"No run of site {site} has begun within {wait} s")
        while True:
            current = _exec("runrecord.load", site, run)
            if current:
                _show_news(current, shown)
                if current["state"] != "running":
                    return {"run": run, "state": current["state"], "steps": len(current["steps"])}
            event = bus.get_event(wait=5, tag=prefix + run, match_type="startswith")
            if event is None and not _exec("runrecord.running", site):
                current = _exec("runrecord.load", site, run) or {"state": "lost"}
                if current["state"] == "running":
                    raise CommandExecutionError(f"Run {run} ended without closing its record; run it again to go on")


def _show_news(current, shown):
    total = len(current["plan"])
    for number, name in enumerate(current["plan"], start=1):
        step = current["steps"].get(name)
        if step and shown.get(name) != step["state"]:
            shown[name] = step["state"]
            mark = {"running": "…", "done": "ok", "failed": "FAILED"}[step["state"]]
            seconds = f" {step['seconds']} s" if "seconds" in step else ""
            print(f"[{number:2}/{total}] {name:50} {mark}{seconds}", file=sys.stderr, flush=True)
            if step["state"] == "failed":
                print(step["comment"], file=sys.stderr, flush=True)
