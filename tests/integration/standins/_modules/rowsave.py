"""Remembers what it was told to save, and the word that the node had then."""

__virtualname__ = "rowsave"


def __virtual__():
    return __virtualname__


def save(name, rows):
    """As the real one."""
    host = __salt__["topology.node"]()["host"]
    word = __salt__["world.look"]()["nodes"][host]["data"]
    saved = {"name": name, "rows": rows, "word": word}
    __salt__["world.set_in"](["nodes", host, "saved"], saved, did="rowsave.save")
    return {"path": f"/nowhere/saved/{name}.sql", "rows": len(rows), "tables": {table: 1 for table in rows}}
