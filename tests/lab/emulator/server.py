"""One MariaDB server of the lab, seen as what replication services need of it.

A service is a named replica connection; its position is that of its site's GTID domain.
"""

from . import config, db

_TABLES = """
SET sql_log_bin = 0;
CREATE DATABASE IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.trep_commit_seqno (
  task_id INT NOT NULL PRIMARY KEY, seqno BIGINT, fragno SMALLINT, last_frag CHAR(1), source_id VARCHAR(128),
  epoch_number BIGINT, eventid VARCHAR(128), applied_latency INT, update_timestamp TIMESTAMP NULL,
  shard_id VARCHAR(128), extract_timestamp TIMESTAMP NULL) ENGINE=InnoDB;
"""
# Written to the binary log: it has to come by replication wherever the service's transactions go.
_HEARTBEAT_TABLE = """
CREATE DATABASE IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.heartbeat (
  id BIGINT NOT NULL PRIMARY KEY, seqno BIGINT, eventid VARCHAR(128), source_tstamp TIMESTAMP NULL,
  target_tstamp TIMESTAMP NULL, lag_millis BIGINT, salt BIGINT, name VARCHAR(128)) ENGINE=InnoDB;
"""


def gtids(text):
    """``{domain: "1-101-7"}`` of a GTID position."""
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    return {int(part.split("-")[0]): part for part in parts}


def seqno(text, domain):
    """Tungsten counts from 0, GTIDs from 1; -1 before the first transaction."""
    gtid = gtids(text).get(domain)
    return int(gtid.split("-")[2]) - 1 if gtid else -1


class Server:
    """Every method raises db.DbDown when the server does not answer."""

    def __init__(self, host):
        self.host = host

    def _query(self, sql, timeout=20):
        return db.query(self.host, sql, timeout)

    # What is where

    def written(self, domain):
        """(seqno, event id) of the last transaction of a domain that this server wrote or took over."""
        position = db.scalar(self.host, "SELECT @@GLOBAL.gtid_current_pos")
        row = (self._query("SHOW MASTER STATUS") or [{"File": "mysql-bin.000000", "Position": "0"}])[0]
        return seqno(position, domain), f"{row['File']}:{int(row['Position']):016d};-1"

    def applied(self, domain):
        """seqno of the last transaction of a domain that replication applied here."""
        return seqno(db.scalar(self.host, "SELECT @@GLOBAL.gtid_slave_pos"), domain)

    def connections(self):
        """``{name: row of SHOW ALL SLAVES STATUS}``"""
        return {row["Connection_name"]: row for row in self._query("SHOW ALL SLAVES STATUS")}

    def clients(self):
        """Hosts that are pulling this server's log."""
        rows = self._query(
            "SELECT DISTINCT SUBSTRING_INDEX(HOST, ':', 1) AS address"
            " FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%' ORDER BY 1"
        )
        return [row["address"] for row in rows]

    # The connection of a service

    def connect(self, name, source, domain):
        """(Re)make a connection and start it.

        Always made anew: relay logs are expendable with GTID positions, and those of a copied data directory
        belong to another host.
        """
        self.disconnect(name)
        user, password = config.credentials()
        self._query(
            f"CHANGE MASTER {db.quote(name)} TO MASTER_HOST={db.quote(source)}, MASTER_USER={db.quote(user)},"
            f" MASTER_PASSWORD={db.quote(password)}, MASTER_USE_GTID=slave_pos, DO_DOMAIN_IDS=({domain:d}),"
            " MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=2;"
            f" START SLAVE {db.quote(name)}",
            timeout=120,
        )

    def stop(self, name):
        """Stop a connection; waits for an applier that is blocked, as the real one does."""
        if name in self.connections():
            self._query(f"STOP SLAVE {db.quote(name)}", timeout=900)

    def disconnect(self, name):
        """Stop a connection and forget all about it but the position."""
        if name in self.connections():
            self._query(f"STOP SLAVE {db.quote(name)}; RESET SLAVE {db.quote(name)} ALL", timeout=900)

    def set_position(self, domain, gtid=None, empty_binlog=False):
        """Set the position of one domain, or drop it; the others are where THEIR services resume."""
        running = [
            name
            for name, row in self.connections().items()
            if "No" not in (row["Slave_IO_Running"], row["Slave_SQL_Running"])
        ]
        if running:
            self._query("STOP ALL SLAVES", timeout=900)
        position = gtids(db.scalar(self.host, "SELECT @@GLOBAL.gtid_slave_pos"))
        position.pop(domain, None)
        if gtid:
            position[domain] = gtid
        # RESET MASTER first: a position behind the server's own log draws a conflict.
        self._query(
            ("RESET MASTER; " if empty_binlog else "")
            + f"SET GLOBAL gtid_slave_pos = {db.quote(','.join(position.values()))}",
            timeout=120,
        )
        for name in running:
            self._query(f"START SLAVE {db.quote(name)}")

    def skip(self, domain, number):
        """Take transactions up to a seqno for applied."""
        server_id = db.scalar(config.primary(self._site(domain)), "SELECT @@GLOBAL.server_id")
        self.set_position(domain, f"{domain}-{server_id}-{number + 1}")

    @staticmethod
    def _site(domain):
        return next(site for site in config.load()["sites"] if config.domain(site) == domain)

    # The tracking schema of a service

    def track(self, service, number, source, event):
        """The one row of trep_commit_seqno: this host's own, never replicated."""
        schema = f"`tungsten_{service}`"
        row = (
            f"SET sql_log_bin = 0; REPLACE INTO {schema}.trep_commit_seqno VALUES (0, {number:d}, 0, '1',"
            f" {db.quote(source)}, 0, {db.quote(event)}, 0, NOW(), 'app', NOW())"
        )
        try:
            self._query(row, timeout=5)
        except db.DbError as error:
            # No such table, no such schema.
            if "ERROR 1146" not in str(error) and "ERROR 1049" not in str(error):
                raise
            self._query(f"{_TABLES.format(schema=schema)} {row}", timeout=5)

    def heartbeat(self, service, source, name):
        schema = f"`tungsten_{service}`"
        there = db.scalar(
            self.host,
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME = 'heartbeat'"
            f" AND TABLE_SCHEMA = {db.quote(f'tungsten_{service}')}",
        )
        # As a statement: it must apply to replicas that have the row and to those that do not.
        self._query(
            ("" if there == "1" else _HEARTBEAT_TABLE.format(schema=schema))
            + f"SET SESSION binlog_format = STATEMENT; REPLACE INTO {schema}.heartbeat"
            f" VALUES (1, NULL, NULL, NOW(), NULL, NULL, {len(source)}, {db.quote(name)})"
        )

    def drop_tracking(self, service):
        schema = f"`tungsten_{service}`"
        self._query(
            f"SET sql_log_bin = 0; DROP TABLE IF EXISTS {schema}.trep_commit_seqno, {schema}.heartbeat"
        )

    def purge(self):
        """Kill the sessions of others; returns how many."""
        user, _ = config.credentials()
        rows = self._query(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE USER NOT IN"
            f" ({db.quote(user)}, 'system user', 'event_scheduler') AND COMMAND <> 'Daemon'"
        )
        for row in rows:
            self._query(f"KILL {int(row['ID'])}")
        return len(rows)
