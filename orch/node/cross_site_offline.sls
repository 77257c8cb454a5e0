# mm_trepctl offline, with all services named
cross-site services offline:
  trepctl.offline_all:
    - which: cross_site
