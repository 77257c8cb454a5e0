"""What has been found, for people: tables for a terminal and for a page. Pure."""

from . import figures, plot

BY_HAND = "by-hand"
MODES = {
    BY_HAND: "`tests/bench/by_hand.sh`: the manual's steps in their order by ssh, one host after the other, "
             "`rsync -az`; it guards nothing and verifies nothing",
    "cold": "the orchestration, the whole copy while the donor is out of service",
    "warm": "the orchestration, most of the copy while the donor still serves",
    "hot": "the orchestration with `mariabackup`: the donor serves all the time",
}
PICTURE = "pictures/bench.svg"
PREFACE = """\
# How long it takes, and how long the donor is away
<!-- written by tests/bench/run: not to be edited here -->

Measured on {date} at commit {commit} with `tests/bench/run`, in the lab: all hosts on one machine with {cores} cores
({processor}) and {memory} GB of memory, so a figure is worth something beside the others only. A delay stands for the
start of a JVM in each call of the vendor's tools (1 s cctrl, 0.4 s trepctl). Where nothing is said of a link, what one
host sends to another only goes from memory to memory: that is no network that anybody has between two sites.

| mode | what it is |
| --- | --- |
{modes}

The modes take turns on the same hosts. Before each run all sites are healthy and written to by their applications, one
is made to drift, and nothing is left in the page cache. {share} % of the data are in tables that are written to all
over, the others rest. After each run the lab proves by `CHECKSUM TABLE`, services and datasources that all is right
again: a run that is not has no figure here. Median, and in brackets the least and the most.

**whole**: from the operator's command to its end. **donor out**: its datasource is not ONLINE or its server does not
answer, looked at from outside ten times a second. **copy**: the donor's bytes by the seconds in which copying goes on;
of two passes both count. `tar` through ssh of the same directory, while nothing is written, is the yardstick.
"""
SHARES = """\
Where the seconds go, medians. Two things at the same time count once, so **the rest** is what neither tool, server nor
copy accounts for: Salt's own share, files and waiting."""


def settings(found):
    """The settings in the order in which they were measured."""
    return list({name_of(run["setting"]): run["setting"] for run in found["runs"]}.values())


def name_of(setting):
    link = f", the donor's link {setting['link']} Mbit/s" if setting["link"] else ""
    return f"{setting['megabytes']} MB, {setting['sites']} sites of {setting['nodes']} nodes{link}"


def runs_by_mode(found, setting):
    """``{mode: its runs}``, always in the same order."""
    runs = {}
    for run in found["runs"]:
        if run["setting"] == setting:
            runs.setdefault(run["mode"], []).append(run)
    return {mode: runs[mode] for mode in MODES if mode in runs}


def yardstick(found, setting):
    """The summary of megabytes a second by tar through ssh."""
    return figures.summary([stick["bytes"] / stick["seconds"] / 1e6 for stick in found["yardsticks"]
                            if stick["setting"] == setting])


def number(value, digits=1):
    return "–" if value is None else f"{value:.{digits}f}"


def spread(summary, digits=1):
    """Median, and least to most where there is more than one run."""
    if summary is None:
        return "–"
    text = number(summary["median"], digits)
    if summary["runs"] > 1:
        text += f" ({number(summary['min'], digits)}–{number(summary['max'], digits)})"
    return text


def _times(summary, base):
    return "–" if summary is None or base is None else number(figures.ratio(summary["median"], base["median"]), 2)


def main_table(found, setting):
    """Rows of text: how long each mode takes, and what of that it is by hand."""
    runs, tar = runs_by_mode(found, setting), yardstick(found, setting)
    rows = [["mode", "runs", "whole, s", "× by hand", "donor out, s", "× by hand", "copy, MB/s", "× tar",
             "replicas, s"]]
    base = {name: figures.of_mode(runs[BY_HAND], name) if BY_HAND in runs else None for name in ("whole", "donor out")}
    for mode, those in runs.items():
        whole, out, rate = (figures.of_mode(those, name) for name in ("whole", "donor out", "rate"))
        rows.append([mode, str(len(those)), spread(whole), _times(whole, base["whole"]), spread(out),
                     _times(out, base["donor out"]), spread(rate, 0), _times(rate, tar),
                     spread(figures.of_mode(those, "replicas"))])
    if tar:
        rows.append(["tar through ssh", str(tar["runs"]), "", "", "", "", spread(tar, 0), "1.00", ""])
    return rows


def share_table(found, setting):
    """Rows of text: where the time goes, medians."""
    rows = [["mode", "whole, s", "vendor's tools", "start and stop of MySQL", "copying", "the rest",
             "of all: guards and verification", "calls of cctrl", "trepctl", "tprovision", "other work, cores"]]
    names = ("whole", "in tools", "in mysqld", "copying", "rest", "verification")
    for mode, those in runs_by_mode(found, setting).items():
        rows.append([mode, *(number(figures.of_mode(those, name)["median"]) for name in names),
                     *(number(figures.summary([run["calls"].get(tool, 0) for run in those])["median"], 0)
                       for tool in ("cctrl", "trepctl", "tprovision")),
                     number(figures.of_mode(those, "others")["median"], 2)])
    return rows


def growth_table(found):
    """Rows of text: each setting and mode with its medians."""
    rows = [["data of a node", "sites × nodes", "link", "mode", "whole, s", "× by hand", "donor out, s", "× by hand",
             "copy, s", "replicas, s"]]
    for setting in settings(found):
        for row, (mode, those) in zip(main_table(found, setting)[1:], runs_by_mode(found, setting).items()):
            size = figures.summary([run["bytes"] for run in those])["median"]
            link = f"{setting['link']} Mbit/s" if setting["link"] else "memory"
            rows.append([f"{size / 1e6:.0f} MB", f"{setting['sites']} × {setting['nodes']}", link, mode,
                         *row[2:6], spread(figures.of_mode(those, "copy")), row[8]])
    return rows


def text(rows):
    """Rows in columns, for a terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(field.ljust(width) for field, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown(rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def picture(found):
    """Bars of the first setting."""
    setting = settings(found)[0]
    groups = [(mode, [figures.of_mode(those, "whole"), figures.of_mode(those, "donor out")])
              for mode, those in runs_by_mode(found, setting).items()]
    return plot.bars(f"Re-provisioning a site: {name_of(setting)}", "s", ["whole", "donor out of service"], groups)


def page(found, loaded_share):
    """The page of the documentation."""
    machine, first = found["machine"], settings(found)[0]
    modes = [mode for mode in MODES if any(run["mode"] == mode for run in found["runs"])]
    repeated = [setting for setting in settings(found)
                if any(len(those) > 1 for those in runs_by_mode(found, setting).values())] or [first]
    lines = [PREFACE.format(
        date=found["date"], commit=found["commit"], **machine, share=round(100 * loaded_share),
        modes="\n".join(f"| {mode} | {MODES[mode]} |" for mode in modes))]
    for setting in repeated:
        lines += [f"## {name_of(setting)}", markdown(main_table(found, setting)), ""]
        if setting == first:
            lines += [f"![whole and donor out of service, bars for each mode]({PICTURE})", ""]
        lines += [SHARES, "", markdown(share_table(found, setting)), ""]
    if len(settings(found)) > len(repeated):
        lines += ["## As it grows", markdown(growth_table(found)), ""]
    return "\n".join(lines)
