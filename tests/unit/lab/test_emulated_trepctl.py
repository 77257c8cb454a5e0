"""The emulated trepctl and replicator against recordings of real ones: same exit code, same shape of stdout.

The real one was a 4.1.0 with two database servers: ``/opt/continuent`` (db1: service east, master),
``/opt/continuent2`` (db2: east slave, west master) and ``/opt/replicator`` (on db1: west slave, cross-site).
"""

import io
import json
import re
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from tests.lab.emulator import client, config, db, replicator, server, status, trepctl, wrapper

FIXTURE = Path(__file__).parents[2] / "fixtures" / "trepctl-recordings.jsonl"
RECORDINGS = {each["name"]: each for each in map(json.loads, FIXTURE.read_text().splitlines())}

# Recordings that the emulation does not follow, by the number their name begins with.
LEFT_OUT = {
    "053": "all properties: their set is that of the installed files; 051 holds the form",
    "310": "a port where something listens and never answers (a hang is a fault on order)",
    "313": "a replicator stopped by SIGSTOP: the emulated one has no process (a hang is a fault on order)",
    "333": "JAVA_HOME of the client: there is no Java",
    "335": "log4j's complaint for other OS users: there is no Java",
    "336": "JAVA_TOOL_OPTIONS: there is no Java",
    "338": "services.properties missing: the emulation reads none",
    "340": "thl is not emulated",
    "341": "thl is not emulated",
    "343": "multi_trepctl is not emulated",
    "345": "tungsten_provision_slave is not emulated (tprovision, its successor, is)",
    "346": "tungsten_set_position is not emulated",
}
PORTS = {"20000": "10000", "20001": "10001", "20010": "10000", "20020": "10002"}


class Killed(Exception):
    """The recorder lost its patience."""


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self, limit=60.0):
        self.now, self.limit, self.at_second = 1795427843.0, limit, {}
        self.started = self.now

    def time(self):
        return self.now

    monotonic = time

    def sleep(self, seconds):
        self.now += seconds
        passed = self.now - self.started
        if passed > self.limit:
            raise Killed
        for second in [each for each in self.at_second if each <= passed]:
            self.at_second.pop(second)()


class FakeServer(server.Server):
    """A database server in memory; ``world[host]`` tells what is in it."""

    world: ClassVar = {}

    def _query(self, sql, timeout=20):
        raise AssertionError(f"SQL from a test without a database: {sql}")

    @property
    def data(self):
        if not self.world[self.host]["up"]:
            raise db.DbDown(f"{self.host}: ERROR 2002 (HY000): Can't connect")
        return self.world[self.host]

    def written(self, domain):
        return self.data["written"].get(domain, -1), "mysql-bin.000002:0000000000001208;-1"

    def applied(self, domain):
        return self.data["applied"].get(domain, -1)

    def connections(self):
        return self.data["connections"]

    def clients(self):
        return self.data["clients"]

    def connect(self, name, source, domain):
        self.data["connections"][name] = {
            "Slave_IO_Running": "Yes",
            "Slave_SQL_Running": "Yes",
            "Last_IO_Errno": "0",
            "Last_IO_Error": "",
            "Last_SQL_Errno": "0",
            "Last_SQL_Error": "",
            "Seconds_Behind_Master": "0",
            "Master_Host": source,
            "Relay_Master_Log_File": "mysql-bin.000002",
            "Exec_Master_Log_Pos": "929",
            "Gtid_IO_Pos": f"{domain}-1-5",
            **self.data["met"].get(name, {}),
        }
        self.data["applied"][domain] = 4

    def stop(self, name):
        if name in self.connections():
            self.data["connections"][name].update(Slave_IO_Running="No", Slave_SQL_Running="No")

    def disconnect(self, name):
        self.data["connections"].pop(name, None)

    def set_position(self, domain, gtid=None, empty_binlog=False):
        self.data["applied"].pop(domain, None)
        if empty_binlog:
            self.data["written"].clear()

    def skip(self, domain, number):
        self.data["met"].clear()

    def track(self, service, number, source, event):
        self.data["tracking"].add(service)

    def heartbeat(self, service, source, name):
        domain = config.domain(service)
        self.data["written"][domain] = self.data["written"].get(domain, -1) + 1

    def drop_tracking(self, service):
        self.data["tracking"].discard(service)

    def purge(self):
        return 1


class Lab:
    """The three replicators of the recordings."""

    def __init__(self):
        self.r1, self.r2, self.mm = (
            replicator.Replicator("db1", "cluster"),
            replicator.Replicator("db2", "cluster"),
            replicator.Replicator("db1", "cross_site"),
        )
        self.world = FakeServer.world
        for each in (self.r1, self.r2, self.mm):
            each.start()
            for service in each.services():
                service.status()

    def down(self, host="db1"):
        self.world[host]["up"] = False

    def fail(self, **row):
        """The slave east on db2 meets an error, and will again when it goes online."""
        self.world["db2"]["met"]["east"] = {
            "Slave_SQL_Running": "No",
            "Last_SQL_Errno": "1062",
            "Last_SQL_Error": "Duplicate entry '500' for key 'PRIMARY'",
            **row,
        }
        self.east2.offline()
        self.east2._change(settling=None)
        self.east2.online()

    @property
    def east(self):
        return replicator.Service("db1", "cluster", "east")

    @property
    def east2(self):
        return replicator.Service("db2", "cluster", "east")

    @property
    def west(self):
        return replicator.Service("db1", "cross_site", "west")


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (client, trepctl, replicator, status):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """One configuration per host; returns a function that makes the test stand on a host."""
    sites = {
        "east": {"domain": 1, "nodes": ["db1", "db2"], "primary": "db1"},
        "west": {"domain": 2, "nodes": ["db3"], "primary": "db2"},
    }
    secret = tmp_path / "emulator.cnf"
    secret.write_text("[client]\nuser=tungsten\npassword=lab-only\n")
    (tmp_path / "shared").mkdir()

    def stand_on(host):
        path = tmp_path / f"{host}.json"
        path.write_text(
            json.dumps(
                {
                    "host": host,
                    "sites": sites,
                    "delays": {},
                    "shared": str(tmp_path / "shared"),
                    "mysql_defaults": str(secret),
                }
            )
        )
        monkeypatch.setenv("TUNGSTEN_EMULATOR_CONFIG", str(path))

    stand_on("db1")
    return stand_on


@pytest.fixture
def lab(configured, clock, monkeypatch):
    monkeypatch.setattr(replicator, "Server", FakeServer)
    monkeypatch.setattr(trepctl, "Server", FakeServer)
    # The recorded db2 had both services in one replicator.
    plain = replicator.Replicator.names
    monkeypatch.setattr(
        replicator.Replicator, "names", lambda self: ["east", "west"] if self.host == "db2" else plain(self)
    )
    monkeypatch.setattr(
        FakeServer,
        "world",
        {
            host: {
                "up": True,
                "written": {1: 4, 2: 2},
                "applied": {},
                "connections": {},
                "clients": ["127.0.0.1"],
                "met": {},
                "tracking": set(),
            }
            for host in ("db1", "db2", "db3")
        },
    )
    return Lab()


def _no_services(lab, monkeypatch):
    monkeypatch.setattr(replicator.Replicator, "names", lambda self: [])


def _master_reset(lab):
    lab.east.offline()
    lab.east.reset()
    lab.east.online()
    lab.world["db2"]["connections"]["east"].update(
        Slave_IO_Running="No", Last_IO_Errno="1236", Last_IO_Error="Got fatal error 1236 from master"
    )


def _dbdown_after(lab, deed):
    lab.down()
    with pytest.raises(replicator.Refused):
        deed(lab.east)


def _refused_online(lab):
    lab.east.offline()
    _dbdown_after(lab, lambda east: east.online())


def _half_reset(lab, online=False):
    lab.east.offline()
    lab.down()
    lab.east.reset()
    lab.world["db1"]["up"] = True
    if online:
        lab.east.online()


def _restart_offline(each):
    each.stop()
    each.start(offline=True)


# How the recorded replicators stood at a recording, the first match of its name or context counting.
SITUATIONS = (
    (r"empty-load-west-file-back", lambda lab: lab.west.unload()),
    (r"with no service configured", None),
    (
        r"mm starts . s after trepctl|process is not running|was killed by trepctl|after trepctl kill",
        lambda lab: lab.mm.stop(),
    ),
    (r"just started with 'offline'", lambda lab: _restart_offline(lab.mm)),
    (r"its one service east unloaded", lambda lab: lab.east.unload()),
    (r"dbdown-status-master-later", lambda lab: _dbdown_after(lab, lambda east: east.heartbeat())),
    (r"dbdown-status-after-online|status-login-refused", _refused_online),
    (r"target database was shut down|its database was shut down", lambda lab: lab.down()),
    (r"halfreset-online", _half_reset),
    (r"halfreset-status", lambda lab: _half_reset(lab, online=True)),
    (r"login-refused", lambda lab: (lab.east.offline(), lab.down())),
    (r"slave after its master was reset|status-json-slave-after-master-reset", _master_reset),
    (
        r"online-slave-after-reset",
        lambda lab: (lab.east2.offline(), lab.east2._change(settling=None), lab.east2.reset()),
    ),
    (r"after-skip|stuck-status$|stuck-status-while|stuck-services", lambda lab: None),
    (r"stuck-status-after", lambda lab: (lab.east2.offline(), lab.east2._change(settling=None))),
    (r"sync-wait-online-master-back", lambda lab: None),
    (
        r"THL listener is down.*before: OFFLINE:NORMAL",
        lambda lab: (lab.east.offline(), lab.east2.offline(), lab.east2._change(settling=None)),
    ),
    (r"THL listener is down", lambda lab: lab.east.offline()),
    (r"error\d?-", lambda lab: lab.fail()),
    (r"status-after-online-until-seqno-past", lambda lab: lab.east.offline()),
    (r"OFFLINE:NORMAL", lambda lab: lab.east.offline()),
    (r"", lambda lab: None),
)


def _shape(text):
    """What has to be alike: lines, keys and their order, words; of values only the telling ones."""
    shape = []
    for line in text.splitlines():
        if line.startswith("{"):
            shape.append(("json", _record(json.loads(line))))
        elif re.match(r" {25}", line):
            continue  # the rest of a message of several lines
        elif match := re.match(r"([A-Za-z][\w.]*) *: (.*)", line):
            key, value = match[1], match[2]
            shape.append(("row", line[: match.start(2)], value if key in TELLING else None))
        else:
            shape.append(("line", _words(line)))
    if "shardId" in str(shape):
        # As many shards as there are schemas.
        shape = [each for number, each in enumerate(shape) if each not in [*shape[:number], ("line", ",")]]
    return shape


TELLING = ("role", "serviceName", "started", "state", "serviceType", "channels", "stage", "storeClass")


def _record(row):
    assert all(isinstance(value, str) for value in row.values())
    return {key: row[key] if key in TELLING else None for key in sorted(row)}


def _words(line):
    line = re.sub(r"Tungsten Replicator \d.*", "Tungsten Replicator V", line)
    line = re.sub(r"\d+(\.\d+){3}:\d+", "ADDRESS", line)
    return re.sub(r"\d+", "N", line)


def _arguments(argv):
    words = list(argv[1:])
    for number, word in enumerate(words):
        if number and words[number - 1] == "-port":
            words[number] = PORTS.get(word, word)
    return words


@pytest.mark.parametrize("name", [name for name in RECORDINGS if name.split("-")[0] not in LEFT_OUT])
def test_answers_as_recorded(name, lab, configured, clock, monkeypatch, capsys):
    recorded = RECORDINGS[name]
    program = recorded["argv"][0].replace("/opt/continuent2/", "/opt/continuent/")
    about = f"{name}; {recorded['context']}"
    situation = next(prepare for pattern, prepare in SITUATIONS if re.search(pattern, about))
    if situation:
        situation(lab)
    else:
        _no_services(lab, monkeypatch)
    if "continuent2" in recorded["argv"][0]:
        configured("db2")
    if "mm starts" in recorded["context"]:
        clock.at_second[recorded["stdout"].split("\n")[0].count(".")] = lab.mm.start
    stdin = {"<devnull>": io.StringIO(""), "<closed>": None}.get(
        recorded["stdin"], io.StringIO(recorded["stdin"])
    )
    monkeypatch.setattr(sys, "stdin", stdin)
    clock.started = clock.now
    if isinstance(recorded["rc"], str):
        clock.limit = 8
    capsys.readouterr()

    tool = {"trepctl": trepctl, "replicator": wrapper}[Path(program).name]
    try:
        rc = tool.main(_arguments(recorded["argv"]), program)
    except Killed:
        rc = "killed by the recorder after 8s"

    printed = capsys.readouterr()
    assert (rc, _shape(printed.out)) == (recorded["rc"], _shape(recorded["stdout"])), printed.out
    assert printed.err == ""


def test_what_is_left_out_exists_and_has_a_reason():
    numbers = {name.split("-")[0] for name in RECORDINGS}
    assert set(LEFT_OUT) <= numbers
    assert len(LEFT_OUT) < len(RECORDINGS) / 10
    assert all(LEFT_OUT.values())


def test_help_is_the_real_one(lab, capsys):
    assert trepctl.main(["help"], "/opt/continuent/tungsten/tungsten-replicator/bin/trepctl") == 0
    assert capsys.readouterr().out == RECORDINGS["036-help"]["stdout"]
