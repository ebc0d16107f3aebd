"""Everything that one audit reads, side by side: walked and recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import drgn
import numpy as np

from zaptrace.audit import inflight, invariants
from zaptrace.audit.arrays import NOWHERE, Counts, Index, Mask, keep_freed_memory
from zaptrace.audit.inflight import InFlight
from zaptrace.audit.invariants import Recorded
from zaptrace.audit.mms import NO_CACHE, NO_SLABS, Mm, find_mms, vmas
from zaptrace.audit.mms import UNREADABLE as MMS_UNREADABLE
from zaptrace.audit.optional import optional_step
from zaptrace.audit.pagetables import normal_pages
from zaptrace.audit.pagetables.arches import format_of
from zaptrace.audit.pagetables.nonpresent import NO_TYPES, Absent, SwapKind, classify, types_of
from zaptrace.audit.pagetables.ram import DumpRam
from zaptrace.audit.pagetables.table_format import TableFormat
from zaptrace.audit.pagetables.walk import Walked, walk
from zaptrace.audit.structpages.mapcount import derive, uninitialised
from zaptrace.audit.structpages.page_flags import Flags, flags_of
from zaptrace.audit.structpages.pcp_lists import on_cpu_lists
from zaptrace.audit.structpages.table import StructPages, read_all
from zaptrace.memory.open import vmcoreinfo_of
from zaptrace.memory.pages import page_layout
from zaptrace.memory.registers import CpuRegisters


@dataclass(frozen=True, slots=True)
class KernelState:
    """All that one audit knows; arrays about leaves have the shape of `walked.pfn`.

    Attributes:
        flags: this kernel's page flags and types.
        normal: which leaves map pages with counters.
        first: index of the first page that each leaf maps, NOWHERE without struct page.
        sizes: how many pages each leaf maps.
        counted: leaves that are normal and have a struct page.
        absent: what the entries that are not present stand for.
        ptes: how many entries map each page; shape (struct pages,).
        in_flight: the mms that a CPU is changing, by index.
        blind: the mms, by index, that may map more than was counted: some of their page tables
            could not be read, or an entry is of a kind that this kernel's symbols do not define.
        whole: no mm is missing.
        gaps: what could not be looked at -> how many.
        cpus: the CPUs' registers; empty where they are not known.
    """

    prog: drgn.Program
    fmt: TableFormat
    release: str
    mms: Sequence[Mm]
    flags: Flags
    pages: StructPages
    recorded: Recorded
    walked: Walked
    normal: Mask
    first: Index
    sizes: Index
    counted: Mask
    absent: Absent
    ptes: Counts
    in_flight: dict[int, InFlight]
    blind: frozenset[int]
    whole: bool
    gaps: Counter[str]
    cpus: Sequence[CpuRegisters] = ()


def read_state(prog: drgn.Program, cpus: Sequence[CpuRegisters] | None) -> KernelState:
    """Read and derive everything.

    Raises:
        BadInput: see `audit`.
        LookupError, ValueError, drgn.FaultError: something that every kernel has is not
            in the debug info, VMCOREINFO or the dump.
    """
    keep_freed_memory()
    fmt = format_of(prog)
    vmcoreinfo = vmcoreinfo_of(prog)
    layout = page_layout(prog)
    gaps: Counter[str] = Counter()
    flags = flags_of(prog, vmcoreinfo)
    pages = read_all(prog, layout, flags.slab)
    mms = find_mms(prog, fmt, pages, flags, gaps)
    walked = walk(fmt, [mm.root for mm in mms], DumpRam(prog, layout))
    recorded = _recorded(prog, pages, flags, gaps)
    gaps.update(walked.gaps)

    normal = normal_pages.normal(
        walked, lambda: normal_pages.uncounted_in(prog, fmt), lambda number: _areas(mms[number])
    )
    first = pages.indices(walked.pfn)
    counted = normal & (first != NOWHERE)
    gaps["PTEs of memory without a struct page"] += int(np.count_nonzero(normal & ~counted))
    sizes = _sizes(fmt, walked)
    # Without such an entry the types, which take symbols, are not looked up.
    no_entries = not len(walked.nonpresent.entry)
    types = NO_TYPES if no_entries else types_of(prog, vmcoreinfo, fmt.page_shift)
    absent = classify(fmt, walked, types)
    gaps["entries of a type that this kernel does not define"] += absent.by_kind().get(
        SwapKind.UNKNOWN.name.lower(), 0
    )
    ptes = _counted_ptes(first, counted, sizes, len(pages))
    if absent.mapped.any():
        ptes += _mapped_elsewhere(fmt, absent, pages)
    busy = inflight.find(prog, fmt.arch, mms, walked, pages, recorded, cpus, gaps)
    return KernelState(
        prog=prog,
        fmt=fmt,
        release=vmcoreinfo.get("OSRELEASE", "unknown"),
        mms=mms,
        flags=flags,
        pages=pages,
        recorded=recorded,
        walked=walked,
        normal=normal,
        first=first,
        sizes=sizes,
        counted=counted,
        absent=absent,
        ptes=ptes,
        in_flight=busy,
        blind=walked.blind | absent.mms_with(SwapKind.UNKNOWN),
        whole=not any(gaps[what] for what in (MMS_UNREADABLE, NO_CACHE, NO_SLABS)),
        gaps=gaps,
        cpus=cpus or (),
    )


def _counted_ptes(first: Index, counted: Mask, sizes: Counts, total: int) -> Counts:
    """Return how many counted entries map each page. Shape (total,)."""
    if sizes.strides != (0,):
        return invariants.count_ptes(first[counted], sizes[counted], total)
    # Nearly all count.  The others go to page 0 meanwhile: that spares a copy of the many.
    others = np.flatnonzero(~counted)
    places = first[others]
    first[others] = 0
    ptes = invariants.count_ptes(first, None, total)[:total]
    ptes[:1] -= len(others)
    first[others] = places
    return ptes


def _sizes(fmt: TableFormat, walked: Walked) -> Counts:
    """Return how many pages each leaf maps; all ones take no memory."""
    if not walked.large:
        return np.broadcast_to(np.int64(1), walked.pfn.shape)
    return np.array(fmt.leaf_pages, np.int64)[walked.level]


def _recorded(prog: drgn.Program, pages: StructPages, flags: Flags, gaps: Counter[str]) -> Recorded:
    listed, broken = np.zeros(0, np.int64), 1
    with optional_step():
        listed, broken = on_cpu_lists(prog, pages)
    recorded = derive(pages, flags, listed)
    gaps["per-CPU free lists"] += broken
    gaps["struct pages not in the dump"] += int(np.count_nonzero(~pages.readable))
    gaps["pages of large folios without a mapcount of their own"] += int(
        np.count_nonzero(~recorded.counted)
    )
    never = np.count_nonzero(uninitialised(pages))
    gaps["struct pages never initialised"] += int(never)
    gaps["struct pages whose folio's others are not known"] += int(
        np.count_nonzero(pages.readable & ~recorded.known) - never
    )
    return recorded


def _mapped_elsewhere(fmt: TableFormat, absent: Absent, pages: StructPages) -> Counts:
    """Return the mappings that devices have: entries that are not present, yet count."""
    first = pages.indices(absent.pfn[absent.mapped])
    sizes = np.array(fmt.leaf_pages, np.int64)[absent.level[absent.mapped]]
    there = first != NOWHERE
    return invariants.count_ptes(first[there], sizes[there], len(pages))


def _areas(mm: Mm) -> normal_pages.Areas:
    rows = [
        (vma.vm_start.value_(), vma.vm_end.value_(), vma.vm_flags.value_(), vma.vm_pgoff.value_())
        for vma in vmas(mm)
    ]
    columns = np.array(rows, np.uint64).reshape(len(rows), 4)
    return normal_pages.Areas(*columns[np.argsort(columns[:, 0])].T)
