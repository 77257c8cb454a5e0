"""The whole job on real hosts, in the order of a bad night: refusals first, then the run, then the event."""

import json

import demo
import pytest
from labkit import configure, data, hosts, invariants, salt
from labkit.plan import MASTER

FAILED, DEFINITIVE = demo.FAILED, demo.DEFINITIVE


def orchestrate(lab, *arguments):
    """Run the operator's command; return its exit code and the states it answered with."""
    done = hosts.execute(
        lab, MASTER, ["salt-run", "state.orch", "orch.reprovision", *arguments, "--out=json", "--log-level=quiet"],
        capture=True, timeout=900)
    answer = json.loads(done.stdout[done.stdout.index("{"):])
    states = next(iter(answer["data"].values()))
    assert isinstance(states, dict), states
    return done.returncode, sorted(states.values(), key=lambda state: state["__run_num__"])


def refused(lab, *arguments):
    """The comment of a run that must not have changed anything."""
    before = data.cluster(lab)
    code, states = orchestrate(lab, *arguments)
    assert code == 1
    assert data.cluster(lab) == before
    return states[0]["comment"]


def order(**words):
    return "pillar=" + json.dumps({"reprovision": words})


def emulate(lab, host, **settings):
    """Change the emulator's configuration of one host; returns what undoes it."""
    path = lab.root(host) / "etc/tungsten/emulator.json"
    original = path.read_text()
    path.write_text(json.dumps({**json.loads(original), **settings}))
    return lambda: path.write_text(original)


@pytest.fixture
def wide_area(lab):
    """The donor's way to the other site is a slow one."""
    limit = ["tc", "qdisc", "add", "dev", "host0", "root", "tbf", "rate", "80mbit", "burst", "128kb", "latency", "50ms"]
    assert hosts.execute(lab, "west3", limit, capture=True).returncode == 0
    yield
    hosts.execute(lab, "west3", ["tc", "qdisc", "delete", "dev", "host0", "root"], capture=True)


@pytest.mark.parametrize("words, expected", [
    ({"failed": "nowhere"}, "tungsten:reprovision:failed: 'nowhere' is not one of the sites"),
    ({"failed": DEFINITIVE}, "it cannot repair itself"),
    ({"donor": "east3"}, "'east3' is not a node of the definitive site"),
    ({"donor": "west1"}, "west1: cannot be the donor: its role is master"),
])
def test_an_order_that_does_not_fit_is_refused(lab, words, expected):
    assert expected in refused(lab, order(**words))


def test_a_composite_installation_is_refused(lab):
    undo = [emulate(lab, host, composite=True) for host in lab.site_nodes()[FAILED]]
    try:
        code, states = orchestrate(lab)
        assert code == 1
        assert "east1: this is a composite installation" in states[0]["comment"]
        assert "Nothing was changed" in states[0]["comment"]
    finally:
        for each in undo:
            each()
    assert data.cluster(lab)[FAILED]["policy"] == "AUTOMATIC"


@pytest.mark.parametrize("command, words", [
    ("sudo -n id", "password is required"),
    ("sudo -n rsync -a /etc/shadow /tmp/stolen", "password is required"),
    ("sudo -n rsync --server -e.Lsf . /etc/sudoers.d/mine", "password is required"),
    ("sudo -n rsync --server --daemon --config /tmp/c . /var/lib/reprovision/ownership.json", "not allowed to execute"),
    ("sudo -n rsync --server -e.Lsf --sender . /etc/shadow", "not allowed to execute"),
    ("sudo -n -u mysql mbstream -x -p 4 -C /tmp", "password is required"),
    ("sudo -n -u mysql id", "password is required"),
    ("ssh -o BatchMode=yes east1 sudo -n -u mysql mbstream -x -p 4 -C /tmp", "not for: sudo -n -u mysql mbstream"),
    ("ssh -o BatchMode=yes east1 id", "this key is for copies by reprovision only, not for: id"),
    ("ssh -o BatchMode=yes east1", "not for: a shell"),
    ("ssh -o BatchMode=yes east1 'sudo -n rsync --version; id'", "not for: sudo -n rsync --version; id"),
    ("ssh -o BatchMode=yes east1 sudo -n rsync --server -e.Lsf . /etc/sudoers.d/mine", "not for: sudo -n rsync"),
])
def test_the_tungsten_user_may_do_what_a_run_needs_and_nothing_else(lab, command, words):
    done = hosts.execute(lab, "west3", ["runuser", "-l", "tungsten", "-c", f"{command} </dev/null"], capture=True)
    assert done.returncode != 0 and words in done.stderr and "uid=" not in done.stdout


@pytest.mark.parametrize("how", ["garbage", "hang"])
def test_a_tool_that_misbehaves_is_named_and_quoted(lab, how):
    faults = lab.shared / "faults.json"
    faults.write_text(json.dumps([{"host": "west2", "tool": "cctrl", "words": "ls", "how": how, "times": 1}]))
    try:
        code, states = orchestrate(lab)
    finally:
        faults.unlink(missing_ok=True)
    assert code == 1
    assert "west2: " in states[0]["comment"] and "cctrl" in states[0]["comment"]


def test_a_silent_minion_is_named(lab):
    hosts.execute(lab, "west2", ["systemctl", "stop", "salt-minion"], capture=True)
    try:
        assert "west2: does not answer" in refused(lab)
    finally:
        hosts.execute(lab, "west2", ["systemctl", "start", "salt-minion"], capture=True)


def test_test_mode_tells_every_step_and_changes_nothing(lab):
    before = data.cluster(lab)
    code, states = orchestrate(lab, "test=True")
    assert [state["result"] for state in states if state["result"] is False] == []
    assert code == 0
    told = {state["name"]: state["comment"] for state in states}
    assert "/var/lib/mysql" in told["08 data locations emptied"]
    assert "east1" in told["01 policy MAINTENANCE"]
    assert data.cluster(lab) == before
    assert not list((lab.root(MASTER) / "var/cache/salt/master/reprovision").glob("*/2*.json"))


def test_a_drifted_site_is_repaired_under_load(lab, wide_area):
    identities = data.identity(lab, "east1")
    data.make_drift(lab, FAILED, lab.rows)
    before = data.resting(lab, lab.rows)
    assert len({str(before[host]) for host in lab.site_nodes()[DEFINITIVE]}) == 1
    assert len({str(sums) for sums in before.values()}) == 1 + lab.nodes
    committed = data.committed(lab, DEFINITIVE)
    code, states = orchestrate(lab, order(compress="none"))
    assert [(state["name"], state["comment"]) for state in states if state["result"] is not True] == []
    assert code == 0
    assert data.committed(lab, DEFINITIVE) > committed
    prove(lab, identities)


def prove(lab, identities):
    """Stop the load, let positions catch up, hold everything against what it must be; then go on writing."""
    written = data.stop_load(lab)
    data.settled(lab)
    assert demo.failures(lab, identities, written) == []
    data.start_load(lab, lab.rows)


def test_the_copy_took_longer_than_one_call_for_it(lab):
    """Else nobody would have seen what a state that is applied again makes of it."""
    record = salt.call(lab, ["salt-run", "reprovision.record", FAILED, "--out=json"])
    assert record["steps"]["10 data copied ahead"]["seconds"] > 10


def test_a_second_run_is_refused_and_says_how_to_insist(lab):
    comment = refused(lab)
    assert "There is nothing to repair" in comment and '"insist": true' in comment


@pytest.fixture
def newer_tprovision(lab):
    """One that takes several targets from one source."""
    undo = [emulate(lab, host, locks_source=False) for host in lab.site_nodes()[FAILED]]
    yield
    for each in undo:
        each()


def test_a_hot_copy_repairs_it_and_the_donor_serves_all_the_while(lab, newer_tprovision):
    identities = data.identity(lab, "east1")
    data.make_drift(lab, FAILED, lab.rows)
    watch = invariants.Watch(lab, FAILED, DEFINITIVE)
    watch.start()
    code, states = orchestrate(lab, order(method="mariabackup", replica_parallel=2, insist=True))
    assert watch.end() == []
    assert [(state["name"], state["comment"]) for state in states if state["result"] is not True] == []
    assert code == 0 and watch.most_out == 0
    record = salt.call(lab, ["salt-run", "reprovision.record", FAILED, "--out=json"])
    assert "donor_outages" not in record and "11 donor given back" not in record["plan"]
    prove(lab, identities)


@pytest.mark.long
def test_an_event_repairs_the_site_once_with_nobody_typing(lab):
    configure.pillar(lab, lab.root(MASTER), {FAILED: "reprovision"})
    identities = data.identity(lab, "east1")
    data.make_drift(lab, FAILED, lab.rows)
    records = lab.root(MASTER) / "var/cache/salt/master/reprovision" / FAILED
    before = set(records.glob("2*.json"))
    code, answer = demo.by_event(lab)
    assert code == 0, answer
    assert len(set(records.glob("2*.json")) - before) == 1
    prove(lab, identities)
