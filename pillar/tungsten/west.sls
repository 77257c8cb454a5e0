# Site west. A misspelt key is refused with its path; try: salt 'west*' topology.node
tungsten:
  sites:
    west:
      # The Tungsten data service, as cctrl's prompt shows it. Default: the name of the site.
      service: west
      # Tungsten host names. Where minion ids differ: {west1: minion-id-of-west1, …}.
      # Which of them is the primary is not said here: it is read from cctrl.
      nodes: [west1, west2, west3]
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
