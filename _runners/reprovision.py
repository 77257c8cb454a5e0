"""
What an operator and the reactor ask the master for: look before a run, react to a drift event, watch a run, read its
record, stop it.
"""

import logging
import os
import re
import sys
import time

import salt.runner
import salt.utils.event
from salt.exceptions import CommandExecutionError

__virtualname__ = "reprovision"
__func_alias__ = {"list_": "list"}

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
        return _exec("runwords.command")
    return _exec("runwords.command", {"failed": site, "definitive": "THE GOOD SITE"})


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
    running = _exec("runlock.running", site)
    if running is not None or not _exec("runlock.claim_start", site, STARTING_SECONDS):
        decision["decision"] = f"nothing started: {(running or {}).get('run', 'a run')} is already on it"
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
    run, shown, begun = None, {}, time.monotonic()
    with salt.utils.event.get_event("master", opts=__opts__, listen=True) as bus:
        while True:
            # Asked before the record is read: a run closes its record before it lets go of the lock. The id may still
            # change, from the one it began with to that of the run which it found out to be going on with.
            holder = _exec("runlock.running", site)
            run = (holder or {}).get("run", run)
            current = _exec("runrecord.load", site, run) if run else None
            if current:
                _show_news(current, shown)
                if current["state"] != "running":
                    return {"run": run, "state": current["state"], "steps": len(current["steps"])}
            if run and holder is None:
                raise CommandExecutionError(f"Run {run} ended without closing its record; run it again to go on")
            if not run and time.monotonic() - begun > wait:
                raise CommandExecutionError(f"No run of site {site} has begun within {wait} s")
            bus.get_event(wait=2, tag=prefix, match_type="startswith")


def _show_news(current, shown):
    total = len(current["plan"])
    for number, name in enumerate(current["plan"], start=1):
        step = current["steps"].get(name)
        if not step:
            continue
        for node, far in step.get("progress", {}).items():
            if "percent" in far and shown.get((name, node)) != far["percent"]:
                shown[name, node] = far["percent"]
                print(f"        {node}: {far['bytes']:,} bytes, {far['percent']} %, {far['rate']}", file=sys.stderr,
                      flush=True)
        if shown.get(name) != step["state"]:
            shown[name] = step["state"]
            mark = {"running": "…", "done": "ok", "failed": "FAILED", "interrupted": "interrupted"}[step["state"]]
            seconds = f" {step['seconds']} s" if "seconds" in step else ""
            print(f"[{number:2}/{total}] {name:50} {mark}{seconds}", file=sys.stderr, flush=True)
            if step["state"] == "failed":
                print(step["comment"], file=sys.stderr, flush=True)


def preflight(failed=None, definitive=None, donor=None):
    """
    Look at the records, the locks and every node as the orchestration's first step does, and tell all that would stop
    a run now or break it later.

    Changes nothing. Without arguments it is about the standing order in pillar.

    failed, definitive, donor
        As in ``pillar='{"reprovision": …}'``.

    Returns ``{"ready": bool, "findings": [{"node", "level": "error" or "warning", "what", "do"}], "primaries": {site:
    host}, "donor", "resumes": True if an unfinished run would be gone on with, "why": why not}``. Raises
    CommandExecutionError when the pillar has faults.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.preflight
        salt-run reprovision.preflight failed=east definitive=west --out=json
    """
    order = {key: value for key, value in (("failed", failed), ("definitive", definitive), ("donor", donor)) if value}
    topology = _exec("topology.merge", _tungsten(), order)
    previous = _exec("runrecord.latest", topology["reprovision"]["failed"])
    found = _exec("survey.take", topology, previous)
    findings = [*_at_the_master(topology["reprovision"], previous), *found["findings"]]
    return {**found, "ready": all(finding["level"] != "error" for finding in findings), "findings": findings}


def _at_the_master(order, previous):
    """What records and locks have against a run: nodes know nothing of it."""
    findings = []
    for site in (order["failed"], order["definitive"]):
        holder = _exec("runlock.running", site)
        if holder is not None:
            findings.append({
                "node": site, "level": "error", "what": f"is being re-provisioned by run {holder.get('run')}",
                "do": f"Wait for its end: salt-run reprovision.watch {site}"})
    for site, do, refuse, *arguments in (
        (order["failed"], "Nothing.", "attempt.refuse_repetition", order["failed"], previous, order),
        (order["definitive"], "Look at salt-run reprovision.status.", "attempt.refuse_half_built", order["definitive"]),
    ):
        try:
            _exec(refuse, *arguments)
        except CommandExecutionError as error:
            findings.append({"node": site, "level": "error", "what": str(error), "do": do})
    return findings


def status(site=None):
    """
    Return how the newest run of a site stands, or of every site that ever had one.

    Returns ``{site: {"run", "state", "step", "steps": "7 of 22", "attempts", "donor", "donor_state", "progress",
    "process", "next"}}``. ``state`` is ``running``, ``done``, ``failed``, ``aborted``, or ``interrupted``: the record
    says running, but its process has died. ``next`` is what to do.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.status
        salt-run reprovision.status east --out=json
    """
    return {name: _status(name) for name in ([site] if site else _exec("runrecord.sites"))
            if site or _exec("runrecord.latest", name)}


def _status(site):
    found, holder = record(site), _exec("runlock.running", site)
    state = found["state"]
    if state == "running" and (holder is None or holder.get("run") != found["run"]):
        state = "interrupted"
    done = [name for name in found["plan"] if found["steps"].get(name, {}).get("state") == "done"]
    at = next((name for name in found["plan"] if found["steps"].get(name, {}).get("state") not in (None, "done")), None)
    return {
        "run": found["run"], "state": state, "step": at, "steps": f"{len(done)} of {len(found['plan'])}",
        "attempts": len(found.get("attempts", [])), "donor": found["donor"], "donor_state": found.get("donor_state"),
        "progress": found["steps"].get(at, {}).get("progress", {}), "process": holder,
        "next": {
            "running": f"salt-run reprovision.watch {site}",
            "done": "nothing to do",
        }.get(state, f"run it again, it goes on from there: {_exec('runwords.again', found)}"),
    }


def list_(site=None):
    """
    Return every run on record, oldest first: ``[{"site", "run", "state", "started", "finished", "attempts", "who"}]``.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.list
        salt-run reprovision.list east --out=json
    """
    return [
        {"site": name, **{key: found.get(key) for key in ("run", "state", "started", "finished")},
         "attempts": len(found.get("attempts", [])), "who": found.get("attempts", [found])[-1].get("who")}
        for name in ([site] if site else _exec("runrecord.sites"))
        for found in _exec("runrecord.every", name)
    ]


def abort(site, reason=None, wait=60):
    """
    Stop a site's run at its next safe point: between two steps, or in the copy, which is ended.

    The donor is given back. The failed site stays in MAINTENANCE with its routers offline. A tprovision that has begun
    goes on to its end: ended half-way it would leave a lock on its source. The same command as before goes on with the
    run. If its process has died already, only the copy is ended and the donor given back.

    site
        The failed site.
    reason
        For the record.
    wait
        Seconds to wait for it to stop; it stops later too.

    Returns ``{"run", "state", "donor_state"}``: ``stopping`` if it has not stopped yet. Raises CommandExecutionError
    if the site has no unfinished run.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.abort east 'wrong donor'
    """
    found = record(site)
    if found["state"] == "done" or found["state"] == "aborted" and found["donor_state"] != "taken":
        raise CommandExecutionError(f"The newest run of site {site}, {found['run']}, is {found['state']}")
    _exec("runrecord.ask_to_stop", site, found["run"], _who(), reason)
    until = time.monotonic() + float(wait)
    while _exec("runlock.running", site) is not None:
        if time.monotonic() > until:
            return {"run": found["run"], "state": "stopping", "donor_state": found["donor_state"]}
        time.sleep(1)
    found = record(site)
    if found["state"] == "running":
        found.update(state="aborted", finished=_exec("runrecord.now"))
        found["attempts"][-1].update(ended=found["finished"], how=f"its process had died; aborted by {_who()}")
    if found["donor_state"] == "taken":
        _give_back(found)
    _exec("runrecord.save", found)
    return {key: found[key] for key in ("run", "state", "donor_state")}


def _who():
    return os.environ.get("SUDO_USER") or __opts__.get("user")


def _give_back(found):
    minion = found["nodes"][found["definitive"]][found["donor"]]
    _exec("fleet.ask", [minion], "longjob.stop_all", kwarg={"prefix": "copy-"})
    shown = {key: found[key] for key in ("run", "failed", "donor")}
    # A state that fails makes it an error, with what every state said.
    _exec("fleet.ask", [minion], "state.apply", timeout=15, kwarg={
        "mods": "orch.node.donor_given_back", "pillar": {"reprovision_run": shown}, "queue": True})
    found["donor_state"] = "returned"


def unlock(site, run, reason):
    """
    Take the lock away from a run whose process lives but hangs. It notices before its next step and stops there.

    A process that has died holds no lock: then this is not needed, and refused.

    site
        The failed site.
    run
        The id of the run, as ``reprovision.status`` shows it.
    reason
        For the record.

    Returns what the lock said, ``{"run", "pid", "since"}``. Raises CommandExecutionError if that run does not hold it.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.unlock east 20261123T150102-7 'its master hangs in a network mount'
    """
    if not reason or not isinstance(reason, str):
        raise CommandExecutionError("A reason is needed, for the record")
    holder = _exec("runlock.take_away", site, run)
    # A run that hangs in its preflight has no record yet.
    found = _exec("runrecord.load", site, run)
    if found:
        found["attempts"][-1].update(
            ended=_exec("runrecord.now"), how=f"{_who()} took the lock away from process {holder['pid']}: {reason}")
        _exec("runrecord.save", found)
    return holder
