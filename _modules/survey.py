"""
Look at all nodes of all sites from the master, before anything is changed, and tell everything that is wrong at once.

Used by the orchestration's first step and by ``salt-run reprovision.preflight``; changes nothing.
"""

import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "survey"

# Then a node that has not answered is asked whether it still works on it, reading its sizes and asking its tools.
SECONDS = 15
# Of what a node has told, what others need who come after the survey.
KEPT = ("locations", "node", "cctrl", "cluster", "cross_site")


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "survey asks all nodes from the master; this is a minion"
    return __virtualname__


def take(topology, previous, steps=None):
    """
    Ask every node, find the roles, judge.

    topology
        As ``topology.merge`` returns it.
    previous
        The record of the failed site's newest run, or None.
    steps
        The names of the orchestration's steps, as for ``resume.refusal``.

    Returns ``{"findings": [{"node", "level": "error" or "warning", "what", "do"}], "primaries": {site: host},
    "donor": host, "resumes": True if the run goes on with the previous one, "run": the id of that one, "why": why it
    does not, "facts": {minion: {"locations": as ``datalocation.locations``, "contents": as ``datalocation.contents``
    returns it, or None, "node", "cctrl", "cluster", "cross_site": as ``nodeview.look`` answers}}}``. With an error
    among the findings nothing else of it may be used. Raises CommandExecutionError only if Salt itself fails.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd survey.take "$topology" None
    """
    minions = [minion for site in topology["sites"].values() for minion in site["nodes"].values()]
    gathered = __salt__["fleet.gather"](minions, "preflight.facts", timeout=SECONDS)
    result = {"findings": [_finding(minion, fault) for minion, fault in sorted(gathered["faults"].items())],
              "primaries": {}, "donor": None, "resumes": False, "run": None, "why": None, "facts": {}}
    if result["findings"]:
        return result
    facts = gathered["answers"]
    result.update(_roles(topology, facts, previous, steps))
    if not result["findings"]:
        result["run"] = previous["run"] if result["resumes"] else None
        copied = result["resumes"] and bool(previous.get("copied"))
        result["findings"], ready = _readiness(topology, facts, result, copied)
        result["facts"] = {minion: {**{key: facts[minion][key] for key in KEPT}, "contents": said.get("contents")}
                           for minion, said in ready.items()}
    return result


def _finding(node, what):
    return {"node": node, "level": "error", "what": what, "do": "Remove the cause and run it again."}


def _roles(topology, facts, previous, steps):
    order = topology["reprovision"]
    why = __salt__["resume.refusal"](previous, topology, steps)
    while True:
        resumes = why is None
        if resumes:
            order = {**order, "donor": previous["donor"]}
        roles = __salt__["preflight.judge"](
            {**topology, "reprovision": order}, facts, resumes=resumes,
            copied=resumes and bool(previous.get("copied")))
        if resumes and not roles["faults"]:
            primary = roles["primaries"][order["failed"]]
            copy = facts[topology["sites"][order["failed"]]["nodes"][primary]]["copy"]
            why = __salt__["resume.contradiction"](previous, primary, copy)
            if why:
                # Judged again as a run of its own, with a donor that has to be fit.
                order = topology["reprovision"]
                continue
        return {
            "findings": [_finding(*fault.split(": ", 1)) for fault in roles["faults"]],
            "primaries": roles["primaries"], "donor": roles["donor"], "resumes": resumes, "why": why,
        }


def _lag(fact):
    """Seconds that a node's cluster service is behind; None if it does not tell."""
    latency = fact["cluster"].get(fact["node"]["service"], {}).get("appliedLatency")
    # A service that is not online says -1.
    return None if latency is None or latency < 0 else latency


def _readiness(topology, facts, roles, copied):
    """(findings, {minion: what it said of itself})"""
    begun = time.time()
    gathered = __salt__["fleet.gather"](list(facts), "readiness.facts", timeout=SECONDS)
    asked = [begun, time.time()]
    findings = [_finding(minion, fault) for minion, fault in sorted(gathered["faults"].items())]
    if findings:
        return findings, {}
    order = topology["reprovision"]
    reach = None
    if not copied:
        donor = topology["sites"][order["definitive"]]["nodes"][roles["donor"]]
        primary = roles["primaries"][order["failed"]]
        if __salt__["topology.way"](order) == "hot":
            findings = _hot(order["method"], [donor, topology["sites"][order["failed"]]["nodes"][primary]])
            if findings:
                return findings, {}
        answered = __salt__["fleet.gather"]([donor], "readiness.reach", kwarg={"hosts": [primary]}, timeout=SECONDS)
        if answered["faults"]:
            return [_finding(donor, answered["faults"][donor])], {}
        reach = answered["answers"][donor]
    try:
        extension = __salt__["readiness.extension"]()
    except CommandExecutionError as error:
        return [_finding("master", str(error))], {}
    ready = {minion: {**said, "lag": _lag(facts[minion])} for minion, said in gathered["answers"].items()}
    findings = __salt__["readiness.judge"](
        topology, {"primaries": roles["primaries"], "donor": roles["donor"], "copied": copied},
        ready, reach, {"asked": asked, "extension": extension, "run": roles["run"]})
    return findings, ready


def _hot(method, minions):
    """What speaks against a backup of a server that runs, on either host."""
    gathered = __salt__["fleet.gather"](minions, "hotguard.faults", kwarg={"method": method}, timeout=SECONDS)
    return [_finding(minion, fault) for minion, fault in sorted(gathered["faults"].items())] + [
        {"node": minion, "level": "error", "what": fault, "do": "Remove the cause, or copy with `method: rsync`."}
        for minion, faults in sorted(gathered["answers"].items()) for fault in faults]
