"""
The memory of the master: one JSON file a run, and beside them what was asked of a run and reported against a site.

A record is written atomically before and after each step, so that a reader never meets half a one. Who may write it is
decided by ``runlock``.
"""

import json
import re
import time
from pathlib import Path

import salt.utils.atomicfile
import salt.utils.files
from salt.exceptions import CommandExecutionError

__virtualname__ = "runrecord"

_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


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


def keep_page(site, run, text):
    """
    Keep a run's report beside its record.

    Returns its path. Raises CommandExecutionError when it cannot be written.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.keep_page east 20261123T150102-7 "$page"
    """
    if not _SITE.fullmatch(str(run)):
        raise CommandExecutionError(f"{run!r} is not the id of a run")
    path = _folder(site) / f"{run}.html"
    try:
        with salt.utils.files.set_umask(0o077), salt.utils.atomicfile.atomic_open(str(path), "w") as out:
            out.write(text)
    except OSError as error:
        raise CommandExecutionError(f"The report cannot be written to {path}: {error.strerror}") from error
    return str(path)


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


def every(site):
    """
    Return the records of all runs of a site, oldest first.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.every east
    """
    return [_read(path) for path in sorted(_folder(site).glob("*.json")) if path.stem[:1].isdigit()]


def sites():
    """
    Return the names of the sites of which there is any memory.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.sites
    """
    home = Path(__opts__["cachedir"]) / "reprovision"
    return sorted(path.name for path in home.glob("*") if path.is_dir() and _SITE.fullmatch(path.name))


def ask_to_stop(site, run, who, reason):
    """
    Note that a run is to stop at its next safe point.

    Returns the note, ``{"run", "who", "reason", "at"}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.ask_to_stop east 20261123T150102-7 alice 'wrong site'
    """
    note = {"run": run, "who": who, "reason": reason, "at": now()}
    _write(_folder(site) / "stop.json", note)
    return note


def asked_to_stop(site, run):
    """
    Return the note that this run is to stop, or None.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.asked_to_stop east 20261123T150102-7
    """
    note = _read(_folder(site) / "stop.json")
    return note if note and note["run"] == run else None


def forget_stop(site):
    """
    Take the note away: the run has stopped, or is ordered to go on.

    Returns True.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runrecord.forget_stop east
    """
    (_folder(site) / "stop.json").unlink(missing_ok=True)
    return True


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
