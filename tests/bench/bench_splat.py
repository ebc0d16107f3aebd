"""How fast `splat` reads logs, and in how much memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench.inside_splat import MB, blocks
from tests.bench.limits import judged
from zaptrace.splat import parse

NOTHING_MB = 50
LOGS = 1000
CORES = 2
LOGS_SECONDS = 30
GROWTH = 1.1
"""How much more memory a log of 1 GB may take than one of 64 MB."""


def rows(console: Path) -> Iterator[dict[str, object]]:
    """`splat_rate`: a boot log, lines that hold nothing, a log of 1 GB, a thousand logs."""
    yield _boot_log(console)
    small, big = _inside(console, 64, 0), _inside(console, 1000, 50)
    nothing = _row("lines that hold nothing", small["bytes"] / small["seconds"] / MB, "MB/s")
    nothing["conditions"] = f"{small['bytes'] / MB:.0f} MB of a boot's lines without its reports"
    yield judged(nothing, f"{NOTHING_MB} MB/s", met=float(str(nothing["value"])) >= NOTHING_MB)
    whole = _row("log of 1 GB", big["bytes"] / big["seconds"] / MB, "MB/s")
    yield whole | {"conditions": f"in blocks of 1 MB; {big['splats']} reports found"}
    peak = _row("log of 1 GB, peak memory", big["peak"] / MB, "MB") | {
        "conditions": f"the whole process; with 64 MB it is {small['peak'] / MB:.0f} MB"
    }
    yield judged(peak, f"{GROWTH} x as with 64 MB", met=big["peak"] <= GROWTH * small["peak"])
    yield _thousand(console)


def _row(measure: str, value: float, unit: str) -> dict[str, object]:
    return {"name": "splat_rate", "measure": measure, "value": value, "unit": unit}


def _boot_log(console: Path) -> dict[str, object]:
    data = console.read_bytes()
    rounds = max(1, 4 * MB // len(data))
    started = time.process_time()
    for _ in range(rounds):
        found = parse(data)
    seconds = time.process_time() - started
    return _row("boot log", rounds * len(data) / seconds / MB, "MB/s") | {
        "conditions": f"console.log of a repro boot, {len(data)} bytes, {len(found)} reports"
    }


def _inside(console: Path, megabytes: int, every: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.inside_splat", str(console)]
    out = subprocess.run(
        [*command, str(megabytes), str(every)], check=True, capture_output=True, text=True
    ).stdout
    data: dict[str, Any] = json.loads(out)
    return data


def _one_of_many(path: str) -> tuple[int, float]:
    data = b"".join([*blocks(Path(path).read_bytes(), 1, 0), Path(path).read_bytes()])
    started = time.process_time()
    return len(parse(data)), time.process_time() - started


def _thousand(console: Path) -> dict[str, object]:
    with ProcessPoolExecutor(CORES) as pool:
        measured = list(pool.map(_one_of_many, [str(console)] * LOGS, chunksize=20))
    found, seconds = sum(one[0] for one in measured), sum(one[1] for one in measured) / CORES
    row = _row("a thousand logs of 1 MB", seconds, "s") | {
        "conditions": f"CPU time of two processes, halved; {found} reports found"
    }
    return judged(row, f"{LOGS_SECONDS} s", met=seconds <= LOGS_SECONDS)
