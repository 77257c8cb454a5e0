import shutil
import subprocess
from types import SimpleNamespace

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

mysqld = load("_modules", "mysqld")

HELP = """mariadbd  Ver 10.11.6-MariaDB
Variables (--variable-name=value) and boolean options
----------------------------------------------------------- ----------------
datadir                                                     /var/lib/mysql/
innodb-log-group-home-dir                                   ./
log-bin                                                     (No default value)
log-bin-index                                               /tmp/x/none

To see what variables a running server is using, type
"""


class Host:
    """Answers of the programs: {words of the command line: (exit code, stdout, stderr)}, first match."""

    def __init__(self):
        self.answers = {}
        self.calls = []

    def run_all(self, argv, **kwargs):
        line = " ".join(argv)
        self.calls.append((line, kwargs))
        assert kwargs["python_shell"] is False
        for words, (code, out, err) in self.answers.items():
            if words in line:
                return {"retcode": code, "stdout": out, "stderr": err}
        raise AssertionError(f"unexpected: {line}")


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def functions(host, tmp_path, monkeypatch):
    defaults = tmp_path / "my.cnf"
    defaults.write_text("", encoding="utf-8")
    node = {"mysql": {"unit": "auto", "defaults_file": str(defaults)}}
    monkeypatch.setattr(mysqld.salt.utils.path, "which", lambda name: name)
    return {"cmd.run_all": host.run_all, "topology.node": lambda: node, "datalocation.locations": dict}


@pytest.fixture
def configure_loader_modules(functions):
    return {mysqld: {"__salt__": functions}}


def shown(name, state="loaded", **more):
    return (
        0,
        "\n".join(f"{k}={v}" for k, v in {"Id": f"{name}.service", "LoadState": state, **more}.items()),
        "",
    )


def test_unit_follows_aliases(host):
    host.answers = {"-- ": shown("mariadb")}
    assert mysqld.unit() == "mariadb"


@pytest.mark.parametrize(
    "known, words",
    [({}, "none"), ({"-- mysql.service": "mysql", "-- mariadb.service": "mariadb"}, "mariadb and mysql")],
)
def test_unit_does_not_guess(host, known, words):
    host.answers = {words: shown(name) for words, name in known.items()}
    host.answers["-- "] = shown("x", "not-found")
    with pytest.raises(CommandExecutionError, match=words):
        mysqld.unit()


def test_unit_of_the_pillar(host, functions):
    functions["topology.node"]()["mysql"]["unit"] = "mysqld@1.service"
    host.answers = {"-- mysqld@1.service": shown("mysqld@1")}
    assert mysqld.unit() == "mysqld@1"
    functions["topology.node"]()["mysql"]["unit"] = "x; reboot"
    with pytest.raises(SaltInvocationError):
        mysqld.unit()


def test_query_reads_rows_and_keeps_the_statement_off_the_command_line(host):
    host.answers = {"mariadb": (0, "a\tb\nx\\ty\\\\n\tNULL\n\t1\n", "")}
    assert mysqld.query("SELECT secret") == [{"a": "x\ty\\n", "b": None}, {"a": "", "b": "1"}]
    line, kwargs = host.calls[0]
    assert "secret" not in line and kwargs["stdin"] == "SELECT secret"
    assert kwargs["output_loglevel"] == "quiet"


def test_query_reads_an_empty_text_as_a_row_and_no_answer_as_none(host):
    host.answers = {"mariadb": (0, "a\n\nx\n\n", "")}
    assert mysqld.query("SELECT a") == [{"a": ""}, {"a": "x"}, {"a": ""}]
    host.answers = {"mariadb": (0, "", "")}
    assert mysqld.query("SET x = 1") == []


@pytest.mark.parametrize("answer", ["a\tb\n1\t123", "a\tb\n1\t2\n3\n", "a\tb\n1\t2\t3\n", "a"])
def test_query_refuses_an_answer_that_was_cut(host, answer):
    host.answers = {"mariadb": (0, answer, "")}
    with pytest.raises(CommandExecutionError, match="answer of mariadb is cut short"):
        mysqld.query("SELECT a, b")


def test_of_a_clients_words_without_end_the_beginning_is_quoted(host):
    host.answers = {"mariadb": (1, "", "ERROR 1064 (42000): " + "x" * 10_000_000)}
    with pytest.raises(CommandExecutionError, match="ERROR 1064") as caught:
        mysqld.query("SELECT 1")
    assert len(str(caught.value)) < 1000


def test_query_quotes_the_client_and_names_a_time_out(host):
    host.answers = {"mariadb": (1, "", "ERROR 1045 (28000): Access denied")}
    with pytest.raises(CommandExecutionError, match="ERROR 1045"):
        mysqld.query("SELECT 1")
    assert mysqld.ping() is False
    host.answers = {"mariadb": (124, "", "")}
    with pytest.raises(CommandExecutionError, match="within 7 s"):
        mysqld.query("SELECT 1", 7)


def test_ping_wants_the_answer_not_only_the_exit_code(host):
    host.answers = {"mariadb": (0, "answer\n1\n", "")}
    assert mysqld.ping() is True
    host.answers = {"mariadb": (0, "", "")}
    assert mysqld.ping() is False


def test_variables(host):
    host.answers = {"mariadb": (0, "Variable_name\tValue\ndatadir\t/var/lib/mysql/\nlog_bin_index\t\n", "")}
    assert mysqld.variables(["datadir", "log_bin_index"]) == {
        "datadir": "/var/lib/mysql/",
        "log_bin_index": "",
    }
    with pytest.raises(SaltInvocationError):
        mysqld.variables(["datadir') OR 1=1 -- "])


def test_settings(host):
    host.answers = {
        "my_print_defaults": (
            0,
            "--datadir=/data\n--loose-innodb-undo-directory=/undo\n--skip-name-resolve\n",
            "",
        ),
        "--verbose --help": (0, HELP, ""),
    }
    assert mysqld.settings() == {
        "explicit": {"datadir": "/data", "innodb_undo_directory": "/undo", "skip_name_resolve": ""},
        "effective": {"datadir": "/var/lib/mysql/", "innodb_log_group_home_dir": "./", "log_bin": None},
    }
    host.answers["--verbose --help"] = (1, "", "unknown option")
    assert mysqld.settings()["effective"] == {}
    host.answers["my_print_defaults"] = (1, "", "cannot open")
    with pytest.raises(CommandExecutionError, match="cannot open"):
        mysqld.settings()


@pytest.fixture
def process(tmp_path):
    """A real process that is called mysqld and works in its data directory."""
    datadir = tmp_path / "my data"
    datadir.mkdir()
    program = tmp_path / "mysqld"
    shutil.copy(shutil.which("sleep"), program)
    with subprocess.Popen([program, "60"], cwd=datadir) as running:
        yield running, datadir
        running.kill()


def test_processes_finds_who_uses_a_directory(process, tmp_path):
    running, datadir = process
    expected = {"pid": running.pid, "name": "mysqld", "datadir": str(datadir)}
    assert expected in mysqld.processes()
    assert mysqld.processes(str(datadir)) == [expected]
    assert mysqld.processes(str(tmp_path)) == [expected]
    link = tmp_path / "link"
    link.symlink_to(datadir)
    assert mysqld.processes(str(link)) == [expected]
    other = tmp_path / "my"
    other.mkdir()
    assert mysqld.processes(str(other)) == []


def test_processes_counts_open_files_too(tmp_path):
    program, logs = tmp_path / "mariadbd", tmp_path / "logs"
    logs.mkdir()
    shutil.copy(shutil.which("sleep"), program)
    with open(logs / "bin.000001", "w", encoding="utf-8") as stream:
        with subprocess.Popen([program, "60"], cwd="/", stdout=stream) as running:
            assert [found["pid"] for found in mysqld.processes(str(logs))] == [running.pid]
            running.kill()


def test_processes_ignores_the_dead(process):
    running, datadir = process
    running.kill()
    while open(f"/proc/{running.pid}/stat", encoding="utf-8").read().rpartition(")")[2].split()[0] != "Z":
        pass
    assert mysqld.processes(str(datadir)) == []


@pytest.mark.parametrize(
    "active, left, running",
    [("active", True, True), ("inactive", True, True), ("inactive", False, False), ("failed", False, False),
     ("deactivating", False, True)],
)  # fmt: skip
def test_status_believes_processes_more_than_systemd(host, monkeypatch, active, left, running):
    host.answers = {"systemctl": shown("mariadb", ActiveState=active, Result="success", MainPID="7")}
    found = [{"pid": 7, "name": "mariadbd", "datadir": "/var/lib/mysql"}] if left else []
    monkeypatch.setattr(mysqld, "processes", lambda directory=None: found)
    assert mysqld.status()["running"] is running


@pytest.mark.parametrize("tool", ["mbstream", "mariadb-backup"])
def test_a_backup_tool_in_its_directory_is_no_server(host, monkeypatch, tool):
    """A run that is gone on with stops the server once more, while a stream is being unpacked there or prepared."""
    found = [{"pid": 8, "name": tool, "datadir": "/var/lib/mysql"}]
    host.answers = {"systemctl": shown("mariadb", ActiveState="inactive", Result="success", MainPID="0")}
    monkeypatch.setattr(mysqld, "processes", lambda directory=None: found)
    monkeypatch.setattr(mysqld, "settings", lambda: {"explicit": {"datadir": "/var/lib/mysql"}, "effective": {}})
    now = mysqld.status()
    assert now["running"] is False and now["processes"] == found


@pytest.fixture
def stopping(host, monkeypatch):
    conditions = []
    host.answers = {"systemctl stop": (0, "", ""), "systemctl show": shown("mariadb")}
    monkeypatch.setattr(mysqld, "ping", lambda timeout=10: False)
    monkeypatch.setattr(mysqld.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(mysqld, "status", lambda: conditions.pop(0) if len(conditions) > 1 else conditions[0])
    return conditions


def condition(running, result="success", active="deactivating"):
    return {"unit": "mariadb", "active": active, "result": result, "running": running, "processes": [{"pid": 7}]}


def test_stop_waits_for_the_process(stopping):
    stopping += [condition(True), condition(True), condition(False)]
    assert mysqld.stop()["running"] is False


def test_stop_does_not_kill_and_says_so(stopping, host, monkeypatch):
    stopping += [condition(True)]
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(mysqld.time, "monotonic", lambda: next(clock))
    with pytest.raises(CommandExecutionError, match=r"\[7\].*not killed"):
        mysqld.stop(timeout=20)
    assert not [line for line, _ in host.calls if "systemctl kill" in line or "systemctl stop" in line][1:]


def test_a_stop_that_systemd_only_says_it_does_is_found_out(stopping, monkeypatch):
    """An answer of 0 and a unit that stays active: waiting for the whole time limit would tell nothing more."""
    stopping += [condition(True, active="active")]
    clock = iter(range(1000))
    monkeypatch.setattr(mysqld, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda seconds: None))
    with pytest.raises(CommandExecutionError, match="answered well, but the unit is still active"):
        mysqld.stop(timeout=900)
    assert next(clock) < 60


def test_stop_that_was_not_clean_is_no_stop(stopping):
    stopping += [condition(False, "timeout")]
    with pytest.raises(CommandExecutionError, match="not clean.*timeout"):
        mysqld.stop()


def test_stop_asks_first_where_the_data_lie(stopping, monkeypatch, host):
    def conflict():
        raise CommandExecutionError("option files say otherwise")

    monkeypatch.setattr(mysqld, "ping", lambda timeout=10: True)
    monkeypatch.setitem(mysqld.__salt__, "datalocation.locations", conflict)
    with pytest.raises(CommandExecutionError, match="say otherwise"):
        mysqld.stop()
    assert host.calls == []


def test_start_waits_for_an_answer(host, monkeypatch):
    answers = [False, False, True]
    host.answers = {"systemctl start": (0, "", ""), "systemctl show": shown("mariadb")}
    monkeypatch.setattr(mysqld, "ping", lambda timeout=10: answers.pop(0))
    monkeypatch.setattr(mysqld.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(mysqld, "status", lambda: condition(True))
    assert mysqld.start()["running"] is True and answers == []


@pytest.mark.parametrize("active", ["inactive", "failed"])
def test_a_start_that_does_not_begin_is_found_out(host, monkeypatch, active):
    host.answers = {
        "systemctl start": (0, "", ""),
        "systemctl status": (3, "No space left on device", ""),
        "systemctl show": shown("mariadb"),
    }
    clock = iter(range(1000))
    monkeypatch.setattr(mysqld, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda seconds: None))
    monkeypatch.setattr(mysqld, "ping", lambda timeout=10: False)
    monkeypatch.setattr(mysqld, "status", lambda: condition(False, active=active))
    with pytest.raises(CommandExecutionError, match=f"(?s)is {active} after its start.*No space left"):
        mysqld.start(timeout=900)
    assert next(clock) < 60


def test_a_start_that_takes_its_time_is_waited_for(host, monkeypatch):
    """Crash recovery: the unit is activating for longer than a unit needs to begin."""
    host.answers = {"systemctl start": (0, "", ""), "systemctl show": shown("mariadb")}
    clock, answers = iter(range(0, 10000, 5)), [False] * 30 + [True]
    monkeypatch.setattr(mysqld, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda seconds: None))
    monkeypatch.setattr(mysqld, "ping", lambda timeout=10: answers.pop(0))
    monkeypatch.setattr(mysqld, "status", lambda: condition(True, active="activating"))
    assert mysqld.start(timeout=900)["running"] is True


def test_start_quotes_systemd(host):
    host.answers = {
        "systemctl start": (1, "", "Job for mariadb.service failed"),
        "systemctl status": (3, "InnoDB: redo log is corrupt", ""),
        "systemctl show": shown("mariadb"),
    }
    with pytest.raises(CommandExecutionError, match="(?s)Job for.*redo log is corrupt"):
        mysqld.start()


@pytest.mark.parametrize("timeout", [0, -1, "60", True, None])
def test_timeout_must_be_seconds(timeout):
    with pytest.raises(SaltInvocationError):
        mysqld.stop(timeout)
