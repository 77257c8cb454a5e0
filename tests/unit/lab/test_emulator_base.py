"""The emulator's base: SQL through the client program, positions, faults on order, the shared state."""

import json
import subprocess

import pytest

from tests.lab.emulator import config, db, faults, run, server

HOST = "east1"


@pytest.fixture(autouse=True)
def configured(tmp_path, monkeypatch):
    secret = tmp_path / "emulator.cnf"
    secret.write_text("[client]\nuser=tungsten\npassword=lab-only\n")
    (tmp_path / "shared").mkdir()
    path = tmp_path / "emulator.json"
    path.write_text(
        json.dumps(
            {
                "host": HOST,
                "delays": {},
                "shared": str(tmp_path / "shared"),
                "mysql_defaults": str(secret),
                "sites": {
                    "east": {"domain": 1, "nodes": ["east1", "east2"], "primary": "east1"},
                    "west": {"domain": 2, "nodes": ["west1"], "primary": "west1"},
                },
            }
        )
    )
    monkeypatch.setenv("TUNGSTEN_EMULATOR_CONFIG", str(path))


def _client(monkeypatch, rc=0, out="", err=""):
    calls = []

    def spawn(argv, **options):
        calls.append((argv, options))
        return subprocess.CompletedProcess(argv, rc, out, err)

    monkeypatch.setattr(db.subprocess, "run", spawn)
    return calls


def test_query_gives_rows_with_the_clients_escapes_undone(monkeypatch):
    calls = _client(monkeypatch, out="a\tb\nx\\ty\\nz\tNULL\n\\\\n\t\n")
    assert db.query("east2", "SELECT 1") == [{"a": "x\ty\nz", "b": None}, {"a": "\\n", "b": ""}]
    argv, options = calls[0]
    assert options["input"] == "SELECT 1"
    assert argv[argv.index("-h") + 1] == "east2"
    assert not any("lab-only" in word for word in argv)


def test_own_server_is_reached_without_the_network(monkeypatch):
    calls = _client(monkeypatch)
    assert db.query(HOST, "SELECT 1") == []
    assert calls[0][0][calls[0][0].index("-h") + 1] == "127.0.0.1"


@pytest.mark.parametrize(
    ("rc", "err", "error"),
    [
        (1, "ERROR 2002 (HY000): Can't connect to server on 'east1' (115)", db.DbDown),
        (1, "ERROR 1045 (28000): Access denied", db.DbDown),
        (124, "", db.DbDown),
        (1, "ERROR 1064 (42000) at line 1: You have an error in your SQL syntax", db.DbError),
    ],
)
def test_no_server_is_told_from_a_refused_statement(rc, err, error, monkeypatch):
    _client(monkeypatch, rc=rc, err=err)
    with pytest.raises(error):
        db.query(HOST, "SELECT 1")


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("", -1),
        (None, -1),
        ("2-201-7", -1),
        ("1-101-1", 0),
        ("2-201-7,1-101-12", 11),
        ("2-201-7, 1-101-12", 11),
    ],
)
def test_seqno_counts_from_zero_in_its_own_domain(position, expected):
    assert server.seqno(position, 1) == expected


def test_a_reset_keeps_the_positions_of_the_other_domains_and_the_other_connections_running(monkeypatch):
    said = []

    def query(host, sql, timeout=20):
        said.append(sql)
        if sql == "SHOW ALL SLAVES STATUS":
            return [
                {"Connection_name": "west", "Slave_IO_Running": "Yes", "Slave_SQL_Running": "Yes"},
                {"Connection_name": "idle", "Slave_IO_Running": "No", "Slave_SQL_Running": "No"},
            ]
        return [{"p": "1-101-9,2-201-7"}] if "gtid_slave_pos" in sql and "SELECT" in sql else []

    monkeypatch.setattr(db, "query", query)
    server.Server(HOST).set_position(1, empty_binlog=True)
    assert said[1] == "STOP ALL SLAVES"
    assert said[3:] == ["RESET MASTER; SET GLOBAL gtid_slave_pos = '2-201-7'", "START SLAVE 'west'"]


def _order(*rules):
    config.write_state(config.shared("faults.json"), list(rules))


def _call(*words):
    done = []
    rc = run.tool("trepctl", list(words), lambda: done.append(True) or 0)
    return rc, bool(done)


def test_without_faults_the_work_is_done_and_recorded():
    assert _call("-service", "east", "reset") == (0, True)
    record = json.loads(config.shared("calls.jsonl").read_text())
    assert (record["host"], record["tool"], record["words"], record["rc"]) == (
        HOST,
        "trepctl",
        ["-service", "east", "reset"],
        0,
    )


@pytest.mark.parametrize(
    ("how", "rc", "printed"),
    [
        ("fail", 1, "Operation failed: null\n"),
        ("lie", 0, ""),
    ],
)
def test_a_fault_takes_the_place_of_the_work_as_often_as_ordered(how, rc, printed, capsys):
    _order({"host": HOST, "tool": "trepctl", "words": "reset east", "how": how, "times": 1})
    assert _call("-service", "east", "status") == (0, True)
    assert _call("-service", "east", "reset") == (rc, False)
    assert capsys.readouterr().out == printed
    assert _call("-service", "east", "reset") == (0, True)


def test_a_fault_without_times_holds_and_one_of_another_host_does_not():
    _order({"host": "west1", "how": "fail"}, {"host": "*", "how": "lie"})
    assert [_call("reset"), _call("reset")] == [(0, False), (0, False)]


def test_garbage_cannot_be_decoded(capfdbinary):
    _order({"host": "*", "how": "garbage"})
    assert _call("status") == (0, False)
    with pytest.raises(UnicodeDecodeError):
        capfdbinary.readouterr().out.decode()


def test_hanging_lasts(monkeypatch):
    slept = []
    monkeypatch.setattr(faults.time, "sleep", slept.append)
    _order({"host": "*", "how": "hang"})
    assert _call("status") == (1, False)
    assert 3600 in slept


@pytest.mark.parametrize(
    ("place", "which"),
    [
        ("/opt/continuent/tungsten/tungsten-replicator/bin/trepctl", "cluster"),
        ("/opt/replicator/tungsten/tungsten-replicator/bin/trepctl", "cross_site"),
    ],
)
def test_the_place_of_the_file_decides_which_replicator_is_meant(place, which):
    assert config.which(place) == which


def test_the_primary_is_the_managers_and_before_it_ran_the_planned_one():
    assert config.primary("east") == "east1"
    config.write_state(config.shared("east", "manager.json"), {"primary": "east2"})
    assert config.primary("east") == "east2"


def test_who_looks_does_not_wait_for_who_works():
    path = config.shared(HOST, "operation")
    with config.locked(path), config.locked(path, shared_lock=True, wait=False) as free:
        assert free is False
    with config.locked(path, shared_lock=True), config.locked(path, shared_lock=True, wait=False) as free:
        assert free is True
