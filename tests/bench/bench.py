"""The manual's procedure by a shell script against this orchestration, on the same lab, in turn, several times.

Before each run all sites are healthy and being written to, and one has drifted; after each run it is proved that all
is right again: a run that is not is an error and no figure. Figures are worth something only on a machine that does
nothing else. Everything is written to the folder of the results as it is found.
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
from benchkit import field, figures, modes  # noqa: E402
from labkit import hosts, plan  # noqa: E402
from labkit.shell import LabError, say  # noqa: E402

NAME = "bench"
OUT = Path("/var/tmp/tungsten-reprovision-bench")


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
        path = self.options.json or self.options.out / "bench.json"
        path.write_text(json.dumps(self.found, indent=1))

    def setting(self, setting, repeat):
        """All modes in turn, so many times, on a lab of this setting."""
        lab = plan.Lab(name=NAME, sites=setting["sites"], nodes=setting["nodes"])
        ground = field.Field(lab)
        say(f"=== {setting}")
        try:
            ground.bring_up(setting["megabytes"])
            for repetition in range(1, repeat + 1):
                for mode in self.options.modes:
                    self.one(ground, setting, repetition, mode)
                from_disk()
                stick = modes.yardstick(ground)
                self.found["yardsticks"].append({"setting": setting, **stick})
                self.keep()
        finally:
            if not self.options.keep:
                hosts.down(lab)

    def one(self, ground, setting, repetition, mode):
        name = f"{mode}-{setting['megabytes']}-{setting['sites']}x{setting['nodes']}-{repetition}"
        run = {"setting": setting, "repetition": repetition, "mode": mode}
        ground.drift()
        from_disk()
        try:
            seen = modes.run(ground, mode, self.options.out / f"{name}.log")
            ground.prove()
        except (LabError, subprocess.TimeoutExpired) as error:
            self.found["errors"].append({**run, "error": str(error)})
            self.keep()
            raise LabError(f"{name}: {error}") from None
        run.update(figures=figures.assembled(seen), calls=figures.calls_by_tool(seen["calls"]), bytes=seen["bytes"],
                   steps={name: round(seconds, 1) for name, seconds in seen["steps"].items()})
        (self.options.out / f"{name}.json").write_text(json.dumps(seen))
        self.found["runs"].append(run)
        self.keep()
        say(f"{name}: {run['figures']} {run['calls']}")


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000, help="data of each node (2000)")
    parser.add_argument("--repeat", type=int, default=5, help="how often each mode runs (5)")
    parser.add_argument("--modes", type=lambda text: text.split(","), default=list(modes.MODES),
                        help=f"by comma ({','.join(modes.MODES)})")
    parser.add_argument("--nodes", type=int, default=3, help="nodes of each site (3)")
    parser.add_argument("--sites", type=int, default=2, help="sites (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go (bench.json in --out)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"folder of the results ({OUT})")
    parser.add_argument("--keep", action="store_true", help="leave the lab up: tests/lab/lab --lab bench status")
    options = parser.parse_args()
    # Also when it is told to end: the lab must not stay behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    bench = Bench(options)
    try:
        bench.setting({key: getattr(options, key) for key in ("megabytes", "nodes", "sites")}, options.repeat)
    except LabError as error:
        say(f"bench: {error}")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
