"""Appended to the project's own dataguard module by the fixtures: there is no directory to look at. Whether the
server is stopped, the cluster out of use and the order for this host is proved by the real thing."""
# ruff: noqa: F821 - these names are the real module's


def __virtual__():
    return __virtualname__


def _guard_path(path, files, node):
    pass


def _foreign(name, place, named):
    return []
