"""Sub-buffers of ftrace's ring buffer: the records in them.

Layout: kernel/trace/ring_buffer.c and include/linux/ring_buffer.h.  The same
bytes lie in a dump and come out of trace_pipe_raw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MISSED = 3 << 30
"""RB_MISSED_EVENTS, RB_MISSED_STORED in a page's commit."""
_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31  # enum ring_buffer_type
_DELTA_BITS = 27
_ABSOLUTE_BITS = 59  # an absolute stamp lacks the 5 highest bits (rb_fix_abs_ts)


@dataclass(slots=True)
class CpuRing:
    """What one CPU's ring buffer holds.

    Attributes:
        data: payloads of all pages, one page behind the other, and padding.
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
    """The records of one CPU's sub-buffers, which stand in their order.

    A record that cannot be one ends the reading; `damage` says so.
    """
    starts: list[int] = []
    sizes: list[int] = []
    stamps: list[int] = []
    damage: list[str] = []
    base = 0
    try:
        for page in pages:
            for at, size, stamp in _records(page, order):
                starts.append(base + at)
                sizes.append(size)
                stamps.append(stamp)
            base += len(page.data)
    except Broken as error:
        damage.append(f"CPU {cpu}: {error}")
    return CpuRing(
        cpu,
        np.frombuffer(b"".join(page.data for page in pages), np.uint8),
        np.array(starts, np.int64),
        np.array(sizes, np.int64),
        np.array([stamp & (2**64 - 1) for stamp in stamps], np.uint64),
        damage=damage,
    )


def _records(page: SubBuffer, order: str) -> Iterator[tuple[int, int, int]]:
    """Each data record's payload offset, payload size and time stamp.

    struct ring_buffer_event is a C bit field, type_len:5 and time_delta:27, so
    its bits lie at the other end of the word on a big-endian machine.
    """
    words = np.frombuffer(page.data, f"{order}u4", len(page.data) // 4).tolist()
    stamp = page.stamp
    at = 0  # in words
    while at < len(words):
        word = words[at]
        if order == ">":
            kind, delta = word >> _DELTA_BITS, word & ((1 << _DELTA_BITS) - 1)
        else:
            kind, delta = word & 31, word >> 5
        if kind == _PADDING and delta == 0:
            return  # nothing more on this page
        # All but short data records keep a length, or a stamp's high bits, here.
        second = words[at + 1] if at + 1 < len(words) else 0
        if kind in (_TIME_EXTEND, _TIME_STAMP):
            extended = delta + (second << _DELTA_BITS)
            stamp = stamp + extended if kind == _TIME_EXTEND else _absolute(extended, stamp)
            at += 2
            continue
        head, size = (1, kind * 4) if 0 < kind < _PADDING else (2, second - 4)
        if size < 0 or size % 4 or at + head + size // 4 > len(words):
            raise Broken(f"a record of {size} bytes at byte {at * 4} of a page")
        if kind != _PADDING:  # else discarded: its time does not count (rb_update_read_stamp)
            stamp += delta
            if at * 4 >= page.consumed:
                yield (at + head) * 4, size, stamp
        at += head + size // 4


def _absolute(stamp: int, before: int) -> int:
    """An absolute stamp with its highest bits restored (rb_fix_abs_ts)."""
    high = before >> _ABSOLUTE_BITS << _ABSOLUTE_BITS
    stamp |= high
    return stamp + (1 << _ABSOLUTE_BITS) if high and stamp < before else stamp
