"""The donor's own way back: what is left on it, when it acts, and that it waits while somebody still copies."""

import json
import time
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

donor = load("_modules", "donor")
longjob = load("_modules", "longjob")
topology = load("_modules", "topology")

LOAN = {"run": "r-1", "failed": "east", "donor": "west3"}


def run_all(argv, **kwargs):
    """The signature of ``cmd.run_all`` as it is used."""


def get_file_str(path):
    """The signature of ``cp.get_file_str`` as it is used."""


def apply(mods):
    """The signature of ``state.apply`` as it is used."""


@pytest.fixture
def functions():
    return {
        "cmd.run_all": create_autospec(run_all, return_value={"retcode": 0, "stdout": "", "stderr": ""}),
        "cp.get_file_str": create_autospec(get_file_str, return_value="# give back\n"),
        "topology.node": create_autospec(topology.node, return_value={"host": "west3"}),
        "longjob.names": create_autospec(longjob.names, return_value=[]),
        "longjob.status": create_autospec(longjob.status),
        "state.apply": create_autospec(apply, return_value={"a": {"result": True, "comment": "given back"}}),
    }


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(donor, "HOME", str(tmp_path / "donor"))
    monkeypatch.setattr(donor, "LEASE", str(tmp_path / "donor/lease.json"))
    monkeypatch.setattr(donor, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(donor, "_salt_call", lambda: "/opt/salt/bin/salt-call")
    return tmp_path


@pytest.fixture
def configure_loader_modules(functions):
    return {donor: {"__salt__": functions, "__pillar__": {"tungsten": {"sites": {"east": {}}}},
                    "__opts__": {"conf_file": "/etc/salt/minion"}}}  # fmt: skip


def told(functions):
    return [call.args[0][4:] for call in functions["cmd.run_all"].mock_calls]


def expire(home):
    path = home / "donor/lease.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "until": int(time.time()) - 1}))


def test_all_that_is_needed_without_a_master_lies_on_the_host(functions, home):
    before = time.time()
    lease = donor.lend(LOAN, 900)
    assert lease["run"] == "r-1" and before + 899 <= lease["until"] <= time.time() + 900
    assert donor.lease() == lease
    assert (home / "donor/files/donor_given_back.sls").read_text() == "# give back\n"
    renderer, _, pillar = (home / "donor/pillar/lent.sls").read_text().partition("\n")
    assert renderer == "#!json"
    assert json.loads(pillar) == {"tungsten": {"sites": {"east": {}}}, "reprovision_run": LOAN}
    unit = (home / "units/reprovision-donor.service").read_text()
    assert "ExecStart=/opt/salt/bin/salt-call --local --config-dir=/etc/salt " in unit
    assert f"--file-root={home}/donor/files --pillar-root={home}/donor/pillar" in unit
    assert unit.split("ExecStart=")[1].split("\n")[0].endswith(" donor.return_if_left")
    assert told(functions) == [["daemon-reload"], ["enable", "--now", "--quiet", "reprovision-donor.timer"]]


def test_only_root_reads_what_is_left(home):
    donor.lend(LOAN, 900)
    for path in (home / "donor").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_lent_again_the_lease_is_longer():
    assert donor.lend(LOAN, 2000)["until"] > donor.lend(LOAN, 900)["until"] + 1000
    assert donor.lease() is not None


@pytest.mark.parametrize("loan", [{**LOAN, "donor": "west2"}, {}, None, "west3"])
def test_only_the_donor_itself_is_lent(home, loan):
    with pytest.raises(SaltInvocationError, match="not the donor of this run"):
        donor.lend(loan, 900)
    assert donor.lease() is None and not (home / "units").exists()


def test_without_the_sls_nothing_is_lent(functions):
    functions["cp.get_file_str"].return_value = ""
    with pytest.raises(CommandExecutionError, match="does not serve"):
        donor.lend(LOAN, 900)
    assert donor.lease() is None


def test_a_timer_that_cannot_be_enabled_is_an_error(functions):
    functions["cmd.run_all"].return_value = {"retcode": 1, "stdout": "", "stderr": "Failed to enable"}
    with pytest.raises(CommandExecutionError, match="Failed to enable"):
        donor.lend(LOAN, 900)


def test_forgotten_nothing_of_it_is_left(functions, home):
    donor.lend(LOAN, 900)
    functions["cmd.run_all"].reset_mock()
    assert donor.forget() is True
    assert list((home / "units").iterdir()) == [] and not (home / "donor").exists()
    assert told(functions) == [["disable", "--now", "--quiet", "reprovision-donor.timer"], ["daemon-reload"]]
    functions["cmd.run_all"].reset_mock()
    assert donor.forget() is False
    functions["cmd.run_all"].assert_not_called()


def test_a_damaged_lease_is_an_error_not_a_missing_one(home):
    donor.lend(LOAN, 900)
    (home / "donor/lease.json").write_text("{")
    with pytest.raises(CommandExecutionError, match="not readable as JSON"):
        donor.lease()


def test_a_host_that_is_not_lent_does_nothing(functions):
    assert donor.return_if_left() == "this host is not lent"
    functions["state.apply"].assert_not_called()


def test_while_the_lease_holds_nothing_is_done(functions):
    donor.lend(LOAN, 900)
    assert "lent to run r-1 for" in donor.return_if_left()
    functions["state.apply"].assert_not_called()


@pytest.mark.parametrize("job, words", [
    ({"state": "running", "seconds": 9000, "age": 9000}, "is running"),
    ({"state": "done", "seconds": 100.0, "age": 159.0}, "has just ended"),
    ({"state": "failed", "seconds": 100.0, "age": 101.0}, "has just ended"),
])
def test_while_somebody_may_still_look_after_a_copy_nothing_is_done(functions, home, job, words):
    donor.lend(LOAN, 900)
    expire(home)
    functions["longjob.names"].return_value = ["copy-0-r-1"]
    functions["longjob.status"].return_value = job
    assert words in donor.return_if_left()
    functions["state.apply"].assert_not_called()


@pytest.mark.parametrize("jobs", [[], ["copy-0-r-1"]])
def test_left_by_everybody_it_gives_itself_back(functions, home, jobs):
    donor.lend(LOAN, 900)
    expire(home)
    functions["longjob.names"].return_value = jobs
    functions["longjob.status"].return_value = {"state": "done", "seconds": 100.0, "age": 161.0}
    assert "given back" in donor.return_if_left()
    functions["state.apply"].assert_called_once_with("donor_given_back")


@pytest.mark.parametrize("applied, words", [
    ({"a": {"result": True, "comment": "x"}, "b": {"result": False, "comment": "mysqld did not start"}},
     "mysqld did not start"),
    (['The function "state.apply" is running as PID 7'], "running as PID 7"),
])
def test_what_did_not_work_is_an_error_and_tried_again(functions, home, applied, words):
    donor.lend(LOAN, 900)
    expire(home)
    functions["state.apply"].return_value = applied
    with pytest.raises(CommandExecutionError, match=words):
        donor.return_if_left()
    assert donor.lease() is not None
