"""
The memory of the master: one JSON file a run, one lock a failed site, and what was reported against a site.

A record is written atomically before and after each step, so that a reader never meets half a one. The lock is the
kernel's (flock): whose process has died holds it no longer, whatever the file says.
"""

import fcntl
import json
import os
import re
import time
from pathlib import Path

import salt.utils.atomicfile
import salt.utils.files
from salt.exceptions import CommandExecutionError

__virtualname__ = "runrecord"

_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
# Open lock files of this process. They are released by the kernel when it ends, however it ends.
_held = {}


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "runrecord keeps the master's records; this is a minion"
    return __virtualname__


def _folder(site):
    if not isinstance(site, str) or not _SITE.fullmatch(site):
        raise CommandExecutionError(f"{site!r} is not a site name")
    folder = Path(__opts__["cachedir"]) / "reprovision" / site
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def now():
    """
    Return the current time as records have it, UTC in ISO 8601.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.now
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _write(path, value):
    with salt.utils.atomicfile.atomic_open(str(path), "w") as out:
        out.write(json.dumps(value, indent=2))


def _read(path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CommandExecutionError(f"{path} is not readable as JSON: {error}") from error


def acquire(site, run, shared=False):
    """
    Take the lock of a site for this process, until ``release`` or the end of the process, however it ends.

    site
        The site.
    run
        The id of the run, for whoever finds the lock held.
    shared
        False for the failed site. True for the definitive one, which several runs may copy from, but which none may
        rebuild meanwhile.

    Returns True. Raises CommandExecutionError naming the run that holds it.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.acquire east 20261123T150102-east
    """
    path = _folder(site) / "lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except BlockingIOError:
        holder = os.read(handle, 200).decode(errors="replace").strip()
        os.close(handle)
        raise CommandExecutionError(
            f"Site {site} is being re-provisioned, or copied from, by run {holder or 'unknown'}: one run at a time. "
            f"Watch it with: salt-run reprovision.watch {site}"
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, run.encode())
    _held[site] = handle
    return True


def _lock(handle, kind, tries=5):
    """Somebody who only looks whether a run is on holds the lock for an instant; that is no run."""
    for left in reversed(range(tries)):
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not left:
                raise
            time.sleep(0.1)


def release():
    """
    Give back every lock that this process holds, at the end of its run.

    Returns the sites whose locks were held.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.release
    """
    sites = sorted(_held)
    while _held:
        os.close(_held.popitem()[1])
    return sites


def running(site):
    """
    Return the id of the run that holds the site's lock, or None.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.running east
    """
    path = _folder(site) / "lock"
    if not path.exists():
        return None
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return os.read(handle, 200).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(handle)


def claim_start(site, seconds):
    """
    Claim the right to start a run for a site; a second claim within the given time is refused.

    Between the start of an orchestration and its taking of the lock lie some seconds in which it cannot be seen.

    site
        The failed site.
    seconds
        How long a claim holds.

    Returns whether the claim was granted.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.claim_start east 120
    """
    with (_folder(site) / "starting").open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        try:
            age = time.time() - float(handle.read())
        except ValueError:
            # Empty or damaged: nobody's claim.
            age = seconds
        if 0 <= age < seconds:
            return False
        handle.truncate(0)
        handle.write(str(time.time()))
    return True


def save(record):
    """
    Write a run's record, atomically.

    record
        The whole record; ``record["failed"]`` and ``record["run"]`` say where it lies.

    Returns True. Raises OSError when it cannot be written: a run whose record is lost must stop.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.save '{"run": "20261123T150102-east", "failed": "east"}'
    """
    _write(_folder(record["failed"]) / f"{record['run']}.json", record)
    return True


def load(site, run):
    """
    Return one run's record, or None.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.load east 20261123T150102-east
    """
    if not _SITE.fullmatch(str(run)):
        raise CommandExecutionError(f"{run!r} is not the id of a run")
    return _read(_folder(site) / f"{run}.json")


def latest(site):
    """
    Return the record of the site's newest run, or None.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.latest east
    """
    # Run ids begin with the time, so their order is that of the names.
    records = sorted(path for path in _folder(site).glob("*.json") if path.stem[:1].isdigit())
    return _read(records[-1]) if records else None


def report(site, decision):
    """
    Note that drift was reported against a site and what was decided.

    decision
        ``{"on_drift": …, "decision": …, "command": …}``

    Returns the note as written, with its time.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.report east '{"on_drift": "plan"}'
    """
    note = {"site": site, "reported": now(), **decision}
    _write(_folder(site) / "drift.json", note)
    return note


def reported(site):
    """
    Return the last note of reported drift, or None.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.reported east
    """
    return _read(_folder(site) / "drift.json")
