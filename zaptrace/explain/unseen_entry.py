"""A PTE that was changed by no recorded store: what cleared it no longer took it for the page's.

A zap finds a PTE that is not present, special, or beyond memory, and clears it without removing an
rmap: it is right to.  The page's recorded life alone would blame the zap.
"""

from __future__ import annotations

from zaptrace.explain.predicates import Case
from zaptrace.explain.rests_on import refer
from zaptrace.life.ledger import LeftOver, What
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import Reference

_OF_NO_PAGE = frozenset({"clear_not_present_full_ptes", "pte_clear_not_present_full"})
"""Helpers that clear an entry which is not present (include/linux/pgtable.h)."""
_PAGE_SHIFT = 12
_NUMBER = (1 << 52) - 1


def unseen_entry(case: Case) -> LeftOver | None:
    """Return the clearing of a PTE that had been changed before, as far as that is known."""
    if case.account is None:
        return None
    fact = case.account.first(What.PTE_CLEARED)
    if fact is None:
        return None
    by = {one.function for one in fact.among[0].frames}
    return fact if by & _OF_NO_PAGE or printed_entry(case) is not None else None


def printed_entry(case: Case) -> Splat | None:
    """Return the kernel's report on a PTE that it takes for no page's, and that holds this page's
    number, or one that differs in one bit; None without one."""
    pfn = case.story.pfn
    if pfn is None:
        return None
    for splat in case.evidence.splats:
        if splat.kind == "bad_page_map" and splat.pfn is None and splat.pte is not None:
            number = (splat.pte & _NUMBER) >> _PAGE_SHIFT
            if (number ^ pfn).bit_count() <= 1:
                return splat
    return None


def by_the_report(case: Case) -> tuple[str, tuple[Reference, ...]] | None:
    """Return what speaks for a PTE that is a page's no longer, and what that rests on."""
    splat = printed_entry(case)
    if splat is None or splat.pte is None or case.story.pfn is None:
        return None
    number = (splat.pte & _NUMBER) >> _PAGE_SHIFT
    but = "" if number == case.story.pfn else " but for one bit"
    said = f"the kernel reported PTE {splat.pte:#x} as bad, which has its number{but}"
    return said, refer(splat, case.story.finding)
