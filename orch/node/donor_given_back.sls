# systemctl start mysqld; cctrl: datasource DONOR recover (and online, where recover leaves it OFFLINE)
donor mysqld running:
  mysqld.running: []

donor online:
  cctrl.datasource_online:
    - name: {{ pillar["reprovision_run"]["donor"] | json }}
    - how: recover
    - require:
      - mysqld: donor mysqld running
