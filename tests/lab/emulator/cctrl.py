"""cctrl: the cluster's command line. Talks to the local manager, and ends with 0 whatever its commands did.

Replies that no public text shows are invented; each is marked. No reader should depend on those.
"""

import os
import socket
import sys
import time

from . import config, db, faults, listing, manager, replicator

BANNER = "Tungsten Clustering (for MySQL) 7.0.3 build 141"
# The manager's order reaches a replicator after the prompt is back.
ASYNCHRONOUS = 0.3
FLAGS = ("-expert", "-multi", "-logical", "-physical", "-admin", "-no-history", "-proxy")
WITH_VALUE = ("-host", "-port")
EXPERT_WARNING = """
WARNING: This is an expert-level command:
Incorrect use may cause data corruption
or make the cluster unavailable.

Do you want to continue? (y/n)> """
# Invented, but for the names of the commands.
HELP = (
    "admin, cd, cluster, datasource, exit, expert, help, logical, ls, members, physical, ping, quit,"
    " replicator, router, set, use"
)
DENIED = (
    "{}: REQUEST DENIED. '{}@{}' IS THE MASTER OF THE DATA SERVICE.\n"
    "USE 'set force true' TO DO IT ALL THE SAME."
)
RECOVERED = """\
RECOVERING DATASOURCE '{host}@{site}'
VERIFYING THAT WE CAN CONNECT TO DATA SERVER '{host}'
Verified that DB server notification '{host}' is in state 'ONLINE'
DATA SERVER '{host}' IS NOW AVAILABLE FOR CONNECTIONS
RECOVERING '{host}@{site}' TO A SLAVE USING '{master}@{site}' AS THE MASTER
RECOVERY OF '{host}@{site}' WAS SUCCESSFUL"""


class Failed(Exception):
    """What cctrl prints in place of a reply."""


class Quit(Exception):
    pass


def later(seconds, work):
    """Do something after this process has answered, in a process that holds none of its streams."""
    sys.stdout.flush()
    if os.fork():
        return
    try:
        os.setsid()
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silent, stream)
        time.sleep(seconds)
        work()
    finally:
        os._exit(0)


class Session:
    """One run of cctrl."""

    def __init__(self, argv, lines):
        self.lines = lines
        self.site = config.site_of(config.host())
        self.multi = "-multi" in argv
        self.mode = next(
            (word[1:].upper() for word in argv if word in ("-logical", "-physical", "-admin")), "LOGICAL"
        )
        self.expert = "-expert" in argv
        self.place = None if self.multi else self.site
        self.force = False
        self.commands = []

    # Reading

    def prompt(self):
        mode = f"{self.mode}:EXPERT" if self.expert else self.mode
        return f"[{mode}] /{self.place or ''} > "

    def _read(self):
        line = self.lines.readline()
        if not line:
            return None
        if config.load().get("prompt") == "jline":
            print(line.rstrip("\n"))
        return line.strip()

    def run(self):
        print(BANNER)
        if not self.multi:
            print(f"connect to '{self.site}@{manager.coordinator(self.site)}'")
        print(f"{self.site}: session established")
        try:
            while True:
                print(self.prompt(), end="", flush=True)
                line = self._read()
                if line is None:
                    print("\nExiting...")
                    return
                for command in filter(None, map(str.strip, line.split(";"))):
                    self._one(command)
        except Quit:
            # Invented: that a session left by word says the same.
            print("\nExiting...")

    def _one(self, command):
        self.commands.append(command)
        words = command.split()
        if faults.consult("cctrl", words) is not None:
            return
        name = words[0].lower()
        known = getattr(self, f"_do_{name}", None)
        try:
            if known is None:
                # Invented.
                raise Failed(f"Unknown command '{words[0]}'. Type 'help' for a list.")
            reply = known(words[1:])
        except (Failed, replicator.Refused, db.DbDown, db.DbError) as error:
            # The word "exception" is what the vendor's own scripts look for; the rest is invented.
            reply = f"{error}" if isinstance(error, Failed) else f"Exception encountered, details: {error}"
        if reply:
            print(reply)

    # Moving about

    def _do_logical(self, words):
        self.mode = "LOGICAL"

    def _do_physical(self, words):
        self.mode = "PHYSICAL"

    def _do_admin(self, words):
        self.mode = "ADMIN"

    def _do_expert(self, words):
        print(EXPERT_WARNING, end="", flush=True)
        answer = self._read()
        self.expert = self.expert or answer == "y"

    def _do_use(self, words):
        if words and words[0] in listing.services(self.site):
            self.place = words[0]
            return
        # Invented.
        raise Failed(f"No such data service: '{' '.join(words)}'")

    def _do_cd(self, words):
        if not self.multi:
            # Invented.
            raise Failed("The command 'cd' needs the option -multi")
        if words in ([".."], ["/"]):
            self.place = None
            return
        self._do_use(words)

    def _do_quit(self, words):
        raise Quit

    _do_exit = _do_quit

    def _do_help(self, words):
        return HELP

    # Looking

    def _do_ls(self, words):
        long = "-l" in words
        names = [word for word in words if word != "-l"]
        if self.place is None:
            return listing.data_services(self.site)
        if names == ["resources"]:
            return listing.resources(self.site)
        site = self.place if self.place in config.load()["sites"] else self.site
        return listing.cluster(site, self._host(names[0]) if names else None, long)

    def _do_members(self, words):
        return listing.members(self.site)

    def _do_ping(self, words):
        return "\n".join(listing.ping(node) for node in manager.state(self.site)["datasources"])

    # Acting

    def _host(self, name):
        if name not in manager.state(self.site)["datasources"]:
            # Invented.
            raise Failed(f"Datasource '{name}' not found in data service '{self.site}'")
        return name

    def _do_set(self, words):
        match [word.lower() for word in words]:
            case ["policy", policy] if policy.upper() in manager.POLICIES:
                manager.set_policy(self.site, policy.upper())
                return f"policy mode is now {policy.upper()}"
            case ["force", "true" | "false" as value]:
                self.force = value == "true"
                # Invented.
                return f"FORCE: {value}"
        # Invented.
        raise Failed(f"Cannot set: '{' '.join(words)}'")

    def _do_router(self, words):
        routers = manager.state(self.site)["routers"]
        match words:
            case [target, "online" | "offline" as wanted]:
                names = list(routers) if target == "*" else [target.removeprefix("connector@")]
                if set(names) <= set(routers):
                    manager.set_routers(self.site, names, wanted.upper())
                    # Invented.
                    return "\n".join(f"router 'connector@{name}' is now {wanted.upper()}" for name in names)
        # Invented.
        raise Failed(f"Cannot do: 'router {' '.join(words)}'")

    def _do_replicator(self, words):
        match words:
            case [name, "online" | "offline" as wanted]:
                service = replicator.Service(self._host(name), "cluster", self.site)
                if not replicator.Replicator(name, "cluster").running:
                    raise replicator.Refused(f"The replicator of {name} is not running")
                if wanted == "online":
                    later(ASYNCHRONOUS, lambda: manager.start_replicator(self.site, name))
                else:
                    later(ASYNCHRONOUS, service.offline)
                # No text is known for it: says nothing.
                return ""
        # Invented.
        raise Failed(f"Cannot do: 'replicator {' '.join(words)}'")

    def _do_cluster(self, words):
        if words != ["heartbeat"]:
            # Invented.
            raise Failed(f"Cannot do: 'cluster {' '.join(words)}'")
        primary = manager.state(self.site)["primary"]
        replicator.Service(primary, "cluster", self.site).heartbeat()
        # Invented.
        return f"HEARTBEAT ISSUED ON '{primary}@{self.site}'"

    def _do_datasource(self, words):
        match words:
            case [name, "shun" | "recover" | "welcome" | "online" | "offline" as verb]:
                host = self._host(name)
                known = manager.state(self.site)
                source = known["datasources"][host]
                return getattr(self, f"_{verb}")(host, source["state"], known)
        # Invented.
        raise Failed(f"Cannot do: 'datasource {' '.join(words)}'")

    def _shun(self, host, state, known):
        try:
            manager.shun(self.site, host, self.force)
        except manager.Refused:
            raise Failed(DENIED.format("SHUN", host, self.site)) from None
        return f"DataSource '{host}' set to SHUNNED"

    def _recover(self, host, state, known):
        if state == "ONLINE":
            # Invented.
            raise Failed(f"DataSource '{host}' is ONLINE: nothing to recover")
        if host == known["primary"]:
            # Invented: recovering makes a replica, and nobody else is the master here.
            raise Failed(f"RECOVERY OF '{host}@{self.site}' FAILED: NO OTHER MASTER IN THE DATA SERVICE")
        if known["policy"] != "AUTOMATIC":
            manager.unshun(self.site, host)
            return f"DataSource '{host}' is now OFFLINE"
        manager.bring_online(self.site, host)
        return RECOVERED.format(host=host, site=self.site, master=known["primary"])

    def _welcome(self, host, state, known):
        if host == known["primary"] and not self.force:
            raise Failed(DENIED.format("WELCOME", host, self.site))
        if state != "SHUNNED":
            # Invented.
            raise Failed(f"DataSource '{host}' is {state}: only a SHUNNED one can be welcomed")
        manager.unshun(self.site, host)
        # Invented, after the reply to recover.
        return f"DataSource '{host}' is now OFFLINE"

    def _online(self, host, state, known):
        if state in ("SHUNNED", "FAILED"):
            # Invented.
            raise Failed(f"DataSource '{host}' is {state}: use recover or welcome first")
        # It takes the replicator along: INFERRED from the manual's use of it as the last step of a return.
        manager.bring_online(self.site, host)
        # Invented, after the reply to recover.
        return f"DataSource '{host}' is now ONLINE"

    def _offline(self, host, state, known):
        if state in ("SHUNNED", "FAILED"):
            # Invented.
            raise Failed(f"DataSource '{host}' is {state}")
        with manager.changed(self.site) as now:
            now["datasources"][host]["state"] = "OFFLINE"
        # Invented, after the reply to recover.
        return f"DataSource '{host}' is now OFFLINE"


def main(argv):
    started = time.monotonic()
    rest = list(argv)
    while rest:
        option = rest.pop(0)
        if option in WITH_VALUE and rest:
            rest.pop(0)
        elif option not in FLAGS:
            # Invented; rc as well.
            print(f"Unrecognized option: {option}")
            return 1
    config.delay("cctrl")
    session, rc = Session(argv, sys.stdin), 1
    try:
        if manager.alive(config.host()):
            session.run()
            rc = 0
        else:
            # The text is invented; that the exit code is not 0 is what the vendor's installer relies on.
            print(f"ERROR: Unable to connect to the manager at {socket.gethostname()}:9997")
    finally:
        sys.stdout.flush()
        config.record_call("cctrl", [*argv, *session.commands], rc, time.monotonic() - started)
    return rc
