"""Jobs as systemd units: what is asked of systemd, and how its answers are read."""

import os
import time
from unittest.mock import create_autospec

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.modules import cmdmod

from tests.support.loader import load

longjob = load("_modules", "longjob")

# systemctl show of systemd 252, for units that were run for it
RUNNING = "ActiveState=active\nSubState=running\nResult=success\nExecMainCode=0\nExecMainStatus=0"
EXITED = "ActiveState=active\nSubState=exited\nResult=success\nExecMainCode=1\nExecMainStatus=0"
WELL = "ActiveState=active\nSubState=exited\nResult=success\nExecMainCode=1\nExecMainStatus=24"
FAILED = "ActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainCode=1\nExecMainStatus=3"
KILLED = "ActiveState=failed\nSubState=failed\nResult=signal\nExecMainCode=2\nExecMainStatus=9"
LATE = "ActiveState=failed\nSubState=failed\nResult=timeout\nExecMainCode=2\nExecMainStatus=15"
ENDING = "ActiveState=deactivating\nSubState=stop-sigterm\nResult=timeout\nExecMainCode=0"
ABSENT = "ActiveState=inactive\nSubState=dead\nResult=success\nExecMainCode=0\nExecMainStatus=0"


class Systemd:
    """Answers systemctl show from a list, the last one for ever; takes everything else."""

    def __init__(self, *shown, refuse=""):
        self.shown, self.refuse, self.calls = list(shown), refuse, []
        self.run_all = create_autospec(cmdmod.run_all, side_effect=self.answer)

    def answer(self, argv, **_):
        assert argv[:2] == ["timeout", "--kill-after=5"]
        argv = argv[3:]
        if argv[:2] == ["systemctl", "show"]:
            text = self.shown.pop(0) if len(self.shown) > 1 else self.shown[0]
            return {"retcode": 0, "stdout": text, "stderr": ""}
        self.calls.append(argv)
        return {"retcode": 1 if self.refuse else 0, "stdout": "", "stderr": self.refuse}


@pytest.fixture
def configure_loader_modules():
    return {longjob: {"__salt__": {}}}


@pytest.fixture(autouse=True)
def log_dir(tmp_path, monkeypatch):
    monkeypatch.setattr(longjob, "LOG_DIR", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def systemd(monkeypatch):
    def install(*shown, **kwargs):
        fake = Systemd(*shown, **kwargs)
        monkeypatch.setitem(longjob.__salt__, "cmd.run_all", fake.run_all)
        return fake

    return install


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only by sleeping."""
    now = [1000.0]
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return naps


def test_start_as_user_with_deadline(systemd, log_dir):
    fake = systemd(ABSENT, RUNNING)
    ret = longjob.start("clone-1", ["/usr/bin/tool", "-s", "a$b"], user="tungsten", deadline=60)
    assert ret["state"] == "running"
    (argv,) = fake.calls
    assert argv[0] == "systemd-run"
    assert "--unit=reprovision-clone-1.service" in argv
    assert "--property=User=tungsten" in argv
    assert "--property=RuntimeMaxSec=60" in argv
    assert "--property=RemainAfterExit=yes" in argv
    assert "--property=KillMode=control-group" in argv
    assert "--property=StandardInput=null" in argv
    assert f"--property=StandardOutput=file:{log_dir}/clone-1.log" in argv
    # systemd would expand $b
    assert argv[argv.index("--") :] == ["--", "/usr/bin/tool", "-s", "a$$b"]


def test_start_as_root_without_deadline(systemd):
    fake = systemd(ABSENT, RUNNING)
    longjob.start("clone-1", ["true"])
    assert not [word for word in fake.calls[0] if "User=" in word or "RuntimeMaxSec" in word or "ExitStatus" in word]


@pytest.mark.parametrize("well, told", [((24,), "24"), ((23, 24), "23 24"), ([23, "24"], "23 24")])
def test_codes_that_are_as_good_as_0_are_told_to_systemd(systemd, well, told):
    fake = systemd(ABSENT, RUNNING)
    longjob.start("a", ["true"], well=well)
    (argv,) = fake.calls
    assert f"--property=SuccessExitStatus={told}" in argv[:argv.index("--")]


@pytest.mark.parametrize("well", [("23 SIGKILL",), ("x",), (None,)])
def test_only_codes_are_as_good_as_0(systemd, well):
    fake = systemd(ABSENT)
    with pytest.raises((ValueError, TypeError)):
        longjob.start("a", ["true"], well=well)
    assert fake.calls == []


def test_log_is_for_root_only_and_the_earlier_one_is_kept(systemd, log_dir):
    systemd(ABSENT, RUNNING)
    longjob.start("a", ["true"])
    (log_dir / "a.log").write_text("first")
    systemd(ABSENT, RUNNING)
    longjob.start("a", ["true"])
    assert (log_dir / "a.log.1").read_text() == "first"
    assert (log_dir / "a.log").read_text() == ""
    assert os.stat(log_dir / "a.log").st_mode & 0o777 == 0o600
    assert os.stat(log_dir).st_mode & 0o777 == 0o700


def test_log_does_not_follow_a_link(systemd, log_dir, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    log_dir.mkdir()
    (log_dir / "a.log").symlink_to(victim)
    systemd(ABSENT, RUNNING)
    longjob.start("a", ["true"])
    assert victim.read_text() == "precious"
    assert not (log_dir / "a.log").is_symlink()


def test_start_refuses_what_runs(systemd):
    fake = systemd(RUNNING)
    with pytest.raises(CommandExecutionError, match="not started twice"):
        longjob.start("a", ["true"])
    assert fake.calls == []


@pytest.mark.parametrize("before", [EXITED, FAILED])
def test_start_makes_room_for_what_has_ended(systemd, before):
    fake = systemd(before, RUNNING)
    longjob.start("a", ["true"])
    assert [argv[:2] for argv in fake.calls[:2]] == [["systemctl", "stop"], ["systemctl", "reset-failed"]]
    assert fake.calls[2][0] == "systemd-run"


def test_start_quotes_systemd(systemd):
    systemd(ABSENT, refuse="Failed to find executable /no/such")
    with pytest.raises(CommandExecutionError, match="Failed to find executable /no/such"):
        longjob.start("a", ["/no/such"])


@pytest.mark.parametrize(
    "kwargs",
    [
        {"name": "../a"}, {"name": ""}, {"name": "a b"}, {"name": "a" * 101}, {"name": "a\n"},
        {"argv": []}, {"argv": "true"}, {"argv": ["a\nb"]}, {"argv": ["$HOME/tool"]},
        {"user": "Root"}, {"user": "a b"}, {"user": "root\n"}, {"deadline": 0}, {"deadline": "60"},
    ],
)  # fmt: skip
def test_start_refuses_bad_arguments(systemd, kwargs):
    fake = systemd(ABSENT)
    with pytest.raises(SaltInvocationError):
        longjob.start(**{"name": "a", "argv": ["true"], **kwargs})
    assert fake.calls == []


@pytest.mark.parametrize(
    "shown, state, rc",
    [
        (RUNNING, "running", None),
        (ENDING, "running", None),
        (EXITED, "done", 0),
        (WELL, "done", 24),
        (FAILED, "failed", 3),
        (KILLED, "failed", -9),
        (LATE, "failed", -15),
        (ABSENT, "absent", None),
    ],
)
def test_status(systemd, shown, state, rc):
    systemd(shown)
    now = longjob.status("a")
    assert (now["state"], now["rc"]) == (state, rc)
    # A minion reports a dict whose ``result`` or ``success`` is false as a call that failed.
    assert not {"result", "success"} & set(now)


def test_status_tells_duration_and_age(systemd, clock):
    systemd(EXITED + "\nExecMainStartTimestampMonotonic=990000000\nExecMainExitTimestampMonotonic=994500000")
    now = longjob.status("a")
    assert (now["seconds"], now["age"]) == (4.5, 10.0)


def test_status_shows_the_end_of_the_log(systemd, log_dir):
    log_dir.mkdir()
    (log_dir / "a.log").write_bytes(
        b"".join(b"line %d\n" % number for number in range(40)) + b" 1%\r 2%\r 3%\r\nlast\xff\n"
    )
    systemd(RUNNING)
    lines = longjob.status("a")["log"].splitlines()
    assert len(lines) == 15
    assert lines[-3:] == ["line 39", " 3%", "last\ufffd"]


def test_status_does_not_guess_without_systemd(monkeypatch):
    answer = {"retcode": 1, "stdout": "", "stderr": "Failed to connect to bus"}
    monkeypatch.setitem(longjob.__salt__, "cmd.run_all", create_autospec(cmdmod.run_all, return_value=answer))
    with pytest.raises(CommandExecutionError, match="Failed to connect to bus"):
        longjob.status("a")


def test_wait_polls_ever_more_slowly(systemd, clock):
    systemd(*[RUNNING] * 12, EXITED)
    assert longjob.wait("a", 600)["state"] == "done"
    assert clock[0] == 0.5
    assert clock == sorted(clock)
    assert clock[-1] == 5


@pytest.mark.parametrize(
    "shown, words",
    [
        (FAILED, "ended with exit code 3"),
        (KILLED, "signal SIGKILL"),
        (LATE, "ran out of time"),
        (ABSENT, "knows no job a"),
    ],
)
def test_wait_says_why_it_failed(systemd, clock, log_dir, shown, words):
    log_dir.mkdir()
    (log_dir / "a.log").write_text("disk full\n")
    systemd(RUNNING, shown)
    with pytest.raises(CommandExecutionError, match=words) as error:
        longjob.wait("a", 60)
    assert ("disk full" in str(error.value)) == (shown != ABSENT)


def test_wait_gives_up_but_leaves_it_running(systemd, clock):
    fake = systemd(RUNNING)
    with pytest.raises(CommandExecutionError, match="still running .* goes on"):
        longjob.wait("a", 7)
    assert sum(clock) == pytest.approx(7)
    assert fake.calls == []


@pytest.mark.parametrize("before, stopped", [(RUNNING, True), (EXITED, False), (FAILED, False)])
def test_stop(systemd, before, stopped):
    fake = systemd(before, ABSENT)
    assert longjob.stop("a")["stopped"] is stopped
    assert ["systemctl", "stop", "reprovision-a.service"] in fake.calls


def test_stop_of_what_is_not_there_does_nothing(systemd):
    fake = systemd(ABSENT)
    assert longjob.stop("a") == {"stopped": False, "before": "absent"}
    assert fake.calls == []


def test_stop_notices_what_does_not_end(systemd):
    systemd(RUNNING)
    with pytest.raises(CommandExecutionError, match="running after systemctl stop"):
        longjob.stop("a")


def test_several_are_stopped_at_the_same_time(systemd):
    fake = systemd(ABSENT)
    assert longjob.stop_each(["a", "b"]) == ["a", "b"]
    units = ["reprovision-a.service", "reprovision-b.service"]
    assert fake.calls == [["systemctl", "stop", *units], ["systemctl", "reset-failed", *units]]


def test_of_none_nothing_is_stopped(systemd):
    fake = systemd(ABSENT)
    assert longjob.stop_each([]) == [] and fake.calls == []


def test_virtual_without_systemd(monkeypatch, tmp_path):
    monkeypatch.setattr(longjob, "BOOTED", str(tmp_path / "none"))
    loaded, why = longjob.__virtual__()
    assert loaded is False
    assert str(tmp_path / "none") in why


def test_stop_all_ends_only_the_jobs_that_begin_so(monkeypatch):
    listing = "".join(f"reprovision-copy-0-{name}.service loaded active running x\n" for name in "ab")
    run = create_autospec(cmdmod.run_all, return_value={"retcode": 0, "stdout": listing, "stderr": ""})
    stopped = []
    monkeypatch.setitem(longjob.__salt__, "cmd.run_all", run)
    monkeypatch.setattr(longjob, "stop_each", lambda jobs: stopped.extend(jobs) or jobs)
    assert longjob.stop_all("copy-0-") == stopped == ["copy-0-a", "copy-0-b"]
    assert run.call_args.args[0][-1] == "reprovision-copy-0-*.service"


@pytest.mark.parametrize("prefix", ["", "c", "*", "copy*", "../x"])
def test_stop_all_of_everything_is_refused(prefix):
    with pytest.raises(SaltInvocationError):
        longjob.stop_all(prefix)


def test_stop_all_without_an_answer_raises(monkeypatch):
    answer = {"retcode": 1, "stdout": "", "stderr": "no bus"}
    monkeypatch.setitem(longjob.__salt__, "cmd.run_all", create_autospec(cmdmod.run_all, return_value=answer))
    with pytest.raises(CommandExecutionError, match="no bus"):
        longjob.stop_all("copy-0-")
