"""
What a host's cross-site services say about drift: whether they run, and if not, why. Pure.

The sign of a service is a hint, never a proof: it tells where to look. Whether rows differ is found out by comparing
them.
"""

import re

__virtualname__ = "driftsigns"

ALARMING = ("error", "vanished", "unloaded", "late", "stalled")
MOST_CHARACTERS = 500
# What is wrong stands at a message's beginning; what follows may be all of a row.
MOST_READ = 100_000

# Where a replicator's message ends and the statement that it quotes begins, with whatever was written to the tables.
STATEMENT = re.compile(r"\n|\bFailing statement|\bQuery: '")
# Values without a statement, or a statement in quotes beside which those of its own literals are not escaped: which of
# it are values cannot be told.
VALUES = re.compile(r"\bArguments:|\bQuery: '")
# The last quote may be missing, as what was cut, perhaps inside of an escape.
LITERAL = re.compile(
    r"""'(?:[^'\\]|\\.|'')*(?:'|\\?$)|"(?:[^"\\]|\\.|"")*(?:"|\\?$)|\b0x[0-9a-f]+|\b\d+(?:\.\d+)?\b""", re.I | re.S
)
# A quote inside a word, as in "can't", begins nothing.
QUOTED = re.compile(r"(?<!\w)'[^'\n]*'")
# The server quotes the value that it could not write; the last quote may be missing here as well.
VALUE = re.compile(r"\b((?:entry|value:?) )'.*?(?:'(?= for (?:key|column)\b)|'?$)", re.IGNORECASE | re.DOTALL)
# Rows or tables are not what the log expects, in the words of Tungsten, MySQL, MariaDB and their drivers.
DATA = re.compile(
    r"duplicate (?:entry|key|column)"
    r"|SQLIntegrityConstraintViolation|foreign key constraint fails"
    r"|cannot (?:add|delete) or update a (?:child|parent) row"
    r"|HA_ERR_(?:KEY_NOT_FOUND|FOUND_DUPP_KEY|FOUND_DUPP_UNIQUE|END_OF_FILE|NO_SUCH_TABLE|ROW_IS_REFERENCED"
    r"|NO_REFERENCED_ROW)"
    r"|can'?t find record|row not found|did not process any row"
    r"|table\b.{0,200}?\b(?:doesn'?t exist|already exists)|unknown (?:column|table|database)|can'?t drop"
    r"|column count doesn'?t match|cannot be converted from type"
    r"|failed on (?:slave|replica) but succeeded on (?:master|primary|source)"
    r"|consistency check fail"
    r"|\berr(?:or|no)(?:[ _-]?(?:code|number))?\W{0,3}"
    r"(?:1007|1008|1022|1032|1049|1050|1051|1054|1060|1061|1062|1091|1136|1146|1216|1217|1451|1452|1535|1586|1677)\b",
    re.IGNORECASE,
)
# The server, the network or the log is at fault, whatever else the message says.
NOT_DATA = re.compile(
    r"disk (?:is )?full|no space left|\btable\b.{0,200}?\bis full"
    r"|access denied|connection (?:refused|reset|timed out|was lost)|unable to connect|could not connect"
    r"|communications link failure|server has gone away|too many connections"
    r"|lock wait timeout|deadlock found|read[- ]only|max_allowed_packet|out of memory|marked as crashed"
    r"|does not contain requested transaction|handshake failure"
    r"|\berr(?:or|no)(?:[ _-]?(?:code|number))?\W{0,3}"
    r"(?:1021|1040|1044|1045|1114|1153|1194|1205|1213|1290|2002|2003|2006|2013)\b",
    re.IGNORECASE,
)


def __virtual__():
    return __virtualname__


def judge(services, expected, before=None, latency=300):
    """
    Tell of each cross-site service that a host must have how it is.

    services
        What ``trepctl.services("cross_site", full=True)`` returned on that host.
    expected
        Names of the services that must be there: ``topology.node()["other_services"]``. Others are not looked at.
    before
        ``{service: {"applied": seqno, "stored": seqno}}`` of an earlier look. Without it nothing is ``stalled``, and a
        service that rests is ``late`` if its last transaction was.
    latency
        Seconds that a service may be behind.

    Returns ``{service: {"sign", "what", "data", "applied", "stored"}}``. ``sign`` is ``well``, ``error``,
    ``vanished``, ``unloaded``, ``offline`` (somebody has put it there, or it is on its way), ``late`` (behind by more
    than ``latency``, or waiting for its source for longer than that), or ``stalled``: its log has grown since
    ``before``, and nothing of it was applied. ``what`` says it to people,
    ``data`` is True if the error says that rows or tables are not what the log expects. The sequence numbers are None
    where the replicator does not tell them.

    CLI Example:

    .. code-block:: bash

        salt-call driftsigns.judge '{"west": {"state": "ONLINE", "appliedLastSeqno": 7}}' '["west"]'
    """
    return {name: _sign(name, services, (before or {}).get(name) or {}, latency) for name in expected}


def alarming(signs):
    """
    Return those signs that somebody should look into: all but ``well`` and ``offline``.

    signs
        What ``judge`` returned.

    Returns the same kind of dictionary, empty if there are none.

    CLI Example:

    .. code-block:: bash

        salt-call driftsigns.alarming '{"west": {"sign": "late"}}'
    """
    return {name: sign for name, sign in signs.items() if sign["sign"] in ALARMING}


def _sign(name, services, before, latency):
    now = services.get(name)
    if now is None:
        there = ", ".join(sorted(services)) or "none"
        return _said("vanished", f"service {name} is gone: its replicator has {there}")
    state = now.get("state") or "Unknown"
    if state == "Unknown" or now.get("started") is False:
        return _said("unloaded", f"service {name} is not loaded")
    up = state.startswith("ONLINE")
    applied = _number(now.get("appliedLastSeqno"), up)
    stored = _number(now.get("maximumStoredSeqNo"), up)
    if state == "OFFLINE:ERROR":
        text, data = _error(now)
        return _said("error", f"service {name} is OFFLINE:ERROR: {text}", applied, stored, data)
    # one that synchronizes tells how late it is as well
    rising = state.startswith("GOING-ONLINE")
    behind = now.get("appliedLatency")
    if (up or rising) and behind is not None and behind > latency and not _rests(applied, stored, before):
        return _said("late", f"service {name} is {behind:.0f} s behind, more than {latency} s", applied, stored)
    waits = now.get("timeInStateSeconds")
    if rising and waits is not None and waits > latency:
        text = f"service {name} has been {state} for {waits:.0f} s, more than {latency} s: its source does not serve it"
        return _said("late", text, applied, stored)
    if not up:
        return _said("offline", f"service {name} is {state}", applied, stored)
    if _stands(applied, stored, before):
        return _said(
            "stalled",
            f"service {name} stands at {applied}, while its log has grown from {before['stored']} to {stored}",
            applied, stored,
        )
    return _said("well", f"service {name} is {state} at {applied}", applied, stored)


def _said(sign, what, applied=None, stored=None, data=False):
    return {"sign": sign, "what": what, "data": data, "applied": applied, "stored": stored}


def _number(value, up):
    """-1 is "nothing yet" of a service that is ONLINE; any other shows it whatever it has done."""
    if value is None or (value < 0 and not up):
        return None
    return value


def _stands(applied, stored, before):
    if None in (applied, stored, before.get("applied"), before.get("stored")):
        return False
    return applied == before["applied"] and stored > before["stored"] and applied < stored


def _rests(applied, stored, before):
    """Nothing came since the earlier look: its latency is that of some old transaction, and says nothing of now."""
    return applied is not None and applied == stored == before.get("applied")


def _error(now):
    """What the replicator said, in one line, and whether it is about data."""
    heads, said = [], []
    for message in (now.get("pendingError"), now.get("pendingExceptionMessage")):
        if not message:
            continue
        message = message.strip()[:MOST_READ]
        begins = STATEMENT.search(message)
        head, statement = (message[:begins.start()], message[begins.start():]) if begins else (message, "")
        # A value out of a row must not speak for the server, and is nobody's business.
        head = VALUE.sub(r"\1'?'", head)
        heads.append(head)
        # An event is read by many: of the statement only its shape is told, not what it writes.
        shape = LITERAL.sub("?", VALUES.split(statement)[0])
        # the first message often ends with the second one's beginning
        known = said and head in said[0]
        said.append(" ".join(f"{'' if known else head} {shape}".split()))
    text = "; ".join(filter(None, said)) or "it does not say why"
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS - 1] + "…"
    words = "\n".join(heads)
    # Other quotes may hold a whole message of the server, or a name that it did not choose: they tell what is wrong
    # with the data, and never that something else is at fault.
    return text, bool(DATA.search(words)) and not NOT_DATA.search(QUOTED.sub("", words))
