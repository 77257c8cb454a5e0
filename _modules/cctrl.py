"""
Tungsten's cluster console: read its ``ls``, and let a session do something that the next ``ls`` has to show.

cctrl answers 0 whatever happened, prints prompts into the answers and cuts long names. So nothing here believes an exit
code: a command counts when a fresh ``ls`` of the same session, or a later one, shows what was asked for.

It follows the manual's pages ``cmdline-tools-cctrl`` and ``operations-status``.
"""

import os
import re
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "cctrl"

TOOL = "tungsten/tungsten-manager/bin/cctrl"
SECONDS = 60
HOST = r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"
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
PROMPT = re.compile(r"^\[(?:LOGICAL|PHYSICAL|ADMIN)[^\]]*\] /(?P<service>[^ >]*) ?> ?")
COORDINATOR = re.compile(r"^(?P<prefix>[^\s:|\[]+:)?COORDINATOR\[(?P<host>[^:\]]+):(?P<policy>\w+):(?P<state>\w+)\]")
ROUTER = re.compile(
    rf"^(?P<name>[\w.-]+@(?P<host>{HOST}))\[(?P<pid>\d+)\]\((?P<state>\w+), created=(?P<created>\d+), "
    r"active=(?P<active>\d+)\)$"
)
HEAD = re.compile(
    rf"^(?P<name>{HOST})\*?\((?P<composite>composite )?(?P<role>{ROLES}):(?P<state>{STATES})\b(?P<rest>.*)$"
)
# A host name so long that the box lost the state as well: it exists, and that is all that is known.
CUT_HEAD = re.compile(rf"^(?P<name>{HOST})\((?P<composite>composite )?[a-z]*(?::[A-Z]*)?$")
PROGRESS = re.compile(r"\bprogress=(-?\d+)")
LATENCY = re.compile(r"\blatency=(-?\d+(?:\.\d+)?)")
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
    empty cluster.

    CLI Example:

    .. code-block:: bash

        salt-call --local cctrl.parse_ls "$(echo ls | cctrl -expert)"

    Manual: operations-status.
    """
    if not isinstance(text, str):
        raise SaltInvocationError("cctrl.parse_ls reads text")
    found = {"service": None, "version": None, "composite": False, "coordinator": None, "routers": {},
             "datasources": {}}
    version = VERSION.search(text)
    found["version"] = version[1] if version else None
    lines = []
    for raw in text.splitlines():
        prompt = PROMPT.match(raw)
        if prompt:
            found["service"] = prompt["service"] or found["service"]
            raw = raw[prompt.end():]
        lines.append(raw)
    found["composite"] = _is_composite(text, lines)
    for block in _blocks(_last_listing(lines, found)):
        _read_block(block, found)
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


def _last_listing(lines, found):
    """The lines from the last coordinator on; without one, all of them."""
    start = 0
    for number, line in enumerate(lines):
        coordinator = COORDINATOR.match(line)
        if coordinator and not coordinator["prefix"]:
            found["coordinator"] = {key: coordinator[key] for key in ("host", "policy", "state")}
            start = number
    return lines[start:]


def _blocks(lines):
    """Group box lines by the head they belong to: a router, or a datasource with all its lines."""
    blocks = []
    for line in lines:
        if not line.startswith("|"):
            continue
        inner = line[1:].rstrip()
        inner = (inner[:-1] if inner.endswith("|") else inner).rstrip()
        if ROUTER.match(inner) or HEAD.match(inner) or CUT_HEAD.match(inner):
            blocks.append([inner])
        elif blocks and inner:
            blocks[-1].append(inner)
    return blocks


def _read_block(block, found):
    router = ROUTER.match(block[0])
    if router:
        found["routers"][router["name"]] = {
            "host": router["host"],
            "pid": int(router["pid"]),
            "state": router["state"],
            "created": int(router["created"]),
            "active": int(router["active"]),
        }
        return
    head = HEAD.match(block[0])
    name = (head or CUT_HEAD.match(block[0]))["name"]
    found["datasources"][name] = _datasource(head, block)


def _datasource(head, block):
    first = next((number for number, line in enumerate(block) if re.match(r"STATUS \[|\s+MANAGER\(", line)), len(block))
    # Up to there it is one head, folded at a blank where it was too long for the box.
    whole = " ".join(block[:first])
    body = " ".join(line.strip() for line in block[first:])
    progress, latency = PROGRESS.search(whole), LATENCY.search(whole)
    vip = re.search(r"VIP=\(([^)]*)\)", whole)
    status = re.search(r"STATUS \[(\w+)\]", body)
    reason = re.search(r"REASON\[(.*?)\](?= |$)", body)
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
    found = re.search(r"REPLICATOR\(([^)]*)", body)
    if not found:
        return None
    words = dict(part.strip().split("=", 1) for part in found[1].split(",") if "=" in part)
    return {"role": words.get("role"), "master": words.get("master"), "state": _whole(words.get("state"))}


def _connections(body):
    found = re.search(r"CONNECTIONS\(created=(\d+), active=(\d+)\)", body)
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
        raise CommandExecutionError(f"cctrl did not end within {timeout} s; it had printed:\n{_tail(said)}")
    if result["retcode"]:
        raise CommandExecutionError(f"cctrl ended with {result['retcode']}:\n{_tail(said)}")
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


# --- acting: one session for the commands and a fresh ls, then more ls until it shows what was asked for


def _until(reached, commands, timeout, reply=None):
    deadline = time.monotonic() + timeout
    said = session(*commands, "ls")
    now = parse_ls(said)
    if reply and not any(reply.search(line) for line in _replies(said)):
        raise CommandExecutionError(f"cctrl did not confirm {commands[-1]!r}:\n{_tail(said)}")
    while not reached(now):
        if time.monotonic() > deadline:
            raise CommandExecutionError(
                f"cctrl was told {'; '.join(commands)!r}, but {timeout} s later its ls does not show it. It answered:\n"
                f"{_tail(_answers(said))}\nIts ls shows now: {_summary(now)}"
            )
        time.sleep(1)
        now = ls()
    return now


def _replies(text):
    """The lines without prompt and without echoed commands: a typed line is not its own confirmation."""
    for line in text.splitlines():
        line = PROMPT.sub("", line).strip()
        if line and not COMMANDS.fullmatch(line):
            yield line


def _answers(text):
    """What was answered to the commands, without the banner and the listing's boxes."""
    return "\n".join(line for line in _replies(text) if not line.startswith(("|", "+")))


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
    Set the policy of this host's site: ``set policy X``. Both the reply and a fresh ``ls`` have to show it.

    policy
        MAINTENANCE, AUTOMATIC or MANUAL.
    timeout
        Seconds.

    Returns ``ls`` as it is afterwards. Raises CommandExecutionError with cctrl's words.

    CLI Example:

    .. code-block:: bash

        salt east1 cctrl.set_policy MAINTENANCE

    Manual: operations-policymodes.
    """
    wanted = str(policy).upper()
    reply = re.compile(rf"policy mode is now {re.escape(wanted)}\b")
    return _until(lambda now: has_policy(now, wanted), [f"set policy {wanted.lower()}"], timeout, reply)


def set_routers(state, timeout=SECONDS):
    """
    Bring every router of this host's site to a state: ``router * offline`` or ``online``.

    state
        ONLINE or OFFLINE.
    timeout
        Seconds.

    Returns ``ls`` as it is afterwards. Raises CommandExecutionError with cctrl's words.

    CLI Example:

    .. code-block:: bash

        salt east1 cctrl.set_routers OFFLINE

    Manual: cmdline-tools-cctrl-commands.
    """
    wanted = str(state).upper()
    return _until(lambda now: has_routers(now, wanted), [f"router * {wanted.lower()}"], timeout)


def shun(host, force=False, timeout=SECONDS):
    """
    Shun a datasource and put its replicator offline, in one session.

    host
        Tungsten's name of it.
    force
        ``set force true`` first, in the same session, as a primary needs it.
    timeout
        Seconds.

    Returns ``ls`` as it is afterwards. Raises CommandExecutionError with cctrl's words.

    CLI Example:

    .. code-block:: bash

        salt west3 cctrl.shun west3

    Manual: operations-status-changingstates.
    """
    commands = ["set force true"] if force else []
    commands += [f"datasource {host} shun", f"replicator {host} offline"]
    return _until(lambda now: is_shunned(now, host), commands, timeout)


def bring_back(host, how, timeout=120):
    """
    Bring a datasource ONLINE with its replicator: ``datasource H recover`` or ``welcome``, then ``online``.

    Outside AUTOMATIC a recovered or welcomed datasource stays OFFLINE until ``datasource H online``.

    host
        Tungsten's name of it.
    how
        ``recover`` makes a replica of it; ``welcome`` keeps its role, and is given ``set force true`` in its session.
    timeout
        Seconds.

    Returns ``ls`` as it is afterwards. Raises CommandExecutionError with cctrl's words.

    CLI Example:

    .. code-block:: bash

        salt west3 cctrl.bring_back west3 recover

    Manual: operations-status-policy-interaction.
    """
    if how not in ("recover", "welcome"):
        raise SaltInvocationError(f"how must be recover or welcome, not {how!r}")
    now = ls()
    said = ""
    source = now["datasources"].get(host, {})
    # OFFLINE is what recover and welcome end in; giving them again would be refused.
    if source.get("state") not in ("ONLINE", "OFFLINE"):
        commands = ["set force true"] if how == "welcome" else []
        said = session(*commands, f"datasource {host} {how}", "ls")
        now = parse_ls(said)
    commands = []
    if now["datasources"].get(host, {}).get("state") != "ONLINE":
        commands.append(f"datasource {host} online")
    commands.append(f"replicator {host} online")
    try:
        return now if is_online(now, host) else _until(lambda later: is_online(later, host), commands, timeout)
    except CommandExecutionError as error:
        answered = _answers(said)
        raise CommandExecutionError(
            f"{error}" + (f"\nTo datasource {host} {how} it had answered:\n{_tail(answered)}" if answered else "")
        ) from error


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
