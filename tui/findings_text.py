"""The audit's findings in words: for the audit's pane and for the top of a page's view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tui.format import count
from tui.timeline import PageName
from zaptrace.model.findings import AuditResult, Finding, FindingClass
from zaptrace.report.finding_meanings import MEANINGS, owner_lines
from zaptrace.report.words import plain

LABELS = {
    FindingClass.MAPPED_BUT_FREE: "mapped but free",
    FindingClass.DIRTY_FREE_PAGE: "free but in use",
    FindingClass.REFCOUNT_BELOW_MAPCOUNT: "refcount < mapcount",
    FindingClass.MAPCOUNT_UNDERFLOW: "mapcount underflow",
    FindingClass.MORE_PTES_THAN_MAPCOUNT: "PTEs > mapcount",
    FindingClass.MORE_MAPCOUNT_THAN_PTES: "mapcount > PTEs",
    FindingClass.TAIL_WITHOUT_HEAD: "tail of no folio",
    FindingClass.WRITABLE_BUT_SHARED: "writable, shared",
    FindingClass.PTE_OUTSIDE_VMAS: "PTE in no VMA",
    FindingClass.WRITABLE_NOT_OWN: "writable, not own",
    FindingClass.PTE_BEYOND_VMA: "PTE beyond VMA",
    FindingClass.WRONG_FILE_PAGE: "wrong file page",
    FindingClass.STALE_MIGRATION_ENTRY: "stale migration",
    FindingClass.WRONG_RMAP: "wrong rmap",
    FindingClass.LRU_FLAG_MISMATCH: "wrong PG_lru",
    FindingClass.FREE_LIST_BROKEN: "broken free list",
    FindingClass.LEFT_LOCKED: "left locked",
    FindingClass.REFCOUNT_LEAKED: "refcount leaked",
    FindingClass.LOCKED_VM_MISMATCH: "locked_vm mismatch",
    FindingClass.MM_COUNTER_MISMATCH: "mm counter mismatch",
    FindingClass.HUGETLB_POOL_MISMATCH: "huge page pool",
    FindingClass.RSS_MISMATCH: "rss mismatch",
    FindingClass.IN_FLIGHT: "in flight, no bug",
}
NO_DUMP = "no audit: this recording has no dump"


@dataclass(frozen=True, slots=True)
class Audited:
    """What is known of a run's audit.

    Attributes:
        result: what it found; None without an audit.
        why: why there was no audit.
    """

    result: AuditResult | None
    why: str = NO_DUMP

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The audit's findings, worst first, as it has put them."""
        return self.result.findings if self.result else ()

    def about(self, page: PageName) -> tuple[Finding, ...]:
        """Return the findings about a page."""
        if page.pfn is None:
            return ()
        return tuple(one for one in self.findings if one.pfn == page.pfn)

    def nothing(self) -> str:
        """Why there is no finding."""
        if self.result is None:
            return self.why
        unseen = sum(gap.count for gap in self.result.unseen)
        said = f"✓ clean: {self.result.ptes:,} PTEs, no finding"
        return f"{said}, but it could not look at all ({unseen:,} unseen)" if unseen else said


def mark(finding: Finding) -> str:
    """Return `✖`, or `○` where nothing is wrong."""
    return "○" if finding.cls is FindingClass.IN_FLIGHT else "✖"


def counters(finding: Finding) -> str:
    """PTEs against counters."""
    return (
        f"{count(finding.ptes)} PTEs, mapcount {count(finding.mapcount)}, "
        f"refcount {count(finding.refcount)}"
    )


def finding_lines(finding: Finding, most: int) -> Iterator[str]:
    """Yield what the audit found about a page, as lines; with the first `most` owners."""
    yield f"{mark(finding)} audit: {LABELS[finding.cls]} · {counters(finding)}"
    yield f"  {MEANINGS[finding.cls]}"
    for line in owner_lines(finding, most):
        yield f"  {line}"
    if finding.note:
        yield f"  {plain(finding.note)}"
