"""rowsave: rows go into a file of this host and nowhere else; never over another file, never half a file."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock, create_autospec

import pytest
import salt.utils.path
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.datahost import run_all
from tests.support.loader import load

rowsave = load("_modules", "rowsave")
tabledata = load("_modules", "tabledata")
topology = load("_modules", "topology")
hostrecord = load("_modules", "hostrecord")

NAME = "20260101T000000-0001-east"
TABLES = {
    "shop.orders": {"key": [["id", "number"]], "rows": 40},
    "shop.people": {"key": [["name", "text"]], "rows": 40},
    "shop.log": {"key": [], "rows": 40},
}
# A dump tool that writes one row for each of its calls, and keeps what it was called with and could read.
TOOL = """#!/bin/sh
printf '%s\\n' "$@" > {seen}/argv.$$
umask > {seen}/umask.$$
for word; do case "$word" in
  --) break ;;
  --defaults-extra-file=*) cp -p "${{word#*=}}" {seen}/options.$$ ;;
  --result-file=*) file="${{word#*=}}" ;;
esac; done
cat > {seen}/stdin.$$
{more}
printf -- '/*!40103 SET TIME_ZONE=+00:00 */;\\nREPLACE INTO `t` (`id`) VALUES (1);\\n' > "$file"
"""


class Host:
    """This host: its folder, its dump tool, and what that was asked."""

    def __init__(self, tmp_path, monkeypatch):
        self.state, self.seen, self.bin = tmp_path / "state", tmp_path / "seen", tmp_path / "bin"
        self.seen.mkdir()
        self.bin.mkdir()
        self.measured = []
        self.tool()
        self.disk(free=50, blocks=100, size=2**30)
        monkeypatch.setattr(rowsave.os, "statvfs", self.statvfs)

    def tool(self, more="", name="mariadb-dump"):
        path = self.bin / name
        path.write_text(TOOL.format(seen=self.seen, more=more))
        path.chmod(0o755)

    def disk(self, free, blocks, size):
        """As many blocks are free, for root 5 % more than for others. What reads them in one go reads more of them."""
        self.file_system = SimpleNamespace(
            f_bavail=free, f_bfree=free + blocks // 20, f_blocks=blocks, f_frsize=size, f_bsize=4 * size)

    def statvfs(self, path):
        self.measured.append(str(path))
        return self.file_system

    def read(self, what):
        files = sorted(self.seen.glob(f"{what}.*"), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_text() for path in files]

    def options(self):
        """The conditions of the option files, as a client library of MySQL reads them."""
        return [unescaped(text) for text in self.read("options")]

    def saved(self):
        return sorted((self.state / "saved").iterdir())


def unescaped(text):
    (line,) = [line for line in text.split("\n") if line.startswith("where=")]
    value = re.fullmatch(r'where="((?:[^"\\]|\\.)*)"', line)[1]
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), value)


def condition(table, keys=(), parts=()):
    """As tabledata's: longer with each key."""
    known = TABLES[table]["key"]
    if not known:
        raise CommandExecutionError(f"{table} has no primary key")
    words = ["(TRUE)" if part.get("upto") is None else f"(`{known[0][0]}` <= {part['upto']})" for part in parts]
    if keys:
        words.append(f"`{known[0][0]}` IN ({', '.join(keys)})")
    return " OR ".join(words) or "FALSE"


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


@pytest.fixture
def functions(host):
    return {
        "cmd.run_all": create_autospec(run_all, side_effect=lambda argv, **kwargs: subprocess_like(argv, **kwargs)),
        "hostrecord.folder": create_autospec(hostrecord.folder, return_value=str(host.state)),
        "tabledata.tables": create_autospec(tabledata.tables, return_value=TABLES),
        "tabledata.condition": create_autospec(tabledata.condition, side_effect=condition),
        "topology.node": create_autospec(
            topology.node, return_value={"mysql": {"defaults_file": "/etc/mysql/my.cnf"}, "user": "tungsten"}),
    }


def subprocess_like(argv, **kwargs):
    """Salt's own, as far as this module relies on it."""
    assert kwargs["python_shell"] is False and kwargs["stdin"] == "" and kwargs["env"] == {"HOME": "/root"}
    assert "shell" not in kwargs and isinstance(argv, list)
    before = os.umask(int(kwargs["umask"], 8))
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, input=kwargs["stdin"])
    finally:
        os.umask(before)
    return {"retcode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


@pytest.fixture
def configure_loader_modules(functions, host, monkeypatch):
    which = create_autospec(salt.utils.path.which, side_effect=lambda tool: str(host.bin / tool)
                            if (host.bin / tool).exists() else None)
    monkeypatch.setattr(rowsave.salt.utils.path, "which", which)
    return {rowsave: {"__salt__": functions, "__grains__": {"id": "east2.example"}}}


def orders(*keys, parts=()):
    return {"shop.orders": {"keys": list(keys), "parts": list(parts)}}


def test_only_where_a_dump_tool_is(host):
    assert rowsave.__virtual__() == "rowsave"
    (host.bin / "mariadb-dump").unlink()
    good, why = rowsave.__virtual__()
    assert good is False and "mariadb-dump, mysqldump" in why
    host.tool(name="mysqldump")
    assert rowsave.__virtual__() == "rowsave"


def test_rows_are_saved_and_said_how_many(host):
    answer = rowsave.save(NAME, {**orders("17", "18"), "shop.log": {"keys": ["AB"], "parts": []}})
    (file,) = host.saved()
    assert answer == {"path": str(file), "rows": 2, "tables": {"shop.orders": 1, "shop.log": 1}}
    assert re.fullmatch(NAME + r"-\d{8}T\d{6}\.sql", file.name)
    text = file.read_text()
    assert text.startswith(f"-- {NAME}: rows that east2.example had") and "Nothing has been applied" in text
    assert all(line.startswith("--") for line in text.split("\n")[:2])
    assert text.count("REPLACE INTO") == 2 and text.count("SET TIME_ZONE") == 2
    assert host.options() == ["TRUE", "`id` IN (17, 18)"], "sorted by table; without a key it is the whole table"


def test_it_is_for_root_alone(host):
    before = os.umask(0)
    try:
        rowsave.save(NAME, orders("17"))
    finally:
        os.umask(before)
    (file,) = host.saved()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    (options,) = host.seen.glob("options.*")
    assert stat.S_IMODE(options.stat().st_mode) == 0o600
    assert host.read("umask") == ["0077\n"], "so are the files that the tool makes"


def test_no_key_on_a_command_line_and_the_tool_locks_nothing(host, functions):
    rowsave.save(NAME, {"shop.people": {"keys": ["X'4d656965727365636b6579'"], "parts": []}})
    (argv,) = [text.split("\n") for text in host.read("argv")]
    assert "4d656965727365636b6579" not in " ".join(argv) and "where" not in " ".join(argv)
    assert "4d656965727365636b6579" in host.options()[0]
    # First of all its arguments, or the tool does not know it.
    assert argv[0].startswith("--defaults-extra-file=") and argv[-4:-1] == ["--", "shop", "people"]
    assert {"--single-transaction", "--skip-lock-tables", "--no-create-info", "--replace", "--skip-triggers",
            "--hex-blob", "--skip-extended-insert", "--complete-insert", "--default-character-set=utf8mb4"} <= set(argv)
    assert not {"--add-drop-table", "--lock-tables", "--master-data", "--flush-logs"} & set(argv)
    argv = functions["cmd.run_all"].call_args.args[0]
    assert argv[0] == "prlimit" and re.fullmatch(r"--fsize=\d+", argv[1])
    assert argv[2:4] == ["timeout", "--kill-after=5"], "and it ends by itself"


def test_the_option_file_includes_the_pillars_one_and_sets_nothing_else(host):
    rowsave.save(NAME, orders("17"))
    assert host.read("options") == [
        '!include /etc/mysql/my.cnf\n[mysqldump]\nloose-set-gtid-purged=OFF\nwhere="`id` IN (17)"\n']


@pytest.mark.parametrize("words", ['`a"b` = 1', "`a\\b` = 1", "`a\nplugin-dir=/tmp\n` = 1", "`a\r\n[client]\r` = 1",
                                   '`\\"\n` = \'2026-01-01 00:00:00\'', "`größe` = X'00'", "`#` = 1 # no"])
def test_a_column_of_any_name_stays_in_its_line(host, functions, words):
    functions["tabledata.condition"].side_effect = None
    functions["tabledata.condition"].return_value = words
    rowsave.save(NAME, orders("17"))
    (text,) = host.read("options")
    assert len(text.split("\n")) == 5 and "\r" not in text
    assert host.options() == [words]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
def test_a_line_is_one_line_and_says_what_it_was_given(words):
    line = rowsave._line(words).decode()
    assert line.endswith('"\n') and line.count("\n") == 1 and "\r" not in line
    assert unescaped(line) == words


# --- what is asked of the tool


def test_many_keys_become_conditions_that_fit_a_line(host, functions):
    keys = [str(10**17 + number) for number in range(1000)]
    answer = rowsave.save(NAME, orders(*keys))
    conditions = host.options()
    assert len(conditions) == answer["rows"] > 1
    assert all(len(text.encode()) < 4096 for text in host.read("options"))
    assert [key for words in conditions for key in re.findall(r"\d{18}", words)] == keys, "each once, none lost"


def test_what_is_escaped_counts_for_the_length(host, functions):
    def quoted(table, keys=(), parts=()):
        return " OR ".join(f'(`{chr(34) * 10}` = {key})' for key in keys)

    functions["tabledata.condition"].side_effect = quoted
    rowsave.save(NAME, orders(*map(str, range(200))))
    assert all(len(line.encode()) <= 4096 for text in host.read("options") for line in text.split("\n"))


@pytest.mark.parametrize("rows", [orders("9" * 4000), orders(parts=[{"after": None, "upto": "9" * 4000}])],
                         ids=["key", "part"])
def test_a_key_too_long_for_a_line_is_an_error_not_half_a_condition(host, rows):
    with pytest.raises(CommandExecutionError, match="shop.orders has a key too long to be saved by: 40.. bytes"):
        rowsave.save(NAME, rows)
    assert host.saved() == [] and host.read("argv") == []


def test_parts_that_were_not_narrowed_down_are_saved_as_such(host):
    rowsave.save(NAME, orders("17", parts=[{"after": None, "upto": "9"}]))
    assert host.options() == ["(`id` <= 9)", "`id` IN (17)"]


@pytest.mark.parametrize("table, which", [("shop.orders", {"keys": ["17"], "parts": [{}]}), ("shop.log", {})])
def test_a_whole_table_is_saved_once_and_not_if_it_could_fill_the_disk(host, monkeypatch, table, which):
    rowsave.save(NAME, {table: which})
    assert host.options() == ["TRUE"]
    monkeypatch.setitem(TABLES, table, {**TABLES[table], "rows": rowsave.MOST_ROWS + 1})
    with pytest.raises(CommandExecutionError, match="save it by hand"):
        rowsave.save(f"{NAME}-b", {table: which})
    rowsave.save(f"{NAME}-c", {"shop.people": {"keys": ["41"]}})


def test_a_table_that_is_not_here_has_nothing_to_save(host):
    answer = rowsave.save(NAME, {"shop.gone": {"keys": ["17"], "parts": []}, **orders("17")})
    assert answer["tables"] == {"shop.gone": 0, "shop.orders": 1} and len(host.read("argv")) == 1


@pytest.mark.parametrize("which", [{}, {"keys": [], "parts": []}])
def test_no_keys_are_not_the_whole_table(host, which):
    assert rowsave.save(NAME, {"shop.orders": which})["rows"] == 0
    assert host.read("argv") == []


def test_the_name_of_a_table_may_have_a_dot_or_a_dash(host, monkeypatch):
    for name in ("shop.a.b", "shop.--result-file=x"):
        monkeypatch.setitem(TABLES, name, TABLES["shop.orders"])
    rowsave.save(NAME, {"shop.--result-file=x": {"keys": ["1"], "parts": []}})
    rowsave.save(f"{NAME}-b", {"shop.a.b": {"keys": ["1"], "parts": []}})
    assert [text.split("\n")[-4:-1] for text in host.read("argv")] == [
        ["--", "shop", "--result-file=x"], ["--", "shop", "a.b"]]


def test_only_lines_that_begin_a_statement_are_rows(host):
    said = "REPLACE INTO `t` VALUES (1,\"a\\\\nREPLACE INTO x\");\\n-- REPLACE \\n"
    host.tool(more=f"printf -- '{said}' > \"$file\"; exit 0")
    assert rowsave.save(NAME, orders("1"))["rows"] == 1


def test_a_value_of_any_bytes_is_written_as_it_is(host):
    host.tool(more="""printf "REPLACE INTO t VALUES ('\\377\\376\\r');\\n" > "$file"; exit 0""")
    rowsave.save(NAME, orders("1"))
    assert host.saved()[0].read_bytes().endswith(b"REPLACE INTO t VALUES ('\xff\xfe\r');\n")


# --- nothing is lost, nothing is left


def test_never_over_another_file(host, monkeypatch):
    monkeypatch.setattr(rowsave.time, "gmtime", Mock(return_value=(2026, 1, 1, 0, 0, 0, 3, 1, 0)))
    first = rowsave.save(NAME, orders("17"))
    Path(first["path"]).write_text("kept")
    with pytest.raises(CommandExecutionError, match=re.escape(first["path"]) + " is there already"):
        rowsave.save(NAME, orders("18"))
    assert [path.read_text() for path in host.saved()] == ["kept"]


def test_not_through_a_link_either(host, monkeypatch, tmp_path):
    monkeypatch.setattr(rowsave.time, "gmtime", Mock(return_value=(2026, 1, 1, 0, 0, 0, 3, 1, 0)))
    (host.state / "saved").mkdir(parents=True)
    victim = tmp_path / "victim"
    (host.state / "saved" / f"{NAME}-20260101T000000.sql").symlink_to(victim)
    with pytest.raises(CommandExecutionError, match="is there already"):
        rowsave.save(NAME, orders("17"))
    assert not victim.exists()


ROOM = r"; its file may have [\d,]+ bytes"


@pytest.mark.parametrize("more, words", [
    ("echo 'Got error: 1045: Access denied' >&2; echo half > \"$file\"; exit 2", "Got error: 1045: Access denied"),
    ("echo 'only on stdout'; exit 1", "only on stdout"),
    ("exit 3", f"exit code 3{ROOM}"),
    ("echo ' '; echo >&2; exit 4", f"exit code 4{ROOM}"),
    ("kill -9 $$", f"exit code (-9|137){ROOM}"),
])
def test_a_tool_that_fails_leaves_nothing_behind(host, more, words):
    host.tool(more=more)
    with pytest.raises(CommandExecutionError, match=f"^shop.orders could not be saved: {words}$"):
        rowsave.save(NAME, orders("17"))
    assert host.saved() == []


# --- a host that is at work now keeps room


@pytest.mark.parametrize("free, blocks, size, room", [
    (60, 100, 4096, 25 * 4096),
    (100, 100, 1024, 45 * 1024),
    # A tenth of it is not a whole number of blocks.
    (11, 105, 100_000, 25_000),
])
def test_so_much_may_one_table_take(host, functions, free, blocks, size, room):
    """Half of what is free above a tenth: it is there twice for a while."""
    host.disk(free, blocks, size)
    host.tool(more=f"cat /proc/self/limits > {host.seen}/limits.$$")
    rowsave.save(NAME, orders("17"))
    assert functions["cmd.run_all"].call_args.args[0][1] == f"--fsize={room}"
    (limits,) = host.read("limits")
    (line,) = [line for line in limits.split("\n") if line.startswith("Max file size")]
    assert line.split()[3:5] == [str(room)] * 2, "what the tool starts has no more either"


def test_the_file_system_is_that_of_the_file_and_looked_at_for_each_table(host):
    rowsave.save(NAME, {**orders("17"), "shop.people": {"keys": ["X'41'"]}})
    assert len(host.measured) == 2
    assert all(Path(path).is_relative_to(host.state / "saved") for path in host.measured)


@pytest.mark.parametrize("free", [0, 5, 10])
def test_with_less_than_a_tenth_free_nothing_is_saved(host, free):
    host.disk(free, 100, 2**30)
    with pytest.raises(CommandExecutionError, match=r"no room for rows in .*: less than 10% of it are free"):
        rowsave.save(NAME, orders("17"))
    assert host.read("argv") == [] and host.saved() == []
    host.disk(11, 100, 2**30)
    assert rowsave.save(NAME, orders("17"))["rows"] == 1


def test_the_disk_that_fills_up_between_two_tables_takes_the_first_ones_rows_away(host, functions):
    run = functions["cmd.run_all"].side_effect

    def fills(argv, **kwargs):
        host.disk(9, 100, 2**30)
        return run(argv, **kwargs)

    functions["cmd.run_all"].side_effect = fills
    with pytest.raises(CommandExecutionError, match="no room for rows"):
        rowsave.save(NAME, {**orders("17"), "shop.people": {"keys": ["X'41'"]}})
    assert len(host.read("argv")) == 1 and host.saved() == []


@pytest.mark.parametrize("size, fits", [(9000, True), (11000, False)])
def test_a_table_that_takes_more_ends_the_tool_and_leaves_nothing(host, size, fits):
    host.disk(30, 100, 1000)
    host.tool(more=f'head -c {size} /dev/zero | tr "\\0" x > "$file" || exit; exit 0')
    if fits:
        rowsave.save(NAME, orders("17"))
        assert host.saved()[0].stat().st_size > size
        return
    with pytest.raises(CommandExecutionError, match="^shop.orders could not be saved: .+"):
        rowsave.save(NAME, orders("17"))
    assert host.saved() == []


def test_the_second_table_that_fails_takes_the_first_ones_rows_away(host):
    host.tool(more='for word; do [ "$word" = people ] && exit 2; done')
    with pytest.raises(CommandExecutionError, match="shop.people could not be saved"):
        rowsave.save(NAME, {**orders("17"), "shop.people": {"keys": ["X'41'"], "parts": []}})
    assert len(host.read("argv")) == 2 and host.saved() == []


def test_nothing_but_the_file_is_left_when_all_went_well(host):
    rowsave.save(NAME, orders("17"))
    assert [path.suffix for path in host.state.rglob("*") if path.is_file()] == [".sql"]


def test_what_is_no_key_leaves_nothing_behind(host, functions):
    functions["tabledata.condition"].side_effect = SaltInvocationError("'x' is no value of id")
    with pytest.raises(SaltInvocationError, match="is no value of id"):
        rowsave.save(NAME, orders("x"))
    assert host.saved() == [] and host.read("argv") == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a.b", "-x", "x\n", "a b", "x" * 102, None, 7, ["x"]])
def test_names(host, name):
    with pytest.raises(SaltInvocationError, match="letters, digits, dashes and underscores"):
        rowsave.save(name, orders("17"))
    assert not host.state.exists()


def test_the_answer_holds_no_row_and_no_key(host):
    answer = rowsave.save(NAME, {"shop.people": {"keys": ["X'736563726574'"], "parts": []}})
    assert "736563726574" not in json.dumps(answer) and "VALUES" not in json.dumps(answer)
