"""Make this tree's wheel, and put it where a Salt will find it."""

import shutil
import subprocess
import sys

from tests.support.loader import ROOT

PARTS = ("_modules", "_states", "_runners", "_beacons", "_output", "orch", "reactor", "dashboard", "setup.cfg",
         "pyproject.toml", "README.md", "LICENSE")


def pip(*words):
    subprocess.run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *map(str, words)], check=True)


def build(home):
    """Build it below ``home`` and return its path."""
    tree = home / "tree"
    tree.mkdir()
    # A copy: the build leaves things where it is made.
    for part in PARTS:
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, tree / part)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", home, tree)
    (wheel,) = home.glob("*.whl")
    return wheel
