"""
The master's own look at a site of which somebody says that it has drifted. Reads only.

What a drift event says decides nothing. What counts is what the nodes say now: their replicators, and their data.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "driftlook"


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "driftlook asks the nodes from the master; this is a minion"
    return __virtualname__


def nodes(topology, which):
    """
    Choose the nodes whose data are to be looked at.

    topology
        As ``topology.validate`` returns it.
    which
        ``replicas``, ``one`` (the replica of each site with the least latency) or ``all``.

    Returns ``({site: [minions]}, {minion: why it is left out}, {minion: service of the site whose primary it is})``. A
    primary is taken only for ``all``, or where a site has nothing else to look at; a witness, which has no data, is in
    none of them. Raises CommandExecutionError if a site has no node that could be looked at.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd driftlook.nodes "$topology" replicas
    """
    chosen, left_out, primaries = {}, {}, {}
    for name, site in topology["sites"].items():
        gathered = __salt__["fleet.gather"](list(site["nodes"].values()), "cctrl.ls")
        left_out.update(gathered["faults"])
        views = gathered["answers"]
        if not views:
            raise CommandExecutionError(f"No node of site {name} tells who is its primary: {gathered['faults']}")
        sources = next(iter(views.values()))["datasources"]
        fit = {}
        for host, minion in site["nodes"].items():
            if sources.get(host, {}).get("role") == "witness":
                left_out.pop(minion, None)
                continue
            if minion not in views:
                continue
            why = _unfit(sources.get(host))
            if why:
                left_out[minion] = why
            else:
                fit[host] = minion
        replicas = {host: minion for host, minion in fit.items() if sources[host]["role"] != "master"}
        if which == "one" and replicas:
            # Of one that tells no latency, or a negative one, nobody knows how late it is.
            late = {host: sources[host]["latency"] for host in replicas}
            best = min(replicas, key=lambda host: (late[host] is None or late[host] < 0, late[host] or 0.0))
            replicas = {best: replicas[best]}
        taken = fit if which == "all" else replicas or fit
        chosen[name] = list(taken.values())
        primaries.update({minion: site["service"] for host, minion in taken.items() if host not in replicas})
        if not chosen[name]:
            reasons = "; ".join(f"{minion}: {left_out.get(minion)}" for minion in site["nodes"].values())
            raise CommandExecutionError(f"No node of site {name} can be looked at: {reasons}")
    return chosen, left_out, primaries


def _unfit(source):
    if source is None:
        return "cctrl does not list it"
    if source["dataserver"] not in (None, "ONLINE"):
        return f"its data server is {source['dataserver']}"
    # Outside of its site nobody keeps it up to date; being OFFLINE, with a replicator that runs, is no reason.
    return f"its datasource is {source['state']}" if source["state"] in ("SHUNNED", "FAILED") else None


def signs(topology, site):
    """
    Ask every node of a site for its cross-site services and say what is wrong with them.

    topology
        As ``topology.validate`` returns it.
    site
        The site.

    Returns ``{minion: {service: as driftsigns.judge tells it}}``, only what is alarming; a node that does not answer
    has ``{"": {"sign": "silent", "what": …, "data": False}}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd driftlook.signs "$topology" east
    """
    expected = [other["service"] for name, other in topology["sites"].items() if name != site]
    minions = list(topology["sites"][site]["nodes"].values())
    gathered = __salt__["fleet.gather"](minions, "trepctl.services", kwarg={"which": "cross_site", "full": True})
    found = {minion: {"": {"sign": "silent", "what": why, "data": False}} for minion, why in gathered["faults"].items()}
    for minion, services in gathered["answers"].items():
        alarming = __salt__["driftsigns.alarming"](__salt__["driftsigns.judge"](services, expected))
        if alarming:
            found[minion] = alarming
    return found


def conclude(site, minions, found, check):
    """
    Say whether a site has drifted, from what its replicators and its data say. Asks nobody.

    site
        The site.
    minions
        All of its minions.
    found
        As ``signs`` returned it.
    check
        A drift check that has just ended, as it stands on record, or None.

    Returns ``{"proved": bool, "why": text}``. It is proved by rows or tables that are not those of the reference on
    every node of the site that was looked at, or by replicators that could not apply the log because of what their
    tables hold, on every node that answers. Where only some nodes have it so, those are to be rebuilt from their own
    site. That a service is late, offline or in error for another reason is no drift.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd driftlook.conclude east '[east1, east2]' "$signs" None
    """
    reasons, others = [], []
    answering = {minion for minion in minions if "" not in found.get(minion, {})}
    stopped = {minion for minion in answering if any(sign["data"] for sign in found.get(minion, {}).values())}
    # What one node of several says is about that node, also when the others are silent.
    everywhere = stopped == answering and len(stopped) >= min(2, len(minions))
    for minion, services in sorted(found.items()):
        for sign in services.values():
            (reasons if sign["data"] and everywhere else others).append(f"{minion}: {sign['what']}")
    if stopped and not everywhere:
        others.append(f"only {', '.join(sorted(stopped))} stopped there, nothing proves it of the other nodes: rebuild "
                      "from its own site what stopped")
    if check:
        drifted, told = site in __salt__["driftfindings.drifted"](check), f"check {check['check']}"
        differences = [f"{table}: {about['reason']}" for table, about in check["schema"].items()]
        for where in (check["sites"].get(site), *(check["nodes"].get(minion) for minion in check["nodes_of"][site])):
            differences += _counted(where)
        if drifted:
            reasons.append(f"its data differ from {check['reference']} on every node that was looked at ({told}): "
                           f"{', '.join(dict.fromkeys(differences))}")
        else:
            others += [f"{minion} alone has drifted from its own site ({told}): rebuild that node"
                       for minion in check["nodes_of"][site] if minion in check["nodes"]]
        others += [f"{table} could not be proved either way: {why}" for table, why in check["unproved"].items()]
    else:
        others.append("its data could not be compared")
    if reasons:
        return {"proved": True, "why": "; ".join(reasons)}
    return {"proved": False, "why": "; ".join(others) or "its replicators and its data are well"}


def _counted(found):
    return [f"{sum(table[kind] for kind in ('changed', 'missing', 'extra'))} rows of {name}"
            for name, table in (found or {"tables": {}})["tables"].items()]
