# mariadb-backup or xtrabackup of this donor, which goes on serving, streamed to the failed primary
data streamed:
  hotcopy.streamed:
    - name: {{ pillar["reprovision_run"]["primary"] | json }}
    - site: {{ pillar["reprovision_run"]["failed"] | json }}
    - run: {{ pillar["reprovision_run"]["run"] | json }}
    - method: {{ pillar["reprovision_run"]["method"] | json }}
    - bwlimit: {{ pillar["reprovision_run"]["bwlimit"] | json }}
    - wait: 5
