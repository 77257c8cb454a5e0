"""The unit and functional tests, once with each version of Salt and of Python that can be had here.

A Python is the system's own, or that of a Debian 13 (3.13) or 14 (3.14, which Salt 3008's packages bring) made for it,
or a python3.X that is found on the PATH. One that is not here is said to be so. A row takes about three minutes at
first, then half of that: what has been made for it is kept.
"""

import argparse
import configparser
import fcntl
import json
import os
import shutil
import sys
import time
from pathlib import Path

from labkit.image import CACHE
from labkit.plan import REPOSITORY
from labkit.shell import LabError, run, say

# The packages of Salt 3008 bring Python 3.14, those of Salt 3006 brought 3.10 and, since 3006.27, bring 3.11.
ROWS = [("3008.3", minor) for minor in (10, 11, 12, 13, 14)] + [("3006.28", minor) for minor in (10, 11)]
LAYERS = ("tests/unit", "tests/functional")
# By the Python they have: 3.13 and 3.14.
DEBIANS = {13: ("13", "trixie"), 14: ("14", "forky")}
# A compiler because there are no wheels of timelib, then what the tests look for on a node.
DEBIAN_PACKAGES = ("python3-venv", "python3-dev", "gcc", "libc6-dev", "ca-certificates", "systemd", "rsync", "procps")
# Salt 3006 wants packages so old that their setup.py needs wheel; test_install.py makes the project's own.
BUILDERS = ("wheel", "setuptools")
# Nothing is to be left in the project.
SETTINGS = {"PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis"}
MINUTES = 30


class Here:
    """A Python of this machine."""

    def __init__(self, python, home):
        self.name, self.python = python, python
        self.home = self.seen_home = home

    def run(self, argv):
        return run(argv, timeout=60 * MINUTES, check=False, cwd=REPOSITORY, env={**os.environ, **SETTINGS})


class Debian:
    """A Debian in a directory; the project is seen in it, and cannot be written to."""

    python = "python3"

    def __init__(self, number, release, home):
        self.name = f"Debian {number}"
        self.root = _debian(home / f"debian-{number}", release)
        # Its environments lie in it, where they are seen by another name.
        self.home, self.seen_home = self.root / "rows", Path("/rows")

    def run(self, argv):
        # Its network is this machine's, with all that has been set for it.
        passed = [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]
        return run(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--directory={self.root}",
             "--console=pipe", "--timezone=off", "--resolv-conf=bind-host", "--bind-ro=/etc/ssl/certs",
             f"--bind-ro={REPOSITORY}:/project", "--chdir=/project", *(f"--setenv={name}" for name in passed),
             *(f"--setenv={name}={value}" for name, value in SETTINGS.items()), *argv],
            timeout=60 * MINUTES, check=False)


def _is_made(folder, of):
    """Whether it was finished, and of just these packages; else what there is of it is taken away."""
    ready = folder / "ready"
    if ready.is_file() and ready.read_text() == " ".join(of):
        return True
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _debian(root, release):
    if _is_made(root, DEBIAN_PACKAGES):
        return root
    say(f"making a Debian {release} (once, about half a minute)")
    run(["mmdebstrap", "--variant=minbase", "--quiet", f"--include={','.join(DEBIAN_PACKAGES)}",
         "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
         # The index of a release that is not out yet expires within days; a slow mirror's is signed all the same.
         '--aptopt=Acquire::Check-Valid-Until "false"',
         release, root, _package_source(root.with_suffix(".sources"), release)], timeout=1200)
    (root / "ready").write_text(" ".join(DEBIAN_PACKAGES))
    return root


def _package_source(path, wanted):
    """This machine's own mirror, asked for the other release."""
    own = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    for name in ("sources.list.d/debian.sources", "sources.list"):
        source = Path("/etc/apt") / name
        if source.is_file() and "debian" in source.read_text():
            path.write_text(source.read_text().replace(own["VERSION_CODENAME"], wanted))
            return path
    raise LabError("no Debian package source in /etc/apt")


def _minor(python):
    """The X of its 3.X, or None if it does not start."""
    try:
        done = run([python, "-c", "import sys; print(sys.version_info[1])"], timeout=30, check=False)
    except LabError:
        return None
    return int(done.stdout) if done.returncode == 0 else None


def place(minor, home):
    """Where Python 3.<minor> is; None if it is nowhere."""
    if _minor("/usr/bin/python3") == minor:
        return Here("/usr/bin/python3", home)
    if minor in DEBIANS and shutil.which("mmdebstrap") and os.getuid() == 0:
        return Debian(*DEBIANS[minor], home)
    found = shutil.which(f"python3.{minor}")
    return Here(found, home) if found and _minor(found) == minor else None


def packages(salt):
    """What setup.cfg says that the tests need, beside Salt."""
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    return [f"salt=={salt}", *config["options.extras_require"]["tests"].split(), *BUILDERS]


def environment(where, salt, minor):
    """The path of a Python that has this Salt and what the tests need, as it is seen there."""
    name = f"salt-{salt}-python-3.{minor}"
    folder, python = where.home / name, str(where.seen_home / name / "bin/python")
    wanted = packages(salt)
    if not _is_made(folder, wanted):
        say(f"making an environment with Salt {salt} and Python 3.{minor} ({where.name}; once, about a minute)")
        folder.parent.mkdir(parents=True, exist_ok=True)
        for argv in ([where.python, "-m", "venv", str(where.seen_home / name)],
                     [python, "-m", "pip", "install", "-q", *BUILDERS],
                     [python, "-m", "pip", "install", "-q", *wanted]):
            done = where.run(argv)
            if done.returncode:
                raise LabError(f"{' '.join(argv)}: {_last(done)}")
        (folder / "ready").write_text(" ".join(wanted))
    return python


def _last(done):
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return lines[-1].strip("= ") if lines else f"exit code {done.returncode}"


def do(salt, minor, home):
    """One row: what is told of it."""
    row = {"salt": salt, "python": f"3.{minor}", "where": None, "result": "not here", "words": ""}
    begun = time.monotonic()
    try:
        where = place(minor, home)
        if where is None:
            return row
        row["where"] = where.name
        done = where.run([environment(where, salt, minor), "-m", "pytest", "-q", *LAYERS])
    except LabError as error:
        return {**row, "result": "failed", "words": str(error)}
    log = home / f"salt-{salt}-python-3.{minor}.log"
    log.write_text(done.stdout + done.stderr)
    row.update(result="failed" if done.returncode else "passed", words=_last(done),
               seconds=round(time.monotonic() - begun))
    if done.returncode:
        row["log"] = str(log)
    return row


def line(row):
    where = f" ({row['where']})" if row["where"] else ""
    rest = "; ".join(filter(None, (row["words"], row.get("log"))))
    return f"Salt {row['salt']:8} Python {row['python']}{where}: {row['result']}{rest and ', ' + rest}"


def main():
    parser = argparse.ArgumentParser(prog="tests/versions", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--salt", help="only with this Salt", choices=sorted({salt for salt, _ in ROWS}))
    parser.add_argument("--python", help="only with this Python", choices=sorted({f"3.{minor}" for _, minor in ROWS}))
    parser.add_argument("--json", action="store_true", help="the rows as JSON, at the end")
    options = parser.parse_args()
    home = CACHE / "rows"
    home.mkdir(parents=True, exist_ok=True)
    rows = []
    with (home / "busy").open("w") as gate:
        # Two that make the same environment would spoil it for each other.
        fcntl.flock(gate, fcntl.LOCK_EX)
        for salt, minor in ROWS:
            if options.salt in (None, salt) and options.python in (None, f"3.{minor}"):
                rows.append(do(salt, minor, home))
                print(line(rows[-1]), file=sys.stderr if options.json else sys.stdout, flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    raise SystemExit(1 if any(row["result"] == "failed" for row in rows) else 0)


if __name__ == "__main__":
    main()
