"""What the lab wrote about this host, and state that every host of the lab can read.

The state lies in one directory shared by all hosts, so that any tool can evaluate any other host's service.
"""

import configparser
import fcntl
import json
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

HOMES = {"cluster": "/opt/continuent", "cross_site": "/opt/replicator"}

_loaded = None


def load():
    """The host's configuration; TUNGSTEN_EMULATOR_CONFIG names another file than the lab's."""
    global _loaded
    path = os.environ.get("TUNGSTEN_EMULATOR_CONFIG", "/etc/tungsten/emulator.json")
    if _loaded is None or _loaded[0] != path:
        _loaded = (path, json.loads(Path(path).read_text()))
    return _loaded[1]


def host():
    return load()["host"]


def shared(*parts):
    return Path(load()["shared"], *parts)


def site_of(name):
    """The site a host belongs to."""
    return next(site for site, each in load()["sites"].items() if name in each["nodes"])


def domain(site):
    return int(load()["sites"][site]["domain"])


def primary(site):
    """The site's primary as its manager says; before the manager ever ran, as the lab planned it."""
    manager = read_state(shared(site, "manager.json"))
    return manager.get("primary") or load()["sites"][site]["primary"]


def which(path):
    """ "cluster" or "cross_site", by the place from which a tool was started."""
    real = os.path.realpath(path)
    return next(which for which, home in HOMES.items() if real.startswith(f"{home}/"))


def boot_mark():
    """Differs after every boot of this host: when its init started (the kernel is shared by all hosts)."""
    return Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]


def credentials():
    """(user, password) of the account for SQL and replication."""
    parser = configparser.ConfigParser()
    parser.read(load()["mysql_defaults"])
    return parser["client"]["user"], parser["client"]["password"]


def delay(tool):
    """Stand for the start of a Java virtual machine."""
    time.sleep(float(load().get("delays", {}).get(tool, 0)))


def read_state(path):
    """The JSON object in a file, {} when there is none. Files are replaced whole: no lock is needed."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        return {}


def _adopt(path):
    """What root makes must stay writable for the Tungsten user, under whom the tools run as a rule."""
    if os.geteuid() == 0:
        owner = shared().stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _folder(path):
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        _adopt(path)


@contextmanager
def locked(path, shared_lock=False, wait=True):
    """Hold the lock that belongs to a state file (a file beside it: the file itself is replaced).

    Yields whether the lock was got, which can only be False with ``wait=False``.
    """
    path = Path(path)
    _folder(path.parent)
    with open(f"{path}.lock", "a") as lock:
        _adopt(lock.name)
        kind = fcntl.LOCK_SH if shared_lock else fcntl.LOCK_EX
        try:
            fcntl.flock(lock, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def write_state(path, value):
    """Replace a state file whole. The caller holds its lock if what it writes depends on what it read."""
    path = Path(path)
    _folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        json.dump(value, file, indent=1, sort_keys=True)
    os.chmod(name, 0o644)
    _adopt(name)
    os.replace(name, path)


@contextmanager
def changed(path):
    """Read a state file, let the caller change the object, write it back: all under its lock."""
    with locked(path):
        value = read_state(path)
        yield value
        write_state(path, value)


def record_call(tool, words, rc, seconds):
    """One line in the lab's list of every call to an emulated tool."""
    line = json.dumps(
        {
            "time": round(time.time(), 3),
            "host": host(),
            "tool": tool,
            "words": list(words),
            "rc": rc,
            "seconds": round(seconds, 3),
        }
    )
    path = shared("calls.jsonl")
    with locked(path), open(path, "a") as file:
        file.write(f"{line}\n")
        _adopt(path)
