"""Twenty tables that are not alike, a load that writes to them at every site, and drift that a check has to name.

A row comes from a number alone: every value, the key too, is an expression of ``{n}``. So all nodes can be filled alike
without a copy, the load can find rows again, and drift can be undone without having been noted.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import hosts
from .data import JOURNAL, SCHEMA, UNIT, everywhere, sql
from .shell import LabError

# Rows without a key are searched one by one when a change of theirs is applied.
KEYLESS_ROWS = 20_000
# (7, 3): of the numbers with remainder 3 by 7 no row was made. Gaps in the keys, for rows that nobody has written.
GAP = (7, 3)
# Numbers that the load leaves alone, so that drift made there stays as it was made. They lie between those written to.
RESTING = (10, 9)


@dataclass
class Table:
    """``key`` and ``columns`` are ``{name: (type, expression)}``; what is generated has None for the expression."""

    name: str
    key: dict
    columns: dict
    # What the load sets, of the {number} of its transaction, and what drift sets.
    change: str = "amount = amount + 1, note = CONCAT('{site} ', {number})"
    spoil: str = "note = CONCAT('x', SUBSTR(note, 2))"
    keys: str = ""
    options: str = ""
    loaded: bool = True

    @property
    def full_name(self):
        return f"{SCHEMA}.{self.name}"

    @property
    def generated(self):
        return any(text is None for _, text in self.columns.values())

    def top(self, top):
        """The highest number that a row is made of."""
        return top if self.key else min(top, KEYLESS_ROWS * GAP[0] // (GAP[0] - 1))

    def create(self):
        columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in {**self.key, **self.columns}.items())
        key = f", PRIMARY KEY ({', '.join(f'`{name}`' for name in self.key)})" if self.key else ""
        keys = f", {self.keys}" if self.keys else ""
        return (f"CREATE TABLE {self.full_name} ({columns}{key}{keys}) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 "
                f"{self.options};")

    def _written(self):
        return {name: text for name, (_, text) in {**self.key, **self.columns}.items() if text is not None}

    def fill(self, top):
        written = self._written()
        values = ", ".join(text.replace("{n}", "n") for text in written.values())
        numbers = (f"SELECT CAST(seq AS SIGNED) AS n FROM {SCHEMA}.seq_1_to_{self.top(top)} "
                   f"WHERE seq % {GAP[0]} <> {GAP[1]}")
        return f"INSERT INTO {self.full_name} ({self._names(written)}) SELECT {values} FROM ({numbers}) AS s;"

    def put(self, verb):
        written = self._written()
        return f"{verb} INTO {self.full_name} ({self._names(written)}) VALUES ({', '.join(written.values())});"

    @staticmethod
    def _names(columns):
        return ", ".join(f"`{name}`" for name in columns)

    def where(self):
        """The row of a number; without a key, by all that the load does not change."""
        named = self.key or {"id": self.columns["id"]}
        return " AND ".join(f"`{name}` = {text}" for name, (_, text) in named.items())

    def shown(self):
        """SQL of the key as people are shown it."""
        words = [f"CONCAT('0x', HEX(`{name}`))" if kind.startswith("BINARY") else f"CAST(`{name}` AS CHAR)"
                 for name, (kind, _) in self.key.items()]
        return f"CONCAT_WS(',', {', '.join(words)})"


AT = "'2026-01-01' + INTERVAL {n} SECOND"
PLAIN = {
    "customer": ("INT", "{n} % 9973"), "amount": ("DECIMAL(10,2)", "{n} % 100000 / 100"), "at": ("DATETIME", AT),
    "note": ("VARCHAR(200)", "REPEAT(MD5({n}), 2)"),
}
TABLES = (
    Table("t01", {"id": ("INT AUTO_INCREMENT", "{n} * 3")}, PLAIN),
    Table("t02", {"id": ("BIGINT UNSIGNED", "9000000000000000000 + {n} * 17")}, PLAIN),
    Table("t03", {"id": ("INT", "{n} * 2 - 100000")}, PLAIN, keys="KEY (customer)"),
    Table("t04", {"branch": ("CHAR(8)", "ELT({n} % 4 + 1, 'hamburg', 'lyon', 'oslo', 'porto')"),
                  "number": ("BIGINT", "{n} * 5")}, PLAIN),
    Table("t05", {"customer": ("INT", "{n} % 1000"), "at": ("DATETIME", "'2026-01-01' + INTERVAL {n} MINUTE")},
          {key: PLAIN[key] for key in ("amount", "note")}),
    Table("t06", {"name": ("VARCHAR(60)", "CONCAT(ELT({n} % 5 + 1, 'Zürich', '東京', 'Αθήνα', 'Łódź', '🙂 d''or'), "
                                          "' ', {n})")}, PLAIN),
    Table("t07", {"uuid": ("BINARY(16)", "UNHEX(MD5({n}))")}, PLAIN),
    Table("t08", {}, {"id": ("INT", "{n}"), **PLAIN}),
    Table("t09", {"id": ("BIGINT", "{n} * 11")}, {
        "text": ("MEDIUMTEXT", "REPEAT(CONCAT('ä', {n}), 1 + {n} % 9)"),
        "picture": ("BLOB", "UNHEX(REPEAT(SHA1({n}), 2))"),
        "document": ("JSON", "JSON_OBJECT('n', {n}, 'tags', JSON_ARRAY('a', {n} % 7))"),
        "seen": ("TIMESTAMP NULL", AT),
        "touched": ("TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)", AT),
        "small": ("FLOAT", "{n} / 7"), "big": ("DOUBLE", "SQRT({n})"),
    }, change="small = small * 1.1, document = JSON_SET(document, '$.by', {number}), picture = UNHEX(SHA1({number}))",
          spoil="touched = touched, picture = CONCAT(LEFT(picture, 20), UNHEX(MD5({host})))"),
    Table("t10", {"price": ("DECIMAL(14,2)", "{n} * 0.25")}, PLAIN),
    Table("t11", {"id": ("BIGINT", "{n} * 4")}, {
        **PLAIN, "kind": ("ENUM('new', 'paid', 'sent')", "{n} % 3 + 1"), "marks": ("SET('a', 'b', 'c')", "{n} % 8"),
        "bits": ("BIT(12)", "{n} % 4096"),
    }, change="kind = {number} % 3 + 1, marks = {number} % 8, bits = {number} % 4096", spoil="bits = bits ^ 1",
          keys="KEY (customer), KEY (at, kind)"),
    Table("t12", {"id": ("INT", "{n} * 9 + 4")}, {
        "customer": ("INT NULL", "NULLIF({n} % 5, 0)"), "day": ("DATE NULL", f"IF({{n}} % 3, DATE({AT}), NULL)"),
        "hour": ("TIME(3)", "SEC_TO_TIME({n} % 86400 + {n} % 1000 / 1000)"), "year": ("YEAR", "1990 + {n} % 60"),
        "note": ("VARCHAR(200) NULL", "ELT({n} % 3 + 1, NULL, '', MD5({n}))"),
    }, change="note = IF(note IS NULL, '', NULL), customer = {number}",
          spoil="note = IF(note IS NULL, '', NULL)"),
    Table("t13", {"id": ("INT", "{n}")}, {
        **PLAIN, "word": ("VARCHAR(40) CHARACTER SET latin1", "CONCAT('caf', CHAR(233 USING latin1), {n} % 100)")}),
    Table("t14", {"region": ("ENUM('north', 'south', 'east')", "{n} % 3 + 1"), "number": ("INT", "{n}")}, PLAIN),
    Table("t15", {"code": ("VARCHAR(20) CHARACTER SET latin1", "CONCAT(CHAR(224 + {n} % 20 USING latin1), {n} % 50)"),
                  "number": ("INT UNSIGNED", "{n}"), "day": ("DATE", "'2026-01-01' + INTERVAL {n} % 300 DAY")}, PLAIN),
    Table("t16", {"id": ("INT", "{n} * 2")}, PLAIN, options="PARTITION BY HASH (id) PARTITIONS 4"),
    Table("t17", {"id": ("BIGINT", "{n} * 6")}, {
        **PLAIN, "double_amount": ("DECIMAL(12,2) AS (amount * 2) VIRTUAL", None),
        "beginning": ("VARCHAR(10) AS (LEFT(note, 10)) PERSISTENT", None)}),
    Table("t18", {"order": ("INT", "{n} * 8")}, {**PLAIN, "größe ``x``": ("INT", "{n} % 50")}),
    # Not written to: where a table is missing, or made differently, that would stop the replication, which is another
    # drift, and a louder one.
    Table("t19", {"id": ("INT", "{n} * 3 + 1")}, PLAIN, loaded=False),
    Table("t20", {"id": ("BIGINT", "{n} * 5 + 2")}, PLAIN, loaded=False),
)
BY_NAME = {table.name: table for table in TABLES}


# --- filling and writing


def fill(lab, rows=2_000_000, tables=20):
    """Put the same rows, so many in all, into the first ``tables`` on every node; return the highest number used."""
    keyless = sum(not table.key for table in TABLES[:tables])
    each = max(rows // tables, (rows - keyless * KEYLESS_ROWS) // (tables - keyless))
    top = max(70, -(-each * GAP[0] // (GAP[0] - 1)) + GAP[0])
    text = f"SET NAMES utf8mb4; SET sql_log_bin=0; SET unique_checks=0; CREATE DATABASE IF NOT EXISTS {SCHEMA};"
    text += "".join(table.create() + table.fill(top) for table in TABLES[:tables])
    # What the load has committed, and when: as in the other tables of the lab.
    text += f"""CREATE TABLE {SCHEMA}.ledger (site CHAR(12), number BIGINT, at DATETIME(6), note VARCHAR(100),
                                              PRIMARY KEY (site, number));"""
    everywhere(lab, lambda host: sql(lab, host, text, timeout=1800))
    return top


def start_load(lab, top, every_ms=20, tables=20):
    """Write at every site's primary, to its own rows of all tables; ``data.stop_load`` ends it."""
    program = f"/usr/local/lib/tungsten_emulator/{UNIT}.py"
    for site, nodes in lab.site_nodes().items():
        root = lab.root(nodes[0])
        (root / program.lstrip("/")).write_text((Path(__file__).resolve().parents[1] / "manyload.py").read_text())
        order = {
            "site": site, "domain": lab.domain(site), "sites": lab.sites, "every_ms": every_ms, "journal": JOURNAL,
            "beyond": 2 * top, "gap": GAP, "resting": RESTING, "tables": [
                {"top": table.top(top), "keyless": not table.key, "insert": table.put("INSERT IGNORE"),
                 "update": f"UPDATE {table.full_name} SET {table.change} WHERE {table.where()};",
                 "delete": f"DELETE FROM {table.full_name} WHERE {table.where()};"}
                for table in TABLES[:tables] if table.loaded],
        }
        (root / f"{program}.json".lstrip("/")).write_text(json.dumps(order))
        hosts.execute(lab, nodes[0], ["systemctl", "reset-failed", UNIT], capture=True)
        started = hosts.execute(lab, nodes[0], ["systemd-run", f"--unit={UNIT}", "--quiet", "/usr/bin/python3", program,
                                                f"{program}.json"], capture=True)
        if started.returncode:
            raise LabError(f"{nodes[0]}: {started.stderr.strip()}")


def checksums(lab, nodes=None):
    """``{host: {table: checksum}}`` of all tables, by MariaDB alone; comparable when nothing is being written."""
    def one(host):
        names = [row[0] for row in sql(lab, host, f"SHOW TABLES FROM {SCHEMA};")]
        # CHECKSUM TABLE differs where the very same rows with generated columns have come by different ways.
        generated = [BY_NAME[name] for name in names if name in BY_NAME and BY_NAME[name].generated]
        plain = sorted(set(names) - {table.name for table in generated})
        text = f"CHECKSUM TABLE {', '.join(f'{SCHEMA}.{name}' for name in plain)};"
        for table in generated:
            columns = ", ".join(
                f"COALESCE(HEX(CAST(`{name}` AS BINARY)), '-')" for name in {**table.key, **table.columns})
            text += (f"SELECT '{table.full_name}', CONCAT(COUNT(*), ' ', BIT_XOR(CAST(CONV(LEFT(MD5(CONCAT_WS('#', "
                     f"{columns})), 16), 16, 10) AS UNSIGNED))) FROM {table.full_name};")
        return dict(row[:2] for row in sql(lab, host, text, timeout=1800))
    return everywhere(lab, one, nodes)


def checksum_table_seconds(lab, host):
    """How long CHECKSUM TABLE of all tables takes on one host."""
    names = [row[0] for row in sql(lab, host, f"SHOW TABLES FROM {SCHEMA};")]
    begun = time.monotonic()
    sql(lab, host, f"CHECKSUM TABLE {', '.join(f'{SCHEMA}.{name}' for name in names)};", timeout=1800)
    return time.monotonic() - begun


# --- drift


@dataclass
class Made:
    """Drift that was made: what a check has to name, no more and no less, and how it is undone."""

    undo: object
    # {site: {table: {kind: [keys as people see them]}}}; a number instead of keys where a table has none.
    sites: dict = field(default_factory=dict)
    nodes: dict = field(default_factory=dict)
    # {table: what is different there}: None for a missing one, else (column, here, there).
    schema: dict = field(default_factory=dict)
    site: str = "east"


def _behind(lab, nodes, text):
    """SQL on some nodes, behind the back of replication; ``{host}`` is each one's own name."""
    return everywhere(lab, lambda host: sql(
        lab, host, f"SET NAMES utf8mb4; SET sql_log_bin=0; {text.replace('{host}', repr(host))}", timeout=900), nodes)


def _numbers(table, top, wanted, gap=False):
    """Numbers from the middle of a table: of rows that the load leaves alone, or of rows that nobody has written."""
    found = []
    for n in range(table.top(top) // 2, table.top(top)):
        if (n % GAP[0] == GAP[1]) == gap and n % RESTING[0] == RESTING[1]:
            found.append(n)
            if len(found) == wanted:
                return found
    raise LabError(f"{table.name} has no {wanted} such rows: fill it with more")


def _keys(lab, host, table, numbers):
    """The keys as people are shown them, of rows that are on this host."""
    text = "".join(f"SELECT {table.shown()} FROM {table.full_name} WHERE {table.where()};".replace("{n}", str(n))
                   for n in numbers)
    return [row[0] for row in sql(lab, host, f"SET NAMES utf8mb4; {text}")]


def _of(numbers, text):
    return "".join(text.replace("{n}", str(n)) for n in numbers)


def changed(lab, top, *names, rows=1, nodes=None):
    """Rows changed on all nodes of east, or on some of its nodes only."""
    made = Made(undo=lambda: [undo() for undo in undone])
    every, undone = lab.site_nodes()[made.site], []
    for name in names:
        table = BY_NAME[name]
        numbers = _numbers(table, top, rows)
        _behind(lab, nodes or every,
                _of(numbers, f"UPDATE {table.full_name} SET {table.spoil} WHERE {table.where()};"))
        found = {table.full_name: {"changed": _keys(lab, every[0], table, numbers)}}
        if nodes:
            for node in nodes:
                made.nodes.setdefault(node, {}).update(found)
        else:
            made.sites.setdefault(made.site, {}).update(found)
        undone.append(lambda table=table, numbers=numbers: _behind(
            lab, nodes or every, _of(numbers, table.put("REPLACE"))))
    return made


def missing(lab, top, name, rows=1):
    """Rows deleted on all nodes of east."""
    table, made = BY_NAME[name], Made(undo=lambda: _behind(lab, every, _of(numbers, table.put("REPLACE"))))
    every, numbers = lab.site_nodes()[made.site], _numbers(table, top, rows)
    keys = _keys(lab, every[0], table, numbers)
    _behind(lab, every, _of(numbers, f"DELETE FROM {table.full_name} WHERE {table.where()};"))
    made.sites = {made.site: {table.full_name: {"missing": keys}}}
    return made


def extra(lab, top, name, rows=1):
    """Rows inserted on all nodes of east."""
    table, made = BY_NAME[name], Made(undo=lambda: _behind(
        lab, every, _of(numbers, f"DELETE FROM {table.full_name} WHERE {table.where()};")))
    every, numbers = lab.site_nodes()[made.site], _numbers(table, top, rows, gap=True)
    _behind(lab, every, _of(numbers, table.put("INSERT")))
    made.sites = {made.site: {table.full_name: {"extra": _keys(lab, every[0], table, numbers)}}}
    return made


def twice(lab, top, name):
    """A row of a table without a key is there once more on all nodes of east, the very same row."""
    table, made = BY_NAME[name], Made(undo=lambda: _behind(
        lab, every, _of(numbers, f"DELETE FROM {table.full_name} WHERE {table.where()} LIMIT 1;")))
    every, numbers = lab.site_nodes()[made.site], _numbers(table, top, 1)
    _behind(lab, every, _of(numbers, table.put("INSERT")))
    made.sites = {made.site: {table.full_name: {"extra": 1}}}
    return made


def missing_table(lab, top, name):
    """A table dropped on all nodes of east."""
    table, made = BY_NAME[name], Made(undo=lambda: _behind(lab, every, table.create() + table.fill(top)))
    every = lab.site_nodes()[made.site]
    _behind(lab, every, f"DROP TABLE {table.full_name};")
    made.schema = {table.full_name: None}
    return made


def column_type(lab, top, name):
    """A column's type changed on all nodes of east."""
    table, made = BY_NAME[name], Made(undo=lambda: _behind(
        lab, every, f"ALTER TABLE {table.full_name} MODIFY amount DECIMAL(10,2);"))
    every = lab.site_nodes()[made.site]
    _behind(lab, every, f"ALTER TABLE {table.full_name} MODIFY amount DECIMAL(12,2);")
    made.schema = {table.full_name: ("amount", "decimal(12,2)", "decimal(10,2)")}
    return made


# Each of them in tables of its own, so that any of them can be made at once.
DRIFTS = {
    "a changed row": lambda lab, top: changed(lab, top, "t01"),
    "a missing row": lambda lab, top: missing(lab, top, "t02"),
    "an extra row": lambda lab, top: extra(lab, top, "t03"),
    "changed rows in tables with composite keys": lambda lab, top: changed(lab, top, "t04", "t05"),
    "a missing table": lambda lab, top: missing_table(lab, top, "t19"),
    "a column's type changed": lambda lab, top: column_type(lab, top, "t20"),
    "a row changed on one replica only": lambda lab, top: changed(
        lab, top, "t12", nodes=[lab.site_nodes()["east"][-1]]),
    # Beyond what was asked for: where a check could easily be wrong.
    "a row with a key that is not ASCII": lambda lab, top: changed(lab, top, "t06"),
    "a missing row with a binary key": lambda lab, top: missing(lab, top, "t07"),
    "a row twice in a table without a key": lambda lab, top: twice(lab, top, "t08"),
    "a row that differs on every node": lambda lab, top: changed(lab, top, "t09"),
    "rows with keys of decimals, enums, latin1": lambda lab, top: changed(lab, top, "t10", "t14", "t15"),
    "one bit": lambda lab, top: changed(lab, top, "t11"),
    "many rows of a table": lambda lab, top: changed(lab, top, "t13", rows=15),
    "an extra row in a partitioned table": lambda lab, top: extra(lab, top, "t16"),
    "a row with generated columns": lambda lab, top: changed(lab, top, "t17"),
    "rows with names that need quotes": lambda lab, top: missing(lab, top, "t18", rows=2),
}
# The first of them are what the check was asked to find.
ASKED = list(DRIFTS)[:7]


def wrong(answer, made):
    """What a check's answer says that is not so, and what it does not say, in words; empty if it is exact."""
    for key in ("sites", "nodes", "schema", "verdict", "looked_at"):
        if key not in answer:
            return [f"the answer has no {key!r}: {str(answer)[:500]}"]
    words = []
    for whose in ("sites", "nodes"):
        wanted = {}
        for each in made:
            for name, tables in getattr(each, whose).items():
                wanted.setdefault(name, {}).update(tables)
        for name in sorted({*wanted, *answer[whose]}):
            there = answer[whose].get(name, {"tables": {}})["tables"]
            for table in sorted({*wanted.get(name, {}), *there}):
                words += _wrong_table(f"{name} {table}", there.get(table), wanted.get(name, {}).get(table))
    schema = {table: (what, each.site) for each in made for table, what in each.schema.items()}
    for table in sorted({*schema, *answer["schema"]}):
        words += _wrong_schema(answer, table, *schema.get(table, (False, None)))
    verdict = "drifted" if made else "equal"
    if answer["verdict"] != verdict:
        words.append(f"the verdict is {answer['verdict']}, not {verdict}")
    words += [f"{table} is {kind}: {why}" for kind in ("skipped", "unproved")
              for table, why in answer.get(kind, {}).items()]
    return words


def _wrong_table(name, told, wanted):
    if told is None or wanted is None:
        return [f"{name} is {'not told' if told is None else 'a false alarm'}: {told or wanted}"]
    words = [] if told["complete"] else [f"{name} is not complete"]
    for kind in ("changed", "missing", "extra"):
        keys = wanted.get(kind, [])
        number = keys if isinstance(keys, int) else len(keys)
        if told[kind] != number:
            words.append(f"{name} has {told[kind]} rows {kind}, not {number}")
        if keys != number and sorted(told["keys"][kind]) != sorted(keys):
            words.append(f"{name} has {kind} {told['keys'][kind]}, not {keys}")
    return words


def _wrong_schema(answer, table, what, site):
    told = answer["schema"].get(table)
    if told is None or what is False:
        return [f"{table} is {'not told' if told is None else 'a false alarm'}: {told or what}"]
    here = ", ".join(node for node in answer["looked_at"] if node.startswith(site))
    if what is None:
        return [] if told["reason"] == f"missing on {here}" else [f"{table}: {told}, but it is missing on {here}"]
    column, new, old = what
    texts = [text for text in told["differences"] if text.startswith(f"{column}: ")]
    if len(told["differences"]) == len(texts) == 1:
        parts = texts[0][len(column) + 2:].split("; ")
        if len(parts) == 2 and any(part.startswith(new) and part.endswith(f" on {here}") for part in parts) \
                and any(part.startswith(old) for part in parts):
            return []
    return [f"{table}: {told}, but {column} is {new} on {here} and {old} elsewhere"]
