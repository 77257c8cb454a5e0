"""What ``trepctl status`` tells about a service."""

import time

from . import config

VERSION = "Tungsten Replicator 7.0.3 build 141"
RMI_PORTS = {"cluster": 10000, "cross_site": 10002}
THL_PORTS = {"cluster": 2112, "cross_site": 2113}


def document(service, state, seen):
    """Every key of a real ``status -json``; all values are strings."""
    entry = service.entry
    up = state in ("ONLINE", "GOING-ONLINE:SYNCHRONIZING")
    number = seen.get("seqno", -1) if up else -1
    # A log that was removed without its position begins behind that position.
    first = entry.get("thl_from", 0)
    stored = seen.get("stored", -1) if up else -1
    kept = stored >= first
    master = service.role == "master"
    uri = "" if master else f"thl://{service.source}:{THL_PORTS['cluster']}/"
    kind = "local" if service.which == "cluster" else "remote"
    now = time.time()
    latency = str(float(seen.get("latency", 0.1))) if number >= 0 else ("0.0" if up else "-1.0")
    return {
        "appliedLastEventId": seen["event"] if number >= 0 else "NONE",
        "appliedLastSeqno": str(number),
        "appliedLatency": latency,
        "autoRecoveryEnabled": "false",
        "autoRecoveryTotal": "0",
        "channels": "1" if up or entry.get("fresh") else "-1",
        "clusterName": config.site_of(service.host),
        "currentEventId": seen.get("current", "NONE") if up and master else "NONE",
        "currentTimeMillis": str(int(now * 1000)),
        "dataServerHost": service.host,
        "extensions": "",
        "host": service.host,
        "latestEpochNumber": "0" if number >= 0 else "-1",
        "masterConnectUri": uri,
        "masterListenUri": f"thl://{service.host}:{THL_PORTS[service.which]}/",
        "maximumStoredSeqNo": str(stored if kept else -1),
        "minimumStoredSeqNo": str(first if kept and stored >= 0 else -1),
        "offlineRequests": "Offline at heartbeat event" if entry.get("deferred") else "NONE",
        "pendingError": "NONE",
        "pendingErrorCode": "NONE",
        "pendingErrorEventId": "NONE",
        "pendingErrorSeqno": "-1",
        "pendingExceptionMessage": "NONE",
        "pipelineSource": ("/var/lib/mysql" if master else uri)
        if up and seen.get("pulling", True)
        else "UNKNOWN",
        "relativeLatency": latency,
        "resourcePrecedence": "99",
        "rmiPort": str(RMI_PORTS[service.which]),
        "role": service.role,
        "seqnoType": "java.lang.Long",
        "serviceName": service.name,
        "serviceType": kind if up or entry.get("fresh") else "unknown",
        "simpleServiceName": service.name,
        "siteName": "default",
        "sourceId": service.host,
        "state": state,
        "timeInStateSeconds": str(round(now - entry.get("since", now), 3)),
        "timezone": "GMT",
        "transitioningTo": "",
        "uptimeSeconds": str(round(now - config.read_state(service.path).get("started", now), 3)),
        "useSSLConnection": "false",
        "version": VERSION,
        **(entry.get("error") or {}),
    }
