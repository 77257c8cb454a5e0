"""One table of one row: the node's word."""

__virtualname__ = "tabledata"


def __virtual__():
    return __virtualname__


def _word():
    return __salt__["world.look"]()["nodes"][__salt__["topology.node"]()["host"]]["data"]


def tables():
    """As the real one."""
    return {"app.words": {"rows": 1, "fingerprint": "f"}}


def checksums(buckets):
    """As the real one."""
    return {name: {"0": [1, _word()]} for name in buckets}


def rows(wanted):
    """As the real one."""
    return {name: {"1": _word()} for name in wanted}
