"""What the kernel recorded about each page: mapcounts, references, who is free.

The layouts and the arithmetic are 6.1's: page_mapcount() and folio_mapcount()
(mm/util.c, include/linux/mm.h), page types (include/linux/page-flags.h).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import drgn
import numpy as np
import numpy.typing as npt

from zaptrace.audit.arrays import NOWHERE, Counts, Index, Mask
from zaptrace.audit.reconcile import Recorded
from zaptrace.audit.structpages import (
    MAPPING_ANON,
    MAPPING_FLAGS,
    MAPPING_MOVABLE,
    StructPages,
)

_POISON = np.uint64(2**64 - 1)
"""page->flags of a struct page that nobody has initialised (page_init_poison())."""
_MAX_ORDER = 30  # no kernel has larger blocks: a broken one
# Below these a raw mapcount is a page type.  6.1: PAGE_MAPCOUNT_RESERVE, and buddy is ~0x80.
# Since "mm: use page_type top byte" (6.11) types have the top byte for themselves.
_OLD_TYPES_BELOW = -128
_NEW_TYPES_BELOW = -(1 << 24)


@dataclass(frozen=True, slots=True)
class Flags:
    """What of a kernel's numbers one needs to read struct pages.

    Attributes:
        slab: bit number of PG_slab, None where slab is a page type.
        swapbacked: bit number of PG_swapbacked.
        buddy: raw mapcount of a free block's first page.
        hugetlb: compound_dtor of hugetlb folios, None without hugetlb.
        double_map: bit number of PG_double_map in the first tail page, None without.
    """

    slab: int | None
    swapbacked: int
    buddy: int
    hugetlb: int | None = None
    double_map: int | None = None

    @property
    def types_below(self) -> int:
        """A raw mapcount less than this is a page type."""
        return _OLD_TYPES_BELOW if self.buddy > _NEW_TYPES_BELOW else _NEW_TYPES_BELOW


def flags_of(prog: drgn.Program, vmcoreinfo: dict[str, str]) -> Flags:
    """Find this kernel's numbers.

    Raises:
        LookupError, ValueError: VMCOREINFO is older than 4.0's, or broken.
    """
    slab = vmcoreinfo.get("NUMBER(PG_slab)")
    return Flags(
        slab=None if slab is None else int(slab),
        swapbacked=int(vmcoreinfo["NUMBER(PG_swapbacked)"]),
        buddy=_signed32(int(vmcoreinfo["NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)"])),
        hugetlb=_constant(prog, "HUGETLB_PAGE_DTOR"),
        double_map=_constant(prog, "PG_double_map"),
    )


def derive(pages: StructPages, flags: Flags, on_cpu_lists: Index) -> Recorded:
    """Derive what the counters say.

    Args:
        pages: the struct pages.
        flags: this kernel's numbers.
        on_cpu_lists: indices of pages that lie on per-CPU free lists.
    """
    bits = pages.column("flags")
    raw: npt.NDArray[np.int32] = pages.column("raw_mapcount")
    mapping = pages.column("mapping")
    known = pages.readable & (bits != _POISON)
    head = _heads(pages, known)
    kind = mapping[head] & np.uint64(MAPPING_FLAGS)
    own = (raw >= flags.types_below) & (kind != MAPPING_MOVABLE)
    if flags.slab is not None:
        own &= ~_bit(bits[head], flags.slab)
    anon = (mapping[head] & np.uint64(MAPPING_ANON)) != 0
    folios = _Folios(pages, flags, head)
    mapcount, mappings = folios.count(raw, anon)
    return Recorded(
        known=known,
        mappable=known & own,
        raw_mapcount=raw,
        mapcount=mapcount,
        head=head,
        mappings=mappings,
        refcount=pages.column("refcount")[head],
        free=_free(pages, raw, known, flags.buddy, on_cpu_lists),
        anon=anon,
        swapbacked=_bit(bits[head], flags.swapbacked),
        hugetlb=folios.hugetlb,
        order=folios.order,
    )


def _heads(pages: StructPages, known: Mask) -> Index:
    """The index of each page's first page; a tail whose head is nowhere is its own."""
    head = np.arange(len(pages), dtype=np.int64)
    link = pages.column("compound_head")
    tails = np.flatnonzero(known & ((link & np.uint64(1)) != 0))
    heads = pages.indices_at(link[tails] - np.uint64(1))
    good = (heads != NOWHERE) & (heads < tails)
    head[tails[good]] = heads[good]
    # A head is no tail itself: else a broken link would count for two folios.
    chained = head[head] != head
    head[chained] = np.flatnonzero(chained)
    return head


class _Folios:
    """The large folios: their members and what their first tail page says."""

    def __init__(self, pages: StructPages, flags: Flags, head: Index) -> None:
        self._head = head
        self._tails = np.flatnonzero(head != np.arange(len(head)))
        sizes = np.bincount(head[self._tails], minlength=len(head)) + 1
        heads = np.flatnonzero(sizes > 1)
        first_tail = heads + 1
        # Only where the next page really is the tail that holds the counters.
        real = head[np.minimum(first_tail, len(head) - 1)] == heads
        self._heads, self._first_tail = heads[real], first_tail[real]
        self._entire = np.zeros(len(head), np.int64)
        self._double = np.zeros(len(head), np.int64)
        self.hugetlb = np.zeros(len(head), bool)
        self.order = np.zeros(len(head), np.uint8)
        self._sizes = sizes
        self.order[heads] = np.log2(sizes[heads]).astype(np.uint8)
        self._read_first_tails(pages, flags)

    def _read_first_tails(self, pages: StructPages, flags: Flags) -> None:
        heads, tails = self._heads, self._first_tail
        if pages.has("compound_mapcount"):
            self._entire[heads] = pages.column("compound_mapcount", tails).astype(np.int64) + 1
        if flags.double_map is not None:
            self._double[heads] = _bit(pages.column("flags", tails), flags.double_map)
        if flags.hugetlb is not None and pages.has("compound_dtor"):
            self.hugetlb[heads] = pages.column("compound_dtor", tails) == flags.hugetlb
        self.hugetlb |= self.hugetlb[self._head]

    def count(self, raw: npt.NDArray[np.int32], anon: Mask) -> tuple[Counts, Counts]:
        """page_mapcount() of every page, folio_mapcount() at every first page.

        6.1: a file folio's subpages count the mappings of the whole folio too, an
        anonymous one's do not; its PG_double_map says that each counts one too many.
        """
        head, entire, double = self._head, self._entire, self._double
        own = raw.astype(np.int64) + 1
        mapcount, mappings = own.copy(), own
        tails, heads = self._tails, self._heads
        np.add.at(mappings, head[tails], mapcount[tails])
        mappings[tails] = 0
        less = np.where(anon[heads], double[heads], entire[heads]) * self._sizes[heads]
        mappings[heads] += entire[heads] - less

        members = np.concatenate([heads, tails])
        of = head[members]
        huge = self.hugetlb[of]
        mapcount[members] += np.where(anon[members], entire[of] - double[of], 0)
        mapcount[members[huge]] = entire[of[huge]]
        hugetlb = heads[self.hugetlb[heads]]
        mappings[hugetlb] = entire[hugetlb]
        return mapcount, mappings


def _free(
    pages: StructPages, raw: npt.NDArray[np.int32], known: Mask, buddy: int, on_cpu_lists: Index
) -> Mask:
    """Pages in the buddy allocator's blocks (`private` is the order) or on a CPU's list."""
    blocks = np.flatnonzero(known & (raw == buddy))
    orders = np.minimum(pages.column("private", blocks), np.uint64(_MAX_ORDER)).astype(np.int64)
    ends = np.minimum(blocks + (1 << orders), len(pages))
    edges = np.zeros(len(pages) + 1, np.int64)
    np.add.at(edges, blocks, 1)
    np.add.at(edges, ends, -1)
    free: Mask = np.cumsum(edges[:-1]) > 0
    free[on_cpu_lists] = True
    return free & known


def _bit(bits: npt.NDArray[Any], number: int) -> Mask:
    found: Mask = (bits & np.uint64(1 << number)) != 0
    return found


def _constant(prog: drgn.Program, name: str) -> int | None:
    try:
        return int(prog.constant(name).value_())
    except LookupError:
        return None


def _signed32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value
