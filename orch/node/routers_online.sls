# cctrl: router * online
routers:
  cctrl.routers_online: []
