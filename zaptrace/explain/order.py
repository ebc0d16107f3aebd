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
    return tuple(_steps(story, kind, evidence))


def _steps(story: Story, kind: VerdictKind, evidence: Evidence) -> Iterator[OrderStep]:
    if zap := story.zap:
        cleared = "; it clears the page's PTE" if kind in _ZAPPED else ""
        yield _step(zap, f"zap_pte_range() begins{_range(zap)}{cleared}")
    if removed := story.removed:
        yield _step(removed, "the page's rmap is removed")
    if freed := story.freed:
        said = counters(freed.raw_mapcount, freed.refcount)
        yield _step(freed, f"the page is handed to the allocator: {said}")
    if story.bad:
        yield _step(story.bad, f"bad_page() refuses it: {story.reason or 'reason unknown'}")
    elif story.state:
        yield _printed("Bad page state", story.state, evidence)
    if story.bad_pte:
        yield _step(story.bad_pte, "print_bad_pte() finds its mapcount wrong, in the same zap")
    elif story.map and not story.fault:
        yield _printed("Bad page map", story.map, evidence)
    if late := story.removed_late:
        yield _step(late, f"the page's rmap is removed{_too_late(story, late)}")
    elif kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED and evidence.stopped_inside:
        yield OrderStep("the page's rmap was still to be removed: not seen before the stop", None)


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


def _too_late(story: Story, late: Moment) -> str:
    delay = lateness(story)
    after = "after it was freed" if delay is None else f"{duration(delay)} after it was freed"
    # page_mapcount_reset() in bad_page(), mm/page_alloc.c (gone by 6.12): the removal
    # then counts down from -1.
    reset = "; bad_page() has reset its mapcount" if late.raw_mapcount == -1 and story.bad else ""
    return f", {after}: too late{reset}"
