"""The JSON document of `repro --json` and `explain --json`."""

from __future__ import annotations

from typing import Any

from zaptrace.model.verdict import Verdict
from zaptrace.report.run_info import RunInfo


def summary(verdict: Verdict, info: RunInfo) -> dict[str, Any]:
    """Return one run as JSON types, with the keys that tests/schemas/run.schema.json promises."""
    return {
        "run": info.run,
        "arch": info.arch,
        "kernel_release": info.kernel_release,
        "build_id": info.build_id,
        "ended": info.ended or None,
        "command": info.command or None,
        "splats": info.splats,
        "events": info.events,
        "lost": info.lost,
        "findings": info.findings,
        "unseen": list(info.unseen),
        "timing": {step: round(seconds, 4) for step, seconds in info.timing.items()},
        "triage": [clue.to_json() for clue in info.triage],
        "verdict": verdict.to_json(),
    }
