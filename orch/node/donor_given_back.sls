# systemctl start mysqld; cctrl: datasource DONOR recover (and online, where recover leaves it OFFLINE)
donor mysqld running:
  mysqld.running: []

donor online:
  cctrl.datasource_online:
    - name: {{ pillar["reprovision_run"]["donor"] | json }}
    - how: recover
    - require:
      - mysqld: donor mysqld running

# What step 6 took offline beside it. The failed site's service stays offline here as everywhere, until step 18.
donor cross-site services online:
  trepctl.online_all:
    - which: cross_site
    - but: {{ [pillar["tungsten"]["sites"][pillar["reprovision_run"]["failed"]].get("service", pillar["reprovision_run"]["failed"])] | json }}
    - require:
      - cctrl: donor online

donor not lent any more:
  donor.returned:
    - require:
      - trepctl: donor cross-site services online
