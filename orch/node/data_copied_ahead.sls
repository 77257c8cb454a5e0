# rsync of all data locations from this donor, which goes on serving, to the failed primary
data copied ahead:
  datadir.copied_ahead:
    - name: {{ pillar["reprovision_run"]["primary"] | json }}
    - site: {{ pillar["reprovision_run"]["failed"] | json }}
    - run: {{ pillar["reprovision_run"]["run"] | json }}
    - begun: {{ pillar["reprovision_run"]["begun"] | json }}
    - compress: {{ pillar["reprovision_run"]["compress"] | json }}
    - bwlimit: {{ pillar["reprovision_run"]["bwlimit"] | json }}
    - streams: {{ pillar["reprovision_run"]["streams"] | json }}
    - wait: 5
