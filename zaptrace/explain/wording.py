"""The summary: one to three sentences for a person who works on mm."""

from __future__ import annotations

from zaptrace.explain.names import counters, duration, lateness, page, task
from zaptrace.explain.rules import Case, freed_while_counted
from zaptrace.explain.sites import line_of
from zaptrace.model.verdict import VerdictKind


def summary(case: Case, kind: VerdictKind, pages: int) -> str:
    """One to three sentences."""
    words = {
        VerdictKind.FREED_BEFORE_RMAP_REMOVED: _freed_early,
        VerdictKind.MAPPING_LEAKED: _leaked,
        VerdictKind.RMAP_UNDERFLOW: _underflow,
        VerdictKind.REFCOUNT_OVERPUT: _overput,
    }.get(kind, _unexplained)
    more = pages - 1
    others = (
        f" {more} more page{'s' if more > 1 else ''} went wrong in this run." if more > 0 else ""
    )
    return words(case) + others


def _freed_early(case: Case) -> str:
    story = case.story
    said = counters(story.raw_mapcount, story.refcount)
    line = line_of("freed", case.sites)
    function = f"{line.function}()" if line else "the zap"
    where = f" at {line.source}" if line and line.source else ""
    return (
        f"{task(story)} freed {page(story)} while it was still counted as mapped ({said}): "
        f"{function} cleared its PTE and gave the page to the allocator{where}, before its "
        f"rmap was removed. {_removal(case)}"
    )


def _removal(case: Case) -> str:
    """What became of the removal that should have come first."""
    story = case.story
    if not story.removed_late:
        if case.evidence.stopped_inside:
            return "The kernel was stopped before the removal."
        return 'The same zap then reported the page again, as "Bad page map" with mapcount 0.'
    delay = lateness(story)
    after = "after the page was freed" if delay is None else f"{duration(delay)} after the free"
    line = line_of("rmap_removed", case.sites)
    where = f", at {line.source}," if line and line.source else ""
    printed = ", the kernel's own reports being printed in between" if story.state else ""
    return f"The removal{where} came {after}{printed}."


def _leaked(case: Case) -> str:
    story = case.story
    if story.fault is None:
        finding = story.finding
        assert finding is not None
        return (
            f"The counters of {page(story)} say mapcount {finding.mapcount}, but the page tables "
            f"hold {_ptes(finding.ptes)} of it: a mapping went and its rmap was never removed."
        )
    return (
        f"{task(story)} zapped and freed {page(story)} without removing its rmap at all: it "
        f"reached the allocator with {counters(story.raw_mapcount, story.refcount)}, and the "
        "zap ended without a removal."
    )


def _underflow(case: Case) -> str:
    story = case.story
    raw = story.raw_mapcount
    if raw is None and story.finding:
        raw = story.finding.raw_mapcount
    if raw is None and story.map and story.map.mapcount is not None:
        raw = story.map.mapcount - 1
    count = "below 0" if raw is None else str(raw + 1)
    return (
        f"The rmap of {page(story)} was removed more often than it was added: its mapcount is "
        f"{count}."
    )


def _overput(case: Case) -> str:
    story, finding = case.story, case.story.finding
    assert finding is not None
    owners = ", ".join(
        f"{one.comm or '?'}/{'?' if one.pid is None else one.pid}" for one in finding.mappings[:3]
    )
    mapped = f"{_ptes(finding.ptes)} of {owners or 'some mm'}"
    if story.fault is None:
        return (
            f"The refcount of {page(story)} is {finding.refcount}, but the page tables still hold "
            f"{mapped}: a reference was dropped that was not the dropper's own."
        )
    return (
        f"{task(story)} dropped the last reference to {page(story)} while {mapped} still mapped "
        f"it ({counters(story.raw_mapcount, story.refcount)}): the reference was not its own."
    )


def _unexplained(case: Case) -> str:
    story = case.story
    if story.fault or story.state:
        said = counters(story.raw_mapcount, story.refcount)
        refused = f" ({story.reason})" if story.reason else ""
        cause = (
            "the evidence does not say why"
            if freed_while_counted(case)
            else "its mapping counters are not what was wrong, or are not known"
        )
        return f"{task(story)} freed {page(story)} in a bad state{refused}, {said}; {cause}."
    if story.finding:
        return (
            f"The audit finds {page(story)} wrong ({story.finding.cls.value}: "
            f"{_ptes(story.finding.ptes)}, mapcount {story.finding.mapcount}, refcount "
            f"{story.finding.refcount}); nothing recorded says how it came to be."
        )
    return f"{task(story)} met a bad PTE that maps {page(story)}; the evidence does not say why."


def _ptes(count: int | None) -> str:
    if count is None:
        return "an unknown number of PTEs"
    return f"{count} PTE{'' if count == 1 else 's'}"
