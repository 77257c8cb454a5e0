"""
Whether this host's data can be copied while their server runs, and by which programs.

A hot copy is made by the server's own backup tool: mariadb-backup of MariaDB, Percona's xtrabackup of MySQL. It takes
what lies in the data directory, of engines that it knows, and it has to be of the server's own series on both hosts.
Nothing is changed here.

Follows the manuals of mariadb-backup and of Percona XtraBackup.
"""

import os
import pwd
import re

import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "hotguard"

# "engines": whose tables the tool takes so that they fit together, or that hold no data of their own.
COMMON = ("innodb", "myisam", "mrg_myisam", "csv", "archive", "memory", "blackhole", "federated")
METHODS = {
    "mariabackup": {"tools": ("mariadb-backup", "mariabackup"), "unpacks": "mbstream", "server": "MariaDB",
                       "engines": (*COMMON, "aria")},
    "xtrabackup": {"tools": ("xtrabackup",), "unpacks": "xbstream", "server": "MySQL", "engines": COMMON},
}  # fmt: skip
THREADS = 4

FOLDERS = (None, "/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin")
TOOL_VERSION = re.compile(r"based on \w+ server (\d+\.\d+)")
SERVER_VERSION = re.compile(r"\bVer (\d+\.\d+\S*)")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

# What a table's files would be decrypted with, and the target may not have.
KEYS = ("SELECT PLUGIN_NAME AS name FROM information_schema.PLUGINS WHERE PLUGIN_STATUS = 'ACTIVE' "
        "AND (PLUGIN_TYPE = 'ENCRYPTION' OR PLUGIN_NAME LIKE 'keyring%')")  # fmt: skip
# A component is none of the plugins; that table is not there in older servers and in MariaDB.
COMPONENT = ("SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'performance_schema' "
             "AND TABLE_NAME = 'keyring_component_status'")  # fmt: skip
COMPONENT_SAYS = "SELECT STATUS_VALUE AS name FROM performance_schema.keyring_component_status LIMIT 1"
# A view has no engine.
TABLES = ("SELECT ENGINE AS engine, COUNT(*) AS number, MIN(CONCAT(TABLE_SCHEMA, '.', TABLE_NAME)) AS example "
          "FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema') "
          "AND LOWER(ENGINE) NOT IN ({}) GROUP BY ENGINE")  # fmt: skip
# Each table is opened for that by older servers.
SECONDS_FOR_TABLES = 600


def __virtual__():
    return __virtualname__


def _run(argv, seconds=60):
    return __salt__["cmd.run_all"](
        ["timeout", "--kill-after=5", str(seconds), *argv], python_shell=False, ignore_retcode=True, stdin="")


def _known(method):
    if method not in METHODS:
        raise SaltInvocationError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    return METHODS[method]


def _program(*names):
    for name in names:
        for folder in FOLDERS:
            found = salt.utils.path.which(os.path.join(folder, name) if folder else name)
            if found:
                return found
    raise CommandExecutionError(f"there is no {' or '.join(names)} on this host")


def _version(path, pattern):
    result = _run([path, "--version"])
    found = pattern.search(result["stdout"] + "\n" + result["stderr"])
    if not found:
        raise CommandExecutionError(f"{path} --version does not tell its version: "
                                    f"{(result['stdout'] or result['stderr']).strip() or '(no output)'}")
    return found[1]


def _server():
    """The version of the server that runs; of one that is down, of its program."""
    if __salt__["mysqld.ping"]():
        return __salt__["mysqld.variables"](["version"])["version"]
    return _version(_program("mariadbd", "mysqld"), SERVER_VERSION)


# --- the programs


def tool(method):
    """
    Return the backup tool of this host, if it is of the same series as the server.

    method
        ``mariabackup`` or ``xtrabackup``.

    Returns ``{"path": of the tool, "series": "10.11"}``. Raises CommandExecutionError if the tool or the one that
    unpacks its stream is not here, or is not for this server; SaltInvocationError for another method.

    CLI Example:

    .. code-block:: bash

        salt west3 hotguard.tool mariabackup
    """
    known = _known(method)
    path = _program(*known["tools"])
    _program(known["unpacks"])
    version, series = _server(), _version(path, TOOL_VERSION)
    kind = "MariaDB" if "MariaDB" in version else "MySQL"
    if kind != known["server"]:
        raise CommandExecutionError(f"{method} is for {known['server']}, the server here is {kind} {version}")
    if ".".join(version.split(".")[:2]) != series:
        raise CommandExecutionError(f"{path} is for {kind} {series}, the server here is {version}")
    return {"path": path, "series": series}


def unpack(method, path, owner):
    """
    Return the argv that unpacks a stream of the tool into a data directory, as the owner of that directory. Pure.

    It is what ``sudo`` has to allow the Tungsten user on the target, word for word. It overwrites no file.

    method
        ``mariabackup`` or ``xtrabackup``.
    path
        Absolute path of the data directory on the target.
    owner
        The name of that directory's owner there.

    Returns a list of words. Raises SaltInvocationError for another method.

    CLI Example:

    .. code-block:: bash

        salt west3 hotguard.unpack mariabackup /var/lib/mysql mysql
    """
    return ["sudo", "-n", "-u", owner, _known(method)["unpacks"], "-x", "-p", str(THREADS), "-C", path]


# --- what speaks against it


def faults(method):
    """
    Tell what speaks against a hot copy from or to this host: programs, data that lie elsewhere, engines, encryption.

    Of a server that is down only what can be seen without asking it.

    method
        ``mariabackup`` or ``xtrabackup``.

    Returns a list of texts, empty if nothing does. Raises SaltInvocationError for another method, CommandExecutionError
    if the server's data locations or tables cannot be read.

    CLI Example:

    .. code-block:: bash

        salt west3 hotguard.faults mariabackup
    """
    _known(method)
    places = __salt__["datalocation.locations"]()
    found = [*_tool_faults(method), *elsewhere(places), *target_faults(method, places)]
    return [*found, *data_faults(method)] if __salt__["mysqld.ping"]() else found


def _tool_faults(method):
    try:
        tool(method)
    except CommandExecutionError as error:
        return [str(error)]
    return []


def elsewhere(places):
    """
    Name what a backup would not put back where it belongs: data locations beside the data directory. Those that hold
    logs only are left out, since a hot copy brings no logs.

    places
        As ``datalocation.locations`` returns them.

    Returns a list of texts.

    CLI Example:

    .. code-block:: bash

        salt west3 hotguard.elsewhere '{"datadir": {"path": "/var/lib/mysql", "files": []}}'
    """
    return [f"{name} ({place['path']}) is not in the data directory: a hot copy would put it there"
            for name, place in places.items() if name != "datadir" and not place["files"]]


def data_faults(method):
    """
    Ask the running server what the tool would not copy well: tables of other engines, encryption.

    method
        ``mariabackup`` or ``xtrabackup``.

    Returns a list of texts. Raises CommandExecutionError if the server does not answer.

    CLI Example:

    .. code-block:: bash

        salt west3 hotguard.data_faults mariabackup
    """
    known, query = _known(method), __salt__["mysqld.query"]
    listed = ", ".join(f"'{engine}'" for engine in known["engines"])
    found = [
        f"tables of the engine {row['engine']} ({row['number']}, such as {row['example']}) are not for {method}"
        for row in query(TABLES.format(listed), SECONDS_FOR_TABLES)
    ]
    keys = [row["name"] for row in query(KEYS)]
    if query(COMPONENT):
        keys += [row["name"] for row in query(COMPONENT_SAYS)]
    return [*found, *(f"the server can encrypt its tables ({key}): copy it cold" for key in keys)]


def target_faults(method, places):
    """
    Tell what speaks against unpacking a stream in this host's data directory.

    method
        ``mariabackup`` or ``xtrabackup``.
    places
        As ``datalocation.locations`` returns them.

    Returns a list of texts. Raises OSError if the data directory is not there.

    CLI Example:

    .. code-block:: bash

        salt east1 hotguard.target_faults mariabackup '{"datadir": {"path": "/var/lib/mysql", "files": []}}'
    """
    path = places["datadir"]["path"]
    info = os.stat(path)
    try:
        owner = pwd.getpwuid(info.st_uid).pw_name
    except KeyError:
        owner = ""
    if not USER.fullmatch(owner) or info.st_uid == 0 or info.st_mode & 0o300 != 0o300:
        return [f"{path} belongs to {owner or info.st_uid}, mode {info.st_mode & 0o7777:04o}: it has to be the "
                "server's user's, who unpacks what is copied there"]
    argv = unpack(method, path, owner)
    user = __salt__["topology.node"]()["user"]
    # Listed only: whether it may be run.
    result = _run(["runuser", "-u", user, "--", *argv[:2], "-l", *argv[2:]])
    if result["retcode"]:
        return [f"{user} may not run by sudo: {' '.join(argv[2:])}"]
    return []
