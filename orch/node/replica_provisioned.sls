# tprovision -s PRIMARY -m METHOD, on this replica, in a systemd unit that is polled
replica provisioned:
  tprovision.provisioned:
    - name: {{ pillar["reprovision_run"]["primary"] | json }}
    - method: {{ pillar["reprovision_run"]["replica_method"] | json }}
    - run: {{ pillar["reprovision_run"]["run"] | json }}
    - begun: {{ pillar["reprovision_run"]["begun"] | json }}
    - wait: 5
