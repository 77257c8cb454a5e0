"""
The steps of an orchestration that re-provisions a failed site, as states of the master.

``orch/reprovision.sls`` is made of these. ``step`` applies an SLS to the nodes of a role by Salt's own ``salt.state``
and adds what a destructive runbook needs around it: roles that were read from cctrl by ``preflight`` and frozen, locks
that are looked at before each step, a record written before and after, long jobs that are polled and not held, a donor
that is given back when a step fails, and an error that says how things were left and how to go on.
"""

import logging
import os
import time

import salt.utils.event
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

__virtualname__ = "reprovision"

RETURN_DONOR = "orch.node.donor_given_back"
POLL_SECONDS = 3
# What is over at once is not waited for so long: a job is looked at again after this part of the time it has taken.
POLL_SHARE = 0.1
POLL_LEAST = 0.5
# Of an order: how a run goes about it, which each attempt may do in another way.
PACE = ("donor_lease", "patience", "compress", "bwlimit", "streams", "replica_parallel")
NOT_PLANNED = "No step of a"
# What a step is applied to: a role, found for this run.
ROLES = {
    "failed primary": lambda run: [run["primary"]],
    "failed replicas": lambda run: [host for host in run["nodes"][run["failed"]] if host != run["primary"]],
    "failed site": lambda run: list(run["nodes"][run["failed"]]),
    "donor": lambda run: [run["donor"]],
    "other sites": lambda run: [
        host for site, hosts in run["nodes"].items() if site != run["failed"] for host in hosts
    ],
}


class LostLock(CommandExecutionError):
    """Somebody else may be at work: nothing more may be touched, not even the record."""


class Aborted(CommandExecutionError):
    """Somebody has asked this run to stop."""


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "reprovision orchestrates from the master; this is a minion"
    return __virtualname__


def _answer(name, result, comment, changes=None):
    return {"name": name, "result": result, "changes": changes or {}, "comment": comment}


def _as_told(error):
    """What went wrong, in the words of who found it; of what nobody foresaw the kind as well."""
    if isinstance(error, CommandExecutionError):
        return error
    return CommandExecutionError(f"{type(error).__name__}: {error}")


def _minions(run, hosts):
    """Minion ids of Tungsten host names."""
    ids = {host: minion for nodes in run["nodes"].values() for host, minion in nodes.items()}
    return [ids[host] for host in hosts]


def _fire(run, step, what, **data):
    """A progress event for whoever watches; that nobody can hear it must not stop a run."""
    tag = f"salt/reprovision/{run['failed']}/{run['run']}/{step}/{what}"
    try:
        with salt.utils.event.get_event("master", opts=__opts__, listen=False) as bus:
            bus.fire_event({"run": run["run"], "site": run["failed"], "step": step, **data}, tag)
    except Exception as error:  # noqa: BLE001 - whatever the bus has, the record tells the same
        log.warning("%s was not sent: %s", tag, error)


def _tell(how, *what):
    """Tell people; that they cannot be told must not stop a run, nor hide why it has stopped."""
    try:
        __salt__[f"notify.{how}"](*what)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from being told
        log.warning("Nobody was told: %s: %s", type(error).__name__, error)


def _standing(topology, facts=None):
    """
    How all sites stand, for the record, by the facts that were read just now or by a look of its own; None if that
    cannot be told, which is no reason for anything.
    """
    try:
        if facts is not None:
            return __salt__["siteview.of_facts"](topology, facts)
        return __salt__["siteview.look"](topology, list(topology["sites"]))
    except Exception as error:  # noqa: BLE001 - what a run does is decided by its steps
        log.warning("How the sites stand is not on record: %s: %s", type(error).__name__, error)
        return None


# --- the first step


def preflight(name):
    """
    Look at every node of every site, refuse what does not fit, freeze the roles and begin the run's record, or go on
    with that of a run that has not been completed.

    The first step of the orchestration. Nothing is changed on any node. The order, which site has failed and which is
    definitive, is read from pillar (``tungsten:reprovision``), over which an operator may put
    ``pillar='{"reprovision": {"failed": …, "definitive": …}}'``.

    Fails when the pillar has faults, a node does not answer, the installation is composite, the failed site's primary
    or a healthy donor is not found, something would break a later step, another run has the site, there is nothing to
    repair, or the order names a plan that is not approved for exactly this.

    .. code-block:: yaml

        00 preflight:
          reprovision.preflight: []
    """
    try:
        return _preflight(name, time.time())
    except Exception as error:  # noqa: BLE001 - the lock must not stay with a run that has ended
        __context__.pop("reprovision", None)
        refusal = f"{_as_told(error)}\nNothing was changed."
        if not __opts__["test"]:
            __salt__["runlock.release"]()
            # An approved plan is run where nobody sits before a terminal.
            _tell("send", "failed", _site_in_question(), f"A run was refused: {refusal}")
        return _answer(name, False, refusal)


def _site_in_question():
    """The failed site as the order names it, whatever else is wrong with that."""
    tungsten = __pillar__.get("tungsten")
    orders = [__pillar__.get("reprovision"), tungsten.get("reprovision") if isinstance(tungsten, dict) else None]
    named = [order["failed"] for order in orders if isinstance(order, dict) and order.get("failed")]
    return str(named[0])[:63] if named else "unknown"


def _preflight(name, begun):
    topology = __salt__["topology.merge"](__pillar__.get("tungsten"), __pillar__.get("reprovision"))
    order = topology["reprovision"]
    failed = order["failed"]
    previous = __salt__["runrecord.latest"](failed)
    __salt__["attempt.refuse_repetition"](failed, previous, order)
    __salt__["attempt.refuse_half_built"](order["definitive"])
    run_id = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
    before = {} if __opts__["test"] else __salt__["runlock.acquire"](failed, order["definitive"], run_id)
    if not __opts__["test"]:
        # From here on the lock says what the approval of a plan has announced.
        __salt__["runlock.unclaim"](failed, "starting")
        # Whoever ordered this run wants it to go on; what is asked from now on is about this attempt.
        __salt__["runrecord.forget_stop"](failed)
    # Read again: it may have been written until the lock was free.
    previous = __salt__["runrecord.latest"](failed)
    __salt__["attempt.refuse_repetition"](failed, previous, order)
    way = __salt__["topology.way"](order)
    steps = [chunk["name"] for chunk in __lowstate__
             if chunk["state"] == "reprovision" and way in chunk.get("ways", [way])]
    found = __salt__["survey.take"](topology, previous, steps)
    if any(finding["level"] == "error" for finding in found["findings"]):
        raise CommandExecutionError(
            "The preflight found:\n  " + "\n  ".join(__salt__["readiness.text"](found["findings"])))
    # To be tried a run needs no plan: that is how a plan is made.
    planned = None if __opts__["test"] else __salt__["plans.admit"](order, found, topology)
    if found["resumes"]:
        run = __salt__["attempt.go_on"](previous, before)
    else:
        run = __salt__["attempt.begin"](run_id, order, found, topology, steps)
    if not __opts__["test"] and "before" not in run:
        run["before"] = _standing(topology, found["facts"])
    if planned:
        __salt__["plans.use"](planned["plan"], run["run"])
        run["plan_id"] = planned["plan"]
    # These may be another time other ones; they decide nothing about what is done.
    run.update({key: order[key] for key in PACE}, findings=found["findings"])
    __context__["reprovision"] = {"run": run, "topology": topology}
    plan = __salt__["runwords.plan"](run, previous, found)
    if __opts__["test"]:
        return _answer(name, None, plan)
    __salt__["plans.begun"](failed, run["run"])
    _open_step(name, begun)
    # Now that its record says running: who reads both must not take an earlier attempt's end for this one's.
    __salt__["runlock.sign"](run["run"])
    _close_step(name, "done", plan)
    _tell("of_run", run)
    return _answer(name, True, f"{plan} Run {run['run']}.")


# --- the record around each step


def _current():
    try:
        return __context__["reprovision"]
    except KeyError:
        raise CommandExecutionError("reprovision.preflight has not run in this orchestration") from None


def _keep_lock():
    try:
        __salt__["runlock.keep"]()
    except CommandExecutionError as error:
        raise LostLock(str(error)) from error


def _save(run):
    """Write the record, if it is still this run's to write: whoever has the lock now has his own words in it."""
    _keep_lock()
    __salt__["runrecord.save"](run)


def _go_on_or_stop(run):
    """Before anything is touched: this run still has its lock, and nobody wants it to stop."""
    _keep_lock()
    wish = __salt__["runrecord.asked_to_stop"](run["failed"], run["run"])
    if wish:
        raise Aborted(f"{wish['who']} asked this run to stop at {wish['at']}: {wish['reason'] or 'no reason given'}")


def _open_step(name, begun=None):
    run = _current()["run"]
    earlier = {key: value for key, value in run["steps"].get(name, {}).items() if key == "done_in"}
    run["steps"][name] = {
        "state": "running", "started": __salt__["runrecord.now"](), "clock": begun or time.time(), **earlier}
    _save(run)
    _fire(run, name, "start", number=run["plan"].index(name) + 1, of=len(run["plan"]))


def _close_step(name, state, comment):
    run = _current()["run"]
    step_record = run["steps"][name]
    seconds = round(time.time() - step_record.pop("clock"), 1)
    step_record.pop("progress", None)
    step_record.update(state=state, finished=__salt__["runrecord.now"](), seconds=seconds, comment=comment)
    if state == "done":
        step_record["done_in"] = len(run["attempts"])
    _save(run)
    _fire(run, name, state, seconds=seconds, comment=comment, number=run["plan"].index(name) + 1, of=len(run["plan"]))


def _close_run(run, state, how):
    finished = __salt__["runrecord.now"]()
    run["attempts"][-1].update(ended=finished, how=how)
    run.update(state=state, finished=finished)
    _save(run)
    __salt__["runlock.release"]()
    _tell("of_run", run)


def _stop(name, error, gives_back=False):
    """Close step and run as failed, give the donor back if that is safe, and say how to go on."""
    run = _current()["run"]
    state = "aborted" if isinstance(error, Aborted) else "failed"
    try:
        # Whatever has failed: without the lock there is nothing to give back and nothing to write any more.
        _keep_lock()
        if name not in run["steps"] or "clock" not in run["steps"][name]:
            _open_step(name)
        _close_step(name, "failed", str(error))
        if run["donor_state"] == "taken" and (not gives_back or state == "aborted"):
            _return_donor(run)
        elif not run["copied"] and any(step.startswith("10 ") for step in run["steps"]):
            _end_copies(run)
        _close_run(run, state, f"{state} at step {name!r}")
    except LostLock as lost:
        return _answer(name, False, f"{lost}\nWhat this step had begun on the nodes goes on there.")
    except OSError as full:
        error = f"{error}\nThe master cannot write its records, which tell less than this: {full}"
        _tell("of_run", {**run, "state": state})
    return _answer(name, False, f"{error}\n{__salt__['runwords.how_to_go_on'](run, name)}")


def _end_copies(run):
    """Of a donor that goes on serving: nothing may write into a site that nobody is at work on any more."""
    try:
        __salt__["fleet.ask"](
            _minions(run, [run["donor"]]), "longjob.stop_all", kwarg={"prefix": "copy-"}, timeout=10)
    except Exception as error:  # noqa: BLE001 - what has stopped the run has to be told
        log.warning("What copies on %s was not ended: %s: %s", run["donor"], type(error).__name__, error)


def _return_donor(run):
    """As soon as the copy has failed for good: nobody will need the donor at rest before the next attempt."""
    (minion,) = _minions(run, [run["donor"]])
    try:
        __salt__["fleet.ask"]([minion], "longjob.stop_all", kwarg={"prefix": "copy-"}, timeout=10)
        applied = _apply("donor given back", [minion], RETURN_DONOR, run, 15, False)
        if applied["result"] is not True:
            raise CommandExecutionError("\n".join(applied["comments"]))
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the run's own failure has to be told
        run["donor_trouble"] = f"{type(error).__name__}: {error}"
        return
    _donor_is_back(run)
    run["donor_trouble"] = None
    _save(run)


def _donor_is_out(run):
    run["donor_state"] = "taken"
    outages = run.setdefault("donor_outages", [])
    # Of an attempt that died it may still be out.
    if not outages or outages[-1]["until"]:
        outages.append({"from": __salt__["runrecord.now"](), "until": None})


def _donor_is_back(run):
    run["donor_state"] = "returned"
    for outage in run.get("donor_outages", [])[-1:]:
        outage["until"] = outage["until"] or __salt__["runrecord.now"]()


# --- a step


def step(name, nodes, sls, expect_minions, timeout=15, few_at_once=False, ways=None, until=None, once=False,
         while_donor_serves=False, takes_donor=False, copies=False, gives_donor_back=False):
    """
    Apply an SLS to the nodes of a role.

    nodes
        One of: failed primary, failed replicas, failed site, donor, other sites.
    sls
        The SLS, whose pillar gets ``reprovision_run``: the run's id, failed, definitive, primary, donor.
    expect_minions
        Must be true; it stands in the orchestration so that a reader and a test can see it.
    timeout
        Seconds after which nodes that have not answered are asked whether they still work on it.
    few_at_once
        Apply it to as many nodes at a time as the run's ``replica_parallel`` says, stopping where one fails.
    ways
        The ways to copy, as ``topology.way`` tells them, that have this step; all if not given.
    until
        The step that ends what this one brings about, or a list of such: a run that goes on does not apply this one
        again after it.
    once
        It may happen only once in a run, so a run that goes on does not apply it again at all.
    while_donor_serves
        It is of use as long as the donor serves: a run that goes on with the donor in its hands does not apply it
        again.
    takes_donor
        From the beginning of this step on the donor is out of service.
    copies
        The failed primary holds the donor's data when this step is done.
    gives_donor_back
        The donor is in service when this step is done.

    A node that does not answer is waited for as long as the run's ``patience`` says, and told again: every SLS may be
    applied twice. A state whose changes say ``still running`` is polled by ``jobgroup.status`` until its job has ended,
    and applied again.

    .. code-block:: yaml

        01 policy MAINTENANCE:
          reprovision.step:
            - nodes: failed primary
            - sls: orch.node.policy_maintenance
            - expect_minions: True
            - until: 20 policy AUTOMATIC
            - failhard: True
            - require:
              - reprovision: 00 preflight
    """
    try:
        run = _current()["run"]
        if expect_minions is not True:
            raise CommandExecutionError("expect_minions must be True: a silent node is not a success")
        if nodes not in ROLES:
            raise CommandExecutionError(f"no such role: {nodes!r}; known are {', '.join(ROLES)}")
    except CommandExecutionError as error:
        return _answer(name, False, str(error))
    if name not in run["plan"]:
        return _answer(name, True, f"{NOT_PLANNED} {__salt__['topology.way'](run)} copy.")
    not_again = __salt__["resume.left_out"](name, until, once, run["kept"])
    if while_donor_serves and name in run["kept"] and run["donor_state"] == "taken":
        not_again = "the donor is out of service already"
    if not_again:
        return _answer(name, True, f"Done in attempt {run['steps'][name]['done_in']}; {not_again}.")
    minions = _minions(run, _hosts(run, nodes, name in run["kept"]))
    if __opts__["test"]:
        return _answer(name, *_application(name, minions, sls, run, timeout, few_at_once))
    try:
        _go_on_or_stop(run)
        if takes_donor:
            _donor_is_out(run)
        _open_step(name)
        result, comment, changes = _application(name, minions, sls, run, timeout, few_at_once)
        if not result:
            raise CommandExecutionError(comment)
        if copies:
            run["copied"] = True
        if gives_donor_back:
            _donor_is_back(run)
        _close_step(name, "done", comment)
    except Exception as error:  # noqa: BLE001 - the record must not go on saying that the step runs
        return _stop(name, _as_told(error), gives_donor_back)
    return _answer(name, True, comment, changes)


def _hosts(run, nodes, again):
    hosts = ROLES[nodes](run)
    if again and nodes == "other sites" and run["donor_state"] == "taken":
        # Its services are offline and its server may be stopped: it cannot tell, nor can anything there have moved.
        hosts.remove(run["donor"])
    return hosts


def _application(name, minions, sls, run, timeout, few_at_once):
    """Apply an SLS to nodes, polling and asking again, until it is done: (result, comment, changes)."""
    result, comments, changes = True, [], {}
    size = run["replica_parallel"] if few_at_once else len(minions) or 1
    for group in (minions[begin:begin + size] for begin in range(0, len(minions), size)):
        applied = _until_done(name, group, sls, run, timeout)
        comments.extend(applied["comments"])
        changes.update(applied["changes"])
        if applied["result"] is not True:
            result = applied["result"]
        if result is False:
            break
    return result, "\n".join(comments) or "There are no such nodes.", changes


def _until_done(name, minions, sls, run, timeout):
    begun, told_again = False, set()
    changes = {}
    while True:
        applied = _apply(name, minions, sls, run, timeout, begun)
        changes.update(applied["changes"])
        applied["changes"] = changes
        if __opts__["test"]:
            return applied
        if applied["jobs"]:
            _poll(name, run, applied["jobs"])
            begun = True
            continue
        silent = set(applied["silent"]) - told_again
        if not silent or applied["failed"] or not _back(run, silent):
            return applied
        told_again |= silent


def _apply(name, minions, sls, run, timeout, begun):
    shown = {key: run[key] for key in (
        "run", "failed", "definitive", "primary", "donor", "method", "warm", "replica_method", "donor_lease",
        "compress", "bwlimit", "streams")}
    returned = __states__["salt.state"](
        name, tgt=minions, tgt_type="list", sls=sls, pillar={"reprovision_run": {**shown, "begun": begun}},
        expect_minions=True, queue=True, timeout=timeout,
    )
    return __salt__["applied.read"](minions, returned)


def _back(run, minions):
    """Wait until silent nodes answer and no longer work on what they were told; False if they stay silent."""
    silent_since = time.monotonic()
    while time.monotonic() - silent_since < run["patience"]:
        _go_on_or_stop(run)
        gathered = __salt__["fleet.gather"](sorted(minions), "saltutil.is_running", kwarg={"fun": "state.*"},
                                            timeout=5)
        if not gathered["faults"]:
            if not any(gathered["answers"].values()):
                return True
            # They work on it: that takes as long as its own time limits let it.
            silent_since = time.monotonic()
        time.sleep(POLL_SECONDS)
    return False


def _poll(name, run, jobs):
    """Wait until every node's job has ended, telling whoever watches how far it is; a silent node is given time."""
    silent_since, running, begun = {}, dict(jobs), time.monotonic()
    while running:
        _go_on_or_stop(run)
        time.sleep(min(POLL_SECONDS, max(POLL_LEAST, POLL_SHARE * (time.monotonic() - begun))))
        for minion, job in list(running.items()):
            answer = __salt__["fleet.gather"]([minion], "jobgroup.status", kwarg={"name": job}, timeout=10)
            if minion in answer["faults"]:
                silent_since.setdefault(minion, time.monotonic())
                if time.monotonic() - silent_since[minion] > run["patience"]:
                    raise CommandExecutionError(
                        f"{minion}: does not tell how its job {job} stands; the job goes on there: "
                        f"{answer['faults'][minion]}")
                continue
            silent_since.pop(minion, None)
            now = answer["answers"][minion]
            if now["state"] != "running":
                del running[minion]
                continue
            far = {"job": job, "seconds": now["seconds"], **__salt__["runwords.copy_progress"](now["logs"])}
            run["steps"][name].setdefault("progress", {})[minion] = far
            _save(run)
            _fire(run, name, "progress", node=minion, **far)


# --- the last steps


def verified(name, timeout=300, until=None):
    """
    Let no traffic back before this: all services ONLINE, heartbeats arrive everywhere, data of all nodes equal.

    timeout
        Seconds for the services to come ONLINE, and again for the heartbeats to arrive.
    until
        The step that lets traffic back: a run that goes on after it has this behind it.

    .. code-block:: yaml

        verify:
          reprovision.verified:
            - failhard: True
    """
    try:
        current = _current()
        run, topology = current["run"], current["topology"]
    except CommandExecutionError as error:
        return _answer(name, False, str(error))
    if __opts__["test"]:
        return _answer(name, None, "All services, a heartbeat in every direction and the data of all nodes would be "
                                   "verified.")
    not_again = __salt__["resume.left_out"](name, until, False, run["kept"])
    if not_again:
        return _answer(name, True, f"Done in attempt {run['steps'][name]['done_in']}; {not_again}.")
    try:
        _go_on_or_stop(run)
        _open_step(name)
        __salt__["verify.services"](topology, timeout=timeout)
        seqnos = __salt__["verify.heartbeats"](topology, run["primaries"], timeout=timeout)
        compared = __salt__["tablecompare.run"](
            [minion for nodes in run["nodes"].values() for minion in nodes.values()],
            sources={run["nodes"][site][host]: topology["sites"][site]["service"]
                     for site, host in run["primaries"].items()})
        run["verified"] = {"heartbeats": seqnos, **{key: compared[key] for key in ("equal", "tables", "rows")}}
        if not compared["equal"]:
            raise CommandExecutionError(f"The data of the nodes differs: {__salt__['driftfindings.briefly'](compared)}")
        comment = (
            f"Every service is ONLINE, heartbeats arrived everywhere ({seqnos}), and all nodes agree on "
            f"{compared['rows']} rows in {compared['tables']} tables."
        )
        _close_step(name, "done", comment)
    except Exception as error:  # noqa: BLE001 - the record must not go on saying that the step runs
        return _stop(name, _as_told(error))
    return _answer(name, True, comment)


def complete(name):
    """
    The last step: prove from the record that every planned step was done, look at all sites once more, and close it.

    An orchestration that was softly killed would otherwise end with exit code 0 and steps missing. What the look finds
    wrong is told; it is no reason to fail, since the data were proved before.

    .. code-block:: yaml

        complete:
          reprovision.complete:
            - failhard: True
    """
    try:
        run, topology = _current()["run"], _current()["topology"]
    except CommandExecutionError as error:
        return _answer(name, False, str(error))
    if __opts__["test"]:
        return _answer(name, None, "The record would be closed. Nothing was changed: this was test=True.")
    try:
        _go_on_or_stop(run)
        _open_step(name)
        missing = [
            planned for planned in run["plan"]
            if planned != name and run["steps"].get(planned, {}).get("state") != "done"
        ]
        if missing:
            raise CommandExecutionError(f"These steps are missing: {', '.join(missing)}")
        run["after"] = _standing(topology)
        wrong = [f"To be looked at: {text}" for view in (run["after"] or {}).values() for text in view["wrong"]]
        comment = "\n".join(
            [f"Site {run['failed']} is re-provisioned from {run['definitive']} and verified.", *wrong])
        _close_step(name, "done", comment)
        _close_run(run, "done", "done")
    except Exception as error:  # noqa: BLE001 - the record must not go on saying that the step runs
        return _stop(name, _as_told(error))
    return _answer(name, True, comment, {run["failed"]: "re-provisioned"})
