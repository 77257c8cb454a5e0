"""The emulated manager side: the boxes of cctrl, its replies and refusals, the manager's daemon."""

import io
import json
import os
import re
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from tests.lab.emulator import box, cctrl, config, db, listing, manager, replicator, tprovision

# The fixtures put fakes in the places of these.
SERVICE, REPLICATOR = replicator.Service, replicator.Replicator
SAMPLES = Path(__file__).resolve().parents[2] / "fixtures" / "cctrl" / "generated"
TIME = "2025/01/24 02:59:42 PM UTC"
AWS = "ip-10-20-30-41.us-east-1.compute.internal"
AWS_MASTER = "ip-10-20-30-42.us-east-1.compute.internal"
SHUNNED = {"state": "SHUNNED", "shun_reason": "MANUALLY-SHUNNED", "alert": "SHUNNED"}


def source(name, role="slave", state="ONLINE", master="east1", replicator_state="ONLINE", **other):
    line = {"role": "master" if role == "master" else "slave", "state": replicator_state}
    if role != "master":
        line["master"] = master
    return {
        "name": name, "role": role, "state": state, "alert": "OK", "time": TIME, "manager": "ONLINE",
        "replicator": line, "dataserver": "ONLINE", "created": 0, "active": 0,
        "progress": 104, "latency": 0.194, **other,
    }  # fmt: skip


EAST1 = source("east1", "master", latency=0.561, created=3, active=1)
EAST3 = source("east3", created=8)
WEST3 = source("west3", master="west1", **SHUNNED)
FQDN = "db01.west.prod.example.com"
STOPPED = {"last_error": "DATASERVER 'east3@east' STOPPED", "alert_reason": "DATASERVER 'east3@east' STOPPED"}
BOTH_WIDTHS = {
    "master-online": EAST1,
    "slave-online": source("east2", latency=1.243),
    "slave-online-with-ssl-replication": source("east2", latency=1.243, ssl=True),
    "slave-failed": {**EAST3, **STOPPED, "state": "FAILED", "alert": "CRITICAL", "dataserver": "STOPPED"},
    "slave-offline": source("east3", created=8, state="OFFLINE", alert="WARN", replicator_state="OFFLINE"),
    "slave-online-replicator-offline-error-suspect": source(
        "east3", created=8, alert="DIMINISHED", alert_reason="REPLICATOR SUSPECT", replicator_state="SUSPECT"
    ),
    "slave-online-replicator-going-online-synchronizing": source(
        "east3", created=8, alert="DIMINISHED", replicator_state="SYNCHRONIZING"
    ),
    "slave-shunned-manually-shunned-replicator-online": {**WEST3, "progress": 5871, "latency": 0.412},
    "slave-shunned-manually-shunned-mysqld-stopped-replicator-off": source(
        "west3", master="west1", progress=-1, latency=-1, dataserver="STOPPED", replicator_state="OFFLINE",
        **SHUNNED,
    ),
    "master-shunned-manually-shunned-replicator-offline-normal": source(
        "east1", "master", latency=-1, replicator_state="OFFLINE", **SHUNNED
    ),
    "master-shunned-failed-over-to-east2": source(
        "east1", "master", latency=0.561, replicator_state="SUSPECT", dataserver="STOPPED",
        **{**SHUNNED, "shun_reason": "FAILED-OVER-TO-east2"},
    ),
    "ordinary-fqdn": source(
        FQDN, master="db02.west.prod.example.com", progress=123456789, latency=1.243, created=12, active=3,
        **SHUNNED,
    ),
    "fqdn-online": source(FQDN, "master", progress=5871, latency=0.412),
    "archive-precedence-1": source("east3", archive=True),
    "relay-online": {
        **source("east1", "relay", latency=0.561, created=3, active=1),
        "replicator": {"role": "relay", "master": "west1", "state": "ONLINE"},
    },
    "vip": {**EAST1, "progress": 472712251, "vip": "eth0:0:10.5.6.7"},
    "witness": {"name": "east4", "role": "witness", "state": "ONLINE", "manager": "ONLINE"},
    "composite-master": {
        "name": "east", "role": "master", "state": "ONLINE", "composite": True, "alert": "OK", "time": TIME
    },
}  # fmt: skip
ONLY_75 = {
    "aws-name-manually-shunned-closing-bracket-lost": source(
        AWS, master=AWS_MASTER, progress=5871, latency=0.412, **SHUNNED
    ),
    "fqdn-failed-over-reason-cut": source(
        FQDN, "master", progress=5871, latency=0.412, replicator_state="OFFLINE",
        **{**SHUNNED, "shun_reason": "FAILED-OVER-TO-db02.west.prod.example.com"},
    ),
    "fqdn-host-wrapped-header": source(
        f"{AWS}-db-primary-01.example.com", master=AWS_MASTER, progress=123456789, latency=12345.678,
        created=1234567, active=1234, **SHUNNED,
    ),
    "shunned-with-a-last-error-as-well-reason-after-error": source(
        "east1", "master", latency=0.561, replicator_state="SUSPECT", dataserver="STOPPED",
        last_error="DATASERVER 'east1@east' STOPPED", **{**SHUNNED, "shun_reason": "FAILED-OVER-TO-east2"},
    ),
    "manager-down": source(
        "east3", alert="UNKNOWN", manager="STOPPED", dataserver="UNKNOWN", progress=None
    ) | {"replicator": {"state": "STATUS NOT AVAILABLE"}},
    "replicator-process-stopped-manager-up": source(
        "east3", alert="DIMINISHED", alert_reason="REPLICATOR STOPPED", progress=None, created=195
    ) | {"replicator": {"state": "STOPPED"}},
}  # fmt: skip


@pytest.mark.parametrize("width, name, properties", [
    *((width, name, each) for width in (75, 80) for name, each in BOTH_WIDTHS.items()),
    *((75, name, each) for name, each in ONLY_75.items()),
])  # fmt: skip
def test_a_block_is_the_vendors_byte_for_byte(width, name, properties):
    assert box.datasource(properties, width) == (SAMPLES / f"w{width}-{name}.txt").read_text()


@pytest.mark.parametrize("width", [75, 80])
def test_ls_l_is_the_vendors_byte_for_byte(width):
    tables = [
        ("east2(slave:ONLINE, progress=104, latency=1.243)", {
            "alertMessage": "", "alertStatus": "OK", "alertTime": 1737730782000, "dataServiceName": "east",
            "host": "east2", "isComposite": "false", "lastError": "", "lastShunReason": "", "name": "east2",
            "precedence": 99, "role": "slave", "state": "ONLINE", "vipIsBound": "false",
        }),
        ("east2:REPLICATOR(role=slave, state=ONLINE)", {
            "appliedLastSeqno": 104, "appliedLatency": 1.243, "host": "east2",
            "masterConnectUri": "thl://east1:2112/", "relativeLatency": -1.0, "role": "slave",
            "state": "ONLINE", "useSSLConnection": "false",
        }),
        ("east2:DATASERVER(state=ONLINE)", {"state": "ONLINE"}),
    ]  # fmt: skip
    assert box.details(tables, width) == (SAMPLES / f"w{width}-ls-l-details-slave.txt").read_text()


# --- a site whose servers and replicators are here


class FakeSite:
    """In place of servers and replicators: which are down, and what was asked of them."""

    def __init__(self):
        self.down, self.stopped, self.states, self.asked = set(), set(), {}, []

    def service(self, host, which, name):
        service = create_autospec(SERVICE, instance=True)
        service.state.side_effect = lambda: self.states.get(host, "ONLINE")
        service.status.side_effect = lambda: {
            "role": "master" if host == config.primary(name) else "slave",
            "state": self.states.get(host, "ONLINE"), "appliedLastSeqno": "7", "appliedLatency": "0.5",
        }  # fmt: skip
        service.entry = {"intent": "ONLINE" if self.states.get(host, "ONLINE") == "ONLINE" else "OFFLINE"}
        for verb in ("online", "offline", "heartbeat"):
            getattr(service, verb).side_effect = lambda verb=verb: self._act(host, verb)
        return service

    def _act(self, host, verb):
        self.asked.append((host, verb))
        if verb != "heartbeat":
            self.states[host] = {"online": "ONLINE", "offline": "OFFLINE:NORMAL"}[verb]

    def replicator(self, host, which):
        process = create_autospec(REPLICATOR, instance=True)
        process.running = host not in self.stopped
        process.services.return_value = []
        return process

    def query(self, host, sql, timeout=20):
        if host in self.down:
            raise db.DbDown(f"{host}: ERROR 2003")
        return [{"1": "1"}]


def configure(tmp_path, monkeypatch, host="east1", **other):
    path = tmp_path / "emulator.json"
    path.write_text(json.dumps({
        "host": host, "site": "east", "shared": str(tmp_path / "shared"), "mysql_defaults": "/nonexistent",
        "sites": {
            "east": {"domain": 1, "nodes": ["east1", "east2", "east3"], "primary": "east1"},
            "west": {"domain": 2, "nodes": ["west1", "west2"], "primary": "west1"},
        },
        **other,
    }))  # fmt: skip
    monkeypatch.setenv("TUNGSTEN_EMULATOR_CONFIG", str(path))
    monkeypatch.setattr(config, "_loaded", None)


@pytest.fixture
def site(tmp_path, monkeypatch):
    configure(tmp_path, monkeypatch)
    for host in ("east1", "east2", "east3"):
        (tmp_path / "shared" / host).mkdir(parents=True)
        (tmp_path / "shared" / host / "manager.alive").touch()
    fake = FakeSite()
    monkeypatch.setattr(replicator, "Service", fake.service)
    monkeypatch.setattr(replicator, "Replicator", fake.replicator)
    monkeypatch.setattr(db, "query", fake.query)
    monkeypatch.setattr(cctrl, "later", lambda seconds, work: work())
    return fake


@pytest.fixture
def run(site, monkeypatch, capsys):
    def run(*lines, argv=("-expert",), rc=0):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        assert cctrl.main(list(argv)) == rc
        return capsys.readouterr().out

    return run


def policy(word):
    manager.set_policy("east", word)


def state_of(host):
    return manager.state("east")["datasources"][host]["state"]


PROMPT = "[LOGICAL:EXPERT] /east > "


def test_a_piped_session_looks_like_the_shared_line_reader(run):
    assert run("set policy maintenance", "set force true") == (
        "Tungsten Clustering (for MySQL) 7.0.3 build 141\n"
        "connect to 'east@east1'\neast: session established\n"
        f"{PROMPT}policy mode is now MAINTENANCE\n{PROMPT}FORCE: true\n{PROMPT}\nExiting...\n"
    )


def test_with_jline_the_typed_line_is_echoed(run, tmp_path, monkeypatch):
    configure(tmp_path, monkeypatch, prompt="jline")
    text = run("set policy maintenance")
    assert f"{PROMPT}set policy maintenance\npolicy mode is now MAINTENANCE\n{PROMPT}\nExiting...\n" in text


def test_ls_prints_the_boxes(run):
    text = run("router connector@east2 offline", "ls")
    assert f"{PROMPT}\nCOORDINATOR[east1:AUTOMATIC:ONLINE]\n\nROUTERS:\n{box.rule(80)}\n" in text
    assert re.search(r"^\|connector@east2\[\d+\]\(OFFLINE, created=0, active=0\) +\|$", text, re.MULTILINE)
    assert "|east1(master:ONLINE, progress=7, THL latency=0.500) " in text
    assert "|  REPLICATOR(role=slave, master=east1, state=ONLINE) " in text
    assert {len(line) for line in text.splitlines() if line.startswith(("|", "+"))} == {83}


def test_ls_in_narrow_boxes_and_of_one_host(run, tmp_path, monkeypatch):
    configure(tmp_path, monkeypatch, box=75)
    text = run("ls east3")
    assert "|east3(slave:ONLINE" in text and "east2" not in text and "ROUTERS" not in text
    assert {len(line) for line in text.splitlines() if line.startswith(("|", "+"))} == {78}


def test_ls_maps_the_replicators_states_and_reads_the_servers(run, site, tmp_path):
    site.states["east2"] = "OFFLINE:ERROR"
    site.stopped.add("east1")
    site.down.add("east1")
    os.utime(tmp_path / "shared" / "east3" / "manager.alive", (0, 0))
    text = run("ls")
    assert "|  REPLICATOR(state=STOPPED) " in text and "|  DATASERVER(state=STOPPED) " in text
    assert "state=SUSPECT) " in text and "|REASON[REPLICATOR SUSPECT] " in text
    assert "|east3(slave:ONLINE) " in text and "|  MANAGER(state=STOPPED) " in text
    assert "|  REPLICATOR(state=STATUS NOT AVAILABLE) " in text


@pytest.mark.parametrize("state, shown", [
    ("ONLINE", "ONLINE"), ("OFFLINE:NORMAL", "OFFLINE"), ("OFFLINE:ERROR", "SUSPECT"),
    ("GOING-ONLINE:SYNCHRONIZING", "SYNCHRONIZING"), ("GOING-OFFLINE", "UNKNOWN"),
    ("OFFLINE:BACKUP", "BACKUP"),
])  # fmt: skip
def test_the_state_of_a_replicator_is_mapped(run, site, state, shown):
    site.states["east2"] = state
    assert f"REPLICATOR(role=slave, master=east1, state={shown})" in run("ls east2")


def test_a_composite_installation_shows_itself(run, tmp_path, monkeypatch):
    configure(tmp_path, monkeypatch, composite=True)
    text = run("ls")
    assert "\n   west:COORDINATOR[" in text and "|east(composite master:ONLINE) " in text
    assert "global" in run("ls", argv=("-expert", "-multi"))


def test_without_its_manager_it_cannot_be_used(run, tmp_path):
    os.utime(tmp_path / "shared" / "east1" / "manager.alive", (0, 0))
    assert "Unable to connect to the manager" in run("ls", rc=1)


@pytest.mark.parametrize("line", [
    "frobnicate", "datasource east9 shun", "set policy sometimes", "router east9 offline", "datasource east1",
    "cluster explode", "replicator east2 sideways",
])  # fmt: skip
def test_a_command_that_fails_says_so_and_the_exit_code_does_not(run, line):
    before = manager.state("east")
    text = run(line)
    assert text.split(PROMPT)[1].strip()
    assert manager.state("east") == before


def test_several_commands_stand_on_one_line(run):
    text = run("set policy manual; router * offline")
    assert "policy mode is now MANUAL" in text
    assert {router["state"] for router in manager.state("east")["routers"].values()} == {"OFFLINE"}


def test_shun_and_recover_outside_automatic_end_offline_until_told(run, site):
    policy("MAINTENANCE")
    site.states["east2"] = "OFFLINE:NORMAL"
    text = run("datasource east2 shun", "datasource east2 online", "datasource east2 recover")
    assert f"{PROMPT}DataSource 'east2' set to SHUNNED\n" in text
    assert f"{PROMPT}DataSource 'east2' is now OFFLINE\n" in text
    assert state_of("east2") == "OFFLINE" and not site.asked
    run("datasource east2 online")
    assert state_of("east2") == "ONLINE" and site.asked == [("east2", "online")]


def test_recover_in_automatic_brings_all_back(run, site):
    manager.shun("east", "east2")
    site.states["east2"] = "OFFLINE:NORMAL"
    text = run("datasource east2 recover")
    assert "RECOVERING 'east2@east' TO A SLAVE USING 'east1@east' AS THE MASTER\n" in text
    assert "RECOVERY OF 'east2@east' WAS SUCCESSFUL\n" in text
    assert state_of("east2") == "ONLINE" and site.states["east2"] == "ONLINE"


@pytest.mark.parametrize("host, verb", [("east2", "recover"), ("east2", "online")])
def test_nothing_comes_back_without_its_server(run, site, host, verb):
    with manager.changed("east") as known:
        known["datasources"][host]["state"] = "OFFLINE"
    site.down.add(host)
    assert "Exception" in run(f"datasource {host} {verb}")
    assert state_of(host) == "OFFLINE"


def test_the_primary_is_shunned_and_welcomed_by_force_in_the_same_session(run):
    policy("MAINTENANCE")
    run("set force true")
    assert "DENIED" in run("datasource east1 shun") and state_of("east1") == "ONLINE"
    run("set force true", "datasource east1 shun")
    assert state_of("east1") == "SHUNNED"
    assert "DENIED" in run("datasource east1 welcome") and state_of("east1") == "SHUNNED"
    assert "FAILED" in run("datasource east1 recover") and state_of("east1") == "SHUNNED"
    run("set force true", "datasource east1 welcome")
    assert state_of("east1") == "OFFLINE"
    run("datasource east1 online")
    assert state_of("east1") == "ONLINE" and manager.state("east")["primary"] == "east1"


def test_an_order_to_a_replicator_is_carried_out_later(run, site, monkeypatch):
    waiting = []
    monkeypatch.setattr(cctrl, "later", lambda seconds, work: waiting.append(work))
    run("replicator east2 offline")
    assert not site.asked
    waiting[0]()
    assert site.asked == [("east2", "offline")]


def test_heartbeat_is_the_primarys(run, site):
    run("cluster heartbeat")
    assert site.asked == [("east1", "heartbeat")]


def test_a_fault_takes_the_place_of_one_command(run, site, tmp_path):
    (tmp_path / "shared" / "faults.json").write_text(json.dumps(
        [{"tool": "cctrl", "words": "east2 shun", "how": "lie", "times": 1}]))  # fmt: skip
    text = run("datasource east2 shun", "datasource east3 shun")
    assert (state_of("east2"), state_of("east3")) == ("ONLINE", "SHUNNED")
    assert f"{PROMPT}{PROMPT}DataSource 'east3' set to SHUNNED" in text
    call = json.loads((tmp_path / "shared" / "calls.jsonl").read_text().splitlines()[-1])
    assert call["words"] == ["-expert", "datasource east2 shun", "datasource east3 shun"] and call["rc"] == 0


@pytest.mark.parametrize("answer, again", [("n", "[LOGICAL] /east > "), ("y", PROMPT)])
def test_expert_asks(run, answer, again):
    text = run("expert", answer, "ls", argv=())
    assert "[LOGICAL] /east > \nWARNING: This is an expert-level command:" in text
    assert f"Do you want to continue? (y/n)> {again}" in text


# --- the manager's daemon


@pytest.mark.parametrize("mode, ds, service, after, asked", [
    ("AUTOMATIC", "ONLINE", "OFFLINE:NORMAL", "ONLINE", ["online"]),
    ("AUTOMATIC", "OFFLINE", "ONLINE", "ONLINE", []),
    ("AUTOMATIC", "FAILED", "OFFLINE:ERROR", "ONLINE", ["online"]),
    ("AUTOMATIC", "SHUNNED", "OFFLINE:NORMAL", "SHUNNED", []),
    ("MANUAL", "OFFLINE", "OFFLINE:NORMAL", "OFFLINE", []),
    ("MAINTENANCE", "OFFLINE", "OFFLINE:NORMAL", "OFFLINE", []),
])  # fmt: skip
def test_what_the_manager_brings_back(site, mode, ds, service, after, asked):
    policy(mode)
    site.states["east2"] = service
    with manager.changed("east") as known:
        known["datasources"]["east2"]["state"] = ds
    manager.Watch("east2", "east").look()
    assert state_of("east2") == after
    assert [verb for _, verb in site.asked] == asked


@pytest.mark.parametrize("mode, after", [
    ("AUTOMATIC", "FAILED"), ("MANUAL", "FAILED"), ("MAINTENANCE", "ONLINE"),
])  # fmt: skip
def test_a_dead_server_fails_its_datasource(run, site, mode, after):
    policy(mode)
    site.down.add("east2")
    watch = manager.Watch("east2", "east")
    watch.look()
    assert state_of("east2") == "ONLINE"
    watch.look()
    assert state_of("east2") == after
    if after == "FAILED":
        text = run("ls east2")
        assert "east2(slave:FAILED(DATASERVER 'east2@east' STOPPED), progress=7," in text
        assert "|REASON[DATASERVER 'east2@east' STOPPED] " in text


# --- tprovision, as far as it goes without a server


@pytest.mark.parametrize("host, argv, expected", [
    ("east2", ["-s", "east2", "-m", "xtrabackup"], "must not be the local host"),
    ("east2", ["-s", "west1", "-m", "xtrabackup"], "west1 is not a member of the data service east"),
    ("east2", ["-s", "east1", "-m", "magic"], "Unknown method magic"),
    ("east2", ["-s", "east1", "-m", "rsync"], "not emulated"),
    ("east1", ["-s", "east2", "-m", "xtrabackup"], "east1 is the Primary of east"),
    ("east2", ["-c", "-s", "east1", "-m", "xtrabackup"], "Composite Active/Active only"),
    ("east2", ["-m", "xtrabackup"], "-s/--source"),
    ("east2", ["--source=east1", "--method=xtrabackup", "--yes"], "--yes"),
])  # fmt: skip
def test_tprovision_refuses(site, tmp_path, monkeypatch, capsys, host, argv, expected):
    configure(tmp_path, monkeypatch, host=host)
    assert tprovision.main(argv) == 1
    out = capsys.readouterr().out
    assert out.startswith("ERROR >> ") and expected in out
    assert state_of(host) == "ONLINE" and not site.asked


def test_tprovision_refuses_while_a_cross_site_service_is_online(site, tmp_path, monkeypatch, capsys):
    configure(tmp_path, monkeypatch, host="east2")
    cross = create_autospec(SERVICE, instance=True)
    cross.name, cross.state.return_value = "west", "ONLINE"

    def process(host, which):
        fake = site.replicator(host, which)
        fake.services.return_value = [cross] if which == "cross_site" else []
        return fake

    monkeypatch.setattr(replicator, "Replicator", process)
    assert tprovision.main(["-s", "east1", "-m", "xtrabackup"]) == 1
    assert "cross-site replication service west must be offline" in capsys.readouterr().out
    assert state_of("east2") == "ONLINE"


@pytest.mark.parametrize("donor, expected", [("east1", "1-101-9"), ("east3", "1-101-4")])
def test_the_backups_position_counts_if_its_source_writes_the_log(site, monkeypatch, tmp_path, donor, expected):
    configure(tmp_path, monkeypatch, host="east2")
    options = tprovision._options(["-s", donor, "-m", "xtrabackup"])
    work = tprovision.Provision(options)
    work.server = create_autospec(tprovision.Server, instance=True)
    monkeypatch.setattr(db, "query", lambda *args, **kwargs: [{"p": "1-101-4,2-201-6"}])
    work.position("mysql-bin.000001\t1234\t1-101-9,2-201-7\n")
    work.server.set_position.assert_called_once_with(1, expected, empty_binlog=True)


def test_the_coordinator_moves_from_a_dead_manager(site, tmp_path):
    assert manager.coordinator("east") == "east1"
    os.utime(tmp_path / "shared" / "east1" / "manager.alive", (0, 0))
    assert manager.coordinator("east") == "east2"
    assert "east1" not in listing.members("east")
