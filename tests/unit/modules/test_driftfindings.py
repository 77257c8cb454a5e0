"""driftfindings: whose a row is that differs, and how people are told."""

import pytest

from tests.support.loader import load

driftfindings = load("_modules", "driftfindings")

SITES = {"west": ["w2", "w3"], "east": ["e2", "e3"]}
TABLES = {"shop.t": {"key": [["id", "number"]]}, "shop.log": {"key": []}}


@pytest.fixture
def configure_loader_modules():
    return {driftfindings: {}}


def row(w2="a", w3="a", e2="a", e3="a"):
    return {"w2": w2, "w3": w3, "e2": e2, "e3": e3}


def compared(rows=None, table="shop.t", **more):
    found = {"differing": {table: rows} if rows else {}, "unproved": {}, "whole": {}, "schema": {}, "skipped": {}}
    return {**found, **more}


def judge(rows, table="shop.t", sites=SITES, **more):
    return driftfindings.judge(compared(rows, table, **more), TABLES, sites, "west")


def counted(found):
    return {who: {whose: {kind: table[kind] for kind in driftfindings.KINDS if table[kind]}
                  for whose, tables in found[who].items() for table in tables["tables"].values()}
            for who in ("sites", "nodes")}


@pytest.mark.parametrize("values, sites, nodes", [
    (row(e2="b", e3="b"), {"east": {"changed": 1}}, {}),
    (row(e2="b", e3="c"), {"east": {"changed": 1}}, {}),
    (row(e2=None, e3=None), {"east": {"missing": 1}}, {}),
    (row(w2=None, w3=None), {"east": {"extra": 1}}, {}),
    (row(e2=None, e3="b"), {"east": {"changed": 1}}, {}),
    (row(e3="b"), {}, {"e3": {"changed": 1}}),
    (row(e3=None), {}, {"e3": {"missing": 1}}),
    (row(None, None, None, "b"), {}, {"e3": {"extra": 1}}),
    # The reference is at odds with itself: what most of all have is right.
    (row(w3="b"), {}, {"w3": {"changed": 1}}),
    (row(w2="b", w3="a", e2="b", e3="b"), {}, {"w3": {"changed": 1}}),
    (row(w3="b", e2="c", e3="c"), {"east": {"changed": 1}}, {"w2": {"changed": 1}}),
])
def test_whose_it_is(values, sites, nodes):
    assert counted(judge({"17": values})) == {"sites": sites, "nodes": nodes}


def without(values, *late):
    return {minion: value for minion, value in values.items() if minion not in late}


@pytest.mark.parametrize("values, nodes", [
    (without(row(e2="b"), "e3"), {"e2": {"changed": 1}}),
    (without(row(e3=None), "e2"), {"e3": {"missing": 1}}),
    (without(row(None, None, e2="b"), "e3"), {"e2": {"extra": 1}}),
    # One node of the reference is enough to tell what is right.
    (without(row(e3="b"), "w2"), {"e3": {"changed": 1}}),
    (without(row(e2="b"), "w3", "e3"), {"e2": {"changed": 1}}),
])
def test_a_node_of_which_nothing_is_proved_is_not_blamed_nor_is_its_site(values, nodes):
    found = judge({"17": values})
    assert counted(found) == {"sites": {}, "nodes": nodes} and found["unproved"] == {}


def test_a_reference_at_odds_with_itself_says_nothing_of_a_site_of_which_nothing_is_proved():
    found = judge({"17": {"w2": "a", "w3": "b"}})
    assert found["sites"] == {} and found["unproved"] == {} and set(found["nodes"]) < {"w2", "w3"}


def test_a_site_has_drifted_though_nothing_is_proved_of_a_node_of_the_reference_or_of_a_third_site():
    found = judge({"17": without(row(e2="b", e3="b"), "w3")})
    assert counted(found) == {"sites": {"east": {"changed": 1}}, "nodes": {}}
    sites = {**SITES, "north": ["n1", "n2"]}
    found = judge({"17": {**row(e2="b", e3="b"), "n1": "b"}}, sites=sites)
    assert counted(found) == {"sites": {"east": {"changed": 1}}, "nodes": {"n1": {"changed": 1}}}


def test_without_a_node_of_the_reference_nothing_is_proved():
    late = without(row(e2="b"), "w2", "w3")
    assert judge({"17": late, "18": late}) == {
        "sites": {}, "nodes": {}, "unproved": {"shop.t": "replication has passed no node of west"}}
    # The other rows of the table are judged all the same.
    found = judge({"17": late, "18": row(e2="b", e3="b")})
    assert counted(found) == {"sites": {"east": {"changed": 1}}, "nodes": {}}
    assert found["sites"]["east"]["tables"]["shop.t"]["keys"]["changed"] == ["18"]
    assert found["unproved"] == {"shop.t": "replication has passed no node of west"}
    east = driftfindings.judge(compared({"17": late}), TABLES, SITES, "east")
    assert counted(east)["nodes"] and east["unproved"] == {}, "it depends on who is taken to be right"


def test_a_row_without_a_key_is_told_by_how_often_it_is_there():
    assert counted(judge({"aa": row("2", "2", "1", "1")}, "shop.log"))["sites"] == {"east": {"missing": 1}}
    assert counted(judge({"aa": row(None, None, "1", "1")}, "shop.log"))["sites"] == {"east": {"extra": 1}}


def test_keys_are_named_in_their_order_up_to_a_limit():
    rows = {str(number): row(e2="b", e3="b") for number in (10, 9, 100, 2)}
    table = judge(rows)["sites"]["east"]["tables"]["shop.t"]
    assert table["keys"]["changed"] == ["2", "9", "10", "100"] and table["complete"]
    table = driftfindings.judge(compared(rows), TABLES, SITES, "west", limit=2)["sites"]["east"]["tables"]["shop.t"]
    assert table["changed"] == 4 and table["keys"]["changed"] == ["2", "9"]


@pytest.mark.parametrize("more", [{"whole": {"shop.t": [{}]}}, {"unproved": {"shop.t": {"keys": ["1"], "why": "x"}}}])
def test_a_table_that_was_not_looked_at_to_the_end_is_not_complete(more):
    assert judge({"17": row(e2="b", e3="b")}, **more)["sites"]["east"]["tables"]["shop.t"]["complete"] is False


@pytest.mark.parametrize("key, columns, shown", [
    ("17", [["id", "number"]], "17"),
    ("77657374,5", [["site", "text"], ["number", "number"]], "west,5"),
    ("C3A9", [["name", "text"]], "é"),
    ("FF", [["name", "text"]], "\N{REPLACEMENT CHARACTER}"),
    ("00FF,2026-01-01 00:00:00", [["code", "binary"], ["at", "time"]], "0x00FF,2026-01-01 00:00:00"),
    ("6E6577", [["kind", "other"]], "new"),
    ("0cc175b9", [], "row 0cc175b9"),
    ("", [["name", "text"]], ""),
    ("-17,612C62", [["id", "number"], ["name", "text"]], "-17,a,b"),
    # Neither a line nor a colour of its own.
    ("610A73697465", [["name", "text"]], r"a\nsite"),
    ("1B5B33316D", [["name", "other"]], r"\x1b[31m"),
])
def test_keys_as_people_read_them(key, columns, shown):
    assert driftfindings.shown_key(key, columns) == shown


def test_the_site_that_is_right_may_be_any():
    values = row(e2="b", e3="b")
    east = driftfindings.judge(compared({"17": values}), TABLES, SITES, "east")
    assert counted(east) == {"sites": {"west": {"changed": 1}}, "nodes": {}}


def test_of_three_sites_the_two_that_agree_are_not_right_against_the_reference():
    sites = {"west": ["w2"], "east": ["e2"], "north": ["n1"]}
    found = judge({"17": {"w2": "a", "e2": "b", "n1": "b"}}, sites=sites)
    assert counted(found) == {"sites": {"east": {"changed": 1}, "north": {"changed": 1}}, "nodes": {}}


def test_kinds_and_tables_are_counted_apart():
    found = driftfindings.judge(
        compared({"1": row(e2="b", e3="b"), "2": row(e2=None, e3=None), "3": row(None, None), "4": row(e3=None)},
                 differing={"shop.t": {"1": row(e2="b", e3="b"), "2": row(e2=None, e3=None), "3": row(None, None),
                                       "4": row(e3=None)},
                            "shop.log": {"aa": row("2", "2", "3", "3")}}),
        TABLES, SITES, "west")
    none = {"changed": [], "missing": [], "extra": []}
    assert found == {
        "sites": {"east": {"tables": {
            "shop.t": {"changed": 1, "missing": 1, "extra": 1, "complete": True,
                       "keys": {"changed": ["1"], "missing": ["2"], "extra": ["3"]}},
            "shop.log": {"changed": 0, "missing": 0, "extra": 1, "complete": True,
                         "keys": {**none, "extra": ["row aa"]}}}}},
        "nodes": {"e3": {"tables": {
            "shop.t": {"changed": 0, "missing": 1, "extra": 0, "complete": True, "keys": {**none, "missing": ["4"]}}}}},
        "unproved": {},
    }


def test_nothing_differs():
    assert judge({}) == {"sites": {}, "nodes": {}, "unproved": {}}


def definition(**columns):
    return {"columns": columns, "key": "id"}


def made(prints):
    """A table of a comparison's ``schema``; nodes that are late are not among the prints."""
    return {"missing": [minion for minion, value in prints.items() if value is None], "prints": prints}


def test_where_tables_are_made_differently():
    one, other = definition(id="int", amount="decimal(10,2)"), definition(id="int", amount="decimal(12,2)")
    found = {"shop.t": made(row("one", "one", "other", "other")), "shop.gone": made(row("one", "one", None, None)),
             "shop.new": made(row(None, None, "one", None))}
    definitions = {"w2": {"shop.t": one, "shop.gone": one}, "w3": {"shop.t": one, "shop.gone": one},
                   "e2": {"shop.t": other, "shop.new": one}, "e3": {"shop.t": other}}
    assert driftfindings.schema(compared(schema=found), definitions, SITES, "west") == {
        "shop.t": {"reason": "its definition differs", "sites": ["east"],
                   "differences": ["amount: decimal(10,2) on w2, w3; decimal(12,2) on e2, e3"]},
        "shop.gone": {"reason": "missing on e2, e3", "differences": [], "sites": ["east"]},
        "shop.new": {"reason": "missing on w2, w3, e3", "differences": [], "sites": []},
    }


@pytest.mark.parametrize("other, difference", [
    ({**definition(id="int", n="int"), "key": None}, "primary key: id on w2, w3, e2; none on e3"),
    (definition(n="int", id="int"), "order of columns: id, n on w2, w3, e2; n, id on e3"),
    (definition(id="int"), "n: int on w2, w3, e2; no such column on e3"),
    (definition(id="int", n="int", m="text"), "m: no such column on w2, w3, e2; text on e3"),
])
def test_each_difference_of_a_definition_is_told_and_one_node_is_no_site(other, difference):
    one = definition(id="int", n="int")
    definitions = {**{minion: {"shop.t": one} for minion in ("w2", "w3", "e2")}, "e3": {"shop.t": other}}
    found = compared(schema={"shop.t": made(row(e3="b"))})
    assert driftfindings.schema(found, definitions, SITES, "west") == {
        "shop.t": {"reason": "its definition differs", "differences": [difference], "sites": []}}


def test_the_reference_alone_lacks_a_table():
    definitions = {minion: {"shop.t": definition(id="int")} for minion in ("e2", "e3")} | {"w2": {}, "w3": {}}
    found = compared(schema={"shop.t": made(row(None, None))})
    assert driftfindings.schema(found, definitions, SITES, "west") == {
        "shop.t": {"reason": "missing on w2, w3", "differences": [], "sites": ["east"]}}


@pytest.mark.parametrize("prints, sites, nodes", [
    (row(e2="b", e3="b"), ["east"], "int on w2, w3; text on e2, e3"),
    (row(e2="b", e3="c"), ["east"], "int on w2, w3; text on e2; blob on e3"),
    (without(row(e2="b", e3="b"), "w2"), ["east"], "int on w3; text on e2, e3"),
    # Nothing is proved of the other node of the site: its definition may be on its way, and is not told.
    (without(row(e2="b", e3="b"), "e2"), [], "int on w2, w3; text on e3"),
    # Nothing is proved of the reference: what differs is told, and nobody has drifted from it.
    (without(row(e2="a", e3="b"), "w2", "w3"), [], "int on e2; text on e3"),
])
def test_tables_that_are_made_otherwise_are_a_sites_only_if_it_is_proved_of_all_its_nodes(prints, sites, nodes):
    kinds = {"a": "int", "b": "text", "c": "blob"}
    # Late ones answer as well when they are asked for their definitions.
    definitions = {minion: {"shop.t": definition(n=kinds[prints.get(minion, "c")])} for minion in row()}
    assert driftfindings.schema(compared(schema={"shop.t": made(prints)}), definitions, SITES, "west") == {
        "shop.t": {"reason": "its definition differs", "differences": [f"n: {nodes}"], "sites": sites}}


@pytest.mark.parametrize("prints, reason, sites", [
    (without(row(e2=None), "e3"), "missing on e2", []),
    (without(row(None, None), "e3"), "missing on w2, w3", []),
    (without(row(None), "w3"), "missing on w2", ["east"]),
    (without(row(e2=None), "w2", "w3"), "missing on e2", []),
])
def test_a_table_that_is_missing_is_told_only_of_nodes_that_are_not_late(prints, reason, sites):
    definitions = {minion: {"shop.t": definition(id="int")} for minion, value in prints.items() if value}
    assert driftfindings.schema(compared(schema={"shop.t": made(prints)}), definitions, SITES, "west") == {
        "shop.t": {"reason": reason, "differences": [], "sites": sites}}


def test_what_decides_is_the_fingerprint_and_not_what_was_answered_later():
    """By then a table may be made alike; columns alone do not tell all of a definition either."""
    definitions = {minion: {"shop.t": definition(id="int")} for minion in row()}
    found = compared(schema={"shop.t": made(row(e2="b", e3="b"))})
    assert driftfindings.schema(found, definitions, SITES, "west") == {
        "shop.t": {"reason": "its definition differs", "differences": [], "sites": ["east"]}}


def test_no_site_has_drifted_from_a_reference_of_which_nothing_is_proved():
    """Not even one whose nodes all have it otherwise than most."""
    sites = {**SITES, "north": ["n1"]}
    prints = {"e2": "a", "e3": "a", "n1": "b"}
    definitions = {minion: {"shop.t": definition(n=kind)} for minion, kind in prints.items()}
    assert driftfindings.schema(compared(schema={"shop.t": made(prints)}), definitions, sites, "west") == {
        "shop.t": {"reason": "its definition differs", "differences": ["n: a on e2, e3; b on n1"], "sites": []}}
    found = driftfindings.schema(compared(schema={"shop.t": made(prints)}), definitions, sites, "east")
    assert found["shop.t"]["sites"] == ["north"]


def check(**more):
    return {"sites": {}, "nodes": {}, "schema": {}, "unproved": {}, "skipped": {}, "nodes_of": SITES,
            "reference": "west", "check": "20260101T000000-1a2b", "verdict": "drifted", "tables": 2, "rows": 1234567,
            "looked_at": ["w2", "w3", "e2", "e3"], "not_looked_at": {}, "seconds": 61.2, **more}


@pytest.mark.parametrize("more, sites", [
    ({}, []),
    ({"sites": {"east": {}}}, ["east"]),
    ({"sites": {"north": {}, "east": {}}}, ["east", "north"]),
    # One node by its rows, the other by nothing: it is one node that is to be mended.
    ({"nodes": {"e3": {}}, "unproved": {"shop.t": "late"}}, []),
    ({"nodes": {"e2": {}, "e3": {}}}, ["east"]),
    ({"nodes": {"e2": {}}}, []),
    ({"nodes": {"w2": {}, "w3": {}}}, []),
    ({"schema": {"shop.t": {"sites": ["east"]}}}, ["east"]),
    ({"schema": {"shop.t": {"sites": ["west"]}}}, []),
])
def test_a_site_has_drifted_if_all_of_its_nodes_have(more, sites):
    assert driftfindings.drifted(check(**more)) == sites


@pytest.mark.parametrize("more, verdict", [
    ({}, "equal"), ({"skipped": {"shop.m": "MyISAM"}}, "equal"), ({"unproved": {"shop.t": "late"}}, "unproved"),
    ({"nodes": {"e3": {}}}, "drifted"), ({"sites": {"east": {}}}, "drifted"),
    ({"schema": {"shop.t": {}}, "unproved": {"shop.t": "late"}}, "drifted"),
])
def test_one_word_for_it(more, verdict):
    assert driftfindings.verdict(check(**more)) == verdict


def test_briefly_names_everything_that_is_in_the_way():
    told = driftfindings.briefly(compared(
        {"17": row(e2="b")}, schema={"shop.gone": {"missing": ["e2"]}, "shop.u": {"missing": []}},
        unproved={"shop.log": {"keys": ["aa"], "why": "late"}}, skipped={"shop.m": "locks"}, whole={"shop.t": [{}]}))
    assert told == (
        "shop.gone is missing on e2; shop.u is not defined alike; shop.t differs in 1 or more rows, such as "
        f"17: {row(e2='b')}; shop.log could not be proved equal: late; shop.m was not compared: locks")
    assert driftfindings.briefly(compared({"17": row(e2="b")})).startswith("shop.t differs in 1 rows, such as 17: ")
    assert driftfindings.briefly(compared()) == "nothing differs"


def test_text_of_equal_sites():
    assert driftfindings.text(check(verdict="equal")) == (
        "Check 20260101T000000-1a2b: EQUAL\n"
        "  2 tables, 1,234,567 rows on w2, w3, e2, e3, in 61 s; west is taken to be right")


def test_text_does_not_claim_more_than_was_seen():
    found = judge({"1": row(e2="b", e3="b"), "2": row(e2=None, e3=None)})
    text = driftfindings.text(check(sites=found["sites"]))
    assert text.splitlines()[2:] == [
        "  site east has drifted", "    shop.t: 1 changed, 1 missing", "      changed: 1", "      missing: 2"]


def test_text_says_all_of_it():
    found = judge({str(number): row(e2="b", e3="b") for number in range(25)}, whole={"shop.t": [{}]})
    text = driftfindings.text(check(
        sites=found["sites"], nodes={"e3": {"tables": {"shop.log": {
            "changed": 0, "missing": 1, "extra": 0, "complete": True, "keys": {"changed": [], "missing": ["row aa"],
                                                                              "extra": []}}}}},
        schema={"shop.g": {"reason": "missing on e2", "differences": ["x: y"]}}, unproved={"shop.u": "late"},
        skipped={"shop.m": "locks"}, not_looked_at={"e1": "its datasource is SHUNNED"}))
    for words in ("DRIFTED", "1,234,567 rows on w2, w3, e2, e3", "west is taken to be right", "site east has drifted",
                  "shop.t: 25 changed at least", "and 5 more", "node e3 has drifted from its own site",
                  "missing: row aa", "table shop.g: missing on e2", "x: y", "not proved either way: shop.u: late",
                  "skipped: shop.m: locks",
                  "not looked at: e1: its datasource is SHUNNED"):
        assert words in text, words
