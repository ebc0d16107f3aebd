"""Faults: the events that say that a page was wrong, those of one page's free put together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zaptrace.explain.event_view import PAGE_MAPCOUNT_RESERVE, Moment, moment
from zaptrace.explain.gathers import Resolve
from zaptrace.model.events import Events, Kind
from zaptrace.model.splats import Frame
from zaptrace.triage.stacks import Way, read_stack

MOST_FAULTS = 4096
"""Faults that are looked at; a capture is hostile input and may hold nothing else."""


@dataclass(slots=True)
class Fault:
    """One page that was wrong, once.

    Attributes:
        freed: it reached the allocator with a counter other than -1.
        bad: bad_page() refused it.
        bad_pte: print_bad_pte() reported it, and nothing above was seen.
    """

    freed: Moment | None = None
    bad: Moment | None = None
    bad_pte: Moment | None = None

    @property
    def first(self) -> Moment:
        """The moment it began with."""
        found = self.freed or self.bad or self.bad_pte
        assert found is not None, "a fault is made of an event"
        return found


def fault_places(events: Events) -> npt.NDArray[np.intp]:
    """Places of the events at which a page was wrong."""
    records = events.records
    kind, raw = records["kind"], records["raw_mapcount"]
    wrong = (raw >= PAGE_MAPCOUNT_RESERVE) & (raw != -1)
    # An absent refcount is negative; a page that is still referenced is not being freed.
    freed = (kind == Kind.PAGE_FREE) & wrong & (records["refcount"] <= 0)
    return np.flatnonzero(freed | (kind == Kind.BAD_PAGE) | (kind == Kind.BAD_PTE))


def faults(events: Events, resolve: Resolve) -> list[Fault]:
    """The faults in order, except that those which bad_page() has seen come first.

    A free and the bad_page() that the same thread calls for it are one fault, and so are a
    free and the bad_page() of whoever empties the CPU's list that the page was put on; a bad
    PTE is one only when nothing else was wrong with its page before.
    """
    found: list[Fault] = []
    latest: dict[tuple[int | None, int | None], Fault] = {}
    for at in fault_places(events)[:MOST_FAULTS]:
        one = moment(events, int(at))
        page = (one.pfn, one.page if one.pfn is None else None)
        before = latest.get(page)
        if one.kind is Kind.BAD_PAGE and before and _calls(before, one, resolve):
            before.bad = one
        elif not (one.kind is Kind.BAD_PTE and before):
            latest[page] = _fault(one)
            found.append(latest[page])
    found.sort(key=lambda fault: fault.bad is None)
    return found


def _fault(one: Moment) -> Fault:
    if one.kind is Kind.PAGE_FREE:
        return Fault(freed=one)
    return Fault(bad=one) if one.kind is Kind.BAD_PAGE else Fault(bad_pte=one)


def _calls(before: Fault, bad: Moment, resolve: Resolve) -> bool:
    freed = before.freed
    if freed is None or before.bad is not None:
        return False
    if freed.pid == bad.pid or None in (freed.pid, bad.pid):
        return True
    stack = (resolve(address) for address in bad.stack)
    return read_stack([Frame(site.symbol) for site in stack if site]).way is Way.DRAIN
