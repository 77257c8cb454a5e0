"""
Whether all nodes hold the same rows, found out from the master while the sites are being written to.

Nodes are never read at the same instant, and replication is always a little late: at a first look rows differ that are
not different. So a row counts as different only if it differs at **every** look, with pauses in which replication
passes, and stood still on all nodes at the last two. Rows that are late fall out after a look or two, rows that are
written all the time after a few more; rows that have drifted stay.
"""

import time

__virtualname__ = "tablecompare"

ROWS_A_BUCKET = 40
# So many that a big table's hot rows fall into few of them.
MOST_BUCKETS = 65536
# More than this is not narrowed down to rows: there would be nothing more to learn from it.
MOST_ROWS = 100000
SHOWN = 20
# A row that is written before every look gets so many times the looks to be met at rest.
PATIENCE = 4


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "tablecompare asks the nodes from the master; this is a minion"
    return __virtualname__


def run(minions, looks=8, pause=1.5):
    """
    Compare the tables of all given nodes with each other.

    minions
        Minion ids.
    looks
        At so many looks a row has to differ to count as different.
    pause
        Seconds between two looks.

    Returns ``{"equal": bool, "tables": number, "rows": number on the first node, "differing": {table: {"reason",
    "count", "keys": {key: {minion: hash or None}}}}, "looks": number, "seconds": number}``.
    Raises CommandExecutionError naming a node that does not answer.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd tablecompare.run '[east1, west1]'
    """
    begun = time.monotonic()
    minions = list(minions)
    for _ in range(looks):
        described = _ask(minions, "tabledata.tables", {})
        differing, common = _schemas(described)
        if not differing:
            break
        # A table that was just created or altered may still be on its way.
        time.sleep(pause)
    buckets = {
        name: max(1, min(MOST_BUCKETS, max(described[minion][name]["rows"] for minion in minions) // ROWS_A_BUCKET))
        for name in common
    }
    sums = _ask(minions, "tabledata.checksums", {"buckets": buckets}) if common else {}
    total = sum(count for table in sums.get(minions[0], {}).values() for count, _ in table.values())
    suspects = {name: _unequal([sums[minion][name] for minion in minions]) for name in common}
    looked = 1
    while _rows_in(suspects, sums) > MOST_ROWS and looked < looks:
        # Far behind, or far apart: look at the buckets again before asking for their rows.
        time.sleep(pause)
        looked += 1
        sums = _ask(minions, "tabledata.checksums", {"buckets": {n: buckets[n] for n in suspects if suspects[n]}})
        suspects = {
            name: found & _unequal([sums[minion][name] for minion in minions]) if found else found
            for name, found in suspects.items()
        }
    for name, found in suspects.items():
        if found and _rows_in({name: found}, sums) > MOST_ROWS:
            differing[name] = {"reason": f"rows differ in {len(found)} of {buckets[name]} parts of the table",
                               "count": None, "keys": {}}
    narrowed = {name: found for name, found in suspects.items() if found and name not in differing}
    looked, rows = _narrow(minions, buckets, narrowed, looks, pause, looked)
    differing.update(rows)
    return {
        "equal": not differing,
        "tables": len(common),
        "rows": total,
        "differing": differing,
        "looks": looked,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _ask(minions, function, kwarg):
    return __salt__["fleet.ask"](minions, function, kwarg=kwarg, timeout=120)


def _schemas(described):
    """Tables that are not the same everywhere, and the names of those that are."""
    differing, common = {}, []
    for name in sorted({name for tables in described.values() for name in tables}):
        missing = sorted(minion for minion, tables in described.items() if name not in tables)
        prints = {tables[name]["fingerprint"] for tables in described.values() if name in tables}
        if missing:
            differing[name] = {"reason": f"missing on {', '.join(missing)}", "count": None, "keys": {}}
        elif len(prints) > 1:
            differing[name] = {"reason": "its columns or its key differ", "count": None, "keys": {}}
        else:
            common.append(name)
    return differing, common


def _unequal(views):
    """The keys at which not all dictionaries have the same value."""
    return {key for view in views for key in view if any(other.get(key) != view[key] for other in views)}


def _rows_in(suspects, sums):
    return max(
        (sum(view.get(name, {}).get(bucket, [0])[0] for name, found in suspects.items() for bucket in found)
         for view in sums.values()),
        default=0,
    )


def _narrow(minions, buckets, suspects, looks, pause, looked):
    """Look at the rows of the suspected buckets again and again; return those that differ every time."""
    keys, views, last = {}, {}, {}
    parts = {name: sorted(found) for name, found in suspects.items()}
    while parts:
        last, views = views, _ask(minions, "tabledata.rows", {
            "wanted": {name: {"buckets": buckets[name], "only": only} for name, only in parts.items()}})
        for name in list(parts):
            now = _unequal([views[minion][name] for minion in minions])
            keys[name] = keys[name] & now if name in keys else now
            if not keys[name]:
                del parts[name], keys[name]
        looked += 1
        still = last and not any(
            last[minion][name].get(key) != views[minion][name].get(key)
            for name, found in keys.items() for key in found for minion in minions
        )
        if (looked >= looks and still) or looked >= looks * PATIENCE:
            break
        if parts:
            time.sleep(pause)
    return looked, {
        name: {
            "reason": "rows differ",
            "count": len(found),
            "keys": {
                key: {minion: views[minion][name].get(key) for minion in minions} for key in sorted(found)[:SHOWN]
            },
        }
        for name, found in keys.items()
    }
