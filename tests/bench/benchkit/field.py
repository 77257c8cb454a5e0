"""The lab as every run finds it: filled, written to at all sites, one site drifted; and the proof of what a run did."""

import contextlib
import io
import json

import demo
from labkit import data, hosts, plan, salt
from labkit.plan import MASTER
from labkit.shell import LabError, say

# Half of the data lies in the three tables that are written to all over, half in tables that nobody writes to, as most
# data of a site are.
LOADED_SHARE = 0.5
ARCHIVE, ARCHIVE_TABLES = "archive", 20
ARCHIVE_ROW_BYTES = 500
DATADIR = "/var/lib/mysql"
FAILED, DEFINITIVE = demo.FAILED, demo.DEFINITIVE


class Field:
    """A lab of its own for one setting."""

    def __init__(self, lab, megabytes, link):
        self.lab, self.megabytes, self.link = lab, megabytes, link
        # Whether it is up, and all is as it must be before a run.
        self.known = False
        self.primary, self.donor = lab.site_nodes()[FAILED][0], lab.site_nodes()[DEFINITIVE][-1]
        self.rows = self.identity = None

    def bring_up(self):
        """A new lab, unless there is one on which all is right."""
        if self.known:
            return
        left = self.lab.home / "lab.json"
        hosts.down(plan.Lab.load(self.lab.name) if left.exists() else self.lab)
        hosts.up(self.lab)
        salt.ready(self.lab)
        data.wait_online(self.lab)
        operators_key(self.lab, self.donor, self.primary)
        say(f"  filling every node with {self.megabytes} MB")
        self.rows = data.fill(self.lab, self.megabytes * LOADED_SHARE)
        fill_archive(self.lab, self.megabytes * (1 - LOADED_SHARE))
        self.identity = data.identity(self.lab, self.primary)
        if self.link:
            narrow(self.lab, self.donor, self.link)
        self.known = True

    def bytes_of_donor(self):
        """The size of what is copied."""
        done = hosts.execute(self.lab, self.donor, ["du", "--summarize", "--bytes", DATADIR], capture=True)
        return int(done.stdout.split()[0])

    def drift(self):
        """Write at all sites from now on; make the failed one differ, and see that nothing else is the matter."""
        data.start_load(self.lab, self.rows)
        data.wait_online(self.lab)
        data.make_drift(self.lab, FAILED, self.rows)
        sums = data.resting(self.lab, self.rows)
        kinds = {site: {str(sums[host]) for host in nodes} for site, nodes in self.lab.site_nodes().items()}
        good = {kind for site, found in kinds.items() if site != FAILED for kind in found}
        if len(good) != 1 or kinds[FAILED] & good:
            raise LabError("the failed site does not differ from the others, or these differ: nothing to repair")

    def prove(self):
        """Stop writing; raise LabError unless all is as it must be after a run."""
        written = data.stop_load(self.lab)
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            data.settled(self.lab)
            wrong = demo.failures(self.lab, self.identity, written)
        if len({json.dumps(sums, sort_keys=True) for sums in archive_sums(self.lab).values()}) != 1:
            wrong.append(f"the nodes' checksums of {ARCHIVE} differ")
        if wrong:
            raise LabError(f"{'; '.join(wrong)}\n{told.getvalue()}")


def narrow(lab, host, megabits):
    """What a host sends goes through a link of so many megabits a second."""
    limit = ["tc", "qdisc", "add", "dev", "host0", "root", "tbf", "rate", f"{megabits}mbit", "burst", "1mb", "latency",
             "50ms"]
    done = hosts.execute(lab, host, limit, capture=True)
    if done.returncode:
        raise LabError(f"{host}: {done.stderr.strip()}")


def fill_archive(lab, megabytes):
    """Many tables that rest, alike on every node. They can be compressed to half, as a site's data about can: those of
    the loaded tables repeat themselves, which would flatter a copy that compresses."""
    rows = max(10, int(megabytes * 1e6 / ARCHIVE_ROW_BYTES / ARCHIVE_TABLES))
    note = ", ".join(f"SHA2(CONCAT(seq, 'p{part}'), 512)" for part in range(4))
    text = f"SET sql_log_bin=0; CREATE DATABASE {ARCHIVE}; USE {ARCHIVE};"
    for number in range(1, ARCHIVE_TABLES + 1):
        text += f"""
            CREATE TABLE year{number:02} (id INT PRIMARY KEY, customer INT, note VARCHAR(600)) ENGINE=InnoDB;
            INSERT INTO year{number:02} SELECT seq, seq % 9973, CONCAT('{number}', {note}) FROM seq_1_to_{rows};"""
    data.everywhere(lab, lambda host: data.sql(lab, host, text, timeout=3600))


def archive_sums(lab):
    names = ", ".join(f"{ARCHIVE}.year{number:02}" for number in range(1, ARCHIVE_TABLES + 1))
    return data.everywhere(
        lab, lambda host: [row[:2] for row in data.sql(lab, host, f"CHECKSUM TABLE {names};", timeout=3600)])


def operators_key(lab, donor, primary):
    """An ssh key with which an operator on the master reaches root and the Tungsten user everywhere, and the donor's
    root the failed primary's. One connection a host is kept open, as such people have it."""
    ssh = lab.root(MASTER) / "root/.ssh"
    made = hosts.execute(lab, MASTER, ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f",
                                       "/root/.ssh/id_ed25519"], capture=True)
    if made.returncode:
        raise LabError(f"no key for the operator: {made.stderr.strip()}")
    private, public = (ssh / "id_ed25519").read_text(), (ssh / "id_ed25519.pub").read_text()
    known = (lab.root(donor) / "home/tungsten/.ssh/known_hosts").read_text()
    (ssh / "known_hosts").write_text(known)
    (ssh / "config").write_text(
        "Host *\n  BatchMode yes\n  ControlMaster auto\n  ControlPersist 60\n  ControlPath ~/.ssh/%C\n")
    for host in lab.hosts()[1:]:
        for home in ("root", "home/tungsten"):
            path = lab.root(host) / home / ".ssh/authorized_keys"
            path.write_text((path.read_text() if path.exists() else "") + public)
    lent = lab.root(donor) / "root/.ssh"
    (lent / "id_ed25519").write_text(private)
    (lent / "id_ed25519").chmod(0o600)
    (lent / "known_hosts").write_text(known)
