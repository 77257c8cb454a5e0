"""
Whether the data of this minion's server may be emptied, or copied away.

What is proved here is proved on this host and at this moment, or CommandExecutionError is raised; nothing is changed.
Nobody believes an earlier check: who destroys anything asks again when it comes to that, see ``datadir.empty`` and
``datacopy.sync``.
"""

import os
import re

import salt.utils.files
import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "dataguard"

# As in the other modules for these data: what is missing is found before a run's first change, not half-way.
TOOLS = ("find", "rsync", "chown")

PATH = re.compile(r"/[A-Za-z0-9._ @+,=:#-]+(/[A-Za-z0-9._ @+,=:#-]+)*")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
RUN = re.compile(r"[A-Za-z0-9-]{1,64}")

# never a data location: these, and whatever lies in the second group
SYSTEM = ("/", "/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/usr/local", "/var", "/var/cache",
          "/var/lib", "/var/log", "/var/mail", "/var/opt", "/var/spool", "/var/tmp")  # fmt: skip
SYSTEM_TREES = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found",
                "/proc", "/root", "/run", "/sbin", "/sys", "/usr", "/var/lib/dpkg",
                "/var/lib/rpm", "/var/lib/systemd", "/var/cache/salt", "/var/lib/salt")  # fmt: skip

# what InnoDB and Aria keep in a directory of their own, beside the files named by innodb_data_file_path
ENGINE_FILES = re.compile(
    r"ibdata\d*|ib_logfile\d+|ibtmp\d+|ib_buffer_pool|undo_?\d+(_trunc\.log)?|.+\.(ibu|ibd|dblwr)|"
    r"#innodb_redo|#innodb_temp|#ib_.+|aria_log.*|lost\+found"
)


def __virtual__():
    missing = [tool for tool in TOOLS if not salt.utils.path.which(tool)]
    if missing:
        return False, f"not in the PATH: {', '.join(missing)}"
    return __virtualname__


# --- the words of an order


def name(value, what):
    """
    Return a name of a site or host if it is one at all.

    value
        The name.
    what
        What it is the name of, for the error.

    Returns ``value``. Raises SaltInvocationError unless it is letters, digits, dots, dashes and underscores, the first
    a letter or a digit.

    CLI Example:

    .. code-block:: bash

        salt east1 dataguard.name west3 donor
    """
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise SaltInvocationError(f"{what} is not a valid name: {value!r}")
    return value


def run_id(run):
    """
    Return a run's name if it is one at all.

    run
        The name: up to 64 letters, digits and dashes.

    Returns ``run``. Raises SaltInvocationError if it is anything else.

    CLI Example:

    .. code-block:: bash

        salt east1 dataguard.run_id 20261123-east
    """
    if not isinstance(run, str) or not RUN.fullmatch(run):
        raise SaltInvocationError(f"run must be up to 64 letters, digits and dashes, not {run!r}")
    return run


def plain(path):
    """
    Tell whether a path is an absolute one of plain characters, without dots as parts, which neither a shell nor rsync
    reads differently.

    path
        The path, of this host or another.

    Returns True or False.

    CLI Example:

    .. code-block:: bash

        salt west3 dataguard.plain /var/lib/mysql
    """
    return bool(PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


# --- the places


def _within(path, folder):
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _mounts():
    with salt.utils.files.fopen("/proc/self/mountinfo", encoding="utf-8") as stream:
        return [re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), line.split()[4]) for line in stream]


def _guard_path(path, files, node):
    """Raise unless this path may be a data location at all."""
    if not plain(path):
        raise CommandExecutionError(f"{path!r} is not a plain absolute path")
    if os.path.realpath(path) != path:
        raise CommandExecutionError(f"{path} leads through a symbolic link to {os.path.realpath(path)}")
    if path in SYSTEM or any(_within(path, tree) for tree in SYSTEM_TREES if tree != "/usr"):
        raise CommandExecutionError(f"{path} is a directory of the operating system")
    if _within(path, "/usr") and not re.match(r"/usr/local/[^/]+/.", path):
        raise CommandExecutionError(f"{path} is a directory of the operating system")
    if re.fullmatch(r"/(home|var)/[^/]+", path):
        raise CommandExecutionError(f"{path} is a home directory or one of the operating system")
    for kept in (node["cluster_home"], node["cross_site_home"], __salt__["hostrecord.folder"]()):
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


def location(place):
    """
    Prove that a place may be a data location at all: a plain directory, reached through no link, that neither the
    operating system, Tungsten nor this extension keeps its own in, and nothing mounted inside if all of it counts.

    place
        One of ``datalocation.locations``: ``{"path", "files"}``.

    Returns None. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt east1 dataguard.location '{"path": "/var/lib/mysql", "files": []}'
    """
    _guard_path(place["path"], place["files"], __salt__["topology.node"]())


def check(site=None, donor=None):
    """
    Return ``datalocation.locations`` if they may be data locations at all, and, with ``site`` and ``donor``, if this
    host may ever be emptied: it belongs to the failed ``site``, is not the donor, the donor is not of that site, and
    nothing but the server's own lies there.

    Reads only. It proves nothing about the state the host is in: that is done by ``datadir.empty`` itself.

    CLI Example:

    .. code-block:: bash

        salt east1 dataguard.check site=east donor=west3
    """
    node = __salt__["topology.node"]()
    if site is not None or donor is not None:
        name(site, "site")
        name(donor, "donor")
        if node["site"] != site:
            raise CommandExecutionError(f"This host is of site {node['site']}, not of the failed site {site}")
        if donor in (node["host"], node["minion"]):
            raise CommandExecutionError(f"This host is the donor {donor} itself")
        members = __salt__["topology.get"]()["sites"][site]["nodes"]
        if donor in members or donor in members.values():
            raise CommandExecutionError(f"The donor {donor} is of the failed site {site} itself")
    places = __salt__["datalocation.locations"]()
    for place in places.values():
        _guard_path(place["path"], place["files"], node)
    others = foreign() if site is not None else []
    if others:
        raise CommandExecutionError("these are not the server's alone: " + "; ".join(others))
    return places


# --- what lies there


def _foreign(name, place, named):
    """What lies in a directory that is to be emptied as a whole and that no server has put there, in words."""
    present = set(os.listdir(place["path"]))
    if place["files"] or not present - {"lost+found"}:
        return []
    if name == "datadir":
        if not present & {"mysql", "ibdata1", "mysql.ibd"}:
            return [f"{place['path']} does not look like a data directory (no mysql, no ibdata1): {_some(present)}"]
        return [
            f"{place['path']}/{item['entry']}: {item['why']}"
            for item in __salt__["datacontent.foreign"](place["path"], named["files"])
            if item["entry"].split("/")[0] not in named["directories"]
        ]
    found = {entry for entry in present if not ENGINE_FILES.fullmatch(entry) and entry not in named["files"]}
    return [f"{place['path']} ({name}) holds what is not of the server: {_some(found)}"] if found else []


def _some(names):
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def foreign():
    """
    Return what lies in the data locations that no server has written there, a list of text: a dump, another instance's
    data, somebody's folder. Emptying them would delete it.

    What a run has begun to empty or to fill is not looked at: there half a copy lies.

    CLI Example:

    .. code-block:: bash

        salt east1 dataguard.foreign
    """
    if __salt__["datadir.begun"](__salt__["topology.node"]()["site"]):
        return []
    places = __salt__["datalocation.locations"]()
    named = __salt__["datalocation.named"](places["datadir"]["path"])
    return [text for name, place in places.items() for text in _foreign(name, place, named)]


# --- the state this host is in


def stopped(places):
    """
    Prove that the server is stopped and no process uses a data location.

    places
        As ``datalocation.locations`` returns them.

    Returns ``mysqld.status``. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt east1 dataguard.stopped '{"datadir": {"path": "/var/lib/mysql", "files": []}}'
    """
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


def cluster(failed):
    """
    Prove that Tungsten, asked now, has this host out of use: it is not a composite cluster, it is this host's, and its
    own datasource is SHUNNED.

    failed
        True if this host is of the failed site: its policy has to be MAINTENANCE and every router, of which there is
        one at least, OFFLINE. False if it is the donor: its datasource has to be a slave.

    Returns None. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt east1 dataguard.cluster failed=True
    """
    node = __salt__["topology.node"]()
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
