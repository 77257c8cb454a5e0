# cctrl: set force true; datasource PRIMARY shun; replicator PRIMARY offline
primary shunned:
  cctrl.datasource_shunned:
    - name: {{ pillar["reprovision_run"]["primary"] | json }}
    - force: True
