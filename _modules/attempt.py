"""
What the master's records say to another attempt at a site, and what the record of a run is made of.

Nothing is written here: what ``begin`` and ``go_on`` return is kept by ``runrecord`` once the run has its lock. Whether
a run goes on with an earlier one is decided by ``resume``.
"""

import os

from salt.exceptions import CommandExecutionError

__virtualname__ = "attempt"

# What of an order makes the run: all else is how patient it is.
KEPT = ("failed", "definitive", "donor", "method", "warm", "replica_method")


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "attempt goes by the master's records; this is a minion"
    return __virtualname__


def needless(failed, previous):
    """
    Tell why a run for a site has nothing to repair: it was re-provisioned and verified, and no drift proved since.

    failed
        The failed site.
    previous
        The record of its newest run, or None.

    Returns a sentence; None if there may be something.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd attempt.needless east "$record"
    """
    if not previous or previous["state"] != "done":
        return None
    reported = __salt__["runrecord.reported"](failed)
    if reported and reported.get("proved") and reported["reported"] > previous["finished"]:
        return None
    return (f"There is nothing to repair: site {failed} was re-provisioned and verified at {previous['finished']} (run "
            f"{previous['run']}), and no drift of it has been proved since.")


def refuse_repetition(failed, previous, order):
    """
    Refuse a run for a site that was re-provisioned and verified, unless drift was proved since or somebody insists.

    failed
        The failed site.
    previous
        The record of its newest run, or None.
    order
        ``topology["reprovision"]`` as ``topology.merge`` returns it. With a ``plan`` somebody has insisted by approving
        it; whether it is approved is for ``plans.admit`` to find out.

    Returns None. Raises CommandExecutionError with the command that insists when there is nothing to repair.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd attempt.refuse_repetition east "$record" '{"definitive": "west", "insist": false}'
    """
    why = None if order["insist"] or order.get("plan") else needless(failed, previous)
    if why:
        same = {key: order[key] for key in KEPT if order.get(key) is not None}
        raise CommandExecutionError(
            f"{why} If you know better, insist: {__salt__['runwords.command']({**same, 'insist': True})}")


def refuse_half_built(definitive):
    """
    Refuse a definitive site that another run has left unfinished: it is no source to copy from.

    definitive
        The definitive site.

    Returns None. Raises CommandExecutionError when the newest run of that site is not done.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd attempt.refuse_half_built west
    """
    last = __salt__["runrecord.latest"](definitive)
    if last and last["state"] != "done":
        raise CommandExecutionError(
            f"Site {definitive} cannot be the definitive one: its own re-provisioning (run {last['run']}) has not been "
            f"completed. Complete it first, or name another site"
        )


def begin(run, order, found, topology, plan):
    """
    Return the record of a run that begins now, with its first attempt, by this process.

    run
        The id of the run.
    order
        ``topology["reprovision"]``, whose ``failed``, ``definitive``, ``method``, ``warm`` and ``replica_method`` are
        kept.
    found
        As ``survey.take`` returns it, without an error among its findings.
    topology
        As ``topology.merge`` returns it.
    plan
        The names of the orchestration's steps, in their order.

    Returns ``{"run", "state": "running", "failed", "definitive", "primary", "donor", "primaries": {site: host},
    "method", "warm", "replica_method", "nodes": {site: {host: minion}}, "bytes": what the donor holds, or None,
    "started", "plan", "attempts": [{"started", "pid", "who"}], "kept": [], "donor_state": "in its site", "copied":
    False, "steps": {}}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd attempt.begin 20261123T150102-7 "$order" "$found" "$topology" '["00 preflight"]'
    """
    return {
        "run": run,
        "state": "running",
        "failed": order["failed"],
        "definitive": order["definitive"],
        "primary": found["primaries"][order["failed"]],
        "donor": found["donor"],
        "primaries": found["primaries"],
        **{key: order[key] for key in ("method", "warm", "replica_method")},
        "nodes": {site: settings["nodes"] for site, settings in topology["sites"].items()},
        "bytes": _bytes(topology["sites"][order["definitive"]]["nodes"][found["donor"]], found),
        "started": __salt__["runrecord.now"](),
        "plan": plan,
        "attempts": [_this_one()],
        "kept": [],
        "donor_state": "in its site",
        "copied": False,
        "steps": {},
    }


def _bytes(donor, found):
    """How much there is to copy: later plans learn from it how long that takes."""
    contents = found["facts"].get(donor, {}).get("contents")
    return sum(place["bytes"] for place in contents.values()) if contents else None


def _this_one():
    # Salt's orchestrate runner puts there who called it.
    return {"started": __salt__["runrecord.now"](), "pid": os.getpid(),
            "who": __salt__["runwords.person"](__opts__.get("user"))}


def go_on(run, before):
    """
    Put a new attempt, by this process, into an earlier run's record.

    Why the attempt before has ended is on record, or found out here; steps it was at are ``interrupted``.

    run
        The earlier run's record; it is changed in place.
    before
        What the lock said when it was taken, as ``runlock.acquire`` returns it: its ``pid`` is the process that died.

    Returns the record, with ``kept``: the steps done by earlier attempts.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd attempt.go_on "$record" '{"run": "20261123T150102-7", "pid": 7}'
    """
    last = run["attempts"][-1]
    if "ended" not in last:
        holder = before.get("pid", last["pid"])
        last.update(ended="unknown", how=f"its process {holder} has died; its lock was found free and taken over")
    for step_record in run["steps"].values():
        if step_record["state"] == "running":
            step_record["state"] = "interrupted"
            step_record.pop("clock", None)
    run["attempts"].append(_this_one())
    run["kept"] = __salt__["resume.done"](run)
    run.pop("finished", None)
    run["state"] = "running"
    return run
