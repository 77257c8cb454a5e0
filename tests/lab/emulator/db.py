"""SQL on any host of the lab, through the command-line client (the hosts have no Python driver)."""

import os
import subprocess

from . import config


class DbDown(Exception):
    """The server does not answer: down, starting, or hanging."""


class DbError(Exception):
    """The server answered with an error."""


# What the client says when there is no server to talk to, as opposed to a refused statement:
# can't connect (2002, 2003), unknown host (2005), gone away (2006), lost while querying (2013), shutting down
# (1053), and refused logins (1130, 1045), which the real replicator takes alike.
_GONE = (
    "ERROR 2002",
    "ERROR 2003",
    "ERROR 2005",
    "ERROR 2006",
    "ERROR 2013",
    "ERROR 2026",
    "ERROR 1053",
    "ERROR 1130",
    "ERROR 1045",
)

_UNESCAPED = {"n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


def _field(text):
    """Undo the client's batch escapes; NULL becomes None."""
    if text == "NULL":
        return None
    parts, characters = [], iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "\\")
            character = _UNESCAPED.get(escaped, f"\\{escaped}")
        parts.append(character)
    return "".join(parts)


def query(host, sql, timeout=20):
    """Run SQL on a host; returns the rows as a list of dicts of str (or None).

    Several statements may be given, separated by ``;``: they run in one session, the first error ends them,
    and only one of them may return rows.
    """
    # The own server answers before the network of a booting host is up.
    address = "127.0.0.1" if host == config.host() else host
    argv = [
        "timeout",
        "--kill-after=2",
        str(timeout),
        "mariadb",
        f"--defaults-file={config.load()['mysql_defaults']}",
        "-h",
        address,
        "--connect-timeout=3",
        "--default-character-set=utf8mb4",
        "--batch",
    ]
    done = subprocess.run(
        argv,
        check=False,
        input=sql,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"},
    )
    if done.returncode in (124, 137):
        raise DbDown(f"{host}: no answer within {timeout} s")
    if done.returncode:
        said = done.stderr.strip()
        raise (DbDown if any(word in said for word in _GONE) else DbError)(f"{host}: {said}")
    if not done.stdout:
        return []
    lines = done.stdout.removesuffix("\n").split("\n")
    names = lines[0].split("\t")
    return [dict(zip(names, map(_field, line.split("\t")))) for line in lines[1:]]


def scalar(host, sql, timeout=20):
    """The first value of the first row, or None."""
    rows = query(host, sql, timeout)
    return next(iter(rows[0].values()), None) if rows else None


def answers(host):
    try:
        query(host, "SELECT 1", timeout=5)
    except (DbDown, DbError):
        return False
    return True


def quote(text):
    """A string literal."""
    return "'" + str(text).replace("\\", "\\\\").replace("'", "''") + "'"
