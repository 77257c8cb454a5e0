"""
A run's report as one HTML page: nothing of it is loaded from anywhere, and it can be read on a telephone and in print.

Pure. Jinja, which Salt brings, escapes every value: what a tool said is shown, never interpreted.
"""

import jinja2

__virtualname__ = "runpage"

# A step of no length is still to be seen, and to be clicked on.
NARROWEST = 0.4


def __virtual__():
    return __virtualname__


def make(report):
    """
    Make the page.

    report
        As ``runreport.tell`` returns it.

    Returns the HTML text, in ASCII.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd runpage.make "$report"
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     lstrip_blocks=True)
    environment.filters.update(size=__salt__["runwords.size"], duration=__salt__["runwords.duration"])
    page = environment.from_string(PAGE).render(
        report=report, bars=_bars(report), nodes=_by_node(report), standing=_standing(report),
        commands=_commands(report["commands"]))
    # The master may run in a locale that can write nothing else.
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _bars(report):
    """Where each step lies on the time line of what the record holds of it, in percent from the left."""
    begun = [step["offset"] for step in report["steps"] if step["offset"] is not None]
    if not begun:
        return {}
    # An earlier attempt may have been long ago; of steps done again only the last time is on record.
    first = min(begun)
    last = max(step["offset"] + (step["seconds"] or 0) for step in report["steps"] if step["offset"] is not None)
    span = max(last - first, 1)
    return {
        step["name"]: {"left": round(100 * (step["offset"] - first) / span, 2),
                       "width": round(max(NARROWEST, 100 * (step["seconds"] or 0) / span), 2)}
        for step in report["steps"] if step["offset"] is not None}


def _by_node(report):
    """What each node said, step after step."""
    nodes = {minion: [] for members in report["nodes"].values() for minion in members.values()}
    for step in report["steps"]:
        for said in step["said"]:
            if said["node"]:
                nodes[said["node"]].append({"step": step["name"], "text": said["text"]})
    return {node: said for node, said in nodes.items() if said}


def _standing(report):
    """How each node stood before and after: {site: {host: [words, words]}}; what is not on record has no words."""
    return {site: {host: [_words(report[when], site, host) for when in ("before", "after")] for host in members}
            for site, members in report["nodes"].items()} if report["before"] else {}


def _words(views, site, host):
    node = (views or {}).get(site, {}).get("nodes", {}).get(host)
    if not node:
        return []
    services = [f"{name} {now['state']}" + (f" {now['seqno']}" if now["seqno"] is not None else "")
                for name, now in node["services"].items()]
    return [f"{node['role'] or 'role not known'} {node['datasource'] or 'not known'}", *services]


def _commands(gathered):
    """What was told to the tools of each node; what was asked again until the answer changed is one line."""
    told = {}
    for node, entries in (gathered or {"answers": {}})["answers"].items():
        told[node] = []
        for entry in entries:
            last = told[node][-1] if told[node] else None
            if last and (last["argv"], last["typed"]) == (entry["argv"], entry["typed"]):
                last.update(times=last["times"] + 1, answer=entry["answer"], code=entry["code"],
                            took=last["took"] + entry["took"])
                continue
            tool = entry["argv"][0].rsplit("/", 1)[-1]
            told[node].append(
                {**entry, "times": 1, "told": f"{tool}: {'; '.join(entry['typed']) or ' '.join(entry['argv'][1:])}"})
    return told


PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.site }}: run {{ report.run }}</title>
<style>
  :root { --well: #1a7f37; --ill: #c62828; --open: #9a6700; --line: #d0d7de; --soft: #f6f8fa; --grey: #57606a; }
  body { font: 15px/1.45 system-ui, sans-serif; color: #1f2328; margin: 0 auto; max-width: 68rem; padding: 1rem; }
  h1 { font-size: 1.4rem; }
  h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
  .done { color: var(--well); }
  .failed, .aborted, .interrupted { color: var(--ill); }
  .running { color: var(--open); }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
  dt { color: var(--grey); }
  dd { margin: 0; overflow-wrap: anywhere; }
  table { border-collapse: collapse; width: 100%; }
  body { overflow-wrap: anywhere; }
  td { vertical-align: top; padding: .25rem .5rem; }
  tr { border-bottom: 1px solid var(--line); }
  td.line { width: 38%; }
  .time { white-space: nowrap; text-align: right; font-variant-numeric: tabular-nums; }
  .track { position: relative; height: 1rem; background: var(--soft); margin-top: .2rem; }
  .bar { position: absolute; top: 0; bottom: 0; background: currentColor; border-radius: 2px; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; font: 13px/1.4 ui-monospace, monospace;
        color: #1f2328; }
  summary { cursor: pointer; }
  .node { font-weight: 600; }
  .command { margin-left: 1rem; }
  th { text-align: left; font-weight: normal; color: var(--grey); padding: .25rem .5rem; }
  @media (max-width: 40rem) {
    td.line { display: none; }
    dl { grid-template-columns: 1fr; }
    dd { margin-bottom: .4rem; }
  }
  @media print {
    body { max-width: none; padding: 0; }
    tr { break-inside: avoid; }
    .bar, .track { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  }
</style>
</head>
<body>
<h1>Site {{ report.site }} <span class="{{ report.state }}">{{ report.outcome }}</span></h1>
<dl>
  <dt>Run</dt>
  <dd>{{ report.run }}</dd>
  <dt>From</dt>
  <dd>{{ report.definitive }}, by a copy of {{ report.donor }} over {{ report.primary }}</dd>
  <dt>Begun</dt>
  <dd>{{ report.started }} by {{ report.attempts[0].who }}</dd>
  <dt>Ended</dt>
  <dd>{{ report.finished ~ ", after " ~ (report.seconds | duration) if report.finished else "not yet" }}</dd>
{% if report.approved %}
{% set decided = report.approved.decided %}
  <dt>Plan</dt>
  <dd>{{ report.approved.plan }}, made by {{ report.approved.by }}, {{ decided.state }} by {{ decided.who
      }}{{ ": " ~ decided.reason if decided.reason }}</dd>
{% endif %}
  <dt>Donor out of service</dt>
  <dd>
{% for out in report.donor_out %}
    {{ out["from"] }} to {{ out.until or "now" }} ({{ out.seconds | duration }}){{ "," if not loop.last }}
{% else %}
    never
{% endfor %}
  </dd>
  <dt>Copied</dt>
  <dd>{{ report.copied.bytes | size }} of data
{% if report.copied.bytes_per_second %}
    in {{ report.copied.seconds | duration }}, {{ report.copied.bytes_per_second | size }} a second
{% endif %}
  </dd>
  <dt>Verified</dt>
{% if report.verified %}
  <dd>{{ "{:,}".format(report.verified.rows) }} rows of {{ report.verified.tables }} tables
    {{ "are equal" if report.verified.equal else "differ" }} on all nodes; heartbeats have arrived everywhere</dd>
{% else %}
  <dd>not yet</dd>
{% endif %}
{% if report.again %}
  <dt>To go on</dt>
  <dd><code>{{ report.again }}</code></dd>
{% endif %}
</dl>
<h2>Sites</h2>
<dl>
{% for site, members in report.nodes.items() %}
  <dt>{{ site }}{{ " (rebuilt)" if site == report.site }}</dt>
  <dd>
{% for host in members %}
    {{ host }}{{ " (primary)" if host == report.primary }}{{ " (donor)" if host == report.donor
    }}{{ "," if not loop.last }}
{% endfor %}
  </dd>
{% endfor %}
</dl>
{% if standing %}
<h2>Before and after</h2>
<table>
  <tr><th></th><th>before</th><th>after</th></tr>
{% for site, members in standing.items() %}
{% for host, both in members.items() %}
  <tr>
    <td class="node">{{ host }}</td>
{% for words in both %}
    <td>
{% for word in words %}
      <div>{{ word }}</div>
{% else %}
      not on record
{% endfor %}
    </td>
{% endfor %}
  </tr>
{% endfor %}
{% endfor %}
</table>
{% for when in ("before", "after") %}
{% for view in (report[when] or {}).values() %}
{% for wrong in view.wrong %}
<p><span class="{{ "failed" if when == "after" else "running" }}">{{ when }}:</span> {{ wrong }}</p>
{% endfor %}
{% endfor %}
{% endfor %}
{% endif %}
{% if report.attempts | length > 1 %}
<h2>Attempts</h2>
<table>
{% for attempt in report.attempts %}
  <tr>
    <td>{{ loop.index }}</td>
    <td>{{ attempt.started }}</td>
    <td>{{ attempt.who }}</td>
    <td>{{ attempt.how or "at work" }}</td>
    <td class="time">{{ attempt.seconds | duration }}</td>
  </tr>
{% endfor %}
</table>
{% endif %}
{% if report.findings %}
<h2>Found before the first change</h2>
<table>
{% for finding in report.findings %}
  <tr>
    <td class="node">{{ finding.node }}</td>
    <td>{{ finding.level }}</td>
    <td>{{ finding.what }}</td>
    <td>{{ finding.do }}</td>
  </tr>
{% endfor %}
</table>
{% endif %}
<h2>Steps</h2>
<table>
{% for step in report.steps %}
  <tr>
    <td>
      <details{{ " open" if step.state in ("failed", "interrupted") }}>
        <summary class="{{ step.state }}">{{ step.name }}</summary>
{% for said in step.said %}
        <pre><span class="node">{{ said.node ~ " " if said.node }}</span>{{ said.text }}</pre>
{% endfor %}
      </details>
    </td>
    <td class="{{ step.state }}">{{ step.state }}</td>
    <td class="line">
{% if step.name in bars %}
      <div class="track {{ step.state }}">
        <div class="bar" style="left:{{ bars[step.name].left }}%;width:{{ bars[step.name].width }}%"></div>
      </div>
{% endif %}
    </td>
    <td class="time">{{ step.seconds | duration if step.seconds is not none }}</td>
  </tr>
{% endfor %}
</table>
<h2>Nodes</h2>
{% for node, said in nodes.items() %}
<details>
  <summary><span class="node">{{ node }}</span>, {{ said | length }} answers</summary>
  <table>
{% for each in said %}
    <tr>
      <td>{{ each.step }}</td>
      <td><pre>{{ each.text }}</pre></td>
    </tr>
{% endfor %}
  </table>
</details>
{% endfor %}
{% if report.commands %}
<h2>What the vendor's tools were told</h2>
{% for node, fault in report.commands.faults.items() %}
<p class="failed">{{ node }}: {{ fault }}</p>
{% endfor %}
{% for node, told in commands.items() %}
<details>
  <summary><span class="node">{{ node }}</span>, {{ told | length }} commands</summary>
{% for each in told %}
  <details class="command">
    <summary>{{ each.at[11:19] }} {{ each.told }}{{ " &#215; " | safe ~ each.times if each.times > 1 }}
      <span class="{{ "failed" if each.code else "time" }}">{{ "code " ~ each.code ~ ", " if each.code
        }}{{ "%.1f" | format(each.took) }} s</span></summary>
    <pre>{{ each.argv | join(" ") }}

{{ each.answer }}</pre>
  </details>
{% endfor %}
</details>
{% endfor %}
{% endif %}
</body>
</html>
"""
