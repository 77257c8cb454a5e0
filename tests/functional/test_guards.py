"""What must not be deleted: real directories, mounts and neighbours of a data directory, through Salt's loaders."""

import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners and mounts")

RUN = {"name": "x", "site": "east", "donor": "west3", "run": "20261123-east"}


def fill(folder):
    for path in ("mysql/user.frm", "mysql/user.ibd", "shop/t 1.ibd", "ibdata1", "auto.cnf", "#innodb_redo/#ib_redo1"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path, encoding="utf-8")
    shutil.chown(folder, "nobody", "nogroup")


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def datadir(world, tmp_path):
    folder = tmp_path / "data of east"
    folder.mkdir()
    (tmp_path / "my.cnf").write_text("", encoding="utf-8")
    world.set(
        node={"site": "east", "service": "east", "host": "east1", "minion": "east1", "user": "tungsten",
              "cluster_home": "/opt/continuent", "cross_site_home": "/opt/replicator",
              "mysql": {"unit": "auto", "defaults_file": str(tmp_path / "my.cnf")}},
        sites={"east": ["east1", "east2"], "west": ["west1", "west3"]},
        ls={"service": "east", "composite": False, "coordinator": {"policy": "MAINTENANCE"},
            "routers": {"connector@east1": {"state": "OFFLINE"}},
            "datasources": {"east1": {"role": "master", "state": "SHUNNED"}}},
        settings={"datadir": str(folder)}, running=False,
    )  # fmt: skip
    return folder


@pytest.fixture
def mounted():
    """Mount a file system of memory somewhere, until the test ends."""
    places = []

    def mount(place):
        place.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", place], check=True)
        places.append(place)

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", place], check=True)


def test_only_a_server_in_it_is_emptied(loaders, datadir):
    fill(datadir)
    ret = loaders.states.datadir.emptied(**RUN)
    assert ret.result is True, ret.comment
    assert tree(datadir) == []


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("path, words", [
    ("dump.sql", "dump.sql"),
    (".ssh/id_rsa", ".ssh"),
    ("shop/backup.tar", "backup.tar"),
    ("mysqld2/ibdata1", "mysqld2"),
    ("instances/two/mysql/user.frm", "instances"),
])
def test_what_no_server_has_written_keeps_it_from_being_emptied(loaders, datadir, path, words, test):
    fill(datadir)
    (datadir / path).parent.mkdir(parents=True, exist_ok=True)
    (datadir / path).write_text("precious", encoding="utf-8")
    before = tree(datadir)
    ret = loaders.states.datadir.emptied(**RUN, test=test)
    assert ret.result is False and ret.changes == {}
    assert words in ret.comment and "not the server's alone" in ret.comment
    assert tree(datadir) == before


@pytest.mark.parametrize("test", [True, False])
def test_a_file_system_mounted_inside_keeps_it_from_being_emptied(loaders, datadir, mounted, test):
    fill(datadir)
    mounted(datadir / "shop" / "archive")
    (datadir / "shop" / "archive" / "t.ibd").write_text("precious", encoding="utf-8")
    before = tree(datadir)
    ret = loaders.states.datadir.emptied(**RUN, test=test)
    assert ret.result is False and "another file system mounted inside" in ret.comment
    assert tree(datadir) == before


def test_a_mount_point_is_emptied_and_stays_mounted(loaders, datadir, mounted):
    mounted(datadir)
    (datadir / "lost+found").mkdir()
    fill(datadir)
    ret = loaders.states.datadir.emptied(**RUN)
    assert ret.result is True, ret.comment
    assert tree(datadir) == ["lost+found"] and os.path.ismount(datadir)


def test_what_lies_there_after_this_run_has_emptied_it_stays(loaders, datadir):
    fill(datadir)
    assert loaders.states.datadir.emptied(**RUN).result is True
    fill(datadir)
    before = tree(datadir)
    ret = loaders.states.datadir.emptied(**RUN)
    assert ret.result is True and ret.changes == {}
    assert tree(datadir) == before
    ret = loaders.states.datadir.emptied(**{**RUN, "run": "20261124-east"})
    assert ret.result is True, ret.comment
    assert tree(datadir) == []
