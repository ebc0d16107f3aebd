"""Page tables that were taken out of the table above them and never freed, by the stores alone.

No counter shows them: the mm that they belonged to has gone, and counts none.  The architectures
of which an entry of a table above the PTEs looks like a PTE show them (x86_64).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zaptrace.life.page_frees import NEVER, PAGE_SHIFT, Stores, entries_until, frees, is_whole
from zaptrace.life.record_layout import U64
from zaptrace.life.records import Life

SETTLED_NS = 1_000_000_000
"""After which what waits for RCU is freed: grace periods take some 10 ms, in a guest on a busy
machine some 100."""
MOST_TABLES = 16
"""Tables that are returned: a bug that does this does it to many."""


@dataclass(frozen=True, slots=True)
class LostTable:
    """A page table that was never freed.

    Attributes:
        cleared: number of the store that took it out of the table above it.
        above: page of that table.
        above_freed: number of the store that dropped that one's last reference.
        slot: address in the guest's memory of an entry in it, by which it is known as a table.
    """

    pfn: int
    cleared: int
    above: int
    above_freed: int
    slot: int


def lost_tables(life: Life) -> tuple[LostTable, ...]:
    """Return the page tables that no table pointed to any more when the table above them was freed,
    and that were not freed before the guest was stopped.

    One that is taken out may be kept for later (pgtable_trans_huge_deposit()), but no longer than
    its mm has the table above.  One that waits for RCU may be freed after that one, or not at all
    before a power-off: the table above must be free long enough.  Where a store may be missing none
    is returned.
    """
    if not is_whole(life):
        return ()
    stop = np.uint64(life.facts.stop) if life.facts.stop is not None else NEVER
    ptes, pfns, until = entries_until(life)
    above: U64 = ptes["slot"] >> PAGE_SHIFT
    mine = np.isin(pfns, np.unique(above))  # what has entries is, or was, a page table
    if life.pfns is not None:
        mine &= np.isin(above, np.array(life.pfns, np.uint64))
    since = ptes["number"][mine]
    order = np.lexsort((since, pfns[mine]))
    pfns, above, until, since = (one[mine][order] for one in (pfns, above, until, ptes["number"]))
    last = np.append(pfns[1:] != pfns[:-1], True)[: len(pfns)]
    pfns, above, until, since = (one[last] for one in (pfns, above, until, since))
    free, entries = frees(life), Stores(ptes["slot"] >> PAGE_SHIFT, ptes["number"])
    # A PGD is freed with the kernel's entries in it: what is stored there later is another table's.
    freed, above_freed = free.first_after(pfns, since), free.first_after(above, since)
    own = entries.first_after(pfns, since)  # a page without one was no table then
    lost = (own < until) & (until < above_freed) & (above_freed < stop) & (freed >= stop)
    found = np.flatnonzero(lost)
    freed_ns = life.records["ns"][np.searchsorted(life.numbers, above_freed[found])]
    found = found[freed_ns + np.uint64(SETTLED_NS) <= np.uint64(life.facts.stop_ns)]
    found = found[np.argsort(until[found], kind="stable")][:MOST_TABLES]
    by_number = np.argsort(ptes["number"])
    at_own = by_number[np.searchsorted(ptes["number"][by_number], own[found])]
    columns = (pfns[found], until[found], above[found], above_freed[found], ptes["slot"][at_own])
    return tuple(LostTable(*map(int, one)) for one in zip(*columns, strict=True))
