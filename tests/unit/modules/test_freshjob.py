"""freshjob: a runner's function in the background, by a process of its own, and told when that fails."""

import json
import sys
from unittest.mock import create_autospec

import pytest
import salt.modules.cmdmod
import salt.runner
from salt.exceptions import CommandExecutionError

from tests.support.loader import load

freshjob = load("_modules", "freshjob")
WORDS = {"site": "east", "reporter": "east2"}


@pytest.fixture
def run():
    return create_autospec(salt.modules.cmdmod.run_all, return_value={
        "stdout": 'something before\n{"jid": "20260101", "tag": "salt/run/20260101"}', "stderr": "", "retcode": 0})


@pytest.fixture
def configure_loader_modules(run):
    return {freshjob: {"__salt__": {"cmd.run_all": run},
                       "__opts__": {"__role": "master", "conf_file": "/etc/salt/master"}}}


def test_only_the_master_has_it():
    assert freshjob.__virtual__() == "freshjob"
    freshjob.__opts__["__role"] = "minion"
    assert freshjob.__virtual__()[0] is False


def test_it_is_started_by_a_new_process_in_an_argv_of_its_own(run):
    assert freshjob.start("drift.look", WORDS) == {"jid": "20260101", "tag": "salt/run/20260101"}
    (argv,), options = run.call_args
    assert argv[:2] == [sys.executable, "-c"] and argv[3:5] == ["/etc/salt/master", "drift.look"]
    assert json.loads(argv[5]) == WORDS
    assert options["python_shell"] is False and options["timeout"] == freshjob.SECONDS


def test_the_program_calls_salt_as_it_wants_to_be_called(monkeypatch, capsys, tmp_path):
    """The program itself, in this process."""
    client = create_autospec(salt.runner.RunnerClient, instance=True)
    client.asynchronous.return_value = {"jid": "1", "tag": "t"}
    made = create_autospec(salt.runner.RunnerClient, return_value=client)
    monkeypatch.setattr(salt.runner, "RunnerClient", made)
    (tmp_path / "master").write_text("id: of-this-file")
    monkeypatch.setattr(sys, "argv", ["-c", str(tmp_path / "master"), "drift.look", json.dumps(WORDS)])
    exec(compile(freshjob.PROGRAM, "PROGRAM", "exec"), {})
    assert made.call_args.args[0]["id"] == "of-this-file"
    client.asynchronous.assert_called_once_with("drift.look", WORDS, user="Reactor")
    assert json.loads(capsys.readouterr().out) == {"jid": "1", "tag": "t"}


@pytest.mark.parametrize("said", [
    {"stdout": "", "stderr": "ModuleNotFoundError: No module named 'salt'", "retcode": 1},
    {"stdout": "Traceback\nModuleNotFoundError: No module named 'salt'", "stderr": "", "retcode": 1},
    {"stdout": "7", "stderr": "No module named 'salt'", "retcode": 0},
    {"stdout": "null", "stderr": "No module named 'salt'", "retcode": 0},
    {"stdout": "{}", "stderr": "No module named 'salt'", "retcode": 0},
])
def test_what_python_said_is_quoted(run, said):
    run.return_value = said
    match = rf"(?s)drift.look could not be started.*{said['retcode']}: .*'salt'"
    with pytest.raises(CommandExecutionError, match=match) as told:
        freshjob.start("drift.look", WORDS)
    assert len(str(told.value)) < 700


def test_one_that_hangs_is_given_up(run):
    run.return_value = {"stdout": "", "stderr": "", "retcode": 1}
    with pytest.raises(CommandExecutionError, match="it said nothing"):
        freshjob.start("drift.look", WORDS)
