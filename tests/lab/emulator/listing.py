"""What cctrl shows: the state of a site, read live from all its hosts at once."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

from . import box, config, db, manager, replicator

# Of a replicator's states cctrl shows only these.
_MAPPED = {"OFFLINE:ERROR": "SUSPECT", "OFFLINE:BACKUP": "BACKUP", "OFFLINE:RESTORING": "RESTORING"}


def _width():
    return config.load().get("box", 80)


def services(site):
    """The names that `use` and `ls` know at the root."""
    if not manager.composite(site):
        return [site]
    return sorted([*config.load()["sites"], "global"])


def data_services(site):
    return box.boxes([["DATA SERVICES:"]], _width()) + "\n".join(services(site))


def _replicator_state(state):
    for start, mapped in (*_MAPPED.items(), ("ONLINE", "ONLINE"), ("OFFLINE", "OFFLINE")):
        if state.startswith(start):
            return mapped
    return "SYNCHRONIZING" if state.endswith("SYNCHRONIZING") else "UNKNOWN"


def _serves(host):
    try:
        db.query(host, "SELECT 1", timeout=4)
    except (db.DbDown, db.DbError):
        return False
    return True


def _replication(host, site):
    """(what the REPLICATOR line holds, progress, latency)"""
    if not replicator.Replicator(host, "cluster").running:
        return {"state": "STOPPED"}, None, None
    status = replicator.Service(host, "cluster", site).status()
    line = {"role": status["role"], "state": _replicator_state(status["state"])}
    if status["role"] != "master":
        line["master"] = manager.state(site)["primary"]
    return line, int(status["appliedLastSeqno"]), float(status["appliedLatency"])


def _alert(source):
    """(status word, reason). Captured output only has OK, SHUNNED and CRITICAL; the others are invented."""
    here = f"DATASERVER '{source['name']}@{source['site']}' STOPPED"
    state, follows = source["state"], source["replicator"]["state"]
    if source["manager"] == "STOPPED":
        return "UNKNOWN", None
    if state == "SHUNNED":
        return "SHUNNED", None
    if state == "FAILED":
        return "CRITICAL", source["last_error"]
    if source["dataserver"] == "STOPPED":
        return "CRITICAL", here
    if state != "ONLINE":
        return "WARN", None
    if follows == "ONLINE":
        return "OK", None
    return "DIMINISHED", None if follows == "SYNCHRONIZING" else f"REPLICATOR {follows}"


def _source(host, site, known):
    """Everything about one datasource."""
    role = "master" if host == known["primary"] else "slave"
    source = {
        "name": host,
        "site": site,
        "role": role,
        **known["datasources"][host],
        "time": time.strftime("%Y/%m/%d %I:%M:%S %p UTC", time.gmtime()),
    }
    if manager.alive(host):
        line, progress, latency = _replication(host, site)
        source.update(
            manager="ONLINE",
            replicator=line,
            progress=progress,
            latency=latency,
            dataserver="ONLINE" if _serves(host) else "STOPPED",
        )
    else:
        source.update(manager="STOPPED", replicator={"state": "STATUS NOT AVAILABLE"}, dataserver="UNKNOWN")
    source["alert"], source["alert_reason"] = _alert(source)
    return source


def _sources(site, hosts):
    known = manager.state(site)
    with ThreadPoolExecutor(max(1, len(hosts))) as pool:
        return list(pool.map(lambda host: _source(host, site, known), hosts))


def _details(source):
    """The tables of one datasource. The keys are the formatter's samples'; a real listing has more."""
    line = source["replicator"]
    name = source["name"]
    tables = [
        (
            box.head(source),
            {
                "alertMessage": source["alert_reason"] or "",
                "alertStatus": source["alert"],
                "alertTime": int(time.time() * 1000),
                "dataServiceName": source["site"],
                "host": name,
                "isComposite": "false",
                "lastError": source.get("last_error") or "",
                "lastShunReason": source.get("shun_reason") or "",
                "name": name,
                "precedence": 99,
                "role": source["role"],
                "state": source["state"],
                "vipIsBound": "false",
            },
        )
    ]
    if "role" in line:
        uri = f"thl://{line['master']}:2112/" if "master" in line else ""
        tables.append(
            (
                f"{name}:REPLICATOR(role={line['role']}, state={line['state']})",
                {
                    "appliedLastSeqno": source["progress"],
                    "appliedLatency": source["latency"],
                    "host": name,
                    "masterConnectUri": uri,
                    "relativeLatency": -1.0,
                    "role": line["role"],
                    "state": line["state"],
                    "useSSLConnection": "false",
                },
            )
        )
    tables.append((f"{name}:DATASERVER(state={source['dataserver']})", {"state": source["dataserver"]}))
    return tables


def _heads(site):
    known = manager.state(site)

    def head(name):
        state = manager.state(name)
        return f"COORDINATOR[{manager.coordinator(name)}:{state['policy']}:ONLINE]"

    lines = [f"COORDINATOR[{manager.coordinator(site)}:{known['policy']}:ONLINE]"]
    if manager.composite(site):
        lines += [f"   {name}:{head(name)}" for name in config.load()["sites"]]
    return lines


def cluster(site, only=None, long=False):
    """The reply to ``ls``, ``ls HOST``, with ``long`` ``ls -l``."""
    known = manager.state(site)
    width = _width()
    hosts = [only] if only else list(known["datasources"])
    sources = _sources(site, hosts)
    routers = [
        f"connector@{name}[{router['pid']}]({router['state']}, created=0, active=0)"
        for name, router in known["routers"].items()
    ]
    text = "\n".join(["", *_heads(site), "", ""])
    if not only:
        text += f"ROUTERS:\n{box.boxes([routers], width)}"
    text += "DATASOURCES:\n"
    if manager.composite(site) and not only:
        text += "".join(
            box.datasource(
                {
                    "name": name,
                    "role": "master",
                    "composite": True,
                    "state": "ONLINE",
                    "alert": "OK",
                    "time": sources[0]["time"],
                },
                width,
            )
            for name in config.load()["sites"]
        )
    for source in sources:
        text += box.details(_details(source), width) if long else box.datasource(source, width)
    return text.removesuffix("\n")


def resources(site):
    """Only known: the vendor's checks look for lines with ``:`` that are not ONLINE. Layout invented."""
    lines = []
    for source in _sources(site, list(manager.state(site)["datasources"])):
        name = source["name"]
        lines += [
            f"{name}:MANAGER: {source['manager']}",
            f"{name}:DATASERVER: {source['dataserver']}",
            f"{name}:REPLICATOR: {source['replicator']['state']}",
            f"{name}:DATASOURCE: {source['state']}",
        ]
    return box.boxes([["RESOURCES"], lines], _width()).removesuffix("\n")


def _address(host):
    try:
        return socket.gethostbyname(host)
    except OSError:
        return "unknown"


def members(site):
    """The members of the managers' group; a manager that is down has left it."""
    nodes = filter(manager.alive, manager.state(site)["datasources"])
    return "\n".join(f"{site}/{node}(ONLINE)/{_address(node)}:7800" for node in nodes)


def ping(host):
    """Of the reply only the line for a dead host is known."""
    try:
        socket.create_connection((host, 22), timeout=2).close()
    except ConnectionRefusedError:
        pass
    except OSError:
        return f"HOST {host}/{_address(host)}: NOT REACHABLE"
    return f"HOST {host}/{_address(host)}: ALIVE"
