"""Emulated replicators and their services.

What they are told is remembered in the lab's shared state; what they do is done by MariaDB's named replica
connections. ``<shared>/<host>/<which>.json`` holds the process and, for each service, what was asked of it
(``intent``), the error it met (until ``offline`` erases it), the state last seen and since when, and the
position last seen (shown while the database is away).
"""

import time
from contextlib import contextmanager

from . import config, db, status
from .server import Server, seqno

STATES = (
    "START",
    "OFFLINE",
    "OFFLINE:NORMAL",
    "OFFLINE:ERROR",
    "OFFLINE:CONFIGURING",
    "OFFLINE:BACKUP",
    "GOING-ONLINE",
    "GOING-ONLINE:SYNCHRONIZING",
    "GOING-ONLINE:PROVISIONING",
    "GOING-ONLINE:RESTORING",
    "ONLINE",
    "GOING-OFFLINE",
)
# A slave's pipeline takes its time to drain after the command has returned.
SETTLING = 0.3
_LOST = (db.DbDown, db.DbError)


class Refused(Exception):
    """An operation was refused or failed; the text is what trepctl prints after ``Operation failed: ``."""


class Service:
    """One replication service on any host of the lab; ``which`` is "cluster" or "cross_site".

    Operations hold the service's lock for as long as they run. Whoever only looks while one runs is told the
    state from before it.
    """

    def __init__(self, host, which, name):
        self.host, self.which, self.name = host, which, name
        self.server = Server(host)
        self.domain = config.domain(name)
        self.path = config.shared(host, f"{which}.json")

    @property
    def role(self):
        """ "master" or "slave", by the manager's current primary."""
        return "master" if self.which == "cluster" and self.host == config.primary(self.name) else "slave"

    @property
    def source(self):
        """The host from which a slave service pulls."""
        return config.primary(self.name)

    @property
    def entry(self):
        return config.read_state(self.path).get("services", {}).get(self.name, {})

    @property
    def loaded(self):
        return self.entry.get("loaded", True)

    def _change(self, **values):
        """Change this service's entry in the shared state; None removes a key."""
        with config.changed(self.path) as state:
            entry = state.setdefault("services", {}).setdefault(self.name, {})
            for key, value in values.items():
                if value is None:
                    entry.pop(key, None)
                else:
                    entry[key] = value

    @contextmanager
    def _operation(self):
        with config.locked(self._lock):
            yield

    @property
    def _lock(self):
        return config.shared(self.host, f"{self.which}-{self.name}.operation")

    # Looking

    def state(self):
        return self._look()[0]

    def _look(self):
        """(state, seen): ``seen`` has what a status shows beside the state."""
        with config.locked(self._lock, shared_lock=True, wait=False) as quiet:
            entry = self.entry
            if not quiet:
                return entry.get("state", "OFFLINE:NORMAL"), entry.get("seen", {})
            state, seen = self._evaluate()
            if state != entry.get("state"):
                self._change(state=state, since=time.time())
            if seen and seen != entry.get("seen"):
                self._change(seen=seen)
            return state, seen

    def _evaluate(self):
        entry = self.entry
        if entry.get("error"):
            return "OFFLINE:ERROR", {}
        if entry.get("intent") != "ONLINE":
            return ("GOING-OFFLINE" if entry.get("settling", 0) > time.time() else "OFFLINE:NORMAL"), {}
        try:
            return self._evaluate_master() if self.role == "master" else self._evaluate_slave()
        except _LOST:
            seen = {**entry.get("seen", {}), "current": "ERROR"}
            if self.role == "master" or not self._more_to_apply(seen):
                # Nothing has touched the database yet, so nothing has noticed.
                return "ONLINE", seen
            return self._fail("Stage task failed: stage=q-to-dbms", "Could not connect: Connection refused")

    def _evaluate_master(self):
        number, event = self.server.written(self.domain)
        return "ONLINE", {
            "seqno": number,
            "event": event,
            "current": event.partition(";")[0],
            "stored": number,
        }

    def _evaluate_slave(self):
        row = self.server.connections().get(self.name)
        number = self.server.applied(self.domain)
        if row is None:
            return self._fail("Stage task failed: stage=q-to-dbms", "The connection to the DBMS was lost")
        file, offset = (
            row["Relay_Master_Log_File"] or "mysql-bin.000000",
            int(row["Exec_Master_Log_Pos"] or 0),
        )
        event = f"{file}:{offset:016d};-1"
        if row["Slave_SQL_Running"] == "No" and row["Last_SQL_Errno"] != "0":
            message = f"java.sql.SQLException: {row['Last_SQL_Error']}"
            return self._fail(
                f"Event application failed: seqno={number + 1} fragno=0 message={message}",
                f"{message}\nMySQL error {row['Last_SQL_Errno']}",
                number + 1,
                event,
            )
        if row["Slave_IO_Running"] == "No" and row["Last_IO_Errno"] != "0":
            return self._fail(
                "Event extraction failed",
                "Client handshake failure: Client response validation failed: Master log does not contain"
                f" requested transaction: client source ID={self.host} seqno={number} epoch number=0:"
                f" {row['Last_IO_Error']}",
            )
        if "No" in (row["Slave_IO_Running"], row["Slave_SQL_Running"]):
            return self._fail("Stage task failed: stage=q-to-dbms", "The connection to the DBMS was lost")
        seen = {
            "seqno": number,
            "event": event,
            "latency": row["Seconds_Behind_Master"] or "0",
            "stored": max(number, seqno(row["Gtid_IO_Pos"], self.domain)),
        }
        pulling = row["Slave_IO_Running"] == "Yes" and self._source_serves()
        return ("ONLINE" if pulling else "GOING-ONLINE:SYNCHRONIZING"), {**seen, "pulling": pulling}

    def _source_serves(self):
        """Whether the source's cluster service is up: its log is what the slaves pull."""
        source = Service(self.source, "cluster", self.name)
        entry = source.entry
        return (
            Replicator(self.source, "cluster").running
            and entry.get("loaded", True)
            and entry.get("intent") == "ONLINE"
            and not entry.get("error")
        )

    def _more_to_apply(self, seen):
        try:
            return Server(self.source).written(self.domain)[0] > seen.get("seqno", -1)
        except _LOST:
            return False

    def _fail(self, error, message, number=-1, event="NONE"):
        self._change(
            intent="OFFLINE",
            error={
                "pendingError": error,
                "pendingExceptionMessage": message,
                "pendingErrorSeqno": str(number),
                "pendingErrorEventId": event,
            },
        )
        # The whole pipeline stops, not only the stage that failed.
        if self.role == "slave":
            self._quietly(self.server.stop, self.name)
        return "OFFLINE:ERROR", {}

    @staticmethod
    def _quietly(work, *arguments):
        """For what the real replicator only logs when it fails."""
        try:
            work(*arguments)
        except _LOST:
            return False
        return True

    def status(self):
        """Every key of a real ``status -json``; all values are strings."""
        state, seen = self._look()
        if seen.get("seqno", -1) >= 0 and not state.startswith("OFFLINE"):
            self._quietly(self.server.track, self.name, seen["seqno"], self.host, seen["event"])
        return status.document(self, state, seen)

    # Acting

    def online(self, skip=None):
        """``skip``: a seqno; it and all before it are taken for applied."""
        if self.state() in ("ONLINE", "GOING-ONLINE:SYNCHRONIZING"):
            raise Refused("Online operation failed (Operation irrelevant in current state)")
        with self._operation():
            try:
                if skip is not None and self.role == "slave":
                    self.server.skip(self.domain, skip)
                self._start()
            except _LOST as error:
                self._change(
                    intent="OFFLINE",
                    error={
                        "pendingError": "Replicator unable to go online due to error",
                        "pendingExceptionMessage": "Unable to prepare plugin: class name=com.continuent."
                        f"tungsten.replicator.datasource.DataSourceService message=[{error}]",
                    },
                )
                raise Refused(
                    "Online operation failed (State transition failed causing emergency recovery:"
                    " state=OFFLINE:NORMAL transition=OFFLINE-GO-ONLINE-1 event=GoOnlineEvent)"
                ) from None
            self._change(intent="ONLINE", error=None, fresh=None, settling=None)

    def _start(self):
        if self.role == "master":
            self.server.disconnect(self.name)
            self.server.heartbeat(self.name, self.host, "MASTER_ONLINE")
        else:
            self.server.connect(self.name, self.source, self.domain)

    def offline(self):
        """Offline already: only erases the error."""
        # Keeps the position for a reset that finds no database.
        self._look()
        with self._operation():
            was = self.entry
            if was.get("intent") == "ONLINE" or was.get("error"):
                self._quietly(self._stop)
                if self.role == "slave":
                    self._change(settling=time.time() + SETTLING)
            self._change(intent="OFFLINE", error=None, fresh=None, deferred=None)

    def _stop(self):
        if self.role == "slave":
            # Nothing but the position stays: MariaDB refuses to start on a copied directory whose connections
            # refer to relay logs named after another host.
            self.server.disconnect(self.name)
            number, event = self.server.applied(self.domain), "NONE"
        else:
            number, event = self.server.written(self.domain)
        if number >= 0:
            self.server.track(self.name, number, self.host, event)

    def reset(self, scope="all"):
        """``scope``: all, thl, relay, db. Without a database the log goes, the catalogue stays, silently."""
        if not self.state().startswith("OFFLINE"):
            raise Refused(
                f"Replication service {self.name} must be offline before resetting.\n"
                f"(Use 'trepctl -service {self.name} offline' first)"
            )
        with self._operation():
            position = self.entry.get("seen", {}).get("seqno", -1)
            cleared = scope in ("all", "db") and self._quietly(self._clear, scope)
            if scope == "all" and cleared:
                self._change(thl_from=None, seen=None)
            elif scope in ("all", "thl"):
                self._change(thl_from=position + 1)

    def _clear(self, scope):
        self.server.disconnect(self.name)
        if self.role == "slave":
            self.server.set_position(self.domain)
        elif scope == "all":
            self.server.set_position(self.domain, empty_binlog=True)
        self.server.drop_tracking(self.name)

    def heartbeat(self, name="DEFAULT"):
        """Written by a master only: a slave answers alike, and its own tables are replication's."""
        if self.state() != "ONLINE":
            raise Refused("Heartbeat operation failed: Operation irrelevant in current state")
        if self.role != "master":
            return
        try:
            self.server.heartbeat(self.name, self.host, name)
        except _LOST:
            self._fail(
                "Unable to process heartbeat request",
                "Heartbeat operation failed due to SQL error: Could not connect: Connection refused",
            )
            raise Refused(
                "Heartbeat operation failed: State transition failed causing emergency recovery:"
                " state=ONLINE transition=HEARTBEAT event=InsertHeartbeatEvent"
            ) from None

        if self.entry.get("deferred"):
            self.offline()

    def offline_at_heartbeat(self):
        """Go offline at the next heartbeat."""
        self._change(deferred=True)

    def load(self):
        self._change(loaded=True, error=None, intent="OFFLINE")
        self.come_up()

    def unload(self):
        self.halt()
        self._change(loaded=False, intent="OFFLINE", error=None)

    def halt(self):
        """End with the process."""
        with self._operation():
            if self.entry.get("intent") == "ONLINE":
                self._quietly(self._stop)

    def come_up(self):
        """As when the process starts: a failure to go online is the service's state, not the command's."""
        try:
            self.online()
        except Refused:
            pass


class Replicator:
    """One replicator process on any host of the lab."""

    def __init__(self, host, which):
        self.host, self.which = host, which
        self.path = config.shared(host, f"{which}.json")

    def names(self):
        """Configured services: the cluster's own, or one for each other site."""
        site = config.site_of(self.host)
        return [site] if self.which == "cluster" else sorted(set(config.load()["sites"]) - {site})

    @property
    def running(self):
        """A process of an earlier boot is gone; only this host can tell which boot it is."""
        state = config.read_state(self.path)
        here = self.host != config.host() or state.get("boot") == config.boot_mark()
        return state.get("process") == "running" and here

    @property
    def pid(self):
        return config.read_state(self.path).get("pid", 0)

    def configured(self):
        """[Service]: unloaded ones too."""
        return [Service(self.host, self.which, name) for name in self.names()]

    def services(self):
        """[Service]: the loaded ones."""
        return [service for service in self.configured() if service.loaded]

    def service(self, name):
        """The Service of that name, or None if there is none or it is not loaded."""
        return next((service for service in self.services() if service.name == name), None)

    def start(self, offline=False):
        """Start the process, unless it runs; its services go online by themselves unless told otherwise."""
        if self.running:
            return
        now = time.time()
        with config.changed(self.path) as state:
            state.update(process="running", boot=config.boot_mark(), started=now, pid=int(now) % 30000 + 300)
            for name in self.names():
                entry = state.setdefault("services", {}).setdefault(name, {})
                for key in ("error", "settling"):
                    entry.pop(key, None)
                entry.update(loaded=True, intent="OFFLINE", state="OFFLINE:NORMAL", since=now, fresh=True)
        if not offline:
            for service in self.configured():
                service.come_up()

    def stop(self):
        """The connections end with the process."""
        if self.running:
            for service in self.services():
                service.halt()
        with config.changed(self.path) as state:
            state["process"] = "stopped"
