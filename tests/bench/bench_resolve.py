"""How long a probe plan takes: from scratch beside `perf probe -D`, and out of the cache."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.limits import judged

RUNS = 7
COLD_SECONDS, CACHED_SECONDS = 1.0, 0.05
PEER = "perf probe -D"
PEER_QUERY = "zap_pte_range tlb end pmd"
"""What perf can answer on the lab kernel; the plan answers that and all the rest."""

_MEASURE = """
import sys, time
from pathlib import Path
from zaptrace.kernel import plan_for
started = time.perf_counter()
plan_for(Path(sys.argv[1]), Path(sys.argv[2]))
print(time.perf_counter() - started)
"""


def rows(vmlinux: Path) -> list[dict[str, object]]:
    """`resolve_cold` and `resolve_cached`, medians of several processes each."""
    plan_seconds(vmlinux)  # the first one reads the file from disk: for us and for perf
    cold = [plan_seconds(vmlinux) for _ in range(RUNS)]
    with tempfile.TemporaryDirectory(prefix="zaptrace-plans-") as cache:
        plan_seconds(vmlinux, Path(cache))
        cached = [plan_seconds(vmlinux, Path(cache)) for _ in range(RUNS)]
    inside = (
        "plan_for() in a fresh process, the imports it causes (pyelftools) counted, "
        f"Python's start not; median of {RUNS}"
    )
    size = f"vmlinux of {vmlinux.stat().st_size / 1e6:.0f} MB in the page cache"
    row: dict[str, object] = {
        "name": "resolve_cold",
        "value": statistics.median(cold),
        "unit": "s",
        "conditions": f"every event and argument, empty plan cache, {size}; {inside}",
    }
    peer = peer_seconds(vmlinux)
    if peer is not None:
        row |= {"peer": PEER, "peer_value": peer, "ratio": peer / statistics.median(cold)}
        row["conditions"] = f"{row['conditions']}; peer: `{PEER_QUERY}` alone, its whole process"
    again: dict[str, object] = {
        "name": "resolve_cached",
        "value": statistics.median(cached),
        "unit": "s",
        "conditions": f"plan cached by build ID; {inside}",
    }
    return [
        judged(row, f"{COLD_SECONDS:g} s", met=statistics.median(cold) <= COLD_SECONDS),
        judged(again, f"{CACHED_SECONDS:g} s", met=statistics.median(cached) <= CACHED_SECONDS),
    ]


def plan_seconds(vmlinux: Path, cache: Path | None = None) -> float:
    """One plan in a fresh process; with an empty cache when none is given."""
    with tempfile.TemporaryDirectory(prefix="zaptrace-plans-") as empty:
        command = [sys.executable, "-c", _MEASURE, str(vmlinux), str(cache or empty)]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return float(said.stdout)


def peer_seconds(vmlinux: Path) -> float | None:
    """The median of perf's times; None when perf is missing or does not answer."""
    perf = shutil.which("perf")
    if perf is None:
        return None
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        command = [perf, "probe", "-k", str(vmlinux), "-D", PEER_QUERY]
        done = subprocess.run(command, capture_output=True, check=False, timeout=120)
        if done.returncode:
            return None
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
