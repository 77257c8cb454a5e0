"""Appended to the project's own datacopy module by the fixtures: the data lie in the world. The guards and the course
of a copy, ahead and at rest, are the real thing; no program is run."""
# ruff: noqa: F821 - these names are the real module's


def __virtual__():
    return __virtualname__


def _run(argv):
    return {"retcode": 0, "stdout": "", "stderr": ""}


def _differences(place, target):
    nodes = __salt__["world.look"]()["nodes"]
    host = target.partition("@")[2].partition(":")[0]
    here = __salt__["topology.node"]()["host"]
    return [] if nodes[host]["data"] == nodes[here]["data"] else [">f+++++++++ ibdata1"]
