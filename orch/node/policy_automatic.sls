# cctrl: set policy automatic
policy:
  cctrl.policy:
    - name: AUTOMATIC
