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
from dataclasses import dataclass, replace

import drgn

from zaptrace.ftrace.subbuffers import MISSED, Broken, CpuRing, SubBuffer, parse
from zaptrace.memory.pages import byte_order

_MAX_PAGES = 1 << 20  # sub-buffers of one CPU: 4 GiB of 4 KiB pages
_MAX_CPUS = 8192  # NR_CPUS of the largest configurations
_POINTER_FLAGS = 3  # RB_FLAG_MASK: list pointers carry flags in their low bits
_HEAD_FLAGS = (1, 2)  # RB_PAGE_HEAD, RB_PAGE_UPDATE: the next page is the head page
_COUNTERS = ("overrun", "commit_overrun", "dropped_events")


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


def read_rings(prog: drgn.Program, buffer: drgn.Object) -> Iterator[CpuRing]:
    """Yield the rings of every CPU that has one.

    Args:
        buffer: `struct trace_buffer *`.

    Raises:
        drgn.FaultError, LookupError: the trace_buffer itself cannot be read.
    """
    layout = _layout(prog, buffer)
    rings = buffer.buffers.read_()
    for cpu in range(min(_cpus(prog, buffer), _MAX_CPUS)):
        ring = rings[cpu].read_()
        if ring:
            yield _read_ring(prog, layout, cpu, ring)


def _cpus(prog: drgn.Program, buffer: drgn.Object) -> int:
    """Return how many CPUs a buffer's array is for: its `cpus`, which late kernels lack."""
    if buffer.type_.type.has_member("cpus"):
        return int(buffer.cpus.value_())
    return int(prog["nr_cpu_ids"].value_())


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
    pages: list[SubBuffer] = []
    damage: list[str] = []
    lost = 0
    try:
        lost = sum(getattr(ring, name).a.counter.value_() for name in _COUNTERS)
        for page in _pages(prog, layout, ring):
            pages.append(page)
    except (Broken, drgn.FaultError) as error:
        damage.append(f"CPU {cpu}: {error}")
    found = parse(cpu, pages, layout.order)
    return replace(found, lost=max(lost, 0), damage=found.damage + damage)


def _pages(prog: drgn.Program, layout: _Layout, ring: drgn.Object) -> Iterator[SubBuffer]:
    """Yield the sub-buffers with records, oldest first."""
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
    raise Broken("the ring does not lead to its commit page")


def _head(prog: drgn.Program, layout: _Layout, ring: drgn.Object) -> int:
    """Return the head page: the one whose predecessor's pointer to it is flagged
    (rb_set_head_page)."""
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
    raise Broken("the ring has no head page")


def _page(
    prog: drgn.Program, layout: _Layout, address: int, *, consumed: bool = False
) -> SubBuffer:
    raw = prog.read(address, layout.page_struct_size)
    data_page = layout.unpack("Q", raw, layout.data_page_at)
    head = prog.read(data_page, layout.data_at)
    commit = layout.unpack("Q", head, layout.commit_at) & ~MISSED
    if commit > layout.page_size - layout.data_at:
        raise Broken(f"a page claims {commit} bytes of records")
    return SubBuffer(
        stamp=layout.unpack("Q", head, layout.stamp_at),
        data=prog.read(data_page + layout.data_at, commit) if commit else b"",
        consumed=layout.unpack("I", raw, layout.read_at) if consumed else 0,
    )
