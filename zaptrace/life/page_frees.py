"""When pages were freed, and how long an entry of a page table held what was stored in it."""

from __future__ import annotations

import numpy as np

from zaptrace.life.page_members import REFCOUNT
from zaptrace.life.record_layout import NOT_SEEN, U64, Array
from zaptrace.life.records import Life

NEVER = np.uint64(2**63)
PAGE_SHIFT = np.uint64(12)


def is_whole(life: Life) -> bool:
    """Return whether stores to page tables were recorded, and no store may be missing."""
    facts = life.facts
    lacks = facts.missed or facts.values or facts.storage == NOT_SEEN
    return life.pte_format is not None and not lacks


def entries_until(life: Life) -> tuple[Array, U64, U64]:
    """Return the stores to page tables by slot, the first page that each maps (NO_PAGE), and the
    number of the next store to the same slot (NEVER).  Each of shape (n,)."""
    assert life.pte_format is not None
    ptes = life.ptes[np.lexsort((life.ptes["number"], life.ptes["slot"]))]
    until = np.full(len(ptes), NEVER, np.uint64)
    again = ptes["slot"][1:] == ptes["slot"][:-1]
    until[:-1][again] = ptes["number"][1:][again]
    return ptes, life.pte_format.first_pages(ptes["after"]), until


class Stores:
    """Stores by the page that they are about, and their number.

    Args:
        pages, numbers: of each store, of shape (n,), in any order.
    """

    def __init__(self, pages: U64, numbers: U64) -> None:
        by_page = np.lexsort((numbers, pages))
        self._pages, self._numbers = pages[by_page], numbers[by_page]
        self._scale = np.uint64(int(numbers.max(initial=0)) + 2)

    def first_after(self, pages: U64, numbers: U64) -> U64:
        """Return the number of the first store about each page after another store, NEVER without
        one."""
        found = np.full(len(pages), NEVER, np.uint64)
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


def frees(life: Life) -> Stores:
    """Return the stores that left a page without a reference."""
    field = next((one for one in life.fields.fields if one.name == REFCOUNT), None)
    if field is None:
        return Stores(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    records = life.records
    page, at = np.divmod(records["va"] - np.uint64(life.facts.base), np.uint64(life.fields.size))
    covers = (at < field.offset + field.size) & (at + records["bytes"] > field.offset)
    mine = np.flatnonzero(covers)
    inside = field.offset % 8
    words = np.ascontiguousarray(records["value"][mine]).view("u1").reshape(-1, 8)
    zero = mine[~words[:, inside : inside + field.size].any(axis=1)]
    return Stores(page[zero], life.numbers[zero])
