import os

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

hostrecord = load("_modules", "hostrecord")


@pytest.fixture
def configure_loader_modules():
    return {hostrecord: {}}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(hostrecord, "STATE_DIR", str(tmp_path / "remembered"))
    return tmp_path / "remembered"


def test_what_is_saved_is_loaded(folder):
    assert hostrecord.load("a.json") is None
    for content in ({"state": "emptied", "directories": {}}, {"state": "owned"}):
        hostrecord.save("a.json", content)
        assert hostrecord.load("a.json") == content
    assert os.listdir(folder) == ["a.json"]


def test_it_is_for_root_only(folder):
    hostrecord.save("a.json", {})
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert os.stat(folder / "a.json").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_what_others_may_write_is_not_trusted(folder, mode):
    hostrecord.save("a.json", {})
    os.chmod(folder / "a.json", mode)
    with pytest.raises(CommandExecutionError, match="a.json may be written by others: not trusted, remove it"):
        hostrecord.load("a.json")


@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")
def test_what_is_anothers_is_not_trusted(folder):
    hostrecord.save("a.json", {})
    os.chown(folder / "a.json", 65534, 65534)
    with pytest.raises(CommandExecutionError, match="not trusted"):
        hostrecord.load("a.json")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_what_is_no_json_is_an_error(folder, content):
    hostrecord.save("a.json", {})
    (folder / "a.json").write_bytes(content)
    with pytest.raises(CommandExecutionError, match="a.json is not readable as JSON"):
        hostrecord.load("a.json")


def test_a_save_that_fails_leaves_the_old_content():
    hostrecord.save("a.json", {"state": "emptying"})
    with pytest.raises(TypeError):
        hostrecord.save("a.json", {"state": object()})
    assert hostrecord.load("a.json") == {"state": "emptying"}


def test_where_it_lies(folder):
    assert hostrecord.folder() == str(folder)
    assert hostrecord.path("target-w3.example.json") == f"{folder}/target-w3.example.json"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/passwd", "a/b", ".hidden", "-e", "a b", "a\n", None, 7])
def test_only_plain_file_names(name):
    for act in (hostrecord.path, hostrecord.load, lambda name: hostrecord.save(name, {})):
        with pytest.raises(SaltInvocationError, match="plain file name"):
            act(name)


def test_one_boot_is_told_from_another(tmp_path, monkeypatch):
    now = hostrecord.boot()
    assert now == hostrecord.boot() and len(now) == 36 and now.strip() == now
    monkeypatch.setattr(hostrecord, "BOOT", str(tmp_path / "boot_id"))
    (tmp_path / "boot_id").write_text("0b9a3f0e-5b52-4dd0-9d34-0c0f3d0f2f11\n", encoding="ascii")
    assert hostrecord.boot() == "0b9a3f0e-5b52-4dd0-9d34-0c0f3d0f2f11" != now


def test_a_host_that_does_not_tell_its_boot_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(hostrecord, "BOOT", str(tmp_path / "none"))
    with pytest.raises(OSError, match="none"):
        hostrecord.boot()
