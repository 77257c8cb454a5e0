"""Write into a host's root, before it boots, all that makes it this host."""

import json
import shutil
from pathlib import Path

from .plan import MASTER, NETWORK
from .shell import run

EMULATOR = Path(__file__).resolve().parents[1] / "emulator"
CLUSTER = "opt/continuent/tungsten"
CROSS_SITE = "opt/replicator/tungsten"
# Emulated tool -> its vendor paths. mm_trepctl and its kin are shell aliases only, as the vendor makes them.
TOOLS = {
    "cctrl": [f"{CLUSTER}/tungsten-manager/bin/cctrl"],
    "manager": [f"{CLUSTER}/tungsten-manager/bin/manager"],
    "trepctl": [f"{CLUSTER}/tungsten-replicator/bin/trepctl", f"{CROSS_SITE}/tungsten-replicator/bin/trepctl"],
    "replicator": [f"{CLUSTER}/tungsten-replicator/bin/replicator", f"{CROSS_SITE}/tungsten-replicator/bin/replicator"],
    "tprovision": [f"{CLUSTER}/tungsten-replicator/scripts/tprovision"],
}
UNITS = {
    "tungsten-manager.service": f"""\
[Unit]
Description=Tungsten manager (emulated)
After=network.target
[Service]
User=tungsten
ExecStart=/{TOOLS["manager"][0]}
Restart=always
[Install]
WantedBy=multi-user.target
""",
    **{
        f"tungsten-{kind}.service": f"""\
[Unit]
Description=Tungsten replicator, {kind} (emulated)
After=network.target mariadb.service
[Service]
Type=oneshot
RemainAfterExit=yes
User=tungsten
ExecStart=/{home}/tungsten-replicator/bin/replicator start
[Install]
WantedBy=multi-user.target
"""
        for kind, home in (("replicator", CLUSTER), ("cross-site-replicator", CROSS_SITE))
    },
    "salt-minion.service": """\
[Unit]
Description=The Salt Minion
After=network.target
[Service]
KillMode=mixed
Type=notify
NotifyAccess=all
LimitNOFILE=8192
ExecStart=/opt/salt/bin/salt-minion
[Install]
WantedBy=multi-user.target
""",
    "salt-master.service": """\
[Unit]
Description=The Salt Master Server
After=network.target
[Service]
Type=notify
NotifyAccess=all
LimitNOFILE=100000
ExecStart=/opt/salt/bin/salt-master
[Install]
WantedBy=multi-user.target
""",
}


def host(lab, name):
    """Configure one host's root directory."""
    root = lab.root(name)
    _write(root / "etc/hostname", f"{name}\n")
    names = "".join(f"{lab.address(other)} {other}\n" for other in lab.hosts())
    _write(root / "etc/hosts", f"127.0.0.1 localhost\n{names}")
    _write(root / "etc/systemd/network/10-lab.network",
           f"[Match]\nName=host0\n[Network]\nAddress={lab.address(name)}/24\nLinkLocalAddressing=no\n"
           "LLMNR=no\nMulticastDNS=no\n")
    _write(root / "etc/profile.d/salt.sh", "export PATH=/opt/salt/bin:$PATH\n")
    if name == MASTER:
        _master(lab, root)
    else:
        _node(lab, name, root)


def _write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _enable(root, *units):
    for unit in units:
        _write(root / "etc/systemd/system" / unit, UNITS[unit])
        wanted = root / "etc/systemd/system/multi-user.target.wants" / unit
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.unlink(missing_ok=True)
        wanted.symlink_to(f"/etc/systemd/system/{unit}")


def _master(lab, root):
    _write(root / "etc/salt/master", json.dumps({
        "interface": lab.address(MASTER),
        "auto_accept": True,
        "file_roots": {"base": ["/srv/reprovision"]},
        "pillar_roots": {"base": ["/srv/pillar"]},
        "timeout": 10,
        "gather_job_timeout": 10,
        "worker_threads": 4,
        "log_level_logfile": "info",
        "enable_ssh_minions": False,
    }, indent=2))
    # The very file an operator would install.
    reactor = Path(lab.repository) / "reactor/master.d/reprovision.conf"
    if reactor.is_file():
        _write(root / "etc/salt/master.d/reprovision.conf", reactor.read_text())
    pillar(lab, root)
    _enable(root, "salt-master.service")
    for unit in ("mariadb.service",):
        (root / "etc/systemd/system/multi-user.target.wants" / unit).unlink(missing_ok=True)


def pillar(lab, root, on_drift=None, **sections):
    """The topology of this lab as the operator would write it: one file a site; and other sections, such as drift."""
    folder = root / "srv/pillar"
    shutil.rmtree(folder, ignore_errors=True)
    sites = lab.site_nodes()
    files = [f"tungsten.{site}" for site in sites] + ["tungsten.reprovision"]
    _write(folder / "top.sls", json.dumps({"base": {"*": files}}, indent=2))
    for site, nodes in sites.items():
        _write(folder / f"tungsten/{site}.sls", json.dumps({"tungsten": {"sites": {site: {
            "service": site,
            "nodes": nodes,
            "cluster_home": "/opt/continuent",
            "cross_site_home": "/opt/replicator",
            "user": "tungsten",
            "mysql": {"unit": "auto", "defaults_file": "/etc/mysql/my.cnf"},
            "on_drift": (on_drift or {}).get(site, "plan"),
        }}}}, indent=2))
    failed, definitive = list(sites)[:2]
    _write(folder / "tungsten/reprovision.sls", json.dumps({"tungsten": {**sections, "reprovision": {
        "failed": failed,
        "definitive": definitive,
        "donor": sites[definitive][-1],
        "method": "rsync",
        "replica_method": "xtrabackup",
    }}}, indent=2))


def _node(lab, name, root):
    site = lab.site_of(name)
    _write(root / "etc/salt/minion", json.dumps({
        "id": name,
        "master": lab.address(MASTER),
        "log_level_logfile": "info",
        "master_tries": -1,
        "acceptance_wait_time": 2,
        # Hosts start together; the master is not always first.
        "random_startup_delay": 0,
        "grains": {"lab": lab.name},
    }, indent=2))
    _write(root / "etc/mysql/mariadb.conf.d/99-host.cnf",
           f"[mariadbd]\nserver_id = {lab.domain(site) * 100 + int(name[len(site):])}\n"
           f"gtid_domain_id = {lab.domain(site)}\n")
    user, group = _ids(root, "tungsten")
    _write(root / "etc/tungsten/emulator.json", json.dumps({
        "host": name,
        "site": site,
        "sites": {
            each: {"domain": lab.domain(each), "nodes": nodes, "primary": nodes[0]}
            for each, nodes in lab.site_nodes().items()
        },
        "delays": lab.delays,
        "shared": "/var/lib/tungsten-emulator",
        "mysql_defaults": "/etc/tungsten/emulator.cnf",
    }, indent=2))
    secret = root / "etc/tungsten/emulator.cnf"
    _write(secret, "[client]\nuser=tungsten\npassword=lab-only\n", 0o600)
    shutil.chown(secret, user, group)
    _vendor_ini(lab, site, root)
    library = root / "usr/local/lib/tungsten_emulator"
    shutil.rmtree(library, ignore_errors=True)
    shutil.copytree(EMULATOR, library, ignore=shutil.ignore_patterns("__pycache__", "bin"))
    for tool, places in TOOLS.items():
        for place in places:
            _write(root / place, (EMULATOR / "bin" / tool).read_text(), 0o755)
    aliases = "".join(
        f'alias mm_{tool}="/{CROSS_SITE}/tungsten-replicator/bin/{tool}"\n' for tool in ("trepctl", "replicator"))
    _write(root / "opt/replicator/share/aliases.sh", aliases)
    _write(root / "opt/continuent/share/env.sh",
           f"export PATH=$PATH:/{CLUSTER}/tungsten-manager/bin:/{CLUSTER}/tungsten-replicator/bin\n"
           f"export PATH=$PATH:/{CLUSTER}/tungsten-replicator/scripts\n")
    _write(root / "home/tungsten/.bash_profile",
           ". /opt/continuent/share/env.sh\n. /opt/replicator/share/aliases.sh\n")
    _least_rights(lab, site, root, user, group)
    for home in ("opt/continuent", "opt/replicator"):
        # As the vendor's installer leaves them: root can read, other users cannot.
        run(["chown", "-R", f"{user}:{group}", root / home])
        (root / home).chmod(0o700)
    _enable(root, "tungsten-manager.service", "tungsten-replicator.service",
            "tungsten-cross-site-replicator.service", "salt-minion.service")


def _least_rights(lab, site, root, user, group):
    """The very files that an operator would install; to other sites the user has the restricted key alone."""
    examples = Path(lab.repository) / "examples"
    _write(root / "etc/sudoers.d/tungsten-reprovision", (examples / "sudoers/tungsten-reprovision").read_text(), 0o440)
    _write(root / "usr/local/sbin/reprovision-only", (examples / "ssh/reprovision-only").read_text(), 0o755)
    others = " ".join(host for each, nodes in lab.site_nodes().items() if each != site for host in nodes)
    settings = root / "home/tungsten/.ssh/config"
    _write(settings, f"Host {others}\n  IdentityFile ~/.ssh/id_reprovision\n  IdentitiesOnly yes\n", 0o600)
    shutil.chown(settings, user, group)


def _vendor_ini(lab, site, root):
    """The ini of a Multi-Site/Active-Active installation; a composite one would say composite-datasources."""
    text = "[defaults]\nuser=tungsten\nhome-directory=/opt/continuent\n"
    text += "[defaults.replicator]\nhome-directory=/opt/replicator\nrmi-port=10002\nexecutable-prefix=mm\n"
    for each, nodes in lab.site_nodes().items():
        text += f"[{each}]\ntopology=clustered\nmaster={nodes[0]}\nmembers={','.join(nodes)}\n"
        text += f"connectors={','.join(nodes)}\n"
        if each != site:
            text += f"[{each}_{site}]\ntopology=cluster-slave\nmaster-dataservice={each}\nslave-dataservice={site}\n"
    _write(root / "etc/tungsten/tungsten.ini", text)


def _ids(root, user):
    for line in (root / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == user:
            return int(fields[2]), int(fields[3])
    raise KeyError(user)


def shared_directory(lab):
    """Made anew for every lab: the state of the emulated managers and replicators."""
    lab.shared.mkdir(parents=True, exist_ok=True)
    some_node = lab.hosts()[1]
    user, group = _ids(lab.root(some_node), "tungsten")
    shutil.chown(lab.shared, user, group)


def network_address():
    return f"{NETWORK}.1/24"
