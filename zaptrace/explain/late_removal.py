"""The late removal: whether an rmap removal after a page's free was the freeing zap's own.

A page that bad_page() has refused is never used again.  One that was freed
unseen (a kernel without DEBUG_VM looks when the page leaves the CPU's list, if
then) is the first that the same CPU hands out: its next removal may be that of
another life, by copy-on-write, migration, reclaim or another zap.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zaptrace.explain.bad_pages import Fault
from zaptrace.explain.event_view import Moment, moment, of_page, of_thread, same_page
from zaptrace.model.events import Events, Kind, Origin

NOBODY = -1
"""The raw mapcount of a page that is not mapped, and of one that bad_page() has reset."""


def removal(
    events: Events, fault: Fault, zap: Moment | None, removals: npt.NDArray[np.intp]
) -> Moment | None:
    """Return the removal of the page that the zap made after it had freed it; None when none is
    that.

    Args:
        removals: places of those that the same thread made before its next zap.
    """
    for number, at in enumerate(removals.tolist()):
        one = moment(events, at)
        fits = _fits(one, fault.first, zap)
        if kept_by(fault.bad, one):
            if fits:
                return one
        elif number or zap is None or not fits or _lives_again(events, fault.first, one):
            return None
        else:
            return one
    return None


def kept_by(bad: Moment | None, removed: Moment) -> bool:
    """Return whether bad_page() had refused the page by then, so that no other task had it since
    its free."""
    return bad is not None and bad.at < removed.at


def _fits(one: Moment, fault: Moment, zap: Moment | None) -> bool:
    """Return whether it took a mapping of the zap's own mm, from the fault's count or a reset."""
    if zap is not None and None not in (zap.mm, one.mm) and zap.mm != one.mm:
        return False
    if not same_page(one, fault) or one.raw_mapcount is None or fault.raw_mapcount is None:
        return True
    return one.raw_mapcount <= fault.raw_mapcount


def _lives_again(events: Events, fault: Moment, removed: Moment) -> bool:
    """Return whether something between the free and the removal shows that the page was in use
    again."""
    if same_page(removed, fault) and (
        removed.raw_mapcount == NOBODY or (removed.refcount or 0) > 0
    ):
        return True  # removed by another zap before, or still referenced
    between = slice(fault.at + 1, removed.at)
    records = events.records[between]
    touched = of_page(events.records, fault.at)[between]
    # The zap itself may report the page that it has freed.
    own = of_thread(events.records, fault.at)[between] & (records["kind"] == Kind.BAD_PTE)
    moved = removed.cpu != fault.cpu
    return bool((touched & ~own).any()) or moved or was_scheduled_out(events, fault, removed.at)


def was_scheduled_out(events: Events, fault: Moment, until: int) -> bool:
    """Return whether another task ran on this CPU in between: none does inside a zap.

    A zap holds a spinlock, and what interrupts it has its pid.
    """
    if fault.cpu is None or fault.pid is None:
        return False
    begin = fault.at + 1
    later, mine = events.records[begin:until], of_thread(events.records, fault.at)[begin:until]
    others = (later["cpu"] == fault.cpu) & ~mine & (later["pid"] != -1)
    others &= (later["pid"] != fault.pid) & (later["origin"] == Origin.PROBE)
    return bool((others & (later["kind"] != Kind.LOST)).any())
