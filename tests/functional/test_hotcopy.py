"""A hot copy through Salt's loaders, with real pipelines: only the backup tool, ssh and sudo are stand-ins."""

import json
import os
import shutil
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="changes owners"),
    pytest.mark.skipif(not shutil.which("rsync"), reason="needs rsync"),
]

PROGRAMS = {
    # Answers the pipeline's command and the question whether it may be run.
    "sudo": 'while :; do case $1 in -n) shift;; -u) shift 2;; -l) exit 0;; *) exec "$@";; esac; done\n',
    "mariadbd": "echo 'mariadbd  Ver 10.11.19-MariaDB for debian-linux-gnu on x86_64'\n",
    "mariadb-backup": """
for word; do case $word in --datadir=*|--target-dir=*) [ -n "$place" ] || place=${word#*=};; esac; done
case $* in
--version) echo 'mariadb-backup based on MariaDB server 10.11.19-MariaDB' >&2; exit ;;
*--backup*) cd "$place" && tar -c --exclude=auto.cnf . && [ -z "$FAKE_TOOL" ] || exit 1 ;;
*--prepare*) [ -z "$FAKE_PREPARE" ] || { echo 'InnoDB: page 7 is corrupted'; exit 1; }
sed -i s/full-backuped/log-applied/ "$place/xtrabackup_checkpoints" ;;
esac
echo '[00] completed OK!' >&2
""",
    # As it is: ends with 0 although it has made one file too few.
    "mbstream": """
cd "$5" && cat > .stream && { [ ! -s .stream ] || tar -xkf .stream --no-same-owner; } || exit 1
rm .stream
[ -z "$FAKE_UNPACK" ] || [ ! -e ibdata1 ] || { rm mysql/user.frm; echo 'mbstream: failed to create file.' >&2; }
""",
}
METHOD = "mariabackup"
EMPTY = {"site": "east", "donor": "west3", "run": "r1", "method": METHOD}
STREAM = {"host": "east1", "site": "east", "run": "r1", "method": METHOD}


@pytest.fixture
def sites(world, tmp_path, reached, minion_opts):
    """Two hosts in one: ``sites("east1")`` makes this one that host."""
    for name, text in PROGRAMS.items():
        (reached / name).write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
        (reached / name).chmod(0o755)
    (tmp_path / "my.cnf").write_text("", encoding="utf-8")
    for host in ("east1", "west3"):
        (tmp_path / host / "mysql").mkdir(parents=True)
        (tmp_path / host / "mysql/user.frm").write_text(host, encoding="utf-8")
        (tmp_path / host / "auto.cnf").write_text(host, encoding="utf-8")
        (tmp_path / host / "ibdata1").write_text(host * 100000, encoding="utf-8")
        shutil.chown(tmp_path / host, "nobody", "nogroup")
    # What the tool would add to its stream.
    (tmp_path / "west3/xtrabackup_checkpoints").write_text("backup_type = full-backuped\n", encoding="utf-8")

    def become(host):
        # Each host has its own.
        (Path(minion_opts["root_dir"]) / "lib reprovision/locations.json").unlink(missing_ok=True)
        site = host[:4]
        role, state = ("master", "SHUNNED") if site == "east" else ("slave", "ONLINE")
        datadir = str(tmp_path / host)
        world.set(
            node={"site": site, "service": site, "host": host, "minion": host, "user": "tungsten",
                  "cluster_home": "/opt/continuent", "cross_site_home": "/opt/replicator",
                  "mysql": {"unit": "auto", "defaults_file": str(tmp_path / "my.cnf")}},
            sites={"east": ["east1"], "west": ["west3"]},
            ls={"service": site, "composite": False, "coordinator": {"policy": "MAINTENANCE"},
                "routers": {"connector@east1": {"state": "OFFLINE"}},
                "datasources": {host: {"role": role, "state": state}}},
            settings={"datadir": datadir}, running=site == "west",
            variables={"datadir": datadir, "version": "10.11.19-MariaDB"} if site == "west" else {},
        )  # fmt: skip
        return tmp_path / host

    return become


@pytest.fixture
def record(minion_opts):
    path = Path(minion_opts["root_dir"]) / "lib reprovision/ownership.json"
    return lambda: json.loads(path.read_text(encoding="utf-8"))


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_whole_way_of_a_hot_copy(loaders, sites, record, tmp_path):
    modules = loaders.modules
    target = sites("east1")
    assert modules.hotguard.faults(METHOD) == []
    assert modules.hottarget.empty(**EMPTY)["datadir"]["entries"] == 4
    assert tree(target) == []

    donor = sites("west3")
    assert modules.hotcopy.stream(**STREAM, deadline=60) == {"running": None, "copied": True}
    assert (record()["state"], record()["stream"]) == ("emptied", "whole")
    assert set(tree(donor)) ^ set(tree(target)) == {"auto.cnf"}
    assert modules.hotcopy.stream(**STREAM) == {"running": None, "copied": False}
    assert (target / "ibdata1").read_bytes() == (donor / "ibdata1").read_bytes()

    sites("east1")
    assert modules.datadir.copy() is None and modules.hottarget.empty(**EMPTY) == {}
    assert modules.hottarget.prepare("r1", METHOD) == {"running": None, "prepared": True}
    assert modules.datadir.copy() == {"run": "r1", "state": "copied"} and record()["boot"] is None
    assert modules.hottarget.prepare("r1", METHOD) == {"running": None, "prepared": False}
    modules.datadir.own("r1")
    assert modules.datadir.misowned() == [] and modules.hottarget.empty(**EMPTY) == {}
    assert (target / "mysql/user.frm").read_text(encoding="utf-8") == "west3"


@pytest.mark.parametrize("variable, words", [
    ("FAKE_UNPACK", "the taking side has said: mbstream: failed to create file."),
    ("FAKE_TOOL", "sending ended with exit code 1"),
])
def test_a_stream_that_has_not_ended_well_begins_anew(loaders, sites, record, monkeypatch, variable, words):
    modules = loaders.modules
    target = sites("east1")
    modules.hottarget.empty(**EMPTY)
    sites("west3")
    monkeypatch.setenv(variable, "x")
    with pytest.raises(CommandExecutionError, match=words):
        modules.hotcopy.stream(**STREAM)
    assert record()["stream"] == "cut"
    monkeypatch.delenv(variable)
    with pytest.raises(CommandExecutionError, match="has to be emptied anew"):
        modules.hotcopy.stream(**STREAM)

    sites("east1")
    with pytest.raises(CommandExecutionError, match="does not hold the whole stream"):
        modules.hottarget.prepare("r1", METHOD)
    assert modules.hottarget.empty(**EMPTY)["datadir"]["entries"] and tree(target) == []
    sites("west3")
    assert modules.hotcopy.stream(**STREAM) == {"running": None, "copied": True}
    assert record()["stream"] == "whole" and (target / "mysql/user.frm").exists()


@pytest.fixture
def streamed(loaders, sites, record):
    """This host is the target, and holds the whole stream."""
    sites("east1")
    loaders.modules.hottarget.empty(**EMPTY)
    assert record()["boot"] == loaders.modules.hostrecord.boot()
    sites("west3")
    loaders.modules.hotcopy.stream(**STREAM)
    return sites("east1")


def interrupted(modules, record, monkeypatch):
    monkeypatch.setenv("FAKE_PREPARE", "x")
    with pytest.raises(CommandExecutionError, match="page 7 is corrupted"):
        modules.hottarget.prepare("r1", METHOD)
    monkeypatch.delenv("FAKE_PREPARE")


def booted(modules, record, monkeypatch):
    modules.hostrecord.save("ownership.json", {**record(), "boot": "the one before"})
    assert not modules.datadir.emptied("east", "west3", "r1")
    with pytest.raises(CommandExecutionError, match="has booted since it was emptied"):
        modules.hottarget.prepare("r1", METHOD)


def died(modules, record, monkeypatch):
    """The host's systemd knows nothing of what was begun."""
    modules.hostrecord.save("ownership.json", {**record(), "stream": "preparing"})
    modules.longjob.stop("prepare-r1")
    assert modules.hottarget.empty(**EMPTY) == {}
    with pytest.raises(CommandExecutionError, match="is gone, and nobody knows how far"):
        modules.hottarget.prepare("r1", METHOD)


@pytest.mark.parametrize("spoil", [interrupted, booted, died])
def test_a_stream_of_which_nobody_vouches_any_more_begins_anew(loaders, sites, record, streamed, monkeypatch, spoil):
    modules = loaders.modules
    spoil(modules, record, monkeypatch)
    assert (record()["state"], record()["stream"]) == ("emptied", "cut") and modules.datadir.copy() is None
    with pytest.raises(CommandExecutionError, match="does not hold the whole stream"):
        modules.hottarget.prepare("r1", METHOD)
    assert (streamed / "ibdata1").exists()

    assert modules.hottarget.empty(**EMPTY)["datadir"]["entries"] and tree(streamed) == []
    sites("west3")
    assert modules.hotcopy.stream(**STREAM) == {"running": None, "copied": True}
    sites("east1")
    assert modules.hottarget.prepare("r1", METHOD) == {"running": None, "prepared": True}
    assert modules.datadir.copy() == {"run": "r1", "state": "copied"}
