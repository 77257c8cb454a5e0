"""A server that is up or down."""

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


def stop(timeout=600):
    """As the real one."""
    __salt__["world.set_in"](["nodes", _host(), "mysqld"], False, did="mysqld.stop")


def start(timeout=600):
    """As the real one."""
    __salt__["world.set_in"](["nodes", _host(), "mysqld"], True, did="mysqld.start")
