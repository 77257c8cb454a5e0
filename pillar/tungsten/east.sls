# Site east. A misspelt key is refused with its path; try: salt 'east*' topology.node
tungsten:
  sites:
    east:
      # The Tungsten data service, as cctrl's prompt shows it. Default: the name of the site.
      service: east
      # Tungsten host names. Where minion ids differ: {east1: minion-id-of-east1, …}.
      # Which of them is the primary is not said here: it is read from cctrl.
      nodes: [east1, east2, east3]
      # Where the cluster and the cross-site replicator (mm_*) are installed, and the OS user they run as.
      cluster_home: /opt/continuent
      cross_site_home: /opt/replicator
      user: tungsten
      mysql:
        # auto finds mysqld, mysql or mariadb; name the unit if it is another.
        unit: auto
        # Every data location is read from this file and from the server.
        defaults_file: /etc/mysql/my.cnf
      # What a drift event about this site does: ignore | plan | reprovision.
      on_drift: plan
