"""Appended to the project's own datalocation module by the fixtures: one location, whose data are one word. No program
is run, no path touched."""
# ruff: noqa: F821 - these names are the real module's

PLACE = {"datadir": {"path": "/nowhere/mysql", "files": []}}


def __virtual__():
    return __virtualname__


def _run(argv, **kwargs):
    return ""


def locations():
    """As the real one. CLI Example: none, a stand-in."""
    return {name: dict(place) for name, place in PLACE.items()}


def measure(place):
    """As the real one. CLI Example: none, a stand-in."""
    about = __salt__["world.look"]()["nodes"][__salt__["topology.node"]()["host"]]
    entries = 1 if about["data"] else 0
    return {"path": place["path"], "entries": entries, "bytes": entries, "free": 9, "device": 1}
