"""A page in use that the allocator finds on its own lists: it was never freed.

Lists lead through struct pages.  One that is corrupt (an LRU list whose page was freed while it
was linked, a pointer that was written over) gives the allocator pages that others use.
"""

from __future__ import annotations

import re

from zaptrace.explain.predicates import Case, way_of
from zaptrace.explain.reading import Speaks
from zaptrace.explain.rests_on import refer
from zaptrace.life.named_life import NamedWrite
from zaptrace.life.page_members import REFCOUNT
from zaptrace.triage.stacks import Way, read_stack

LISTED = (
    "it was not freed: a list that leads through struct pages is corrupt, and has given a page in "
    "use to the allocator"
)


_FROM_ITS_LISTS = (Way.ALLOC, Way.DRAIN)
_OF_FLAGS = re.compile(r"VM_BUG_ON_PAGE\(page->flags\b")


def found_in_use(case: Case) -> bool:
    """Return whether the allocator found the page among its own, and it was still referenced."""
    story = case.story
    if story.refcount is not None:
        return story.refcount > 0 and way_of(case) in _FROM_ITS_LISTS
    report = story.report if refused_by_the_allocator(case) else None
    if report is None or report.refcount is None:
        return False
    return report.refcount > 0 and read_stack(report.trace).way in _FROM_ITS_LISTS


def refused_by_the_allocator(case: Case) -> bool:
    """Return whether a check of the page's flags failed where the allocator moves free pages, as
    VM_BUG_ON_PAGE() in __free_one_page() does (mm/page_alloc.c)."""
    report = case.story.report
    flags = report is not None and _OF_FLAGS.search(report.reason or "") is not None
    return report is not None and flags and read_stack(report.trace).way is not Way.UNKNOWN


def by_its_references(case: Case) -> Speaks | None:
    """Return what speaks for a page that was not freed: it is referenced, and mapped."""
    story = case.story
    raw, refcount = story.raw_mapcount, story.refcount
    if refcount is None and story.report is not None:
        refcount = story.report.refcount
        raw = None if story.report.mapcount is None else story.report.mapcount - 1
    if not found_in_use(case) or raw is None or raw < 0:
        return None
    said = f"it is still referenced and mapped (refcount {refcount}, mapcount {raw + 1})"
    return said, refer(*story.witnesses)


def last_reference(case: Case) -> NamedWrite | None:
    """Return the last store to the reference count of a page that was not freed since it was
    allocated, by its recorded life; None where it was, or where that is not known."""
    account = case.account
    if account is None or not account.whole or not found_in_use(case):
        return None
    if not account.named.life.since_allocation:
        return None
    found = None
    for one in account.named.writes:
        change = None if one.write.after_stop else one.write.change(REFCOUNT)
        if change is not None and change.after <= 0:
            return None
        found = one if change is not None else found
    return found
