# mariadb-backup --prepare, or xtrabackup's, of what was streamed to the failed primary
backup prepared:
  hotcopy.prepared:
    - run: {{ pillar["reprovision_run"]["run"] | json }}
    - method: {{ pillar["reprovision_run"]["method"] | json }}
    - wait: 5
