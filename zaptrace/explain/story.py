"""Stories: everything that is known of one page around the moment something went wrong.

A page frame is used again and again, and so are pids.  A story is therefore
cut: it begins with the zap that the freeing thread was in, and it ends where
that thread goes on to its next zap.  Of what came before only one thing is
kept: the last removal of the same page from the same mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from zaptrace.explain import late
from zaptrace.explain.evidence import Evidence
from zaptrace.explain.faults import Fault, fault_places, faults
from zaptrace.explain.moments import Moment, moment, of_page, of_pfn, of_thread
from zaptrace.model.events import Events, Kind
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.model.splats import Splat

MOST_STORIES = 16
"""Stories that are told; all the pages of one bug have the same."""
_OF_ALLOCATOR_AND_ZAP = ("bad_page_state", "bad_page_map")


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of one page; absent is None or empty.

    Attributes:
        pid, comm: the thread that freed the page, or touched it last.
        zap: the last zap_pte_range that this thread entered before.
        removed: the rmap removal of the page in that zap, before it was freed.
        removed_again: the next one in that zap, before it was freed.
        earlier: the last rmap removal of the page from the same mm in an earlier zap.
        earlier_zap: the zap that it was in.
        freed: the page reaches the allocator with a counter that is not -1.
        bad: bad_page() refuses it.
        bad_pte: print_bad_pte() reports it, in the same zap.
        removed_late: the rmap removal of the page in that zap, after it was freed; what is
            recorded of it agrees with that (see `late`).
        removed_elsewhere: its rmap was removed after that by somebody else, or by a
            removal of the same thread that is not known to be that zap's.
        went_on: the thread is known to have left that zap.
        state, map: the splats "Bad page state" and "Bad page map" on it.
        report: the first splat on it of any other kind.
        finding: what the audit says of it.
        rss: of an mm, not of a page: the findings that say that its counters are wrong.
        rss_splats: "Bad rss-counter state", when an mm was freed.
    """

    pfn: int | None
    pid: int | None = None
    comm: str | None = None
    zap: Moment | None = None
    removed: Moment | None = None
    removed_again: Moment | None = None
    earlier: Moment | None = None
    earlier_zap: Moment | None = None
    freed: Moment | None = None
    bad: Moment | None = None
    bad_pte: Moment | None = None
    removed_late: Moment | None = None
    removed_elsewhere: bool = False
    went_on: bool = False
    state: Splat | None = None
    map: Splat | None = None
    report: Splat | None = None
    finding: Finding | None = None
    rss: tuple[Finding, ...] = ()
    rss_splats: tuple[Splat, ...] = ()

    def only(self, parts: Sequence[str]) -> Story:
        """The same story with less evidence (`evidence.PARTS`)."""
        story = self
        if "capture" not in parts:
            story = Story(self.pfn, self.pid, self.comm, state=self.state, map=self.map)
            story = replace(story, report=self.report, finding=self.finding)
            story = replace(story, rss=self.rss, rss_splats=self.rss_splats)
        if "splat" not in parts:
            story = replace(story, state=None, map=None, report=None, rss_splats=())
        return story if "vmcore" in parts else replace(story, finding=None, rss=())

    @property
    def fault(self) -> Moment | None:
        """The moment that the story turns on."""
        return self.freed or self.bad

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
        sources = (self.bad, self.state)
        return next((one.reason for one in sources if one and one.reason), None)


def stories(evidence: Evidence) -> list[list[Story]]:
    """Every story, the best known first: those by events, by splats, by the audit.

    A page is told of once.  That the counters of an mm are wrong follows from most
    faults of its pages: it is a story where no page has one.
    """
    told: list[list[Story]] = []
    known: set[int | None] = set()
    for tier in (_from_events(evidence.events), _from_splats(evidence.splats)):
        told.append([_join(story, evidence) for story in tier if story.pfn not in known])
        known |= {story.pfn for story in tier if story.pfn is not None}
    found = [story for story in _from_audit(evidence) if story.pfn not in known]
    told.append([_join(story, evidence) for story in found])
    if not any(told):
        told.append(_of_mms(evidence))
    return told


def pages_at_fault(evidence: Evidence) -> int:
    """How many page frames were wrong, by events, else by splats."""
    if evidence.events:
        pfns = evidence.events.records["pfn"][fault_places(evidence.events)]
        if len(pfns):
            return len(np.unique(pfns))
    return len({splat.pfn for splat in evidence.splats if splat.kind == "bad_page_state"})


def _from_events(events: Events | None) -> list[Story]:
    if events is None:
        return []
    return [_tell(events, fault) for fault in faults(events)[:MOST_STORIES]]


def _tell(events: Events, fault: Fault) -> Story:
    """Cut the events of one page to the zap in which it went wrong."""
    first, records = fault.first, events.records
    mine, page = of_thread(records, first.at), of_page(records, first.at)
    zaps = np.flatnonzero(mine & (records["kind"] == Kind.ZAP))
    after = int(np.searchsorted(zaps, first.at))
    start = int(zaps[after - 1]) if after else first.at
    end = int(zaps[after]) if after < len(zaps) else len(records)

    def inside(kind: Kind, begin: int, stop: int) -> list[Moment]:
        here = mine[begin:stop] & page[begin:stop] & (records["kind"][begin:stop] == kind)
        return [moment(events, begin + int(at)) for at in np.flatnonzero(here)[:2]]

    zap = moment(events, start) if after else None
    removals = np.flatnonzero(page & (records["kind"] == Kind.RMAP_REMOVE))
    removed = [one for one in inside(Kind.RMAP_REMOVE, start, first.at) if _same_life(one, first)]
    earlier = _last_removal(events, removals[removals < start], zap.mm if zap else None)
    if earlier and not _same_life(earlier, first):
        earlier = None
    since = removals[removals > first.at]
    removed_late = late.removal(events, fault, zap, since[mine[since] & (since < end)])
    elsewhere = set(since[~mine[since] | (since < end)].tolist())
    return Story(
        pfn=first.pfn,
        pid=first.pid,
        comm=first.comm,
        zap=zap,
        removed=next(iter(removed), None),
        removed_again=next(iter(removed[1:]), None),
        earlier=earlier,
        earlier_zap=_zap_of(events, earlier),
        freed=fault.freed,
        bad=fault.bad,
        bad_pte=fault.bad_pte or next(iter(inside(Kind.BAD_PTE, start, end)), None),
        removed_late=removed_late,
        removed_elsewhere=bool(elsewhere - {removed_late.at if removed_late else None}),
        went_on=after < len(zaps) or late.gave_way(events, first, len(records)),
    )


def _same_life(removal: Moment, fault: Moment) -> bool:
    """A removal that left no mapping is of an earlier life of a page that is counted again."""
    if removal.raw_mapcount is None or fault.raw_mapcount is None or fault.raw_mapcount < 0:
        return True
    return removal.raw_mapcount > 0


def _last_removal(events: Events, removals: npt.NDArray[np.intp], mm: int | None) -> Moment | None:
    """The last of some rmap removals that was from one mm."""
    if mm is None:
        return None
    mine = removals[events.records["mm"][removals] == mm]
    return moment(events, int(mine[-1])) if len(mine) else None


def _zap_of(events: Events, one: Moment | None) -> Moment | None:
    """The zap that an event lies in, or comes after: the last that its thread began."""
    if one is None:
        return None
    records = events.records
    zaps = np.flatnonzero(of_thread(records, one.at) & (records["kind"] == Kind.ZAP))
    before = zaps[zaps < one.at]
    return moment(events, int(before[-1])) if len(before) else None


def _from_splats(splats: Sequence[Splat]) -> list[Story]:
    """A story for each page that the console complains of, in the console's order."""
    told: dict[int, Story] = {}
    for splat in splats:
        if splat.pfn is not None:
            who = splat.comm or splat.process
            told.setdefault(splat.pfn, Story(splat.pfn, splat.pid, who))
    return list(told.values())[:MOST_STORIES]


def _from_audit(evidence: Evidence) -> list[Story]:
    """A story for each page that the audit found, with its first owner."""
    told = []
    for finding in evidence.audit.findings if evidence.audit else ():
        if finding.cls not in (FindingClass.IN_FLIGHT, FindingClass.RSS_MISMATCH):
            told.append(finding)
    return [_found(finding, evidence.events) for finding in told[:MOST_STORIES]]


def _found(finding: Finding, events: Events | None) -> Story:
    """A page that only the audit complains of, with the last removal of an owner's mapping."""
    owner = next(iter(finding.mappings), None)
    pid, comm = (owner.pid, owner.comm) if owner else (None, None)
    story = Story(finding.pfn, pid, comm, finding=finding)
    if events is None or finding.pfn is None:
        return story
    records = events.records
    about = of_pfn(records, finding.pfn) & (records["kind"] == Kind.RMAP_REMOVE)
    removals = np.flatnonzero(about)
    for one in finding.mappings:
        if removed := _last_removal(events, removals, one.mm):
            zap = _zap_of(events, removed)
            who = replace(story, pid=removed.pid, comm=removed.comm)
            return replace(who, earlier=removed, earlier_zap=zap)
    return story


def _of_mms(evidence: Evidence) -> list[Story]:
    """One story for all the mms whose counters are wrong."""
    findings = evidence.audit.findings if evidence.audit else ()
    rss = tuple(one for one in findings if one.cls is FindingClass.RSS_MISMATCH)
    splats = tuple(splat for splat in evidence.splats if splat.kind == "bad_rss_counter")
    owner = next((owner for one in rss for owner in one.mappings), None)
    pid = next((splat.pid for splat in splats if splat.pid), owner.pid if owner else None)
    comm = next((splat.comm for splat in splats if splat.comm), owner.comm if owner else None)
    return [Story(None, pid, comm, rss=rss, rss_splats=splats)] if rss or splats else []


def _join(story: Story, evidence: Evidence) -> Story:
    """Add what console and audit say of the page."""
    if story.pfn is None:
        return story
    findings = evidence.audit.findings if evidence.audit else ()
    state = _first(evidence.splats, "bad_page_state", story)
    # Of several bad PTEs the one that follows the refusal, if one does.
    behind = [at + 1 for at, splat in enumerate(evidence.splats) if splat is state]
    follows = _first(evidence.splats[behind[0] :], "bad_page_map", story) if behind else None
    others = (splat for splat in evidence.splats if splat.kind not in _OF_ALLOCATOR_AND_ZAP)
    return replace(
        story,
        state=state,
        map=follows or _first(evidence.splats, "bad_page_map", story),
        report=next((splat for splat in others if splat.pfn == story.pfn), None),
        finding=next((one for one in findings if one.pfn == story.pfn), None),
    )


def _first(splats: Sequence[Splat], kind: str, story: Story) -> Splat | None:
    """The first splat on the page by the story's own thread."""
    about = (splat for splat in splats if splat.kind == kind and splat.pfn == story.pfn)
    mine = (one for one in about if one.pid == story.pid or None in (one.pid, story.pid))
    return next(mine, None)
