"""
The host that a copy goes to, as the donor sees it: reached by ssh, emptied for this copy, with room for it.

Nothing here believes an earlier check: each call asks that host, at that moment.

It follows the manual's page ``operations-msmm-resetsingle`` (steps 8 to 10 of the runbook).
"""

import os
import time

import salt.utils.files
import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "copytarget"

TOOLS = ("rsync", "runuser", "ssh")
# datadir's, on the target.
RECORD = "ownership.json"
SECONDS = 60
# How fast the link to a target is, as measured for a run, on this host.
LINK = "link.json"
SAMPLE = "link-sample"
SAMPLE_BYTES = 64 * 1000**2
SAMPLE_SECONDS = 15
COMPRESSION = ("auto", "none", "lz4", "zstd")
# Megabytes a second below which it is faster to send less than to send at once.
WORTH = (("zstd", 100), ("lz4", 300))
OPTIONS = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=15", "ServerAliveInterval=15",
    # AES, for which processors have instructions. A list that is put before ssh's own needs OpenSSH 8.1.
    "Ciphers=aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr",
)


class TooLong(CommandExecutionError):
    """A command was ended since its time had passed."""


def __virtual__():
    missing = [tool for tool in TOOLS if not salt.utils.path.which(tool)]
    if missing:
        return False, f"not in the PATH: {', '.join(missing)}"
    return __virtualname__


def _run(argv, failing=True, seconds=SECONDS):
    limit = ["timeout", "--kill-after=5", str(seconds)]
    result = __salt__["cmd.run_all"]([*limit, *argv], python_shell=False, ignore_retcode=True)
    if result["retcode"] in (124, 137):
        raise TooLong(f"{argv[0]} did not end within {seconds} s")
    if failing and result["retcode"]:
        words = "\n".join((result["stdout"] + "\n" + result["stderr"]).strip().splitlines()[-15:])
        raise CommandExecutionError(f"{argv[0]} failed with {result['retcode']}: {words or '(no output)'}")
    return result


def ssh():
    """
    Return the words that begin a command on another host: this host's Tungsten user, by ssh, which asks nothing.

    CLI Example:

    .. code-block:: bash

        salt west3 copytarget.ssh
    """
    return ["runuser", "-u", __salt__["topology.node"]()["user"], "--", "ssh",
            *(word for option in OPTIONS for word in ("-o", option))]


def address(host):
    """
    Return ``user@host``, as the Tungsten user reaches a host of another site.

    host
        The host.

    CLI Example:

    .. code-block:: bash

        salt west3 copytarget.address east1
    """
    return f"{__salt__['topology.node']()['user']}@{__salt__['dataguard.name'](host, 'host')}"


def _rsync(*words):
    return ["rsync", "--ignore-times", "--chmod=F600", "-e", " ".join(ssh()), "--rsync-path=sudo -n rsync", *words]


def _record_path():
    """Where the target keeps its record: the same path as it would be here."""
    return __salt__["hostrecord.path"](RECORD)


def record(host, site, run):
    """
    Return the target's record if it has been emptied for this: for this donor, in this run, and no server runs there.

    To be run on the donor.

    host
        The host of the failed site.
    site
        The failed site.
    run
        Name of this run.

    Returns the record as ``datadir.begun`` tells it. Raises CommandExecutionError if ``host`` is no host of ``site`` or
    this host is, the target does not tell, or has another record.

    CLI Example:

    .. code-block:: bash

        salt west3 copytarget.record east1 east 20261123-east
    """
    __salt__["dataguard.name"](host, "host")
    __salt__["dataguard.name"](site, "site")
    __salt__["dataguard.run_id"](run)
    node = __salt__["topology.node"]()
    members = __salt__["topology.get"]()["sites"].get(site, {}).get("nodes", {})
    if node["site"] == site or host not in members:
        raise CommandExecutionError(
            f"{host} is not a host of the failed site {site}, or this host is of it too"
        )
    alive = _run([*ssh(), address(host), "pgrep -x 'mysqld|mariadbd'"], failing=False)
    if alive["retcode"] != 1:
        words = alive["stderr"].strip() or f"process {alive['stdout'].split()}"
        raise CommandExecutionError(f"{host} has not told that no server runs there: {words}")
    copy = f"target-{host}.json"
    os.makedirs(__salt__["hostrecord.folder"](), mode=0o700, exist_ok=True)
    _run(_rsync(f"{address(host)}:{_record_path()}", __salt__["hostrecord.path"](copy)))
    found = __salt__["hostrecord.load"](copy)
    if found["state"] not in ("emptied", "copied") or (found["site"], found["host"]) != (site, host):
        raise CommandExecutionError(
            f"{host} has not been emptied for this: {_record_path()} there says {found['state']}"
        )
    if found["run"] != run:
        raise CommandExecutionError(f"{host} has been emptied for run {found['run']}, not for {run}")
    if found["donor"] not in (node["host"], node["minion"]):
        raise CommandExecutionError(f"{host} has been emptied for donor {found['donor']}, not for this host")
    return found


def guard_places(host, there, places):
    """
    Prove that the target has the same data locations as this host, and room for what lies in this host's.

    host
        The target, for the error.
    there
        ``directories`` of its ``record``.
    places
        This host's ``datalocation.locations``.

    Returns None. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt west3 copytarget.guard_places east1 "$directories" "$places"
    """
    if set(there) != set(places):
        raise CommandExecutionError(
            f"data locations differ: here {sorted(places)}, on {host} {sorted(there)}"
        )
    for name, place in places.items():
        # the indexes of the logs hold absolute paths
        if place["files"] and (place["path"], place["files"]) != (there[name]["path"], there[name]["files"]):
            raise CommandExecutionError(f"{name} is {place['path']} here and {there[name]['path']} on {host}")
        if not __salt__["dataguard.plain"](there[name]["path"]):
            raise CommandExecutionError(f"{there[name]['path']!r} on {host} is not a plain absolute path")
    needed = {name: __salt__["datalocation.measure"](place)["bytes"] for name, place in places.items()}
    for device in {place["device"] for place in there.values()}:
        together = [name for name in needed if there[name]["device"] == device]
        size, room = sum(needed[name] for name in together), there[together[0]]["free"]
        if size > room:
            raise CommandExecutionError(
                f"{' and '.join(together)} have {size} bytes here, {host} has room for {room} in "
                f"{' and '.join(there[name]['path'] for name in together)}")


def tell(host, record, state):
    """
    Tell the target how its copy stands: one that is not ``copied`` is never taken into use.

    host
        The target.
    record
        As ``record`` returned it.
    state
        ``copied`` once all of it is there, ``emptied`` as long as it is not.

    Returns None. Raises CommandExecutionError if the target could not be told.

    CLI Example:

    .. code-block:: bash

        salt west3 copytarget.tell east1 "$record" copied
    """
    _run(telling(host, {**record, "state": state}, f"target-{host}.json"))


def telling(host, record, name):
    """
    Return the argv that gives the target a record in place of its own; what it gives is written down here.

    host
        The target.
    record
        The record, as it is to be there.
    name
        What the file is called here, as for ``hostrecord.path``.

    Returns a list of words. Raises as ``hostrecord.save`` does.

    CLI Example:

    .. code-block:: bash

        salt west3 copytarget.telling east1 "$record" target-east1.json
    """
    __salt__["hostrecord.save"](name, record)
    return _rsync(__salt__["hostrecord.path"](name), f"{address(host)}:{_record_path()}")


# --- the way there


def transport(host, run, compress="auto", bwlimit=0, streams=4):
    """
    Tell how a copy goes to a target. With ``auto`` the link is measured, once in a run, by sending a sample there.

    To be run on the donor.

    host
        The target.
    run
        Name of this run.
    compress
        ``none``, ``lz4`` or ``zstd``; ``auto`` takes what fits the link.
    bwlimit
        Megabytes a second at most; 0 for no limit.
    streams
        How many connections copy side by side, 1 to 16.

    Returns ``{"compress", "bwlimit", "streams", "rate": megabytes a second that were measured, or None}``. Raises
    SaltInvocationError for other values, CommandExecutionError if the sample could not be sent.

    CLI Example:

    .. code-block:: bash

        salt west3 copytarget.transport east1 20261123-east
    """
    if compress not in COMPRESSION:
        raise SaltInvocationError(f"compress must be one of {', '.join(COMPRESSION)}, not {compress!r}")
    for what, number, least, most in (("bwlimit", bwlimit, 0, 100000), ("streams", streams, 1, 16)):
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            raise SaltInvocationError(f"{what} must be a whole number, {least} to {most}, not {number!r}")
    chosen = {"compress": compress, "bwlimit": bwlimit, "streams": streams, "rate": None}
    if compress != "auto":
        return chosen
    known = __salt__["hostrecord.load"](LINK)
    if not known or (known["host"], known["run"]) != (host, run):
        known = {"host": host, "run": __salt__["dataguard.run_id"](run), "rate": _measured(host),
                 "compressions": _compressions(host)}
        __salt__["hostrecord.save"](LINK, known)
    rate = min(known["rate"], bwlimit or known["rate"])
    fitting = [name for name, below in WORTH if rate < below and name in known["compressions"]]
    return {**chosen, "compress": fitting[0] if fitting else "none", "rate": known["rate"]}


def _compressions(host):
    """What the rsyncs of both hosts can compress with; one that is older than 3.2 does not tell."""
    told = [_run(argv)["stdout"] for argv in (
        ["rsync", "--version"], [*ssh(), address(host), "sudo -n rsync --version"])]
    here, there = (set(text.partition("Compress list:")[2].strip().partition("\n")[0].split()) for text in told)
    return sorted(here & there)


def _measured(host):
    """Megabytes a second, of what cannot be compressed; how long a connection takes by itself is not counted."""
    begun = time.monotonic()
    try:
        _send_sample(host, SAMPLE_BYTES)
    except TooLong:
        return SAMPLE_BYTES // SAMPLE_SECONDS // 1000**2
    long = time.monotonic()
    # This also leaves nothing of it there but a byte.
    _send_sample(host, 1)
    short = time.monotonic() - long
    return round(SAMPLE_BYTES / max(long - begun - short, 0.05) / 1000**2)


def _send_sample(host, size):
    path = __salt__["hostrecord.path"](SAMPLE)
    os.makedirs(__salt__["hostrecord.folder"](), mode=0o700, exist_ok=True)
    with salt.utils.files.fopen(path, "wb") as stream:
        stream.write(os.urandom(size))
    try:
        _run(["rsync", "--ignore-times", "--whole-file", "--protect-args", "--chmod=F600", "-e", " ".join(ssh()),
              "--rsync-path=sudo -n rsync", path, f"{address(host)}:{path}"], seconds=SAMPLE_SECONDS)
    finally:
        os.unlink(path)
