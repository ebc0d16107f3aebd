"""What the kernel recorded about each page: mapcounts, references, who is free.

The arithmetic is page_mapcount()'s and folio_mapcount()'s (mm/util.c, include/linux/mm.h);
page types are include/linux/page-flags.h's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zaptrace.audit.arrays import Index, Mask
from zaptrace.audit.flags import Flags, has_bit
from zaptrace.audit.folios import Folios, heads
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
    head = heads(pages, known)
    kind = mapping[head] & np.uint64(MAPPING_FLAGS)
    own = (raw >= flags.types_below) & (kind != MAPPING_MOVABLE)
    if flags.slab is not None:
        own &= ~has_bit(bits[head], flags.slab)
    anon = (mapping[head] & np.uint64(MAPPING_ANON)) != 0
    folios = Folios(pages, flags, head)
    mapcount, mappings, counted = folios.count(raw, anon)
    return Recorded(
        known=known,
        mappable=known & (own | folios.hugetlb),
        raw_mapcount=raw,
        mapcount=mapcount,
        counted=counted,
        head=head,
        mappings=mappings,
        refcount=pages.column("refcount")[head],
        free=_free(pages, raw, known, flags.buddy, on_cpu_lists),
        anon=anon,
        swapbacked=has_bit(bits[head], flags.swapbacked),
        hugetlb=folios.hugetlb,
        order=folios.order,
    )


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
