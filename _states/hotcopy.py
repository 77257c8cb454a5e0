"""
Assert that a host holds a hot copy: emptied for the donor's stream, filled by it, prepared for a server.

The donor goes on serving all the while.

.. code-block:: yaml

    east1 can take west3's stream:        # on east1
      hotcopy.emptied:
        - site: east
        - donor: west3
        - run: 20261123-east
        - method: mariabackup

    west3's data lie on east1:            # on west3
      hotcopy.streamed:
        - name: east1
        - site: east
        - run: 20261123-east
        - method: mariabackup

    a server can run on them:             # on east1
      hotcopy.prepared:
        - run: 20261123-east
        - method: mariabackup
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "hotcopy"


def __virtual__():
    return __virtualname__


def _ret(name):
    return {"name": name, "result": False, "changes": {}, "comment": ""}


def _failed(ret, error):
    ret.update(result=False, comment=f"{__grains__['id']}: {error}")
    return ret


def _filled():
    return [held["path"] for held in __salt__["datalocation.contents"]().values() if held["entries"]]


def emptied(name, site, donor, run, method):
    """
    Nothing of this host's old data is left in any data location, and a hot copy can be unpacked there. What is there is
    DELETED, once ``hottarget.empty`` has proved that it may be; what this run's stream has brought stays.

    In test mode only what no earlier step can change is checked: the host's site, the donor, the locations.

    name
        Free text.
    site
        The failed site, which this host must be of.
    donor
        The host the data will come from, which this host must not be.
    run
        Name of this run.
    method
        ``mariabackup`` or ``xtrabackup``.
    """
    ret = _ret(name)
    try:
        __salt__["dataguard.check"](site, donor)
        if __opts__["test"]:
            filled = [] if __salt__["datadir.emptied"](site, donor, run) else _filled()
            ret.update(result=None if filled else True, changes={path: {"new": "empty"} for path in filled},
                       comment=f"would be emptied: {', '.join(filled)}" if filled else "nothing old is left")
            return ret
        removed = __salt__["hottarget.empty"](site, donor, run, method)
        ret["changes"] = {
            place["path"]: {"old": f"{place['entries']} entries, {place['bytes']} bytes", "new": "empty"}
            for place in removed.values() if place["entries"]}
        ret.update(result=True, comment="emptied for this run's stream, or filled by it")
    except (CommandExecutionError, SaltInvocationError) as error:
        _failed(ret, error)
    return ret


def streamed(name, site, run, method, wait=86400, deadline=86400, bwlimit=0):
    """
    The data of this host, the donor, lie on the target as a whole backup, made while the server here went on serving.

    While the stream goes on the result is False and ``changes["still running"]`` names its unit, for
    ``jobgroup.status``; this state is applied again when it has ended, and looks how.

    name
        The target: a host of the failed site that ``hotcopy.emptied`` has emptied for this donor and run.
    site
        The failed site.
    run
        Name of this run.
    method
        ``mariabackup`` or ``xtrabackup``.
    wait
        Seconds to wait for the stream.
    deadline
        Seconds after which it is ended.
    bwlimit
        Megabytes a second at most; 0 for no limit.
    """
    ret = _ret(name)
    try:
        if __opts__["test"]:
            faults = __salt__["hotguard.faults"](method)
            if faults:
                return _failed(ret, "; ".join(faults))
            ret["changes"] = {name: {"old": "without the data of this host", "new": f"{method} of this host"}}
            ret.update(result=None, comment=f"a {method} of this host would be streamed to {name}, while it serves")
            return ret
        now = __salt__["hotcopy.stream"](name, site, run, method, wait=wait, deadline=deadline, bwlimit=bwlimit)
        if now["running"]:
            ret["changes"] = {"still running": now["running"]}
            ret["comment"] = f"the stream to {name} goes on in the unit reprovision-{now['running']}"
            return ret
        ret["changes"] = {name: {"old": "without the data of this host", "new": "streamed"}} if now["copied"] else {}
        ret.update(result=True, comment=f"{name} holds the whole stream")
    except (CommandExecutionError, SaltInvocationError) as error:
        _failed(ret, error)
    return ret


def prepared(name, run, method, wait=86400, deadline=86400):
    """
    What was streamed to this host is prepared, so that a server can run on it: the copy is complete.

    While it is being prepared the result is False and ``changes["still running"]`` names its unit, as with
    ``streamed``.

    name
        Free text.
    run
        Name of this run.
    method
        ``mariabackup`` or ``xtrabackup``.
    wait
        Seconds to wait for it.
    deadline
        Seconds after which it is ended.
    """
    ret = _ret(name)
    try:
        if __opts__["test"]:
            ready = __salt__["datadir.copy"]()
            done = bool(ready) and ready["run"] == run
            ret.update(result=True if done else None, changes={} if done else {"old": "a stream", "new": "prepared"},
                       comment="the copy is complete" if done else "would be prepared, once the stream is here")
            return ret
        now = __salt__["hottarget.prepare"](run, method, wait=wait, deadline=deadline)
        if now["running"]:
            ret["changes"] = {"still running": now["running"]}
            ret["comment"] = f"it is being prepared in the unit reprovision-{now['running']}"
            return ret
        ret["changes"] = {"old": "a stream", "new": "prepared"} if now["prepared"] else {}
        ret.update(result=True, comment="the copy is complete")
    except (CommandExecutionError, SaltInvocationError) as error:
        _failed(ret, error)
    return ret
