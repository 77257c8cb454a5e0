"""The little world that the stand-ins share: sites, datasources, services and servers in one JSON file."""

import fcntl
import json
import random
from contextlib import contextmanager

from salt.exceptions import CommandExecutionError

__virtualname__ = "world"


def __virtual__():
    return __virtualname__


@contextmanager
def _opened(change):
    path = __opts__["reprovision_world"]
    with open(path, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = json.load(file)
        yield state
        if change:
            file.seek(0)
            file.truncate()
            json.dump(state, file, indent=1)


def look():
    """The whole state."""
    with _opened(change=False) as state:
        return state


def set_in(path, value, did=None):
    """Set ``state[path[0]][path[1]]…`` and journal what was done, unless this node's tool is told to misbehave."""
    node = __grains__["id"]
    with _opened(change=True) as state:
        how = state["faults"].get(f"{node} {did}")
        if how == "fail":
            raise CommandExecutionError(f"{did} says: this cannot be done at {random.randrange(10, 99)} past")
        if how == "lie":
            return False
        target = state
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value
        if did:
            state["journal"].append([node, did, *[str(part) for part in path[1:]], str(value)])
        return True
