"""How trepctl prints: tables of sorted keys, and its own JSON."""

import json


def _aligned(value, width):
    # A value of several lines goes on under its first one.
    return str(value).replace("\n", "\n" + " " * (width + 2))


def tables(rows):
    """Records as NAME/VALUE lines, each under a head of its own, all of one width."""
    width = max((len(key) for row in rows for key in row), default=0)
    head = [f"{'NAME':<{width + 2}}VALUE", f"{'----':<{width + 2}}-----"]
    return "".join(
        f"{line}\n"
        for row in rows
        for line in head + [f"{key:<{width}}: {_aligned(row[key], width)}" for key in sorted(row)]
    )


def record(row):
    """One record as a line of JSON; the tool escapes slashes."""
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False).replace("/", "\\/")


def records(rows):
    """A list of records as trepctl prints it with -json."""
    return "[\n" + "\n,\n".join(map(record, rows)) + ("\n" if rows else "") + "\n]"
