"""
Where the data of this minion's server lie, and how much that is.

The locations are the running server's own words; of a stopped server what is remembered of them, or its option files.
Nothing here judges whether anything may happen to them: that is ``dataguard``. Reads only, but for that memory.
"""

import os
import re

import salt.utils.path
from salt.exceptions import CommandExecutionError

__virtualname__ = "datalocation"

# As in the other modules for these data: what is missing is found before a run's first change, not half-way.
TOOLS = ("find", "rsync", "chown")

# The server's variables as they were last read from it.
REMEMBERED = "locations.json"

LOG_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,200}")

DIRECTORIES = ("innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory",
               "innodb_doublewrite_dir", "aria_log_dir_path")  # fmt: skip
LOGS = ("log_bin_basename", "relay_log_basename")
INDEXES = ("log_bin_index", "relay_log_index")
ASKED = ("datadir", "innodb_data_file_path", "innodb_directories", *DIRECTORIES, *LOGS, *INDEXES)


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
    return result["stdout"]


# --- where they are


def _absolute(path, datadir):
    return os.path.realpath(os.path.join(datadir, path))


def _within(path, folder):
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _arrange(values):
    """Turn the server's variables into locations: {name: {"path", "files"}}, no file in two of them."""
    home = (values.get("datadir") or "").strip()
    if not os.path.isabs(home):
        raise CommandExecutionError(f"the server's datadir is not an absolute path: {home!r}")
    datadir = os.path.realpath(home)
    found = {"datadir": {"path": datadir, "files": []}}
    for part in (values.get("innodb_data_file_path") or "").split(";"):
        if part.startswith("/"):
            raise CommandExecutionError(
                f"innodb_data_file_path names an absolute file, which is not supported: {part}"
            )
    for path in filter(None, (values.get("innodb_directories") or "").split(";")):
        if not _within(_absolute(path, datadir), datadir):
            raise CommandExecutionError(
                f"tables may lie outside the data directory (innodb_directories): {path}"
            )
    for name in DIRECTORIES:
        if values.get(name):
            path = _absolute(values[name], datadir)
            if path != datadir and _within(datadir, path):
                raise CommandExecutionError(
                    f"{name} ({path}) contains the data directory {datadir}: not supported"
                )
            if not any(_within(path, other["path"]) for other in found.values()):
                found = {key: item for key, item in found.items() if not _within(item["path"], path)}
                found[name] = {"path": path, "files": []}
    for name in (*LOGS, *INDEXES):
        if not values.get(name):
            continue
        folder, base = os.path.split(os.path.join(datadir, values[name]))
        folder = os.path.realpath(folder)
        if any(_within(folder, other["path"]) for other in found.values() if not other["files"]):
            continue
        if any(folder == other["path"] and base in other["files"] for other in found.values()):
            continue
        if not LOG_NAME.fullmatch(base):
            raise CommandExecutionError(f"{name} has a name that cannot be handled safely: {values[name]!r}")
        files = [f"{base}.[0-9]*", f"{base}.index", f"{base}.state"] if name in LOGS else [base]
        if name == "relay_log_basename":  # a named channel or connection has logs of its own
            files += [f"{base}-*.[0-9]*", f"{base}-*.index"]
        found[name] = {"path": folder, "files": files}
    return found


def _from_server():
    answer = __salt__["mysqld.variables"](list(ASKED))
    return {name: value for name, value in answer.items() if value}


def _from_files(settings):
    """The same from the option files, for a server that is down and was never asked."""
    values = {**settings["effective"], **settings["explicit"]}
    if not values.get("datadir"):
        raise CommandExecutionError(
            "The server is down, was never asked for its data locations, and its option files name no "
            "datadir: start it once, or write datadir into them"
        )
    values["log_bin_basename"] = values.pop("log_bin", None)
    values["relay_log_basename"] = values.pop("relay_log", None)
    for name in LOGS:
        if (values.get(name) or "").upper() in ("ON", "1", "OFF", "0", "TRUE", "FALSE"):
            values[name] = None  # no name of its own: in the data directory
        elif values.get(name):
            folder, base = os.path.split(values[name])
            values[name] = os.path.join(folder, os.path.splitext(base)[0])
    return {name: values[name] for name in ASKED if values.get(name)}


def locations():
    """
    Return every data location of this host's server.

    ``{"datadir": {"path": "/var/lib/mysql", "files": []}, "log_bin_basename": {"path": "/var/log/mysql",
    "files": ["mysql-bin.[0-9]*", "mysql-bin.index", "mysql-bin.state"]}}``: paths are absolute and resolved,
    what lies inside another location is not listed again. ``files`` empty means all of the directory; for
    binary and relay logs outside the data directory it is the patterns of their own files, and nothing else
    there is ever touched.

    They are read from the running server and remembered; of a stopped server the remembered ones count; of a
    server that was never asked, its option files. Raises CommandExecutionError if nothing can be read, or if
    the option files have come to name another place than the server uses.

    CLI Example:

    .. code-block:: bash

        salt east1 datalocation.locations
    """
    values = None
    if __salt__["mysqld.ping"]():
        values = _from_server()
        __salt__["hostrecord.save"](REMEMBERED, values)
    else:
        values = __salt__["hostrecord.load"](REMEMBERED)
    try:
        settings = __salt__["mysqld.settings"]()
    except CommandExecutionError as error:
        if values is None:
            raise CommandExecutionError(
                f"The server is down, was never asked for its data locations, and {error}"
            ) from error
        return _arrange(values)
    if values is None:
        values = _from_files(settings)
    used = _arrange(values)
    datadir = used["datadir"]["path"]
    for name in ("datadir", *DIRECTORIES):
        written = settings["explicit"].get(name)
        if written and _absolute(written, datadir) != _absolute(values.get(name) or "", datadir):
            raise CommandExecutionError(
                f"The option files say {name}={written}, the server used {values.get(name)}: "
                "bring them to agree first"
            )
    return used


def named(datadir):
    """
    Return what in the data directory has a name that only the server's settings tell, as they were last read from it.

    datadir
        Absolute path of the data directory, resolved, as ``locations`` returns it.

    Returns ``{"files": names of the files of innodb_data_file_path, "directories": entries of the data directory in
    which it keeps engine files or logs}``, both sorted; both empty if the server was never asked. Raises
    CommandExecutionError if what is remembered cannot be trusted or read.

    CLI Example:

    .. code-block:: bash

        salt east1 datalocation.named /var/lib/mysql
    """
    settings = __salt__["hostrecord.load"](REMEMBERED) or {}
    files = {part.split(":")[0] for part in settings.get("innodb_data_file_path", "").split(";")}
    folders = [settings[name] for name in DIRECTORIES if settings.get(name)]
    folders += [os.path.dirname(settings[name]) for name in (*LOGS, *INDEXES) if settings.get(name)]
    inside = [os.path.relpath(_absolute(folder, datadir), datadir) for folder in folders
              if _within(_absolute(folder, datadir), datadir)]
    directories = {folder.split("/")[0] for folder in inside if folder != "."}
    return {"files": sorted(filter(None, files)), "directories": sorted(directories)}


# --- what they hold


def find(place):
    """
    Return the argv of a find over all that a location holds of the server, to which what to do with it is appended.

    It stays on the location's file system, follows no link, and leaves out the location itself and ``lost+found``, or,
    of a location with patterns, all that they do not match.

    place
        One of ``locations``: ``{"path", "files"}``.

    Returns a list of words.

    CLI Example:

    .. code-block:: bash

        salt east1 datalocation.find '{"path": "/var/lib/mysql", "files": []}'
    """
    path, files = place["path"], place["files"]
    # of a running server files come and go while they are listed
    whole = ["find", path, "-ignore_readdir_race", "-xdev", "-mindepth", "1"]
    if files:
        names = [word for name in files for word in ("-o", "-name", name)][1:]
        return [*whole, "-maxdepth", "1", "-type", "f", "(", *names, ")"]
    # of the file system where the directory is a mount point, not of the server
    kept = ["!", "-path", f"{path}/lost+found", "!", "-path", f"{path}/lost+found/*"]
    return [*whole, *kept]


def measure(place):
    """
    Return what a location holds now, and the room there: ``{"path", "entries", "bytes", "free", "device"}``.

    place
        One of ``locations``: ``{"path", "files"}``.

    Returns as ``contents`` does for each of them. Raises CommandExecutionError if find fails, OSError if the location
    is not there.

    CLI Example:

    .. code-block:: bash

        salt east1 datalocation.measure '{"path": "/var/lib/mysql", "files": []}'
    """
    sizes = _run([*find(place), "-printf", "%s\\n"], output_loglevel="quiet").split()
    disk = os.statvfs(place["path"])
    return {
        "path": place["path"],
        "entries": len(sizes),
        "bytes": sum(map(int, sizes)),
        "free": disk.f_bfree * disk.f_frsize,
        "device": os.stat(place["path"]).st_dev,
    }


def contents():
    """
    Return what each data location holds now: ``{name: {"path", "entries", "bytes", "free", "device"}}``.

    ``free`` is what its file system has left for root, in bytes, as ``bytes`` is; ``device`` is that file system's
    number on this host: locations with the same one share what is free.

    CLI Example:

    .. code-block:: bash

        salt east1 datalocation.contents
    """
    return {name: measure(place) for name, place in locations().items()}


def outside(place, places):
    """
    Return what in a location leads to data outside of all locations: links, and InnoDB's own (``.isl``).

    place
        One of ``locations``: ``{"path", "files"}``.
    places
        All of ``locations``.

    Returns a list of paths. Raises CommandExecutionError if find fails.

    CLI Example:

    .. code-block:: bash

        salt west3 datalocation.outside "$place" "$places"
    """
    found = _run([*find(place), "(", "-type", "l", "-o", "-name", "*.isl", ")", "-print"])
    return [path for path in found.splitlines() if path.endswith(".isl") or not _inside(path, places)]


def _inside(path, places):
    return any(_within(os.path.realpath(path), place["path"]) for place in places.values())
