"""
Assert that a donor gives itself back to its site when a run leaves it, and that one which is back does so no more.

.. code-block:: yaml

    west3 is lent:
      donor.lent:
        - loan: {"run": "20261123-east", "failed": "east", "donor": "west3"}
        - seconds: 900

    west3 is back:
      donor.returned: []
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "donor"


def __virtual__():
    return __virtualname__


def lent(name, loan, seconds):
    """
    This host gives itself back to its site once the lease has run out and no copy runs. Applied again: a longer lease.

    name
        Free text.
    loan
        The run's ``reprovision_run``.
    seconds
        How long the lease holds from now.
    """
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    try:
        before = __salt__["donor.lease"]()
        known = before is not None and before["run"] == loan["run"]
        if not known:
            new = f"gives itself back when run {loan['run']} leaves it"
            ret["changes"] = {"old": before and before["run"], "new": new}
        if __opts__["test"]:
            ret.update(result=True if known else None, comment="a timer would be left here that gives this donor back")
            return ret
        __salt__["donor.lend"](loan, seconds)
        ret.update(result=True, comment=f"gives itself back if it is left for {seconds} s without a copy running")
    except (CommandExecutionError, SaltInvocationError) as error:
        ret.update(result=False, changes={}, comment=f"{__grains__['id']}: {error}")
    return ret


def returned(name):
    """
    This host is not lent to any run: no timer waits to give it back.

    name
        Free text.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "not lent to any run"}
    try:
        before = __salt__["donor.lease"]()
        if before is not None:
            ret["changes"] = {"old": f"lent to run {before['run']}", "new": "not lent"}
            if __opts__["test"]:
                ret["result"] = None
                return ret
        if not __opts__["test"]:
            __salt__["donor.forget"]()
    except CommandExecutionError as error:
        ret.update(result=False, changes={}, comment=f"{__grains__['id']}: {error}")
    return ret
