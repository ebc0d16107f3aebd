"""A zap that freed a page which was counted as mapped, and then met it once more.

bad_page() set `_mapcount` to that of a page which nothing maps until "mm/page_alloc: clear
PageBuddy using __ClearPageBuddy() for bad pages" (v6.11): a mapcount of -1 is then one removal
after the free.  Later kernels leave the counter as it was.
"""

from __future__ import annotations

import re

from zaptrace.explain.predicates import Case
from zaptrace.explain.reading import Reading
from zaptrace.explain.rules import in_one_zap, reported_in_a_row
from zaptrace.explain.sites import freed_in_zap
from zaptrace.model.splats import Splat

_RELEASE = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})")
_LEAVES_IT = (6, 11)


def met_again(case: Case) -> Splat | None:
    """Return the report of the PTE by which the zap met the page it had freed, with a mapcount
    below 0; None when it did not."""
    state, after = case.story.state, case.story.map
    if state is None or after is None or (state.mapcount or 0) < 1 or (after.mapcount or 0) >= 0:
        return None
    row = reported_in_a_row(case.evidence.splats, state, after) and in_one_zap(state, after)
    return after if row and freed_in_zap(case.sites) else None


def is_reset(splat: Splat) -> bool | None:
    """Return whether its kernel's bad_page() resets the mapcount; None where no release is
    printed."""
    release = _RELEASE.match(splat.kernel_release or "")
    return None if release is None else (int(release[1]), int(release[2])) < _LEAVES_IT


def once_more(case: Case) -> str | None:
    """Return a sentence about the second report; None when there is none."""
    after = met_again(case)
    if after is None:
        return None
    entry = "a PTE" if after.pte is None else f"PTE {after.pte:#x}"
    at = "" if after.addr is None else f" at {after.addr:#x}"
    said = f"The same zap then met it once more, by {entry}{at}, with mapcount {after.mapcount}"
    if after.mapcount == -1 and is_reset(after):
        return f"{said}: bad_page() had reset its count, so one rmap removal came after the free."
    return f"{said}."


def _after_the_free(case: Case) -> bool:
    """Return whether exactly one removal came after the free, by the count that was reset."""
    after = met_again(case)
    return after is not None and after.mapcount == -1 and bool(is_reset(after))


MET_AGAIN = (
    Reading(
        _after_the_free,
        "the zap freed it for one PTE before it removed that PTE's rmap "
        "(freed_before_rmap_removed)",
    ),
    Reading(
        _after_the_free,
        "two PTEs of the same zap mapped it, and it lacked the reference of one: freed for the "
        "first, its rmap was removed for the second (refcount_overput)",
    ),
    Reading(_after_the_free, "something else wrote over the counter"),
)


def may_be_late(case: Case) -> bool:
    """Return whether one removal may have come after the free: no release says what bad_page()
    did to the count."""
    after = met_again(case)
    return after is not None and after.mapcount == -1 and is_reset(after) is None
