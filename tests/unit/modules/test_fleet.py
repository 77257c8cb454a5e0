"""fleet: an answer of every minion asked, or a fault that names the minion."""

from unittest.mock import create_autospec

import pytest
import salt.modules.saltutil
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

fleet = load("_modules", "fleet")


@pytest.fixture
def cmd():
    return create_autospec(salt.modules.saltutil.cmd)


@pytest.fixture
def configure_loader_modules(cmd):
    return {fleet: {"__salt__": {"saltutil.cmd": cmd}, "__opts__": {"__role": "master"}}}


def test_only_on_the_master():
    assert fleet.__virtual__() == "fleet"
    fleet.__opts__["__role"] = "minion"
    assert fleet.__virtual__() == (False, "fleet asks minions from the master; this is a minion")


def test_asks_a_list_and_expects_them_all(cmd):
    cmd.return_value = {"east1": {"ret": 1}, "east2": {"ret": None}}
    assert fleet.ask(["east1", "east2"], "trepctl.position", kwarg={"which": "cluster"}, timeout=7) == {
        "east1": 1,
        "east2": None,
    }
    cmd.assert_called_once_with(
        ["east1", "east2"],
        "trepctl.position",
        timeout=7,
        tgt_type="list",
        kwarg={"which": "cluster"},
        expect_minions=True,
    )


@pytest.mark.parametrize(
    "item, words",
    [
        (None, "does not answer test.ping (salt east2 test.ping)"),
        (False, "does not answer test.ping"),
        ({}, "does not answer test.ping"),
        ({"failed": True}, "does not answer test.ping"),
        ({"failed": True, "ret": "late"}, "does not answer test.ping"),
        ({"ret": "ERROR: no cctrl", "retcode": 1}, "test.ping failed: ERROR: no cctrl"),
        ({"ret": "'x.y' is not available.", "retcode": 254}, "test.ping failed: 'x.y' is not available."),
        ({"ret": {}, "success": False}, "test.ping failed: {}"),
    ],
)
def test_who_gives_no_answer_is_a_fault(cmd, item, words):
    cmd.return_value = {"east1": {"ret": False, "retcode": 0, "success": True}, "other": {"ret": 1}}
    if item is not None:
        cmd.return_value["east2"] = item
    gathered = fleet.gather(["east1", "east2"], "test.ping")
    assert gathered["answers"] == {"east1": False}
    assert list(gathered["faults"]) == ["east2"] and gathered["faults"]["east2"].startswith(words)
    with pytest.raises(CommandExecutionError, match="^east2: "):
        fleet.ask(["east1", "east2"], "test.ping")


def test_every_silent_minion_is_named(cmd):
    cmd.return_value = {}
    with pytest.raises(CommandExecutionError, match=r"(?s)^a: does not.*\nb: does not"):
        fleet.ask(["b", "a"], "test.ping")


def test_nobody_is_not_everybody(cmd):
    with pytest.raises(SaltInvocationError):
        fleet.gather([], "test.ping")
    cmd.assert_not_called()
