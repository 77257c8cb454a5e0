{#-
  Re-provision a failed site of a Multi-Site/Active-Active installation from a definitive one.

    salt-run state.orch orch.reprovision
    salt-run state.orch orch.reprovision pillar='{"reprovision": {"failed": "east", "definitive": "west"}}'
    salt-run state.orch orch.reprovision test=True

  The steps have the manual's numbers, and its order but for the donor: it is taken (06, 07) as late as possible, when
  the failed primary has been emptied and most of its data copied. Which hosts "failed primary" or "donor" are is read
  from cctrl by the preflight and then frozen; docs/runbook.md tells what each step does and how it is proved.

  The same command again goes on with a run that has stopped. What it has done is applied again, which changes nothing
  where it still holds, unless a later step has ended it (until) or it may happen only once in a run (once).
-#}
00 preflight:
  reprovision.preflight:
    - failhard: True

# The failed site's managers must not recover anything by themselves.
01 policy MAINTENANCE:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.policy_maintenance
    - expect_minions: True
    - until: 20 policy AUTOMATIC
    - failhard: True
    - require:
      - reprovision: 00 preflight

# No application traffic through the failed site's connectors.
02 routers offline:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.routers_offline
    - expect_minions: True
    - until: 19 routers online
    - failhard: True
    - require:
      - reprovision: 01 policy MAINTENANCE

# Every other site forgets its position in the failed site's log, which will begin again at 0.
03 cross-site service of the failed site reset:
  reprovision.step:
    - nodes: other sites
    - sls: orch.node.failed_service_forgotten
    - expect_minions: True
    - until: 18 cross-site services of the other sites online
    - failhard: True
    - require:
      - reprovision: 02 routers offline

# The failed site stops applying what comes from the others.
04 cross-site services offline:
  reprovision.step:
    - nodes: failed site
    - sls: orch.node.cross_site_offline
    - expect_minions: True
    - until: 17 cross-site services of the failed site online
    - failhard: True
    - require:
      - reprovision: 03 cross-site service of the failed site reset

# `set force true` travels in the cctrl session of the shun.
05 primary shunned, its replicator offline:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.primary_shunned
    - expect_minions: True
    - until: 15 primary welcomed
    - failhard: True
    - require:
      - reprovision: 04 cross-site services offline

# What is to be deleted next must not be in use: the process has to be gone.
07 mysqld stopped:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.mysqld_stopped
    - expect_minions: True
    - until: [10 data copied from the donor, 10 backup prepared]
    - failhard: True
    - require:
      - reprovision: 05 primary shunned, its replicator offline

# The most dangerous step: every guard is asked again on the node itself, in the same job as the deletion.
08 data locations emptied:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.data_emptied
    - expect_minions: True
    - until: [10 data copied from the donor, 10 backup prepared]
    - failhard: True
    - require:
      - reprovision: 07 mysqld stopped

# Step 9 of the manual makes the directory writeable for the copying user. It is not needed: rsync writes as root,
# so the mode never changes and nothing can be forgotten at 777.

# Not in the manual, and left out with `warm: false`: most of the copy, while the donor still serves.
10 data copied ahead:
  reprovision.step:
    - nodes: donor
    - sls: orch.node.data_copied_ahead
    - expect_minions: True
    - ways: [warm]
    - while_donor_serves: True
    - until: 10 data copied from the donor
    - failhard: True
    - require:
      - reprovision: 08 data locations emptied

# Its position, at rest from here on, is where the failed site's cross-site service will resume.
06 donor shunned, its replicator offline:
  reprovision.step:
    - nodes: donor
    - sls: orch.node.donor_shunned
    - expect_minions: True
    - ways: [warm, cold]
    - until: 10 data copied from the donor
    - takes_donor: True
    - failhard: True
    - require:
      - reprovision: 10 data copied ahead

# A copy is good only after a clean stop: the process has to be gone.
07 mysqld of the donor stopped:
  reprovision.step:
    - nodes: donor
    - sls: orch.node.mysqld_stopped
    - expect_minions: True
    - ways: [warm, cold]
    - until: 10 data copied from the donor
    - failhard: True
    - require:
      - reprovision: 06 donor shunned, its replicator offline

# All data locations; never the donor's server identity. After a copy ahead: what has changed since.
10 data copied from the donor:
  reprovision.step:
    - nodes: donor
    - sls: orch.node.data_copied
    - expect_minions: True
    - ways: [warm, cold]
    - once: True
    - copies: True
    - failhard: True
    - require:
      - reprovision: 07 mysqld of the donor stopped

# As soon as the copy has ended. MySQL is started and answers before cctrl is asked to recover it.
11 donor given back:
  reprovision.step:
    - nodes: donor
    - sls: orch.node.donor_given_back
    - expect_minions: True
    - ways: [warm, cold]
    - once: True
    - gives_donor_back: True
    - failhard: True
    - require:
      - reprovision: 10 data copied from the donor

# With `method: mariabackup` or `xtrabackup`, instead of all from `10 data copied ahead` on: the donor is never taken.
10 data streamed from the donor:
  reprovision.step:
    - nodes: donor
    - sls: orch.node.data_streamed
    - expect_minions: True
    - ways: [hot]
    - until: 10 backup prepared
    - failhard: True
    - require:
      - reprovision: 11 donor given back

# What a backup has taken at many moments is brought to one.
10 backup prepared:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.backup_prepared
    - expect_minions: True
    - ways: [hot]
    - once: True
    - copies: True
    - failhard: True
    - require:
      - reprovision: 10 data streamed from the donor

# Owner and mode as they were before step 8.
12 ownership restored:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.data_owned
    - expect_minions: True
    - until: 13 mysqld started
    - failhard: True
    - require:
      - reprovision: 10 backup prepared

# It has to answer SQL: with MySQL down the reset of step 14 would silently do half.
13 mysqld started:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.mysqld_running
    - expect_minions: True
    - failhard: True
    - require:
      - reprovision: 12 ownership restored

# Never the definitive site's service: the copied tracking schema is its resume position.
14 own service reset and online:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.own_service_reset
    - expect_minions: True
    - once: True
    - failhard: True
    - require:
      - reprovision: 13 mysqld started

# `set force true` again, in the session of the welcome.
15 primary welcomed:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.primary_welcomed
    - expect_minions: True
    - failhard: True
    - require:
      - reprovision: 14 own service reset and online

# On each host to be rebuilt, by default one after the other: the older tool serves one target at a time.
16 replicas provisioned:
  reprovision.step:
    - nodes: failed replicas
    - sls: orch.node.replica_provisioned
    - expect_minions: True
    - few_at_once: True
    - failhard: True
    - require:
      - reprovision: 15 primary welcomed

# The rebuilt site catches up with the others,
17 cross-site services of the failed site online:
  reprovision.step:
    - nodes: failed site
    - sls: orch.node.cross_site_online
    - expect_minions: True
    - failhard: True
    - require:
      - reprovision: 16 replicas provisioned

# and they follow its new log.
18 cross-site services of the other sites online:
  reprovision.step:
    - nodes: other sites
    - sls: orch.node.cross_site_online
    - expect_minions: True
    - failhard: True
    - require:
      - reprovision: 17 cross-site services of the failed site online

# The manual verifies nothing before letting traffic back. This run does: services, heartbeats both ways, data.
verified before traffic:
  reprovision.verified:
    - until: 19 routers online
    - failhard: True
    - require:
      - reprovision: 18 cross-site services of the other sites online

# Traffic comes back.
19 routers online:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.routers_online
    - expect_minions: True
    - failhard: True
    - require:
      - reprovision: verified before traffic

# The site of step 1.
20 policy AUTOMATIC:
  reprovision.step:
    - nodes: failed primary
    - sls: orch.node.policy_automatic
    - expect_minions: True
    - failhard: True
    - require:
      - reprovision: 19 routers online

# An orchestration that was cut short would end with exit code 0: the record has to be complete.
complete:
  reprovision.complete:
    - failhard: True
    - require:
      - reprovision: 20 policy AUTOMATIC
