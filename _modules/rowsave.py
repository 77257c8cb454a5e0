"""
Rows of this node's tables as SQL in a file of this host, before a re-provisioning throws them away.

The server's own dump tool writes them. What it shall dump goes to it in an option file that only root can read: keys
may be somebody's names, and a command line is public. The rows themselves never leave the host.
"""

import os
import re
import tempfile
import time

import salt.utils.files
import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "rowsave"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,100}")
FOLDER = "saved"
# The client libraries read a line of an option file up to 4096 bytes.
LINE_BYTES = 3800
DUMP_SECONDS = 3600
# What is to be thrown away soon must not fill the disk of a host that is at work now: a table that can only be saved as
# a whole may have so many rows, and this share of the file system stays free.
MOST_ROWS = 5_000_000
KEPT_FREE = 0.1
TOOLS = ("mariadb-dump", "mysqldump")


def __virtual__():
    if not any(map(salt.utils.path.which, TOOLS)):
        return False, f"rowsave: none of {', '.join(TOOLS)} is on the PATH"
    return __virtualname__


def save(name, rows):
    """
    Write rows into a new SQL file of this host, as REPLACE statements.

    name
        What the file's name begins with: letters, digits, dashes and underscores.
    rows
        ``{"shop.orders": {"keys": [primary keys], "parts": [parts]}}``, as ``tabledata`` tells them. A table without a
        primary key is written as a whole.

    Returns ``{"path", "rows": number written, "tables": {table: number}}``; keys that are not here write nothing.
    Raises CommandExecutionError with the tool's words; a file that is not whole is not left behind.

    CLI Example:

    .. code-block:: bash

        salt east2 rowsave.save 20261125T150102-1a2b-east '{"shop.orders": {"keys": ["17"], "parts": []}}'

    Manual: operations-restore-external.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SaltInvocationError(f"name must be letters, digits, dashes and underscores, not {name!r}")
    folder = os.path.join(__salt__["hostrecord.folder"](), FOLDER)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    # Never over another file: after a re-provisioning the same rows would be those of the other site.
    path = os.path.join(folder, f"{name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.sql")
    written = {}
    with tempfile.TemporaryDirectory(dir=folder) as work:
        whole = os.path.join(work, "rows.sql")
        with salt.utils.files.fopen(whole, "xb") as out:
            os.fchmod(out.fileno(), 0o600)
            out.write(_head(name))
            for table, which in sorted(rows.items()):
                written[table] = sum(_dump(table, condition, work, out) for condition in _conditions(table, which))
            out.flush()
            os.fsync(out.fileno())
        try:
            # A link, since that refuses to take the place of another file.
            os.link(whole, path)
        except FileExistsError:
            raise CommandExecutionError(f"{path} is there already") from None
    return {"path": path, "rows": sum(written.values()), "tables": written}


def _head(name):
    minion = __grains__["id"]
    return (
        f"-- {name}: rows that {minion} had when they differed from those of the site that was taken to be right.\n"
        "-- Nothing has been applied anywhere. Look at them before you feed them to a server.\n"
    ).encode()


def _conditions(table, which):
    """Conditions that together name all the rows, each short enough for a line of an option file."""
    described = __salt__["tabledata.tables"]().get(table)
    if described is None:
        # Missing here: there is nothing to save.
        return []
    whole = not described["key"] or {} in which.get("parts", ())
    if whole and described["rows"] > MOST_ROWS:
        raise CommandExecutionError(
            f"{table} would have to be saved as a whole and has about {described['rows']} rows: save it by hand, where "
            "there is room for it")
    if whole:
        return ["TRUE"]
    conditions = [__salt__["tabledata.condition"](table, parts=[part]) for part in which.get("parts", ())]
    waiting = [list(which.get("keys", ()))]
    while waiting:
        keys = waiting.pop(0)
        if not keys:
            continue
        condition = __salt__["tabledata.condition"](table, keys=keys)
        if len(_line(condition)) > LINE_BYTES and len(keys) > 1:
            waiting[:0] = [keys[: len(keys) // 2], keys[len(keys) // 2:]]
        else:
            conditions.append(condition)
    return conditions


def _line(condition):
    """A condition as a line of an option file: a line break, in a column's name, would begin an option of its own."""
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        condition = condition.replace(plain, escaped)
    return f'where="{condition}"\n'.encode()


def _dump(table, condition, work, out):
    schema, name = table.split(".", 1)
    options, dumped = os.path.join(work, "options.cnf"), os.path.join(work, "dumped.sql")
    where = _line(condition)
    if len(where) > LINE_BYTES:
        raise CommandExecutionError(f"{table} has a key too long to be saved by: {len(where)} bytes")
    with salt.utils.files.fopen(options, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        # By itself MySQL's tool adds statements about GTIDs, which whoever reads the file back does not want.
        file.write(f"!include {__salt__['topology.node']()['mysql']['defaults_file']}\n"
                   "[mysqldump]\nloose-set-gtid-purged=OFF\n".encode() + where)
    tool = next(filter(None, map(salt.utils.path.which, TOOLS)))
    room = _room(work)
    result = __salt__["cmd.run_all"](
        ["prlimit", f"--fsize={room}", "timeout", "--kill-after=5", str(DUMP_SECONDS), tool,
         f"--defaults-extra-file={options}", "--default-character-set=utf8mb4", "--no-create-info", "--skip-triggers",
         "--replace", "--complete-insert", "--skip-extended-insert", "--hex-blob", "--single-transaction",
         "--skip-lock-tables", "--skip-add-locks", "--skip-disable-keys", "--skip-comments",
         f"--result-file={dumped}", "--", schema, name],
        python_shell=False, ignore_retcode=True, stdin="", env={"HOME": "/root"}, umask="077")
    if result["retcode"]:
        words = (result["stderr"] or result["stdout"]).strip() or (
            f"exit code {result['retcode']}; its file may have {room:,} bytes")
        raise CommandExecutionError(f"{table} could not be saved: {words[-1000:]}")
    rows = 0
    with salt.utils.files.fopen(dumped, "rb") as lines:
        for line in lines:
            # With one row to a statement, and line breaks in values escaped, a row is a line.
            rows += line.startswith(b"REPLACE ")
            out.write(line)
    return rows


def _room(folder):
    """Bytes that one table may take: it is there twice for a while."""
    disk = os.statvfs(folder)
    room = int((disk.f_bavail - KEPT_FREE * disk.f_blocks) * disk.f_frsize / 2)
    if room <= 0:
        raise CommandExecutionError(f"There is no room for rows in {folder}: less than {KEPT_FREE:.0%} of it are free")
    return room
