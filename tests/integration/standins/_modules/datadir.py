"""Data that are one word: whose they are."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "datadir"
PLACE = {"datadir": {"path": "/nowhere/mysql", "files": []}}


def __virtual__():
    return __virtualname__


def _host():
    return __salt__["topology.node"]()["host"]


def _data(host=None):
    return __salt__["world.look"]()["nodes"][host or _host()]["data"]


def _set(host, value, did):
    return __salt__["world.set_in"](["nodes", host, "data"], value, did=f"datadir.{did}")


def check(site=None, donor=None):
    """As the real one."""
    if site is not None and __salt__["topology.node"]()["site"] != site:
        raise CommandExecutionError(f"This host is not of the failed site {site}")
    return PLACE


def contents():
    """As the real one."""
    entries = 1 if _data() else 0
    return {"datadir": {"path": "/nowhere/mysql", "entries": entries, "bytes": entries, "free": 9}}


def empty(site, donor):
    """As the real one."""
    check(site, donor)
    if __salt__["mysqld.ping"]():
        raise CommandExecutionError("the server is not stopped")
    _set(_host(), "", "empty")


def differences(host, site):
    """As the real one."""
    return [] if _data(host) == _data() else [">f+++++++++ ibdata1"]


def sync(host, site, run, timeout=86400):
    """As the real one."""
    if _data(host):
        raise CommandExecutionError(f"{host} has not been emptied")
    _set(host, _data(), "sync")


def misowned():
    """As the real one."""
    return []


def own():
    """As the real one."""
    return []
