"""Whatever stands in pillar or in an order: faults in few words, or a topology of names that harm no command line."""

import copy
import json
import re

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError

from tests.support.loader import ROOT, load

topology = load("_modules", "topology")
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "pillar" / "tungsten.schema.json").read_text()))
# The same cases in every run. No deadline: it is about what is refused, not about time.
FUZZED = settings(derandomize=True, deadline=None, max_examples=200, database=None)
MOST_WORDS = 30_000

PILLAR = {
    "sites": {
        "east": {"service": "alpha", "nodes": ["east1", "east2"], "user": "tungsten", "cluster_home": "/opt/continuent",
                 "cross_site_home": "/opt/replicator", "on_drift": "plan",
                 "mysql": {"unit": "mariadb", "defaults_file": "/etc/my.cnf"}},
        "west": {"nodes": {"west1": "w1.example.net", "west2": "w2.example.net"}},
        "north": {"nodes": ["north1"]},
    },
    "reprovision": {"donor": "west2", "failed": "east", "definitive": "west", "method": "rsync", "warm": True,
                    "compress": "auto", "bwlimit": 0, "streams": 4, "replica_parallel": 1,
                    "replica_method": "xtrabackup", "donor_lease": 900, "patience": 60},
    "drift": {"cooldown": 900, "share": 50, "max_lag": 60},
    "plans": {"hours": 24, "second_person": False},
}  # fmt: skip

words = st.sampled_from(
    [
        "east",
        "west",
        "north",
        "alpha",
        "east1",
        "west1",
        "west2",
        "rsync",
        "plan",
        "-rf",
        "a b",
        "a;reboot",
        "$(reboot)",
        "../etc",
        "/etc/../root",
        "/",
        "a\n",
        "\0",
        "",
        "NULL",
        "é",
        "x" * 2000,
    ]
) | st.text(max_size=6)
scalars = words | st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([0, 1, 16, 100, 900])
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.integers() | st.none(), inner, max_size=4),
    max_leaves=12,
)


def places(value):
    """Every dictionary and list in it."""
    if isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from places(inner)


# What chance alone would not often put in the place where it would do harm.
TRAPS = [
    (("sites", "west", "cluster_home"), "/opt/../etc"), (("sites", "east", "mysql", "defaults_file"), "/etc/.."),
    (("sites", "north", "nodes"), ["east1"]), (("sites", "north", "nodes"), {"north1": "w1.example.net"}),
    (("sites", "north", "service"), "alpha"), (("sites", "east", "user"), "root;id"),
    (("reprovision", "definitive"), "east"), (("reprovision", "donor"), "north1"), (("reprovision", "streams"), 2.0),
    (("reprovision", "warm"), 1), (("reprovision", "patience"), True), (("reprovision", "donor"), None),
]  # fmt: skip


@st.composite
def pillars(draw):
    """The pillar of three sites with some places of it changed, taken away, swapped or added to."""
    tungsten = copy.deepcopy(PILLAR)
    for (*parents, last), value in draw(st.lists(st.sampled_from(TRAPS), max_size=2)):
        place = tungsten
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, 2))):
        found = list(places(tungsten))
        place = found[draw(st.integers(0, len(found) - 1))]
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        how = draw(st.sampled_from(["change", "change", "swap", "remove", "add"]))
        if how == "add" or not keys:
            if isinstance(place, dict):
                place[draw(words)] = draw(anything)
            else:
                place.append(draw(anything))
            continue
        key = draw(st.sampled_from(keys))
        if how == "remove":
            del place[key]
        elif how == "swap":
            other = draw(st.sampled_from(keys))
            place[key], place[other] = place[other], place[key]
        else:
            place[key] = draw(anything)
    return tungsten


orders = (
    st.none()
    | anything
    | st.dictionaries(st.sampled_from([*PILLAR["reprovision"], "insist", "fresh", "plan"]), words | scalars, max_size=4)
)


def refused(call, *args):
    """The words of the refusal, or None."""
    try:
        call(*args)
    except CommandExecutionError as error:
        text = str(error)
        assert len(text) < MOST_WORDS
        if "faults" in text:
            # A fault begins with its place in pillar; a key may hold a line's end.
            assert re.match(r"The topology in pillar has faults:\n  tungsten:", text)
        return text
    return None


@FUZZED
@given(pillars() | anything, orders)
def test_any_pillar_with_any_order_is_judged_in_few_words_and_left_as_it_is(tungsten, order):
    kept = repr(tungsten)
    found = topology.validate(tungsten)
    assert all(isinstance(fault, str) and len(fault) <= 500 for fault in found["faults"])
    assert bool(found["faults"]) is bool(refused(topology.checked, tungsten))
    refused(topology.merge, tungsten, order)
    assert repr(tungsten) == kept


PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9@._-]*")


def assert_harmless(found):
    """No name could be taken for an option, a path out of its place, or more than one word of a command line."""
    hosts, minions, services = [], [], []
    for name, site in found["sites"].items():
        services.append(site["service"])
        hosts += site["nodes"].keys()
        minions += site["nodes"].values()
        for word in (
            name,
            site["service"],
            site["user"],
            site["mysql"]["unit"],
            *site["nodes"],
            *site["nodes"].values(),
        ):
            assert PLAIN.fullmatch(word)
        for path in (site["cluster_home"], site["cross_site_home"], site["mysql"]["defaults_file"]):
            assert path.startswith("/") and ".." not in path.split("/") and not re.search(r"[\0-\x1f]", path)
        assert site["nodes"] and site["on_drift"] in ("ignore", "plan", "reprovision")
    for names in (hosts, minions, services):
        assert len(set(names)) == len(names)


@FUZZED
@given(pillars())
def test_what_has_no_faults_is_of_harmless_names_that_stand_in_pillar(tungsten):
    found = topology.validate(tungsten)
    if found["faults"]:
        return
    assert_harmless(found["topology"])
    assert len(found["topology"]["sites"]) >= 2
    for name, site in found["topology"]["sites"].items():
        nodes = tungsten["sites"][name]["nodes"]
        assert site["nodes"] == (nodes if isinstance(nodes, dict) else dict(zip(nodes, nodes)))
    assert SCHEMA.is_valid(tungsten), "what an editor marks as wrong must not be taken"


@FUZZED
@given(pillars(), orders)
def test_a_run_is_of_two_sites_of_the_pillar_and_of_what_was_ordered(tungsten, order):
    try:
        found = topology.merge(tungsten, order)
    except CommandExecutionError:
        return
    assert_harmless(found)
    run = found["reprovision"]
    assert (
        run["failed"] in found["sites"] and run["definitive"] in found["sites"] and run["failed"] != run["definitive"]
    )
    assert run.get("donor") is None or run["donor"] in found["sites"][run["definitive"]]["nodes"]
    for key, value in (order or {}).items():
        assert run[key] == value
    for key in ("bwlimit", "streams", "replica_parallel", "donor_lease", "patience"):
        assert type(run[key]) is int and 0 <= run[key] <= 100_000
    for key in ("warm", "insist", "fresh"):
        assert type(run[key]) is bool
