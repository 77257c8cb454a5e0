# cctrl: set policy maintenance
policy:
  cctrl.policy:
    - name: MAINTENANCE
