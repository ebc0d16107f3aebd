"""The two rings of the BPF program, read as one stream.

All but a few records are in the first.  A kprobe that is a breakpoint is an NMI to x86_64, where a
ring's lock is not waited for; in a guest, the CPU that holds it may not run for milliseconds, and
what comes meanwhile goes to the spare ring (begin() of zap.bpf.c).
"""

from __future__ import annotations

import time

import numpy as np

from probes.ringbuf import Bytes, RingBuffer

ALL = 2**64 - 1
"""A horizon after which nothing is held back."""
_LATEST = 1_000_000_000
"""ns after which a record is finished: a CPU of a guest may stand still within one."""


class Rings:
    """Both rings, each of records that begin with their clock."""

    def __init__(self, first: RingBuffer, spare: RingBuffer) -> None:
        self.first = first
        self._spare = spare
        self._horizon = 0
        self._held = 0

    def read(self) -> tuple[Bytes, int]:
        """Take what is there: shape (n, length), and the clock up to which nothing is to come.

        Raises:
            CannotTell: a buffer does not hold what our program writes.
        """
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        first = self.first.read()
        # What was begun before the first ring's last record is in the spare one by now.
        spare = self._spare.read()
        self._horizon = max(self._horizon, now - _LATEST, _newest(first))
        self._held = max(self._held, _newest(spare))
        if self._spare.is_busy:
            return np.concatenate([first, spare]), 0
        if not len(spare) and self._held <= self._horizon:
            return first, ALL
        return np.concatenate([first, spare]), self._horizon


def _newest(records: Bytes) -> int:
    """Return the clock of the last record, 0 without any."""
    return int(records[-1, :8].view(np.uint64)[0]) if len(records) else 0
