"""One table of one row: the node's word. Its key is 1, whatever the word."""

__virtualname__ = "tabledata"

NAME, KEY = "app.words", "1"


def __virtual__():
    return __virtualname__


def _word():
    return __salt__["world.look"]()["nodes"][__salt__["topology.node"]()["host"]]["data"]


def tables(names=None):
    """As the real one."""
    if names is not None and NAME not in names:
        return {}
    return {NAME: {"key": [["id", "number"]], "ranges": True, "locks": False, "rows": 1, "fingerprint": "f"}}


def definitions(names):
    """As the real one."""
    columns = {"id": "int NOT NULL", "word": "text NULL"}
    return {name: {"columns": columns, "key": "id"} for name in names if name == NAME}


def bounds(wanted, rows, most):
    """As the real one: one part a table."""
    return [{"table": each["table"], "after": each["after"], "upto": None} for each in wanted[:most]]


def checksums(parts, share=100):
    """As the real one."""
    return [[1, _word(), 0.001] for _ in parts]


def buckets(parts, share=100):
    """As the real one."""
    return [{"0": [1, _word()]} for _ in parts]


def rows(parts):
    """As the real one."""
    return [{KEY: _word()} if "0" in part["only"] else {} for part in parts]


def by_key(wanted):
    """As the real one."""
    return {name: {key: _word() for key in keys if key == KEY} for name, keys in wanted.items()}
