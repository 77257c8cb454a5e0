"""Run the standard tools the lab is made of; say what failed in the tool's own words."""

import subprocess
import sys


class LabError(Exception):
    """Something that the person at the keyboard has to know; shown as one line."""


def run(argv, timeout=600, check=True, **kwargs):
    """Run ``argv`` and return the finished process, its output as text."""
    argv = [str(word) for word in argv]
    try:
        done = subprocess.run(
            argv, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=timeout, **kwargs
        )
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed (tests/setup installs what the lab needs)") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(argv)}: no end within {timeout} s") from None
    if check and done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
        raise LabError(f"{' '.join(argv[:6])} … ended with {done.returncode}: " + "\n  ".join(words))
    return done


def say(text):
    """Progress goes to stderr: stdout stays clean for what was asked."""
    print(text, file=sys.stderr, flush=True)
