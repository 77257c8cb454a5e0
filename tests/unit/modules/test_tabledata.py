"""tabledata: the SQL that makes rows of different nodes comparable. What each form is for was seen on MariaDB 10.11."""

import re
from unittest.mock import Mock, create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

tabledata = load("_modules", "tabledata")
mysqld = load("_modules", "mysqld")


class Server:
    """Answers the three questions about the schema; every other statement is kept, and answered with ``rows``."""

    def __init__(self, *tables):
        self.tables = tables
        self.engine, self.part = "InnoDB", None
        self.rows = [{"n": "40", "c": "7", "k": "40"}]
        self.asked, self.said = [], []

    def query(self, sql, timeout):
        self.said.append(sql)
        assert sql.startswith(tabledata.PREPARED)
        sql = sql.removeprefix(tabledata.PREPARED)
        if "information_schema.tables" in sql:
            self.listing = sql
            return [{"s": schema, "t": name, "n": "40", "e": self.engine.lower()}
                    for schema, name, _, _ in self.meant(sql)]
        if "information_schema.columns" in sql:
            return [
                {"s": schema, "t": name, "c": column, "d": kind, "ct": kind, "n": "YES", "cn": ""}
                for schema, name, columns, _ in self.meant(sql) for column, kind in columns.items()
            ]
        if "information_schema.statistics" in sql:
            return [{"s": schema, "t": name, "c": column, "p": self.part}
                    for schema, name, _, key in self.meant(sql) for column in key]
        self.asked.append(sql)
        return self.rows

    def meant(self, sql):
        """The tables that a question about the schema is about: all, or those of a list of names."""
        _, listed, names = sql.partition("CONCAT(s.table_schema, '.', s.table_name) IN (")
        names = [bytes.fromhex(found).decode() for found in re.findall(r"X'([0-9a-f]*)'", names)]
        return [table for table in self.tables if not listed or f"{table[0]}.{table[1]}" in names]


@pytest.fixture
def server():
    return Server(
        ("shop", "orders", {"id": "INT", "note": "varchar"}, ["id"]),
        ("shop", "log", {"line": "varchar"}, []),
        ("shop", "parts", {"site": "char", "code": "varbinary", "at": "timestamp"}, ["site", "code", "at"]),
        ("shop", "kinds", {"kind": "enum", "id": "int"}, ["kind", "id"]),
    )


@pytest.fixture
def clock(monkeypatch):
    mock = Mock(spec=["monotonic", "sleep"])
    mock.monotonic.side_effect = [0.0, 2.0] * 50
    monkeypatch.setattr(tabledata, "time", mock)
    return mock


@pytest.fixture
def configure_loader_modules(server):
    return {tabledata: {"__salt__": {"mysqld.query": create_autospec(mysqld.query, side_effect=server.query)}}}


def part(table="shop.orders", after=None, upto=None, **more):
    return {"table": table, "after": after, "upto": upto, **more}


def statement(server, kinds, key=("id",)):
    server.tables = (("s", "t", {"id": "int", **kinds}, list(key)),)
    tabledata.checksums([part("s.t")])
    return server.asked[-1]


def where(server):
    return server.asked[-1].partition(" WHERE ")[2]


def test_every_statement_ends_by_itself_and_waits_for_no_alter(server):
    tabledata.checksums([part()])
    assert all("max_statement_time" in sql and "lock_wait_timeout = 20" in sql and "time_zone = '+00:00'" in sql
               for sql in server.said)
    assert "FOR UPDATE" not in server.asked[0] and "LOCK" not in server.asked[0]


def test_describes_the_key_and_what_can_be_done_with_it():
    found = tabledata.tables()
    assert found["shop.parts"]["key"] == [["site", "text"], ["code", "binary"], ["at", "time"]]
    assert found["shop.orders"] == {**found["shop.orders"], "key": [["id", "number"]], "ranges": True, "locks": False,
                                    "rows": 40}
    assert found["shop.log"]["key"] == [] and found["shop.log"]["ranges"] is False
    # The index sorts an enum by number, SQL by its text.
    assert found["shop.kinds"]["key"][0] == ["kind", "other"] and found["shop.kinds"]["ranges"] is False


def test_describes_only_the_tables_that_it_is_asked_for(server):
    everything = tabledata.tables()
    assert set(everything) == {"shop.orders", "shop.log", "shop.parts", "shop.kinds"}
    assert tabledata.tables(names=None) == everything
    assert tabledata.tables(names=["shop.parts", "shop.gone", "shop.log"]) == {
        name: everything[name] for name in ("shop.log", "shop.parts")}
    assert len([sql for sql in server.said[-3:] if "shop.gone".encode().hex() in sql]) == 3, "none is read in vain"
    server.said.clear()
    assert tabledata.tables(names=[]) == {} and server.said == [], "of no table nobody needs to be asked"


def test_a_key_on_the_beginning_of_a_column_has_no_ranges(server):
    server.part = "10"
    assert not any(table["ranges"] for table in tabledata.tables().values())


@pytest.mark.parametrize("engine, locks", [
    ("InnoDB", False), ("ROCKSDB", False), ("MyISAM", True), ("Aria", True), ("", True)])
def test_engines_that_keep_writers_out_are_named(server, engine, locks):
    server.engine = engine
    assert tabledata.tables()["shop.orders"]["locks"] is locks


def test_definitions_tell_columns_and_key(server):
    assert tabledata.definitions(["shop.parts", "shop.gone"])["shop.parts"] == {
        "columns": {"site": "char NULL", "code": "varbinary NULL", "at": "timestamp NULL"}, "key": "site, code, at"}
    assert tabledata.definitions([]) == {}


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


def test_checksums_tell_rows_sum_and_time(server, clock):
    server.rows = [{"n": "2", "c": "18446744073709551615"}]
    assert tabledata.checksums([part(upto="17"), part(after="17")]) == [[2, "18446744073709551615", 2.0]] * 2
    assert "BIT_XOR(" in server.asked[0] and "FROM `shop`.`orders` FORCE INDEX (PRIMARY)" in server.asked[0]
    assert [sql.partition(" WHERE ")[2] for sql in server.asked] == ["`id` <= 17", "`id` > 17"]


@pytest.mark.parametrize("share, slept", [(100, 0.0), (50, 2.0), (20, 8.0), (1, 30)])
def test_it_pauses_for_what_it_does_not_have(clock, share, slept):
    tabledata.checksums([part()], share=share)
    assert clock.sleep.call_args.args == (slept,)


@pytest.mark.parametrize("share", [0, 101, -5])
def test_a_share_is_a_percentage(clock, share):
    with pytest.raises(SaltInvocationError, match="share"):
        tabledata.checksums([part()], share=share)


@pytest.mark.parametrize("after, upto, condition", [
    ("6F,AA,2026-01-01 00:00:00", None,
     "`site` >= _utf8mb4 X'6F' AND (`site` > _utf8mb4 X'6F' OR (`site` = _utf8mb4 X'6F' AND (`code` > X'AA' OR "
     "(`code` = X'AA' AND `at` > '2026-01-01 00:00:00'))))"),
    (None, ",,2026-01-01 00:00:00",
     "`site` <= _utf8mb4 X'' AND (`site` < _utf8mb4 X'' OR (`site` = _utf8mb4 X'' AND (`code` < X'' OR "
     "(`code` = X'' AND `at` <= '2026-01-01 00:00:00'))))"),
    (None, None, "TRUE"),
])
def test_ranges_of_a_composite_key(server, after, upto, condition):
    tabledata.checksums([part("shop.parts", after, upto)])
    assert where(server) == condition


def test_a_range_of_a_table_without_ranges_is_refused():
    with pytest.raises(SaltInvocationError, match="cannot be read in ranges"):
        tabledata.checksums([part("shop.kinds", "6E,1")])


@pytest.mark.parametrize("table, key", [
    ("shop.orders", "17 OR 1=1"), ("shop.orders", "1,2"), ("shop.orders", ""), ("shop.orders", "1e9"),
    ("shop.orders", None), ("shop.orders", 17), ("shop.parts", "6F,AA"), ("shop.parts", "6F,A,2026"),
    ("shop.parts", "6f,AA,2026"), ("shop.parts", "x' OR '1,AA,2026"), ("shop.parts", "6F,AA,2026' OR '1"),
    ("shop.parts", "6F,AA,2026-01-01\n"),
])
def test_what_is_no_key_gets_into_no_statement(server, table, key):
    for call in (lambda: tabledata.by_key({table: [key]}), lambda: tabledata.condition(table, keys=[key]),
                 lambda: tabledata.condition(table, parts=[part(table, upto=key if key is not None else "x")])):
        with pytest.raises(SaltInvocationError):
            call()
    assert server.asked == []


@given(st.text(max_size=40))
def test_no_text_gets_out_of_its_literal(text):
    """Whatever is taken for a key: no quote, backslash, comment or letter of it stands outside of hex digits."""
    for kind, spelling in tabledata.SPELLING.items():
        if spelling.fullmatch(text):
            assert re.fullmatch(r"[0-9A-F]*|-?[0-9.]+|[0-9 :.-]+", text), kind


def test_digits_of_other_scripts_are_no_number_to_sql():
    for kind in ("number", "time"):
        assert not tabledata.SPELLING[kind].fullmatch("\u0661\u0662")


def test_keys_are_asked_for_in_short_statements(server):
    server.rows = [{"k": "1", "h": "aa"}]
    keys = [str(number) for number in range(tabledata.KEYS_A_STATEMENT + 1)]
    assert tabledata.by_key({"shop.orders": keys}) == {"shop.orders": {"1": "aa"}}
    assert len(server.asked) == 2 and where(server) == f"`id` IN ({keys[-1]})"
    tabledata.by_key({"shop.parts": ["6F,AA,2026-01-01", "70,,2026-01-02"]})
    assert where(server) == (
        "(`site` = _utf8mb4 X'6F' AND `code` = X'AA' AND `at` = '2026-01-01') OR "
        "(`site` = _utf8mb4 X'70' AND `code` = X'' AND `at` = '2026-01-02')")
    tabledata.by_key({"shop.kinds": ["6E6577,-3"]})
    assert where(server) == "(HEX(CONVERT(CAST(`kind` AS CHAR) USING utf8mb4)) = '6E6577' AND `id` = -3)"


def test_a_condition_names_keys_and_parts():
    assert tabledata.condition("shop.orders", keys=["1", "2"], parts=[part(after="5", upto="9")]) == (
        "(`id` > 5 AND `id` <= 9) OR `id` IN (1, 2)")
    assert tabledata.condition("shop.orders") == "FALSE", "nothing asked for is nothing, not everything"
    with pytest.raises(CommandExecutionError, match="^shop.log has no primary key$"):
        tabledata.condition("shop.log", parts=[part("shop.log")])
    for which in ({"keys": ["1"]}, {"parts": [part("shop.gone")]}, {}):
        with pytest.raises(CommandExecutionError, match="^shop.gone is not here$"):
            tabledata.condition("shop.gone", **which)


def test_tables_are_cut_along_their_keys(server):
    ends = iter([[{"k": "5000"}], [{"k": "10000"}], [], []])
    server.query, asked = server.query, []

    def query(sql, timeout):
        if "LIMIT" not in sql:
            return Server.query(server, sql, timeout)
        asked.append(sql)
        return next(ends)

    tabledata.__salt__["mysqld.query"].side_effect = query
    wanted = [{"table": "shop.orders", "after": "100"}, {"table": "shop.log", "after": None},
              {"table": "shop.parts", "after": None}]
    assert tabledata.bounds(wanted, rows=5000, most=20) == [
        part(after="100", upto="5000"), part(after="5000", upto="10000"), part(after="10000"), part("shop.log"),
        part("shop.parts")]
    assert asked[0].endswith("WHERE `id` > 100 ORDER BY `id` LIMIT 4999, 1")
    ends = iter([[{"k": "1"}], [{"k": "2"}]])
    assert tabledata.bounds(wanted, rows=1, most=2) == [part(after="100", upto="1"), part(after="1", upto="2")]


def test_equal_rows_of_a_table_without_a_key_do_not_cancel_each_other(server):
    tabledata.checksums([part("shop.log")])
    assert "SUM(" in server.asked[0] and "BIT_XOR" not in server.asked[0] and "FORCE INDEX" not in server.asked[0]


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
    ("timestamp", "CAST(`v` AS BINARY)"),
    ("bit", "HEX(`v`)"),
    ("blob", "HEX(`v`)"),
    ("text", "CAST(`v` AS BINARY)"),
])
def test_every_kind_in_a_form_that_loses_nothing(server, kind, form):
    assert f"CONCAT(LENGTH({form}), ':', {form})" in statement(server, {"v": kind})


def test_names_are_quoted(server):
    server.tables = (("a`b", 'o"d', {"i`d": "int"}, ["i`d"]),)
    tabledata.checksums([part('a`b.o"d', upto="3")])
    assert 'FROM `a``b`.`o"d`' in server.asked[0]
    assert where(server) == "`i``d` <= 3"


def test_rows_of_some_buckets(server):
    server.rows = [{"k": "3", "h": "aa"}, {"k": "5", "h": "bb"}]
    assert tabledata.rows([part(upto="9", buckets=8, only=["3", "5"])]) == [{"3": "aa", "5": "bb"}]
    assert "SELECT CONCAT_WS(',', CAST(`id` AS CHAR)) AS k" in server.asked[0]
    assert where(server) == "`id` <= 9 AND CRC32(CONCAT_WS(0x1f, CAST(`id` AS BINARY))) % 8 IN (3, 5)"
    tabledata.rows([part("shop.parts", buckets=1, only=["0"])])
    assert "CONCAT_WS(',', HEX(CONVERT(`site` USING utf8mb4)), HEX(`code`), CAST(`at` AS CHAR)) AS k" in server.asked[1]


def test_rows_without_a_key_are_counted_by_their_hash(server):
    server.rows = [{"k": "0cc175b9c0f1b6a8", "h": "3"}]
    assert tabledata.rows([part("shop.log", buckets=1, only=["0"])]) == [{"0cc175b9c0f1b6a8": "3"}]
    assert "COUNT(*) AS h" in server.asked[0] and server.asked[0].endswith("GROUP BY 1")


def test_buckets_of_a_part(server):
    server.rows = [{"b": "3", "n": "2", "c": "99"}]
    assert tabledata.buckets([part(upto="9", buckets=8)]) == [{"3": [2, "99"]}]
    assert where(server) == "`id` <= 9 GROUP BY 1"


@pytest.mark.parametrize("number", [0, -1, True, "8; DROP TABLE x", 1.5, None])
def test_buckets_are_a_number(server, number):
    for call in (lambda: tabledata.buckets([part(buckets=number)]),
                 lambda: tabledata.rows([part(buckets=number, only=["1"])])):
        with pytest.raises(SaltInvocationError, match="buckets"):
            call()
    assert server.asked == []


def test_nothing_from_outside_gets_into_the_statement(server):
    with pytest.raises(ValueError):
        tabledata.rows([part(buckets=8, only=["1) OR (1=1"])])
    name = "shop.orders'; DROP TABLE x; -- "
    assert tabledata.checksums([part(name)]) == [None] and tabledata.by_key({name: ["1"]}) == {name: None}
    assert tabledata.tables([name]) == {}
    with pytest.raises(CommandExecutionError, match="shop.orders'; DROP TABLE x; --  is not here"):
        tabledata.condition(name)
    with pytest.raises(SaltInvocationError, match="is not a text"):
        tabledata.tables([7])
    assert server.asked == [] and not any("DROP" in sql for sql in server.said)
    assert any(name.encode().hex() in sql for sql in server.said), "it is asked for, as hex digits"


def test_no_bucket_asked_for_is_no_row(server):
    server.rows = []
    tabledata.rows([part(buckets=8, only=[])])
    assert server.asked[0].endswith("IN (NULL)")


@pytest.mark.parametrize("key", [["id"], []])
def test_a_column_that_is_named_like_an_alias_does_not_divide_the_rows(server, key):
    """GROUP BY takes a column before an alias: by name, a table with a column b would be sorted by that."""
    server.tables = (("s", "t", {"id": "int", "b": "int", "k": "int"}, key),)
    server.rows = []
    tabledata.buckets([part("s.t", buckets=8)])
    tabledata.rows([part("s.t", buckets=8, only=["1"])])
    grouped = [sql.partition(" GROUP BY ")[2] for sql in server.asked]
    assert grouped == (["1", ""] if key else ["1", "1"])


# --- tables that are not there


def test_a_table_that_is_not_there_is_one_part_that_has_no_end(server):
    server.rows = []
    gone = {"table": "shop.gone", "after": "17"}
    wanted = [{"table": "shop.log", "after": None}, gone, {"table": "shop.orders", "after": "5"}]
    assert tabledata.bounds(wanted, rows=10, most=20) == [
        part("shop.log"), part("shop.gone", after="17"), part("shop.orders", after="5")]
    assert len(server.asked) == 1 and "`orders`" in server.asked[0]
    assert tabledata.bounds(wanted, rows=10, most=1) == [part("shop.log")]
    assert tabledata.bounds([gone], rows=10, most=1) == [part("shop.gone", after="17")]


def test_of_a_table_that_is_not_there_is_none_in_its_place(server, clock):
    gone, orders = part("shop.gone", upto="17"), part()
    server.rows = [{"n": "2", "c": "9", "b": "3", "k": "1", "h": "aa"}]
    assert tabledata.checksums([orders, gone, orders]) == [[2, "9", 2.0], None, [2, "9", 2.0]]
    assert len(server.asked) == 2 and clock.sleep.call_count == 2, "for nothing done there is no pause"
    several = [{**each, "buckets": 8, "only": ["3"]} for each in (gone, orders, gone)]
    assert tabledata.buckets(several) == [None, {"3": [2, "9"]}, None]
    assert tabledata.rows(several) == [None, {"1": "aa"}, None]
    assert tabledata.by_key({"shop.gone": ["17"], "shop.orders": ["1"], "shop.lost": []}) == {
        "shop.gone": None, "shop.orders": {"1": "aa"}, "shop.lost": None}
    assert len(server.asked) == 5 and not any("gone" in sql for sql in server.asked)


def test_a_table_that_has_none_of_the_rows_is_no_table_that_is_not_there(server):
    server.rows = []
    assert tabledata.buckets([part(buckets=8)]) == [{}] == tabledata.rows([part(buckets=8, only=["3"])])
    assert tabledata.by_key({"shop.orders": ["1"], "shop.parts": []}) == {"shop.orders": {}, "shop.parts": {}}


@pytest.mark.parametrize("ask", [
    lambda: tabledata.bounds([{"table": "shop.gone", "after": None}], rows=10, most=20),
    lambda: tabledata.checksums([part("shop.gone")]),
    lambda: tabledata.buckets([part("shop.gone", buckets=8)]),
    lambda: tabledata.rows([part("shop.gone", buckets=8, only=["1"])]),
    lambda: tabledata.by_key({"shop.gone": ["1"]}),
    lambda: tabledata.tables(["shop.gone"]),
])
def test_a_server_that_does_not_answer_is_not_one_without_the_table(ask):
    tabledata.__salt__["mysqld.query"].side_effect = CommandExecutionError("MySQL does not answer")
    with pytest.raises(CommandExecutionError, match="MySQL does not answer"):
        ask()
