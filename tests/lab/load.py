"""The lab's applications: write at one site's primary while its routers are ONLINE, and note what was committed.

    load.py SITE ROWS DOMAIN SITES EVERY_MS JOURNAL

Each site inserts into the ledger under its own name and updates only rows whose id is its own modulo the number of
sites, as applications of active/active sites must. Runs inside a host, with nothing but Python and the client.
"""

import json
import random
import subprocess
import sys
import time

STATE = "/var/lib/tungsten-emulator/{site}/manager.json"


def routers_online(site):
    try:
        with open(STATE.format(site=site)) as state:
            routers = json.load(state)["routers"].values()
        return any(router["state"] == "ONLINE" for router in routers)
    except (OSError, ValueError, KeyError):
        return False


def session():
    return subprocess.Popen(
        ["mariadb", "--batch", "--skip-column-names", "--unbuffered", "shop"], text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def last(journal):
    """The last number that was committed by an earlier load, so that this one goes on from there."""
    try:
        with open(journal) as committed:
            return max(map(int, committed.read().split()), default=0)
    except FileNotFoundError:
        return 0


def main(site, rows, domain, sites, every_ms, journal):
    client, number = session(), last(journal)
    with open(journal, "a", buffering=1) as committed:
        while True:
            time.sleep(int(every_ms) / 1000)
            if not routers_online(site):
                continue
            number += 1
            own = random.randrange(1, int(rows) // int(sites)) * int(sites) + int(domain) - 1
            table = random.choice(("orders", "items", "payments"))
            try:
                client.stdin.write(
                    "BEGIN;"
                    f"INSERT INTO ledger VALUES ('{site}', {number}, NOW(6), REPEAT('x', {number % 100}));"
                    f"UPDATE {table} SET amount = amount + 1, note = CONCAT('{site} ', {number}) WHERE id = {own};"
                    f"COMMIT; SELECT {number};\n")
                client.stdin.flush()
                if client.stdout.readline().strip() == str(number):
                    committed.write(f"{number}\n")
                    continue
            except OSError:
                pass
            # The server went away; whether the last one was committed is not known, so it is not in the journal.
            client.kill()
            time.sleep(0.5)
            client = session()


main(*sys.argv[1:])
