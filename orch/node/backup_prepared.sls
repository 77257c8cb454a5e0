# mariadb-backup --prepare, or xtrabackup's, of what was streamed to the failed primary
backup prepared:
  hotcopy.prepared:
    - run: {{ pillar["reprovision_run"]["run"] | json }}
    - method: {{ pillar["reprovision_run"]["method"] | json }}
    - begun: {{ pillar["reprovision_run"]["begun"] | json }}
    - wait: 5
