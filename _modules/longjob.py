"""
Commands that run for hours, as systemd units of their own.

A clone of some hundred gigabytes must survive the Salt job that started it, the restart of salt-minion and
the operator's terminal. So it runs as a transient unit ``reprovision-NAME`` outside the minion's cgroup,
writes to a file, and is found again by its name: running, done or failed.

:depends: systemd
"""

import os
import re
import signal
import time

import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "longjob"

NAME = re.compile(r"[A-Za-z0-9-]{1,100}")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
LOG_DIR = "/var/log/reprovision"
BOOTED = "/run/systemd/system"
TAIL_BYTES = 16384
TAIL_LINES = 15
PROPERTIES = (
    "ActiveState",
    "SubState",
    "Result",
    "ExecMainCode",
    "ExecMainStatus",
    "ExecMainStartTimestampMonotonic",
    "ExecMainExitTimestampMonotonic",
)
# What systemd puts into ExecMainCode, from waitid(2).
CLD_EXITED = "1"


def __virtual__():
    if not os.path.isdir(BOOTED):
        return False, f"longjob: systemd is not the init of this host ({BOOTED} is missing)"
    if not salt.utils.path.which("systemd-run"):
        return False, "longjob: systemd-run is not on the PATH"
    return __virtualname__


def _unit(name):
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SaltInvocationError(f"{name!r} cannot name a job: 1 to 100 letters, digits and dashes")
    return f"reprovision-{name}.service"


def _log(name):
    return os.path.join(LOG_DIR, f"{name}.log")


def _run(argv, seconds=60):
    return __salt__["cmd.run_all"](
        ["timeout", "--kill-after=5", str(seconds), *argv],
        python_shell=False,
        ignore_retcode=True,
    )


def _words(result):
    return "\n".join(part.strip() for part in (result["stdout"], result["stderr"]) if part.strip())


def _tail(name):
    """The last lines of the log, each as a terminal shows it at its end: progress is written with returns."""
    try:
        with open(_log(name), "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return "\n".join([line for line in lines if line][-TAIL_LINES:])


def _fresh_log(name):
    """
    An empty log that only root can read; that of an earlier attempt stays as ``.1``.

    It exists before systemd opens it because systemd would create it readable for everyone.
    """
    os.makedirs(LOG_DIR, mode=0o700, exist_ok=True)
    path = _log(name)
    if os.path.lexists(path):
        os.replace(path, f"{path}.1")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    return path


def start(name, argv, user=None, deadline=None, well=()):
    """
    Start a command that goes on by itself, with its standard input closed, and return at once.

    name
        Name of the job, 1 to 100 letters, digits and dashes. A job of that name that is done or failed makes
        room; its log is kept beside the new one as ``NAME.log.1``.
    argv
        The command as a list of words. No shell sees it. It must hold no secret, since a unit's command is
        public.
    user
        OS user to run it as, with that user's HOME and groups; root if not given.
    deadline
        Seconds after which systemd ends the command with everything it started; no limit if not given.
    well
        Exit codes that are as good as 0.

    Returns what :py:func:`status` returns. Raises SaltInvocationError for bad arguments and
    CommandExecutionError if a job of that name is still running or systemd does not take the command.

    CLI Example:

    .. code-block:: bash

        salt east2 longjob.start clone-1 '[sleep, "600"]' user=tungsten deadline=3600

    Follows systemd-run(1).
    """
    unit = _unit(name)
    if not isinstance(argv, (list, tuple)) or not argv:
        raise SaltInvocationError("argv must be a list of words")
    argv = [str(word) for word in argv]
    if any("\n" in word or "\0" in word for word in argv) or "$" in argv[0]:
        raise SaltInvocationError("argv must hold no line break, and no $ in the command's own name")
    if user is not None and not USER.fullmatch(str(user)):
        raise SaltInvocationError(f"{user!r} is not a user name")
    if deadline is not None and (not isinstance(deadline, int) or deadline < 1):
        raise SaltInvocationError("deadline must be a whole number of seconds, 1 or more")
    before = status(name)
    if before["state"] == "running":
        raise CommandExecutionError(
            f"The job {name} is running since {before['seconds']} s: not started twice"
        )
    if before["state"] != "absent":
        _forget(unit)

    properties = {
        # Without it systemd forgets a successful job as soon as it ends.
        "RemainAfterExit": "yes",
        "KillMode": "control-group",
        "StandardInput": "null",
        "StandardOutput": f"file:{_fresh_log(name)}",
        "StandardError": "inherit",
    }
    if user is not None:
        properties["User"] = user
    if deadline is not None:
        properties["RuntimeMaxSec"] = str(deadline)
    if well:
        properties["SuccessExitStatus"] = " ".join(str(int(code)) for code in well)
    result = _run(
        [
            "systemd-run",
            f"--unit={unit}",
            "--quiet",
            f"--description=Re-provisioning: {name}",
            *(f"--property={key}={value}" for key, value in properties.items()),
            "--setenv=LC_ALL=C",
            "--",
            argv[0],
            # systemd expands $WORD in a unit's arguments; $$ stands for one $.
            *(word.replace("$", "$$") for word in argv[1:]),
        ]
    )
    if result["retcode"] != 0:
        raise CommandExecutionError(f"systemd did not start the job {name}: {_words(result)}")
    return status(name)


def _forget(*units):
    """Make systemd drop units, so that their names are free."""
    _run(["systemctl", "stop", *units], seconds=120)
    # Answers 1 when the stop already dropped a unit, which is as good.
    _run(["systemctl", "reset-failed", *units])


def status(name):
    """
    Tell how a job stands.

    name
        Name given to :py:func:`start`.

    Returns ``{"name", "unit", "state", "rc", "outcome", "seconds", "age", "log", "log_path"}``: ``state`` is
    ``running``, ``done`` (exit code 0, or one that is as good), ``failed`` or ``absent`` (never started, or forgotten
    after a reboot or :py:func:`stop`); ``rc`` the exit code, or minus the signal that ended it, None while it runs;
    ``outcome`` systemd's word for it (``success``, ``exit-code``, ``signal``, ``timeout`` when the deadline
    ended it…); ``seconds`` how long it ran or has been running and ``age`` how long ago it was started, None
    if absent; ``log`` the last lines of its output. Raises CommandExecutionError if systemd does not answer.

    CLI Example:

    .. code-block:: bash

        salt east2 longjob.status clone-1

    Follows systemctl(1), org.freedesktop.systemd1(5).
    """
    unit = _unit(name)
    result = _run(["systemctl", "show", f"--property={','.join(PROPERTIES)}", unit])
    shown = dict(line.split("=", 1) for line in result["stdout"].splitlines() if "=" in line)
    if result["retcode"] != 0 or "ActiveState" not in shown:
        raise CommandExecutionError(f"systemd does not tell how the job {name} stands: {_words(result)}")
    state = _state(shown)
    ended = state in ("done", "failed")
    return {
        "name": name,
        "unit": unit,
        "state": state,
        "rc": _rc(shown) if ended else None,
        # Not "result": of an answer with a false one Salt's minion makes a failed job.
        "outcome": shown.get("Result") if ended else None,
        "seconds": None if state == "absent" else _seconds(shown, "ExecMainExitTimestampMonotonic"),
        "age": None if state == "absent" else _seconds(shown),
        "log": _tail(name) if state != "absent" else "",
        "log_path": _log(name),
    }


def _state(shown):
    if shown["ActiveState"] == "failed":
        return "failed"
    if shown["ActiveState"] == "inactive":
        return "absent"
    if shown["ActiveState"] == "active" and shown.get("SubState") == "exited":
        return "done" if shown.get("Result") == "success" else "failed"
    return "running"


def _rc(shown):
    code = int(shown.get("ExecMainStatus") or 0)
    return code if shown.get("ExecMainCode") in (None, "0", CLD_EXITED) else -code


def _seconds(shown, until=None):
    """From the start of the command to the moment of that name, or to now if that has not come."""
    began = int(shown.get("ExecMainStartTimestampMonotonic") or 0)
    if not began:
        return 0.0
    ended = int(shown.get(until) or 0)
    return round((ended / 1e6 if ended else time.monotonic()) - began / 1e6, 1)


def wait(name, timeout):
    """
    Wait until a job is done.

    name
        Name given to :py:func:`start`.
    timeout
        Seconds to wait at most. When they have passed the job still goes on; only its deadline ends it.

    Returns what :py:func:`status` returns, its ``state`` being ``done``. Raises CommandExecutionError with
    the end of the job's log when it failed, is not known, or is still running when the time has passed.

    CLI Example:

    .. code-block:: bash

        salt -t 3700 east2 longjob.wait clone-1 3600
    """
    until = time.monotonic() + float(timeout)
    pause = 0.5
    while True:
        now = status(name)
        if now["state"] == "done":
            return now
        if now["state"] != "running":
            raise CommandExecutionError(failure(now))
        left = until - time.monotonic()
        if left <= 0:
            raise CommandExecutionError(
                f"The job {name} is still running after {now['seconds']} s and goes on; "
                f"waited {timeout} s for it. End of {now['log_path']}:\n{now['log']}"
            )
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, 5)


def failure(job):
    """
    Put into words why a job is not done. Pure.

    job
        What :py:func:`status` returned, in state ``failed`` or ``absent``.

    Returns the sentence, with the end of the log.

    CLI Example:

    .. code-block:: bash

        salt east2 longjob.failure "$(salt-call --out=json longjob.status clone-1 | jq .local)"
    """
    if job["state"] == "absent":
        return f"systemd knows no job {job['name']}: never started, stopped, or the host has booted since"
    if job["outcome"] == "timeout":
        why = "ran out of time and was ended"
    elif job["rc"] is not None and job["rc"] < 0:
        why = f"was ended by the signal {_signal(-job['rc'])}"
    else:
        why = f"ended with exit code {job['rc']}"
    return f"The job {job['name']} {why} after {job['seconds']} s. End of {job['log_path']}:\n{job['log']}"


def _signal(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def stop(name):
    """
    End a job with everything it started, and forget it. Its log stays.

    name
        Name given to :py:func:`start`.

    Returns ``{"stopped": True if it was running, "before": its state}``. Raises CommandExecutionError if it
    still runs after two minutes.

    CLI Example:

    .. code-block:: bash

        salt east2 longjob.stop clone-1

    Follows systemctl(1).
    """
    before = status(name)["state"]
    if before != "absent":
        stop_each([name])
    return {"stopped": before == "running", "before": before}


def names(prefix):
    """
    Return the names of the jobs that begin so, running or ended; systemd forgets them when the host boots.

    prefix
        Beginning of the names, letters, digits and dashes, at least two of them.

    CLI Example:

    .. code-block:: bash

        salt west3 longjob.names copy-

    Follows systemctl(1).
    """
    if len(prefix) < 2:
        raise SaltInvocationError(f"{prefix!r} is too short to tell whose jobs are meant")
    pattern = _unit(prefix).removesuffix(".service") + "*.service"
    listed = _run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "--", pattern])
    if listed["retcode"] != 0:
        raise CommandExecutionError(f"systemd did not list {pattern}: {_words(listed)}")
    units = [line.split()[0] for line in listed["stdout"].splitlines() if line.strip()]
    return [unit.removeprefix("reprovision-").removesuffix(".service") for unit in units]


def stop_all(prefix):
    """
    End every job whose name begins so, with everything it started. Their logs stay.

    prefix
        Beginning of the names, letters, digits and dashes, at least two of them.

    Returns the names of those that were there. Raises CommandExecutionError if one still runs after two minutes.

    CLI Example:

    .. code-block:: bash

        salt west3 longjob.stop_all copy-0-

    Follows systemctl(1).
    """
    return stop_each(names(prefix))


def stop_each(jobs):
    """
    End several jobs, at the same time, with everything they started, and forget them. Their logs stay.

    jobs
        List of names given to :py:func:`start`.

    Returns the list. Raises CommandExecutionError if one still runs after two minutes.

    CLI Example:

    .. code-block:: bash

        salt west3 longjob.stop_each '[copy-0-1, copy-1-1]'

    Follows systemctl(1).
    """
    if jobs:
        _forget(*map(_unit, jobs))
    for name in jobs:
        after = status(name)["state"]
        if after != "absent":
            raise CommandExecutionError(f"The job {name} is {after} after systemctl stop")
    return jobs
