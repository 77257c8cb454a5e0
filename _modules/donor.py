"""
The donor goes back to its site, also when nobody is left to tell it so.

A host that lends its data is out of service. When master, orchestration or this host's minion have died, nothing of
Salt would ever bring it back. So before a donor is taken, a systemd timer is left on it, with all that it needs lying
on this host: once the lease has run out and no copy is running, it applies the very SLS of the runbook's step 11. It
survives a boot. Step 11 itself takes the timer away again.
"""

import json
import os
import shutil
import sys
import time

import salt.utils.atomicfile
import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "donor"

HOME = "/var/lib/reprovision/donor"
LEASE = f"{HOME}/lease.json"
UNITS = "/etc/systemd/system"
NAME = "reprovision-donor"
SLS = "donor_given_back"
# Whoever copies looks after the copy's end whether it is complete; the server must not start in between.
AFTER_COPY = 60
SERVICE = """\
[Unit]
Description=Give this donor back to its site, if a re-provisioning has left it
[Service]
Type=oneshot
ExecStart={words}
TimeoutStartSec=1800
"""
TIMER = """\
[Unit]
Description=Look whether a re-provisioning has left this donor
[Timer]
OnActiveSec=30
OnUnitInactiveSec=30
[Install]
WantedBy=timers.target
"""


def __virtual__():
    if not salt.utils.path.which("systemctl"):
        return False, "donor: systemctl is not in the PATH"
    return __virtualname__


def _systemctl(*words):
    result = __salt__["cmd.run_all"](
        ["timeout", "--kill-after=5", "60", "systemctl", *words], python_shell=False, ignore_retcode=True)
    if result["retcode"]:
        raise CommandExecutionError(f"systemctl {words[0]} failed: {result['stderr'] or result['stdout']}")


def _write(path, text, mode=0o600):
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with salt.utils.atomicfile.atomic_open(path, "w") as stream:
        stream.write(text)
    # It has a mode of its own otherwise; until here the directory has kept others out.
    os.chmod(path, mode)


def _salt_call():
    """The program beside the minion's own, since an environment of its own need not be on systemd's PATH."""
    for folder in (os.path.dirname(sys.executable), os.path.dirname(os.path.abspath(sys.argv[0]))):
        path = os.path.join(folder, "salt-call")
        if os.access(path, os.X_OK):
            return path
    found = salt.utils.path.which("salt-call")
    if not found:
        raise CommandExecutionError("there is no salt-call on this host, with which the donor could be given back")
    return found


def lease():
    """
    Return the lease under which this host is lent, ``{"run", "until": epoch seconds}``, or None.

    CLI Example:

    .. code-block:: bash

        salt west3 donor.lease
    """
    try:
        with open(LEASE, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CommandExecutionError(f"{LEASE} is not readable as JSON: {error}") from error


def lend(loan, seconds):
    """
    Leave on this host what gives it back to its site by itself; again: make its lease longer.

    loan
        The pillar key ``reprovision_run`` of the run that takes this donor.
    seconds
        How long the lease holds from now. It is not the time of the copy: while one runs the donor is not given back.

    Returns the lease. Raises CommandExecutionError if it cannot be left here; the donor must not be taken then.

    CLI Example:

    .. code-block:: bash

        salt west3 donor.lend '{"run": "20261123-east", "failed": "east", "donor": "west3"}' 900
    """
    node = __salt__["topology.node"]()
    if not isinstance(loan, dict) or loan.get("donor") != node["host"]:
        raise SaltInvocationError(f"This host is {node['host']}, not the donor of this run")
    text = __salt__["cp.get_file_str"](f"salt://orch/node/{SLS}.sls")
    if not text:
        raise CommandExecutionError(f"the master does not serve salt://orch/node/{SLS}.sls")
    _write(f"{HOME}/files/{SLS}.sls", text)
    pillar = {"tungsten": __pillar__["tungsten"], "reprovision_run": loan}
    # JSON is YAML, and what stands in pillar must not be rendered once more.
    _write(f"{HOME}/pillar/top.sls", json.dumps({"base": {"*": ["lent"]}}))
    _write(f"{HOME}/pillar/lent.sls", "#!json\n" + json.dumps(pillar))
    words = [
        _salt_call(), "--local", f"--config-dir={os.path.dirname(os.path.abspath(__opts__['conf_file']))}",
        f"--file-root={HOME}/files", f"--pillar-root={HOME}/pillar", "--retcode-passthrough", "--log-level=warning",
        f"--log-file={HOME}/log", "donor.return_if_left",
    ]
    _write(f"{UNITS}/{NAME}.service", SERVICE.format(words=" ".join(words)), 0o644)
    _write(f"{UNITS}/{NAME}.timer", TIMER, 0o644)
    now = {"run": loan.get("run"), "until": int(time.time()) + int(seconds)}
    _write(LEASE, json.dumps(now))
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", "--quiet", f"{NAME}.timer")
    return now


def forget():
    """
    Take away what ``lend`` has left: this host is back in its site.

    Returns whether anything was there. Raises CommandExecutionError with systemctl's words.

    CLI Example:

    .. code-block:: bash

        salt west3 donor.forget
    """
    there = lease() is not None
    if os.path.exists(f"{UNITS}/{NAME}.timer"):
        _systemctl("disable", "--now", "--quiet", f"{NAME}.timer")
        for kind in ("timer", "service"):
            os.unlink(f"{UNITS}/{NAME}.{kind}")
        _systemctl("daemon-reload")
    shutil.rmtree(HOME, ignore_errors=True)
    return there


def return_if_left():
    """
    Give this host back to its site if a run has left it: its lease has run out, and no copy is running or just ended.

    Called by the timer that ``lend`` leaves, without a master.

    Returns what was found or done. Raises CommandExecutionError if it should have been given back and could not; the
    timer tries again.

    CLI Example:

    .. code-block:: bash

        salt-call --local donor.return_if_left
    """
    now = lease()
    if now is None:
        return "this host is not lent"
    left = now["until"] - time.time()
    if left > 0:
        return f"lent to run {now['run']} for {int(left)} more seconds"
    for name in __salt__["longjob.names"]("copy-"):
        job = __salt__["longjob.status"](name)
        if job["state"] == "running":
            return f"the copy {name} is running"
        if job["age"] is not None and job["age"] - job["seconds"] < AFTER_COPY:
            return f"the copy {name} has just ended"
    applied = __salt__["state.apply"](SLS)
    if not isinstance(applied, dict) or any(state["result"] is False for state in applied.values()):
        raise CommandExecutionError(f"this donor could not be given back: {_words(applied)}")
    return f"given back to its site, since run {now['run']} has left it"


def _words(applied):
    if not isinstance(applied, dict):
        return str(applied)
    return "; ".join(state["comment"] for state in applied.values() if state["result"] is False)
