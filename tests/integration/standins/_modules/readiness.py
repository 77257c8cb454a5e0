"""Appended to the project's own readiness module by the fixtures: what sudo, ssh and systemctl say is in the world.
Everything but ``_run`` is the real thing, and asks the other stand-ins."""
# ruff: noqa: F821 - these names are the real module's


def _run(argv, seconds):
    world = __salt__["world.look"]()
    if argv[0] == "systemctl":
        jobs = world["nodes"][__salt__["topology.node"]()["host"]]["jobs"]
        rows = [f"reprovision-{name}.service loaded active running x" for name, state in jobs.items()
                if state == "running"]
        return {"retcode": 0, "stdout": "\n".join(rows), "stderr": ""}
    tool = "ssh" if "ssh" in argv else "sudo"
    if world["faults"].get(f"{__grains__['id']} {tool}") == "fail":
        return {"retcode": 1, "stdout": "", "stderr": f"{tool}: this is not allowed"}
    return {"retcode": 0, "stdout": "rsync  version 3.2.7", "stderr": ""}
