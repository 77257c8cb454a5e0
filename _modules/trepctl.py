"""
Tungsten Replicator of this minion, through ``trepctl``.

Every host of a Multi-Site/Active-Active site has two replicators: that of the cluster (``cluster``, usually
in /opt/continuent) and the cross-site one (``cross_site``, usually in /opt/replicator) that pulls the other
sites' logs. ``mm_trepctl`` is a shell alias for the second one's trepctl, so the file itself is called here.

The exit code is not believed: ``offline`` may return before the service is, ``online`` answers 0 and fails a
moment later, and ``reset`` answers 0 although it could not reach MySQL. State and position are read again
after each.

:configuration: the pillar key ``tungsten``, read with ``topology.node``.
"""

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
BOOLEAN = {"autoRecoveryEnabled", "started", "useSSLConnection"}
INI_FILES = ("/etc/tungsten/tungsten*.ini", "/etc/tungsten.ini")
INI_SIGN = re.compile(
    r"^\s*(?:dataservice[-_])?(composite[-_]datasources\s*=\s*\S.*|topology\s*=\s*composite\S*)", re.MULTILINE
)
SUB_SERVICE = re.compile(r".+_from_.+")


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
    return "\n".join(text.splitlines()[-15:]) or "(no output)"


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
    if text is None or text in ("NONE", "", "Unknown"):
        return None
    try:
        if key in WHOLE:
            return int(text)
        if key in DECIMAL:
            return float(text)
    except ValueError:
        return None
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
    except ValueError:
        return None
    blocks = answer if isinstance(answer, list) else [answer]
    return blocks if all(isinstance(block, dict) for block in blocks) else None


def _tables(text):
    blocks, key, indent = [], None, 0
    for line in text.splitlines()[1:]:
        row = ROW.fullmatch(line)
        if line.startswith("Finished "):
            return blocks
        if HEAD.match(line):
            blocks.append({})
            key = None
        elif row:
            if not blocks:
                blocks.append({})
            key, value = row.groups()
            blocks[-1][key] = value
            indent = row.start(2)
        elif key and line.startswith(" "):
            # the next line of a message of several, set under the first one
            blocks[-1][key] += "\n" + (line[indent:] if line[:indent].isspace() else line.strip())
    # without its last line the answer is cut short; what is there may still hold what the caller needs
    return blocks or None


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
    if blocks is None or any(not block.get("serviceName") for block in blocks):
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


def offline(service, which, timeout=120):
    """
    Put a service offline and wait until it is. Does nothing if it is OFFLINE already, without an error.

    service
        Name of the service.
    which
        ``cluster`` or ``cross_site``.
    timeout
        Seconds; an applier that waits for a lock in MySQL holds it up.

    Returns ``{"before": state, "after": state, "pending_error": text or None}``: the error is read first,
    because going offline erases it. Raises CommandExecutionError if it is not OFFLINE in time.

    CLI Example:

    .. code-block:: bash

        salt 'west*' trepctl.offline east cross_site

    Manual: cmdline-tools-trepctl-command-offline.
    """
    until = time.monotonic() + _seconds(timeout)
    before = status(service, which)
    after = before["state"]
    # one that is in error may be brought back by automatic recovery, so it is put offline as well
    if not after.startswith("OFFLINE") or after == "OFFLINE:ERROR":
        _ask(which, "-service", service, "offline", seconds=timeout)
        while not (after := status(service, which)["state"]).startswith("OFFLINE"):
            if time.monotonic() > until:
                raise CommandExecutionError(f"The {which} service {service} is {after} after {timeout} s")
            time.sleep(0.5)
    return {"before": before["state"], "after": after, "pending_error": _error(before)}


def online(service, which, timeout=120):
    """
    Put a service online and wait until it is ONLINE for two reads in a row.

    service
        Name of the service.
    which
        ``cluster`` or ``cross_site``.
    timeout
        Seconds; a service waits in GOING-ONLINE:SYNCHRONIZING until its source answers.

    Returns ``{"before": state, "after": "ONLINE", "seqno": appliedLastSeqno}``. Raises CommandExecutionError
    with the pending error if it falls into OFFLINE:ERROR, or with its state if it is not ONLINE in time.

    CLI Example:

    .. code-block:: bash

        salt 'east*' trepctl.online west cross_site

    Manual: cmdline-tools-trepctl-command-online.
    """
    until = time.monotonic() + _seconds(timeout)
    before = status(service, which)["state"]
    if before.startswith("OFFLINE"):
        _ask(which, "-service", service, "online", seconds=timeout)
    last = None
    while True:
        now = status(service, which)
        state = now["state"]
        if state == last == "ONLINE":
            return {"before": before, "after": state, "seqno": now.get("appliedLastSeqno")}
        # twice, since the first read may still show the error from before
        if state == last == "OFFLINE:ERROR":
            raise CommandExecutionError(f"The {which} service {service} went OFFLINE:ERROR: {_error(now)}")
        if time.monotonic() > until:
            raise CommandExecutionError(
                f"The {which} service {service} is {state}, not steadily ONLINE, after {timeout} s"
                + (f": {_error(now)}" if _error(now) else "")
            )
        last = state
        time.sleep(0.7)


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


def reset(service, which, timeout=120):
    """
    Make a service forget its position and its log: ``trepctl -service S reset -all -y``. Cannot be undone.

    The service must be OFFLINE and MySQL must answer, since otherwise half of it is done without a word.

    service
        Name of the service.
    which
        ``cluster`` or ``cross_site``.
    timeout
        Seconds for the command.

    Returns ``{"before": {…}, "after": {…}}``, each as :py:func:`traces` has it. Raises CommandExecutionError
    if it must not be done, is refused, or has left something behind.

    CLI Example:

    .. code-block:: bash

        salt 'west*' trepctl.reset east cross_site

    Manual: operations-msmm-resetsingle.
    """
    state = status(service, which)["state"]
    if not state.startswith("OFFLINE"):
        raise CommandExecutionError(
            f"The {which} service {service} is {state}: OFFLINE is needed for a reset"
        )
    if not __salt__["mysqld.ping"]():
        raise CommandExecutionError(
            f"MySQL does not answer: a reset of the {which} service {service} would leave its position there"
        )
    before = traces(service, which)
    # -y after -all: the other way round it asks, gets no answer, and ends with 0
    said = _ask(which, "-service", service, "reset", "-all", "-y", seconds=_seconds(timeout))
    now = status(service, which)
    after = traces(service, which)
    left = []
    if not now["state"].startswith("OFFLINE"):
        left.append(f"it is {now['state']}")
    if now.get("appliedLastSeqno") != -1:
        left.append(f"it shows position {now.get('appliedLastSeqno')}")
    if after["rows"]:
        left.append(f"its tracking table still has position {after['seqno']}")
    if after["log_files"]:
        left.append(f"its log still has {after['log_files']} files")
    if left:
        raise CommandExecutionError(
            f"The {which} service {service} is not reset: {', '.join(left)}. "
            f"trepctl said: {said.strip() or 'nothing'}"
        )
    return {"before": before, "after": after}


def composite_signs():
    """
    Look for signs of a composite installation, for which this procedure is not.

    Returns a list of texts, one a sign; empty if this is Multi-Site/Active-Active as far as can be seen.
    Raises CommandExecutionError if the cluster's replicator does not answer.

    CLI Example:

    .. code-block:: bash

        salt '*' trepctl.composite_signs

    Manual: deployment-activeactive-clustering.
    """
    signs = [
        f"the cluster replicator runs {name}, a service of a composite"
        for name in services("cluster")
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
