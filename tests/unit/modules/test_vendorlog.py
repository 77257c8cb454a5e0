"""vendorlog: how the vendor's tools are run, and what is kept of it."""

import json
import os
import time
from unittest.mock import create_autospec

import pytest
import salt.modules.cmdmod as cmdmod
from salt.exceptions import SaltInvocationError

from tests.support.loader import load

topology = load("_modules", "topology")
vendorlog = load("_modules", "vendorlog")
NOW = 1795748400  # 2026-11-27T03:00:00Z
ALL_DAY = ("2026-11-27T00:00:00Z", "2026-11-27T23:59:59Z")


def told(begun=ALL_DAY[0], ended=ALL_DAY[1]):
    """All of it, which is one part."""
    answer = vendorlog.read(begun, ended)
    assert answer["parts"] == 1
    return answer["commands"]


@pytest.fixture
def tool():
    return create_autospec(cmdmod.run_all, return_value={"retcode": 0, "stdout": "said", "stderr": ""})


@pytest.fixture
def configure_loader_modules(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(vendorlog, "FOLDER", str(tmp_path / "log"))
    monkeypatch.setattr(vendorlog, "time", Clock())
    node = create_autospec(topology.node, return_value={"user": "tungsten"})
    return {vendorlog: {"__salt__": {"cmd.run_all": tool, "topology.node": node}}}


class Clock:
    """The module's own; the process's goes on."""

    now = NOW
    gmtime, strftime = staticmethod(time.gmtime), staticmethod(time.strftime)

    def time(self):
        return self.now

    def monotonic(self):
        self.now += 0.25
        return self.now


def at(moment):
    vendorlog.time.now = moment


def test_how_a_tool_is_run(tool):
    assert vendorlog.run(["/opt/t/cctrl", "-expert"], 7.5, stdin="ls\n") == tool.return_value
    tool.assert_called_once_with(
        ["timeout", "--kill-after=5", "7", "/opt/t/cctrl", "-expert"], runas="tungsten", stdin="ls\n",
        python_shell=False, ignore_retcode=True, output_loglevel="debug")


def test_what_is_written_down(tool):
    tool.return_value = {"retcode": 1, "stdout": "on stdout\n", "stderr": "on stderr"}
    vendorlog.run(["/opt/t/cctrl", "-expert"], 7, stdin="set force true\nls\n")
    assert told() == [{
        "at": "2026-11-27T03:00:00Z", "took": 0.25, "argv": ["/opt/t/cctrl", "-expert"],
        "typed": ["set force true", "ls"], "code": 1, "answer": "on stdout\non stderr"}]


def test_only_root_can_read_it(tmp_path):
    vendorlog.run(["trepctl", "services"], 7)
    (file,) = (tmp_path / "log").iterdir()
    assert file.name == "vendor-2026-11-27.jsonl"
    assert file.stat().st_mode & 0o077 == 0 and file.parent.stat().st_mode & 0o077 == 0


def test_an_answer_that_may_hold_a_password_is_kept_nowhere(tool, tmp_path):
    tool.return_value = {"retcode": 0, "stdout": "replicator.global.db.password=canary", "stderr": ""}
    assert "canary" in vendorlog.run(["trepctl", "properties"], 7, secret=True)["stdout"]
    assert tool.call_args.kwargs["output_loglevel"] == "quiet"
    assert "canary" not in "".join(path.read_text() for path in (tmp_path / "log").iterdir())


def test_of_a_long_answer_both_ends_are_kept(tool):
    tool.return_value = {"retcode": 0, "stdout": "begin" + "." * 10**6 + "end", "stderr": ""}
    vendorlog.run(["trepctl", "services"], 7)
    (entry,) = told()
    assert entry["answer"].startswith("begin") and entry["answer"].endswith("end")
    assert len(entry["answer"]) < vendorlog.MOST + 100


def test_a_full_disk_stops_nothing(tool, monkeypatch, caplog):
    monkeypatch.setattr(vendorlog.os, "makedirs", create_autospec(os.makedirs, side_effect=OSError(28, "No space")))
    assert vendorlog.run(["trepctl", "services"], 7) == tool.return_value
    assert "trepctl said is not written down" in caplog.text


def test_only_what_lies_in_the_time_and_over_midnight():
    for moment in (NOW - 1, NOW, NOW + 3600, NOW + 86400, NOW + 86401):
        at(moment)
        vendorlog.run(["trepctl", "services"], 7)
    found = told("2026-11-27T03:00:00Z", "2026-11-28T03:00:00Z")
    assert [entry["at"] for entry in found] == [
        "2026-11-27T03:00:00Z", "2026-11-27T04:00:00Z", "2026-11-28T03:00:00Z"]


def test_a_line_cut_off_tells_nothing_and_takes_no_other_with_it(tmp_path):
    vendorlog.run(["trepctl", "1"], 7)
    with (tmp_path / "log/vendor-2026-11-27.jsonl").open("a") as file:
        file.write(json.dumps({"at": "2026-11-27T03:00:01Z"})[:-9])
    vendorlog.run(["trepctl", "2"], 7)
    assert [entry["argv"][1] for entry in told()] == ["1", "2"]


def test_what_is_too_long_for_the_bus_is_told_in_parts(tool):
    tool.return_value = {"retcode": 0, "stdout": "." * vendorlog.MOST, "stderr": ""}
    for number in range(150):
        vendorlog.run(["trepctl", str(number)], 7)
    answers = [vendorlog.read(*ALL_DAY, part=part) for part in range(3)]
    assert {answer["parts"] for answer in answers} == {3}
    assert all(len(json.dumps(answer)) < 600_000 for answer in answers)
    assert [entry["argv"][1] for answer in answers for entry in answer["commands"]] == list(map(str, range(150)))
    for none in (3, -1):
        assert vendorlog.read(*ALL_DAY, part=none)["commands"] == []


def test_no_file_is_no_command():
    assert told() == []


def test_the_oldest_days_go(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log/copy-east.log").touch()
    for day in range(40):
        at(NOW + day * 86400)
        vendorlog.run(["trepctl", "services"], 7)
    names = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert len(names) == vendorlog.DAYS + 1 and names[0] == "copy-east.log"
    assert names[1] == "vendor-2026-12-07.jsonl"


@pytest.mark.parametrize("begun", ["", "../../etc/passwd", None, "2026-11-27", 7])
def test_what_is_no_time_is_refused(begun):
    with pytest.raises(SaltInvocationError, match="2026-11-27T03:00:00Z"):
        vendorlog.read(begun, "2026-11-27T04:00:00Z")
