"""hotpipe in real processes: what goes through, and each way to die."""

import json
import subprocess
import sys
import time

import pytest

from tests.support.loader import load

hotpipe = load("_modules", "hotpipe")
runwords = load("_modules", "runwords")

GIVES = "head -c 3000000 /dev/zero; echo '[00] completed OK!' >&2"
TAKES = "cat > {}"


def shell(text):
    return ["sh", "-c", text]


@pytest.fixture
def run(tmp_path):
    def run(source, sink=None, then=None, said="completed OK!", expected=3000000, bwlimit=0):
        taken = tmp_path / "taken"
        argv = hotpipe.argv(shell(source), shell(sink or TAKES.format(taken)), said,
                            then or ["touch", str(tmp_path / "told")], expected, bwlimit)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, taken, (tmp_path / "told").exists()

    return run


def test_what_ends_well_is_told(run):
    code, log, taken, told = run(GIVES)
    assert (code, told, taken.stat().st_size) == (0, True, 3000000)
    assert "[00] completed OK!\n" in log
    assert runwords.copy_progress([log])["bytes"] == 3000000 and runwords.copy_progress([log])["percent"] == 100


@pytest.mark.parametrize("source, sink, words", [
    (f"{GIVES}; exit 3", None, "sending ended with exit code 3"),
    (GIVES, "cat > /dev/null; exit 4", "taking ended with exit code 4"),
    ("head -c 3000 /dev/zero", None, "has not said 'completed OK!'"),
    ("echo completed OK! >&2; echo no after all >&2", None, "has not said 'completed OK!'"),
    ("head -c 3000 /dev/zero; kill -9 $$", None, "sending ended with exit code -9"),
    (GIVES, "cat > /dev/null; echo mbstream: failed to create file. >&2", "has said: mbstream: failed to create file."),
    (GIVES, "cat > /dev/null; echo x", "the taking side has said: x"),
    (GIVES, "head -c 5 > /dev/null", "the taking side was gone, exit code 0"),
    (GIVES, "kill -9 $$", "exit code -9"),
])
def test_whatever_dies_fails_the_whole_and_nothing_is_told(run, source, sink, words):
    code, log, _, told = run(source, sink)
    assert (code, told) == (1, False) and words in log.splitlines()[-1]


def test_a_sender_that_waits_for_something_else_is_ended_with_the_taker(run):
    began = time.monotonic()
    code, log, _, told = run("head -c 200000 /dev/zero; exec sleep 50", "head -c 5 > /dev/null")
    assert (code, told) == (1, False) and time.monotonic() - began < 30 and "taking side was gone" in log


def test_no_shell_sees_a_word(run, tmp_path):
    strange = f"$(touch {tmp_path}/shell) ; | ' \" % $HOME"
    taken = tmp_path / strange.replace("/", "")
    argv = hotpipe.argv(["printf", "%s", strange], ["dd", "status=none", f"of={taken}"], "", ["true"], 1)
    assert subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0
    assert taken.read_text() == strange and not (tmp_path / "shell").exists()


def test_its_order_is_one_line():
    """A unit's command may hold no line break."""
    argv = hotpipe.argv(["a\nb"], ["c"], "d", ["e"], 1, 5)
    assert argv[0] == sys.executable and not any("\n" in word for word in argv)
    assert json.loads(argv[-1]) == {"source": ["a\nb"], "sink": ["c"], "said": "d", "then": ["e"], "expected": 1,
                                    "bwlimit": 5}


def test_it_needs_neither_salt_nor_the_modules_beside_it():
    """In a directory of synced modules names like resume or notify could hide Python's own."""
    code = f"import runpy, sys; runpy.run_path({hotpipe.__file__!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "salt" not in done.stdout.split() and hotpipe.argv([], [], "", [], 0)[1] == "-I"


def test_what_is_said_of_each_file_does_not_drive_the_rest_away(run):
    said = ["[01] 2026-11-27 14:38:55 Streaming ./shop/orders.ibd to <STDOUT>",
            "[01] 2026-11-27 14:38:55         ...done",
            "2026-11-27T10:33:36.1-04:00 1 [Note] [MY-011825] [Xtrabackup] Done: Streaming ./ibdata1 to <STDOUT>",
            "[02] 2026-11-27 14:38:55 aria table file ./sys/sys_config.MAD is copied successfully.",
            "[03] 2026-11-27 14:39:01 Copied file ./shop/myi.MYD for table `shop`.`myi`, 61640 bytes"]  # fmt: skip
    source = "; ".join(f"echo '{line}' >&2" for line in said) + "; echo 'a complaint' >&2; echo 'completed OK!' >&2"
    _, log, _, _ = run(source)
    assert [line for line in log.splitlines() if "%" not in line] == ["a complaint", "completed OK!"]


def test_progress_is_told_meanwhile_and_never_too_much_of_it(run):
    code, log, _, _ = run("head -c 20000 /dev/zero; sleep 2.2; printf x; echo completed OK! >&2", expected=5000)
    lines = [line for line in log.splitlines() if "%" in line]
    assert code == 0 and len(lines) == 2
    assert runwords.copy_progress(lines[:1]) == {"bytes": 20001, "percent": 99, "rate": "10.5 kB/s"}
    assert runwords.copy_progress([log])["percent"] == 100


def test_a_limit_is_kept(run):
    began = time.monotonic()
    assert run(GIVES, bwlimit=2)[0] == 0
    assert time.monotonic() - began >= 1.4


def test_an_end_that_cannot_be_told_is_tried_again_and_fails_nothing(run, tmp_path, monkeypatch):
    """Whoever waits for the unit tells it then."""
    copy = tmp_path / "hotpipe.py"
    with open(hotpipe.__file__, encoding="utf-8") as stream:
        text = stream.read()
    assert text.count("\nAGAIN = 10\n") == 1
    copy.write_text(text.replace("\nAGAIN = 10\n", "\nAGAIN = 0\n"), encoding="utf-8")
    monkeypatch.setattr(hotpipe, "__file__", str(copy))
    tries = tmp_path / "tries"
    code, log, _, told = run(GIVES, then=shell(f"echo x >> {tries}; exit 7"))
    assert (code, told) == (0, False) and len(tries.read_text().split()) == 3
    assert log.splitlines()[-1] == "could not tell the end of it: exit code 7"
    code, _, _, told = run(GIVES, then=shell(f"echo x >> {tries}; [ $(wc -l < {tries}) = 5 ] && touch {tmp_path}/told"))
    assert (code, told) == (0, True), "the second try"
