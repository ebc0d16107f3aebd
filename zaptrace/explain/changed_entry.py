"""A PTE that was changed: it maps one page and was another's, whose number differs in one bit.

No event records a page-table entry that something else wrote to.  What shows it is a pair of
pages in one dump: one with a PTE that it does not count, and one that counts a mapping without a
PTE.
"""

from __future__ import annotations

from zaptrace.explain.predicates import Case
from zaptrace.explain.rests_on import refer
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.model.verdict import Reference

_MORE_PTES: tuple[FindingClass, ...] = (
    FindingClass.MORE_PTES_THAN_MAPCOUNT,
    FindingClass.MAPPED_BUT_FREE,
)
_MORE_COUNTED: tuple[FindingClass, ...] = (FindingClass.MORE_MAPCOUNT_THAN_PTES,)


def other_page(case: Case) -> Finding | None:
    """Return the page whose PTE may map this one instead, or the page that this one's PTE may map
    instead; None where no two pages of the audit fit, or the page's recorded life says who did it.
    """
    mine, audit = case.story.finding, case.evidence.audit
    if audit is None or case.story.pfn is None:
        return None
    if case.account is not None and case.account.facts:
        return None
    if case.story.stopped and case.story.removed_again:
        wanted, excess = _MORE_COUNTED, -1
    elif mine is None:
        return None
    elif mine.cls in _MORE_PTES and _excess(mine) == 1:
        wanted, excess = _MORE_COUNTED, -1
    elif mine.cls in _MORE_COUNTED and _excess(mine) == -1:
        wanted, excess = _MORE_PTES, 1
    else:
        return None
    # Of a bug that strikes many pages, two differ in one bit by chance.
    found = [one for one in audit.findings if one.cls in wanted]
    if len(found) != 1 or found[0].pfn is None or _excess(found[0]) != excess:
        return None
    return found[0] if (found[0].pfn ^ case.story.pfn).bit_count() == 1 else None


def of_another(case: Case) -> bool:
    """Return whether there is such a page."""
    return other_page(case) is not None


def by_one_bit(case: Case) -> tuple[str, tuple[Reference, ...]] | None:
    """Return what speaks for a changed PTE, and what that rests on."""
    other = other_page(case)
    if other is None:
        return None
    what = (
        "has a PTE that it does not count" if _excess(other) > 0 else "counts a mapping without one"
    )
    said = f"pfn {other.pfn:#x}, whose number differs in one bit, {what}"
    return said, refer(other)


def _excess(finding: Finding) -> int:
    """Return how many PTEs there are more than are counted."""
    return (finding.ptes or 0) - (finding.mapcount or 0)
