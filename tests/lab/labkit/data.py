"""The sites' data: fill it, write to it, make it drift, and prove it equal without the extension's help."""

import json
import threading
import time
from pathlib import Path

from . import hosts
from .shell import LabError, say

SCHEMA = "shop"
TABLES = ("orders", "items", "payments")
ROW_BYTES = 500
# Rows above this share of a table are left alone by the write load, so that drift made there stays as it was made.
LOADED_SHARE = 0.9
UNIT = "lab-load"
JOURNAL = "/var/tmp/lab-load.journal"


def sql(lab, host, text, timeout=300):
    """Run SQL on one host as root; return rows of text fields."""
    done = hosts.execute(lab, host, ["mariadb", "--batch", "--skip-column-names"], capture=True, timeout=timeout,
                         stdin=text)
    if done.returncode:
        raise LabError(f"{host}: {done.stderr.strip()}")
    return [line.split("\t") for line in done.stdout.splitlines()]


def everywhere(lab, function, nodes=None):
    """Call ``function(host)`` for all nodes at once; return ``{host: result}``."""
    nodes = nodes or lab.hosts()[1:]
    results, errors = {}, {}

    def one(host):
        try:
            results[host] = function(host)
        except Exception as error:  # shown below, with the host's name
            errors[host] = error

    threads = [threading.Thread(target=one, args=(host,)) for host in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise LabError("; ".join(f"{host}: {error}" for host, error in sorted(errors.items())))
    return {host: results[host] for host in nodes}


def fill(lab, megabytes):
    """Put the same rows on every node, as restoring one backup everywhere would; the binary logs stay empty."""
    rows = max(100, int(megabytes * 1e6 / ROW_BYTES / len(TABLES)))
    text = f"SET sql_log_bin=0; CREATE DATABASE IF NOT EXISTS {SCHEMA}; USE {SCHEMA};"
    for table in TABLES:
        text += f"""
            CREATE TABLE {table} (id INT PRIMARY KEY, customer INT, amount DECIMAL(10,2), at DATETIME,
                                  note VARCHAR(600), KEY (customer)) ENGINE=InnoDB;
            INSERT INTO {table} SELECT seq, seq % 9973, seq % 100000 / 100,
                '2026-01-01' + INTERVAL seq SECOND, REPEAT(MD5(seq), 13) FROM seq_1_to_{rows};"""
    text += """
        CREATE TABLE ledger (site CHAR(12), number BIGINT, at DATETIME(6), note VARCHAR(100),
                             PRIMARY KEY (site, number));"""
    everywhere(lab, lambda host: sql(lab, host, text, timeout=3600))
    return rows


def start_load(lab, rows, every_ms=20):
    """Write at every site's primary as its applications do: only while the site's routers are ONLINE."""
    for site, nodes in lab.site_nodes().items():
        program = f"/usr/local/lib/tungsten_emulator/{UNIT}.py"
        (lab.root(nodes[0]) / program.lstrip("/")).write_text(
            (Path(__file__).resolve().parents[1] / "load.py").read_text())
        hosts.execute(lab, nodes[0], [
            "systemd-run", f"--unit={UNIT}", "--quiet", "/usr/bin/python3", program, site,
            str(int(rows * LOADED_SHARE)), str(lab.domain(site)), str(lab.sites), str(every_ms), JOURNAL,
        ], capture=True)


def stop_load(lab):
    """Stop all writing; return ``{site: numbers that were committed there}``."""
    written = {}
    for site, nodes in lab.site_nodes().items():
        hosts.execute(lab, nodes[0], ["systemctl", "stop", UNIT], capture=True)
        journal = lab.root(nodes[0]) / JOURNAL.lstrip("/")
        written[site] = [int(line) for line in journal.read_text().split()] if journal.exists() else []
    return written


def committed(lab, site):
    """How many transactions the load has committed at a site so far."""
    journal = lab.root(lab.site_nodes()[site][0]) / JOURNAL.lstrip("/")
    return len(journal.read_text().split()) if journal.exists() else 0


def make_drift(lab, site, rows):
    """Change, delete and add rows behind replication's back, on every node of the site differently."""
    first = int(rows * LOADED_SHARE) + 10
    for number, host in enumerate(lab.site_nodes()[site]):
        at = first + number * 5
        sql(lab, host, f"""
            SET sql_log_bin=0; USE {SCHEMA};
            UPDATE orders SET note='changed behind replication on {host}' WHERE id IN ({at}, {at + 1});
            DELETE FROM items WHERE id BETWEEN {at} AND {at + 2 + number};
            INSERT INTO payments VALUES ({rows + 1000 + number}, 1, 1.00, NOW(), 'only on {host}');""")


def checksums(lab):
    """``{host: {table: checksum}}`` by MariaDB's own CHECKSUM TABLE; meaningful when nothing is being written."""
    names = ", ".join(f"{SCHEMA}.{table}" for table in (*TABLES, "ledger"))
    return {
        host: dict(rows) for host, rows in
        everywhere(lab, lambda host: [row[:2] for row in sql(lab, host, f"CHECKSUM TABLE {names};")]).items()
    }


def resting(lab, rows):
    """``{host: {table: checksum}}`` of the rows that the load leaves alone: comparable while it goes on."""
    return everywhere(lab, lambda host: resting_on(lab, host, rows))


def resting_on(lab, host, rows):
    """``{table: checksum}`` of one host's rows that the load leaves alone."""
    first = int(rows * LOADED_SHARE) + 1
    text = "".join(
        f"SELECT '{SCHEMA}.{table}', BIT_XOR(CRC32(CONCAT_WS('#', id, customer, amount, at, note))) "
        f"FROM {SCHEMA}.{table} WHERE id >= {first};" for table in TABLES)
    return dict(sql(lab, host, text))


def settled(lab, timeout=120):
    """Wait until every node has applied all that any primary has logged."""
    def position(host, variable):
        return dict(
            (int(gtid.split("-")[0]), int(gtid.split("-")[2]))
            for row in sql(lab, host, f"SELECT @@{variable}") for gtid in row[0].split(",") if gtid.strip()
        )

    wanted = {}
    for site, nodes in lab.site_nodes().items():
        domain = lab.domain(site)
        wanted[domain] = (nodes[0], position(nodes[0], "gtid_binlog_pos").get(domain, 0))
    deadline = time.monotonic() + timeout
    while True:
        behind = []
        for host, have in everywhere(lab, lambda host: position(host, "gtid_slave_pos")).items():
            behind.extend(f"{host} has {have.get(domain, 0)} of {seqno} in domain {domain}"
                          for domain, (primary, seqno) in wanted.items()
                          if host != primary and have.get(domain, 0) < seqno)
        if not behind:
            return
        if time.monotonic() > deadline:
            raise LabError(f"positions have not caught up within {timeout} s: {'; '.join(behind)}")
        time.sleep(0.5)


def missing(lab, site, numbers):
    """``{host: committed transactions of the site's load that this host has not}``"""
    lost = {}
    for host, rows in everywhere(
            lab, lambda host: sql(lab, host, f"SELECT number FROM {SCHEMA}.ledger WHERE site='{site}'")).items():
        gone = set(numbers) - {int(row[0]) for row in rows}
        if gone:
            lost[host] = sorted(gone)
    return lost


def identity(lab, host):
    """What must be this host's own after a copy, and how its data directory looks from outside."""
    server_id = sql(lab, host, "SELECT @@server_id")[0][0]
    look = hosts.execute(lab, host, ["stat", "-c", "%U:%G %a", "/var/lib/mysql"], capture=True).stdout.strip()
    return {"server_id": server_id, "data directory": look}


def cluster(lab):
    """``{site: {"policy", "routers", "services"}}`` read from the tools themselves, not through the extension."""
    tool = "/opt/{}/tungsten/tungsten-replicator/bin/trepctl"
    result = {}
    for site, nodes in lab.site_nodes().items():
        listing = hosts.execute(
            lab, nodes[0], ["runuser", "-u", "tungsten", "--",
                            "/opt/continuent/tungsten/tungsten-manager/bin/cctrl", "-expert"],
            capture=True, stdin="ls\n").stdout
        coordinator = listing.split("COORDINATOR[", 1)[-1].split("]")[0].split(":")
        routers = [line for line in listing.splitlines() if line.startswith("|connector@")]

        def states(host):
            found = {}
            for which in ("continuent", "replicator"):
                text = hosts.execute(lab, host, ["runuser", "-u", "tungsten", "--", tool.format(which), "services",
                                                 "-json"], capture=True).stdout
                for service in json.loads(text[text.find("["):]):
                    kind = "cluster" if which == "continuent" else "cross-site"
                    found[f"{kind} {service['serviceName']}"] = service["state"]
            return found

        result[site] = {
            "policy": coordinator[1] if len(coordinator) > 1 else "?",
            "routers": {line.split("@")[1].split("[")[0]: line.split("(")[1].split(",")[0] for line in routers},
            "datasources": {
                line.split("(")[0].strip("|"): line.split(":")[1].split(",")[0].split("(")[0]
                for line in listing.splitlines()
                if line.startswith(tuple(f"|{node}(" for node in nodes))
            },
            "services": everywhere(lab, states, nodes),
        }
    return result


def wait_online(lab, timeout=120):
    """Wait until every service of every node is ONLINE."""
    deadline = time.monotonic() + timeout
    while True:
        wrong = [
            f"{host} {service} {state}" for site in cluster(lab).values()
            for host, services in site["services"].items() for service, state in services.items() if state != "ONLINE"
        ]
        if not wrong:
            say("  every replicator is ONLINE: done")
            return
        if time.monotonic() > deadline:
            raise LabError(f"not ONLINE after {timeout} s: {', '.join(wrong)}")
        time.sleep(1)
