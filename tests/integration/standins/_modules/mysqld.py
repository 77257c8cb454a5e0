"""A server that is up or down."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "mysqld"


def __virtual__():
    return __virtualname__


def _host():
    return __salt__["topology.node"]()["host"]


def ping(timeout=10):
    """As the real one."""
    return __salt__["world.look"]()["nodes"][_host()]["mysqld"]


def status():
    """As the real one."""
    return {"unit": "mariadb", "active": "active" if ping() else "inactive", "result": "success", "running": ping(),
            "processes": []}


def processes(directory=None):
    """As the real one."""
    return []


def query(sql, timeout=60):
    """As the real one: no session but this one."""
    if not ping():
        raise CommandExecutionError("the client says: Can't connect to local server")
    return []


def variables(names, timeout=30):
    """As the real one: the same of every server."""
    query("")
    return {name: "8.0.36" if name == "version" else "0" for name in names}


def stop(timeout=600):
    """As the real one."""
    __salt__["world.set_in"](["nodes", _host(), "mysqld"], False, did="mysqld.stop")


def start(timeout=600):
    """As the real one."""
    __salt__["world.set_in"](["nodes", _host(), "mysqld"], True, did="mysqld.start")
