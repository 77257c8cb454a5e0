"""The donor's states: lent with a way back, returned without one."""

from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

module = load("_modules", "donor")
donor = load("_states", "donor")

LOAN = {"run": "r-1", "failed": "east", "donor": "west3"}


@pytest.fixture
def functions():
    return {
        "donor.lease": create_autospec(module.lease, return_value=None),
        "donor.lend": create_autospec(module.lend),
        "donor.forget": create_autospec(module.forget, return_value=True),
    }


@pytest.fixture
def configure_loader_modules(functions):
    return {donor: {"__salt__": functions, "__opts__": {"test": False}, "__grains__": {"id": "west3"}}}


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("before", [None, {"run": "r-0", "until": 7}])
def test_lent(functions, before, test):
    donor.__opts__["test"] = test
    functions["donor.lease"].return_value = before
    ret = donor.lent("x", LOAN, 900)
    assert ret["result"] is (None if test else True)
    assert ret["changes"] == {"old": before and "r-0", "new": "gives itself back when run r-1 leaves it"}
    if test:
        functions["donor.lend"].assert_not_called()
    else:
        functions["donor.lend"].assert_called_once_with(LOAN, 900)


@pytest.mark.parametrize("test", [True, False])
def test_lent_to_this_run_already_only_the_lease_begins_anew(functions, test):
    donor.__opts__["test"] = test
    functions["donor.lease"].return_value = {"run": "r-1", "until": 7}
    ret = donor.lent("x", LOAN, 900)
    assert ret["result"] is True and ret["changes"] == {}
    assert functions["donor.lend"].called is not test


def test_a_donor_that_could_not_come_back_is_not_lent(functions):
    functions["donor.lend"].side_effect = CommandExecutionError("systemctl enable failed")
    ret = donor.lent("x", LOAN, 900)
    assert ret["result"] is False and ret["changes"] == {}
    assert ret["comment"].startswith("west3: ") and "systemctl enable failed" in ret["comment"]


@pytest.mark.parametrize("test", [True, False])
def test_returned(functions, test):
    donor.__opts__["test"] = test
    functions["donor.lease"].return_value = {"run": "r-1", "until": 7}
    ret = donor.returned("x")
    assert ret["result"] is (None if test else True)
    assert ret["changes"] == {"old": "lent to run r-1", "new": "not lent"}
    assert functions["donor.forget"].called is not test


@pytest.mark.parametrize("test", [True, False])
def test_never_lent(functions, test):
    donor.__opts__["test"] = test
    ret = donor.returned("x")
    assert ret["result"] is True and ret["changes"] == {}


def test_a_timer_that_stays_is_an_error(functions):
    functions["donor.lease"].return_value = {"run": "r-1", "until": 7}
    functions["donor.forget"].side_effect = CommandExecutionError("systemctl disable failed")
    ret = donor.returned("x")
    assert ret["result"] is False and "systemctl disable failed" in ret["comment"]
