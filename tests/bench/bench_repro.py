"""The main job as a user runs it: whole processes, empty caches and warm."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.limits import judged

WARM_RUNS = 5
COLD_SECONDS, WARM_SECONDS = 420, 5


def rows(run: Path) -> Iterator[dict[str, Any]]:
    """`repro_cold` and `repro_warm`; leaves one finished run in `run`."""
    with tempfile.TemporaryDirectory(prefix="zaptrace-cold-") as cache:
        seconds, timing = _repro(Path(cache) / "run", XDG_CACHE_HOME=cache)
        conditions = f"empty caches, packages installed; {_steps(timing)}"
        yield _row("repro_cold", seconds, COLD_SECONDS, conditions)
    _repro(run)  # fills the caches
    warm = []
    for _ in range(WARM_RUNS):
        with tempfile.TemporaryDirectory(prefix="zaptrace-warm-") as folder:
            warm.append(_repro(Path(folder) / "run"))
    warm.sort(key=lambda measured: measured[0])
    middle = warm[len(warm) // 2]
    yield _row(
        "repro_warm",
        statistics.median(seconds for seconds, _ in warm),
        WARM_SECONDS,
        f"whole process, median of {WARM_RUNS}; {_steps(middle[1])}",
    )


def _row(name: str, seconds: float, limit: float, conditions: str) -> dict[str, Any]:
    row = {"name": name, "value": seconds, "unit": "s", "conditions": conditions}
    return judged(row, f"{limit} s", met=seconds <= limit)


def _steps(timing: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in timing.items())


def _repro(folder: Path, **environment: str) -> tuple[float, dict[str, float]]:
    """One `zaptrace repro s390x --json`: seconds of wall time, and its own step times."""
    argv = [sys.executable, "-m", "zaptrace", "repro", "s390x", "--json"]
    started = time.monotonic()
    done = subprocess.run(
        [*argv, "--run", str(folder)],
        check=False,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    seconds = time.monotonic() - started
    document = json.loads(done.stdout)
    if document["verdict"]["kind"] != "freed_before_rmap_removed":
        raise SystemExit(f"the bug was not found: {document['verdict']}")
    return seconds, document["timing"]
