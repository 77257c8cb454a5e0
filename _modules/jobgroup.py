"""
Several of ``longjob``'s commands that are one piece of work: NAME-s0of2, NAME-s1of2… go on side by side and end as one.
Their names tell how many there were, so that one which systemd has forgotten is missed.

A command that was started under NAME itself is a group of one, so whoever waits need not know which of both it is.
"""

import re
import time

__virtualname__ = "jobgroup"

# Seconds between two looks; at first less, for jobs that are over at once.
PAUSE, FIRST_PAUSE = 0.5, 0.1
MEMBER = re.compile(r"(.*)-s\d+of(\d+)")


def __virtual__():
    return __virtualname__


def start(name, commands, deadline=None, well=()):
    """
    Start commands side by side.

    name
        Name of the group, as for ``longjob.start``, up to 92 characters.
    commands
        A list of argv, each as for ``longjob.start``. With an empty one nothing is started.
    deadline
        Seconds after which systemd ends each of them.
    well
        Exit codes that are as good as 0.

    Returns the jobs' names. Raises as ``longjob.start`` does.

    CLI Example:

    .. code-block:: bash

        salt west3 jobgroup.start copy-1 '[[sleep, "5"], [sleep, "7"]]'
    """
    jobs = [f"{name}-s{number}of{len(commands)}" for number in range(len(commands))]
    for job, argv in zip(jobs, commands):
        __salt__["longjob.start"](job, argv, deadline=deadline, well=well)
    return jobs


def of(job):
    """
    Return the name of the group that a job is of; its own if it is of none. Pure.

    CLI Example:

    .. code-block:: bash

        salt west3 jobgroup.of copy-1-s0of2
    """
    member = MEMBER.fullmatch(job)
    return member[1] if member else job


def _members(name):
    return [name, *(job for job in __salt__["longjob.names"](f"{name}-s") if of(job) == name)]


def status(name):
    """
    Tell how a group stands.

    name
        Name of the group, or of a single job.

    Returns ``{"name", "state", "seconds", "logs", "why"}``: ``state`` is ``failed`` as soon as one of its jobs has, or
    is missing, ``running`` as long as one is, ``done``, or ``absent``; ``seconds`` of the one that took longest, None
    if absent; ``logs`` the ends of their logs; ``why`` the first failure in words, or None. Raises as
    ``longjob.status`` does.

    CLI Example:

    .. code-block:: bash

        salt west3 jobgroup.status copy-1
    """
    jobs = [__salt__["longjob.status"](job) for job in _members(name)]
    jobs = [job for job in jobs if job["state"] != "absent"]
    failed = [job for job in jobs if job["state"] == "failed"]
    why = __salt__["longjob.failure"](failed[0]) if failed else _missing(name, jobs)
    running = any(job["state"] == "running" for job in jobs)
    return {
        "name": name,
        "state": "failed" if why else "running" if running else "done" if jobs else "absent",
        "seconds": max((job["seconds"] for job in jobs), default=None),
        "logs": [job["log"] for job in jobs],
        "why": why,
    }


def _missing(name, jobs):
    wanted = {int(member[2]) for job in jobs if (member := MEMBER.fullmatch(job["name"]))}
    if wanted and wanted != {len(jobs)}:
        return f"of the {max(wanted)} jobs of {name} only {len(jobs)} are there: the others were ended or never begun"
    return None


def wait(name, timeout):
    """
    Wait until a group has ended, or one of its jobs has failed, or the time has passed.

    name
        Name of the group, or of a single job.
    timeout
        Seconds to wait at most.

    Returns what ``status`` returns then.

    CLI Example:

    .. code-block:: bash

        salt west3 jobgroup.wait copy-1 30
    """
    until, pause = time.monotonic() + timeout, FIRST_PAUSE
    while True:
        now = status(name)
        left = until - time.monotonic()
        if now["state"] != "running" or left <= 0:
            return now
        time.sleep(min(pause, left))
        pause = min(PAUSE, 1.5 * pause)


def stop(name):
    """
    End all jobs of a group, with everything they started, and forget them. Their logs stay.

    name
        Name of the group, or of a single job.

    Returns the names of the jobs that were there. Raises as ``longjob.stop_each`` does.

    CLI Example:

    .. code-block:: bash

        salt west3 jobgroup.stop copy-1
    """
    there = [job for job in _members(name) if __salt__["longjob.status"](job)["state"] != "absent"]
    return __salt__["longjob.stop_each"](there)
