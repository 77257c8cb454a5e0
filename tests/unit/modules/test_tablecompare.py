"""tablecompare, against nodes in memory that are written to, and lag, while they are looked at."""

import hashlib
import inspect
import zlib

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

tablecompare = load("_modules", "tablecompare")
tabledata = load("_modules", "tabledata")
fleet = load("_modules", "fleet")

NODES = ("east1", "east2", "west1")


def hashed(value):
    return hashlib.md5(repr(value).encode()).hexdigest()[:16]


class Node:
    """``tabledata`` of one node: tables of ``{key: value}``, or lists of values where there is no key."""

    def __init__(self, data):
        self.data = {name: rows.copy() for name, rows in data.items()}
        self.prints = {}

    def tables(self):
        return {name: {"rows": len(rows), "fingerprint": self.prints.get(name, "same"), "key": []}
                for name, rows in self.data.items()}

    def _rows(self, name):
        rows = self.data[name]
        if isinstance(rows, dict):
            return {key: hashed((key, value)) for key, value in rows.items()}
        return {hashed(value): str(rows.count(value)) for value in rows}

    def _in(self, name, number):
        sorted_rows = {}
        for key, value in self._rows(name).items():
            sorted_rows.setdefault(str(zlib.crc32(key.encode()) % number), {})[key] = value
        return sorted_rows

    def checksums(self, buckets):
        return {name: {bucket: [len(rows), hashed(sorted(rows.items()))]
                       for bucket, rows in self._in(name, number).items()}
                for name, number in buckets.items()}

    def rows(self, wanted):
        return {name: {key: value for bucket in which["only"]
                       for key, value in self._in(name, which["buckets"]).get(bucket, {}).items()}
                for name, which in wanted.items()}


class Fleet:
    """``fleet.ask`` over such nodes. Before each answer and in each pause, what ``between`` says happens."""

    def __init__(self):
        data = {
            "shop.orders": {str(key): f"order {key}" for key in range(400)},
            "shop.parts": {"'a','1'": "x", "'a','2'": None, "'b','1'": ""},
            "shop.log": ["started", "started", "stopped"],
        }
        self.nodes = {name: Node(data) for name in NODES}
        self.asked = []
        self.now = 0.0
        self.between = lambda moment: None
        self.moment = 0

    def ask(self, minions, function, kwarg=None, timeout=60):
        name = function.removeprefix("tabledata.")
        inspect.signature(getattr(tabledata, name)).bind(**kwarg)
        self.asked.append((name, kwarg))
        answers = {}
        for minion in minions:
            self.happen()
            answers[minion] = getattr(self.nodes[minion], name)(**kwarg)
        return answers

    def happen(self):
        self.moment += 1
        self.between(self.moment)

    def sleep(self, seconds):
        self.now += seconds
        self.happen()

    def monotonic(self):
        return self.now


@pytest.fixture
def nodes():
    return Fleet()


@pytest.fixture
def configure_loader_modules(nodes, monkeypatch):
    monkeypatch.setattr(tablecompare, "time", nodes)
    return {tablecompare: {"__salt__": {"fleet.ask": nodes.ask}, "__opts__": {"__role": "master"}}}


def test_only_on_the_master():
    assert tablecompare.__virtual__() == "tablecompare"
    tablecompare.__opts__["__role"] = "minion"
    assert tablecompare.__virtual__()[0] is False


def test_equal_nodes_are_asked_twice_and_no_rows(nodes):
    found = tablecompare.run(NODES)
    assert found == {"equal": True, "tables": 3, "rows": 405, "differing": {}, "looks": 1, "seconds": 0.0}
    assert [name for name, _ in nodes.asked] == ["tables", "checksums"]


def test_nodes_without_tables_are_equal(nodes):
    for node in nodes.nodes.values():
        node.data.clear()
    assert tablecompare.run(NODES)["equal"] is True


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("change", ["changed", "missing", "extra"])
def test_one_row_on_one_node(nodes, node, change):
    orders = nodes.nodes[node].data["shop.orders"]
    if change == "missing":
        del orders["17"]
    else:
        orders["17" if change == "changed" else "9000"] = "drifted"
    found = tablecompare.run(NODES)
    key = "9000" if change == "extra" else "17"
    assert not found["equal"]
    assert set(found["differing"]) == {"shop.orders"}
    assert found["differing"]["shop.orders"]["count"] == 1
    shown = found["differing"]["shop.orders"]["keys"][key]
    assert set(shown) == set(NODES)
    others = {shown[other] for other in NODES if other != node}
    assert len(others) == 1 and shown[node] not in others
    assert (shown[node] is None) == (change == "missing")
    assert (others == {None}) == (change == "extra")


def test_drift_is_looked_at_every_time_before_it_counts(nodes):
    nodes.nodes["west1"].data["shop.orders"]["17"] = "drifted"
    assert tablecompare.run(NODES, looks=5, pause=2.0)["looks"] == 5
    assert [name for name, _ in nodes.asked].count("rows") == 4
    assert nodes.now == 6.0


@pytest.mark.parametrize("key, value", [("'a','2'", ""), ("'b','1'", None), ("'b','1'", "NULL")])
def test_null_is_not_empty_and_keys_may_be_composite(nodes, key, value):
    nodes.nodes["east2"].data["shop.parts"][key] = value
    assert list(tablecompare.run(NODES)["differing"]["shop.parts"]["keys"]) == [key]


@pytest.mark.parametrize("rows", [
    ["started", "stopped"],
    ["started", "started", "started", "stopped"],
    ["started", "stopped", "stopped"],
])
def test_a_table_without_a_key_is_compared_with_its_duplicates(nodes, rows):
    nodes.nodes["east2"].data["shop.log"] = rows
    assert set(tablecompare.run(NODES)["differing"]) == {"shop.log"}


def test_order_does_not_matter(nodes):
    nodes.nodes["east2"].data["shop.log"].reverse()
    nodes.nodes["east2"].data["shop.orders"] = dict(reversed(nodes.nodes["east2"].data["shop.orders"].items()))
    assert tablecompare.run(NODES)["equal"]


def test_rows_that_are_only_late_are_not_drift(nodes):
    """Replication is two moments behind on one node, four on another; each moment writes another row."""
    lag = {"east1": 0, "east2": 2, "west1": 4}

    def between(moment):
        for name, behind in lag.items():
            orders = nodes.nodes[name].data["shop.orders"]
            for done in range(1, moment - behind + 1):
                orders[str(done % 400)] = f"written {done}"
                orders[f"new {done}"] = "x"

    nodes.between = between
    found = tablecompare.run(NODES)
    assert found["equal"], found["differing"]
    assert [name for name, _ in nodes.asked].count("rows") >= 1, "there was something to look at again"


def test_drift_is_found_among_moving_rows(nodes):
    def between(moment):
        for name, behind in {"east1": 0, "east2": 1, "west1": 3}.items():
            for done in range(1, moment - behind + 1):
                nodes.nodes[name].data["shop.orders"][str(done % 300)] = f"written {done}"

    nodes.nodes["west1"].data["shop.orders"]["390"] = "drifted"
    del nodes.nodes["east2"].data["shop.orders"]["391"]
    nodes.between = between
    differing = tablecompare.run(NODES)["differing"]
    assert set(differing) == {"shop.orders"}
    assert set(differing["shop.orders"]["keys"]) == {"390", "391"}


def test_a_table_missing_somewhere_is_named_and_the_rest_is_compared(nodes):
    del nodes.nodes["west1"].data["shop.parts"]
    nodes.nodes["east1"].data["shop.orders"]["17"] = "drifted"
    found = tablecompare.run(NODES)
    assert found["differing"]["shop.parts"]["reason"] == "missing on west1"
    assert found["differing"]["shop.orders"]["count"] == 1
    assert found["tables"] == 2


def test_a_table_of_another_make_is_named_and_not_read(nodes):
    nodes.nodes["west1"].prints["shop.orders"] = "column type changed"
    found = tablecompare.run(NODES)
    assert not found["equal"]
    assert found["differing"]["shop.orders"]["reason"] == "its columns or its key differ"
    assert all("shop.orders" not in kwarg.get("buckets", {}) for _, kwarg in nodes.asked)


def test_too_much_is_not_narrowed_down(nodes, monkeypatch):
    monkeypatch.setattr(tablecompare, "MOST_ROWS", 100)
    orders = nodes.nodes["west1"].data["shop.orders"]
    orders.update({key: "drifted" for key in orders})
    found = tablecompare.run(NODES, looks=4)
    assert not found["equal"]
    assert found["differing"]["shop.orders"] == {
        "reason": "rows differ in 10 of 10 parts of the table", "count": None, "keys": {}}
    assert "rows" not in [name for name, _ in nodes.asked]


def test_far_behind_is_waited_for(nodes, monkeypatch):
    monkeypatch.setattr(tablecompare, "MOST_ROWS", 100)
    orders = nodes.nodes["west1"].data["shop.orders"]
    late = dict(orders)
    orders.update({key: "old" for key in orders})
    nodes.between = lambda moment: orders.update(late) if moment > 7 else None
    found = tablecompare.run(NODES)
    assert found["equal"]
    assert found["looks"] > 1


def test_many_rows_are_counted_and_some_shown(nodes):
    for key in range(60):
        nodes.nodes["west1"].data["shop.orders"][str(key)] = "drifted"
    found = tablecompare.run(NODES)["differing"]["shop.orders"]
    assert found["count"] == 60
    assert len(found["keys"]) == tablecompare.SHOWN


def test_a_silent_node_is_named(nodes):
    def silent(minions, function, kwarg=None, timeout=60):
        raise CommandExecutionError("west1: does not answer tabledata.tables (salt west1 test.ping)")

    tablecompare.__salt__["fleet.ask"] = silent
    with pytest.raises(CommandExecutionError, match="west1"):
        tablecompare.run(NODES)


def test_asks_as_fleet_wants_it():
    inspect.signature(fleet.ask).bind(["east1"], "tabledata.tables", kwarg={}, timeout=1)
