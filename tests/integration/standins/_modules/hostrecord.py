"""Appended to the project's own hostrecord module by the fixtures: what was emptied and copied, and when a copy ahead
began, is remembered in the world, nothing else is."""
# ruff: noqa: F821 - these names are the real module's


def folder():
    """As the real one: one that is there. CLI Example: none, a stand-in."""
    return __opts__["cachedir"]


def _where(name):
    """Whose record it is, and what the world calls it; None for what nobody here asks for again."""
    host = __salt__["topology.node"]()["host"]
    if name.startswith("target-"):
        return ["nodes", name.removeprefix("target-").removesuffix(".json"), "record"]
    return {"ownership.json": ["nodes", host, "record"], "ahead.json": ["nodes", host, "ahead"]}.get(name)


def load(name):
    """As the real one. CLI Example: none, a stand-in."""
    where = _where(name)
    return __salt__["world.look"]()[where[0]][where[1]][where[2]] if where else None


def save(name, content):
    """As the real one. CLI Example: none, a stand-in."""
    where = _where(name)
    if where:
        __salt__["world.set_in"](where, content)
