"""
Tungsten Replicator of this minion, through ``trepctl``.

Every host of a Multi-Site/Active-Active site has two replicators: that of the cluster (``cluster``, usually
in /opt/continuent) and the cross-site one (``cross_site``, usually in /opt/replicator) that pulls the other
sites' logs. ``mm_trepctl`` is a shell alias for the second one's trepctl, so the file itself is called here.

The exit code is not believed: ``offline`` may return before the service is, ``online`` answers 0 and fails a
moment later, and ``reset`` answers 0 although it could not reach MySQL. State and position are read again
after each: of all services of a replicator in one call, since each call starts a JVM.

:configuration: the pillar key ``tungsten``, read with ``topology.node``.
"""

import contextlib
import glob
import json
import os
import pwd
import re
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "trepctl"

SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
SCHEMA = re.compile(r"[A-Za-z0-9_$-]{1,64}")
HOMES = {"cluster": "cluster_home", "cross_site": "cross_site_home"}
TREPCTL = "tungsten/tungsten-replicator/bin/trepctl"
# A replicator that hangs is given up by its own client after 60 s.
READ_SECONDS = 90
PROCESSING = re.compile(r"^Processing \w+ command", re.MULTILINE)
HEAD = re.compile(r"NAME +VALUE")
ROW = re.compile(r"([A-Za-z][\w.]*) *: ?(.*)")
WHOLE = {
    "appliedLastSeqno",
    "appliedLastGoodSeqno",
    "autoRecoveryTotal",
    "channels",
    "currentTimeMillis",
    "latestEpochNumber",
    "maximumStoredSeqNo",
    "minimumStoredSeqNo",
    "pendingErrorSeqno",
    "resourcePrecedence",
    "rmiPort",
}
DECIMAL = {
    "appliedLatency",
    "appliedLastGoodLatency",
    "relativeLatency",
    "timeInStateSeconds",
    "uptimeSeconds",
}
# As Java writes them. Python would take more for a number: nan, which is not later than anything, or 1_0.
INTEGER = re.compile(r"-?[0-9]{1,19}")
NUMBER = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,19})?(?:E-?[0-9]{1,2})?")
BOOLEAN = {"autoRecoveryEnabled", "started", "useSSLConnection"}
INI_FILES = ("/etc/tungsten/tungsten*.ini", "/etc/tungsten.ini")
INI_SIGN = re.compile(
    r"^\s*(?:dataservice[-_])?(composite[-_]datasources\s*=\s*\S.*|topology\s*=\s*composite\S*)", re.MULTILINE
)
SUB_SERVICE = re.compile(r".+_from_.+")
NOT_LOADED = "Unknown"
LOOK_SECONDS = 0.5


def __virtual__():
    # The homes are in pillar, which may change without a new load: each call looks for the file itself.
    return __virtualname__


def _service(service):
    if not isinstance(service, str) or not SERVICE.fullmatch(service):
        raise SaltInvocationError(f"{service!r} is not the name of a service")
    return service


def _home(which):
    if which not in HOMES:
        raise SaltInvocationError(f"which must be one of {', '.join(HOMES)}, not {which!r}")
    return __salt__["topology.node"]()[HOMES[which]]


def _run(which, *words, seconds=READ_SECONDS):
    path = os.path.join(_home(which), TREPCTL)
    if not os.path.isfile(path):
        raise CommandExecutionError(f"There is no trepctl of the {which} replicator: looked for {path}")
    # -retry 0: otherwise an absent service or replicator costs ten seconds, and dots precede the answer
    return __salt__["vendorlog.run"]([path, "-retry", "0", *words], seconds, secret="properties" in words)


def _words(result):
    """What trepctl said; its errors are on stdout."""
    text = "\n".join(part.strip() for part in (result["stdout"], result["stderr"]) if part.strip())
    # A line may hold a statement with all of its rows.
    return "\n".join(line[:500] for line in text.splitlines()[-15:]) or "(no output)"


def _ask(which, *words, seconds=READ_SECONDS):
    result = _run(which, *words, seconds=seconds)
    if result["retcode"] in (124, 137):
        raise CommandExecutionError(
            f"{_home(which)}: trepctl {' '.join(words)} did not end within {seconds} s"
        )
    if result["retcode"] != 0:
        said = _words(result)
        hint = ""
        if said.startswith("Connection failed"):
            hint = " (the replicator does not run: tungsten-replicator/bin/replicator start offline)"
        raise CommandExecutionError(f"{_home(which)}: trepctl {' '.join(words)} failed{hint}: {said}")
    return result["stdout"]


def _value(key, text):
    if text in ("NONE", "", "Unknown"):
        return None
    if key in WHOLE:
        return int(text) if INTEGER.fullmatch(text) else None
    if key in DECIMAL:
        return float(text) if NUMBER.fullmatch(text) else None
    return text == "true" if key in BOOLEAN else text


def _blocks(text):
    """Every object of an answer, as JSON or as a table, as ``{key: text}``; None if it is no answer."""
    if PROCESSING.search(text):
        return _tables(text[PROCESSING.search(text).start() :])
    begins = re.search(r"[\[{]", text)
    if not begins:
        return None
    try:
        answer, _ = json.JSONDecoder(strict=False).raw_decode(text, begins.start())
    except (ValueError, RecursionError):
        return None
    blocks = answer if isinstance(answer, list) else [answer]
    if not all(isinstance(block, dict) for block in blocks):
        return None
    return [{key: _text(value) for key, value in block.items()} for block in blocks]


def _text(value):
    """It writes everything as text; what another version may write as JSON's own true, 1 or null is told like it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _tables(text):
    blocks, value, indent = [], None, 0
    lines = text.splitlines(keepends=True)[1:]
    finished = any(line.startswith("Finished ") for line in lines)
    for line in lines:
        # without its last line the answer is cut short; what is there may still hold what the caller needs, but not
        # the line in which it was cut: ONLINE may be what is left of another state, 12 of 1234
        if line.startswith("Finished ") or not (finished or line.endswith(("\n", "\r"))):
            break
        if PROCESSING.match(line):
            # another answer has run into this one
            return None
        line = line.rstrip("\r\n")
        row = ROW.fullmatch(line)
        if HEAD.match(line):
            blocks.append({})
            value = None
        elif row:
            if not blocks:
                blocks.append({})
            if row[1] in blocks[-1]:
                return None
            value = blocks[-1][row[1]] = [row[2]]
            indent = row.start(2)
        elif value and line.startswith(" "):
            # the next line of a message of several, set under the first one
            value.append(line[indent:] if line[:indent].isspace() else line.strip())
    if not blocks and not finished:
        return None
    return [{key: "\n".join(value) for key, value in block.items()} for block in blocks]


def parse_services(text):
    """
    Read what ``trepctl services`` printed, as a table or as JSON, also with retry dots before it. Pure.

    text
        The output.

    Returns ``{service: {"serviceName", "state", "role", "serviceType", "appliedLastSeqno": int,
    "appliedLatency": float, "started": bool}}``, in the vendor's own words; numbers are numbers, and NONE or
    Unknown is None, except for the state of a service that is not loaded: ``Unknown``. Raises
    CommandExecutionError if the text is no answer.

    CLI Example:

    .. code-block:: bash

        salt-call trepctl.parse_services "$(trepctl services)"

    Manual: cmdline-tools-trepctl-command-services.
    """
    blocks = _blocks(text)
    names = {block.get("serviceName") for block in blocks or []}
    # Of a service that is told of twice nobody knows which is true.
    if blocks is None or not all(names) or len(names) < len(blocks):
        raise CommandExecutionError(f"This is not an answer of trepctl services: {text.strip()[-1000:]!r}")
    return {block["serviceName"]: _typed(block) for block in blocks}


def _typed(block):
    typed = {key: _value(key, text) for key, text in block.items()}
    if "state" in block:
        typed["state"] = block["state"]
    return typed


def parse_status(text):
    """
    Read what ``trepctl status`` printed, as a table or as JSON, also with retry dots before it. Pure.

    text
        The output.

    Returns a dict in the vendor's own words (``state``, ``appliedLastSeqno``, ``pendingError``…); numbers are
    numbers and NONE is None. Raises CommandExecutionError if the text is no answer, or one of several
    services.

    CLI Example:

    .. code-block:: bash

        salt-call trepctl.parse_status "$(trepctl -service east status)"

    Manual: cmdline-tools-trepctl-command-status.
    """
    blocks = _blocks(text)
    if not blocks or len(blocks) != 1:
        raise CommandExecutionError(f"This is not an answer of trepctl status: {text.strip()[-1000:]!r}")
    return _typed(blocks[0])


def services(which, full=False, timeout=READ_SECONDS):
    """
    List the services of one of this host's replicators.

    which
        ``cluster`` or ``cross_site``.
    full
        Tell of each service all that :py:func:`status` tells, in the same single call of trepctl. False if not given.
    timeout
        Seconds; after them a replicator that hangs is given up.

    Returns what :py:func:`parse_services` returns. Raises CommandExecutionError if the replicator does not
    answer.

    CLI Example:

    .. code-block:: bash

        salt east1 trepctl.services cross_site full=True

    Manual: cmdline-tools-trepctl-command-services.
    """
    words = ("services", "-full", "-json") if full else ("services", "-json")
    return parse_services(_ask(which, *words, seconds=_seconds(timeout)))


def positions():
    """
    Tell how far every service of this host is, of both of its replicators.

    Returns ``{service: {"state", "appliedLastSeqno", "appliedLatency"}}``; the names are those of the sites' services,
    of which the host's own one is in the cluster's replicator. Raises CommandExecutionError if one of the replicators
    does not answer.

    CLI Example:

    .. code-block:: bash

        salt east1 trepctl.positions

    Manual: cmdline-tools-trepctl-command-services.
    """
    return {
        name: {key: now.get(key) for key in ("state", "appliedLastSeqno", "appliedLatency")}
        for which in HOMES for name, now in services(which).items()
    }


def status(service, which):
    """
    Tell how one service stands.

    service
        Name of the service.
    which
        ``cluster`` or ``cross_site``.

    Returns what :py:func:`parse_status` returns. Raises CommandExecutionError if there is no such service or
    the replicator does not answer.

    CLI Example:

    .. code-block:: bash

        salt east1 trepctl.status west cross_site

    Manual: cmdline-tools-trepctl-command-status.
    """
    now = parse_status(_ask(which, "-service", _service(service), "status", "-json"))
    if now.get("serviceName") != service:
        told = str(now.get("serviceName"))[:100]
        raise CommandExecutionError(f"{_home(which)}: trepctl was asked for service {service}, and tells of {told!r}")
    if not now.get("state"):
        raise CommandExecutionError(f"{_home(which)}: trepctl does not tell the state of service {service}")
    return now


def _error(now):
    """The pending error of a status, both of its messages, or None."""
    said = [text for text in (now.get("pendingError"), now.get("pendingExceptionMessage")) if text]
    return "\n".join(said) or None


def _seconds(timeout):
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 1:
        raise SaltInvocationError(f"timeout must be a whole number of seconds, 1 or more, not {timeout!r}")
    return timeout


def _names(services):
    names = [services] if isinstance(services, str) else services
    if not isinstance(names, (list, tuple)):
        raise SaltInvocationError(f"{services!r} is neither the name of a service nor a list of names")
    return [_service(name) for name in names]


def _is_offline(state):
    # one that is in error may be brought back by automatic recovery, so it is put offline as well
    return state.startswith("OFFLINE") and state != "OFFLINE:ERROR"


def _is_online(state):
    return state == "ONLINE"


GOALS = {"offline": _is_offline, "online": _is_online}


def offline(services, which, timeout=120, every=False, test=False):
    """
    Put services offline and wait until all are. Does nothing to one that is OFFLINE already, without an error.

    services
        Name of a service, or a list of names.
    which
        ``cluster`` or ``cross_site``.
    timeout
        Seconds for each command, and again for all services to get there; an applier that waits for a lock in MySQL
        holds it up.
    every
        Put every service of this replicator offline. ``services`` are then those that must be among them; None for
        those of the topology in pillar. False if not given.
    test
        Only look; ``after`` then is ``OFFLINE`` where it would be put offline. False if not given.

    Returns ``{service: {"before": state, "after": state, "pending_error": text or None}}``: the error is read first,
    because going offline erases it. Raises CommandExecutionError if one is not there, before anything is done, or not
    OFFLINE in time: the others are put offline all the same, and the error's info tells what has changed.

    CLI Example:

    .. code-block:: bash

        salt 'west*' trepctl.offline east cross_site

    Manual: cmdline-tools-trepctl-command-offline.
    """
    before, after = _bring("offline", services, which, timeout, every, (), test)
    return {
        name: {"before": now["state"], "after": after[name]["state"], "pending_error": _error(now)}
        for name, now in before.items()
    }


def online(services, which, timeout=120, every=False, but=(), test=False):
    """
    Put services online and wait until all are ONLINE for two looks in a row. Does nothing if they are ONLINE already.

    services
        Name of a service, or a list of names.
    which
        ``cluster`` or ``cross_site``.
    timeout
        Seconds for each command, and again for all services to get there; a service waits in
        GOING-ONLINE:SYNCHRONIZING until its source answers.
    every
        Put every service of this replicator online. ``services`` are then those that must be among them; None for
        those of the topology in pillar. False if not given.
    but
        Names of services that are left as they are.
    test
        Only look; ``after`` then is ``ONLINE`` where it would be put online. False if not given.

    Returns ``{service: {"before": state, "after": "ONLINE", "seqno": appliedLastSeqno}}``. Raises
    CommandExecutionError if one is not there, before anything is done, with the pending error of one that falls into
    OFFLINE:ERROR, or with the state of one that is not ONLINE in time: the others are put online all the same, and the
    error's info tells what has changed.

    CLI Example:

    .. code-block:: bash

        salt 'east*' trepctl.online west cross_site

    Manual: cmdline-tools-trepctl-command-online.
    """
    before, after = _bring("online", services, which, timeout, every, but, test)
    return {
        name: {"before": now["state"], "after": after[name]["state"], "seqno": after[name].get("appliedLastSeqno")}
        for name, now in before.items()
    }


def _bring(goal, services, which, timeout, every, but, test):
    """What was told of the services before and after; goes on with the others after one that fails."""
    seconds = _seconds(timeout)
    before = _meant(services, which, every, but)
    todo = {name: now["state"] for name, now in sorted(before.items()) if not GOALS[goal](now["state"])}
    faults = {
        name: f"the {which} service {name} is not loaded" for name, state in todo.items() if state == NOT_LOADED
    }
    after = before
    if test:
        after = {**before, **{name: {"state": goal.upper()} for name in todo}}
    elif todo:
        _command(goal, which, todo, seconds, faults)
        try:
            after = _awaited(goal, which, before, seconds, faults)
        except CommandExecutionError as error:
            after = {}
            told = ", ".join(name for name in todo if name not in faults) or "nobody"
            faults[None] = f"{goal} was told to {told}, and what became of them cannot be read: {error}"
    if faults:
        # going offline erases it, so nobody will read it any more
        erased = [
            f"{name} was in error: {_error(before[name])}"
            for name in todo if goal == "offline" and _error(before[name])
        ]
        raise _fault("; ".join([*faults.values(), *erased]), {} if test else _changes(before, after))
    return before, after


def _meant(services, which, every, but):
    """What trepctl tells of the services that are meant."""
    if services is None and every:
        node = __salt__["topology.node"]()
        services = [node["service"]] if which == "cluster" else node["other_services"]
    names, left = _names(services), _names(but)
    found = _look(which)
    missing = sorted(set(names) - set(found))
    if missing:
        there = ", ".join(sorted(found)) or "none"
        raise CommandExecutionError(
            f"the {which} replicator has no service {', '.join(missing)}; its services are: {there}"
        )
    return {name: now for name, now in found.items() if (every or name in names) and name not in left}


def _look(which):
    found = services(which, full=True)
    for name, now in found.items():
        if not now.get("state"):
            raise CommandExecutionError(f"{_home(which)}: trepctl does not tell the state of service {name}")
    return found


def _command(goal, which, states, seconds, faults):
    """Give each service its command; adds to ``faults`` which of them are refused."""
    for name, state in states.items():
        # what is neither online nor offline is on its way, or has lost its service
        if name not in faults and (goal == "offline" or state.startswith("OFFLINE")):
            try:
                _ask(which, "-service", _service(name), goal, seconds=seconds)
            except (CommandExecutionError, SaltInvocationError) as error:
                faults[name] = str(error)


def _awaited(goal, which, names, seconds, faults):
    """Look until all are there that have no fault; adds to ``faults`` who has failed. What the last look told."""
    until = time.monotonic() + seconds
    refused, last = set(faults), {}
    while True:
        found = _look(which)
        now = {name: found.get(name, {"state": "missing"}) for name in names}
        states = {name: told["state"] for name, told in now.items()}
        for name, state in states.items():
            # twice, since the first look may still show the error from before
            if goal == "online" and state == last.get(name) == "OFFLINE:ERROR":
                faults.setdefault(name, f"The {which} service {name} went OFFLINE:ERROR: {_error(now[name])}")
        if goal == "offline":
            # An error that comes back by itself is offline all the same; nothing passes.
            late = [name for name, state in states.items() if not state.startswith("OFFLINE")]
        else:
            late = [name for name, state in states.items() if not state == last.get(name) == "ONLINE"]
        awaited = [name for name in late if name not in faults]
        if not awaited or time.monotonic() > until:
            break
        last = states
        time.sleep(LOOK_SECONDS)
    steadily = ", not steadily ONLINE," if goal == "online" else ""
    for name in awaited:
        why = f": {_error(now[name])}" if _error(now[name]) else ""
        faults[name] = f"The {which} service {name} is {states[name]}{steadily} after {seconds} s{why}"
    for name in refused:
        faults[name] += f" (it is {states[name]})"
    return now


def _changes(before, after):
    return {
        name: {"old": before[name]["state"], "new": after[name]["state"]}
        for name in sorted(before)
        if name in after and after[name]["state"] != before[name]["state"]
    }


def _fault(text, changes):
    """An error that carries what was done."""
    error = CommandExecutionError(text)
    # Not through the constructor, which would print it into the message.
    error.info = {"changes": changes} if changes else None
    return error


def heartbeat(service, which):
    """
    Write a heartbeat into a service's log, which then passes through every replicator that reads it.

    service
        Name of the service; it must be ONLINE.
    which
        ``cluster`` or ``cross_site``.

    Returns True. Whether it arrives is seen in :py:func:`position`. Raises CommandExecutionError if it is
    refused.

    CLI Example:

    .. code-block:: bash

        salt east1 trepctl.heartbeat east cluster

    Manual: cmdline-tools-trepctl-command-heartbeat.
    """
    _ask(which, "-service", _service(service), "heartbeat")
    return True


def beat(timeout=60):
    """
    Send a heartbeat into the log of the host's own cluster service and wait until its own position moves.

    A position that stays still proves that nothing is logged: ONLINE alone says nothing of that. While others write,
    what moves it may be a transaction of theirs from before the heartbeat.

    timeout
        Seconds for the position to move.

    Returns ``{"service": name, "before": seqno, "seqno": the one that was reached}``. Raises CommandExecutionError if
    the heartbeat is refused or the position, which is told, does not move in time.

    CLI Example:

    .. code-block:: bash

        salt east1 trepctl.beat

    Manual: cmdline-tools-trepctl-command-heartbeat.
    """
    seconds = _seconds(timeout)
    service = __salt__["topology.node"]()["service"]
    before = position(service, "cluster")
    heartbeat(service, "cluster")
    until = time.monotonic() + seconds
    while (seqno := position(service, "cluster")) <= before:
        if time.monotonic() > until:
            raise CommandExecutionError(
                f"a heartbeat of service {service} was sent, but its position stays at {seqno} after {seconds} s"
            )
        time.sleep(LOOK_SECONDS)
    return {"service": service, "before": before, "seqno": seqno}


def position(service, which):
    """
    Return the last sequence number that a service has committed, -1 if it has none.

    A service that is not ONLINE shows -1 whatever it has done, so then the tracking table in MySQL is read.

    service
        Name of the service.
    which
        ``cluster`` or ``cross_site``.

    Raises CommandExecutionError if the replicator, or MySQL where it is needed, does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'west*' trepctl.position east cross_site

    Manual: operations-restore-external.
    """
    now = status(service, which)
    if now["state"] == "ONLINE" and now.get("appliedLastSeqno") is not None:
        return now["appliedLastSeqno"]
    return traces(service, which)["seqno"]


def _places(service, which):
    """
    Schema and log directory of a service, in the replicator's own words where it has any.

    Without them the schema is the default one and the log directory is not known.
    """
    key = f"trepctl.places.{which}.{service}"
    if key not in __context__:
        result = _run(which, "-service", _service(service), "properties")
        blocks = (_blocks(result["stdout"]) if result["retcode"] == 0 else None) or [{}]
        schema = blocks[0].get("replicator.schema") or f"tungsten_{service}"
        if not SCHEMA.fullmatch(schema):
            raise CommandExecutionError(f"The replicator says that the schema of {service} is {schema!r}")
        __context__[key] = schema, blocks[0].get("replicator.store.thl.log_dir")
    return __context__[key]


def traces(service, which):
    """
    Tell what a service would resume from. MySQL must answer.

    service
        Name of the service.
    which
        ``cluster`` or ``cross_site``.

    Returns ``{"rows": rows of its tracking table, "seqno": the lowest one in them or -1, "log_files": files
    of its log}``, ``log_files`` being None if the replicator does not say where they are. After a reset all
    is 0, -1 and 0. An empty tracking table alone proves nothing: a copied data directory has none either,
    while the host's own log is still there. Raises CommandExecutionError if MySQL does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'west*' trepctl.traces east cross_site

    Manual: operations-restore-external.
    """
    schema, log = _places(service, which)
    known = __salt__["mysqld.query"](
        "SELECT TABLE_NAME AS name FROM information_schema.TABLES "
        f"WHERE TABLE_SCHEMA = '{schema}' AND TABLE_NAME = 'trep_commit_seqno'"
    )
    # with several channels the slowest one is where it resumes
    rows = __salt__["mysqld.query"](f"SELECT seqno FROM `{schema}`.trep_commit_seqno") if known else []
    return {
        "rows": len(rows),
        "seqno": min((int(row["seqno"]) for row in rows), default=-1),
        "log_files": len(glob.glob(os.path.join(glob.escape(log), "thl.data.*"))) if log else None,
    }


def reset(service, which, timeout=120, test=False):
    """
    Make a service forget its position and its log: ``trepctl -service S reset -all -y``. Cannot be undone.

    The service must be OFFLINE and MySQL must answer, since otherwise half of it is done without a word. Does nothing
    if there is surely neither position nor log.

    service
        Name of the service.
    which
        ``cluster`` or ``cross_site``.
    timeout
        Seconds for the command.
    test
        Only look. False if not given.

    Returns ``{"reset": whether it was done, in test mode whether it would be, "before": {…}, "after": {…}}``, the last
    two as :py:func:`traces` has it, or None in test mode while MySQL does not answer. Raises CommandExecutionError if
    it must not be done, is refused, or has left something behind; the error's info tells what has changed.

    CLI Example:

    .. code-block:: bash

        salt 'west*' trepctl.reset east cross_site

    Manual: operations-msmm-resetsingle.
    """
    seconds = _seconds(timeout)
    state = status(service, which)["state"]
    before = _traces_if_told(service, which)
    # where the log is not known, its absence is not, so the reset is done once more: that harms nothing
    clean = state.startswith("OFFLINE") and before and before["rows"] == before["log_files"] == 0
    if test or clean:
        return {"reset": not clean, "before": before, "after": before}
    if not state.startswith("OFFLINE"):
        raise CommandExecutionError(
            f"The {which} service {service} is {state}: OFFLINE is needed for a reset"
        )
    if not before:
        raise CommandExecutionError(
            f"MySQL does not answer: a reset of the {which} service {service} would leave its position there"
        )
    after = None
    try:
        # -y after -all: the other way round it asks, gets no answer, and ends with 0
        said = _ask(which, "-service", service, "reset", "-all", "-y", seconds=seconds)
        now = status(service, which)
        after = traces(service, which)
        left = _left(now, after)
        if left:
            raise CommandExecutionError(
                f"The {which} service {service} is not reset: {', '.join(left)}. "
                f"trepctl said: {said.strip() or 'nothing'}"
            )
    except CommandExecutionError as error:
        # What the tool has said is told, whatever MySQL says now.
        with contextlib.suppress(CommandExecutionError):
            after = after or _traces_if_told(service, which)
        raise _fault(str(error), {service: {"old": before, "new": after}} if after != before else {}) from error
    return {"reset": True, "before": before, "after": after}


def _traces_if_told(service, which):
    """What the service would resume from; None while MySQL cannot tell."""
    return traces(service, which) if __salt__["mysqld.ping"]() else None


def _left(now, after):
    """What a reset has left of a service, by its status and its traces."""
    left = []
    if not now["state"].startswith("OFFLINE"):
        left.append(f"it is {now['state']}")
    if now.get("appliedLastSeqno") != -1:
        left.append(f"it shows position {now.get('appliedLastSeqno')}")
    if after["rows"]:
        left.append(f"its tracking table still has position {after['seqno']}")
    if after["log_files"]:
        left.append(f"its log still has {after['log_files']} files")
    return left


def composite_signs(names=None):
    """
    Look for signs of a composite installation, for which this procedure is not.

    names
        Names of the services of the cluster's replicator, from a caller who has just asked for them; otherwise they
        are asked for here.

    Returns a list of texts, one a sign; empty if this is Multi-Site/Active-Active as far as can be seen.
    Raises CommandExecutionError if the cluster's replicator does not answer.

    CLI Example:

    .. code-block:: bash

        salt '*' trepctl.composite_signs

    Manual: deployment-activeactive-clustering.
    """
    signs = [
        f"the cluster replicator runs {name}, a service of a composite"
        for name in (services("cluster") if names is None else names)
        if SUB_SERVICE.fullmatch(name)
    ]
    try:
        home = pwd.getpwnam(__salt__["topology.node"]()["user"]).pw_dir
    except KeyError as error:
        raise CommandExecutionError(f"The Tungsten user is not known on this host: {error}") from error
    for pattern in (*INI_FILES, os.path.join(home, "tungsten.ini")):
        for path in sorted(glob.glob(pattern)):
            with open(path, encoding="utf-8", errors="replace") as ini:
                signs.extend(f"{path} has {sign.strip()}" for sign in INI_SIGN.findall(ini.read()))
    return signs
