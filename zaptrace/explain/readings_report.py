"""Readings of a page of which a check of the kernel's own failed: one that the page cache gave up
while it was mapped, one that the allocator met among its free pages.

filemap_unaccount_folio() (mm/filemap.c) finds that: VM_BUG_ON_FOLIO(folio_mapped(folio)) with
DEBUG_VM, else "BUG: Bad page cache".
"""

from __future__ import annotations

from zaptrace.explain.not_freed import (
    LISTED,
    by_its_references,
    found_in_use,
    refused_by_the_allocator,
)
from zaptrace.explain.predicates import Case
from zaptrace.explain.reading import Reading, Speaks
from zaptrace.explain.rests_on import refer_all

_CHECKS = ("(folio_mapped(folio))", "(page_mapped(page))", "still mapped when deleted")


def _in_cache(case: Case) -> bool:
    reason = (case.story.report.reason if case.story.report else None) or ""
    return any(check in reason for check in _CHECKS)


def _may_be_counted_wrong(case: Case) -> bool:
    """Return whether its PTEs may be fewer than its mapcount: the audit would have found it."""
    return case.evidence.audit is None or case.story.finding is not None


def _file_pages_left(case: Case) -> Speaks | None:
    """Return that an mm which ended before the report still counted file pages."""
    line = (case.story.report.line if case.story.report else None) or 0
    for splat in case.evidence.splats:
        of_files = splat.rss_type in ("MM_FILEPAGES", "MM_SHMEMPAGES")
        if of_files and (splat.rss_value or 0) > 0 and (splat.line or 0) < line:
            text = f"an mm had ended with {splat.rss_type} {splat.rss_value:+d}"
            return text, refer_all((splat,))
    return None


AMONG_FREE_PAGES = (
    Reading(
        lambda case: refused_by_the_allocator(case) and found_in_use(case),
        LISTED,
        by_its_references,
    ),
    Reading(
        refused_by_the_allocator,
        "the last reference was dropped by something that did not hold it, while the page was "
        "still in use (refcount_overput)",
    ),
    Reading(
        refused_by_the_allocator,
        "a flag was set after it had been freed, or something else wrote to its struct page",
    ),
)
"""Of a page whose flags were wrong when the allocator moved it among its free pages."""

IN_CACHE = (
    Reading(
        _in_cache,
        "it was taken out of the page cache while PTEs map it, which had not been unmapped before "
        "(a truncate, an invalidation), or were made since",
    ),
    Reading(
        lambda case: _in_cache(case) and _may_be_counted_wrong(case),
        "a PTE of it went before, and its rmap was not removed (mapping_leaked)",
        _file_pages_left,
    ),
    Reading(
        lambda case: _in_cache(case) and _may_be_counted_wrong(case),
        "a mapping was counted twice, or something else wrote to the counter",
    ),
)
