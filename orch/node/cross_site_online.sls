# mm_trepctl online, with all services named
cross-site services online:
  trepctl.online_all:
    - which: cross_site
