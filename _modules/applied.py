"""
Read what Salt's ``salt.state`` returned: who has answered, changed, failed, is silent or still at work. Pure.
"""

__virtualname__ = "applied"


def __virtual__():
    return __virtualname__


def read(minions, returned):
    """
    Tell of every minion what became of an SLS that was applied to it.

    minions
        List of the ids of the minions that were told to apply it.
    returned
        What ``salt.state`` returned: ``{"result", "comment", "changes": {"ret": {minion: {tag: state}}}}``, where in a
        state's place may stand what a minion said instead, or False if it said nothing.

    Returns ``{"result": True, None for what test=True would change, or False if anybody failed, is silent or still at
    work, "comments": [one text a state or minion, in the order of minions], "changes": {minion: {id of the state: its
    changes}}, "jobs": {minion: name of the ``longjob`` job that still runs there}, "silent": [minions without a usable
    answer], "failed": [minions, or "salt" if it failed with no word about any of them]}``. Raises KeyError if a state
    has no ``comment`` or no ``result``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd applied.read '[east1, east2]' "$returned"
    """
    states_of = returned["changes"].get("ret", {})
    # salt.state leaves out whoever succeeded without a change and only names it at the end of its comment.
    unchanged = returned["comment"].partition(" No changes made to ")[2].removesuffix(".").split(", ")
    comments, changes, jobs, silent, failed = [], {}, {}, set(), set()
    for minion in minions:
        states = states_of.get(minion)
        if minion not in states_of and minion in unchanged:
            comments.append(f"{minion}: nothing to change")
            continue
        if minion not in states_of and states_of and returned["result"] is False:
            # Beside a failure not even that; the silent ones are among the returned.
            continue
        if not isinstance(states, dict):
            comments.append(f"{minion}: {states or f'gave no answer (salt {minion} test.ping)'}")
            silent.add(minion)
            continue
        for state in sorted(states.values(), key=lambda item: item.get("__run_num__", 0)):
            changed = dict(state.get("changes") or {})
            job = changed.pop("still running", None)
            comments.append(f"{minion}: {state['comment'].removeprefix(f'{minion}: ')}")
            if changed:
                changes.setdefault(minion, {})[state.get("__id__", state.get("name"))] = changed
            if job:
                jobs[minion] = job
            elif state["result"] is False:
                failed.add(minion)
    if returned["result"] is False and not comments:
        comments = [returned["comment"]]
        failed.add("salt")
    result = False if failed or silent or jobs else returned["result"]
    return {"result": result, "comments": comments, "changes": changes, "jobs": jobs, "silent": sorted(silent),
            "failed": sorted(failed)}
