"""
Fill this replica from another host of its site with the vendor's ``tprovision``.

The tool runs on the host to be filled, for hours, and may ask things on a terminal. So it runs detached, as a
``longjob`` with its standard input closed, and is found again by the run it belongs to. What it has done is
judged by the node's state, not by its exit code alone.

:configuration: the pillar key ``tungsten``, read with ``topology.node``.
"""

import json
import os
import re

import salt.utils.atomicfile
import salt.utils.files
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "tprovision"

RUN = re.compile(r"[A-Za-z0-9-]{1,64}")
METHODS = ("xtrabackup", "mysqldump", "rsync", "mysqlclone")
# These replace the server's files, so it cannot have been up all the while.
RESTARTS = ("xtrabackup", "rsync", "mysqlclone")
# The unit of a job is forgotten when its host boots; this is not.
NOTE = "/var/lib/reprovision/filled.json"
PLACES = ("tungsten-replicator/bin", "tungsten-replicator/scripts", "cluster-home/bin")


def __virtual__():
    # Its directory is in pillar, which may change without a new load: each call looks for the file itself.
    return __virtualname__


def path():
    """
    Return the path of ``tprovision`` of this host's cluster installation.

    Raises CommandExecutionError with the paths looked for: releases before 7.0 do not have it.

    CLI Example:

    .. code-block:: bash

        salt east2 tprovision.path

    Manual: cmdline-tools-tprovision.
    """
    home = __salt__["topology.node"]()["cluster_home"]
    paths = [os.path.join(home, "tungsten", place, "tprovision") for place in PLACES]
    for found in paths:
        if os.path.isfile(found):
            return found
    raise CommandExecutionError(f"There is no tprovision (release 7.0 on); looked for {', '.join(paths)}")


def job(run):
    """
    Return the name of the ``longjob`` that belongs to a run on this host.

    run
        Identifier of the run, 1 to 64 letters, digits and dashes.

    CLI Example:

    .. code-block:: bash

        salt east2 tprovision.job 20260101-east
    """
    if not isinstance(run, str) or not RUN.fullmatch(run):
        raise SaltInvocationError(f"{run!r} cannot name a run: 1 to 64 letters, digits and dashes")
    return f"tprovision-{run}"


def guard(source):
    """
    Assert that this host may be filled from another one now.

    source
        Tungsten's name of the host to copy from.

    Returns this host's datasource as ``cctrl.ls`` has it. Raises CommandExecutionError with every reason
    against it: the site is not in MAINTENANCE, this host is its primary, the source is not an ONLINE
    datasource of the same site, a cross-site service of this host is not OFFLINE.

    CLI Example:

    .. code-block:: bash

        salt east2 tprovision.guard east1

    Manual: operations-recovery-replica-reprovision.
    """
    node = __salt__["topology.node"]()
    here = node["host"]
    seen = __salt__["cctrl.ls"]()
    sources, faults = seen["datasources"], []
    if source == here or source not in __salt__["topology.get"]()["sites"][node["site"]]["nodes"]:
        faults.append(f"{source!r} is not another host of the site {node['site']}")
    elif (state := sources.get(source, {}).get("state", "missing")) != "ONLINE":
        faults.append(f"the datasource {source} to copy from is {state}")
    if here not in sources:
        faults.append(f"cctrl does not list {here}")
    elif sources[here]["role"] != "slave":
        faults.append(f"{here} is {sources[here]['role']}; only a replica may be overwritten")
    policy = (seen.get("coordinator") or {}).get("policy")
    if policy != "MAINTENANCE":
        faults.append(f"the policy of {node['site']} is {policy}, not MAINTENANCE")
    for service, now in sorted(__salt__["trepctl.services"]("cross_site").items()):
        if not now["state"].startswith("OFFLINE"):
            faults.append(f"the cross-site service {service} is {now['state']}, not OFFLINE")
    if faults:
        raise CommandExecutionError("This host must not be filled now: " + "; ".join(faults))
    return sources[here]


def start(source, run, method="xtrabackup", timeout=14400):
    """
    Start ``tprovision -s SOURCE -m METHOD`` on this host and return at once. Overwrites this host's data.

    source
        Tungsten's name of the host to copy from.
    run
        Identifier of the run, 1 to 64 letters, digits and dashes.
    method
        ``xtrabackup``, ``mysqldump``, ``rsync`` or ``mysqlclone``.
    timeout
        Seconds after which it is ended.

    Returns what ``longjob.status`` returns. Raises CommandExecutionError if :py:func:`guard` speaks against
    it or it is running already.

    CLI Example:

    .. code-block:: bash

        salt east2 tprovision.start east1 20260101-east xtrabackup

    Manual: cmdline-tools-tprovision.
    """
    if method not in METHODS:
        raise SaltInvocationError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    name, tool = job(run), path()
    guard(source)
    return __salt__["longjob.start"](
        name,
        [tool, "-s", source, "-m", method],
        user=__salt__["topology.node"]()["user"],
        deadline=timeout,
    )


def replaced(run, method):
    """
    Tell whether the server was restarted since the job of a run began, as replacing its files needs.

    A tool that ended well without having done anything is found out by it.

    run
        Identifier of the run.
    method
        As given to :py:func:`start`.

    Returns True or False; True with ``mysqldump``, which needs no restart. Raises CommandExecutionError if
    there is no such job or MySQL does not answer.

    CLI Example:

    .. code-block:: bash

        salt east2 tprovision.replaced 20260101-east xtrabackup
    """
    if method not in RESTARTS:
        return True
    now = __salt__["longjob.status"](job(run))
    if now["state"] == "absent":
        raise CommandExecutionError(f"There is no job {now['name']} on this host")
    uptime = __salt__["mysqld.query"]("SHOW GLOBAL STATUS LIKE 'Uptime'")[0]["Value"]
    # the server counts whole seconds
    return int(uptime) <= now["age"] + 1


def faults():
    """
    Tell what speaks against this host being a serving replica.

    Returns a list of texts, empty if all is well. Raises CommandExecutionError if cctrl or trepctl does not
    answer.

    CLI Example:

    .. code-block:: bash

        salt east2 tprovision.faults
    """
    node = __salt__["topology.node"]()
    source = __salt__["cctrl.ls"]()["datasources"].get(node["host"], {})
    service = __salt__["trepctl.services"]("cluster").get(node["service"], {})
    states = {
        "MySQL": "ONLINE" if __salt__["mysqld.ping"]() else "not answering",
        "its datasource": source.get("state"),
        "its data server": source.get("dataserver"),
        "its replicator, as cctrl sees it,": (source.get("replicator") or {}).get("state"),
        f"its service {node['service']}": service.get("state"),
    }
    return [f"{what} is {state or 'missing'}" for what, state in states.items() if state != "ONLINE"]


def note_filled(source, run):
    """
    Note on this host that it was filled in a run, for when systemd has forgotten the job: the host has booted since.

    source
        Tungsten's name of the host it was filled from.
    run
        Identifier of the run.

    Returns True. Raises OSError if it cannot be written.

    CLI Example:

    .. code-block:: bash

        salt east2 tprovision.note_filled east1 20260101-east
    """
    job(run)
    os.makedirs(os.path.dirname(NOTE), mode=0o700, exist_ok=True)
    with salt.utils.atomicfile.atomic_open(NOTE, "w") as stream:
        stream.write(json.dumps({"source": source, "run": run}))
    return True


def filled(source, run):
    """
    Tell whether it is noted on this host that it was filled from a host in a run.

    source
        Tungsten's name of the host it was filled from.
    run
        Identifier of the run.

    CLI Example:

    .. code-block:: bash

        salt east2 tprovision.filled east1 20260101-east
    """
    try:
        with salt.utils.files.fopen(NOTE, encoding="utf-8") as stream:
            return json.load(stream) == {"source": source, "run": run}
    except FileNotFoundError:
        return False
    except ValueError as error:
        raise CommandExecutionError(f"{NOTE} is not readable as JSON: {error}") from error
