# cctrl: set force true; datasource PRIMARY welcome; datasource PRIMARY online
{%- set service = pillar["tungsten"]["sites"][pillar["reprovision_run"]["failed"]].get("service", pillar["reprovision_run"]["failed"]) %}
# Online since step 14, which happens once in a run; this also holds when a run goes on here.
own service online:
  trepctl.online:
    - name: {{ service | json }}
    - which: cluster

primary online:
  cctrl.datasource_online:
    - name: {{ pillar["reprovision_run"]["primary"] | json }}
    - how: welcome
    - require:
      - trepctl: own service online
