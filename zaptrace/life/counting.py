"""In which direction a store counts, and how far: by the functions at its instruction."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zaptrace.life.page_life import ENTIRE
from zaptrace.life.page_members import MAPCOUNT, REFCOUNT

_DOWN = {
    # mm/rmap.c; include/linux/page_ref.h, include/linux/mm.h
    MAPCOUNT: re.compile(r"remove_rmap|page_remove_(?:anon|file)"),
    REFCOUNT: re.compile(r"(?:page|folio)_ref_(?:sub|dec)|put_page|folio_put"),
}
_UP = {
    MAPCOUNT: re.compile(r"add_\w*rmap|dup_\w*rmap"),
    REFCOUNT: re.compile(r"(?:page|folio)_ref_(?:try_)?(?:add|inc)|get_page|folio_get"),
}
_DOWN[ENTIRE], _UP[ENTIRE] = _DOWN[MAPCOUNT], _UP[MAPCOUNT]
_BY_ONE = re.compile(r"_ref_(?:inc|dec)")
"""What adds or subtracts a number may have added none: folio_ref_add(folio, nr_pages - 1)."""


def direction(functions: Sequence[str], counter: str) -> int:
    """Return 1 for a store that only counts up, -1 for one that counts down, 0 when not known.

    Args:
        functions: those at the storing instruction, inlined ones as well.
        counter: the member that it stores to.
    """
    down, up = (any(which[counter].search(name) for name in functions) for which in (_DOWN, _UP))
    return int(up) - int(down)


def counts_by_one(functions: Sequence[str], counter: str) -> bool:
    """Return whether a store whose direction is known counts by one; see `direction`.

    Whoever counts mappings of a page counts one; references are added and dropped in numbers, too.
    """
    if not direction(functions, counter):
        return False
    return counter != REFCOUNT or any(_BY_ONE.search(name) for name in functions)
