"""Page tables against counters.  Pure: arrays of what was walked and recorded go in.

The rules, and why a kernel that was stopped at any instruction breaks none of them:

- A mapping is entered rmap first, PTE second, and taken down PTE first, rmap second
  (do_anonymous_page(), copy_present_pte(), zap_pte_range() and the rest of mm/).  So there are
  never more PTEs than mapcount.  There may be fewer, for as long as a CPU holds the page-table
  lock: that is *in flight*, and the caller says which mms are.
- A mapping holds a reference: taken before the mapcount goes up, dropped after it went down.  So
  refcount >= mapcount at every instruction, in flight or not.  page_ref_freeze() sets the refcount
  to 0 on purpose, but its users (split, migration, reclaim, collapse) unmap the folio first: a
  frozen folio has mapcount 0.
- Hence the refcount distinguishes the page of a bug from one in flight.  A page handed to the
  allocator too early has refcount 0, mapcount 1 and no PTE: `refcount_below_mapcount`, whatever
  any CPU is doing.  A page whose zap is under way still has its reference: `in_flight`.
- A page leaves its free list before it is given away, and is checked before it is put there.

A page has one class: the first that fits, in the order of `PRECEDENCE`, which runs from what is
always wrong to what a CPU in flight may excuse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zaptrace.audit.arrays import Counts, Index, Mask
from zaptrace.model.findings import FindingClass

PRECEDENCE = (
    FindingClass.MAPPED_BUT_FREE,
    FindingClass.DIRTY_FREE_PAGE,
    FindingClass.REFCOUNT_BELOW_MAPCOUNT,
    FindingClass.MAPCOUNT_UNDERFLOW,
    FindingClass.MORE_PTES_THAN_MAPCOUNT,
    FindingClass.MORE_MAPCOUNT_THAN_PTES,
)
_NEVER_MAPPED = -1  # raw mapcount of a page without mappings


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the kernel recorded, derived.  All arrays have shape (number of pages,).

    Attributes:
        known: the struct page is in the dump and was initialised.
        mappable: the page's mapcount field counts mappings (it is no slab, typed or
            movable driver page).
        raw_mapcount: `page->_mapcount` as stored.
        mapcount: page_mapcount(): how many page-table entries should map the page.
        counted: the page has a count of its own; in a large folio it may have none.
        head: index of the folio's first page; the page itself if it is one.
        mappings: at a folio's first page folio_mapcount(), elsewhere 0.
        refcount: `_refcount` of the folio's first page.
        free: the page is on one of the allocator's free lists.
        anon, swapbacked, hugetlb: what kind of folio it is.
        order: at a large folio's first page log2 of its pages, elsewhere 0.
    """

    known: Mask
    mappable: Mask
    raw_mapcount: npt.NDArray[np.int32]
    mapcount: Counts
    counted: Mask
    head: Index
    mappings: Counts
    refcount: npt.NDArray[np.int32]
    free: Mask
    anon: Mask
    swapbacked: Mask
    hugetlb: Mask
    order: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Suspect:
    """One page that breaks a rule.

    Attributes:
        index: of the struct page.
        cls: the first class that fits.
        ptes: page-table entries that map it.
    """

    index: int
    cls: FindingClass
    ptes: int


def count_ptes(first: Index, pages: Index | None, total: int) -> Counts:
    """Return how many page-table entries map each page. Shape (total,).

    Args:
        first: index of the first page of each entry; all within [0, total).
        pages: how many pages each entry maps, None when each maps one; what is past
            `total` is not counted.
        total: number of struct pages.
    """
    if pages is None:
        return np.bincount(first, minlength=total)
    single = pages == 1
    counts = np.bincount(first[single], minlength=total)
    starts = first[~single]
    ends = np.minimum(starts + pages[~single], total)
    edges = np.bincount(starts, minlength=total + 1) - np.bincount(ends, minlength=total + 1)
    counts += np.cumsum(edges[:-1])
    return counts


def judge(ptes: Counts, recorded: Recorded) -> list[Suspect]:
    """Return the pages that break a rule, gravest class first, then by index."""
    where = _judged(ptes, recorded)
    ptes, rules = ptes[where], _rules(where, ptes[where], recorded)
    suspects: list[Suspect] = []
    seen = np.zeros(len(where), bool)
    for cls in PRECEDENCE:
        new = np.flatnonzero(rules[cls] & ~seen)
        seen[new] = True
        suspects += [Suspect(int(where[at]), cls, int(ptes[at])) for at in new]
    return suspects


def _judged(ptes: Counts, recorded: Recorded) -> Index:
    """Return the pages that a rule could be about: few, where all is well."""
    raw, refcount = recorded.raw_mapcount, recorded.refcount
    broken = ptes != recorded.mapcount
    broken |= refcount < recorded.mappings
    broken |= raw < _NEVER_MAPPED
    broken |= recorded.free & ((ptes != 0) | (refcount != 0) | (raw != _NEVER_MAPPED))
    broken |= (ptes != 0) & ((refcount == 0) | ~recorded.mappable)
    return np.flatnonzero(broken & recorded.known)


def _rules(where: Index, ptes: Counts, recorded: Recorded) -> dict[FindingClass, Mask]:
    """Return which of some pages break which rule. Shape of `where`."""
    mappable = recorded.mappable[where]
    first_page = recorded.head[where] == where
    # A hugetlb folio is mapped as a whole: each of its pages would say the same.
    counted = mappable & recorded.counted[where] & (first_page | ~recorded.hugetlb[where])
    mapcount, refcount = recorded.mapcount[where], recorded.refcount[where]
    free = recorded.free[where]
    # The first page of a hugetlb folio has a type there, or nothing.
    raw = np.where(recorded.hugetlb[where], mapcount - 1, recorded.raw_mapcount[where])
    mapped = ptes > 0
    return {
        FindingClass.MAPPED_BUT_FREE: mapped & (free | (refcount == 0)),
        FindingClass.DIRTY_FREE_PAGE: free
        & ((refcount != 0) | (mappable & (raw != _NEVER_MAPPED))),
        FindingClass.REFCOUNT_BELOW_MAPCOUNT: mappable
        & first_page
        & (refcount < recorded.mappings[where]),
        FindingClass.MAPCOUNT_UNDERFLOW: mappable & (raw < _NEVER_MAPPED),
        FindingClass.MORE_PTES_THAN_MAPCOUNT: mapped & (~mappable | (counted & (ptes > mapcount))),
        FindingClass.MORE_MAPCOUNT_THAN_PTES: counted & (ptes < mapcount),
    }


def strayed(ptes: Counts, recorded: Recorded) -> Index:
    """Return mapped pages that are free, or that more entries map than they count.

    Of what kind they were when they were mapped cannot be known any more.
    """
    where = _judged(ptes, recorded)
    rules = _rules(where, ptes[where], recorded)
    free, more = FindingClass.MAPPED_BUT_FREE, FindingClass.MORE_PTES_THAN_MAPCOUNT
    return where[rules[free] | rules[more]]


def settle(cls: FindingClass, differ: int, excused: int) -> FindingClass:
    """Return the class of a page once it is known where who is in flight.

    Only PTEs that are not as many as the mapcount can be excused, and a page that fails on its
    refcount never gets such a class: see the rules above.

    Args:
        cls: the first class that fits.
        differ: how many PTEs there are too many, or too few.
        excused: how many of them may be in flight; each place is good for one.
    """
    excusable = (FindingClass.MORE_PTES_THAN_MAPCOUNT, FindingClass.MORE_MAPCOUNT_THAN_PTES)
    return FindingClass.IN_FLIGHT if cls in excusable and differ <= excused else cls


def rss_mismatches(mapped: Counts, recorded: Counts, swaps: Counts, unresolved: Counts) -> Mask:
    """Return which mms' rss counters differ from what their tables map. Shape (mms,).

    Args:
        mapped: shape (mms, 3): file, anonymous and shmem pages that are mapped or migrating.
        recorded: shape (mms, 4): the same counters and MM_SWAPENTS.
        swaps: shape (mms,): swap entries.
        unresolved: shape (mms,): entries whose kind is not known.  A swap entry counts in
            MM_SWAPENTS, a migration entry as its page, a marker nowhere, a page that strayed as
            what it was; so with any of them only the sum can be judged, and within bounds.
    """
    present, total = mapped.sum(axis=1) + swaps, recorded.sum(axis=1)
    bounded = (total >= present) & (total <= present + unresolved)
    exact = (recorded[:, :3] == mapped).all(axis=1) & (recorded[:, 3] == swaps)
    return np.asarray(~np.where(unresolved > 0, bounded, exact), dtype=bool)
