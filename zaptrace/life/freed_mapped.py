"""Pages that were freed while a PTE still mapped them, by the recorded stores alone.

No counter shows such a PTE where its rmap and its reference are another PTE's, or went before: a
kernel that leaves one behind prints nothing until the page table is used again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zaptrace.life.mappings import is_counted
from zaptrace.life.named_life import Resolver, named_write
from zaptrace.life.page_life import REFCOUNT, entry_store
from zaptrace.life.pte_records import NO_PAGE
from zaptrace.life.record_layout import NOT_SEEN, U64
from zaptrace.life.records import Life

MOST_FREED = 32
"""Pages that are returned: a bug that does this does it to many."""
_NEVER = np.uint64(2**63)
_PAGE = np.uint64(12)


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
    facts = life.facts
    whole = not (facts.missed or facts.values or facts.storage == NOT_SEEN)
    if life.pte_format is None or not whole or not len(life.ptes):
        return ()
    stop = np.uint64(facts.stop) if facts.stop is not None else _NEVER
    by_slot = np.lexsort((life.ptes["number"], life.ptes["slot"]))
    ptes = life.ptes[by_slot]
    pfns = life.pte_format.first_pages(ptes["after"])
    tables: U64 = ptes["slot"] >> _PAGE
    until = np.full(len(ptes), _NEVER, np.uint64)
    again = ptes["slot"][1:] == ptes["slot"][:-1]
    until[:-1][again] = ptes["number"][1:][again]
    mine = pfns != np.uint64(NO_PAGE)
    if life.pfns is not None:
        mine &= np.isin(tables, np.array(life.pfns, np.uint64))
    pfns, tables, until, since = pfns[mine], tables[mine], until[mine], ptes["number"][mine]
    frees = _Frees(life)
    freed = frees.first_after(pfns, since)
    until = np.minimum(np.minimum(until, frees.first_after(tables, since)), stop)
    found = np.flatnonzero(freed < until)
    found = found[np.argsort(freed[found], kind="stable")]
    pages: dict[int, FreedMapped] = {}
    made = life.ptes[by_slot][mine]
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


class _Frees:
    """The stores that left a page without a reference, by page and number."""

    def __init__(self, life: Life) -> None:
        self._scale = np.uint64(int(life.numbers[-1]) + 2 if len(life.numbers) else 2)
        self._numbers: U64 = np.zeros(0, np.uint64)
        self._pages: U64 = np.zeros(0, np.uint64)
        field = next((one for one in life.fields.fields if one.name == REFCOUNT), None)
        if field is None:
            return
        records = life.records
        at = (records["va"] - np.uint64(life.facts.base)) % np.uint64(life.fields.size)
        covers = (at < field.offset + field.size) & (at + records["bytes"] > field.offset)
        inside = field.offset % 8
        words = np.ascontiguousarray(records["value"]).view("u1").reshape(-1, 8)
        zero = covers & ~words[:, inside : inside + field.size].any(axis=1)
        pages, numbers = life.pages()[zero], life.numbers[zero]
        by_page = np.lexsort((numbers, pages))
        self._pages, self._numbers = pages[by_page], numbers[by_page]

    def first_after(self, pages: npt.NDArray[np.uint64], numbers: npt.NDArray[np.uint64]) -> U64:
        """Return the number of the first free of each page after a store, _NEVER without one."""
        found = np.full(len(pages), _NEVER, np.uint64)
        if not len(self._pages):
            return found
        at = np.searchsorted(self._keys(self._pages, self._numbers), self._keys(pages, numbers))
        there = np.minimum(at, len(self._pages) - 1)
        same = (at < len(self._pages)) & (self._pages[there] == pages)
        found[same] = self._numbers[there[same]]
        return found

    def _keys(self, pages: U64, numbers: U64) -> U64:
        """Return one number for a page and a store, in the order of both."""
        keys: U64 = pages * self._scale + np.minimum(numbers, self._scale - np.uint64(1))
        return keys
