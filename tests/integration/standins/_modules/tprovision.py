"""Appended to the project's own tprovision module by the fixtures: a tool that is there, plays by longjob's stand-in,
and notes what was filled in the world. Its guards and its judgement of the node are the real thing."""
# ruff: noqa: F821 - these names are the real module's


def path():
    """As the real one. CLI Example: none, a stand-in."""
    return "/nowhere/tprovision"


def replaced(run, method):
    """As the real one. CLI Example: none, a stand-in."""
    return True


def note_filled(source, run):
    """As the real one. CLI Example: none, a stand-in."""
    job(run)
    note = {"source": source, "run": run}
    return __salt__["world.set_in"](["nodes", __salt__["topology.node"]()["host"], "filled"], note)


def filled(source, run):
    """As the real one. CLI Example: none, a stand-in."""
    note = __salt__["world.look"]()["nodes"][__salt__["topology.node"]()["host"]]["filled"]
    return note == {"source": source, "run": run}
