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
