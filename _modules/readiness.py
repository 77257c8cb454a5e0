"""
Find before the first change what would break a run hours later.

``preflight`` finds out who is who. This module asks for what a run needs on its way: the same code on every node,
clocks that agree, ``sudo`` and ``ssh`` as the copy uses them, servers that can read each other's files, room for the
data, a log that is kept long enough, nobody else at work. ``facts`` and ``reach`` run on the nodes and only read;
``judge`` runs on the master over all answers and is pure.
"""

import hashlib
import os
import re
import time

import salt.utils.files
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "readiness"

# That of setup.cfg, which is not there where Salt syncs the modules to.
VERSION = "0.1.0"
# Modules of others lie in the same directory once they are synced, so this extension's own are named.
OWN = ("applied", "attempt", "cctrl", "checkrecord", "copystreams", "copytarget", "datacontent", "datacopy", "datadir",
       "dataguard", "datalocation", "donor", "driftfindings", "driftlook", "driftsigns", "fleet", "freshjob",
       "hostrecord", "hotcopy", "hotguard", "hotpipe", "hottarget", "jobgroup", "longjob", "mysqld", "nodeview",
       "notify", "planning", "plans", "preflight", "readiness", "resume", "rowsave", "runlock", "runpage", "runrecord",
       "runreport", "runview", "runwords", "siteview", "survey", "tablecompare", "tabledata", "topology", "tprovision",
       "trepctl", "vendorlog", "verify")
OWN_STATES = ("cctrl", "datadir", "donor", "hotcopy", "mysqld", "reprovision", "tprovision", "trepctl")

SERVER = ("version", "version_comment", "lower_case_table_names", "character_set_server", "collation_server",
          "innodb_page_size")
# What a copied data directory cannot be started with, or not be read right with, if it differs.
BINDING = ("lower_case_table_names", "innodb_page_size")
ADVISED = ("character_set_server", "collation_server")

# What jobgroup puts behind the name of a group.
STREAM = re.compile(r"-s\d+of\d+$")
PROBE = ("sudo", "-n", "rsync", "--version")
SUDO_SECONDS = 20
SSH_SECONDS = 30
SYSTEMD_SECONDS = 20

SESSIONS = (
    "SELECT p.USER AS `user`, p.HOST AS `host`, p.COMMAND AS `command`, p.TIME AS `seconds`, "
    "t.trx_id IS NOT NULL AS `transaction` "
    "FROM information_schema.PROCESSLIST p "
    "LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID "
    "WHERE p.ID <> CONNECTION_ID()"
)
# The server's own threads, and the replicator, which a run stops by itself.
NO_WRITERS = ("system user", "event_scheduler", "tungsten")
NO_WRITING = ("Binlog Dump", "Slave_", "Daemon")

RETENTION = re.compile(
    r"^[ \t]*replicator\.store\.thl\.log_file_retention[ \t]*=[ \t]*(\d+)([dhms])[ \t\r]*$", re.MULTILINE
)
UNIT_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}

# Seconds.
CLOCK_TOLERANCE = 5
RETENTION_LEAST = 6 * 3600
RETENTION_ADVISED = 24 * 3600
LAG_MOST = 300


def __virtual__():
    return __virtualname__


def _run(argv, seconds):
    # An empty standard input: ssh would otherwise read the terminal that salt-call was typed into.
    return __salt__["cmd.run_all"](
        ["timeout", "--kill-after=5", str(seconds), *argv], python_shell=False, ignore_retcode=True, stdin=""
    )


def _refusal(result, seconds):
    """None if the command did its work, else the last line of what it said."""
    if result["retcode"] == 0:
        return None
    if result["retcode"] in (124, 137):
        return f"no answer within {seconds} s"
    lines = (result["stdout"] + "\n" + result["stderr"]).strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {result['retcode']} without a word"


def _try(function, *args):
    """The answer, or None if there is none: what that means is for ``judge``."""
    try:
        return function(*args)
    except (CommandExecutionError, OSError):
        return None


def _read(name, *args):
    return _try(__salt__[name], *args) if name in __salt__ else None


# --- on the nodes


def facts():
    """
    Read what a run will need of this node. Nothing is changed, and what cannot be read is None.

    Returns ``{"time": this host's clock, seconds since 1970, "extension": as ``extension`` returns it, "server":
    {variable: text}, "contents": as ``datalocation.contents`` returns it, "sudo": {"rsync": True if the Tungsten user
    may run it, "words": what was said if not}, "jobs": [names of the ``longjob`` jobs that run now, the donor's guards
    left out], "writers": [{"user", "host", "command", "seconds": in that command, "transaction": True if one is open}],
    "retention": seconds that the cluster's replicator keeps its log}``. Writers are all sessions that may commit
    something: neither the server's own, nor replication's, nor those that sleep without a transaction. Raises nothing.

    CLI Example:

    .. code-block:: bash

        salt east1 readiness.facts
    """
    node = _read("topology.node")
    return {
        "time": time.time(),
        "extension": _try(extension),
        "server": _read("mysqld.variables", list(SERVER)) or None,
        "contents": _read("datalocation.contents"),
        "sudo": _try(_sudo, node) if node else None,
        "jobs": _try(_jobs),
        "writers": _writers(),
        "retention": _try(_retention, node) if node else None,
    }


def _sudo(node):
    words = _refusal(_run(["runuser", "-u", node["user"], "--", *PROBE], SUDO_SECONDS), SUDO_SECONDS)
    return {"rsync": words is None, "words": words}


def _jobs():
    # One that is being stopped still has its processes.
    argv = ["systemctl", "list-units", "--full", "--plain", "--no-legend", "--state=active,activating,deactivating",
            "--", "reprovision-*.service"]
    result = _run(argv, SYSTEMD_SECONDS)
    words = _refusal(result, SYSTEMD_SECONDS)
    if words:
        raise CommandExecutionError(f"systemd does not list the jobs: {words}")
    rows = [line.split(None, 4) for line in result["stdout"].splitlines() if line.strip()]
    # A job that has ended stays active, as "exited", until it is forgotten.
    names = [row[0].removeprefix("reprovision-").removesuffix(".service") for row in rows if row[3] != "exited"]
    return [name for name in names if not name.startswith("donor")]


def _writers():
    rows = _read("mysqld.query", SESSIONS)
    if rows is None:
        return None
    sessions = [
        {
            "user": row["user"],
            # Without the port, which is another one for each session of a pool.
            "host": re.sub(r":\d+$", "", row["host"] or ""),
            "command": row["command"],
            "seconds": int(row["seconds"] or 0),
            "transaction": row["transaction"] == "1",
        }
        for row in rows
    ]
    return [session for session in sessions if _may_write(session)]


def _may_write(session):
    command = session["command"] or ""
    if session["user"] in NO_WRITERS or command.startswith(NO_WRITING):
        return False
    return command != "Sleep" or session["transaction"]


def _retention(node):
    """From the replicator's own file: trepctl would not answer for a replicator that is down."""
    path = os.path.join(
        node["cluster_home"], "tungsten/tungsten-replicator/conf", f"static-{node['service']}.properties"
    )
    with salt.utils.files.fopen(path, encoding="utf-8", errors="replace") as stream:
        written = RETENTION.findall(stream.read())
    # As Java reads it, the last one counts.
    return int(written[-1][0]) * UNIT_SECONDS[written[-1][1]] if written else None


def reach(hosts):
    """
    Try from this host, as the Tungsten user and as the copy does it, whether rsync runs as root on other hosts.

    To be run on the donor. Nothing is copied.

    hosts
        List of host names as the topology has them, of any site. Each may take 30 seconds.

    Returns ``{host: None if it works, else the last line of what was said}``. Raises SaltInvocationError for a name
    that is not in the topology and CommandExecutionError if the topology cannot be read.

    CLI Example:

    .. code-block:: bash

        salt west3 readiness.reach '[east1]'
    """
    known = {host for site in __salt__["topology.get"]()["sites"].values() for host in site["nodes"]}
    if not isinstance(hosts, list):
        raise SaltInvocationError(f"hosts must be a list of host names, not {hosts!r}")
    unknown = [host for host in hosts if host not in known]
    if unknown:
        raise SaltInvocationError(f"not in the topology: {', '.join(map(repr, unknown))}")
    said = {}
    for host in hosts:
        # As the copy goes: what works here has to work there.
        argv = [*__salt__["copytarget.ssh"](), __salt__["copytarget.address"](host), *PROBE]
        said[host] = _refusal(_run(argv, SSH_SECONDS), SSH_SECONDS)
    return said


# --- on both


def extension():
    """
    Tell which code of this extension runs here, so that master and minions can be held against each other.

    Returns ``{"version": text, "digest": SHA-256 in hex of the names and bytes of its execution modules and states}``;
    a module that is not here counts as missing, by its name. Raises CommandExecutionError if one cannot be read.

    CLI Example:

    .. code-block:: bash

        salt '*' readiness.extension
    """
    digest = hashlib.sha256()
    here = os.path.dirname(os.path.abspath(__file__))
    # Synced they lie in modules/ and states/, in a checkout or a package in _modules/ and _states/.
    states = os.path.join(os.path.dirname(here), "_states" if os.path.basename(here) == "_modules" else "states")
    for path in [*(f"{here}/{stem}.py" for stem in OWN), *(f"{states}/{stem}.py" for stem in OWN_STATES)]:
        try:
            with salt.utils.files.fopen(path, "rb") as stream:
                held = hashlib.sha256(stream.read()).hexdigest()
        except FileNotFoundError:
            held = "missing"
        except OSError as error:
            raise CommandExecutionError(f"{path} cannot be read: {error.strerror}") from error
        digest.update(f"{os.path.basename(path)} {held}\n".encode())
    return {"version": VERSION, "digest": digest.hexdigest()}


# --- on the master


def judge(topology, roles, facts, reach, master):
    """
    Hold what the nodes say against what a run needs. Pure.

    topology
        As ``topology.merge`` returns it.
    roles
        ``{"primaries": {site: host}, "donor": host, "copied": True when the data have been copied already, so that
        the donor and the room on the primary no longer matter}``.
    facts
        ``{minion: what ``facts`` returned there, and "lag": seconds that its cluster's replicator is behind, None if it
        does not tell}`` of every node of every site.
    reach
        What ``reach`` returned on the donor; None if it was not asked.
    master
        ``{"asked": [the master's clock before, and after, the facts were gathered], "extension": what ``extension``
        returned on the master, "run": id of the run that is resumed, or None}``.

    Returns ``[{"node": minion, "level": "error" or "warning", "what": text, "do": text}]``, errors first, then by node.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd readiness.judge "$topology" "$roles" "$facts" None "$master"
    """
    sites, order = topology["sites"], topology["reprovision"]
    minions = [minion for site in sites.values() for minion in site["nodes"].values()]
    known = {minion: facts[minion] for minion in minions if facts.get(minion)}
    failed = sites[order["failed"]]["nodes"]
    definitive = sites[order["definitive"]]["nodes"]
    primary, donor = failed[roles["primaries"][order["failed"]]], definitive[roles["donor"]]
    copied, run = roles["copied"], master["run"]
    rebuilt = [minion for minion in failed.values() if minion in known]
    filled = [minion for minion in rebuilt if not copied or minion != primary]

    findings = [
        _error(minion, "it has told nothing of itself", f"Look why: salt {minion} readiness.facts.")
        for minion in minions if minion not in known
    ]
    for minion, fact in known.items():
        findings += _judge_extension(minion, fact, master["extension"])
        findings += _judge_clock(minion, fact, *master["asked"])
        findings += _judge_jobs(minion, fact, run)
    for minion in definitive.values():
        findings += _judge_retention(minion, known.get(minion, {}))
    for minion in rebuilt:
        findings += _judge_writers(minion, known[minion])
    for minion in (primary,) if copied else (primary, donor):
        if minion in known:
            findings += _judge_sudo(minion, known[minion])
    findings += _judge_reach(donor, reach or {})
    findings += _judge_space(donor, filled, known, run)
    if not copied:
        findings += _judge_servers(donor, rebuilt, known, run)
        findings += _judge_lag(donor, known.get(donor, {}))
    return sorted(findings, key=lambda finding: (finding["level"] != "error", finding["node"]))


def _error(node, what, do):
    return {"node": node, "level": "error", "what": what, "do": do}


def _warning(node, what, do):
    return {"node": node, "level": "warning", "what": what, "do": do}


def _human(size):
    """Bytes as people write them."""
    if size < 1024:
        return f"{size} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.2f} {unit}"
    return f"{size / 1024:.2f} TiB"


def _judge_extension(minion, fact, here):
    there = fact.get("extension") or {}
    if there.get("digest") == here["digest"]:
        return []
    version = there.get("version") or "unknown"
    return [_error(minion, f"its modules of this extension ({version}) are not the master's ({here['version']})",
                   f"Run: salt {minion} saltutil.sync_all; salt-run saltutil.sync_all")]


def _judge_clock(minion, fact, begun, ended):
    do = "Make all nodes and the master keep time by the same source (chrony, ntp)."
    now = fact.get("time")
    if now is None:
        return [_error(minion, "it does not tell its time", do)]
    if now < begun - CLOCK_TOLERANCE:
        return [_error(minion, f"its clock is {begun - now:.0f} s behind the master's", do)]
    if now > ended + CLOCK_TOLERANCE:
        return [_error(minion, f"its clock is {now - ended:.0f} s ahead of the master's", do)]
    return []


def _judge_jobs(minion, fact, run):
    if fact.get("jobs") is None:
        return [_warning(minion, "systemd does not tell whether a job of an earlier run is still at work there",
                         f"Look by hand: salt {minion} cmd.run 'systemctl list-units reprovision-*'")]
    others = [name for name in fact["jobs"] if run is None or not STREAM.sub("", name).endswith(f"-{run}")]
    if not others:
        return []
    return [_error(minion, f"jobs of another run are at work there: {', '.join(others)}",
                   f"Wait until they have ended, or end them: salt {minion} longjob.stop {others[0]}")]


def _judge_retention(minion, fact):
    kept = fact.get("retention")
    if kept is None or kept >= RETENTION_ADVISED:
        return []
    rate = _error if kept < RETENTION_LEAST else _warning
    return [rate(minion, f"its replicator keeps its log (THL) for {kept / 3600:.1f} h only, and the rebuilt site goes "
                         "on from the donor's position, from where the definitive site must still have the log",
                 "Set thl-log-retention to more than the whole run takes, a day or better some, and run tpm update.")]


def _judge_writers(minion, fact):
    writers = fact.get("writers")
    if not writers:
        return []
    names = list(dict.fromkeys(f"{writer['user']}@{writer['host']}" for writer in writers))
    shown = ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
    sessions = "1 session" if len(writers) == 1 else f"{len(writers)} sessions"
    return [_warning(minion, f"{sessions} may be writing there ({shown}), and what is committed from now on is lost",
                     "Lead the applications to another site first.")]


def _judge_sudo(minion, fact):
    sudo = fact.get("sudo") or {"rsync": False, "words": "it could not be tried"}
    if sudo["rsync"]:
        return []
    return [_error(minion, f"the Tungsten user cannot run rsync by sudo: {sudo['words']}",
                   "Install sudo and rsync there, and let that user run it without a password and a terminal.")]


def _judge_reach(donor, reach):
    return [
        _error(donor, f"the Tungsten user cannot run rsync by ssh and sudo on {host}: {words}",
               f"Make this work for that user on {donor}: ssh -o BatchMode=yes {host} sudo -n rsync --version")
        for host, words in reach.items() if words is not None
    ]


def _release(server):
    """(MariaDB or MySQL, its first two numbers): what must be alike for one to run on the other's files."""
    said = f"{server.get('version')} {server.get('version_comment')}"
    numbers = re.match(r"\d+\.\d+", said)
    return "MariaDB" if "mariadb" in said.lower() else "MySQL", numbers[0] if numbers else "of unknown version"


def _judge_servers(donor, rebuilt, known, run):
    findings = []
    # None too if the donor has told nothing at all, which is an error already.
    source = known.get(donor, {}).get("server")
    if donor in known and not source and not run:
        findings.append(_error(donor, "the donor's server does not answer",
                               f"Start it, or see why: salt {donor} mysqld.status"))
    for minion in rebuilt:
        server = known[minion].get("server")
        if server and source:
            findings += _judge_server(minion, server, source)
        elif not server and not run:
            findings.append(_warning(minion, "its server does not answer and could not be compared with the donor's",
                                     "Make sure that it is of the donor's version and has the donor's settings."))
    return findings


def _judge_server(minion, server, source):
    findings = []
    if _release(server) != _release(source):
        findings.append(_error(
            minion, f"its server is {' '.join(_release(server))}, the donor's {' '.join(_release(source))}",
            "Bring both to the same version: neither can be relied on to run on the other's files."))
    for name in (*BINDING, *ADVISED):
        if server.get(name) != source.get(name):
            rate = _error if name in BINDING else _warning
            findings.append(rate(minion, f"its server has {name}={server.get(name)}, the donor's {source.get(name)}",
                                 f"Set {name} to the same value in both option files."))
    return findings


def _judge_lag(donor, fact):
    lag = fact.get("lag")
    if lag is None or lag <= LAG_MOST:
        return []
    return [_error(donor, f"the donor is {lag:.0f} s behind its primary, and the rebuilt site would begin there",
                   "Wait until it has caught up, or name another donor.")]


def _judge_space(donor, filled, known, run):
    findings = []
    source = known.get(donor, {}).get("contents")
    if donor in known and not source and not run:
        findings.append(_unread(donor))
    for minion in filled:
        own = known[minion].get("contents")
        if not own:
            findings.append(_unread(minion))
        elif source:
            findings += _judge_locations(minion, own, donor, source)
    return findings


def _unread(minion):
    return _error(minion, "what its data locations hold cannot be read",
                  f"Look why: salt {minion} datalocation.contents")


def _judge_locations(minion, own, donor, source):
    do = "Make both servers keep the same kinds of files outside the data directory."
    findings = [_error(minion, f"the donor {donor} has a data location {name}, this node has none", do)
                for name in sorted(set(source) - set(own))]
    findings += [_error(minion, f"it has a data location {name}, the donor {donor} has none", do)
                 for name in sorted(set(own) - set(source))]
    together = {}
    for name in sorted(set(own) & set(source)):
        together.setdefault(own[name]["device"], []).append(name)
    for names in together.values():
        findings += _short(minion, names, own, source)
    return findings


def _short(minion, names, own, source):
    needed = sum(source[name]["bytes"] for name in names)
    # One file system's room is there only once.
    room = own[names[0]]["free"] + sum(own[name]["bytes"] for name in names)
    if needed <= room:
        return []
    places = " and ".join(f"{own[name]['path']} ({name})" for name in names)
    return [_error(minion, f"the donor's data need {_human(needed)} in {places}, there is room for {_human(room)}",
                   "Make room there, or give it a bigger disk.")]


def text(findings):
    """
    Put findings into lines for people. Pure.

    findings
        As ``judge`` returns them.

    Returns a list, one text a finding: ``ERROR east1: what is wrong - What to do.``

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd readiness.text "$findings"
    """
    return [f"{found['level'].upper()} {found['node']}: {found['what']} - {found['do']}" for found in findings]
