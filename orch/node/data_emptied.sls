# The data locations of the failed primary are emptied, dotfiles included
data locations emptied:
  datadir.emptied:
    - site: {{ pillar["reprovision_run"]["failed"] | json }}
    - donor: {{ pillar["reprovision_run"]["donor"] | json }}
    - run: {{ pillar["reprovision_run"]["run"] | json }}
