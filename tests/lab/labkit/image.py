"""One image for all hosts: Debian with systemd, MariaDB, sshd and Salt at production paths."""

import fcntl
import hashlib
import os
import shutil
from pathlib import Path

from .plan import NETWORK
from .shell import LabError, run, say

CACHE = Path(os.environ.get("REPROVISION_LAB_CACHE", "/var/cache/tungsten-reprovision-lab"))
PACKAGES = (
    "systemd systemd-sysv dbus mariadb-server mariadb-backup openssh-server openssh-client rsync sudo python3-venv "
    "iproute2 iputils-ping procps zstd socat less".split()
)
# Built into the image: every site shares the accounts, as sites that replicate into each other do.
# No anonymous user may remain: it would shadow the replication account by host name after a copy.
ACCOUNTS = """\
FLUSH PRIVILEGES;
CREATE OR REPLACE USER 'tungsten'@'%' IDENTIFIED BY 'lab-only';
GRANT ALL PRIVILEGES ON *.* TO 'tungsten'@'%' WITH GRANT OPTION;
DROP USER IF EXISTS ''@'localhost';
"""
MARIADB_SETTINGS = """\
[mariadbd]
bind-address = 0.0.0.0
skip-name-resolve
log_bin = mysql-bin
log_slave_updates = OFF
# Named after no host: a copied directory would else look for the donor's.
relay_log = relay-bin
# A copied data directory must not start the donor's connections by itself.
skip_slave_start
binlog_format = ROW
# Six servers share one machine's disk; the data is thrown away with the lab.
innodb_flush_log_at_trx_commit = 2
sync_binlog = 0
innodb_doublewrite = OFF
innodb_buffer_pool_size = 256M
innodb_log_file_size = 48M
performance_schema = OFF
"""

# The vendor's user may run everything; here it is what its tools' stand-ins run, so that what this extension wants by
# sudo has to stand in its own file.
EMULATED_SUDO = """\
Defaults:tungsten !requiretty
tungsten ALL=(root) NOPASSWD: /usr/bin/true, /usr/bin/cat, /usr/bin/kill -KILL *, \\
    /usr/bin/systemctl stop mysqld, /usr/bin/systemctl start mysqld, /usr/bin/find * -mindepth 1 -delete, \\
    /usr/bin/mariabackup *, /usr/bin/mbstream *, /usr/bin/chown -R mysql\\:mysql *, /usr/bin/rm -rf /tmp/tprovision-*
"""
# As examples/ssh/reprovision-only tells.
ONLY_COPIES = f'restrict,from="{NETWORK}.0/24",command="/usr/local/sbin/reprovision-only" '


def salt_version():
    return os.environ.get("REPROVISION_SALT", "3008.3")


def _recipe():
    text = repr((PACKAGES, ACCOUNTS, MARIADB_SETTINGS, salt_version(), Path(__file__).read_text()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def path():
    return CACHE / f"image-{_recipe()}"


def wheels(version=None):
    """Build Salt's wheels once, outside the image: timelib wants a compiler and the image has none."""
    version = version or salt_version()
    folder = CACHE / f"wheels-{version}"
    if folder.is_dir():
        return folder
    say(f"building the wheels of Salt {version} (once, about a minute)")
    work = CACHE / f"wheels-{version}.part"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # Debian's own Python: the wheels have to fit the one inside the image.
    run(["/usr/bin/python3", "-m", "venv", work / "venv"])
    # Salt 3006 wants packages so old that their setup.py needs it there.
    run([work / "venv/bin/pip", "install", "-q", "wheel"])
    run([work / "venv/bin/pip", "wheel", "-q", "-w", work / "wheels", f"salt=={version}"], timeout=1200)
    (work / "wheels").rename(folder)
    shutil.rmtree(work)
    return folder


def _apt_sources():
    for name in ("sources.list.d/debian.sources", "sources.list"):
        source = Path("/etc/apt") / name
        if source.is_file() and "bookworm" in source.read_text():
            return source
    raise LabError("no Debian 12 (bookworm) package source in /etc/apt: the lab's image is made from it")


def build():
    """Make the image unless it is there; a half-built one never gets its final name, and two labs build it once."""
    target = path()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "building").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        return target if target.is_dir() else _make(target)


def _make(target):
    salt_wheels = wheels()
    say("building the image of the lab's hosts (once, about two minutes)")
    root = target.with_suffix(".part")
    shutil.rmtree(root, ignore_errors=True)
    run(
        ["mmdebstrap", "--variant=minbase", "--quiet", f"--include={','.join(PACKAGES)}",
         # Nobody reads manuals in a lab host, and they are a third of its files.
         "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
         "bookworm", root, _apt_sources()],
        timeout=1200,
    )
    run(["cp", "-r", salt_wheels, root / "wheels"])
    inside = ["chroot", root]
    run([*inside, "python3", "-m", "venv", "/opt/salt"])
    run([*inside, "/opt/salt/bin/pip", "install", "-q", "--no-index", "--no-compile", "--find-links=/wheels",
         f"salt=={salt_version()}"], timeout=600)
    # Compiled once here instead of in every host at its first start.
    run([*inside, "/opt/salt/bin/python3", "-m", "compileall", "-q", "/opt/salt/lib"], check=False)
    shutil.rmtree(root / "wheels")
    _tungsten_user(root)
    _mariadb(root)
    _trim(root)
    root.rename(target)
    return target


def _tungsten_user(root):
    """The vendor's OS user: in group mysql, one key for all hosts of the lab, and one that is good for copies only."""
    inside = ["chroot", root]
    run([*inside, "useradd", "--create-home", "--shell", "/bin/bash", "--groups", "mysql", "tungsten"])
    sudoers = root / "etc/sudoers.d/emulated-vendor"
    sudoers.write_text(EMULATED_SUDO)
    sudoers.chmod(0o440)
    run([*inside, "install", "-d", "-m", "700", "-o", "tungsten", "-g", "tungsten", "/home/tungsten/.ssh"])
    ssh = root / "home/tungsten/.ssh"
    keys = {}
    for name in ("id_ed25519", "id_reprovision"):
        run([*inside, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", f"/home/tungsten/.ssh/{name}"])
        keys[name] = (ssh / f"{name}.pub").read_text()
    (ssh / "authorized_keys").write_text(keys["id_ed25519"] + ONLY_COPIES + keys["id_reprovision"])
    host_key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
    (ssh / "known_hosts").write_text(f"* {host_key[0]} {host_key[1]}\n")
    run([*inside, "chown", "-R", "tungsten:tungsten", "/home/tungsten/.ssh"])


def _mariadb(root):
    (root / "etc/mysql/mariadb.conf.d/90-lab.cnf").write_text(MARIADB_SETTINGS)
    accounts = root / "accounts.sql"
    accounts.write_text(ACCOUNTS)
    # --bootstrap without the lab's settings: no binary log may begin in the image.
    run(["chroot", root, "sh", "-c", "mkdir -p /run/mysqld && chown mysql /run/mysqld &&"
         " mariadbd --no-defaults --user=mysql --datadir=/var/lib/mysql --bootstrap < /accounts.sql"])
    accounts.unlink()


def _trim(root):
    """What must differ between hosts, or only costs time at boot."""
    (root / "etc/machine-id").write_text("")
    shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
    for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer",
                 "systemd-timesyncd.service", "getty.target", "console-getty.service",
                 "systemd-networkd-wait-online.service"):
        mask = root / "etc/systemd/system" / unit
        mask.unlink(missing_ok=True)
        mask.symlink_to("/dev/null")
    run(["chroot", root, "systemctl", "enable", "systemd-networkd", "mariadb", "ssh"])
