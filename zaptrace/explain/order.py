"""The order of events: a story, step by step."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.explain.event_view import Moment
from zaptrace.explain.evidence import Evidence
from zaptrace.explain.naming import counters, duration, lateness, reason_of
from zaptrace.explain.predicates import Case
from zaptrace.explain.rests_on import refer, whole
from zaptrace.explain.sites import freed_alone
from zaptrace.explain.story import Story
from zaptrace.model.events import Origin
from zaptrace.model.splats import Splat
from zaptrace.model.task_name import task_name
from zaptrace.model.verdict import OrderStep, VerdictKind
from zaptrace.splat.kinds import TITLES

LAST_ZAP = ": the last zap before the free"


def order(case: Case, kind: VerdictKind, *, cleared: bool) -> tuple[OrderStep, ...]:
    """Return what happened to the page, one step after the other.

    Args:
        cleared: the page's PTE is known to have gone in the zap of its story.
    """
    story, evidence = case.story, case.evidence
    own = bool(story.removed or story.removed_late) or freed_alone(story, evidence.resolve)
    found = _events(story, kind, cleared=cleared, own=own)
    events = sorted(found, key=lambda one: one[0].at)
    steps = [_step(moment, what) for moment, what in events]
    return (*steps, *_without_events(story, kind, evidence, cleared=cleared))


def _events(
    story: Story, kind: VerdictKind, *, cleared: bool, own: bool
) -> Iterator[tuple[Moment, str]]:
    """Yield what was recorded, in any order.

    Args:
        own: the zap is known to be one of this page, not of another part of its folio.
    """
    yield from _of_others(story, kind)
    if story.earlier and (kind is VerdictKind.PTE_LEFT_BEHIND or story.fault is None):
        if zap := story.earlier_zap:
            yield zap, f"zap_pte_range() begins{_range(zap)}"
        stays = "; its PTE stays" if kind is VerdictKind.PTE_LEFT_BEHIND else ""
        yield story.earlier, f"the page's rmap is removed{stays}"
    yield from _zaps(story, cleared=cleared, own=own)
    if removed := story.removed:
        found = " for a PTE that was left behind" if kind is VerdictKind.PTE_LEFT_BEHIND else ""
        yield removed, f"the page's rmap is removed{found}"
    if again := story.removed_again:
        yield again, "the page's rmap is removed again, in the same zap"
    if freed := story.freed:
        said = counters(freed.raw_mapcount, freed.refcount)
        yield freed, f"the page is handed to the allocator: {said}"
    if folio := story.folio:
        yield folio, f"bad_page() refuses its large folio, at pfn {folio.pfn:#x}: {folio.reason}"
    if story.bad:
        yield story.bad, f"bad_page() refuses it: {story.reason or 'reason unknown'}"
    if story.bad_pte:
        yield story.bad_pte, "print_bad_pte() finds its mapcount wrong, in the same zap"
    if late := story.removed_late:
        yield late, f"the page's rmap is removed{_after_the_free(story, late, kind)}"


def _of_others(story: Story, kind: VerdictKind) -> Iterator[tuple[Moment, str]]:
    """Yield the other removals of the same life, on which the story does not depend."""
    own = {one.at for one in (story.removed, story.removed_again, story.removed_late) if one}
    if story.earlier and (kind is VerdictKind.PTE_LEFT_BEHIND or story.fault is None):
        own.add(story.earlier.at)
    for one in story.removals:
        if one.at not in own:
            yield one, f"the page's rmap is removed by {task_name(one.comm, one.pid)}"


def _zaps(story: Story, *, cleared: bool, own: bool) -> Iterator[tuple[Moment, str]]:
    """Yield the zap that the page went in, or the one before its free."""
    if zap := story.zap:
        yield zap, _zap(story, zap, cleared=cleared) + ("" if own or cleared else LAST_ZAP)
    if zap := story.freed_in:
        yield zap, f"zap_pte_range() begins{_range(zap)}{LAST_ZAP}, of other pages"


def _zap(story: Story, zap: Moment, *, cleared: bool) -> str:
    """Return the zap that the page went in, or the last of those of which it is one."""
    begins = f"zap_pte_range() begins{_range(zap)}"
    if not story.gather:
        return f"{begins}; it clears the page's PTE" if cleared else begins
    if not cleared:
        return begins
    return f"{begins}, the last of {len(story.gather)} zaps; one of them clears the page's PTE"


def _without_events(
    story: Story, kind: VerdictKind, evidence: Evidence, *, cleared: bool
) -> Iterator[OrderStep]:
    """Yield what only the console and the audit know of."""
    printed = []
    if story.folio_state and not story.folio:
        page = f"at pfn {story.folio_state.pfn:#x}"
        printed.append((f"Bad page state of its large folio, {page}", story.folio_state))
    if story.state and not story.bad:
        printed.append(("Bad page state", story.state))
    if story.map and not story.fault and not story.bad_pte:
        printed.append(("Bad page map", story.map))
    if story.report:
        printed.append((TITLES.get(story.report.kind, "A report"), story.report))
    for what, splat in sorted(printed, key=lambda one: one[1].line or 0):
        yield _printed(what, splat, evidence)
    found = story.finding
    if kind is VerdictKind.PTE_LEFT_BEHIND and found and found.ptes and not story.removed:
        yield OrderStep(
            "in the dump the PTE is still there",
            None,
            raw_mapcount=found.raw_mapcount,
            refcount=found.refcount,
            evidence="audit",
            rests_on=refer(found),
        )
    if kind is VerdictKind.MAPPING_LEAKED and story.fault and cleared:
        never = whole(evidence, "recording")
        what = "the page's rmap is never removed" + (" by that zap" if story.removals else "")
        yield OrderStep(what, None, evidence="event", rests_on=never)


def _step(moment: Moment, what: str) -> OrderStep:
    evidence = "event" if moment.origin is Origin.PROBE else "registers"
    return OrderStep(
        what,
        moment.time_ns,
        moment.cpu,
        moment.pid,
        moment.raw_mapcount,
        moment.refcount,
        evidence,
        refer(moment),
    )


def _range(zap: Moment) -> str:
    if zap.addr is None or zap.end is None:
        return ""
    mm = "" if zap.mm is None else f" of mm {zap.mm:#x}"
    return f" on {zap.addr:#x}-{zap.end:#x}{mm}"


def _printed(what: str, splat: Splat, evidence: Evidence) -> OrderStep:
    """Return a splat as a step; printk's clock is not the events', so it has a time only alone."""
    time = None if evidence.events or splat.time is None else round(splat.time * 1e9)
    raw = None if splat.mapcount is None else splat.mapcount - 1
    said = counters(raw, splat.refcount)
    printed = "A report" if splat.kind == "other" else f'"{what}"'
    return OrderStep(
        f"{printed} is printed: {reason_of(splat) if splat.reason else 'no reason given'} ({said})",
        time,
        splat.cpu,
        splat.pid,
        raw,
        splat.refcount,
        "splat",
        refer(splat),
    )


def _after_the_free(story: Story, late: Moment, kind: VerdictKind) -> str:
    delay = lateness(story)
    after = "after it was freed" if delay is None else f"{duration(delay)} after it was freed"
    if kind is not VerdictKind.FREED_BEFORE_RMAP_REMOVED:
        return f", {after}"
    # bad_page() called page_mapcount_reset(): the removal then counts down from -1.  Since
    # "mm/page_alloc: clear PageBuddy using __ClearPageBuddy() for bad pages" (v6.11) it no
    # longer touches the counter.
    reset = "; bad_page() has reset its mapcount" if late.raw_mapcount == -1 and story.bad else ""
    return f", {after}: too late{reset}"
