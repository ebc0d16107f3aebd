"""The summary: one to three sentences for a person who works on mm."""

from __future__ import annotations

from zaptrace.explain.console import only_printed, sentences
from zaptrace.explain.known import Case, freed_while_counted
from zaptrace.explain.moments import PAGE_MAPCOUNT_RESERVE
from zaptrace.explain.names import counters, duration, lateness, page, task
from zaptrace.explain.sites import line_of
from zaptrace.model.findings import Finding
from zaptrace.model.verdict import VerdictKind


def summary(case: Case, kind: VerdictKind, pages: int) -> str:
    """One to three sentences."""
    words = {
        VerdictKind.FREED_BEFORE_RMAP_REMOVED: _freed_early,
        VerdictKind.MAPPING_LEAKED: _leaked,
        VerdictKind.RMAP_UNDERFLOW: _underflow,
        VerdictKind.PTE_LEFT_BEHIND: _left_behind,
        VerdictKind.REFCOUNT_OVERPUT: _overput,
        VerdictKind.RSS_MISMATCH: _rss,
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
    removed = story.removed_again
    assert removed is not None and removed.raw_mapcount is not None
    return (
        f"{task(story)} removed the rmap of {page(story)} twice in one zap, so more often than it "
        f"was added: its mapcount is {removed.raw_mapcount}."
    )


def _left_behind(case: Case) -> str:
    """The zap that left the PTE, and how it was found out."""
    story, finding = case.story, case.story.finding
    zapped = f"{task(story)} zapped {page(story)}" if story.earlier else f"{page(story)} was zapped"
    began = f"{zapped}: its rmap was removed, but its PTE stayed. "
    if story.removed:
        again = "" if not story.bad_pte else ' and reported it as "Bad page map"'
        return f"{began}A later zap of the same range found the PTE{again}: mapcount below 0."
    assert finding is not None
    still = f"{_ptes(finding.ptes)} of {_owners(finding)} still map{_s(finding.ptes)} the page"
    if (finding.folio or {}).get("free"):
        return f"{began}{still}, which is free."
    return f"{began}{still} ({counters(finding.raw_mapcount, finding.refcount)})."


def _rss(case: Case) -> str:
    story = case.story
    said = [
        f"{splat.rss_type or 'a counter'} {splat.rss_value:+d}"
        for splat in story.rss_splats[:4]
        if splat.rss_value is not None
    ]
    where = f" ({', '.join(said)} pages when an mm was freed)" if said else ""
    if not said and story.rss and story.rss[0].note:
        where = f" ({task(story)}: {story.rss[0].note})"
    return (
        f"An mm's resident-set counters do not agree with what it maps{where}; no page is "
        "known to be wrong."
    )


def _overput(case: Case) -> str:
    story, finding = case.story, case.story.finding
    assert finding is not None
    mapped = f"{_ptes(finding.ptes)} of {_owners(finding)}"
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
    if only_printed(case):
        return " ".join(sentences(case))
    if below := _below_zero(case):
        return (
            f"The rmap of {page(story)} was removed more often than it was added ({below}); the "
            "evidence does not say whether twice in one zap, or again for a PTE that an earlier "
            "zap had left behind."
        )
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


def _below_zero(case: Case) -> str | None:
    """`mapcount -1`, when something says so; page types are far below."""
    story = case.story
    raws = [story.raw_mapcount, story.bad_pte.raw_mapcount if story.bad_pte else None]
    raws += [story.finding.raw_mapcount if story.finding else None]
    raws += [story.map.mapcount - 1 if story.map and story.map.mapcount is not None else None]
    found = (raw for raw in raws if raw is not None and PAGE_MAPCOUNT_RESERVE <= raw < -1)
    raw = next(found, None)
    return None if raw is None else f"mapcount {raw + 1}"


def _owners(finding: Finding) -> str:
    names = [
        f"{one.comm or '?'}/{'?' if one.pid is None else one.pid}" for one in finding.mappings[:3]
    ]
    return ", ".join(dict.fromkeys(names)) or "some mm"


def _s(count: int | None) -> str:
    """The ending of a verb whose subject is so many."""
    return "s" if count == 1 else ""


def _ptes(count: int | None) -> str:
    if count is None:
        return "an unknown number of PTEs"
    return f"{count} PTE{'' if count == 1 else 's'}"
