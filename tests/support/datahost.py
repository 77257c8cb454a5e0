"""A host whose data may be emptied, for the unit tests of hostrecord, datalocation, dataguard, copystreams, copytarget,
datacopy and datadir.

These are the real ones and call one another, over a real directory; the server, the cluster and the topology beneath
them say what ``facts`` says. Each test spoils something of that.
"""

import subprocess
from unittest.mock import create_autospec

from tests.support.loader import load

cctrl = load("_modules", "cctrl")
copystreams = load("_modules", "copystreams")
copytarget = load("_modules", "copytarget")
datacontent = load("_modules", "datacontent")
datacopy = load("_modules", "datacopy")
datadir = load("_modules", "datadir")
dataguard = load("_modules", "dataguard")
datalocation = load("_modules", "datalocation")
hostrecord = load("_modules", "hostrecord")
mysqld = load("_modules", "mysqld")
topology = load("_modules", "topology")

WHOLE = []
BINLOGS = ["mysql-bin.[0-9]*", "mysql-bin.index", "mysql-bin.state"]

# What these modules call of one another.
REAL = {
    "copystreams.split": copystreams.split,
    "copystreams.touched": copystreams.touched,
    "copytarget.address": copytarget.address,
    "copytarget.guard_places": copytarget.guard_places,
    "copytarget.record": copytarget.record,
    "copytarget.ssh": copytarget.ssh,
    "copytarget.tell": copytarget.tell,
    "copytarget.transport": copytarget.transport,
    "datadir.begun": datadir.begun,
    "dataguard.check": dataguard.check,
    "dataguard.cluster": dataguard.cluster,
    "dataguard.location": dataguard.location,
    "dataguard.name": dataguard.name,
    "dataguard.plain": dataguard.plain,
    "dataguard.run_id": dataguard.run_id,
    "dataguard.stopped": dataguard.stopped,
    "datalocation.find": datalocation.find,
    "datalocation.locations": datalocation.locations,
    "datalocation.measure": datalocation.measure,
    "datalocation.named": datalocation.named,
    "datalocation.outside": datalocation.outside,
    "hostrecord.boot": hostrecord.boot,
    "hostrecord.folder": hostrecord.folder,
    "hostrecord.load": hostrecord.load,
    "hostrecord.path": hostrecord.path,
    "hostrecord.save": hostrecord.save,
}

# {what is wrong: (the guard that has to say so, where in the facts, the value there, what it says)}
SPOILED = {
    "other site": ("check", ["node", "site"], "west", "not of the failed site"),
    "is donor": ("check", ["node", "host"], "west3", "is the donor"),
    "is donor by minion": ("check", ["node", "minion"], "west3", "is the donor"),
    "donor is of the failed site": (
        "check", ["topology", "sites", "east", "nodes", "west3"], "x", "is of the failed site"),
    "server runs": ("stopped", ["status", "running"], True, "not stopped"),
    "composite": ("cluster", ["ls", "composite"], True, "composite"),
    "other service": ("cluster", ["ls", "service"], "west", "is of service west"),
    "no service": ("cluster", ["ls", "service"], None, "is of service None"),
    "policy": ("cluster", ["ls", "coordinator", "policy"], "AUTOMATIC", "AUTOMATIC, not MAINTENANCE"),
    "no coordinator": ("cluster", ["ls", "coordinator"], None, "None, not MAINTENANCE"),
    "router": ("cluster", ["ls", "routers", "connector@east2", "state"], "ONLINE", "connector@east2"),
    "no router": ("cluster", ["ls", "routers"], {}, "no router"),
    "online": ("cluster", ["ls", "datasources", "east1", "state"], "ONLINE", "is ONLINE, not SHUNNED"),
    "unknown datasource": (
        "cluster", ["ls", "datasources"], {"east2": {"state": "SHUNNED"}}, "unknown, not SHUNNED"),
    "option files": ("check", ["settings", "explicit", "datadir"], "/var/log", "operating system"),
}


def new_facts(folder):
    """What the host is like: all is as it must be for emptying east1."""
    home = folder / "data"
    (home / "mysql").mkdir(parents=True)
    (home / "mysql" / "user.frm").write_text("x", encoding="utf-8")
    (home / ".hidden").write_text("x", encoding="utf-8")
    (folder / "my.cnf").write_text("", encoding="utf-8")
    return {
        "node": {"site": "east", "service": "east", "host": "east1", "minion": "e1.example",
                 "user": "tungsten",
                 "cluster_home": "/opt/continuent", "cross_site_home": "/opt/replicator",
                 "mysql": {"unit": "auto", "defaults_file": str(folder / "my.cnf")}},
        "topology": {"sites": {"east": {"nodes": {"east1": "e1.example", "east2": "e2.example"}},
                               "west": {"nodes": {"west3": "w3.example"}}}},
        "ls": {"service": "east", "composite": False, "coordinator": {"policy": "MAINTENANCE"},
               "routers": {"connector@east1": {"state": "OFFLINE"}, "connector@east2": {"state": "OFFLINE"}},
               "datasources": {"east1": {"role": "master", "state": "SHUNNED"}}},
        "ping": False,
        "variables": {"datadir": f"{home}/"},
        "settings": {"explicit": {"datadir": str(home)}, "effective": {}},
        "status": {"unit": "mariadb", "active": "inactive", "result": "success", "running": False,
                   "processes": []},
        "processes": {},
    }  # fmt: skip


def spoil(facts, keys, value):
    """Put a value somewhere into the facts."""
    for key in keys[:-1]:
        facts = facts[key]
    facts[keys[-1]] = value


def run_all(argv, **kwargs):
    """Salt's own, as far as these modules rely on it."""
    assert kwargs["python_shell"] is False
    done = subprocess.run(argv, capture_output=True, check=False)
    encoding = kwargs.get("output_encoding", "utf-8")
    return {"retcode": done.returncode, "stdout": done.stdout.decode(encoding), "stderr": done.stderr.decode(encoding)}


def new_functions(facts):
    """``__salt__`` of this host."""

    def settings():
        if isinstance(facts["settings"], Exception):
            raise facts["settings"]
        return facts["settings"]

    def processes(directory=None):
        return facts["processes"].get(directory, [])

    return {
        "cmd.run_all": create_autospec(run_all, side_effect=run_all),
        "topology.node": create_autospec(topology.node, side_effect=lambda: facts["node"]),
        "topology.get": create_autospec(topology.get, side_effect=lambda: facts["topology"]),
        "cctrl.ls": create_autospec(cctrl.ls, side_effect=lambda *args, **kwargs: facts["ls"]),
        "mysqld.ping": create_autospec(mysqld.ping, side_effect=lambda timeout=10: facts["ping"]),
        "mysqld.variables": create_autospec(
            mysqld.variables, side_effect=lambda names, timeout=30: facts["variables"]
        ),
        "mysqld.settings": create_autospec(mysqld.settings, side_effect=settings),
        "mysqld.status": create_autospec(mysqld.status, side_effect=lambda: facts["status"]),
        "mysqld.processes": create_autospec(mysqld.processes, side_effect=processes),
        "datacontent.foreign": create_autospec(datacontent.foreign, return_value=[]),
        **{name: create_autospec(function, side_effect=function) for name, function in REAL.items()},
    }


def loader_modules(functions):
    """What ``configure_loader_modules`` has to return."""
    modules = (hostrecord, datalocation, dataguard, copystreams, copytarget, datacopy, datadir)
    return {module: {"__salt__": functions} for module in modules}


# {what is wrong: (where in the facts of ``become_donor``, the value there, what is said of it)}: what the target tells.
UNFIT_TARGET = {
    "own site": (["node", "site"], "east", "not a host of the failed site"),
    "server there": (["pgrep"], 0, "process"),
    "cannot tell": (["pgrep"], 255, "no server runs there"),
    "in use again": (["record", "state"], "owned", "has not been emptied"),
    "half emptied": (["record", "state"], "emptying", "has not been emptied"),
    "other site": (["record", "site"], "north", "has not been emptied"),
    "other host": (["record", "host"], "east2", "has not been emptied"),
    "other run": (["record", "run"], "r-0", "emptied for run r-0, not for r-1"),
    "other donor": (["record", "donor"], "west2", "for donor west2"),
}
# The same of the places there.
UNFIT_PLACES = {
    "no room": (["record", "directories", "datadir", "free"], 1, "has room for 1"),
    "strange path": (["record", "directories", "datadir", "path"], "/x;reboot", "plain absolute"),
    "other locations": (
        ["record", "directories", "innodb_undo_directory"], {"path": "/undo", "free": 10**12, "device": 1},
        "locations differ"),
}


def become_donor(facts, functions, program):
    """
    Make this host west3, and east1 one that has been emptied for it; rsync and ssh say what ``facts`` says of east1.

    What else is run, but find, is answered by ``program(words)``. ``facts["asked"]`` is filled with the words of all
    that was asked of the target, ``facts["told"]`` with what its record was made.
    """
    facts["node"].update(site="west", service="west", host="west3", minion="w3.example")
    facts["ls"] = {"service": "west", "datasources": {"west3": {"role": "slave", "state": "SHUNNED"}}}
    places = {"datadir": {"path": "/data on east", "files": [], "free": 10**12, "device": 1}}
    facts.update(pgrep=1, asked=[], told=[], record={
        "state": "emptied", "run": "r-1", "site": "east", "donor": "west3", "host": "east1", "boot": "b-1",
        "directories": places})

    def programs(argv, **kwargs):
        words = argv[3:] if argv[0] == "timeout" else argv
        if words[0] == "find":
            return run_all(argv, **kwargs)
        if "ownership.json" not in " ".join(argv) and "pgrep" not in argv[-1]:
            return program(words)
        facts["asked"].append(argv)
        if "pgrep" in argv[-1]:
            return {"retcode": facts["pgrep"], "stdout": "812", "stderr": ""}
        if argv[-1].endswith("ownership.json"):
            facts["told"].append(hostrecord.load("target-east1.json"))
        else:
            hostrecord.save("target-east1.json", facts["record"])
        return {"retcode": 0, "stdout": "", "stderr": ""}

    functions["cmd.run_all"].side_effect = programs
