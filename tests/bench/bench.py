"""The manual's procedure by a shell script against this orchestration, on the same lab, in turn, several times.

Before each run all sites are healthy and being written to, and one has drifted; after each run it is proved that all
is right again: a run that is not is an error and no figure. Figures are worth something only on a machine that does
nothing else. What is found is written to the folder of the results after every run.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lab"), str(ROOT / "tests/bench")]
from benchkit import field, figures, modes, report  # noqa: E402
from labkit import hosts, plan  # noqa: E402
from labkit.shell import LabError, say  # noqa: E402

NAME = "bench"
OUT = Path("/var/tmp/tungsten-reprovision-bench")
# What is varied, and its values: with --grow others. With almost no data a run is all overhead.
USUAL = {"megabytes": [2000, 50], "nodes": [3], "sites": [2], "link": [0, 200], "repeat": 3}
GROWING = {"megabytes": [500, 10, 1000, 2000], "nodes": [3, 2, 4], "sites": [2, 3], "link": [0], "repeat": 1}


def machine():
    cpu = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cores": os.cpu_count(), "processor": cpu, "memory": round(memory / 2**30, 1)}


def commit():
    done = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%h"], capture_output=True, text=True)
    return done.stdout.strip() or None


def from_disk():
    """Let nothing come from memory that the run before has read or written."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


class Bench:
    def __init__(self, options):
        self.options = options
        self.found = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "commit": commit(), "runs": [],
                      "yardsticks": [], "errors": []}
        options.out.mkdir(parents=True, exist_ok=True)

    def keep(self):
        (self.options.json or self.options.out / "bench.json").write_text(json.dumps(self.found, indent=1))

    def measure(self):
        varied = (self.options.megabytes, self.options.nodes, self.options.sites, self.options.link)
        for setting in figures.settings(*varied):
            say(f"=== {report.name_of(setting)}")
            lab = plan.Lab(name=NAME, sites=setting["sites"], nodes=setting["nodes"])
            try:
                self.one_setting(setting, field.Field(lab, setting["megabytes"], setting["link"]))
            finally:
                if not self.options.keep:
                    hosts.down(lab)

    def one_setting(self, setting, ground):
        """All modes in turn; what goes wrong is told and leaves a lab that nothing is built on."""
        for repetition in range(1, self.options.repeat + 1):
            # Each mode is the first one in its turn.
            first = (repetition - 1) % len(self.options.modes)
            for mode in [*self.options.modes[first:], *self.options.modes[:first], None]:
                name = (f"{mode or 'tar'}-{setting['megabytes']}mb-{setting['sites']}x{setting['nodes']}-"
                        f"{setting['link'] or 'memory'}-{repetition}")
                try:
                    ground.bring_up()
                    if mode:
                        self.one_run(ground, setting, repetition, mode, name)
                    else:
                        from_disk()
                        self.found["yardsticks"].append({"setting": setting, **modes.yardstick(ground)})
                except (LabError, subprocess.TimeoutExpired, ValueError) as error:
                    ground.known = False
                    say(f"{name}: {error}")
                    self.found["errors"].append({"setting": setting, "run": name, "error": str(error)})
                self.keep()

    def one_run(self, ground, setting, repetition, mode, name):
        ground.drift()
        from_disk()
        seen = modes.run(ground, mode, self.options.out / f"{name}.log")
        ground.prove()
        run = {"setting": setting, "repetition": repetition, "mode": mode, "bytes": seen["bytes"],
               "figures": figures.assembled(seen), "calls": figures.calls_by_tool(seen["calls"]),
               "steps": {step: round(seconds, 1) for step, seconds in seen["steps"].items()}}
        (self.options.out / f"{name}.json").write_text(json.dumps(seen))
        self.found["runs"].append(run)
        say(f"{name}: whole {run['figures']['whole']} s, donor out {run['figures']['donor out']} s")


def tell(found, options):
    """The tables on the terminal, the page and the picture in the folder of the results, or in docs."""
    for setting in report.settings(found):
        print(f"\n{report.name_of(setting)}\n{report.text(report.main_table(found, setting))}"
              f"\n\n{report.text(report.share_table(found, setting))}")
    if len(report.settings(found)) > 1:
        print(f"\n{report.text(report.growth_table(found))}")
    for error in found["errors"]:
        print(f"ERROR {error['run']}: {error['error']}")
    if found["runs"]:
        folder = ROOT / "docs" if options.docs else options.out
        picture = folder / report.PICTURE
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(report.picture(found))
        (folder / "bench.md").write_text(report.page(found, field.LOADED_SHARE))
        say(f"written: {folder / 'bench.md'}, {picture}")


def together(paths):
    """The results of several files, described as the first one's."""
    every = [json.loads(path.read_text()) for path in paths]
    return {**every[0], **{key: [each for found in every for each in found[key]]
                           for key in ("runs", "yardsticks", "errors")}}


def as_typed(values):
    return " ".join(f"--{key} {str(value).strip('[]').replace(' ', '')}" for key, value in values.items())


def parsed():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {"type": lambda text: [int(word) for word in text.split(",")], "metavar": "N,…"}
    parser.add_argument("--megabytes", **numbers, help="data of each node; of this and the next three, what comes "
                        "after the first is measured as well, one varied at a time")
    parser.add_argument("--nodes", **numbers, help="nodes of each site, at least 2")
    parser.add_argument("--sites", **numbers, help="sites")
    parser.add_argument("--link", **numbers, help="megabits a second that the donor can send; 0: as memory lets it")
    parser.add_argument("--repeat", type=int, metavar="N", help="how often each mode runs")
    parser.add_argument("--grow", action="store_true",
                        help=f"instead of {as_typed(USUAL)} take {as_typed(GROWING)} unless given")
    parser.add_argument("--modes", type=lambda text: text.split(","), default=list(modes.MODES), metavar="MODE,…",
                        help=f"which, in which order ({','.join(modes.MODES)})")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"folder of the results ({OUT})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go (bench.json in that folder)")
    parser.add_argument("--docs", action="store_true", help="write docs/bench.md and its picture")
    parser.add_argument("--from", dest="files", type=Path, nargs="+", metavar="FILE",
                        help="measure nothing: tell what is in these files of figures")
    parser.add_argument("--keep", action="store_true", help="leave the lab up: tests/lab/lab --lab bench status")
    options = parser.parse_args()
    for key, value in (GROWING if options.grow else USUAL).items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    unknown = [mode for mode in options.modes if mode not in modes.MODES]
    if unknown:
        parser.error(f"no such mode: {', '.join(unknown)}")
    if min(options.nodes) < 2:
        parser.error("--nodes: the donor is a replica, so there are two or more")
    return options


def told_to_end(number, frame):
    say("bench: told to end by a signal; what was measured until now is kept")
    sys.exit(143)


def main():
    options = parsed()
    if options.files:
        tell(together(options.files), options)
        return
    # Also when it is told to end: the lab must not stay behind.
    signal.signal(signal.SIGTERM, told_to_end)
    bench = Bench(options)
    try:
        bench.measure()
    finally:
        tell(bench.found, options)
    raise SystemExit(1 if bench.found["errors"] else 0)


if __name__ == "__main__":
    main()
