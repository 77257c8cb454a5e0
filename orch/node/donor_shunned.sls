# cctrl: datasource DONOR shun; replicator DONOR offline
# First of all a timer is left on it that gives it back, should everybody who could do so die.
donor lent:
  donor.lent:
    - loan: {{ pillar["reprovision_run"] | json }}
    - seconds: {{ pillar["reprovision_run"]["donor_lease"] | json }}

# Its cross-site services too: with three or more sites they would otherwise fail when mysqld stops.
donor cross-site services offline:
  trepctl.offline_all:
    - which: cross_site
    - require:
      - donor: donor lent

donor shunned:
  cctrl.datasource_shunned:
    - name: {{ pillar["reprovision_run"]["donor"] | json }}
    - require:
      - trepctl: donor cross-site services offline
