"""
Tungsten's cluster console: read its ``ls``, and let a session do something that the next ``ls`` has to show.

cctrl answers 0 whatever happened, prints prompts into the answers and cuts long names. So nothing here believes an exit
code: a command counts when a fresh ``ls`` of the same session, or a later one, shows what was asked for. Each session
costs the start of a JVM, so a look before and the look after share one with the commands where that can do no harm.

It follows the manual's pages ``cmdline-tools-cctrl`` and ``operations-status``.
"""

import contextlib
import os
import re
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "cctrl"

TOOL = "tungsten/tungsten-manager/bin/cctrl"
SECONDS = 60
HOST = r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"
# Python refuses to read a number of thousands of digits.
NUMBER = r"\d{1,18}"
# The only lines that are ever typed into cctrl.
COMMANDS = re.compile(
    r"ls|set force true|set policy (?:maintenance|automatic|manual)|router \* (?:offline|online)|"
    rf"datasource {HOST} (?:shun|welcome|recover|online|offline)|replicator {HOST} (?:offline|online)|cluster heartbeat"
)
ROLES = "master|slave|standby|relay|archive|undefined|any|witness"
STATES = (
    "ONLINE|OFFLINE|SYNCHRONIZING|JOINING|SUSPECT|STOPPED|UNKNOWN|TIMEOUT|DEGRADED|SHUNNED|CONSISTENT|MODIFIED|FAILED|"
    "BACKUP|UNREACHABLE|EXTENSION|RESTORING|RUNNING"
)
# More than one in a line: a command that says nothing does not end the line either.
PROMPT = re.compile(r"^(?:\[(?:LOGICAL|PHYSICAL|ADMIN)[^\]]*\] /(?P<service>[^ >]*) ?> ?)+")
COORDINATOR = re.compile(r"^(?P<prefix>[^\s:|\[]+:)?COORDINATOR\[(?P<host>[^:\]]+):(?P<policy>\w+):(?P<state>\w+)\]")
ROUTER = re.compile(
    rf"^(?P<name>[\w.-]+@(?P<host>{HOST}))\[(?P<pid>{NUMBER})\]\((?P<state>\w+), created=(?P<created>{NUMBER}), "
    rf"active=(?P<active>{NUMBER})\)$"
)
HEAD = re.compile(
    rf"^(?P<name>{HOST})\*?\((?P<composite>composite )?(?P<role>{ROLES}):(?P<state>{STATES})\b(?P<rest>.*)$"
)
# A host name so long that the box lost the state as well: it exists, and that is all that is known.
CUT_HEAD = re.compile(rf"^(?P<name>{HOST})\((?P<composite>composite )?[a-z]*(?::[A-Z]*)?$")
# Where nothing follows, the number may have been cut off.
PROGRESS = re.compile(rf"\bprogress=(-?{NUMBER})(?=[,)])")
LATENCY = re.compile(rf"\blatency=(-?{NUMBER}(?:\.{NUMBER})?)(?=[,)])")
COMPONENT = re.compile(r"\s*(?:MANAGER|REPLICATOR|DATASERVER)\(")
# What a listing cannot show of one and the same in two ways.
FACTS = ("role", "state", "manager", "replicator", "dataserver")
VERSION = re.compile(r"^(?:Continuent )?Tungsten (?:Clustering \(for MySQL\) |Cluster )?(\d+(?:\.\d+)+)", re.MULTILINE)


def __virtual__():
    # Where cctrl lies is in pillar, which may change without a new load: each call looks for the file itself.
    return __virtualname__


# --- reading


def parse_ls(text):
    """
    Read what cctrl printed for ``ls``. Pure.

    text
        All that a session printed, with banner, prompts and echoed commands. Of several listings the last one counts.

    Returns the dictionary that ``ls`` returns. What the text does not show is None; nothing is guessed.
    Raises CommandExecutionError when the text holds neither a coordinator nor a datasource: an empty answer is not an
    empty cluster; and when one listing shows a router or a datasource in two ways.

    CLI Example:

    .. code-block:: bash

        salt-call --local cctrl.parse_ls "$(echo ls | cctrl -expert)"

    Manual: operations-status.
    """
    lines, heads, about = _read(text)
    return _listing(text, lines[heads[-1]:] if heads else lines, about)


def parse_change(text):
    """
    Read what a session printed that began and ended with ``ls``. Pure.

    text
        All that it printed.

    Returns ``{"before": ls, "after": ls, "said": lines}``: the first listing and the last one as ``ls`` returns them,
    and what stands between them: the answers to the commands, without prompts and echoed commands.
    Raises CommandExecutionError when there are not two listings, each with its coordinator: one alone may be the one
    from before the commands, and would prove nothing.

    CLI Example:

    .. code-block:: bash

        salt-call --local cctrl.parse_change "$(printf 'ls\\nset policy manual\\nls\\n' | cctrl -expert)"

    Manual: operations-status.
    """
    lines, heads, about = _read(text)
    if len(heads) < 2:
        raise CommandExecutionError(
            f"cctrl's answer cannot be read, it does not hold a listing from before and one from after:\n{_tail(text)}")
    first = lines[heads[0]:heads[-1]]
    # Whatever stands in the boxes of the first listing is no answer to a command.
    boxes = [number for number, line in enumerate(first) if line.startswith(("|", "+"))]
    return {
        "before": _listing(text, lines[heads[0]:heads[1]], about),
        "after": _listing(text, lines[heads[-1]:], about),
        "said": list(_replies(first[boxes[-1] + 1 if boxes else 1:])),
    }


def _read(text):
    """The lines without their prompts, where in them a listing begins, and what is known beside the listings."""
    if not isinstance(text, str):
        raise SaltInvocationError("what cctrl printed is text")
    version = VERSION.search(text)
    about = {"service": None, "version": version[1] if version else None}
    lines = []
    for raw in text.splitlines():
        prompt = PROMPT.match(raw)
        if prompt:
            about["service"] = prompt["service"] or about["service"]
            raw = raw[prompt.end():]
        lines.append(raw)
    about["composite"] = _is_composite(text, lines)
    return lines, [number for number, line in enumerate(lines) if _coordinator(line)], about


def _coordinator(line):
    """Of the site's own one; of a composite's line for a member nothing begins."""
    found = COORDINATOR.match(line)
    return {key: found[key] for key in ("host", "policy", "state")} if found and not found["prefix"] else None


def _listing(text, lines, about):
    """What one listing shows: the lines from its coordinator on, or all of them if there is none."""
    coordinator = _coordinator(lines[0]) if lines else None
    found = {**about, "coordinator": coordinator, "routers": {}, "datasources": {}}
    for block in _blocks(lines):
        kind, name, shown = _read_block(block)
        known = found[kind].get(name, shown)
        if shown is None or any(known.get(fact) != shown.get(fact) for fact in FACTS):
            raise CommandExecutionError(
                f"cctrl's answer to ls contradicts itself about {name}, as two in each other do:\n{_tail(text)}")
        found[kind][name] = shown
    if not found["coordinator"] and not found["datasources"]:
        raise CommandExecutionError(f"cctrl's answer to ls cannot be read:\n{_tail(text)}")
    return found


def _is_composite(text, lines):
    """Any sign counts; the name of a composite service's member, too."""
    coordinators = [COORDINATOR.match(line) for line in lines]
    return (
        bool(re.search(r"\(composite (?:master|slave)", text))
        or any(found and found["prefix"] for found in coordinators)
        or bool(re.search(r"^\|?DATA SERVICES:", text, re.MULTILINE))
    )


def _blocks(lines):
    """Group box lines by the head they belong to: a router, or a datasource with all its lines."""
    blocks, inside = [], False
    for line in lines:
        if not line.startswith("|"):
            # Behind its boxes stands an empty line. What follows without a head that can be read is somebody else's.
            inside = inside and line.startswith("+")
            continue
        inner = line[1:].rstrip()
        inner = (inner[:-1] if inner.endswith("|") else inner).rstrip()
        if ROUTER.match(inner) or HEAD.match(inner) or CUT_HEAD.match(inner):
            blocks.append([inner])
            inside = True
        elif inside and inner:
            blocks[-1].append(inner)
    return blocks


def _read_block(block):
    """Whether it is of the routers or of the datasources, whose, and what it shows; None if that is of two."""
    router = ROUTER.match(block[0])
    if router:
        return "routers", router["name"], {
            "host": router["host"],
            "pid": int(router["pid"]),
            "state": router["state"],
            "created": int(router["created"]),
            "active": int(router["active"]),
        }
    head = HEAD.match(block[0])
    name = (head or CUT_HEAD.match(block[0]))["name"]
    components = [line.strip().partition("(")[0] for line in block if COMPONENT.match(line)]
    twice = len(set(components)) < len(components)
    return "datasources", name, None if twice else _datasource(head, block)


def _datasource(head, block):
    first = next((number for number, line in enumerate(block) if re.match(r"STATUS \[|\s+MANAGER\(", line)), len(block))
    # Up to there it is one head, folded at a blank where it was too long for the box.
    whole = " ".join(block[:first])
    body = " ".join(line.strip() for line in block[first:])
    progress, latency = PROGRESS.search(whole), LATENCY.search(whole)
    vip = re.search(r"VIP=\(([^()]*)\)", whole)
    status = re.search(r"STATUS \[(\w+)\]", body)
    # Only at its first place: an expression that looks for its end from each of many would take for ever.
    reason = re.match(r"(.*?)\](?= |$)", body.partition("REASON[")[2])
    return {
        "role": head["role"] if head else None,
        "state": head["state"] if head else None,
        "reason": _reason(whole, head) if head else None,
        "composite": bool(head and head["composite"]),
        "archive": bool(head and head["rest"].startswith(":ARCHIVE")),
        "progress": int(progress[1]) if progress else None,
        "latency": float(latency[1]) if latency else None,
        "alert": status[1] if status else None,
        "alert_reason": reason[1] if reason else None,
        "ssl": "[SSL]" in body,
        "vip": vip[1] if vip else None,
        "manager": _component("MANAGER", body),
        "replicator": _replicator(body),
        "dataserver": _component("DATASERVER", body),
        "connections": _connections(body),
    }


def _reason(whole, head):
    """What stands in brackets after the state; its closing bracket may be cut off."""
    rest = whole[whole.index(head["state"], head.start("state")) + len(head["state"]):]
    if not rest.startswith("("):
        return None
    inner = re.match(r"\((.*?)(?:\)(?:[,)]|$)|,? (?:progress|THL latency|latency)=|$)", rest)
    return inner[1].strip() or None


def _component(kind, body):
    found = re.search(rf"(?<![\w]){kind}\(state=([A-Z ]+)", body)
    return _whole(found[1]) if found else None


def _whole(state):
    """A state word that was cut off is no state."""
    return state if state and re.fullmatch(rf"{STATES}|STATUS NOT AVAILABLE", state) else None


def _replicator(body):
    found = re.search(r"REPLICATOR\(([^)]*)(\)?)", body)
    if not found:
        return None
    parts = found[1].split(",")
    # Of a name that was cut off nobody knows whose it is; a state is whole or none.
    if not found[2] and not _whole(parts[-1].strip().removeprefix("state=")):
        parts.pop()
    words = dict(part.strip().split("=", 1) for part in parts if "=" in part)
    return {"role": words.get("role"), "master": words.get("master"), "state": _whole(words.get("state"))}


def _connections(body):
    found = re.search(rf"CONNECTIONS\(created=({NUMBER}), active=({NUMBER})\)", body)
    return {"created": int(found[1]), "active": int(found[2])} if found else None


def _tail(text):
    """The tool's own words, fit for an error message."""
    shown = re.sub(r"[^\x20-\x7e\n]", "?", text).strip().splitlines()[-15:]
    return "\n".join(line[:200] for line in shown) or "(it printed nothing)"


# --- asking


def session(*commands, timeout=SECONDS):
    """
    Type commands into one cctrl session as the Tungsten user and return all that it printed.

    commands
        Lines such as ``ls`` or ``datasource east1 shun``; only the verbs of the runbook are accepted.
    timeout
        Seconds after which the session is ended.

    Raises SaltInvocationError for a line that is not of the runbook, CommandExecutionError when cctrl is not there,
    runs out of time or ends with another code than 0. A code of 0 proves nothing.

    CLI Example:

    .. code-block:: bash

        salt east1 cctrl.session 'ls'

    Manual: cmdline-tools-cctrl.
    """
    for command in commands:
        if not isinstance(command, str) or not COMMANDS.fullmatch(command):
            raise SaltInvocationError(f"{command!r} is not a command that this module gives to cctrl")
    node = __salt__["topology.node"]()
    tool = os.path.join(node["cluster_home"], TOOL)
    if not os.path.isfile(tool):
        raise CommandExecutionError(f"There is no cctrl: looked for {tool}")
    result = __salt__["vendorlog.run"]([tool, "-expert"], timeout, stdin="\n".join(commands) + "\n")
    said = "\n".join(part for part in (result["stdout"], result["stderr"]) if part)
    if result["retcode"] in (124, 137):
        raise CommandExecutionError(
            f"cctrl did not end within {timeout} s; it had printed:\n{_tail(_answers(said) or said)}")
    if result["retcode"]:
        raise CommandExecutionError(f"cctrl ended with {result['retcode']}:\n{_tail(_answers(said) or said)}")
    return result["stdout"]


def ls(timeout=SECONDS):
    """
    Return what cctrl shows of this host's site.

    timeout
        Seconds.

    Returns ``{"service", "version", "composite", "coordinator": {"host", "policy", "state"}, "routers": {name: {"host",
    "pid", "state", "created", "active"}}, "datasources": {host: {"role", "state", "reason", "progress", "latency",
    "alert", "manager", "replicator": {"role", "master", "state"}, "dataserver", "connections", …}}}``.
    Raises CommandExecutionError when the answer cannot be read.

    CLI Example:

    .. code-block:: bash

        salt east1 cctrl.ls

    Manual: operations-status.
    """
    return parse_ls(session("ls", timeout=timeout))


# --- acting: the commands and a fresh ls in one session, then more ls until it shows what was asked for


def _give(reached, commands, timeout):
    """Type commands that somebody who has looked wants typed, and look."""
    deadline = time.monotonic() + timeout
    said = session(*commands, "ls")
    return _until(reached, parse_ls(said), commands, _answers(said), timeout, deadline)


def _until(reached, now, commands, said, timeout, deadline):
    while not reached(now):
        if time.monotonic() > deadline:
            raise CommandExecutionError(
                f"cctrl was told {'; '.join(commands)!r}, but {timeout} s later its ls does not show it. It answered:\n"
                f"{_tail(said)}\nIts ls shows now: {_summary(now)}"
            )
        # A session takes a second by itself.
        time.sleep(0.2)
        now = ls()
    return now


def _standing():
    try:
        return f"Its ls shows now: {_summary(ls())}"
    except CommandExecutionError as error:
        return f"What it has done is not known: {error}"


@contextlib.contextmanager
def _knowing(before):
    """An error carries what was before, for whoever has to tell what was done all the same."""
    try:
        yield
    except CommandExecutionError as error:
        # Not through the constructor, which would print the whole listing into the message.
        error.info = {"before": before}
        raise


def _replies(lines):
    """The lines without prompt and without echoed commands: a typed line is not its own confirmation."""
    for line in lines:
        line = PROMPT.sub("", line).strip()
        if line and not COMMANDS.fullmatch(line):
            yield line


def _answers(text):
    """What was answered to the commands, without the banner and the listing's boxes."""
    return "\n".join(line for line in _replies(text.splitlines()) if not line.startswith(("|", "+")))


def _summary(now):
    policy = (now["coordinator"] or {}).get("policy")
    sources = [
        f"{host} {source['role']} {source['state']}, replicator {(source['replicator'] or {}).get('state')}"
        for host, source in now["datasources"].items()
    ]
    routers = [f"{name} {router['state']}" for name, router in now["routers"].items()]
    return "; ".join([f"policy {policy}", *sources, *routers])


def set_policy(policy, timeout=SECONDS):
    """
    Set the policy of this host's site: ``set policy X``. A fresh ``ls`` has to show it; so does the reply, unless
    it was set already.

    policy
        MAINTENANCE, AUTOMATIC or MANUAL.
    timeout
        Seconds.

    Returns ``{"before": ls, "after": ls}``. Raises CommandExecutionError with cctrl's words; if it is known what was
    before, as ``{"before": ls}`` in its ``info``.

    CLI Example:

    .. code-block:: bash

        salt east1 cctrl.set_policy MAINTENANCE

    Manual: operations-policymodes.
    """
    wanted = str(policy).upper()
    reply, command = re.compile(rf"policy mode is now {re.escape(wanted)}\b"), f"set policy {wanted.lower()}"
    deadline = time.monotonic() + timeout
    # Typed before anybody has read the first listing, and this command only: a policy that is set already stays that.
    # What cctrl does with a second shun, forced perhaps, is not known (it may put another reason into the place of the
    # first), nor what with recover or online of one that serves, or with routers that have connections.
    try:
        seen = parse_change(session("ls", command, "ls"))
    except CommandExecutionError as error:
        # Of a session that was cut short nobody knows what it has done.
        raise CommandExecutionError(f"{error}\n{_standing()}") from error
    before, said = seen["before"], "\n".join(seen["said"])
    with _knowing(before):
        # What was so already needs no confirmation: nothing was to be done.
        if not has_policy(before, wanted) and not any(reply.search(line) for line in seen["said"]):
            raise CommandExecutionError(f"cctrl did not confirm {command!r}:\n{_tail(said)}")
        return {"before": before, "after": _until(
            lambda now: has_policy(now, wanted), seen["after"], [command], said, timeout, deadline)}


def set_routers(state, timeout=SECONDS):
    """
    Bring every router of this host's site to a state: ``router * offline`` or ``online``. Nothing is typed if they are
    in it already. None that was listed before may be missing afterwards: a listing that was cut off proves nothing.

    state
        ONLINE or OFFLINE.
    timeout
        Seconds.

    Returns ``{"before": ls, "after": ls}``. Raises CommandExecutionError with cctrl's words; if it is known what was
    before, as ``{"before": ls}`` in its ``info``.

    CLI Example:

    .. code-block:: bash

        salt east1 cctrl.set_routers OFFLINE

    Manual: cmdline-tools-cctrl-commands.
    """
    wanted = str(state).upper()
    before = ls()
    if has_routers(before, wanted):
        return {"before": before, "after": before}
    known = before["routers"].keys()
    with _knowing(before):
        return {"before": before, "after": _give(
            lambda now: has_routers(now, wanted) and known <= now["routers"].keys(), [f"router * {wanted.lower()}"],
            timeout)}


def shun(host, force=False, timeout=SECONDS):
    """
    Shun a datasource and put its replicator offline, in one session. Nothing is typed if it is so already.

    host
        Tungsten's name of it.
    force
        ``set force true`` first, in the same session, as a primary needs it.
    timeout
        Seconds.

    Returns ``{"before": ls, "after": ls}``. Raises CommandExecutionError with cctrl's words; if it is known what was
    before, as ``{"before": ls}`` in its ``info``.

    CLI Example:

    .. code-block:: bash

        salt west3 cctrl.shun west3

    Manual: operations-status-changingstates.
    """
    before = ls()
    if is_shunned(before, host):
        return {"before": before, "after": before}
    commands = ["set force true"] if force else []
    commands += [f"datasource {host} shun", f"replicator {host} offline"]
    with _knowing(before):
        return {"before": before, "after": _give(lambda now: is_shunned(now, host), commands, timeout)}


def bring_back(host, how, timeout=120):
    """
    Bring a datasource ONLINE with its replicator: ``datasource H recover`` or ``welcome``, then ``online``.

    Outside AUTOMATIC a recovered or welcomed datasource stays OFFLINE until ``datasource H online``; there both go in
    one session. Nothing is typed if it is ONLINE already.

    host
        Tungsten's name of it.
    how
        ``recover`` makes a replica of it; ``welcome`` keeps its role, and is given ``set force true`` in its session.
    timeout
        Seconds.

    Returns ``{"before": ls, "after": ls}``. Raises CommandExecutionError with cctrl's words; if it is known what was
    before, as ``{"before": ls}`` in its ``info``.

    CLI Example:

    .. code-block:: bash

        salt west3 cctrl.bring_back west3 recover

    Manual: operations-status-policy-interaction.
    """
    if how not in ("recover", "welcome"):
        raise SaltInvocationError(f"how must be recover or welcome, not {how!r}")
    before = ls()
    if is_online(before, host):
        return {"before": before, "after": before}
    with _knowing(before):
        return {"before": before, "after": _bring_back(before, host, how, timeout)}


def _bring_back(now, host, how, timeout):
    commands, said = [], ""
    # OFFLINE is what recover and welcome end in; giving them again would be refused.
    if now["datasources"].get(host, {}).get("state") not in ("ONLINE", "OFFLINE"):
        commands = [*(["set force true"] if how == "welcome" else []), f"datasource {host} {how}"]
        # With a welcome its online is forced as well, as the manual types them; the replicator's never is.
        if _ends_offline(now, host):
            commands.append(f"datasource {host} online")
        answer = session(*commands, "ls")
        commands, said, now = [], _answers(answer), parse_ls(answer)
        if is_online(now, host):
            return now
    if now["datasources"].get(host, {}).get("state") != "ONLINE":
        commands.append(f"datasource {host} online")
    # One that is ONLINE already answers that this is irrelevant.
    commands.append(f"replicator {host} online")
    try:
        return _give(lambda later: is_online(later, host), commands, timeout)
    except CommandExecutionError as error:
        raise CommandExecutionError(
            f"{error}" + (f"\nTo datasource {host} {how} it had answered:\n{_tail(said)}" if said else "")
        ) from error


def _ends_offline(now, host):
    """
    Whether recover or welcome will leave it OFFLINE, so that ``online`` can be typed behind it unseen.

    The manual says so of one that was shunned by hand, outside AUTOMATIC. Of any other recover may make an ONLINE
    replica, and what cctrl does with ``online`` then is not known.
    """
    source = now["datasources"].get(host, {})
    return (
        (now["coordinator"] or {}).get("policy") in ("MAINTENANCE", "MANUAL")
        and source.get("state") == "SHUNNED"
        and (source["reason"] or "").startswith("MANUALLY-SHUNNED")
    )


# --- conditions of an ls


def has_policy(now, policy):
    """
    Tell whether an ``ls`` shows a policy. Pure.

    CLI Example:

    .. code-block:: bash

        salt-call cctrl.has_policy "$ls" MAINTENANCE
    """
    return (now["coordinator"] or {}).get("policy") == policy


def has_routers(now, state):
    """
    Tell whether an ``ls`` shows routers, and all of them in a state. A list of no routers proves nothing. Pure.

    CLI Example:

    .. code-block:: bash

        salt-call cctrl.has_routers "$ls" OFFLINE
    """
    return bool(now["routers"]) and all(router["state"] == state for router in now["routers"].values())


def is_shunned(now, host):
    """
    Tell whether an ``ls`` shows a datasource SHUNNED and its replicator at rest. Pure.

    CLI Example:

    .. code-block:: bash

        salt-call cctrl.is_shunned "$ls" east1
    """
    source = now["datasources"].get(host, {})
    return source.get("state") == "SHUNNED" and (source.get("replicator") or {}).get("state") in ("OFFLINE", "STOPPED")


def is_online(now, host):
    """
    Tell whether an ``ls`` shows a datasource ONLINE with replicator and data server. Pure.

    CLI Example:

    .. code-block:: bash

        salt-call cctrl.is_online "$ls" east1
    """
    source = now["datasources"].get(host, {})
    return (
        source.get("state") == "ONLINE"
        and (source.get("replicator") or {}).get("state") == "ONLINE"
        and source.get("dataserver") == "ONLINE"
    )
