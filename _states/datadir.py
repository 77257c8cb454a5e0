"""
Assert the condition of a server's data locations: emptied, filled from a donor, owned as before.

.. code-block:: yaml

    east1 holds nothing of its old data:
      datadir.emptied:
        - site: east
        - donor: west3
        - run: 20261123-east

    most of west3's data lie on east1:    # on west3, which goes on serving
      datadir.copied_ahead:
        - name: east1
        - site: east
        - run: 20261123-east

    west3's data lie on east1:            # on west3, at rest
      datadir.copied:
        - name: east1
        - site: east
        - run: 20261123-east

    east1 owns its data:
      datadir.owned:
        - run: 20261123-east
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "datadir"

ERRORS = (CommandExecutionError, SaltInvocationError)


def __virtual__():
    return __virtualname__


def _failed(ret, error):
    ret.update(result=False, comment=f"{__grains__['id']}: {error}")
    return ret


def _ret(name):
    return {"name": name, "result": False, "changes": {}, "comment": ""}


def _filled():
    return {
        held["path"]: {"old": f"{held['entries']} entries, {held['bytes']} bytes", "new": "empty"}
        for held in __salt__["datalocation.contents"]().values()
        if held["entries"]
    }


def _way(transport):
    measured = f", the link was measured at {transport['rate']} MB/s" if transport["rate"] is not None else ""
    return f"compression {transport['compress']}{measured}"


def emptied(name, site, donor, run):
    """
    Nothing of this host's old data is left in any data location. What is there is DELETED, once ``datadir.empty``
    has proved that it may be; once in a run, so that what its copy has brought stays.

    In test mode only what no earlier step can change is checked: the host's site, the donor, the locations.

    name
        Free text.
    site
        The failed site, which this host must be of.
    donor
        The host the data will come from, which this host must not be.
    run
        Name of this run.
    """
    ret = _ret(name)
    try:
        __salt__["dataguard.check"](site, donor)
        if __salt__["datadir.emptied"](site, donor, run):
            ret.update(result=True, comment="the data locations were emptied in this run, for this donor")
            return ret
        filled = _filled()
        if __opts__["test"]:
            if filled:
                ret.update(result=None, changes=filled, comment=f"would be emptied: {', '.join(filled)}")
            else:
                ret.update(result=True, comment="the data locations are empty")
            return ret
        try:
            # called for empty locations too: it proves the guards and records the owner
            __salt__["datadir.empty"](site, donor, run)
        finally:
            left = _filled()
            for path, change in filled.items():
                if left.get(path) != change:
                    ret["changes"][path] = {**change, "new": left[path]["old"] if path in left else "empty"}
        ret["result"] = not left
        ret["comment"] = f"still filled: {', '.join(left)}" if left else "the data locations are empty"
    except ERRORS as error:
        _failed(ret, error)
    return ret


def copied_ahead(name, site, run, begun=False, wait=86400, deadline=86400, compress="auto", bwlimit=0, streams=4):
    """
    What lay in the data locations of this host, the donor, a moment ago lies on the target too, while the server here
    goes on serving. Of files that change no copy is ever finished: each time this is applied it copies what has
    changed. ``copied`` makes a whole of it.

    While the copy goes on the result is False and ``changes["still running"]`` names its unit, as with ``copied``.

    name
        The target: a host of the failed site that ``datadir.emptied`` has emptied for this donor and run.
    site
        The failed site.
    run
        Name of this run.
    begun
        True if this copy was begun in this attempt.
    wait
        Seconds to wait for the copy.
    deadline
        Seconds after which a copy is ended.
    compress, bwlimit, streams
        As for ``copytarget.transport``.
    """
    ret = _ret(name)
    try:
        if __opts__["test"]:
            paths = ", ".join(place["path"] for place in __salt__["dataguard.check"]().values())
            ret["changes"] = {name: {"old": "without the data of this host", "new": f"copy ahead of {paths}"}}
            ret.update(result=None, comment=f"{paths} would be copied to {name} while the server here goes on serving")
            return ret
        now = __salt__["datacopy.ahead"](name, site, run, begun=begun, wait=wait, deadline=deadline, compress=compress,
                                         bwlimit=bwlimit, streams=streams)
        if now["running"]:
            ret["changes"] = {"still running": now["running"]}
            ret["comment"] = f"the copy ahead to {name} goes on in the unit reprovision-{now['running']}"
            return ret
        ret["changes"] = {name: {"old": "without the data of this host", "new": "copied ahead"}}
        ret.update(result=True, comment=f"{name} holds what lay here a moment ago; {_way(now['transport'])}")
    except ERRORS as error:
        _failed(ret, error)
    return ret


def copied(name, site, run, warm=False, begun=False, wait=86400, deadline=86400, compress="auto", bwlimit=0, streams=4):
    """
    The data locations of this host, the donor, lie on the target too, each file equal by size and time.

    While the copy goes on the result is False and ``changes["still running"]`` names its unit, for
    ``longjob.status``; this state is applied again when it has ended, and proves what it has done.

    name
        The target: a host of the failed site that ``datadir.emptied`` has emptied for this donor and run.
    site
        The failed site.
    run
        Name of this run; a copy of the same run that still goes on is waited for.
    warm
        True if a copy ahead was made in this run.
    begun
        True if this copy was begun in this attempt, so that its failure is final for this attempt.
    wait
        Seconds to wait for the copy.
    deadline
        Seconds after which the copy is ended.
    compress, bwlimit, streams
        As for ``copytarget.transport``.
    """
    ret = _ret(name)
    try:
        if __opts__["test"]:
            places = __salt__["dataguard.check"]()
            try:
                if not __salt__["datacopy.differences"](name, site, run, warm):
                    ret.update(result=True, comment=f"{name} holds the same data already")
                    return ret
                reason = ""
            except CommandExecutionError as error:
                reason = f" (not possible yet: {error})"
            paths = ", ".join(place["path"] for place in places.values())
            ret["changes"] = {name: {"old": "without the data of this host", "new": f"copy of {paths}"}}
            ret.update(result=None, comment=f"{paths} would be copied to {name}{reason}")
            return ret
        now = __salt__["datacopy.sync"](name, site, run, warm=warm, begun=begun, wait=wait, deadline=deadline,
                                        compress=compress, bwlimit=bwlimit, streams=streams)
        if now["running"]:
            ret["changes"] = {"still running": now["running"]}
            ret["comment"] = f"the copy to {name} goes on in the unit reprovision-{now['running']}"
            return ret
        ret["changes"] = {name: {"old": "without the data of this host", "new": "equal"}} if now["copied"] else {}
        ret.update(result=True, comment=f"{name} holds the same data; {_way(now['transport'])}")
    except ERRORS as error:
        if getattr(error, "info", None):
            ret["changes"] = {name: {"old": "without the data of this host", "new": "not proved to be equal"}}
        _failed(ret, error)
    return ret


def owned(name, run):
    """
    The data are this run's copy, complete, with the owner, group and mode that was here before they were emptied.

    name
        Free text.
    run
        Name of this run.
    """
    ret = _ret(name)
    try:
        if __opts__["test"]:
            try:
                wrong = __salt__["datadir.misowned"]()
            except CommandExecutionError as error:
                ret.update(result=None, comment=f"would be restored (not possible yet: {error})")
                return ret
            copy = __salt__["datadir.copy"]()
            if not copy or copy["run"] != run:
                # What lies here, the drifted data or an earlier run's copy, is emptied before.
                ret.update(result=None, comment="would be restored, as soon as this run's copy is here")
                return ret
        else:
            # called even if nothing is wrong: it closes the record, after which no copy is taken any more
            wrong = __salt__["datadir.own"](run)
        if wrong:
            ret["changes"] = {"old": wrong[:10], "new": "owner, group and mode as before"}
        if __opts__["test"] and wrong:
            ret.update(result=None, comment=f"owner and mode of {len(wrong)} entries would be restored")
            return ret
        left = __salt__["datadir.misowned"]()
        copy = __salt__["datadir.copy"]()
        if not copy or copy["run"] != run:
            left.append(f"the data are not the copy of run {run}")
        ret["result"] = not left
        ret["comment"] = f"not as before: {', '.join(left[:5])}" if left else "owner, group, mode are as before"
    except ERRORS as error:
        _failed(ret, error)
    return ret
