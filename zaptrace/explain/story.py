"""Stories: everything that is known of one page around the moment something went wrong.

A page frame is used again and again, and so are pids.  A story is therefore
cut: it begins with the zap that the freeing thread was in, and it ends where
that thread goes on to its next zap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from zaptrace.explain.evidence import Evidence
from zaptrace.explain.faults import Fault, fault_places, faults
from zaptrace.explain.moments import Moment, moment, of_page, of_thread
from zaptrace.model.events import Events, Kind
from zaptrace.model.findings import AuditResult, Finding, FindingClass
from zaptrace.model.splats import Splat

MOST_STORIES = 16
"""Stories that are told; all the pages of one bug have the same."""


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of one page; absent is None or empty.

    Attributes:
        pid, comm: the thread that freed the page, or touched it last.
        zap: the last zap_pte_range that this thread entered before.
        removed: the rmap removal of the page in that zap, before it was freed.
        freed: the page reaches the allocator with a counter that is not -1.
        bad: bad_page() refuses it.
        bad_pte: print_bad_pte() reports it, in the same zap.
        removed_late: the rmap removal of the page in that zap, after it was freed.
        went_on: the thread is known to have left that zap.
        state, map: the splats "Bad page state" and "Bad page map" on it.
        finding: what the audit says of it.
    """

    pfn: int | None
    pid: int | None = None
    comm: str | None = None
    zap: Moment | None = None
    removed: Moment | None = None
    freed: Moment | None = None
    bad: Moment | None = None
    bad_pte: Moment | None = None
    removed_late: Moment | None = None
    went_on: bool = False
    state: Splat | None = None
    map: Splat | None = None
    finding: Finding | None = None

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


def stories(evidence: Evidence) -> list[Story]:
    """Every page that has a story, the best known first: by events, else splats, else audit."""
    told = _from_events(evidence.events) or _from_splats(evidence.splats)
    return [_join(story, evidence) for story in told] or _from_audit(evidence.audit)


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

    def inside(kind: Kind, begin: int, stop: int) -> Moment | None:
        here = mine[begin:stop] & page[begin:stop] & (records["kind"][begin:stop] == kind)
        places = np.flatnonzero(here)
        return moment(events, begin + int(places[0])) if len(places) else None

    return Story(
        pfn=first.pfn,
        pid=first.pid,
        comm=first.comm,
        zap=moment(events, start) if after else None,
        removed=inside(Kind.RMAP_REMOVE, start, first.at),
        freed=fault.freed,
        bad=fault.bad,
        bad_pte=fault.bad_pte or inside(Kind.BAD_PTE, first.at, end),
        removed_late=inside(Kind.RMAP_REMOVE, first.at, end),
        went_on=after < len(zaps),
    )


def _from_splats(splats: Sequence[Splat]) -> list[Story]:
    """A story for each page that the console complains of, in the console's order."""
    told: dict[int, Story] = {}
    for splat in splats:
        if splat.kind in ("bad_page_state", "bad_page_map") and splat.pfn is not None:
            who = splat.comm or splat.process
            told.setdefault(splat.pfn, Story(splat.pfn, splat.pid, who))
    return list(told.values())[:MOST_STORIES]


def _from_audit(audit: AuditResult | None) -> list[Story]:
    """A story for each page that the audit found, with its first owner."""
    told = []
    for finding in audit.findings if audit else ():
        if finding.cls not in (FindingClass.IN_FLIGHT, FindingClass.RSS_MISMATCH):
            owner = next(iter(finding.mappings), None)
            who = (owner.pid, owner.comm) if owner else (None, None)
            told.append(Story(finding.pfn, *who, finding=finding))
    return told[:MOST_STORIES]


def _join(story: Story, evidence: Evidence) -> Story:
    """Add what console and audit say of the page."""
    if story.pfn is None:
        return story
    findings = evidence.audit.findings if evidence.audit else ()
    return replace(
        story,
        state=_first(evidence.splats, "bad_page_state", story),
        map=_first(evidence.splats, "bad_page_map", story),
        finding=next((one for one in findings if one.pfn == story.pfn), None),
    )


def _first(splats: Sequence[Splat], kind: str, story: Story) -> Splat | None:
    """The first splat on the page by the story's own thread."""
    about = (splat for splat in splats if splat.kind == kind and splat.pfn == story.pfn)
    mine = (one for one in about if one.pid == story.pid or None in (one.pid, story.pid))
    return next(mine, None)
