"""Appended to the project's own datadir module by the fixtures: data that are one word, whose they are. The guards, the
record of what was emptied and copied, and the course of a copy are the real thing; no program is run, no path touched.
"""
# ruff: noqa: F821 - these names are the real module's

PLACE = {"datadir": {"path": "/nowhere/mysql", "files": []}}
OWNER = {"user": "mysql", "group": "mysql", "mode": "0750"}


def __virtual__():
    return __virtualname__


def _host():
    return __salt__["topology.node"]()["host"]


def _about(host=None):
    return __salt__["world.look"]()["nodes"][host or _host()]


def _load(name):
    return _about()["record"] if name == RECORD else None


def _save(name, content):
    if name == RECORD:
        __salt__["world.set_in"](["nodes", _host(), "record"], content)


def _marked(record):
    return _about()["marker"]


def _mark(record):
    __salt__["world.set_in"](["nodes", _host(), "marker"], record["run"], did="datadir.own")


def _target_record(node, host):
    return _about(host)["record"]


def _hand_over(node, host, record):
    __salt__["world.set_in"](["nodes", host, "record"], {**record, "state": "copied"})


def _guard_path(path, files, node):
    pass


def _foreign(name, place, settings):
    return []


def _owner(place):
    return {**place, **OWNER}


def _measure(place):
    entries = 1 if _about()["data"] else 0
    return {"path": place["path"], "entries": entries, "bytes": entries, "free": 9, "device": 1}


def _differences(node, place, target):
    host = target.partition("@")[2].partition(":")[0]
    return [] if _about(host)["data"] == _about()["data"] else [">f+++++++++ ibdata1"]


def _run(argv, seconds=None, failing=True, **kwargs):
    if "-delete" in argv:
        __salt__["world.set_in"](["nodes", _host(), "data"], "", did="datadir.empty")
    return {"retcode": 0, "stdout": "", "stderr": ""}


def locations():
    """As the real one. CLI Example: none, a stand-in."""
    return {name: dict(place) for name, place in PLACE.items()}
