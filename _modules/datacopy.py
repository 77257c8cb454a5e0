"""
Copying the data of this minion's server, the donor, to the host that was emptied for them.

A copy ahead (``ahead``) is made while the server here goes on serving, so it is worth nothing by itself: it only leaves
less to do to the one that counts (``sync``), for which the server has to be at rest.

rsync deletes there what is not here, so every call proves by itself, at that moment, that both hosts are what they have
to be. Nothing here believes an earlier check.

It follows the manual's page ``operations-msmm-resetsingle`` (steps 8 to 12 of the runbook).
"""

import time

import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "datacopy"

# As in the other modules for these data: what is missing is found before a run's first change, not half-way.
TOOLS = ("find", "ionice", "nice", "rsync")

# datadir's, on the target.
MARKER = ".reprovision"
# When a copy ahead of a run was begun, on this host.
AHEAD = "ahead.json"
# Seconds before it; what was written to since then is compared byte by byte. Size and time would tell of most files,
# but that of one mapped into memory is only set again once its pages are on the disk: Linux lets them wait for 35 s.
MARGIN = 60
# What this many seconds of writing have changed is copied quickly enough while the server is down.
SHORT = 60
TURNS = 3
# rsync: a file went away while the directory was being read.
VANISHED = 24
COMPRESSION = ("none", "lz4", "zstd")


def __virtual__():
    missing = [tool for tool in TOOLS if not salt.utils.path.which(tool)]
    if missing:
        return False, f"not in the PATH: {', '.join(missing)}"
    return __virtualname__


def _run(argv, seconds, **kwargs):
    result = __salt__["cmd.run_all"](
        ["timeout", "--kill-after=5", str(seconds), *argv], python_shell=False, ignore_retcode=True, **kwargs)
    if result["retcode"] in (124, 137):
        raise CommandExecutionError(f"{argv[0]} did not end within {seconds} s")
    if result["retcode"]:
        words = "\n".join((result["stdout"] + "\n" + result["stderr"]).strip().splitlines()[-15:])
        raise CommandExecutionError(f"{argv[0]} failed with {result['retcode']}: {words or '(no output)'}")
    return result


def _some(names):
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# --- both hosts


def _pairs(host, site, run, at_rest):
    """([(place here, "user@host:/path/")], the target's record), after every guard that both can give."""
    places = __salt__["dataguard.check"]()
    if at_rest:
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
    record = __salt__["copytarget.record"](host, site, run)
    there = record["directories"]
    __salt__["copytarget.guard_places"](host, there, places)
    address = __salt__["copytarget.address"](host)
    return [(place, f"{address}:{there[name]['path']}/") for name, place in places.items()], record


def _rsync(place, target, *options):
    chosen = [f"--include=/{name}" for name in place["files"]]
    kept = [f"--exclude=/{name}" for name in ("auto.cnf", "lost+found", MARKER)]
    chosen = [*chosen, "--exclude=*"] if chosen else kept
    # A directory's own time is no data, and a server that is only asked for its settings changes that of its datadir.
    # A peer that says nothing for so long is gone, whatever its connection says.
    return ["rsync", "-a", "--omit-dir-times", "--protect-args", "--timeout=300", *options, *chosen,
            "-e", " ".join(__salt__["copytarget.ssh"]()), "--rsync-path=sudo -n rsync", place["path"] + "/", target]


def _transport(compress, bwlimit):
    if compress not in COMPRESSION:
        raise SaltInvocationError(f"compress must be one of {', '.join(COMPRESSION)}, not {compress!r}")
    if isinstance(bwlimit, bool) or not isinstance(bwlimit, int) or bwlimit < 0:
        raise SaltInvocationError(f"bwlimit must be megabytes a second, or 0 for no limit, not {bwlimit!r}")
    # Of both the first level: a faster link is rarer than a faster processor.
    squeezed = ["--compress", f"--compress-choice={compress}", "--compress-level=1"] if compress != "none" else []
    return ["--info=progress2", "--stats", *squeezed, *([f"--bwlimit={bwlimit}M"] if bwlimit else [])]


# --- ahead


def ahead(host, site, run, begun=False, wait=86400, deadline=86400, compress="none", bwlimit=0):
    """
    Copy to ``host``, while the server here goes on serving, what lies in its data locations now.

    What comes of it is no copy yet: files change while they are read. ``sync`` makes it one, with the server at rest,
    and has less to do then. What takes long is done again, up to three times, since meanwhile more has changed. It
    yields disk and processor to whoever else wants them.

    To be run on the donor. Refuses unless, now: ``host`` is of the failed ``site`` and this host is not; ``host`` was
    emptied by ``datadir.empty`` for this donor and run, no server runs there, it has the same data locations and room
    for them; no data lie outside, through links.

    run
        Name of this run, letters, digits and dashes.
    begun
        True if this copy was begun in this very attempt, False to begin it.
    wait
        Seconds to wait for a unit before returning its name.
    deadline
        Seconds after which systemd ends a unit.
    compress
        ``none``, ``lz4`` or ``zstd``.
    bwlimit
        Megabytes a second at most; 0 for no limit.

    Returns ``{"running": name of the unit that still copies, or None}``. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt west3 datacopy.ahead host=east1 site=east run=20261123-east
    """
    options = _transport(compress, bwlimit)
    pairs, record = _pairs(host, site, run, at_rest=False)
    if not begun:
        # Whatever an attempt that died has left going.
        __salt__["longjob.stop_all"]("copy-")
        if _since(host, run) is None:
            __salt__["hostrecord.save"](AHEAD, {"host": host, "run": run, "began": int(time.time())})
        if record["state"] != "emptied":
            __salt__["copytarget.tell"](host, record, "emptied")
    for turn in range(TURNS):
        seconds = 0
        for number, (place, target) in enumerate(pairs):
            job = f"copy-ahead-{number}-{turn}-{run}"
            if __salt__["longjob.status"](job)["state"] == "absent":
                # Once it is there a file is changed in place, or a second turn would need its room twice.
                how = ["--delete"] if turn == 0 else ["--delete", "--inplace", "--no-whole-file"]
                argv = ["nice", "-n", "19", "ionice", "-c", "2", "-n", "7", *_rsync(place, target, *how, *options)]
                __salt__["longjob.start"](job, argv, deadline=deadline)
            if not _ended(job, wait, VANISHED):
                return {"running": job}
            seconds += __salt__["longjob.status"](job)["seconds"]
        if seconds < SHORT:
            break
    return {"running": None}


def _since(host, run):
    """From when on what changed here may differ there, in spite of its size and time; None without a copy ahead."""
    known = __salt__["hostrecord.load"](AHEAD)
    if not known or (known["host"], known["run"]) != (host, run):
        return None
    return known["began"] - MARGIN


def _touched(place, since, *then):
    return [*__salt__["datalocation.find"](place), "-type", "f", "-newermt", f"@{since}", *then]


# --- the copy


def differences(host, site, run):
    """
    Return what a copy to ``host`` would still have to change or to compare there, a list of rsync's itemized lines and,
    after a copy ahead, of the files that were written to since.

    To be run on the donor. It has the same guards as ``sync`` and changes nothing.

    CLI Example:

    .. code-block:: bash

        salt west3 datacopy.differences host=east1 site=east run=20261123-east
    """
    pairs, record = _pairs(host, site, run, at_rest=True)
    found = [line for place, target in pairs for line in _differences(place, target)]
    since = _since(host, run)
    if since is not None and record["state"] == "emptied":
        for place, _ in pairs:
            found += _run(_touched(place, since, "-print"), 600, output_loglevel="quiet")["stdout"].splitlines()
    return found


def _differences(place, target):
    argv = _rsync(place, target, "--delete", "-n", "--itemize-changes")
    return [line for line in _run(argv, 1800, output_loglevel="quiet")["stdout"].splitlines() if line.strip()]


def sync(host, site, run, begun=False, wait=86400, deadline=86400, compress="none", bwlimit=0):
    """
    Copy this host's data locations to ``host`` with rsync, as root on both sides, and prove that they are
    equal.

    To be run on the donor. Refuses unless, now: ``host`` is of the failed ``site`` and this host is not; the
    server here is stopped, cleanly, and its datasource a SHUNNED slave; ``host`` was emptied by
    ``datadir.empty`` for this donor and run, no server runs there, it has the same data locations and room for
    them; no data lie outside, through links. ``auto.cnf`` stays here, so that the target makes an identity of its
    own.

    After a copy ahead every file that was written to since is compared with the one there, all of it, and changed where
    it differs; of the others size and time tell.

    Each location is copied by units of its own (``longjob``), one after the other, which outlive this call and are
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
    compress
        ``none``, ``lz4`` or ``zstd``.
    bwlimit
        Megabytes a second at most; 0 for no limit.

    Returns ``{"running": name of the unit that still copies, or None, "copied": whether anything was or is}``; with
    None ``host`` holds the same data, which its record then says. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt west3 datacopy.sync host=east1 site=east run=20261123-east
    """
    options = _transport(compress, bwlimit)
    pairs, record = _pairs(host, site, run, at_rest=True)
    since = _since(host, run)
    if since is not None and not begun:
        # Whatever was compared before, the server here may have run since.
        __salt__["longjob.stop_all"]("copy-")
    copied = False
    for number, (place, target) in enumerate(pairs):
        if since is not None:
            job = f"copy-touched-{number}-{run}"
            if __salt__["longjob.status"](job)["state"] == "absent":
                __salt__["longjob.start"](job, _compare(number, place, target, since, options), deadline=deadline)
            if not _ended(job, wait):
                return {"running": job, "copied": True}
            copied = True
        job = f"copy-{number}-{run}"
        now = __salt__["longjob.status"](job)
        if now["state"] == "failed" and begun:
            # Forgotten, so that the next attempt begins it again.
            __salt__["longjob.stop"](job)
            raise CommandExecutionError(__salt__["longjob.failure"](now))
        if now["state"] != "running":
            left = _differences(place, target)
            if not left:
                continue
            if now["state"] == "done" and begun:
                __salt__["longjob.stop"](job)
                raise CommandExecutionError(f"{host} differs from this host after the copy: {_some(left)}")
            # A run that died may have left its copy going: two writers into one directory prove nothing.
            for prefix in (f"copy-{number}-", "copy-ahead-"):
                __salt__["longjob.stop_all"](prefix)
            __salt__["longjob.start"](job, _rsync(place, target, "--delete", *options), deadline=deadline)
        copied = True
        if not _ended(job, wait):
            return {"running": job, "copied": copied}
        left = _differences(place, target)
        if left:
            raise CommandExecutionError(f"{host} differs from this host after the copy: {_some(left)}")
    __salt__["copytarget.tell"](host, record, "copied")
    return {"running": None, "copied": copied}


def _compare(number, place, target, since, options):
    """The words that compare what was written to since, byte by byte."""
    names = __salt__["hostrecord.path"](f"touched-{number}.names")
    _run(_touched(place, since, "-fprintf", names, "%P\\0"), 600)
    return _rsync(place, target, "--ignore-times", "--inplace", "--no-whole-file", "--from0", f"--files-from={names}",
                  *options)


def _ended(job, wait, harmless=0):
    try:
        __salt__["longjob.wait"](job, wait)
    except CommandExecutionError:
        now = __salt__["longjob.status"](job)
        if now["state"] == "running":
            return False
        if harmless and now["rc"] == harmless:
            return True
        __salt__["longjob.stop"](job)
        raise
    return True
