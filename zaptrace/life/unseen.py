"""Counters that changed and no recorded store did it: seen at the next store to them.

Who counts always changes a counter, and in one direction; a page's own mapcount by one.  When a
removal of the rmap leaves the counter as the last record had it, or higher, or lower by several, it
was another before: bits of memory flipped, a device wrote there, or a store was not recorded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from zaptrace.life.named_life import NamedWrite
from zaptrace.life.page_life import ENTIRE
from zaptrace.life.page_members import MAPCOUNT, REFCOUNT

_DOWN = {
    # mm/rmap.c; include/linux/page_ref.h, include/linux/mm.h
    MAPCOUNT: re.compile(r"remove_rmap|page_remove_(?:anon|file)"),
    REFCOUNT: re.compile(r"(?:page|folio)_ref_(?:sub|dec)|put_page|folio_put"),
}
_UP = {
    MAPCOUNT: re.compile(r"add_\w*rmap|dup_\w*rmap"),
    REFCOUNT: re.compile(r"(?:page|folio)_ref_(?:add|inc)|get_page|folio_get"),
}
_DOWN[ENTIRE], _UP[ENTIRE] = _DOWN[MAPCOUNT], _UP[MAPCOUNT]
_BY_ONE = re.compile(r"_ref_(?:inc|dec)")
"""What adds or subtracts a number may have added none: folio_ref_add(folio, nr_pages - 1)."""


def changed_unseen(writes: Sequence[NamedWrite]) -> tuple[NamedWrite, str] | None:
    """Return the first store that shows that a counter had changed before it, and the counter's
    name; None when each change has its store."""
    for one in writes:
        if one.write.after_stop or one.write.slot is not None:
            continue
        for counter in (MAPCOUNT, ENTIRE, REFCOUNT):
            if _is_odd(one, counter):
                return one, counter
    return None


def _is_odd(one: NamedWrite, counter: str) -> bool:
    change = next((each for each in one.write.changes if each.name == counter), None)
    direction = _direction(one, counter)
    by_one = bool(direction) and (
        counter != REFCOUNT or any(_BY_ONE.search(name) for name in _names(one))
    )
    if change is None:
        return counter in one.write.unchanged and by_one
    if change.before is None:
        return False
    if not change.stored:
        return True
    step = change.after - change.before
    return bool(direction) and (step * direction < 0 or (by_one and abs(step) > 1))


def _direction(one: NamedWrite, counter: str) -> int:
    """Return 1 for a store that only counts up, -1 for one that counts down, 0 when not known: by
    the functions at the instruction."""
    down, up = (any(which[counter].search(name) for name in _names(one)) for which in (_DOWN, _UP))
    return int(up) - int(down)


def _names(one: NamedWrite) -> list[str]:
    return [frame.function or "" for frame in one.frames]
