"""Sub-buffers of ftrace's ring buffer: the records in them.

Layout: kernel/trace/ring_buffer.c and include/linux/ring_buffer.h.  The same
bytes lie in a dump and come out of trace_pipe_raw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MISSED_EVENTS, MISSED_STORED = 1 << 31, 1 << 30
"""Flags of a page's commit: records were lost before it; their number is after its records."""
MISSED = MISSED_EVENTS | MISSED_STORED
_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31  # enum ring_buffer_type
_KIND_BITS, _DELTA_BITS = 5, 27
_END, _BAD, _ASK = -1, -2, -3  # instead of a record's length
_LENGTHS = np.array([_ASK, *range(2, _PADDING + 1), _ASK, 2, 2])
"""Words of a record by its kind; _ASK: it says so itself."""
_ABSOLUTE_BITS = 59  # an absolute stamp lacks the 5 highest bits (rb_fix_abs_ts)
_ALL_BITS = 2**64 - 1
_BATCH = 256  # sub-buffers: 1 MiB whose words are looked at together

Rows = npt.NDArray[np.int64]
Found = tuple[Rows, Rows, npt.NDArray[np.uint64]]
"""Offset and size of the payload, time stamp."""


@dataclass(slots=True)
class CpuRing:
    """What one CPU's ring buffer holds.

    Attributes:
        data: payloads of all pages, one page after the other, and padding.
        starts: offset of each record's payload in `data`.  Shape (n,), int64.
        sizes: bytes of each record's payload.  Shape (n,), int64.
        stamps: the trace clock of each record, ns for the boot clock.  (n,), uint64.
        lost: records that were overwritten or dropped.
        damage: what was wrong; reading stopped there.  Empty when all was well.
    """

    cpu: int
    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    stamps: npt.NDArray[np.uint64]
    lost: int = 0
    damage: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SubBuffer:
    """One sub-buffer's committed data.

    Attributes:
        stamp: the trace clock where it begins.
        data: its records.
        consumed: bytes of `data` that were read before; they count for time only.
    """

    stamp: int
    data: bytes
    consumed: int = 0


class Broken(Exception):
    """The ring is not one any longer; the text says how."""


def parse(cpu: int, pages: Sequence[SubBuffer], order: str) -> CpuRing:
    """Return the records of one CPU's sub-buffers, which stand in their order.

    A record that cannot be one ends the reading; `damage` says so.
    """
    data: list[bytes] = []
    found: list[Found] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint64))]
    damage: list[str] = []
    base = 0
    for first in range(0, len(pages), _BATCH):
        batch = _Batch(pages[first : first + _BATCH], order)
        starts, sizes, stamps = batch.records()
        found.append((starts + base, sizes, stamps))
        data.append(batch.data)
        base += len(batch.data)
        if batch.broken:
            damage.append(f"CPU {cpu}: {batch.broken}")
            break
    starts, sizes, stamps = (np.concatenate(column) for column in zip(*found, strict=True))
    return CpuRing(
        cpu, np.frombuffer(b"".join(data), np.uint8), starts, sizes, stamps, damage=damage
    )


class _Batch:
    """Some sub-buffers, walked side by side: one step takes a record of each.

    struct ring_buffer_event is a C bit field, type_len:5 and time_delta:27, so
    its bits lie at the other end of the word on a big-endian machine.

    Attributes:
        data: the pages' data, each filled up to whole words.
        broken: what ended the reading; None while all is well.
    """

    def __init__(self, pages: Sequence[SubBuffer], order: str) -> None:
        self.data = b"".join(page.data + bytes(-len(page.data) % 4) for page in pages)
        self.broken: str | None = None
        # One word more: a record's second word may be looked for after the last one.
        self._words = np.append(np.frombuffer(self.data, f"{order}u4").astype(np.uint32), 0)
        self._kind_at, self._delta_at = (_DELTA_BITS, 0) if order == ">" else (0, _KIND_BITS)
        whole = np.array([-(-len(page.data) // 4) for page in pages], np.int64)
        self._begins = np.cumsum(whole) - whole
        self._ends = self._begins + [len(page.data) // 4 for page in pages]
        self._stamps = np.array([page.stamp & _ALL_BITS for page in pages], np.uint64)
        self._consumed = np.array([page.consumed for page in pages], np.int64)

    def records(self) -> Found:
        """Return payload offset, payload size and time stamp of each data record.  Shapes (n,)."""
        at, page = self._walk()
        kind = self._kinds(at)
        short = (kind > 0) & (kind < _PADDING)
        sizes = np.where(short, kind * 4, self._second(at, page) - 4)
        stamps = self._times(at, page, kind)
        taken = (kind < _PADDING) & ((at - self._begins[page]) * 4 >= self._consumed[page])
        starts = (at + np.where(short, 1, 2)) * 4
        return starts[taken], sizes[taken], stamps[taken]

    def _kinds(self, at: Rows) -> Rows:
        return (self._words[at] >> self._kind_at & 31).astype(np.int64)

    def _deltas(self, at: Rows) -> Rows:
        return (self._words[at] >> self._delta_at & (1 << _DELTA_BITS) - 1).astype(np.int64)

    def _second(self, at: Rows, page: Rows) -> Rows:
        """Return the word after the head: a length, or a stamp's high bits; 0 beyond the page."""
        return np.where(at + 1 < self._ends[page], self._words[at + 1], 0).astype(np.int64)

    def _walk(self) -> tuple[Rows, Rows]:
        """Return the heads of all records in their order: index of the word, number of the page."""
        heads, pages = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        first_bad = (len(self._begins), 0)
        page = np.flatnonzero(self._begins < self._ends)
        at, end = self._begins[page], self._ends[page]
        while len(at):
            length = _LENGTHS[self._kinds(at)]
            if length.min() < 0:
                self._measure(at, page, length)
            after = at + length
            if not ((length > 0) & (after < end)).all():  # some page ends here
                bad = (length == _BAD) | ((after > end) & (self._kinds(at) < _TIME_EXTEND))
                if bad.any():
                    first_bad = min(
                        first_bad, *zip(page[bad].tolist(), at[bad].tolist(), strict=True)
                    )
                good = ~bad & (length != _END)
                heads.append(at[good])
                pages.append(page[good])
                on = good & (after < end)
                at, page, end = after[on], page[on], end[on]
            else:
                heads.append(at)
                pages.append(page)
                at = after
        return self._in_order(np.concatenate(heads), np.concatenate(pages), *first_bad)

    def _measure(self, at: Rows, page: Rows, length: Rows) -> None:
        """Fill in the lengths that stand in the record itself: words, _END or _BAD."""
        asked = np.flatnonzero(length < 0)
        at = at[asked]
        second = self._second(at, page[asked])
        words = np.where((second < 4) | (second % 4 != 0), _BAD, 1 + second // 4)
        last = (self._kinds(at) == _PADDING) & (self._deltas(at) == 0)  # nothing more on this page
        length[asked] = np.where(last, _END, words)

    def _in_order(self, at: Rows, page: Rows, bad_page: int, bad: int) -> tuple[Rows, Rows]:
        """Return them by place, and without what stands after the first page with a bad record."""
        if bad_page < len(self._begins):
            where = np.array([bad])
            kind = int(self._kinds(where)[0])
            second = int(self._second(where, np.array([bad_page]))[0])
            size = kind * 4 if 0 < kind < _PADDING else second - 4
            place = (bad - int(self._begins[bad_page])) * 4
            self.broken = f"a record of {size} bytes at byte {place} of a page"
        known = page <= bad_page
        at, page = at[known], page[known]
        order = np.argsort(at)
        return at[order], page[order]

    def _times(self, at: Rows, page: Rows, kind: Rows) -> npt.NDArray[np.uint64]:
        """Return the time after each record.  Shape (len(at),)."""
        delta = self._deltas(at)
        extended = (delta + (self._second(at, page) << _DELTA_BITS)).astype(np.uint64)
        steps = delta.astype(np.uint64)
        steps[kind == _TIME_EXTEND] = extended[kind == _TIME_EXTEND]
        # A discarded record's time does not count (rb_update_read_stamp).
        steps[(kind == _PADDING) | (kind == _TIME_STAMP)] = 0
        passed = np.cumsum(steps, dtype=np.uint64)  # over all pages; wraps, and back below
        first = np.searchsorted(page, page)
        times: npt.NDArray[np.uint64] = passed - (passed - steps)[first] + self._stamps[page]
        for row in np.flatnonzero(kind == _TIME_STAMP).tolist():
            later = slice(row, int(np.searchsorted(page, page[row], "right")))
            absolute = _absolute(int(extended[row]), int(times[row]))
            times[later] += np.uint64((absolute - int(times[row])) & _ALL_BITS)
        return times


def _absolute(stamp: int, before: int) -> int:
    """Return an absolute stamp with its highest bits restored (rb_fix_abs_ts)."""
    high = before >> _ABSOLUTE_BITS << _ABSOLUTE_BITS
    stamp |= high
    return stamp + (1 << _ABSOLUTE_BITS) if high and stamp < before else stamp
