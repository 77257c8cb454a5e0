"""survey: everything that is wrong at once, and whether a run goes on with an earlier one."""

import copy
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

survey = load("_modules", "survey")
fleet = load("_modules", "fleet")
hotguard = load("_modules", "hotguard")
preflight = load("_modules", "preflight")
readiness = load("_modules", "readiness")
resume = load("_modules", "resume")
topology_module = load("_modules", "topology")

RUN = "20260101T000000-7"
MINIONS = ["m-east1", "m-east2", "m-west1", "m-west2", "m-west3"]
TUNGSTEN = {
    "sites": {
        "east": {"nodes": {"east1": "m-east1", "east2": "m-east2"}},
        "west": {"nodes": {"west1": "m-west1", "west2": "m-west2", "west3": "m-west3"}},
    },
    "reprovision": {"failed": "east", "definitive": "west"},
}
SILENT = "does not answer preflight.facts (salt m-east2 test.ping)"
WARNING = {"node": "m-east1", "level": "warning", "what": "its clock is off", "do": "Set it."}


def source(role, **more):
    return {
        "role": role,
        "state": "ONLINE",
        "latency": 0.5,
        "dataserver": "ONLINE",
        "replicator": {"role": role, "state": "ONLINE"},
        **more,
    }


def record(**more):
    return {
        "run": RUN,
        "attempts": [{"started": "2026-01-01T00:00:00Z"}],
        "state": "failed",
        "failed": "east",
        "definitive": "west",
        "primary": "east1",
        "donor": "west3",
        "method": "rsync",
        "warm": True,
        "replica_method": "xtrabackup",
        "nodes": {site: settings["nodes"] for site, settings in TUNGSTEN["sites"].items()},
        "copied": False,
        **more,
    }


@pytest.fixture
def topology():
    return topology_module.merge(copy.deepcopy(TUNGSTEN), None)


@pytest.fixture
def sources():
    """The datasources of each site as cctrl shows them on all of its nodes."""
    return {
        "east": {"east1": source("master"), "east2": source("slave")},
        "west": {"west1": source("master"), "west2": source("slave", latency=0.1), "west3": source("slave")},
    }


@pytest.fixture
def facts(sources):
    found = {}
    for site, other in (("east", "west"), ("west", "east")):
        for host, minion in TUNGSTEN["sites"][site]["nodes"].items():
            found[minion] = {
                "node": {"site": site, "service": site, "host": host, "other_services": [other]},
                "cctrl": {"service": site, "composite": False, "datasources": sources[site]},
                "cluster": {site: {}},
                "cross_site": {other: {}},
                "composite": [],
                "mysql": True,
                "locations": {"datadir": {"path": f"/data/{host}", "files": []}},
                "copy": None,
                "foreign": [],
                "faults": [],
            }
    return found


def kept(facts):
    """What of it is told on, with the sizes that every node has told later."""
    return {minion: {**{key: fact[key] for key in ("locations", "node", "cctrl", "cluster", "cross_site")},
                     "contents": {"datadir": {"bytes": 7}}} for minion, fact in facts.items()}


@pytest.fixture
def answers(facts):
    """What the nodes say, by function; a string is a fault."""
    return {
        "preflight.facts": facts,
        "readiness.facts": {minion: {"time": 1.0, "contents": {"datadir": {"bytes": 7}}} for minion in MINIONS},
        "readiness.reach": {minion: {"east1": None} for minion in MINIONS},
        "hotguard.faults": {minion: [] for minion in MINIONS},
    }


@pytest.fixture
def functions(answers):
    def gather(minions, function, kwarg=None, timeout=60):
        said = {minion: answers[function][minion] for minion in minions}
        return {
            "answers": {minion: value for minion, value in said.items() if not isinstance(value, str)},
            "faults": {minion: value for minion, value in said.items() if isinstance(value, str)},
        }

    return {
        "fleet.gather": create_autospec(fleet.gather, side_effect=gather),
        "preflight.judge": create_autospec(preflight.judge, side_effect=preflight.judge),
        "resume.refusal": create_autospec(resume.refusal, side_effect=resume.refusal),
        "resume.contradiction": create_autospec(resume.contradiction, side_effect=resume.contradiction),
        "readiness.extension": create_autospec(readiness.extension, return_value={"version": "1", "digest": "d"}),
        "readiness.judge": create_autospec(readiness.judge, return_value=[WARNING]),
        "topology.way": topology_module.way,
    }


@pytest.fixture
def configure_loader_modules(functions):
    return {survey: {"__salt__": functions, "__opts__": {"__role": "master"}}}


def asked(functions):
    """Which function was asked of whom."""
    return [(call.args[1], call.args[0]) for call in functions["fleet.gather"].call_args_list]


def error(node, what):
    return {"node": node, "level": "error", "what": what, "do": "Remove the cause and run it again."}


def test_only_on_the_master():
    assert survey.__virtual__() == "survey"
    survey.__opts__["__role"] = "minion"
    assert survey.__virtual__() == (False, "survey asks all nodes from the master; this is a minion")


def test_all_is_well_and_warnings_are_told(topology, facts):
    assert survey.take(topology, None) == {
        "findings": [WARNING],
        "primaries": {"east": "east1", "west": "west1"},
        "donor": "west2",
        "resumes": False,
        "run": None,
        "why": "no run of this site is unfinished",
        "facts": kept(facts),
    }


def test_every_node_is_asked_and_the_donor_whether_it_reaches_the_primary(topology, functions):
    survey.take(topology, None)
    assert asked(functions) == [
        ("preflight.facts", MINIONS),
        ("readiness.facts", MINIONS),
        ("readiness.reach", ["m-west2"]),
    ]
    assert functions["fleet.gather"].call_args.kwargs["kwarg"] == {"hosts": ["east1"]}
    assert {call.kwargs["timeout"] for call in functions["fleet.gather"].call_args_list} == {survey.SECONDS}


def test_readiness_is_judged_by_all_that_was_said(topology, functions, answers, monkeypatch):
    clock, gather = [100.0], functions["fleet.gather"].side_effect

    def slow(minions, function, **kwargs):
        clock[0] += 60
        return gather(minions, function, **kwargs)

    functions["fleet.gather"].side_effect = slow
    monkeypatch.setattr(survey.time, "time", lambda: clock[0])
    survey.take(topology, None)
    functions["readiness.judge"].assert_called_once_with(
        topology,
        {"primaries": {"east": "east1", "west": "west1"}, "donor": "west2", "copied": False},
        {minion: {**said, "lag": None} for minion, said in answers["readiness.facts"].items()},
        {"east1": None},
        {"asked": [160.0, 220.0], "extension": {"version": "1", "digest": "d"}, "run": None},
    )


@pytest.mark.parametrize("services, lag", [
    ({"west": {"appliedLatency": 301.5}}, 301.5),
    ({"west": {"appliedLatency": 0.0}}, 0.0),
    ({"west": {"appliedLatency": -1.0}}, None),
    ({"west": {"appliedLatency": None}}, None),
    ({"west": {}}, None),
])
def test_how_far_each_node_is_behind_was_told_already(topology, functions, facts, services, lag):
    facts["m-west2"]["cluster"] = services
    facts["m-west2"]["cross_site"]["east"]["appliedLatency"] = 9.0
    survey.take(topology, None)
    ready = functions["readiness.judge"].call_args.args[2]
    assert {minion: said["lag"] for minion, said in ready.items()} == {**dict.fromkeys(MINIONS), "m-west2": lag}


def test_a_donor_that_is_behind_is_an_error(topology, functions, facts, answers):
    answers["readiness.facts"] = {minion: {"contents": None} for minion in MINIONS}
    facts["m-west2"]["cluster"]["west"]["appliedLatency"] = 301.5
    functions["readiness.judge"].side_effect = readiness.judge
    behind = [found for found in survey.take(topology, None)["findings"] if "behind its primary" in found["what"]]
    assert [(found["node"], found["level"]) for found in behind] == [("m-west2", "error")]


@pytest.mark.parametrize("previous", [None, record()], ids=["new", "resumed"])
def test_nothing_is_judged_while_a_node_is_silent(topology, functions, answers, previous):
    answers["preflight.facts"].update({"m-west1": "preflight.facts failed: x", "m-east2": SILENT})
    assert survey.take(topology, previous) == {
        "findings": [error("m-east2", SILENT), error("m-west1", "preflight.facts failed: x")],
        "primaries": {},
        "donor": None,
        "resumes": False,
        "run": None,
        "why": None,
        "facts": {},
    }
    assert len(asked(functions)) == 1
    functions["preflight.judge"].assert_not_called()


def test_what_does_not_fit_the_pillar_is_told_by_node_and_readiness_is_not_asked(topology, functions, facts):
    facts["m-east1"]["faults"] = ["cctrl: no such file: /opt/x"]
    facts["m-west3"]["cross_site"] = {}
    assert survey.take(topology, None)["findings"] == [
        error("m-east1", "cctrl: no such file: /opt/x"),
        error("m-west3", "its cross-site replicator has no service east"),
    ]
    assert asked(functions) == [("preflight.facts", MINIONS)]
    functions["readiness.judge"].assert_not_called()


def test_no_fit_donor_is_a_finding_about_the_site(topology, sources):
    for host in ("west2", "west3"):
        sources["west"][host]["state"] = "FAILED"
    assert survey.take(topology, None)["findings"] == [
        error("west", "none of its replicas is healthy enough to be the donor")
    ]


@pytest.mark.parametrize(
    "function, minion, words, findings",
    [
        ("readiness.facts", "m-east2", "does not answer", [error("m-east2", "does not answer")]),
        ("readiness.reach", "m-west2", "timed out", [error("m-west2", "timed out")]),
    ],
)
def test_who_does_not_tell_whether_it_is_ready_is_a_finding(topology, functions, answers, function, minion, words,
                                                           findings):
    answers[function][minion] = words
    found = survey.take(topology, None)
    assert found["findings"] == findings
    assert found["primaries"] == {"east": "east1", "west": "west1"}
    functions["readiness.judge"].assert_not_called()


def test_all_who_do_not_tell_are_named(topology, answers):
    answers["readiness.facts"].update({"m-west1": "b", "m-east1": "a"})
    assert [finding["node"] for finding in survey.take(topology, None)["findings"]] == ["m-east1", "m-west1"]


def test_an_extension_that_cannot_be_read_is_a_finding_about_the_master(topology, functions):
    functions["readiness.extension"].side_effect = CommandExecutionError("no such file")
    found = survey.take(topology, None)
    assert found["findings"] == [error("master", "no such file")] and found["facts"] == {}
    functions["readiness.judge"].assert_not_called()


@pytest.mark.parametrize("name", ["fleet.gather", "preflight.judge"])
def test_salt_itself_failing_is_no_finding(topology, functions, name):
    functions[name].side_effect = CommandExecutionError("the master is down")
    with pytest.raises(CommandExecutionError, match="the master is down"):
        survey.take(topology, None)


class TestResumes:
    def test_its_donor_is_kept_though_another_is_nearer_and_it_is_still_shunned(
        self, topology, functions, sources, facts
    ):
        sources["west"]["west3"].update(state="SHUNNED", dataserver="STOPPED", replicator={"state": "OFFLINE"})
        found = survey.take(topology, record())
        assert found == {
            "findings": [WARNING],
            "primaries": {"east": "east1", "west": "west1"},
            "donor": "west3",
            "resumes": True,
            "run": RUN,
            "why": None,
            "facts": kept(facts),
        }
        assert asked(functions)[-1] == ("readiness.reach", ["m-west3"]), "it has still to copy"
        *_, master = functions["readiness.judge"].call_args.args
        assert master["run"] == RUN, "its own jobs are not in its way"

    def test_after_the_copy_the_donor_does_not_matter(self, topology, functions, sources, facts):
        sources["west"]["west3"].update(state="FAILED", dataserver="STOPPED", replicator=None)
        facts["m-east1"]["copy"] = {"run": RUN, "state": "owned"}
        found = survey.take(topology, record(copied=True))
        assert (found["resumes"], found["donor"], found["findings"]) == (True, "west3", [WARNING])
        assert "readiness.reach" not in dict(asked(functions))
        _, roles, _, reach, _ = functions["readiness.judge"].call_args.args
        assert roles["copied"] is True and reach is None

    def test_before_the_copy_a_broken_donor_is_a_finding(self, topology, sources):
        sources["west"]["west3"].update(state="FAILED")
        found = survey.take(topology, record())
        assert found["findings"] == [error("west3", "cannot be the donor: its datasource is FAILED")]

    @pytest.mark.parametrize("there", [None, {"run": "20250101T000000-1", "state": "owned"}])
    def test_it_begins_anew_when_its_copy_is_gone_with_a_donor_that_is_fit(
        self, topology, functions, sources, facts, there
    ):
        sources["west"]["west3"].update(state="FAILED")
        facts["m-east1"]["copy"] = there
        # What another node says of itself is not asked for.
        facts["m-east2"]["copy"] = {"run": RUN, "state": "owned"}
        found = survey.take(topology, record(copied=True))
        assert found["why"] == f"the data on east1 are no longer the copy that run {RUN} made"
        assert (found["resumes"], found["donor"], found["findings"]) == (False, "west2", [WARNING])
        assert found["run"] is None, "what is begun anew goes on with nothing"
        assert asked(functions)[-1] == ("readiness.reach", ["m-west2"])
        _, roles, _, _, master = functions["readiness.judge"].call_args.args
        assert roles["copied"] is False and master["run"] is None

    def test_it_begins_anew_and_the_donor_that_was_ordered_has_to_be_fit(self, topology, sources):
        sources["west"]["west3"].update(state="SHUNNED")
        topology["reprovision"]["donor"] = "west3"
        found = survey.take(topology, record(copied=True))
        assert found["resumes"] is False
        assert found["findings"] == [error("west3", "cannot be the donor: its datasource is SHUNNED")]

    def test_what_would_be_deleted_is_a_finding_when_the_copy_has_to_be_made_again(self, topology, facts):
        facts["m-east1"].update(copy={"run": RUN, "state": "owned"}, foreign=["/data/x: a dump"])
        assert survey.take(topology, record(copied=True))["findings"] == [WARNING], "nothing will be deleted"
        facts["m-east1"]["copy"] = None
        (finding,) = survey.take(topology, record(copied=True))["findings"]
        assert finding["node"] == "m-east1" and finding["what"].endswith("has to stay: /data/x: a dump")

    def test_it_begins_anew_when_the_primary_is_another(self, topology, sources):
        sources["east"].update(east1=source("slave"), east2=source("master"))
        found = survey.take(topology, record())
        assert found["why"] == f"the primary is east2 now, in run {RUN} it was east1"
        assert (found["resumes"], found["primaries"]["east"], found["donor"]) == (False, "east2", "west2")

    def test_what_the_order_forbids_is_not_even_compared_with_the_nodes(self, topology, functions):
        topology["reprovision"]["fresh"] = True
        found = survey.take(topology, record())
        assert found["why"] == f"run {RUN} is not gone on with, since a fresh one was ordered"
        assert (found["resumes"], found["donor"]) == (False, "west2")
        functions["resume.contradiction"].assert_not_called()

    def test_it_changes_neither_topology_nor_record(self, topology, facts):
        previous = record(copied=True)
        before = copy.deepcopy((topology, previous))
        survey.take(topology, previous)
        facts["m-east1"]["copy"] = {"run": RUN, "state": "copied"}
        survey.take(topology, previous)
        assert (topology, previous) == before


class TestHot:
    ENGINE = "tables of the engine ROCKSDB (2, such as shop.x) are not for mariabackup"
    SUDO = "tungsten may not run by sudo: -u mysql mbstream -x"

    @pytest.fixture
    def hot(self):
        return topology_module.merge(copy.deepcopy(TUNGSTEN), {"method": "mariabackup"})

    @staticmethod
    def finding(node, what):
        return {"node": node, "level": "error", "what": what, "do": "Remove the cause, or copy with `method: rsync`."}

    def test_the_donor_and_the_primary_are_asked_what_speaks_against_it(self, hot, functions, facts):
        found = survey.take(hot, None)
        assert (found["findings"], found["facts"], found["donor"]) == ([WARNING], kept(facts), "west2")
        assert asked(functions) == [
            ("preflight.facts", MINIONS), ("readiness.facts", MINIONS), ("hotguard.faults", ["m-west2", "m-east1"]),
            ("readiness.reach", ["m-west2"])]
        call = functions["fleet.gather"].call_args_list[2]
        assert call.kwargs == {"kwarg": {"method": "mariabackup"}, "timeout": survey.SECONDS}

    def test_it_is_asked_as_it_can_be(self, hot, functions):
        """A method that the nodes did not know would be a finding of every hot run."""
        survey.take(hot, None)
        (kwarg,) = [call.kwargs["kwarg"] for call in functions["fleet.gather"].call_args_list
                    if call.args[1] == "hotguard.faults"]
        create_autospec(hotguard.faults)(**kwarg)

    @pytest.mark.parametrize("order", [{}, {"warm": False}])
    def test_of_another_way_nobody_is(self, functions, order):
        survey.take(topology_module.merge(copy.deepcopy(TUNGSTEN), order), None)
        assert "hotguard.faults" not in dict(asked(functions))

    def test_all_of_it_is_told_of_both_at_once(self, hot, functions, answers):
        answers["hotguard.faults"].update({"m-west2": [self.ENGINE, "no mariadb-backup"], "m-east1": [self.SUDO]})
        found = survey.take(hot, None)
        assert found["findings"] == [
            self.finding("m-east1", self.SUDO), self.finding("m-west2", self.ENGINE),
            self.finding("m-west2", "no mariadb-backup")]
        assert found["facts"] == {}
        functions["readiness.judge"].assert_not_called()

    def test_who_does_not_tell_is_a_finding_beside_it(self, hot, answers):
        answers["hotguard.faults"].update({"m-west2": SILENT, "m-east1": [self.SUDO]})
        assert survey.take(hot, None)["findings"] == [error("m-west2", SILENT), self.finding("m-east1", self.SUDO)]

    def test_the_hosts_are_those_of_the_run_that_is_gone_on_with(self, hot, functions):
        survey.take(hot, record(method="mariabackup"))
        assert ("hotguard.faults", ["m-west3", "m-east1"]) in asked(functions)

    def test_what_was_copied_is_not_asked_about(self, hot, functions, facts):
        facts["m-east1"]["copy"] = {"run": RUN, "state": "owned"}
        assert survey.take(hot, record(method="mariabackup", copied=True))["findings"] == [WARNING]
        assert "hotguard.faults" not in dict(asked(functions))
