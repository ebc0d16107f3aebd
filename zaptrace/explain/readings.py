"""Readings: the causes that the evidence leaves open, each with what speaks for it.

A row a reading: when it is possible, in words, and what speaks for it.  A reading that the
evidence excludes is not listed; what excludes it stands in `possible`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from zaptrace.explain.bad_pages import FOLIO_MAPCOUNTS
from zaptrace.explain.changed_entry import by_one_bit, of_another
from zaptrace.explain.event_view import PAGE_MAPCOUNT_RESERVE, Moment, first_bad_table
from zaptrace.explain.lifetimes import same_process
from zaptrace.explain.mapcount_gaps import jump_of
from zaptrace.explain.met_again import MET_AGAIN, may_be_late
from zaptrace.explain.naming import page, rss_value, when_freed
from zaptrace.explain.not_freed import LISTED, by_its_references, found_in_use, last_reference
from zaptrace.explain.predicates import (
    Case,
    all_at_rest,
    cut_off,
    is_a,
    ptes_at_the_stop,
    removals_are_seen,
    seen_at_its_free,
    zap_is_over,
)
from zaptrace.explain.reading import Reading, Speaks, numbered
from zaptrace.explain.readings_report import AMONG_FREE_PAGES, IN_CACHE
from zaptrace.explain.rests_on import Piece, refer, refer_all
from zaptrace.explain.sites import freed_alone, freed_elsewhere
from zaptrace.explain.unseen_entry import by_the_report, printed_entry
from zaptrace.model.events import Kind
from zaptrace.model.findings import FindingClass
from zaptrace.model.verdict import Sentence


def readings(case: Case) -> Iterator[Sentence]:
    """Yield the readings of a story that no rule explains, or explains but in part.

    Those that something speaks for come first.
    """
    possible = next(
        filter(None, ([row for row in table if row.possible(case)] for table in _ALL)), []
    )
    rows = [(row, row.speaks(case)) for row in possible]
    rows.sort(key=lambda one: one[1] is None)  # stable
    rests_on = refer_all((*case.story.witnesses, case.story.finding))
    causes = []
    for row, speaks in rows:
        cause = row.text if isinstance(row.text, str) else row.text(case)
        why = f": {speaks[0]}" if speaks else ""
        causes.append((cause + why, (speaks[1] if speaks else ()) or rests_on))
    yield from numbered(causes)


def raw_below_zero(case: Case) -> tuple[int, Piece] | None:
    """Return the stored mapcount that says that more was removed than added, and who read it.

    Page types are far below.
    """
    story = case.story
    said: list[tuple[int | None, Piece]] = [
        (one.raw_mapcount, one) for one in (story.freed, story.bad, story.bad_pte) if one
    ]
    if below := story.below_zero:  # it is recorded as it begins
        said.append(((below.raw_mapcount or 0) - 1, below))
    for splat in (story.state, story.map, story.report):
        if splat and splat.mapcount is not None:
            said.append((splat.mapcount - 1, splat))
    if story.finding:
        said.append((story.finding.raw_mapcount, story.finding))
    for raw, piece in said:
        if raw is not None and PAGE_MAPCOUNT_RESERVE <= raw < -1:
            return raw, piece
    return None


def _below(case: Case) -> bool:
    return raw_below_zero(case) is not None


def _removals(case: Case) -> tuple[Moment, ...]:
    """Return the recorded removals, if they are all that there were."""
    return case.story.removals if removals_are_seen(case) else ()


def _one_each(removals: tuple[Moment, ...]) -> bool:
    """Return whether no process removed the page twice."""
    return not any(
        same_process(one, other) and one.mm == other.mm
        for at, one in enumerate(removals)
        for other in removals[:at]
    )


def _may_be_in_one_zap(case: Case) -> bool:
    """Return whether one process, freeing or not, may have removed the page twice in one zap."""
    removals, events = _removals(case), case.evidence.events
    if not removals or events is None:
        return True
    zaps = events.records["kind"] == Kind.ZAP
    for one, other in pairwise(removals):
        if same_process(one, other) and one.mm == other.mm:
            between = slice(one.at + 1, other.at)
            mine = zaps[between] & (events.records["pid"][between] == other.pid)
            if not (mine.any() and case.evidence.saw("zap")):
                return True
    return False


def _twice_in_one_zap(case: Case) -> bool:
    """Return whether one process may have removed the page twice: two removals were seen, or not
    all of them."""
    return _below(case) and (not _removals(case) or not _one_each(_removals(case)))


def _several_processes(case: Case) -> Speaks | None:
    removals = _removals(case)
    if len(removals) < 2 or not _one_each(removals):
        return None
    said = f"{len(removals)} processes each removed one mapping of {page(case.story)}, of its own"
    return f"{said} mm", refer_all(removals)


def _counter_fell(case: Case) -> Speaks | None:
    jump = jump_of(case)
    if jump is None:
        return None
    said = f"the mapcount went from {jump.was} to {jump.found}, and no recorded event did it"
    return said, refer(jump.before, jump.after)


_BELOW_ZERO = (
    Reading(
        lambda case: _below(case) and of_another(case),
        "a PTE of another page was changed by a stray write or a bit flip, and mapped this one",
        by_one_bit,
    ),
    Reading(
        may_be_late,
        "its rmap was removed once, after the zap had freed it, and bad_page() had reset its "
        "count, as it did before Linux 6.11 (freed_before_rmap_removed)",
    ),
    Reading(
        lambda case: _below(case) and _may_be_in_one_zap(case),
        "the rmap was removed twice in one zap, for one PTE",
    ),
    Reading(
        _twice_in_one_zap,
        "it was removed again for a PTE that an earlier zap had left behind",
    ),
    Reading(
        _below,
        "a mapping was made and never added to the rmap (a page fault, fork, mremap, migration)",
        _several_processes,
    ),
    Reading(_below, "something else wrote over the counter", _counter_fell),
)


def _counted(case: Case) -> bool:
    """Return whether it was free, or about to be, and counted as mapped."""
    raw, refcount = case.story.raw_mapcount, case.story.refcount
    return raw is not None and raw >= 0 and refcount in (0, None)


def _above(case: Case) -> bool:
    """Return whether it is counted as mapped, and no PTE is known to map it."""
    if not _counted(case):
        finding = case.story.finding
        return finding is not None and (finding.mapcount or 0) > (finding.ptes or 0)
    return not ptes_at_the_stop(case)


def _ends_here(case: Case) -> bool:
    """Return whether the page's own removal may still come: the zap that freed it may not be
    over."""
    if freed_elsewhere(case.sites):
        return False
    if not (case.story.fault or case.story.state):  # a dump from the middle of something
        return case.evidence.stopped_inside and not all_at_rest(case)
    return not (removals_are_seen(case) and zap_is_over(case))


def _holds_its_references(case: Case) -> bool:
    """Return whether it has a reference for each mapping that is counted, PTE or not."""
    finding = case.story.finding
    return finding is not None and (finding.refcount or 0) >= (finding.mapcount or 1)


def _still_referenced(case: Case) -> Speaks:
    finding = case.story.finding
    said = "it still holds a reference for each mapping that is counted, which no zap leaves"
    lost = [one for one in case.evidence.splats if (one.rss_value or 0) > 0]
    if lost:
        said += f", and {rss_value(lost[0])} was still counted {when_freed(lost[:1])}"
    cleared = first_bad_table(case.evidence.events)
    if cleared is not None:
        by = _clearer(cleared, case)
        said += f", and an entry above the PTEs was cleared as bad{by}"
    return said, refer(finding, *lost[:1], cleared)


def _clearer(cleared: Moment, case: Case) -> str:
    """Return ` by unuse_pud_range() at mm/swapfile.c:1970`: not by a helper of the headers."""
    site = case.evidence.resolve(cleared.caller) if cleared.caller is not None else None
    chain = [frame.partition(" at ") for frame in site.inline_chain] if site else []
    own = next(((name, line) for name, _, line in chain if "include/" not in line), None)
    return f" by {own[0]}() at {own[1]}" if own else ""


def _dropped(case: Case) -> Speaks | None:
    finding = case.story.finding
    if finding is None or finding.refcount is None or finding.refcount != finding.ptes:
        return None
    if not finding.ptes:
        return None
    return "its references are as many as its PTEs", refer(finding)


def _excess(case: Case) -> int:
    """Return how many more mappings are counted than there are PTEs, as far as they were
    counted."""
    finding = case.story.finding
    if finding is not None and finding.mapcount is not None and finding.ptes is not None:
        return finding.mapcount - finding.ptes
    return (case.story.raw_mapcount or 0) + 1


def _gone(case: Case) -> str:
    many, finding = _excess(case), case.story.finding
    # A part of a large folio may have been mapped by the folio's PMD.
    large = finding is not None and bool((finding.folio or {}).get("order"))
    entry = "mapping" if large else "PTE"
    if many == 1:
        return f"a {entry} of it went and its rmap was"
    return f"{many} {entry}s of it went, one by one, and their rmaps were"


def _rose(case: Case) -> Speaks | None:
    jump = jump_of(case)
    if jump is None or not jump.rises:
        if (many := _excess(case)) > 1:
            than = " more than there are PTEs" if case.story.finding else " mappings"
            return f"it counts {many}{than}", ()
        return None
    said = (
        f"the mapcount went from {jump.was} to {jump.found} between two events, and no recorded "
        "event did it (additions to the rmap are not recorded)"
    )
    return said, refer(jump.before, jump.after)


_ABOVE = (
    Reading(
        lambda case: _above(case) and cut_off(case),
        "the kernel died in the call that was about to remove its rmap",
    ),
    Reading(
        lambda case: _above(case) and printed_entry(case) is not None,
        "a PTE of it was changed by a stray write or a bit flip, and is no page's any more",
        by_the_report,
    ),
    Reading(
        lambda case: _above(case) and of_another(case),
        "a PTE of it was changed by a stray write or a bit flip, and maps another page",
        by_one_bit,
    ),
    Reading(
        lambda case: _above(case) and _ends_here(case),
        "its rmap removal comes late, after the free (freed_before_rmap_removed)",
    ),
    Reading(
        _above,
        lambda case: f"{_gone(case)} not removed (mapping_leaked)",
        _dropped,
    ),
    Reading(
        lambda case: _above(case) and _holds_its_references(case),
        "the PTE alone was lost, or never set, and neither its rmap nor its reference was dropped "
        "(mprotect, mremap, fork)",
        _still_referenced,
    ),
    Reading(
        lambda case: _above(case) and _counted(case) and ptes_at_the_stop(case) is None,
        "a PTE still maps it, and its reference was dropped by something that did not hold it, or "
        "never taken (refcount_overput)",
    ),
    Reading(
        lambda case: (
            _above(case)
            and (case.story.fault is not None or case.story.folio_page is not None)
            and ptes_at_the_stop(case) is None
            and not freed_alone(case.story, case.evidence.resolve)
        ),
        "it is a part of a large folio, whose last reference was another part's",
    ),
    Reading(
        lambda case: _above(case) and _counted(case) and not seen_at_its_free(case),
        "its counter changed after it had been freed, by something that still used it or by a "
        "stray write",
    ),
    Reading(_above, "a mapping was counted twice, or something else wrote to the counter", _rose),
)


def _mapped_without_reference(case: Case) -> bool:
    finding = case.story.finding
    return finding is not None and (finding.refcount or 0) < (finding.ptes or 0)


def _not_counted(case: Case) -> bool:
    """Return whether a PTE maps the page that neither its mapcount nor its refcount counts."""
    finding = case.story.finding
    if finding is None or not _mapped_without_reference(case):
        return False
    return finding.mapcount is not None and finding.mapcount < (finding.ptes or 0)


def _referenced_and_uncounted(case: Case) -> bool:
    """Return whether PTEs map the page that have their references, and are not counted."""
    finding = case.story.finding
    if finding is None or finding.mapcount is None or _mapped_without_reference(case):
        return False
    return finding.mapcount < (finding.ptes or 0)


_UNCOUNTED = (
    Reading(
        lambda case: _referenced_and_uncounted(case) and of_another(case),
        "a PTE of another page was changed by a stray write or a bit flip, and maps this one",
        by_one_bit,
    ),
    Reading(
        _referenced_and_uncounted,
        "a mapping was made and never added to the rmap (a page fault, fork, mremap, migration)",
    ),
    Reading(
        _referenced_and_uncounted,
        "the rmap of a mapping was removed, and its PTE and its reference stayed (pte_left_behind)",
    ),
    Reading(
        _referenced_and_uncounted,
        "the rmap of another mapping was removed twice (rmap_underflow)",
    ),
    Reading(_referenced_and_uncounted, "something else wrote over the counter"),
)
_OVERPUT = (
    Reading(
        lambda case: _not_counted(case) and of_another(case),
        "a PTE of another page was changed by a stray write or a bit flip, and maps this one",
        by_one_bit,
    ),
    Reading(
        _not_counted,
        "its rmap and its reference were dropped and its PTE stayed (pte_left_behind), or is "
        "about to go",
    ),
    Reading(
        _not_counted,
        "a PTE was made without an rmap and without a reference",
    ),
    Reading(
        _mapped_without_reference,
        "a reference was dropped by something that did not hold it",
    ),
    Reading(
        lambda case: _mapped_without_reference(case) and not _not_counted(case),
        "one was never taken for a mapping",
    ),
)


def _folio_lacks_references(case: Case) -> bool:
    """Return whether a large folio in use counts more mappings than references, as a whole."""
    finding = case.story.finding
    return (
        is_a(finding, FindingClass.REFCOUNT_BELOW_MAPCOUNT)
        and finding is not None
        and bool((finding.folio or {}).get("order"))
        and bool(finding.refcount)
    )


_OF_FOLIO = (
    Reading(
        _folio_lacks_references,
        "a PTE of a page of its folio went and its rmap was not removed (mapping_leaked)",
    ),
    Reading(
        _folio_lacks_references,
        "a reference of its folio was dropped by something that did not hold it, or never taken "
        "for a mapping (refcount_overput)",
    ),
    Reading(_folio_lacks_references, "something else wrote to the counters of its folio"),
)


def _says(*words: str) -> Callable[[Case], bool]:
    """Return a test of whether bad_page() refused the page for a reason with one of some words."""
    return lambda case: any(one in (case.story.reason or "") for one in words)


def _refcount_is_left(above: bool) -> Callable[[Case], bool]:
    """Return whether bad_page() refused the page for a refcount above 0, or else below it."""

    def holds(case: Case) -> bool:
        count = case.story.refcount
        refused = _says("_refcount", "nonzero _count")(case)
        return refused and (count is None or (count > 0) is above)

    return holds


def _folio_counts(above: bool) -> Callable[[Case], bool]:
    """Return a test of whether the folio still counts mappings, or fewer than none, as its mapcount
    was printed."""

    def possible(case: Case) -> bool:
        if not _says(*FOLIO_MAPCOUNTS)(case):
            return False
        state = case.story.state
        printed = state.folio.mapcount if state and state.folio else None
        return not printed or (printed > 0) is above

    return possible


_OF_STATE = (
    Reading(
        lambda case: _folio_counts(True)(case) and _ends_here(case),
        "the rmap of its folio is removed late, after the free (freed_before_rmap_removed)",
    ),
    Reading(
        _folio_counts(True), "the rmap of a page of its folio was not removed (mapping_leaked)"
    ),
    Reading(
        _folio_counts(True),
        "a part of its folio is still mapped, and the last reference was dropped by something that "
        "did not hold it (refcount_overput)",
    ),
    Reading(
        _folio_counts(False),
        "the rmap of a page of its folio was removed twice in one zap, for one PTE",
    ),
    Reading(
        _folio_counts(False),
        "it was removed again for a PTE of its folio that an earlier zap had left behind",
    ),
    Reading(
        _folio_counts(False),
        "a mapping of its folio was made and never added to the rmap (a page fault, fork, mremap, "
        "migration)",
    ),
    Reading(
        _says(*FOLIO_MAPCOUNTS),
        "a mapping was counted twice, or something else wrote to the counter",
    ),
    Reading(found_in_use, LISTED, by_its_references),
    Reading(_says("pincount"), "a pin's reference was dropped by something that did not hold it"),
    Reading(
        lambda case: (
            _says("mapping", "PAGE_FLAGS_CHECK", "cgroup")(case) and last_reference(case) is None
        ),
        "the last reference was dropped by something that did not hold it, while the page was "
        "still in use (refcount_overput)",
    ),
    Reading(
        _says("mapping"),
        "its ->mapping was not cleared, or something else wrote to its struct page",
    ),
    Reading(
        lambda case: _says("PAGE_FLAGS_CHECK")(case) and last_reference(case) is None,
        "the flag was not cleared, or something else wrote to its struct page",
    ),
    Reading(
        _says("cgroup"), "its charge was not given back, or something else wrote to its struct page"
    ),
    Reading(
        _refcount_is_left(False), "a reference was dropped after the last one (refcount_overput)"
    ),
    Reading(
        _refcount_is_left(True),
        "it was given to the allocator by what does not look at the count, and was still held",
    ),
    Reading(_refcount_is_left(True), "a reference was taken of a page that was free"),
)

_OF_REPORT = (*IN_CACHE, *AMONG_FREE_PAGES)
_ALL = (MET_AGAIN, _BELOW_ZERO, _OF_REPORT, _ABOVE, _UNCOUNTED, _OVERPUT, _OF_FOLIO, _OF_STATE)
"""The first table of which a reading is possible is the story's."""
