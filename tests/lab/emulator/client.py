"""trepctl's way from its command line to a replicator and a service: options, retries, prompts."""

import glob
import re
import sys
import time
from pathlib import Path

from . import config
from .replicator import Refused, Replicator
from .status import RMI_PORTS

_NO_SERVICE = "You must specify a service name using -service"
_DOWN = {
    "refused": "javax.naming.ServiceUnavailableException [Root exception is java.rmi.ConnectException:"
    " Connection refused to host: {host}; nested exception is: \n"
    "\tjava.net.ConnectException: Connection refused]",
    "not-a-registry": "javax.naming.CommunicationException [Root exception is java.rmi.NoSuchObjectException:"
    " no such object in table]",
}


class Ended(Exception):
    """The call ends here with this text and exit code 1."""


class Client:
    """One call; a subclass has the commands, as methods ``do_<command>``."""

    def __init__(self, which):
        self.which = which
        self.host, self.port = "localhost", RMI_PORTS[which]
        self.service_name = None
        self.retry = 10
        self.replicator = None
        self.command, self.words = None, []

    # From the command line to the replicator

    def main(self, argv):
        try:
            self._globals(argv)
            if self.command == "help":
                print((Path(__file__).parent / "help.txt").read_text(), end="")
                return 0
            self._connect()
            handler = getattr(self, f"do_{(self.command or 'help').replace('-', '_')}", None)
            if handler is None:
                raise Ended(f"Unknown command, try 'help' to get a list: '{self.command}")
            handler()
            return 0
        except Refused as refused:
            print(f"Operation failed: {refused}")
        except Ended as ended:
            print(ended)
        return 1

    def _globals(self, argv):
        # bin/trepctl passes $* unquoted: the shell splits and globs its arguments once more.
        words = [found for word in " ".join(argv).split() for found in (sorted(glob.glob(word)) or [word])]
        while words and words[0].startswith("-"):
            option = words.pop(0)
            if option in ("-verbose", "-all-services"):
                if option == "-all-services":
                    self.service_name = "*"
                continue
            if option not in ("-host", "-port", "-service", "-retry"):
                raise Ended(f"Unrecognized global option: {option}")
            if not words:
                raise Ended(f"Missing value for {option}")
            value = words.pop(0)
            if option == "-host":
                self.host = value
            elif option == "-service":
                self.service_name = value
            elif not re.fullmatch("[0-9]+", value):
                raise Ended(f"Missing or invalid argument to flag: {option}")
            elif option == "-port":
                self.port = int(value)
            else:
                self.retry = int(value)
        if words:
            self.command, self.words = words[0], words[1:]

    def _connect(self):
        """Try once and then once a second, a dot for every failure."""
        for attempt in range(self.retry + 1):
            failure = self._attempt()
            if failure is None:
                if attempt:
                    print()
                return
            if attempt < self.retry:
                time.sleep(1)
                print(".", end="", flush=True)
        raise Ended(
            f"Connection failed: A component of type 'replicator' at address {self.host}:{self.port} is not"
            f" available.\n java.io.IOException: Failed to retrieve RMIServer stub:"
            f" {_DOWN[failure].format(host=self.host)}\nCheck to be sure that the service is running.\n"
        )

    def _attempt(self):
        own = self.host in ("localhost", "127.0.0.1", config.host())
        host = config.host() if own else self.host
        known = any(host in site["nodes"] for site in config.load()["sites"].values())
        for which, port in RMI_PORTS.items():
            if known and Replicator(host, which).running:
                if port == self.port:
                    self.replicator = Replicator(host, which)
                    return None
                if port + 1 == self.port:
                    return "not-a-registry"
        return "refused"

    # The service meant

    def _service_or_none(self):
        """The loaded service named, or the only one configured."""
        name = self.service_name
        if name is None:
            names = self.replicator.names()
            if not names:
                raise Refused(
                    "Operation requires a service name, but the replicator does not have any services defined"
                )
            if len(names) > 1:
                raise Refused("You must specify a service name with the -service flag")
            name = names[0]
        return self.replicator.service(name)

    def _service(self):
        """The loaded service; a service's own manager that is not there is tried again like a connection."""
        for attempt in range(self.retry + 1):
            service = self._service_or_none()
            if service:
                if attempt:
                    print()
                return service
            if attempt < self.retry:
                time.sleep(1)
                print(".", end="", flush=True)
        raise Refused("null")

    def _configured(self):
        """The service by its compulsory name, loaded or not."""
        if self.service_name is None:
            raise Refused(_NO_SERVICE)
        for service in self.replicator.configured():
            if service.name == self.service_name:
                return service
        raise Refused(f"Unknown replication service name: {self.service_name}")

    def _services(self):
        """The services an ``online`` or ``offline`` is for (-all-services: since 6.1)."""
        if "-all-services" in self.words:
            self.words.remove("-all-services")
            self.service_name = "*"
        return self.replicator.services() if self.service_name == "*" else [self._service()]

    # Options of commands

    def _options(self, flags=(), valued=(), optional=(), unknown="Unrecognized option: {}"):
        """{option: value or True}; ``optional`` ones take a value if one follows."""
        found, words = {}, list(self.words)
        while words:
            word = words.pop(0)
            if word in flags:
                found[word] = True
            elif word in valued:
                if not words:
                    raise Ended(f"Missing or invalid argument to flag: {word}")
                found[word] = words.pop(0)
            elif word in optional:
                found[word] = words.pop(0) if words and not words[0].startswith("-") else True
            else:
                raise Ended(unknown.format(word))
        return found

    @staticmethod
    def _number(options, name, default):
        value = options.get(name, default)
        if not re.fullmatch("[0-9]+", str(value)):
            raise Ended(f"Missing or invalid argument to flag: {name}")
        return int(value)

    @staticmethod
    def _confirmed(question):
        """Only the very word yes counts; anything else, or the end of input, is a no."""
        print(f"{question} [yes/NO] ", end="", flush=True)
        try:
            return sys.stdin is not None and sys.stdin.readline().rstrip("\n") == "yes"
        except (OSError, ValueError):
            return False
