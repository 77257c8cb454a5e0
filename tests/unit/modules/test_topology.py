"""topology: faults with their paths, defaults, the schema for editors, and the project's own pillar."""

import copy
import json

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError

from tests.support.loader import ROOT, load

topology = load("_modules", "topology")
SCHEMA = json.loads((ROOT / "pillar" / "tungsten.schema.json").read_text())

GOOD = {
    "sites": {
        "east": {"service": "alpha", "nodes": ["east1", "east2", "east3"]},
        "west": {"nodes": {"west1": "w1.example.net", "west2": "w2.example.net"}},
    },
    "reprovision": {"failed": "east", "definitive": "west", "donor": "west2"},
}


def changed(path, value):
    """GOOD with one value replaced, or removed if the value is DELETE."""
    tungsten = copy.deepcopy(GOOD)
    where = tungsten
    *parents, last = path.split(":")
    for key in parents:
        where = where.setdefault(key, {})
    if value is DELETE:
        del where[last]
    else:
        where[last] = value
    return tungsten


DELETE = object()

GOOD_CASES = [
    ("reprovision", DELETE),
    ("reprovision", {}),
    ("reprovision:donor", DELETE),
    ("reprovision:insist", True),
    ("reprovision:fresh", True),
    ("reprovision:donor_lease", 5),
    ("reprovision:donor_lease", 86400),
    ("reprovision:patience", 5),
    ("reprovision:patience", 86400),
    ("reprovision:replica_method", "mysqlclone"),
    *(("reprovision:warm", value) for value in (True, False)),
    *(("reprovision:method", value) for value in ("rsync", "mariabackup", "xtrabackup")),
    *(("reprovision:compress", value) for value in ("auto", "none", "lz4", "zstd")),
    *(("reprovision:streams", value) for value in (1, 16)),
    *(("reprovision:bwlimit", value) for value in (0, 1, 100000)),
    *(("reprovision:replica_parallel", value) for value in (1, 9)),
    ("sites:east:on_drift", "reprovision"),
    ("drift", {}),
    ("drift", {"cooldown": 0, "share": 100, "max_lag": 1}),
    ("plans", {"hours": 720, "second_person": True}),
    ("reprovision:plan", "east-20260101T000000-1a2b"),
    ("sites:east:cluster_home", "/opt/tungsten 7"),
    ("sites:east:user", "_tung-sten1"),
    ("sites:east:mysql", {"unit": "mysql@east"}),
    ("sites:east:mysql", {"defaults_file": "/etc/my.cnf"}),
    ("sites:north", {"nodes": ["north1"]}),
]
# The path of the pillar value, its bad value, the fault's path.
BAD_CASES = [
    ("sites", DELETE, "tungsten:sites"),
    ("sites", {}, "tungsten:sites"),
    ("sites", ["east", "west"], "tungsten:sites"),
    ("sites:west", DELETE, "tungsten:sites"),
    ("site", {}, "tungsten:site"),
    ("sites:east", None, "tungsten:sites:east"),
    ("sites:no rth", {"nodes": ["north1"]}, "tungsten:sites:no rth"),
    ("sites:north\n", {"nodes": ["north1"]}, "tungsten:sites:north\n"),
    ("sites:north.de", {"nodes": ["north1"]}, "tungsten:sites:north.de"),
    ("sites:east:nodes", DELETE, "tungsten:sites:east:nodes"),
    ("sites:east:nodes", [], "tungsten:sites:east:nodes"),
    ("sites:east:nodes", {}, "tungsten:sites:east:nodes"),
    ("sites:east:nodes", "east1", "tungsten:sites:east:nodes"),
    ("sites:east:nodes", ["east1", "east1"], "tungsten:sites:east:nodes"),
    ("sites:east:nodes", ["east1;reboot"], "tungsten:sites:east:nodes:east1;reboot"),
    ("sites:east:nodes", ["-east1"], "tungsten:sites:east:nodes:-east1"),
    ("sites:east:nodes", ["east1\n"], "tungsten:sites:east:nodes:east1\n"),
    ("sites:east:nodes", ["*"], "tungsten:sites:east:nodes:*"),
    ("sites:east:nodes", ["e" * 256], "tungsten:sites:east:nodes:" + "e" * 256),
    ("sites:east:nodes", [1], "tungsten:sites:east:nodes:1"),
    ("sites:east:nodes", {"east1": None}, "tungsten:sites:east:nodes:east1"),
    ("sites:east:nodes", {"east1": "a b"}, "tungsten:sites:east:nodes:east1"),
    ("sites:east:nodos", ["east1"], "tungsten:sites:east:nodos"),
    ("sites:east:service", "", "tungsten:sites:east:service"),
    ("sites:east:service", "east west", "tungsten:sites:east:service"),
    ("sites:east:service", 1, "tungsten:sites:east:service"),
    ("sites:east:user", "root;id", "tungsten:sites:east:user"),
    ("sites:east:user", None, "tungsten:sites:east:user"),
    ("sites:east:cluster_home", "opt/continuent", "tungsten:sites:east:cluster_home"),
    ("sites:east:cluster_home", "/opt/../etc", "tungsten:sites:east:cluster_home"),
    ("sites:east:cross_site_home", "/opt/\nx", "tungsten:sites:east:cross_site_home"),
    ("sites:east:cross_site_home", "/", "tungsten:sites:east:cross_site_home"),
    ("sites:east:mysql", None, "tungsten:sites:east:mysql"),
    ("sites:east:mysql", {"port": 3306}, "tungsten:sites:east:mysql:port"),
    ("sites:east:mysql", {"unit": "mysql; reboot"}, "tungsten:sites:east:mysql:unit"),
    ("sites:east:mysql", {"unit": "--no-block"}, "tungsten:sites:east:mysql:unit"),
    ("sites:east:mysql", {"defaults_file": "my.cnf"}, "tungsten:sites:east:mysql:defaults_file"),
    ("sites:east:on_drift", "panic", "tungsten:sites:east:on_drift"),
    ("sites:east:on_drift", ["plan"], "tungsten:sites:east:on_drift"),
    ("reprovision", ["east"], "tungsten:reprovision"),
    ("reprovision:definitve", "west", "tungsten:reprovision:definitve"),
    ("reprovision:failed", ["east"], "tungsten:reprovision:failed"),
    ("reprovision:definitive", {"west": 1}, "tungsten:reprovision:definitive"),
    ("reprovision:donor", ["west2"], "tungsten:reprovision:donor"),
    *(("reprovision:method", value, "tungsten:reprovision:method")
      for value in ("scp", "", None, ["rsync"], "xtrabackup --help")),
    ("reprovision:replica_method", "rm", "tungsten:reprovision:replica_method"),
    *(("reprovision:warm", value, "tungsten:reprovision:warm") for value in ("yes", 1, 0, None, [])),
    *(("reprovision:compress", value, "tungsten:reprovision:compress")
      for value in ("gzip", "", None, True, ["zstd"], "zstd --delete")),
    *(("reprovision:bwlimit", value, "tungsten:reprovision:bwlimit")
      for value in (-1, 100001, True, "50", 1.5, None, [1])),
    *(("reprovision:streams", value, "tungsten:reprovision:streams")
      for value in (0, 17, -1, True, "4", 1.5, None, [4])),
    *(("reprovision:replica_parallel", value, "tungsten:reprovision:replica_parallel")
      for value in (0, 10, -1, True, "2", 1.5, None)),
    ("reprovision:insist", "yes", "tungsten:reprovision:insist"),
    ("reprovision:fresh", 1, "tungsten:reprovision:fresh"),
    ("reprovision:fresh", None, "tungsten:reprovision:fresh"),
    ("reprovision:plan", "../east", "tungsten:reprovision:plan"),
    ("reprovision:plan", 7, "tungsten:reprovision:plan"),
    ("drift", ["share"], "tungsten:drift"),
    ("drift:cooldwn", 1, "tungsten:drift:cooldwn"),
    *(("drift:share", value, "tungsten:drift:share") for value in (0, 101, True, "50", None)),
    ("drift:cooldown", -1, "tungsten:drift:cooldown"),
    ("drift:max_lag", 0, "tungsten:drift:max_lag"),
    ("plans", None, "tungsten:plans"),
    ("plans:hours", 721, "tungsten:plans:hours"),
    ("plans:second_person", "yes", "tungsten:plans:second_person"),
    ("plans:person", True, "tungsten:plans:person"),
    *(
        (f"reprovision:{key}", value, f"tungsten:reprovision:{key}")
        for key in ("donor_lease", "patience")
        for value in (4, 86401, -60, 0, True, "60", 60.5, None, [60])
    ),
]
# What one value says of another is beyond a schema.
BAD_TOGETHER = [
    ("sites:east:service", "west", "tungsten:sites:west:service"),
    ("sites:east:nodes", ["west1"], "tungsten:sites:west:nodes"),
    ("sites:east:nodes", {"east1": "w1.example.net"}, "tungsten:sites:west:nodes"),
    ("sites:east:nodes", {"east1": "same", "east2": "same"}, "tungsten:sites:east:nodes"),
    ("reprovision:failed", "south", "tungsten:reprovision:failed"),
    ("reprovision:definitive", "east", "tungsten:reprovision:definitive"),
    ("reprovision:donor", "east1", "tungsten:reprovision:donor"),
    ("reprovision:definitive", DELETE, "tungsten:reprovision:donor"),
]


@pytest.fixture
def configure_loader_modules():
    return {
        topology: {"__pillar__": {"tungsten": copy.deepcopy(GOOD)}, "__grains__": {"id": "w2.example.net"}}
    }


def agrees(tungsten):
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(tungsten)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path, value", GOOD_CASES)
def test_good(path, value):
    tungsten = changed(path, value)
    assert topology.validate(tungsten)["faults"] == []
    assert agrees(tungsten)


@pytest.mark.parametrize("path, value, fault", BAD_CASES)
def test_bad(path, value, fault):
    tungsten = changed(path, value)
    faults = topology.validate(tungsten)["faults"]
    assert any(text.startswith(f"{fault}: ") for text in faults), faults
    assert not agrees(tungsten)


@pytest.mark.parametrize("path, value, fault", BAD_TOGETHER)
def test_bad_together(path, value, fault):
    faults = topology.validate(changed(path, value))["faults"]
    assert any(text.startswith(f"{fault}: ") for text in faults), faults


@pytest.mark.parametrize("tungsten", [None, [], "east", 3])
def test_no_dictionary_at_all(tungsten):
    assert topology.validate(tungsten)["topology"] == {}
    assert not agrees(tungsten)


def test_all_faults_are_named_at_once():
    tungsten = changed("sites:east:user", "Root!")
    tungsten["sites"]["west"]["on_drift"] = "never"
    tungsten["reprovision"]["donor"] = "west9"
    assert len(topology.validate(tungsten)["faults"]) == 3


def test_sites_with_numbers_for_names_are_faults():
    tungsten = {
        "sites": {1: {"nodes": ["a"]}, 2: {"nodes": ["b"]}},
        "reprovision": {"failed": "x", "definitive": 2},
    }
    faults = topology.validate(tungsten)["faults"]
    assert "tungsten:reprovision:failed: 'x' is not one of the sites 1, 2" in faults


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


# No deadline: it is about tracebacks, not time.
@settings(max_examples=150, deadline=None)
@given(value=anything, path=st.sampled_from(sorted({case[0] for case in BAD_CASES})))
def test_any_value_is_judged_without_a_traceback(value, path):
    assert isinstance(topology.validate(changed(path, value))["faults"], list)


NEST = []
for _ in range(5000):
    NEST = [NEST]


@pytest.mark.parametrize(
    "value", [NEST, 16**9999, "x" * 1_000_000, {"k" * 1_000_000: 1}], ids=["nest", "number", "text", "key"])
@pytest.mark.parametrize("path", [
    "sites:east:user", "sites:east:service", "sites:east:nodes", "sites:east:mysql", "sites:east:on_drift",
    "reprovision:failed", "reprovision:donor", "reprovision:definitive"])
def test_a_value_of_any_size_is_a_fault_in_few_words(path, value):
    for each in (value, [value, value], {"h": value}):
        with pytest.raises(CommandExecutionError, match=f"\n  tungsten:{path}") as caught:
            topology.merge(changed(path, each), {})
        assert len(str(caught.value)) < 3000


def test_of_thousands_of_faults_some_are_told():
    tungsten = changed("sites:east:nodes", [f"!{number}" for number in range(10_000)])
    with pytest.raises(CommandExecutionError, match="and 19950 more") as caught:
        topology.merge(tungsten, {})
    assert len(str(caught.value)) < 5000


def test_defaults():
    checked = topology.validate({"sites": {"east": {"nodes": ["e1"]}, "west": {"nodes": ["w1"]}}})
    assert checked["topology"]["sites"]["east"] == {
        "service": "east",
        "nodes": {"e1": "e1"},
        "cluster_home": "/opt/continuent",
        "cross_site_home": "/opt/replicator",
        "user": "tungsten",
        "on_drift": "plan",
        "mysql": {"unit": "auto", "defaults_file": "/etc/mysql/my.cnf"},
    }
    assert checked["topology"]["reprovision"] == {
        "method": "rsync",
        "warm": True,
        "compress": "auto",
        "bwlimit": 0,
        "streams": 4,
        "replica_parallel": 1,
        "replica_method": "xtrabackup",
        "insist": False,
        "fresh": False,
        "donor_lease": 900,
        "patience": 60,
    }


def told_by_the_schema(section):
    """{key: what it says of it}"""
    return SCHEMA["$defs"][section]["properties"]


def defaults(properties):
    return {key: defaults(value["properties"]) if "properties" in value else value["default"]
            for key, value in properties.items() if "default" in value or "properties" in value}


def test_what_the_schema_calls_defaults_is_what_is_applied():
    found = topology.validate({"sites": {"east": {"nodes": ["e1"]}, "west": {"nodes": ["w1"]}}})["topology"]
    # These two have no default that could be told: one is the site's own name, the other has to be given.
    applied = {key: value for key, value in found["sites"]["east"].items() if key not in ("service", "nodes")}
    assert defaults(told_by_the_schema("site")) == applied
    for section in ("reprovision", "drift", "plans"):
        assert defaults(told_by_the_schema(section)) == found[section], section


def test_the_schema_tells_the_same_limits():
    for section, limits in (("drift", topology.DRIFT_LIMITS), ("plans", topology.PLAN_LIMITS)):
        told = {key: (value["default"], value["minimum"], value["maximum"])
                for key, value in told_by_the_schema(section).items() if value["type"] == "integer"}
        assert told == limits
    told = {key: (value["minimum"], value["maximum"])
            for key, value in told_by_the_schema("reprovision").items() if value.get("type") == "integer"}
    assert told == {key: (least, most) for key, (_, least, most) in topology.ORDER_LIMITS.items()}


@pytest.mark.parametrize("order, way", [
    ({}, "warm"), ({"warm": True}, "warm"), ({"warm": False}, "cold"), ({"method": "rsync", "warm": False}, "cold"),
    *(({"method": method, "warm": warm}, "hot") for method in ("mariabackup", "xtrabackup") for warm in (True, False)),
])
def test_the_way_of_a_copy(order, way):
    assert topology.way(topology.merge(copy.deepcopy(GOOD), order)["reprovision"]) == way


def test_every_way_to_take_a_backup_is_known_to_who_takes_it():
    assert set(topology.CHOICES["method"]) == {"rsync", *load("_modules", "hotguard").METHODS}


def test_every_way_to_compress_is_known_to_who_compresses():
    assert topology.CHOICES["compress"] == load("_modules", "copytarget").COMPRESSION


def test_validate_leaves_the_pillar_alone():
    tungsten = copy.deepcopy(GOOD)
    topology.validate(tungsten)
    topology.merge(tungsten, {"failed": "west", "definitive": "east"})
    assert tungsten == GOOD


def test_node_of_this_minion():
    assert topology.node() == {
        "site": "west",
        "service": "west",
        "host": "west2",
        "minion": "w2.example.net",
        "cluster_home": "/opt/continuent",
        "cross_site_home": "/opt/replicator",
        "user": "tungsten",
        "mysql": {"unit": "auto", "defaults_file": "/etc/mysql/my.cnf"},
        "other_services": ["alpha"],
    }


def test_a_host_name_is_not_a_minion_id():
    topology.__grains__["id"] = "west2"
    with pytest.raises(CommandExecutionError, match="minion west2 is a node of none of east, west"):
        topology.node()


def test_get_lists_every_fault():
    topology.__pillar__["tungsten"]["sites"]["east"]["user"] = "A"
    topology.__pillar__["tungsten"]["sites"]["west"]["user"] = "B"
    with pytest.raises(CommandExecutionError, match=r"(?s)sites:east:user.*sites:west:user"):
        topology.get()


class TestMerge:
    def order(self, order):
        return topology.merge(copy.deepcopy(GOOD), order)["reprovision"]

    @pytest.mark.parametrize(
        "order", [None, {}, {"failed": "east"}, {"failed": "east", "definitive": "west"}]
    )
    def test_the_standing_donor_stays_with_its_pair(self, order):
        assert self.order(order)["donor"] == "west2"

    def test_the_standing_donor_goes_when_the_pair_changes(self):
        order = self.order({"failed": "west", "definitive": "east"})
        assert order["failed"] == "west" and "donor" not in order

    def test_the_order_wins(self):
        assert self.order({"donor": "west1", "insist": True})["donor"] == "west1"

    @pytest.mark.parametrize(
        "key, value", [("insist", True), ("fresh", True), ("donor_lease", 60), ("patience", 7), ("warm", False),
                       ("compress", "zstd"), ("bwlimit", 50), ("streams", 8), ("replica_parallel", 3),
                       ("method", "xtrabackup")]
    )
    def test_what_only_this_run_is_told_holds_for_it(self, key, value):
        assert self.order({key: value})[key] == value

    @pytest.mark.parametrize("key", ["donor_lease", "patience"])
    def test_times_may_stand_in_pillar_and_the_order_wins(self, key):
        tungsten = changed(f"reprovision:{key}", 30)
        assert topology.merge(tungsten, {})["reprovision"][key] == 30
        assert topology.merge(tungsten, {key: 40})["reprovision"][key] == 40

    @pytest.mark.parametrize("value", [True, False])
    @pytest.mark.parametrize("key", ["insist", "fresh", "plan"])
    def test_what_is_for_one_run_may_not_stand_in_pillar(self, key, value):
        tungsten = changed(f"reprovision:{key}", value)
        with pytest.raises(CommandExecutionError, match=f"tungsten:reprovision:{key}: is for one run"):
            topology.merge(tungsten, {key: value})

    def test_all_that_is_for_one_run_is_named_at_once(self):
        tungsten = changed("reprovision:insist", True)
        tungsten["reprovision"]["fresh"] = True
        with pytest.raises(CommandExecutionError, match=r"(?s)reprovision:insist: is for.*reprovision:fresh: is for"):
            topology.merge(tungsten, {})

    @pytest.mark.parametrize(
        "order, words",
        [
            ({"fresh": "yes"}, "tungsten:reprovision:fresh: must be true or false"),
            ({"patience": 4}, "tungsten:reprovision:patience: must be a whole number of seconds, 5 to 86400"),
            ({"warm": "no"}, "tungsten:reprovision:warm: must be true or false"),
            ({"compress": "gzip"}, "tungsten:reprovision:compress: 'gzip' must be one of auto, none, lz4, zstd"),
            ({"bwlimit": -1},
             "tungsten:reprovision:bwlimit: must be a whole number of megabytes a second, 0 to 100000"),
            ({"method": "tar"}, "tungsten:reprovision:method: 'tar' must be one of rsync, mariabackup, xtrabackup"),
            ({"streams": 17}, "tungsten:reprovision:streams: must be a whole number of connections, 1 to 16"),
            ({"replica_parallel": 0},
             "tungsten:reprovision:replica_parallel: must be a whole number of replicas, 1 to 9"),
            ({"failed": "south"}, "tungsten:reprovision:failed: 'south' is not one of the sites east, west"),
            ({"failed": "west"}, "cannot repair itself"),
            ({"donor": "east1"}, "'east1' is not a node of the definitive site 'west'"),
            ({"definitve": "west"}, "tungsten:reprovision:definitve: no such key"),
            (["east"], "must be a dictionary"),
            ("east", "must be a dictionary"),
        ],
    )
    def test_bad_orders(self, order, words):
        with pytest.raises(CommandExecutionError, match=words):
            self.order(order)

    def test_nobody_decided(self):
        with pytest.raises(
            CommandExecutionError, match=r"(?s)reprovision:failed: is missing.*definitive: is missing"
        ):
            topology.merge({"sites": GOOD["sites"]}, None)

    @pytest.mark.parametrize("tungsten", [None, [], {"sites": GOOD["sites"], "reprovision": "east"}])
    def test_bad_pillar(self, tungsten):
        with pytest.raises(CommandExecutionError, match="must"):
            topology.merge(tungsten, {})


def merged(into, more):
    for key, value in more.items():
        into[key] = merged(into.get(key, {}), value) if isinstance(value, dict) else value
    return into


def test_the_projects_own_pillar():
    folder = ROOT / "pillar"
    top = yaml.safe_load((folder / "top.sls").read_text())
    assert "tungsten" in top["base"]["*_master"], "the orchestration has the pillar of <master id>_master"
    tungsten = {}
    for name in yaml.safe_load((folder / "tungsten" / "init.sls").read_text())["include"]:
        merged(tungsten, yaml.safe_load((folder / f"{name.replace('.', '/')}.sls").read_text()))
    checked = topology.merge(tungsten["tungsten"], None)
    assert checked["reprovision"]["failed"] == "east"
    assert agrees(tungsten["tungsten"])
