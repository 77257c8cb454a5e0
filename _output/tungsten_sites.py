"""
Show all sites at once, as ``salt-run reprovision.status`` returns them: the site, its nodes, its run, what is wrong.

Salt chooses it for that function; ``--out=json`` gives the data instead. In colour on a terminal.
"""

import salt.utils.color

__virtualname__ = "tungsten_sites"

UNKNOWN = "?"


def __virtual__():
    return __virtualname__


def output(data, **kwargs):
    """
    Return the text.

    data
        ``{site: view}`` as ``salt-run reprovision.status --out=json`` prints it.

    Returns lines of text, with colours if the options say so.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.status --out=tungsten_sites
    """
    data = _printable(data)
    colours = salt.utils.color.get_colors(__opts__.get("color"), __opts__.get("color_theme"))
    rows = {(site, host): _cells(node) for site, view in data.items()
            for host, node in view.get("nodes", {}).items()}
    widths = [max((len(row[column][0]) for row in rows.values() if column < len(row)), default=0)
              for column in range(max(map(len, rows.values()), default=0))]
    names = max((len(host) for _, host in rows), default=0)
    lines = []
    for site, view in data.items():
        # Without nodes nobody was asked, so nothing is said of the site but its run.
        if "nodes" in view:
            head = "LIGHT_RED" if view["wrong"] else "LIGHT_GREEN"
            lines.append(_painted(colours, head, site) + f"  {_heading(view)}")
        else:
            lines.append(site)
        for host in view.get("nodes", {}):
            cells = [_painted(colours, colour, text.ljust(width))
                     for (text, colour), width in zip(rows[site, host], widths)]
            lines.append(f"  {host.ljust(names)}  " + "  ".join(cells).rstrip())
        lines += [_painted(colours, "LIGHT_RED", f"  ! {text}".replace("\n", "\n      "))
                  for text in view.get("wrong", [])]
        lines += _run(view["run"])
        lines.append("")
    return "\n".join(lines).rstrip()


def _printable(value):
    """A tool's words are shown, not obeyed: they could hold what moves the terminal's cursor."""
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_printable(each) for each in value]
    if isinstance(value, str):
        return "".join(sign if sign == "\n" or sign.isprintable() else UNKNOWN for sign in value)
    return value


def _heading(view):
    routers = list(view["routers"].values())
    up = sum(state == "ONLINE" for state in routers)
    return (f"policy {view['policy'] or UNKNOWN}   primary {view['primary'] or UNKNOWN}   "
            f"routers {up} of {len(routers)} ONLINE")


def _cells(node):
    """[(text, colour)]"""
    services = [(f"{name} {now['state'] or UNKNOWN} {_number(now['seqno'])} {_seconds(now['latency'])}",
                 _colour(now["state"])) for name, now in node["services"].items()]
    return [(node["role"] or UNKNOWN, "DEFAULT_COLOR" if node["role"] else "YELLOW"),
            (node["datasource"] or UNKNOWN, _colour(node["datasource"])),
            (f"mysql {node['dataserver'] or UNKNOWN}", _colour(node["dataserver"])), *services]


def _colour(state):
    if state == "ONLINE":
        return "GREEN"
    return "YELLOW" if state is None or state.startswith("GOING-ONLINE") else "LIGHT_RED"


def _number(seqno):
    return UNKNOWN if seqno is None else str(seqno)


def _seconds(latency):
    return UNKNOWN if latency is None else f"{latency:.1f}s"


def _run(run):
    if not run:
        return []
    at = f" at {run['step']}" if run["step"] else ""
    return [f"  run {run['run']}: {run['state']}{at}, {run['steps']} steps done; {run['next']}"]


def _painted(colours, colour, text):
    return f"{colours[colour]}{text}{colours['ENDC']}" if colours.get(colour) else text
