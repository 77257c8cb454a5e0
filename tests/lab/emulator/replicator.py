"""The state of emulated replicators and their services, mapped onto MariaDB's named replica connections."""

from . import config


class Refused(Exception):
    """The replicator refuses or fails an operation; the text is what trepctl prints after ``Operation failed: ``."""


class Service:
    """One replication service on any host of the lab; ``which`` is "cluster" or "cross_site"."""

    def __init__(self, host, which, name):
        self.host, self.which, self.name = host, which, name

    @property
    def role(self):
        """"master" or "slave", by the manager's current primary."""
        master = self.which == "cluster" and self.host == config.primary(self.name)
        return "master" if master else "slave"

    def state(self):
        raise NotImplementedError

    def status(self):
        """Every key of a real ``status -json``; all values are strings."""
        raise NotImplementedError

    def online(self):
        raise NotImplementedError

    def offline(self):
        raise NotImplementedError

    def reset(self):
        raise NotImplementedError

    def heartbeat(self, name="DEFAULT"):
        raise NotImplementedError


class Replicator:
    """One replicator process on any host of the lab."""

    def __init__(self, host, which):
        self.host, self.which = host, which

    @property
    def running(self):
        raise NotImplementedError

    def start(self, offline=False):
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    def services(self):
        """[Service]: the loaded ones."""
        raise NotImplementedError
