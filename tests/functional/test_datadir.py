"""datadir on real directories, with real find, rsync, chown, through Salt's loaders and state system."""

import json
import os
import pwd
import re
import shutil
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="changes owners"),
    pytest.mark.skipif(not shutil.which("rsync"), reason="needs rsync"),
]


def fill(folder):
    for path in (
        "mysql/user.frm",
        "app db/t 1.ibd",
        "ibdata1",
        ".rocksdb/x",
        "auto.cnf",
        "lost+found/#1",
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path * 50, encoding="utf-8")
    (folder / "app db" / "link.ibd").symlink_to("t 1.ibd")


# Enough of them for two streams, each file counting for what it costs beside its bytes.
SMALL = 600
ODD = [b"app db/new\nline.ibd", b"app db/ spaces ", b"app db/\xff\xfe.ibd", "app db/Zoë.ibd".encode(), b"-n"]


def fill_more(folder):
    """What a server has beside a few files: very many of them, odd names, and files with holes."""
    os.mkdir(folder / "many")
    for number in range(SMALL):
        (folder / "many" / f"t{number}.ibd").write_text(f"{number}", encoding="utf-8")
    for name in ODD:
        with open(os.path.join(os.fsencode(folder), name), "wb") as stream:
            stream.write(name)
    with open(folder / "compressed.ibd", "wb") as stream:
        stream.write(os.urandom(100_000))
        stream.seek(8_000_000)
        stream.write(os.urandom(100_000))


def content(path):
    with open(path, "rb") as stream:
        return stream.read()


def equal(here, there):
    """Every file of ``here``, but for the server's identity, has the same content ``there``."""
    here, there = os.fsencode(here), os.fsencode(there)
    files = [os.path.relpath(os.path.join(folder, name), here) for folder, _, names in os.walk(here) for name in names]
    return all(content(os.path.join(here, name)) == content(os.path.join(there, name))
               for name in files if name != b"auto.cnf")


def on_disk(path):
    return path.stat().st_blocks * 512


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def east1(world, tmp_path):
    datadir, logs, outside = tmp_path / "east data", tmp_path / "logs", tmp_path / "outside"
    for folder in (datadir, logs, outside):
        folder.mkdir()
    fill(datadir)
    (datadir / "app db" / "far.ibd").symlink_to(outside / "precious")
    (outside / "precious").write_text("x", encoding="utf-8")
    for name in ("mysql-bin.000001", "mysql-bin.index", "mysql-bin.d", "error.log", "mysql-binary.000001"):
        (logs / name).write_text(name, encoding="utf-8")
    os.chmod(datadir, 0o750)
    shutil.chown(datadir, "nobody", "nogroup")
    (tmp_path / "my.cnf").write_text("", encoding="utf-8")
    world.set(
        node={"site": "east", "service": "east", "host": "east1", "minion": "east1", "user": "tungsten",
              "cluster_home": "/opt/continuent", "cross_site_home": "/opt/replicator",
              "mysql": {"unit": "auto", "defaults_file": str(tmp_path / "my.cnf")}},
        sites={"east": ["east1", "east2"], "west": ["west1", "west3"]},
        ls={"service": "east", "composite": False, "coordinator": {"policy": "MAINTENANCE"},
            "routers": {"connector@east1": {"state": "OFFLINE"}},
            "datasources": {"east1": {"role": "master", "state": "SHUNNED"}}},
        settings={"datadir": str(datadir), "log_bin": str(logs / "mysql-bin.log"),
                  "innodb_log_group_home_dir": "./"},
        running=False,
    )  # fmt: skip
    return datadir


@pytest.fixture
def streams(minion_opts):
    """Which files of names the streams of the last copies have read."""
    folder = Path(minion_opts["root_dir"]) / "lib reprovision"
    return lambda: sorted(path.name for path in folder.glob("*.names"))


def as_west3(world, donor):
    world.set(
        node={**world.facts["node"], "site": "west", "service": "west", "host": "west3", "minion": "west3"},
        ls={"service": "west", "datasources": {"west3": {"role": "slave", "state": "SHUNNED"}}},
        settings={**world.facts["settings"], "datadir": str(donor)},
    )


def test_emptied_deletes_all_of_the_server_and_nothing_else(loaders, east1, tmp_path):
    state = loaders.states.datadir.emptied
    before = tree(east1)
    ret = state(name="x", site="east", donor="west3", run="r1", test=True)
    assert ret.result is None, ret.comment
    assert tree(east1) == before

    ret = state(name="x", site="east", donor="west3", run="r1")
    assert ret.result is True, ret.comment
    assert ret.changes[str(east1)]["new"] == "empty"
    assert tree(east1) == ["lost+found", "lost+found/#1"]
    assert tree(tmp_path / "outside") == ["precious"]
    assert tree(tmp_path / "logs") == ["error.log", "mysql-bin.d", "mysql-binary.000001"]

    again = state(name="x", site="east", donor="west3", run="r1")
    assert again.result is True and again.changes == {}


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"site": "west"}, "not of the failed site"),
        ({"donor": "east1"}, "is the donor"),
        ({"donor": "east2"}, "is of the failed site"),
    ],
)
def test_emptied_refuses_the_wrong_host_in_test_mode_too(loaders, east1, wrong, words):
    before = tree(east1)
    for test in (True, False):
        ret = loaders.states.datadir.emptied(
            **{"name": "x", "site": "east", "donor": "west3", "run": "r1", **wrong}, test=test
        )
        assert ret.result is False
        assert words in ret.comment and "east1" in ret.comment
    assert tree(east1) == before


def test_emptied_refuses_a_running_server_but_plans_it(loaders, east1, world):
    before = tree(east1)
    world.set(running=True)
    assert loaders.states.datadir.emptied(name="x", site="east", donor="west3", run="r1", test=True).result is None
    ret = loaders.states.datadir.emptied(name="x", site="east", donor="west3", run="r1")
    assert ret.result is False and "not stopped" in ret.comment and ret.changes == {}
    assert tree(east1) == before


def test_a_symlinked_datadir_is_emptied_where_it_is(loaders, east1, world, tmp_path):
    link = tmp_path / "mysql"
    link.symlink_to(east1)
    world.set(settings={"datadir": str(link)})
    ret = loaders.states.datadir.emptied(name="x", site="east", donor="west3", run="r1")
    assert ret.result is True, ret.comment
    assert link.is_symlink() and tree(east1) == ["lost+found", "lost+found/#1"]


def test_the_whole_way_of_a_copy(loaders, east1, world, tmp_path, reached, monkeypatch, streams):
    donor = tmp_path / "west data"
    donor.mkdir()
    fill(donor)
    fill_more(donor)
    (donor / "only west").write_text("west", encoding="utf-8")
    os.chmod(donor, 0o700)
    shutil.copystat(donor / "ibdata1", east1 / "ibdata1")
    assert loaders.states.datadir.emptied(name="x", site="east", donor="west3", run="r1").result is True

    as_west3(world, donor)
    state = loaders.states.datadir.copied
    monkeypatch.setenv("FAKE_PGREP", "0")
    ret = state(name="east1", site="east", run="r1")
    assert ret.result is False and "no server runs there" in ret.comment
    monkeypatch.setenv("FAKE_PGREP", "1")
    ret = state(name="east1", site="east", run="r1", test=True)
    assert ret.result is None, ret.comment
    assert tree(east1) == ["lost+found", "lost+found/#1"]
    ret = state(name="east1", site="east", run="r1")
    assert ret.result is True, ret.comment
    assert ret.changes["east1"]["new"] == "equal"
    assert re.fullmatch(r"east1 holds the same data; compression \w+, the link was measured at \d+ MB/s", ret.comment)
    assert set(tree(donor)) ^ set(tree(east1)) == {"auto.cnf"} and equal(donor, east1)
    assert streams() == ["location-0-holes-0.names", "location-0-whole-0.names", "location-0-whole-1.names"]
    assert on_disk(donor / "compressed.ibd") < 1_000_000, "else this file system keeps no holes at all"
    assert on_disk(east1 / "compressed.ibd") < 1_000_000
    for test in (True, False):
        again = state(name="east1", site="east", run="r1", test=test)
        assert again.result is True and again.changes == {}

    world.set(node={**world.facts["node"], "site": "east", "host": "east1"},
              settings={**world.facts["settings"], "datadir": str(east1)})  # fmt: skip
    state = loaders.states.datadir.owned
    assert state(name="x", run="r1", test=True).result is None
    ret = state(name="x", run="r1")
    assert ret.result is True, ret.comment
    assert ret.changes["new"]
    assert (east1.stat().st_mode & 0o7777, east1.owner(), east1.group()) == (0o750, "nobody", "nogroup")
    assert os.stat(east1 / "mysql" / "user.frm").st_uid == pwd.getpwnam("nobody").pw_uid
    for test in (True, False):
        again = state(name="x", run="r1", test=test)
        assert again.result is True and again.changes == {}

    as_west3(world, donor)
    (donor / "later").write_text("x", encoding="utf-8")
    ret = loaders.states.datadir.copied(name="east1", site="east", run="r1")
    assert ret.result is False and "has not been emptied" in ret.comment
    assert not (east1 / "later").exists()


def test_the_way_of_a_copy_that_was_made_ahead(loaders, east1, world, tmp_path, reached):
    """A server that serves writes meanwhile: it changes, takes away and adds, and of a mapped file no time tells it."""
    donor = tmp_path / "west data"
    donor.mkdir()
    fill(donor)
    fill_more(donor)
    (donor / "one.ibd").write_text("one", encoding="utf-8")
    (donor / "two.ibd").write_text("two", encoding="utf-8")
    for path in donor.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert loaders.states.datadir.emptied(name="x", site="east", donor="west3", run="r1").result is True
    kept = tree(east1)
    as_west3(world, donor)
    world.set(running=True,
              ls={"service": "west", "datasources": {"west3": {"role": "slave", "state": "ONLINE"}}})
    state, order = loaders.states.datadir.copied_ahead, {"name": "east1", "site": "east", "run": "r1"}
    ret = state(**order, test=True)
    assert ret.result is None and tree(east1) == kept
    ret = state(**order, compress="lz4", bwlimit=100)
    assert ret.result is True, ret.comment
    assert ret.changes["east1"]["new"] == "copied ahead" and ret.comment.endswith("; compression lz4")
    assert set(tree(donor)) ^ set(tree(east1)) == {"auto.cnf"} and equal(donor, east1)
    assert on_disk(east1 / "compressed.ibd") < 1_000_000
    world.set(ls={"service": "west", "datasources": {"west3": {"role": "slave", "state": "SHUNNED"}}})
    ret = loaders.states.datadir.copied(**order)
    assert ret.result is False and "not stopped" in ret.comment

    (donor / "ibdata1").write_text("grown " * 500, encoding="utf-8")
    (donor / "mysql" / "user.frm").unlink()
    (donor / "app db" / "new.ibd").write_text("new", encoding="utf-8")
    for number in range(0, SMALL, 7):
        (donor / "many" / f"t{number}.ibd").write_text("changed", encoding="utf-8")
    with open(os.path.join(os.fsencode(donor), ODD[0]), "ab") as stream:
        stream.write(b"more")
    with open(donor / "compressed.ibd", "r+b") as stream:
        stream.seek(4_000_000)
        stream.write(os.urandom(50_000))
    # Mapped into memory: another content there, of the same size and time.
    mapped, there = donor / ".rocksdb" / "x", east1 / ".rocksdb" / "x"
    os.utime(mapped)
    there.write_bytes(mapped.read_bytes()[::-1])
    shutil.copystat(mapped, there)
    # Renamed: both have the size and the time of what had their name before.
    (donor / "one.ibd").rename(donor / "between")
    (donor / "two.ibd").rename(donor / "one.ibd")
    (donor / "between").rename(donor / "two.ibd")

    world.set(running=False)
    ret = loaders.states.datadir.copied(**order, compress="zstd")
    assert ret.result is True, ret.comment
    assert ret.changes["east1"]["new"] == "equal"
    assert set(tree(donor)) ^ set(tree(east1)) == {"auto.cnf"}
    assert (east1 / "one.ibd").read_text(encoding="utf-8") == "two"
    assert equal(donor, east1)

    # What lies there now is whole; a copy ahead makes it less than that until the next one.
    again = loaders.states.datadir.copied(**order, test=True)
    assert again.result is True and again.changes == {}
    assert state(**order).result is True
    ret = loaders.states.datadir.copied(**order, test=True)
    assert ret.result is None and ret.changes["east1"]["new"].startswith("copy of ")
    assert loaders.states.datadir.copied(**order).result is True


def test_after_a_copy_ahead_a_donor_that_has_forgotten_when_compares_all(
        loaders, east1, world, tmp_path, reached, minion_opts):
    donor = tmp_path / "west data"
    donor.mkdir()
    fill(donor)
    assert loaders.states.datadir.emptied(name="x", site="east", donor="west3", run="r1").result is True
    as_west3(world, donor)
    order = {"name": "east1", "site": "east", "run": "r1"}
    assert loaders.states.datadir.copied_ahead(**order).result is True
    there = east1 / "ibdata1"
    there.write_bytes(there.read_bytes()[::-1])
    shutil.copystat(donor / "ibdata1", there)
    os.unlink(Path(minion_opts["root_dir"]) / "lib reprovision" / "ahead.json")
    ret = loaders.states.datadir.copied(**order, warm=True)
    assert ret.result is True, ret.comment
    assert equal(donor, east1)


def test_what_was_copied_before_the_target_booted_is_copied_anew(
        loaders, east1, world, tmp_path, reached, minion_opts):
    donor = tmp_path / "west data"
    donor.mkdir()
    fill(donor)
    here = {"node": world.facts["node"], "ls": world.facts["ls"], "settings": world.facts["settings"]}
    empty = {"name": "x", "site": "east", "donor": "west3", "run": "r1"}
    assert loaders.states.datadir.emptied(**empty).result is True
    as_west3(world, donor)
    assert loaders.states.datadir.copied(name="east1", site="east", run="r1").result is True
    world.set(**here)
    record = Path(minion_opts["root_dir"]) / "lib reprovision" / "ownership.json"
    known = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps({**known, "boot": "an earlier one"}), encoding="utf-8")
    ret = loaders.states.datadir.owned(name="x", run="r1")
    assert ret.result is False and ret.changes == {}, ret.comment
    assert equal(donor, east1)
    assert loaders.states.datadir.emptied(**empty).changes[str(east1)]["new"] == "empty"
    as_west3(world, donor)
    assert loaders.states.datadir.copied(name="east1", site="east", run="r1").result is True
    world.set(**here)
    ret = loaders.states.datadir.owned(name="x", run="r1")
    assert ret.result is True, ret.comment


def test_data_outside_through_a_link_are_not_half_copied(loaders, east1, world, tmp_path, reached):
    assert loaders.states.datadir.emptied(name="x", site="east", donor="west3", run="r1").result is True
    donor = tmp_path / "west data"
    donor.mkdir()
    fill(donor)
    (donor / "elsewhere").symlink_to(tmp_path / "outside")
    as_west3(world, donor)
    ret = loaders.states.datadir.copied(name="east1", site="east", run="r1")
    assert ret.result is False and "elsewhere" in ret.comment


def test_a_stream_that_fails_is_an_error_and_another_attempt_makes_up_for_it(loaders, east1, world, tmp_path, reached):
    donor = tmp_path / "west data"
    donor.mkdir()
    fill(donor)
    fill_more(donor)
    assert loaders.states.datadir.emptied(name="x", site="east", donor="west3", run="r1").result is True
    as_west3(world, donor)
    # Where a file has to go there is a directory that is not empty.
    (east1 / "ibdata1" / "in the way").mkdir(parents=True)
    order = {"name": "east1", "site": "east", "run": "r1", "compress": "none"}
    ret = loaders.states.datadir.copied(**order)
    assert ret.result is False and "ibdata1" in ret.comment
    assert ret.changes["east1"]["new"] == "not proved to be equal"
    shutil.rmtree(east1 / "ibdata1")
    ret = loaders.states.datadir.copied(**order)
    assert ret.result is True and ret.comment == "east1 holds the same data; compression none"
    assert equal(donor, east1)
