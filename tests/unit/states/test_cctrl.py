"""States of cctrl: nothing to do, test mode, acting, and a failure that has done half."""

from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

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
        acting = mocks[f"cctrl.{function}"]
        acting.return_value = {"before": seen(after), "after": seen(after)}
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is True and ret["changes"] == {}
        self.asked(mocks, function, args, kwargs, test_mode)

    def test_acting(self, mocks, test_mode, state, words, function, args, kwargs, before, after):
        mocks["cctrl.ls"].return_value = seen(before)
        mocks[f"cctrl.{function}"].return_value = {"before": seen(before), "after": seen(after)}
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is (None if test_mode else True)
        assert ret["changes"]["old"] != ret["changes"]["new"]
        self.asked(mocks, function, args, kwargs, test_mode)

    def asked(self, mocks, function, args, kwargs, test_mode):
        """In test mode one look; otherwise the acting function, which looks itself, and nothing beside it."""
        called = [name for name, mock in mocks.items() if mock.called]
        if test_mode:
            assert called == ["cctrl.ls"] and mocks["cctrl.ls"].call_count == 1
        else:
            assert called == [f"cctrl.{function}"]
            mocks[f"cctrl.{function}"].assert_called_once_with(*args, **kwargs)

    def test_a_tool_that_did_not_do_it(self, mocks, state, words, function, args, kwargs, before, after):
        mocks["cctrl.ls"].return_value = seen(before)
        mocks[f"cctrl.{function}"].side_effect = failure("REQUEST DENIED", before)
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is False and ret["comment"] == "east1: REQUEST DENIED" and ret["changes"] == {}

    def test_what_was_done_before_it_failed_is_told(self, mocks, state, words, function, args, kwargs, before, after):
        mocks["cctrl.ls"].return_value = seen(after)
        mocks[f"cctrl.{function}"].side_effect = failure("timed out", before)
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is False and ret["comment"] == "east1: timed out"
        assert ret["changes"]["old"] != ret["changes"]["new"]

    def test_a_second_failure_does_not_hide_the_first(self, mocks, state, words, function, args, kwargs, before, after):
        mocks["cctrl.ls"].side_effect = CommandExecutionError("no manager")
        mocks[f"cctrl.{function}"].side_effect = failure("timed out", before)
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is False and ret["comment"] == "east1: timed out" and ret["changes"] == {}

    def test_an_unreadable_listing(self, mocks, test_mode, state, words, function, args, kwargs, before, after):
        for mock in (mocks["cctrl.ls"], mocks[f"cctrl.{function}"]):
            mock.side_effect = CommandExecutionError("cannot be read")
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is False and ret["comment"] == "east1: cannot be read" and ret["changes"] == {}
        assert mocks["cctrl.ls"].called is test_mode

    def test_an_invocation_that_is_refused(self, mocks, state, words, function, args, kwargs, before, after):
        mocks[f"cctrl.{function}"].side_effect = SaltInvocationError("not a command")
        ret = getattr(cctrl, state)(**words)
        assert ret["result"] is False and ret["comment"] == "east1: not a command"
        mocks["cctrl.ls"].assert_not_called()


def failure(words, before):
    """As the module raises it once it knows what was before."""
    error = CommandExecutionError(words)
    error.info = {"before": seen(before)}
    return error
