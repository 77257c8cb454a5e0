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
from salt.exceptions import CommandExecutionError

__virtualname__ = "datacopy"

# As in the other modules for these data: what is missing is found before a run's first change, not half-way.
TOOLS = ("find", "ionice", "nice", "rsync")

# datadir's, on the target.
MARKER = ".reprovision"
# When a copy ahead of a run was begun, on this host.
AHEAD = "ahead.json"
# Seconds before it: what was written to since then is compared byte by byte. Size and time would tell of most files,
# but that of one mapped into memory is only set again once its pages are on the disk: Linux lets them wait for 35 s.
MARGIN = 60
# What this many seconds of writing have changed is copied quickly enough while the server is down.
SHORT = 60
TURNS = 3
# rsync: a file went away while the directory was being read, or after it was named. What else 23 may mean is found out
# once the server is at rest.
VANISHED = (23, 24)
IN_PLACE = ("--inplace", "--no-whole-file")
YIELDING = ("nice", "-n", "19", "ionice", "-c", "2", "-n", "7")
SECONDS = 1800


def __virtual__():
    missing = [tool for tool in TOOLS if not salt.utils.path.which(tool)]
    if missing:
        return False, f"not in the PATH: {', '.join(missing)}"
    return __virtualname__


def _run(argv):
    result = __salt__["cmd.run_all"](
        ["timeout", "--kill-after=5", str(SECONDS), *argv], python_shell=False, ignore_retcode=True,
        output_loglevel="quiet")
    if result["retcode"] in (124, 137):
        raise CommandExecutionError(f"{argv[0]} did not end within {SECONDS} s")
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


def _streams(place, number, target, transport, since=None, *how):
    """The commands that copy the files of a location, or those written to since, side by side."""
    parts = __salt__["copystreams.split"](place, f"location-{number}", transport["streams"], since)
    return [
        _rsync(place, target, *(how or ["--sparse"] if part["holes"] else how), "--from0",
               f"--files-from={part['names']}", *_link(transport, len(parts)))
        for part in parts
    ]


def _link(transport, streams=1):
    compress, bwlimit = transport["compress"], transport["bwlimit"]
    # Of each the first level: a faster link is rarer than a faster processor.
    squeezed = ["--compress", f"--compress-choice={compress}", "--compress-level=1"] if compress != "none" else []
    limit = [f"--bwlimit={max(1, bwlimit * 1024 // streams)}"] if bwlimit else []
    return ["--info=progress2", *squeezed, *limit]


def _forget(run, but):
    """
    End what other runs have left going, and forget what has ended, since it says nothing of how things are now. Of this
    run only a group goes on that is still whole, and whose name begins as one of ``but``.
    """
    found = {}
    for job in __salt__["longjob.names"]("copy-"):
        found.setdefault(__salt__["jobgroup.of"](job), []).append(job)
    for group in list(found):
        kept = group.endswith(f"-{run}") and group.removesuffix(f"-{run}").rstrip("0123456789") in but
        if kept and __salt__["jobgroup.status"](group)["state"] == "running":
            del found[group]
    __salt__["longjob.stop_each"]([job for jobs in found.values() for job in jobs])


def _ended(job, wait):
    """Whether a group of jobs has ended well, or had nothing to do; raises if one of them failed."""
    now = __salt__["jobgroup.wait"](job, wait)
    if now["state"] == "failed":
        # Forgotten, so that the next attempt begins it again.
        __salt__["jobgroup.stop"](job)
        raise CommandExecutionError(now["why"])
    return now["state"] != "running"


def _absent(job):
    return __salt__["jobgroup.status"](job)["state"] == "absent"


# --- ahead


def ahead(host, site, run, begun=False, wait=86400, deadline=86400, compress="auto", bwlimit=0, streams=4):
    """
    Copy to ``host``, while the server here goes on serving, what lies in its data locations now.

    What comes of it is no copy yet: files change while they are read. ``sync`` makes it one, with the server at rest,
    and has less to do then. Once all files are there, what has changed meanwhile is copied again, up to three times as
    long as that takes long. It yields disk and processor to whoever else wants them.

    To be run on the donor. Refuses unless, now: ``host`` is of the failed ``site`` and this host is not; ``host`` was
    emptied by ``datadir.empty`` for this donor and run, no server runs there, it has the same data locations and room
    for them; no data lie outside, through links.

    run
        Name of this run, letters, digits and dashes.
    begun
        True if this copy was begun in this very attempt.
    wait
        Seconds to wait for a job before returning its name.
    deadline
        Seconds after which systemd ends a job.
    compress, bwlimit, streams
        As for ``copytarget.transport``.

    Returns ``{"running": name of the group of jobs that still copies, or None, "transport": as ``copytarget.transport``
    returns it}``. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt west3 datacopy.ahead host=east1 site=east run=20261123-east
    """
    pairs, record = _pairs(host, site, run, at_rest=False)
    transport = __salt__["copytarget.transport"](host, run, compress, bwlimit, streams)
    if not begun:
        # Whatever else goes on would undo what this does: two writers into one directory.
        _forget(run, but=("copy-ahead-",))
        known = _remembered(host, run) or {"host": host, "run": run, "began": int(time.time()), "boot": None}
        if known["boot"] != record["boot"]:
            # Emptied anew since: nothing of a copy lies there.
            known.update(boot=record["boot"], filled=[])
        __salt__["hostrecord.save"](AHEAD, known)
        if record["state"] != "emptied":
            __salt__["copytarget.tell"](host, record, "emptied")
    for number, (place, target) in enumerate(pairs):
        job = f"copy-ahead-{number}-{run}"
        if _absent(job):
            known = _remembered(host, run)
            # In place what may be there already: another file of its size would need its room once more.
            how = IN_PLACE if number in known["filled"] else ()
            commands = [[*YIELDING, *argv] for argv in _streams(place, number, target, transport, None, *how)]
            __salt__["hostrecord.save"](AHEAD, {**known, "filled": sorted({*known["filled"], number})})
            __salt__["jobgroup.start"](job, commands, deadline=deadline, well=VANISHED)
        if not _ended(job, wait):
            return {"running": job, "transport": transport}
    for turn in range(TURNS):
        seconds = 0
        for number, (place, target) in enumerate(pairs):
            job = f"copy-ahead-{number}-again-{turn}-{run}"
            if _absent(job):
                argv = _rsync(place, target, "--delete", *IN_PLACE, *_link(transport))
                __salt__["longjob.start"](job, [*YIELDING, *argv], deadline=deadline, well=VANISHED)
            if not _ended(job, wait):
                return {"running": job, "transport": transport}
            seconds += __salt__["longjob.status"](job)["seconds"]
        if seconds < SHORT:
            break
    return {"running": None, "transport": transport}


def _remembered(host, run):
    """What is known of the copy ahead of this run, or None."""
    known = __salt__["hostrecord.load"](AHEAD)
    return known if known and (known["host"], known["run"]) == (host, run) else None


def _since(host, run, warm):
    """From when on what changed here may differ there, in spite of its size and time; None without a copy ahead."""
    known = _remembered(host, run)
    if known and known["began"] <= time.time():
        return known["began"] - MARGIN
    # Forgotten, or by a clock that was put back since: nobody can tell what was written to, so it is all of it.
    return 0 if known or warm else None


# --- the copy


def differences(host, site, run, warm=False):
    """
    Return what a copy to ``host`` would still have to change or to compare there, a list of rsync's itemized lines and,
    after a copy ahead, of the files that were written to since.

    To be run on the donor. It has the same guards as ``sync`` and changes nothing on either host.

    warm
        As for ``sync``.

    CLI Example:

    .. code-block:: bash

        salt west3 datacopy.differences host=east1 site=east run=20261123-east
    """
    pairs, record = _pairs(host, site, run, at_rest=True)
    found = [line for place, target in pairs for line in _differences(place, target)]
    since = _since(host, run, warm)
    if since is not None and record["state"] == "emptied":
        for place, _ in pairs:
            newer = __salt__["copystreams.touched"](since)
            argv = [*__salt__["datalocation.find"](place), "-type", "f", *newer, "-print"]
            found += _run(argv)["stdout"].splitlines()
    return found


def _differences(place, target):
    argv = _rsync(place, target, "--delete", "-n", "--itemize-changes")
    return [line for line in _run(argv)["stdout"].splitlines() if line.strip()]


def sync(host, site, run, warm=False, begun=False, wait=86400, deadline=86400, compress="auto", bwlimit=0, streams=4):
    """
    Copy this host's data locations to ``host`` with rsync, as root on both sides, and prove that they are
    equal.

    To be run on the donor. Refuses unless, now: ``host`` is of the failed ``site`` and this host is not; the
    server here is stopped, cleanly, and its datasource a SHUNNED slave; ``host`` was emptied by
    ``datadir.empty`` for this donor and run, no server runs there, it has the same data locations and room for
    them; no data lie outside, through links. ``auto.cnf`` stays here, so that the target makes an identity of its
    own.

    After a copy ahead every file that was written to since, renamed or put in place, is compared with the one there,
    all of it, and changed where it differs; of the others size and time tell.

    Each location is copied by jobs of its own, one location after the other, which outlive this call and are found
    again by the next one.

    run
        Name of this run, letters, digits and dashes.
    warm
        True if a copy ahead was made in this run. If this host has forgotten when, every file is compared.
    begun
        True if this copy was begun in this very attempt: that it has ended counts then, and is no reason to begin it
        once more.
    wait
        Seconds to wait for a job before returning its name.
    deadline
        Seconds after which systemd ends a job.
    compress, bwlimit, streams
        As for ``copytarget.transport``.

    Returns ``{"running": name of the group of jobs that still copies, or None, "copied": whether anything was or is,
    "transport": as ``copytarget.transport`` returns it}``; with None ``host`` holds the same data, which its record
    then says. Raises CommandExecutionError, with ``{"begun": True}`` as its ``info`` if no guard has refused.

    CLI Example:

    .. code-block:: bash

        salt west3 datacopy.sync host=east1 site=east run=20261123-east
    """
    pairs, record = _pairs(host, site, run, at_rest=True)
    transport = __salt__["copytarget.transport"](host, run, compress, bwlimit, streams)
    since = _since(host, run, warm)
    if not begun:
        # A comparison is of the time since the server stopped, which may not be the same time.
        _forget(run, but=("copy-files-", "copy-rest-") if since is None else ())
    try:
        done = _all_of(pairs, host, run, transport, since, wait, deadline)
    except CommandExecutionError as error:
        # For whoever has to tell that the target may not be what it was.
        error.info = {"begun": True}
        raise
    if not done["running"]:
        __salt__["copytarget.tell"](host, record, "copied")
    return {**done, "transport": transport}


def _all_of(pairs, host, run, transport, since, wait, deadline):
    """Copy one location after the other: which group of jobs still copies, and whether anything was or is copied."""
    copied = False
    for number, (place, target) in enumerate(pairs):
        files, rest = f"copy-files-{number}-{run}", f"copy-rest-{number}-{run}"
        if _absent(rest):
            if _absent(files):
                if since is None and not _differences(place, target):
                    continue
                how = ["--ignore-times", *IN_PLACE] if since is not None else []
                commands = _streams(place, number, target, transport, since, *how)
                __salt__["jobgroup.start"](files, commands, deadline=deadline)
            if not _ended(files, wait):
                return {"running": files, "copied": True}
            # What has no content of its own, and what is no longer here.
            argv = _rsync(place, target, "--delete", *_link(transport))
            __salt__["longjob.start"](rest, argv, deadline=deadline)
        copied = True
        if not _ended(rest, wait):
            return {"running": rest, "copied": True}
        left = _differences(place, target)
        if left:
            for job in (files, rest):
                __salt__["jobgroup.stop"](job)
            raise CommandExecutionError(f"{host} differs from this host after the copy: {_some(left)}")
    return {"running": None, "copied": copied}
