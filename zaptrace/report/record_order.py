"""Records by time, those without a time last."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zaptrace.model.events import Records

_NO_CLOCK = np.uint64(2**63)
"""Nanoseconds from which on no boot clock is believed; ABSENT lies above."""


def has_clock(records: Records) -> npt.NDArray[np.bool_]:
    """Return which records say when they were taken."""
    timed: npt.NDArray[np.bool_] = records["clock"] < _NO_CLOCK
    return timed


def in_order(records: Records) -> tuple[Records, npt.NDArray[np.int64]]:
    """Return the records by time, and when each was, in ns of the boot clock.

    One without a clock was read from the registers of a stopped CPU: it stands 1 ns
    after the last that has one.
    """
    clock = records["clock"]
    order = np.argsort(clock, kind="stable")
    timed = clock[has_clock(records)]
    last = np.uint64(int(timed.max()) + 1 if len(timed) else 0)
    return records[order], np.minimum(clock[order], last).astype(np.int64)
