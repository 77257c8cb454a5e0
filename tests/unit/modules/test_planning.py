"""planning: what binds a plan and what does not, how long it is told to take and why, and what would be lost."""

import copy
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import ROOT, load

planning = load("_modules", "planning")
applied = load("_modules", "applied")
fleet = load("_modules", "fleet")
readiness = load("_modules", "readiness")
runrecord = load("_modules", "runrecord")
runwords = load("_modules", "runwords")
topology_module = load("_modules", "topology")

RUN = "20260101T000000-7"
TUNGSTEN = {
    "sites": {
        "east": {"nodes": {"east1": "m-east1", "east2": "m-east2", "east3": "m-east3"}, "service": "eastern"},
        "west": {"nodes": {"west1": "m-west1", "west2": "m-west2"}},
        "north": {"nodes": {"north1": "m-north1"}},
    },
    "reprovision": {"failed": "east", "definitive": "west"},
    "plans": {"second_person": True},
}
GIGA = 1_000_000_000
OUT, STOPPED, BACK = planning.DONOR_OUT
STEPS = ["00 preflight", "07 mysqld stopped", planning.AHEAD, OUT, STOPPED, planning.COPY, BACK, "13 mysqld started",
         planning.REPLICAS, "complete"]
COLD = [name for name in STEPS if name != planning.AHEAD]
HOT = ["00 preflight", "07 mysqld stopped", planning.STREAM, planning.PREPARE, "13 mysqld started", planning.REPLICAS,
       "complete"]
WARNING = {"node": "m-east1", "level": "warning", "what": "its clock is off", "do": "Set it."}


@pytest.fixture
def topology():
    return topology_module.merge(copy.deepcopy(TUNGSTEN), None)


def contents(used, free=5 * GIGA, **more):
    return {"datadir": {"path": "/var/lib/mysql", "entries": 1, "bytes": used, "free": free, "device": 1}, **more}


@pytest.fixture
def found():
    minions = [minion for site in TUNGSTEN["sites"].values() for minion in site["nodes"].values()]
    return {
        "findings": [WARNING], "primaries": {"east": "east1", "west": "west1", "north": "north1"}, "donor": "west2",
        "resumes": False, "run": None, "why": "no run of this site is unfinished",
        "facts": {minion: {"locations": {"datadir": {"path": "/var/lib/mysql", "files": []}},
                           "contents": contents(GIGA)} for minion in minions},
    }  # fmt: skip


@pytest.fixture
def positions():
    """What trepctl says, by service and minion; a text is a fault."""
    return {("eastern", "cluster"): {"m-east1": 100},
            ("eastern", "cross_site"): {"m-west1": 97, "m-west2": 90, "m-north1": 100}}


@pytest.fixture
def records():
    return []


@pytest.fixture
def functions(positions, records):
    def gather(minions, function, kwarg=None, timeout=60):
        assert function == "trepctl.position"
        said = positions[kwarg["service"], kwarg["which"]]
        return {"answers": {minion: said[minion] for minion in minions if not isinstance(said[minion], str)},
                "faults": {minion: said[minion] for minion in minions if isinstance(said[minion], str)}}

    return {
        "fleet.gather": create_autospec(fleet.gather, side_effect=gather),
        "readiness.extension": create_autospec(readiness.extension, return_value={"version": "1", "digest": "d"}),
        "readiness.text": create_autospec(readiness.text, side_effect=readiness.text),
        **{f"runwords.{name}": create_autospec(getattr(runwords, name), side_effect=getattr(runwords, name))
           for name in ("size", "duration")},
        "topology.way": create_autospec(topology_module.way, side_effect=topology_module.way),
        "runrecord.every": create_autospec(
            runrecord.every, side_effect=lambda site: [run for run in records if run["failed"] == site]),
    }


@pytest.fixture
def configure_loader_modules(functions):
    return {planning: {"__salt__": functions, "__opts__": {"__role": "master"}}}


def listed(*left_out, steps=STEPS):
    return [{"step": name, "nodes": ["m-east1"], "what": ["m-east1: would be done"], "needed": name not in left_out}
            for name in steps]


def make(topology, found, losses=None, steps=None):
    return planning.make(topology, found, listed() if steps is None else steps, losses)


def run(seconds, run=RUN, plan=STEPS, **more):
    """A record to learn from."""
    return {
        "run": run, "state": "done", "failed": "east", "attempts": [{}], "plan": plan, "bytes": 2 * GIGA,
        "replica_method": "xtrabackup", "nodes": TUNGSTEN["sites"] and {"east": TUNGSTEN["sites"]["east"]["nodes"]},
        "steps": {name: {"state": "done", "seconds": seconds.get(name, 1.0)} for name in plan}, **more,
    }  # fmt: skip


def test_only_on_the_master():
    assert planning.__virtual__() == "planning"
    planning.__opts__["__role"] = "minion"
    assert planning.__virtual__()[0] is False


def test_the_names_of_the_steps_and_the_words_are_those_of_the_orchestration():
    sls = (ROOT / "orch/reprovision.sls").read_text()
    for name in (planning.AHEAD, planning.COPY, planning.STREAM, planning.PREPARE, planning.REPLICAS,
                 *planning.DONOR_OUT):
        assert f"\n{name}:\n" in sls
    assert f'f"{planning.LEFT_OUT}{{run' in (ROOT / "_states/reprovision.py").read_text()
    unchanged = {"result": True, "changes": {}, "comment": "States ran successfully. No changes made to m."}
    assert applied.read(["m"], unchanged)["comments"] == [f"m: {planning.UNCHANGED}"]


class TestBinding:
    def test_all_that_binds(self, topology, found):
        sites = {site: {"service": "eastern" if site == "east" else site, "cluster_home": "/opt/continuent",
                        "cross_site_home": "/opt/replicator", "user": "tungsten",
                        "mysql": {"unit": "auto", "defaults_file": "/etc/mysql/my.cnf"}} for site in TUNGSTEN["sites"]}
        assert planning.binding(topology, found) == {
            "order": {"failed": "east", "definitive": "west", "donor": "west2", "method": "rsync", "warm": True,
                      "replica_method": "xtrabackup"},
            "primaries": {"east": "east1", "west": "west1", "north": "north1"},
            "nodes": {site: settings["nodes"] for site, settings in TUNGSTEN["sites"].items()},
            "sites": sites,
            "locations": {minion: {"datadir": {"path": "/var/lib/mysql", "files": []}}
                          for minion in ("m-east1", "m-west2")},
            "extension": "d",
            "resumes": None,
        }

    @pytest.mark.parametrize("change", [
        lambda topology, found: found["primaries"].update(west="west2"),
        lambda topology, found: found["primaries"].update(east="east2"),
        lambda topology, found: found["primaries"].update(north="north2"),
        lambda topology, found: found.update(donor="west1"),
        lambda topology, found: found.update(run=RUN),
        lambda topology, found: topology["reprovision"].update(method="tar"),
        lambda topology, found: topology["reprovision"].update(warm=False),
        lambda topology, found: topology["reprovision"].update(replica_method="mysqldump"),
        lambda topology, found: topology["sites"]["north"]["nodes"].update(north1="another"),
        lambda topology, found: topology["sites"]["north"]["nodes"].update(north2="m-north2"),
        lambda topology, found: topology["sites"]["west"].update(service="west2"),
        lambda topology, found: topology["sites"]["west"].update(cluster_home="/opt/x"),
        lambda topology, found: topology["sites"]["west"].update(cross_site_home="/opt/x"),
        lambda topology, found: topology["sites"]["west"].update(user="root"),
        lambda topology, found: topology["sites"]["west"]["mysql"].update(unit="mysqld"),
        lambda topology, found: found["facts"]["m-east1"]["locations"]["datadir"].update(path="/data"),
        lambda topology, found: found["facts"]["m-east1"]["locations"]["datadir"].update(files=["a.*"]),
        lambda topology, found: found["facts"]["m-west2"]["locations"].update(undo={"path": "/u", "files": []}),
    ])
    def test_each_of_it_does(self, topology, found, change):
        before = planning.binding(topology, found)
        change(topology, found)
        now = planning.binding(topology, found)
        assert planning.digest(now) != planning.digest(before) and len(planning.changes(before, now)) >= 1

    @pytest.mark.parametrize("change", [
        lambda topology, found: found["facts"]["m-east1"].update(contents=contents(7, 8)),
        lambda topology, found: found["facts"]["m-east1"].update(contents=None),
        lambda topology, found: found["facts"]["m-east2"]["locations"].clear(),
        lambda topology, found: found.update(findings=[], why="another reason"),
        lambda topology, found: topology["reprovision"].update(patience=99, donor_lease=99, insist=True),
        lambda topology, found: topology["reprovision"].update(compress="zstd", bwlimit=50, replica_parallel=2),
        lambda topology, found: topology["plans"].update(hours=1),
    ])
    def test_what_moves_all_the_time_does_not(self, topology, found, change):
        before = planning.binding(topology, found)
        change(topology, found)
        assert planning.binding(topology, found) == before

    def test_the_code_on_the_nodes_does(self, topology, found, functions):
        before = planning.binding(topology, found)
        functions["readiness.extension"].return_value = {"version": "1", "digest": "e"}
        assert planning.changes(before, planning.binding(topology, found)) == ["extension was d, is e"]

    def test_the_order_of_keys_is_no_fact(self, topology, found):
        facts = planning.binding(topology, found)
        assert planning.digest(dict(reversed(facts.items()))) == planning.digest(facts)

    def test_what_is_not_told_of_a_location_is_taken_from_what_it_holds(self, topology, found):
        found["facts"]["m-east1"]["locations"] = {}
        assert planning.binding(topology, found)["locations"]["m-east1"]["datadir"]["path"] == "/var/lib/mysql"


class TestChanges:
    def test_what_has_changed_is_named(self):
        before = {"order": {"donor": "west2"}, "nodes": {"east": {"east1": "m1", "east2": "m2"}}, "resumes": None,
                  "locations": {"m1": {"datadir": {"path": "/a", "files": []}}}, "gone": {"a": 1}}
        now = {"order": {"donor": "west3"}, "nodes": {"east": {"east1": "m1", "east3": "m3"}}, "resumes": RUN,
               "locations": {"m1": {"datadir": {"path": "/a", "files": ["x"]}}}, "gone": {}}
        assert planning.changes(before, now) == [
            "order:donor was west2, is west3",
            "nodes:east:east2 was m2, is none",
            f"resumes was none, is {RUN}",
            'locations:m1:datadir:files was none, is ["x"]',
            "gone:a was 1, is none",
            "nodes:east:east3 was none, is m3",
        ]

    def test_nothing(self, topology, found):
        facts = planning.binding(topology, found)
        assert planning.changes(facts, copy.deepcopy(facts)) == []


class TestSteps:
    def state(self, number, name, comment, result=None):
        return {"name": name, "comment": comment, "result": result, "__run_num__": number}

    def test_every_step_with_its_nodes_in_their_order(self, topology):
        states = {
            "b": self.state(1, "03 reset", "m-west1: would be reset\nm-west1: and\nm-north1: nothing to change\n\n"),
            "c": self.state(2, "06 shunned", "Done in attempt 1; it holds until step '10'.", True),
            "a": self.state(0, "00 preflight", "Site east will be rebuilt.\n  WARNING m-east1: its clock"),
            "d": self.state(3, "13 started", "m-east1: nothing to change", True),
        }
        assert planning.steps(states, topology) == [
            {"step": "00 preflight", "nodes": [], "needed": True,
             "what": ["Site east will be rebuilt.", "WARNING m-east1: its clock"]},
            {"step": "03 reset", "nodes": ["m-west1", "m-north1"], "needed": True,
             "what": ["m-west1: would be reset", "m-west1: and", "m-north1: as it is now"]},
            {"step": "06 shunned", "nodes": [], "needed": False,
             "what": ["Done in attempt 1; it holds until step '10'."]},
            # It is started now; in the run it will have been stopped.
            {"step": "13 started", "nodes": ["m-east1"], "needed": True, "what": ["m-east1: as it is now"]},
        ]

    @pytest.mark.parametrize("way", ["cold", "warm"])
    def test_one_that_the_way_to_copy_does_not_have_is_not_listed(self, topology, way):
        states = {"a": self.state(0, "00 preflight", "Site east will be rebuilt."),
                  "b": self.state(1, "10 ahead", f"No step of a {way} copy.", True),
                  "c": self.state(2, "06 shunned", "m-west2: would be shunned")}
        assert [step["step"] for step in planning.steps(states, topology)] == ["00 preflight", "06 shunned"]

    def test_one_that_fails_makes_no_plan(self, topology):
        states = {"a": self.state(0, "00 preflight", "it is locked", False),
                  "b": self.state(1, "01 policy", "One or more requisite failed", False)}
        with pytest.raises(CommandExecutionError, match="(?s)00 preflight: it is locked.*01 policy: One or more"):
            planning.steps(states, topology)

    @pytest.mark.parametrize("returned", ["Exception occurred in runner state.orchestrate", None, ["No matching sls"]])
    def test_what_is_no_states_makes_no_plan(self, topology, returned):
        with pytest.raises(CommandExecutionError, match="could not be tried with test=True"):
            planning.steps(returned, topology)


class TestMake:
    def test_the_whole(self, topology, found):
        plan = make(topology, found)
        assert set(plan) == {
            "site", "binding", "digest", "second_person", "resumes", "why_not_resumed", "steps", "sizes", "expected",
            "warnings", "lost"}
        assert plan["site"] == "east" and plan["second_person"] is True and plan["steps"] == listed()
        assert plan["digest"] == planning.digest(plan["binding"])
        assert plan["warnings"] == ["WARNING m-east1: its clock is off - Set it."]
        assert (plan["resumes"], plan["why_not_resumed"]) == (None, "no run of this site is unfinished")

    def test_nothing_is_changed_by_it(self, topology, found, functions):
        before = copy.deepcopy((topology, found))
        make(topology, found)
        assert (topology, found) == before
        assert {call.args[1] for call in functions["fleet.gather"].call_args_list} == {"trepctl.position"}

    def test_a_file_systems_room_is_there_only_once(self, topology, found):
        place = contents(GIGA)["datadir"]
        found["facts"]["m-east1"]["contents"] = contents(
            GIGA, log={**place, "bytes": 7}, undo={**place, "bytes": 1, "free": 2, "device": 2})
        found["facts"]["m-east2"]["contents"] = None
        del found["facts"]["m-east3"]
        sizes = make(topology, found)["sizes"]
        assert sizes["m-east1"] == {"used": GIGA + 8, "free": 5 * GIGA + 2}
        assert sizes["m-east2"] == sizes["m-east3"] == {"used": None, "free": None}
        assert list(sizes) == ["m-east1", "m-east2", "m-east3", "m-west1", "m-west2", "m-north1"]

    def test_how_to_save_what_would_be_lost(self, topology, found):
        save = make(topology, found)["lost"]["save"]
        assert [each["command"] for each in save] == [
            "salt-run drift.check reference=west", "salt-run drift.save east", "tungsten_find_orphaned"]
        assert "on east1" in save[2]["what"]

    def test_rows_are_what_the_check_said(self, topology, found):
        losses = {"check": "x", "tables": {}}
        assert make(topology, found, losses)["lost"]["rows"] == losses
        assert make(topology, found)["lost"]["rows"] is None


class TestExpected:
    def test_assumed_while_nothing_is_on_record(self, topology, found):
        found["facts"]["m-west2"]["contents"] = contents(20 * GIGA)
        expected = make(topology, found)["expected"]
        rate = {"seconds": 200, "basis": "assumed: 100 MB/s"}
        assert expected["copy"] == {**rate, "bytes": 20 * GIGA}
        assert expected["replicas"] == {"east2": rate, "east3": rate}
        assert expected["other"] == {"seconds": 120, "basis": "assumed: 120 s"}
        assert expected["total"]["seconds"] == 200 * 3 + 120
        # Only what has changed meanwhile is left to copy.
        assert expected["donor_outage"] == {
            "seconds": 20 + 30, "basis": "assumed: 10% of the copy are left to it; assumed: 30 s beside the copy"}

    def test_in_a_cold_run_the_donor_is_out_all_of_the_copy(self, topology, found):
        topology["reprovision"]["warm"] = False
        found["facts"]["m-west2"]["contents"] = contents(20 * GIGA)
        expected = make(topology, found)["expected"]
        assert expected["copy"]["seconds"] == 200 and expected["total"]["seconds"] == 200 * 3 + 120
        assert expected["donor_outage"] == {"seconds": 230, "basis": "assumed: 100 MB/s; assumed: 30 s beside the copy"}

    def test_in_a_hot_run_it_is_never_out(self, topology, found):
        topology["reprovision"]["method"] = "mariabackup"
        found["facts"]["m-west2"]["contents"] = contents(20 * GIGA)
        expected = make(topology, found, steps=listed(steps=HOT))["expected"]
        assert expected["copy"]["seconds"] == 200 and expected["total"]["seconds"] == 200 * 3 + 120
        assert expected["donor_outage"] == {"seconds": 0, "basis": "it goes on serving"}

    def test_a_hot_run_learns_from_a_hot_one_what_was_streamed_and_prepared(self, topology, found, records):
        topology["reprovision"]["method"] = "mariabackup"
        records.append(run({planning.STREAM: 30.0, planning.PREPARE: 10.0, planning.REPLICAS: 160.0}, plan=HOT))
        expected = make(topology, found, steps=listed(steps=HOT))["expected"]
        basis = f"as run {RUN} did"
        assert expected["copy"] == {"seconds": 20, "bytes": GIGA, "basis": basis}
        assert expected["other"] == {"seconds": 4, "basis": basis}
        assert expected["total"] == {"seconds": 20 + 80 + 4, "basis": basis}

    @pytest.mark.parametrize("warm", [True, False])
    def test_of_a_hot_one_another_learns_nothing_of_the_donor(self, topology, found, records, warm):
        topology["reprovision"]["warm"] = warm
        records.append(run({planning.STREAM: 30.0, planning.PREPARE: 10.0}, plan=HOT))
        expected = make(topology, found)["expected"]
        assert expected["copy"] == {"seconds": 20, "bytes": GIGA, "basis": f"as run {RUN} did"}
        assert expected["donor_outage"]["seconds"] == (2 if warm else 20) + 30
        assert expected["donor_outage"]["basis"].endswith("assumed: 30 s beside the copy")

    @pytest.mark.parametrize("left_out, seconds", [
        ([], 10), ([planning.STREAM], 10), ([planning.STREAM, planning.PREPARE], 0)])
    def test_a_hot_copy_has_been_made_when_it_is_prepared(self, topology, found, left_out, seconds):
        topology["reprovision"]["method"] = "mariabackup"
        expected = make(topology, found, steps=listed(*left_out, steps=HOT))["expected"]
        assert expected["copy"]["seconds"] == seconds and expected["donor_outage"]["seconds"] == 0

    def test_learnt_from_the_newest_run_that_tells(self, topology, found, records):
        records.append(run({planning.AHEAD: 999.0, planning.COPY: 999.0}))
        records.append(run({planning.AHEAD: 36.0, planning.COPY: 4.0, planning.REPLICAS: 160.0, OUT: 5.0},
                           run="20260201T000000-7"))
        expected = make(topology, found)["expected"]
        basis = "as run 20260201T000000-7 did"
        # Of 2 GB 36 s were copied ahead and 4 s with the donor out of service.
        assert expected["copy"] == {"seconds": 20, "bytes": GIGA, "basis": basis}
        assert expected["replicas"] == {host: {"seconds": 40, "basis": basis} for host in ("east2", "east3")}
        assert expected["other"] == {"seconds": 11, "basis": basis}
        # What has changed during a copy is no matter of its size.
        assert expected["donor_outage"] == {"seconds": 4 + 5 + 1 + 1, "basis": basis}
        assert expected["total"] == {"seconds": 20 + 80 + 11, "basis": basis}

    def test_a_warm_run_learns_from_a_cold_one_all_but_what_is_left_to_it(self, topology, found, records):
        records.append(run({planning.COPY: 40.0, OUT: 5.0}, plan=COLD))
        expected = make(topology, found)["expected"]
        assert expected["copy"] == {"seconds": 20, "bytes": GIGA, "basis": f"as run {RUN} did"}
        assert expected["donor_outage"] == {
            "seconds": 2 + 7, "basis": f"assumed: 10% of the copy are left to it; as run {RUN} did"}

    def test_a_cold_run_learns_from_a_warm_one(self, topology, found, records):
        topology["reprovision"]["warm"] = False
        records.append(run({planning.AHEAD: 36.0, planning.COPY: 4.0, OUT: 5.0}))
        expected = make(topology, found)["expected"]
        assert expected["copy"] == {"seconds": 20, "bytes": GIGA, "basis": f"as run {RUN} did"}
        assert expected["donor_outage"] == {"seconds": 20 + 7, "basis": f"as run {RUN} did"}
        assert expected["other"] == {"seconds": 5 + 6, "basis": f"as run {RUN} did"}

    @pytest.mark.parametrize("name", [OUT, STOPPED, planning.COPY, BACK])
    def test_a_warm_run_that_does_not_tell_all_of_it_tells_nothing_of_the_donor(self, topology, found, records, name):
        records.append(run({planning.COPY: 4.0}))
        del records[0]["steps"][name]["seconds"]
        assert make(topology, found)["expected"]["donor_outage"]["basis"].startswith("assumed: 10% of the copy")

    def test_the_donor_of_a_warm_run_is_known_though_its_size_is_not(self, topology, found, records):
        found["facts"]["m-west2"]["contents"] = None
        records.append(run({planning.COPY: 4.0}))
        expected = make(topology, found)["expected"]
        assert expected["copy"]["seconds"] is None
        assert expected["donor_outage"] == {"seconds": 4 + 3, "basis": f"as run {RUN} did"}

    def test_a_run_of_an_older_release_had_other_steps_for_the_donor(self, topology, found, records):
        older = ["00 preflight", OUT, "07 mysqld stopped", planning.COPY, BACK, planning.REPLICAS, "complete"]
        records.append(run({planning.COPY: 40.0}, plan=older))
        expected = make(topology, found)["expected"]
        assert expected["copy"]["seconds"] == 20
        assert expected["donor_outage"]["basis"] == (
            "assumed: 10% of the copy are left to it; assumed: 30 s beside the copy")

    def test_learnt_from_the_newest_cold_run_that_tells(self, topology, found, records):
        topology["reprovision"]["warm"] = False
        records.append(run({planning.COPY: 999.0}, plan=COLD))
        records.append(run({planning.COPY: 40.0, planning.REPLICAS: 160.0, OUT: 5.0},
                           run="20260201T000000-7", plan=COLD))
        expected = make(topology, found)["expected"]
        basis = "as run 20260201T000000-7 did"
        # 2 GB took 40 s, and 160 s for two replicas.
        assert expected["copy"] == {"seconds": 20, "bytes": GIGA, "basis": basis}
        assert expected["replicas"] == {host: {"seconds": 40, "basis": basis} for host in ("east2", "east3")}
        assert expected["other"] == {"seconds": 11, "basis": basis}
        assert expected["donor_outage"] == {"seconds": 27, "basis": basis}
        assert expected["total"] == {"seconds": 20 + 80 + 11, "basis": basis}

    def test_a_run_of_another_site_tells_as_well(self, topology, found, records):
        records.append(run({planning.AHEAD: 39.0}, failed="west", nodes={"west": {"west1": "a", "west2": "b"}}))
        expected = make(topology, found)["expected"]
        assert expected["copy"]["seconds"] == 20 and expected["replicas"]["east2"]["basis"] == f"as run {RUN} did"

    @pytest.mark.parametrize("more", [
        {"state": "failed"}, {"attempts": [{}, {}]}, {"bytes": None}, {"bytes": 99_999_999},
        {"steps": {}}, {"attempts": []}])
    def test_a_run_that_tells_no_rate(self, topology, found, records, more):
        records.append({**run({planning.COPY: 40.0}), **more})
        assert make(topology, found)["expected"]["copy"]["basis"] == "assumed: 100 MB/s"

    def test_a_record_of_an_older_release_tells_no_rate_but_the_rest(self, topology, found, records):
        records.append(run({}))
        del records[0]["bytes"]
        expected = make(topology, found)["expected"]
        assert expected["copy"]["basis"] == "assumed: 100 MB/s" and expected["other"]["basis"] == f"as run {RUN} did"

    @pytest.mark.parametrize("more", [{"replica_method": "mysqldump"}, {"nodes": {"east": {"east1": "m"}}}])
    def test_replicas_are_learnt_from_replicas_made_alike(self, topology, found, records, more):
        records.append({**run({planning.REPLICAS: 100.0}), **more})
        assert make(topology, found)["expected"]["replicas"]["east2"]["basis"] == "assumed: 100 MB/s"

    def test_a_donor_that_does_not_tell_its_size(self, topology, found):
        found["facts"]["m-west2"]["contents"] = None
        expected = make(topology, found)["expected"]
        assert expected["copy"]["seconds"] is None and "does not tell" in expected["copy"]["basis"]
        assert expected["total"]["seconds"] is None and expected["donor_outage"]["seconds"] is None
        planning.text(shown(make(topology, found)))

    def test_a_copy_that_has_been_made_takes_no_time_and_no_donor(self, topology, found):
        found.update(resumes=True, run=RUN, why=None)
        expected = make(topology, found, steps=listed(planning.COPY))["expected"]
        assert expected["copy"] == {"seconds": 0, "bytes": GIGA, "basis": "it has been done"}
        assert expected["donor_outage"]["seconds"] == 0
        assert expected["total"]["seconds"] == 2 * 10 + 120

    def test_a_site_of_one_node_has_no_replicas(self, topology, found):
        topology["reprovision"].update(failed="north")
        planning.__salt__["fleet.gather"].side_effect = lambda minions, *_, **__: {
            "answers": {minion: 5 for minion in minions}, "faults": {}}
        assert make(topology, found)["expected"]["replicas"] == {}


class TestUnreplicated:
    def lost(self, topology, found):
        return make(topology, found)["lost"]["unreplicated"]

    def test_by_the_one_of_each_site_that_is_furthest_behind(self, topology, found):
        assert self.lost(topology, found) == {
            "west": {"transactions": 10, "what": "east1 is at 100, west2 at 90"},
            "north": {"transactions": 0, "what": "east1 is at 100, north1 at 100"},
        }

    def test_the_others_are_asked_first_so_that_nothing_written_meanwhile_is_overlooked(
            self, topology, found, functions):
        make(topology, found)
        asked = [(call.args[0], call.kwargs["kwarg"]) for call in functions["fleet.gather"].call_args_list]
        assert asked == [
            (["m-west1", "m-west2", "m-north1"], {"service": "eastern", "which": "cross_site"}),
            (["m-east1"], {"service": "eastern", "which": "cluster"}),
        ]

    def test_one_that_has_nothing_yet(self, topology, found, positions):
        positions["eastern", "cross_site"]["m-west2"] = -1
        assert self.lost(topology, found)["west"]["transactions"] == 101

    def test_what_cannot_be_read_is_said_and_not_taken_for_nothing(self, topology, found, positions):
        positions["eastern", "cross_site"]["m-west1"] = "MySQL does not answer"
        told = self.lost(topology, found)
        assert told["west"] == {"transactions": None, "what": "west1: MySQL does not answer"}
        assert told["north"]["transactions"] == 0
        positions["eastern", "cluster"]["m-east1"] = "replicator is down"
        told = self.lost(topology, found)
        assert told["north"] == {"transactions": None, "what": "east1: replicator is down"}

    def test_an_answer_that_is_no_number(self, topology, found, positions):
        positions["eastern", "cross_site"]["m-north1"] = None
        assert self.lost(topology, found)["north"] == {"transactions": None, "what": "north1: tells None"}

    def test_positions_of_two_logs_are_not_subtracted(self, topology, found, positions):
        positions["eastern", "cluster"]["m-east1"] = 89
        told = self.lost(topology, found)["west"]
        assert told["transactions"] is None and "two logs" in told["what"]

    def test_in_a_run_that_has_begun_nobody_is_asked(self, topology, found, functions):
        found.update(resumes=True, run=RUN, why=None)
        told = self.lost(topology, found)
        assert {each["transactions"] for each in told.values()} == {None} and RUN in told["west"]["what"]
        functions["fleet.gather"].assert_not_called()


def shown(plan, **more):
    return {**plan, "plan": "east-20260101T000000-1a2b", "state": "open", "by": "alice", "why": "east1 is in error",
            "made": "2026-01-01T00:00:00Z", "expires": "2026-01-02T00:00:00Z", "decided": None, "run": None, **more}


class TestText:
    LOSSES = {"check": "20260101T000000-aaaa", "finished": "2026-01-01T00:00:00Z", "verdict": "drifted",
              "reference": "west", "saved": None, "schema": {}, "unproved": {}, "skipped": {},
              "tables": {"shop.t2": {"changed": 1, "missing": 2, "extra": 3, "complete": True},
                         "shop.a_longer_one": {"changed": 0, "missing": 0, "extra": 12, "complete": True}}}

    def test_all_that_a_person_has_to_know(self, topology, found):
        text = planning.text(shown(make(topology, found, self.LOSSES)))
        assert text.splitlines() == [
            "Plan east-20260101T000000-1a2b: open",
            "  Rebuild     east: east1, east2, east3; primary east1",
            "  From        west, by a copy of west2; primary west1",
            "  How         rsync, its replicas by xtrabackup",
            "  Goes on     with no run: no run of this site is unfinished",
            "  Made        2026-01-01T00:00:00Z by alice: east1 is in error",
            "  Open until  2026-01-02T00:00:00Z",
            "",
            "What east alone has is lost:",
            "  transactions not in west   10, at the most  east1 is at 100, west2 at 90",
            "  transactions not in north  0, at the most   east1 is at 100, north1 at 100",
            "  rows, by drift check 20260101T000000-aaaa of 2026-01-01T00:00:00Z (drifted, against west): in 2 tables, "
            "not",
            "    saved",
            "    shop.a_longer_one  0 changed, 12 only here, 0 missing here",
            "    shop.t2            1 changed, 3 only here, 2 missing here",
            "  save them before:",
            "    name the rows that differ                        salt-run drift.check reference=west",
            "    write them to SQL files of its nodes             salt-run drift.save east",
            "    on east1, show what no replicator has extracted  tungsten_find_orphaned",
            "",
            "Data:",
            "  m-east1   1.0 GB used  5.0 GB free",
            "  m-east2   1.0 GB used  5.0 GB free",
            "  m-east3   1.0 GB used  5.0 GB free",
            "  m-west1   1.0 GB used  5.0 GB free",
            "  m-west2   1.0 GB used  5.0 GB free",
            "  m-north1  1.0 GB used  5.0 GB free",
            "",
            "Time:",
            "  copy of 1.0 GB from west2  10 s        (assumed: 100 MB/s)",
            "  xtrabackup to east2        10 s        (assumed: 100 MB/s)",
            "  xtrabackup to east3        10 s        (assumed: 100 MB/s)",
            "  all else                   2 min 00 s  (assumed: 120 s)",
            "  in total                   2 min 30 s  (assumed: 100 MB/s; assumed: 120 s)",
            "  west2 out of service       31 s        (assumed: 10% of the copy are left to it; assumed: 30 s beside "
            "the",
            "                                         copy)",
            "",
            "Steps:",
            *(line for name in STEPS for line in (f"  {name}", "      m-east1: would be done")),
            "",
            "Warnings:",
            "  WARNING m-east1: its clock is off - Set it.",
            "",
            "Run exactly this (somebody else than alice):",
            "  salt-run reprovision.approve east-20260101T000000-1a2b",
            "Drop it:",
            "  salt-run reprovision.deny east-20260101T000000-1a2b",
        ]

    def test_without_a_check_and_without_warnings(self, topology, found):
        found["findings"] = []
        text = planning.text(shown(make(topology, found), why=None, by="event"))
        assert "rows: unknown" in text and "salt-run drift.check reference=west" in text
        assert "Warnings" not in text and "somebody else" not in text and "by event\n" in text

    def test_saved_rows_and_none_that_differ(self, topology, found):
        assert "saved in m-east1:/x.sql" in " ".join(planning.text(shown(
            make(topology, found, {**self.LOSSES, "saved": "m-east1:/x.sql"}))).split())
        equal = {**self.LOSSES, "verdict": "equal", "tables": {}}
        assert "none differ" in planning.text(shown(make(topology, found, equal)))

    def test_none_differ_is_said_only_of_what_was_proved_equal(self, topology, found):
        losses = {**self.LOSSES, "schema": {"shop.x": "missing on west1"}, "unproved": {"shop.y": "it was late"},
                  "skipped": {"shop.z": "it is big"}, "tables": {
                      "shop.t2": {"changed": 1, "missing": 2, "extra": 3, "complete": False}}}
        words = " ".join(planning.text(shown(make(topology, found, losses))).split())
        for told in ("shop.x missing on west1", "shop.y may differ: it was late", "shop.z not looked at: it is big",
                     "3 only here, 2 missing here, at least"):
            assert told in words
        unproved = {**self.LOSSES, "verdict": "unproved", "tables": {}, "unproved": {"shop.y": "it was late"}}
        assert "none differ" not in planning.text(shown(make(topology, found, unproved)))

    def test_one_that_is_not_open_offers_nothing(self, topology, found):
        assert "reprovision.approve" not in planning.text(shown(make(topology, found), state="used"))

    def test_a_step_that_has_been_done(self, topology, found):
        found.update(resumes=True, run=RUN, why=None)
        text = planning.text(shown(make(topology, found, steps=listed(planning.COPY))))
        assert f"{planning.COPY} - has been done" in text and f"Goes on     with run {RUN}" in text

    def test_no_line_is_wider_than_a_terminal(self, topology, found):
        steps = listed()
        steps[1]["what"] = ["m-east1: " + "word " * 200]
        found["findings"] = [{**WARNING, "what": "many words " * 50}]
        tables = {f"schema.{'t' * 60}{number}": {"changed": 1, "missing": 2, "extra": 3, "complete": False}
                  for number in range(3)}
        text = planning.text(shown(make(topology, found, {**self.LOSSES, "tables": tables}, steps)))
        assert max(map(len, text.splitlines())) <= planning.WIDTH
