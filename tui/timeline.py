"""A page's timeline: what happened to it, one event after the other, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from textual.message import Message

from tui.feed.retained import Kept
from tui.feed.snapshot import Snapshot
from tui.feed.symbols import Names
from tui.format import (
    Piece,
    clock,
    count,
    detail,
    fit,
    gap,
    kind_of,
    mapcount_of,
    number_of,
    page,
    task,
)
from zaptrace.model.events import ABSENT, ABSENT_I32, KINDS, Kind, Records, about_page, zaps_before

MOST_EVENTS = 500
"""Events of a page that are shown: the newest."""

Line = list[Piece]


@dataclass(frozen=True, slots=True)
class PageName:
    """What a page is known by: its pfn, else the address of its struct page."""

    pfn: int | None
    page: int | None = None

    def __str__(self) -> str:
        return f"pfn {self.pfn:#x}" if self.pfn is not None else f"page {self.page or 0:#x}"


class StoryWanted(Message):
    """Somebody asks for a page's timeline."""

    def __init__(self, page: PageName) -> None:
        super().__init__()
        self.page = page


def page_of(record: Records) -> PageName | None:
    """Return the page that an array of one record is about, if it is about one."""
    pfn, address = number_of(record, "pfn"), number_of(record, "page")
    return None if pfn is None and address is None else PageName(pfn, address)


def timeline_lines(name: PageName, records: Records, names: Names) -> list[Line]:
    """Return the lines of a page's timeline."""
    return list(_lines(records, name, names))


def story_of(name: PageName, snapshot: Snapshot) -> Records:
    """Return the page's records and the zaps before them, out of all that is still known."""
    found = Kept()
    parts = [(snapshot.kept.serials, snapshot.kept.records)]
    for chunk in snapshot.chunks:
        parts.append((chunk.first + np.arange(len(chunk.records), dtype=np.int64), chunk.records))
    for serials, records in parts:
        mine = np.flatnonzero(_about(records, name))
        places = np.union1d(mine, zaps_before(records, mine))
        found = found.joined(serials[places], records[places])
    newest = found.records[-MOST_EVENTS:]
    return newest[np.argsort(newest["clock"], kind="stable")]


def _about(records: Records, name: PageName) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_]
    if name.pfn is None:
        mask = records["page"] == np.uint64(name.page or 0)
        mask &= records["pfn"] == ABSENT
        return mask
    return about_page(records, name.pfn)


def _lines(records: Records, name: PageName, names: Names) -> Iterator[Line]:
    previous: int | None = None
    freed: int | None = None
    for at in range(len(records)):
        record = records[at : at + 1]
        kind, now = kind_of(record), number_of(record, "clock")
        since = None if previous is None or now is None else now - previous
        yield _event_line(record, since)
        yield from _counter_lines(record, name, freed)
        yield from _stack_lines(record, names)
        if kind in (Kind.PAGE_FREE, Kind.BAD_PAGE) and freed is None:
            freed = now
        elif kind is Kind.RMAP_REMOVE:
            freed = None
        previous = now if now is not None else previous


def _event_line(record: Records, since: int | None) -> Line:
    kind = kind_of(record)
    distance = "" if since is None else gap(since)
    where = detail(record, Names()) if kind is Kind.ZAP else page(record)
    return [
        (fit(clock(number_of(record, "clock")), 12, right=True), "key"),
        (fit(distance, 16, right=True) + "  ", "dim"),
        (f"{KINDS[kind].mark} {fit(kind.name.lower(), 11)} ", KINDS[kind].style),
        (fit(task(record), 20) + " ", ""),
        (f"cpu {count(number_of(record, 'cpu', 2**32 - 1))}  ", "dim"),
        (where, ""),
    ]


_INDENT = " " * 32


def _counter_lines(record: Records, name: PageName, freed: int | None) -> Iterator[Line]:
    """Counters before and after, and what is wrong with them."""
    kind, now = kind_of(record), number_of(record, "clock")
    mapcount, refcount = mapcount_of(record), number_of(record, "refcount", ABSENT_I32)
    if kind in (Kind.ZAP, Kind.ZAP_ENTER, Kind.LOST):
        return
    said: Line = [(_INDENT, "")]
    if kind is Kind.RMAP_REMOVE:
        said.append((_before_and_after(record, name, mapcount), ""))
    else:
        said.append((f"mapcount {count(mapcount)}", ""))
    if refcount is not None:
        said.append((f", refcount {refcount}", ""))
    yield said
    if kind is Kind.RMAP_REMOVE and freed is not None and now is not None and now > freed:
        late = f"✖ too late: {gap(now - freed)} after the page was freed"
        yield [(_INDENT, ""), (late, "bad")]
    elif kind is Kind.RMAP_REMOVE and mapcount is not None and mapcount < 1:
        yield [(_INDENT, ""), ("✖ nothing was mapped any more", "bad")]
    elif kind in (Kind.PAGE_FREE, Kind.BAD_PAGE) and mapcount not in (None, 0):
        yield [(_INDENT, ""), ("✖ freed while still mapped", "bad")]


def _before_and_after(record: Records, name: PageName, mapcount: int | None) -> str:
    first, nr = number_of(record, "pfn"), int(record["nr"][0])
    if mapcount is None:
        return "mapcount not recorded"
    if nr > 1 and first != name.pfn:
        return f"one of {nr} pages from {page(record)}; the first: mapcount {mapcount}"
    return f"mapcount {mapcount} before, {mapcount - 1} after"


def _stack_lines(record: Records, names: Names) -> Iterator[Line]:
    kind = kind_of(record)
    reason = detail(record, names) if kind in (Kind.BAD_PAGE, Kind.BAD_PTE) else ""
    if reason:
        yield [(_INDENT, ""), (reason, "bad")]
    caller, stack = number_of(record, "caller"), names.stack(int(record["stack"][0]))
    if caller is not None and caller not in stack[:1]:
        stack = (caller, *stack)
    for depth, address in enumerate(stack):
        arrow = "called from" if not depth else "           "
        yield [(_INDENT, ""), (f"{arrow} {names.symbol(address)}", "dim")]
