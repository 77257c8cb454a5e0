"""preflight: what the nodes say of themselves, held against the topology."""

import copy
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

preflight = load("_modules", "preflight")
topology_module = load("_modules", "topology")
datadir = load("_modules", "datadir")
dataguard = load("_modules", "dataguard")
mysqld = load("_modules", "mysqld")
nodeview = load("_modules", "nodeview")

TUNGSTEN = {
    "sites": {
        "east": {"nodes": {"east1": "m-east1", "east2": "m-east2"}},
        "west": {"nodes": ["west1", "west2", "west3"]},
    },
    "reprovision": {"failed": "east", "definitive": "west"},
}


def datasource(role, **more):
    return {
        "role": role,
        "state": "ONLINE",
        "latency": 0.5,
        "dataserver": "ONLINE",
        "replicator": {"role": role, "state": "ONLINE"},
        **more,
    }


@pytest.fixture
def topology():
    return topology_module.merge(copy.deepcopy(TUNGSTEN), None)


@pytest.fixture
def facts(topology):
    """Everything is well."""
    found = {}
    for site, other in (("east", "west"), ("west", "east")):
        hosts = topology["sites"][site]["nodes"]
        for host, minion in hosts.items():
            found[minion] = {
                "node": {"site": site, "service": site, "host": host, "other_services": [other]},
                "cctrl": {
                    "service": site,
                    "composite": False,
                    "datasources": {
                        name: datasource("master" if name == f"{site}1" else "slave") for name in hosts
                    },
                },
                "cluster": {site: {"state": "ONLINE"}},
                "cross_site": {other: {"state": "ONLINE"}},
                "composite": [],
                "mysql": True,
                "locations": {},
                "copy": None,
                "foreign": [],
                "faults": [],
            }
    return found


def west(facts):
    """The datasources of west, as every node of west shows them."""
    shared = facts["west1"]["cctrl"]["datasources"]
    for minion in ("west2", "west3"):
        facts[minion]["cctrl"]["datasources"] = shared
    return shared


class TestJudge:
    def test_all_is_well(self, topology, facts):
        west(facts)["west3"]["latency"] = 0.1
        assert preflight.judge(topology, facts) == {
            "faults": [],
            "primaries": {"east": "east1", "west": "west1"},
            "donor": "west3",
        }

    def test_it_is_pure(self, topology, facts):
        before = copy.deepcopy((topology, facts))
        preflight.judge(topology, facts)
        assert (topology, facts) == before

    def test_the_named_donor_is_taken_though_another_is_nearer(self, topology, facts):
        west(facts)["west3"]["latency"] = 0.1
        topology["reprovision"]["donor"] = "west2"
        assert preflight.judge(topology, facts)["donor"] == "west2"

    def test_without_a_latency_a_replica_can_still_be_the_donor(self, topology, facts):
        west(facts)["west2"].update(latency=None)
        assert preflight.judge(topology, facts)["donor"] == "west2"

    @pytest.mark.parametrize(
        "change, words",
        [
            ({"state": "SHUNNED"}, "its datasource is SHUNNED"),
            ({"replicator": {"state": "OFFLINE:ERROR"}}, "its replicator is OFFLINE:ERROR"),
            ({"replicator": None}, "its replicator is None"),
            ({"dataserver": "STOPPED"}, "its data server is STOPPED"),
        ],
    )
    def test_an_unhealthy_donor(self, topology, facts, change, words):
        west(facts)["west2"].update(change)
        assert preflight.judge(topology, facts)["donor"] == "west3", "not chosen"
        topology["reprovision"]["donor"] = "west2"
        assert preflight.judge(topology, facts)["faults"] == [f"west2: cannot be the donor: {words}"]

    def test_a_primary_is_no_donor(self, topology, facts):
        topology["reprovision"]["donor"] = "west1"
        (fault,) = preflight.judge(topology, facts)["faults"]
        assert fault.startswith("west1: cannot be the donor: its role is master")

    def test_no_replica_is_healthy(self, topology, facts):
        for name in ("west2", "west3"):
            west(facts)[name]["state"] = "OFFLINE"
        judged = preflight.judge(topology, facts)
        assert judged["faults"] == ["west: none of its replicas is healthy enough to be the donor"]
        assert judged["donor"] is None

    @pytest.mark.parametrize("state", ["SHUNNED", "OFFLINE"])
    def test_the_donor_of_an_unfinished_run_is_taken_over(self, topology, facts, state):
        topology["reprovision"]["donor"] = "west2"
        west(facts)["west2"].update(state=state, dataserver="STOPPED", replicator={"state": "OFFLINE"})
        assert preflight.judge(topology, facts, resumes=True)["faults"] == []
        assert preflight.judge(topology, facts)["faults"]

    def test_what_became_the_primary_is_not_taken_over(self, topology, facts):
        topology["reprovision"]["donor"] = "west1"
        west(facts)["west1"]["state"] = "SHUNNED"
        assert preflight.judge(topology, facts, resumes=True)["faults"]

    @pytest.mark.parametrize(
        "change",
        [
            {"state": "FAILED"},
            {"role": "master"},
            {"replicator": None},
            {"dataserver": "STOPPED"},
        ],
    )
    def test_after_the_copy_it_does_not_matter_what_has_become_of_the_donor(self, topology, facts, change):
        topology["reprovision"]["donor"] = "west2"
        for minion in ("west1", "west2", "west3"):
            facts[minion]["cctrl"]["datasources"] = {
                "west1": datasource("slave" if "role" in change else "master"),
                "west2": {**datasource("slave"), **change},
                "west3": datasource("slave"),
            }
        assert preflight.judge(topology, facts, resumes=True)["faults"], "before the copy it does"
        judged = preflight.judge(topology, facts, resumes=True, copied=True)
        assert judged["faults"] == [] and judged["donor"] == "west2"

    def test_what_is_not_the_servers_is_not_deleted_unasked(self, topology, facts):
        facts["m-east1"]["foreign"] = ["/data/dump.sql", "/data/notes: a text"]
        assert preflight.judge(topology, facts, resumes=True)["faults"] == [
            f"m-east1: would be deleted, and is not the server's; move away what has to stay: {text}"
            for text in ("/data/dump.sql", "/data/notes: a text")
        ]
        assert preflight.judge(topology, facts, resumes=True, copied=True)["faults"] == [], "nothing is deleted"

    @pytest.mark.parametrize("minion", ["m-east2", "west1", "west2"])
    def test_what_lies_on_a_node_that_is_not_emptied_does_not_matter(self, topology, facts, minion):
        facts[minion]["foreign"] = ["/data/dump.sql"]
        assert preflight.judge(topology, facts)["faults"] == []

    def test_after_the_copy_everything_else_still_matters(self, topology, facts):
        facts["m-east2"]["cross_site"] = {}
        assert preflight.judge(topology, facts, resumes=True, copied=True)["faults"] == [
            "m-east2: its cross-site replicator has no service west"
        ]

    def test_nodes_that_do_not_agree_on_the_primary(self, topology, facts):
        shown = facts["m-east2"]["cctrl"]["datasources"]
        shown["east1"]["role"], shown["east2"]["role"] = "slave", "master"
        judged = preflight.judge(topology, facts)
        assert judged["faults"] == [
            "east: its nodes do not agree which is the primary: {'east1': ['east1'], 'east2': ['east2']}"
        ]
        assert "east" not in judged["primaries"]

    @pytest.mark.parametrize("role, number", [("slave", 0), ("master", 2)])
    def test_not_exactly_one_primary(self, topology, facts, role, number):
        for minion in ("m-east1", "m-east2"):
            for source in facts[minion]["cctrl"]["datasources"].values():
                source["role"] = role
        assert preflight.judge(topology, facts)["faults"] == [
            f"east: cctrl shows {number} primaries, there must be exactly one"
        ]

    def test_a_service_of_another_name(self, topology, facts):
        facts["m-east1"]["cctrl"]["service"] = "paris"
        assert preflight.judge(topology, facts)["faults"] == [
            "m-east1: cctrl says service paris, the pillar says east"
        ]

    @pytest.mark.parametrize("hosts", [["east1"], ["east1", "east2", "east3"]])
    def test_hosts_that_the_pillar_does_not_know_or_knows_alone(self, topology, facts, hosts):
        sources = {host: datasource("master" if host == "east1" else "slave") for host in hosts}
        for minion in ("m-east1", "m-east2"):
            facts[minion]["cctrl"]["datasources"] = sources
        faults = preflight.judge(topology, facts)["faults"]
        assert len(faults) == 2 and all(
            "the pillar's nodes of east are east1, east2" in fault for fault in faults
        )

    @pytest.mark.parametrize(
        "which, services, words",
        [
            ("cluster", {}, "its cluster replicator runs no service, the pillar says east"),
            ("cluster", {"east": {}, "b": {}}, "its cluster replicator runs b, east, the pillar says east"),
            ("cross_site", {}, "its cross-site replicator has no service west"),
            (
                "cross_site",
                {"west": {}, "old": {}},
                "its cross-site replicator runs old, which the pillar does not know",
            ),
        ],
    )
    def test_services(self, topology, facts, which, services, words):
        facts["m-east2"][which] = services
        assert preflight.judge(topology, facts)["faults"] == [f"m-east2: {words}"]

    def test_a_composite_installation(self, topology, facts):
        facts["west3"]["composite"] = ["service east_from_west"]
        facts["m-east1"]["cctrl"]["composite"] = True
        faults = preflight.judge(topology, facts)["faults"]
        assert [fault.split(":")[0] for fault in faults] == ["m-east1", "west3"]
        assert all("for Multi-Site/Active-Active only" in fault for fault in faults)

    def test_a_node_that_could_not_be_read(self, topology, facts):
        facts["m-east2"] = {**facts["m-east2"], "cctrl": None, "faults": ["cctrl: no such file", "b"]}
        assert preflight.judge(topology, facts)["faults"] == ["m-east2: cctrl: no such file", "m-east2: b"]

    def test_no_node_of_a_site_could_be_read(self, topology, facts):
        for minion in ("west1", "west2", "west3"):
            facts[minion].update(node=None, cctrl=None, faults=["down"])
        judged = preflight.judge(topology, facts)
        assert judged["faults"] == ["west1: down", "west2: down", "west3: down"]
        assert judged["primaries"] == {"east": "east1"}


def composite_signs(names):
    """The signature of ``trepctl.composite_signs``, as it is called here."""


SERVICES = {"east": {"state": "ONLINE"}, "east_from_west": {"state": "ONLINE"}}
SHOWN = {"node": "topology.node", "cctrl": "cctrl.ls", "cluster": SERVICES, "cross_site": "trepctl.services"}
READS = {
    "trepctl.composite_signs": composite_signs,
    "mysqld.ping": mysqld.ping,
    "dataguard.check": dataguard.check,
    "datadir.copy": datadir.copy,
    "dataguard.foreign": dataguard.foreign,
}


@pytest.fixture
def functions():
    look = create_autospec(nodeview.look, return_value={"answers": dict(SHOWN), "faults": {}})
    return {"nodeview.look": look,
            **{name: create_autospec(function, return_value=name) for name, function in READS.items()}}


@pytest.fixture
def configure_loader_modules(functions):
    return {preflight: {"__salt__": functions, "__grains__": {"id": "east1"}}}


def unread(functions, **faults):
    """The node cannot tell these parts."""
    answers = {part: answer for part, answer in SHOWN.items() if part not in faults}
    functions["nodeview.look"].return_value = {"answers": answers, "faults": faults}


class TestFacts:
    def test_all_are_read(self):
        found = preflight.facts()
        assert found["faults"] == []
        del found["faults"]
        assert found == {
            **SHOWN,
            "composite": "trepctl.composite_signs",
            "mysql": "mysqld.ping",
            "locations": "dataguard.check",
            "copy": "datadir.copy",
            "foreign": "dataguard.foreign",
        }

    def test_the_tools_are_asked_once_each(self, functions):
        preflight.facts()
        functions["nodeview.look"].assert_called_once_with()
        functions["trepctl.composite_signs"].assert_called_once_with(["east", "east_from_west"])

    def test_a_cluster_that_runs_no_service_is_told_of_as_such(self, functions):
        functions["nodeview.look"].return_value["answers"]["cluster"] = {}
        preflight.facts()
        functions["trepctl.composite_signs"].assert_called_once_with([])

    def test_signs_of_a_composite_are_not_asked_of_services_that_nobody_knows(self, functions):
        unread(functions, cluster="the replicator does not run")
        found = preflight.facts()
        assert (found["faults"], found["cluster"], found["composite"]) == (["the replicator does not run"], {}, [])
        functions["trepctl.composite_signs"].assert_not_called()
        functions["mysqld.ping"].assert_called_once_with()

    def test_every_fault_is_told(self, functions):
        unread(functions, cctrl="cctrl says no")
        functions["mysqld.ping"].side_effect = CommandExecutionError("mysqld says no")
        found = preflight.facts()
        assert found["faults"] == ["cctrl says no", "mysqld says no"]
        assert found["cctrl"] is None and found["mysql"] is False and found["cluster"] == SERVICES

    @pytest.mark.parametrize("name", ["nodeview.look", "trepctl.composite_signs"])
    def test_modules_not_synced(self, functions, name):
        del functions[name]
        assert preflight.facts()["faults"] == [f"{name} is not available here: salt east1 saltutil.sync_all"]

    def test_a_minion_of_no_site_is_asked_nothing_more(self, functions):
        functions["nodeview.look"].return_value = {"answers": {}, "faults": {"node": "a node of none"}}
        assert preflight.facts()["faults"] == ["a node of none"]
        for name in READS:
            functions[name].assert_not_called()
