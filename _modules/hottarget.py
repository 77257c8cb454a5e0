"""
The host that a hot copy goes to: emptied, so that a stream can be unpacked there, and the data made ready for a server.

Its record (``datadir``) holds how far the stream is, told by the donor's ``hotcopy``. Only what is prepared is a copy.

It stands for step 8 of the runbook, and for what comes after a stream.
"""

import contextlib
import os
import re
import signal
import time

import salt.utils.files
from salt.exceptions import CommandExecutionError

__virtualname__ = "hottarget"

# datadir's.
RECORD = "ownership.json"
# What the backup tools write as their last line.
WELL = "completed OK!"
# Newer MariaDB calls it by its own name.
CHECKPOINTS = ("xtrabackup_checkpoints", "mariadb_backup_checkpoints")
# The same in MySQL's and MariaDB's words.
PREPARED = ("full-prepared", "log-applied")
# Of no use once the data are prepared, and as large as the log of the meantime; an identity is each server's own.
LEFT_BEHIND = ("xtrabackup_logfile", "auto.cnf")
UNPACKERS = ("mbstream", "xbstream")
# Bytes for preparing, at least.
MEMORY = 128 << 20
# Seconds in which a program that was told to end has to.
ENDS = 10


def __virtual__():
    return __virtualname__


# --- before


def empty(site, donor, run, method):
    """
    Delete everything in this host's data locations, as ``datadir.empty`` does and after all of its guards, for a hot
    copy; again, if half a stream lies there. What a whole stream has brought is left alone, and so is one that still
    goes on.

    Refuses before the first byte goes if a stream could not be unpacked and prepared here.

    site
        The failed site, which this host must be of.
    donor
        The host the data will come from.
    run
        Name of this run.
    method
        ``mariabackup`` or ``xtrabackup``.

    Returns ``{name: {"path", "entries", "bytes"}}`` of what was deleted. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt east1 hottarget.empty site=east donor=west3 run=20261123-east method=mariabackup
    """
    record, own = __salt__["datadir.begun"](site), __salt__["datadir.emptied"](site, donor, run)
    how = record.get("stream") if record else None
    if own and (not record or record["state"] == "copied" or how in ("whole", "preparing")):
        return {}
    places = __salt__["dataguard.check"](site, donor)
    unpacks = {"method": method, "series": __salt__["hotguard.tool"](method)["series"]}
    faults = __salt__["hotguard.elsewhere"](places) + __salt__["hotguard.target_faults"](method, places)
    if faults:
        raise CommandExecutionError("; ".join(faults))
    unpacking = _unpacking(places["datadir"]["path"])
    if unpacking and record:
        if own and how == "going":
            return {}
        # Half a copy, which nobody waits for any more.
        _end(unpacking)
    if own and (how or _filled()):
        __salt__["hostrecord.save"](RECORD, {**record, "state": "emptying"})
    removed = __salt__["datadir.empty"](site, donor, run)
    __salt__["hostrecord.save"](RECORD, {**__salt__["hostrecord.load"](RECORD), "unpacks": unpacks})
    return removed


def _read(path):
    with salt.utils.files.fopen(path, encoding="utf-8", errors="replace") as stream:
        return stream.read(65536).strip()


def _filled():
    return any(held["entries"] for held in __salt__["datalocation.contents"]().values())


def _unpacking(path):
    return [process["pid"] for process in __salt__["mysqld.processes"](path) if process["name"] in UNPACKERS]


def _end(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + ENDS
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        if time.monotonic() > until:
            raise CommandExecutionError(f"process {pids} was told {ENDS} s ago to end and still unpacks a stream here")
        time.sleep(0.2)


# --- after


def prepare(run, method, wait=86400, deadline=86400):
    """
    Prepare what was streamed into this host's data directory, so that a server can run on it.

    To be run on the target. Refuses to begin unless its record says that this run's stream is whole, the host has not
    booted since it was emptied, a full backup lies in the data directory, no server runs and no program uses that. It
    works as the directory's owner, in a unit (``longjob``) which outlives this call. If that is cut short the data are
    of no use any more, which the record then says: they are emptied and streamed anew.

    run
        Name of this run.
    method
        ``mariabackup`` or ``xtrabackup``.
    wait
        Seconds to wait for the unit before returning its name.
    deadline
        Seconds after which systemd ends it.

    Returns ``{"running": name of the unit that still works, or None, "prepared": whether anything was or is}``; with
    None the copy is complete, which ``datadir.copy`` then says. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt east1 hottarget.prepare run=20261123-east method=mariabackup

    Follows the manuals of mariadb-backup and Percona XtraBackup.
    """
    job = f"prepare-{__salt__['dataguard.run_id'](run)}"
    record = __salt__["hostrecord.load"](RECORD) or {"state": "missing", "run": None}
    if record["run"] == run and record["state"] in ("copied", "owned"):
        return {"running": None, "prepared": False}
    how = record.get("stream")
    if (record["run"], record["state"]) != (run, "emptied") or how not in ("whole", "preparing"):
        raise CommandExecutionError(
            f"this host does not hold the whole stream of run {run}: {__salt__['hostrecord.path'](RECORD)} says "
            f"{record['state']}, run {record['run']}, stream {how}")
    if record["unpacks"]["method"] != method:
        raise CommandExecutionError(f"this host holds a stream of {record['unpacks']['method']}, not of {method}")
    if record["boot"] != __salt__["hostrecord.boot"]():
        _spoiled(record, job, "this host has booted since it was emptied: what was streamed here may be lost in part")
    if how == "whole":
        _begin(job, record, method, deadline)
    now = __salt__["jobgroup.wait"](job, wait)
    if now["state"] == "running":
        return {"running": job, "prepared": True}
    path = record["directories"]["datadir"]["path"]
    if now["state"] != "done":
        # Of data whose preparation was interrupted nobody vouches for another one.
        _spoiled(record, job, now["why"] or f"what prepared {path} is gone, and nobody knows how far it was")
    said = now["logs"][0]
    if WELL not in said.rpartition("\n")[2] or _backup(path) not in PREPARED:
        _spoiled(record, job, f"{method} has ended, {path} is {_backup(path)}, and its last words should have been "
                              f"{WELL!r}: {said}")  # fmt: skip
    for name in LEFT_BEHIND:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(path, name))
    os.sync()
    __salt__["hostrecord.save"](RECORD, {**record, "state": "copied", "boot": None})
    return {"running": None, "prepared": True}


def _spoiled(record, job, why):
    """What lies here is of no use any more: it is emptied and streamed anew by the next attempt."""
    __salt__["longjob.stop"](job)
    __salt__["hostrecord.save"](RECORD, {**record, "stream": "cut"})
    raise CommandExecutionError(f"{why}. It has to be emptied anew (hottarget.empty)")


def _begin(job, record, method, deadline):
    places = __salt__["dataguard.check"](record["site"], record["donor"])
    path, had = places["datadir"]["path"], record["directories"]["datadir"]
    if path != had["path"]:
        raise CommandExecutionError(f"the data directory is {path} now, and the stream lies in {had['path']}")
    __salt__["dataguard.stopped"](places)
    if _backup(path) != "full-backuped":
        _spoiled(record, job, f"{path} does not hold a full backup, its checkpoints say {_backup(path)}")
    tool = __salt__["hotguard.tool"](method)["path"]
    argv = [tool, "--prepare", f"--use-memory={_memory()}", f"--target-dir={path}"]
    __salt__["longjob.stop"](job)
    __salt__["hostrecord.save"](RECORD, {**record, "stream": "preparing"})
    __salt__["longjob.start"](job, argv, user=had["user"], deadline=deadline)


def _backup(path):
    """What the tool itself says of the backup that lies there, None if there is none."""
    for name in CHECKPOINTS:
        with contextlib.suppress(FileNotFoundError):
            found = re.search(r"^backup_type = (\S+)$", _read(os.path.join(path, name)), re.MULTILINE)
            return found[1] if found else None
    return None


def _memory():
    """A quarter of what this host could give now: its server is down."""
    available = re.search(r"^MemAvailable:\s+(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE)
    return max(MEMORY, int(available[1]) * 1024 // 4)
