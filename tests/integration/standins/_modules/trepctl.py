"""Replicators that keep nothing but a state and a position."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "trepctl"


def __virtual__():
    return __virtualname__


def _host():
    return __salt__["topology.node"]()["host"]


def _set(service, which, key, value, did):
    path = ["nodes", _host(), which, service, key]
    return __salt__["world.set_in"](path, value, did=f"trepctl.{did}")


def services(which, full=False, timeout=90):
    """As the real one."""
    return __salt__["world.look"]()["nodes"][_host()][which]


def positions():
    """As the real one."""
    return {
        name: {"state": now["state"], "appliedLastSeqno": position(name, which), "appliedLatency": 0.1}
        for which in ("cluster", "cross_site") for name, now in services(which).items()
    }


def status(service, which):
    """As the real one."""
    return services(which)[service]


def offline(service, which, timeout=120):
    """As the real one."""
    before = status(service, which)["state"]
    _set(service, which, "state", "OFFLINE:NORMAL", "offline")
    return {"before": before, "after": status(service, which)["state"], "pending_error": None}


def online(service, which, timeout=120):
    """As the real one."""
    before = status(service, which)["state"]
    _set(service, which, "state", "ONLINE", "online")
    return {"before": before, "after": status(service, which)["state"], "seqno": position(service, which)}


def position(service, which):
    """One log for a service: everybody has applied what there is."""
    return __salt__["world.look"]()["logs"][service]


def heartbeat(service, which):
    """As the real one."""
    return __salt__["world.set_in"](["logs", service], position(service, which) + 1, did="trepctl.heartbeat")


def beat(timeout=60):
    """As the real one, without waiting: here a position moves at once or never."""
    service = __salt__["topology.node"]()["service"]
    before = position(service, "cluster")
    heartbeat(service, "cluster")
    if position(service, "cluster") <= before:
        raise CommandExecutionError(f"a heartbeat of service {service} was sent, but its position stays at {before}")
    return {"service": service, "before": before, "seqno": position(service, "cluster")}


def traces(service, which):
    """As the real one."""
    seqno = services(which)[service]["appliedLastSeqno"]
    return {"rows": int(seqno >= 0), "seqno": seqno, "log_files": int(seqno >= 0)}


def reset(service, which, timeout=120):
    """As the real one."""
    before = traces(service, which)
    _set(service, which, "appliedLastSeqno", -1, "reset")
    return {"before": before, "after": traces(service, which)}


def composite_signs(names=None):
    """As the real one."""
    return []
