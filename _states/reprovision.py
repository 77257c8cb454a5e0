"""
The steps of an orchestration that re-provisions a failed site, as states of the master.

``orch/reprovision.sls`` is made of these. ``step`` applies an SLS to the nodes of a role by Salt's own ``salt.state``
and adds what a destructive runbook needs around it: roles that were read from cctrl by ``preflight`` and frozen, a
record written before and after, progress events, and an error that says how things were left and how to go on.
"""

import os
import time

import salt.utils.event
import salt.utils.json
from salt.exceptions import CommandExecutionError

__virtualname__ = "reprovision"

COMMAND = "salt-run state.orch orch.reprovision pillar='{order}'"
# What a step is applied to: a role, found for this run.
ROLES = {
    "failed primary": lambda run: [run["primary"]],
    "failed replicas": lambda run: [host for host in run["nodes"][run["failed"]] if host != run["primary"]],
    "failed site": lambda run: list(run["nodes"][run["failed"]]),
    "donor": lambda run: [run["donor"]],
    "failed primary and donor": lambda run: [run["primary"], run["donor"]],
    "other sites": lambda run: [
        host for site, hosts in run["nodes"].items() if site != run["failed"] for host in hosts
    ],
}


def __virtual__():
    if __opts__.get("__role") != "master":
        return False, "reprovision orchestrates from the master; this is a minion"
    return __virtualname__


def _answer(name, result, comment, changes=None):
    return {"name": name, "result": result, "changes": changes or {}, "comment": comment}


def _minions(run, hosts):
    """Minion ids of Tungsten host names."""
    ids = {host: minion for nodes in run["nodes"].values() for host, minion in nodes.items()}
    return [ids[host] for host in hosts]


def _fire(run, step, what, **data):
    """A progress event for whoever watches; that nobody can hear it must not stop a run."""
    tag = f"salt/reprovision/{run['failed']}/{run['run']}/{step}/{what}"
    with salt.utils.event.get_event("master", opts=__opts__, listen=False) as bus:
        bus.fire_event({"run": run["run"], "site": run["failed"], "step": step, **data}, tag)


def preflight(name):
    """
    Look at every node of every site, refuse what does not fit, freeze the roles and begin the run's record.

    The first step of the orchestration. Nothing is changed on any node. The order, which site has failed and which is
    definitive, is read from pillar (``tungsten:reprovision``), over which an operator may put
    ``pillar='{"reprovision": {"failed": …, "definitive": …}}'``.

    Fails when the pillar has faults, a node does not answer, the installation is composite, the failed site's primary
    or a healthy donor is not found, another run has the site, or there is nothing to repair.

    .. code-block:: yaml

        00 preflight:
          reprovision.preflight: []
    """
    begun = time.time()
    try:
        topology = __salt__["topology.merge"](__pillar__.get("tungsten"), __pillar__.get("reprovision"))
        order = topology["reprovision"]
        failed = order["failed"]
        previous = __salt__["runrecord.latest"](failed)
        _refuse_repetition(failed, previous, order)
        if not __opts__["test"]:
            run_id = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
            __salt__["runrecord.acquire"](failed, run_id)
            __salt__["runrecord.acquire"](order["definitive"], run_id, shared=True)
        else:
            run_id = "test"
        _refuse_half_built(order["definitive"])
        roles = _look(topology, previous)
    except CommandExecutionError as error:
        if not __opts__["test"]:
            __salt__["runrecord.release"]()
        return _answer(name, False, f"{error}\nNothing was changed.")
    run = {
        "run": run_id,
        "state": "running",
        "failed": failed,
        "definitive": order["definitive"],
        "primary": roles["primaries"][failed],
        "donor": roles["donor"],
        "primaries": roles["primaries"],
        "method": order["method"],
        "replica_method": order["replica_method"],
        "nodes": {site: settings["nodes"] for site, settings in topology["sites"].items()},
        "who": os.environ.get("SUDO_USER") or __opts__.get("user"),
        "started": __salt__["runrecord.now"](),
        "plan": [chunk["name"] for chunk in __lowstate__ if chunk["state"] == "reprovision"],
        "steps": {},
    }
    __context__["reprovision"] = {"run": run, "topology": topology}
    plan = (
        f"Site {failed} ({', '.join(run['nodes'][failed])}; primary {run['primary']}) will be rebuilt from "
        f"{run['definitive']}, by a copy of {run['donor']}. Transactions that only {failed} has will be lost."
    )
    if __opts__["test"]:
        return _answer(name, None, plan)
    _begin(name, begun)
    _end(name, "done", plan)
    return _answer(name, True, f"{plan} Run {run_id}.")


def _refuse_repetition(failed, previous, order):
    if not previous or previous["state"] != "done" or order["insist"]:
        return
    reported = __salt__["runrecord.reported"](failed)
    if reported and reported["reported"] > previous["finished"]:
        return
    raise CommandExecutionError(
        f"There is nothing to repair: site {failed} was re-provisioned and verified at {previous['finished']} (run "
        f"{previous['run']}), and no drift has been reported against it since. If you know better, insist: "
        + _command({"failed": failed, "definitive": order["definitive"], "insist": True})
    )


def _refuse_half_built(definitive):
    """What another run has left unfinished is no source to copy from."""
    last = __salt__["runrecord.latest"](definitive)
    if last and last["state"] != "done":
        raise CommandExecutionError(
            f"Site {definitive} cannot be the definitive one: its own re-provisioning (run {last['run']}) has not been "
            f"completed. Complete it first, or name another site"
        )


def _command(order):
    return COMMAND.format(order=salt.utils.json.dumps({"reprovision": order}))


def _look(topology, previous):
    minions = [minion for site in topology["sites"].values() for minion in site["nodes"].values()]
    gathered = __salt__["fleet.gather"](minions, "preflight.facts", timeout=90)
    faults = [f"{minion}: {fault}" for minion, fault in sorted(gathered["faults"].items())]
    if not faults:
        donor = topology["reprovision"].get("donor")
        resumes = (
            bool(previous) and previous["state"] != "done" and donor in (None, previous["donor"])
            and previous["definitive"] == topology["reprovision"]["definitive"]
        )
        if resumes:
            topology["reprovision"]["donor"] = previous["donor"]
        roles = __salt__["preflight.judge"](topology, gathered["answers"], resumes=resumes)
        faults = roles["faults"]
    if faults:
        raise CommandExecutionError("The preflight found:\n  " + "\n  ".join(faults))
    return roles


def _current():
    try:
        return __context__["reprovision"]
    except KeyError:
        raise CommandExecutionError("reprovision.preflight has not run in this orchestration") from None


def _begin(name, begun=None):
    run = _current()["run"]
    run["steps"][name] = {"state": "running", "started": __salt__["runrecord.now"](), "clock": begun or time.time()}
    __salt__["runrecord.save"](run)
    _fire(run, name, "start", number=len(run["steps"]), of=len(run["plan"]))


def _end(name, state, comment):
    run = _current()["run"]
    step_record = run["steps"][name]
    seconds = round(time.time() - step_record.pop("clock"), 1)
    step_record.update(state=state, finished=__salt__["runrecord.now"](), seconds=seconds, comment=comment)
    if state == "failed":
        run.update(state="failed", finished=step_record["finished"])
    __salt__["runrecord.save"](run)
    if run["state"] != "running":
        __salt__["runrecord.release"]()
    _fire(run, name, state, seconds=seconds, comment=comment, number=len(run["steps"]), of=len(run["plan"]))


def step(name, nodes, sls, expect_minions, timeout=3600, one_by_one=False):
    """
    Apply an SLS to the nodes of a role.

    nodes
        One of: failed primary, failed replicas, failed site, donor, failed primary and donor, other sites.
    sls
        The SLS, whose pillar gets ``reprovision_run``: the run's id, failed, definitive, primary, donor.
    expect_minions
        Must be true; it stands in the orchestration so that a reader and a test can see it.
    timeout
        Seconds to wait for the nodes' answers before they are asked whether they still work on it.
    one_by_one
        Apply it to one node after the other, stopping at the first that fails.

    .. code-block:: yaml

        01 policy MAINTENANCE:
          reprovision.step:
            - nodes: failed primary
            - sls: orch.node.policy_maintenance
            - expect_minions: True
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
        minions = _minions(run, ROLES[nodes](run))
        if not __opts__["test"]:
            _begin(name)
    except CommandExecutionError as error:
        return _answer(name, False, str(error))
    result, comments, changes = True, [], {}
    for group in [[minion] for minion in minions] if one_by_one else [minions] if minions else []:
        try:
            applied = _apply(name, group, sls, run, timeout)
        except Exception as error:  # noqa: BLE001 - the record must not go on saying that the step runs
            applied = {"result": False, "changes": {},
                       "comments": [f"{', '.join(group)}: {type(error).__name__}: {error}"]}
        comments.extend(applied["comments"])
        changes.update(applied["changes"])
        if applied["result"] is not True:
            result = applied["result"]
        if result is False:
            break
    comment = "\n".join(comments) or f"There are no {nodes}."
    if __opts__["test"]:
        return _answer(name, result, comment, changes)
    _end(name, "done" if result else "failed", comment)
    if not result:
        comment += f"\n{_how_to_go_on(run, name)}"
    return _answer(name, result, comment, changes)


def _apply(name, minions, sls, run, timeout):
    shown = {key: run[key] for key in (
        "run", "failed", "definitive", "primary", "donor", "method", "replica_method")}
    applied = __states__["salt.state"](
        name, tgt=minions, tgt_type="list", sls=sls, pillar={"reprovision_run": shown}, expect_minions=True,
        queue=True, timeout=timeout,
    )
    returned = applied["changes"].get("ret", {})
    # salt.state leaves out whoever succeeded without a change and only names it at the end of its comment.
    unchanged = applied["comment"].partition(" No changes made to ")[2].removesuffix(".").split(", ")
    comments, changes, result = [], {}, applied["result"]
    for minion in minions:
        states = returned.get(minion)
        if minion not in returned and minion in unchanged:
            comments.append(f"{minion}: nothing to change")
            continue
        if minion not in returned and returned and applied["result"] is False:
            # Beside a failure not even that; the silent ones are among the returned.
            continue
        if not isinstance(states, dict):
            comments.append(f"{minion}: {states or f'gave no answer (salt {minion} test.ping)'}")
            result = False
            continue
        for state in sorted(states.values(), key=lambda item: item.get("__run_num__", 0)):
            comments.append(f"{minion}: {state['comment'].removeprefix(f'{minion}: ')}")
            if state.get("changes"):
                changes.setdefault(minion, {})[state.get("__id__", state.get("name"))] = state["changes"]
            if state["result"] is False:
                result = False
    if result is False and not comments:
        comments = [applied["comment"]]
    return {"result": result, "comments": comments, "changes": changes}


def _how_to_go_on(run, failed_step):
    done = [step for step, record in run["steps"].items() if record["state"] == "done"]
    lines = [f"The run stopped at step {failed_step!r}; the last one done is {done[-1]!r}."]
    if len(done) > 1:
        lines.append(
            f"Site {run['failed']} stays in MAINTENANCE with its routers offline: nobody is served half-built data."
        )
    taken = [step for step in run["steps"] if step[:2] == "06"]
    given_back = [step for step in done if step[:2] == "11"]
    if taken and not given_back:
        lines.append(
            f"The donor {run['donor']} is out of service. The next run takes it over as it is; to give it back "
            f"instead: start mysqld on it, then cctrl> datasource {run['donor']} recover"
        )
    order = {key: run[key] for key in ("failed", "definitive", "donor", "method", "replica_method")}
    lines.append(
        "When the cause is removed, run it again. It goes through all steps anew and changes only what is not as it "
        f"should be; the copy is made again: {_command(order)}"
    )
    return "\n".join(lines)


def verified(name, timeout=300):
    """
    Let no traffic back before this: all services ONLINE, heartbeats arrive everywhere, data of all nodes equal.

    timeout
        Seconds for the services to come ONLINE, and again for the heartbeats to arrive.

    .. code-block:: yaml

        verify:
          reprovision.verified:
            - failhard: True
    """
    if __opts__["test"]:
        return _answer(name, None, "All services, a heartbeat in every direction and the data of all nodes would be "
                                   "verified.")
    try:
        current = _current()
        run, topology = current["run"], current["topology"]
        _begin(name)
    except CommandExecutionError as error:
        return _answer(name, False, str(error))
    try:
        __salt__["verify.services"](topology, timeout=timeout)
        seqnos = __salt__["verify.heartbeats"](topology, run["primaries"], timeout=timeout)
        compared = __salt__["tablecompare.run"](
            [minion for nodes in run["nodes"].values() for minion in nodes.values()])
        if not compared["equal"]:
            raise CommandExecutionError(f"The data of the nodes differs: {compared['differing']}")
    except Exception as error:  # noqa: BLE001 - the record must not go on saying that the step runs
        _end(name, "failed", str(error))
        return _answer(name, False, f"{error}\n{_how_to_go_on(run, name)}")
    run["verified"] = {"heartbeats": seqnos, **{key: compared[key] for key in ("tables", "rows")}}
    comment = (
        f"Every service is ONLINE, heartbeats arrived everywhere ({seqnos}), and all nodes agree on "
        f"{compared['rows']} rows in {compared['tables']} tables."
    )
    _end(name, "done", comment)
    return _answer(name, True, comment)


def complete(name):
    """
    The last step: prove from the record that every planned step was done, and close it.

    An orchestration that was softly killed would otherwise end with exit code 0 and steps missing.

    .. code-block:: yaml

        complete:
          reprovision.complete:
            - failhard: True
    """
    if __opts__["test"]:
        return _answer(name, None, "The record would be closed. Nothing was changed: this was test=True.")
    try:
        run = _current()["run"]
        _begin(name)
        missing = [
            planned for planned in run["plan"]
            if planned != name and run["steps"].get(planned, {}).get("state") != "done"
        ]
    except CommandExecutionError as error:
        return _answer(name, False, str(error))
    if missing:
        comment = f"These steps are missing: {', '.join(missing)}"
        _end(name, "failed", comment)
        return _answer(name, False, comment)
    run.update(state="done", finished=__salt__["runrecord.now"]())
    comment = f"Site {run['failed']} is re-provisioned from {run['definitive']} and verified."
    _end(name, "done", comment)
    return _answer(name, True, comment, {run["failed"]: "re-provisioned"})
