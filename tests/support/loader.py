"""Load a module of this extension by its path, the way Salt's loader would find it in file_roots."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def load(folder, name):
    """Return ``<folder>/<name>.py`` as a module of its own, e.g. ``load("_modules", "cctrl")``."""
    full = f"reprovision_{folder.strip('_')}_{name}"
    if full in sys.modules:
        return sys.modules[full]
    spec = importlib.util.spec_from_file_location(full, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    return module
