{#-
  tungsten/drift/<site>: somebody says that a site has drifted.

  The payload is not read. Of the tag only the site's name is handed on, as data, and the runner checks it against the
  pillar; what may be destroyed, and from where, stands in pillar alone.
-#}
look at the site:
  runner.drift.react:
    - args:
      - site: {{ tag.split("/", 2)[2] | json }}
      - reporter: {{ data.get("id", "") | string | json }}
