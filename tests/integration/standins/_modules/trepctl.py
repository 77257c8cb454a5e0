"""Appended to the project's own trepctl module by the fixtures: replicators that keep nothing but a state and a
position. What is asked of them is what stands here; everything else is the real thing."""
# ruff: noqa: F821 - these names are the real module's


def _host():
    return __salt__["topology.node"]()["host"]


def _set(service, which, key, value, did):
    return __salt__["world.set_in"](["nodes", _host(), which, service, key], value, did=f"trepctl.{did}")


def _ask(which, *words, seconds=0):
    """Play ``trepctl -service SERVICE offline``, ``online``, ``heartbeat`` or ``reset -all -y``."""
    _, service, command, *_ = words
    if command == "heartbeat":
        __salt__["world.set_in"](["logs", service], position(service, which) + 1, did="trepctl.heartbeat")
    elif command == "reset":
        _set(service, which, "appliedLastSeqno", -1, "reset")
    else:
        _set(service, which, "state", {"offline": "OFFLINE:NORMAL", "online": "ONLINE"}[command], command)
    return ""


def services(which, full=False, timeout=90):
    """As the real one. CLI Example: none, a stand-in."""
    return __salt__["world.look"]()["nodes"][_host()][which]


def positions():
    """As the real one. CLI Example: none, a stand-in."""
    return {
        name: {"state": now["state"], "appliedLastSeqno": position(name, which), "appliedLatency": 0.1}
        for which in HOMES for name, now in services(which).items()
    }


def status(service, which):
    """As the real one. CLI Example: none, a stand-in."""
    return services(which)[service]


def position(service, which):
    """One log for a service: everybody has applied what there is. CLI Example: none, a stand-in."""
    return __salt__["world.look"]()["logs"][service]


def traces(service, which):
    """As the real one. CLI Example: none, a stand-in."""
    seqno = services(which)[service]["appliedLastSeqno"]
    return {"rows": int(seqno >= 0), "seqno": seqno, "log_files": int(seqno >= 0)}


def composite_signs(names=None):
    """As the real one. CLI Example: none, a stand-in."""
    return []
