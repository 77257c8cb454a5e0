"""
Assert that replication services of this minion are offline, online or reset, with ``trepctl``.

.. code-block:: yaml

    the failed site's log is not read any more:
      trepctl.offline:
        - name: east
        - which: cross_site

    its position is forgotten:
      trepctl.reset:
        - name: east
        - which: cross_site
        - require:
          - trepctl: the failed site's log is not read any more

``which`` is ``cluster`` for the replicator of the site's own cluster, ``cross_site`` for the one that pulls
the other sites' logs.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "trepctl"


def __virtual__():
    return __virtualname__


def _ret(name):
    return {"name": name, "result": False, "changes": {}, "comment": ""}


def _failed(ret, error):
    ret.update(result=False, comment=f"{__grains__['id']}: {error}")
    return ret


def _is_offline(state):
    # one that is in error may be brought back by automatic recovery
    return state.startswith("OFFLINE") and state != "OFFLINE:ERROR"


def _is_online(state):
    return state == "ONLINE"


GOALS = {"offline": _is_offline, "online": _is_online}


def offline(name, which, timeout=120):
    """
    A service is offline.

    name
        Name of the service.
    which
        ``cluster`` or ``cross_site``.
    timeout
        Seconds to wait until it is.
    """
    return _one(name, which, "offline", timeout)


def online(name, which, timeout=120):
    """
    A service is ONLINE, for two reads in a row.

    name
        Name of the service.
    which
        ``cluster`` or ``cross_site``.
    timeout
        Seconds to wait until it is.
    """
    return _one(name, which, "online", timeout)


def _one(name, which, goal, timeout):
    ret = _ret(name)
    try:
        state = __salt__["trepctl.status"](name, which)["state"]
    except (CommandExecutionError, SaltInvocationError) as error:
        return _failed(ret, error)
    return _bring(ret, {name: state}, which, goal, timeout)


def offline_all(name, which, services=None, timeout=120):
    """
    Every service of a replicator is offline.

    name
        Free text.
    which
        ``cluster`` or ``cross_site``.
    services
        Services that must be among them; those of the topology in pillar if not given.
    timeout
        Seconds to wait for each.
    """
    return _all(name, which, services, "offline", timeout)


def online_all(name, which, services=None, but=(), timeout=120):
    """
    Every service of a replicator is ONLINE, for two reads in a row.

    name
        Free text.
    which
        ``cluster`` or ``cross_site``.
    services
        Services that must be among them; those of the topology in pillar if not given.
    but
        Services that are left as they are.
    timeout
        Seconds to wait for each.
    """
    return _all(name, which, services, "online", timeout, but)


def _all(name, which, services, goal, timeout, but=()):
    ret = _ret(name)
    try:
        states = _states(which)
        if services is None:
            node = __salt__["topology.node"]()
            services = [node["service"]] if which == "cluster" else node["other_services"]
    except (CommandExecutionError, SaltInvocationError) as error:
        return _failed(ret, error)
    missing = sorted(set(services) - set(states))
    if missing:
        there = ", ".join(sorted(states)) or "none"
        return _failed(
            ret, f"the {which} replicator has no service {', '.join(missing)}; its services are: {there}"
        )
    wanted = {service: state for service, state in states.items() if service not in but}
    return _bring(ret, wanted, which, goal, timeout)


def _states(which):
    return {service: found["state"] for service, found in __salt__["trepctl.services"](which).items()}


def _bring(ret, before, which, goal, timeout):
    """Bring every service that is not there yet to its goal, going on after one that fails."""
    reached = GOALS[goal]
    todo = [service for service, state in sorted(before.items()) if not reached(state)]
    if __opts__["test"] and todo:
        ret["result"] = None
        ret["changes"] = {service: {"old": before[service], "new": goal.upper()} for service in todo}
        ret["comment"] = f"The {which} service {', '.join(todo)} would be put {goal}"
        return ret
    faults, erased = [], []
    for service in todo:
        try:
            answer = __salt__[f"trepctl.{goal}"](service, which, timeout=timeout)
            if answer.get("pending_error"):
                erased.append(f"{service} was in error: {answer['pending_error']}")
        except (CommandExecutionError, SaltInvocationError) as error:
            faults.append(str(error))
    try:
        after = _states(which)
    except CommandExecutionError as error:
        after = {}
        faults.append(f"what became of them cannot be read: {error}")
    ret["changes"] = {
        service: {"old": before[service], "new": after[service]}
        for service in todo
        if service in after and after[service] != before[service]
    }
    for service in sorted(before):
        state = after.get(service, "missing")
        # An error that comes back by itself is offline all the same; nothing passes.
        if after and not (reached(state) or (goal == "offline" and state.startswith("OFFLINE"))):
            faults.append(f"the {which} service {service} is {state}")
    if faults:
        return _failed(ret, "; ".join(faults))
    ret["result"] = True
    ret["comment"] = "\n".join(
        [f"The {which} services are {goal}: {', '.join(sorted(before)) or 'there are none'}", *erased]
    )
    return ret


def reset(name, which, timeout=120):
    """
    A service is offline and has neither position nor log, so that it begins anew. Cannot be undone.

    It must be offline already, and MySQL must answer.

    name
        Name of the service.
    which
        ``cluster`` or ``cross_site``.
    timeout
        Seconds for the command.
    """
    ret = _ret(name)
    try:
        state = __salt__["trepctl.status"](name, which)["state"]
        before = _traces(name, which)
    except (CommandExecutionError, SaltInvocationError) as error:
        return _failed(ret, error)
    # where the log is not known, its absence is not, so the reset is done once more: that harms nothing
    if state.startswith("OFFLINE") and before and before["rows"] == before["log_files"] == 0:
        ret.update(result=True, comment=f"The {which} service {name} has no position and no log")
        return ret
    if __opts__["test"]:
        ret.update(
            result=None,
            changes={name: {"old": before, "new": "no position and no log"}},
            comment=f"The {which} service {name} would be reset, once it is offline and MySQL answers",
        )
        return ret
    try:
        after = __salt__["trepctl.reset"](name, which, timeout=timeout)["after"]
        ret.update(result=True, comment=f"The {which} service {name} is reset")
    except (CommandExecutionError, SaltInvocationError) as error:
        _failed(ret, error)
        after = _traces(name, which)
    if ret["result"] or after != before:
        ret["changes"] = {name: {"old": before, "new": after}}
    return ret


def _traces(service, which):
    """What the service would resume from; None while MySQL cannot tell."""
    return __salt__["trepctl.traces"](service, which) if __salt__["mysqld.ping"]() else None


def not_composite(name):
    """
    This is no composite installation. Only looks, in test mode as well.

    name
        Free text.
    """
    ret = _ret(name)
    try:
        signs = __salt__["trepctl.composite_signs"]()
    except CommandExecutionError as error:
        return _failed(ret, error)
    if signs:
        return _failed(
            ret,
            f"this is a composite installation ({'; '.join(signs)}), and this procedure is for "
            "Multi-Site/Active-Active only; the manual has another one for it",
        )
    ret.update(result=True, comment="No sign of a composite installation")
    return ret
