"""nodeview: one look at a node's tools, each of which may fail without hiding the others."""

from unittest.mock import call, create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

nodeview = load("_modules", "nodeview")
cctrl = load("_modules", "cctrl")
topology = load("_modules", "topology")
trepctl = load("_modules", "trepctl")

NODE = {"node": {"host": "east1"}}
CLUSTER, CROSS_SITE = call(which="cluster", full=True), call(which="cross_site", full=True)


@pytest.fixture
def functions():
    return {
        "topology.node": create_autospec(topology.node, return_value=NODE["node"]),
        "cctrl.ls": create_autospec(cctrl.ls, return_value={"service": "east"}),
        "trepctl.services": create_autospec(trepctl.services, side_effect=lambda which, **_: {which: {}}),
    }


@pytest.fixture
def configure_loader_modules(functions):
    return {nodeview: {"__salt__": functions, "__grains__": {"id": "m-east1"}}}


def test_all_is_told_and_each_tool_is_asked_once(functions):
    assert nodeview.__virtual__() == "nodeview"
    assert nodeview.look() == {"answers": {
        **NODE, "cctrl": {"service": "east"}, "cluster": {"cluster": {}}, "cross_site": {"cross_site": {}}},
        "faults": {}}
    functions["cctrl.ls"].assert_called_once_with()
    assert functions["trepctl.services"].call_args_list == [CLUSTER, CROSS_SITE]


def test_each_tool_has_the_callers_limit(functions):
    nodeview.look(timeout=30)
    functions["cctrl.ls"].assert_called_once_with(timeout=30)
    assert [each.kwargs["timeout"] for each in functions["trepctl.services"].call_args_list] == [30, 30]


@pytest.mark.parametrize("parts, calls", [
    (["cluster", "cross_site"], [CLUSTER, CROSS_SITE]), (["cross_site"], [CROSS_SITE]), ([], [])])
def test_only_what_is_asked_for_is_read(functions, parts, calls):
    found = nodeview.look(parts=parts)
    assert found == {"answers": {**NODE, **{part: {part: {}} for part in parts}}, "faults": {}}
    assert functions["trepctl.services"].call_args_list == calls
    functions["cctrl.ls"].assert_not_called()


@pytest.mark.parametrize("parts", ["cluster", ["cluster", "mysql"], ("cluster",), {"cluster": 1}])
def test_a_part_that_there_is_not(functions, parts):
    with pytest.raises(SaltInvocationError, match="cctrl, cluster, cross_site"):
        nodeview.look(parts=parts)
    functions["topology.node"].assert_not_called()


def test_a_tool_that_fails_hides_nothing_else(functions):
    def services(which, full=False, timeout=90):
        if which == "cluster":
            raise CommandExecutionError("the replicator does not run")
        return {}

    functions["trepctl.services"].side_effect = services
    functions["cctrl.ls"].side_effect = CommandExecutionError("no answer")
    assert nodeview.look() == {"answers": {**NODE, "cross_site": {}},
                               "faults": {"cctrl": "no answer", "cluster": "the replicator does not run"}}


def test_modules_not_synced(functions):
    del functions["cctrl.ls"]
    assert nodeview.look(parts=["cctrl"]) == {
        "answers": NODE, "faults": {"cctrl": "cctrl.ls is not available here: salt m-east1 saltutil.sync_all"}}


def test_a_minion_of_no_site_is_asked_nothing_more(functions):
    functions["topology.node"].side_effect = CommandExecutionError("a node of none")
    assert nodeview.look() == {"answers": {}, "faults": {"node": "a node of none"}}
    functions["cctrl.ls"].assert_not_called()
    functions["trepctl.services"].assert_not_called()
