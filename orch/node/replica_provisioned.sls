# tprovision -s PRIMARY -m METHOD, on this replica
replica provisioned:
  tprovision.provisioned:
    - name: {{ pillar["reprovision_run"]["primary"] | json }}
    - method: {{ pillar["reprovision_run"]["replica_method"] | json }}
    - run: {{ pillar["reprovision_run"]["run"] | json }}
