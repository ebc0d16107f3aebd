"""The order of events: a story told one step after the other."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.explain.evidence import Evidence
from zaptrace.explain.moments import Moment
from zaptrace.explain.names import counters, duration, lateness
from zaptrace.explain.story import Story
from zaptrace.model.events import Origin
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import OrderStep, VerdictKind

_ZAPPED = (VerdictKind.FREED_BEFORE_RMAP_REMOVED, VerdictKind.MAPPING_LEAKED)
"""Verdicts that say that the page's PTE went in the zap of its story."""


def order(story: Story, kind: VerdictKind, evidence: Evidence) -> tuple[OrderStep, ...]:
    """What happened to the page, one step after the other."""
    events = sorted(_events(story, kind), key=lambda one: one[0].at)
    steps = [_step(moment, what) for moment, what in events]
    return (*steps, *_told_otherwise(story, kind, evidence))


def _events(story: Story, kind: VerdictKind) -> Iterator[tuple[Moment, str]]:
    """What was recorded, in any order."""
    if story.earlier and (kind is VerdictKind.PTE_LEFT_BEHIND or story.fault is None):
        if zap := story.earlier_zap:
            yield zap, f"zap_pte_range() begins{_range(zap)}"
        stays = "; its PTE stays" if kind is VerdictKind.PTE_LEFT_BEHIND else ""
        yield story.earlier, f"the page's rmap is removed{stays}"
    if zap := story.zap:
        cleared = "; it clears the page's PTE" if kind in _ZAPPED else ""
        yield zap, f"zap_pte_range() begins{_range(zap)}{cleared}"
    if removed := story.removed:
        found = " for a PTE that was left behind" if kind is VerdictKind.PTE_LEFT_BEHIND else ""
        yield removed, f"the page's rmap is removed{found}"
    if again := story.removed_again:
        yield again, "the page's rmap is removed again, in the same zap"
    if freed := story.freed:
        said = counters(freed.raw_mapcount, freed.refcount)
        yield freed, f"the page is handed to the allocator: {said}"
    if story.bad:
        yield story.bad, f"bad_page() refuses it: {story.reason or 'reason unknown'}"
    if story.bad_pte:
        yield story.bad_pte, "print_bad_pte() finds its mapcount wrong, in the same zap"
    if late := story.removed_late:
        yield late, f"the page's rmap is removed{_after_the_free(story, late, kind)}"


def _told_otherwise(story: Story, kind: VerdictKind, evidence: Evidence) -> Iterator[OrderStep]:
    """What only the console and the audit know of."""
    printed = []
    if story.state and not story.bad:
        printed.append(("Bad page state", story.state))
    if story.map and not story.fault and not story.bad_pte:
        printed.append(("Bad page map", story.map))
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
        )
    if kind is VerdictKind.MAPPING_LEAKED and story.fault:
        yield OrderStep("the page's rmap is never removed", None, evidence="event")


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
    )


def _range(zap: Moment) -> str:
    if zap.addr is None or zap.end is None:
        return ""
    mm = "" if zap.mm is None else f" of mm {zap.mm:#x}"
    return f" on {zap.addr:#x}-{zap.end:#x}{mm}"


def _printed(what: str, splat: Splat, evidence: Evidence) -> OrderStep:
    """A splat as a step; printk's clock is not the events', so it has a time only alone."""
    time = None if evidence.events or splat.time is None else round(splat.time * 1e9)
    raw = None if splat.mapcount is None else splat.mapcount - 1
    said = counters(raw, splat.refcount)
    return OrderStep(
        f'"{what}" is printed: {splat.reason or "no reason given"} ({said})',
        time,
        splat.cpu,
        splat.pid,
        raw,
        splat.refcount,
        "splat",
    )


def _after_the_free(story: Story, late: Moment, kind: VerdictKind) -> str:
    delay = lateness(story)
    after = "after it was freed" if delay is None else f"{duration(delay)} after it was freed"
    if kind is not VerdictKind.FREED_BEFORE_RMAP_REMOVED:
        return f", {after}"
    # page_mapcount_reset() in bad_page(), mm/page_alloc.c (gone by 6.12): the removal
    # then counts down from -1.
    reset = "; bad_page() has reset its mapcount" if late.raw_mapcount == -1 and story.bad else ""
    return f", {after}: too late{reset}"
