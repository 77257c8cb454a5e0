"""
Whether all nodes hold the same rows, found out from the master while the sites are being written to.

Nodes are never read at the same instant, and replication is always a little late: at a first look rows differ that are
not different. So what differs is looked at again, each time after replication has passed: every node has applied by
then all that any node had applied at the look before. A part of a table that still differs is narrowed down to rows. A
row counts as different only if it differs at **every** look and stood still on all nodes at the last two. Rows that are
late fall out after a look or two, rows that are written all the time after a few more; rows that have drifted stay.
Tables that are missing somewhere, or are not made alike, are looked at again in the same way, after all the rest.

A comparison is a plain dictionary that ``step`` carries on by one piece of work, so that it can be kept and gone on
with.
"""

import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "tablecompare"

# Rows of a part. It grows and shrinks until a statement takes about PART_SECONDS on the slowest node.
LEAST_ROWS, FIRST_ROWS, MOST_ROWS = 1000, 5000, 50000
PART_SECONDS = 0.4
# A step reads so many rows, in so many parts, at most: a node answers within seconds, and so does who asks to stop.
PARTS_OF_FULL_SIZE = 20
MOST_PARTS = 200
AGAIN_PARTS = 40
ROWS_A_BUCKET = 100
# Salt cuts an event of more than a megabyte, and so the answer of a node: buckets or keys that one answer may hold.
ENTRIES_AN_ANSWER = 5000
# More rows of a table than this are not narrowed down: there would be nothing more to learn from it.
KEYS_A_TABLE = 2000
# A row that is written before every look gets so many times the looks to be met at rest.
PATIENCE = 4
PAUSE = 1.0
# A table without a usable key is read as a whole at every look; where writers must not notice, a big one is left out.
MOST_ROWS_WITHOUT_RANGES = 5_000_000


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "tablecompare asks the nodes from the master; this is a minion"
    return __virtualname__


def begin(minions, looks=3, share=100, everything=False, only=None, sources=None):
    """
    Begin a comparison: which tables there are, and which of them can be compared.

    minions
        Minion ids; the first one tells where a table is cut into parts.
    looks
        At so many looks, with replication passing in between, a row has to differ to count as different.
    share
        Percent of the time that a node may work for it.
    everything
        Whether to read also what cannot be read gently: tables of engines that keep writers out meanwhile, such as
        MyISAM, and big tables without a primary key.
    only
        List of tables to be compared, ``schema.table``; all if not given.
    sources
        ``{minion: service}`` of the minions that are their site's primary; see ``verify.passed``.

    Returns the comparison, a dictionary of which people may want ``phase`` (``reading``, ``again``, ``rows``,
    ``tables`` or ``done``), ``rows``, ``estimate``, ``tables``, ``skipped`` and ``schema``. Raises
    CommandExecutionError naming a node that does not answer, or a table of ``only`` that is nowhere.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd tablecompare.begin '[east1, west1]'
    """
    minions = list(minions)
    described = _ask(minions, "tabledata.tables", {"names": only})
    names = {name for found in described.values() for name in found}
    if only is not None:
        unknown = sorted(set(only) - names)
        if unknown:
            raise CommandExecutionError(f"There is no table {', '.join(unknown)} on any of {', '.join(minions)}")
        names = set(only)
    return {
        "minions": minions, "looks": looks, "share": share, "everything": everything, "sources": sources or {},
        **_sorted_out(minions, described, names, everything),
        "phase": "reading", "chunk": FIRST_ROWS, "rows": 0, "parts": 0, "suspects": [], "again": 0, "look": 0,
        "rounds": 0, "described": 0,
        # {table: {key: {minion: hash}}} of the last look, the same of those that stood still, and what was too much.
        "keys": {}, "still": {}, "whole": {}, "late": {}, "late_tables": {},
    }


def _sorted_out(minions, described, names, everything):
    """Tables that are not the same everywhere, tables that are left out, and the queue of those to be read."""
    schema, skipped, tables = {}, {}, {}
    for name in sorted(names):
        views = [described[minion][name] for minion in minions if name in described[minion]]
        prints = {minion: described[minion].get(name, {}).get("fingerprint") for minion in minions}
        big = max(view["rows"] for view in views) > MOST_ROWS_WITHOUT_RANGES
        if len(set(prints.values())) > 1:
            schema[name] = {"prints": prints, "looks": 0}
        elif not everything and any(view["locks"] for view in views):
            skipped[name] = "its engine would keep writers out while it is read"
        elif not everything and big and not views[0]["ranges"]:
            skipped[name] = "it is big and has no primary key that could be cut into ranges"
        else:
            tables[name] = {**{key: views[0][key] for key in ("key", "ranges")},
                            "estimate": max(view["rows"] for view in views)}
    return {
        "schema": schema, "skipped": skipped, "tables": tables,
        "estimate": sum(table["estimate"] for table in tables.values()),
        "queue": [{"table": name, "after": None} for name in tables],
    }


def recheck(minions, keys, looks=3, share=100, sources=None):
    """
    Begin a comparison of nothing but rows that were found to differ before.

    keys
        ``{"shop.orders": [keys]}``, as ``result`` tells them.

    The other arguments, and what is returned and raised, are as with ``begin``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd tablecompare.recheck '[east1, west1]' '{"shop.orders": ["17"]}'
    """
    state = begin(minions, looks=looks, share=share, everything=True, only=list(keys), sources=sources)
    known = {name: found for name, found in keys.items() if name in state["tables"] and state["tables"][name]["key"]}
    state.update(queue=[], schema={}, phase="rows", estimate=0, keys={
        name: {key: {} for key in found[:KEYS_A_TABLE]} for name, found in known.items() if found})
    return state


def run(minions, looks=3, sources=None):
    """
    Compare all tables of the given nodes, however they lock, at full speed, to the end.

    minions
        Minion ids.
    looks, sources
        As with ``begin``.

    Returns what ``result`` returns. Raises CommandExecutionError naming a node that does not answer.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd tablecompare.run '[east1, west1]'
    """
    state = begin(minions, looks=looks, everything=True, sources=sources)
    while state["phase"] != "done":
        step(state)
    return result(state)


def step(state):
    """
    Carry a comparison on by one piece of work, of seconds.

    state
        As ``begin`` returned it; it is changed in place.

    Returns it. Raises CommandExecutionError naming a node that does not answer; the comparison is what it was then.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd tablecompare.step "$state"
    """
    {"reading": _read, "again": _again, "rows": _look, "tables": _describe}[state["phase"]](state)
    return state


def _ask(minions, function, kwarg):
    return __salt__["fleet.ask"](minions, function, kwarg=kwarg, timeout=120)


def _read(state):
    """The next parts, on all nodes."""
    minions = state["minions"]
    if state["queue"]:
        # Small tables are many to a step; of big ones there are as many parts as are a few seconds of work.
        ahead, rows = [], 0
        for each in state["queue"][:MOST_PARTS]:
            ahead.append(each)
            rows += state["tables"][each["table"]]["estimate"]
            if rows > PARTS_OF_FULL_SIZE * state["chunk"]:
                break
        most = max(len(ahead), PARTS_OF_FULL_SIZE)
        cut = {"wanted": ahead, "rows": state["chunk"], "most": most}
        parts = _ask(minions[:1], "tabledata.bounds", cut)[minions[0]]
        sums = _ask(minions, "tabledata.checksums", {"parts": parts, "share": state["share"]})
        begun, last = {part["table"] for part in parts}, parts[-1]
        state["queue"] = [each for each in state["queue"] if each["table"] not in begun]
        parts, sums = _there(state, parts, sums)
        if last["upto"] is not None and last["table"] in state["tables"]:
            state["queue"].insert(0, {"table": last["table"], "after": last["upto"]})
        state["parts"] += len(parts)
        state["rows"] += sum(rows for rows, *_ in sums[minions[0]])
        full = state["chunk"] // 2
        _adapt(state, [seconds for answer in sums.values() for rows, _, seconds in answer if rows > full])
        state["suspects"] += _differing(minions, parts, sums)
    if not state["queue"]:
        # Rows that were found before, and have waited for tables that came late, are looked at once more.
        state["phase"] = "again" if state["suspects"] else "rows" if state["keys"] else _last(state)


def _last(state):
    return "tables" if state["schema"] else "done"


def _there(state, parts, answers):
    """The parts, and what was answered of them, of tables that every node still has; the others are set aside."""
    gone = {part["table"] for answer in answers.values() for part, value in zip(parts, answer) if value is None}
    for name in gone:
        _set_aside(state, name)
    kept = [number for number, part in enumerate(parts) if part["table"] not in gone]
    return ([parts[number] for number in kept],
            {minion: [answer[number] for number in kept] for minion, answer in answers.items()})


def _set_aside(state, name):
    """A table that was dropped while it was compared: nothing is known of its rows any more."""
    state["schema"][name] = {"prints": {}, "looks": 0}
    state["suspects"] = [part for part in state["suspects"] if part["table"] != name]
    for known in ("tables", "keys", "still", "whole"):
        state[known].pop(name, None)


def _adapt(state, seconds):
    if seconds:
        wanted = state["chunk"] * min(2, max(0.5, PART_SECONDS / max(0.001, max(seconds))))
        state["chunk"] = int(min(MOST_ROWS, max(LEAST_ROWS, wanted)))


def _differing(minions, parts, sums):
    """Those parts whose checksums differ, with the most rows that a node has there."""
    return [
        {**part, "rows": max(sums[minion][number][0] for minion in minions)}
        for number, part in enumerate(parts)
        if len({tuple(sums[minion][number][:2]) for minion in minions}) > 1
    ]


def _again(state):
    """Parts that differed, once more after replication has passed; what still differs is narrowed down to rows."""
    minions = state["minions"]
    if not state["again"]:
        _pass(state)
    parts = state["suspects"][:AGAIN_PARTS]
    asked = [_place(part) for part in parts]
    sums = _ask(minions, "tabledata.checksums", {"parts": asked, "share": state["share"]})
    asked, sums = _there(state, asked, sums)
    for group in _groups(_differing(minions, asked, sums), lambda part: _buckets(part)):
        _narrow(state, group)
    state["again"] += len(parts)
    state["suspects"] = [part for part in state["suspects"] if part not in parts]
    if not state["suspects"]:
        state["phase"] = "rows"


def _place(part):
    return {key: part[key] for key in ("table", "after", "upto")}


def _buckets(part):
    return max(1, min(MOST_ROWS, part["rows"]) // ROWS_A_BUCKET)


def _groups(items, size):
    """Cut a list so that the sizes of what is in a group, if it is more than one, are no more than an answer holds."""
    group, total = [], 0
    for item in items:
        if group and total + size(item) > ENTRIES_AN_ANSWER:
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group


def _narrow(state, parts):
    """Find the rows in which parts differ: first the buckets, then what is in them."""
    minions = state["minions"]
    parts = [{**_place(part), "buckets": _buckets(part)} for part in parts if not _too_many(state, part)]
    if not parts:
        return
    parts, answers = _there(
        state, parts, _ask(minions, "tabledata.buckets", {"parts": parts, "share": state["share"]}))
    wanted = []
    for number, part in enumerate(parts):
        views = [answers[minion][number] for minion in minions]
        part["only"], part["rows"] = [], 0
        for bucket in sorted(_unequal(views), key=int):
            rows = max(view.get(bucket, [0])[0] for view in views)
            if part["only"] and part["rows"] + rows > ENTRIES_AN_ANSWER:
                state["whole"].setdefault(part["table"], []).append({key: part[key] for key in ("after", "upto")})
                break
            part["only"].append(bucket)
            part["rows"] += rows
        if part["only"]:
            wanted.append(part)
    for group in _groups(wanted, lambda part: part["rows"]):
        # Asked again: the groups before may have brought enough.
        group = [part for part in group if part["table"] in state["tables"] and not _too_many(state, part)]
        if not group:
            continue
        group, answers = _there(state, group, _ask(minions, "tabledata.rows", {"parts": group}))
        for number, part in enumerate(group):
            _add_rows(state, part, {minion: answers[minion][number] for minion in minions})


def _too_many(state, part):
    """Whether a table has so many rows that differ already that this part of it has to wait."""
    name = part["table"]
    if len(state["keys"].get(name, ())) < KEYS_A_TABLE:
        return False
    state["whole"].setdefault(name, []).append({key: part[key] for key in ("after", "upto")})
    return True


def _add_rows(state, part, views):
    name = part["table"]
    found = {key: {minion: view.get(key) for minion, view in views.items()} for key in _unequal(list(views.values()))}
    if not state["tables"][name]["key"]:
        # Such rows cannot be asked for by a key: where they are has to be kept.
        state["tables"][name]["look"] = {key: part[key] for key in ("table", "after", "upto", "buckets", "only")}
    if found:
        state["keys"].setdefault(name, {}).update(found)


def _unequal(views):
    """The keys at which not all dictionaries have the same value."""
    return {key for view in views for key in view if any(other.get(key) != view[key] for other in views)}


def _pass(state, late="late"):
    """Wait until every node has applied what any of them had; who has not stays ``late``, with the reason."""
    time.sleep(PAUSE)
    state[late] = __salt__["verify.passed"](state["minions"], sources=state["sources"])


def _look(state):
    """The rows that differ, once more."""
    _pass(state)
    minions = state["minions"]
    views = _rows_of(state)
    for name in [name for name in state["keys"] if any(views[minion][name] is None for minion in minions)]:
        _set_aside(state, name)
    keys, still = {}, {}
    for name, before in state["keys"].items():
        now = {key: {minion: views[minion][name].get(key) for minion in minions} for key in before}
        now = {key: values for key, values in now.items() if len(set(values.values())) > 1}
        if now:
            keys[name] = now
            still[name] = [key for key, values in now.items() if values == before[key]]
    state.update(keys=keys, still=still, look=state["look"] + 1)
    at_rest = all(len(still[name]) == len(found) for name, found in keys.items())
    # The first of them has nothing to stand still against.
    if not keys or (at_rest and state["look"] >= state["looks"]) or state["look"] >= state["looks"] * PATIENCE:
        _look_further(state)


def _look_further(state):
    """Parts that had to wait, since too many rows differed: their turn comes when those have turned out to be late."""
    waiting = [name for name in state["whole"] if name not in state["keys"]]
    state["phase"] = _last(state)
    if waiting and state["rounds"] < state["looks"] * PATIENCE:
        state["suspects"] = [{"table": name, **part} for name in waiting for part in state["whole"].pop(name)]
        state.update(phase="again", again=0, look=0, rounds=state["rounds"] + 1)


def _describe(state):
    """Tables that were missing somewhere or not made alike, once more; those that are alike by now are read."""
    # Kept apart: who was late when the rows were looked at has proved nothing about them by being there now.
    _pass(state, "late_tables")
    before = state["schema"]
    described = _ask(state["minions"], "tabledata.tables", {"names": sorted(before)})
    names = {name for found in described.values() for name in found}
    found = _sorted_out(state["minions"], described, names, state["everything"])
    for name, about in found["schema"].items():
        # As with rows: at every look, and at rest.
        rests = about["prints"] == before[name]["prints"]
        about["looks"] = before[name]["looks"] + 1 if rests else 1
    for known in ("tables", "skipped"):
        state[known].update(found[known])
    state.update(schema=found["schema"], queue=found["queue"], described=state["described"] + 1)
    state["estimate"] += found["estimate"]
    seen = all(about["looks"] >= state["looks"] for about in state["schema"].values())
    most = state["looks"] * PATIENCE
    if state["queue"] and state["described"] <= most:
        state.update(phase="reading", again=0, look=0)
    elif seen or state["described"] >= most:
        # A table that is dropped whenever it is read and there again at every look would go on for ever.
        for each in state["queue"]:
            _set_aside(state, each["table"])
        state.update(phase="done", queue=[])


def _rows_of(state):
    """{minion: {table: {key: hash}}} of all rows that are looked at; None for a table that is not there."""
    minions = state["minions"]
    views = {minion: {} for minion in minions}
    with_key = [name for name in state["keys"] if state["tables"][name]["key"]]
    slices = [(name, keys[begin:begin + ENTRIES_AN_ANSWER]) for name in with_key for keys in [list(state["keys"][name])]
              for begin in range(0, len(keys), ENTRIES_AN_ANSWER)]
    for group in _groups(slices, lambda each: len(each[1])):
        for minion, answer in _ask(minions, "tabledata.by_key", {"wanted": dict(group)}).items():
            for name, found in answer.items():
                # A table's keys may be in two answers, and the table gone in between.
                kept = views[minion].setdefault(name, {})
                views[minion][name] = None if found is None or kept is None else {**kept, **found}
    for name in set(state["keys"]) - set(with_key):
        for minion, answer in _ask(minions, "tabledata.rows", {"parts": [state["tables"][name]["look"]]}).items():
            views[minion][name] = answer[0]
    return views


def result(state):
    """
    Tell what a comparison has found.

    state
        A comparison that is ``done``.

    Returns ``{"equal": bool, "tables": number, "rows": number on the first node, "parts", "looks": number, "differing":
    {table: {key: {minion: hash or None}}}, "unproved": {table: {"keys": [keys], "why": text}}, "whole": {table: [parts
    that differ and were not narrowed down]}, "schema": {table: {"missing": [minions], "prints": {minion: hash of its
    definition, or None}}}, "skipped": {table: why}}``. A node that replication has not passed is in none of them.
    ``equal`` is true only if nothing differs, nothing is left unproved and nothing was skipped.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd tablecompare.result "$state"
    """
    differing, unproved = {}, {}
    late, late_tables = ("; ".join(f"{minion}: {why}" for minion, why in sorted(state[which].items()))
                         for which in ("late", "late_tables"))
    for name, found in state["keys"].items():
        still = set(state["still"].get(name, ()))
        proved, open_rows = {}, []
        for key, values in found.items():
            # Nothing is proved of a node that replication has not passed.
            known = {minion: value for minion, value in values.items() if minion not in state["late"]}
            if key in still and len(set(known.values())) > 1:
                proved[key] = known
            else:
                open_rows.append(key)
        if proved:
            differing[name] = proved
        if open_rows:
            why = late if late else "they were written before every look"
            unproved[name] = {"keys": open_rows, "why": why}
    schema = {}
    for name, about in state["schema"].items():
        known = {minion: value for minion, value in about["prints"].items() if minion not in state["late_tables"]}
        if about["looks"] >= state["looks"] and len(set(known.values())) > 1:
            schema[name] = {"missing": [minion for minion, value in known.items() if value is None], "prints": known}
        else:
            unproved[name] = {"keys": [], "why": late_tables or "it was created, altered or dropped meanwhile"}
    for name in set(state["whole"]) - set(differing) - set(unproved):
        unproved[name] = {"keys": [], "why": "too many rows differed at every look to be looked at one by one"}
    return {
        "equal": not (differing or unproved or schema or state["skipped"]),
        "tables": len(state["tables"]), "rows": state["rows"], "parts": state["parts"], "looks": state["look"],
        "differing": differing, "unproved": unproved, "whole": state["whole"], "schema": schema,
        "skipped": state["skipped"],
    }
