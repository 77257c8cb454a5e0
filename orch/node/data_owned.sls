# chown -R and chmod to what the data locations had before
ownership:
  datadir.owned:
    - run: {{ pillar["reprovision_run"]["run"] | json }}
