"""
How the sites stand at this moment: policy, routers, datasources, replicators, and in words what of it is wrong.

Asks every node from the master and changes nothing; what a node does not tell is said to be unknown, not assumed.
"""

__virtualname__ = "siteview"

# A transaction that took this long to arrive is told; the beacon has a limit of its own.
LATENCY = 300
HOMES = ("cluster", "cross_site")
# Whose tool shows it, by the part of a node's answer.
PARTS = {"node": "topology.node", "cctrl": "cctrl.ls", **dict.fromkeys(HOMES, "trepctl.services")}
# A tool that takes longer is told as a fault: nobody waits for a picture.
TOOL_SECONDS = 30
# What a healthy site shows; every other value is told.
POLICY, UP = "AUTOMATIC", "ONLINE"


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "siteview asks all nodes from the master; this is a minion"
    return __virtualname__


def look(topology, sites, timeout=15):
    """
    Ask every node of some sites how it stands.

    topology
        As ``topology.validate`` returns it.
    sites
        Names of the sites.
    timeout
        Seconds to wait for a node that does not answer at all; one that works on its answer is waited for longer.

    Returns ``{site: what judge returns, without "late"}``. A node that says nothing is in there as well, with that.
    Raises CommandExecutionError only if Salt itself fails.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd siteview.look "$topology" '[east]'

    Manual: operations-status, cmdline-tools-trepctl-command-services.
    """
    minions = [minion for site in sites for minion in topology["sites"][site]["nodes"].values()]
    return _views(topology, sites, _ask(minions, ["cctrl", *HOMES], timeout), timeout)


def of_facts(topology, facts, timeout=15):
    """
    Tell how all sites stand from what their nodes have told already; only who seems to be late is asked again.

    facts
        ``{minion: {"node", "cctrl", "cluster", "cross_site": as ``nodeview.look`` answers}}`` of every node of every
        site, as ``survey.take`` returns them.

    The other arguments, and what is returned and raised, are as with ``look``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd siteview.of_facts "$topology" "$facts"
    """
    told = _nothing()
    for minion, fact in facts.items():
        _sort(told, minion, ["cctrl", *HOMES], {"answers": fact, "faults": {}})
    return _views(topology, list(topology["sites"]), told, timeout)


def _views(topology, sites, told, timeout):
    views = {site: judge(topology, site, told) for site in sites}
    late = [minion for site in views.values() for minion in site["late"]]
    if late:
        # Only a second look tells one that lags from one that rests since its last transaction, which was late.
        again = _ask(late, list(HOMES), timeout)
        before = {home: told[home]["answers"] for home in HOMES}
        for home in HOMES:
            told[home] = {"answers": {**before[home], **again[home]["answers"]},
                          "faults": {**told[home]["faults"], **again[home]["faults"]}}
        views = {site: judge(topology, site, told, before) for site in sites}
    return {site: {key: value for key, value in view.items() if key != "late"} for site, view in views.items()}


def _ask(minions, parts, seconds):
    """What some nodes tell of some parts, in one round; as ``judge`` takes it."""
    gathered = __salt__["fleet.gather"](
        minions, "nodeview.look", kwarg={"parts": parts, "timeout": TOOL_SECONDS}, timeout=seconds)
    told = _nothing()
    for minion, shown in gathered["answers"].items():
        _sort(told, minion, parts, shown)
    for minion, fault in gathered["faults"].items():
        _sort(told, minion, parts, {"answers": {}, "faults": {"node": fault}})
    return told


def _nothing():
    return {part: {"answers": {}, "faults": {}} for part in PARTS}


def _sort(told, minion, parts, shown):
    """Put a node's answer with the others'. One that tells nonsense is named, and spoils no view."""
    if not isinstance(shown, dict) or not all(isinstance(shown.get(key), dict) for key in ("answers", "faults")):
        shown = {"answers": {}, "faults": {"node": "its answer to nodeview.look is none"}}
    for part in ("node", *parts):
        answer = shown["answers"].get(part)
        # Who does not know itself has not looked at the rest.
        fault = shown["faults"].get("node") or shown["faults"].get(part)
        if not fault and not _sound(part, answer):
            fault = f"its answer to {PARTS[part]} is none"
        if fault:
            told[part]["faults"][minion] = str(fault)
        else:
            told[part]["answers"][minion] = answer


def _sound(part, answer):
    """Whether an answer has the form that it has to have."""
    if not isinstance(answer, dict):
        return False
    if part == "cctrl":
        return all(key in answer for key in ("coordinator", "routers")) and isinstance(answer.get("datasources"), dict)
    if part in HOMES:
        return all(isinstance(service, dict) and all(isinstance(service.get(key), (int, float, type(None))) for key in (
            "appliedLastSeqno", "maximumStoredSeqNo", "appliedLatency")) for service in answer.values())
    return True


def judge(topology, site, told, before=None):
    """
    Make a site's view of what its nodes have told. Pure, but for ``driftsigns.judge``, which is as well.

    topology
        As ``topology.validate`` returns it.
    site
        Name of the site.
    told
        ``{"node", "cctrl", "cluster", "cross_site": {"answers": {minion: …}, "faults": {minion: text}}}``, the parts
        of what ``nodeview.look`` told there.
    before
        ``{"cluster", "cross_site": {minion: answer}}`` of an earlier look, to tell what lags from what rests.

    Returns ``{"policy", "primary", "routers": {name: state}, "nodes": {host: {"minion", "role", "datasource",
    "reason", "dataserver", "manager", "services": {service: {"home", "role", "state", "seqno", "stored",
    "latency"}}}}, "wrong": [texts, each beginning with the node or the site], "late": [minions]}``, latency in
    seconds. What is not known is None.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd siteview.judge "$topology" east "$told"
    """
    settings = topology["sites"][site]
    wrong, late = [], []
    listing = _listing(site, settings["nodes"], told["cctrl"]["answers"], wrong)
    view = {
        "policy": (listing.get("coordinator") or {}).get("policy"),
        "primary": next((host for host, source in listing.get("datasources", {}).items()
                         if source["role"] == "master"), None),
        "routers": {name: router["state"] for name, router in listing.get("routers", {}).items()},
        "nodes": {},
    }
    if listing:
        wrong += _of_the_site(site, settings, listing, view)
    for host, minion in settings["nodes"].items():
        source = listing.get("datasources", {}).get(host, {})
        wrong += [f"{minion}: {fault}" for fault in _faults(minion, told)]
        services = {}
        for home in HOMES:
            answer = told[home]["answers"].get(minion)
            if answer is None:
                continue
            services |= {name: _service(home, now) for name, now in answer.items()}
            signs = __salt__["driftsigns.judge"](
                answer, _expected(topology, site, home), _places((before or {}).get(home, {}).get(minion)), LATENCY)
            wrong += [f"{minion}: {sign['what']}" for sign in signs.values() if sign["sign"] != "well"]
            late += [minion] if any(sign["sign"] == "late" for sign in signs.values()) else []
        view["nodes"][host] = {
            "minion": minion, "role": source.get("role"), "datasource": source.get("state"),
            "reason": source.get("reason"), "dataserver": source.get("dataserver"), "manager": source.get("manager"),
            "services": services,
        }
    return {**view, "wrong": wrong, "late": list(dict.fromkeys(late))}


def _listing(site, nodes, answers, wrong):
    """What cctrl shows on the coordinator's own host, or on the first that answers; every other has to agree."""
    views = {host: answers[minion] for host, minion in nodes.items() if minion in answers}
    if not views:
        wrong.append(f"{site}: no node tells what cctrl shows; policy, routers and datasources are not known")
        return {}
    for what, of in (("the policy", lambda view: (view["coordinator"] or {}).get("policy")), ("the primary", _masters)):
        if len({of(view) for view in views.values()}) > 1:
            wrong.append(f"{site}: its nodes do not agree on {what}: "
                         + ", ".join(f"{host} sees {of(view) or 'none'}" for host, view in sorted(views.items())))
    first = next(iter(views.values()))
    return views.get((first["coordinator"] or {}).get("host"), first)


def _masters(view):
    return " and ".join(sorted(host for host, source in view["datasources"].items() if source["role"] == "master"))


def _of_the_site(site, settings, listing, view):
    wrong = []
    if view["policy"] != POLICY:
        wrong.append(f"{site}: its policy is {view['policy'] or 'not known'}, so nothing recovers by itself")
    wrong += [f"{site}: router {name} is {state}" for name, state in view["routers"].items() if state != UP]
    if " and " in _masters(listing):
        wrong.append(f"{site}: cctrl shows more than one primary: {_masters(listing)}")
    elif not view["primary"]:
        wrong.append(f"{site}: cctrl shows no primary")
    wrong += [f"{site}: cctrl lists {host}, which is not in the pillar"
              for host in listing["datasources"] if host not in settings["nodes"]]
    for host, minion in settings["nodes"].items():
        source = listing["datasources"].get(host)
        wrong += [f"{minion}: {text}" for text in (_of_a_source(source) if source else ["cctrl does not list it"])]
    return wrong


def _of_a_source(source):
    replicator = source["replicator"] or {}
    wrong = []
    if source["state"] != UP:
        wrong.append(f"its datasource is {source['state'] or 'not readable'}"
                     + (f" ({source['reason']})" if source["reason"] else ""))
    elif source["alert"] not in (None, "OK"):
        wrong.append(f"cctrl says {source['alert']}: {source['alert_reason'] or 'no reason told'}")
    for what, state in (("manager", source["manager"]), ("data server", source["dataserver"]),
                        ("cluster replicator", replicator.get("state"))):
        if state != UP:
            wrong.append(f"cctrl shows its {what} as {state or 'unknown'}")
    return wrong


def _faults(minion, told):
    silent = told["node"]["faults"].get(minion)
    if silent:
        return [silent]
    failed = [told[key]["faults"].get(minion) for key in ("cctrl", *HOMES)]
    # A tool that fails for both homes in the same words fails once.
    return list(dict.fromkeys(filter(None, failed)))


def _expected(topology, site, home):
    own = topology["sites"][site]["service"]
    if home == "cluster":
        return [own]
    return [other["service"] for name, other in topology["sites"].items() if name != site]


def _places(services):
    return {name: {"applied": now.get("appliedLastSeqno"), "stored": now.get("maximumStoredSeqNo")}
            for name, now in (services or {}).items()}


def _service(home, now):
    return {"home": home, "role": now.get("role"), "state": now.get("state"),
            **{key: _told(now.get(field)) for key, field in (
                ("seqno", "appliedLastSeqno"), ("stored", "maximumStoredSeqNo"), ("latency", "appliedLatency"))}}


def _told(number):
    """A service that is not ONLINE shows -1 and -1.0, whatever it has done."""
    return None if number is None or number < 0 else number
