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
    """Why it failed, and what the error tells was done before that."""
    info = getattr(error, "info", None) or {}
    ret.update(result=False, changes=info.get("changes", {}), comment=f"{__grains__['id']}: {error}")
    return ret


def offline(name, which, timeout=120):
    """
    A service is offline.

    name
        Name of the service.
    which
        ``cluster`` or ``cross_site``.
    timeout
        Seconds for the command, and again to wait until it is.
    """
    return _bring(name, "offline", which, timeout, name)


def online(name, which, timeout=120):
    """
    A service is ONLINE; one that was not is so for two looks in a row.

    name
        Name of the service.
    which
        ``cluster`` or ``cross_site``.
    timeout
        Seconds for the command, and again to wait until it is.
    """
    return _bring(name, "online", which, timeout, name)


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
        Seconds for each command, and again to wait for all of them.
    """
    return _bring(name, "offline", which, timeout, services, every=True)


def online_all(name, which, services=None, but=(), timeout=120):
    """
    Every service of a replicator is ONLINE; if one was not, all are so for two looks in a row.

    name
        Free text.
    which
        ``cluster`` or ``cross_site``.
    services
        Services that must be among them; those of the topology in pillar if not given.
    but
        Services that are left as they are.
    timeout
        Seconds for each command, and again to wait for all of them.
    """
    return _bring(name, "online", which, timeout, services, every=True, but=but)


def _bring(name, goal, which, timeout, services, **more):
    ret = _ret(name)
    try:
        done = __salt__[f"trepctl.{goal}"](services, which, timeout=timeout, test=__opts__["test"], **more)
    except (CommandExecutionError, SaltInvocationError) as error:
        return _failed(ret, error)
    ret["changes"] = {
        service: {"old": now["before"], "new": now["after"]}
        for service, now in sorted(done.items()) if now["after"] != now["before"]
    }
    if __opts__["test"] and ret["changes"]:
        ret.update(result=None, comment=f"The {which} service {', '.join(ret['changes'])} would be put {goal}")
        return ret
    erased = [
        f"{service} was in error: {now['pending_error']}"
        for service, now in sorted(done.items()) if now.get("pending_error")
    ]
    there = ", ".join(sorted(done)) or "there are none"
    ret.update(result=True, comment="\n".join([f"The {which} services are {goal}: {there}", *erased]))
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
        done = __salt__["trepctl.reset"](name, which, timeout=timeout, test=__opts__["test"])
    except (CommandExecutionError, SaltInvocationError) as error:
        return _failed(ret, error)
    if not done["reset"]:
        ret.update(result=True, comment=f"The {which} service {name} has no position and no log")
    elif __opts__["test"]:
        ret.update(
            result=None,
            changes={name: {"old": done["before"], "new": "no position and no log"}},
            comment=f"The {which} service {name} would be reset, once it is offline and MySQL answers",
        )
    else:
        ret.update(
            result=True,
            changes={name: {"old": done["before"], "new": done["after"]}},
            comment=f"The {which} service {name} is reset",
        )
    return ret


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
