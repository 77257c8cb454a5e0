"""
Several of ``longjob``'s commands that are one piece of work: NAME-s0, NAME-s1… go on side by side and end as one.

A command that was started under NAME itself is a group of one, so whoever waits need not know which of both it is.
"""

import time

__virtualname__ = "jobgroup"

PAUSE = 0.5


def __virtual__():
    return __virtualname__


def start(name, commands, deadline=None):
    """
    Start commands side by side.

    name
        Name of the group, as for ``longjob.start``, up to 75 characters.
    commands
        A list of argv, each as for ``longjob.start``. With an empty one nothing is started.
    deadline
        Seconds after which systemd ends each of them.

    Returns the jobs' names. Raises as ``longjob.start`` does.

    CLI Example:

    .. code-block:: bash

        salt west3 jobgroup.start copy-1 '[[sleep, "5"], [sleep, "7"]]'
    """
    jobs = [f"{name}-s{number}" for number in range(len(commands))]
    for job, argv in zip(jobs, commands):
        __salt__["longjob.start"](job, argv, deadline=deadline)
    return jobs


def status(name, harmless=()):
    """
    Tell how a group stands.

    name
        Name of the group, or of a single job.
    harmless
        Exit codes that are as good as 0.

    Returns ``{"name", "state", "seconds", "logs", "why"}``: ``state`` is ``failed`` as soon as one of its jobs has,
    ``running`` as long as one is, ``done``, or ``absent``; ``seconds`` of the one that took longest, None if absent;
    ``logs`` the ends of their logs; ``why`` the first failure in words, or None. Raises as ``longjob.status`` does.

    CLI Example:

    .. code-block:: bash

        salt west3 jobgroup.status copy-1
    """
    jobs = [__salt__["longjob.status"](job) for job in (name, *__salt__["longjob.names"](f"{name}-s"))]
    jobs = [job for job in jobs if job["state"] != "absent"]
    failed = [job for job in jobs if job["state"] == "failed" and job["rc"] not in harmless]
    running = any(job["state"] == "running" for job in jobs)
    return {
        "name": name,
        "state": "failed" if failed else "running" if running else "done" if jobs else "absent",
        "seconds": max((job["seconds"] for job in jobs), default=None),
        "logs": [job["log"] for job in jobs],
        "why": __salt__["longjob.failure"](failed[0]) if failed else None,
    }


def wait(name, timeout, harmless=()):
    """
    Wait until a group has ended, or one of its jobs has failed, or the time has passed.

    name
        Name of the group, or of a single job.
    timeout
        Seconds to wait at most.
    harmless
        Exit codes that are as good as 0.

    Returns what ``status`` returns then.

    CLI Example:

    .. code-block:: bash

        salt west3 jobgroup.wait copy-1 30
    """
    until = time.monotonic() + timeout
    while True:
        now = status(name, harmless)
        left = until - time.monotonic()
        if now["state"] != "running" or left <= 0:
            return now
        time.sleep(min(PAUSE, left))


def stop(name):
    """
    End all jobs of a group, with everything they started, and forget them. Their logs stay.

    name
        Name of the group, or of a single job.

    Returns the names of the jobs that were there. Raises as ``longjob.stop`` does.

    CLI Example:

    .. code-block:: bash

        salt west3 jobgroup.stop copy-1
    """
    there = [job for job in (name, *__salt__["longjob.names"](f"{name}-s"))
             if __salt__["longjob.stop"](job)["before"] != "absent"]
    return there
