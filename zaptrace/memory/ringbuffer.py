"""ftrace's ring buffer in a dump: one CPU's sub-buffers and the records in them.

Layout: kernel/trace/ring_buffer.c and include/linux/ring_buffer.h.  A CPU's
buffer is a ring of `struct buffer_page`, plus one reader page that was taken out
of it; the oldest records are on the reader page, then from the head page on to
the commit page.  Everything is read as the dump has it and believed only as
far as it is bounded: each page at most once, each record inside its page.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import drgn
import numpy as np
import numpy.typing as npt

from zaptrace.memory.pages import byte_order

_MAX_PAGES = 1 << 20  # sub-buffers of one CPU: 4 GiB of 4 KiB pages
_MAX_CPUS = 8192  # NR_CPUS of the largest configurations
_POINTER_FLAGS = 3  # RB_FLAG_MASK: list pointers carry flags in their low bits
_HEAD_FLAGS = (1, 2)  # RB_PAGE_HEAD, RB_PAGE_UPDATE: the next page is the head page
_MISSED = 3 << 30  # RB_MISSED_EVENTS, RB_MISSED_STORED in a page's commit
_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31  # enum ring_buffer_type
_DELTA_BITS = 27
_ABSOLUTE_BITS = 59  # an absolute stamp lacks the 5 highest bits (rb_fix_abs_ts)
_COUNTERS = ("overrun", "commit_overrun", "dropped_events")


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
class _Page:
    """One sub-buffer's committed data, and how much of it was consumed already."""

    stamp: int
    data: bytes
    consumed: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """Offsets and sizes of this kernel's structures, in bytes."""

    order: str
    page_struct_size: int
    next_at: int
    prev_at: int
    read_at: int
    data_page_at: int
    stamp_at: int
    commit_at: int
    data_at: int
    page_size: int

    def unpack(self, kind: str, raw: bytes, offset: int) -> int:
        value: int = struct.unpack_from(self.order + kind, raw, offset)[0]
        return value


class _Broken(Exception):
    """The ring is not one any longer; the text says how."""


def read_rings(prog: drgn.Program, buffer: drgn.Object) -> Iterator[CpuRing]:
    """The rings of every CPU that has one.

    Args:
        buffer: `struct trace_buffer *`.

    Raises:
        drgn.FaultError, LookupError: the trace_buffer itself cannot be read.
    """
    layout = _layout(prog, buffer)
    rings = buffer.buffers.read_()
    for cpu in range(min(buffer.cpus.value_(), _MAX_CPUS)):
        ring = rings[cpu].read_()
        if ring:
            yield _read_ring(prog, layout, cpu, ring)


def _layout(prog: drgn.Program, buffer: drgn.Object) -> _Layout:
    page = prog.type("struct buffer_page")
    data_page = prog.type("struct buffer_data_page")
    data_at = drgn.offsetof(data_page, "data")
    try:
        # "ring-buffer: Page size per ring buffer" (6.8): without the page's header.
        page_size = buffer.subbuf_size.value_() + data_at
    except AttributeError:
        page_size = prog["PAGE_SIZE"].value_()
    return _Layout(
        order=byte_order(prog),
        page_struct_size=drgn.sizeof(page),
        next_at=drgn.offsetof(page, "list.next"),
        prev_at=drgn.offsetof(page, "list.prev"),
        read_at=drgn.offsetof(page, "read"),
        data_page_at=drgn.offsetof(page, "page"),
        stamp_at=drgn.offsetof(data_page, "time_stamp"),
        commit_at=drgn.offsetof(data_page, "commit"),
        data_at=data_at,
        page_size=page_size,
    )


def _read_ring(prog: drgn.Program, layout: _Layout, cpu: int, ring: drgn.Object) -> CpuRing:
    chunks: list[bytes] = []
    starts: list[int] = []
    sizes: list[int] = []
    stamps: list[int] = []
    damage: list[str] = []
    base = lost = 0
    try:
        lost = sum(getattr(ring, name).a.counter.value_() for name in _COUNTERS)
        for page in _pages(prog, layout, ring):
            chunks.append(page.data)
            for at, size, stamp in _records(page, layout.order):
                starts.append(base + at)
                sizes.append(size)
                stamps.append(stamp)
            base += len(page.data)
    except (_Broken, drgn.FaultError) as error:
        damage.append(f"CPU {cpu}: {error}")
    return CpuRing(
        cpu,
        np.frombuffer(b"".join(chunks), np.uint8),
        np.array(starts, np.int64),
        np.array(sizes, np.int64),
        np.array([stamp & (2**64 - 1) for stamp in stamps], np.uint64),
        max(lost, 0),
        damage,
    )


def _pages(prog: drgn.Program, layout: _Layout, ring: drgn.Object) -> Iterator[_Page]:
    """The sub-buffers with records, oldest first."""
    reader = ring.reader_page.value_()
    commit = ring.commit_page.value_()
    yield _page(prog, layout, reader, consumed=True)
    if reader == commit:
        return
    address = _head(prog, layout, ring)
    seen = {reader}
    while address not in seen and len(seen) < _MAX_PAGES:
        seen.add(address)
        yield _page(prog, layout, address)
        if address == commit:
            return
        raw = prog.read(address, layout.page_struct_size)
        address = layout.unpack("Q", raw, layout.next_at) & ~_POINTER_FLAGS
    raise _Broken("the ring does not lead to its commit page")


def _head(prog: drgn.Program, layout: _Layout, ring: drgn.Object) -> int:
    """The head page: the one whose predecessor's pointer to it is flagged (rb_set_head_page)."""
    address: int = ring.head_page.value_()
    seen: set[int] = set()
    while address not in seen and len(seen) < _MAX_PAGES:
        seen.add(address)
        raw = prog.read(address, layout.page_struct_size)
        previous = layout.unpack("Q", raw, layout.prev_at) & ~_POINTER_FLAGS
        pointer = layout.unpack("Q", prog.read(previous + layout.next_at, 8), 0)
        if pointer & _POINTER_FLAGS in _HEAD_FLAGS:
            return address
        address = layout.unpack("Q", raw, layout.next_at) & ~_POINTER_FLAGS
    raise _Broken("the ring has no head page")


def _page(prog: drgn.Program, layout: _Layout, address: int, *, consumed: bool = False) -> _Page:
    raw = prog.read(address, layout.page_struct_size)
    data_page = layout.unpack("Q", raw, layout.data_page_at)
    head = prog.read(data_page, layout.data_at)
    commit = layout.unpack("Q", head, layout.commit_at) & ~_MISSED
    if commit > layout.page_size - layout.data_at:
        raise _Broken(f"a page claims {commit} bytes of records")
    return _Page(
        stamp=layout.unpack("Q", head, layout.stamp_at),
        data=prog.read(data_page + layout.data_at, commit) if commit else b"",
        consumed=layout.unpack("I", raw, layout.read_at) if consumed else 0,
    )


def _records(page: _Page, order: str) -> Iterator[tuple[int, int, int]]:
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
            raise _Broken(f"a record of {size} bytes at byte {at * 4} of a page")
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
