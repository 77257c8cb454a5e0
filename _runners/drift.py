"""
Has a site drifted, or is it only late? Compares the data of the sites while they are being written to, looks at a site
of which an event says that it has drifted, and saves what a re-provisioning would lose.
"""

import copy
import logging
import re
import sys
import time

import salt.loader
import salt.utils.event
from salt.exceptions import CommandExecutionError

__virtualname__ = "drift"

log = logging.getLogger(__name__)

# Seconds of work after which the nodes are asked how far behind they are.
LAG_EVERY = 20
# Exit codes of salt-run.
DRIFTED, UNPROVED = 2, 3
NODES = ("replicas", "one", "all")
# Seconds. Also when the pillar wants no cool-down, events that come together are one.
LEAST_COOLDOWN = 10
KNOWN_SECONDS = 30
# A node that is behind for longer does not catch up by being left alone.
PATIENCE_SECONDS = 1800
# A check whose last piece of work is older has seen data of another time.
RESUMED_SECONDS = 7200
_TABLE = re.compile(r"[^.]+\..+", re.DOTALL)
_REPORTER = re.compile(r"[A-Za-z0-9._-]{1,255}")


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


def _topology():
    """As the pillar of the orchestration itself has it."""
    return _exec("topology.checked", __salt__["pillar.show_pillar"](minion=__opts__["id"]).get("tungsten"))


def _say(text):
    print(text, file=sys.stderr, flush=True)


# --- what an event sets off


def react(site, reporter=None):
    """
    React to an event ``tungsten/drift/<site>``: start a look at that site, unless there was one a while ago.

    Called by the reactor, so it is over in milliseconds for an event that repeats another one. The event's payload is
    not even passed here.

    site
        The last part of the event's tag; checked against the pillar.
    reporter
        The minion that sent the event, for the log only.

    Returns ``{"site", "decision", "jid": of the look, if one was started}``. Raises CommandExecutionError when the
    pillar has faults or the look cannot be started.

    CLI Example:

    .. code-block:: bash

        salt-run drift.react east
    """
    reporter = reporter if isinstance(reporter, str) and _REPORTER.fullmatch(reporter) else "unknown"
    # Before the pillar is rendered: a storm of events costs no more than the reading of one small file each.
    if _exec("runlock.claimed", site, "look"):
        return {"site": site, "decision": "nothing: it was looked at a while ago"}
    sites = _known_sites()
    if not isinstance(site, str) or site not in sites:
        log.warning("Drift event of %s for an unknown site ignored: %.80r", reporter, site)
        return {"site": str(site)[:80], "decision": f"nothing: it is none of the sites {', '.join(sites)}"}
    topology = _topology()
    cooldown = max(LEAST_COOLDOWN, topology["drift"]["cooldown"])
    if not _exec("runlock.claim", site, "look", cooldown):
        return {"site": site, "decision": "nothing: it is being looked at already"}
    if topology["sites"][site]["on_drift"] == "ignore":
        log.warning("Drift of site %s reported by %s; on_drift is ignore, nothing is done", site, reporter)
        return {"site": site, "decision": "ignored"}
    log.warning("Drift of site %s reported by %s: it is looked at", site, reporter)
    try:
        job = _exec("freshjob.start", "drift.look", {"site": site, "reporter": reporter})
    except CommandExecutionError:
        # The next event shall try again.
        _exec("runlock.unclaim", site, "look")
        raise
    return {"site": site, "decision": "it is looked at", "jid": job["jid"]}


def _known_sites():
    """For events about sites that nobody knows: their names are remembered for a while, not read for each of them."""
    known = __context__.get("drift.sites")
    if not known or time.monotonic() - known[0] > KNOWN_SECONDS:
        known = __context__["drift.sites"] = (time.monotonic(), list(_topology()["sites"]))
    return known[1]


def look(site, reporter=None):
    """
    Look at a site as if a drift event had come, and do what its pillar's ``on_drift`` says if it has drifted.

    The master looks for itself: at the replicators of the site's nodes, at the rows that the newest check found to
    differ, and, unless those still do, at all data by ``drift.check``. Only what that proves counts. ``plan`` makes a
    plan (``reprovision.plan``) that a person has to approve; ``reprovision`` saves the rows that would be lost, makes
    a plan and approves it. What may be destroyed, and from where, comes from the pillar alone.

    site
        The site.
    reporter
        Who said so, for the record.

    Returns the note as it is kept for ``reprovision.reported``: ``{"site", "on_drift", "proved", "why", "decision",
    "plan", "saved", "command"}``. Raises CommandExecutionError when the pillar has faults, or the nodes cannot be
    looked at.

    CLI Example:

    .. code-block:: bash

        salt-run drift.look east
    """
    topology = _topology()
    if site not in list(topology["sites"]):
        raise CommandExecutionError(f"{str(site)[:80]!r} is none of the sites {', '.join(topology['sites'])}")
    note = {"on_drift": topology["sites"][site]["on_drift"], "reporter": reporter, "proved": False, "why": None,
            "plan": None, "saved": None, "command": None}
    if not _exec("runlock.look_begins", site):
        return {"site": site, **note, "decision": "nothing: it is being looked at already"}
    try:
        note.update(_look(topology, site, note["on_drift"]))
    except Exception as error:  # noqa: BLE001 - nobody is there to see it, so it has to be on record
        note.update(decision=f"it could not be looked at to the end: {error}", command=f"salt-run drift.look {site}")
        _noted(site, note)
        raise
    finally:
        # What has been seen during the look does not count as new.
        _exec("runlock.unclaim", site, "look")
        _exec("runlock.claim", site, "look", max(LEAST_COOLDOWN, topology["drift"]["cooldown"]))
        _exec("runlock.look_ends")
    return _noted(site, note)


def _noted(site, note):
    log.warning("Drift of site %s: %s (%s)", site, note["decision"], note["why"])
    return _exec("runrecord.report", site, note)


def _look(topology, site, on_drift):
    order = topology["reprovision"]
    running, plan = _exec("runlock.running", site), _exec("plans.open", site)
    if running is None and _exec("runlock.claimed", site, "starting"):
        # Approved a moment ago, and not yet where it takes the lock.
        running = {"run": "that is starting"}
    if running is not None:
        return {"decision": f"nothing: run {running.get('run')} is on it",
                "command": f"salt-run reprovision.watch {site}"}
    if plan:
        return {"decision": f"nothing: plan {plan['plan']} is open", "plan": plan["plan"],
                "proved": plan["by"] == "event", "why": plan["why"],
                "command": f"salt-run reprovision.approve {plan['plan']}"}
    if on_drift == "ignore":
        return {"decision": "nothing: on_drift is ignore"}
    if order.get("failed") != site or not order.get("definitive"):
        return {"decision": "nothing: tungsten:reprovision in pillar does not name this site as failed and another one "
                            "as definitive, so a person must decide", "command": "salt-run drift.check"}
    by_itself = on_drift == "reprovision" and not topology["plans"]["second_person"]
    signs = _exec("driftlook.signs", topology, site)
    found = _data(topology, site, by_itself)
    concluded = _exec("driftlook.conclude", site, list(topology["sites"][site]["nodes"].values()), signs, found)
    if not concluded["proved"]:
        return {**concluded, "decision": "nothing: no drift is proved", "command": "salt-run drift.check"}
    return {**concluded, **_decide(topology, site, by_itself, concluded["why"], found)}


def _data(topology, site, by_itself):
    """The record of a check that says what the data are now; None if they could not be looked at."""
    reference = topology["reprovision"]["definitive"]
    last = None if by_itself else _exec("checkrecord.latest", finished=True, whole=True)
    try:
        if last and last["reference"] == reference and _still(last, site):
            return last
    except CommandExecutionError as error:
        # It may have looked at a node that is down by now; a new one does without it.
        log.warning("The rows that check %s found cannot be looked at again: %s", last["check"], error)
    try:
        # Where nobody is asked, all that is thrown away has been looked at before, and is saved: on primaries as well.
        done = check(reference=reference, nodes="all" if by_itself else "replicas", fresh=True)
    except CommandExecutionError as error:
        # The replicators may have said enough.
        log.warning("The data of site %s could not be compared: %s", site, error)
        return None
    return _exec("checkrecord.load", done["check"])


def _still(last, site):
    """Whether rows that an earlier check found on this site differ now: they are looked at anew, not remembered."""
    keys = last["rows_found"]["keys"]
    if not keys or site not in _exec("driftfindings.drifted", last):
        return False
    minions = last["looked_at"]
    compared = _exec("tablecompare.recheck", minions, keys, sources=last["primaries"])
    while compared["phase"] != "done":
        compared = _exec("tablecompare.step", compared)
    again = _exec("tablecompare.result", compared)
    judged = _exec("driftfindings.judge", again, compared["tables"], last["nodes_of"], last["reference"])
    return site in _exec("driftfindings.drifted", {**last, **judged, "schema": {}})


def _decide(topology, site, by_itself, why, found):
    order, saved = topology["reprovision"], None
    unseen = _unseen(topology, site, found) if by_itself else None
    if unseen:
        by_itself, why = False, f"{why}; a person has to decide, since what would be lost is not known: {unseen}"
    if by_itself and _to_be_saved(found):
        try:
            saved = save(site, found["check"])
        except CommandExecutionError as error:
            by_itself, why = False, f"{why}; its rows could not be saved: {error}"
    plan = __salt__["reprovision.plan"](
        **{key: order[key] for key in ("failed", "definitive", "donor") if order.get(key)}, why=why)["plan"]
    told = {"plan": plan, "saved": saved, "command": f"salt-run reprovision.approve {plan}", "why": why}
    if not by_itself:
        return {**told, "decision": "a plan was made; a person must approve it"}
    started = __salt__["reprovision.approve"](plan, reason="on_drift: reprovision")
    return {**told, "decision": f"plan {plan} was made, approved and started as job {started['jid']}",
            "command": f"salt-run reprovision.watch {site}"}


def _unseen(topology, site, found):
    """What of a site's data nobody has looked at, so that it could not be saved either; empty if there is nothing."""
    if not found:
        return "its data could not be compared"
    left_out = {minion: why for minion, why in found["not_looked_at"].items()
                if minion in topology["sites"][site]["nodes"].values()}
    return "; ".join(f"{what} was not looked at: {why}" for what, why in (*left_out.items(), *found["skipped"].items()))


# --- what would be lost


def save(site, check=None):
    """
    Save the rows of a site that differ from the reference, before it is re-provisioned: as SQL, in files of its nodes.

    Each node that was looked at writes the rows that it has, with ``REPLACE`` statements, readable for root only,
    outside of its data locations. Rows that only the reference has are nothing that could be lost. Nothing is applied
    anywhere.

    site
        The site whose rows are to be saved.
    check
        The drift check that found them; the newest one that has ended if not given.

    Returns ``{"check", "files": {minion: {"path", "rows", "tables"}}}``. Raises CommandExecutionError if there is no
    such check, it found nothing on this site, or a node could not write its file.

    CLI Example:

    .. code-block:: bash

        salt-run drift.save east
    """
    found = _exec("checkrecord.load", check) if check else _exec("checkrecord.latest", finished=True)
    if not found or not found["verdict"]:
        raise CommandExecutionError("There is no drift check that has ended: salt-run drift.check")
    minions = found["nodes_of"].get(site)
    if not minions:
        raise CommandExecutionError(f"Check {found['check']} did not look at a site {str(site)[:80]!r}")
    rows = _to_be_saved(found)
    if not rows:
        raise CommandExecutionError(f"Check {found['check']} found no rows that differ: there is nothing to save")
    files = _exec("fleet.ask", minions, "rowsave.save", timeout=60,
                  kwarg={"name": f"{found['check']}-{site}", "rows": rows})
    found.setdefault("saved", {}).setdefault(site, []).append({"at": _exec("runrecord.now"), "files": files})
    _exec("checkrecord.save", found)
    return {"check": found["check"], "files": files}


def _to_be_saved(found):
    """What ``rowsave.save`` takes. A table that is made otherwise was not compared: all of its rows may be lost."""
    keys = found["rows_found"]["keys"]
    whole = {**found["rows_found"]["whole"], **{name: [{}] for name in found["schema"]}}
    return {name: {"keys": keys.get(name, []), "parts": whole.get(name, [])} for name in sorted({*keys, *whole})}


# --- the check


def check(reference=None, nodes="replicas", tables=None, looks=3, share=None, fresh=False, event=False):
    """
    Compare the data of the sites while they are being written to: which rows differ, on which site or node.

    Reads only and locks no rows. Every part of every table is checksummed on a replica of each site; what differs is
    looked at again after replication has passed, until it is equal or proved different. A check that was interrupted is
    gone on with by the same command, within two hours.

    reference
        The site that is taken to be right: ``missing`` and ``extra`` are told from its point of view. The pillar's
        definitive site if not given, else the first one.
    nodes
        ``replicas`` looks at every replica, and at a primary only where a site has no other node; ``one`` at one
        replica of each site; ``all`` at primaries as well.
    tables
        List of tables, ``schema.table``; all if not given.
    looks
        At so many looks a row has to differ, and stand still, to count as different.
    share
        Percent of the time that a node may work for it; the pillar's ``drift:share`` if not given.
    fresh
        Begin anew instead of going on with an interrupted check.
    event
        Fire ``tungsten/drift/<site>`` for every site that has drifted, as a schedule wants it.

    Returns ``{"check": id, "verdict": "equal", "drifted" or "unproved", "reference", "looked_at": [minions],
    "not_looked_at": {minion: why}, "sites": {site: {"tables": {table: {"changed", "missing", "extra", "complete",
    "keys"}}}}, "nodes": {minion: the same, where it differs from its own site}, "schema": {table: {"reason",
    "differences"}}, "skipped": {table: why}, "unproved": {table: why}, "tables", "rows", "looks", "seconds",
    "rows_a_second", "started", "finished", "retcode"}``. Exit code 0 for equal, 2 for drifted, 3 for unproved.
    Progress goes to stderr. Raises CommandExecutionError when a node stops answering, when no node of a site can be
    looked at, or when another check is running.

    CLI Example:

    .. code-block:: bash

        salt-run drift.check
        salt-run drift.check nodes=all share=100 --out=json
        salt-run drift.check tables='[shop.orders]' reference=west
    """
    topology = _topology()
    settings = {
        "reference": _reference(topology, reference), "nodes": nodes, "tables": tables, "looks": looks,
        "share": topology["drift"]["share"] if share is None else share}
    _refuse_nonsense(settings)
    _exec("checkrecord.acquire")
    try:
        chosen, left_out, primaries = _exec("driftlook.nodes", topology, settings["nodes"])
        order = [settings["reference"], *(site for site in chosen if site != settings["reference"])]
        sites = {site: chosen[site] for site in order}
        current = None if fresh else _unfinished(settings, sites)
        if current:
            _say(f"Going on with check {current['check']}, begun {current['started']}.")
        else:
            current = _begin(settings, sites, left_out, primaries)
        _carry_on(current, topology["drift"]["max_lag"])
        found = _finish(current)
    finally:
        _exec("checkrecord.release")
    _say(_exec("driftfindings.text", found))
    if event:
        _tell(found)
    # salt-run ends with what a returned dictionary calls retcode.
    return {**_shown(found), "retcode": {"equal": 0, "drifted": DRIFTED, "unproved": UNPROVED}[found["verdict"]]}


def _reference(topology, reference):
    if reference is None:
        return topology["reprovision"].get("definitive") or next(iter(topology["sites"]))
    if reference not in list(topology["sites"]):
        raise CommandExecutionError(f"{str(reference)[:80]!r} is none of the sites {', '.join(topology['sites'])}")
    return reference


def _refuse_nonsense(settings):
    # Not by SaltInvocationError, with which salt-run ends as if all were well.
    if settings["nodes"] not in NODES:
        raise CommandExecutionError(f"nodes must be one of {', '.join(NODES)}, not {settings['nodes']!r}")
    for key, most in (("looks", 20), ("share", 100)):
        if isinstance(settings[key], bool) or not isinstance(settings[key], int) or not 1 <= settings[key] <= most:
            raise CommandExecutionError(f"{key} must be a whole number, 1 to {most}, not {settings[key]!r}")
    tables = settings["tables"]
    if tables is not None and not (isinstance(tables, list) and tables and all(
            isinstance(name, str) and _TABLE.fullmatch(name) for name in tables)):
        raise CommandExecutionError(f"tables must be a list of schema.table, not {tables!r}")


def _unfinished(settings, sites):
    """An interrupted check of the same nodes, of now: what it has read must not have been replaced since."""
    found = _exec("checkrecord.latest", finished=False)
    if not found or found["settings"] != settings or found["nodes_of"] != sites:
        return None
    runs = [_exec("runrecord.latest", site) for site in sites]
    if time.time() - found["at"] > RESUMED_SECONDS or any(run and run["started"] > found["started"] for run in runs):
        return None
    return found


def _begin(settings, sites, left_out, primaries):
    compared = _exec("tablecompare.begin", [minion for minions in sites.values() for minion in minions],
                     looks=settings["looks"], share=settings["share"], only=settings["tables"], sources=primaries)
    current = {
        "check": _exec("checkrecord.new_id"), "verdict": None, "settings": settings, "started": _exec("runrecord.now"),
        "at": time.time(), "worked": 0.0, "nodes_of": sites, "primaries": primaries, "not_looked_at": left_out,
        "compared": compared,
    }
    _exec("checkrecord.save", current)
    return current


def _carry_on(current, max_lag):
    compared, last, said = current["compared"], time.monotonic(), 0
    since_lag = 0.0
    while compared["phase"] != "done":
        if compared["phase"] == "reading" and since_lag >= LAG_EVERY:
            _wait_for(compared["minions"], max_lag)
            since_lag, last = 0.0, time.monotonic()
        compared = _exec("tablecompare.step", compared)
        now = time.monotonic()
        since_lag += now - last
        current["worked"] += now - last
        last = now
        current.update(compared=compared, at=time.time())
        _exec("checkrecord.save", current)
        if now - said > 2:
            said = now
            _say(_progress(current))


def _wait_for(minions, max_lag):
    """A node that is behind has enough to do."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        behind = _exec("verify.behind", minions, max_lag)
        if not behind:
            return
        words = "; ".join(f"{minion}: {why}" for minion, why in behind.items())
        if time.monotonic() > deadline:
            raise CommandExecutionError(
                f"The check has waited for {PATIENCE_SECONDS // 60} minutes, and would burden who cannot keep up: "
                f"{words} (tungsten:drift:max_lag). The same command goes on with it.")
        _say(f"waiting: {words}")
        time.sleep(5)


def _progress(current):
    compared = current["compared"]
    if compared["phase"] == "again":
        return f"  {len(compared['suspects'])} parts that differed are looked at again"
    if compared["phase"] == "tables":
        return f"  {len(compared['schema'])} tables that were not alike are looked at again"
    if compared["phase"] == "rows":
        rows = sum(map(len, compared["keys"].values()))
        return f"  look {compared['look']} at {rows} rows that differ"
    share = min(1.0, compared["rows"] / compared["estimate"]) if compared["estimate"] else 0.0
    left = current["worked"] * (1 - share) / share if share else None
    return (f"  {share:4.0%}  {compared['rows']:,} of about {compared['estimate']:,} rows, {compared['parts']} parts, "
            f"{len(compared['suspects'])} to be looked at again"
            + (f", about {left:.0f} s left" if left is not None else ""))


def _finish(current):
    compared = _exec("tablecompare.result", current["compared"])
    names = sorted(compared["schema"])
    definitions = _exec(
        "fleet.ask", current["compared"]["minions"], "tabledata.definitions", kwarg={"names": names}) if names else {}
    sites, reference = current["nodes_of"], current["settings"]["reference"]
    seconds = round(current["worked"], 1)
    judged = _exec("driftfindings.judge", compared, current["compared"]["tables"], sites, reference)
    found = {
        "check": current["check"], "reference": reference,
        "looked_at": current["compared"]["minions"], "not_looked_at": current["not_looked_at"], **judged,
        "schema": _exec("driftfindings.schema", compared, definitions, sites, reference),
        "skipped": compared["skipped"],
        "unproved": {**judged["unproved"], **{name: each["why"] for name, each in compared["unproved"].items()}},
        "tables": compared["tables"], "rows": compared["rows"], "looks": compared["looks"], "seconds": seconds,
        "rows_a_second": round(compared["rows"] / seconds) if seconds else None,
        "started": current["started"], "finished": _exec("runrecord.now"),
        "settings": current["settings"], "nodes_of": sites, "primaries": current["primaries"],
        "rows_found": _rows_found(compared),
    }
    found["verdict"] = _exec("driftfindings.verdict", found)
    _exec("checkrecord.save", found)
    return found


def _rows_found(compared):
    """For whoever looks at, or saves, these very rows later; what could not be proved may be lost as well."""
    keys = {name: list(rows) for name, rows in compared["differing"].items()}
    whole = dict(compared["whole"])
    for name, about in compared["unproved"].items():
        if about["keys"]:
            keys.setdefault(name, []).extend(about["keys"])
        elif name not in whole:
            whole[name] = [{}]
    return {"keys": keys, "whole": whole}


def _shown(found):
    kept_back = ("settings", "nodes_of", "primaries", "rows_found")
    return {key: value for key, value in found.items() if key not in kept_back}


def _tell(found):
    """What the reactor listens to; it looks for itself, so this says no more than where to look."""
    with salt.utils.event.get_event("master", opts=__opts__, listen=False) as bus:
        for site in _exec("driftfindings.drifted", found):
            bus.fire_event({"check": found["check"], "id": __opts__["id"]}, f"tungsten/drift/{site}")


def show(check=None):
    """
    Return what a check has found, or how far it is.

    check
        Its id; the newest one if not given.

    Returns what ``drift.check`` returns; of one that has not ended ``{"check", "verdict": None, "started",
    "progress"}``. The same in words goes to stderr. Raises CommandExecutionError if there is none.

    CLI Example:

    .. code-block:: bash

        salt-run drift.show
        salt-run drift.show 20261125T150102-1a2b --out=json
    """
    found = _exec("checkrecord.load", check) if check else _exec("checkrecord.latest")
    if not found:
        raise CommandExecutionError("There is no such drift check on record: salt-run drift.check")
    if not found["verdict"]:
        progress = _progress(found).strip()
        return {"check": found["check"], "verdict": None, "started": found["started"], "progress": progress}
    _say(_exec("driftfindings.text", found))
    return _shown(found)
