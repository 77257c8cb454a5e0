"""Appended to the project's own hostrecord module by the fixtures: what was emptied and copied is remembered in the
world, nothing else is."""
# ruff: noqa: F821 - these names are the real module's


def _host():
    return __salt__["topology.node"]()["host"]


def load(name):
    """As the real one. CLI Example: none, a stand-in."""
    return __salt__["world.look"]()["nodes"][_host()]["record"] if name == "ownership.json" else None


def save(name, content):
    """As the real one. CLI Example: none, a stand-in."""
    if name == "ownership.json":
        __salt__["world.set_in"](["nodes", _host(), "record"], content)
