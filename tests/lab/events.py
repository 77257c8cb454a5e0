"""Send many events from a minion, as fast as it can: a monitoring gone wild, or somebody who has taken it over.

    events.py COUNT BYTES TAG [JSON]

Runs inside a host, with its Salt's own Python. BYTES of rubbish go along with each.
"""

import json
import sys

import salt.client


def main(count, size, tag, data="{}"):
    caller = salt.client.Caller()
    payload = {**json.loads(data), "rubbish": "x" * int(size)}
    sent = sum(bool(caller.cmd("event.send", tag, payload)) for _ in range(int(count)))
    print(sent)


main(*sys.argv[1:])
