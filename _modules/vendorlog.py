"""
Vendor's tools, run in one way and written down: each command with its answer, in a file a day on this node.

Whoever asks at noon what was typed on this node at three in the morning finds it here, and in the report of the run.
"""

import contextlib
import datetime
import json
import logging
import os
import time

import salt.utils.files
from salt.exceptions import SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "vendorlog"

FOLDER = "/var/log/reprovision"
DAYS = 30
# A listing of nine nodes fits; of what is longer both ends are kept.
MOST = 8000
# Half of what Salt's bus takes (max_event_size).
PART = 500_000
STAMP = "%Y-%m-%dT%H:%M:%SZ"


def __virtual__():
    return __virtualname__


def run(argv, seconds, stdin="", secret=False):
    """
    Run a vendor's tool as the Tungsten user, with a time limit, and write down what it was told and what it said.

    argv
        The tool's path and its arguments, a list.
    seconds
        After them it is ended; the exit code is 124 or 137 then.
    stdin
        What is typed into it.
    secret
        True if its answer may hold a password: then neither Salt's log nor the file gets it.

    Returns what ``cmd.run_all`` returns. Its exit code proves nothing. That the file cannot be written is logged and
    stops nothing.

    CLI Example:

    .. code-block:: bash

        salt east1 vendorlog.run '[/opt/continuent/tungsten/tungsten-replicator/bin/trepctl, services]' 60
    """
    begun, clock = time.time(), time.monotonic()
    result = __salt__["cmd.run_all"](
        ["timeout", "--kill-after=5", str(int(seconds)), *argv],
        runas=__salt__["topology.node"]()["user"],
        stdin=stdin,
        python_shell=False,
        ignore_retcode=True,
        output_loglevel="quiet" if secret else "debug",
    )
    said = "\n".join(part.strip("\n") for part in (result["stdout"], result["stderr"]) if part.strip())
    _note({
        "at": _stamp(begun), "took": round(time.monotonic() - clock, 2), "argv": argv, "typed": stdin.splitlines(),
        "code": result["retcode"], "answer": "(not kept: it may hold a password)" if secret else _short(said),
    })
    return result


def _stamp(moment):
    return time.strftime(STAMP, time.gmtime(moment))


def _short(text):
    return text if len(text) <= MOST else f"{text[:MOST // 2]}\n[…]\n{text[-MOST // 2:]}"


def _files():
    """The names of the days' files, oldest first."""
    there = os.listdir(FOLDER) if os.path.isdir(FOLDER) else []
    return sorted(name for name in there if name.startswith("vendor-") and name.endswith(".jsonl"))


def _note(entry):
    try:
        os.makedirs(FOLDER, mode=0o700, exist_ok=True)
        path = os.path.join(FOLDER, f"vendor-{entry['at'][:10]}.jsonl")
        if not os.path.exists(path):
            # With each new day's file the oldest goes.
            for name in _files()[:1 - DAYS]:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(FOLDER, name))
        # Unbuffered, so in one piece: several jobs may be at it. The line before may have been cut off.
        with salt.utils.files.set_umask(0o077), salt.utils.files.fopen(path, "ab", buffering=0) as file:
            file.write(f"\n{json.dumps(entry)}\n".encode())
    except OSError as error:
        log.warning("What %s said is not written down: %s", entry["argv"][0], error)


def read(begun, ended, part=0):
    """
    Return what this extension told the vendor's tools of this node in some time, whoever wanted it, oldest first.

    begun, ended
        UTC in ISO 8601, such as ``2026-11-27T03:00:00Z``, by this node's clock.
    part
        Which part of it, from 0 on: Salt cuts short what is too long for its bus.

    Returns ``{"commands": [{"at", "took": seconds, "argv": [words], "typed": [lines], "code", "answer"}], "parts": how
    many there are}``. What is older than 30 days with a command is gone. Raises SaltInvocationError for another kind of
    time.

    CLI Example:

    .. code-block:: bash

        salt east1 vendorlog.read 2026-11-27T03:00:00Z 2026-11-27T04:00:00Z
    """
    for moment in (begun, ended):
        try:
            datetime.datetime.strptime(moment, STAMP)
        except (TypeError, ValueError) as error:
            raise SaltInvocationError(f"{moment!r} is not a time such as 2026-11-27T03:00:00Z") from error
    parts, size = [[]], 0
    for name in _files():
        if f"vendor-{begun[:10]}" <= name <= f"vendor-{ended[:10]}.jsonl":
            with salt.utils.files.fopen(os.path.join(FOLDER, name), encoding="utf-8") as file:
                for line in file:
                    entry = _entry(line)
                    if entry and begun <= entry["at"] <= ended:
                        size += len(line)
                        if size > PART:
                            parts.append([])
                            size = len(line)
                        parts[-1].append(entry)
    return {"commands": parts[part] if 0 <= part < len(parts) else [], "parts": len(parts)}


def _entry(line):
    """A line that was cut off, by a full disk or a power cut, tells nothing."""
    try:
        return json.loads(line)
    except ValueError:
        return None
