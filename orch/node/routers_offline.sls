# cctrl: router * offline
routers:
  cctrl.routers_offline: []
