"""Which page-table entries map a page that the kernel counts: vm_normal_page() (mm/memory.c).

All architectures in our table have pte_special(), and then a special PTE maps no
normal page and every other one does, whatever its VMA: vm_normal_page() looks at VM_PFNMAP
and VM_MIXEDMAP only to distinguish a legitimate special PTE from a corrupt one.  The zero page,
vvar and remap_pfn_range() mappings carry the bit; vdso pages do not and are counted.

A large leaf has such a bit on some architectures only (pmd_special(), "mm: mark special bits for
huge pfn mappings when inject", 6.12); else vm_normal_page_pmd() asks the VMA.  It maps no page
with counters either where it maps a device's memory (pmd_devmap()) or the huge zero page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import drgn
import numpy as np

from zaptrace.arch.page_tables import ALL_BITS
from zaptrace.audit.arrays import Mask, Words
from zaptrace.audit.functions import has_function
from zaptrace.audit.pagetables.table_format import TableFormat
from zaptrace.audit.pagetables.walk import Walked

ZERO, HUGE_ZERO = "zero page", "huge zero page"
"""Kinds of a folio."""
# include/linux/mm.h
_VM_SHARED = 0x00000008
_VM_MAYWRITE = 0x00000020
_VM_PFNMAP = 0x00000400
_VM_MIXEDMAP = 0x10000000


class Uncounted(NamedTuple):
    """Large leaves that map no page with counters, whatever their VMA.

    Attributes:
        bits: who has one of them is special, or maps a device's memory.
        huge_zero: the first page of the huge zero page, None without.
        page_shift: log2 of the bytes of a page.
    """

    bits: int
    huge_zero: int | None
    page_shift: int


class Areas(NamedTuple):
    """VMAs of one mm by address, one element each: bytes, bytes, vm_flags, pages."""

    start: Words
    end: Words
    flags: Words
    pgoff: Words


def normal(
    walked: Walked,
    uncounted_of: Callable[[], Uncounted],
    areas_of: Callable[[int], Areas],
) -> Mask:
    """Return which leaves map pages with mapcounts. Shape of `walked.pfn`.

    Args:
        walked: what the walk found.
        uncounted_of: this kernel's, see `uncounted_in`; asked only where there are large leaves.
        areas_of: the VMAs of an mm, by its index; likewise.
    """
    result = ~walked.special
    if not walked.large:
        return result
    uncounted, large = uncounted_of(), np.arange(walked.large)
    for mm in sorted(set(walked.mm[large].tolist())):
        mine = large[walked.mm[large] == mm]
        pages = (walked.address[mine], walked.pfn[mine], uncounted.page_shift)
        result[mine] = _normal_large(*pages, areas_of(mm))
    # Also under VM_MIXEDMAP, where vm_normal_page_pmd() goes past these tests: zap_huge_pmd()
    # drops no counters there.
    result[large] &= (walked.entry[large] & np.uint64(uncounted.bits)) == 0
    if uncounted.huge_zero is not None:
        result[large] &= walked.pfn[large] != np.uint64(uncounted.huge_zero)
    return result


def _normal_large(address: Words, pfn: Words, page_shift: int, areas: Areas) -> Mask:
    """vm_normal_page_pmd(): VM_PFNMAP maps no pages except where it was copied on write."""
    if not len(areas.start):
        return np.ones(len(pfn), bool)
    area = np.maximum(np.searchsorted(areas.start, address, side="right") - 1, 0)
    inside = (address >= areas.start[area]) & (address < areas.end[area])
    flags = np.where(inside, areas.flags[area], np.uint64(0))
    pages_in = (address - areas.start[area]) >> np.uint64(page_shift)
    linear = pfn == areas.pgoff[area] + pages_in
    cow = (flags & np.uint64(_VM_SHARED | _VM_MAYWRITE)) == np.uint64(_VM_MAYWRITE)
    raw_pfns = (flags & np.uint64(_VM_PFNMAP)) != 0
    # VM_MIXEDMAP counts every page that has a struct page, as a normal mapping does.
    mixed = (flags & np.uint64(_VM_MIXEDMAP)) != 0
    return np.asarray(mixed | ~raw_pfns | (cow & ~linear), dtype=bool)


def uncounted_in(prog: drgn.Program, fmt: TableFormat) -> Uncounted:
    """Return what marks large leaves without counters in this kernel."""
    bits = fmt.tables.large_special | _devmap(prog, fmt)
    return Uncounted(bits, huge_zero_page(prog), fmt.page_shift)


def huge_zero_page(prog: drgn.Program) -> int | None:
    """Return the PFN that is_huge_zero_pmd() compares with; None while there is no such page."""
    zero = _variable(prog, "huge_zero_pfn")
    return None if zero == ALL_BITS else zero


def _devmap(prog: drgn.Program, fmt: TableFormat) -> int:
    """_PAGE_DEVMAP of this kernel's large leaves, 0 without."""
    try:  # gone with the bit: "mm: remove devmap related functions and page table bits" (6.17)
        prog.type("pfn_t")
    except LookupError:
        return 0
    devmaps = fmt.tables.large_devmaps
    fitting = (bit for name, bit in devmaps if not name or has_function(prog, name))
    return next(fitting, 0)


def zero_pages(prog: drgn.Program) -> range:
    """PFNs of the zero page or pages (my_zero_pfn()); empty when they cannot be found."""
    # In 7.3 zero_pfn() is a function, and the variable has another name.
    start = _variable(prog, "zero_page_pfn") or _variable(prog, "zero_pfn")
    if start is None:
        return range(0)
    mask = _variable(prog, "zero_page_mask") or 0  # s390x: one for each cache colour
    return range(start, start + (mask >> prog["PAGE_SHIFT"].value_()) + 1)


def zero_kinds(prog: drgn.Program) -> dict[int, str]:
    """Return the names of the zero pages, which are mapped uncounted, by their PFN."""
    huge = huge_zero_page(prog)
    return dict.fromkeys(zero_pages(prog), ZERO) | ({} if huge is None else {huge: HUGE_ZERO})


def _variable(prog: drgn.Program, name: str) -> int | None:
    try:
        return int(prog.variable(name).value_())
    except (LookupError, drgn.FaultError, drgn.ObjectAbsentError):
        return None
