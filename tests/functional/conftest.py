"""Salt's own loaders over this project's modules, synced from file_roots; the vendor's side is faked."""

import json
import os
import shutil
from pathlib import Path

import pytest
import salt._logging
import salt.config
from saltfactories.utils.functional import Loaders

ROOT = Path(__file__).resolve().parents[2]
FAKES = Path(__file__).with_name("fakes")
REMEMBERED = "/var/lib/reprovision"


@pytest.fixture(scope="module")
def minion_opts(tmp_path_factory):
    root = tmp_path_factory.mktemp("minion")
    project = root / "project"
    # a copy, so that the file server need not walk the whole tree
    for folder in ("_modules", "_states"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    hostrecord = project / "_modules" / "hostrecord.py"
    text = hostrecord.read_text(encoding="utf-8")
    assert text.count(REMEMBERED) == 1
    hostrecord.write_text(text.replace(REMEMBERED, str(root / "lib reprovision")), encoding="utf-8")
    opts = salt.config.DEFAULT_MINION_OPTS.copy()
    opts.update(
        id="east1",
        root_dir=str(root),
        cachedir=str(root / "cache"),
        extension_modules=str(root / "extmods"),  # Loaders clears the cachedir
        pki_dir=str(root / "pki"),
        sock_dir=str(root / "run"),
        conf_file=str(root / "minion"),
        file_client="local",
        # the first root wins: the fakes hide the real cctrl, mysqld, longjob and topology
        file_roots={"base": [str(FAKES), str(project)]},
        fileserver_backend=["roots"],
        grains={"id": "east1"},
        world=str(root / "world.json"),
    )
    return opts


@pytest.fixture(scope="module")
def loaders(minion_opts):
    # else Salt prints what it has logged once more when Python ends
    salt._logging.shutdown_temp_handler()
    yield Loaders(minion_opts, loaded_base_name="reprovision.functional")
    shutil.rmtree(minion_opts["root_dir"], ignore_errors=True)


class World:
    """What the fakes answer: a dictionary in a file, since the loaders copy the options."""

    def __init__(self, path):
        self.path = path
        self.facts = {}

    def set(self, **facts):
        self.facts.update(facts)
        Path(self.path).write_text(json.dumps(self.facts), encoding="utf-8")


@pytest.fixture
def world(loaders, minion_opts):
    shutil.rmtree(Path(minion_opts["root_dir"]) / "lib reprovision", ignore_errors=True)
    return World(minion_opts["world"])


@pytest.fixture
def reached(tmp_path, monkeypatch):
    """Programs first in the PATH that make this host reach itself by ssh: rsync runs as it really does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    programs = {
        "runuser": 'shift 3; exec "$@"\n',
        "ssh": 'while [ "$1" = -o ]; do shift 2; done; [ "$1" = -l ] && shift 2; shift\n'
        'case "$*" in pgrep*) exit "${FAKE_PGREP:-1}";; esac\nexec sh -c "$*"\n',
        "sudo": 'shift; exec "$@"\n',
    }
    for name, text in programs.items():
        (folder / name).write_text("#!/bin/sh\n" + text, encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder
