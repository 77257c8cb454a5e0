"""
Tell people about a run or a plan: by a webhook, or in the master's syslog, as the master's configuration says.

The master tells by itself, when it writes its records. It is no reaction to an event, since events can be forged. That
nobody could be told is logged, and stops nothing.

.. code-block:: yaml

    # /etc/salt/master.d/reprovision.conf
    reprovision_notify:
      - webhook: https://chat.example.org/hooks/…     # the address may be a secret: it is in no log, event or record
        on: [approval, failed]                        # started, approval, failed, done; all of them if not given
      - syslog: user                                  # a facility
"""

import json
import logging
import re
import ssl
import syslog
import threading
import urllib.error
import urllib.parse
import urllib.request

import salt.utils.http

log = logging.getLogger(__name__)

__virtualname__ = "notify"

# What may be told, and how urgent that is.
PRIORITIES = {
    "started": syslog.LOG_NOTICE, "approval": syslog.LOG_WARNING, "failed": syslog.LOG_ERR, "done": syslog.LOG_NOTICE}
# By the state in a run's record.
OF_A_RUN = {"running": "started", "failed": "failed", "aborted": "failed", "done": "done"}
FACILITIES = {name: getattr(syslog, f"LOG_{name.upper()}") for name in (
    "user", "daemon", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7")}
URL = re.compile(r"https?://[!-~]+")
SECONDS = 10
# What a chat takes; some refuse what is longer.
MOST = 3000


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "notify tells people what the master does; this is a minion"
    return __virtualname__


def of_run(run):
    """
    Tell that a run has started, or goes on, has failed or was stopped, or is done.

    run
        Its record.

    Returns what ``send`` returns.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd notify.of_run "$record"
    """
    text = __salt__["runreport.text"](__salt__["runreport.tell"](run, run["state"]))
    return send(OF_A_RUN[run["state"]], run["failed"], text, run=run["run"])


def of_plan(plan):
    """
    Tell that a plan waits for somebody to approve it.

    plan
        As ``plans.propose`` returns it.

    Returns what ``send`` returns.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd notify.of_plan "$plan"
    """
    why = f": {plan['why']}" if plan["why"] else ""
    text = (f"Plan {plan['plan']} waits for approval until {plan['expires']}: to re-provision site {plan['site']}.\n"
            f"Made by {plan['by']}{why}.\n"
            f"salt-run reprovision.approve {plan['plan']}\nsalt-run reprovision.deny {plan['plan']}")
    return send("approval", plan["site"], text, plan=plan["plan"])


def send(what, site, text, **more):
    """
    Tell something in every way that the master's configuration names for it.

    what
        ``started``, ``approval``, ``failed`` or ``done``.
    site
        The site.
    text
        What to tell. A webhook gets ``{"text", "what", "site", …}`` as JSON, which chats understand; syslog one line.
    more
        Further keys of the JSON.

    Returns ``[{"way": "webhook" or "syslog", "fault": None or why it was not told}]``. Raises nothing.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd notify.send done east 'only to try it'
    """
    entries = __opts__.get("reprovision_notify") or []
    if not isinstance(entries, list):
        log.warning("reprovision_notify has to be a list: %r of site %s was not told", what, site)
        return [{"way": None, "fault": "reprovision_notify has to be a list"}]
    # What a tool said is shown, not obeyed.
    text = __salt__["runwords.printable"](text)
    message = {"text": text if len(text) <= MOST else f"{text[:MOST]}…", "what": what, "site": site, **more}
    told = []
    for number, entry in enumerate(entries, start=1):
        way, fault = _way(entry), _fault(entry)
        if not fault and what not in (entry.get("on") or PRIORITIES):
            continue
        fault = fault or _tried(WAYS[way], entry[way], message)
        if fault:
            log.warning("reprovision_notify, entry %s: %r of site %s was not told: %s", number, what, site, fault)
        told.append({"way": way, "fault": fault})
    return told


def _tried(way, where, message):
    """Why it was not told. A call's own limit would not hold: it is for each look-up, each piece of an answer."""
    faults = [f"no answer within {SECONDS} s"]
    # Salt's dunders are not there in a thread.
    trusted = salt.utils.http.get_ca_bundle(__opts__)

    def work():
        try:
            way(where, message, trusted)
            faults.clear()
        except urllib.error.HTTPError as error:
            faults[:] = [f"HTTP status {error.code}"]
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the run goes on
            # Its kind, and not its words: the address may stand in them, and what the other side said.
            faults[:] = [type(getattr(error, "reason", error)).__name__]

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return faults[0] if faults else None


def _way(entry):
    found = [way for way in WAYS if isinstance(entry, dict) and way in entry]
    return found[0] if len(found) == 1 else None


def _fault(entry):
    """What is wrong with an entry of the configuration; its values may be secret and are not quoted."""
    way = _way(entry)
    if not way or set(entry) - {way, "on"}:
        return "it has to have either webhook or syslog, and beside it only on"
    if not isinstance(entry.get("on", []), list) or set(map(str, entry.get("on", []))) - set(PRIORITIES):
        return f"on has to be a list of {', '.join(PRIORITIES)}"
    if way == "webhook" and not _is_address(entry[way]):
        return "webhook has to be an address that begins with http:// or https://, without a name or password before @"
    if way == "syslog" and entry[way] not in list(FACILITIES):
        return f"syslog has to be one of {', '.join(FACILITIES)}"
    return None


def _is_address(text):
    try:
        parts = urllib.parse.urlsplit(text) if isinstance(text, str) and URL.fullmatch(text) else None
        return bool(parts and parts.hostname and "@" not in parts.netloc and (parts.port or True))
    except ValueError:
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Followed, it would lose the message and be answered with 200."""

    def redirect_request(self, *_):
        return None


def _webhook(url, message, trusted):
    # Salt's own http.query writes the address into its log.
    request = urllib.request.Request(
        url, json.dumps(message).encode(), {"Content-Type": "application/json"}, method="POST")
    secure = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=trusted))
    with urllib.request.build_opener(_NoRedirects, secure).open(request, timeout=SECONDS):
        pass


def _syslog(facility, message, _):
    line = " | ".join(message["text"].splitlines())
    syslog.syslog(FACILITIES[facility] | PRIORITIES[message["what"]], f"reprovision: {message['what']}: {line}")


WAYS = {"webhook": _webhook, "syslog": _syslog}
