"""Events by thread and by page: a numpy view for questions, and one record as plain data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zaptrace.model.events import (
    ABSENT,
    ABSENT_I32,
    NO_CPU,
    NO_ORDER,
    Events,
    Kind,
    Origin,
    Records,
)

Mask = npt.NDArray[np.bool_]

PAGE_MAPCOUNT_RESERVE = -128
"""Raw values below are page types, not mapcounts (include/linux/page-flags.h; since 6.10
types fill the top byte, which is below as well)."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One event; what it does not have is None.

    Attributes:
        at: its place in the order of all events.
        time_ns: boot clock.
        stack: return addresses, innermost first.
    """

    at: int
    kind: Kind
    time_ns: int | None
    cpu: int | None
    pid: int | None
    tgid: int | None
    comm: str | None
    page: int | None
    pfn: int | None
    mm: int | None
    addr: int | None
    end: int | None
    site: int
    caller: int | None
    raw_mapcount: int | None
    refcount: int | None
    order: int | None
    reason: str | None
    stack: tuple[int, ...]
    origin: Origin

    @property
    def counted(self) -> bool:
        """Whether the page's counter said that it was mapped."""
        return self.raw_mapcount is not None and self.raw_mapcount >= 0


def first_bad_table(events: Events | None) -> Moment | None:
    """Return the first time that an entry above the PTEs was cleared as bad."""
    if events is None:
        return None
    found = np.flatnonzero(events.records["kind"] == Kind.BAD_TABLE)
    return moment(events, int(found[0])) if len(found) else None


def moment(events: Events, at: int) -> Moment:
    """Return the event at one place of the order."""
    # All fields at once: one by one, numpy takes twice as long.
    record = dict(zip(events.records.dtype.names or (), events.records[at].item(), strict=True))

    def known(name: str, absent: int = ABSENT) -> int | None:
        value: int = record[name]
        return None if value == absent else value

    return Moment(
        at=at,
        kind=Kind(record["kind"]),
        time_ns=known("clock"),
        cpu=known("cpu", NO_CPU),
        pid=known("pid", -1),
        tgid=known("tgid", -1),
        comm=record["comm"].decode("utf-8", "replace") or None,
        page=known("page"),
        pfn=known("pfn"),
        mm=known("mm"),
        addr=known("addr"),
        end=known("end"),
        site=record["site"],
        caller=known("caller"),
        raw_mapcount=known("raw_mapcount", ABSENT_I32),
        refcount=known("refcount", ABSENT_I32),
        order=known("order", NO_ORDER),
        reason=events.strings.get(record["reason"]),
        stack=events.stacks.get(record["stack"], ()),
        origin=Origin.REGISTERS if record["origin"] == Origin.REGISTERS else Origin.PROBE,
    )


def same_page(one: Moment, other: Moment | None) -> bool:
    """Return whether the counters of both events belong to one page: those of a range belong to its
    first page."""
    if other is None:
        return False
    if one.pfn is not None and other.pfn is not None:
        return one.pfn == other.pfn
    return one.page is not None and one.page == other.page


def of_thread(records: Records, at: int) -> Mask:
    """Return which events come from the thread of one event; none when it is not known.

    A pid alone is not a thread: pids are used again, and each CPU's idle task
    has pid 0.  The name changes only in exec and prctl, never inside a zap.
    """
    who = records[at]
    if who["pid"] == -1:
        return np.zeros(len(records), bool)
    mask: Mask = records["pid"] == who["pid"]
    if who["pid"] == 0:
        mask = mask & (records["cpu"] == who["cpu"])
    for name, unknown in (("tgid", -1), ("comm", b"")):
        if who[name] != unknown:
            mask = mask & ((records[name] == who[name]) | (records[name] == unknown))
    return mask


def of_page(records: Records, at: int) -> Mask:
    """Return which events are about the page of one event: by pfn, or by struct page where that is
    all.

    An event may be about several pages, `nr` from `page` on.
    """
    who = records[at]
    if who["pfn"] == ABSENT:
        mask: Mask = (records["page"] == who["page"]) & (records["page"] != ABSENT)
        return mask
    return of_pfn(records, int(who["pfn"]))


def of_pfn(records: Records, pfn: int) -> Mask:
    """Return which events are about one page, alone or in a range."""
    first, wanted = records["pfn"], np.uint64(pfn)
    reach = np.maximum(records["nr"], 1)
    # Only where first <= pfn is the difference a distance; elsewhere it wraps.
    near: Mask = (first != ABSENT) & (first <= wanted) & (wanted - first < reach)
    return near
