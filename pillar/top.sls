# The topology goes to the nodes of all sites and to the orchestration itself, whose id is <master id>_master.
base:
  '*_master':
    - tungsten
  'east* or west*':
    - match: compound
    - tungsten
