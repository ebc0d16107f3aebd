"""One row of the matrix, in a process of its own: `python -m tests.matrix.row NAME OUT FOLDER`.

After each step its result is added to OUT, so that a caller that ends this process
knows how far it came.  What the steps leave lies in FOLDER, which is empty
before.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.machine import machine
from tests.matrix.rows import (
    FAILED,
    MACHINE,
    NOT_POSSIBLE,
    PASSED,
    RELEASE,
    STEPS,
    NotPossible,
    named,
)
from tests.matrix.steps import Steps
from zaptrace.model.paths import write_whole

_LONGEST_REASON = 300


def main(name: str, out: Path, folder: Path) -> None:
    """Do every step, also when those before it failed."""
    row = named(name)
    done: dict[str, dict[str, Any]] = {}

    def tell(step: str, result: str, reason: str | None, seconds: float | None) -> None:
        print(f"{name} {step}: {result}{f' ({reason})' if reason else ''}", flush=True)
        done[step] = {"result": result, "reason": reason, "seconds": seconds}
        write_whole(out, json.dumps(done).encode())

    def attempt(step: str, work: Callable[[], str | None]) -> None:
        began = time.monotonic()
        try:
            result, reason = PASSED, work()
        except NotPossible as why:
            result, reason = NOT_POSSIBLE, str(why)
        except Exception as error:  # noqa: BLE001  the cell says it
            result = FAILED
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        tell(step, result, reason, round(time.monotonic() - began, 1))

    tell(MACHINE, PASSED, machine(), None)
    steps = Steps(row, folder)
    tell(RELEASE, PASSED, steps.kernel.release, None)
    try:
        with steps.booted():
            for step in STEPS:
                if step != "repro":
                    attempt(step, getattr(steps, step))
    except Exception as error:  # noqa: BLE001  its cells say it
        for step in set(STEPS) - {"repro", *done}:
            tell(step, FAILED, f"no guest: {error}"[:_LONGEST_REASON], None)
    attempt("repro", steps.repro)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
