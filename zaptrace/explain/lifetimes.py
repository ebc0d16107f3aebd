"""Lifetimes of mm_structs: an address is one mm only from exec or fork to exit.

mm_structs come from a slab cache: the next process often gets the address of the last one.
No event records fork, exec and exit.  But events show whose mm it was: a process has one
mm at a time, and only its own threads zap it (process_madvise() and the OOM reaper apart,
which only make us more careful).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zaptrace.explain.event_view import Moment
from zaptrace.model.events import ABSENT, Events, Kind
from zaptrace.model.findings import Owner

Mask = npt.NDArray[np.bool_]


def same_process(one: Moment, other: Moment) -> bool:
    """Return whether two events are known to be of one process."""
    if None not in (one.tgid, other.tgid):
        return one.tgid == other.tgid
    return one.pid is not None and one.pid == other.pid


def same_mm(events: Events, one: Moment, other: Moment) -> bool:
    """Return whether two events are known to be about one mm, and not two of one address.

    Each of them is a zap, or was made inside a zap, of the process whose mm it is.
    """
    if one.mm is None or one.mm != other.mm or not same_process(one, other):
        return False
    first, last = sorted((one.at, other.at))
    return not _ended_between(events, one, first, last)


def _ended_between(events: Events, owner: Moment, first: int, last: int) -> bool:
    """Return whether another process zapped an mm at that address in between, or this one zapped
    another mm."""
    between = events.records[first + 1 : last]
    zaps = between[(between["kind"] == Kind.ZAP) & (between["mm"] != ABSENT)]
    own = zaps["pid"] == owner.pid
    if owner.tgid is not None:
        own = (zaps["tgid"] == owner.tgid) | (own & (zaps["tgid"] == -1))
    there = zaps["mm"] == owner.mm
    return bool((there & ~own).any() or (own & ~there).any())


def is_owner(events: Events, one: Moment, owner: Owner) -> bool:
    """Return whether an event was about the mm that an audit found alive, and its owner's own.

    An mm that no task uses any longer is being torn down: it is the event's where the same
    thread was the last to zap it.
    """
    if one.mm is None or one.mm != owner.mm:
        return False
    if owner.pid is not None and owner.pid not in (one.tgid, one.pid):
        return False
    return not _ended_between(events, one, one.at, len(events.records))
