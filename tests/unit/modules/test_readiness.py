"""readiness: what a run will need, read on the nodes and judged on the master."""

import configparser
import copy
import hashlib
import time
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.modules import cmdmod

from tests.support.loader import ROOT, load

readiness = load("_modules", "readiness")
copytarget = load("_modules", "copytarget")
dataguard = load("_modules", "dataguard")
datalocation = load("_modules", "datalocation")
jobgroup = load("_modules", "jobgroup")
longjob = load("_modules", "longjob")
mysqld = load("_modules", "mysqld")
topology_module = load("_modules", "topology")

TUNGSTEN = {
    "sites": {
        "east": {"nodes": {"east1": "m-east1", "east2": "m-east2"}},
        "west": {"nodes": ["west1", "west2", "west3"]},
        "north": {"nodes": ["north1"]},
    },
    "reprovision": {"failed": "east", "definitive": "west"},
}
GIB = 1024**3
MARIADB = {
    "version": "10.11.6-MariaDB-log",
    "version_comment": "Debian 12",
    "lower_case_table_names": "0",
    "character_set_server": "utf8mb4",
    "collation_server": "utf8mb4_general_ci",
    "innodb_page_size": "16384",
}
# Being written by others at the same time as these tests.


@pytest.fixture
def topology():
    return topology_module.merge(copy.deepcopy(TUNGSTEN), None)


# --- facts


def ended(stdout="", stderr="", retcode=0):
    return {"pid": 1, "retcode": retcode, "stdout": stdout, "stderr": stderr}


class Host:
    """What the commands of this host say; each test spoils something."""

    def __init__(self, home):
        self.node = {"site": "east", "service": "paris", "host": "east1", "user": "tungsten",
                     "cluster_home": str(home)}  # fmt: skip
        self.rsync = ended("rsync  version 3.2.7\nthere is NO WARRANTY")
        self.units = ended()
        self.asked = []

    def run_all(self, argv, **kwargs):
        self.asked.append(argv)
        assert kwargs == {"python_shell": False, "ignore_retcode": True, "stdin": ""}
        return copy.copy(self.units if "systemctl" in argv else self.rsync)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.fixture
def functions(host, topology):
    places = {"datadir": {"path": "/var/lib/mysql", "entries": 3, "bytes": 10, "free": 100, "device": 1}}
    return {
        "cmd.run_all": create_autospec(cmdmod.run_all, side_effect=host.run_all),
        "topology.get": create_autospec(topology_module.get, return_value=topology),
        "topology.node": create_autospec(topology_module.node, return_value=host.node),
        "mysqld.variables": create_autospec(mysqld.variables, return_value=MARIADB),
        "mysqld.query": create_autospec(mysqld.query, return_value=[]),
        "datalocation.contents": create_autospec(datalocation.contents, return_value=places),
        "copytarget.ssh": create_autospec(copytarget.ssh, side_effect=copytarget.ssh),
        "copytarget.address": create_autospec(copytarget.address, side_effect=copytarget.address),
        "dataguard.name": create_autospec(dataguard.name, side_effect=dataguard.name),
    }


@pytest.fixture
def configure_loader_modules(functions):
    return {readiness: {"__salt__": functions, "__grains__": {"id": "m-east1"}},
            copytarget: {"__salt__": functions}}


def keep_log(host, content):
    folder = Path(host.node["cluster_home"], "tungsten/tungsten-replicator/conf")
    folder.mkdir(parents=True)
    (folder / "static-paris.properties").write_text(content, encoding="utf-8")


class TestFacts:
    def test_all_are_read(self, host):
        keep_log(host, "replicator.store.thl.log_file_retention=7d\n")
        before = time.time()
        found = readiness.facts()
        assert before <= found.pop("time") <= time.time()
        assert found == {
            "extension": readiness.extension(),
            "server": MARIADB,
            "contents": {"datadir": {"path": "/var/lib/mysql", "entries": 3, "bytes": 10, "free": 100, "device": 1}},
            "sudo": {"rsync": True, "words": None},
            "jobs": [],
            "writers": [],
            "retention": 7 * 86400,
        }

    def test_nothing_can_be_read(self, functions):
        for name in ("cmd.run_all", "topology.node", "mysqld.variables", "mysqld.query", "datalocation.contents"):
            functions[name].side_effect = CommandExecutionError("no")
        found = readiness.facts()
        assert {key for key, value in found.items() if value is not None} == {"time", "extension"}

    def test_the_host_is_known_and_nothing_else(self, functions):
        for name in ("cmd.run_all", "mysqld.variables", "mysqld.query"):
            functions[name].side_effect = CommandExecutionError("no")
        functions["datalocation.contents"].side_effect = FileNotFoundError("gone meanwhile")
        found = readiness.facts()
        assert {key for key, value in found.items() if value is not None} == {"time", "extension"}

    def test_modules_that_do_not_load_here(self, functions):
        for name in ("mysqld.variables", "mysqld.query", "datalocation.contents"):
            del functions[name]
        found = readiness.facts()
        assert (found["server"], found["writers"], found["contents"]) == (None, None, None)

    def test_the_server_is_asked_for_what_is_compared(self, functions):
        readiness.facts()
        functions["mysqld.variables"].assert_called_once_with(list(MARIADB))
        assert {*readiness.BINDING, *readiness.ADVISED} <= set(MARIADB)

    def test_sudo_is_tried_as_the_copy_uses_it(self, host):
        readiness.facts()
        assert ["timeout", "--kill-after=5", "20", "runuser", "-u", "tungsten", "--",
                "sudo", "-n", "rsync", "--version"] in host.asked  # fmt: skip

    @pytest.mark.parametrize(
        "result, words",
        [
            (ended(stderr="We trust you\nsudo: a password is required\n", retcode=1), "sudo: a password is required"),
            (ended("sudo: rsync: command not found", retcode=1), "sudo: rsync: command not found"),
            (ended(retcode=1), "exit code 1 without a word"),
            (ended(retcode=124), "no answer within 20 s"),
            (ended(retcode=137), "no answer within 20 s"),
        ],
    )
    def test_sudo_refuses(self, host, result, words):
        host.rsync = result
        assert readiness.facts()["sudo"] == {"rsync": False, "words": words}

    def test_jobs_that_run(self, host):
        host.units = ended(
            "reprovision-copy-0-r1.service     loaded active       running    Re-provisioning: copy-0-r1\n"
            "reprovision-copy-1-r1.service     loaded active       exited     Re-provisioning: copy-1-r1\n"
            "reprovision-tprovision-r1.service loaded activating   start      Re-provisioning: tprovision-r1\n"
            "reprovision-sum-r1.service        loaded deactivating stop-sigterm Re-provisioning: sum-r1\n"
            "reprovision-donor-r1.service      loaded active       running    Give the donor back\n"
        )
        assert readiness.facts()["jobs"] == ["copy-0-r1", "tprovision-r1", "sum-r1"]
        (argv,) = [argv for argv in host.asked if "systemctl" in argv]
        assert argv[:3] == ["timeout", "--kill-after=5", "20"] and argv[-2:] == ["--", "reprovision-*.service"]

    def test_systemd_does_not_answer(self, host):
        host.units = ended(stderr="Failed to connect to bus", retcode=1)
        assert readiness.facts()["jobs"] is None

    @pytest.mark.parametrize(
        "row, counts",
        [
            ({}, True),
            ({"command": "Sleep", "transaction": "1"}, True),
            ({"command": "Sleep"}, False),
            ({"user": "tungsten"}, False),
            ({"user": "system user", "command": "Connect"}, False),
            ({"user": "event_scheduler"}, False),
            ({"command": "Daemon"}, False),
            ({"command": "Binlog Dump"}, False),
            ({"command": "Binlog Dump GTID"}, False),
            ({"command": "Slave_SQL"}, False),
        ],
    )
    def test_who_counts_as_a_writer(self, functions, row, counts):
        row = {"user": "app", "host": "10.0.0.7:40312", "command": "Query", "seconds": "12", "transaction": "0", **row}
        functions["mysqld.query"].return_value = [row]
        expected = {"user": "app", "host": "10.0.0.7", "command": row["command"], "seconds": 12,
                    "transaction": row["transaction"] == "1"}  # fmt: skip
        assert readiness.facts()["writers"] == ([expected] if counts else [])

    @pytest.mark.parametrize("told, kept", [("localhost", "localhost"), ("::1:40312", "::1"), (None, "")])
    def test_where_a_writer_is(self, functions, told, kept):
        functions["mysqld.query"].return_value = [
            {"user": "app", "host": told, "command": "Execute", "seconds": None, "transaction": "1"}
        ]
        (writer,) = readiness.facts()["writers"]
        assert (writer["host"], writer["seconds"], writer["transaction"]) == (kept, 0, True)

    def test_its_own_connection_is_left_out_by_the_server(self, functions):
        readiness.facts()
        (sql,) = functions["mysqld.query"].call_args.args
        assert "p.ID <> CONNECTION_ID()" in sql and ";" not in sql

    @pytest.mark.parametrize(
        "content, seconds",
        [
            ("a=1\nreplicator.store.thl.log_file_retention=7d\nb=2\n", 604800),
            ("replicator.store.thl.log_file_retention = 12h", 43200),
            ("replicator.store.thl.log_file_retention=90m\r\n", 5400),
            ("replicator.store.thl.log_file_retention=30s", 30),
            ("replicator.store.thl.log_file_retention=1d\nreplicator.store.thl.log_file_retention=2d\n", 172800),
            ("#replicator.store.thl.log_file_retention=7d\n", None),
            ("replicator.store.thl.log_file_retention=${kept}\n", None),
            ("replicator.store.thl.log_file_retention=\n7d\n", None),
            ("replicator.store.thl.log_file_retention.x=7d\n", None),
            ("", None),
        ],
    )
    def test_retention(self, host, content, seconds):
        keep_log(host, content)
        assert readiness.facts()["retention"] == seconds


# --- reach


class TestReach:
    def test_it_goes_the_way_of_the_copy(self, host):
        assert readiness.reach(["east1"]) == {"east1": None}
        way = copytarget.ssh()
        assert host.asked == [
            ["timeout", "--kill-after=5", "30", *way, "tungsten@east1", "sudo", "-n", "rsync", "--version"]
        ]

    def test_each_host_that_refuses_is_told(self, functions):
        functions["cmd.run_all"].side_effect = [
            ended(stderr="Host key verification failed.\n", retcode=255),
            ended("rsync  version 3.2.7"),
            ended(retcode=124),
        ]
        assert readiness.reach(["east1", "east2", "north1"]) == {
            "east1": "Host key verification failed.", "east2": None, "north1": "no answer within 30 s",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "hosts", [["east1", "elsewhere"], ["-oProxyCommand=x"], ["m-east1"], [None], "east1", None]
    )
    def test_only_hosts_of_the_topology(self, host, hosts):
        with pytest.raises(SaltInvocationError):
            readiness.reach(hosts)
        assert host.asked == []


# --- extension


class TestExtension:
    def test_the_version_is_that_of_the_package(self):
        package = configparser.ConfigParser()
        package.read(ROOT / "setup.cfg", encoding="utf-8")
        assert readiness.VERSION == package["metadata"]["version"]
        assert readiness.extension()["version"] == readiness.VERSION

    def test_its_own_modules_are_all_named(self):
        for folder, named in (("_modules", readiness.OWN), ("_states", readiness.OWN_STATES)):
            assert sorted(named) == sorted(path.stem for path in (ROOT / folder).glob("*.py"))

    @pytest.fixture(params=["_{}", "{}"], ids=["as packaged", "as synced"])
    def folder(self, request, tmp_path, monkeypatch):
        folders = {}
        for kind, stems in (("modules", readiness.OWN), ("states", readiness.OWN_STATES)):
            folders[kind] = tmp_path / request.param.format(kind)
            folders[kind].mkdir()
            for stem in stems:
                (folders[kind] / f"{stem}.py").write_text(f"# {stem}\n", encoding="utf-8")
        monkeypatch.setattr(readiness, "__file__", str(folders["modules"] / "readiness.py"))
        return folders["modules"]

    def test_a_changed_state_is_noticed_too(self, folder):
        digest = readiness.extension()["digest"]
        (folder.parent / folder.name.replace("modules", "states") / "datadir.py").write_text("x", encoding="utf-8")
        assert readiness.extension()["digest"] != digest

    def test_the_same_files_have_the_same_digest(self, folder):
        digest = readiness.extension()["digest"]
        assert len(digest) == len(hashlib.sha256().hexdigest())
        (folder / "of_somebody_else.py").write_text("x", encoding="utf-8")
        assert readiness.extension()["digest"] == digest

    def test_every_other_content_has_another_digest(self, folder):
        digests = [readiness.extension()["digest"]]
        (folder / "cctrl.py").write_text("# changed\n", encoding="utf-8")
        digests.append(readiness.extension()["digest"])
        (folder / "cctrl.py").write_text("", encoding="utf-8")
        digests.append(readiness.extension()["digest"])
        (folder / "cctrl.py").unlink()
        digests.append(readiness.extension()["digest"])
        (folder / "cctrl.py").write_text("# cctrl\n", encoding="utf-8")
        (folder / "verify.py").unlink()
        digests.append(readiness.extension()["digest"])
        assert len(set(digests)) == len(digests)

    def test_a_module_that_cannot_be_read(self, folder):
        (folder / "cctrl.py").unlink()
        (folder / "cctrl.py").mkdir()
        with pytest.raises(CommandExecutionError, match="cctrl.py cannot be read"):
            readiness.extension()
        assert readiness.facts()["extension"] is None


# --- judge


class Case:
    """All is well; each test spoils something."""

    def __init__(self, topology):
        self.topology = topology
        self.roles = {"primaries": {"east": "east1", "west": "west1"}, "donor": "west3", "copied": False}
        self.reach = {"east1": None}
        self.master = {"asked": [1000.0, 1010.0], "extension": {"version": "0.1.0", "digest": "d"}, "run": None}
        self.facts = {
            minion: {
                "time": 1005.0,
                "extension": {"version": "0.1.0", "digest": "d"},
                "server": dict(MARIADB),
                "contents": {
                    "datadir": {"path": "/data", "entries": 9, "bytes": 40 * GIB, "free": 60 * GIB, "device": 1},
                    "log_bin_basename": {
                        "path": "/logs", "entries": 2, "bytes": 5 * GIB, "free": 20 * GIB, "device": 2},
                },
                "sudo": {"rsync": True, "words": None},
                "jobs": [],
                "writers": [],
                "retention": 7 * 86400,
                "lag": 0.4,
            }
            for site in topology["sites"].values() for minion in site["nodes"].values()
        }  # fmt: skip

    def judge(self):
        return readiness.judge(self.topology, self.roles, self.facts, self.reach, self.master)

    def found(self):
        """Without the advice, of which it is only held that there is one."""
        findings = self.judge()
        assert all(set(finding) == {"node", "level", "what", "do"} and finding["do"] for finding in findings)
        return [(finding["level"], finding["node"], finding["what"]) for finding in findings]

    def resume(self, copied=False):
        self.master["run"] = "r1"
        self.roles["copied"] = copied


@pytest.fixture
def case(topology):
    return Case(topology)


class TestJudge:
    def test_all_is_well(self, case):
        assert case.judge() == []

    def test_it_is_pure(self, case):
        case.facts["m-east1"]["server"] = None
        case.facts["west1"]["jobs"] = ["copy-0-r9"]
        before = copy.deepcopy(vars(case))
        case.judge()
        assert vars(case) == before

    def test_errors_come_first_and_then_it_goes_by_node(self, case):
        case.facts["m-east1"]["server"] = None
        case.facts["m-east2"]["server"] = None
        for minion in ("west2", "m-east2", "north1"):
            case.facts[minion]["time"] = 900.0
        assert [finding[:2] for finding in case.found()] == [
            ("error", "m-east2"), ("error", "north1"), ("error", "west2"),
            ("warning", "m-east1"), ("warning", "m-east2"),
        ]  # fmt: skip

    @pytest.mark.parametrize("there", [{"version": "0.0.9", "digest": "other"}, {"version": "0.1.0"}, {}, None])
    def test_other_modules(self, case, there):
        case.facts["north1"]["extension"] = there
        (finding,) = case.judge()
        version = (there or {}).get("version", "unknown")
        assert finding == {
            "node": "north1",
            "level": "error",
            "what": f"its modules of this extension ({version}) are not the master's (0.1.0)",
            "do": "Run: salt north1 saltutil.sync_all; salt-run saltutil.sync_all",
        }

    @pytest.mark.parametrize(
        "now, what",
        [
            (995.0, None),
            (1015.0, None),
            (994.0, "its clock is 6 s behind the master's"),
            (1047.2, "its clock is 37 s ahead of the master's"),
            (None, "it does not tell its time"),
        ],
    )
    def test_clock(self, case, now, what):
        case.facts["north1"]["time"] = now
        assert case.found() == ([("error", "north1", what)] if what else [])

    @pytest.mark.parametrize("minion, told", [("m-east1", True), ("west3", True), ("m-east2", False), ("west1", False)])
    def test_sudo(self, case, minion, told):
        case.facts[minion]["sudo"] = {"rsync": False, "words": "a password is required"}
        what = "the Tungsten user cannot run rsync by sudo: a password is required"
        assert case.found() == ([("error", minion, what)] if told else [])

    def test_sudo_on_the_donor_of_data_that_are_copied(self, case):
        case.resume(copied=True)
        case.facts["west3"]["sudo"] = None
        assert case.found() == []

    @pytest.mark.parametrize(
        "reach, whats",
        [
            (None, []),
            ({}, []),
            ({"east1": "Host key verification failed."},
             ["the Tungsten user cannot run rsync by ssh and sudo on east1: Host key verification failed."]),
        ],
    )  # fmt: skip
    def test_reach(self, case, reach, whats):
        case.reach = reach
        assert case.found() == [("error", "west3", what) for what in whats]

    @pytest.mark.parametrize("minion", ["m-east1", "m-east2"])
    @pytest.mark.parametrize(
        "change, finding",
        [
            ({"version": "10.11.9-MariaDB"}, None),
            ({"version": "10.11.6", "version_comment": "mariadb.org binary distribution"}, None),
            ({"version": "10.6.16-MariaDB"}, ("error", "its server is MariaDB 10.6, the donor's MariaDB 10.11")),
            ({"version": "10.11.6", "version_comment": "x"},
             ("error", "its server is MySQL 10.11, the donor's MariaDB 10.11")),
            ({"version": None, "version_comment": None},
             ("error", "its server is MySQL of unknown version, the donor's MariaDB 10.11")),
            ({"lower_case_table_names": "1"},
             ("error", "its server has lower_case_table_names=1, the donor's 0")),
            ({"innodb_page_size": "4096"}, ("error", "its server has innodb_page_size=4096, the donor's 16384")),
            ({"character_set_server": "latin1"},
             ("warning", "its server has character_set_server=latin1, the donor's utf8mb4")),
            ({"collation_server": None},
             ("warning", "its server has collation_server=None, the donor's utf8mb4_general_ci")),
        ],
    )  # fmt: skip
    def test_servers_that_differ(self, case, minion, change, finding):
        case.facts[minion]["server"].update(change)
        assert case.found() == ([(finding[0], minion, finding[1])] if finding else [])

    def test_other_nodes_of_other_sites_may_differ(self, case):
        for minion in ("west1", "north1"):
            case.facts[minion]["server"].update(version="8.0.36", innodb_page_size="4096")
        assert case.found() == []

    def test_a_server_of_the_failed_site_does_not_answer(self, case):
        case.facts["m-east2"]["server"] = None
        what = "its server does not answer and could not be compared with the donor's"
        assert case.found() == [("warning", "m-east2", what)]
        case.resume()
        assert case.found() == []

    def test_the_donors_server_does_not_answer(self, case):
        case.facts["west3"]["server"] = None
        assert case.found() == [("error", "west3", "the donor's server does not answer")]
        case.resume()
        assert case.found() == []

    def test_the_donors_server_no_longer_matters_when_the_data_are_copied(self, case):
        case.resume(copied=True)
        case.facts["west3"]["server"].update(version="11.4.2-MariaDB")
        assert case.found() == []

    @pytest.mark.parametrize("free, enough", [(60 * GIB, True), (60 * GIB - 1, False)])
    @pytest.mark.parametrize("minion", ["m-east1", "m-east2"])
    def test_room_for_one_location(self, case, minion, free, enough):
        case.facts["west3"]["contents"]["datadir"]["bytes"] = 100 * GIB
        for other in ("m-east1", "m-east2"):
            case.facts[other]["contents"]["datadir"]["free"] = 60 * GIB
        case.facts[minion]["contents"]["datadir"]["free"] = free
        what = "the donor's data need 100.00 GiB in /data (datadir), there is room for 100.00 GiB"
        assert case.found() == ([] if enough else [("error", minion, what)])

    def test_locations_on_one_file_system_share_its_room(self, case):
        for minion in ("m-east1", "m-east2"):
            for place in case.facts[minion]["contents"].values():
                place.update(free=20 * GIB, device=1)
        needed = case.facts["west3"]["contents"]
        needed["datadir"]["bytes"], needed["log_bin_basename"]["bytes"] = 50 * GIB, 15 * GIB
        assert case.found() == [], "just enough for both"
        needed["datadir"]["bytes"] = 59 * GIB
        what = ("the donor's data need 74.00 GiB in /data (datadir) and /logs (log_bin_basename), "
                "there is room for 65.00 GiB")  # fmt: skip
        assert case.found() == [("error", "m-east1", what), ("error", "m-east2", what)]
        case.facts["m-east2"]["contents"]["datadir"]["device"] = 3
        assert case.found() == [("error", "m-east1", what)], "two file systems, with equally much left"

    def test_what_has_no_room_alone_is_told_once(self, case):
        for place in case.facts["m-east2"]["contents"].values():
            place["free"] = 0
        assert case.found() == []
        case.facts["west3"]["contents"]["datadir"]["bytes"] += GIB
        what = "the donor's data need 41.00 GiB in /data (datadir), there is room for 40.00 GiB"
        assert case.found() == [("error", "m-east2", what)]

    def test_the_room_on_a_primary_with_the_copy_does_not_matter(self, case):
        case.resume(copied=True)
        case.facts["west3"]["contents"]["datadir"]["bytes"] = 900 * GIB
        case.facts["m-east1"]["contents"] = None
        assert [finding[:2] for finding in case.found()] == [("error", "m-east2")]

    @pytest.mark.parametrize("minion", ["west3", "m-east1", "m-east2"])
    def test_contents_that_cannot_be_read(self, case, minion):
        case.facts[minion]["contents"] = None
        assert case.found() == [("error", minion, "what its data locations hold cannot be read")]
        case.resume()
        assert bool(case.found()) is (minion != "west3")

    @pytest.mark.parametrize(
        "lacking, node, what",
        [
            ("west3", "m-east1", "it has a data location log_bin_basename, the donor west3 has none"),
            ("m-east1", "m-east1", "the donor west3 has a data location log_bin_basename, this node has none"),
        ],
    )
    def test_a_location_on_one_side_only(self, case, lacking, node, what):
        del case.facts[lacking]["contents"]["log_bin_basename"]
        assert ("error", node, what) in case.found()

    @pytest.mark.parametrize("minion, told", [("west1", True), ("west3", True), ("m-east1", False), ("north1", False)])
    @pytest.mark.parametrize(
        "kept, level", [(None, None), (86400, None), (86399, "warning"), (21600, "warning"), (21599, "error")]
    )
    def test_retention(self, case, minion, told, kept, level):
        case.facts[minion]["retention"] = kept
        found = case.found()
        assert [finding[:2] for finding in found] == ([(level, minion)] if told and level else [])
        assert all("goes on from the donor's position" in finding[2] for finding in found)

    @pytest.mark.parametrize("lag, told", [(None, False), (300.0, False), (300.6, True)])
    def test_lag(self, case, lag, told):
        case.facts["west2"]["lag"] = 9999.0
        case.facts["west3"]["lag"] = lag
        what = "the donor is 301 s behind its primary, and the rebuilt site would begin there"
        assert case.found() == ([("error", "west3", what)] if told else [])
        case.resume(copied=True)
        assert case.found() == []

    @pytest.mark.parametrize(
        "run, told",
        [
            (None, "copy-0-r1, tprovision-r10"),
            ("r1", "tprovision-r10"),
            ("r10", "copy-0-r1"),
            ("0-r1", "tprovision-r10"),
            ("1", "copy-0-r1, tprovision-r10"),
        ],
    )
    def test_jobs_of_another_run(self, case, run, told):
        case.master["run"] = run
        case.facts["north1"]["jobs"] = ["copy-0-r1", "tprovision-r10"]
        assert case.found() == [("error", "north1", f"jobs of another run are at work there: {told}")]

    def test_jobs_of_the_same_run(self, case):
        case.resume()
        case.facts["west3"]["jobs"] = ["copy-0-r1"]
        assert case.found() == []

    @pytest.mark.parametrize("name", ["copy-files-0-{run}-s0of3", "copy-ahead-1-{run}-s12of16", "copy-0-{run}"])
    def test_jobs_of_a_group_are_known_by_its_name(self, case, name):
        case.resume()
        run = case.master["run"]
        case.facts["west3"]["jobs"] = [name.format(run=run)]
        assert case.found() == []
        other = name.format(run=f"{run}9")
        case.facts["west3"]["jobs"].append(other)
        assert case.found() == [("error", "west3", f"jobs of another run are at work there: {other}")]

    def test_what_a_group_is_called_is_what_jobgroup_calls_it(self, monkeypatch):
        """What is left of each of its jobs ends with the run."""
        monkeypatch.setattr(jobgroup, "__salt__", {"longjob.start": create_autospec(longjob.start)}, raising=False)
        names = jobgroup.start("copy-files-0-r1", [["a"]] * 12)
        assert len(names) == 12
        assert {readiness.STREAM.sub("", name) for name in names} == {"copy-files-0-r1"}
        assert {jobgroup.of(name) for name in names} == {"copy-files-0-r1"}

    def test_jobs_are_not_known(self, case):
        case.facts["west1"]["jobs"] = None
        assert [finding[:2] for finding in case.found()] == [("warning", "west1")]

    @pytest.mark.parametrize(
        "hosts, words",
        [
            (["10.0.0.1"], "1 session may be writing there (app@10.0.0.1)"),
            (["10.0.0.1", "10.0.0.1"], "2 sessions may be writing there (app@10.0.0.1)"),
            (["a", "b", "c"], "3 sessions may be writing there (app@a, app@b, app@c)"),
            (["a", "b", "c", "d"], "4 sessions may be writing there (app@a, app@b, app@c and others)"),
        ],
    )
    def test_writers(self, case, hosts, words):
        writers = [
            {"user": "app", "host": host, "command": "Query", "seconds": 1, "transaction": True} for host in hosts
        ]
        case.facts["m-east2"]["writers"] = case.facts["west1"]["writers"] = writers
        assert case.found() == [("warning", "m-east2", f"{words}, and what is committed from now on is lost")]

    @pytest.mark.parametrize("nothing", [None, {}])
    @pytest.mark.parametrize("minion", ["m-east1", "m-east2", "west1", "west3", "north1"])
    def test_a_node_that_has_told_nothing(self, case, minion, nothing):
        case.facts[minion] = nothing
        assert case.found() == [("error", minion, "it has told nothing of itself")]
        del case.facts[minion]
        assert case.found() == [("error", minion, "it has told nothing of itself")]

    @pytest.mark.parametrize("value", ["missing", None])
    def test_a_node_that_could_read_nothing(self, case, value):
        """Every node: each rule meets it, and what a run cannot do without is an error."""
        for fact in case.facts.values():
            for key in set(fact) - {"time", "extension"}:
                if value is None:
                    fact[key] = None
                else:
                    del fact[key]
        findings = case.found()
        told = {(level, node, what.partition(":")[0]) for level, node, what in findings}
        assert told >= {
            ("error", "west3", "the donor's server does not answer"),
            ("error", "west3", "what its data locations hold cannot be read"),
            ("error", "m-east1", "what its data locations hold cannot be read"),
            ("error", "m-east1", "the Tungsten user cannot run rsync by sudo"),
            ("error", "west3", "the Tungsten user cannot run rsync by sudo"),
        }


@pytest.mark.parametrize(
    "size, words",
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1536 * 1024, "1.50 MiB"), (5 * GIB, "5.00 GiB"),
        (1024 * GIB, "1.00 TiB"), (5000 * 1024 * GIB, "5000.00 TiB"),
    ],
)  # fmt: skip
def test_bytes_for_people(size, words):
    assert readiness._human(size) == words


class TestText:
    def test_nothing_to_tell(self):
        assert readiness.text([]) == []

    def test_one_line_a_finding(self):
        findings = [
            {"node": "east1", "level": "error", "what": "it is so", "do": "Change it."},
            {"node": "west", "level": "warning", "what": "it may be so", "do": "Look."},
        ]
        assert readiness.text(findings) == [
            "ERROR east1: it is so - Change it.", "WARNING west: it may be so - Look.",
        ]  # fmt: skip
