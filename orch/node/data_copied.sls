# rsync of all data locations from this donor to the failed primary
data copied:
  datadir.copied:
    - name: {{ pillar["reprovision_run"]["primary"] | json }}
    - site: {{ pillar["reprovision_run"]["failed"] | json }}
    - run: {{ pillar["reprovision_run"]["run"] | json }}
