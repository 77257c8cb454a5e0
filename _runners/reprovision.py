"""
What an operator asks the master for: look before a run, plan and approve it, watch it, read its record, stop it.
"""

import copy
import logging
import os
import sys
import time

import salt.loader
import salt.runner
import salt.utils.color
import salt.utils.event
from salt.exceptions import CommandExecutionError

__virtualname__ = "reprovision"
__func_alias__ = {"list_": "list"}

log = logging.getLogger(__name__)

# Between the start of an orchestration and its taking of the lock; a second event in that time is the same drift.
STARTING_SECONDS = 120
# Of a step, and of a run, on a terminal.
COLOURS = {"done": "LIGHT_GREEN", "running": "LIGHT_YELLOW", "interrupted": "LIGHT_RED", "failed": "LIGHT_RED",
           "aborted": "LIGHT_RED"}
# What vendorlog.read tells of a command; and so many parts of half a megabyte are asked for.
COMMAND = {"at": str, "took": float, "argv": list, "typed": list, "code": int, "answer": str}
MOST_PARTS = 100
LOST = ("changed", "missing", "extra")


def __virtual__():
    return __virtualname__


def _exec(function, *args, **kwargs):
    """One of this extension's execution modules, on the master. Salt's own salt.cmd reads all grains for each call."""
    if "reprovision.functions" not in __context__:
        opts = {**copy.deepcopy(dict(__opts__)), "pillar": {}}
        opts["grains"] = salt.loader.grains(opts)
        __context__["reprovision.functions"] = salt.loader.minion_mods(opts, context=__context__)
    functions = __context__["reprovision.functions"]
    if function not in functions:
        raise CommandExecutionError(f"{function} is not available on the master: salt-run saltutil.sync_all")
    return functions[function](*args, **kwargs)


def _tungsten():
    """The pillar of the orchestration itself: what may be destroyed is decided by this and nothing else."""
    return __salt__["pillar.show_pillar"](minion=__opts__["id"]).get("tungsten")


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

    On a terminal it is a picture of all steps, done, running and to come; in a pipe a line for each that is new. Either
    goes to stderr; what is returned at the end is the run's outcome.

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
    run, shown, drawn, begun = None, {}, 0, time.monotonic()
    with salt.utils.event.get_event("master", opts=__opts__, listen=True) as bus:
        while True:
            # Asked before the record is read: a run closes its record before it lets go of the lock. The id may still
            # change, from the one it began with to that of the run which it found out to be going on with.
            holder = _exec("runlock.running", site)
            run = (holder or {}).get("run", run)
            current = _exec("runrecord.load", site, run) if run else None
            if current:
                drawn = _show(current, shown, drawn)
                if current["state"] != "running":
                    return {"run": run, "state": current["state"], "steps": len(current["steps"])}
            if run and holder is None:
                raise CommandExecutionError(f"Run {run} ended without closing its record; run it again to go on")
            if not run and time.monotonic() - begun > wait:
                raise CommandExecutionError(f"No run of site {site} has begun within {wait} s")
            bus.get_event(wait=2, tag=prefix, match_type="startswith")


def _show(current, shown, drawn):
    """A picture drawn over the one before on a terminal, elsewhere what is new; returns how many lines were drawn."""
    if not sys.stderr.isatty():
        for line in _exec("runview.news", current, shown):
            print(line, file=sys.stderr, flush=True)
        return 0
    terminal = os.get_terminal_size(sys.stderr.fileno())
    # A serial console knows neither.
    rows = _exec("runview.picture", current, time.time(), terminal.columns or 80, terminal.lines or 24)
    # Salt itself decides on colours when a runner has ended, and by stdout.
    colours = salt.utils.color.get_colors(not __opts__.get("no_color"), __opts__.get("color_theme"))
    lines = [f"{colours[COLOURS.get(row['state'], 'ENDC')]}{row['text']}{colours['ENDC']}" for row in rows]
    if current["state"] != "running":
        lines += _exec("runview.why", current)
    # Up to where the last picture began, and all away from there on.
    above = f"\x1b[{drawn}A\x1b[J" if drawn else ""
    print(above + "\n".join(lines), file=sys.stderr, flush=True)
    return len(lines)


def preflight(failed=None, definitive=None, donor=None):
    """
    Look at the records, the locks and every node as the orchestration's first step does, and tell all that would stop
    a run now or break it later.

    Changes nothing. Without arguments it is about the standing order in pillar.

    failed, definitive, donor
        As in ``pillar='{"reprovision": …}'``.

    Returns ``{"ready": bool, "findings": [{"node", "level": "error" or "warning", "what", "do"}], "primaries": {site:
    host}, "donor", "resumes": True if an unfinished run would be gone on with, "run": its id, "why": why not}``. Raises
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
    # Of use to who makes a plan, not to who reads this.
    found = {key: value for key, value in found.items() if key != "facts"}
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


def plan(failed=None, definitive=None, donor=None, why=None):
    """
    Make a plan: every step on every node, how much data, how long, what would be lost. A person approves or denies it.

    Nothing is changed on any node. The plan is kept by the master, open for as long as the pillar's ``plans:hours``
    says; an older open one of the site is superseded, and while the facts are the same the open one is returned again.
    In words it goes to stderr. Without arguments it is about the standing order in pillar.

    failed, definitive, donor
        As in ``pillar='{"reprovision": …}'``.
    why
        Why it is made, for the record.

    Returns the plan as docs/plans.md tells, with its id as ``plan``. Raises CommandExecutionError when the pillar has
    faults, or with everything that would stop a run now: then no plan is made.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.plan east
        salt-run reprovision.plan failed=east definitive=west donor=west3 --out=json
    """
    order = {key: value for key, value in (("failed", failed), ("definitive", definitive), ("donor", donor)) if value}
    return _propose(_exec("topology.merge", _tungsten(), order), _who(), why)


def _propose(topology, by, why):
    order = topology["reprovision"]
    before = _exec("plans.open", order["failed"])
    found = None
    if before and not order.get("donor") and before["binding"]["order"]["definitive"] == order["definitive"]:
        # Two replicas as good as each other would else make two plans, by whose latency is lower at the moment.
        kept = {**order, "donor": before["binding"]["order"]["donor"]}
        found = _surveyed({**topology, "reprovision": kept}, refuse=False)
    found = found or _surveyed(topology)
    topology = {**topology, "reprovision": {**order, "donor": found["donor"]}}
    needless = _exec("attempt.needless", order["failed"], _exec("runrecord.latest", order["failed"]))
    if needless:
        found["findings"].append({"node": order["failed"], "level": "warning", "what": needless,
                                  "do": "Approve the plan only if you know better."})
    made = _exec("planning.make", topology, found, _tried(topology), _losses(order["failed"], order["definitive"]))
    kept = _exec("plans.propose", made, by, topology["plans"]["hours"], why)
    print(_exec("planning.text", kept), file=sys.stderr, flush=True)
    return kept


def _surveyed(topology, refuse=True):
    """What is found now, if nothing speaks against a run; who approves a plan insists, so that is not asked for."""
    order = topology["reprovision"]
    previous = _exec("runrecord.latest", order["failed"])
    findings = _at_the_master({**order, "insist": True}, previous)
    found = _exec("survey.take", topology, previous)
    findings += found["findings"]
    if any(finding["level"] == "error" for finding in findings):
        if not refuse:
            return None
        raise CommandExecutionError(
            "This cannot be run now:\n  " + "\n  ".join(_exec("readiness.text", findings))
            + "\nNothing was changed.")
    return {**found, "findings": findings}


def _order(topology):
    kept = ("failed", "definitive", "donor", "method", "warm", "replica_method")
    return {key: topology["reprovision"][key] for key in kept}


def _tried(topology):
    """What the orchestration itself says that it would do: a plan made by other means might say something else."""
    # It writes into its options.
    client = salt.runner.RunnerClient(copy.deepcopy(dict(__opts__)))
    pillar = {"reprovision": {**_order(topology), "insist": True}}
    try:
        # Salt tells each loaded module, this one as well, who has called: it must not forget who that was.
        returned = client.cmd(
            "state.orchestrate", kwarg={"mods": "orch.reprovision", "test": True, "pillar": pillar},
            pub_data={"user": _caller()}, print_event=False)
    finally:
        if hasattr(client, "destroy"):
            client.destroy()
    states = next(iter(returned["data"].values())) if isinstance(returned, dict) and "data" in returned else returned
    return _exec("planning.steps", states, topology)


def _losses(failed, definitive):
    """What the newest drift check says that only the failed site has; None if there is none that says it."""
    found = _exec("checkrecord.latest", finished=True, whole=True)
    last = _exec("runrecord.latest", failed)
    if not found or found["reference"] != definitive or failed not in found["nodes_of"]:
        return None
    if last and last["started"] > found["started"]:
        # It has seen data that have been replaced since, or are being replaced.
        return None
    tables = _lost_rows(found, failed)
    saved = [f"{node}:{file['path']}" for each in found.get("saved", {}).get(failed, [])[-1:]
             for node, file in sorted(each["files"].items())]
    return {
        "check": found["check"], "finished": found["finished"], "verdict": found["verdict"],
        "reference": found["reference"], "saved": ", ".join(saved) or None,
        "tables": tables, "schema": {name: about["reason"] for name, about in found["schema"].items()},
        "unproved": found["unproved"], "skipped": found["skipped"],
    }


def _lost_rows(found, failed):
    """{table: numbers} over the site and those of its nodes that have drifted each in its own way."""
    tables = {}
    drifted = [found["sites"].get(failed), *(found["nodes"].get(minion) for minion in found["nodes_of"][failed])]
    for where in filter(None, drifted):
        for name, rows in where["tables"].items():
            sums = tables.setdefault(name, {**dict.fromkeys(LOST, 0), "complete": True})
            for kind in LOST:
                sums[kind] += rows[kind]
            sums["complete"] &= rows["complete"]
    return tables


def approve(plan, reason=None):
    """
    Approve an open plan, and start the orchestration that does exactly what it says.

    All nodes are looked at once more. If anything that the plan binds has changed since it was made, it is outdated,
    and nothing is started; the orchestration itself looks again, before its first change.

    plan
        Its id, as ``reprovision.plan`` returns it.
    reason
        For the record.

    Returns ``{"plan", "site", "run": the id of the run that is gone on with, or None, "jid": of the orchestration,
    "watch": the command to watch it with, "command": what starts it again if it is refused for a passing reason}``.
    Raises CommandExecutionError when the plan is not open, when who approves it may not, when a run is impossible now,
    or with what has changed.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.approve east-20261125T150102-1a2b 'rows are saved, go on'
    """
    who, tungsten = _who(), _tungsten()
    topology = _exec("topology.merge", tungsten, _exec("plans.load", plan)["binding"]["order"])
    site = topology["reprovision"]["failed"]
    rules = {"second_person": topology["plans"]["second_person"],
             "by_itself": topology["sites"][site]["on_drift"] == "reprovision"}
    kept = _exec("plans.consider", plan, who, **rules)
    found = _surveyed(topology)
    now = _exec("planning.binding", topology, found)
    if _exec("planning.digest", now) != kept["digest"]:
        changed = _exec("planning.changes", kept["binding"], now)
        _exec("plans.decide", plan, "outdated", who, "; ".join(changed))
        raise CommandExecutionError(
            f"Plan {plan} is outdated, nothing was started. What has changed since it was made: {'; '.join(changed)}. "
            f"A new one: salt-run reprovision.plan {site} {topology['reprovision']['definitive']}")
    _exec("plans.decide", plan, "approved", who, reason, **rules)
    # A drift event in the seconds before the run has its lock starts no other one.
    _exec("runlock.claim", site, "starting", STARTING_SECONDS)
    order = {**_order(topology), "plan": plan}
    client = salt.runner.RunnerClient(__opts__)
    # Salt's own name of who called, so that the run's record has it too.
    job = client.asynchronous("state.orchestrate", {"mods": "orch.reprovision", "pillar": {"reprovision": order}},
                              user=_caller())
    log.warning("Plan %s approved by %s: orchestration started as job %s", plan, who, job["jid"])
    return {"plan": plan, "site": site, "run": found["run"], "jid": job["jid"],
            "watch": f"salt-run reprovision.watch {site}", "command": _exec("runwords.command", order)}


def deny(plan, reason=None):
    """
    Deny an open plan: nobody can approve it any more.

    plan
        Its id.
    reason
        For the record.

    Returns the plan with ``decided``. Raises CommandExecutionError if it is not open.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.deny east-20261125T150102-1a2b 'it was only late'
    """
    return _exec("plans.decide", plan, "denied", _who(), reason)


def plans(site=None):
    """
    Return every plan on record, oldest first: ``[{"plan", "site", "state", "by", "why", "made", "expires", "decided",
    "run"}]``.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.plans
        salt-run reprovision.plans east --out=json
    """
    kept = ("plan", "site", "state", "by", "why", "made", "expires", "decided", "run")
    return [{key: found[key] for key in kept} for found in _exec("plans.every", site)]


def plan_record(plan):
    """
    Return a plan with all that it holds, as docs/plans.md tells. Asks no node.

    plan
        Its id, as ``reprovision.plans`` shows it.

    Raises CommandExecutionError when there is none.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.plan_record east-20261125T150102-1a2b --out=json
    """
    return _exec("plans.load", plan)


def status(site=None, nodes=True):
    """
    Return how every site stands at this moment: policy, routers, datasources, replicators, what of it is wrong, and the
    newest run of the site. On a terminal it is a picture; with ``--out=json`` it is the data and nothing else.

    site
        Only this one. All sites of the pillar if not given.
    nodes
        False to ask no node, and to tell of the runs alone, which the master knows by itself.

    Returns ``{site: {"policy", "primary", "routers", "nodes", "wrong": [texts], "run"}}``, all but the last as
    ``siteview.judge`` returns it. ``run`` is None or ``{"run", "state", "step", "steps": "7 of 22", "attempts",
    "donor", "donor_state", "progress", "process", "next"}``. Its ``state`` is ``running``, ``done``, ``failed``,
    ``aborted``, or ``interrupted``: the record says running, but its process has died. ``next`` is what to do. Raises
    CommandExecutionError when the pillar has faults or does not name the site.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.status
        salt-run reprovision.status east --out=json
        salt-run reprovision.status nodes=False --out=json

    Manual: operations-status.
    """
    topology = _exec("topology.checked", _tungsten())
    sites = topology["sites"]
    if site is not None and (not isinstance(site, str) or site not in sites):
        raise CommandExecutionError(f"{str(site)[:50]!r} is not one of the sites {', '.join(sites)}")
    chosen = list(sites) if site is None else [site]
    views = _exec("siteview.look", topology, chosen) if nodes else dict.fromkeys(chosen, {})
    data = {name: {**views[name], "run": _newest_run(name)} for name in chosen}
    # Salt's own way to name how a return is shown; --out goes before it.
    return {"data": data, "outputter": "tungsten_sites"}


def _newest_run(site):
    found = _exec("runrecord.latest", site)
    if not found:
        return None
    holder = _exec("runlock.running", site)
    state = _state(found, holder)
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


def report(site, run=None, page=False, commands=False):
    """
    Tell all that is on record of a run: who, when, every step and what each node said, how long the donor was away,
    what was copied and verified, how the sites stood before and after it, how to go on. On a terminal it is a text for
    a ticket; with ``--out=json`` it is the data.

    site
        The failed site.
    run
        The id of the run; the newest one if not given.
    page
        True to write it as one HTML page, which loads nothing from anywhere, beside the record, for the master's own
        user. The nodes' commands are on it.
    commands
        True to ask the nodes, which write it down, what cctrl and trepctl were told from the run's begin to its end,
        and what they answered. It is in the data, not in the text.

    Returns what ``runreport.tell`` returns, and ``{"text": the text, "page": path of the page or None}``. Raises
    CommandExecutionError when there is no such run.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.report east
        salt-run reprovision.report east page=True
        salt-run reprovision.report east 20261127T024250-940 commands=True --out=json
    """
    found = record(site, run)
    plan = _exec("plans.load", found["plan_id"]) if found.get("plan_id") else None
    asked = _commands(found) if page is True or commands is True else None
    told = _exec("runreport.tell", found, _state(found, _exec("runlock.running", site)), plan, asked)
    written = _exec("runrecord.keep_page", site, found["run"], _exec("runpage.make", told)) if page is True else None
    return {"data": {**told, "text": _exec("runreport.text", told), "page": written}, "outputter": "tungsten_report"}


def _commands(found):
    asked = {"begun": found["started"], "ended": found.get("finished") or _exec("runrecord.now")}
    waiting = [minion for nodes in found["nodes"].values() for minion in nodes.values()]
    told, part = {"answers": {minion: [] for minion in waiting}, "faults": {}}, 0
    while waiting and part < MOST_PARTS:
        gathered = _exec("fleet.gather", waiting, "vendorlog.read", timeout=15, kwarg={**asked, "part": part})
        told["faults"].update(gathered["faults"])
        part += 1
        waiting = []
        for minion, answer in gathered["answers"].items():
            try:
                told["answers"][minion] += [
                    {key: kind(entry[key]) for key, kind in COMMAND.items()} for entry in answer["commands"]]
                waiting += [minion] if answer["parts"] > part else []
            except (TypeError, KeyError, ValueError):
                told["faults"][minion] = "its answer to vendorlog.read is none"
    return told


def notify(what="done", text="This is only to see whether it arrives."):
    """
    Send a message as a run would, in every way that ``reprovision_notify`` of the master's configuration names for it.

    what
        ``started``, ``approval``, ``failed`` or ``done``.
    text
        What to say.

    Returns the ways it was sent, such as ``["webhook", "syslog"]``. Raises CommandExecutionError when there is none, or
    with what one of them said.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.notify
        salt-run reprovision.notify failed
    """
    told = _exec("notify.send", what, "none", text)
    faults = [f"{each['way']}: {each['fault']}" for each in told if each["fault"]]
    if faults or not told:
        raise CommandExecutionError("; ".join(faults) or f"reprovision_notify names no way to tell {str(what)[:20]!r}")
    return [each["way"] for each in told]


def _state(found, holder):
    """A record says running for as long as its process lives, and afterwards, if that died."""
    if found["state"] == "running" and (holder is None or holder.get("run") != found["run"]):
        return "interrupted"
    return found["state"]


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
    elif not found.get("copied") and any(step.startswith("10 ") for step in found["steps"]):
        _end_copies(found)
    _exec("runrecord.save", found)
    return {key: found[key] for key in ("run", "state", "donor_state")}


def _caller():
    """Salt's name for who called: it puts that into this module before each call, and no argument can set it."""
    return globals().get("__user__", "UNKNOWN")


def _who():
    """The person behind it; ``event`` for the reactor."""
    return _exec("runwords.person", _caller())


def _end_copies(found):
    """On the donor; an error says that one may still be writing into the failed site."""
    minion = found["nodes"][found["definitive"]][found["donor"]]
    _exec("fleet.ask", [minion], "longjob.stop_all", kwarg={"prefix": "copy-"})
    return minion


def _give_back(found):
    minion = _end_copies(found)
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
