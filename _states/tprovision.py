"""
Assert that this replica has been filled from another host of its site, with ``tprovision``.

.. code-block:: yaml

    replica is provisioned:
      tprovision.provisioned:
        - name: east1
        - run: 20260101-east
        - method: xtrabackup
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "tprovision"


def __virtual__():
    return __virtualname__


def provisioned(name, run, method="xtrabackup", timeout=14400, begun=False, wait=86400):
    """
    This replica was filled in this run and serves: its datasource and its replication service are ONLINE.

    A job of the same run that still goes on is waited for, one that ended well is not repeated, not even after a boot
    of this host. Outside a run nothing tells whether a replica's data are right, so another run fills it again. While
    the tool works the result is False and ``changes["still running"]`` names its unit, for ``longjob.status``.

    name
        Tungsten's name of the host to copy from.
    run
        Identifier of the run, 1 to 64 letters, digits and dashes.
    method
        ``xtrabackup``, ``mysqldump``, ``rsync`` or ``mysqlclone``.
    timeout
        Seconds for the copy; two more minutes each may pass until the datasource and the service are ONLINE.
    begun
        True if the tool was begun in this attempt, so that its failure is final for this attempt.
    wait
        Seconds to wait for the tool.
    """
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    try:
        job = __salt__["longjob.status"](__salt__["tprovision.job"](run))
        noted = __salt__["tprovision.filled"](name, run)
        if noted:
            job["state"] = "done"
        elif job["state"] == "done" and not __salt__["tprovision.replaced"](run, method):
            job["state"] = "done in vain"
        if __opts__["test"]:
            if job["state"] == "done" and not __salt__["tprovision.faults"]():
                ret.update(result=True, comment=f"Filled from {name} in the run {run}, and ONLINE")
                return ret
            ret.update(
                result=None,
                changes={"old": f"job {job['state']}", "new": f"filled from {name} by {method}"},
                comment=_would(job["state"], name, method),
            )
            return ret
        if begun and job["state"] == "failed":
            raise CommandExecutionError(__salt__["longjob.failure"](job))
        if begun and job["state"] == "done in vain":
            raise CommandExecutionError(_in_vain(job))
        if job["state"] != "done":
            job = _fill(ret, job, name, run, method, timeout, wait)
        if job:
            if not noted:
                __salt__["tprovision.note_filled"](name, run)
            _serve(ret, f"Filled from {name} in the run {run}, log {job['log_path']}")
    except (CommandExecutionError, SaltInvocationError) as error:
        ret.update(result=False, comment=f"{__grains__['id']}: {error}")
    return ret


def _would(state, source, method):
    if state == "running":
        return "The job of this run goes on and would be waited for"
    if state == "done":
        return "The job of this run is done; the datasource and its service would be brought online"
    return f"This host's data would be replaced by those of {source}: tprovision -s {source} -m {method}"


def _in_vain(job):
    return (
        f"tprovision ended well but cannot have replaced the data, since MySQL was not restarted. End of "
        f"{job['log_path']}:\n{job['log']}"
    )


def _fill(ret, job, source, run, method, timeout, wait):
    """The job's status once its work is proved; None if it has not ended yet, which is then told in ``ret``."""
    if job["state"] != "running":
        job = __salt__["tprovision.start"](source, run, method, timeout)
        ret["changes"]["data"] = {"old": "its own", "new": f"begun to be replaced by those of {source}"}
    job = _ended(job["name"], wait)
    if not job:
        unit = __salt__["tprovision.job"](run)
        ret["changes"] = {"still running": unit}
        ret["comment"] = f"tprovision from {source} goes on in the unit reprovision-{unit}"
        return None
    if not __salt__["tprovision.replaced"](run, method):
        raise CommandExecutionError(_in_vain(job))
    ret["changes"]["data"] = {"old": "its own", "new": f"filled from {source} by {method}"}
    return job


def _serve(ret, comment):
    """Datasource and service ONLINE, and seen so after the last act."""
    node = __salt__["topology.node"]()
    comments = [comment]
    # outside AUTOMATIC the tool's own recovery ends OFFLINE
    for function, args in (
        ("cctrl.datasource_online", {"name": node["host"], "how": "recover", "timeout": 120}),
        ("trepctl.online", {"name": node["service"], "which": "cluster", "timeout": 120}),
    ):
        done = __states__[function](**args)
        if done["changes"]:
            ret["changes"][function] = done["changes"]
        comments.append(done["comment"])
        if not done["result"]:
            raise CommandExecutionError("; ".join(comments))
    # Each of the two has ended with a look of its own. What cctrl showed is the last word, unless the service was put
    # online after it.
    if "trepctl.online" in ret["changes"]:
        left = __salt__["tprovision.faults"]()
    else:
        left = [] if __salt__["mysqld.ping"]() else ["MySQL is not answering"]
    if left:
        raise CommandExecutionError("; ".join([*comments, *left]))
    ret.update(result=True, comment="; ".join(comments))


def _ended(name, wait):
    """The job's status once it has ended well; None if it has not ended yet."""
    try:
        return __salt__["longjob.wait"](name, wait)
    except CommandExecutionError:
        if __salt__["longjob.status"](name)["state"] == "running":
            return None
        raise
