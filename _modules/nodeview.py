"""
What this node's tools show: its place in the topology, cctrl's listing, the services of both replicators.

Runs on the nodes and only reads. Whoever wants to know all of it from the master asks each node once, not once a tool.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "nodeview"

PARTS = {
    "cctrl": ("cctrl.ls", {}),
    "cluster": ("trepctl.services", {"which": "cluster", "full": True}),
    "cross_site": ("trepctl.services", {"which": "cross_site", "full": True}),
}


def __virtual__():
    return __virtualname__


def look(parts=None, timeout=None):
    """
    Read what the tools of this node show. What cannot be read is a fault, not an exception, and hides nothing else.

    parts
        List of ``cctrl``, ``cluster``, ``cross_site``: whose tools are asked. All if not given. A node that the
        topology does not know has none of them, and none is asked.
    timeout
        Seconds for each tool; each has its own limit if not given.

    Returns ``{"answers": {"node": as ``topology.node`` returns it, "cctrl": as ``cctrl.ls``, "cluster" and
    "cross_site": as ``trepctl.services`` (full)}, "faults": {the same keys: text}}``; what was asked for is in exactly
    one of the two. Raises SaltInvocationError for a part that there is not.

    CLI Example:

    .. code-block:: bash

        salt east1 nodeview.look
        salt east1 nodeview.look parts='[cluster, cross_site]'

    Manual: operations-status, cmdline-tools-trepctl-command-services.
    """
    parts = list(PARTS) if parts is None else parts
    if not isinstance(parts, list) or not set(parts) <= set(PARTS):
        raise SaltInvocationError(f"parts must be a list of some of {', '.join(PARTS)}, not {parts!r}")
    answers, faults = {}, {}

    def read(part, function, kwarg):
        if function not in __salt__:
            faults[part] = f"{function} is not available here: salt {__grains__['id']} saltutil.sync_all"
            return
        try:
            answers[part] = __salt__[function](**kwarg)
        except CommandExecutionError as error:
            faults[part] = str(error)

    read("node", "topology.node", {})
    if "node" in answers:
        limit = {} if timeout is None else {"timeout": timeout}
        for part in parts:
            function, kwarg = PARTS[part]
            read(part, function, {**kwarg, **limit})
    return {"answers": answers, "faults": faults}
