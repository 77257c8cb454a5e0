"""The state of a site's managers, and the daemon that runs on every host.

All managers of a site share one file, as if their group communication never lagged. There is no failover: the
lab repairs a site whose primary stays the same, and an election would only get in the way of that.
"""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from . import config, db, replicator

INTERVAL = 2
STALE = 10
POLICIES = ("MAINTENANCE", "AUTOMATIC", "MANUAL")
UP = ("ONLINE", "GOING-ONLINE")


class Refused(Exception):
    """The manager refuses; the text is for the person at cctrl."""


# The file


def _path(site):
    return config.shared(site, "manager.json")


def _initial(site):
    planned = config.load()["sites"][site]
    return {
        "policy": "AUTOMATIC",
        "primary": planned["primary"],
        "coordinator": planned["primary"],
        "datasources": {
            node: {"state": "ONLINE", "shun_reason": None, "last_error": None} for node in planned["nodes"]
        },
        "routers": {
            node: {"pid": 8805 + 11 * number, "state": "ONLINE"}
            for number, node in enumerate(planned["nodes"])
        },
        "composite": False,
    }


def state(site):
    """Everything the site's managers know."""
    return config.read_state(_path(site)) or _initial(site)


@contextmanager
def changed(site):
    """The same to be changed, under the site's lock."""
    with config.changed(_path(site)) as known:
        if not known:
            known.update(_initial(site))
        yield known


def composite(site):
    return bool(config.load().get("composite") or state(site)["composite"])


def alive(host):
    """Whether the manager of a host has shown itself lately."""
    try:
        return time.time() - config.shared(host, "manager.alive").stat().st_mtime < STALE
    except FileNotFoundError:
        return False


def coordinator(site):
    """The chosen one; when it is down, the first that lives."""
    known = state(site)
    nodes = [known["coordinator"], *known["datasources"]]
    return next((node for node in nodes if alive(node)), known["coordinator"])


# What the other tools ask of the managers. Each works on its own lock, and is refused whole or done whole.


def set_policy(site, policy):
    with changed(site) as known:
        known["policy"] = policy


def set_routers(site, hosts, wanted):
    with changed(site) as known:
        for host in hosts:
            known["routers"][host]["state"] = wanted


def shun(site, host, force=False):
    """Take a datasource away from the connectors. Its replicator goes on."""
    with changed(site) as known:
        if host == known["primary"] and not force:
            raise Refused("is the master")
        known["datasources"][host].update(state="SHUNNED", shun_reason="MANUALLY-SHUNNED")


def unshun(site, host):
    """SHUNNED or FAILED becomes OFFLINE: it takes another order, or AUTOMATIC, to serve again."""
    with changed(site) as known:
        known["datasources"][host].update(state="OFFLINE", shun_reason=None, last_error=None)


def start_replicator(site, host):
    """Its cluster service ONLINE, or on the way there. replicator.Refused if it cannot."""
    if not replicator.Replicator(host, "cluster").running:
        raise replicator.Refused(f"The replicator of {host} is not running")
    service = replicator.Service(host, "cluster", site)
    if not service.state().startswith(UP):
        service.online()


def bring_online(site, host):
    """The datasource ONLINE and its cluster replicator with it. db.DbDown if mysqld does not answer."""
    db.query(host, "SELECT 1", timeout=5)
    start_replicator(site, host)
    with changed(site) as known:
        known["datasources"][host].update(state="ONLINE", shun_reason=None, last_error=None)


# The daemon


class Watch:
    """One host's manager: watches its own mysqld and replicator, and repairs as the policy allows."""

    def __init__(self, host, site):
        self.host, self.site = host, site
        self.missed = 0

    def look(self):
        known = state(self.site)
        source = known["datasources"][self.host]
        # MAINTENANCE switches all rules off; a shunned datasource is the operator's in any policy.
        if known["policy"] == "MAINTENANCE" or source["state"] == "SHUNNED":
            self.missed = 0
            return
        up = db.answers(self.host)
        self.missed = 0 if up else self.missed + 1
        # Six servers on two cores: one late answer is no failure.
        if self.missed >= 2 and source["state"] == "ONLINE":
            self._fail()
        elif up and known["policy"] == "AUTOMATIC":
            self._repair(source["state"])

    def _still(self, known, *states):
        """An order given while this manager was looking goes first."""
        policy = known["policy"]
        return policy != "MAINTENANCE" and known["datasources"][self.host]["state"] in states

    def _fail(self):
        with changed(self.site) as known:
            if self._still(known, "ONLINE"):
                known["datasources"][self.host].update(
                    state="FAILED", last_error=f"DATASERVER '{self.host}@{self.site}' STOPPED"
                )

    def _repair(self, seen):
        if not replicator.Replicator(self.host, "cluster").running:
            return
        entry = replicator.Service(self.host, "cluster", self.site).entry
        # Looked up, not asked of the service: that would cost several clients every two seconds a host.
        asleep = entry.get("intent") != "ONLINE" and not entry.get("error")
        # An error of the replicator's own wants a person; one that came with the server's failure does not.
        wanted = asleep or seen == "FAILED"
        if seen == "ONLINE" and not wanted:
            return
        with changed(self.site) as known:
            if known["policy"] != "AUTOMATIC" or not self._still(known, "ONLINE", "OFFLINE", "FAILED"):
                return
            if wanted:
                start_replicator(self.site, self.host)
            known["datasources"][self.host].update(state="ONLINE", shun_reason=None, last_error=None)


def main():
    """Run in the foreground until a signal."""
    host = config.host()
    site = config.site_of(host)
    watch = Watch(host, site)
    mark = config.shared(host, "manager.alive")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with changed(site):
        pass
    # A server that hangs must not make its manager look dead: the sign of life is not given by who looks.
    with (
        ThreadPoolExecutor(1) as pool,
        config.locked(config.shared(host, "manager.pid"), wait=False) as alone,
    ):
        if not alone:
            print("Tungsten Manager Service is already running.")
            return 1
        look = None
        while True:
            mark.touch()
            if look is None or look.done():
                if look and look.exception():
                    print(f"{type(look.exception()).__name__}: {look.exception()}", flush=True)
                look = pool.submit(watch.look)
            time.sleep(INTERVAL)
