"""A tool that takes over another host's data at once."""

__virtualname__ = "tprovision"


def __virtual__():
    return __virtualname__


def job(run):
    """As the real one."""
    return f"tprovision-{run}"


def guard(source):
    """As the real one."""
    return {}


def start(source, run, method="xtrabackup", timeout=14400):
    """As the real one."""
    host = __salt__["topology.node"]()["host"]
    data = __salt__["world.look"]()["nodes"][source]["data"]
    __salt__["world.set_in"](["nodes", host, "data"], data, did="tprovision")
    return {"name": job(run), "state": "running"}


def replaced(run, method):
    """As the real one."""
    return True


def faults():
    """As the real one."""
    return []
