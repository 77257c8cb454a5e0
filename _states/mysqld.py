"""
Assert that this minion's MySQL or MariaDB server is stopped, with its process gone, or running and answering
SQL.

.. code-block:: yaml

    server is down:
      mysqld.stopped:
        - timeout: 1800
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "mysqld"


def __virtual__():
    return __virtualname__


def stopped(name, timeout=600):
    """
    The server is stopped: its unit is down and no process of this instance is left.

    name
        Free text.
    timeout
        Seconds to wait for a clean stop. Nothing is killed.
    """
    return _bring(name, False, "mysqld.stop", timeout)


def running(name, timeout=600):
    """
    The server runs and answers SQL.

    name
        Free text.
    timeout
        Seconds to wait for its first answer.
    """
    return _bring(name, True, "mysqld.start", timeout)


def _condition():
    now = __salt__["mysqld.status"]()
    if not now["running"]:
        return now["unit"], "stopped"
    return now["unit"], "running" if __salt__["mysqld.ping"]() else "not answering"


def _bring(name, up, function, timeout):
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    wanted = "running" if up else "stopped"
    try:
        unit, old = _condition()
        if old == wanted:
            ret.update(result=True, comment=f"{unit} is {wanted}")
            return ret
        if __opts__["test"]:
            ret.update(
                result=None,
                changes={"old": old, "new": wanted},
                comment=f"{unit} would be brought to {wanted}",
            )
            return ret
        try:
            __salt__[function](timeout=timeout)
        finally:
            unit, new = _condition()
            if new != old:
                ret["changes"] = {"old": old, "new": new}
        ret["result"] = new == wanted
        ret["comment"] = f"{unit} is {new}" + (
            "" if ret["result"] else f", not {wanted}, on {__grains__['id']}"
        )
    except (CommandExecutionError, SaltInvocationError) as error:
        ret.update(result=False, comment=f"{__grains__['id']}: {error}")
    return ret
