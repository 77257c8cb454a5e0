"""
What lies in a data directory that no server has put there.

A data directory is deleted as a whole, so whatever shares it with the server would go too: somebody's dump, a home
directory, a second instance. Looking for the server's own files (as ``dataguard`` does) cannot see that. This module
knows the names that MySQL 5.7 to 8.4 and MariaDB 10.6 to 11.4 give to their files, and names everything else.

It goes by names and kinds of files only and opens none: a stranger that has taken a server's name is not seen. In
doubt an entry is reported, because a false alarm costs a look and a missed one costs the file.
"""

import os
import re
import stat

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "datacontent"

# No pattern lets a name begin with a dot or hold a line break, and none takes any extension: "core.sql" is no core.
SERVER_FILE = re.compile(
    r"(?!\.)("
    # InnoDB
    r"ibdata\d*|ib_logfile\d+|ibtmp\d+|ib_buffer_pool(\.incomplete)?|undo_?\d+|innodb_status\.\d+|"
    r".+\.(ibd|ibu|b?dblwr)|"
    # identity, settings that the server itself saved, keys
    r"auto\.cnf|mysqld-auto\.cnf(\.backup)?|.+\.pem|(component_)?keyring[\w-]*(\.(backup|cnf))?|"
    # the process and what it logs
    r".+\.(pid|err|log|sock|sock\.lock)|core([.-].*\d)?|"
    # binary and relay logs (.idx: of MariaDB 11.4 for one of them) and the state of replication
    r".+\.\d{6,}(\.idx)?|.+\.(index|index_crash_safe|state|~rec~|info)|"
    # Aria
    r"aria_log(_control|\.\d+)|"
    # upgrades and packages
    r"(mysql|mariadb)_upgrade_info|mysql_upgrade_history|debian-.+\.flag|"
    # left by a restored backup
    r"(xtrabackup|mariadb_backup)_\w+|backup-my\.cnf|"
    # Galera
    r"donor_galera_info|grastate\.dat|gvwstate\.dat|galera\.cache"
    r")",
    re.ASCII,
)
# datadir's marker, and what is left of one that was cut short
OWN_FILES = (".reprovision", ".reprovision.new")
# .BAK: what MariaDB's automatic repair, the default after a crash, keeps of a MyISAM or Aria table
TABLE_FILE = re.compile(
    r"(?!\.).+\.(ibd|ibz|isl|cfg|cfp|frm|par|opt|sdi|trg|trn|myd|myi|mad|mai|tmd|mrg|csv|csm|arz|arm)|"
    r"(?!\.).+-\d{12}\.bak",
    re.IGNORECASE,
)
USER_TABLE = re.compile(r"(user|global_priv)\.(frm|ibd|myd|myi|mad|mai)", re.IGNORECASE)

FILE = "a file that no server has written"
DIRECTORY = "a directory with other things in it than tables"
SERVER = "the data directory of another server"

LIMIT = 20
# How far below a directory another server is looked for. A stranger is reported anyway; this is about its name.
DEPTH = 3


def __virtual__():
    return __virtualname__


def _shown(name):
    """A name as text that every log and terminal takes: line breaks and undecodable bytes are escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _kind(entry):
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    if entry.is_file(follow_symlinks=False):
        return "file"
    return "socket" if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode) else "other"


def _scan(path):
    """{name: kind} of what lies in a directory, in order, so that the same tree gives the same answer."""
    try:
        with os.scandir(path) as entries:
            return {entry.name: _kind(entry) for entry in sorted(entries, key=lambda entry: entry.name)}
    except OSError as error:
        raise CommandExecutionError(f"{_shown(path)} cannot be read: {error.strerror}") from error


def _is_data_directory(path, content):
    if "ibdata1" in content or "mysql.ibd" in content:
        return True
    return content.get("mysql") == "directory" and any(map(USER_TABLE.fullmatch, _scan(os.path.join(path, "mysql"))))


def _look_into(path, relative, expected, depth=DEPTH):
    """
    What is wrong with a directory, as [(relative path, why)]. Of one that is ``expected`` to hold other things than
    tables, only the data directories of other servers count.
    """
    content = _scan(path)
    strangers = [
        name for name, kind in content.items() if kind not in ("file", "link") or not TABLE_FILE.fullmatch(name)
    ]
    # Before the search for another server: mysql.ibd among nothing but tables is the table "mysql" of a schema.
    if not strangers:
        return []
    if _is_data_directory(path, content):
        return [(relative, SERVER)]
    found = [] if expected else [(relative, f"{DIRECTORY} ({_shown(strangers[0])})")]
    for name in strangers if depth else ():
        if content[name] == "directory":
            found += _look_into(os.path.join(path, name), os.path.join(relative, name), True, depth - 1)
    return found


def _judge(path, name, kind, data_files):
    """What is wrong with an entry of the data directory itself, as [(relative path, why)]."""
    full = os.path.join(path, name)
    # a link is asked what it leads to, because a schema may be one, and is not followed any further
    if kind == "directory" or (kind == "link" and os.path.isdir(full)):
        if name == "lost+found":
            return []
        found = _look_into(full, name, name.startswith("#") or name == ".rocksdb") if kind == "directory" else []
        if name.startswith(".") and name != ".rocksdb":
            return found or [(name, FILE)]
        return found
    if kind == "socket" or (
        kind != "other" and (SERVER_FILE.fullmatch(name) or name in OWN_FILES or name in data_files)
    ):
        return []
    return [(name, FILE)]


def foreign(path, data_files=()):
    """
    Return what a data directory holds that is not its server's and would be lost by deleting it.

    ``path`` is the absolute path of the data directory, ``data_files`` names the files in it that only the settings
    know (of ``innodb_data_file_path``).

    ``[{"entry": "dump.sql", "why": "a file that no server has written"}, {"entry": "old", "why": "a directory with
    other things in it than tables (notes.txt)"}, {"entry": "old/3307", "why": "the data directory of another
    server"}]``, sorted, empty if nothing is foreign. At most 20 entries: of more the last is ``{"entry": "...",
    "why": "and 7 more"}``. Unprintable characters and undecodable bytes of a name are escaped.

    A schema's directory holds tables or nothing; a link in its place is not looked behind. Reads only, and names
    only. Raises SaltInvocationError for arguments that are not such, CommandExecutionError if the directory, or one
    in it that must be looked into, cannot be read.

    CLI Example:

    .. code-block:: bash

        salt east1 datacontent.foreign /var/lib/mysql data_files='[ibdata1, ibdata2]'
    """
    # os.scandir would take None for the working directory, and a text would be taken for a list of letters
    if not isinstance(path, str) or not os.path.isabs(path):
        raise SaltInvocationError(f"path must be an absolute path, not {path!r}")
    if isinstance(data_files, str):
        raise SaltInvocationError(f"data_files must be a list of names, not {data_files!r}")
    found = sorted(
        (_shown(entry), why)
        for name, kind in _scan(path).items()
        for entry, why in _judge(path, name, kind, data_files)
    )
    if len(found) > LIMIT:
        found = [*found[: LIMIT - 1], ("...", f"and {len(found) - LIMIT + 1} more")]
    return [{"entry": entry, "why": why} for entry, why in found]
