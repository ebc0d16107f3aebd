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

from tests.scoreboard.expected import FAULTS, OWN, PARTS, SUBSETS, expected, weaker
from tests.scoreboard.truth import Row, Truth, disagreements, truth

ARCHES = ("s390x", "x86_64")
JOBS = 2
"""Boots at a time: a guest has two CPUs, and keeps one of the host's busy."""
GUEST_SECONDS = 300
SECONDS = 1500.0
"""A boot with all that comes before and after it, on a machine that does other things too."""
UNDER_LOAD = ("--append", "zaptrace.do=crowd")
"""Healthy guests: several workloads at a time (vm/guest/init)."""
LOST = "lost guest"

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
        clean: how many boots without a fault, and with load, to make on each architecture.
    """
    jobs = [(arch, fault) for fault in faults for arch in arches]
    jobs += [(arch, "none") for _ in range(clean) for arch in arches]
    with ThreadPoolExecutor(JOBS) as pool:
        for done in as_completed([pool.submit(rows, *job) for job in jobs]):
            yield from done.result()


def rows(arch: str, fault: str) -> list[Row]:
    """Boot once, explain seven times."""
    with tempfile.TemporaryDirectory(prefix="zaptrace-scoreboard-") as folder:
        run = Path(folder) / "run"
        lost = boot(arch, fault, run)
        console = run / "console.log"
        real = truth(fault, console.read_text(errors="replace") if console.exists() else "")
        return [
            _row(arch, fault, subset, lost or explained(run, subset), real) for subset in SUBSETS
        ]


def boot(arch: str, fault: str, run: Path) -> Row | None:
    """`zaptrace repro`, as a user types it; what it said instead of a verdict when it failed."""
    words = ["repro", arch, "--fault", fault, "--run", str(run), "--json"]
    words += ["--timeout", str(GUEST_SECONDS), *(UNDER_LOAD if fault == "none" else ())]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "zaptrace", *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**os.environ, "NO_COLOR": "1"},
        )
    except subprocess.TimeoutExpired:
        return _no_verdict([f"no verdict within {SECONDS:g} s"])
    if (run / "verdict.json").exists():
        return None
    return _no_verdict(done.stderr.strip().splitlines()[-2:])


def _no_verdict(said: list[str]) -> Row:
    """No guest, no verdict: that is not a wrong one."""
    nobody = {"pfn": None, "comm": None, "function": None, "summary": ""}
    return {"kind": LOST, "doubts": said, "evidence": [], **nobody}


def explained(run: Path, subset: str) -> Row:
    """The verdict from a part of what a run left: the other files are not there."""
    from zaptrace.explain.checking import objections
    from zaptrace.model.progress import ignore
    from zaptrace.runs.analysis import analyse
    from zaptrace.runs.folder import RunFolder
    from zaptrace.runs.signature import signature_of

    names = ["run.json", *(name for part in subset for name in FILES[part])]
    with tempfile.TemporaryDirectory(prefix="zaptrace-scoreboard-") as folder:
        for name in names:
            if (run / name).exists():
                (Path(folder) / name).symlink_to(run / name)
        part = RunFolder.open(Path(folder))
        result = analyse(part, part.facts(), ignore)
    verdict = result.verdict
    return {
        **verdict.to_json(),
        "function": signature_of(verdict).function,
        "objections": objections(verdict, result.evidence),
    }


def _row(arch: str, fault: str, subset: str, verdict: Row, real: Truth) -> Row:
    """A row of the shared schema, with what it needs to be understood."""
    wanted, less = expected(fault, arch, subset), weaker(fault, arch, subset)
    wrong = [f"got {verdict['kind']}"]
    if verdict["kind"] == wanted:
        wrong = list(disagreements(verdict, real, subset, less))
    wrong += verdict.get("objections", [])  # a sentence that does not rest on the evidence
    if not verdict.get("sentences", True):
        wrong.append("it has no sentences")
    return {
        "fault": fault,
        "arch": arch,
        "evidence": [PARTS[part] for part in subset],
        "expected": wanted,
        "got": verdict["kind"],
        "ok": not wrong,
        "wrong": wrong,
        "pfn": verdict["pfn"],
        "comm": verdict["comm"],
        "function": verdict["function"],
        "carried_by": list(verdict["evidence"]),
        "why": less.why if less else None,
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
