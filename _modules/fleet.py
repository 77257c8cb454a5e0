"""
Ask many minions one thing, from the master, and accept only a complete answer.

Salt itself treats a minion that does not answer as a success of the others. Here it is an error that names the minion.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "fleet"


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "fleet asks minions from the master; this is a minion"
    return __virtualname__


def gather(minions, function, kwarg=None, timeout=60):
    """
    Run one execution function on the given minions and sort what came back.

    minions
        A list of minion ids.
    function
        The execution function, e.g. ``cctrl.ls``.
    kwarg
        Its arguments by name.
    timeout
        Seconds to wait for the answers; a minion that says it still works on it is waited for longer.

    Returns ``{"answers": {minion: value}, "faults": {minion: "what it said, or that it said nothing"}}``; every minion
    is in exactly one of the two. Raises SaltInvocationError for an empty list.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fleet.gather '[east1, east2]' test.ping
    """
    minions = list(minions)
    if not minions:
        raise SaltInvocationError("fleet.gather needs at least one minion")
    returned = __salt__["saltutil.cmd"](
        minions, function, timeout=timeout, tgt_type="list", kwarg=kwarg or {}, expect_minions=True
    )
    answers, faults = {}, {}
    for minion in minions:
        item = returned.get(minion)
        if not isinstance(item, dict) or "ret" not in item or item.get("failed"):
            faults[minion] = f"does not answer {function} (salt {minion} test.ping)"
        elif item.get("retcode") or item.get("success") is False:
            faults[minion] = f"{function} failed: {item['ret']}"
        else:
            answers[minion] = item["ret"]
    return {"answers": answers, "faults": faults}


def ask(minions, function, kwarg=None, timeout=60):
    """
    Run one execution function on the given minions and return all their answers, or raise.

    The arguments are those of ``fleet.gather``. Returns ``{minion: value}`` with every minion asked.
    Raises CommandExecutionError that names each minion without an answer and quotes each that failed.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fleet.ask '[east1, east2]' cctrl.ls
    """
    gathered = gather(minions, function, kwarg=kwarg, timeout=timeout)
    if gathered["faults"]:
        raise CommandExecutionError(
            "\n".join(f"{minion}: {fault}" for minion, fault in sorted(gathered["faults"].items()))
        )
    return gathered["answers"]
