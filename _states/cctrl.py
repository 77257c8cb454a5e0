"""
Assert what cctrl shows of this minion's site: its policy, its routers, its datasources.

.. code-block:: yaml

    the site's managers leave everything alone:
      cctrl.policy:
        - name: MAINTENANCE

    west3 is out of service:
      cctrl.datasource_shunned:
        - name: west3
"""

import contextlib

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "cctrl"


def __virtual__():
    return __virtualname__


def _bring(name, reached, look, wanted, function, *args, **kwargs):
    """The acting function looks before and after by itself; only in test mode is there a look of the state's own."""
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    try:
        if __opts__["test"]:
            now = __salt__["cctrl.ls"]()
            if reached(now):
                ret.update(result=True, comment=wanted)
            else:
                ret.update(
                    result=None,
                    changes={"old": look(now), "new": wanted},
                    comment=f"It would be brought about: {wanted}",
                )
            return ret
        seen = __salt__[function](*args, **kwargs)
        done = reached(seen["after"])
        ret.update(result=done, changes=_changes(look, **seen), comment=wanted if done else f"Not so: {wanted}")
    except CommandExecutionError as error:
        ret["comment"] = f"{__grains__['id']}: {error}"
        if error.info:
            # Something may have been done before it failed, and that has to be told; not in the place of the error.
            # Without a listing from before, the tool's own words in the error are all there is.
            with contextlib.suppress(CommandExecutionError):
                ret["changes"] = _changes(look, error.info["before"], __salt__["cctrl.ls"]())
    except SaltInvocationError as error:
        ret["comment"] = f"{__grains__['id']}: {error}"
    return ret


def _changes(look, before, after):
    old, new = look(before), look(after)
    return {"old": old, "new": new} if old != new else {}


def policy(name):
    """
    The site's policy is MAINTENANCE, AUTOMATIC or MANUAL.

    name
        The policy, in upper case.

    .. code-block:: yaml

        MAINTENANCE:
          cctrl.policy: []
    """
    return _bring(
        name,
        lambda now: __salt__["cctrl.has_policy"](now, name),
        lambda now: (now["coordinator"] or {}).get("policy"),
        f"the policy is {name}",
        "cctrl.set_policy",
        name,
    )


def routers_offline(name):
    """
    Every router of the site is OFFLINE.

    name
        Free text.

    .. code-block:: yaml

        no traffic:
          cctrl.routers_offline: []
    """
    return _routers(name, "OFFLINE")


def routers_online(name):
    """
    Every router of the site is ONLINE.

    name
        Free text.

    .. code-block:: yaml

        traffic:
          cctrl.routers_online: []
    """
    return _routers(name, "ONLINE")


def _routers(name, state):
    return _bring(
        name,
        lambda now: __salt__["cctrl.has_routers"](now, state),
        lambda now: {router: about["state"] for router, about in now["routers"].items()},
        f"all routers are {state}",
        "cctrl.set_routers",
        state,
    )


def _source(host):
    def look(now):
        source = now["datasources"].get(host)
        return source and {"datasource": source["state"], "replicator": (source["replicator"] or {}).get("state")}

    return look


def datasource_shunned(name, force=False):
    """
    A datasource is SHUNNED and its replicator OFFLINE.

    name
        Tungsten's name of the host.
    force
        Whether to ``set force true`` in that session, as for a primary.

    .. code-block:: yaml

        east1:
          cctrl.datasource_shunned:
            - force: True
    """
    return _bring(
        name,
        lambda now: __salt__["cctrl.is_shunned"](now, name),
        _source(name),
        f"datasource {name} is SHUNNED, its replicator OFFLINE",
        "cctrl.shun",
        name,
        force=force,
    )


def datasource_online(name, how, timeout=120):
    """
    A datasource is ONLINE, with its replicator and its data server.

    name
        Tungsten's name of the host.
    how
        ``recover`` or ``welcome``, if it is shunned.
    timeout
        Seconds.

    .. code-block:: yaml

        west3:
          cctrl.datasource_online:
            - how: recover
    """
    return _bring(
        name,
        lambda now: __salt__["cctrl.is_online"](now, name),
        _source(name),
        f"datasource {name} is ONLINE, its replicator too",
        "cctrl.bring_back",
        name,
        how,
        timeout=timeout,
    )
