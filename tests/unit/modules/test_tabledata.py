"""tabledata: the SQL that makes rows of different nodes comparable. What each form is for was seen on MariaDB 10.11."""

from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

tabledata = load("_modules", "tabledata")
mysqld = load("_modules", "mysqld")


class Server:
    """Answers the three questions about the schema; every other statement is kept, and answered with ``rows``."""

    def __init__(self, *tables):
        self.tables = tables
        self.rows = []
        self.asked = []

    def query(self, sql, timeout):
        if "information_schema.tables" in sql:
            self.listing = sql
            return [{"s": schema, "t": name, "n": "40"} for schema, name, _, _ in self.tables]
        if "information_schema.columns" in sql:
            return [
                {"s": schema, "t": name, "c": column, "d": kind, "ct": kind, "n": "YES", "cn": ""}
                for schema, name, columns, _ in self.tables for column, kind in columns.items()
            ]
        if "key_column_usage" in sql:
            return [{"s": schema, "t": name, "c": column} for schema, name, _, key in self.tables for column in key]
        self.asked.append(sql)
        return self.rows


@pytest.fixture
def server():
    return Server(
        ("shop", "orders", {"id": "INT", "note": "varchar"}, ["id"]),
        ("shop", "log", {"line": "varchar"}, []),
        ("shop", "parts", {"site": "char", "code": "varbinary", "at": "timestamp"}, ["site", "code", "at"]),
    )


@pytest.fixture
def configure_loader_modules(server):
    return {tabledata: {"__salt__": {"mysqld.query": create_autospec(mysqld.query, side_effect=server.query)}}}


def statement(server, kinds, key=("id",)):
    server.tables = (("s", "t", {"id": "int", **kinds}, list(key)),)
    tabledata.checksums({"s.t": 1})
    return server.asked[-1]


def test_describes_columns_and_key_in_order():
    found = tabledata.tables()
    assert found["shop.parts"]["key"] == ["site", "code", "at"]
    assert found["shop.orders"]["columns"] == {"id": "int", "note": "varchar"}
    assert found["shop.orders"]["rows"] == 40
    assert found["shop.log"]["key"] == []


@pytest.mark.parametrize("change", [
    ("shop", "orders", {"id": "int", "note": "text"}, ["id"]),
    ("shop", "orders", {"note": "varchar", "id": "int"}, ["id"]),
    ("shop", "orders", {"id": "int", "note": "varchar"}, []),
])
def test_a_changed_definition_changes_the_fingerprint(server, change):
    before = tabledata.tables()["shop.orders"]["fingerprint"]
    assert tabledata.tables()["shop.orders"]["fingerprint"] == before
    server.tables = (change,)
    assert tabledata.tables()["shop.orders"]["fingerprint"] != before


def test_leaves_out_the_replicators_own_and_keeps_versioned_tables(server):
    tabledata.tables()
    assert r"table_schema NOT LIKE 'tungsten\_%'" in server.listing
    assert "'performance_schema'" in server.listing
    assert "'SYSTEM VERSIONED'" in server.listing, "MariaDB does not call them BASE TABLE"


def test_checksums_of_a_table_with_a_key(server):
    server.rows = [{"b": "3", "n": "2", "c": "18446744073709551615"}]
    assert tabledata.checksums({"shop.orders": 8}) == {"shop.orders": {"3": [2, "18446744073709551615"]}}
    assert "BIT_XOR(" in server.asked[0]
    assert "CRC32(CONCAT_WS(0x1f, CAST(`id` AS BINARY))) % 8 AS b" in server.asked[0]
    assert "FOR UPDATE" not in server.asked[0] and "LOCK" not in server.asked[0]


def test_equal_rows_of_a_table_without_a_key_do_not_cancel_each_other(server):
    tabledata.checksums({"shop.log": 1})
    assert "SUM(" in server.asked[0] and "BIT_XOR" not in server.asked[0]


def test_null_empty_and_shifted_borders_are_told_apart(server):
    sql = statement(server, {"note": "varchar"})
    assert "COALESCE(CONCAT(LENGTH(CAST(`note` AS BINARY)), ':', CAST(`note` AS BINARY)), '-')" in sql


@pytest.mark.parametrize("kind", ["mediumtext", "longtext", "mediumblob", "longblob", "json", "geometry", "point"])
def test_values_longer_than_a_packet_are_hashed_first(server, kind):
    sql = statement(server, {"v": kind})
    assert "MD5(`v`)" in sql
    assert "HEX(`v`)" not in sql and "CAST(`v`" not in sql


@pytest.mark.parametrize("kind, form", [
    ("float", "CAST(`v` + 0e0 AS BINARY)"),
    ("double", "CAST(`v` AS BINARY)"),
    ("timestamp", "CAST(UNIX_TIMESTAMP(`v`) AS BINARY)"),
    ("bit", "HEX(`v`)"),
    ("blob", "HEX(`v`)"),
    ("text", "CAST(`v` AS BINARY)"),
])
def test_every_kind_in_a_form_that_loses_nothing(server, kind, form):
    assert f"CONCAT(LENGTH({form}), ':', {form})" in statement(server, {"v": kind})


def test_names_are_quoted(server):
    server.tables = (("a`b", 'o"d', {"i`d": "int"}, ["i`d"]),)
    tabledata.checksums({'a`b.o"d': 2})
    assert 'FROM `a``b`.`o"d`' in server.asked[0]
    assert "`i``d`" in server.asked[0]


def test_rows_by_key_whatever_letters_it_has(server):
    keys = ("NULL", "日本", "tab\there", "")
    server.rows = [{"k": key.encode().hex().upper(), "h": str(number)} for number, key in enumerate(keys)]
    found = tabledata.rows({"shop.orders": {"buckets": 8, "only": ["3", "5"]}})
    assert found == {"shop.orders": {"NULL": "0", "日本": "1", "tab\there": "2", "": "3"}}
    assert "SELECT HEX(CONVERT(`id` USING utf8mb4)) AS k" in server.asked[0]
    assert server.asked[0].endswith("% 8 IN (3, 5)")


def test_rows_of_a_composite_key(server):
    tabledata.rows({"shop.parts": {"buckets": 1, "only": ["0"]}})
    assert ("HEX(CONCAT_WS(',', QUOTE(CONVERT(`site` USING utf8mb4)), QUOTE(HEX(`code`)), "
            "QUOTE(CONVERT(UNIX_TIMESTAMP(`at`) USING utf8mb4)))) AS k") in server.asked[0]


def test_rows_without_a_key_are_counted_by_their_hash(server):
    server.rows = [{"k": b"0cc175b9c0f1b6a8".hex(), "h": "3"}]
    found = tabledata.rows({"shop.log": {"buckets": 1, "only": ["0"]}})
    assert found == {"shop.log": {"0cc175b9c0f1b6a8": "3"}}
    assert "COUNT(*) AS h" in server.asked[0] and server.asked[0].endswith("GROUP BY 1")


@pytest.mark.parametrize("buckets", [0, -1, True, "8; DROP TABLE x", 1.5, None])
def test_buckets_are_a_number(server, buckets):
    with pytest.raises(SaltInvocationError, match="buckets"):
        tabledata.checksums({"shop.orders": buckets})
    assert server.asked == []


def test_nothing_from_outside_gets_into_the_statement(server):
    with pytest.raises(ValueError):
        tabledata.rows({"shop.orders": {"buckets": 8, "only": ["1) OR (1=1"]}})
    with pytest.raises(CommandExecutionError, match="no table shop.orders; DROP"):
        tabledata.checksums({"shop.orders; DROP TABLE x": 1})
    assert server.asked == []


def test_no_bucket_asked_for_is_no_row(server):
    tabledata.rows({"shop.orders": {"buckets": 8, "only": []}})
    assert server.asked[0].endswith("IN (NULL)")


@pytest.mark.parametrize("key", [["id"], []])
def test_a_column_that_is_named_like_an_alias_does_not_divide_the_rows(server, key):
    """GROUP BY takes a column before an alias: by name, a table with a column b would be sorted by that."""
    server.tables = (("s", "t", {"id": "int", "b": "int", "k": "int"}, key),)
    tabledata.checksums({"s.t": 8})
    tabledata.rows({"s.t": {"buckets": 8, "only": ["1"]}})
    grouped = [sql.partition(" GROUP BY ")[2] for sql in server.asked]
    assert grouped == (["1", ""] if key else ["1", "1"])
