"""
What the rendered orchestration promises. Salt swallows unknown options and counts silent minions as
successes, so each step's keys are held against a list, and the manual's order against the manual's.
"""

import inspect
import itertools
import json
import re
from unittest.mock import create_autospec

import pytest
import salt.config
import salt.loader
import salt.states.saltmod
import yaml
from salt.template import compile_template

from tests.support.loader import ROOT, load

ORCHESTRATION = ROOT / "orch" / "reprovision.sls"
NODE_FILES = sorted((ROOT / "orch" / "node").glob("*.sls"))
SLS_FILES = [ORCHESTRATION, *NODE_FILES, ROOT / "reactor" / "drift.sls"]
ALLOWED = {
    "preflight": {"failhard"},
    "step": {"nodes", "sls", "expect_minions", "few_at_once", "ways", "timeout", "until", "once",
             "while_donor_serves", "takes_donor", "copies", "gives_donor_back", "failhard", "require"},
    "verified": {"timeout", "until", "failhard", "require"},
    "complete": {"failhard", "require"},
}
REQUISITES = {"require", "failhard"}
# Step 9 is not needed, rsync writes as root. The donor is taken (06, 07) when the failed primary is ready for its data.
FIRST, LAST = ["01", "02", "03", "04", "05", "07", "08"], [f"{number}" for number in range(12, 21)]
MANUAL = [*FIRST, "06", "07", "10", "11", *LAST]
AHEAD = "10 data copied ahead"
COPY = "10 data copied from the donor"
STREAM = "10 data streamed from the donor"
PREPARE = "10 backup prepared"
# The numbers of the steps of each way to copy. One that never takes the donor has no 06, 07 of it and 11.
WAYS = {"cold": MANUAL, "warm": [*FIRST, "10", "06", "07", "10", "11", *LAST], "hot": [*FIRST, "10", "10", *LAST]}
RUN = {
    "run": "20260101T000000-7",
    "failed": "east",
    "definitive": "west",
    "primary": "east1",
    "donor": "west3",
    "method": "rsync",
    "warm": True,
    "replica_method": "xtrabackup",
    "donor_lease": 900,
    "compress": "zstd",
    "bwlimit": 50,
    "streams": 8,
    "begun": False,
}
HOT = {**RUN, "method": "mariabackup"}
SITES = {"east": {"nodes": ["east1", "east2"]}, "west": {"nodes": ["west1", "west3"]}}
NAMED = {**SITES, "east": {**SITES["east"], "service": "alpha"}}
# Which host, service and policy each SLS is about, given RUN and NAMED.
NAMES = {
    "data_copied": {"east1"},
    "data_copied_ahead": {"east1"},
    "data_streamed": {"east1"},
    "donor_given_back": {"west3"},
    "donor_shunned": {"west3"},
    "failed_service_forgotten": {"alpha"},
    "own_service_reset": {"alpha"},
    "policy_automatic": {"AUTOMATIC"},
    "policy_maintenance": {"MAINTENANCE"},
    "primary_shunned": {"east1"},
    "primary_welcomed": {"alpha", "east1"},
    "replica_provisioned": {"east1"},
}


@pytest.fixture(scope="module")
def render(tmp_path_factory):
    """Salt's own renderers, with nothing of this machine's configuration."""
    scratch = str(tmp_path_factory.mktemp("salt"))
    base = {
        **salt.config.DEFAULT_MINION_OPTS,
        "cachedir": scratch,
        "root_dir": scratch,
        "extension_modules": scratch,
        "file_client": "local",
        "file_roots": {"base": [str(ROOT)]},
        "id": "vm_master",
        "grains": {},
        "conf_file": "",
    }

    def render(path, pillar=None, **context):
        # No execution functions are given: a template that calls one does not render.
        renderers = salt.loader.render({**base, "pillar": pillar or {}}, {})
        return compile_template(str(path), renderers, "jinja|yaml", [], [], sls=path.stem, **context)

    return render


@pytest.fixture(scope="module")
def steps(render):
    """[(id, function, {key: value})] in the order of the file."""
    return list(chunks(render(ORCHESTRATION)))


def chunks(rendered):
    for name, states in rendered.items():
        for function, arguments in states.items():
            merged = {}
            for argument in arguments:
                assert len(argument) == 1 and not set(argument) & set(merged), f"{name}: {argument}"
                merged.update(argument)
            yield name, function, merged


def applied(steps):
    return [(name, arguments) for name, function, arguments in steps if function == "reprovision.step"]


def of_way(steps, way):
    return [(name, arguments) for name, arguments in applied(steps) if way in arguments.get("ways", [way])]


def ends(arguments):
    """The steps that end what a step brings about."""
    until = arguments.get("until", [])
    return until if isinstance(until, list) else [until]


class TestOrchestration:
    def test_only_its_own_steps_with_known_keys(self, steps):
        for name, function, arguments in steps:
            module, _, what = function.partition(".")
            assert module == "reprovision" and what in ALLOWED, name
            assert set(arguments) <= ALLOWED[what], name

    def test_the_allowed_keys_are_those_of_the_functions(self):
        module = load("_states", "reprovision")
        for what, keys in ALLOWED.items():
            parameters = set(inspect.signature(getattr(module, what)).parameters)
            assert keys - REQUISITES == parameters - {"name"}, what

    def test_the_first_failure_stops_the_run(self, steps):
        assert [name for name, _, arguments in steps if arguments.get("failhard") is not True] == []

    def test_each_requires_exactly_the_one_before(self, steps):
        assert "require" not in steps[0][2]
        for (before, _, _), (name, _, arguments) in itertools.pairwise(steps):
            assert arguments["require"] == [{"reprovision": before}], name

    def test_every_application_expects_its_nodes(self, steps):
        assert [
            name for name, arguments in applied(steps) if arguments.get("expect_minions") is not True
        ] == []

    def test_every_application_is_to_a_role_and_an_sls(self, steps):
        roles = load("_states", "reprovision").ROLES
        for name, arguments in applied(steps):
            assert arguments["nodes"] in roles, name
            assert arguments["sls"].startswith("orch.node."), name
            assert (ROOT / (arguments["sls"].replace(".", "/") + ".sls")).is_file(), name

    def test_no_sls_lies_about_unused(self, steps):
        assert {arguments["sls"].rpartition(".")[2] for _, arguments in applied(steps)} == {
            path.stem for path in NODE_FILES
        }

    @pytest.mark.parametrize("way", WAYS)
    def test_the_manuals_order_but_for_the_donor(self, steps, way):
        assert [name[:2] for name, _ in of_way(steps, way)] == WAYS[way]

    def test_which_steps_not_every_way_has(self, steps):
        assert {name: arguments["ways"] for name, arguments in applied(steps) if "ways" in arguments} == {
            AHEAD: ["warm"], "06 donor shunned, its replicator offline": ["warm", "cold"],
            "07 mysqld of the donor stopped": ["warm", "cold"], COPY: ["warm", "cold"],
            "11 donor given back": ["warm", "cold"], STREAM: ["hot"], PREPARE: ["hot"]}

    def test_the_ways_are_those_of_an_order(self, steps):
        topology = load("_modules", "topology")
        known = {topology.way({"method": method, "warm": warm})
                 for method in topology.CHOICES["method"] for warm in (True, False)}
        assert known == set(WAYS)
        assert all(set(arguments.get("ways", known)) <= known for _, arguments in applied(steps))

    @pytest.mark.parametrize("way, expected", [
        ("warm", [AHEAD, "06 donor shunned, its replicator offline", "07 mysqld of the donor stopped", COPY,
                  "11 donor given back"]),
        ("cold", ["06 donor shunned, its replicator offline", "07 mysqld of the donor stopped", COPY,
                  "11 donor given back"]),
        ("hot", [STREAM, PREPARE]),
    ])
    def test_the_donor_serves_until_the_failed_primary_is_ready_for_its_data(self, steps, way, expected):
        names = [name for name, _ in of_way(steps, way)]
        at, end = names.index("07 mysqld stopped"), names.index("12 ownership restored")
        assert names[at:end] == ["07 mysqld stopped", "08 data locations emptied", *expected]

    def test_a_hot_run_never_takes_the_donor(self, steps):
        hot = of_way(steps, "hot")
        assert not [name for name, arguments in hot if {"takes_donor", "gives_donor_back"} & set(arguments)]
        assert [(name, arguments["sls"]) for name, arguments in hot if arguments["nodes"] == "donor"] == [
            (STREAM, "orch.node.data_streamed")]

    @pytest.mark.parametrize("way", WAYS)
    def test_each_way_has_one_step_after_which_the_data_are_there(self, steps, way):
        assert [name for name, arguments in of_way(steps, way) if "copies" in arguments] == [
            PREPARE if way == "hot" else COPY]

    @pytest.mark.parametrize(
        "name, nodes, sls",
        [
            ("01", "failed primary", "policy_maintenance"),
            ("02", "failed primary", "routers_offline"),
            ("03", "other sites", "failed_service_forgotten"),
            ("04", "failed site", "cross_site_offline"),
            ("05", "failed primary", "primary_shunned"),
            ("06", "donor", "donor_shunned"),
            ("07 mysqld stopped", "failed primary", "mysqld_stopped"),
            ("07 mysqld of the donor stopped", "donor", "mysqld_stopped"),
            ("08", "failed primary", "data_emptied"),
            (AHEAD, "donor", "data_copied_ahead"),
            (COPY, "donor", "data_copied"),
            (STREAM, "donor", "data_streamed"),
            (PREPARE, "failed primary", "backup_prepared"),
            ("11", "donor", "donor_given_back"),
            ("12", "failed primary", "data_owned"),
            ("13", "failed primary", "mysqld_running"),
            ("14", "failed primary", "own_service_reset"),
            ("15", "failed primary", "primary_welcomed"),
            ("16", "failed replicas", "replica_provisioned"),
            ("17", "failed site", "cross_site_online"),
            ("18", "other sites", "cross_site_online"),
            ("19", "failed primary", "routers_online"),
            ("20", "failed primary", "policy_automatic"),
        ],
    )
    def test_what_is_done_where(self, steps, name, nodes, sls):
        ((_, arguments),) = [step for step in applied(steps) if f"{step[0]} ".startswith(f"{name} ")]
        assert (arguments["nodes"], arguments["sls"]) == (nodes, f"orch.node.{sls}")

    def test_only_replicas_are_provisioned_as_many_at_a_time_as_ordered(self, steps):
        assert {name[:2]: arguments["few_at_once"] for name, arguments in applied(steps) if "few_at_once" in arguments
                } == {"16": True}

    def test_what_a_step_brings_about_ends_with_a_later_one(self, steps):
        names = [name for name, _, _ in steps]
        for name, _, arguments in steps:
            for end in ends(arguments):
                assert names.index(end) > names.index(name), name
                assert "once" not in arguments, name

    @pytest.mark.parametrize("way", WAYS)
    def test_with_which_step_it_ends(self, steps, way):
        """Exactly one that this way has."""
        has = {name for name, _ in of_way(steps, way)}
        found = [(name[:2], [end for end in ends(arguments) if end in has])
                 for name, arguments in of_way(steps, way) if "until" in arguments]
        there = [PREPARE if way == "hot" else COPY]
        assert [(name, end if end == there else end[0][:2]) for name, end in found] == [
            ("01", "20"), ("02", "19"), ("03", "18"), ("04", "17"), ("05", "15"), ("07", there), ("08", there),
            *{"warm": [("10", there), ("06", there), ("07", there)], "cold": [("06", there), ("07", there)],
              "hot": [("10", there)]}[way],
            ("12", "13")]
        assert [len(end) for _, end in found] == [1] * len(found)

    def test_the_proof_ends_when_traffic_is_back(self, steps):
        ((_, _, arguments),) = [step for step in steps if step[1] == "reprovision.verified"]
        assert arguments["until"] == "19 routers online"

    @pytest.mark.parametrize("option, names", [
        ("once", [COPY, "11 donor given back", PREPARE, "14 own service reset and online"]),
        ("while_donor_serves", [AHEAD]),
        ("takes_donor", ["06 donor shunned, its replicator offline"]),
        ("copies", [COPY, PREPARE]),
        ("gives_donor_back", ["11 donor given back"]),
    ])
    def test_which_steps_happen_once_and_deal_with_the_donor(self, steps, option, names):
        given = {name: arguments[option] for name, _, arguments in steps if option in arguments}
        assert given == dict.fromkeys(names, True)

    @pytest.mark.parametrize("way", ["warm", "cold"])
    def test_the_donor_is_needed_by_no_step_beyond_the_one_that_gives_it_back(self, steps, way):
        """Whatever needs it at rest is behind a run that goes on once the copy has been made."""
        order = of_way(steps, way)
        taken, back = (next(index for index, (_, arguments) in enumerate(order) if option in arguments)
                       for option in ("takes_donor", "gives_donor_back"))
        copy = next(name for name, arguments in order if "copies" in arguments)
        for name, arguments in order[taken:back]:
            assert name == copy or ends(arguments) == [copy], name
        assert [name for name, arguments in order[back + 1:] if "donor" in arguments["nodes"]] == []

    def test_what_is_of_use_while_the_donor_serves_comes_before_it_is_taken(self, steps):
        order = of_way(steps, "warm")
        (ahead,) = [index for index, (_, arguments) in enumerate(order) if "while_donor_serves" in arguments]
        (taken,) = [index for index, (_, arguments) in enumerate(order) if "takes_donor" in arguments]
        assert ahead < taken

    def test_a_stream_is_made_anew_until_it_is_prepared(self, steps):
        """By a run that goes on: one that preparing has spoiled, in a place that is emptied anew."""
        given = {name: arguments for name, arguments in of_way(steps, "hot")}
        emptied = next(name for name in given if name.startswith("08 "))
        for name in (emptied, STREAM):
            assert PREPARE in ends(given[name]) and "once" not in given[name], name

    def test_a_failing_step_gives_the_donor_back_as_the_orchestration_does(self, steps):
        ((_, arguments),) = [step for step in applied(steps) if "gives_donor_back" in step[1]]
        assert arguments["sls"] == load("_states", "reprovision").RETURN_DONOR

    def test_begins_with_the_preflight_and_ends_with_the_proof(self, steps):
        functions = [function for _, function, _ in steps]
        assert functions[0] == "reprovision.preflight" and functions[-1] == "reprovision.complete"
        assert functions.count("reprovision.preflight") == functions.count("reprovision.complete") == 1

    def test_verified_before_traffic_comes_back(self, steps):
        order = [arguments.get("sls", function) for _, function, arguments in steps]
        assert order.count("reprovision.verified") == 1
        assert order.index("reprovision.verified") < order.index("orch.node.routers_online")
        assert order.index("orch.node.cross_site_online") < order.index("reprovision.verified")

    def test_pillar_changes_nothing(self, render):
        assert render(ORCHESTRATION, pillar={"tungsten": {"sites": SITES}, "reprovision": RUN}) == render(
            ORCHESTRATION
        )


@pytest.mark.parametrize("path", [ORCHESTRATION, *NODE_FILES], ids=lambda path: path.stem)
def test_options_that_lose_nodes(path):
    """What silently leaves nodes out, runs beside something else, or is broken in Salt."""
    words = r"\b(batch|subset|allow_fail|fail_minions|concurrent|parallel\w*|salt\.runner|salt\.wheel)\b"
    assert re.findall(words, path.read_text()) == []


@pytest.mark.parametrize("path", SLS_FILES, ids=lambda path: path.stem)
def test_templates_call_nothing(path):
    """Jinja runs before the first step and in test mode too."""
    source = path.read_text()
    code = re.sub(r"\{#.*?#\}|^\s*#.*?$", "", source, flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"salt\s*\[|salt\s*\.|\bimport\b|\binclude\b", code) == []


class TestNodeFiles:
    @pytest.mark.parametrize("run", [RUN, HOT], ids=["rsync", "hot"])
    @pytest.mark.parametrize(
        "sites", [SITES, NAMED], ids=["service named as the site", "service named otherwise"]
    )
    @pytest.mark.parametrize("path", NODE_FILES, ids=lambda path: path.stem)
    def test_the_states_exist_and_take_what_they_are_given(self, render, path, sites, run):
        for name, function, arguments in chunks(render(path, pillar=self.pillar(sites, run))):
            module, _, what = function.partition(".")
            state = getattr(load("_states", module), what)
            arguments.pop("require", None)
            inspect.signature(state).bind(**{"name": name, **arguments})

    @pytest.mark.parametrize("path", NODE_FILES, ids=lambda path: path.stem)
    def test_states_follow_each_other(self, render, path):
        before = None
        for name, function, arguments in chunks(render(path, pillar=self.pillar(SITES))):
            if before:
                assert arguments["require"] == [before], name
            before = {function.partition(".")[0]: name}

    @pytest.mark.parametrize("stem", sorted(NAMES))
    def test_what_they_are_about(self, render, stem):
        rendered = chunks(render(ROOT / "orch" / "node" / f"{stem}.sls", pillar=self.pillar(NAMED)))
        assert {arguments["name"] for _, _, arguments in rendered if "name" in arguments} == NAMES[stem]

    def test_no_host_or_service_without_this_table(self, render):
        for path in NODE_FILES:
            named = [
                name
                for name, _, arguments in chunks(render(path, pillar=self.pillar(NAMED)))
                if "name" in arguments
            ]
            assert bool(named) == (path.stem in NAMES), path.stem

    @pytest.mark.parametrize(
        "stem, which", [("own_service_reset", "cluster"), ("failed_service_forgotten", "cross_site")]
    )
    def test_a_reset_is_of_the_failed_sites_service_alone(self, render, stem, which):
        rendered = chunks(render(ROOT / "orch" / "node" / f"{stem}.sls", pillar=self.pillar(SITES)))
        resets = [arguments for _, function, arguments in rendered if function == "trepctl.reset"]
        assert [(arguments["name"], arguments["which"]) for arguments in resets] == [("east", which)]

    def test_no_other_file_resets(self):
        assert {path.stem for path in NODE_FILES if "trepctl.reset" in path.read_text()} == {
            "own_service_reset",
            "failed_service_forgotten",
        }

    def test_the_guards_get_the_site_and_the_donor(self, render):
        ((_, _, emptied),) = chunks(render(ROOT / "orch/node/data_emptied.sls", pillar=self.pillar(NAMED)))
        guarded = {"site": "east", "donor": "west3", "run": RUN["run"]}
        assert emptied == guarded
        ((_, function, emptied),) = chunks(
            render(ROOT / "orch/node/data_emptied.sls", pillar=self.pillar(NAMED, HOT)))
        assert function == "hotcopy.emptied" and emptied == {**guarded, "method": "mariabackup"}
        (_, _, copied) = list(chunks(render(ROOT / "orch/node/data_copied.sls", pillar=self.pillar(NAMED))))[-1]
        copied.pop("require")
        told = {"name": "east1", "site": "east", "run": RUN["run"], "begun": False, "wait": 5, "compress": "zstd",
                "bwlimit": 50, "streams": 8}
        assert copied == {**told, "warm": True}
        ((_, function, ahead),) = chunks(
            render(ROOT / "orch/node/data_copied_ahead.sls", pillar=self.pillar(NAMED)))
        assert function == "datadir.copied_ahead" and ahead == told, "nothing else is done to a donor that serves"
        ((_, function, streamed),) = chunks(
            render(ROOT / "orch/node/data_streamed.sls", pillar=self.pillar(NAMED, HOT)))
        assert function == "hotcopy.streamed" and streamed == {
            "name": "east1", "site": "east", "run": RUN["run"], "method": "mariabackup", "bwlimit": 50, "wait": 5}
        ((_, function, prepared),) = chunks(
            render(ROOT / "orch/node/backup_prepared.sls", pillar=self.pillar(NAMED, HOT)))
        assert function == "hotcopy.prepared" and prepared == {
            "run": RUN["run"], "method": "mariabackup", "wait": 5}
        ((_, _, owned),) = chunks(render(ROOT / "orch/node/data_owned.sls", pillar=self.pillar(NAMED)))
        assert owned == {"run": RUN["run"]}

    @pytest.mark.parametrize("begun", [False, True])
    @pytest.mark.parametrize("stem", ["data_copied", "data_copied_ahead", "replica_provisioned"])
    def test_a_long_job_knows_whether_it_was_begun_and_is_not_waited_for(self, render, stem, begun):
        pillar = {**self.pillar(SITES), "reprovision_run": {**RUN, "begun": begun}}
        arguments = list(chunks(render(ROOT / "orch" / "node" / f"{stem}.sls", pillar=pillar)))[-1][2]
        # salt.state is not to wait for it: the master polls.
        assert arguments["begun"] is begun and 0 < arguments["wait"] < 15
        assert arguments["run"] == RUN["run"]

    @pytest.mark.parametrize("warm", [False, True])
    def test_the_copy_at_rest_knows_of_one_ahead(self, render, warm):
        pillar = {**self.pillar(SITES), "reprovision_run": {**RUN, "warm": warm}}
        assert list(chunks(render(ROOT / "orch/node/data_copied.sls", pillar=pillar)))[-1][2]["warm"] is warm

    def test_no_other_file_begins_a_long_job(self):
        assert {path.stem for path in NODE_FILES if "begun" in path.read_text()} == {
            "data_copied", "data_copied_ahead", "replica_provisioned"}

    def test_whatever_is_waited_for_is_polled_by_the_master(self):
        """A stream that was begun, or its preparing, is told by the target's record, not by the attempt."""
        assert {path.stem for path in NODE_FILES if re.search(r"^\s+- wait:", path.read_text(), re.MULTILINE)} == {
            "backup_prepared", "data_copied", "data_copied_ahead", "data_streamed", "replica_provisioned"}

    @pytest.mark.parametrize("begun", [False, True])
    def test_the_pillar_of_these_tests_is_the_one_that_a_step_tells(self, monkeypatch, begun):
        module = load("_states", "reprovision")
        told = create_autospec(salt.states.saltmod.state, return_value={
            "name": "x", "result": True, "changes": {}, "comment": "States ran successfully. No changes made to m1."})
        monkeypatch.setattr(module, "__states__", {"salt.state": told}, raising=False)
        monkeypatch.setattr(module, "__salt__", {"applied.read": load("_modules", "applied").read}, raising=False)
        module._apply("x", ["m1"], "orch.node.x", {**RUN, "nodes": {}, "plan": []}, 15, begun)
        assert told.call_args.kwargs["pillar"] == {"reprovision_run": {**RUN, "begun": begun}}
        assert told.call_args.kwargs["pillar"]["reprovision_run"]["begun"] is begun

    @pytest.mark.parametrize("stem", ["donor_shunned", "data_copied"])
    def test_nothing_is_done_to_the_donor_before_it_can_give_itself_back(self, render, stem):
        (_, function, lent) = next(chunks(render(ROOT / "orch" / "node" / f"{stem}.sls", pillar=self.pillar(NAMED))))
        assert function == "donor.lent" and lent == {"loan": RUN, "seconds": 900}

    @pytest.mark.parametrize("sites, service", [(SITES, "east"), (NAMED, "alpha")])
    def test_given_back_it_does_so_no_more_and_serves_all_but_the_failed_site(self, render, sites, service):
        back = list(chunks(render(ROOT / "orch/node/donor_given_back.sls", pillar=self.pillar(sites))))
        assert [function for _, function, _ in back] == [
            "mysqld.running", "cctrl.datasource_online", "trepctl.online_all", "donor.returned"]
        services = back[2][2]
        assert (services["which"], services["but"]) == ("cross_site", [service])

    def test_only_the_donor_leaves_a_service_offline(self):
        assert {path.stem for path in NODE_FILES if re.search(r"^\s+- but:", path.read_text(), re.MULTILINE)} == {
            "donor_given_back"}

    @pytest.mark.parametrize("method", ["rsync", None], ids=["rsync", "odd method"])
    @pytest.mark.parametrize("path", NODE_FILES, ids=lambda path: path.stem)
    def test_odd_values_stay_values(self, render, path, method):
        """What comes from pillar is quoted as data: it can neither add a state nor an argument."""
        odd = 'x"\n    - force: True\nother:\n  cmd.run: []\n#'
        shape = [
            (name, function, set(arguments))
            for name, function, arguments in chunks(render(path, pillar=self.pillar(NAMED, RUN if method else HOT)))
        ]
        site = {**NAMED["east"], "service": odd}
        pillar = {
            "tungsten": {"sites": {"east": site}},
            "reprovision_run": {**dict.fromkeys(RUN, odd), "failed": "east", "method": method or odd},
        }
        assert shape == [
            (name, function, set(arguments))
            for name, function, arguments in chunks(render(path, pillar=pillar))
        ]

    @staticmethod
    def pillar(sites, run=RUN):
        return {"tungsten": {"sites": sites}, "reprovision_run": run}


class TestReactor:
    PATH = ROOT / "reactor" / "drift.sls"

    @pytest.mark.parametrize(
        "site",
        [
            "east",
            "",
            "a/b",
            'x"\n  local.cmd.run:\n',
            "{{ 1 + 1 }}",
            "{% raw %}",
            "$(id)",
            "ü",
            "x" * 1_000_000,
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_a_tag_is_data(self, render, site):
        rendered = render(
            self.PATH, tag=f"tungsten/drift/{site}", data={"id": "east1", "failed": "west", "site": "west"}
        )
        assert plain(rendered) == {
            "look at the site": {
                "runner.drift.react": [{"args": [{"site": site}, {"reporter": "east1"}]}]
            }
        }

    @pytest.mark.parametrize(
        "data", [{}, {"id": None}, {"id": 'x"\n'}, {"id": ["a"]}, {"id": {"a": "}}"}}], ids=repr
    )
    def test_an_event_is_data(self, render, data):
        rendered = plain(render(self.PATH, tag="tungsten/drift/east", data=data))
        (reaction,) = rendered["look at the site"]["runner.drift.react"]
        assert reaction["args"] == [{"site": "east"}, {"reporter": str(data.get("id", ""))}]

    def test_the_arguments_are_those_of_the_runner(self, render):
        rendered = plain(render(self.PATH, tag="tungsten/drift/east", data={}))
        ((function, (reaction,)),) = rendered["look at the site"].items()
        runner = load("_runners", "drift")
        assert function == f"runner.{runner.__virtualname__}.react"
        inspect.signature(runner.react).bind(
            **{key: value for item in reaction["args"] for key, value in item.items()}
        )

    def test_the_masters_configuration(self):
        configuration = yaml.safe_load((ROOT / "reactor" / "master.d" / "reprovision.conf").read_text())
        assert configuration == {"reactor": [{"tungsten/drift/*": ["salt://reactor/drift.sls"]}]}


def plain(rendered):
    return json.loads(json.dumps(rendered))


def test_minions_may_not_call_runners():
    """With peer_run, or peer, root on any minion could start a run. The pages may warn of it, but set it nowhere."""
    folders = ["docs", "orch", "pillar", "reactor", "tests/lab"]
    files = [
        ROOT / "README.md",
        *(path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()),
    ]
    assert len(files) > 25
    texts = {path: path.read_text(errors="replace") for path in files if path.suffix != ".pyc"}
    assert [path for path, text in texts.items() if re.search(r"\bpeer(_run)?[\"']?\s*:", text)] == []
