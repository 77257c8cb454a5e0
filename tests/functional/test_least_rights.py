"""examples/ssh/reprovision-only, in a real shell: which commands a restricted key is good for."""

import re
import shlex
import subprocess

import pytest

from tests.support.loader import ROOT, load

SCRIPT = ROOT / "examples/ssh/reprovision-only"
SUDOERS = ROOT / "examples/sudoers/tungsten-reprovision"


@pytest.fixture
def asked(tmp_path):
    """Ask for a command as sshd does; returns (exit code, the words of what was run, stderr)."""
    ran = tmp_path / "ran"
    for name in ("sudo", "pgrep", "id"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@" > {ran}\n')
        program.chmod(0o755)

    def ask(command):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        if command is not None:
            environment["SSH_ORIGINAL_COMMAND"] = command
        done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
        return done.returncode, ran.read_text().splitlines() if ran.exists() else None, done.stderr

    return ask


@pytest.mark.parametrize("command, words", [
    ("pgrep -x 'mysqld|mariadbd'", ["pgrep", "-x", "mysqld|mariadbd"]),
    ("sudo -n rsync --version", ["sudo", "-n", "rsync", "--version"]),
    ("sudo -n rsync --server -slogDtOpre.iLsfxCIvu",
     ["sudo", "-n", "rsync", "--server", "-slogDtOpre.iLsfxCIvu"]),
    ("sudo -n rsync --server --sender -Ie.LsfxCIvu . /var/lib/reprovision/ownership.json",
     ["sudo", "-n", "rsync", "--server", "--sender", "-Ie.LsfxCIvu", ".", "/var/lib/reprovision/ownership.json"]),
])
def test_what_a_copy_needs_is_run_word_for_word(asked, command, words):
    assert asked(command) == (0, words, "")


@pytest.mark.parametrize("command", [
    None, "", "id", "sudo -n id", "sudo -n rsync -a /etc/shadow /tmp", "sudo -n rsync --version; id",
    "sudo -n rsync --server -s; id", "sudo -n rsync --server -s\nid", "sudo -n rsync --server -s `id`",
    "sudo -n rsync --server -s $(id)", "sudo -n rsync --server -s && id", "sudo -n rsync --server -s > x",
    "sudo -n rsync --server", "sudo  -n rsync --server -s", "pgrep -x 'mysqld|mariadbd' id", "pgrep -x mysqld",
    "sudo -n rsync --server --daemon --config /tmp/c . /var/lib/reprovision/ownership.json",
    "sudo -n rsync --server -e.L --daemon --config=/tmp/c . /var/lib/reprovision/ownership.json",
    "sudo -n rsync --server -s --sender . /etc/shadow", "sudo -n rsync --server --sender -e.Lsf . /etc/shadow",
    "sudo -n rsync --server -e.Lsf . /etc/shadow /var/lib/reprovision/ownership.json", "sudo -n rsync --server -s -n",
    "sudo -n rsync --server -e.Lsf . /var/lib/reprovision/ownershipXjson",
    "sudo -n mbstream -x -p 4 -C /var/lib/mysql", "sudo -n -u root mbstream -x -p 4 -C /var/lib/mysql",
    "sudo -n -u mysql mbstream -x -p 4 -C /etc", "sudo -n -u mysql mbstream -x -p 4 -C /var/lib/mysql /etc/passwd",
    "sudo -n -u mysql mbstream -c -p 4 -C /var/lib/mysql", "sudo -n -u mysql mbstream -x -p 4 -C /var/lib/mysql; id",
    "sudo -n -u mysql mbstream  -x -p 4 -C /var/lib/mysql", "sudo -n -u mysql mbstream -x -p 4 -C /var/lib/mysql\nid",
    "sudo -n -u mysql tar -x -p 4 -C /var/lib/mysql", "sudo -n -u mysql mbstream -x -p 4 -C /var/lib/mysql2",
    "sudo -n rsync --server -s *", "sudo -n rsync --server -s | id", "sudo -n rsync --server -s 'x y'",
])
def test_all_else_is_refused_and_nothing_is_run(asked, command):
    code, ran, said = asked(command)
    assert (code, ran) == (126, None) and said.startswith("this key is for copies by reprovision only")


def test_sudo_allows_what_a_hot_copy_runs_and_the_key_is_good_for(asked):
    """All three word for word, and nobody but the server's user does it."""
    hotguard = load("_modules", "hotguard")
    text = SUDOERS.read_text(encoding="utf-8").replace("\\\n", " ")
    allowed = {words.strip() for words in re.search(r"REPROVISION_HOT = (.*)", text)[1].split(",")}
    wanted = [hotguard.unpack(method, "/var/lib/mysql", "mysql") for method in hotguard.METHODS]
    assert allowed == {"/usr/bin/" + " ".join(words[4:]) for words in wanted}
    assert "\ntungsten ALL=(mysql) NOPASSWD: REPROVISION_HOT\n" in text and "*" not in str(allowed)
    for words in wanted:
        assert asked(shlex.join(words)) == (0, words, "")
