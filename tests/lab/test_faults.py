"""The part of the fault matrix that is run every time, and what is left when nobody looks after a run any more."""

import signal
import subprocess
import time

import faultmatrix
import pytest
from labkit import data, hosts, invariants, salt
from labkit.plan import MASTER

# Each takes a minute or two: the deletion that a tool lies about, and the copy whose master dies.
EVERY_TIME = (("08", "tool lies"), ("10 data copied from the donor", "salt-run killed"))


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    matrix = faultmatrix.Matrix("faults-test", tmp_path_factory.mktemp("results"))
    try:
        yield matrix
    finally:
        hosts.down(matrix.lab)


@pytest.mark.parametrize("step, fault", [
    pytest.param(*case, marks=[] if case in EVERY_TIME else pytest.mark.long) for case in faultmatrix.SUBSET
], ids=lambda words: words.replace(" ", "-"))
def test_whatever_befalls_a_run_one_repetition_completes_it(matrix, step, fault):
    (name,) = [each for each in faultmatrix.steps() if faultmatrix.key(each) == step]
    result = matrix.do(name, fault)
    assert result["violations"] == []
    assert result["struck"]
    assert len(result["runs"]) <= 2


@pytest.fixture
def stopped_run(matrix):
    """A run that has the donor in its hands when its process is struck by a signal; yields (process, lab)."""
    lab = matrix.lab
    if matrix.rows is None:
        matrix.bring_up()
    data.make_drift(lab, faultmatrix.FAILED, matrix.rows)
    faultmatrix.report_drift(lab)
    known = len(invariants.records(lab, faultmatrix.FAILED))

    def begin(order, number):
        process = subprocess.Popen(
            hosts.command(lab, MASTER, ["salt-run", "state.orch", "orch.reprovision", order, "--out=json"]),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        step = "07 mysqld of the donor stopped"
        assert invariants.wait_until_step(lab, faultmatrix.FAILED, step, known, lambda: False)
        strike(lab, number)
        return process

    return begin


def strike(lab, number):
    hosts.execute(lab, MASTER, ["pkill", f"--signal={int(number)}", "-f", "salt-run state.orch"], capture=True)


def donor(lab):
    return invariants.manager(lab, faultmatrix.DEFINITIVE)["datasources"]["west2"]["state"]


def complete(matrix):
    """The same command again, and everything as it must be."""
    result = {"violations": [], "runs": []}
    assert matrix._orchestrate(result) == 0, result["runs"]
    matrix._prove(result)
    assert result["violations"] == []


@pytest.mark.long
def test_a_donor_that_everybody_has_left_gives_itself_back(matrix, stopped_run):
    stopped_run('pillar={"reprovision": {"donor_lease": 20}}', signal.SIGKILL).wait(60)
    assert donor(matrix.lab) == "SHUNNED"
    hosts.execute(matrix.lab, MASTER, ["systemctl", "stop", "salt-master"], capture=True)
    try:
        deadline = time.monotonic() + 180
        while donor(matrix.lab) != "ONLINE":
            assert time.monotonic() < deadline, "the donor has not come back by itself"
            time.sleep(1)
        assert data.sql(matrix.lab, "west2", "SELECT 1") == [["1"]]
    finally:
        hosts.execute(matrix.lab, MASTER, ["systemctl", "start", "salt-master"], capture=True)
    salt.ready(matrix.lab)
    status = salt.call(matrix.lab, ["salt-run", "reprovision.status", faultmatrix.FAILED, "--out=json"])
    assert status[faultmatrix.FAILED]["run"]["state"] == "interrupted"
    complete(matrix)


def test_a_hanging_run_loses_its_lock_and_touches_nothing_more(matrix, stopped_run):
    lab = matrix.lab
    hanging = stopped_run("pillar={}", signal.SIGSTOP)
    status = salt.call(lab, ["salt-run", "reprovision.status", faultmatrix.FAILED, "nodes=False", "--out=json"])
    status = status[faultmatrix.FAILED]["run"]
    assert status["state"] == "running"
    refused = hosts.execute(lab, MASTER, ["salt-run", "state.orch", "orch.reprovision", "--out=json"], capture=True)
    assert refused.returncode == 1 and "one run at a time" in refused.stdout
    taken = salt.call(lab, ["salt-run", "reprovision.unlock", faultmatrix.FAILED, status["run"], "it hangs",
                            "--out=json"])
    assert taken["run"] == status["run"]
    complete(matrix)
    journal = (lab.shared / "calls.jsonl").read_text().count("\n")
    # nsenter has stopped along with its child; woken up, it wakes the child.
    hanging.send_signal(signal.SIGCONT)
    said = hanging.communicate(timeout=120)[0]
    assert hanging.returncode == 1
    assert "was taken away from this run" in said
    after = [line for line in (lab.shared / "calls.jsonl").read_text().splitlines()[journal:] if '"ls"' not in line]
    assert [line for line in after if '"tool": "cctrl"' in line] == []
    record = invariants.records(lab, faultmatrix.FAILED)[-1]
    assert record["state"] == "done" and "it hangs" in str(record["attempts"][0])
