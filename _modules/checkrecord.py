"""
The memory of drift checks: one JSON a check under the master's cachedir, written after each of its pieces of work.

One check at a time: the lock is the kernel's, so that whose process has died holds nothing.
"""

import fcntl
import json
import os
import re
import secrets
import time
from pathlib import Path

import salt.utils.atomicfile
import salt.utils.files
from salt.exceptions import CommandExecutionError

__virtualname__ = "checkrecord"

_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{4}")
# So many are kept; with the keys of all rows that differ they can be some megabytes each.
KEPT = 50


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "checkrecord keeps the master's records; this is a minion"
    return __virtualname__


def _folder():
    # No site has a name that begins so.
    folder = Path(__opts__["cachedir"]) / "reprovision" / "_checks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def new_id():
    """
    Return an id for a check that begins now. Ids sort by their time.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd checkrecord.new_id
    """
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def acquire():
    """
    Take the right to run a check, until ``release`` or the end of this process.

    Returns True. Raises CommandExecutionError if another check is running.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd checkrecord.acquire
    """
    handle = os.open(_folder() / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise CommandExecutionError("A drift check is running already; look at it with: salt-run drift.show") from None
    # Not of this module: Salt loads it anew for each call from a runner, with the same context.
    __context__["checkrecord.lock"] = handle
    return True


def release():
    """
    Give that right back.

    Returns whether this process had it.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd checkrecord.release
    """
    handle = __context__.pop("checkrecord.lock", None)
    if handle is not None:
        os.close(handle)
    return handle is not None


def save(check):
    """
    Write a check's record, atomically, readable for the master's user only.

    check
        ``check["check"]`` is its id.

    Returns True. Raises OSError when it cannot be written.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd checkrecord.save "$check"
    """
    path = _path(check["check"])
    new = not path.exists()
    # Salt gives the file the mode that the umask says when it takes its place.
    with salt.utils.files.set_umask(0o077), salt.utils.atomicfile.atomic_open(str(path), "w") as out:
        out.write(json.dumps(check))
    if new:
        for old in _ids()[:-KEPT]:
            _path(old).unlink(missing_ok=True)
    return True


def _path(check):
    if not isinstance(check, str) or not _ID.fullmatch(check):
        raise CommandExecutionError(f"{str(check)[:80]!r} is not the id of a check")
    return _folder() / f"{check}.json"


def _ids():
    return sorted(path.stem for path in _folder().glob("*.json") if _ID.fullmatch(path.stem))


def load(check):
    """
    Return the record of a check, or None.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd checkrecord.load 20261125T150102-1a2b
    """
    try:
        return json.loads(_path(check).read_text())
    except FileNotFoundError:
        return None


def _is_whole(settings):
    return settings["tables"] is None and settings["nodes"] != "one"


def latest(finished=None, whole=False):
    """
    Return the record of the newest check, or None.

    finished
        True for the newest that has ended, False for the newest if it has not.
    whole
        True for the newest of all tables, on more than one node of a site.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd checkrecord.latest finished=True
    """
    for check in reversed(_ids()):
        found = load(check)
        if found and (finished is not True or found["verdict"]) and (not whole or _is_whole(found["settings"])):
            return None if finished is False and found["verdict"] else found
    return None
