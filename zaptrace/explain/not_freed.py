"""A page in use that the allocator finds on its own lists: it was never freed.

Lists lead through struct pages.  One that is corrupt (an LRU list whose page was freed while it
was linked, a pointer that was written over) gives the allocator pages that others use.
"""

from __future__ import annotations

from zaptrace.explain.predicates import Case, way_of
from zaptrace.explain.reading import Speaks
from zaptrace.explain.rests_on import refer
from zaptrace.life.named_life import NamedWrite
from zaptrace.life.page_life import REFCOUNT
from zaptrace.triage.stacks import Way

LISTED = (
    "it was not freed: a list that leads through struct pages is corrupt, and has given a page in "
    "use to the allocator"
)


def found_in_use(case: Case) -> bool:
    """Return whether the allocator found the page among its own, and it was still referenced."""
    refcount = case.story.refcount
    return refcount is not None and refcount > 0 and way_of(case) in (Way.ALLOC, Way.DRAIN)


def by_its_references(case: Case) -> Speaks | None:
    """Return what speaks for a page that was not freed: it is referenced, and mapped."""
    story = case.story
    if not found_in_use(case) or story.raw_mapcount is None or story.raw_mapcount < 0:
        return None
    count = story.raw_mapcount + 1
    said = f"it is still referenced and mapped (refcount {story.refcount}, mapcount {count})"
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
