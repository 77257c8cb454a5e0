"""
Start a runner's function in the background from within the reactor.

The reactor's threads work side by side. What is forked from them, as Salt's own ``asynchronous`` does it, inherits
every lock that another thread held at that moment, and may wait for it for ever: so a look was lost in a storm of
events. A process that is started anew has one thread, and forks what is to go on from there.
"""

import json
import sys

from salt.exceptions import CommandExecutionError

__virtualname__ = "freshjob"

SECONDS = 120
# Its name for the caller is Salt's for a reactor, by which plans know that no person has made them.
PROGRAM = """
import json, sys
import salt.config, salt.runner
path, function, words = sys.argv[1:]
client = salt.runner.RunnerClient(salt.config.master_config(path))
print(json.dumps(client.asynchronous(function, json.loads(words), user="Reactor")))
"""


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "freshjob starts runners on the master; this is a minion"
    return __virtualname__


def start(function, words):
    """
    Start a runner's function and return while it works.

    function
        The runner's function, e.g. ``drift.look``.
    words
        Its arguments by name, fit for JSON. They stand in the command line of the process that starts it, so nothing
        secret may be among them.

    Returns ``{"jid", "tag"}`` of the job. Raises CommandExecutionError when it could not be started, with what Python
    said.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd freshjob.start drift.look '{"site": "east", "reporter": "east2"}'
    """
    done = __salt__["cmd.run_all"](
        [sys.executable, "-c", PROGRAM, __opts__["conf_file"], function, json.dumps(words)],
        python_shell=False, timeout=SECONDS, ignore_retcode=True)
    try:
        job = json.loads(done["stdout"].splitlines()[-1])
        return {"jid": job["jid"], "tag": job["tag"]}
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise CommandExecutionError(
            f"{function} could not be started in the background; Python ended with {done['retcode']}: "
            f"{(done['stderr'] or done['stdout'])[-500:] or 'it said nothing'}") from error
