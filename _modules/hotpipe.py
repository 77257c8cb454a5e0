"""
Two commands as one: what the first writes goes to the second, and only if both end well it counts.

The execution module only builds the order. What carries it out is this very file, run by the minion's Python within a
``longjob``: no shell sees a word of the two commands, the exit code of each counts, what the first one has to say at
its end is looked for, and the bytes are counted on their way, in lines as rsync prints them. Nothing of Salt is needed.
"""

import collections
import json
import os
import re
import subprocess
import sys
import threading
import time

__virtualname__ = "hotpipe"

CHUNK = 1 << 20
# Seconds between two lines of progress.
EVERY = 2
# What the backup tools say of each file they take, which would drive everything else out of a log's end.
CHATTER = re.compile(rb" Streaming |\.\.\.done\s*$| Done: |log scanned up to| copied successfully| Copied file ")
# Seconds for each try to tell the end, and between two of them.
TELLING = 60
AGAIN = 10
TRIES = 3


def __virtual__():
    return __virtualname__


def argv(source, sink, said, then, expected, bwlimit=0):
    """
    Return the argv of a pipeline, for ``longjob.start``. Pure.

    source
        argv of the command whose output is sent.
    sink
        argv of the command that takes it.
    said
        What the last line that ``source`` writes to its standard error has to hold; its exit code alone proves little.
    then
        argv of a command to run once both have ended well, three times at most. If it fails too, the pipeline has still
        ended well: it may be run again.
    expected
        How many bytes will come, about; for the percentage.
    bwlimit
        Megabytes a second at most; 0 for no limit.

    Returns a list of words. The pipeline ends with 0 only if both commands did, ``said`` was said, and ``sink`` has not
    said anything: mbstream ends with 0 although it could not make a file. When one of them dies the other is ended.

    CLI Example:

    .. code-block:: bash

        salt west3 hotpipe.argv '[echo, data]' '[cat]' 'completed OK!' '["true"]' 5
    """
    order = {"source": source, "sink": sink, "said": said, "then": then, "expected": expected,
             "bwlimit": bwlimit}  # fmt: skip
    # Isolated: the modules of this directory have names that hide Python's own.
    return [sys.executable, "-I", os.path.abspath(__file__), json.dumps(order)]


# --- within the unit


def _say(text):
    # In one piece, whoever else writes to the log.
    os.write(1, text.encode() + b"\n")


def _listen(stream, heard):
    for line in stream:
        if not CHATTER.search(line) and line.strip():
            heard.append(line.decode("utf-8", "replace").strip())
            os.write(1, line)


def _progress(sent, expected, rate, seconds, share=None):
    if share is None:
        # It is a guess: logs stay behind, changes of the meantime come along.
        share = min(99, sent * 100 // max(expected, 1))
    clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    _say(f"{sent:>15,} {share:>3}% {rate / 1024**2:>7.2f}MB/s {clock:>10}")


def _pump(source, sink, expected, bwlimit):
    """Returns (bytes sent, whether the taking side was there to the end)."""
    began = told = time.monotonic()
    sent = told_sent = 0
    try:
        while chunk := os.read(source.fileno(), CHUNK):
            sink.write(chunk)
            sent += len(chunk)
            now = time.monotonic()
            if bwlimit and (ahead := began + sent / (bwlimit * 1e6) - now) > 0:
                time.sleep(ahead)
            if now - told >= EVERY:
                _progress(sent, expected, (sent - told_sent) / (now - told), int(now - began))
                told, told_sent = now, sent
        sink.close()
    except BrokenPipeError:
        return sent, False
    seconds = time.monotonic() - began
    _progress(sent, expected, sent / max(seconds, 0.001), int(seconds), 100)
    return sent, True


def _work(order):
    """Returns what went wrong, a list of texts."""
    source = subprocess.Popen(
        order["source"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    sink = subprocess.Popen(
        order["sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    heard, complaints = collections.deque(maxlen=1), collections.deque(maxlen=1)
    listeners = [threading.Thread(target=_listen, args=words)
                 for words in ((source.stderr, heard), (sink.stdout, complaints))]
    for listener in listeners:
        listener.start()
    sent, taken = _pump(source.stdout, sink.stdin, order["expected"], order["bwlimit"])
    if not taken:
        # It may be waiting, with locks in its hand, and would write nothing for long.
        source.terminate()
    source.stdout.close()
    codes = source.wait(), sink.wait()
    for listener in listeners:
        listener.join()
    if not taken:
        return [f"after {sent} bytes the taking side was gone, exit code {codes[1]}"]
    wrong = [f"{what} ended with exit code {code}" for what, code in zip(("sending", "taking"), codes) if code]
    if complaints:
        wrong.append(f"the taking side has said: {complaints[0]}")
    if order["said"] not in (heard[0] if heard else ""):
        wrong.append(f"the sending side has not said {order['said']!r} at its end")
    return wrong


def _tell(argv):
    for left in reversed(range(TRIES)):
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, timeout=TELLING, check=False)
            words = f"exit code {done.returncode}"
        except (OSError, subprocess.TimeoutExpired) as error:
            done, words = None, str(error)
        if done and done.returncode == 0:
            return
        _say(f"could not tell the end of it: {words}")
        if left:
            time.sleep(AGAIN)


def _main(text):
    order = json.loads(text)
    wrong = _work(order)
    if wrong:
        _say("; ".join(wrong))
        return 1
    _tell(order["then"])
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
