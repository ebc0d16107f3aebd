"""Faults: the events that say that a page was wrong, those of one page's free put together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zaptrace.explain.below_zero import removals_below_zero
from zaptrace.explain.event_view import PAGE_MAPCOUNT_RESERVE, Moment, moment
from zaptrace.explain.gathers import Resolve
from zaptrace.model.events import ABSENT, Events, Kind
from zaptrace.model.splats import Frame
from zaptrace.triage.stacks import Way, read_stack

MOST_FAULTS = 4096
"""Faults that are looked at; a capture is hostile input and may hold nothing else."""
LARGEST_FOLIO = 1 << 10
"""Pages of a folio of MAX_PAGE_ORDER, which is 10 nearly everywhere."""
FOLIO_MAPCOUNTS = (
    "large_mapcount",
    "entire_mapcount",
    "compound_mapcount",
    "nr_pages_mapped",
    "mm mapcount",
)
"""Counters of mappings of a large folio as a whole, as free_tail_page_prepare() names them.  They
and its pincount lie in its second page, which is what bad_page() is given for them."""


@dataclass(slots=True)
class Fault:
    """One page that was wrong, once.

    Attributes:
        freed: it reached the allocator with a counter other than -1.
        bad: bad_page() refused it.
        folio: bad_page() refused its large folio for a counter of that, in the same free.
        bad_pte: print_bad_pte() reported it, and nothing above was seen.
        below_zero: its rmap was removed though it counted no mapping, and nothing above was seen.
    """

    freed: Moment | None = None
    bad: Moment | None = None
    folio: Moment | None = None
    bad_pte: Moment | None = None
    below_zero: Moment | None = None

    @property
    def first(self) -> Moment:
        """The moment it began with."""
        found = self.freed or self.bad or self.bad_pte or self.below_zero
        assert found is not None, "a fault is made of an event"
        return found


def fault_places(events: Events) -> npt.NDArray[np.intp]:
    """Places of the events at which a page was wrong.

    vm_normal_page() reports PTEs that it takes for no page's (print_bad_pte(), mm/memory.c).
    """
    records = events.records
    kind, raw = records["kind"], records["raw_mapcount"]
    wrong = (raw >= PAGE_MAPCOUNT_RESERVE) & (raw != -1)
    # An absent refcount is negative; a page that is still referenced is not being freed.
    freed = (kind == Kind.PAGE_FREE) & wrong & (records["refcount"] <= 0)
    named = (records["pfn"] != ABSENT) | ~np.isin(records["page"], (0, ABSENT))
    return np.flatnonzero(freed | (kind == Kind.BAD_PAGE) | ((kind == Kind.BAD_PTE) & named))


def is_of_folio(reason: str | None) -> bool:
    """Return whether bad_page() refused a page for a counter of its large folio."""
    return any(name in (reason or "") for name in (*FOLIO_MAPCOUNTS, "pincount"))


def faults(events: Events, resolve: Resolve) -> list[Fault]:
    """Return the faults in order, except that those which bad_page() has seen come first.

    A free and the bad_page() that the same thread calls for it are one fault, and so are a
    free and the bad_page() of the task that empties the CPU's list with that page.  One for
    a counter of a large folio belongs to the page of that folio whose own counter is wrong.  A
    bad PTE, or a removal below zero, is a fault only when nothing else was wrong with its page.
    """
    found = _Found(events, resolve)
    for at in _looked_at(events):
        found.add(moment(events, at))
    return found.in_order()


def _looked_at(events: Events) -> list[int]:
    """Return the places that are looked at: of many those of bad_page() and of the frees it is
    called for.

    A page that is never refused may be reported once for each PTE that is zapped.
    """
    places = fault_places(events)
    if len(places) > MOST_FAULTS:
        kinds = events.records["kind"][places]
        order = np.argsort(
            np.select([kinds == Kind.BAD_PAGE, kinds == Kind.PAGE_FREE], [0, 1], 2), kind="stable"
        )
        places = np.sort(places[order[:MOST_FAULTS]])
    return [int(at) for at in places]


class _Found:
    """Puts the events of one page's free together, as they come."""

    def __init__(self, events: Events, resolve: Resolve) -> None:
        self._events, self._resolve = events, resolve
        self._found: list[Fault] = []
        self._latest: dict[tuple[int | None, int | None], Fault] = {}
        self._folios: dict[int | None, Fault] = {}  # by thread: refused for the folio's counter

    def add(self, one: Moment) -> None:
        """Take the next event that says that a page was wrong."""
        before = self._latest.get(_page(one))
        if one.kind is Kind.BAD_PTE:
            if before is None:
                self._begin(Fault(bad_pte=one))
        elif one.kind is Kind.PAGE_FREE:
            self._begin(Fault(freed=one))
        elif is_of_folio(one.reason):
            self._folio(one)
        elif self._is_of_the_same_folio(one):
            pass  # since 7.x its private is looked at as well: other members of it lie there
        else:
            if before and _calls(before, one, self._resolve):
                before.bad = one
            else:
                before = self._begin(Fault(bad=one))
            self._join(before, one)

    def in_order(self) -> list[Fault]:
        """Return all bad pages, in order."""
        pages = {_page(fault.first) for fault in self._found}
        for one in removals_below_zero(self._events, self._resolve):
            if _page(one) not in pages:
                pages.add(_page(one))
                self._begin(Fault(below_zero=one))
        self._found.sort(key=lambda fault: fault.bad is None and fault.folio is None)
        return self._found

    def _is_of_the_same_folio(self, bad: Moment) -> bool:
        """Return whether a folio's second page was refused for the folio's counter just before."""
        folio = self._folios.get(bad.pid)
        about = (folio.folio or folio.bad) if folio else None
        return about is not None and about.pfn == bad.pfn and _in_a_row(self._events, about, bad)

    def _begin(self, fault: Fault) -> Fault:
        self._latest[_page(fault.first)] = fault
        self._found.append(fault)
        return fault

    def _folio(self, bad: Moment) -> None:
        """Take a counter of a folio: of the head that is being freed, or of one not known yet."""
        head = None if bad.pfn is None else self._latest.get((bad.pfn - 1, None))
        if head and head.freed and not head.bad and not head.folio and _calls_folio(head, bad):
            head.folio = bad
        else:
            head = self._begin(Fault(bad=bad))
        self._folios[bad.pid] = head

    def _join(self, fault: Fault, bad: Moment) -> None:
        """Another page of the folio that the thread has just been refused is the one at fault."""
        folio = self._folios.get(bad.pid)
        about = (folio.folio or folio.bad) if folio else None
        if folio is None or about is None or not _of_one_free(self._events, about, bad):
            return
        fault.folio = about
        if folio in self._found and folio.bad is about:
            self._found.remove(folio)


def _page(one: Moment) -> tuple[int | None, int | None]:
    return one.pfn, one.page if one.pfn is None else None


def _calls_folio(head: Fault, bad: Moment) -> bool:
    """Return whether the thread that frees a head page is the one whose folio was refused."""
    freed = head.freed
    return freed is not None and None not in (freed.pid, bad.pid) and freed.pid == bad.pid


def _of_one_free(events: Events, folio: Moment, bad: Moment) -> bool:
    """Return whether two bad_page() calls of one thread report one folio, with no event of it in
    between."""
    if None in (folio.pfn, bad.pfn) or folio.pid is None or folio.pid != bad.pid:
        return False
    assert folio.pfn is not None and bad.pfn is not None
    if not folio.pfn - 1 <= bad.pfn < folio.pfn - 1 + LARGEST_FOLIO or bad.pfn == folio.pfn:
        return False
    return _in_a_row(events, folio, bad)


def _in_a_row(events: Events, one: Moment, other: Moment) -> bool:
    """Return whether a thread did nothing but be refused pages in between."""
    between = events.records[one.at + 1 : other.at]
    own = between[between["pid"] == one.pid]
    return bool((own["kind"] == Kind.BAD_PAGE).all())


def _calls(before: Fault, bad: Moment, resolve: Resolve) -> bool:
    freed = before.freed
    if freed is None or before.bad is not None:
        return False
    if freed.pid == bad.pid or None in (freed.pid, bad.pid):
        return True
    stack = (resolve(address) for address in bad.stack)
    return read_stack([Frame(site.symbol) for site in stack if site]).way is Way.DRAIN
