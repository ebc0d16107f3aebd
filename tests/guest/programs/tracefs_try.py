"""Run the tracefs source for some seconds and print what came, as one JSON document.

    python3 tracefs_try.py PLANS SECONDS [COMMAND …]

PLANS is a folder of probe plans, of which the running kernel's is taken.  With
a command, what its process did is counted on its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from probes.tracefs import TRACING, TracefsSource
from zaptrace.model.events import ABSENT, EVENT, Kind, Records
from zaptrace.model.plan import ProbePlan


def plan_of_this_kernel(folder: Path) -> ProbePlan:
    notes = Path("/sys/kernel/notes").read_bytes()
    for path in sorted(folder.glob("*.json")):
        plan = ProbePlan.from_json(json.loads(path.read_bytes()))
        if plan.build_id and bytes.fromhex(plan.build_id) in notes:
            return plan
    raise SystemExit("no plan here is of the running kernel")


def counts(records: Records) -> dict[str, int]:
    kinds, numbers = np.unique(records["kind"], return_counts=True)
    return {
        Kind(kind).name.lower(): number
        for kind, number in zip(kinds.tolist(), numbers.tolist(), strict=True)
    }


def main(plans: str, seconds: str, *command: str) -> None:
    started = time.monotonic()
    source = TracefsSource(plan_of_this_kernel(Path(plans)))
    answer: dict[str, Any] = {"ready": time.monotonic() - started}
    parts: list[Records] = [np.zeros(0, EVENT)]
    symbols: dict[int, str] = {}
    stacks: dict[int, tuple[int, ...]] = {}
    cpu = time.process_time()
    try:
        child = subprocess.Popen(command, stdout=sys.stderr) if command else None
        end = time.monotonic() + float(seconds)
        while (left := end - time.monotonic()) > 0:
            more = source.read(left)
            assert more is not None
            parts.append(more.records)
            symbols |= more.symbols
            stacks |= more.stacks
            answer |= more.meta
    finally:
        source.close()
    records = np.concatenate(parts)
    answer["cpu_seconds"] = time.process_time() - cpu
    answer["counts"] = counts(records)
    answer["lost"] = int(records["nr"][records["kind"] == Kind.LOST].sum())
    answer["in_order"] = bool((np.diff(records["clock"].astype(np.int64)) >= 0).all())
    answer["with_pfn"] = int((records["pfn"] != ABSENT).sum())
    answer["with_tgid"] = int((records["tgid"] != -1).sum())
    answer["symbols"] = len(symbols)
    answer["stacks"] = [[symbols.get(one) for one in stack] for stack in stacks.values()][:3]
    if child is not None:
        own = records[records["tgid"] == child.pid]
        answer["child"] = {"status": child.wait(), "counts": counts(own)}
        for kind in ("ZAP", "RMAP_REMOVE"):
            some = own[own["kind"] == Kind[kind]][:2]
            answer["child"][kind] = [
                {name: str(one[name]) for name in EVENT.names or ()} for one in some
            ]
    groups = (TRACING / "kprobe_events").read_text().splitlines()
    answer["left"] = [line for line in groups if "zaptrace" in line]
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
