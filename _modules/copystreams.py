"""
Which files go through which of the streams that copy side by side. One connection is bound to one processor for its
cipher, and over a long way to what it may send before it is answered.

It follows the manual's page ``operations-msmm-resetsingle`` (step 10 of the runbook).
"""

import salt.utils.files
from salt.exceptions import CommandExecutionError

__virtualname__ = "copystreams"

SECONDS = 1800
# What a file costs beside its bytes, in bytes: opening, naming and comparing it.
BESIDE = 65536
# Less is sent sooner than another stream is opened.
LEAST = 16 * 1024**2
# find's %S, allocated over apparent size: below it the file has holes.
HOLES = 0.95
# Every byte of a name is a character of its own, and comes back as it was.
BYTES = "latin-1"


def __virtual__():
    return __virtualname__


def split(place, label, streams, since=None):
    """
    Share the files of a data location out to streams, about the same amount to each, and write their names down.

    A file goes through one stream as a whole. Those with holes have streams of their own, where the holes are kept.

    place
        One of ``datalocation.locations``: ``{"path", "files"}``.
    label
        What the files of names are called by: ``LABEL-whole-NUMBER.names`` and ``LABEL-holes-NUMBER.names``, in
        ``hostrecord.folder``.
    streams
        How many there may be at most, of files without holes and of files with them.
    since
        Epoch seconds: only files that were ``touched`` since then. All if not given.

    Returns ``[{"names": path of a file with the names, each followed by a zero byte, "bytes", "holes": True or
    False}]``, none of them empty. Raises CommandExecutionError if find fails.

    CLI Example:

    .. code-block:: bash

        salt west3 copystreams.split '{"path": "/var/lib/mysql", "files": []}' datadir 4
    """
    found = {False: [], True: []}
    for size, share, name in _files(place, since):
        found[size > BESIDE and share < HOLES].append((size, name))
    parts = []
    for holes, files in found.items():
        for number, part in enumerate(_shared_out(files, streams)):
            names = __salt__["hostrecord.path"](f"{label}-{'holes' if holes else 'whole'}-{number}.names")
            with salt.utils.files.fopen(names, "wb") as stream:
                stream.write(b"".join(name.encode(BYTES) + b"\0" for _, name in part))
            parts.append({"names": names, "bytes": sum(size for size, _ in part), "holes": holes})
    return parts


def touched(since):
    """
    Return find's words for what was written to, renamed or put in place since a moment. Pure.

    since
        Epoch seconds.

    CLI Example:

    .. code-block:: bash

        salt west3 copystreams.touched 1795000000
    """
    return ["(", "-newermt", f"@{since}", "-o", "-newerct", f"@{since}", ")"]


def _files(place, since):
    """[(bytes, how much of it is allocated, its name within the location)]"""
    newer = touched(since) if since is not None else []
    argv = [*__salt__["datalocation.find"](place), "-type", "f", *newer, "-printf", "%s %S %P\\0"]
    result = __salt__["cmd.run_all"](
        ["timeout", "--kill-after=5", str(SECONDS), *argv], python_shell=False, ignore_retcode=True, rstrip=False,
        output_encoding=BYTES, output_loglevel="quiet")
    if result["retcode"]:
        raise CommandExecutionError(f"find failed with {result['retcode']}: {result['stderr'].strip()[-1000:]}")
    entries = [entry.split(" ", 2) for entry in result["stdout"].split("\0") if entry]
    return [(int(size), float(share), name) for size, share, name in entries]


def _shared_out(files, streams):
    """The largest first, each to the part that has least."""
    total = sum(size + BESIDE for size, _ in files)
    parts = [[] for _ in range(max(1, min(streams, total // LEAST)))]
    loads = [0] * len(parts)
    for size, name in sorted(files, reverse=True):
        lightest = loads.index(min(loads))
        parts[lightest].append((size, name))
        loads[lightest] += size + BESIDE
    return [part for part in parts if part]
