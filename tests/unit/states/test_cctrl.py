"""States of cctrl: nothing to do, test mode, acting, and a failure that has done half."""

from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load
from tests.unit.modules.test_cctrl import listing

module = load("_modules", "cctrl")
cctrl = load("_states", "cctrl")

SHUNNED = {"east1": "master:SHUNNED(MANUALLY-SHUNNED)", "replicator": "OFFLINE"}
ONLINE = {"east1": "master:ONLINE"}
# state, its arguments, the function that acts with its arguments, ls before, ls after
CASES = [
    ("policy", {"name": "MAINTENANCE"}, "set_policy", ("MAINTENANCE",), {}, ONLINE,
     {**ONLINE, "policy": "MAINTENANCE"}),
    ("routers_offline", {"name": "x"}, "set_routers", ("OFFLINE",), {}, ONLINE, {**ONLINE, "router": "OFFLINE"}),
    ("routers_online", {"name": "x"}, "set_routers", ("ONLINE",), {}, {**ONLINE, "router": "OFFLINE"}, ONLINE),
    ("datasource_shunned", {"name": "east1", "force": True}, "shun", ("east1",), {"force": True}, ONLINE, SHUNNED),
    ("datasource_online", {"name": "east1", "how": "welcome"}, "bring_back", ("east1", "welcome"), {"timeout": 120},
     SHUNNED, ONLINE),
]
ACTING = ("set_policy", "set_routers", "shun", "bring_back")


def seen(words):
    return module.parse_ls(listing(**words))


@pytest.fixture
def mocks():
    return {f"cctrl.{name}": create_autospec(getattr(module, name)) for name in ("ls", *ACTING)}


@pytest.fixture
def configure_loader_modules(mocks):
    names = ("has_policy", "has_routers", "is_shunned", "is_online")
    conditions = {f"cctrl.{name}": getattr(module, name) for name in names}
    return {cctrl: {"__salt__": {**mocks, **conditions}, "__opts__": {"test": False}, "__grains__": {"id": "east1"}}}


@pytest.fixture(params=[True, False])
def test_mode(request, monkeypatch):
    monkeypatch.setitem(cctrl.__opts__, "test", request.param)
    return request.param


@pytest.mark.parametrize("state, words, function, args, kwargs, before, after", CASES, ids=[case[0] for case in CASES])
class TestEach:
    def test_nothing_to_do(self, mocks, test_mode, state, words, function, args, kwargs, before, after):
        mocks["cctrl.ls"].return_value = seen(after)
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is True and ret["changes"] == {}
        assert not any(mocks[f"cctrl.{name}"].called for name in ACTING)

    def test_acting(self, mocks, test_mode, state, words, function, args, kwargs, before, after):
        mocks["cctrl.ls"].return_value = seen(before)
        acting = mocks[f"cctrl.{function}"]
        acting.return_value = seen(after)
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is (None if test_mode else True)
        assert ret["changes"]["old"] != ret["changes"]["new"]
        if test_mode:
            acting.assert_not_called()
        else:
            acting.assert_called_once_with(*args, **kwargs)

    def test_a_tool_that_did_not_do_it(self, mocks, state, words, function, args, kwargs, before, after):
        mocks["cctrl.ls"].return_value = seen(before)
        mocks[f"cctrl.{function}"].side_effect = CommandExecutionError("REQUEST DENIED")
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is False and ret["comment"] == "east1: REQUEST DENIED" and ret["changes"] == {}

    def test_what_was_done_before_it_failed_is_told(self, mocks, state, words, function, args, kwargs, before, after):
        mocks["cctrl.ls"].side_effect = [seen(before), seen(after)]
        mocks[f"cctrl.{function}"].side_effect = CommandExecutionError("timed out")
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is False and ret["changes"]["old"] != ret["changes"]["new"]

    def test_an_unreadable_listing(self, mocks, test_mode, state, words, function, args, kwargs, before, after):
        mocks["cctrl.ls"].side_effect = CommandExecutionError("cannot be read")
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is False and "cannot be read" in ret["comment"]
