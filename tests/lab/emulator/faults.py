"""Faults on order: ``shared/faults.json`` makes a tool fail, lie, hang, print rubbish, or kill a process.

A list of rules such as
``{"host": "east1", "tool": "trepctl", "words": "reset", "how": "lie", "times": 1}``:
``host`` may be ``*``; ``words`` must all occur among the words of the call; ``how`` is ``fail``, ``lie``,
``hang``, ``garbage`` or ``kill:<process name>`` (which then goes on as usual); ``text`` is what a failure
prints; ``times`` counts down, and a rule without it holds for ever.
"""

import os
import signal
import sys
import time
from pathlib import Path

from . import config

TYPICAL = {
    "cctrl": "Exception encountered, details: operation failed",
    "trepctl": "Operation failed: null",
    "replicator": "Failed to send the command to Tungsten Replicator Service.",
    "tprovision": "ERROR >> Unable to provision: operation failed",
}


def _match(rule, tool, words):
    return (
        rule.get("host", "*") in ("*", config.host())
        and rule.get("tool", "*") in ("*", tool)
        and set(str(rule.get("words", "")).split()) <= set(" ".join(words).split())
        and rule.get("times", 1) > 0
    )


def _take(tool, words):
    path = config.shared("faults.json")
    if not path.exists():
        return None
    with config.locked(path):
        rules = config.read_state(path) or []
        rule = next((rule for rule in rules if _match(rule, tool, words)), None)
        if rule and "times" in rule:
            rule["times"] -= 1
            config.write_state(path, rules)
    return rule


def consult(tool, words):
    """Call once before a tool's work (cctrl: before each of its commands).

    Prints what the rule wants and returns the exit code with which the tool must end at once; None to go on.
    """
    rule = _take(tool, words)
    if rule is None:
        return None
    how = rule["how"]
    if how == "lie":
        return 0
    if how == "fail":
        print(rule.get("text", TYPICAL.get(tool, "Operation failed: null")))
        return 1
    if how == "garbage":
        sys.stdout.flush()
        sys.stdout.buffer.write(b"\x00\xff\xfe\x1b[2J\x80{[ state \xc3\x28 ONLI\n\x9d\x07]}\n")
        sys.stdout.buffer.flush()
        return 0
    if how == "hang":
        time.sleep(3600)
        return 1
    if how.startswith("kill:"):
        _kill(how.partition(":")[2])
        return None
    raise ValueError(f"faults.json: unknown fault {how!r}")


def _kill(name):
    """Kill this host's processes of one name; through sudo, since the tools run as the Tungsten user."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() != name:
                continue
        except OSError:
            continue
        try:
            os.kill(int(entry.name), signal.SIGKILL)
        except PermissionError:
            os.spawnlp(os.P_WAIT, "sudo", "sudo", "-n", "kill", "-KILL", entry.name)
