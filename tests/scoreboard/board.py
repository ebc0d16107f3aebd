"""One boot a fault and architecture, explained from every subset of what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tests.scoreboard.expected import FAULTS, OWN, PARTS, SUBSETS, expected

Row = dict[str, Any]
ARCHES = ("s390x", "x86_64")
JOBS = 2
"""Boots at a time: a guest has two CPUs, and keeps one of the host's busy."""
SECONDS = 300.0

FILES = {
    "c": ("capture.zap", "plan.json"),
    "s": ("console.log",),
    "v": ("vmcore", "audit.json"),
}
"""What each part of the evidence is in a run folder; run.json says how it was booted."""


def board(
    faults: Iterable[str] = FAULTS, arches: Iterable[str] = ARCHES, clean: int = 0
) -> Iterator[Row]:
    """Rows of the scoreboard as they come.

    Args:
        clean: how many boots without a fault to make on each architecture, each of
            them while another one keeps the machine busy.
    """
    jobs = [(arch, fault) for fault in faults for arch in arches]
    jobs += [(arch, "none") for _ in range(clean) for arch in arches]
    with ThreadPoolExecutor(JOBS) as pool:
        for done in as_completed([pool.submit(rows, *job) for job in jobs]):
            yield from done.result()


def rows(arch: str, fault: str) -> list[Row]:
    """Boot once, explain seven times; a healthy kernel from all of it only."""
    with tempfile.TemporaryDirectory(prefix="zaptrace-scoreboard-") as folder:
        run = Path(folder) / "run"
        lost = boot(arch, fault, run)
        subsets = ("csv",) if fault == "none" else SUBSETS
        return [_row(arch, fault, subset, lost or explained(run, subset)) for subset in subsets]


def boot(arch: str, fault: str, run: Path) -> Row | None:
    """`zaptrace repro`, as a user types it; what it said instead of a verdict when it failed."""
    words = ["repro", arch, "--fault", fault, "--run", str(run), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "zaptrace", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "NO_COLOR": "1"},
    )
    if (run / "verdict.json").exists():
        return None
    said = done.stderr.strip().splitlines()
    return {"kind": "no verdict", "doubts": said[-2:], "evidence": []}


def explained(run: Path, subset: str) -> Row:
    """The verdict from a part of what a run left: the other files are not there."""
    from zaptrace.model.progress import ignore
    from zaptrace.runs.analysis import analyse
    from zaptrace.runs.folder import RunFolder

    names = ["run.json", *(name for part in subset for name in FILES[part])]
    with tempfile.TemporaryDirectory(prefix="zaptrace-scoreboard-") as folder:
        for name in names:
            if (run / name).exists():
                (Path(folder) / name).symlink_to(run / name)
        part = RunFolder.open(Path(folder))
        verdict: Row = analyse(part, part.facts(), ignore).verdict.to_json()
    return verdict


def _row(arch: str, fault: str, subset: str, verdict: Row) -> Row:
    """A row of the shared schema, with what it needs to be understood."""
    wanted, why = expected(fault, arch, subset)
    # A verdict that says less must say what it lacks.
    honest = why is None or bool(verdict["doubts"])
    return {
        "fault": fault,
        "arch": arch,
        "evidence": [PARTS[part] for part in subset],
        "expected": wanted,
        "got": verdict["kind"],
        "ok": verdict["kind"] == wanted and honest,
        "carried_by": list(verdict["evidence"]),
        "why": why,
        "doubts": list(verdict["doubts"]),
    }


def ordered(found: Iterable[Row]) -> list[Row]:
    """By fault, architecture and size of the evidence, as the table has it."""
    faults, subsets = [*FAULTS, *OWN], [[PARTS[part] for part in subset] for subset in SUBSETS]
    return sorted(
        found,
        key=lambda row: (faults.index(row["fault"]), row["arch"], subsets.index(row["evidence"])),
    )


def write(found: list[Row], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
