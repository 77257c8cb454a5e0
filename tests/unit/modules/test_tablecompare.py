"""tablecompare, against nodes in memory that are written to, and lag, while they are looked at."""

import hashlib
import inspect
import json
import zlib
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

tablecompare = load("_modules", "tablecompare")
tabledata = load("_modules", "tabledata")
fleet = load("_modules", "fleet")
verify = load("_modules", "verify")

NODES = ("east1", "east2", "west1")


def hashed(value):
    return hashlib.md5(repr(value).encode()).hexdigest()[:16]


class Node:
    """``tabledata`` of one node: tables of ``{key: value}``, or lists of values where there is no key."""

    def __init__(self, data):
        self.data = {name: rows.copy() for name, rows in data.items()}
        self.prints, self.locks, self.without_ranges = {}, set(), set()

    def tables(self):
        return {name: {"rows": len(rows), "fingerprint": self.prints.get(name, "same"), "locks": name in self.locks,
                       "ranges": isinstance(rows, dict) and name not in self.without_ranges,
                       "key": [["id", "number"]] if isinstance(rows, dict) else []}
                for name, rows in self.data.items()}

    def _rows(self, name):
        rows = self.data[name]
        if isinstance(rows, dict):
            return {key: hashed((key, value)) for key, value in rows.items()}
        return {hashed(value): str(rows.count(value)) for value in rows}

    def _in(self, part):
        """{bucket: rows} of a part; keys are in the order of their numbers."""
        rows = {key: value for key, value in self._rows(part["table"]).items()
                if (part["after"] is None or int(key) > int(part["after"]))
                and (part["upto"] is None or int(key) <= int(part["upto"]))}
        found = {}
        for key, value in rows.items():
            found.setdefault(str(zlib.crc32(key.encode()) % part.get("buckets", 1)), {})[key] = value
        return found

    @staticmethod
    def _sum(rows):
        return [len(rows), hashed(sorted(rows.items()))]

    def bounds(self, wanted, rows, most):
        parts = []
        for each in wanted:
            keys = sorted((int(key) for key in self.data[each["table"]]), key=int) if (
                self.tables()[each["table"]]["ranges"]) else []
            after = each["after"]
            while len(parts) < most:
                left = [key for key in keys if after is None or key > int(after)]
                upto = str(left[rows - 1]) if len(left) >= rows else None
                parts.append({"table": each["table"], "after": after, "upto": upto})
                after = upto
                if upto is None:
                    break
        return parts

    def checksums(self, parts, share=100):
        return [[*self._sum(self._in(part).get("0", {})), 0.4] for part in parts]

    def buckets(self, parts, share=100):
        return [{bucket: self._sum(rows) for bucket, rows in self._in(part).items()} for part in parts]

    def rows(self, parts):
        return [{key: value for bucket in part["only"] for key, value in self._in(part).get(bucket, {}).items()}
                for part in parts]

    def by_key(self, wanted):
        return {name: {key: value for key, value in self._rows(name).items() if key in keys}
                for name, keys in wanted.items()}


class Fleet:
    """``fleet.ask`` over such nodes. Before each answer and in each pause, what ``between`` says happens."""

    def __init__(self):
        data = {
            "shop.orders": {str(key): f"order {key}" for key in range(4000)},
            "shop.parts": {"1": "x", "2": None, "3": ""},
            "shop.log": ["started", "started", "stopped"],
        }
        self.nodes = {name: Node(data) for name in NODES}
        self.asked, self.most = [], 0
        self.now = 0.0
        self.between = lambda moment: None
        self.moment = 0
        self.late = {}

    def ask(self, minions, function, kwarg=None, timeout=60):
        name = function.removeprefix("tabledata.")
        inspect.signature(getattr(tabledata, name)).bind(**kwarg)
        # It has to survive the way to the nodes.
        kwarg = json.loads(json.dumps(kwarg))
        self.asked.append((name, kwarg))
        answers = {}
        for minion in minions:
            self.happen()
            answers[minion] = getattr(self.nodes[minion], name)(**kwarg)
            if name in ("rows", "by_key"):
                found = answers[minion] if isinstance(answers[minion], list) else answers[minion].values()
                self.most = max(self.most, sum(map(len, found)))
        return answers

    def passed(self, minions, timeout=60):
        """Replication passes: so many moments that every node has caught up, unless it is late for good."""
        for _ in range(20):
            self.happen()
        return dict(self.late)

    def happen(self):
        self.moment += 1
        self.between(self.moment)

    def sleep(self, seconds):
        self.now += seconds
        self.happen()


@pytest.fixture
def nodes():
    return Fleet()


@pytest.fixture
def configure_loader_modules(nodes, monkeypatch):
    monkeypatch.setattr(tablecompare, "time", nodes)
    passed = create_autospec(verify.passed, side_effect=nodes.passed)
    return {tablecompare: {"__salt__": {"fleet.ask": nodes.ask, "verify.passed": passed},
                           "__opts__": {"__role": "master"}}}


def run(**more):
    """As the drift check does it: what is kept between two steps has been written down and read again."""
    state = tablecompare.begin(NODES, **more)
    for _ in range(500):
        if state["phase"] == "done":
            return tablecompare.result(state)
        state = json.loads(json.dumps(tablecompare.step(state)))
    raise AssertionError("it never ends")


def test_only_on_the_master():
    assert tablecompare.__virtual__() == "tablecompare"
    tablecompare.__opts__["__role"] = "minion"
    assert tablecompare.__virtual__()[0] is False


def test_equal_nodes_are_looked_at_once_and_no_rows_of_them(nodes):
    assert run() == {"equal": True, "tables": 3, "rows": 4005, "parts": 3, "looks": 0, "differing": {}, "unproved": {},
                     "whole": {}, "schema": {}, "skipped": {}}
    assert [name for name, _ in nodes.asked] == ["tables", "bounds", "checksums"]
    assert tablecompare.run(NODES) == run()


def test_nodes_without_tables_are_equal(nodes):
    for node in nodes.nodes.values():
        node.data.clear()
    assert run()["equal"] is True


def test_a_big_table_is_read_in_parts_of_a_size_that_suits(nodes, monkeypatch):
    monkeypatch.setattr(tablecompare, "FIRST_ROWS", 100)
    monkeypatch.setattr(tablecompare, "LEAST_ROWS", 10)
    monkeypatch.setattr(tablecompare, "PARTS_OF_FULL_SIZE", 4)
    found = run()
    assert found["equal"] and found["rows"] == 4005 and found["parts"] == 43
    assert len([name for name, _ in nodes.asked if name == "checksums"]) > 5
    slow = Node.checksums
    monkeypatch.setattr(Node, "checksums", lambda self, parts, share=100: [
        [rows, total, 4.0] for rows, total, _ in slow(self, parts)])
    run()
    sizes = [kwarg["rows"] for name, kwarg in nodes.asked if name == "bounds"]
    assert sizes[-1] == 10, "a node that is slow is asked for less at a time"


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("change", ["changed", "missing", "extra"])
def test_one_row_on_one_node(nodes, node, change):
    orders = nodes.nodes[node].data["shop.orders"]
    if change == "missing":
        del orders["17"]
    else:
        orders["17" if change == "changed" else "9000"] = "drifted"
    found = run()
    key = "9000" if change == "extra" else "17"
    assert not found["equal"] and found["unproved"] == {}
    assert {name: list(rows) for name, rows in found["differing"].items()} == {"shop.orders": [key]}
    shown = found["differing"]["shop.orders"][key]
    others = {shown[other] for other in NODES if other != node}
    assert len(others) == 1 and shown[node] not in others
    assert (shown[node] is None) == (change == "missing")
    assert (others == {None}) == (change == "extra")


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_drift_is_looked_at_every_time_before_it_counts(nodes, looks):
    nodes.nodes["west1"].data["shop.orders"]["17"] = "drifted"
    found = run(looks=looks)
    # Found by rows, then looked at by key; replication passes before each look, and before the part is read again.
    assert found["looks"] == looks and list(found["differing"]["shop.orders"]) == ["17"]
    assert [name for name, _ in nodes.asked].count("by_key") == looks
    assert tablecompare.__salt__["verify.passed"].call_count == looks + 1


@pytest.mark.parametrize("key, value", [("2", ""), ("3", None), ("3", "NULL")])
def test_null_is_not_empty(nodes, key, value):
    nodes.nodes["east2"].data["shop.parts"][key] = value
    assert list(run()["differing"]["shop.parts"]) == [key]


@pytest.mark.parametrize("rows", [
    ["started", "stopped"],
    ["started", "started", "started", "stopped"],
    ["started", "stopped", "stopped"],
])
def test_a_table_without_a_key_is_compared_with_its_duplicates(nodes, rows):
    nodes.nodes["east2"].data["shop.log"] = rows
    found = run()
    assert set(found["differing"]) == {"shop.log"} and found["unproved"] == {}


def test_order_does_not_matter(nodes):
    nodes.nodes["east2"].data["shop.log"].reverse()
    nodes.nodes["east2"].data["shop.orders"] = dict(reversed(nodes.nodes["east2"].data["shop.orders"].items()))
    assert run()["equal"]


def written(nodes, lag, keys):
    """What makes every moment write a row, which arrives so many moments later at each node."""
    done = dict.fromkeys(lag, 0)

    def between(moment):
        for name, behind in lag.items():
            for number in range(done[name] + 1, moment - behind + 1):
                nodes.nodes[name].data["shop.orders"][str(number % keys)] = f"written {number}"
                done[name] = number

    return between


@pytest.mark.parametrize("keys", [4000, 50])
def test_rows_that_are_only_late_are_not_drift(nodes, keys):
    nodes.between = written(nodes, {"east1": 0, "east2": 2, "west1": 4}, keys)
    found = run()
    assert found["equal"], found
    assert [name for name, _ in nodes.asked].count("checksums") > 1, "there was something to look at again"


def test_drift_is_found_among_moving_rows(nodes):
    nodes.nodes["west1"].data["shop.orders"]["3900"] = "drifted"
    del nodes.nodes["east2"].data["shop.orders"]["3901"]
    nodes.between = written(nodes, {"east1": 0, "east2": 1, "west1": 3}, 3000)
    found = run()
    assert {name: set(rows) for name, rows in found["differing"].items()} == {"shop.orders": {"3900", "3901"}}
    assert found["unproved"] == {}


def test_a_row_that_is_written_before_every_look_is_unproved_and_never_drift(nodes):
    def between(moment):
        for number, node in enumerate(nodes.nodes.values()):
            node.data["shop.orders"]["17"] = f"{moment + number}"

    nodes.between = between
    found = run(looks=2)
    assert found["differing"] == {} and not found["equal"]
    assert found["unproved"] == {"shop.orders": {"keys": ["17"], "why": "they were written before every look"}}
    assert found["looks"] == 2 * tablecompare.PATIENCE


def test_nothing_is_proved_of_a_node_that_replication_does_not_reach(nodes):
    nodes.late = {"west1": "its service east is OFFLINE:ERROR at -1, others have applied 9"}
    nodes.nodes["west1"].data["shop.orders"]["17"] = "not arrived"
    nodes.nodes["east2"].data["shop.orders"]["18"] = "drifted"
    found = run()
    assert set(found["differing"]["shop.orders"]["18"]) == {"east1", "east2"}
    assert found["unproved"]["shop.orders"] == {"keys": ["17"], "why": f"west1: {nodes.late['west1']}"}


def test_a_table_missing_somewhere_is_named_and_the_rest_is_compared(nodes):
    del nodes.nodes["west1"].data["shop.parts"]
    nodes.nodes["east1"].data["shop.orders"]["17"] = "drifted"
    found = run()
    assert found["schema"] == {"shop.parts": {"missing": ["west1"]}} and not found["equal"]
    assert set(found["differing"]) == {"shop.orders"}
    assert found["tables"] == 2


def test_a_table_of_another_make_is_named_and_not_read(nodes):
    nodes.nodes["west1"].prints["shop.orders"] = "column type changed"
    found = run()
    assert not found["equal"] and found["schema"] == {"shop.orders": {"missing": []}}
    assert "shop.orders" not in json.dumps([kwarg for name, kwarg in nodes.asked if name != "tables"])


def test_a_table_that_is_on_its_way_is_waited_for_before_traffic(nodes):
    late = nodes.nodes["west1"].data.pop("shop.parts")
    nodes.between = lambda moment: nodes.nodes["west1"].data.setdefault("shop.parts", late) if moment > 4 else None
    assert tablecompare.run(NODES)["equal"]


def test_tables_that_would_lock_are_skipped_and_said_to_be_unless_it_has_to_be(nodes):
    nodes.nodes["west1"].locks.add("shop.parts")
    found = run()
    assert list(found["skipped"]) == ["shop.parts"] and found["tables"] == 2 and not found["equal"]
    assert run(locking=True)["equal"]


def test_a_big_table_without_ranges_is_skipped(nodes, monkeypatch):
    monkeypatch.setattr(tablecompare, "MOST_ROWS_WITHOUT_RANGES", 100)
    for node in nodes.nodes.values():
        node.without_ranges.add("shop.orders")
    assert list(run()["skipped"]) == ["shop.orders"]


def test_only_some_tables(nodes):
    nodes.nodes["west1"].data["shop.parts"]["1"] = "drifted"
    assert run(only=["shop.orders", "shop.log"])["tables"] == 2
    with pytest.raises(CommandExecutionError, match="no table shop.nothing"):
        run(only=["shop.nothing"])


@pytest.mark.parametrize("node", ["east1", "west1"])
def test_too_much_drift_is_named_in_part_and_the_rest_is_said_to_be_more(nodes, monkeypatch, node):
    monkeypatch.setattr(tablecompare, "KEYS_A_TABLE", 100)
    monkeypatch.setattr(tablecompare, "FIRST_ROWS", 500)
    monkeypatch.setattr(tablecompare, "LEAST_ROWS", 500)
    monkeypatch.setattr(tablecompare, "ENTRIES_AN_ANSWER", 300)
    orders = nodes.nodes[node].data["shop.orders"]
    orders.update({key: "drifted" for key in orders})
    found = run()
    assert not found["equal"] and found["unproved"] == {}
    assert 100 <= len(found["differing"]["shop.orders"]) < 4000 and found["whole"]["shop.orders"]
    # A bucket is never cut, so that an answer may hold one more.
    assert nodes.most <= 300 + 100


def test_far_behind_is_waited_for_however_much_it_is(nodes, monkeypatch):
    monkeypatch.setattr(tablecompare, "KEYS_A_TABLE", 50)
    monkeypatch.setattr(tablecompare, "FIRST_ROWS", 500)
    monkeypatch.setattr(tablecompare, "LEAST_ROWS", 500)
    orders = nodes.nodes["west1"].data["shop.orders"]
    late = dict(orders)
    orders.update({key: "old" for key in orders})
    nodes.between = lambda moment: orders.update(late) if moment > 60 else None
    found = run()
    assert found["equal"], found
    assert any(name == "rows" for name, _ in nodes.asked)


def test_too_much_that_never_comes_to_rest_is_unproved(nodes, monkeypatch):
    monkeypatch.setattr(tablecompare, "KEYS_A_TABLE", 10)
    monkeypatch.setattr(tablecompare, "FIRST_ROWS", 500)
    monkeypatch.setattr(tablecompare, "LEAST_ROWS", 500)
    orders = nodes.nodes["west1"].data["shop.orders"]
    before = dict(orders)

    def between(moment):
        # Late in other rows at every look, and never at rest for long.
        orders.update(before)
        if moment % 3:
            orders.update({str(key): f"late {moment}" for key in range(moment % 7, 4000, 7)})

    nodes.between = between
    found = run(looks=1)
    assert not found["equal"] or found["differing"] == {}


def test_rows_that_were_found_before_are_looked_at_alone(nodes):
    nodes.nodes["west1"].data["shop.orders"].update({"17": "drifted", "19": "drifted"})
    before = {name: list(rows) for name, rows in run()["differing"].items()}
    nodes.nodes["west1"].data["shop.orders"]["19"] = "order 19"
    nodes.nodes["east1"].data["shop.parts"]["1"] = "not asked for"
    nodes.asked.clear()
    state = tablecompare.recheck(NODES, before)
    while state["phase"] != "done":
        state = tablecompare.step(state)
    found = tablecompare.result(state)["differing"]
    assert {name: list(rows) for name, rows in found.items()} == {"shop.orders": ["17"]}
    assert {name for name, _ in nodes.asked} == {"tables", "by_key"}


def test_a_silent_node_is_named_and_the_comparison_goes_on_from_there(nodes):
    nodes.nodes["west1"].data["shop.orders"]["17"] = "drifted"
    state = tablecompare.begin(NODES)
    ask = tablecompare.__salt__["fleet.ask"]

    def silent(minions, function, kwarg=None, timeout=60):
        raise CommandExecutionError("west1: does not answer tabledata.checksums (salt west1 test.ping)")

    for _ in range(50):
        if state["phase"] == "done":
            break
        tablecompare.__salt__["fleet.ask"] = silent
        with pytest.raises(CommandExecutionError, match="west1"):
            tablecompare.step(state)
        tablecompare.__salt__["fleet.ask"] = ask
        state = tablecompare.step(state)
    assert list(tablecompare.result(state)["differing"]["shop.orders"]) == ["17"]


def test_asks_as_fleet_wants_it():
    inspect.signature(fleet.ask).bind(["east1"], "tabledata.tables", kwarg={}, timeout=1)
