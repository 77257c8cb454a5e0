# The data locations of the failed primary are emptied, dotfiles included
data locations emptied:
{%- if pillar["reprovision_run"]["method"] == "rsync" %}
  datadir.emptied:
{%- else %}
  hotcopy.emptied:
    - method: {{ pillar["reprovision_run"]["method"] | json }}
{%- endif %}
    - site: {{ pillar["reprovision_run"]["failed"] | json }}
    - donor: {{ pillar["reprovision_run"]["donor"] | json }}
    - run: {{ pillar["reprovision_run"]["run"] | json }}
