"""
The plans for runs that a person decides about: one JSON a plan under the master's cachedir, and what may become of it.

A plan is open until somebody approves or denies it, a newer one supersedes it, the facts under it change or its time is
over. An approved one is used by one run; the run that finds other facts than were approved refuses it. Whoever changes
a plan holds the lock of its site's plans, so that of two decisions at once one comes too late.
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import secrets
import time
from pathlib import Path

import salt.utils.atomicfile
import salt.utils.event
import salt.utils.files
from salt.exceptions import CommandExecutionError

__virtualname__ = "plans"
__func_alias__ = {"open_": "open"}

log = logging.getLogger(__name__)

_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_ID = re.compile(r"(?P<site>[A-Za-z0-9][A-Za-z0-9_-]{0,62})-\d{8}T\d{6}-[0-9a-f]{4}")
# Seconds in which an approved plan has to be begun: what was looked at for the approval grows old.
APPROVED_SECONDS = 3600
# So many of a site are kept. One that is open, approved or used is never thrown away: a run may have to show it.
KEPT = 50
DECISIONS = ("approved", "denied", "outdated")
# Who is named so is no person, and nobody knows who it is.
NOBODY = ("event", "unknown")


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "plans keeps the master's plans; this is a minion"
    return __virtualname__


# --- the files


def _folder(site):
    if not isinstance(site, str) or not _SITE.fullmatch(site):
        raise CommandExecutionError(f"{str(site)[:80]!r} is not a site name")
    return Path(__opts__["cachedir"]) / "reprovision" / site / "plans"


def _path(plan):
    """Where a plan lies. Its id comes from outside: no path is made of another text, no folder for an unknown site."""
    found = _ID.fullmatch(plan) if isinstance(plan, str) else None
    if not found:
        raise CommandExecutionError(f"{str(plan)[:80]!r} is not the id of a plan")
    folder = _folder(found["site"])
    if not folder.is_dir():
        raise CommandExecutionError(f"There is no plan {plan}; see them all with: salt-run reprovision.plans")
    return folder / f"{plan}.json"


@contextlib.contextmanager
def _locked(folder):
    with (folder / "lock").open("a") as handle:
        os.fchmod(handle.fileno(), 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _write(plan):
    # On closing, Salt's atomic file gets the mode of the umask, whatever was done to it before.
    with salt.utils.files.set_umask(0o077), salt.utils.atomicfile.atomic_open(str(_path(plan["plan"])), "w") as out:
        out.write(json.dumps(plan, indent=2))


def _read(path):
    try:
        plan = json.loads(path.read_text())
    except FileNotFoundError:
        raise CommandExecutionError(
            f"There is no plan {path.stem}; see them all with: salt-run reprovision.plans") from None
    except ValueError as error:
        raise CommandExecutionError(f"{path} is not readable as JSON: {error}") from error
    # Judged whenever it is looked at: nobody has to come by at the right time to close it.
    if plan["state"] in ("open", "approved") and __salt__["runrecord.now"]() >= plan["expires"]:
        plan["state"] = "expired"
    return plan


def _all(folder):
    # Their ids begin with the site, then comes the time: the order of names is that of their making.
    return [_read(path) for path in sorted(folder.glob("*.json")) if _ID.fullmatch(path.stem)]


def _become(plan, state, **more):
    """Write a plan's new state, and tell whoever listens; that nobody can hear it changes nothing."""
    plan.update(state=state, **more)
    _write(plan)
    tag = f"salt/reprovision/{plan['site']}/plan/{plan['plan']}/{state}"
    told = {key: plan.get(key) for key in ("plan", "site", "state", "by", "why", "expires", "decided", "run")}
    try:
        with salt.utils.event.get_event("master", opts=__opts__, listen=False) as bus:
            bus.fire_event(told, tag)
    except Exception as error:  # noqa: BLE001 - whatever the bus has, the file tells the same
        log.warning("%s was not sent: %s", tag, error)
    return plan


def _later(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def _words(text):
    """A person's or a tool's words on one line: no escape sequence of theirs reaches a terminal."""
    if text is None:
        return None
    return "".join(letter for letter in " ".join(str(text)[:2000].split()) if letter.isprintable())[:500] or None


# --- making and reading them


def propose(plan, by, hours, why=None):
    """
    Keep a new plan as the open one of its site; an older open one is superseded.

    If the open one is the same, by its ``digest``, that is returned and nothing is written: many who want the same make
    one plan.

    plan
        As ``planning.make`` returns it.
    by
        Who made it, ``event`` for the reactor.
    hours
        So long it is open.
    why
        For the record.

    Returns the plan with ``{"plan": its id, "state": "open", "by", "why", "made", "expires", "decided": None, "run":
    None}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd plans.propose "$plan" alice 24
    """
    site = plan["site"]
    folder = _folder(site)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(folder):
        before = open_(site)
        if before and before["digest"] == plan["digest"]:
            return before
        made = {
            **plan, "plan": f"{site}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(2)}", "by": by,
            "why": _words(why), "made": __salt__["runrecord.now"](), "expires": _later(hours * 3600), "decided": None,
            "run": None}
        if _path(made["plan"]).exists():
            raise CommandExecutionError(f"There is a plan {made['plan']} already; make it again")
        if before:
            _become(before, "superseded", by_plan=made["plan"])
        _become(made, "open")
        _forget(folder)
    __salt__["notify.of_plan"](made)
    return made


def _forget(folder):
    for plan in _all(folder)[:-KEPT]:
        if plan["state"] not in ("open", "approved", "used"):
            _path(plan["plan"]).unlink(missing_ok=True)


def open_(site):
    """
    Return the open plan of a site, or None. One whose time is over is not open.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd plans.open east
    """
    found = [plan for plan in _all(_folder(site)) if plan["state"] == "open"]
    return found[-1] if found else None


def load(plan):
    """
    Return a plan by its id.

    Raises CommandExecutionError if that is no id or there is no such plan.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd plans.load east-20261125T150102-1a2b
    """
    return _read(_path(plan))


def every(site=None):
    """
    Return all plans of a site, or of every site, oldest first.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd plans.every east
    """
    return [plan for name in ([site] if site else __salt__["runrecord.sites"]()) for plan in _all(_folder(name))]


# --- deciding about them


def consider(plan, who, second_person=False, by_itself=False):
    """
    Return an open plan, if this person may approve it.

    who
        Who wants to approve it.
    second_person
        True if it has to be somebody else than who made it; one that an event has made may be approved by anybody.
    by_itself
        True if the pillar lets a drift event re-provision the site: then an event may approve what an event has
        planned, unless there has to be a second person. Nothing else is approved by an event.

    Raises CommandExecutionError that says why not.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd plans.consider east-20261125T150102-1a2b bob second_person=True
    """
    found = _still(load(plan), "open")
    _refuse_person(found, who, second_person, by_itself)
    return found


def _still(plan, state):
    if plan["state"] != state:
        decided = plan["decided"] or {}
        how = f" by {decided['who']} at {decided['at']}" if plan["state"] == decided.get("state") else ""
        how += f" by run {plan['run']}" if plan["run"] else ""
        raise CommandExecutionError(
            f"Plan {plan['plan']} is {plan['state']}{how}, not {state}. A new one: salt-run reprovision.plan "
            f"{plan['site']} {plan['binding']['order']['definitive']}")
    if plan["digest"] != __salt__["planning.digest"](plan["binding"]):
        raise CommandExecutionError(f"The file of plan {plan['plan']} is damaged: it is not what was planned")
    return plan


def _refuse_person(plan, who, second_person, by_itself):
    if who == "event" and plan["by"] == "event" and by_itself and not second_person:
        return
    if not who or who in NOBODY:
        raise CommandExecutionError(f"Plan {plan['plan']} has to be approved by a person, not by {who}")
    if second_person and plan["by"] != "event" and plan["by"] in (who, *NOBODY):
        raise CommandExecutionError(
            f"Plan {plan['plan']} was made by {plan['by']}; somebody else has to approve it "
            "(tungsten:plans:second_person)")


def decide(plan, state, who, reason=None, second_person=False, by_itself=False):
    """
    Approve or deny an open plan, or note that the facts under it have changed.

    state
        ``approved``, ``denied`` or ``outdated``.
    who
        Who decided so.
    reason
        For the record.
    second_person, by_itself
        As in ``consider``; they only matter for an approval.

    Returns the plan, with ``"decided": {"state", "who", "reason", "at"}``; an approved one expires within the hour.
    Raises CommandExecutionError if it is not open any more or this person may not.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd plans.decide east-20261125T150102-1a2b approved bob 'seen, go on'
    """
    if state not in DECISIONS:
        raise CommandExecutionError(f"A plan can be {', '.join(DECISIONS)}, not {state!r}")
    with _locked(_path(plan).parent):
        if state == "approved":
            found = {**consider(plan, who, second_person, by_itself), "expires": _later(APPROVED_SECONDS)}
        else:
            found = _still(load(plan), "open")
        decided = {"state": state, "who": who, "reason": _words(reason), "at": __salt__["runrecord.now"]()}
        return _become(found, state, decided=decided)


# --- carrying one out


def admit(order, found, topology):
    """
    Let a run begin only as its plan says, if it has one or has to have one. To be asked under the failed site's lock.

    order
        ``topology["reprovision"]``; its ``plan`` is the id, or None.
    found
        As ``survey.take`` returns it, without an error among its findings, taken for this run.
    topology
        As ``topology.merge`` returns it.

    A run that goes on with the one that has used the plan is let in again; its record has frozen what was approved.

    Returns the plan, or None if the order names none and needs none. Raises CommandExecutionError that says why not; a
    plan under which the facts have changed is ``refused`` for good.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd plans.admit "$order" "$found" "$topology"
    """
    plan, second_person = order.get("plan"), topology["plans"]["second_person"]
    if not plan:
        if second_person:
            raise CommandExecutionError(
                "A run has to have a plan that a second person has approved (tungsten:plans:second_person): salt-run "
                f"reprovision.plan {order['failed']} {order['definitive']}, then somebody else: salt-run "
                "reprovision.approve PLAN")
        return None
    with _locked(_path(plan).parent):
        kept = load(plan)
        if kept["site"] != order["failed"]:
            raise CommandExecutionError(f"Plan {plan} is for site {kept['site']}, not for {order['failed']}")
        if kept["state"] == "used" and found["resumes"] and found["run"] == kept["run"]:
            return kept
        _still(kept, "approved")
        # Asked again: the pillar may have come to want a person, or a second one, since it was approved.
        by_itself = topology["sites"][kept["site"]]["on_drift"] == "reprovision"
        _refuse_person(kept, kept["decided"]["who"], second_person, by_itself)
        now = __salt__["planning.binding"](topology, found)
        if __salt__["planning.digest"](now) == kept["digest"]:
            return kept
        changed = __salt__["planning.changes"](kept["binding"], now)
        _become(kept, "refused", changed=changed)
    raise CommandExecutionError(
        f"Plan {plan} was approved for other facts than there are now: {'; '.join(changed)}. A new one: salt-run "
        f"reprovision.plan {order['failed']} {order['definitive']}")


def use(plan, run):
    """
    Note that a run carries out an approved plan: it is for this one only.

    plan
        The id of a plan that ``admit`` has let in.
    run
        The id of the run.

    Returns the plan. Raises CommandExecutionError if it is not approved, or was used by another run.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd plans.use east-20261125T150102-1a2b 20261125T150302-7
    """
    with _locked(_path(plan).parent):
        kept = load(plan)
        if kept["state"] == "used" and kept["run"] == run:
            return kept
        return _become(_still(kept, "approved"), "used", run=run)


def begun(site, run):
    """
    Close what else was planned for a site, now that a run of it begins: those plans tell of a site that is no more.

    run
        The id of the run; the plan that it uses is left as it is.

    Returns the ids of the plans that were closed.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd plans.begun east 20261125T150302-7
    """
    folder = _folder(site)
    if not folder.is_dir():
        return []
    with _locked(folder):
        over = [plan for plan in _all(folder) if plan["state"] in ("open", "approved")]
        return [_become(plan, "superseded", run=run)["plan"] for plan in over]
