"""The emulated ``replicator`` script, which starts and stops a replicator process."""

from . import config, run
from .replicator import Replicator

_NAME = "Tungsten Replicator Service"


def _start(replicator, words):
    if replicator.running:
        print("Replicator is already started")
        return 1
    print(f"Starting {_NAME}...", flush=True)
    replicator.start(offline="offline" in words)
    print(f"Waiting for {_NAME}.\nrunning: PID:{replicator.pid}")
    return 0


def _stop(replicator):
    print(f"Stopping {_NAME}...", flush=True)
    if not replicator.running:
        print(f"{_NAME} is not running.")
        return 0
    replicator.stop()
    print(f"Stopped {_NAME}.")
    return 0


def _status(replicator):
    if not replicator.running:
        print(f"{_NAME} is not running.")
        return 1
    print(f"{_NAME} is running: PID:{replicator.pid}, Wrapper:STARTED, Java:STARTED")
    return 0


def _condrestart(replicator, words):
    if not replicator.running:
        print(f"Stopping {_NAME}...\n{_NAME} was not running.")
        return 1
    return _restart(replicator, words)


def _restart(replicator, words):
    _stop(replicator)
    return _start(replicator, words)


def _work(replicator, words):
    command = words[0] if words else ""
    if command == "start":
        return _start(replicator, words[1:])
    if command == "stop":
        return _stop(replicator)
    if command == "status":
        return _status(replicator)
    if command == "restart":
        return _restart(replicator, words[1:])
    if command == "condrestart":
        return _condrestart(replicator, words[1:])
    print("Usage: replicator { console | start [offline] | stop | restart | condrestart | status | dump }")
    return 1


def main(argv, program):
    """``program``: the path of the tool as started, which tells which of the two replicators is meant."""
    replicator = Replicator(config.host(), config.which(program))
    return run.tool("replicator", argv, lambda: _work(replicator, argv))
