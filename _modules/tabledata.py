"""
What this node's tables hold, as checksums that can be compared with those of other nodes. Reads only, locks nothing.

Rows are sorted into buckets by a hash of their primary key, so that all nodes sort alike without having to agree on
ranges. A table without a primary key is sorted by a hash of the whole row.
"""

import hashlib
import json

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "tabledata"

SECONDS = 3600
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


def __virtual__():
    return __virtualname__


def _query(sql):
    return __salt__["mysqld.query"](sql, timeout=SECONDS)


def tables():
    """
    Describe every table of the applications.

    Returns ``{"shop.orders": {"schema", "table", "columns": {name: type}, "key": [names], "rows": estimate,
    "fingerprint"}}``, the fingerprint being a hash of the columns and the key. Raises CommandExecutionError when MySQL
    does not answer.

    CLI Example:

    .. code-block:: bash

        salt east1 tabledata.tables

    Manual: operations-status.
    """
    where = rf"table_schema NOT IN {OWN_SCHEMAS} AND table_schema NOT LIKE 'tungsten\_%'"
    found = {}
    for row in _query(
            "SELECT table_schema AS s, table_name AS t, COALESCE(table_rows, 0) AS n FROM information_schema.tables "
            f"WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND {where}"):
        found[f"{row['s']}.{row['t']}"] = {
            "schema": row["s"], "table": row["t"], "columns": {}, "key": [], "rows": int(row["n"])}
    definitions = {name: [] for name in found}
    for row in _query(
            "SELECT table_schema AS s, table_name AS t, column_name AS c, data_type AS d, column_type AS ct, "
            "is_nullable AS n, COALESCE(collation_name, '') AS cn FROM information_schema.columns "
            f"WHERE {where} ORDER BY table_schema, table_name, ordinal_position"):
        name = f"{row['s']}.{row['t']}"
        if name in found:
            found[name]["columns"][row["c"]] = row["d"].lower()
            definitions[name].append([row[key] for key in ("c", "ct", "n", "cn")])
    for row in _query(
            "SELECT table_schema AS s, table_name AS t, column_name AS c FROM information_schema.key_column_usage "
            f"WHERE constraint_name = 'PRIMARY' AND {where} ORDER BY table_schema, table_name, ordinal_position"):
        name = f"{row['s']}.{row['t']}"
        if name in found:
            found[name]["key"].append(row["c"])
    for name, table in found.items():
        definition = json.dumps([definitions[name], table["key"]])
        table["fingerprint"] = hashlib.sha256(definition.encode()).hexdigest()
    return found


def _quoted(name):
    return "`" + name.replace("`", "``") + "`"


def _bytes(column, kind):
    """A column's value as bytes that are the same on every node."""
    name = _quoted(column)
    if kind == "timestamp":
        # Shown in the session's time zone, which may differ from node to node.
        return f"CAST(UNIX_TIMESTAMP({name}) AS BINARY)"
    if kind in LONG_TYPES:
        return f"MD5({name})"
    if kind == "float":
        # Printed as such it has 6 digits, which is fewer than are stored.
        name = f"{name} + 0e0"
    return f"HEX({name})" if kind in BINARY_TYPES else f"CAST({name} AS BINARY)"


def _row_hash(table):
    """64 bits of a row. The length before each value keeps NULL, '' and shifted borders apart."""
    values = (_bytes(column, kind) for column, kind in table["columns"].items())
    parts = ", ".join(f"COALESCE(CONCAT(LENGTH({value}), ':', {value}), '-')" for value in values)
    return f"LEFT(MD5(CONCAT({parts})), 16)"


def _key_text(table):
    """The primary key as people read it; of a table without one, the row's hash."""
    if not table["key"]:
        return _row_hash(table)
    parts = []
    for column in table["key"]:
        name, kind = _quoted(column), table["columns"][column]
        if kind == "timestamp":
            value = f"CONVERT(UNIX_TIMESTAMP({name}) USING utf8mb4)"
        else:
            value = f"HEX({name})" if kind in BINARY_TYPES else f"CONVERT({name} USING utf8mb4)"
        parts.append(f"QUOTE({value})" if len(table["key"]) > 1 else value)
    return parts[0] if len(parts) == 1 else f"CONCAT_WS(',', {', '.join(parts)})"


def _bucket(table, buckets):
    if isinstance(buckets, bool) or not isinstance(buckets, int) or buckets < 1:
        raise SaltInvocationError(f"buckets must be a whole number above 0, not {buckets!r}")
    values = [_bytes(column, table["columns"][column]) for column in table["key"]]
    sorted_by = f"CONCAT_WS(0x1f, {', '.join(values)})" if values else _row_hash(table)
    return f"CRC32({sorted_by}) % {buckets}"


def _known(names):
    known = tables()
    missing = [name for name in names if name not in known]
    if missing:
        raise CommandExecutionError(f"There is no table {', '.join(sorted(missing))}")
    return known


def checksums(buckets):
    """
    Return a checksum of each bucket of the given tables.

    buckets
        ``{"shop.orders": 512}``: into how many buckets each table's rows are sorted.

    Returns ``{"shop.orders": {"17": [rows, checksum]}}``; empty buckets are left out. Raises CommandExecutionError for
    a table that is not here.

    CLI Example:

    .. code-block:: bash

        salt east1 tabledata.checksums '{"shop.orders": 512}'

    Manual: operations-status.
    """
    known, found = _known(buckets), {}
    for name, number in buckets.items():
        table = known[name]
        # Without a key rows may be the same, and an even number of them would vanish in an XOR.
        total = "BIT_XOR" if table["key"] else "SUM"
        rows = _query(
            f"SELECT {_bucket(table, number)} AS b, COUNT(*) AS n, "
            f"{total}(CAST(CONV({_row_hash(table)}, 16, 10) AS UNSIGNED)) AS c "
            f"FROM {_quoted(table['schema'])}.{_quoted(table['table'])} GROUP BY 1")
        found[name] = {row["b"]: [int(row["n"]), row["c"]] for row in rows}
    return found


def rows(wanted):
    """
    Return the hash of each row in some buckets of the given tables.

    wanted
        ``{"shop.orders": {"buckets": 512, "only": ["17", "301"]}}``

    Returns ``{"shop.orders": {key: hash}}``; of a table without a primary key ``{hash: "number of such rows"}``. Raises
    CommandExecutionError for a table that is not here.

    CLI Example:

    .. code-block:: bash

        salt east1 tabledata.rows '{"shop.orders": {"buckets": 512, "only": ["17"]}}'

    Manual: operations-status.
    """
    known, found = _known(wanted), {}
    for name, which in wanted.items():
        table = known[name]
        only = ", ".join(str(int(bucket)) for bucket in which["only"]) or "NULL"
        value = _row_hash(table) if table["key"] else "COUNT(*)"
        # In HEX, since the client's character set may lack the key's letters: two keys would become one.
        answer = _query(
            f"SELECT HEX({_key_text(table)}) AS k, {value} AS h "
            f"FROM {_quoted(table['schema'])}.{_quoted(table['table'])} "
            f"WHERE {_bucket(table, which['buckets'])} IN ({only})" + ("" if table["key"] else " GROUP BY 1"))
        found[name] = {bytes.fromhex(row["k"]).decode(errors="replace"): row["h"] for row in answer}
    return found
