"""
Whether a run goes on where an earlier one stopped, and which steps it need not take again. Pure.

A record is believed only as far as the nodes bear it out: what a later step did not undo is applied again, which
changes nothing where it still holds; what may happen only once in a run is not repeated; and when the data on the
failed primary are not the copy that the record speaks of, the run begins anew.
"""

__virtualname__ = "resume"

# What a run was begun with; with another value it is another run.
SAME = ("failed", "definitive", "method", "warm", "replica_method")


def __virtual__():
    return __virtualname__


def refusal(previous, topology, steps=None):
    """
    Tell why an order does not go on with an earlier run, as far as pillar and record can tell.

    previous
        The record of the site's newest run, or None.
    topology
        As ``topology.merge`` returns it.
    steps
        The names of the orchestration's steps, which an upgrade may have changed: half of the old ones with half of the
        new ones was never tried. Not compared if not given.

    Returns a sentence; None if it goes on with it.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd resume.refusal "$record" "$topology"
    """
    order = topology["reprovision"]
    if not previous or previous["state"] == "done":
        return "no run of this site is unfinished"
    if order["fresh"]:
        return f"run {previous['run']} is not gone on with, since a fresh one was ordered"
    if "attempts" not in previous or "warm" not in previous:
        return f"run {previous['run']} was begun by an older release"
    changed = [key for key in SAME if order[key] != previous.get(key)]
    if order.get("donor") not in (None, previous["donor"]):
        changed.append("donor")
    if {site: settings["nodes"] for site, settings in topology["sites"].items()} != previous["nodes"]:
        changed.append("nodes")
    if changed:
        return f"run {previous['run']} was begun with another {' and '.join(changed)}"
    if steps and previous["plan"] != steps:
        return f"run {previous['run']} was begun by a release with other steps"
    if previous.get("verified", {}).get("equal") is False:
        return f"run {previous['run']} found the nodes' data to differ after the copy"
    return None


def contradiction(previous, primary, copy):
    """
    Tell what on the failed primary contradicts going on with an earlier run.

    primary
        The failed site's primary as cctrl names it now.
    copy
        What ``datadir.copy`` says on that host: ``{"run", "state"}`` or None.

    Returns a sentence; None if nothing does.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd resume.contradiction "$record" east1 '{"run": "20261123T150102-7", "state": "owned"}'
    """
    if primary != previous["primary"]:
        return f"the primary is {primary} now, in run {previous['run']} it was {previous['primary']}"
    if previous.get("copied") and (not copy or copy["run"] != previous["run"]):
        return f"the data on {primary} are no longer the copy that run {previous['run']} made"
    return None


def done(record):
    """
    Return the steps that a run has ever done, in their order.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd resume.done "$record"
    """
    return [name for name in record["plan"] if "done_in" in record["steps"].get(name, {})]


def left_out(name, until, once, kept):
    """
    Tell why a step that an earlier attempt has done is not applied again.

    until
        The step that ends what this one brings about, or a list of steps each of which does, or None.
    once
        True if it may happen only once in a run.
    kept
        The steps done by earlier attempts.

    Returns a sentence; None if it has to be applied.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd resume.left_out '05 primary shunned' '15 primary welcomed' False '[]'
    """
    if name not in kept:
        return None
    if once:
        return "it happens once in a run"
    ended = [step for step in (until if isinstance(until, list) else [until]) if step in kept]
    if ended:
        return f"it holds until step {ended[0]!r}, which has been done"
    return None
