# trepctl offline; trepctl -service FAILED reset -all -y; trepctl online
{%- set service = pillar["tungsten"]["sites"][pillar["reprovision_run"]["failed"]].get("service", pillar["reprovision_run"]["failed"]) %}
own service offline:
  trepctl.offline:
    - name: {{ service | json }}
    - which: cluster

own service reset:
  trepctl.reset:
    - name: {{ service | json }}
    - which: cluster
    - require:
      - trepctl: own service offline

own service online:
  trepctl.online:
    - name: {{ service | json }}
    - which: cluster
    - require:
      - trepctl: own service reset
