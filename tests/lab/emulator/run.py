"""What every emulated tool does around its work: the delay, the faults, the record of the call."""

import sys
import time

from . import config, faults


def tool(name, words, work):
    """Run ``work()`` as the call ``name words…`` and return its exit code."""
    started = time.monotonic()
    rc = None
    try:
        config.delay(name)
        rc = faults.consult(name, words)
        if rc is None:
            rc = work()
        return rc
    finally:
        sys.stdout.flush()
        config.record_call(name, words, rc, time.monotonic() - started)
