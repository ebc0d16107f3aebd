"""Counters that changed and no recorded store did it: seen at the next store to them.

Who counts always changes a counter, and in one direction; a page's own mapcount by one.  When a
removal of the rmap leaves the counter as the last record had it, or higher, or lower by several, it
was another before: bits of memory flipped, a device wrote there, or a store was not recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

from zaptrace.life.counting import counts_by_one, direction
from zaptrace.life.named_life import NamedWrite
from zaptrace.life.page_life import ENTIRE
from zaptrace.life.page_members import MAPCOUNT, REFCOUNT


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
    names = [frame.function or "" for frame in one.frames]
    way, by_one = direction(names, counter), counts_by_one(names, counter)
    if change is None:
        return counter in one.write.unchanged and by_one
    if change.before is None:
        return False
    if not change.stored:
        return True
    step = change.after - change.before
    return bool(way) and (step * way < 0 or (by_one and abs(step) > 1))
