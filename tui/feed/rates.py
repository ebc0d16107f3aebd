"""Events by kind and by tenth of a second of event clock."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zaptrace.model.events import ABSENT, Kind, Records

BUCKET_NS = 100_000_000
BUCKETS = 1200
"""Two minutes."""
_KINDS = max(Kind) + 1

Counts = npt.NDArray[np.uint32]


class Rates:
    """Counts of the newest two minutes."""

    def __init__(self) -> None:
        self._counts = np.zeros((BUCKETS, _KINDS), np.uint32)
        self._newest: int | None = None  # bucket number of the last row

    def add(self, records: Records) -> None:
        """Count records; those without a clock and those too old are left out."""
        records = records[(records["clock"] != ABSENT) & (records["kind"] < _KINDS)]
        if not len(records):
            return
        buckets = (records["clock"] // BUCKET_NS).astype(np.int64)
        self._roll(int(buckets.max()))
        assert self._newest is not None
        rows = buckets - (self._newest - BUCKETS + 1)
        seen = rows >= 0
        places = rows[seen] * _KINDS + records["kind"][seen]
        counted = np.bincount(places, minlength=self._counts.size)
        self._counts += counted.reshape(self._counts.shape).astype(np.uint32)

    def snapshot(self) -> Counts:
        """Shape (BUCKETS, kinds), oldest first; the caller's own, read only."""
        counts = self._counts.copy()
        counts.flags.writeable = False
        return counts

    def _roll(self, newest: int) -> None:
        if self._newest is None:
            self._newest = newest
        step = min(newest - self._newest, BUCKETS)
        if step > 0:
            self._counts[:-step] = self._counts[step:].copy()
            self._counts[-step:] = 0
            self._newest = newest
