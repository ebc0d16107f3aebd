"""The large folios: their members, and what their first tail page counts.

Which counters there are, newest first:

- "mm: track mapcount of large folios in single value" (6.10): `_large_mapcount` is
  folio_mapcount() - 1.  Pages count their own PTEs still, unless CONFIG_NO_PAGE_MAPCOUNT
  (6.15) is set: then no page of any large folio does.
- "mm,thp,rmap: simplify compound page mapcount handling" (6.2): a page counts its own PTEs,
  the whole folio's mappings are counted once (`compound_mapcount`, later `_entire_mapcount`).
- Before, with PG_double_map: a file folio's pages count the mappings of the whole folio too,
  an anonymous one's do not; PG_double_map says that each counts one too many.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zaptrace.audit.arrays import NOWHERE, Counts, Index, Mask
from zaptrace.audit.flags import Flags, has_bit
from zaptrace.audit.structpages import StructPages

_LARGEST_MASK = np.uint64(1 << 40)
"""-compound_info of a tail, if that is a mask, is a folio's struct pages in bytes: never more."""


def heads(pages: StructPages, known: Mask) -> Index:
    """The index of each page's first page; a tail whose head is nowhere is its own.

    `compound_info` ("mm: rework compound_head() for power-of-2 sizeof(struct page)", 7.1)
    holds the mask that makes a tail's address its head's, or the head's address as
    `compound_head` did; no address is as near to 2**64 as the masks are.
    """
    head = np.arange(len(pages), dtype=np.int64)
    link = pages.column("compound_head")
    tails = np.flatnonzero(known & ((link & np.uint64(1)) != 0))
    info = link[tails] - np.uint64(1)
    span = -info  # modulo 2**64
    masks = (span <= _LARGEST_MASK) & (span & (span - np.uint64(1)) == 0)
    target = np.where(masks, pages.addresses(tails) & info, info)
    found = pages.indices_at(target)
    good = (found != NOWHERE) & (found < tails)
    head[tails[good]] = found[good]
    # A head is no tail itself: else a broken link would count for two folios.
    chained = head[head] != head
    head[chained] = np.flatnonzero(chained)
    return head


class Folios:
    """The large folios.

    Attributes:
        hugetlb: which pages belong to hugetlb folios; shape (pages,).
        order: at a large folio's first page log2 of its pages, elsewhere 0; shape (pages,).
    """

    def __init__(self, pages: StructPages, flags: Flags, head: Index) -> None:
        self._head = head
        self._tails = np.flatnonzero(head != np.arange(len(head)))
        sizes = np.bincount(head[self._tails], minlength=len(head)) + 1
        first = np.flatnonzero(sizes > 1)
        first_tail = first + 1
        # Only where the next page really is the tail that holds the counters.
        real = head[np.minimum(first_tail, len(head) - 1)] == first
        self._heads, self._first_tail = first[real], first_tail[real]
        self._sizes = sizes
        self._old = flags.double_map is not None
        self._entire = self._counter(pages, "compound_mapcount")
        self._large = self._counter(pages, "large_mapcount")
        self._has_large = pages.has("large_mapcount")
        self._double = np.zeros(len(head), np.int64)
        if flags.double_map is not None:
            tail_flags = pages.column("flags", self._first_tail)
            self._double[self._heads] = has_bit(tail_flags, flags.double_map)
        self.order = np.zeros(len(head), np.uint8)
        self.order[first] = np.log2(sizes[first]).astype(np.uint8)
        self.hugetlb = self._hugetlb(pages, flags)

    def count(self, raw: npt.NDArray[np.int32], anon: Mask) -> tuple[Counts, Counts, Mask]:
        """page_mapcount() of every page, folio_mapcount() at every first page, and which
        pages have a count of their own at all."""
        head, entire, double = self._head, self._entire, self._double
        own = raw.astype(np.int64) + 1
        mapcount, mappings = own.copy(), own
        tails, first = self._tails, self._heads
        members = np.concatenate([first, tails])
        of = head[members]

        np.add.at(mappings, head[tails], mapcount[tails])
        mappings[tails] = 0
        counted = self._counted(mappings, members, len(raw))
        mappings[first] += entire[first]
        if self._old:
            mappings[first] -= (
                np.where(anon[first], double[first], entire[first]) * (self._sizes[first])
            )
            mapcount[members] += np.where(anon[members], entire[of] - double[of], 0)
        else:
            mapcount[members] += entire[of]
        if self._has_large:
            mappings[first] = self._large[first]
        huge = self.hugetlb[of]
        mapcount[members[huge]] = entire[of[huge]]
        hugetlb = first[self.hugetlb[first]]
        mappings[hugetlb] = entire[hugetlb]
        return mapcount, mappings, counted

    def _counted(self, of_pages: Counts, members: Index, count: int) -> Mask:
        """With CONFIG_NO_PAGE_MAPCOUNT, which nothing in memory names, no page of any large
        folio counts, though folios are mapped by PTE."""
        counted = np.ones(count, bool)
        first = self._heads[~self.hugetlb[self._heads]]
        by_pte = self._large[first] > self._entire[first]
        if self._has_large and by_pte.any() and not of_pages[first][by_pte].any():
            counted[members[~self.hugetlb[members]]] = False
        return counted

    def _counter(self, pages: StructPages, name: str) -> Counts:
        """A counter of the first tail page that begins at -1; shape (pages,)."""
        found = np.zeros(len(self._head), np.int64)
        if pages.has(name):
            found[self._heads] = pages.column(name, self._first_tail).astype(np.int64) + 1
        return found

    def _hugetlb(self, pages: StructPages, flags: Flags) -> Mask:
        mine = np.zeros(len(self._head), bool)
        first, tails = self._heads, self._first_tail
        if flags.hugetlb_type is not None:
            raw = pages.column("raw_mapcount", first)
            mine[first] = (raw & flags.hugetlb_type_mask) == flags.hugetlb_type
        elif flags.hugetlb_flag is not None:
            mine[first] = has_bit(pages.column("flags", tails), flags.hugetlb_flag)
        elif flags.hugetlb is not None and pages.has("compound_dtor"):
            mine[first] = pages.column("compound_dtor", tails) == flags.hugetlb
        found: Mask = mine[self._head]
        return found
