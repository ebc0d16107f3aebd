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

from zaptrace.audit.arrays import NOWHERE, Counts, Index, Mask, side_by_side
from zaptrace.audit.structpages.page_flags import Flags, has_bit, of_type
from zaptrace.audit.structpages.table import StructPages

_LARGEST_MASK = np.uint64(1 << 40)
"""-compound_info of a tail, if that is a mask, is a folio's struct pages in bytes: never more."""


def heads(pages: StructPages, known: Mask, head_mask: int = 0) -> tuple[Index, Index]:
    """Return the index of each page's first page, and which pages have another one than themselves.

    A tail whose head is nowhere, or heads no folio (its link was written over), is its own.

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
    target = np.where(masks, pages.addresses(tails) & info, info) if masks.any() else info
    found = pages.indices_at(target)
    good = (found != NOWHERE) & (found < tails)
    tails, found = tails[good], found[good]
    if head_mask and len(tails):
        good = ~known[found] | ((pages.column("flags", found) & np.uint64(head_mask)) != 0)
        tails, found = tails[good], found[good]
    head[tails] = found
    # A head is no tail itself: else a broken link would count for two folios.
    chained = head[found] != found
    if chained.any():
        head[tails[chained]] = tails[chained]
        tails = tails[~chained]
    fake = _fake_heads(pages, head, tails, head_mask)
    if len(fake):
        head[fake] = head[fake + 1]
        tails = np.union1d(tails, fake)
    return head, tails


def _fake_heads(pages: StructPages, head: Index, tails: Index, head_mask: int) -> Index:
    """Tails that look like their head: page_fixed_fake_head() (include/linux/page-flags.h).

    With HUGETLB_PAGE_OPTIMIZE_VMEMMAP all pages of a hugetlb folio's struct pages are one
    page, so that every 64th tail is the head once more.  The tail after it shows which it is.
    """
    before = tails[head[tails] < tails - 1] - 1
    before = before[head[before] == before]
    flags, real = pages.column("flags", before), head[before + 1]
    looks_like = flags == pages.column("flags", real)
    fake: Index = before[looks_like & ((flags & np.uint64(head_mask)) != 0)]
    return fake


class Folios:
    """The large folios.

    Attributes:
        hugetlb: which pages belong to hugetlb folios; shape (pages,).
        order: at a large folio's first page log2 of its pages, elsewhere 0; shape (pages,).
    """

    def __init__(self, pages: StructPages, flags: Flags, head: Index, tails: Index) -> None:
        self._tails = tails
        # The folio of each tail, by its place among `_heads`, and how many pages each folio has.
        self._heads, self._of, others = np.unique(
            head[tails], return_inverse=True, return_counts=True
        )
        self._sizes = others + 1
        self._has_large = pages.has("large_mapcount")
        self._old = flags.double_map is not None
        # Only where the next page really is the tail that holds the counters.
        first_tail = self._heads + 1
        self._real = head[first_tail] == self._heads
        self._first_tail = first_tail[self._real]
        self._entire = self._counter(pages, "compound_mapcount")
        self._large = self._counter(pages, "large_mapcount")
        self._double = np.zeros(len(self._heads), np.int64)
        if flags.double_map is not None:
            tail_flags = pages.column("flags", self._first_tail)
            self._double[self._real] = has_bit(tail_flags, flags.double_map)
        self.order = np.zeros(len(head), np.uint8)
        self.order[self._heads] = np.log2(self._sizes).astype(np.uint8)
        self._huge = self._hugetlb(pages, flags)
        self.hugetlb = np.zeros(len(head), bool)
        self.hugetlb[self._heads] = self._huge
        self.hugetlb[tails] = self._huge[self._of]

    def count(self, raw: npt.NDArray[np.int32], anon: Mask) -> tuple[Counts, Counts, Mask]:
        """Return page_mapcount() of every page, folio_mapcount() at every first page, and which
        pages have a count of their own."""
        mapcount, mappings = side_by_side(len(raw), [np.int64, np.int64])
        np.add(raw, 1, out=mapcount, dtype=np.int64)
        mappings[:] = mapcount
        first, tails = self._heads, self._tails
        # Exact: a folio's sum stays far below 2**53.
        of_tails = np.bincount(self._of, mapcount[tails], minlength=len(first)).astype(np.int64)
        of_pages = mapcount[first] + of_tails
        counted = self._counted(of_pages, len(raw))
        mappings[tails] = 0
        mappings[first] = self._folio_mapcounts(of_pages, anon[first])
        # What each page of a folio has of the whole folio's mappings.
        share = self._entire
        if self._old:
            share = np.where(anon[first], self._entire - self._double, 0)
        mapcount[first] = np.where(self._huge, self._entire, mapcount[first] + share)
        of = self._of
        mapcount[tails] = np.where(self._huge[of], self._entire[of], mapcount[tails] + share[of])
        return mapcount, mappings, counted

    def _folio_mapcounts(self, of_pages: Counts, anon: Mask) -> Counts:
        """Return folio_mapcount() of every large folio, from the sum of its pages' own."""
        total = of_pages + self._entire
        if self._old:
            total -= np.where(anon, self._double, self._entire) * self._sizes
        if self._has_large:
            total = np.where(self._real, self._large, total)
        return np.where(self._huge & self._real, self._entire, total)

    def _counted(self, of_pages: Counts, count: int) -> Mask:
        """With CONFIG_NO_PAGE_MAPCOUNT, which nothing in memory names, no page of any large
        folio counts, though folios are mapped by PTE."""
        counted = np.ones(count, bool)
        by_pte = self._real & ~self._huge & (self._large > self._entire)
        if self._has_large and by_pte.any() and not of_pages[by_pte].any():
            counted[self._heads[self._real & ~self._huge]] = False
            counted[self._tails[~self._huge[self._of]]] = False
        return counted

    def _counter(self, pages: StructPages, name: str) -> Counts:
        """Return a counter of the first tail page that begins at -1; shape of `_heads`."""
        found = np.zeros(len(self._heads), np.int64)
        if pages.has(name):
            found[self._real] = pages.column(name, self._first_tail).astype(np.int64) + 1
        return found

    def _hugetlb(self, pages: StructPages, flags: Flags) -> Mask:
        """Return which folios are hugetlb's; shape of `_heads`."""
        mine = np.zeros(len(self._heads), bool)
        tails = self._first_tail
        if flags.hugetlb_type is not None:
            raw = pages.column("raw_mapcount", self._heads[self._real])
            mine[self._real] = of_type(raw, flags.hugetlb_type)
        elif flags.hugetlb_flag is not None:
            mine[self._real] = has_bit(pages.column("flags", tails), flags.hugetlb_flag)
        elif flags.hugetlb is not None and pages.has("compound_dtor"):
            mine[self._real] = pages.column("compound_dtor", tails) == flags.hugetlb
        return mine
