"""
What this node's tables hold, as checksums that can be compared with those of other nodes. Reads only, locks no rows.

A table is read in parts, ranges of its primary key, each with one short statement. Inside of a part rows are sorted
into buckets by a hash of their key, so that nodes narrow a difference down alike. A table whose primary key cannot be
cut into ranges, or that has none, is one part; without a key its rows are told apart by a hash of the whole row.

A key travels as text, its columns' values joined by commas: numbers and times as they are, everything else in hex. So
it holds no character that SQL or a log could take for its own, and the node that it comes back to makes a literal of
it.
"""

import hashlib
import json
import re
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "tabledata"

STATEMENT_SECONDS = 600
# Never compared: the server's own, and what a replicator keeps for itself on each host.
OWN_SCHEMAS = "('mysql', 'sys', 'information_schema', 'performance_schema')"
BINARY_TYPES = (
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "bit", "geometry", "point", "linestring",
    "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
)
# A string function answers NULL above max_allowed_packet: a long value would count as NULL, a long row not at all.
LONG_TYPES = (
    "mediumtext", "longtext", "mediumblob", "longblob", "json", *BINARY_TYPES[BINARY_TYPES.index("geometry"):],
)
# What a column of a key is to its literal. Of other types the order of literals is not that of the index (an enum), or
# they do not say the value exactly (a float): such a key is compared for equality only.
KINDS = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year"), "number"),
    **dict.fromkeys(("date", "datetime", "timestamp", "time"), "time"),
    **dict.fromkeys(("char", "varchar"), "text"),
    **dict.fromkeys(("binary", "varbinary"), "binary"),
}
SPELLING = {
    "number": re.compile(r"-?[0-9]{1,65}(\.[0-9]{1,38})?"),
    "time": re.compile(r"[0-9 :.-]{1,32}"),
    "text": re.compile(r"([0-9A-F]{2})*"),
    "binary": re.compile(r"([0-9A-F]{2})*"),
    "other": re.compile(r"([0-9A-F]{2})*"),
}
# Engines whose rows can be read without holding up who writes them.
VERSIONED = ("innodb", "rocksdb", "tokudb")
# MariaDB turns a longer IN into a join with a table of its own.
KEYS_A_STATEMENT = 500
# Every statement of this module ends by itself, waits for no ALTER, and sees times as all other nodes do.
PREPARED = (
    f"SET SESSION lock_wait_timeout = 20, SESSION time_zone = '+00:00' "
    f"/*M!100101 , SESSION max_statement_time = {STATEMENT_SECONDS} */ "
    f"/*!50708 , SESSION max_execution_time = {STATEMENT_SECONDS}000 */; "
)


def __virtual__():
    return __virtualname__


def _query(sql):
    return __salt__["mysqld.query"](PREPARED + sql, timeout=STATEMENT_SECONDS + 30)


# --- the tables


def tables(names=None):
    """
    Describe the tables of the applications.

    names
        List of tables, ``schema.table``; all if not given. Those that are not here are left out.

    Returns ``{"shop.orders": {"key": [[column, kind]], "ranges": True if the key can be cut into ranges, "locks": True
    if its engine keeps writers out while it is read, "rows": estimate, "fingerprint"}}``. The kind of a key's column is
    number, time, text, binary or other; the fingerprint is a hash of the columns and the key. Raises
    CommandExecutionError when MySQL does not answer.

    CLI Example:

    .. code-block:: bash

        salt east1 tabledata.tables

    Manual: operations-status.
    """
    return {
        name: {key: table[key] for key in ("key", "ranges", "locks", "rows", "fingerprint")}
        for name, table in _described(names).items()
    }


def definitions(names):
    """
    Return how tables are defined, so that people can see where two nodes differ.

    names
        List of tables, ``schema.table``; those that are not here are left out.

    Returns ``{"shop.orders": {"columns": {name: "decimal(10,2) NOT NULL"}, "key": "id"}}``. Raises
    CommandExecutionError when MySQL does not answer.

    CLI Example:

    .. code-block:: bash

        salt east1 tabledata.definitions '[shop.orders]'

    Manual: operations-status.
    """
    return {
        name: {"columns": table["definitions"], "key": ", ".join(column for column, _ in table["key"]) or None}
        for name, table in _described(names).items()
    }


def _described(names=None):
    where = rf"s.table_schema NOT IN {OWN_SCHEMAS} AND s.table_schema NOT LIKE 'tungsten\_%'"
    if names is not None:
        if not names:
            return {}
        where += f" AND CONCAT(s.table_schema, '.', s.table_name) IN ({', '.join(sorted(map(_text, names)))})"
    found = {}
    for row in _query(
            "SELECT table_schema AS s, table_name AS t, COALESCE(table_rows, 0) AS n, LOWER(COALESCE(engine, '')) AS e "
            f"FROM information_schema.tables s WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND {where}"):
        found[f"{row['s']}.{row['t']}"] = {
            "schema": row["s"], "table": row["t"], "kinds": {}, "key": [], "ranges": True, "rows": int(row["n"]),
            "locks": row["e"] not in VERSIONED, "definitions": {}, "collations": []}
    for row in _query(
            "SELECT table_schema AS s, table_name AS t, column_name AS c, data_type AS d, column_type AS ct, "
            "is_nullable AS n, COALESCE(collation_name, '') AS cn FROM information_schema.columns s "
            f"WHERE {where} ORDER BY table_schema, table_name, ordinal_position"):
        table = found.get(f"{row['s']}.{row['t']}")
        if table:
            table["kinds"][row["c"]] = row["d"].lower()
            words = [row["ct"], "NULL" if row["n"] == "YES" else "NOT NULL", row["cn"]]
            table["definitions"][row["c"]] = " ".join(word for word in words if word)
    for row in _query(
            "SELECT table_schema AS s, table_name AS t, column_name AS c, sub_part AS p "
            f"FROM information_schema.statistics s WHERE index_name = 'PRIMARY' AND {where} "
            "ORDER BY table_schema, table_name, seq_in_index"):
        table = found.get(f"{row['s']}.{row['t']}")
        if table:
            kind = KINDS.get(table["kinds"][row["c"]], "other")
            table["key"].append([row["c"], kind])
            # Of a key on the beginning of a column the order inside is not known.
            table["ranges"] &= kind != "other" and row["p"] is None
    for table in found.values():
        table["ranges"] = bool(table["ranges"] and table["key"])
        definition = json.dumps([list(table["definitions"].items()), table["key"]])
        table["fingerprint"] = hashlib.sha256(definition.encode()).hexdigest()
    return found


# --- SQL of names, values and keys


def _text(value):
    """A string literal that holds nothing but hex digits, whatever the value."""
    if not isinstance(value, str):
        raise SaltInvocationError(f"{value!r} is not a text")
    return f"CONVERT(X'{value.encode().hex()}' USING utf8mb4)"


def _quoted(name):
    return "`" + name.replace("`", "``") + "`"


def _from(table):
    hint = " FORCE INDEX (PRIMARY)" if table["ranges"] else ""
    return f"FROM {_quoted(table['schema'])}.{_quoted(table['table'])}{hint}"


def _bytes(column, kind):
    """A column's value as bytes that are the same on every node."""
    name = _quoted(column)
    if kind in LONG_TYPES:
        return f"MD5({name})"
    if kind == "float":
        # Printed as such it has 6 digits, which is fewer than are stored.
        name = f"{name} + 0e0"
    return f"HEX({name})" if kind in BINARY_TYPES else f"CAST({name} AS BINARY)"


def _row_hash(table):
    """64 bits of a row. The length before each value keeps NULL, '' and shifted borders apart."""
    values = (_bytes(column, kind) for column, kind in table["kinds"].items())
    parts = ", ".join(f"COALESCE(CONCAT(LENGTH({value}), ':', {value}), '-')" for value in values)
    return f"LEFT(MD5(CONCAT({parts})), 16)"


def _sums(table):
    # Without a key rows may be the same, and an even number of them would vanish in an XOR.
    total = "BIT_XOR" if table["key"] else "SUM"
    return f"COUNT(*) AS n, {total}(CAST(CONV({_row_hash(table)}, 16, 10) AS UNSIGNED)) AS c"


def _spelt(column, kind):
    """SQL that tells a key column's value as it travels."""
    name = _quoted(column)
    if kind in ("number", "time"):
        return f"CAST({name} AS CHAR)"
    if kind == "binary":
        return f"HEX({name})"
    return f"HEX(CONVERT({name if kind == 'text' else f'CAST({name} AS CHAR)'} USING utf8mb4))"


def _key_text(table):
    if not table["key"]:
        return _row_hash(table)
    return f"CONCAT_WS(',', {', '.join(_spelt(column, kind) for column, kind in table['key'])})"


def _literals(table, key):
    """[(SQL of the column, SQL of its value)] of a key that has travelled."""
    values = key.split(",") if isinstance(key, str) else []
    if len(values) != len(table["key"]):
        raise SaltInvocationError(f"{key!r} is not a key of {table['schema']}.{table['table']}")
    pairs = []
    for (column, kind), value in zip(table["key"], values):
        if not SPELLING[kind].fullmatch(value):
            raise SaltInvocationError(f"{value!r} is no value of {column}, which is a {kind}")
        name = _quoted(column)
        if kind == "number":
            pairs.append((name, value))
        elif kind == "time":
            pairs.append((name, f"'{value}'"))
        elif kind == "other":
            pairs.append((_spelt(column, kind), f"'{value}'"))
        else:
            pairs.append((name, ("_utf8mb4 " if kind == "text" else "") + f"X'{value}'"))
    return pairs


def _beyond(pairs, sign, last):
    """``(a, b) > (1, 2)`` in a form that every server reads from the index."""
    (name, value), *rest = pairs
    if not rest:
        return f"{name} {sign}{last} {value}"
    return f"({name} {sign} {value} OR ({name} = {value} AND {_beyond(rest, sign, last)}))"


def _range(table, part):
    """The condition for the rows of a part; its first column once more by itself, for servers that see no further."""
    conditions = []
    for key, sign, last in ((part.get("after"), ">", ""), (part.get("upto"), "<", "=")):
        if key is not None:
            if not table["ranges"]:
                raise SaltInvocationError(f"{table['schema']}.{table['table']} cannot be read in ranges")
            pairs = _literals(table, key)
            if len(pairs) > 1:
                conditions.append(f"{pairs[0][0]} {sign}= {pairs[0][1]}")
            conditions.append(_beyond(pairs, sign, last))
    return " AND ".join(conditions) or "TRUE"


def _bucket(table, buckets):
    if isinstance(buckets, bool) or not isinstance(buckets, int) or buckets < 1:
        raise SaltInvocationError(f"buckets must be a whole number above 0, not {buckets!r}")
    values = [_bytes(column, table["kinds"][column]) for column, _ in table["key"]]
    sorted_by = f"CONCAT_WS(0x1f, {', '.join(values)})" if values else _row_hash(table)
    return f"CRC32({sorted_by}) % {buckets}"


# --- reading


def bounds(wanted, rows, most):
    """
    Cut tables into parts of so many rows, along their primary keys.

    wanted
        ``[{"table": "shop.orders", "after": key or None}]``: the tables in their order, and from where on.
    rows
        Rows of a part.
    most
        So many parts at most.

    Returns ``[{"table", "after", "upto"}]``; the last part of a table has None for ``upto``, and so has the only one of
    a table that is not here. Raises CommandExecutionError when MySQL does not answer.

    CLI Example:

    .. code-block:: bash

        salt west3 tabledata.bounds '[{"table": "shop.orders", "after": null}]' rows=10000 most=20

    Manual: operations-status.
    """
    known, parts = _described({each["table"] for each in wanted}), []
    for each in wanted:
        table, after = known.get(each["table"]), each.get("after")
        while len(parts) < most:
            upto = _next(table, after, int(rows)) if table and table["ranges"] else None
            parts.append({"table": each["table"], "after": after, "upto": upto})
            after = upto
            if upto is None:
                break
    return parts


def _next(table, after, rows):
    columns = ", ".join(_quoted(column) for column, _ in table["key"])
    found = _query(
        f"SELECT {_key_text(table)} AS k {_from(table)} WHERE {_range(table, {'after': after})} "
        f"ORDER BY {columns} LIMIT {rows - 1}, 1")
    return found[0]["k"] if found else None


def checksums(parts, share=100):
    """
    Return a checksum of each part.

    parts
        As ``bounds`` returns them.
    share
        Percent of the time that may be worked; the rest is paused, after each statement.

    Returns ``[[rows, checksum, seconds that its statement took]]``, in the order of the parts; None for one of a table
    that is not here. Raises CommandExecutionError when MySQL does not answer.

    CLI Example:

    .. code-block:: bash

        salt east2 tabledata.checksums '[{"table": "shop.orders", "after": null, "upto": "10000"}]' share=50

    Manual: operations-status.
    """
    known, found = _described({part["table"] for part in parts}), []
    for part in parts:
        table = known.get(part["table"])
        if not table:
            found.append(None)
            continue
        began = time.monotonic()
        (row,) = _query(f"SELECT {_sums(table)} {_from(table)} WHERE {_range(table, part)}")
        seconds = time.monotonic() - began
        found.append([int(row["n"]), row["c"], round(seconds, 3)])
        _pause(seconds, share)
    return found


def _pause(seconds, share):
    if not 1 <= share <= 100:
        raise SaltInvocationError(f"share must be 1 to 100 percent, not {share!r}")
    time.sleep(min(30, seconds * (100 - share) / share))


def buckets(parts, share=100):
    """
    Return a checksum of each bucket of the parts.

    parts
        As ``bounds`` returns them, each with ``buckets``, the number of them.
    share
        As in ``checksums``.

    Returns ``[{"17": [rows, checksum]}]``, in the order of the parts; empty buckets are left out; None for a part of a
    table that is not here. Raises CommandExecutionError when MySQL does not answer.

    CLI Example:

    .. code-block:: bash

        salt east2 tabledata.buckets '[{"table": "shop.orders", "after": null, "upto": "10000", "buckets": 100}]'

    Manual: operations-status.
    """
    known, found = _described({part["table"] for part in parts}), []
    for part in parts:
        table = known.get(part["table"])
        if not table:
            found.append(None)
            continue
        began = time.monotonic()
        rows = _query(f"SELECT {_bucket(table, part['buckets'])} AS b, {_sums(table)} {_from(table)} "
                      f"WHERE {_range(table, part)} GROUP BY 1")
        _pause(time.monotonic() - began, share)
        found.append({row["b"]: [int(row["n"]), row["c"]] for row in rows})
    return found


def rows(parts):
    """
    Return the hash of each row in some buckets of the parts.

    parts
        As ``buckets`` takes them, each with ``only``, a list of buckets.

    Returns ``[{key: hash}]``, in the order of the parts; of a table without a primary key ``{hash: "number of such
    rows"}``; None for a part of a table that is not here. Raises CommandExecutionError when MySQL does not answer.

    CLI Example:

    .. code-block:: bash

        salt east2 tabledata.rows '[{"table": "shop.orders", "after": null, "upto": null, "buckets": 9, "only": ["7"]}]'

    Manual: operations-status.
    """
    known, found = _described({part["table"] for part in parts}), []
    for part in parts:
        table = known.get(part["table"])
        if not table:
            found.append(None)
            continue
        only = ", ".join(str(int(bucket)) for bucket in part["only"]) or "NULL"
        value = _row_hash(table) if table["key"] else "COUNT(*)"
        answer = _query(
            f"SELECT {_key_text(table)} AS k, {value} AS h {_from(table)} WHERE {_range(table, part)} "
            f"AND {_bucket(table, part['buckets'])} IN ({only})" + ("" if table["key"] else " GROUP BY 1"))
        found.append({row["k"]: row["h"] for row in answer})
    return found


def by_key(wanted):
    """
    Return the hash of each row with one of the given primary keys.

    wanted
        ``{"shop.orders": [keys]}``, as ``rows`` told them.

    Returns ``{"shop.orders": {key: hash}}``, without those that are not here; None for a table that is not here. Raises
    CommandExecutionError when MySQL does not answer, SaltInvocationError for what is no key of its table.

    CLI Example:

    .. code-block:: bash

        salt east2 tabledata.by_key '{"shop.orders": ["17", "18"]}'

    Manual: operations-status.
    """
    known, found = _described(set(wanted)), {}
    for name, keys in wanted.items():
        table, found[name] = known.get(name), None
        if not table:
            continue
        found[name] = {}
        for begin in range(0, len(keys), KEYS_A_STATEMENT):
            answer = _query(f"SELECT {_key_text(table)} AS k, {_row_hash(table)} AS h {_from(table)} "
                            f"WHERE {_among(table, keys[begin:begin + KEYS_A_STATEMENT])}")
            found[name].update({row["k"]: row["h"] for row in answer})
    return found


def _among(table, keys):
    rows = [_literals(table, key) for key in keys]
    if len(table["key"]) == 1:
        return f"{rows[0][0][0]} IN ({', '.join(value for ((_, value),) in rows)})"
    return " OR ".join("(" + " AND ".join(f"{name} = {value}" for name, value in row) + ")" for row in rows)


def condition(table, keys=(), parts=()):
    """
    Return the SQL condition for the rows with some keys and in some parts of a table, for a tool that takes one.

    table
        ``schema.table``, with a primary key.
    keys
        As ``rows`` told them.
    parts
        As ``bounds`` told them.

    Returns the text that follows WHERE; the session's time zone has to be UTC. Raises CommandExecutionError for a table
    that is not here, or has no key.

    CLI Example:

    .. code-block:: bash

        salt east2 tabledata.condition shop.orders '["17", "18"]'

    Manual: operations-status.
    """
    known = _described([table]).get(table)
    if not known or not known["key"]:
        raise CommandExecutionError(f"{table} {'has no primary key' if known else 'is not here'}")
    conditions = [f"({_range(known, part)})" for part in parts]
    if keys:
        conditions.append(_among(known, list(keys)))
    return " OR ".join(conditions) or "FALSE"
