"""The lab's Salt: wait for its minions, give them the extension."""

import json
import time

from . import hosts
from .plan import MASTER
from .shell import LabError, say


def ready(lab, timeout=120):
    """Return when every minion answers and has the modules of this checkout."""
    expected = set(lab.hosts()) - {MASTER}
    deadline = time.monotonic() + timeout
    missing = expected
    while missing:
        if time.monotonic() > deadline:
            raise LabError(f"these minions do not answer: {', '.join(sorted(missing))}")
        answers = call(lab, ["salt", "*", "test.ping", "--timeout=3", "--static", "--out=json"])
        missing = expected - {minion for minion, value in answers.items() if value is True}
    sync(lab)


def sync(lab):
    """What an operator does after every upgrade: master first, then the minions."""
    # A file that has just been saved in the checkout would else be noticed some seconds later.
    call(lab, ["salt-run", "fileserver.clear_file_list_cache", "--out=json"])
    call(lab, ["salt-run", "saltutil.sync_all", "--out=json"])
    answers = call(lab, ["salt", "*", "saltutil.sync_all", "--timeout=60", "--static", "--out=json"])
    silent = set(lab.hosts()) - {MASTER} - set(answers)
    if silent:
        raise LabError(f"not synced: {', '.join(sorted(silent))}")
    call(lab, ["salt", "*", "saltutil.refresh_pillar", "wait=True", "--timeout=60", "--static", "--out=json"])
    say("  minions answer and are synced: done")


def call(lab, argv, timeout=300):
    """A Salt command on the master; its JSON as Python."""
    return answer(lab, argv, timeout)[1]


def answer(lab, argv, timeout=300):
    """A Salt command on the master: its exit code, its JSON as Python, and what it said on stderr."""
    done = hosts.execute(lab, MASTER, argv, capture=True, timeout=timeout)
    text = done.stdout
    start = min((text.find(mark) for mark in "{[" if mark in text), default=-1)
    if start < 0:
        return done.returncode, {}, done.stderr
    try:
        return done.returncode, json.loads(text[start:]), done.stderr
    except ValueError:
        raise LabError(f"{' '.join(argv)} did not answer JSON: {text[-500:]}{done.stderr[-500:]}") from None


def last_words(text):
    """How a run ended, from what the orchestration answered: the failed step's comment."""
    try:
        # Salt's own farewells may follow the JSON.
        answer, _ = json.JSONDecoder().raw_decode(text, text.index('{\n'))
        states = next(iter(answer["data"].values()))
        failed = [state for state in states.values() if state["result"] is False]
        return (failed[0]["name"] + ": " + failed[0]["comment"])[:600] if failed else "completed"
    except (ValueError, KeyError, AttributeError, TypeError):
        return text.strip()[-300:] or "no answer"
