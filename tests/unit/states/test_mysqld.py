from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

module = load("_modules", "mysqld")
mysqld = load("_states", "mysqld")


@pytest.fixture
def server():
    return {"running": True, "ping": True}


@pytest.fixture
def functions(server):
    def status():
        return {"unit": "mariadb", "running": server["running"]}

    def stop(timeout=600):
        server.update(running=False, ping=False)

    def start(timeout=600):
        server.update(running=True, ping=True)

    dunder = {
        "mysqld.status": create_autospec(module.status, side_effect=status),
        "mysqld.ping": create_autospec(module.ping, side_effect=lambda timeout=10: server["ping"]),
        "mysqld.stop": create_autospec(module.stop, side_effect=stop),
        "mysqld.start": create_autospec(module.start, side_effect=start),
    }
    return dunder


@pytest.fixture
def configure_loader_modules(functions):
    return {mysqld: {"__salt__": functions, "__opts__": {"test": False}, "__grains__": {"id": "east1"}}}


CASES = [("stopped", True, "running", "stopped"), ("running", False, "stopped", "running")]


@pytest.mark.parametrize("state, up, old, new", CASES)
@pytest.mark.parametrize("test", [True, False])
def test_brings_the_server_there_once(functions, server, state, up, old, new, test):
    server.update(running=up, ping=up)
    mysqld.__opts__["test"] = test
    acting = functions["mysqld.stop" if up else "mysqld.start"]
    ret = getattr(mysqld, state)("x", timeout=30)
    assert ret["result"] is (None if test else True)
    assert ret["changes"] == {"old": old, "new": new}
    assert acting.called is not test
    if not test:
        acting.assert_called_once_with(timeout=30)
        again = getattr(mysqld, state)("x")
        assert again["result"] is True and again["changes"] == {}
        acting.assert_called_once()


def test_a_server_that_does_not_answer_is_not_running(functions, server):
    server.update(running=True, ping=False)
    ret = mysqld.running("x")
    assert ret["result"] is True and ret["changes"] == {"old": "not answering", "new": "running"}


@pytest.mark.parametrize("half_done", [True, False])
def test_failure_names_the_node_and_what_was_done(functions, server, half_done):
    def stop(timeout=600):
        server.update(running=not half_done, ping=False)
        raise CommandExecutionError("its stop was not clean")

    functions["mysqld.stop"].side_effect = stop
    ret = mysqld.stopped("x")
    assert ret["result"] is False
    assert "east1" in ret["comment"] and "not clean" in ret["comment"]
    assert ret["changes"] == {"old": "running", "new": "stopped" if half_done else "not answering"}


def test_a_lying_tool_is_not_believed(functions):
    functions["mysqld.stop"].side_effect = None
    ret = mysqld.stopped("x")
    assert ret["result"] is False and ret["changes"] == {} and "east1" in ret["comment"]
