"""
What this extension remembers on a host: JSON files in one folder, for root only.

A file that others may write is not believed. A file is replaced as a whole, so that whoever reads it finds the old
content or the new one, whatever happens meanwhile.
"""

import json
import os
import re
import tempfile

import salt.utils.files
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "hostrecord"

STATE_DIR = "/var/lib/reprovision"
BOOT = "/proc/sys/kernel/random/boot_id"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def __virtual__():
    return __virtualname__


def folder():
    """
    Return the path of the folder in which this extension remembers what it has to. It need not be there yet.

    CLI Example:

    .. code-block:: bash

        salt east1 hostrecord.folder
    """
    return STATE_DIR


def path(name):
    """
    Return where a record lies, there or not.

    name
        A plain file name: letters, digits, dots, dashes and underscores, the first a letter or a digit.

    Returns an absolute path. Raises SaltInvocationError for another name.

    CLI Example:

    .. code-block:: bash

        salt east1 hostrecord.path ownership.json
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SaltInvocationError(f"name must be a plain file name, not {name!r}")
    return os.path.join(STATE_DIR, name)


def load(name):
    """
    Read a record.

    name
        As for ``path``.

    Returns what was saved; None if nothing was. Raises CommandExecutionError if others than root may write it, or if it
    is not JSON; SaltInvocationError as ``path`` does.

    CLI Example:

    .. code-block:: bash

        salt east1 hostrecord.load ownership.json
    """
    file = path(name)
    try:
        with salt.utils.files.fopen(file, encoding="utf-8") as stream:
            info = os.fstat(stream.fileno())
            if info.st_uid != os.geteuid() or info.st_mode & 0o022:
                raise CommandExecutionError(f"{file} may be written by others: not trusted, remove it")
            return json.load(stream)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CommandExecutionError(f"{file} is not readable as JSON: {error}") from error


def save(name, content):
    """
    Write a record in place of the one that is there. Its content is on the disk before it takes that place.

    name
        As for ``path``.
    content
        What to remember: anything that JSON can hold.

    Returns None. Raises SaltInvocationError as ``path`` does.

    CLI Example:

    .. code-block:: bash

        salt east1 hostrecord.save locations.json '{"datadir": "/var/lib/mysql/"}'
    """
    file = path(name)
    os.makedirs(STATE_DIR, mode=0o700, exist_ok=True)
    # Two jobs at once may remember the same: each has a file of its own until it is whole.
    handle, new = tempfile.mkstemp(prefix=f"{name}.new-", dir=STATE_DIR)
    with os.fdopen(handle, "w") as stream:
        json.dump(content, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(new, file)


def boot():
    """
    Return what tells this boot of the host from any other. What nobody has written through to the disk may be lost with
    it.

    CLI Example:

    .. code-block:: bash

        salt east1 hostrecord.boot
    """
    with salt.utils.files.fopen(BOOT, encoding="ascii") as stream:
        return stream.read().strip()
