"""
Copying the data of this minion's server, the donor, to the host that was emptied for them.

rsync deletes there what is not here, so every call proves by itself, at that moment, that both hosts are what they have
to be: see :py:func:`sync`. Nothing here believes an earlier check.

It follows the manual's page ``operations-msmm-resetsingle`` (steps 8 to 12 of the runbook).
"""

import os

import salt.utils.path
from salt.exceptions import CommandExecutionError

__virtualname__ = "datacopy"

# As in the other modules for these data: what is missing is found before a run's first change, not half-way.
TOOLS = ("find", "rsync", "chown")

# datadir's, on the target.
RECORD = "ownership.json"
MARKER = ".reprovision"


def __virtual__():
    missing = [tool for tool in TOOLS if not salt.utils.path.which(tool)]
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


def _some(names):
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# --- both hosts


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
    # A directory's own time is no data, and a server that is only asked for its settings changes that of its datadir.
    # A peer that says nothing for so long is gone, whatever its connection says.
    return ["rsync", "-a", "--omit-dir-times", "--delete", "--protect-args", "--timeout=300", *options, *chosen,
            "-e", " ".join(_remote(node)), "--rsync-path=sudo -n rsync", place["path"] + "/", target]  # fmt: skip


def _record_path():
    """Where the target keeps its record: the same path as it would be here."""
    return __salt__["hostrecord.path"](RECORD)


def _pairs(host, site, run):
    """(node, [(place here, "user@host:/path/")], the target's record), after every guard that both can give."""
    __salt__["dataguard.name"](host, "host")
    __salt__["dataguard.name"](site, "site")
    node = __salt__["topology.node"]()
    members = __salt__["topology.get"]()["sites"].get(site, {}).get("nodes", {})
    if node["site"] == site or host not in members:
        raise CommandExecutionError(
            f"{host} is not a host of the failed site {site}, or this host is of it too"
        )
    places = __salt__["dataguard.check"]()
    down = __salt__["dataguard.stopped"](places)
    if down["result"] != "success":
        raise CommandExecutionError(f"the server's last stop was not clean (systemd says: {down['result']})")
    __salt__["dataguard.cluster"](failed=False)
    for place in places.values():
        outside = __salt__["datalocation.outside"](place, places)
        if outside:
            raise CommandExecutionError(
                f"data lie outside the data locations, through links: {_some(outside)}"
            )
    record = _target_record(node, host)
    if record["state"] not in ("emptied", "copied") or (record["site"], record["host"]) != (site, host):
        raise CommandExecutionError(
            f"{host} has not been emptied for this: {_record_path()} there says {record['state']}"
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
        if not __salt__["dataguard.plain"](there[name]["path"]):
            raise CommandExecutionError(f"{there[name]['path']!r} on {host} is not a plain absolute path")
    needed = {name: __salt__["datalocation.measure"](place)["bytes"] for name, place in places.items()}
    _guard_room(host, needed, there)
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
    os.makedirs(__salt__["hostrecord.folder"](), mode=0o700, exist_ok=True)
    _run(["rsync", "--ignore-times", "--chmod=F600", "-e", " ".join(remote), "--rsync-path=sudo -n rsync",
          f"{node['user']}@{host}:{_record_path()}", __salt__["hostrecord.path"](copy)], 60)  # fmt: skip
    return __salt__["hostrecord.load"](copy)


def _hand_over(node, host, record):
    """Tell the target that its copy is complete: without that it is never taken into use."""
    copy_of_record = f"target-{host}.json"
    __salt__["hostrecord.save"](copy_of_record, {**record, "state": "copied"})
    _run(["rsync", "--ignore-times", "--chmod=F600", "-e", " ".join(_remote(node)), "--rsync-path=sudo -n rsync",
          __salt__["hostrecord.path"](copy_of_record), f"{node['user']}@{host}:{_record_path()}"], 60)  # fmt: skip


# --- the copy


def differences(host, site, run):
    """
    Return what a copy to ``host`` would still have to change there, a list of rsync's itemized lines.

    To be run on the donor. It has the same guards as ``sync`` and changes nothing.

    CLI Example:

    .. code-block:: bash

        salt west3 datacopy.differences host=east1 site=east run=20261123-east
    """
    node, pairs, _ = _pairs(host, site, __salt__["dataguard.run_id"](run))
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

        salt west3 datacopy.sync host=east1 site=east run=20261123-east
    """
    node, pairs, record = _pairs(host, site, __salt__["dataguard.run_id"](run))
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
