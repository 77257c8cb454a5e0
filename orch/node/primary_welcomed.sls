# cctrl: set force true; datasource PRIMARY welcome; datasource PRIMARY online
primary online:
  cctrl.datasource_online:
    - name: {{ pillar["reprovision_run"]["primary"] | json }}
    - how: welcome
