"""
The data locations of this minion's server: where they are, emptying them, filling them from a donor, their
owner.

This module deletes a database on purpose, so every function that destroys anything proves by itself, at that
moment and on that host, that it may: see :py:func:`empty` and :py:func:`sync`. Nothing here believes an
earlier check.

It follows the manual's page ``operations-msmm-resetsingle`` (steps 8 to 12 of the runbook).
"""

import grp
import json
import os
import pwd
import re
import stat

import salt.utils.files
import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "datadir"

STATE_DIR = "/var/lib/reprovision"
RECORD = "ownership.json"
# Lies among the data, so that it goes with them: the run that copied them here.
MARKER = ".reprovision"

PATH = re.compile(r"/[A-Za-z0-9._ @+,=:#-]+(/[A-Za-z0-9._ @+,=:#-]+)*")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
LOG_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,200}")
RUN = re.compile(r"[A-Za-z0-9-]{1,64}")

# never a data location: these, and whatever lies in the second group
SYSTEM = ("/", "/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/usr/local", "/var", "/var/cache",
          "/var/lib", "/var/log", "/var/mail", "/var/opt", "/var/spool", "/var/tmp")  # fmt: skip
SYSTEM_TREES = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found",
                "/proc", "/root", "/run", "/sbin", "/sys", "/usr", "/var/lib/dpkg",
                "/var/lib/rpm", "/var/lib/systemd", "/var/cache/salt", "/var/lib/salt")  # fmt: skip

DIRECTORIES = ("innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory",
               "innodb_doublewrite_dir", "aria_log_dir_path")  # fmt: skip
LOGS = ("log_bin_basename", "relay_log_basename")
INDEXES = ("log_bin_index", "relay_log_index")
ASKED = ("datadir", "innodb_data_file_path", "innodb_directories", *DIRECTORIES, *LOGS, *INDEXES)
# what InnoDB and Aria keep in a directory of their own, beside the files named by innodb_data_file_path
ENGINE_FILES = re.compile(
    r"ibdata\d*|ib_logfile\d+|ibtmp\d+|ib_buffer_pool|undo_?\d+(_trunc\.log)?|.+\.(ibu|ibd|dblwr)|"
    r"#innodb_redo|#innodb_temp|#ib_.+|aria_log.*|lost\+found"
)


def __virtual__():
    missing = [tool for tool in ("find", "rsync", "chown") if not salt.utils.path.which(tool)]
    if missing:
        return False, f"not in the PATH: {', '.join(missing)}"
    return __virtualname__


def _run(argv, seconds=None, failing=True, **kwargs):
    limit = ["timeout", "--kill-after=5", str(seconds)] if seconds else []
    result = __salt__["cmd.run_all"]([*limit, *argv], python_shell=False, ignore_retcode=True, **kwargs)
    if seconds and result["retcode"] in (124, 137):
        raise CommandExecutionError(f"{argv[0]} did not end within {seconds} s")
    if failing and result["retcode"]:
        words = "\n".join((result["stdout"] + "\n" + result["stderr"]).strip().splitlines()[-15:])
        raise CommandExecutionError(f"{argv[0]} failed with {result['retcode']}: {words or '(no output)'}")
    return result


# --- what is remembered on this host


def _load(name):
    path = os.path.join(STATE_DIR, name)
    try:
        with salt.utils.files.fopen(path, encoding="utf-8") as stream:
            info = os.fstat(stream.fileno())
            if info.st_uid != os.geteuid() or info.st_mode & 0o022:
                raise CommandExecutionError(f"{path} may be written by others: not trusted, remove it")
            return json.load(stream)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CommandExecutionError(f"{path} is not readable as JSON: {error}") from error


def _save(name, content):
    os.makedirs(STATE_DIR, mode=0o700, exist_ok=True)
    path = os.path.join(STATE_DIR, name)
    with os.fdopen(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        json.dump(content, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path + ".new", path)


# --- where the data lie


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

        salt east1 datadir.locations
    """
    values = None
    if __salt__["mysqld.ping"]():
        values = _from_server()
        _save("locations.json", values)
    else:
        values = _load("locations.json")
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


# --- guards


def _mounts():
    with salt.utils.files.fopen("/proc/self/mountinfo", encoding="utf-8") as stream:
        return [re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), line.split()[4]) for line in stream]


def _guard_path(path, files, node):
    """Raise unless this path may be a data location at all."""
    if not PATH.fullmatch(path) or ".." in path.split("/") or "." in path.split("/"):
        raise CommandExecutionError(f"{path!r} is not a plain absolute path")
    if os.path.realpath(path) != path:
        raise CommandExecutionError(f"{path} leads through a symbolic link to {os.path.realpath(path)}")
    if path in SYSTEM or any(_within(path, tree) for tree in SYSTEM_TREES if tree != "/usr"):
        raise CommandExecutionError(f"{path} is a directory of the operating system")
    if _within(path, "/usr") and not re.match(r"/usr/local/[^/]+/.", path):
        raise CommandExecutionError(f"{path} is a directory of the operating system")
    if re.fullmatch(r"/(home|var)/[^/]+", path):
        raise CommandExecutionError(f"{path} is a home directory or one of the operating system")
    for kept in (node["cluster_home"], node["cross_site_home"], STATE_DIR):
        real = os.path.realpath(kept)
        if _within(path, real) or _within(real, path):
            raise CommandExecutionError(f"{path} and {kept} lie in one another")
    for kept in (*SYSTEM, *SYSTEM_TREES, os.path.realpath(node["mysql"]["defaults_file"])):
        if not files and _within(kept, path):
            raise CommandExecutionError(f"{path} contains {kept}, which must stay")
    if not os.path.isdir(path):
        raise CommandExecutionError(f"{path} is not a directory")
    inside = [mount for mount in _mounts() if mount != path and _within(mount, path)]
    if inside and not files:
        raise CommandExecutionError(f"{path} has another file system mounted inside it: {', '.join(inside)}")


def _foreign(name, place, settings):
    """What lies in a directory that is to be emptied as a whole and that no server has put there, in words."""
    present = set(os.listdir(place["path"]))
    if place["files"] or not present - {"lost+found"}:
        return []
    data_files = {part.split(":")[0] for part in settings.get("innodb_data_file_path", "").split(";")}
    if name == "datadir":
        if not present & {"mysql", "ibdata1", "mysql.ibd"}:
            return [f"{place['path']} does not look like a data directory (no mysql, no ibdata1): {_some(present)}"]
        own = _directories_inside(place["path"], settings)
        return [
            f"{place['path']}/{item['entry']}: {item['why']}"
            for item in __salt__["datacontent.foreign"](place["path"], sorted(data_files))
            if item["entry"].split("/")[0] not in own
        ]
    found = {entry for entry in present if not ENGINE_FILES.fullmatch(entry) and entry not in data_files}
    return [f"{place['path']} ({name}) holds what is not of the server: {_some(found)}"] if found else []


def _directories_inside(datadir, settings):
    """Entries of the data directory in which the server was told to keep engine files or logs."""
    folders = [settings[name] for name in DIRECTORIES if settings.get(name)]
    folders += [os.path.dirname(settings[name]) for name in (*LOGS, *INDEXES) if settings.get(name)]
    inside = [os.path.relpath(_absolute(folder, datadir), datadir) for folder in folders
              if _within(_absolute(folder, datadir), datadir)]
    return {folder.split("/")[0] for folder in inside if folder != "."}


def _some(names):
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _name(value, what):
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise SaltInvocationError(f"{what} is not a valid name: {value!r}")
    return value


def check(site=None, donor=None):
    """
    Return ``locations`` if they may be data locations at all, and, with ``site`` and ``donor``, if this host
    may ever be emptied: it belongs to the failed ``site``, is not the donor, the donor is not of that site, and
    nothing but the server's own lies there.

    Reads only. It proves nothing about the state the host is in: that is done by ``empty`` itself.

    CLI Example:

    .. code-block:: bash

        salt east1 datadir.check site=east donor=west3
    """
    node = __salt__["topology.node"]()
    if site is not None or donor is not None:
        _name(site, "site")
        _name(donor, "donor")
        if node["site"] != site:
            raise CommandExecutionError(f"This host is of site {node['site']}, not of the failed site {site}")
        if donor in (node["host"], node["minion"]):
            raise CommandExecutionError(f"This host is the donor {donor} itself")
        members = __salt__["topology.get"]()["sites"][site]["nodes"]
        if donor in members or donor in members.values():
            raise CommandExecutionError(f"The donor {donor} is of the failed site {site} itself")
    places = locations()
    for place in places.values():
        _guard_path(place["path"], place["files"], node)
    if site is not None and foreign():
        raise CommandExecutionError("these are not the server's alone: " + "; ".join(foreign()))
    return places


def foreign():
    """
    Return what lies in the data locations that no server has written there, a list of text: a dump, another instance's
    data, somebody's folder. Emptying them would delete it.

    What a run has begun to empty or to fill is not looked at: there half a copy lies.

    CLI Example:

    .. code-block:: bash

        salt east1 datadir.foreign
    """
    if _record(__salt__["topology.node"]()["site"]):
        return []
    places = locations()
    settings = _load("locations.json") or {}
    return [text for name, place in places.items() for text in _foreign(name, place, settings)]


def _record(site):
    """What this host had before, if it began to be emptied and was not taken into use since."""
    record = _load(RECORD)
    return record if record and record["state"] != "owned" and record["site"] == site else None


def copy():
    """
    Return which run's copy the data of this host are, ``{"run", "state"}``, or None.

    ``state`` is ``copied``, or ``owned`` once owner and mode are restored and the server may have run on them. After
    that a file among the data bears it out: data that somebody has put there since are nobody's copy.

    CLI Example:

    .. code-block:: bash

        salt east1 datadir.copy
    """
    record = _load(RECORD)
    if not record or record["state"] not in ("copied", "owned"):
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


def _run_id(run):
    if not isinstance(run, str) or not RUN.fullmatch(run):
        raise SaltInvocationError(f"run must be up to 64 letters, digits and dashes, not {run!r}")
    return run


def _guard_stopped(places):
    now = __salt__["mysqld.status"]()
    if now["running"]:
        raise CommandExecutionError(f"the server is not stopped ({now['unit']} is {now['active']})")
    for place in places.values():
        users = __salt__["mysqld.processes"](place["path"])
        if users:
            raise CommandExecutionError(
                f"{place['path']} is in use by {users[0]['name']}, process {users[0]['pid']}"
            )
    return now


def _guard_cluster(node, failed):
    """Raise unless Tungsten, asked now, has this host out of use (and, if failed, its whole site)."""
    now = __salt__["cctrl.ls"]()
    if now.get("composite"):
        raise CommandExecutionError("this is a composite cluster, which this procedure is not for")
    if now.get("service") != node["service"]:
        raise CommandExecutionError(f"cctrl is of service {now.get('service')}, not {node['service']}")
    own = now["datasources"].get(node["host"])
    if not own or own["state"] != "SHUNNED":
        raise CommandExecutionError(
            f"datasource {node['host']} is {own['state'] if own else 'unknown'}, not SHUNNED"
        )
    if not failed:
        if own["role"] != "slave":
            raise CommandExecutionError(
                f"datasource {node['host']} is a {own['role']}: a donor must be a slave"
            )
        return
    policy = (now.get("coordinator") or {}).get("policy")
    if policy != "MAINTENANCE":
        raise CommandExecutionError(f"the policy of {node['service']} is {policy}, not MAINTENANCE")
    if not now["routers"]:
        raise CommandExecutionError(
            "cctrl lists no router, so nobody can tell that no application is connected"
        )
    serving = [name for name, router in now["routers"].items() if router["state"] != "OFFLINE"]
    if serving:
        raise CommandExecutionError(f"routers are not OFFLINE: {', '.join(sorted(serving))}")


# --- acting


def _find(place):
    """The argv of a find over all that this place holds of the server."""
    path, files = place["path"], place["files"]
    # of a running server files come and go while they are listed
    whole = ["find", path, "-ignore_readdir_race", "-xdev", "-mindepth", "1"]
    if files:
        names = [word for name in files for word in ("-o", "-name", name)][1:]
        return [*whole, "-maxdepth", "1", "-type", "f", "(", *names, ")"]
    # of the file system where the directory is a mount point, not of the server
    kept = ["!", "-path", f"{path}/lost+found", "!", "-path", f"{path}/lost+found/*"]
    return [*whole, *kept]


def contents():
    """
    Return what each data location holds now: ``{name: {"path", "entries", "bytes", "free", "device"}}``.

    ``free`` is what its file system has left for root, in bytes, as ``bytes`` is; ``device`` is that file system's
    number on this host: locations with the same one share what is free.

    CLI Example:

    .. code-block:: bash

        salt east1 datadir.contents
    """
    return {name: _measure(place) for name, place in locations().items()}


def _measure(place):
    sizes = _run([*_find(place), "-printf", "%s\\n"], output_loglevel="quiet")["stdout"].split()
    disk = os.statvfs(place["path"])
    return {
        "path": place["path"],
        "entries": len(sizes),
        "bytes": sum(map(int, sizes)),
        "free": disk.f_bfree * disk.f_frsize,
        "device": os.stat(place["path"]).st_dev,
    }


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
    _name(site, "site")
    _name(donor, "donor")
    _run_id(run)
    if emptied(site, donor, run):
        return {}
    node = __salt__["topology.node"]()
    places = check(site, donor)
    _guard_stopped(places)
    _guard_cluster(node, failed=True)
    record = _record(site)
    directories = record["directories"] if record else {name: _owner(place) for name, place in places.items()}
    if _paths(directories) != _paths(places):
        raise CommandExecutionError(f"the data locations have changed since {STATE_DIR}/{RECORD} was written")
    record = {
        "state": "emptying",
        "run": run,
        "site": site,
        "donor": donor,
        "host": node["host"],
        "directories": directories,
    }
    _save(RECORD, record)
    removed = {}
    for name, place in places.items():
        before = _measure(place)
        # cctrl took its seconds, and so did the place before: nobody may have started the server meanwhile
        _guard_path(place["path"], place["files"], node)
        _guard_stopped(places)
        _run([*_find(place), "-delete"])
        after = _measure(place)
        if after["entries"]:
            raise CommandExecutionError(
                f"{place['path']} still holds {after['entries']} entries after the deletion"
            )
        removed[name] = {key: before[key] for key in ("path", "entries", "bytes")}
    for name, place in places.items():
        # Only now: what was deleted in one location has left room for the others of its file system.
        directories[name].update({key: value for key, value in _measure(place).items() if key in ("free", "device")})
    _save(RECORD, {**record, "state": "emptied"})
    return removed


def emptied(site, donor, run):
    """
    Tell whether this host was emptied in this run, for this donor, so that what it holds now came with the copy.

    CLI Example:

    .. code-block:: bash

        salt east1 datadir.emptied site=east donor=west3 run=20261123-east
    """
    record = _load(RECORD)
    return bool(record) and record["state"] != "emptying" and all(
        record.get(key) == value for key, value in (("site", site), ("donor", donor), ("run", run)))


def _owner(place):
    info = os.stat(place["path"])
    owner = {"mode": format(stat.S_IMODE(info.st_mode), "04o")}
    for key, look, number in (("user", pwd.getpwuid, info.st_uid), ("group", grp.getgrgid, info.st_gid)):
        try:
            owner[key] = look(number)[0]
        except KeyError:
            owner[key] = str(number)
    return {**place, **owner}


def _paths(places):
    return {name: place["path"] for name, place in places.items()}


def _remote(node):
    options = ("BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=15", "ServerAliveInterval=15")
    return [
        "runuser",
        "-u",
        node["user"],
        "--",
        "ssh",
        *(word for option in options for word in ("-o", option)),
    ]


def _rsync(node, place, target, *options):
    chosen = [f"--include=/{name}" for name in place["files"]]
    kept = [f"--exclude=/{name}" for name in ("auto.cnf", "lost+found", MARKER)]
    chosen = [*chosen, "--exclude=*"] if chosen else kept
    # A peer that says nothing for so long is gone, whatever its connection says.
    return ["rsync", "-a", "--delete", "--protect-args", "--timeout=300", *options, *chosen,
            "-e", " ".join(_remote(node)), "--rsync-path=sudo -n rsync", place["path"] + "/", target]  # fmt: skip


def _inside(path, places):
    return any(_within(os.path.realpath(path), place["path"]) for place in places.values())


def _pairs(host, site, run):
    """(node, [(place here, "user@host:/path/")], the target's record), after every guard that both can give."""
    _name(host, "host")
    _name(site, "site")
    node = __salt__["topology.node"]()
    members = __salt__["topology.get"]()["sites"].get(site, {}).get("nodes", {})
    if node["site"] == site or host not in members:
        raise CommandExecutionError(
            f"{host} is not a host of the failed site {site}, or this host is of it too"
        )
    places = check()
    down = _guard_stopped(places)
    if down["result"] != "success":
        raise CommandExecutionError(f"the server's last stop was not clean (systemd says: {down['result']})")
    _guard_cluster(node, failed=False)
    for place in places.values():
        found = _run([*_find(place), "(", "-type", "l", "-o", "-name", "*.isl", ")", "-print"])["stdout"]
        outside = [path for path in found.splitlines() if path.endswith(".isl") or not _inside(path, places)]
        if outside:
            raise CommandExecutionError(
                f"data lie outside the data locations, through links: {_some(outside)}"
            )
    record = _target_record(node, host)
    if record["state"] not in ("emptied", "copied") or (record["site"], record["host"]) != (site, host):
        raise CommandExecutionError(
            f"{host} has not been emptied for this: {STATE_DIR}/{RECORD} there says {record['state']}"
        )
    if record["run"] != run:
        raise CommandExecutionError(f"{host} has been emptied for run {record['run']}, not for {run}")
    if record["donor"] not in (node["host"], node["minion"]):
        raise CommandExecutionError(f"{host} has been emptied for donor {record['donor']}, not for this host")
    there = record["directories"]
    if set(there) != set(places):
        raise CommandExecutionError(
            f"data locations differ: here {sorted(places)}, on {host} {sorted(there)}"
        )
    for name, place in places.items():
        # the indexes of the logs hold absolute paths
        if place["files"] and (place["path"], place["files"]) != (there[name]["path"], there[name]["files"]):
            raise CommandExecutionError(f"{name} is {place['path']} here and {there[name]['path']} on {host}")
        if not PATH.fullmatch(there[name]["path"]):
            raise CommandExecutionError(f"{there[name]['path']!r} on {host} is not a plain absolute path")
    _guard_room(host, {name: _measure(place)["bytes"] for name, place in places.items()}, there)
    pairs = [(place, f"{node['user']}@{host}:{there[name]['path']}/") for name, place in places.items()]
    return node, pairs, record


def _guard_room(host, needed, there):
    """Raise unless every file system of the target has room for all the locations that lie on it."""
    for device in {place["device"] for place in there.values()}:
        together = [name for name in needed if there[name]["device"] == device]
        size, room = sum(needed[name] for name in together), there[together[0]]["free"]
        if size > room:
            raise CommandExecutionError(
                f"{' and '.join(together)} have {size} bytes here, {host} has room for {room} in "
                f"{' and '.join(there[name]['path'] for name in together)}")


def _target_record(node, host):
    remote = _remote(node)
    alive = _run([*remote, f"{node['user']}@{host}", "pgrep -x 'mysqld|mariadbd'"], 60, failing=False)
    if alive["retcode"] != 1:
        words = alive["stderr"].strip() or f"process {alive['stdout'].split()}"
        raise CommandExecutionError(f"{host} has not told that no server runs there: {words}")
    copy = f"target-{host}.json"
    os.makedirs(STATE_DIR, mode=0o700, exist_ok=True)
    _run(["rsync", "--chmod=F600", "-e", " ".join(remote), "--rsync-path=sudo -n rsync",
          f"{node['user']}@{host}:{STATE_DIR}/{RECORD}", os.path.join(STATE_DIR, copy)], 60)  # fmt: skip
    return _load(copy)


def differences(host, site, run):
    """
    Return what a copy to ``host`` would still have to change there, a list of rsync's itemized lines.

    To be run on the donor. It has the same guards as ``sync`` and changes nothing.

    CLI Example:

    .. code-block:: bash

        salt west3 datadir.differences host=east1 site=east run=20261123-east
    """
    node, pairs, _ = _pairs(host, site, _run_id(run))
    return [line for place, target in pairs for line in _differences(node, place, target)]


def _differences(node, place, target):
    argv = _rsync(node, place, target, "-n", "--itemize-changes")
    return [line for line in _run(argv, 1800, output_loglevel="quiet")["stdout"].splitlines() if line.strip()]


def sync(host, site, run, begun=False, wait=86400, deadline=86400):
    """
    Copy this host's data locations to ``host`` with rsync, as root on both sides, and prove that they are
    equal.

    To be run on the donor. Refuses unless, now: ``host`` is of the failed ``site`` and this host is not; the
    server here is stopped, cleanly, and its datasource a SHUNNED slave; ``host`` was emptied by
    ``datadir.empty`` for this donor and run, no server runs there, it has the same data locations and room for
    them; no data lie outside, through links. ``auto.cnf`` stays here, so that the target makes an identity of its
    own.

    Each location is copied by a unit of its own (``longjob``), one after the other, which outlives this call and is
    found again by the next one.

    run
        Name of this run, letters, digits and dashes.
    begun
        True if this copy was begun in this very attempt: that its unit has failed is an error then, and not a reason
        to begin it once more.
    wait
        Seconds to wait for a unit before returning its name.
    deadline
        Seconds after which systemd ends a unit.

    Returns ``{"running": name of the unit that still copies, or None, "copied": whether anything was or is}``; with
    None ``host`` holds the same data, which its record then says. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt west3 datadir.sync host=east1 site=east run=20261123-east
    """
    node, pairs, record = _pairs(host, site, _run_id(run))
    copied = False
    for number, (place, target) in enumerate(pairs):
        job = f"copy-{number}-{run}"
        now = __salt__["longjob.status"](job)
        if now["state"] == "failed" and begun:
            # Forgotten, so that the next attempt begins it again.
            __salt__["longjob.stop"](job)
            raise CommandExecutionError(__salt__["longjob.failure"](now))
        if now["state"] != "running":
            left = _differences(node, place, target)
            if not left:
                continue
            if now["state"] == "done" and begun:
                __salt__["longjob.stop"](job)
                raise CommandExecutionError(f"{host} differs from this host after the copy: {_some(left)}")
            # A run that died may have left its copy going: two writers into one directory prove nothing.
            __salt__["longjob.stop_all"](f"copy-{number}-")
            argv = _rsync(node, place, target, "--info=progress2", "--stats")
            __salt__["longjob.start"](job, argv, deadline=deadline)
        copied = True
        if not _ended(job, wait):
            return {"running": job, "copied": copied}
        left = _differences(node, place, target)
        if left:
            raise CommandExecutionError(f"{host} differs from this host after the copy: {_some(left)}")
    _hand_over(node, host, record)
    return {"running": None, "copied": copied}


def _ended(job, wait):
    try:
        __salt__["longjob.wait"](job, wait)
    except CommandExecutionError:
        now = __salt__["longjob.status"](job)
        if now["state"] == "running":
            return False
        __salt__["longjob.stop"](job)
        raise
    return True


def _hand_over(node, host, record):
    """Tell the target that its copy is complete: without that it is never taken into use."""
    copy_of_record = f"target-{host}.json"
    _save(copy_of_record, {**record, "state": "copied"})
    _run(["rsync", "--chmod=F600", "-e", " ".join(_remote(node)), "--rsync-path=sudo -n rsync",
          os.path.join(STATE_DIR, copy_of_record), f"{node['user']}@{host}:{STATE_DIR}/{RECORD}"], 60)  # fmt: skip


def progress(log):
    """
    Read how far rsync has come from the end of a copy's log. Pure.

    log
        The ``log`` of ``longjob.status``.

    Returns ``{"bytes", "percent", "rate": rsync's word for it}``, or {} before it has said anything.

    CLI Example:

    .. code-block:: bash

        salt-call datadir.progress "1,234,567  45%  10.00MB/s  0:00:10"
    """
    lines = re.findall(r"^\s*([\d,]+)\s+(\d{1,3})%\s+(\S+/s)", log or "", re.MULTILINE)
    if not lines:
        return {}
    sent, percent, rate = lines[-1]
    return {"bytes": int(sent.replace(",", "")), "percent": int(percent), "rate": rate}


def _wanted():
    record = _load(RECORD)
    if not record:
        raise CommandExecutionError(
            f"{STATE_DIR}/{RECORD} does not exist: this host was not emptied by datadir.empty"
        )
    places = locations()
    if _paths(places) != _paths(record["directories"]):
        raise CommandExecutionError(f"the data locations have changed since {STATE_DIR}/{RECORD} was written")
    return record, places


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
            *_find(place),
            "(",
            "!",
            "-user",
            main["user"],
            "-o",
            "!",
            "-group",
            main["group"],
            ")",
            "-print",
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
    if copy() != {"run": _run_id(run), "state": record["state"]}:
        raise CommandExecutionError(
            f"the data here are not the complete copy of run {run}: {STATE_DIR}/{RECORD} says {record['state']}, "
            f"run {record['run']}")
    before = misowned()
    main = record["directories"]["datadir"]
    _mark(record)
    for name, place in places.items():
        had = record["directories"][name]
        _run([*_find(place), "-exec", "chown", "-h", f"{main['user']}:{main['group']}", "{}", "+"])
        _run(["chown", f"{had['user']}:{had['group']}", "--", place["path"]])
        _run(["chmod", had["mode"], "--", place["path"]])
    after = misowned()
    if after:
        raise CommandExecutionError(f"still not owned as before: {_some(after)}")
    _save(RECORD, {**record, "state": "owned"})
    return before
