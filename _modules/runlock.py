"""
One run a failed site, and none that copies from a site that is being rebuilt.

The locks are the kernel's (flock on files of the master): whose process has died holds them no longer, whatever the
file says. So a lock is never stale, and to take one over means to find its file unlocked with an unfinished run's name
in it. ``take_away`` is for a holder that lives but hangs: it finds out before its next step.
"""

import fcntl
import json
import os
import re
import time
from pathlib import Path

from salt.exceptions import CommandExecutionError

__virtualname__ = "runlock"

_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
CLAIMS = ("starting", "look")
LOOKING = "looking"
# Seconds.
LONGEST_CLAIM = 604800
# Open lock files of this process, by path. They are released by the kernel when it ends, however it ends.
_held = {}
_looking = []


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "runlock keeps the master's locks; this is a minion"
    return __virtualname__


def _folder(site):
    if not isinstance(site, str) or not _SITE.fullmatch(site):
        raise CommandExecutionError(f"{site!r} is not a site name")
    folder = Path(__opts__["cachedir"]) / "reprovision" / site
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _source(definitive, failed):
    """The lock that says: ``definitive`` is being copied from, to rebuild ``failed``."""
    _folder(failed)
    return _folder(definitive) / f"source-of-{failed}.lock"


def _open(path):
    # Not inherited by what is executed: a child that outlives the run must not hold its lock.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _flock(handle, kind, tries=5):
    """Somebody who only looks whether a run is on holds the lock for an instant; that is no run."""
    for left in reversed(range(tries)):
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not left:
                raise
            time.sleep(0.1)


def _holder(handle):
    """What the file says: the run, its process and since when; {} if it says nothing readable."""
    try:
        found = json.loads(os.pread(handle, 2000, 0).decode(errors="replace"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _sign(handle, run, definitive):
    text = json.dumps({"run": run, "pid": os.getpid(), "definitive": definitive,
                       "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}).encode()
    # Never empty in between: somebody may be reading it.
    os.pwrite(handle, text, 0)
    os.ftruncate(handle, len(text))


def acquire(failed, definitive, run):
    """
    Take the failed site for this process, and the definitive one as its source, until ``release`` or the process ends.

    failed
        The site that is to be rebuilt: nobody else may rebuild it or copy from it.
    definitive
        The site to copy from: others may too, but nobody may rebuild it.
    run
        The id of the run, for whoever finds the lock held.

    Returns what the failed site's lock said before, ``{"run", "pid", "definitive", "since"}``, or ``{}``: a holder that
    is not alive. Raises CommandExecutionError naming the run that is in the way; nothing is held or changed then.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runlock.acquire east west 20261123T150102-7
    """
    taken = {}
    try:
        before = _exclusive(failed, taken)
        _as_source(definitive, failed, taken)
    except CommandExecutionError:
        for handle in taken.values():
            os.close(handle)
        raise
    for handle in taken.values():
        _sign(handle, run, definitive)
    _held.update(taken)
    return before


def _exclusive(site, taken):
    path = _folder(site) / "lock"
    handle = _open(path)
    try:
        _flock(handle, fcntl.LOCK_EX)
    except BlockingIOError:
        holder = _holder(handle)
        os.close(handle)
        raise CommandExecutionError(
            f"Site {site} is being re-provisioned by run {holder.get('run', 'unknown')}, process "
            f"{holder.get('pid', 'unknown')}: one run at a time. Watch it with: salt-run reprovision.watch {site}"
        ) from None
    taken[str(path)] = handle
    for other in sorted(path.parent.glob("source-of-*.lock")):
        busy = _busy(other)
        if busy is not None:
            raise CommandExecutionError(
                f"Site {site} is being copied from by run {busy.get('run', 'unknown')}: it cannot be rebuilt meanwhile"
            )
    return _holder(handle)


def _as_source(definitive, failed, taken):
    gate = _open(_folder(definitive) / "lock")
    try:
        # Held only while signing in: whoever rebuilds that site looks for sources after it has closed this gate.
        _flock(gate, fcntl.LOCK_SH)
        path = _source(definitive, failed)
        handle = taken[str(path)] = _open(path)
        _flock(handle, fcntl.LOCK_EX)
    except BlockingIOError:
        raise CommandExecutionError(
            f"Site {definitive} cannot be the definitive one: it is being re-provisioned itself, by run "
            f"{_holder(gate).get('run', 'unknown')}"
        ) from None
    finally:
        os.close(gate)


def _busy(path):
    """What a lock file that somebody holds says; None if nobody does."""
    if not path.exists():
        return None
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _holder(handle)
    finally:
        os.close(handle)


def sign(run):
    """
    Put another run's id into the locks that this process holds: the run it found out to be going on with.

    Returns the number of locks.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runlock.sign 20261123T150102-7
    """
    for handle in _held.values():
        _sign(handle, run, _holder(handle).get("definitive"))
    return len(_held)


def keep():
    """
    Assert that this process still holds the locks it took: nobody has taken them away since.

    Returns True. Raises CommandExecutionError, upon which the run has to stop at once and touch nothing more.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runlock.keep
    """
    if not _held:
        raise CommandExecutionError("This process holds no lock of a site")
    for path, handle in _held.items():
        try:
            same = os.path.samestat(os.stat(path), os.fstat(handle))
        except FileNotFoundError:
            same = False
        if not same:
            raise CommandExecutionError(
                f"The lock {path} was taken away from this run (reprovision.unlock): it stops here and changes "
                "nothing more"
            )
    return True


def release():
    """
    Give back every lock that this process holds, at the end of its run.

    Returns the number of locks.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runlock.release
    """
    held = len(_held)
    while _held:
        handle = _held.popitem()[1]
        # Signed off, so that the next run does not take an ended one for one that died.
        os.ftruncate(handle, 0)
        os.close(handle)
    return held


def running(site):
    """
    Return who re-provisions the site now, ``{"run", "pid", "definitive", "since"}``; None if nobody does, {} if the
    holder cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runlock.running east
    """
    return _busy(_folder(site) / "lock")


def take_away(failed, run):
    """
    Take the locks away from a run whose process lives but does not go on. It stops before its next step.

    run
        The id of the run that must be the holder, so that nobody takes away another one than was looked at.

    Returns what the lock said, ``{"run", "pid", "definitive", "since"}``. Raises CommandExecutionError if that run does
    not hold it.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runlock.take_away east 20261123T150102-7
    """
    holder = running(failed)
    if holder is None:
        raise CommandExecutionError(
            f"Nobody holds the lock of site {failed}: whose process has died holds nothing, just run it again")
    if holder.get("run") != run:
        raise CommandExecutionError(f"The lock of site {failed} is held by run {holder.get('run')}, not by {run}")
    for path in (_source(holder["definitive"], failed), _folder(failed) / "lock"):
        path.unlink(missing_ok=True)
    return holder


def claim(site, what, seconds):
    """
    Claim the right to do something about a site for a while; a second claim within that time is refused.

    Between the start of an orchestration and its taking of the lock lie some seconds in which it cannot be seen, and a
    look at a site is not to be had as often as somebody sends an event.

    site
        A site that the pillar knows.
    what
        ``starting`` or ``look``.
    seconds
        How long the claim holds.

    Returns whether the claim was granted.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runlock.claim east look 900
    """
    with (_folder(site) / _claim(what)).open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        if _holds(handle.read()):
            return False
        handle.truncate(0)
        handle.write(str(time.time() + seconds))
    return True


def _claim(what):
    if what not in CLAIMS:
        raise CommandExecutionError(f"{what!r} cannot be claimed, only {', '.join(CLAIMS)}")
    return what


def _holds(text):
    try:
        left = float(text) - time.time()
    except ValueError:
        # Empty or damaged: nobody's claim.
        return False
    # A clock that was set back must not make a claim hold for ever.
    return 0 < left <= LONGEST_CLAIM


def claimed(site, what):
    """
    Return whether a claim holds, at the cost of reading one small file, and of none for a site that was never claimed.

    It takes no lock: the reactor asks this many times a second in several threads of a process that forks.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runlock.claimed east look
    """
    if not isinstance(site, str) or not _SITE.fullmatch(site):
        return False
    try:
        return _holds((Path(__opts__["cachedir"]) / "reprovision" / site / _claim(what)).read_text())
    except FileNotFoundError:
        return False


def look_begins(site):
    """
    Take the right to look at a site, until ``look_ends`` or the end of this process, however it ends.

    Returns whether nobody else is looking at it.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runlock.look_begins east
    """
    handle = _open(_folder(site) / LOOKING)
    try:
        _flock(handle, fcntl.LOCK_EX)
    except BlockingIOError:
        os.close(handle)
        return False
    _looking.append(handle)
    return True


def look_ends():
    """
    Give that right back.

    Returns whether this process had it.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runlock.look_ends
    """
    had = bool(_looking)
    while _looking:
        handle = _looking.pop()
        # By name: a process that was started meanwhile has the file open as well.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)
    return had


def unclaim(site, what):
    """
    Let a claim go before its time.

    Returns True.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runlock.unclaim east look
    """
    (_folder(site) / _claim(what)).unlink(missing_ok=True)
    return True
