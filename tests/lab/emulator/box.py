"""The boxes that cctrl prints, as the vendor's published formatter lays them out.

Its width is a constant of the release: 75 in boxes of 78 columns, 80 in boxes of 83. Heads that do not fit
are split at spaces, and of a word that does not fit the rest is lost: readers have to live with that.
"""

_DETAIL_COLUMN = 30


def rule(width):
    return f"+{'-' * (width + 1)}+"


def _line(text, width):
    return f"|{text:<{width + 1}}|"


def _folded(text, width):
    """The lines that a text becomes; leading blanks are lost as soon as it has to be folded."""
    if len(text) <= width - 3:
        return [text]
    lines = [""]
    for word in text.split():
        cut = word[: width - 3]
        if not lines[-1]:
            lines[-1] = cut
        elif len(lines[-1]) + 1 + len(cut) <= width - 1:
            lines[-1] += f" {cut}"
        else:
            lines.append(cut)
    return lines


def head(source):
    """``NAME(ROLE:STATE, …)``: a datasource in one line."""
    role = f"composite {source['role']}" if source.get("composite") else source["role"]
    shunned, error = source.get("shun_reason"), source.get("last_error")
    reason = ""
    if source["state"] == "SHUNNED":
        reason = f"{shunned} AFTER {error}" if shunned and error else shunned or error or ""
    elif source["state"] == "FAILED":
        reason = error or ""
    text = f"{source['name']}({role}:{source['state']}" + (f"({reason})" if reason else "")
    if source.get("archive"):
        text += ":ARCHIVE "
    if source.get("progress") is not None:
        kind = "THL latency" if source["role"] == "master" else "latency"
        text += f", progress={source['progress']}, {kind}={source['latency']:.3f}"
    return f"{text})"


def _components(source):
    yield f"  MANAGER(state={source['manager']})"
    if source["role"] == "witness":
        return
    replicator = source["replicator"]
    words = [f"{key}={replicator[key]}" for key in ("role", "master", "state") if replicator.get(key)]
    yield f"  REPLICATOR({', '.join(words)})"
    yield f"  DATASERVER(state={source['dataserver']})"
    yield f"  CONNECTIONS(created={source.get('created', 0)}, active={source.get('active', 0)})"


def datasource(source, width=80):
    """The block of one datasource, from its properties.

    ``name, role, state``; optional ``composite, shun_reason, last_error, archive, progress, latency, vip,
    alert, time, alert_reason, ssl``; unless composite ``manager, replicator {role, master, state},
    dataserver, created, active``.
    """
    top = [head(source)]
    if source.get("vip"):
        top.append(f"VIP=({source['vip']})")
    if source.get("alert"):
        top.append(f"STATUS [{source['alert']}] [{source['time']}]" + ("[SSL]" if source.get("ssl") else ""))
    if source.get("alert_reason"):
        top.append(f"REASON[{source['alert_reason']}]")
    return boxes([top] if source.get("composite") else [top, _components(source)], width)


def details(tables, width=80):
    """What ``ls -l`` prints: ``[(title, {key: value}), …]``."""
    parts = []
    for title, values in tables:
        lines = [f"{key:>{_DETAIL_COLUMN}}:    {value}" for key, value in sorted(values.items())]
        parts.append(boxes([[title], lines], width).removesuffix("\n"))
    return "".join(parts) + "\n"


def boxes(parts, width=80):
    """Lines between rules, closed by an empty line."""
    lines = [rule(width)]
    for part in parts:
        for text in part:
            lines += [_line(folded, width) for folded in _folded(text, width)]
        lines.append(rule(width))
    return "\n".join(lines) + "\n\n"
