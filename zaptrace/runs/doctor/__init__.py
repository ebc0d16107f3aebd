"""What this kernel and this machine can do for zaptrace, and how to fix what they cannot.

`examine` is the door; each subject has a module, whose functions take the files that they
read, so that tests can give them others.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from zaptrace.model.errors import ZaptraceError
from zaptrace.runs.doctor.check import Check

__all__ = ["Check", "as_json", "examine", "is_healthy"]


def examine() -> list[Check]:
    """Every check, by area: the kernel, the probes in it, the machine."""
    return [*_subject("kernel", _kernel), *_subject("probes", _probes), *_subject("lab", _lab)]


def is_healthy(checks: Iterable[Check]) -> bool:
    """Return whether nothing is missing that cannot be done without."""
    return not any(check.works is False and check.needed for check in checks)


def as_json(checks: Iterable[Check]) -> dict[str, Any]:
    """Return what `doctor --json` prints."""
    checks = list(checks)
    return {
        "kernel_release": platform.release(),
        "arch": platform.machine(),
        "healthy": is_healthy(checks),
        "checks": [check.to_json() for check in checks],
    }


def _subject(area: str, look: Callable[[], list[Check]]) -> list[Check]:
    """Return a subject's checks; one that says why when they cannot be made here at all."""
    try:
        return look()
    except ZaptraceError as error:
        return [Check(area, area, works=False, says=str(error), fix=error.hint)]
    except ImportError as error:
        # In a guest: what only the lab's host needs is not there.
        says = f"not looked at: the Python package {error.name} is not installed"
        return [Check(area, area, works=None, says=says, fix="make setup", needed=False)]


def _kernel() -> list[Check]:
    from zaptrace.runs.doctor import kernel

    return kernel.checks(Path("/"))


def _probes() -> list[Check]:
    from zaptrace.runs.doctor import attach_check

    return attach_check.checks()


def _lab() -> list[Check]:
    from zaptrace.runs.doctor import machine

    return machine.checks()
