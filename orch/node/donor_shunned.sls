# cctrl: datasource DONOR shun; replicator DONOR offline
# Its cross-site services too: with three or more sites they would otherwise fail when mysqld stops.
donor cross-site services offline:
  trepctl.offline_all:
    - which: cross_site

donor shunned:
  cctrl.datasource_shunned:
    - name: {{ pillar["reprovision_run"]["donor"] | json }}
    - require:
      - trepctl: donor cross-site services offline
