"""
Look before the first change: what every node says of itself, and whether that fits the topology in pillar.

``facts`` runs on the nodes and only reads. ``judge`` runs on the master over all answers; it is pure.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "preflight"


def __virtual__():
    return __virtualname__


def facts():
    """
    Read what a run has to know of this node. Nothing is changed; what cannot be read is a fault, not an exception.

    Returns ``{"node": {…}, "cctrl": {…} | None, "cluster": {service: {…}}, "cross_site": {service: {…}},
    "composite": [signs], "mysql": bool, "locations": {…}, "copy": {"run", "state"} | None, "foreign": [texts],
    "faults": [texts]}``, the first four as ``nodeview.look`` tells them.

    CLI Example:

    .. code-block:: bash

        salt east1 preflight.facts
    """
    found = {"node": None, "cctrl": None, "cluster": {}, "cross_site": {}, "composite": [], "mysql": False,
             "locations": {}, "copy": None, "foreign": [], "faults": []}

    def read(key, function, *args):
        if function not in __salt__:
            found["faults"].append(f"{function} is not available here: salt {__grains__['id']} saltutil.sync_all")
            return
        try:
            found[key] = __salt__[function](*args)
        except CommandExecutionError as error:
            found["faults"].append(str(error))

    read("shown", "nodeview.look")
    shown = found.pop("shown", {"answers": {}, "faults": {}})
    found.update(shown["answers"])
    found["faults"] += shown["faults"].values()
    if found["node"]:
        if "cluster" in shown["answers"]:
            # Of a replicator that does not answer the fault is told already, and it ends the run.
            read("composite", "trepctl.composite_signs", list(found["cluster"]))
        read("mysql", "mysqld.ping")
        # Asked now, while the server can still tell; the module notes the answer for when it is stopped.
        read("locations", "dataguard.check")
        read("copy", "datadir.copy")
        read("foreign", "dataguard.foreign")
    return found


def judge(topology, facts, resumes=False, copied=False):
    """
    Hold the nodes' facts against the topology and find the roles. Pure.

    topology
        As ``topology.merge`` returns it.
    facts
        ``{minion: facts of that node}`` of every node of every site.
    resumes
        True when the last run with this donor did not finish, so the donor may still be shunned by it.
    copied
        True when that run has made its copy: what has become of the donor since does not matter.

    Returns ``{"faults": [texts, each beginning with the node or site], "primaries": {site: host}, "donor": host}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd preflight.judge "$topology" "$facts"
    """
    composite = [fault for minion, fact in sorted(facts.items()) for fault in _composite(minion, fact)]
    if composite:
        # Nothing else that could be said of it would mean anything here.
        return {"faults": composite, "primaries": {}, "donor": None}
    faults, primaries, datasources = [], {}, {}
    for site, settings in topology["sites"].items():
        views = {}
        for host, minion in settings["nodes"].items():
            fact = facts[minion]
            faults.extend(f"{minion}: {fault}" for fault in fact["faults"])
            if not fact["faults"]:
                faults.extend(_services(minion, fact))
                views[host] = fact["cctrl"]
        faults.extend(_site_faults(site, settings, views))
        masters = {host: _masters(view) for host, view in views.items()}
        agreed = {tuple(names) for names in masters.values()}
        if len(agreed) > 1:
            faults.append(f"{site}: its nodes do not agree which is the primary: {masters}")
        elif agreed and len(masters[next(iter(masters))]) != 1:
            faults.append(f"{site}: cctrl shows {len(next(iter(agreed)))} primaries, there must be exactly one")
        elif agreed:
            primaries[site] = next(iter(agreed))[0]
            datasources[site] = next(iter(views.values()))["datasources"]
    order = topology["reprovision"]
    donor = order.get("donor")
    if order["definitive"] in primaries:
        sources = datasources[order["definitive"]]
        donor = donor or _best_replica(sources)
        if not copied:
            faults.extend(_donor(order["definitive"], donor, sources, resumes))
    if order["failed"] in primaries and not copied:
        minion = topology["sites"][order["failed"]]["nodes"][primaries[order["failed"]]]
        faults.extend(f"{minion}: would be deleted, and is not the server's; move away what has to stay: {text}"
                      for text in facts[minion]["foreign"])
    return {"faults": faults, "primaries": primaries, "donor": donor}


def _masters(view):
    return sorted(host for host, source in view["datasources"].items() if source["role"] == "master")


def _composite(minion, fact):
    signs = list(fact["composite"])
    if (fact["cctrl"] or {}).get("composite"):
        signs.append("cctrl's ls shows composite datasources")
    return [
        f"{minion}: this is a composite installation ({sign}). This procedure is for Multi-Site/Active-Active only; "
        "a composite one has its own in the manual" for sign in signs
    ]


def _services(minion, fact):
    node, faults = fact["node"], []
    if set(fact["cluster"]) != {node["service"]}:
        faults.append(f"{minion}: its cluster replicator runs {_named(fact['cluster'])}, "
                      f"the pillar says {node['service']}")
    missing = set(node["other_services"]) - set(fact["cross_site"])
    extra = set(fact["cross_site"]) - set(node["other_services"])
    if missing:
        faults.append(f"{minion}: its cross-site replicator has no service {_named(missing)}")
    if extra:
        faults.append(f"{minion}: its cross-site replicator runs {_named(extra)}, which the pillar does not know")
    return faults


def _named(services):
    return ", ".join(sorted(services)) or "no service"


def _site_faults(site, settings, views):
    faults = []
    for host, view in views.items():
        if view["service"] not in (None, settings["service"]):
            faults.append(f"{settings['nodes'][host]}: cctrl says service {view['service']}, "
                          f"the pillar says {settings['service']}")
        if set(view["datasources"]) != set(settings["nodes"]):
            faults.append(f"{settings['nodes'][host]}: cctrl lists {_named(view['datasources'])}, "
                          f"the pillar's nodes of {site} are {_named(settings['nodes'])}")
    return faults


def _best_replica(sources):
    healthy = [host for host, source in sources.items() if not _unfit(source)]
    return min(healthy, key=lambda host: sources[host]["latency"] or 0.0, default=None)


def _unfit(source):
    """What speaks against copying from this datasource."""
    replicator = source["replicator"] or {}
    reasons = []
    if source["role"] != "slave":
        reasons.append(f"its role is {source['role']}, and only a replica's position can be taken over")
    if source["state"] != "ONLINE":
        reasons.append(f"its datasource is {source['state']}")
    if replicator.get("state") != "ONLINE":
        reasons.append(f"its replicator is {replicator.get('state')}")
    if source["dataserver"] != "ONLINE":
        reasons.append(f"its data server is {source['dataserver']}")
    return reasons


def _left_by_a_run(source):
    """A replica at rest, anywhere between being shunned and being given back."""
    replicator = (source["replicator"] or {}).get("state")
    return source["role"] == "slave" and (
        source["state"] in ("SHUNNED", "OFFLINE") or (source["state"] == "ONLINE" and replicator == "OFFLINE")
    )


def _donor(site, donor, sources, resumes):
    if donor is None:
        return [f"{site}: none of its replicas is healthy enough to be the donor"]
    reasons = _unfit(sources[donor]) if donor in sources else ["cctrl does not list it"]
    if resumes and donor in sources and _left_by_a_run(sources[donor]):
        # The run before this one stopped while it had the donor; that is where this one goes on.
        return []
    return [f"{donor}: cannot be the donor: {reason}" for reason in reasons]
