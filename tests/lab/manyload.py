"""The applications of a site that writes to many tables: while its routers are ONLINE, and noting what was committed.

    manyload.py ORDER.json

As applications of active/active sites must, it writes only to rows whose number is the site's own modulo the number of
sites: it changes, deletes and inserts them again, some again and again, and adds new ones. Numbers that rest are left
alone. Runs inside a host, with nothing but Python and the client; ``labkit/manytables.py`` writes its order.
"""

import json
import random
import subprocess
import sys
import time
from collections import deque

STATE = "/var/lib/tungsten-emulator/{site}/manager.json"
WRITES = 3
HOT = 5


def routers_online(site):
    try:
        with open(STATE.format(site=site)) as state:
            routers = json.load(state)["routers"].values()
        return any(router["state"] == "ONLINE" for router in routers)
    except (OSError, ValueError, KeyError):
        return False


class Table:
    def __init__(self, order, about):
        self.order, self.about = order, about
        # Numbers that were inserted lately, and those that were deleted.
        self.recent, self.gone = deque(maxlen=200), deque(maxlen=1000)

    def own(self, most):
        """A number of a row of this site that may be written to."""
        sites, rest = self.order["sites"], self.order["domain"] - 1
        gap, resting = self.order["gap"], self.order["resting"]
        while True:
            n = random.randrange(0, most // sites) * sites + rest
            if n and n % gap[0] != gap[1] and n % resting[0] != resting[1]:
                return n

    def write(self, number, fresh):
        """One statement; ``fresh`` is a number that no row has had."""
        chance = random.random()
        verb, n = "update", None
        if chance < 0.15:
            n = self.own(min(self.about["top"], HOT * self.order["resting"][0]))
        elif chance < 0.25:
            verb, n = "insert", fresh
            self.recent.append(n)
        elif chance < 0.30 and self.gone:
            verb, n = "insert", self.gone.popleft()
        elif chance < 0.38:
            verb, n = "delete", self.own(self.about["top"])
            self.gone.append(n)
        elif chance < 0.45 and self.recent:
            n = random.choice(self.recent)
        else:
            n = self.own(self.about["top"])
        text = self.about[verb]
        for mark, value in (("{n}", n), ("{number}", number), ("{site}", self.order["site"])):
            text = text.replace(mark, str(value))
        return text


def session():
    # Its errors are for the host's journal.
    return subprocess.Popen(
        ["mariadb", "--batch", "--skip-column-names", "--unbuffered", "--default-character-set=utf8mb4", "shop"],
        encoding="utf-8", bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def transaction(order, tables, number):
    chosen = [random.choice(tables) for _ in range(WRITES)]
    # Applying a change of a table without a key locks all of its rows: last, and so not for long.
    chosen.sort(key=lambda table: table.about["keyless"])
    beyond = order["beyond"] + order["domain"] - 1
    writes = [table.write(number, beyond + (number * WRITES + at) * order["sites"]) for at, table in enumerate(chosen)]
    ledger = f"INSERT INTO ledger VALUES ('{order['site']}', {number}, NOW(6), REPEAT('x', {number % 100}));"
    return f"BEGIN; {ledger} {' '.join(writes)} COMMIT; SELECT {number};\n"


def main(path):
    with open(path) as file:
        order = json.load(file)
    tables = [Table(order, about) for about in order["tables"]]
    client, number = session(), None
    with open(order["journal"], "a", buffering=1) as committed:
        while True:
            time.sleep(order["every_ms"] / 1000)
            if not routers_online(order["site"]):
                continue
            try:
                if number is None:
                    # A load that is started again goes on where the last one stopped.
                    client.stdin.write(f"SELECT COALESCE(MAX(number), 0) FROM ledger WHERE site = '{order['site']}';\n")
                    client.stdin.flush()
                    number = int(client.stdout.readline())
                number += 1
                client.stdin.write(transaction(order, tables, number))
                client.stdin.flush()
                if client.stdout.readline().strip() == str(number):
                    committed.write(f"{number}\n")
                    continue
            except (OSError, ValueError):
                pass
            # The server went away; whether the last one was committed is not known, so it is not in the journal.
            client.kill()
            client.wait()
            time.sleep(0.5)
            client = session()


main(*sys.argv[1:])
