"""The newest records, in chunks that never change: the feed adds, any thread may look."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from zaptrace.model.events import Records

CAPACITY = 50_000
"""Records that are kept; a few more, up to a chunk's size."""
_SMALL = 4096  # chunks below are put together, so that there are never many


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records with consecutive serial numbers.

    Attributes:
        first: the serial number of `records[0]`; the stream's first record has 0.
        records: shape (n,), dtype EVENT; never written to.
    """

    first: int
    records: Records


class Ring:
    """Used by one thread; the chunks that it gives away are everybody's."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.total = 0
        """Records that were ever added."""
        self._capacity = capacity
        self._chunks: deque[Chunk] = deque()
        self._kept = 0

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """What is kept, oldest first."""
        return tuple(self._chunks)

    def add(self, records: Records) -> None:
        """Append records; the oldest make room."""
        self.total += len(records)
        if len(records) >= self._capacity:
            self._chunks.clear()
            self._kept = 0
            records = records[-self._capacity :].copy()
        first = self.total - len(records)
        if self._chunks and len(self._chunks[-1].records) + len(records) <= _SMALL:
            last = self._chunks.pop()
            self._kept -= len(last.records)
            first, records = last.first, np.concatenate([last.records, records])
        if len(records):
            records.flags.writeable = False
            self._chunks.append(Chunk(first, records))
            self._kept += len(records)
        while self._chunks and self._kept - len(self._chunks[0].records) >= self._capacity:
            self._kept -= len(self._chunks.popleft().records)
