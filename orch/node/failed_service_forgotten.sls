# mm_trepctl -service FAILED offline; mm_trepctl -service FAILED reset -all -y
{%- set service = pillar["tungsten"]["sites"][pillar["reprovision_run"]["failed"]].get("service", pillar["reprovision_run"]["failed"]) %}
cross-site service offline:
  trepctl.offline:
    - name: {{ service | json }}
    - which: cross_site

cross-site service reset:
  trepctl.reset:
    - name: {{ service | json }}
    - which: cross_site
    - require:
      - trepctl: cross-site service offline
