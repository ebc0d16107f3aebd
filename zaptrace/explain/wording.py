"""The sentences of each verdict, for a person who works on mm, and what each rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from zaptrace.explain.console_only import entry_readings, only_printed
from zaptrace.explain.console_only import sentences as printed_sentences
from zaptrace.explain.life_wording import freed_with_a_pte, settled
from zaptrace.explain.mapcount_gaps import jump_of
from zaptrace.explain.naming import (
    counters,
    duration,
    flags_of,
    lateness,
    page,
    reason_of,
    rss_value,
    task,
    when_freed,
)
from zaptrace.explain.predicates import Case, freed_while_counted, seen_at_its_free, way_of
from zaptrace.explain.reading import numbered
from zaptrace.explain.readings import raw_below_zero, readings
from zaptrace.explain.rests_on import refer, refer_all, whole
from zaptrace.explain.sites import freed_by, line_of
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.model.splats import Splat
from zaptrace.model.task_name import task_name
from zaptrace.model.verdict import Sentence
from zaptrace.triage.stacks import Way

Sentences = Iterator[Sentence]


def freed_early(case: Case) -> Sentences:
    """Yield that the page was freed first, and its rmap removed second."""
    story = case.story
    said = counters(story.raw_mapcount, story.refcount)
    line = line_of("freed", case.sites)
    function = f"{line.function}()" if line else "the zap"
    where = f" at {line.source}" if line and line.source else ""
    yield Sentence(
        f"{task(story)} freed {page(story)} while it was still counted as mapped ({said}): "
        f"{function} cleared its PTE and gave the page to the allocator{where}, before its "
        "rmap was removed.",
        refer(story.zap, *story.witnesses, story.removed_late),
    )
    if not story.removed_late:
        text = 'The same zap then reported the page again, as "Bad page map" with mapcount 0.'
        yield Sentence(text, refer(story.map))
        return
    delay = lateness(story)
    after = "after the page was freed" if delay is None else f"{duration(delay)} after the free"
    line = line_of("rmap_removed", case.sites)
    where = f", at {line.source}," if line and line.source else ""
    printed = ", the kernel's own reports being printed in between" if story.state else ""
    yield Sentence(
        f"The removal{where} came {after}{printed}.",
        refer(story.fault, story.removed_late, story.state),
    )


def zapped_without_removal(case: Case) -> Sentences:
    """Yield that a zap freed the page and removed no rmap of it."""
    story = case.story
    zaps = len(story.gather)
    among = f" (one of {zaps} zaps whose pages were freed together)" if zaps else ""
    removals = "no removal of it is in the recording"
    if story.removals:
        by = dict.fromkeys(task_name(one.comm, one.pid) for one in story.removals[:3])
        more = ", ..." if len(story.removals) > len(by) else ""
        removals = f"the removals of it in the recording are others' ({', '.join(by)}{more})"
    yield Sentence(
        f"{task(story)} zapped{among} and freed {page(story)} without removing its rmap at all: it "
        f"reached the allocator with {counters(story.raw_mapcount, story.refcount)}, and "
        f"{removals}.",
        (*refer(story.zap, *story.witnesses, *story.removals), *whole(case.evidence, "recording")),
    )


def more_mapcount_than_ptes(case: Case) -> Sentences:
    """Yield that counter and page tables disagree, with nothing to say which is wrong."""
    story, finding = case.story, case.story.finding
    assert finding is not None
    yield from _freed_or_found(case)
    yield Sentence(
        f"{page(story)} has mapcount {finding.mapcount} and {_ptes(finding.ptes)} "
        f"(refcount {finding.refcount}); which of the two is wrong the evidence does not say.",
        refer(finding),
    )
    yield from _removed_in_time(case)
    yield from readings(case)


def removed_twice(case: Case) -> Sentences:
    """Yield that one zap removed the page's rmap twice."""
    story = case.story
    removed = story.removed_again
    assert removed is not None and removed.raw_mapcount is not None
    yield Sentence(
        f"{task(story)} removed the rmap of {page(story)} twice in one zap, so more often than it "
        f"was added: its mapcount is {removed.raw_mapcount}.",
        refer(story.zap, story.removed, removed),
    )


def left_behind(case: Case) -> Sentences:
    """Yield that a PTE exists that nothing counts, although a zap went over it."""
    story, finding = case.story, case.story.finding
    if story.earlier:
        yield Sentence(
            f"{task(story)} zapped {page(story)} and removed its rmap.",
            refer(story.earlier_zap, story.earlier),
        )
    if story.removed:
        again = "" if not story.bad_pte else ' and reported it as "Bad page map"'
        yield Sentence(
            f"A later zap of the same range found a PTE of it{again}: mapcount below 0. Its PTE "
            "stayed, or was made anew and not counted; no such mapping is recorded.",
            refer(story.zap, story.removed, story.bad_pte),
        )
        return
    assert finding is not None
    still = f"{_ptes(finding.ptes)} of {_owners(finding)} still map{_s(finding.ptes)} {page(story)}"
    if (finding.folio or {}).get("free"):
        still += ", which is free"
    else:
        still += f" ({counters(finding.raw_mapcount, finding.refcount)})"
    yield Sentence(
        f"{still}: one is not counted. It outlived its rmap and its reference, was made without "
        "them, or was changed and had been another page's.",
        refer(finding),
    )


def overput(case: Case) -> Sentences:
    """Yield that the page has fewer references than PTEs."""
    story, finding = case.story, case.story.finding
    assert finding is not None
    mapped = f"{_ptes(finding.ptes)} of {_owners(finding)}"
    if story.fault is None and story.state is None:
        yield Sentence(
            f"The refcount of {page(story)} is {finding.refcount}, but the page tables hold "
            f"{mapped}, which its mapcount counts: a reference is missing.",
            refer(finding),
        )
    else:
        by = freed_by(case.sites)
        where = f" in {by}()" if by else ""
        yield Sentence(
            f"{task(story)} dropped the last reference to {page(story)}{where} while {mapped} "
            f"still mapped it ({counters(story.raw_mapcount, story.refcount)}): a reference is "
            "missing.",
            refer(*story.witnesses, finding),
        )
    if settled(case):
        return
    yield Sentence(
        "It was dropped, here or before, by something that did not hold it, or was never taken "
        "for a mapping; which, the evidence does not say.",
        refer(finding),
    )


def rss(case: Case) -> Sentences:
    """Yield that an mm's counters differ from what it maps."""
    story = case.story
    printed = [one for one in story.rss_splats if one.rss_value is not None]
    said = [f"{task(story)}: {one.note}" for one in story.rss[:1] if one.note]
    if printed:
        times = Counter(rss_value(one) for one in printed)
        counted = ", ".join(
            f"{value} ({many} times)" if many > 1 else value
            for value, many in list(times.items())[:4]
        )
        counted += ", …" if len(times) > 4 else ""
        said.append(f"{counted} pages {when_freed(printed)}")
    where = f" ({'; '.join(said)})" if said else ""
    pieces = refer_all((*printed[:4], *story.rss[:4])) or refer_all(story.rss_splats)
    yield Sentence(
        f"An mm's resident-set counters do not agree with what it maps{where}; no page is "
        "known to be wrong.",
        pieces,
    )
    if wrong_type(story.rss_splats):
        yield Sentence(
            "What one counter has too many another has too few: pages were added to the one and "
            "taken off the other.",
            pieces,
        )


def wrong_type(splats: tuple[Splat, ...]) -> bool:
    """Return whether one counter of an mm has too many pages and another too few."""
    sums: dict[int | None, int] = {}
    for one in splats:
        sums[one.mm] = sums.get(one.mm, 0) + (one.rss_value or 0)
    return len(splats) > 1 and bool(sums) and not any(sums.values())


def unexplained(case: Case) -> Sentences:
    """Yield what is known, and the readings that are left."""
    yield from found_wrong(case)
    if not (only_printed(case) or settled(case)):
        yield from readings(case)


def found_wrong(case: Case) -> Sentences:
    """Yield what was wrong with the page, and not why."""
    story, finding = case.story, case.story.finding
    if only_printed(case) and not settled(case):
        rests_on = refer_all(story.witnesses)
        yield from (Sentence(one, rests_on) for one in printed_sentences(case))
        if story.state or (story.report and not story.map):
            yield from readings(case)
        else:  # a bad PTE's are the console's own
            yield from numbered([(one, rests_on) for one in entry_readings(case)])
        return
    below = None if settled(case) else raw_below_zero(case)
    if below:
        yield Sentence(
            f"The rmap of {page(story)} was removed more often than it was added, or its counter "
            f"is wrong (mapcount {below[0] + 1}).",
            refer(below[1]),
        )
    elif story.freed_mapped:
        yield from freed_with_a_pte(case)
    elif story.fault or story.state:
        yield from _freed_or_found(case)
    elif story.report:
        yield Sentence(
            f"The kernel reported {page(story)} in {task(story)}: "
            f"{reason_of(story.report)} "
            f"({counters(_raw(story.report), story.report.refcount)}).",
            refer(story.report),
        )
    elif finding:
        yield Sentence(
            f"The audit finds {page(story)} wrong ({finding.cls.value}: {_ptes(finding.ptes)}, "
            f"mapcount {finding.mapcount}, refcount {finding.refcount})"
            f"{_what_it_means(finding)}"
            f"{'' if settled(case) else '; nothing recorded says how it came to be'}.",
            refer(finding),
        )
    elif story.witnesses:
        yield Sentence(
            f"{task(story)} met a bad PTE that maps {page(story)}"
            f"{'' if settled(case) else '; the evidence does not say why'}.",
            refer_all(story.witnesses),
        )
    if not settled(case):
        yield from _removed_in_time(case)
        yield from _changed(case)


_MEANS = {
    FindingClass.WRITABLE_BUT_SHARED: "two PTEs map an anonymous page, and one of them may write",
    FindingClass.STALE_MIGRATION_ENTRY: "a migration entry names it, and nobody migrates it",
    FindingClass.PTE_OUTSIDE_VMAS: "a PTE maps it that is in no VMA",
    FindingClass.WRITABLE_NOT_OWN: "a PTE may write to it that has to copy it first",
    FindingClass.PTE_BEYOND_VMA: "its PTE gives a right that the VMA has not",
    FindingClass.WRONG_FILE_PAGE: "it is not the page that the VMA has there",
    FindingClass.LRU_FLAG_MISMATCH: "its flag lru is not what the LRU lists say",
    FindingClass.FREE_LIST_BROKEN: "the free list that it is on does not lead on as a list does",
    FindingClass.LEFT_LOCKED: "it is locked, and no task is at work that could have locked it",
    FindingClass.TAIL_WITHOUT_HEAD: "it is a tail page, and of no folio",
}


def _what_it_means(finding: Finding) -> str:
    said = _MEANS.get(finding.cls)
    if finding.cls is FindingClass.DIRTY_FREE_PAGE and finding.note:  # who holds it
        said = f"it is free, and {finding.note}"
    if finding.cls is FindingClass.FREE_LIST_BROKEN and finding.note:  # where it leads to
        said = finding.note
    return f": {said}" if said else ""


def _freed_or_found(case: Case) -> Sentences:
    """Return by whom the page was freed, or found, in which state."""
    story = case.story
    if not (story.fault or story.state):
        return
    said = counters(story.raw_mapcount, story.refcount)
    flags = flags_of(story.reason, story.state, story.finding)
    refused = f" ({'; '.join(one for one in (story.reason, flags) if one)})"
    refused = "" if refused == " ()" else refused
    rests_on = refer(*story.witnesses, story.finding if flags else None)
    way = way_of(case) if story.freed is None else Way.FREE
    if way is Way.DRAIN:
        yield Sentence(
            f"{task(story)} found {page(story)} in a bad state{refused}, {said}, when it emptied "
            "its CPU's list of free pages: it had been freed before, and not by this stack.",
            rests_on,
        )
        return
    if way is Way.ALLOC:
        yield Sentence(
            f"{task(story)} was to get {page(story)} from the allocator and found it in a bad "
            f"state{refused}, {said}: what this stack did is not what went wrong.",
            rests_on,
        )
        return
    by = freed_by(case.sites)
    where = f" in {by}()" if by else ""
    cause = (
        "the evidence does not say why"
        if freed_while_counted(case)
        else _cause(story.raw_mapcount, story.reason or "")
    )
    end = "." if _says_more(case) else f"; {cause}."
    yield Sentence(
        f"{task(story)} freed {page(story)}{where} in a bad state{refused}, {said}{end}", rests_on
    )


def _cause(raw_mapcount: int | None, reason: str) -> str:
    """Return what is known of why, of a page that is not counted as mapped by itself."""
    if "mapcount" in reason and reason != "nonzero mapcount":
        return "it is a counter of its large folio that is wrong"
    if raw_mapcount == -1 and reason:
        return "its mapcount is not what was wrong"
    return "what was wrong with it is not known"


def _says_more(case: Case) -> bool:
    """Return whether the next sentence, or the page's life, says more about what is not known."""
    return settled(case) or (
        case.story.finding is not None
        and bool(case.story.finding.mapcount)
        and seen_at_its_free(case)
    )


def _removed_in_time(case: Case) -> Sentences:
    """Yield that the page's own removal is recorded: what is still counted is another mapping."""
    story = case.story
    removed = story.removed_again or story.removed
    counted = freed_while_counted(case) and (removed is not None and removed.raw_mapcount)
    if not counted or removed is None or jump_of(case) or (story.raw_mapcount or 0) < 0:
        return
    yield Sentence(
        "The zap removed its own mapping before the free, which left mapcount "
        f"{removed.raw_mapcount}.",
        refer(story.zap, removed, story.fault),
    )


def _changed(case: Case) -> Sentences:
    """Yield that the counter changed without an event."""
    jump = jump_of(case)
    if jump is None:
        return
    when = "between two recorded events"
    after = jump.after
    if isinstance(after, Finding):
        when = "between its last recorded removal and the dump"
    elif None not in (jump.before.time_ns, after.time_ns):
        assert jump.before.time_ns is not None and after.time_ns is not None
        when = f"between {jump.before.time_ns / 1e9:.6f} s and {after.time_ns / 1e9:.6f} s"
    adds = " (additions to the rmap are not recorded)" if jump.rises else ""
    yield Sentence(
        f"The mapcount of {page(case.story)} went from {jump.was} to {jump.found} {when}, and no "
        f"recorded event did it{adds}.",
        refer(jump.before, after),
    )


def _raw(splat: Splat) -> int | None:
    return None if splat.mapcount is None else splat.mapcount - 1


def _owners(finding: Finding) -> str:
    names = [task_name(one.comm, one.pid) for one in finding.mappings[:3]]
    return ", ".join(dict.fromkeys(names)) or "some mm"


def _s(count: int | None) -> str:
    """Return the ending of a verb whose subject is so many."""
    return "s" if count == 1 else ""


def _ptes(count: int | None) -> str:
    if count is None:
        return "an unknown number of PTEs"
    return f"{count} PTE{'' if count == 1 else 's'}"
