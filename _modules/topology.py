"""
The topology of the Tungsten sites, read from pillar and validated.

Everything that may be put on a command line or into a target later, a site, a service, a host or a directory, comes
from here. A name that is not in the pillar's topology does not exist for this extension.

:configuration: the pillar key ``tungsten``, see ``pillar/`` of this project.
"""

import re
import reprlib

from salt.exceptions import CommandExecutionError

__virtualname__ = "topology"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._-]{0,127}")
PLAN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,126}")
DIRECTORY = re.compile(r"/[^\x00-\x1f]{1,1023}")

SITE_DEFAULTS = {
    "cluster_home": "/opt/continuent",
    "cross_site_home": "/opt/replicator",
    "user": "tungsten",
    "on_drift": "plan",
}
MYSQL_DEFAULTS = {"unit": "auto", "defaults_file": "/etc/mysql/my.cnf"}
ORDER_DEFAULTS = {
    "method": "rsync",
    "warm": True,
    "compress": "auto",
    "bwlimit": 0,
    "streams": 4,
    "replica_parallel": 1,
    "replica_method": "xtrabackup",
    "insist": False,
    "fresh": False,
    "donor_lease": 900,
    "patience": 60,
}
# What stands in pillar holds for every run; these are for one.
ORDER_ONLY = {
    "insist": "it would switch the refusal of a needless run off for good",
    "fresh": "it would switch going on with an unfinished run off for good",
    "plan": "a plan is approved for one run",
}
# How drift is looked for, and how long a plan is open: (default, least, most).
DRIFT_LIMITS = {
    "cooldown": (900, 0, 604800),
    "share": (50, 1, 100),
    "max_lag": (60, 1, 86400),
}
PLAN_LIMITS = {"hours": (24, 1, 720)}
# Of an order: (what it counts, least, most).
ORDER_LIMITS = {
    "donor_lease": ("seconds", 5, 86400),
    "patience": ("seconds", 5, 86400),
    "bwlimit": ("megabytes a second", 0, 100000),
    "streams": ("connections", 1, 16),
    "replica_parallel": ("replicas", 1, 9),
}
CHOICES = {
    "on_drift": ("ignore", "plan", "reprovision"),
    "method": ("rsync", "mariabackup", "xtrabackup"),
    "compress": ("auto", "none", "lz4", "zstd"),
    "replica_method": ("xtrabackup", "mysqldump", "rsync", "mysqlclone"),
}
# What stands in pillar may be of any size and depth; what is said of it may not.
SHOWN = reprlib.Repr()
SHOWN.maxstring = SHOWN.maxother = 200
MOST_CHARACTERS = 500
MOST_FAULTS = 50


def __virtual__():
    return __virtualname__


def validate(tungsten):
    """
    Check the value of the pillar key ``tungsten`` and return it with defaults filled in. Pure: reads nothing else.

    tungsten
        The dictionary as it stands in pillar.

    Returns ``{"faults": ["tungsten:sites:east:nodes: …"], "topology": {"sites": {…}, "reprovision": {…}, "drift": {…},
    "plans": {…}}}``; the nodes of a site are always ``{host: minion}``. With faults the topology must not be used.

    CLI Example:

    .. code-block:: bash

        salt-call topology.validate "$(salt-call --out=json pillar.get tungsten | jq .local)"
    """
    faults = []
    if not isinstance(tungsten, dict) or not isinstance(tungsten.get("sites"), dict) or not tungsten["sites"]:
        return {"faults": ["tungsten:sites: must list the sites by name"], "topology": {}}
    _unknown(tungsten, {"sites", "reprovision", "drift", "plans"}, "tungsten", faults)
    sites = {
        name: _site(name, site, f"tungsten:sites:{name}", faults) for name, site in tungsten["sites"].items()
    }
    if len(sites) < 2:
        faults.append("tungsten:sites: a site can only be rebuilt from another one, so there must be two or more")
    _unique(sites, faults)
    order = _order(tungsten.get("reprovision", {}), sites, "tungsten:reprovision", faults)
    drift = _numbers(tungsten.get("drift", {}), DRIFT_LIMITS, "tungsten:drift", faults)
    plans = _plans(tungsten.get("plans", {}), "tungsten:plans", faults)
    faults = [fault[:MOST_CHARACTERS] for fault in faults]
    return {"faults": faults, "topology": {"sites": sites, "reprovision": order, "drift": drift, "plans": plans}}


def _unknown(given, known, path, faults):
    """A misspelt key must not silently leave a default in force."""
    faults.extend(f"{path}:{key}: no such key; known are {', '.join(sorted(known))}"
                  for key in given if key not in known)


def _shown(value):
    try:
        return SHOWN.repr(value)
    except ValueError:
        return "a number of thousands of digits"


def _named(value):
    """As it is compared with others and told; only text is right."""
    return value if isinstance(value, str) else _shown(value)


def _matches(pattern, value):
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _expect(pattern, value, path, what, faults):
    if not _matches(pattern, value):
        faults.append(f"{path}: {_shown(value)} is not {what}")


def _choice(key, value, path, faults):
    if value not in CHOICES[key]:
        faults.append(f"{path}: {_shown(value)} must be one of {', '.join(CHOICES[key])}")


def _site(name, site, path, faults):
    if not _matches(NAME, name):
        faults.append(f"{path}: {_shown(name)} is not a site name (letters, digits, _ and -)")
    if not isinstance(site, dict):
        faults.append(f"{path}: must be a dictionary with the site's nodes")
        return {}
    _unknown(site, {"service", "nodes", "mysql", *SITE_DEFAULTS}, path, faults)
    site = {**SITE_DEFAULTS, "service": name, **site}
    _expect(NAME, site["service"], f"{path}:service", "a Tungsten data service name", faults)
    _expect(USER, site["user"], f"{path}:user", "a user name", faults)
    for home in ("cluster_home", "cross_site_home"):
        _directory(site[home], f"{path}:{home}", faults)
    _choice("on_drift", site["on_drift"], f"{path}:on_drift", faults)
    mysql = site.get("mysql", {})
    if isinstance(mysql, dict):
        _unknown(mysql, MYSQL_DEFAULTS, f"{path}:mysql", faults)
        mysql = {**MYSQL_DEFAULTS, **mysql}
        _expect(UNIT, mysql["unit"], f"{path}:mysql:unit", "a systemd unit", faults)
        _directory(mysql["defaults_file"], f"{path}:mysql:defaults_file", faults)
    else:
        faults.append(f"{path}:mysql: must be a dictionary")
    return {**site, "mysql": mysql, "nodes": _nodes(site.get("nodes"), f"{path}:nodes", faults)}


def _directory(value, path, faults):
    _expect(DIRECTORY, value, path, "an absolute path", faults)
    if isinstance(value, str) and ".." in value.split("/"):
        faults.append(f"{path}: {_shown(value)} must not contain '..'")


def _nodes(nodes, path, faults):
    if isinstance(nodes, list):
        names = [_named(node) for node in nodes]
        if len(set(names)) != len(names):
            faults.append(f"{path}: names a host twice")
        nodes = dict(zip(names, nodes))
    if not isinstance(nodes, dict) or not nodes:
        faults.append(f"{path}: must list the site's hosts, or {{host: minion id}} where they differ")
        return {}
    for host, minion in nodes.items():
        _expect(HOST, host, f"{path}:{host}", "a host name", faults)
        _expect(HOST, minion, f"{path}:{host}", "a minion id", faults)
    return dict(nodes)


def _unique(sites, faults):
    """A host or service of two sites would make 'the failed site' ambiguous."""
    for what, names in (
        ("service", lambda site: [site.get("service")]),
        ("host", lambda site: site.get("nodes", {})),
        ("minion", lambda site: site.get("nodes", {}).values()),
    ):
        seen = {}
        for site_name, site in sites.items():
            for name in names(site):
                name = _named(name)
                if name in seen:
                    path = "service" if what == "service" else "nodes"
                    faults.append(f"tungsten:sites:{site_name}:{path}: {what} {name} is already in "
                                  f"tungsten:sites:{seen[name]}")
                seen[name] = site_name


def _order(order, sites, path, faults):
    """What is to be rebuilt from where; may be absent until somebody decides."""
    if not isinstance(order, dict):
        faults.append(f"{path}: must be a dictionary")
        return {}
    known = {"failed", "definitive", "donor", "plan", *ORDER_DEFAULTS}
    _unknown(order, known, path, faults)
    order = {**ORDER_DEFAULTS, **order}
    for key in ("failed", "definitive"):
        if order.get(key) is not None and order[key] not in list(sites):
            faults.append(f"{path}:{key}: {_shown(order[key])} is not one of the sites {', '.join(map(str, sites))}")
    if order.get("failed") is not None and order.get("failed") == order.get("definitive"):
        faults.append(f"{path}:definitive: {_shown(order['failed'])} is the failed site; it cannot repair itself")
    donor = order.get("donor")
    # Compared one by one: what stands there in pillar may be of any type, and not fit for a look-up.
    definitive = next((site for name, site in sites.items() if name == order.get("definitive")), {})
    if donor is not None and donor not in list(definitive.get("nodes", {})):
        faults.append(f"{path}:donor: {_shown(donor)} is not a node of the definitive site "
                      f"{_shown(order.get('definitive'))}")
    for key in ("method", "compress", "replica_method"):
        _choice(key, order[key], f"{path}:{key}", faults)
    for key in ("warm", "insist", "fresh"):
        if not isinstance(order[key], bool):
            faults.append(f"{path}:{key}: must be true or false")
    if order.get("plan") is not None:
        _expect(PLAN, order["plan"], f"{path}:plan", "the id of a plan", faults)
    for key, (what, least, most) in ORDER_LIMITS.items():
        if isinstance(order[key], bool) or not isinstance(order[key], int) or not least <= order[key] <= most:
            faults.append(f"{path}:{key}: must be a whole number of {what}, {least} to {most}")
    return order


def _numbers(given, limits, path, faults):
    if not isinstance(given, dict):
        faults.append(f"{path}: must be a dictionary")
        return {}
    _unknown(given, limits, path, faults)
    numbers = {**{key: default for key, (default, _, _) in limits.items()}, **given}
    for key, (_, least, most) in limits.items():
        number = numbers[key]
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            faults.append(f"{path}:{key}: must be a whole number, {least} to {most}")
    return numbers


def _plans(given, path, faults):
    if not isinstance(given, dict):
        faults.append(f"{path}: must be a dictionary")
        return {}
    second = given.get("second_person", False)
    if not isinstance(second, bool):
        faults.append(f"{path}:second_person: must be true or false")
    hours = {key: value for key, value in given.items() if key != "second_person"}
    return {**_numbers(hours, PLAN_LIMITS, path, faults), "second_person": second}


def merge(tungsten, order):
    """
    Put an operator's order over the standing one of the pillar and validate the result. Pure.

    tungsten
        The pillar key ``tungsten``.
    order
        ``{"failed": …, "definitive": …, "donor": …}`` as given with ``pillar='{"reprovision": …}'``; may be empty.
        A donor in pillar belongs to the pair of sites it stands with and is dropped when the order names others.

    Returns the validated topology with ``reprovision`` being what this run is to do. Raises CommandExecutionError
    with every fault and its path; also when failed or definitive are missing.

    CLI Example:

    .. code-block:: bash

        salt-call topology.merge "$(cat tungsten.json)" '{"failed": "east", "definitive": "west"}'
    """
    tungsten = tungsten if isinstance(tungsten, dict) else {}
    standing = tungsten.get("reprovision", {})
    standing = dict(standing) if isinstance(standing, dict) else standing
    order = order or {}
    if not isinstance(order, dict):
        raise CommandExecutionError("reprovision: must be a dictionary")
    if isinstance(standing, dict):
        meant = [
            f"tungsten:reprovision:{key}: is for one run, since in pillar {why}: give it with that run's order"
            for key, why in ORDER_ONLY.items() if key in standing
        ]
        if meant:
            raise CommandExecutionError(_listed(meant))
        if any(order.get(key, standing.get(key)) != standing.get(key) for key in ("failed", "definitive")):
            standing.pop("donor", None)
        standing = {**standing, **order}
    found = validate({**tungsten, "reprovision": standing})
    faults = found["faults"]
    if not faults:
        faults = [f"tungsten:reprovision:{key}: is missing; name the site" for key in ("failed", "definitive")
                  if not found["topology"]["reprovision"].get(key)]
    if faults:
        raise CommandExecutionError(_listed(faults))
    return found["topology"]


def way(order):
    """
    Tell in which way the data are copied. Pure.

    order
        ``reprovision`` of a validated topology, or a run's record.

    Returns ``hot``, by a backup of the donor that goes on serving; ``warm``, most of it while it serves and the rest
    while it is at rest; or ``cold``, all of it while it is at rest.

    CLI Example:

    .. code-block:: bash

        salt-call topology.way '{"method": "rsync", "warm": true}'
    """
    if order["method"] != "rsync":
        return "hot"
    return "warm" if order["warm"] else "cold"


def checked(tungsten):
    """
    Validate the pillar and return the topology, or raise. Pure.

    tungsten
        The pillar key ``tungsten``.

    Returns the topology as ``validate`` does. Raises CommandExecutionError that lists every fault with its path.

    CLI Example:

    .. code-block:: bash

        salt-call topology.checked "$(salt-call --out=json pillar.get tungsten | jq .local)"
    """
    found = validate(tungsten)
    if found["faults"]:
        raise CommandExecutionError(_listed(found["faults"]))
    return found["topology"]


def _listed(faults):
    more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
    return "The topology in pillar has faults:\n  " + "\n  ".join([*faults[:MOST_FAULTS], *more])


def get():
    """
    Return the validated topology as this minion's pillar has it.

    Returns ``{"sites": {site: {"service", "nodes": {host: minion}, …}}, "reprovision": {…}, "drift": {…},
    "plans": {…}}``.
    Raises CommandExecutionError that lists every fault with its path in pillar.

    CLI Example:

    .. code-block:: bash

        salt '*' topology.get
    """
    return checked(__pillar__.get("tungsten"))


def node():
    """
    Return what the topology says of this very minion.

    Returns ``{"site", "service", "host", "minion", "cluster_home", "cross_site_home", "user", "mysql",
    "other_services"}``, the last being the data services of all other sites: the cross-site services of this host.
    Raises CommandExecutionError when this minion is in no site.

    CLI Example:

    .. code-block:: bash

        salt east1 topology.node
    """
    minion = __grains__["id"]
    sites = get()["sites"]
    for name, site in sites.items():
        for host, member in site["nodes"].items():
            if member == minion:
                kept = ("service", "cluster_home", "cross_site_home", "user", "mysql")
                return {
                    "site": name,
                    "host": host,
                    "minion": minion,
                    **{key: site[key] for key in kept},
                    "other_services": [other["service"] for key, other in sites.items() if key != name],
                }
    raise CommandExecutionError(f"tungsten:sites: minion {minion} is a node of none of {', '.join(sites)}")
