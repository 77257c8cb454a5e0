# What is rebuilt from where, when nothing else is said on the command line.
tungsten:
  reprovision:
    failed: east
    definitive: west
    # A replica of the definitive site. Leave it out and the healthy one with the least latency is taken.
    donor: west3
    method: rsync
    # Handed to tprovision -m: xtrabackup | mysqldump | rsync | mysqlclone.
    replica_method: xtrabackup

  # How drift is looked for; all of it may be left out.
  drift:
    # Seconds after a look at a site in which further drift events about it start no other one.
    cooldown: 900
    # Percent of the time that a node may work for a comparison.
    share: 50
    # Seconds that a node may be behind before a comparison waits for it.
    max_lag: 60

  # Plans, which a person approves before they are run; all of it may be left out.
  plans:
    # Hours after which a plan that nobody has approved is void.
    hours: 24
    # True: somebody else than who made a plan has to approve it, and nothing runs without a plan.
    second_person: false
