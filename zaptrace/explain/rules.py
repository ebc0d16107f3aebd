"""The rules: small pure questions to one page's story.

Each rule says yes only when the evidence leaves no other reading; a story to
which all say no is unexplained.  The first yes of `RULES` is the verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zaptrace.explain.evidence import Evidence
from zaptrace.explain.moments import PAGE_MAPCOUNT_RESERVE
from zaptrace.explain.sites import freed_elsewhere, freed_in_zap, planned_sites
from zaptrace.explain.story import Story
from zaptrace.model.events import Kind
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.model.verdict import CodeSite, VerdictKind


@dataclass(frozen=True, slots=True)
class Case:
    """A story before the rules, with the code sites that were found for it."""

    story: Story
    sites: tuple[CodeSite, ...]
    evidence: Evidence


def removals_are_seen(case: Case) -> bool:
    """Rmap removals are recorded and none was lost: one that is not there did not happen."""
    events = case.evidence.events
    if events is None or events.lost:
        return False
    planned = any(site.get("event") == "rmap_remove" for site in planned_sites(events))
    return planned or len(events.of_kind(Kind.RMAP_REMOVE)) > 0


def freed_while_counted(case: Case) -> bool:
    """The page was given to the allocator, and its counter said that it was mapped."""
    raw, refcount = case.story.raw_mapcount, case.story.refcount
    return raw is not None and raw >= 0 and refcount in (0, None)


def ptes_at_the_stop(case: Case) -> int | None:
    """How many PTEs mapped the page when it was refused; None when nobody looked then."""
    finding = case.story.finding
    return finding.ptes if finding and case.evidence.stopped_inside else None


def removal_was_cut_off(case: Case) -> bool:
    """No removal came before the free, and the kernel was stopped before one could come after.

    Either nobody maps the page any longer (0 PTEs in the dump), or the free
    is known to lie inside the zap and every removal to have been recorded.
    """
    story = case.story
    if story.removed or story.went_on or not case.evidence.stopped_inside:
        return False
    if ptes_at_the_stop(case) is not None:
        return ptes_at_the_stop(case) == 0
    return freed_in_zap(case.sites) and removals_are_seen(case)


def reported_twice_in_one_zap(case: Case) -> bool:
    """By the console alone: after the refusal the same thread found mapcount 0 in that zap.

    bad_page() resets `_mapcount` (up to 6.9), so a zap that asks for the count
    only after the free reports a bad PTE with a mapcount of exactly 0.  Had the
    removal come first, another one's later removal would make it -1.
    """
    state, after = case.story.state, case.story.map
    return bool(
        state
        and after
        and state.reason == "nonzero mapcount"
        and state.pid is not None
        and state.pid == after.pid
        and after.mapcount == 0
        and freed_in_zap(case.sites)
    )


def freed_before_rmap_removed(case: Case) -> bool:
    """The zap gave the page away first and took its mapping down second."""
    if not freed_while_counted(case) or ptes_at_the_stop(case) or freed_elsewhere(case.sites):
        return False
    if case.story.fault is None:
        return reported_twice_in_one_zap(case)
    return case.story.removed_late is not None or removal_was_cut_off(case)


def mapping_leaked(case: Case) -> bool:
    """The mapping went and its count stayed: the rmap removal never came."""
    story = case.story
    if story.fault is None:
        return _is(story.finding, FindingClass.MORE_MAPCOUNT_THAN_PTES) and _in_use(story.finding)
    never = story.went_on or case.evidence.ended == "exit"
    return (
        freed_while_counted(case)
        and removals_are_seen(case)
        and freed_in_zap(case.sites)
        and never
        and not (story.removed or story.removed_late)
    )


def printed_below_zero(case: Case) -> bool:
    """By the console alone: a mapcount below 0, and no page was refused before it.

    A refused page's counter is reset, and its next removal would look the same.
    """
    printed = case.story.map.mapcount if case.story.map else None
    refused = any(splat.kind == "bad_page_state" for splat in case.evidence.splats)
    return printed is not None and printed < 0 and not refused


def rmap_underflow(case: Case) -> bool:
    """The mapping was taken down more often than it was put up."""
    story = case.story
    if story.fault is None and story.state is None:
        return _is(story.finding, FindingClass.MAPCOUNT_UNDERFLOW) or printed_below_zero(case)
    raw = story.raw_mapcount
    return raw is not None and PAGE_MAPCOUNT_RESERVE <= raw < -1


def refcount_overput(case: Case) -> bool:
    """A reference was dropped that was somebody else's: PTEs still map the page."""
    finding = case.story.finding
    if case.story.fault is None:
        return bool(
            _is(finding, FindingClass.REFCOUNT_BELOW_MAPCOUNT)
            and finding
            and finding.ptes == finding.mapcount
        )
    return bool(
        freed_while_counted(case)
        and ptes_at_the_stop(case)
        and finding
        and finding.mappings
        and not any(_is_being_zapped(case, one.mm, one.address) for one in finding.mappings)
    )


def _is_being_zapped(case: Case, mm: int | None, address: int | None) -> bool:
    """The PTE is in the range of the zap that freed the page, or may be: too early to say."""
    zap = case.story.zap
    if zap is None or zap.addr is None or zap.end is None or mm is None or address is None:
        return True
    return zap.mm in (None, mm) and zap.addr <= address < zap.end


def _is(finding: Finding | None, *classes: FindingClass) -> bool:
    return finding is not None and finding.cls in classes


def _in_use(finding: Finding | None) -> bool:
    return finding is not None and (finding.refcount or 0) > 0


RULES: tuple[tuple[VerdictKind, Callable[[Case], bool]], ...] = (
    (VerdictKind.REFCOUNT_OVERPUT, refcount_overput),
    (VerdictKind.FREED_BEFORE_RMAP_REMOVED, freed_before_rmap_removed),
    (VerdictKind.MAPPING_LEAKED, mapping_leaked),
    (VerdictKind.RMAP_UNDERFLOW, rmap_underflow),
)
