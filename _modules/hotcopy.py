"""
Copying the data of this minion's server, the donor, while it goes on serving: a backup that is streamed to the host
that was emptied for it, and prepared there.

The target's record holds how far the stream is: ``going`` from the moment before its first byte, ``whole`` once it has
ended well, ``cut`` if it has not. None can be gone on with: one that was cut begins anew, in a directory that is
emptied anew. Nothing here believes an earlier check.

It stands for step 10 of the runbook and needs neither 6, 7 nor 11 on the donor. What a donor has to be like is told by
``hotguard``; ``hotpipe`` is what runs in the unit; what the target does before and after is in ``hottarget``.
"""

import contextlib
import os
import re
import shlex

import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "hotcopy"

TOOLS = ("rsync", "runuser", "ssh")
# What the backup tools write as their last line.
WELL = "completed OK!"
SECONDS = 60
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def __virtual__():
    missing = [tool for tool in TOOLS if not salt.utils.path.which(tool)]
    if missing:
        return False, f"not in the PATH: {', '.join(missing)}"
    return __virtualname__


def _run(argv):
    result = __salt__["cmd.run_all"](
        ["timeout", "--kill-after=5", str(SECONDS), *argv], python_shell=False, ignore_retcode=True, stdin="")
    if result["retcode"] in (124, 137):
        raise CommandExecutionError(f"{argv[0]} did not end within {SECONDS} s")
    if result["retcode"]:
        words = "\n".join((result["stdout"] + "\n" + result["stderr"]).strip().splitlines()[-15:])
        raise CommandExecutionError(f"{argv[0]} failed with {result['retcode']}: {words or '(no output)'}")
    return (result["stdout"] + result["stderr"]).strip()


def stream(host, site, run, method, wait=86400, deadline=86400, bwlimit=0):
    """
    Stream a backup of this host's data, whose server goes on serving, into the emptied data directory of ``host``.

    To be run on the donor. Refuses to begin unless, now: ``host`` is of the failed ``site`` and this host is a replica
    of another one; the server here answers, and ``hotguard`` finds nothing against copying its data; ``host`` was
    emptied by ``hottarget.empty`` for this donor, run and method, with a backup tool of the same series; no server runs
    there, it has the same data locations and room for them; the Tungsten user may unpack there.

    The pipeline is one unit (``longjob``), which outlives this call and is found again by the next one. It tells
    ``host`` by itself that the stream is whole.

    run
        Name of this run, letters, digits and dashes.
    method
        ``mariabackup`` or ``xtrabackup``.
    wait
        Seconds to wait for the unit before returning its name.
    deadline
        Seconds after which systemd ends it.
    bwlimit
        Megabytes a second at most; 0 for no limit.

    Returns ``{"running": name of the unit that still copies, or None, "copied": whether anything was or is}``; with
    None ``host`` holds the whole stream, for ``hottarget.prepare``. Raises CommandExecutionError; if a stream had begun
    by then ``host`` has to be emptied anew.

    CLI Example:

    .. code-block:: bash

        salt west3 hotcopy.stream host=east1 site=east run=20261123-east method=mariabackup

    Follows the manuals of mariadb-backup, mbstream and Percona XtraBackup.
    """
    if isinstance(bwlimit, bool) or not isinstance(bwlimit, int) or bwlimit < 0:
        raise SaltInvocationError(f"bwlimit must be megabytes a second, or 0 for no limit, not {bwlimit!r}")
    record = __salt__["copytarget.record"](host, site, run)
    if record["state"] == "copied" or record.get("stream") == "whole":
        return {"running": None, "copied": False}
    job = f"copy-0-{run}"
    if "stream" not in record:
        order = _order(host, record, method, bwlimit)
        # Another run's stream into the same directory would prove nothing.
        __salt__["longjob.stop_all"]("copy-")
        _run(_telling(host, record, "going"))
        __salt__["longjob.start"](job, order, deadline=deadline)
    elif record["stream"] != "going":
        raise CommandExecutionError(
            f"an earlier stream to {host} was cut: it has to be emptied anew (hottarget.empty)")
    try:
        __salt__["longjob.wait"](job, wait)
    except CommandExecutionError:
        if __salt__["longjob.status"](job)["state"] in ("running", "done"):
            # If it has ended just now, the next call finds it so.
            return {"running": job, "copied": True}
        # A target that cannot be told finds it out by itself, as soon as nothing is unpacked there any more.
        with contextlib.suppress(CommandExecutionError):
            _run(_telling(host, record, "cut"))
        __salt__["longjob.stop"](job)
        raise
    if __salt__["copytarget.record"](host, site, run).get("stream") == "going":
        _run(_telling(host, record, "whole"))
    return {"running": None, "copied": True}


def _order(host, record, method, bwlimit):
    """The argv of the pipeline, once it is proved that this host's data can go to the target as they are now."""
    node = __salt__["topology.node"]()
    own = __salt__["cctrl.ls"]()["datasources"].get(node["host"], {})
    if own.get("role") != "slave":
        raise CommandExecutionError(f"datasource {node['host']} is a {own.get('role')}: a donor must be a slave")
    if not __salt__["mysqld.ping"]():
        raise CommandExecutionError("the server here does not answer: a hot copy is made of one that runs")
    tool = __salt__["hotguard.tool"](method)
    unpacks = {"method": method, "series": tool["series"]}
    if record.get("unpacks") != unpacks:
        raise CommandExecutionError(f"{host} has been emptied for {record.get('unpacks')}, not for {unpacks}")
    places = __salt__["dataguard.check"]()
    faults = __salt__["hotguard.elsewhere"](places) + __salt__["hotguard.data_faults"](method)
    faults += [f"data lie outside the data directory, through a link: {path}"
               for path in __salt__["datalocation.outside"](places["datadir"], places)[:5]]
    if faults:
        raise CommandExecutionError("; ".join(faults))
    __salt__["copytarget.guard_places"](host, record["directories"], places)
    there = record["directories"]["datadir"]
    if not USER.fullmatch(there["user"]):
        raise CommandExecutionError(f"{there['path']} on {host} belongs to {there['user']!r}, which is no user's name")
    unpack = __salt__["hotguard.unpack"](method, there["path"], there["user"])
    # Without a banner: that nothing is said is how one knows that all could be unpacked.
    quiet = ["-o", "LogLevel=ERROR"]
    sink = [*__salt__["copytarget.ssh"](), *quiet, __salt__["copytarget.address"](host), shlex.join(unpack)]
    # An empty stream changes nothing there, and shows that one is taken.
    words = _run(sink)
    if words:
        raise CommandExecutionError(f"{host} must not say anything when nothing is wrong: {words}")
    scratch = __salt__["hostrecord.path"]("scratch")
    os.makedirs(scratch, mode=0o700, exist_ok=True)
    source = [
        # root's own .my.cnf, where the password is if the socket alone does not let in
        "env", "HOME=/root", tool["path"], f"--defaults-extra-file={node['mysql']['defaults_file']}", "--backup",
        "--stream=xbstream", f"--parallel={unpack[unpack.index('-p') + 1]}", f"--datadir={places['datadir']['path']}",
        f"--target-dir={scratch}",
    ]  # fmt: skip
    size = __salt__["datalocation.measure"](places["datadir"])["bytes"]
    return __salt__["hotpipe.argv"](source, sink, WELL, _telling(host, record, "whole"), size, bwlimit)


def _telling(host, record, how):
    """The argv that tells the target how far its stream is."""
    return __salt__["copytarget.telling"](host, {**record, "stream": how}, f"stream-{how}-{host}.json")
