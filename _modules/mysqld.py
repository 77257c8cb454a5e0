"""
The MySQL or MariaDB server of this minion: its unit, its process, its settings, its answers.

A copy of a data directory is good only after a clean stop, and a directory may be emptied only when no server
uses it. So this module looks at processes, not only at what systemd believes. Unit and option file come from
the pillar (``tungsten:sites:<site>:mysql``).
"""

import os
import re
import tempfile
import time

import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "mysqld"

UNITS = ("mysqld", "mysql", "mariadb")
# mysqld_safe restarts a server that went away
SERVERS = ("mysqld", "mariadbd", "mysqld-debug", "mysqld_safe", "mariadbd-safe")
# the backup tools run a server inside themselves, or fill its directory
PROGRAMS = (*SERVERS, "xtrabackup", "mariadb-backup", "mariabackup", "xbstream", "mbstream")
OPTION_GROUPS = ("mysqld", "server", "mariadb", "mariadbd")
UNIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._-]{0,254}")
VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,63}")
# Seconds in which a unit that was told to stop or to start begins to.
TAKES_NOTICE = 10
UNESCAPED = {"n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


def __virtual__():
    if not salt.utils.path.which("systemctl"):
        return False, "systemctl is not in the PATH: the server is stopped and started through systemd"
    return __virtualname__


def _tail(result):
    text = "\n".join(part for part in (result.get("stdout", ""), result.get("stderr", "")) if part).strip()
    return "\n".join(line[:500] for line in text.splitlines()[-15:]) or "(no output)"


def _run(argv, seconds=60, **kwargs):
    result = __salt__["cmd.run_all"](
        ["timeout", "--kill-after=5", str(seconds), *argv], python_shell=False, ignore_retcode=True, **kwargs
    )
    if result["retcode"] in (124, 137):
        raise CommandExecutionError(f"{argv[0]} did not end within {seconds} s: {_tail(result)}")
    return result


def _positive(timeout):
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 1:
        raise SaltInvocationError(f"timeout must be a whole number of seconds above 0, not {timeout!r}")
    return timeout


def _tool(*names):
    for name in names:
        for folder in (None, "/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin"):
            found = salt.utils.path.which(os.path.join(folder, name) if folder else name)
            if found:
                return found
    raise CommandExecutionError(
        f"none of {', '.join(names)} is in the PATH, /usr/sbin or /usr/local/mysql/bin"
    )


def _defaults_file():
    path = __salt__["topology.node"]()["mysql"]["defaults_file"]
    if not os.path.isabs(path) or not os.path.isfile(path):
        raise CommandExecutionError(f"The option file {path} (pillar: mysql:defaults_file) does not exist")
    return path


def _show(name, *properties):
    argv = ["systemctl", "show", "--property=" + ",".join(properties), "--", f"{name}.service"]
    result = _run(argv)
    if result["retcode"]:
        raise CommandExecutionError(f"systemctl show {name} failed: {_tail(result)}")
    return dict(line.partition("=")[::2] for line in result["stdout"].splitlines() if "=" in line)


def unit():
    """
    Return the name of the server's systemd unit, without ``.service``.

    The pillar's ``mysql:unit`` is used as it is; ``auto`` takes the one unit that systemd knows by the names
    mysqld, mysql or mariadb, aliases followed. Raises CommandExecutionError if there is none, or more than
    one.

    CLI Example:

    .. code-block:: bash

        salt east1 mysqld.unit
    """
    wanted = __salt__["topology.node"]()["mysql"].get("unit", "auto")
    if not UNIT_NAME.fullmatch(wanted):
        raise SaltInvocationError(f"mysql:unit is not the name of a unit: {wanted!r}")
    names = UNITS if wanted == "auto" else (wanted.removesuffix(".service"),)
    known = set()
    for name in names:
        shown = _show(name, "Id", "LoadState")
        if shown.get("LoadState") == "loaded":
            known.add(shown["Id"].removesuffix(".service"))
    if len(known) != 1:
        raise CommandExecutionError(
            f"systemd knows {' and '.join(sorted(known)) or 'none'} of the units {', '.join(names)}: "
            "set mysql:unit in the site's pillar"
        )
    return known.pop()


def query(sql, timeout=60):
    """
    Run one SQL statement on this host's server and return its rows as a list of dicts (all values text or
    None).

    It is run as root through the socket, with the pillar's option file and root's own ``~/.my.cnf``. The
    client's batch format does not tell the text ``NULL`` from a NULL: both are None.

    sql
        One statement; it goes to the client's standard input and so does not show in a list of processes.
    timeout
        Seconds for connection and answer together.

    Raises CommandExecutionError with the client's words, or with the head of an answer that is not whole.

    CLI Example:

    .. code-block:: bash

        salt east1 mysqld.query "SELECT VERSION() AS version"
    """
    client = _tool("mariadb", "mysql")
    # --defaults-file would hide root's ~/.my.cnf, where the password is if the socket alone does not let in
    argv = [
        client,
        f"--defaults-extra-file={_defaults_file()}",
        "--batch",
        # Without it the client goes by the locale, which is none here, and names beyond ASCII are not found.
        "--default-character-set=utf8mb4",
        f"--connect-timeout={_positive(timeout)}",
    ]
    result = _run(argv, timeout, stdin=sql, env={"HOME": "/root"}, output_loglevel="quiet", rstrip=False)
    if result["retcode"]:
        raise CommandExecutionError(f"The server did not take the statement: {_tail(result)}")
    # A row that holds nothing but one empty text is an empty line.
    *lines, rest = result["stdout"].split("\n")
    rows = [[_value(cell) for cell in line.split("\t")] for line in lines]
    if rest or any(len(row) != len(rows[0]) for row in rows):
        # Its rows may be somebody's data.
        head = result["stdout"].partition("\n")[0][:200]
        raise CommandExecutionError(
            f"The answer of {os.path.basename(client)} is cut short, or no table; it begins with {head!r}")
    return [dict(zip(rows[0], row)) for row in rows[1:]]


def _value(cell):
    if cell == "NULL":
        return None
    return re.sub(r"\\(.)", lambda found: UNESCAPED.get(found[1], found[1]), cell)


def ping(timeout=10):
    """
    Return True if the server answers an SQL statement within ``timeout`` seconds, else False.

    CLI Example:

    .. code-block:: bash

        salt east1 mysqld.ping
    """
    try:
        return query("SELECT 1 AS answer", timeout) == [{"answer": "1"}]
    except CommandExecutionError:
        return False


def variables(names, timeout=30):
    """
    Return the running server's global variables as a dict of text. A name that this server does not know is
    absent.

    names
        List of variable names.

    CLI Example:

    .. code-block:: bash

        salt east1 mysqld.variables '["datadir", "log_bin_basename"]'
    """
    for name in names:
        if not VARIABLE.fullmatch(name):
            raise SaltInvocationError(f"not the name of a server variable: {name!r}")
    listed = ", ".join(f"'{name}'" for name in names)
    rows = query(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({listed})", timeout)
    return {row["Variable_name"].lower(): row["Value"] or "" for row in rows}


def settings():
    """
    Return what the option files say, without asking the server.

    Returns ``{"explicit": {name: value}, "effective": {name: value or None}}``: what is written in the files
    (``my_print_defaults``), and what the server would use with its own defaults filled in (``--verbose
    --help``). ``effective`` is empty if the server's program cannot say it. Raises CommandExecutionError if
    neither can be read.

    CLI Example:

    .. code-block:: bash

        salt east1 mysqld.settings
    """
    path = _defaults_file()
    printed = _run(
        [_tool("my_print_defaults"), f"--defaults-file={path}", *OPTION_GROUPS], output_loglevel="quiet"
    )
    if printed["retcode"]:
        raise CommandExecutionError(f"my_print_defaults cannot read {path}: {_tail(printed)}")
    explicit = {}
    for line in printed["stdout"].splitlines():
        name, _, value = line.strip().removeprefix("--").partition("=")
        explicit[name.removeprefix("loose-").replace("-", "_")] = value
    # some versions rewrite the index of the binary logs even here: give them another one
    with tempfile.TemporaryDirectory() as scratch:
        argv = [_tool("mariadbd", "mysqld"), f"--defaults-file={path}", "--verbose", "--help"]
        helped = _run([*argv, f"--log-bin-index={scratch}/none"], output_loglevel="quiet")
    effective = {}
    if helped["retcode"] == 0:
        lines = iter(helped["stdout"].splitlines())
        for line in lines:
            if re.match(r"-{20,}", line):
                break
        for line in lines:
            if not line.strip():
                break
            name, _, value = line.partition(" ")
            name, value = name.replace("-", "_"), value.strip()
            effective[name] = None if value == "(No default value)" else value
        effective.pop("log_bin_index", None)
    return {"explicit": explicit, "effective": effective}


def processes(directory=None):
    """
    Return the server processes of this host: ``[{"pid": 812, "name": "mariadbd", "datadir":
    "/var/lib/mysql"}]``.

    ``mysqld_safe`` and the physical backup tools count too.

    directory
        Only those which may use this directory: their working directory, an open file or their ``--datadir``
        lies in it, or they do not tell what they use.

    CLI Example:

    .. code-block:: bash

        salt east1 mysqld.processes /var/lib/mysql
    """
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            process = _process(entry, directory)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if process:
            found.append(process)
    return found


def _process(pid, directory):
    base = f"/proc/{pid}"
    with open(f"{base}/comm", encoding="utf-8", errors="replace") as stream:
        name = stream.read().strip()
    try:
        program = os.path.basename(os.readlink(f"{base}/exe")).removesuffix(" (deleted)")
    except PermissionError:
        program = name
    if name not in PROGRAMS and program not in PROGRAMS:
        return None
    with open(f"{base}/stat", encoding="utf-8", errors="replace") as stream:
        if stream.read().rpartition(")")[2].split()[0] in "ZX":
            return None
    with open(f"{base}/cmdline", "rb") as stream:
        words = stream.read().decode(errors="replace").split("\0")
    datadir = next((word.partition("=")[2] for word in words if word.startswith("--datadir=")), None)
    if datadir is None and "safe" not in name:
        datadir = os.readlink(f"{base}/cwd")  # the server changes into its data directory
    if directory and datadir:
        real = os.path.realpath(directory)
        used = [os.path.realpath(datadir)]
        for number in os.listdir(f"{base}/fd"):
            try:
                used.append(os.readlink(f"{base}/fd/{number}"))
            except FileNotFoundError:
                continue
        inside = any(path == real or path.startswith(real + "/") for path in used)
        # a server in a container sees the same directory by another path
        if not inside and not (os.path.isdir(real) and os.path.samefile(f"{base}/cwd", real)):
            return None
    return {"pid": int(pid), "name": program if program in PROGRAMS else name, "datadir": datadir}


def status():
    """
    Return what systemd and the list of processes say of this host's server.

    ``{"unit": "mariadb", "active": "active", "result": "success", "running": True, "processes": [...]}``:
    ``running`` is False only if the unit is down and no server process of this instance is left: a backup tool may
    still be among the ``processes``; ``result`` is how the unit ended last (anything but ``success`` was no clean
    stop).

    CLI Example:

    .. code-block:: bash

        salt east1 mysqld.status
    """
    name = unit()
    shown = _show(name, "ActiveState", "Result", "MainPID")
    left = processes()
    main = int(shown.get("MainPID") or 0)
    home = next((process["datadir"] for process in left if process["pid"] == main), None)
    if left and not home:
        config = settings()
        home = config["explicit"].get("datadir") or config["effective"].get("datadir")
    left = processes(home.rstrip("/") or "/") if left and home else left
    return {
        "unit": name,
        "active": shown.get("ActiveState"),
        "result": shown.get("Result"),
        "running": shown.get("ActiveState") not in ("inactive", "failed")
        or any(process["name"] in SERVERS for process in left),
        "processes": left,
    }


def stop(timeout=600):
    """
    Stop the server and wait until its process is gone.

    A server that answers is first asked where its data lie (``datalocation.locations``), since nobody can ask it
    later. Nothing is ever killed: if ``timeout`` seconds are not enough, the server goes on stopping and this
    raises.

    Returns ``mysqld.status``. Raises CommandExecutionError if it did not stop in time, or not cleanly.

    CLI Example:

    .. code-block:: bash

        salt east1 mysqld.stop timeout=1800
    """
    deadline = time.monotonic() + _positive(timeout)
    if ping():
        __salt__["datalocation.locations"]()
    name = unit()
    result = _run(["systemctl", "stop", "--no-block", f"{name}.service"])
    if result["retcode"]:
        raise CommandExecutionError(f"systemctl stop {name} failed: {_tail(result)}")
    now, told = status(), time.monotonic()
    while now["running"]:
        if now["active"] == "active" and time.monotonic() > told + TAKES_NOTICE:
            raise CommandExecutionError(f"systemctl stop {name} answered well, but the unit is still active: "
                                        f"{_tail(result)}")
        if time.monotonic() > deadline:
            raise CommandExecutionError(
                f"{name} was told to stop {timeout} s ago and has not (unit {now['active']}, "
                f"processes {[process['pid'] for process in now['processes']]}): not killed, "
                "wait or look at its log"
            )
        time.sleep(0.5)
        now = status()
    if now["result"] != "success":
        raise CommandExecutionError(
            f"{name} is down, but its stop was not clean (systemd says: {now['result']})"
        )
    return now


def start(timeout=600):
    """
    Start the server and wait until it answers SQL.

    Returns ``mysqld.status``. Raises CommandExecutionError, with what systemd says of the unit, if the server
    does not answer within ``timeout`` seconds.

    CLI Example:

    .. code-block:: bash

        salt east1 mysqld.start timeout=1800
    """
    deadline = time.monotonic() + _positive(timeout)
    name = unit()
    result = _run(["systemctl", "start", "--no-block", f"{name}.service"])
    if result["retcode"]:
        raise CommandExecutionError(f"systemctl start {name} failed: {_tail(result)}\n{_said(name)}")
    told = time.monotonic()
    while not ping():
        now = status()
        if now["active"] in ("inactive", "failed") and time.monotonic() > told + TAKES_NOTICE:
            raise CommandExecutionError(f"{name} is {now['active']} after its start: {_said(name)}")
        if time.monotonic() > deadline:
            raise CommandExecutionError(f"{name} does not answer SQL {timeout} s after its start: {_said(name)}")
        time.sleep(0.5)
    return status()


def _said(name):
    return _tail(_run(["systemctl", "status", "--no-pager", "--lines=12", f"{name}.service"]))
