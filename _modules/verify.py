"""
Prove, before traffic is let back, that replication moves everywhere. Runs on the master, asks the nodes.

The manual verifies nothing before its last two steps. ONLINE alone proves nothing either: a service can be ONLINE with
an empty log. So a heartbeat is sent at every site, its log has to move, and what it holds by then has to arrive on
every host of all the others.
"""

import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "verify"

HOMES = ("cluster", "cross_site")


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "verify asks all nodes from the master; this is a minion"
    return __virtualname__


def judge_services(topology, services):
    """
    Name every service that is missing or not ONLINE. Pure.

    services
        ``{minion: {"cluster": {service: {"state": …}}, "cross_site": {…}}}``

    Returns a list of texts, each beginning with the node; empty when all is well.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd verify.judge_services "$topology" "$services"
    """
    faults = []
    for name, site in topology["sites"].items():
        others = [other["service"] for key, other in topology["sites"].items() if key != name]
        for minion in site["nodes"].values():
            for which, expected in (("cluster", [site["service"]]), ("cross_site", others)):
                for service in expected:
                    state = services[minion][which].get(service, {}).get("state", "missing")
                    if state != "ONLINE":
                        faults.append(f"{minion}: {which} service {service} is {state}")
    return faults


def services(topology, timeout=120):
    """
    Wait until every service of every node is ONLINE.

    timeout
        Seconds.

    Returns ``{minion: {"cluster": …, "cross_site": …}}``. Raises CommandExecutionError naming what is not ONLINE, or at
    once a node that does not answer or whose replicator does not.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd verify.services "$topology"
    """
    minions = _minions(topology["sites"])
    deadline = time.monotonic() + timeout
    while True:
        shown = __salt__["fleet.ask"](minions, "nodeview.look", kwarg={"parts": list(HOMES)})
        unread = [f"{minion}: {fault}" for minion in minions for fault in shown[minion]["faults"].values()]
        if unread:
            raise CommandExecutionError("\n".join(unread))
        found = {minion: {which: shown[minion]["answers"][which] for which in HOMES} for minion in minions}
        faults = judge_services(topology, found)
        if not faults:
            return found
        if time.monotonic() > deadline:
            raise CommandExecutionError(f"After {timeout} s these are not ONLINE:\n  " + "\n  ".join(faults))
        time.sleep(2)


def _minions(sites):
    return [minion for site in sites.values() for minion in site["nodes"].values()]


def heartbeats(topology, primaries, timeout=120):
    """
    Send a heartbeat at each site's primary and wait until every node of every site has applied what moved its log.

    primaries
        ``{site: host}``
    timeout
        Seconds for all of them to be logged, and again to arrive.

    Returns ``{site: seqno that arrived everywhere}``. Raises CommandExecutionError naming who has not received what.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd verify.heartbeats "$topology" '{"east": "east1", "west": "west1"}'
    """
    sites = topology["sites"]
    unsent, goals = _beat({site["nodes"][primaries[name]]: site["service"] for name, site in sites.items()}, timeout)
    if unsent:
        raise CommandExecutionError("\n".join(f"{minion}: {why}" for minion, why in unsent.items()))
    _arrived(_minions(sites), goals, timeout)
    return {name: goals[site["service"]] for name, site in sites.items()}


def passed(minions, timeout=60, sources=None):
    """
    Wait until each of some nodes has applied what any of them has applied now, of every service.

    Whatever was read on one of them before has then reached all others, unless it was written over.

    minions
        Minion ids.
    timeout
        Seconds for the heartbeats to be logged, and again for all to be applied. A node whose service is not ONLINE is
        not waited for: it will not get there.
    sources
        ``{minion: service}`` of those that are their site's primary. What a client has written there may be read before
        it is in the log, so a heartbeat is sent and the log seen to move first. A log that is long behind its server
        may still not hold all that was read.

    Returns ``{minion: why}`` of those that have not got there, empty if replication has passed. Raises nothing.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd verify.passed '[east1, west1]'
    """
    unsent, goals = _beat(sources, timeout) if sources else ({}, {})
    deadline = time.monotonic() + timeout
    found, silent = _everywhere(minions)
    for service, now in (item for services in found.values() for item in services.items()):
        goals[service] = max(goals.get(service, -1), _applied(now))
    while True:
        late = {**silent, **unsent}
        hopeless = set(late)
        for minion, services in found.items():
            for service, goal in goals.items():
                now = services.get(service, {"state": "missing"})
                seqno = now.get("appliedLastSeqno")
                if now["state"] != "ONLINE" or seqno is None or seqno < goal:
                    late[minion] = f"its service {service} is {now['state']} at {seqno}, others have applied {goal}"
                    if now["state"] != "ONLINE" and not now["state"].startswith("GOING-ONLINE"):
                        hopeless.add(minion)
                        break
        if set(late) == hopeless or time.monotonic() > deadline:
            return late
        time.sleep(0.5)
        found, silent = _everywhere(minions)


def _beat(sources, timeout):
    """
    Send a heartbeat at each of some primaries, ``{minion: service}``, and wait until the log of each moves.

    Returns ``({minion: why its log does not move}, {service: the number that its log has reached then})``.
    """
    # Longer than the node itself waits: it tells why.
    gathered = __salt__["fleet.gather"](
        list(sources), "trepctl.beat", kwarg={"timeout": timeout}, timeout=timeout + 30)
    unsent, goals = {}, {}
    for minion, service in sources.items():
        fault = gathered["faults"].get(minion)
        beat = gathered["answers"].get(minion)
        if not fault and beat["service"] != service:
            fault = f"it was sent through service {beat['service']}"
        if fault:
            unsent[minion] = f"no heartbeat of service {service} is in its log: {fault}"
        else:
            goals[service] = beat["seqno"]
    return unsent, goals


def _applied(now):
    seqno = now.get("appliedLastSeqno")
    return -1 if seqno is None else seqno


def _everywhere(minions):
    """({minion: {service: what trepctl says}}, {minion: why it said nothing}) over both replicators of each node."""
    gathered = __salt__["fleet.gather"](minions, "trepctl.positions")
    return gathered["answers"], dict(gathered["faults"])


def behind(minions, seconds):
    """
    Name the nodes that are further behind than they may be, by the latency that their replicators tell.

    The latency is that of the last transaction: it says nothing of a service that has applied all that there is.

    minions
        Minion ids.
    seconds
        How far behind a node may be.

    Returns ``{minion: "service west is 90 s behind"}``; nothing of a node that does not answer. Raises nothing.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd verify.behind '[east2, west3]' 60
    """
    found, behind_now = _everywhere(minions)[0], {}
    newest = {}
    for services in found.values():
        for service, now in services.items():
            newest[service] = max(newest.get(service, -1), _applied(now))
    for minion, services in found.items():
        for service, now in services.items():
            latency = now.get("appliedLatency")
            if (now["state"] == "ONLINE" and latency is not None and latency > seconds
                    and _applied(now) < newest[service]):
                behind_now[minion] = f"service {service} is {latency:.0f} s behind"
    return behind_now


def _arrived(minions, goals, timeout):
    """Wait until each node has applied each service up to its number, or name who has not."""
    deadline = time.monotonic() + timeout
    while True:
        found = __salt__["fleet.ask"](minions, "trepctl.positions")
        behind = {}
        for service, goal in goals.items():
            for minion in minions:
                now = found[minion].get(service, {"state": "missing"})
                if now["state"] != "ONLINE":
                    # Whatever it has applied, it shows -1.
                    behind.setdefault(service, {})[minion] = now["state"]
                elif _applied(now) < goal:
                    behind.setdefault(service, {})[minion] = f"at {_applied(now)}"
        if not behind:
            return
        if time.monotonic() > deadline:
            raise CommandExecutionError("\n".join(
                f"After {timeout} s the heartbeat {goals[service]} of service {service} has not arrived: "
                + ", ".join(f"{minion} is {how}" for minion, how in sorted(late.items()))
                for service, late in behind.items()))
        # Who has all of it will not lose it.
        minions = [minion for minion in minions if any(minion in late for late in behind.values())]
        time.sleep(1)
