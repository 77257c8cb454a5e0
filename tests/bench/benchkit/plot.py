"""Bars for every mode as an SVG that needs nothing else: pure."""

from html import escape

WIDTH, LEFT, RIGHT, TOP = 860, 110, 120, 76
BAR, GAP, BETWEEN = 22, 4, 22
COLOURS = ("#2f6f9f", "#d9822b")
FONT = "font-family=\"system-ui, 'DejaVu Sans', sans-serif\""


def bars(title, unit, legend, groups):
    """Draw horizontal bars.

    legend
        What the bars of a group stand for, at most two.
    groups
        ``[(name, [summary or None, …])]``, a summary being ``{"median", "min", "max"}``; its bar is the median, the
        line in it reaches from the least to the most.
    """
    most = max((bar["max"] for _, found in groups for bar in found if bar), default=0) or 1
    scale = (WIDTH - LEFT - RIGHT) / most
    height = TOP + len(groups) * (len(legend) * (BAR + GAP) + BETWEEN) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" {FONT} font-size="14" fill="#222">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="26" font-size="17" font-weight="600">{escape(title)}</text>',
    ]
    x = 12
    for colour, words in zip(COLOURS, legend):
        parts.append(f'<rect x="{x}" y="42" width="14" height="14" fill="{colour}"/>'
                     f'<text x="{x + 20}" y="54">{escape(words)}</text>')
        x += 40 + 8 * len(words)
    y = TOP
    for name, found in groups:
        middle = y + (len(legend) * (BAR + GAP) - GAP) / 2 + 5
        parts.append(
            f'<text x="{LEFT - 10}" y="{middle:.0f}" text-anchor="end" font-weight="600">{escape(name)}</text>')
        for colour, bar in zip(COLOURS, found):
            parts.append(_bar(y, bar, colour, scale, unit))
            y += BAR + GAP
        y += BETWEEN
    return "\n".join([*parts, "</svg>", ""])


def _bar(y, bar, colour, scale, unit):
    if bar is None:
        return f'<text x="{LEFT + 4}" y="{y + BAR - 6}" fill="#666">not measured</text>'
    end, least, most = (LEFT + bar[key] * scale for key in ("median", "min", "max"))
    middle = y + BAR / 2
    return (
        f'<rect x="{LEFT}" y="{y}" width="{max(1, end - LEFT):.1f}" height="{BAR}" fill="{colour}"/>'
        f'<path d="M{least:.1f} {middle}H{most:.1f}M{least:.1f} {middle - 4}v8M{most:.1f} {middle - 4}v8" '
        f'stroke="#222" fill="none"/>'
        f'<text x="{max(end, most) + 8:.1f}" y="{y + BAR - 6}">{bar["median"]:.1f} {escape(unit)}</text>')
