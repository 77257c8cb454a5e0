"""Appended to the project's own datacopy module by the fixtures: the other host's record and data lie in the world. The
guards and the course of a copy are the real thing; no program is run."""
# ruff: noqa: F821 - these names are the real module's


def __virtual__():
    return __virtualname__


def _about(host):
    return __salt__["world.look"]()["nodes"][host]


def _target_record(node, host):
    return _about(host)["record"]


def _hand_over(node, host, record):
    __salt__["world.set_in"](["nodes", host, "record"], {**record, "state": "copied"})


def _differences(node, place, target):
    host = target.partition("@")[2].partition(":")[0]
    return [] if _about(host)["data"] == _about(node["host"])["data"] else [">f+++++++++ ibdata1"]
