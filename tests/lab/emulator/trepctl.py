"""The emulated trepctl: the commands, with the texts, streams and exit codes of the real client."""

import re
import time
from pathlib import Path

from . import config, db, details, render, run
from .client import Client, Ended
from .replicator import STATES, Refused
from .server import Server
from .status import RMI_PORTS, VERSION


class Trepctl(Client):
    """One call."""

    # Commands of the whole replicator

    def do_version(self):
        print(VERSION)

    def do_services(self):
        full, as_json = "-full" in self.words, "-json" in self.words
        rows = []
        for service in self.replicator.configured():
            if not service.loaded:
                row = dict.fromkeys(
                    ("appliedLastSeqno", "appliedLatency", "role", "serviceType", "state"), "Unknown"
                )
                rows.append({**row, "serviceName": service.name, "started": "false"})
                continue
            row = {**service.status(), "started": "true"}
            keys = (
                "appliedLastSeqno",
                "appliedLatency",
                "role",
                "serviceName",
                "serviceType",
                "started",
                "state",
            )
            rows.append(row if full else {key: row[key] for key in keys})
        self._print("services", rows, as_json)

    @staticmethod
    def _print(command, rows, as_json, what=""):
        if as_json:
            print(render.records(rows))
            return
        print(f"Processing {command} command{what}...")
        print(f"{render.tables(rows)}Finished {command} command{what}...")

    def do_kill(self):
        if "-y" in self.words or self._confirmed("Do you really want to kill the replicator process?"):
            print("Sending kill command to replicator")
            self.replicator.stop()
            print("Replicator appears to be stopped")

    # Commands of one service: looking

    def do_status(self):
        options = self._options(flags=("-json",), valued=("-name",))
        as_json, name = "-json" in options, options.get("-name")
        if name is not None and name not in details.NAMES:
            self._service()
            raise Refused(f"Unrecognized status list type: {name}")
        if name is not None:
            rows = details.listing(self._service(), name)
            self._print("status", rows, as_json, f" ({name})")
            return
        if not as_json:
            print("Processing status command...", flush=True)
        status = self._service().status()
        if as_json:
            print(render.record(status))
        else:
            print(f"{render.tables([status])}Finished status command...")

    def do_properties(self):
        options = self._options(flags=("-values",), valued=("-filter",))
        found = details.properties(self._service(), options.get("-filter", ""))
        print("\n".join(found.values()) if "-values" in options else render.record(found))

    def do_capabilities(self):
        self._options()
        self._service()
        print(
            "Replicator Capabilities\n  Roles:             [master, slave]\n  Replication Model: push\n"
            "  Consistency Check: true\n  Heartbeat:         true\n  Flush:             true"
        )

    def do_clients(self):
        as_json = "-json" in self._options(flags=("-json",))
        print("[" if as_json else "Processing clients command...")
        service = self._service()
        if not service.state().endswith("ONLINE"):
            raise Refused("No runtime found. Is Replicator ONLINE?")
        if service.role != "master":
            raise Refused("THL has no server listener")
        clients = [f"{address}:{RMI_PORTS['cluster']}" for address in Server(service.host).clients()]
        if as_json:
            print("\n,\n".join(render.record({"client": client}) for client in clients) + "\n\n]")
        else:
            print("\n".join([*clients, "Finished clients command..."]))

    def do_wait(self):
        options = self._options(valued=("-state", "-applied", "-limit"))
        if not {"-state", "-applied"} & set(options):
            raise Ended("You must specify what to wait for using -state or -applied")
        deadline = time.monotonic() + (self._number(options, "-limit", 0) or 1800)
        service = self._service()
        reached = self._state_reached if "-state" in options else self._applied_reached
        while not reached(service, options.get("-state") or options["-applied"]):
            if time.monotonic() >= deadline:
                raise Ended("Wait timed out!")
            time.sleep(min(0.5, max(0, deadline - time.monotonic())))

    @staticmethod
    def _state_reached(service, wanted):
        if wanted not in STATES:
            raise Refused(f"Unknown state name: {wanted}")
        state = service.state()
        if f"{state}:".startswith(f"{wanted}:"):
            return True
        if state == "OFFLINE:ERROR":
            raise Refused(f"Replicator failed and is in error state: {state}")
        return False

    @staticmethod
    def _applied_reached(service, wanted):
        if not re.fullmatch("-?[0-9]+", wanted):
            raise Refused(f'Wait operation failed: For input string: "{wanted}"')
        status = service.status()
        if status["state"].startswith("OFFLINE"):
            raise Refused(
                "Wait operation failed: Invalid replicator state for this operation. Cannot wait for event"
                f" {wanted} to be committed."
            )
        return int(status["appliedLastSeqno"]) >= int(wanted)

    # Commands of one service: acting

    def do_online(self):
        if "-seqno" in self.words:
            raise Ended("The -seqno flag is no longer supported; use -until-seqno instead")
        services = self._services()
        options = self._options(flags=("-force", "-no-checksum"), valued=("-skip-seqno", "-until-seqno"))
        skip = options.get("-skip-seqno")
        for service in services:
            service.online(skip=max(map(int, skip.split(","))) if skip else None)
            if "-until-seqno" in options:
                self._until(service, self._number(options, "-until-seqno", 0))

    @staticmethod
    def _until(service, number):
        # Only what is reached already: a stop in the middle of the log is not in the lab.
        reached = int(service.status()["appliedLastSeqno"]) >= number
        service.offline()
        if not reached:
            raise Refused(f"the lab's replicator cannot stop at a later seqno ({number})")

    def do_offline(self):
        services = self._services()
        self._options(flags=("-immediate",))
        for service in services:
            service.offline()

    def do_offline_deferred(self):
        self._options(optional=("-at-heartbeat",))
        self._service().offline_at_heartbeat()

    def do_heartbeat(self):
        options = self._options(valued=("-name",))
        self._service().heartbeat(options.get("-name", "DEFAULT"))

    def do_flush(self):
        self._number(self._options(valued=("-limit",)), "-limit", 0)
        service = self._service()
        try:
            service.heartbeat("FLUSH")
        except Refused as refused:
            raise Refused(f"Flush operation failed: {refused}") from None
        print(
            "Master log is synchronized with database at log sequence number:"
            f" {service.status()['appliedLastSeqno']}"
        )

    def do_check(self):
        name = self.words[0] if self.words else ""
        if not re.fullmatch(r"[^.]+(\.[^.]+)?", name):
            raise Ended(f"Schema/table name must be in the form schema[.table]. Found: {name}")
        service = self._service()
        if service.state() != "ONLINE":
            raise Refused("Consistency check operation failed: Operation irrelevant in current state")
        print(f"Check (id={int(time.time()) % 1000}) issued")
        if service.role == "slave":
            print(
                "WARN: check should be issued from the master as opposed to the slave; to avoid duplicate key"
                " errors, remove it from the consistency table when done"
            )

    def do_purge(self):
        options = self._options(flags=("-y",), valued=("-limit",))
        service = self._service()
        if "-y" in options or self._confirmed("Do you really want to purge non-Tungsten DBMS sessions?"):
            print("Directing replicator to purge non-Tungsten sessions")
            try:
                print(f"Number of sessions purged: {Server(service.host).purge()}")
            except db.DbDown:
                raise Refused("Purge operation failed") from None

    def do_reset(self):
        scope, confirmed = "all", False
        for word in self.words:
            if word == "-y":
                confirmed = True
            elif word in ("-all", "-thl", "-relay", "-db"):
                # An earlier -y is forgotten, whatever the synopsis in the help says.
                scope, confirmed = word[1:], False
            else:
                raise Ended(f"Unrecognized option for reset command : {word}")
        service = self._configured()
        what = {"all": "", "thl": "THL for ", "relay": "relay logs for ", "db": "database for "}[scope]
        if confirmed or self._confirmed(
            f"Do you really want to delete {what}replication service {service.name} completely?"
        ):
            service.reset(scope)

    def do_load(self):
        service = self._configured()
        service.load()
        print(f"Service started successfully: name={service.name}")

    def do_unload(self):
        if self.service_name is None:
            names = self.replicator.names()
            if len(names) != 1:
                raise Refused("You must specify a service name with the -service flag")
            self.service_name = names[0]
        service = self._configured()
        if "-y" in self.words or self._confirmed(
            f"Do you really want to stop replication service {service.name}?"
        ):
            service.unload()
            print(f"Service stopped successfully: name={service.name}")

    def do_clear(self):
        if self._service().state() == "ONLINE":
            raise Refused(
                "Clear dynamic properties failed: com.continuent.tungsten.replicator.management."
                "ReplicatorStateException: Operation irrelevant in current state"
            )

    def do_setrole(self):
        options = self._options(valued=("-role", "-uri"))
        service = self._service()
        if "-role" not in options:
            raise Refused("set role operation failed (Role name is required to for a set role operation)")
        if not service.state().startswith("OFFLINE"):
            raise Refused("set role operation failed (Operation irrelevant in current state)")
        # The manager gives the roles.
        if options["-role"] != service.role:
            raise Refused(
                "set role operation failed (State transition could not complete and was rolled back:"
                f" state={service.state()} transition=OFFLINE-SETROLE event=SetRoleEvent)"
            )

    def do_configure(self):
        if self.words and not Path(self.words[0]).exists():
            raise Ended(f"Properties file not found: {self.words[0]}")
        self._service()

    def do_restore(self):
        print("Warning! This is deprecated and will be removed in a future release!")
        state = self._service().state()
        raise Refused(
            "Restore operation failed: State transition could not complete and was rolled back:"
            f" state={state} transition=OFFLINE-RESTORE event=RestoreEvent"
        )

    def do_shard(self):
        self._service()
        raise Refused("shards are not part of the lab's replicator")

    def do_start(self):
        raise Ended("This command has been renamed, use 'load'")

    def do_stop(self):
        raise Ended("This command has been renamed, use 'unload'")

    def do_shutdown(self):
        raise Ended("This command was DEPRECATED as of version 3.0.0. Use `replicator stop` instead.")


def main(argv, program):
    """``program``: the path of the tool as started, which tells which of the two replicators is meant."""
    client = Trepctl(config.which(program))
    return run.tool("trepctl", argv, lambda: client.main(argv))
