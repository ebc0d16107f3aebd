"""zaptrace as a program that zaptrace itself starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import zaptrace

# -P: a module of the folder we are started in (a kernel tree) is not ours.
ARGV = (sys.executable, "-P", "-m", "zaptrace")


def environment() -> dict[str, str]:
    """Ours, in which the program finds this very zaptrace from any folder."""
    ours = str(Path(zaptrace.__file__).parents[1])
    paths = [ours, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    found = [str(Path(path).absolute()) for path in paths if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(found))}
