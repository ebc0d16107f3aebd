"""Stories: everything that is known of one page around the moment something went wrong.

A page frame is used again and again, and so are pids.  A story is therefore
cut: it begins with the gather of zaps that the freeing thread was in, and it ends
where that thread begins its next zap.  Of what came before only the rmap
removals of the same life of the page are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zaptrace.explain.event_view import Moment
from zaptrace.life.changed_words import Changed
from zaptrace.life.freed_mapped import FreedMapped
from zaptrace.life.lost_tables import LostTable
from zaptrace.life.planted import Planted
from zaptrace.model.findings import Finding
from zaptrace.model.splats import Splat


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of one page; absent is None or empty.

    Attributes:
        pid, comm: the thread that freed the page, or touched it last.
        zap: the zap that the page went in: that of its removal, of its address, or the only
            one; otherwise the last that this thread entered before.
        gather: the zaps of which one is that; empty when it is known which.
        freed_in: the zap before the free, where the page is known to lie outside of it: a part
            of a large folio is freed with the last reference to any of them.
        removed: the rmap removal of the page in that zap, before it was freed.
        removed_again: the next one in that zap, before it was freed.
        removals: every recorded removal of the page in this life, by whomever, before it was
            freed, found or reported.
        earlier: the last rmap removal of the page from the same mm before that gather.
        earlier_zap: the zap that it was in.
        freed: the page reaches the allocator with a counter that is not -1.
        bad: bad_page() refuses it.
        folio: bad_page() refuses its large folio for a counter of that, in the same free.
        below_zero: its rmap was removed though it counted no mapping, and nothing else is known
            to be wrong.
        bad_pte: print_bad_pte() reports it, in the same zap.
        removed_late: the rmap removal of the page in that zap, after it was freed; what is
            recorded of it agrees with that (see `late`).
        removed_elsewhere: its rmap was removed after that by another task, or by a
            removal of the same thread that is not known to be that zap's.
        went_on: the thread is known to have left that zap.
        stopped: the guest was stopped when it reported this page, or its folio: the audit is of
            that moment.
        folio_state: the splat "Bad page state" on its large folio, in the same free.
        state, map: the splats "Bad page state" and "Bad page map" on it.
        report: the first splat on it of any other kind.
        finding: what the audit says of it, in a dump of the moment that the story is about.
        rss: of an mm, not of a page: the findings that say that its counters are wrong.
        rss_splats: "Bad rss-counter state", when an mm was freed.
        counters: of an mm or of a pool of huge pages: the findings that say that what it counts
            is not what is there.
        freed_mapped: by the recorded stores it was freed while a PTE mapped it, and nothing else
            says that it was wrong.
        changed: by them a member of its struct page was changed by no store, and nothing else
            says that it was wrong.
        lost_table: by them it is a page table that was never freed.
        planted: by them a member of its struct page held what the kernel died of.
    """

    pfn: int | None
    pid: int | None = None
    comm: str | None = None
    zap: Moment | None = None
    gather: tuple[Moment, ...] = ()
    freed_in: Moment | None = None
    removed: Moment | None = None
    removed_again: Moment | None = None
    removals: tuple[Moment, ...] = ()
    earlier: Moment | None = None
    earlier_zap: Moment | None = None
    freed: Moment | None = None
    bad: Moment | None = None
    folio: Moment | None = None
    below_zero: Moment | None = None
    bad_pte: Moment | None = None
    removed_late: Moment | None = None
    removed_elsewhere: bool = False
    went_on: bool = False
    stopped: bool = False
    folio_state: Splat | None = None
    state: Splat | None = None
    map: Splat | None = None
    report: Splat | None = None
    finding: Finding | None = None
    rss: tuple[Finding, ...] = ()
    rss_splats: tuple[Splat, ...] = ()
    counters: tuple[Finding, ...] = ()
    freed_mapped: FreedMapped | None = None
    lost_table: LostTable | None = None
    changed: Changed | None = None
    planted: Planted | None = None

    def only(self, parts: Sequence[str]) -> Story:
        """Return the same story with less evidence (`evidence.PARTS`)."""
        story = self
        if "capture" not in parts:
            story = Story(self.pfn, self.pid, self.comm, stopped=self.stopped)
            story = replace(story, state=self.state, map=self.map, report=self.report)
            story = replace(story, folio_state=self.folio_state)
            story = replace(story, finding=self.finding, rss=self.rss, rss_splats=self.rss_splats)
            story = replace(story, counters=self.counters, freed_mapped=self.freed_mapped)
            story = replace(story, lost_table=self.lost_table, changed=self.changed)
            story = replace(story, planted=self.planted)
        if "splat" not in parts:
            story = replace(story, state=None, map=None, report=None, rss_splats=())
            story = replace(story, folio_state=None)
        if "life" not in parts:
            story = replace(story, freed_mapped=None, lost_table=None, changed=None, planted=None)
        return story if "vmcore" in parts else replace(story, finding=None, rss=(), counters=())

    @property
    def fault(self) -> Moment | None:
        """The moment that the story turns on."""
        return self.freed or self.bad

    @property
    def witnesses(self) -> tuple[Moment | Splat, ...]:
        """The events and splats that say that the page was wrong."""
        pieces = (self.freed, self.bad, self.bad_pte, self.below_zero)
        printed = (self.state, self.map, self.report)
        return tuple(one for one in (*pieces, *printed) if one)

    @property
    def refused(self) -> Moment | None:
        """The event with the stack on which bad_page() refused the page, or its folio."""
        return self.bad or self.folio

    @property
    def folio_page(self) -> int | None:
        """The page that bad_page() was given for a counter of the large folio."""
        about = self.folio or self.folio_state
        return about.pfn if about else None

    @property
    def raw_mapcount(self) -> int | None:
        """`_mapcount` as stored when the page was freed."""
        for one in (self.freed, self.bad):
            if one and one.raw_mapcount is not None:
                return one.raw_mapcount
        if self.state and self.state.mapcount is not None:
            return self.state.mapcount - 1
        return None

    @property
    def refcount(self) -> int | None:
        """`_refcount` when the page was freed."""
        sources = (self.freed, self.bad, self.state)
        return next((one.refcount for one in sources if one and one.refcount is not None), None)

    @property
    def reason(self) -> str | None:
        """Why bad_page() refused the page."""
        sources = (self.bad, self.state, self.folio, self.folio_state)
        return next((one.reason for one in sources if one and one.reason), None)
