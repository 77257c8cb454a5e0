"""tprovision: fill this host's MySQL from another host of its site.

Streams a physical backup, as the vendor's method xtrabackup does, with MariaDB's own tools. Of the texts only
the prefix ``NOTE  >>``, the lines on the service and its THL, and the complaint about the lock are the vendor's;
the rest is invented.
"""

import argparse
import subprocess
import time
from pathlib import Path

from . import config, db, manager, replicator, run
from .server import Server, gtids

METHODS = ("xtrabackup", "mysqldump", "rsync", "mysqlclone")
LOCK = "/tmp/xtrabackup_to_slave.lck"
LIMIT = 60


class Failure(Exception):
    """Ends the tool with 1; the text follows ``ERROR >>``."""


def note(text):
    print(f"NOTE  >> {text}", flush=True)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Failure(message)


def _options(argv):
    parser = _Parser(
        "tprovision", description="Provision this host from another one of its cluster.", allow_abbrev=False
    )
    parser.add_argument("-s", "--source", required=True, help="host to copy from")
    parser.add_argument("-m", "--method", required=True, help=", ".join(METHODS))
    parser.add_argument("-t", "--threads", type=int, default=1, help="threads of xtrabackup")
    parser.add_argument("-p", "--port", type=int, default=22, help="ssh port for xtrabackup")
    parser.add_argument("-c", "--create-master", action="store_true", help="Composite Active/Active only")
    return parser.parse_args(argv)


def _log():
    path = Path(config.HOMES["cluster"], "service_logs", "provision_slave.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+b")


def _last_words(log, start):
    log.seek(start)
    return " / ".join(log.read().decode(errors="replace").strip().splitlines()[-4:])


def _run(what, *argv):
    """Run a command; its words are kept in the log and end up in the error."""
    with _log() as log:
        start = log.seek(0, 2)
        done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if done.returncode:
            raise Failure(f"Unable to {what}: {_last_words(log, start)}")


def _sudo(what, *argv):
    _run(what, "sudo", "-n", *argv)


def _read_as_root(path):
    done = subprocess.run(["sudo", "-n", "cat", str(path)], check=False, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


class Provision:
    def __init__(self, options):
        self.source, self.method = options.source, options.method
        self.threads, self.port = options.threads, options.port
        self.host = config.host()
        self.site = config.site_of(self.host)
        self.server = Server(self.host)
        self.service = replicator.Service(self.host, "cluster", self.site)

    def _ssh(self, script):
        options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-p", str(self.port)]
        return ["ssh", *options, f"tungsten@{self.source}", script]

    # Before anything is touched

    def check(self):
        nodes = config.load()["sites"][self.site]["nodes"]
        if self.source == self.host:
            raise Failure("The source must not be the local host")
        if self.source not in nodes:
            raise Failure(f"{self.source} is not a member of the data service {self.site}")
        if self.method not in METHODS:
            raise Failure(f"Unknown method {self.method}: one of {', '.join(METHODS)}")
        if self.method != "xtrabackup":
            raise Failure(f"The method {self.method} is not emulated")
        if self.host == config.primary(self.site):
            raise Failure(f"{self.host} is the Primary of {self.site}: it cannot be provisioned as a replica")
        for service in replicator.Replicator(self.host, "cross_site").services():
            if not service.state().startswith("OFFLINE"):
                raise Failure(
                    f"The cross-site replication service {service.name} must be offline before provisioning"
                )
        state = replicator.Service(self.source, "cluster", self.site).state()
        if state not in ("ONLINE", "OFFLINE:NORMAL"):
            raise Failure(f"The {self.site} replication service of {self.source} is {state}")
        if not db.answers(self.source):
            raise Failure(f"Unable to connect to the MySQL server of {self.source}")
        if not replicator.Replicator(self.host, "cluster").running:
            raise Failure("The local replicator is not running")
        _sudo("use sudo", "true")

    def lock(self):
        """One target per source. Held by a session on the source, so that it ends with this process; None in releases
        that have no such lock."""
        if not config.load().get("locks_source", True):
            return None
        script = (
            f"exec 9>>{LOCK}; if flock -n 9; then echo {self.host} > {LOCK}; echo locked; cat > /dev/null;"
            f" else cat {LOCK}; fi"
        )
        session = subprocess.Popen(
            self._ssh(script),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        said = session.stdout.readline().strip()
        if said != "locked":
            words = session.communicate()[1].strip()
            if not said:
                raise Failure(f"Unable to reach {self.source} by ssh: {words}")
            raise Failure(
                f"Unable to provision from {self.source} using {self.method}"
                f" because it is provisioning {said}"
            )
        return session

    def _datadir(self):
        """From the running server, else from its configuration."""
        try:
            found = db.scalar(self.host, "SELECT @@GLOBAL.datadir")
        except (db.DbDown, db.DbError):
            done = subprocess.run(
                ["my_print_defaults", "--mysqld"], check=False, capture_output=True, text=True
            )
            values = [
                line.partition("=")[2] for line in done.stdout.splitlines() if line.startswith("--datadir=")
            ]
            found = values[-1] if values else "/var/lib/mysql"
        path = Path(found)
        # Its content is about to be deleted as root.
        if not path.is_absolute() or len(path.parts) < 4 or ".." in path.parts:
            raise Failure(f"{found} does not look like a data directory")
        return path

    # The work

    def fill(self, datadir):
        note(f"Stop the MySQL server of {self.host}")
        _sudo("stop MySQL", "systemctl", "stop", "mysqld")
        _sudo("empty the data directory", "find", str(datadir), "-mindepth", "1", "-delete")
        note(f"Create a {self.method} backup of {self.source}")
        self._stream(datadir)
        note(f"Prepare the files for MySQL in {datadir}")
        _sudo("prepare the backup", "mariabackup", "--prepare", f"--target-dir={datadir}")
        position = _read_as_root(datadir / "xtrabackup_binlog_info")
        if position is None:
            raise Failure("The backup has no xtrabackup_binlog_info")
        _sudo("change the owner", "chown", "-R", "mysql:mysql", str(datadir))
        _sudo("start MySQL", "systemctl", "start", "mysqld")
        self._until(lambda: db.answers(self.host), "The MySQL server has taken too long to start")
        return position

    def _stream(self, datadir):
        scratch = f"/tmp/tprovision-{self.host}"
        script = (
            f"sudo -n mariabackup --backup --user=root --stream=xbstream --parallel={self.threads}"
            f" --target-dir={scratch}; rc=$?; sudo -n rm -rf {scratch}; exit $rc"
        )
        with _log() as log:
            start = log.seek(0, 2)
            sender = subprocess.Popen(
                self._ssh(script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
            taker = subprocess.Popen(
                ["sudo", "-n", "mbstream", "-x", "-C", str(datadir)],
                stdin=sender.stdout,
                stdout=log,
                stderr=log,
            )
            # So that the sender notices when the taker is gone.
            sender.stdout.close()
            if taker.wait() | sender.wait():
                raise Failure(f"Unable to copy the backup of {self.source}: {_last_words(log, start)}")

    def position(self, binlog_info):
        """Where this host's own service goes on; the positions of the other sites came with the data."""
        domain = config.domain(self.site)
        if self.source == config.primary(self.site):
            fields = binlog_info.split("\n")[0].split("\t")
            gtid = gtids(fields[2] if len(fields) > 2 else "").get(domain)
        else:
            gtid = gtids(db.scalar(self.host, "SELECT @@GLOBAL.gtid_slave_pos")).get(domain)
        note(f"Clear THL and relay logs for the {self.site} replication service")
        self.server.disconnect(self.site)
        self.server.set_position(domain, gtid, empty_binlog=True)

    def _until(self, condition, complaint):
        deadline = time.monotonic() + LIMIT
        while not condition():
            if time.monotonic() > deadline:
                raise Failure(complaint)
            time.sleep(0.3)

    def come_back(self):
        note(f"Put the {self.site} replication service online")
        complaint = f"Unable to put the {self.site} replication service online"
        try:
            manager.start_replicator(self.site, self.host)
        except replicator.Refused as error:
            raise Failure(f"{complaint}: {error}") from None
        self._until(lambda: self.service.state() == "ONLINE", complaint)
        # It does `recover`, which by cctrl's rule leaves a shunned host OFFLINE outside AUTOMATIC (inferred).
        if manager.state(self.site)["policy"] == "AUTOMATIC":
            manager.bring_online(self.site, self.host)
        else:
            manager.unshun(self.site, self.host)
        state = manager.state(self.site)["datasources"][self.host]["state"]
        note(f"The datasource {self.host} is now {state}")

    def work(self):
        self.check()
        datadir = self._datadir()
        session = self.lock()
        try:
            note(f"Shun the datasource {self.host}")
            manager.shun(self.site, self.host)
            note(f"Put {self.site} replication service offline")
            self.service.offline()
            self.position(self.fill(datadir))
            self.come_back()
        finally:
            if session:
                session.communicate()
        note(f"Provisioning of {self.host} from {self.source} is complete")


def _provision(argv):
    try:
        options = _options(argv)
        if options.create_master:
            raise Failure("--create-master is for Composite Active/Active only")
        Provision(options).work()
    except (Failure, replicator.Refused, db.DbDown, db.DbError) as error:
        print(f"ERROR >> {error}")
        return 1
    return 0


def main(argv):
    return run.tool("tprovision", argv, lambda: _provision(argv))
