"""Appended to the project's own longjob module by the fixtures: jobs that are done as soon as they are begun, unless
the world lets them fail or go on. Waiting for them and ending many is the real thing."""
# ruff: noqa: F821 - these names are the real module's

# Whose job it is, by its name; only the last one of a copy makes a whole of it.
KINDS = {"tprovision-": "tprovision", "copy-ahead-.*-again-": "datacopy.again", "copy-ahead-": "datacopy.ahead",
         "copy-files-": "datacopy.files", "copy-rest-": "datacopy.sync"}
INCOMPLETE = {"datacopy.ahead": "most of", "datacopy.again": "a moment ago", "datacopy.files": "the files of"}


def __virtual__():
    return __virtualname__


def _jobs():
    host = __salt__["topology.node"]()["host"]
    return ["nodes", host, "jobs"], __salt__["world.look"]()["nodes"][host]["jobs"]


def start(name, argv, user=None, deadline=None, well=()):
    """As the real one. CLI Example: none, a stand-in."""
    if status(name)["state"] == "running":
        raise CommandExecutionError(f"The job {name} is running: not started twice")
    path, _ = _jobs()
    did = next(did for kind, did in KINDS.items() if re.match(kind, name))
    if __salt__["world.look"]()["faults"].get(f"{__grains__['id']} {did}") == "hang":
        state = "running"
    else:
        try:
            _copy(did, argv)
            state = "done"
        except CommandExecutionError:
            state = "failed"
    __salt__["world.set_in"]([*path, name], state, did="longjob.start")
    return status(name)


def _copy(did, argv):
    """What rsync or tprovision does: these data there, or those here."""
    here = __salt__["topology.node"]()["host"]
    if did == "tprovision":
        source, target = argv[argv.index("-s") + 1], here
    else:
        source, target = here, argv[-1].partition("@")[2].partition(":")[0]
    nodes = __salt__["world.look"]()["nodes"]
    data = nodes[source]["data"]
    if did in INCOMPLETE:
        data = f"{INCOMPLETE[did]} {data}"
    __salt__["world.set_in"](["nodes", target, "data"], data, did=did)


def status(name):
    """As the real one. CLI Example: none, a stand-in."""
    state = _jobs()[1].get(name) or "absent"
    ended, known = state in ("done", "failed"), state != "absent"
    return {
        "name": name, "unit": _unit(name), "state": state, "rc": (23 if state == "failed" else 0) if ended else None,
        "outcome": ("exit-code" if state == "failed" else "success") if ended else None,
        "seconds": 1.0 if known else None, "age": 1.0 if known else None,
        "log": "  1,234,567  45%   10.00MB/s    0:00:10" if known else "", "log_path": _log(name),
    }


def stop(name):
    """As the real one. CLI Example: none, a stand-in."""
    before = status(name)["state"]
    if before != "absent":
        __salt__["world.set_in"]([*_jobs()[0], name], None, did="longjob.stop")
    return {"stopped": before == "running", "before": before}


def stop_each(jobs):
    """As the real one. CLI Example: none, a stand-in."""
    for name in jobs:
        stop(name)
    return jobs


def names(prefix):
    """As the real one. CLI Example: none, a stand-in."""
    return [name for name, state in _jobs()[1].items() if state and name.startswith(prefix)]
