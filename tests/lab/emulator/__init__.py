"""The vendor's command-line tools, emulated for the lab on MariaDB's own replication."""
