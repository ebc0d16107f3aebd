"""Pages that were freed while a PTE still mapped them, by the recorded stores alone.

No counter shows such a PTE where its rmap and its reference are another PTE's, or went before: a
kernel that leaves one behind prints nothing until the page table is used again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zaptrace.life.mappings import is_counted
from zaptrace.life.named_life import Resolver, named_write
from zaptrace.life.page_frees import NEVER, PAGE_SHIFT, entries_until, frees, is_whole
from zaptrace.life.page_life import entry_store
from zaptrace.life.pte_records import NO_PAGE
from zaptrace.life.record_layout import U64
from zaptrace.life.records import Life

MOST_FREED = 32
"""Pages that are returned: a bug that does this does it to many."""


@dataclass(frozen=True, slots=True)
class FreedMapped:
    """A page that was freed while a PTE mapped it, or a large folio's first one while a PMD did.

    Attributes:
        freed: number of the store that dropped its last reference.
        entry: number of the store that made the PTE, or PMD.
        table: page of the page table that the PTE is in.
    """

    pfn: int
    freed: int
    entry: int
    table: int


def freed_while_mapped(life: Life, resolve: Resolver) -> tuple[FreedMapped, ...]:
    """Return the pages that were freed, before the guest was stopped, while a PTE mapped them.

    A page table's entries count until it is freed itself: of a recording of some pages alone only
    entries of tables among those are looked at.  Where a store may be missing none is returned.
    The kernel's own entries map free pages, too, and some kernels type its page tables like a
    process's (7.3's split_large_page() for the direct map): these do not count.

    Args:
        resolve: names the code that set a PTE.
    """
    if not is_whole(life):
        return ()
    stop = np.uint64(life.facts.stop) if life.facts.stop is not None else NEVER
    ptes, pfns, until = entries_until(life)
    tables: U64 = ptes["slot"] >> PAGE_SHIFT
    mine = pfns != np.uint64(NO_PAGE)
    if life.pfns is not None:
        mine &= np.isin(tables, np.array(life.pfns, np.uint64))
    pfns, tables, until, since = pfns[mine], tables[mine], until[mine], ptes["number"][mine]
    free = frees(life)
    freed = free.first_after(pfns, since)
    until = np.minimum(np.minimum(until, free.first_after(tables, since)), stop)
    found = np.flatnonzero(freed < until)
    found = found[np.argsort(freed[found], kind="stable")]
    pages: dict[int, FreedMapped] = {}
    made = ptes[mine]
    known: dict[tuple[int, int], bool] = {}
    for at in found.tolist():
        by = (int(made["pc"][at]), int(made["stack"][at]))
        if by not in known:
            write = entry_store(life, int(pfns[at]), int(since[at]))
            known[by] = write is not None and is_counted(named_write(write, resolve))
        if not known[by]:
            continue
        numbers = (int(one[at]) for one in (pfns, freed, since, tables))
        one = FreedMapped(*numbers)
        pages.setdefault(one.pfn, one)
        if len(pages) == MOST_FREED:
            break
    return tuple(pages.values())
