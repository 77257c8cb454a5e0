"""
See that this host's cross-site replication has failed, has gone, is late or stands still, and say so once.

Each interval costs one call of trepctl. A sign counts when it was seen several times in a row. It is told when it
changes, also back to good, and a bad one again every so often; nothing else is sent, however much a service flaps.

What is told:

- ``salt/beacon/<minion>/tungsten_drift/<site>``, one event a service, for people and their monitoring;
- ``tungsten/drift/<site>``, one event a look at the most, for the reactor: "look at this site". Nothing in it decides
  anything.

Salt calls a beacon in the minion's main process, which does nothing else meanwhile: hence ``timeout``, and a rest after
a look that took long.

:configuration: the beacon's own, see ``beacon``; and the pillar key ``tungsten``, read with ``topology.node``.
"""

import logging
import time

import salt.utils.beacons
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

__virtualname__ = "tungsten_drift"

# (default, least, most)
LIMITS = {
    "latency": (300, 1, 604800),
    "confirm": (3, 1, 100),
    "heartbeat": (3600, 0, 604800),
    "timeout": (20, 1, 120),
}
# What Salt itself reads from a beacon's configuration, and leaves or puts there.
OF_SALT = ("_beacon_name", "beacon_module", "disable_during_state_run", "enabled", "interval", "run_once")
NEEDED = ("driftsigns.judge", "hostrecord.load", "topology.node", "trepctl.services")
# Salt throws __context__ away with every refresh of modules or pillar; what was told must be known longer, or nobody
# would hear that a service is well again.
RECORD = "drift-told.json"
# A look that took as many seconds is followed by a rest of as many times its length: a replicator that hangs must not
# keep the minion from its work.
SLOW = 5
REST = 4


def __virtual__():
    missing = [name for name in NEEDED if name not in __salt__]
    if missing:
        return False, f"{', '.join(missing)} not available here: salt-call saltutil.sync_all"
    return __virtualname__


def validate(config):
    """
    Check the configuration of this beacon. Pure; Salt asks every second.

    config
        As it stands in the minion's configuration: a list of dictionaries.

    Returns ``(True, text)``, or ``(False, text)`` with every fault.
    """
    if not isinstance(config, list) or not all(isinstance(item, dict) for item in config):
        return False, "tungsten_drift: must be a list, with one '- key: value' a line"
    given = salt.utils.beacons.list_to_dict(config)
    faults = [
        f"{key}: no such key; known are {', '.join(sorted(LIMITS))} and Salt's own, such as interval"
        for key in given if key not in LIMITS and key not in OF_SALT
    ]
    for key, (_, least, most) in LIMITS.items():
        number = given.get(key, least)
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            faults.append(f"{key}: must be a whole number, {least} to {most}, not {number!r}")
    # Salt compares it with a number, and stops all beacons of the minion if it cannot.
    interval = given.get("interval", 1)
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not interval > 0:
        faults.append(f"interval: must be a number of seconds, more than 0, not {interval!r}")
    if faults:
        return False, "tungsten_drift: " + "; ".join(faults)
    return True, "Valid beacon configuration"


def beacon(config):
    """
    Look at the cross-site services of this host and return what there is to tell.

    .. code-block:: yaml

        beacons:
          tungsten_drift:
            - interval: 60
            - disable_during_state_run: True
            - latency: 300       # seconds that a service may be behind
            - confirm: 3         # looks in a row that have to show the same
            - heartbeat: 3600    # seconds after which a bad sign is told again; 0: never
            - timeout: 20        # seconds that trepctl may take; the minion waits for it

    Returns a list of events, mostly an empty one.
    """
    given = salt.utils.beacons.list_to_dict(config)
    settings = {key: given.get(key, default) for key, (default, _, _) in LIMITS.items()}
    fresh = {"looks": {}, "before": {}, "told": None, "complaint": None, "rests_until": 0}
    memory = __context__.setdefault("tungsten_drift", fresh)
    if time.monotonic() < memory["rests_until"]:
        return []
    try:
        node = __salt__["topology.node"]()
    except CommandExecutionError as error:
        # as long as pillar does not know this minion, there is nothing that it could watch
        _complain(memory, f"tungsten_drift watches nothing: {error}")
        return []
    memory["complaint"] = None
    signs = _look(node, settings, memory)
    told = _told(memory, node)
    news = {name: sign for name, sign in signs.items() if _is_news(name, sign, told, settings, memory)}
    now = time.time()
    for name, sign in news.items():
        told[name] = {"sign": sign["sign"], "data": sign["data"], "at": now}
    if news:
        _remember(node, told)
        _report(node["site"], news)
    return [_event(node["site"], name, sign, memory) for name, sign in sorted(news.items())]


def _complain(memory, text):
    if memory["complaint"] != text:
        log.warning("%s", text)
        memory["complaint"] = text


def _look(node, settings, memory):
    """The signs of this moment; counts how often each has been seen in a row."""
    expected = node["other_services"]
    began = time.monotonic()
    try:
        services = __salt__["trepctl.services"]("cross_site", full=True, timeout=settings["timeout"])
    except Exception as error:
        # whatever it is: of an exception in a beacon Salt makes an event at each interval
        said = str(error) if isinstance(error, CommandExecutionError) else repr(error)
        what = f"the cross-site replicator does not answer: {' '.join(said.split())}"[:500]
        silent = {"sign": "silent", "what": what, "data": False, "applied": None, "stored": None}
        signs = {name: dict(silent) for name in expected}
    else:
        signs = __salt__["driftsigns.judge"](services, expected, memory["before"], settings["latency"])
    now = time.monotonic()
    if now - began > SLOW:
        memory["rests_until"] = now + REST * (now - began)
    memory["looks"] = {name: _count(sign, memory["looks"].get(name)) for name, sign in signs.items()}
    memory["before"] = {name: _moved(sign, memory["before"].get(name)) for name, sign in signs.items()}
    return signs


def _count(sign, last):
    seen = [sign["sign"], sign["data"]]
    return {"seen": seen, "times": last["times"] + 1 if last and last["seen"] == seen else 1}


def _moved(sign, before):
    """
    Where a service was when it last applied something.

    Not simply at the look before: a log that grows seldom would never be seen to grow several times in a row.
    """
    now = {"applied": sign["applied"], "stored": sign["stored"]}
    if before and None not in before.values() and before["applied"] == now["applied"]:
        return before
    return now


def _told(memory, node):
    """What has been told last of each service, by this process or an earlier one."""
    if memory["told"] is None:
        try:
            record = __salt__["hostrecord.load"](RECORD)
            if not _is_readable(record):
                raise CommandExecutionError(f"{RECORD} is not what it has written")
        except (CommandExecutionError, OSError) as error:
            log.warning("tungsten_drift does not know what it has told: %s", error)
            record = None
        memory["told"] = record["services"] if record and record["site"] == node["site"] else {}
    # a service that pillar no longer names is nobody's business
    memory["told"] = {name: last for name, last in memory["told"].items() if name in node["other_services"]}
    return memory["told"]


def _is_readable(record):
    """A beacon that fails is reported by Salt at each interval: no surprise may come of a file."""
    if record is None:
        return True
    services = record.get("services") if isinstance(record, dict) and "site" in record else None
    return isinstance(services, dict) and all(
        isinstance(last, dict) and {"sign", "data", "at"} <= set(last) and isinstance(last["at"], (int, float))
        for last in services.values()
    )


def _remember(node, told):
    try:
        __salt__["hostrecord.save"](RECORD, {"site": node["site"], "services": told})
    except (CommandExecutionError, OSError) as error:
        # the worst that follows is that something is told twice
        log.warning("tungsten_drift cannot write down what it has told: %s", error)


def _is_news(name, sign, told, settings, memory):
    if memory["looks"][name]["times"] < settings["confirm"]:
        return False
    # of what nothing was ever told, it was said that it is well
    last = told.get(name) or {"sign": "well", "data": False, "at": 0}
    if (sign["sign"], sign["data"]) != (last["sign"], last["data"]):
        return True
    # a clock that was set back must not silence it
    passed = time.time() - last["at"]
    return _is_bad(sign) and settings["heartbeat"] > 0 and not 0 <= passed < settings["heartbeat"]


def _is_bad(sign):
    return sign["sign"] not in ("well", "offline")


def _report(site, news):
    """Tell the reactor, once however many services there are; that of an error in the data first."""
    bad = sorted((not sign["data"], name) for name, sign in news.items() if _is_bad(sign))
    if not bad:
        return
    name = bad[0][1]
    if not __salt__["event.send"](f"tungsten/drift/{site}", {"service": name, "sign": news[name]["sign"]}):
        log.warning("tungsten_drift: Salt could not send the event tungsten/drift/%s", site)


def _event(site, name, sign, memory):
    what = f"well again: {sign['what']}" if sign["sign"] == "well" else sign["what"]
    confirmed = memory["looks"][name]["times"]
    return {"tag": site, "site": site, "service": name, **sign, "what": what, "confirmed": confirmed}
