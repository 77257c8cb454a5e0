"""Appended to the project's own donor module by the fixtures: the lease lies in the world, no timer is left on this
machine. What is refused, and what would be left on the donor, is made by the real thing."""
# ruff: noqa: F821 - these names are the real module's


def __virtual__():
    return __virtualname__


def _set(lease_or_none, did):
    __salt__["world.set_in"](["nodes", __salt__["topology.node"]()["host"], "lease"], lease_or_none, did=did)


def _systemctl(*words):
    pass


def _write(path, text, mode=0o600):
    if path == LEASE:
        _set(json.loads(text), "donor.lend")


def lease():
    """As the real one. CLI Example: none, a stand-in."""
    return __salt__["world.look"]()["nodes"][__salt__["topology.node"]()["host"]]["lease"]


def forget():
    """As the real one. CLI Example: none, a stand-in."""
    there = lease() is not None
    if there:
        _set(None, "donor.forget")
    return there
