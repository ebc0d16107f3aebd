"""Collects the stories of a run: out of its events, its reports and its audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from zaptrace.explain import late_removal
from zaptrace.explain.bad_pages import (
    LARGEST_FOLIO,
    Fault,
    fault_places,
    faults,
    is_of_folio,
)
from zaptrace.explain.event_view import Moment, moment, of_page, of_pfn, of_thread, same_page
from zaptrace.explain.evidence import Evidence
from zaptrace.explain.gathers import Gather, Resolve, frees_elsewhere, gather_of
from zaptrace.explain.lifetimes import is_owner, same_mm
from zaptrace.explain.story import Story
from zaptrace.life.planted import Planted
from zaptrace.model.events import ABSENT, Events, Kind, Origin
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.model.splats import Splat
from zaptrace.splat.kinds import about_pages

MOST_STORIES = 64
"""Stories that are reported; all the pages of one bug have the same."""
MOST_REMOVALS = 32
"""Removals of a life that are reported."""
STATES = ("bad_page_state",)
"""Splats that say that a page was refused."""
_OF_ALLOCATOR_AND_ZAP = (*STATES, "bad_page_map")

COUNTERS = (
    FindingClass.LOCKED_VM_MISMATCH,
    FindingClass.HUGETLB_POOL_MISMATCH,
    FindingClass.MM_COUNTER_MISMATCH,
)
"""Findings about counters of an mm or a pool, other than rss."""


def stories(evidence: Evidence) -> list[list[Story]]:
    """Every story, the best known first: by events, by splats, by the audit, by pages' lives.

    Each page has one story.  That the counters of an mm are wrong follows from most
    faults of its pages: it is a story where no page has one.
    """
    tiers: list[list[Story]] = []
    known: set[int | None] = set()
    for tier in (_from_events(evidence), _from_splats(evidence)):
        tiers.append([_join(story, evidence) for story in tier if story.pfn not in known])
        known |= {page for story in tiers[-1] for page in (story.pfn, story.folio_page)} - {None}
    found = [story for story in _from_audit(evidence) if story.pfn not in known]
    tiers.append([_join(story, evidence) for story in found])
    known |= {story.pfn for story in found}
    tiers.append([story for story in _from_lives(evidence) if story.pfn not in known])
    if not any(tiers):
        tiers.append([*_of_mms(evidence), *_of_counters(evidence)])
    return tiers


def pages_at_fault(evidence: Evidence, chosen: Sequence[Story]) -> int:
    """Return how many page frames were wrong, by events, else by splats, and by the stories.

    A large folio's second page, which has the folio's counters, does not count beside the page
    of it that is wrong.
    """
    found = {splat.pfn for splat in evidence.splats if splat.kind in STATES}
    if evidence.events:
        pfns = evidence.events.records["pfn"][fault_places(evidence.events)]
        found = set(pfns.tolist()) or found
    own = {story.pfn for story in chosen if story.witnesses}
    return len((found | own) - ({story.folio_page for story in chosen} - own))


def page_of_the_stop(evidence: Evidence) -> int | None:
    """Return the page whose report the guest was stopped at; None when that is not known.

    A guest is stopped at the first bad_page().  A panic that follows from a report of a page
    belongs to the last such report.
    """
    if evidence.ended in ("panic", "oops"):
        bugs = [splat for splat in evidence.splats if splat.pfn is not None]
        return bugs[-1].pfn if bugs and bugs[-1].kind == "vm_bug_on" else None
    if evidence.ended != "bad_page":
        return None
    if evidence.events and isinstance(said := evidence.events.meta.get("stopped_at"), int):
        return said
    if evidence.events:
        bad = evidence.events.of_kind(Kind.BAD_PAGE)
        bad = bad[bad["pfn"] != ABSENT]
        if len(bad):
            at = np.argmax(bad["origin"] == Origin.REGISTERS)  # else the first
            return int(bad["pfn"][at])
    printed = (splat.pfn for splat in evidence.splats if splat.kind in STATES)
    return next(printed, None)


def _from_events(evidence: Evidence) -> list[Story]:
    events = evidence.events
    if events is None:
        return []
    found = faults(events, evidence.resolve)
    stop = page_of_the_stop(evidence)
    found.sort(key=lambda fault: not _is_of_page(fault, stop))  # stable
    return [_story_of(events, fault, evidence.resolve) for fault in found[:MOST_STORIES]]


def _is_of_page(fault: Fault, pfn: int | None) -> bool:
    """Return whether a fault is about one page, or about the large folio that holds its counter."""
    about = (fault.first, fault.folio) if fault.folio else (fault.first,)
    return pfn is not None and any(one.pfn == pfn for one in about)


def _story_of(events: Events, fault: Fault, resolve: Resolve) -> Story:
    """Cut the events of one page to the gather of zaps in which it went wrong."""
    first, records = fault.first, events.records
    mine, page = of_thread(records, first.at), of_page(records, first.at)
    zaps = np.flatnonzero(mine & (records["kind"] == Kind.ZAP))
    after = int(np.searchsorted(zaps, first.at))
    moments = (fault.bad, fault.freed, fault.folio)
    stack = next((one.stack for one in moments if one and one.stack), ())
    gather = gather_of(events, zaps[:after], stack, resolve)
    last = gather.last if gather else None
    end = int(zaps[after]) if after < len(zaps) else len(records)

    removals = np.flatnonzero(page & (records["kind"] == Kind.RMAP_REMOVE))
    since = removals[removals > first.at]
    removed_late = late_removal.removal(events, fault, last, since[mine[since] & (since < end)])
    elsewhere = set(since[~mine[since] | (since < end)].tolist())
    if removed_late and last:
        gather = Gather((last,), last.at)  # the zap that removed it late is the one it went in
    start = last.at if last else first.at
    begin = gather.begin if gather else first.at
    # The removal that a story begins with is one of its own.
    until = first.at + (fault.below_zero is not None)
    before = removals[removals < until]
    own = before[mine[before] & (before >= begin)]
    life = _of_this_life(events, before, first, begin)
    zap, among, removed = _its_zap(gather, [moment(events, int(at)) for at in own])
    if not (removed or removed_late) and frees_elsewhere(stack, resolve):
        zap, among = None, ()  # a zap that the thread made before, of other pages
    earlier = _last_removal(events, before[before < begin], last)
    if earlier and earlier not in life:
        earlier = None
    bad_ptes = mine[start:end] & page[start:end] & (records["kind"][start:end] == Kind.BAD_PTE)
    bad_pte = next((moment(events, start + int(at)) for at in np.flatnonzero(bad_ptes)[:1]), None)
    return Story(
        pfn=first.pfn,
        pid=first.pid,
        comm=first.comm,
        zap=zap,
        gather=among,
        removed=next(iter(removed), None),
        removed_again=next(iter(removed[1:]), None),
        removals=tuple(life),
        earlier=earlier,
        earlier_zap=_zap_of(events, earlier),
        freed=fault.freed,
        bad=fault.bad,
        folio=fault.folio,
        below_zero=fault.below_zero,
        bad_pte=fault.bad_pte or bad_pte,
        removed_late=removed_late,
        removed_elsewhere=bool(elsewhere - {removed_late.at if removed_late else None}),
        went_on=after < len(zaps) or late_removal.was_scheduled_out(events, first, len(records)),
    )


def _its_zap(
    gather: Gather | None, removals: list[Moment]
) -> tuple[Moment | None, tuple[Moment, ...], list[Moment]]:
    """Return the zap that the page went in, those of which it is one, and its removals in it.

    It is that of the page's last removal; without one it may be any of the gather.
    """
    if gather is None:
        return None, (), []
    if not removals:
        return gather.last, gather.zaps if len(gather.zaps) > 1 else (), []
    zap = gather.around(removals[-1])
    return zap, (), [one for one in removals if zap is None or one.at > zap.at]


def _of_this_life(
    events: Events, removals: npt.NDArray[np.intp], fault: Moment, begin: int
) -> list[Moment]:
    """Return the removals of the page since it was last unmapped, and mapped again.

    One that left no mapping belongs to an earlier life when the page is counted again afterwards,
    unless the freeing thread made it in the gather that it freed the page with.
    """
    found: list[Moment] = []
    later = fault.raw_mapcount
    for at in removals[: -MOST_REMOVALS - 1 : -1].tolist():
        one = moment(events, at)
        raw = one.raw_mapcount if same_page(one, fault) else None
        own = at >= begin and one.pid == fault.pid
        if raw is not None and raw <= 0 and later is not None and later >= 0 and not own:
            break
        found.append(one)
        later = raw if raw is not None else later
    return found[::-1]


def _last_removal(
    events: Events, removals: npt.NDArray[np.intp], zap: Moment | None
) -> Moment | None:
    """Return the last of some rmap removals that was from the mm of a zap, by its own process."""
    if zap is None or zap.mm is None:
        return None
    same = removals[events.records["mm"][removals] == zap.mm]
    found = moment(events, int(same[-1])) if len(same) else None
    return found if found and same_mm(events, found, zap) else None


def _zap_of(events: Events, one: Moment | None) -> Moment | None:
    """Return the zap that an event lies in, or comes after: the last that its thread began."""
    if one is None:
        return None
    records = events.records
    zaps = np.flatnonzero(of_thread(records, one.at) & (records["kind"] == Kind.ZAP))
    before = zaps[zaps < one.at]
    return moment(events, int(before[-1])) if len(before) else None


def _from_splats(evidence: Evidence) -> list[Story]:
    """Return a story for each page that the console complains of; that of the stop comes first."""
    folios = {splat.pfn for splat in _folio_states(evidence.splats).values()}
    found: dict[int, Story] = {}
    for splat in evidence.splats:
        if splat.pfn is not None and splat.pfn not in folios:
            who = splat.comm or splat.process
            found.setdefault(splat.pfn, Story(splat.pfn, splat.pid, who))
    stop = page_of_the_stop(evidence)
    return sorted(found.values(), key=lambda one: stop is None or one.pfn != stop)[:MOST_STORIES]


def _folio_states(splats: Sequence[Splat]) -> dict[int, Splat]:
    """Page -> the report on its large folio that one thread's report on the page follows."""
    found: dict[int, Splat] = {}
    last: dict[tuple[int | None, str | None], Splat] = {}
    for splat in splats:
        if splat.kind not in STATES or splat.pfn is None or splat.pid is None:
            continue
        who = (splat.pid, splat.comm or splat.process)
        folio = last.pop(who, None)
        if is_of_folio(splat.reason):
            last[who] = splat
        elif folio and folio.pfn and 0 <= splat.pfn + 1 - folio.pfn < LARGEST_FOLIO:
            last[who] = folio
            if splat.pfn != folio.pfn:  # its private is looked at as well
                found[splat.pfn] = folio
    return found


def _from_audit(evidence: Evidence) -> list[Story]:
    """Return a story for each page that the audit found, with its first owner."""
    wrong = []
    for finding in evidence.audit.findings if evidence.audit else ():
        if finding.cls not in (FindingClass.IN_FLIGHT, FindingClass.RSS_MISMATCH, *COUNTERS):
            wrong.append(finding)
    return [_found(finding, evidence.events) for finding in wrong[:MOST_STORIES]]


def _found(finding: Finding, events: Events | None) -> Story:
    """Return a page that only the audit complains of, with the last removal of an owner's
    mapping."""
    owner = next(iter(finding.mappings), None)
    pid, comm = (owner.pid, owner.comm) if owner else (None, None)
    story = Story(finding.pfn, pid, comm, finding=finding)
    if events is None or finding.pfn is None:
        return story
    records = events.records
    about = of_pfn(records, finding.pfn) & (records["kind"] == Kind.RMAP_REMOVE)
    removals = np.flatnonzero(about)
    story = replace(story, removals=_until_the_dump(events, removals, finding))
    for one in finding.mappings:
        same = removals[records["mm"][removals] == (ABSENT if one.mm is None else one.mm)]
        removed = moment(events, int(same[-1])) if one.mm is not None and len(same) else None
        if removed and is_owner(events, removed, one):
            who = replace(story, pid=removed.pid, comm=removed.comm)
            return replace(who, earlier=removed, earlier_zap=_zap_of(events, removed))
    return story


def _until_the_dump(
    events: Events, removals: npt.NDArray[np.intp], finding: Finding
) -> tuple[Moment, ...]:
    """Return the removals of the life that the page has in the dump."""
    if not len(removals):
        return ()
    last = moment(events, int(removals[-1]))
    found = replace(last, at=len(events.records), raw_mapcount=finding.raw_mapcount, pid=None)
    return tuple(_of_this_life(events, removals, found, len(events.records)))


def _from_lives(evidence: Evidence) -> list[Story]:
    """Return a story for each page whose struct page no store had changed, that was freed while a
    PTE mapped it, or that is a page table and was never freed."""
    lives = evidence.lives
    if lives is None:
        return []
    found = [Story(one.pfn, changed=one) for one in lives.changed_unseen()]
    found += [_at_the_oops(one, evidence) for one in lives.planted()]
    found += [Story(one.pfn, freed_mapped=one) for one in lives.freed_while_mapped()]
    return found + [Story(one.pfn, lost_table=one) for one in lives.lost_tables()]


def _at_the_oops(one: Planted, evidence: Evidence) -> Story:
    """Return the story of a page whose struct page held what the kernel died of."""
    oops = next((splat for splat in evidence.splats if "ops: " in (splat.reason or "")), None)
    first = oops or next((splat for splat in evidence.splats if splat.kind == "other"), None)
    pid, comm = (first.pid, first.comm) if first else (None, None)
    return Story(one.pfn, pid, comm, planted=one)


def _of_counters(evidence: Evidence) -> list[Story]:
    """Return one story for each kind of other counters that are wrong."""
    findings = evidence.audit.findings if evidence.audit else ()
    found = []
    for cls in COUNTERS:
        some = tuple(one for one in findings if one.cls is cls)
        owner = next((owner for one in some for owner in one.mappings), None)
        pid, comm = (owner.pid, owner.comm) if owner else (None, None)
        found += [Story(None, pid, comm, counters=some)] if some else []
    return found


def _of_mms(evidence: Evidence) -> list[Story]:
    """Return one story for all the mms whose counters are wrong.

    By the console alone only where that is the first report about pages: after a bad PTE, page
    table or swap entry the counters can but follow.  The task that a report names has freed the mm
    (`naming.when_freed`): whose it was only an audit knows.
    """
    findings = evidence.audit.findings if evidence.audit else ()
    rss = tuple(one for one in findings if one.cls is FindingClass.RSS_MISMATCH)
    splats = tuple(splat for splat in evidence.splats if splat.kind == "bad_rss_counter")
    first = next((splat.kind for splat in evidence.splats if about_pages(splat)), None)
    if not rss and first not in ("bad_rss_counter", "nonzero_page_tables"):
        return []
    owner = next((owner for one in rss for owner in one.mappings), None)
    pid, comm = (owner.pid, owner.comm) if owner else (None, None)
    return [Story(None, pid, comm, rss=rss, rss_splats=splats)] if rss or splats else []


def _join(story: Story, evidence: Evidence) -> Story:
    """Add what console and audit say of the page."""
    if story.pfn is None:
        return story
    state = _first(evidence.splats, "bad_page_state", story)
    # Of several bad PTEs the one that follows the refusal, if one does.
    after = [at + 1 for at, splat in enumerate(evidence.splats) if splat is state]
    follows = _first(evidence.splats[after[0] :], "bad_page_map", story) if after else None
    others = (splat for splat in evidence.splats if splat.kind not in _OF_ALLOCATOR_AND_ZAP)
    folio_state = _folio_states(evidence.splats).get(story.pfn) if state else None
    stop = page_of_the_stop(evidence)
    joined = replace(
        story,
        folio_state=folio_state,
        state=state,
        map=follows or _first(evidence.splats, "bad_page_map", story),
        report=next((splat for splat in others if splat.pfn == story.pfn), None),
    )
    joined = replace(joined, stopped=stop is not None and stop in (joined.pfn, joined.folio_page))
    return _with_finding(_named_by_its_report(joined), evidence)


def _named_by_its_report(story: Story) -> Story:
    """Name the task by the page's own report: an earlier splat may be another task's."""
    report = story.state or story.map or story.report
    if report is None or story.fault or story.bad_pte:
        return story
    return replace(story, pid=report.pid, comm=report.comm or report.process)


def _with_finding(story: Story, evidence: Evidence) -> Story:
    """Add what the audit says of the page, if the dump was taken at the story's moment.

    A page that was refused is never used again: what a dump of another moment holds of it
    says nothing of how it was freed.
    """
    findings = evidence.audit.findings if evidence.audit else ()
    finding = next((one for one in findings if one.pfn == story.pfn), None)
    if finding is None or ((story.fault or story.state) and not story.stopped):
        return replace(story, finding=None)
    found = replace(story, finding=finding)
    if not story.zap or not story.stopped or story.removed or story.removed_late:
        return found
    own = [one for one in finding.mappings if one.mm == story.zap.mm and one.address is not None]
    gather = Gather(story.gather or (story.zap,), story.zap.at)
    zaps = (gather.covering(owner.mm, owner.address) for owner in own)
    its = next((zap for zap in zaps if zap), None)
    if its is None and own:  # the page lay elsewhere in that mm
        return replace(found, zap=None, gather=(), freed_in=story.zap)
    return replace(found, zap=its, gather=()) if its else found


def _first(splats: Sequence[Splat], kind: str, story: Story) -> Splat | None:
    """Return the first splat on the page by the story's own thread."""
    about = (splat for splat in splats if splat.kind == kind and splat.pfn == story.pfn)
    mine = (one for one in about if one.pid == story.pid or None in (one.pid, story.pid))
    return next(mine, None)
