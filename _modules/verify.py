"""
Prove, before traffic is let back, that replication moves everywhere. Runs on the master, asks the nodes.

The manual verifies nothing before its last two steps. ONLINE alone proves nothing either: a service can be ONLINE with
an empty log. So a heartbeat is sent at every site and has to arrive on every host of all the others.
"""

import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "verify"


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

    Returns ``{minion: {"cluster": …, "cross_site": …}}``. Raises CommandExecutionError naming what is not ONLINE.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd verify.services "$topology"
    """
    minions = [minion for site in topology["sites"].values() for minion in site["nodes"].values()]
    deadline = time.monotonic() + timeout
    while True:
        found = {minion: {} for minion in minions}
        for which in ("cluster", "cross_site"):
            answers = __salt__["fleet.ask"](minions, "trepctl.services", kwarg={"which": which})
            for minion, value in answers.items():
                found[minion][which] = value
        faults = judge_services(topology, found)
        if not faults:
            return found
        if time.monotonic() > deadline:
            raise CommandExecutionError(f"After {timeout} s these are not ONLINE:\n  " + "\n  ".join(faults))
        time.sleep(2)


def heartbeats(topology, primaries, timeout=120):
    """
    Send a heartbeat at each site's primary and wait until every node of every site has applied it.

    primaries
        ``{site: host}``
    timeout
        Seconds for all of them to arrive.

    Returns ``{site: seqno that arrived everywhere}``. Raises CommandExecutionError naming who has not received what.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd verify.heartbeats "$topology" '{"east": "east1", "west": "west1"}'
    """
    sites = topology["sites"]
    sent = {}
    for name, site in sites.items():
        primary = site["nodes"][primaries[name]]
        where = {"service": site["service"], "which": "cluster"}
        before = _position(primary, where)
        __salt__["fleet.ask"]([primary], "trepctl.heartbeat", kwarg=where)
        sent[name] = _moved(primary, where, before, timeout)
    for name, seqno in sent.items():
        _arrived(sites, name, seqno, timeout)
    return sent


def passed(minions, timeout=60, sources=None):
    """
    Wait until each of some nodes has applied what any of them has applied now, of every service.

    Whatever was read on one of them before has then reached all others, unless it was written over.

    minions
        Minion ids.
    timeout
        Seconds. A node whose service is not ONLINE is not waited for: it will not get there.
    sources
        ``{minion: service}`` of those that are their site's primary. What a client has written there may be read long
        before it is in the log; a heartbeat comes after it, and its number is what all others have to reach.

    Returns ``{minion: why}`` of those that have not got there, empty if replication has passed. Raises nothing.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd verify.passed '[east1, west1]'
    """
    unsent, awaited = _beat(sources or {})
    deadline = time.monotonic() + timeout
    goals = None
    while True:
        found, late = _everywhere(minions)
        if goals is None:
            goals = {}
            for service, now in (item for services in found.values() for item in services.items()):
                goals[service] = max(goals.get(service, -1), _applied(now))
        for minion, (service, before) in list(awaited.items()):
            here = _applied(found.get(minion, {}).get(service, {}))
            if here > before:
                goals[service] = max(goals.get(service, -1), here)
                del awaited[minion]
        late = {**late, **unsent}
        hopeless = set(late)
        late.update({minion: f"a heartbeat of service {service} was sent there, and its position stays at {before}"
                     for minion, (service, before) in awaited.items() if minion not in late})
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


def _beat(sources):
    """({minion: why it could not send a heartbeat}, {minion: (service, its position before)})."""
    unsent, awaited = {}, {}
    for minion, service in sources.items():
        where = {"service": service, "which": "cluster"}
        try:
            before = _position(minion, where)
            __salt__["fleet.ask"]([minion], "trepctl.heartbeat", kwarg=where)
            awaited[minion] = (service, before)
        except CommandExecutionError as error:
            unsent[minion] = str(error)
    return unsent, awaited


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


def _position(minion, where):
    return __salt__["fleet.ask"]([minion], "trepctl.position", kwarg=where)[minion]


def _moved(minion, where, before, timeout):
    """The primary's own position after its heartbeat; one that stays still proves that nothing is logged."""
    deadline = time.monotonic() + timeout
    while True:
        seqno = _position(minion, where)
        if seqno > before:
            return seqno
        if time.monotonic() > deadline:
            raise CommandExecutionError(
                f"{minion}: a heartbeat of service {where['service']} was sent, but its position stays at {before}"
            )
        time.sleep(0.5)


def _arrived(sites, source, seqno, timeout):
    service = sites[source]["service"]
    deadline = time.monotonic() + timeout
    waiting = {
        minion: "cluster" if name == source else "cross_site"
        for name, site in sites.items() for minion in site["nodes"].values()
    }
    while True:
        positions = {}
        for which in ("cluster", "cross_site"):
            minions = [minion for minion, kind in waiting.items() if kind == which]
            if minions:
                positions.update(__salt__["fleet.ask"](
                    minions, "trepctl.position", kwarg={"service": service, "which": which}))
        waiting = {minion: kind for minion, kind in waiting.items() if positions[minion] < seqno}
        if not waiting:
            return
        if time.monotonic() > deadline:
            behind = ", ".join(f"{minion} is at {positions[minion]}" for minion in sorted(waiting))
            raise CommandExecutionError(
                f"After {timeout} s the heartbeat {seqno} of service {service} has not arrived: {behind}")
        time.sleep(1)
