"""Fake: a job runs in the foreground and has ended when it has been started."""

from salt.exceptions import CommandExecutionError


def _jobs():
    return __context__.setdefault("jobs", {})


def status(name):
    return _jobs().get(name, {"name": name, "state": "absent", "rc": None, "seconds": None, "log": ""})


def start(name, argv, user=None, deadline=None, well=()):
    ended = __salt__["cmd.run_all"](argv, python_shell=False, ignore_retcode=True)
    _jobs()[name] = {"name": name, "state": "done" if ended["retcode"] in (0, *well) else "failed",
                     "rc": ended["retcode"], "seconds": 0.0, "log": ended["stdout"] + ended["stderr"]}


def failure(job):
    return job["log"]


def stop(name):
    return {"stopped": False, "before": _jobs().pop(name, {"state": "absent"})["state"]}


def names(prefix):
    return [name for name in _jobs() if name.startswith(prefix)]


def stop_each(jobs):
    return [name for name in jobs if stop(name)]


def stop_all(prefix):
    return stop_each(names(prefix))


def wait(name, timeout):
    now = status(name)
    if now["state"] != "done":
        raise CommandExecutionError(failure(now))
    return now
