"""
Emptying the data locations of this minion's server, whose copy they hold afterwards, and their owner.

This module deletes a database on purpose, so it proves by itself, at that moment and on that host, that it may: see
:py:func:`empty`. Nothing here believes an earlier check. Where the locations are is told by ``datalocation``, what
has to be true by ``dataguard``; they are filled by the donor's ``datacopy``.

It follows the manual's page ``operations-msmm-resetsingle`` (steps 8 to 12 of the runbook).
"""

import grp
import os
import pwd
import stat

import salt.utils.files
import salt.utils.path
from salt.exceptions import CommandExecutionError

__virtualname__ = "datadir"

# As in the other modules for these data: what is missing is found before a run's first change, not half-way.
TOOLS = ("find", "rsync", "chown")

RECORD = "ownership.json"
# Lies among the data, so that it goes with them: the run that copied them here.
MARKER = ".reprovision"


def __virtual__():
    missing = [tool for tool in TOOLS if not salt.utils.path.which(tool)]
    if missing:
        return False, f"not in the PATH: {', '.join(missing)}"
    return __virtualname__


def _run(argv, **kwargs):
    result = __salt__["cmd.run_all"](argv, python_shell=False, ignore_retcode=True, **kwargs)
    if result["retcode"]:
        words = "\n".join((result["stdout"] + "\n" + result["stderr"]).strip().splitlines()[-15:])
        raise CommandExecutionError(f"{argv[0]} failed with {result['retcode']}: {words or '(no output)'}")
    return result


def _some(names):
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# --- what is remembered on this host


def _record_path():
    return __salt__["hostrecord.path"](RECORD)


def begun(site):
    """
    Return what this host had before, if it began to be emptied and was not taken into use since.

    site
        The site it has to have been emptied as a host of.

    Returns the record, ``{"state": "emptying", "emptied" or "copied", "run", "site", "donor", "host", "directories":
    {name: {"path", "files", "mode", "user", "group"}}}``, or None. Raises CommandExecutionError if it cannot be trusted
    or read.

    CLI Example:

    .. code-block:: bash

        salt east1 datadir.begun east
    """
    record = __salt__["hostrecord.load"](RECORD)
    return record if record and record["state"] != "owned" and record["site"] == site else None


def emptied(site, donor, run):
    """
    Tell whether this host was emptied in this run, for this donor, so that what it holds now came with the copy. It was
    not, if the host has booted since: half of what was copied may be lost.

    CLI Example:

    .. code-block:: bash

        salt east1 datadir.emptied site=east donor=west3 run=20261123-east
    """
    record = __salt__["hostrecord.load"](RECORD)
    return bool(record) and record["state"] != "emptying" and not _lost(record) and all(
        record.get(key) == value for key, value in (("site", site), ("donor", donor), ("run", run)))


def _lost(record):
    """Whether the host has booted before all of the copy was on the disk; ``boot`` is None once it is."""
    return record["state"] != "owned" and record.get("boot") not in (None, __salt__["hostrecord.boot"]())


def copy():
    """
    Return which run's copy the data of this host are, ``{"run", "state"}``, or None.

    ``state`` is ``copied``, or ``owned`` once owner and mode are restored and the server may have run on them. After
    that a file among the data bears it out: data that somebody has put there since are nobody's copy, and neither are
    those of a host that has booted before they were on the disk.

    CLI Example:

    .. code-block:: bash

        salt east1 datadir.copy
    """
    record = __salt__["hostrecord.load"](RECORD)
    if not record or record["state"] not in ("copied", "owned") or _lost(record):
        return None
    if record["state"] == "owned" and _marked(record) != record["run"]:
        return None
    return {"run": record["run"], "state": record["state"]}


def _marker(record):
    return os.path.join(record["directories"]["datadir"]["path"], MARKER)


def _marked(record):
    try:
        with salt.utils.files.fopen(_marker(record), encoding="utf-8", errors="replace") as stream:
            return stream.read(100).strip()
    except OSError:
        return None


def _mark(record):
    """In place of whatever has that name: among the server's files a link could lead anywhere."""
    path = _marker(record)
    with os.fdopen(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as stream:
        stream.write(record["run"])
    os.replace(path + ".new", path)


def _wanted():
    record = __salt__["hostrecord.load"](RECORD)
    if not record:
        raise CommandExecutionError(
            f"{_record_path()} does not exist: this host was not emptied by datadir.empty"
        )
    places = __salt__["datalocation.locations"]()
    if _paths(places) != _paths(record["directories"]):
        raise CommandExecutionError(f"the data locations have changed since {_record_path()} was written")
    return record, places


def _paths(places):
    return {name: place["path"] for name, place in places.items()}


def _owner(place):
    info = os.stat(place["path"])
    owner = {"mode": format(stat.S_IMODE(info.st_mode), "04o")}
    for key, look, number in (("user", pwd.getpwuid, info.st_uid), ("group", grp.getgrgid, info.st_gid)):
        try:
            owner[key] = look(number)[0]
        except KeyError:
            owner[key] = str(number)
    return {**place, **owner}


# --- emptying


def empty(site, donor, run):
    """
    Delete everything in this host's data locations. The directories themselves stay.

    Once in a run: what lies there after this run has emptied them came with its copy, and is left alone.

    Refuses, before the first byte goes, unless all of this is true now: this host is of the failed ``site``
    and not the ``donor``; its cluster is the site's, in MAINTENANCE, every router OFFLINE, its own datasource
    SHUNNED; the server is stopped and no process uses a data location; each location is a plain directory
    that only the server uses. Owner, group and mode of each directory are recorded first, for ``own``.

    Returns ``{name: {"path", "entries", "bytes"}}`` of what was deleted. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt east1 datadir.empty site=east donor=west3 run=20261123-east
    """
    __salt__["dataguard.name"](site, "site")
    __salt__["dataguard.name"](donor, "donor")
    __salt__["dataguard.run_id"](run)
    if emptied(site, donor, run):
        return {}
    node = __salt__["topology.node"]()
    places = __salt__["dataguard.check"](site, donor)
    __salt__["dataguard.stopped"](places)
    __salt__["dataguard.cluster"](failed=True)
    record = begun(site)
    directories = record["directories"] if record else {name: _owner(place) for name, place in places.items()}
    if _paths(directories) != _paths(places):
        raise CommandExecutionError(f"the data locations have changed since {_record_path()} was written")
    record = {
        "state": "emptying",
        "run": run,
        "site": site,
        "donor": donor,
        "host": node["host"],
        "directories": directories,
    }
    __salt__["hostrecord.save"](RECORD, record)
    removed = {}
    for name, place in places.items():
        before = __salt__["datalocation.measure"](place)
        # cctrl took its seconds, and so did the place before: nobody may have started the server meanwhile
        __salt__["dataguard.location"](place)
        __salt__["dataguard.stopped"](places)
        _run([*__salt__["datalocation.find"](place), "-delete"])
        after = __salt__["datalocation.measure"](place)
        if after["entries"]:
            raise CommandExecutionError(
                f"{place['path']} still holds {after['entries']} entries after the deletion"
            )
        removed[name] = {key: before[key] for key in ("path", "entries", "bytes")}
    for name, place in places.items():
        # Only now: what was deleted in one location has left room for the others of its file system.
        now = __salt__["datalocation.measure"](place)
        directories[name].update(free=now["free"], device=now["device"])
    __salt__["hostrecord.save"](RECORD, {**record, "state": "emptied", "boot": __salt__["hostrecord.boot"]()})
    return removed


# --- owner


def misowned():
    """
    Return what in the data locations has not the owner, group or mode that it should have, a list of text.

    All content is to have the owner that the data directory had before ``empty``; each directory its own
    earlier owner, group and mode.

    CLI Example:

    .. code-block:: bash

        salt east1 datadir.misowned
    """
    record, places = _wanted()
    main, wrong = record["directories"]["datadir"], []
    for name, place in places.items():
        had, has = record["directories"][name], _owner(place)
        if any(had[key] != has[key] for key in ("user", "group", "mode")):
            wrong.append(f"{place['path']}: {has['user']}:{has['group']} {has['mode']}")
        argv = [
            *__salt__["datalocation.find"](place),
            "(", "!", "-user", main["user"], "-o", "!", "-group", main["group"], ")", "-print",
        ]
        wrong += _run(argv, output_loglevel="quiet")["stdout"].splitlines()
    return wrong


def own(run):
    """
    Give the data locations the owner, group and mode back that they had before ``empty``, once the copy is complete.

    run
        Name of the run whose copy it has to be.

    Returns ``misowned`` as it was before. Raises CommandExecutionError if the data are not that copy, or something is
    still wrong afterwards.

    CLI Example:

    .. code-block:: bash

        salt east1 datadir.own 20261123-east
    """
    record, places = _wanted()
    if _lost(record):
        raise CommandExecutionError("this host has booted since it was emptied: what was copied here may be lost in "
                                    "part, and has to be copied anew")
    if copy() != {"run": __salt__["dataguard.run_id"](run), "state": record["state"]}:
        raise CommandExecutionError(
            f"the data here are not the complete copy of run {run}: {_record_path()} says {record['state']}, "
            f"run {record['run']}")
    before = misowned()
    main = record["directories"]["datadir"]
    _mark(record)
    for name, place in places.items():
        had = record["directories"][name]
        found = __salt__["datalocation.find"](place)
        _run([*found, "-exec", "chown", "-h", f"{main['user']}:{main['group']}", "{}", "+"])
        _run(["chown", f"{had['user']}:{had['group']}", "--", place["path"]])
        _run(["chmod", had["mode"], "--", place["path"]])
    after = misowned()
    if after:
        raise CommandExecutionError(f"still not owned as before: {_some(after)}")
    # rsync leaves it to the system when it writes; from here on a power cut is the server's own affair.
    os.sync()
    __salt__["hostrecord.save"](RECORD, {**record, "state": "owned"})
    return before
