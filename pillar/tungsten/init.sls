# One file a site, and one that says what is to be rebuilt from where.
include:
  - tungsten.east
  - tungsten.west
  - tungsten.reprovision
