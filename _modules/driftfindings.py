"""
What a comparison of all nodes means for the sites: who has drifted, in which rows, and how people are told. Pure.

What is right is what most nodes of the reference site have, which is the definitive one of the pillar unless somebody
says otherwise. A site has drifted where all of its nodes that were looked at have something else; where only some
have, or nothing is proved of the others, it is those nodes that have drifted from their own site.
"""

from collections import Counter

__virtualname__ = "driftfindings"

KINDS = ("changed", "missing", "extra")
SHOWN = 20


def __virtual__():
    return __virtualname__


def judge(compared, tables, sites, reference, limit=SHOWN):
    """
    Say of every row that differs whose it is.

    compared
        What ``tablecompare.result`` returned.
    tables
        The ``tables`` of that comparison, for the kinds of their keys.
    sites
        ``{site: [minions that were looked at]}``.
    reference
        The site that is taken to be right.
    limit
        So many keys are named of each kind in each table.

    Returns ``{"sites": {site: {"tables": {table: {"changed": number, "missing", "extra", "complete": False if there are
    more, "keys": {"changed": [keys], …}}}}}, "nodes": {minion: the same}}``: only what has drifted. ``missing`` is what
    the reference has and they have not, ``extra`` the reverse. A table without a primary key shows hashes of rows.
    And ``"unproved": {table: why}``: rows that differ, and nothing is proved of any node of the reference.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd driftfindings.judge "$compared" "$tables" '{"east": ["east1"], "west": ["west1"]}' west
    """
    found = {"sites": {}, "nodes": {}, "unproved": {}}
    for name, rows in sorted(compared["differing"].items()):
        complete = name not in compared["whole"] and name not in compared["unproved"]
        for key, values in sorted(rows.items(), key=lambda row: _order(row[0])):
            # A node of which nothing is proved is not among the values.
            known = {site: [minion for minion in minions if minion in values] for site, minions in sites.items()}
            if not known[reference]:
                found["unproved"][name] = f"replication has passed no node of {reference}"
                continue
            right = _right(values, known[reference])
            shown = shown_key(key, tables[name]["key"])
            for who, whose in _who(values, sites, right):
                table = found[who].setdefault(whose, {"tables": {}})["tables"].setdefault(name, {
                    **dict.fromkeys(KINDS, 0), "complete": complete, "keys": {kind: [] for kind in KINDS}})
                kind = _kind(values, known.get(whose, [whose]), right, tables[name]["key"])
                table[kind] += 1
                if len(table["keys"][kind]) < limit:
                    table["keys"][kind].append(shown)
    return found


def _order(key):
    """Numbers by their size, everything else by its text."""
    return [(0, int(word), "") if word.lstrip("-").isdigit() and len(word) < 20 else (1, 0, word)
            for word in key.split(",")]


def _right(values, reference):
    """What most nodes of the reference have; where they are at odds, what most of all nodes have."""
    own = Counter(values[minion] for minion in reference or values)
    most = max(own.values())
    candidates = [value for value, times in own.items() if times == most]
    everybody = Counter(values.values())
    return max(candidates, key=lambda value: (everybody[value], value is not None, str(value)))


def _who(values, sites, right):
    """Sites or nodes that have something else at this row: [("sites", site) or ("nodes", minion)]."""
    odd = []
    for site, minions in sites.items():
        others = [minion for minion in minions if minion in values and values[minion] != right]
        odd += [("sites", site)] if others and len(others) == len(minions) else [("nodes", minion) for minion in others]
    return odd


def _kind(values, minions, right, key):
    own = {values[minion] for minion in minions}
    if not key:
        # Without a key a row is its own hash, and what is told of it is how often it is there.
        return "missing" if max(int(value or 0) for value in own) < int(right or 0) else "extra"
    if right is None:
        return "extra"
    return "missing" if own == {None} else "changed"


def shown_key(key, columns):
    """
    Return a key as people read it.

    key
        As it travels: values joined by commas, those of texts in hex.
    columns
        ``[[column, kind]]`` of the table's primary key.

    Returns text; ``0x…`` for bytes.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd driftfindings.shown_key 7765737431,17 '[[site, text], [number, number]]'
    """
    words = []
    for (_, kind), value in zip(columns, key.split(",")):
        if kind in ("text", "other"):
            value = bytes.fromhex(value).decode(errors="replace")
            # What somebody has put into a table must not write lines of its own, or steer a terminal.
            value = value if value.isprintable() else ascii(value)[1:-1]
        elif kind == "binary":
            value = f"0x{value}"
        words.append(value)
    return ",".join(words) if columns else f"row {key}"


def schema(compared, definitions, sites, reference):
    """
    Say where tables are made differently.

    compared
        What ``tablecompare.result`` returned.
    definitions
        ``{minion: what tabledata.definitions told there}`` of the tables in its ``schema``.
    sites, reference
        As with ``judge``.

    Returns ``{table: {"reason": "missing on east2" or "its definition differs", "differences": ["amount: decimal(10,2)
    on west2, west3; decimal(12,2) on east2"], "sites": [sites of which every node has it otherwise than the
    reference]}}``.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd driftfindings.schema "$compared" "$definitions" '{"east": ["east1"], "west": ["west1"]}' west
    """
    told = {}
    for name, found in sorted(compared["schema"].items()):
        prints = found["prints"]
        views = {minion: known[name] for minion, known in definitions.items() if name in known and minion in prints}
        right = _right(prints, [minion for minion in sites[reference] if minion in prints])
        # Where nothing is proved of the reference itself nobody can be said to have drifted from it.
        known = any(minion in prints for minion in sites[reference])
        drifted = [whose for who, whose in _who(prints, sites, right) if who == "sites" and known]
        if found["missing"]:
            told[name] = {"reason": f"missing on {', '.join(found['missing'])}", "differences": [], "sites": drifted}
            continue
        columns = list(dict.fromkeys(column for view in views.values() for column in view["columns"]))
        differences = [
            _difference(column, {
                minion: view["columns"].get(column, "no such column") for minion, view in views.items()})
            for column in columns
        ]
        differences += [
            _difference("primary key", {minion: view["key"] or "none" for minion, view in views.items()}),
            _difference("order of columns", {minion: ", ".join(view["columns"]) for minion, view in views.items()})
            if len({frozenset(view["columns"]) for view in views.values()}) == 1 else None,
        ]
        told[name] = {"reason": "its definition differs", "differences": [text for text in differences if text],
                      "sites": drifted}
    return told


def _difference(what, values):
    if len(set(values.values())) < 2:
        return None
    holders = {}
    for minion, value in values.items():
        holders.setdefault(value, []).append(minion)
    return f"{what}: " + "; ".join(f"{value} on {', '.join(minions)}" for value, minions in holders.items())


def drifted(check):
    """
    Return the sites that have drifted as a whole: a rebuilt node or two would not mend them.

    check
        Its ``sites``, ``nodes``, ``schema`` and ``nodes_of``: a site has drifted in rows or tables that all of its
        nodes have otherwise than the reference, or because each of its nodes has drifted in something.

    Returns the names, sorted. The reference is never among them.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd driftfindings.drifted "$check"
    """
    found = {*check["sites"], *(site for about in check["schema"].values() for site in about["sites"])}
    found |= {site for site, minions in check["nodes_of"].items() if set(minions) <= set(check["nodes"])}
    return sorted(found - {check["reference"]})


def verdict(check):
    """
    Return the one word for a check: ``equal``, ``drifted`` or ``unproved``.

    check
        Its ``sites``, ``nodes``, ``schema``, ``unproved``. What was skipped is told, and changes no verdict.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd driftfindings.verdict "$check"
    """
    if check["sites"] or check["nodes"] or check["schema"]:
        return "drifted"
    return "unproved" if check["unproved"] else "equal"


def briefly(compared):
    """
    Return one line for what keeps nodes from being equal.

    compared
        What ``tablecompare.result`` returned.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd driftfindings.briefly "$compared"
    """
    words = []
    for name, found in compared["schema"].items():
        words.append(f"{name} is missing on {', '.join(found['missing'])}" if found["missing"]
                     else f"{name} is not defined alike")
    for name, rows in compared["differing"].items():
        key, values = next(iter(sorted(rows.items())))
        words.append(f"{name} differs in {len(rows)}{' or more' if name in compared['whole'] else ''} rows, such as "
                     f"{key}: {values}")
    words += [f"{name} could not be proved equal: {found['why']}" for name, found in compared["unproved"].items()]
    words += [f"{name} was not compared: {why}" for name, why in compared["skipped"].items()]
    return "; ".join(words) or "nothing differs"


def text(check):
    """
    Put a check into lines for people.

    check
        As ``drift.check`` returns it.

    Returns text, without colour, that fits a terminal and a ticket.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd driftfindings.text "$check"
    """
    lines = [
        f"Check {check['check']}: {check['verdict'].upper()}",
        f"  {check['tables']} tables, {check['rows']:,} rows on {', '.join(check['looked_at'])}, in "
        f"{check['seconds']:.0f} s; {check['reference']} is taken to be right",
    ]
    for node, why in check["not_looked_at"].items():
        lines.append(f"  not looked at: {node}: {why}")
    for who, title in (("sites", "site {} has drifted"), ("nodes", "node {} has drifted from its own site")):
        for name, found in check[who].items():
            lines.append(f"  {title.format(name)}")
            for table, rows in found["tables"].items():
                lines += _table(table, rows)
    for table, found in check["schema"].items():
        lines.append(f"  table {table}: {found['reason']}")
        lines += [f"    {difference}" for difference in found["differences"]]
    for title, kind in (("not proved either way", "unproved"), ("skipped", "skipped")):
        lines += [f"  {title}: {table}: {why}" for table, why in check[kind].items()]
    return "\n".join(lines)


def _table(name, rows):
    counts = ", ".join(f"{rows[kind]} {kind}" for kind in KINDS if rows[kind])
    unsaid = "" if rows["complete"] else " at least; it was not looked at row by row to the end"
    lines = [f"    {name}: {counts}{unsaid}"]
    for kind in KINDS:
        keys = rows["keys"][kind]
        if keys:
            more = f" and {rows[kind] - len(keys)} more" if rows[kind] > len(keys) else ""
            lines.append(f"      {kind}: {'; '.join(keys)}{more}")
    return lines
