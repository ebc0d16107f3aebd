"""What the kernel recorded about each page: mapcounts, references, who is free.

The arithmetic is page_mapcount()'s and folio_mapcount()'s (mm/util.c, include/linux/mm.h);
page types are include/linux/page-flags.h's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zaptrace.audit.arrays import Index, Mask
from zaptrace.audit.invariants import Recorded
from zaptrace.audit.structpages.folios import Folios, heads
from zaptrace.audit.structpages.page_flags import Flags, has_bit
from zaptrace.audit.structpages.table import (
    MAPPING_ANON,
    MAPPING_FLAGS,
    MAPPING_MOVABLE,
    StructPages,
)

_POISON = np.uint64(2**64 - 1)
"""page->flags of a struct page that was never initialised (page_init_poison())."""
_MAX_ORDER = 30  # no kernel has larger blocks: a broken one
_SMALL_ORDER = 4  # many blocks of few pages are marked page by page, few of many block by block


def derive(pages: StructPages, flags: Flags, on_cpu_lists: Index) -> Recorded:
    """Derive what the counters say.

    Args:
        pages: the struct pages.
        flags: this kernel's numbers.
        on_cpu_lists: indices of pages that lie on per-CPU free lists.
    """
    bits = pages.column("flags")
    raw: npt.NDArray[np.int32] = pages.column("raw_mapcount")
    known = _legible(pages) & ~uninitialised(pages)
    head, tails = heads(pages, known, flags.head_mask)
    known[tails] &= known[head[tails]]
    # What a folio's pages have in common is said by the first one.
    refcount = pages.column("refcount").copy()
    refcount[tails] = refcount[head[tails]]
    mapping = (pages.column("mapping") & np.uint64(MAPPING_FLAGS)).astype(np.uint8)
    mapping[tails] = mapping[head[tails]]
    anon = (mapping & MAPPING_ANON) != 0
    own = (raw >= flags.types_below) & (mapping != MAPPING_MOVABLE)
    swapbacked = has_bit(bits, flags.swapbacked)
    swapbacked[tails] = swapbacked[head[tails]]
    if flags.slab is not None:
        slab = has_bit(bits, flags.slab)
        slab[tails] = slab[head[tails]]
        own &= ~slab
    own[tails] &= own[head[tails]]  # a slab's first page alone has the type
    folios = Folios(pages, flags, head, tails)
    mapcount, mappings, counted = folios.count(raw, anon)
    return Recorded(
        known=known,
        mappable=known & (own | folios.hugetlb),
        raw_mapcount=raw,
        mapcount=mapcount,
        counted=counted,
        head=head,
        mappings=mappings,
        refcount=refcount,
        free=_free(pages, raw, known, flags.buddy, on_cpu_lists),
        anon=anon,
        swapbacked=swapbacked,
        hugetlb=folios.hugetlb,
        order=folios.order,
    )


def uninitialised(pages: StructPages, where: Index | None = None) -> Mask:
    """Return which struct pages, of all or of some, the kernel never initialised."""
    never: Mask = pages.column("flags", where) == _POISON
    return never


def _legible(pages: StructPages) -> Mask:
    """Return the struct pages that are in the dump, and whose folio's first tail page is, if any.

    A page before a gap may be the first of a large folio whose counters lie in the gap.
    """
    legible = pages.readable.copy()
    if not legible.all():
        legible[:-1] &= pages.readable[1:]
    return legible


def _free(
    pages: StructPages, raw: npt.NDArray[np.int32], known: Mask, buddy: int, on_cpu_lists: Index
) -> Mask:
    """Pages in the buddy allocator's blocks (`private` is the order) or on a CPU's list."""
    blocks = np.flatnonzero(known & (raw == buddy))
    orders = np.minimum(pages.column("private", blocks), np.uint64(_MAX_ORDER)).astype(np.int64)
    free = np.zeros(len(pages), bool)
    for order in np.unique(orders).tolist():
        here = blocks[orders == order]
        if order <= _SMALL_ORDER:
            for page in range(1 << order):
                free[np.minimum(here + page, len(pages) - 1)] = True
        else:
            for start in here.tolist():
                free[start : start + (1 << order)] = True
    free[on_cpu_lists] = True
    return free & known
