"""tablecompare, against nodes in memory that are written to, and lag, while they are looked at."""

import functools
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


# Most rows never change, and are read again and again.
hashed_row = functools.lru_cache(maxsize=100_000)(hashed)


class Node:
    """``tabledata`` of one node: tables of ``{key: value}``, or lists of values where there is no key."""

    def __init__(self, data):
        self.data = {name: rows.copy() for name, rows in data.items()}
        self.prints, self.locks, self.without_ranges = {}, set(), set()

    def tables(self, names=None):
        return {name: {"rows": len(rows), "fingerprint": self.prints.get(name, "same"), "locks": name in self.locks,
                       "ranges": isinstance(rows, dict) and name not in self.without_ranges,
                       "key": [["id", "number"]] if isinstance(rows, dict) else []}
                for name, rows in self.data.items() if names is None or name in names}

    def _rows(self, name):
        rows = self.data[name]
        if isinstance(rows, dict):
            return {key: hashed_row((key, value)) for key, value in rows.items()}
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
            ranges = self.tables().get(each["table"], {}).get("ranges")
            keys = sorted(map(int, self.data[each["table"]])) if ranges else []
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
        return [[*self._sum(self._in(part).get("0", {})), 0.4] if part["table"] in self.data else None
                for part in parts]

    def buckets(self, parts, share=100):
        return [{bucket: self._sum(rows) for bucket, rows in self._in(part).items()}
                if part["table"] in self.data else None for part in parts]

    def rows(self, parts):
        return [{key: value for bucket in part["only"] for key, value in self._in(part).get(bucket, {}).items()}
                if part["table"] in self.data else None for part in parts]

    def by_key(self, wanted):
        return {name: {key: value for key, value in self._rows(name).items() if key in keys}
                if name in self.data else None for name, keys in wanted.items()}


class Fleet:
    """
    ``fleet.ask`` over such nodes. Before each answer and in each pause, what ``between`` says happens; before a node
    answers a question, and when replication passes for the n-th time, what ``before`` and ``passing`` say.
    """

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
        self.before = lambda name, minion: None
        self.passing = lambda time: None
        self.moment, self.passes = 0, 0
        self.late = {}

    def names(self):
        return [name for name, _ in self.asked]

    def drop(self, table, *minions):
        for minion in minions:
            self.nodes[minion].data.pop(table, None)

    def ask(self, minions, function, kwarg=None, timeout=60):
        name = function.removeprefix("tabledata.")
        inspect.signature(getattr(tabledata, name)).bind(**kwarg)
        # It has to survive the way to the nodes.
        kwarg = json.loads(json.dumps(kwarg))
        self.asked.append((name, kwarg))
        answers = {}
        for minion in minions:
            self.happen()
            self.before(name, minion)
            answers[minion] = getattr(self.nodes[minion], name)(**kwarg)
            if name in ("rows", "by_key"):
                found = answers[minion] if isinstance(answers[minion], list) else answers[minion].values()
                self.most = max(self.most, sum(len(rows or ()) for rows in found))
        return answers

    def passed(self, minions, timeout=60, sources=None):
        """Replication passes: so many moments that every node has caught up, unless it is late for good."""
        for _ in range(20):
            self.happen()
        self.passes += 1
        self.passing(self.passes)
        self.asked.append(("passed", sources))
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
    assert nodes.names() == ["tables", "bounds", "checksums"]
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
    assert nodes.names().count("by_key") == looks
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
    assert nodes.names().count("checksums") > 1, "there was something to look at again"


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
    assert found["schema"] == {"shop.parts": {
        "missing": ["west1"], "prints": {"east1": "same", "east2": "same", "west1": None}}}
    assert found["unproved"] == {} and not found["equal"]
    assert set(found["differing"]) == {"shop.orders"}
    assert found["tables"] == 2


def test_a_table_of_another_make_is_named_and_not_read(nodes):
    nodes.nodes["west1"].prints["shop.orders"] = "column type changed"
    found = run()
    assert not found["equal"] and found["schema"] == {"shop.orders": {
        "missing": [], "prints": {"east1": "same", "east2": "same", "west1": "column type changed"}}}
    assert "shop.orders" not in json.dumps([kwarg for name, kwarg in nodes.asked if name != "tables"])


def test_a_table_that_is_on_its_way_is_waited_for_before_traffic(nodes):
    late = nodes.nodes["west1"].data.pop("shop.parts")
    nodes.between = lambda moment: nodes.nodes["west1"].data.setdefault("shop.parts", late) if moment > 4 else None
    assert tablecompare.run(NODES)["equal"]


def test_tables_that_would_lock_are_skipped_and_said_to_be_unless_it_has_to_be(nodes):
    nodes.nodes["west1"].locks.add("shop.parts")
    found = run()
    assert list(found["skipped"]) == ["shop.parts"] and found["tables"] == 2 and not found["equal"]
    assert run(everything=True)["equal"]


def test_a_big_table_without_ranges_is_skipped(nodes, monkeypatch):
    monkeypatch.setattr(tablecompare, "MOST_ROWS_WITHOUT_RANGES", 100)
    for node in nodes.nodes.values():
        node.without_ranges.add("shop.orders")
    found = run()
    assert list(found["skipped"]) == ["shop.orders"] and not found["equal"]
    assert "shop.orders" not in json.dumps([kwarg for name, kwarg in nodes.asked if name != "tables"])


@pytest.mark.parametrize("begin", [lambda: run(everything=True), lambda: tablecompare.run(NODES)])
def test_where_nobody_writes_everything_is_read(nodes, monkeypatch, begin):
    monkeypatch.setattr(tablecompare, "MOST_ROWS_WITHOUT_RANGES", 100)
    for node in nodes.nodes.values():
        node.without_ranges.add("shop.orders")
        node.locks.add("shop.parts")
    nodes.nodes["west1"].data["shop.orders"]["17"] = "drifted"
    nodes.nodes["east2"].data["shop.parts"]["2"] = "drifted"
    found = begin()
    assert found["skipped"] == {} and found["tables"] == 3
    assert {name: list(rows) for name, rows in found["differing"].items()} == {"shop.orders": ["17"],
                                                                               "shop.parts": ["2"]}


def test_only_some_tables(nodes):
    nodes.nodes["west1"].data["shop.parts"]["1"] = "drifted"
    found = run(only=["shop.orders", "shop.log"])
    assert found["tables"] == 2 and found["equal"]
    assert nodes.asked[0] == ("tables", {"names": ["shop.orders", "shop.log"]})
    nodes.asked.clear()
    assert run()["tables"] == 3 and nodes.asked[0] == ("tables", {"names": None})
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
    assert set(nodes.names()) == {"tables", "by_key", "passed"}
    assert [kwarg for name, kwarg in nodes.asked if name == "tables"] == [{"names": ["shop.orders"]}]


def test_a_silent_node_is_named_and_the_comparison_goes_on_from_there(nodes):
    nodes.nodes["west1"].data["shop.orders"]["17"] = "drifted"
    nodes.drop("shop.parts", "west1")
    state = tablecompare.begin(NODES)
    phases = set()
    ask = tablecompare.__salt__["fleet.ask"]

    def silent(minions, function, kwarg=None, timeout=60):
        raise CommandExecutionError("west1: does not answer tabledata.checksums (salt west1 test.ping)")

    for _ in range(50):
        if state["phase"] == "done":
            break
        phases.add(state["phase"])
        tablecompare.__salt__["fleet.ask"] = silent
        with pytest.raises(CommandExecutionError, match="west1"):
            tablecompare.step(state)
        tablecompare.__salt__["fleet.ask"] = ask
        state = tablecompare.step(state)
    assert phases == {"reading", "again", "rows", "tables"}
    found = tablecompare.result(state)
    assert list(found["differing"]["shop.orders"]) == ["17"] and list(found["schema"]) == ["shop.parts"]
    assert found["looks"] == 3 and nodes.names().count("tables") == 1 + 3, "to fail was no look"


def test_asks_as_fleet_wants_it():
    inspect.signature(fleet.ask).bind(["east1"], "tabledata.tables", kwarg={}, timeout=1)


# --- where a heartbeat is sent before each look


def test_every_time_replication_passes_from_the_primaries_on(nodes):
    sources = {"east1": "east"}
    nodes.nodes["west1"].data["shop.orders"]["17"] = "drifted"
    nodes.drop("shop.parts", "west1")
    run(sources=sources)
    assert [kwarg for name, kwarg in nodes.asked if name == "passed"] == [sources] * 7, "once again, 3 rows, 3 tables"
    nodes.asked.clear()
    tablecompare.run(NODES, sources=sources)
    state = tablecompare.recheck(NODES, {"shop.orders": ["17"]}, sources=sources)
    while state["phase"] != "done":
        tablecompare.step(state)
    assert [kwarg for name, kwarg in nodes.asked if name == "passed"] == [sources] * 10
    nodes.asked.clear()
    run(looks=1)
    assert [kwarg for name, kwarg in nodes.asked if name == "passed"] == [{}] * 3
    assert all(call.args == (list(NODES),) for call in tablecompare.__salt__["verify.passed"].call_args_list)


# --- tables that are missing somewhere, or made otherwise


PARTS = {"1": "x", "2": None, "3": ""}


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_tables_are_looked_at_every_time_before_they_count_and_after_all_the_rest(nodes, looks):
    nodes.drop("shop.parts", "west1")
    nodes.nodes["east1"].prints["shop.log"] = "altered"
    nodes.nodes["east1"].data["shop.orders"]["17"] = "drifted"
    found = run(looks=looks)
    assert list(found["schema"]) == ["shop.log", "shop.parts"] and found["unproved"] == {}
    assert list(found["differing"]) == ["shop.orders"]
    assert nodes.asked[-2 * looks:] == [("passed", {}), ("tables", {"names": ["shop.log", "shop.parts"]})] * looks
    assert nodes.names().count("tables") == 1 + looks


def test_what_a_comparison_knows_of_such_a_table_before_it_has_looked_again(nodes):
    nodes.drop("shop.parts", "west1")
    state = tablecompare.begin(NODES)
    assert state["schema"] == {"shop.parts": {"prints": {"east1": "same", "east2": "same", "west1": None}, "looks": 0}}
    found = tablecompare.result(state)
    assert found["schema"] == {} and not found["equal"]
    assert found["unproved"] == {"shop.parts": {"keys": [], "why": "it was created, altered or dropped meanwhile"}}


@pytest.mark.parametrize("drifted", [False, True])
@pytest.mark.parametrize("late", ["create", "alter"])
def test_a_table_that_was_only_late_is_read_after_all(nodes, late, drifted):
    rows = {**PARTS, "2": "drifted"} if drifted else PARTS
    if late == "create":
        nodes.drop("shop.parts", "west1")
    else:
        nodes.nodes["west1"].prints["shop.parts"] = "old"

    def passing(time):
        if time == 2:
            nodes.nodes["west1"].prints.clear()
            nodes.nodes["west1"].data["shop.parts"] = dict(rows)

    nodes.passing = passing
    found = run()
    assert found["schema"] == {} and found["unproved"] == {} and found["tables"] == 3 and found["rows"] == 4005
    assert {name: list(keys) for name, keys in found["differing"].items()} == ({"shop.parts": ["2"]} if drifted else {})
    assert found["equal"] is not drifted and found["looks"] == (3 if drifted else 0)


def test_it_is_looked_at_as_gently_as_the_others(nodes):
    nodes.drop("shop.parts", "west1")
    nodes.nodes["east1"].locks.add("shop.parts")
    nodes.passing = lambda time: nodes.nodes["west1"].data.setdefault("shop.parts", dict(PARTS))
    found = run()
    assert list(found["skipped"]) == ["shop.parts"] and found["schema"] == {} and not found["equal"]
    assert found["tables"] == 2
    nodes.drop("shop.parts", "west1")
    assert run(everything=True)["equal"]


def test_rows_that_have_waited_for_a_late_table_are_looked_at_once_more(nodes):
    nodes.drop("shop.parts", "west1")
    orders = nodes.nodes["west1"].data["shop.orders"]
    orders.update({"17": "drifted", "18": "drifted"})

    def passing(time):
        # Once for the parts that differ, two looks at the rows, one at the tables.
        if time == 4:
            nodes.nodes["west1"].data["shop.parts"] = dict(PARTS)
            orders["18"] = "order 18"

    nodes.passing = passing
    found = run(looks=2)
    assert {name: list(keys) for name, keys in found["differing"].items()} == {"shop.orders": ["17"]}
    assert found["looks"] == 2 and found["unproved"] == {} and found["schema"] == {}
    assert nodes.passes == 4 + 2


def test_replication_passes_before_parts_of_a_late_table_are_narrowed_down(nodes):
    nodes.drop("shop.parts", "west1")
    nodes.nodes["east2"].data["shop.orders"]["17"] = "drifted, so that it has passed for parts once before"

    def passing(time):
        # Once for the parts that differ, three looks at the rows, one at the tables; then once more for parts.
        if time == 5:
            nodes.nodes["west1"].data["shop.parts"] = {"1": "x"}
        elif time == 6:
            nodes.nodes["west1"].data["shop.parts"] = dict(PARTS)

    nodes.passing = passing
    found = run()
    assert list(found["differing"]) == ["shop.orders"] and found["unproved"] == {} and found["tables"] == 3
    assert "shop.parts" not in json.dumps([kwarg for name, kwarg in nodes.asked if name == "buckets"])


@pytest.mark.parametrize("when", [1, 3])
def test_a_table_that_is_nowhere_any_more_is_no_difference(nodes, when):
    nodes.drop("shop.parts", "west1")
    nodes.passing = lambda time: nodes.drop("shop.parts", *NODES) if time == when else None
    found = run()
    assert found["equal"] and found["tables"] == 2 and nodes.passes == when


def test_a_table_counts_only_if_it_was_at_rest_for_all_looks(nodes):
    prints = nodes.nodes["west1"].prints
    prints["shop.parts"] = "old"
    nodes.passing = lambda time: prints.update({"shop.parts": "new"}) if time == 3 else None
    found = run()
    assert nodes.passes == 5, "two looks at the old one count for nothing"
    assert found["schema"]["shop.parts"]["prints"]["west1"] == "new" and found["unproved"] == {}


def test_a_table_that_is_altered_before_every_look_is_unproved(nodes):
    prints = nodes.nodes["west1"].prints
    prints["shop.parts"] = "0"
    nodes.passing = lambda time: prints.update({"shop.parts": str(time)})
    # Another one at rest makes no difference.
    nodes.drop("shop.log", "east2")
    found = run(looks=2)
    assert list(found["schema"]) == ["shop.log"] and not found["equal"]
    assert found["unproved"] == {"shop.parts": {"keys": [], "why": "it was created, altered or dropped meanwhile"}}
    assert nodes.passes == 2 * tablecompare.PATIENCE


WEST = "its service east is OFFLINE:ERROR at -1, others have applied 9"


def test_of_a_late_node_nothing_is_said_about_its_tables(nodes):
    nodes.late = {"west1": WEST}
    nodes.drop("shop.parts", "west1")
    nodes.nodes["west1"].prints["shop.orders"] = "old"
    nodes.nodes["east2"].prints["shop.orders"] = "drifted"
    nodes.drop("shop.log", "east1", "west1")
    found = run()
    assert found["schema"] == {
        "shop.orders": {"missing": [], "prints": {"east1": "same", "east2": "drifted"}},
        "shop.log": {"missing": ["east1"], "prints": {"east1": None, "east2": "same"}},
    }
    assert found["unproved"] == {"shop.parts": {"keys": [], "why": f"west1: {WEST}"}} and not found["equal"]


def test_a_table_that_only_a_late_node_has_is_unproved(nodes):
    nodes.late = {"west1": WEST}
    nodes.drop("shop.parts", "east1", "east2")
    found = run()
    assert found["schema"] == {} and found["unproved"] == {"shop.parts": {"keys": [], "why": f"west1: {WEST}"}}


def test_who_was_late_for_the_rows_and_is_not_for_the_tables_has_proved_nothing_about_rows(nodes):
    nodes.late = {"west1": WEST}
    nodes.drop("shop.parts", "west1")
    nodes.nodes["west1"].data["shop.orders"]["17"] = "not arrived"
    looks = 3

    def passing(time):
        if time == 1 + looks:
            # Its rows arrive right after they were looked at for the last time.
            nodes.before = lambda name, minion: nodes.late.clear() if name == "tables" else None

    nodes.passing = passing
    found = run(looks=looks)
    assert found["differing"] == {} and not found["equal"]
    assert found["unproved"] == {"shop.orders": {"keys": ["17"], "why": f"west1: {WEST}"}}
    assert found["schema"]["shop.parts"]["missing"] == ["west1"]


def test_who_is_late_only_for_the_tables_has_its_rows_proved(nodes):
    nodes.drop("shop.parts", "west1")
    nodes.nodes["west1"].data["shop.orders"]["17"] = "drifted"
    nodes.passing = lambda time: nodes.late.update({"west1": WEST}) if time > 1 + 3 else None
    found = run()
    assert set(found["differing"]["shop.orders"]["17"]) == set(NODES)
    assert found["schema"] == {} and found["unproved"] == {"shop.parts": {"keys": [], "why": f"west1: {WEST}"}}


# --- tables that are dropped while they are compared


# Which time that question is put: first when the tables are read, then when what differs is looked at again.
MOMENTS = [("bounds", 1, "reading"), ("checksums", 1, "reading"), ("checksums", 2, "again"), ("buckets", 1, "again"),
           ("rows", 1, "again"), ("by_key", 1, "rows"), ("by_key", 3, "rows")]


def dropping(nodes, table, question, time, minions, then=lambda: None):
    """Drop a table of some nodes before the first of them answers a question for the n-th time."""
    done = []

    def before(name, minion):
        if not done and name == question and nodes.names().count(name) == time and minion == minions[0]:
            done.append(True)
            nodes.drop(table, *minions)
            then()

    nodes.before = before
    return done


@pytest.mark.parametrize("name, time, phase", MOMENTS)
@pytest.mark.parametrize("node", NODES)
def test_a_table_dropped_on_one_node_is_missing_and_the_rest_is_compared(nodes, name, time, phase, node):
    if name == "bounds":
        node = "east1"
    for drifted in ("shop.orders", "shop.parts"):
        nodes.nodes["east2"].data[drifted]["2"] = "drifted"
    dropped = dropping(nodes, "shop.parts", name, time, [node])
    state = tablecompare.begin(NODES)
    while not dropped:
        assert (was := state["phase"]) != "done"
        state = tablecompare.step(state)
    assert was == phase and state["schema"] == {"shop.parts": {"prints": {}, "looks": 0}}
    assert "shop.parts" not in json.dumps([state[kept] for kept in ("queue", "suspects", "tables", "keys", "still")])
    while state["phase"] != "done":
        state = json.loads(json.dumps(tablecompare.step(state)))
    found = tablecompare.result(state)
    assert {table: list(rows) for table, rows in found["differing"].items()} == {"shop.orders": ["2"]}
    assert found["schema"] == {"shop.parts": {
        "missing": [node], "prints": {other: None if other == node else "same" for other in NODES}}}
    assert found["unproved"] == {} and found["tables"] == 2 and not found["equal"]
    assert nodes.names().count("tables") == 1 + 3


@pytest.mark.parametrize("name, time, phase", MOMENTS)
def test_a_table_dropped_everywhere_is_no_difference(nodes, name, time, phase):
    nodes.nodes["east2"].data["shop.parts"]["2"] = "drifted"
    dropped = dropping(nodes, "shop.parts", name, time, NODES)
    found = run()
    assert dropped and found["equal"] and found["tables"] == 2, found


@pytest.mark.parametrize("name, time, phase", MOMENTS)
@pytest.mark.parametrize("drifted", [False, True])
def test_a_table_dropped_and_made_anew_is_read_anew(nodes, name, time, phase, drifted):
    nodes.nodes["east2"].data["shop.parts"]["2"] = "drifted"

    def made():
        nodes.passing = lambda time: anew()

    def anew():
        nodes.passing = lambda time: None
        for node in nodes.nodes.values():
            node.data["shop.parts"] = {"7": "new"}
        if drifted:
            nodes.nodes["west1"].data["shop.parts"]["8"] = "drifted"

    dropped = dropping(nodes, "shop.parts", name, time, NODES, made)
    found = run()
    assert dropped and found["schema"] == {} and found["unproved"] == {} and found["tables"] == 3
    assert {table: list(rows) for table, rows in found["differing"].items()} == (
        {"shop.parts": ["8"]} if drifted else {})


@pytest.mark.parametrize("name, time", [("checksums", 1), ("checksums", 2), ("buckets", 1), ("rows", 1), ("rows", 2)])
def test_a_table_without_a_key_that_is_dropped(nodes, name, time):
    nodes.nodes["east2"].data["shop.log"] = ["started"]
    assert dropping(nodes, "shop.log", name, time, ["east1"]) == []
    found = run()
    assert list(found["schema"]) == ["shop.log"] and found["schema"]["shop.log"]["missing"] == ["east1"]
    assert found["differing"] == {} and found["unproved"] == {}


@pytest.mark.parametrize("name", ["bounds", "checksums"])
def test_of_a_dropped_table_no_further_part_is_read(nodes, monkeypatch, name):
    monkeypatch.setattr(tablecompare, "FIRST_ROWS", 100)
    monkeypatch.setattr(tablecompare, "LEAST_ROWS", 100)
    monkeypatch.setattr(tablecompare, "PARTS_OF_FULL_SIZE", 4)
    nodes.nodes["east2"].data["shop.orders"]["5"] = "drifted, in a part that was read before"
    dropped = dropping(nodes, "shop.orders", name, 3, ["east1"])
    found = run()
    assert dropped and list(found["schema"]) == ["shop.orders"]
    assert found["differing"] == {} and found["whole"] == {} and found["unproved"] == {} and found["tables"] == 2
    read = [json.dumps(kwarg) for name, kwarg in nodes.asked if name in ("bounds", "checksums")]
    last = max(number for number, kwarg in enumerate(read) if "shop.orders" in kwarg)
    assert last <= 5 and any("shop.parts" in kwarg for kwarg in read[last:]), "the other tables are"


def test_what_was_too_much_of_a_dropped_table_is_forgotten(nodes, monkeypatch):
    monkeypatch.setattr(tablecompare, "KEYS_A_TABLE", 100)
    monkeypatch.setattr(tablecompare, "FIRST_ROWS", 500)
    monkeypatch.setattr(tablecompare, "LEAST_ROWS", 500)
    monkeypatch.setattr(tablecompare, "ENTRIES_AN_ANSWER", 300)
    orders = nodes.nodes["west1"].data["shop.orders"]
    orders.update({key: "drifted" for key in orders})
    dropped = dropping(nodes, "shop.orders", "by_key", 2, NODES)
    state, whole = tablecompare.begin(NODES), {}
    while not dropped:
        whole = dict(state["whole"])
        state = tablecompare.step(state)
    assert list(whole) == ["shop.orders"] and state["whole"] == {}
    assert state["phase"] == "tables" and state["suspects"] == []
    while state["phase"] != "done":
        state = tablecompare.step(state)
    assert tablecompare.result(state)["equal"]


def test_a_table_that_is_gone_between_two_answers_about_its_keys(nodes, monkeypatch):
    for key in "12345":
        nodes.nodes["east2"].data["shop.orders"][key] = "drifted"
    asked = []

    def before(name, minion):
        """It is there at the first and the third of three questions, and not at the second."""
        if name == "by_key" and minion == "west1":
            asked.append(name)
            data = nodes.nodes["west1"].data
            if len(asked) == 2:
                kept["orders"] = data.pop("shop.orders")
            elif len(asked) == 3:
                data["shop.orders"] = kept["orders"]

    kept, nodes.before = {}, before
    state = tablecompare.begin(NODES)
    while state["phase"] != "rows":
        state = tablecompare.step(state)
    with monkeypatch.context() as cut:
        cut.setattr(tablecompare, "ENTRIES_AN_ANSWER", 2)
        state = tablecompare.step(state)
    assert len(asked) == 3
    assert state["schema"] == {"shop.orders": {"prints": {}, "looks": 0}} and state["keys"] == {}
    while state["phase"] != "done":
        state = tablecompare.step(state)
    found = tablecompare.result(state)
    assert set(found["differing"]["shop.orders"]) == set("12345") and found["schema"] == {}


def test_a_table_that_is_gone_between_two_answers_about_its_rows(nodes, monkeypatch):
    for name in ("FIRST_ROWS", "LEAST_ROWS"):
        monkeypatch.setattr(tablecompare, name, 500)
    # So few that the rows of two parts are two answers.
    monkeypatch.setattr(tablecompare, "ENTRIES_AN_ANSWER", 150)
    for key in ("5", "1900"):
        nodes.nodes["east2"].data["shop.orders"][key] = "drifted"
    asked, kept = [], {}

    def before(name, minion):
        """It is not there at the first question about its rows, and is there again at the next one."""
        data = nodes.nodes["west1"].data
        if minion == "west1" and kept:
            data["shop.orders"] = kept.pop("orders")
        elif minion == "west1" and name == "rows" and not asked:
            asked.append(name)
            kept["orders"] = data.pop("shop.orders")

    nodes.before = before
    state = tablecompare.begin(NODES)
    while not asked:
        state = tablecompare.step(state)
    assert state["schema"] == {"shop.orders": {"prints": {}, "looks": 0}} and state["keys"] == {}
    while state["phase"] != "done":
        state = tablecompare.step(state)
    found = tablecompare.result(state)
    assert set(found["differing"]["shop.orders"]) == {"5", "1900"} and found["schema"] == {}


def test_a_table_that_is_dropped_whenever_it_is_read_is_unproved(nodes):
    """As a report that is made anew all the time."""
    def before(name, minion):
        if name == "checksums" and minion == "east1":
            nodes.drop("shop.parts", *NODES)
        if name == "tables":
            nodes.nodes[minion].data.setdefault("shop.parts", dict(PARTS))

    nodes.before = before
    found = run(looks=1)
    assert found["unproved"] == {"shop.parts": {"keys": [], "why": "it was created, altered or dropped meanwhile"}}
    assert found["tables"] == 2 and found["schema"] == {} and not found["equal"]


# --- rows that were found before, of tables that have changed since


def test_a_table_that_is_missing_somewhere_by_now_has_no_rows_to_look_at(nodes):
    nodes.drop("shop.orders", "west1")
    state = tablecompare.recheck(NODES, {"shop.orders": ["17"], "shop.parts": ["1"]})
    while state["phase"] != "done":
        state = tablecompare.step(state)
    found = tablecompare.result(state)
    assert found["differing"] == {} and found["schema"] == {} and found["unproved"] == {}
    assert "shop.orders" not in json.dumps([kwarg for name, kwarg in nodes.asked if name == "by_key"])
    nodes.drop("shop.orders", "east1", "east2")
    with pytest.raises(CommandExecutionError, match="no table shop.orders"):
        tablecompare.recheck(NODES, {"shop.orders": ["17"], "shop.parts": ["1"]})
