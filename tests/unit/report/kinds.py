"""A verdict of every kind and a finding of every class, as they would come out of real runs."""

from __future__ import annotations

import dataclasses

from tests.sentences import sentences
from tests.unit.report.builders import VERDICT
from zaptrace.model.findings import Finding, FindingClass, Owner
from zaptrace.model.verdict import OrderStep, Verdict, VerdictKind

PFN = 0x1F3C5
OWNER = Owner(41, "mount", 0x3FFD5A7F000, "3ffd5a60000-3ffd5a81000 rw-p [stack]", 0x1AF4000)
ZAP = OrderStep("zap_pte_range() begins on 0x3ffd5a7f000-0x3ffd5a80000", 1_000, 0, 41)


def page(cls: FindingClass, ptes: int, mapcount: int, refcount: int) -> Finding:
    flags = ("referenced", "uptodate", "swapbacked")
    return Finding(cls, PFN, ptes, mapcount, refcount, flags, (OWNER,), None, mapcount - 1)


FINDINGS = {
    FindingClass.MAPPED_BUT_FREE: page(FindingClass.MAPPED_BUT_FREE, 1, 0, 0),
    FindingClass.MORE_PTES_THAN_MAPCOUNT: page(FindingClass.MORE_PTES_THAN_MAPCOUNT, 2, 1, 1),
    FindingClass.MORE_MAPCOUNT_THAN_PTES: page(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 1),
    FindingClass.REFCOUNT_BELOW_MAPCOUNT: page(FindingClass.REFCOUNT_BELOW_MAPCOUNT, 0, 1, 0),
    FindingClass.MAPCOUNT_UNDERFLOW: page(FindingClass.MAPCOUNT_UNDERFLOW, 0, -1, 0),
    FindingClass.DIRTY_FREE_PAGE: page(FindingClass.DIRTY_FREE_PAGE, 0, 0, 1),
    FindingClass.RSS_MISMATCH: Finding(
        FindingClass.RSS_MISMATCH,
        None,
        None,
        None,
        None,
        mappings=(Owner(41, "mount", None, None, 0x1AF4000),),
        note="MM_ANONPAGES 23 recorded, 22 mapped",
    ),
    FindingClass.TAIL_WITHOUT_HEAD: page(FindingClass.TAIL_WITHOUT_HEAD, 0, 0, 1),
    FindingClass.WRITABLE_BUT_SHARED: page(FindingClass.WRITABLE_BUT_SHARED, 2, 2, 2),
    FindingClass.PTE_OUTSIDE_VMAS: page(FindingClass.PTE_OUTSIDE_VMAS, 1, 1, 1),
    FindingClass.WRITABLE_NOT_OWN: page(FindingClass.WRITABLE_NOT_OWN, 1, 1, 1),
    FindingClass.PTE_BEYOND_VMA: page(FindingClass.PTE_BEYOND_VMA, 1, 1, 1),
    FindingClass.WRONG_FILE_PAGE: page(FindingClass.WRONG_FILE_PAGE, 1, 1, 2),
    FindingClass.STALE_MIGRATION_ENTRY: page(FindingClass.STALE_MIGRATION_ENTRY, 0, 0, 1),
    FindingClass.WRONG_RMAP: page(FindingClass.WRONG_RMAP, 1, 1, 1),
    FindingClass.LRU_FLAG_MISMATCH: page(FindingClass.LRU_FLAG_MISMATCH, 1, 1, 1),
    FindingClass.FREE_LIST_BROKEN: page(FindingClass.FREE_LIST_BROKEN, 0, 0, 0),
    FindingClass.LEFT_LOCKED: page(FindingClass.LEFT_LOCKED, 1, 1, 1),
    FindingClass.REFCOUNT_LEAKED: page(FindingClass.REFCOUNT_LEAKED, 1, 1, 2),
    FindingClass.LOCKED_VM_MISMATCH: Finding(
        FindingClass.LOCKED_VM_MISMATCH,
        *(None, None, None, None),
        mappings=(Owner(41, "mount", None, None, 0x1AF4000),),
        note="locked_vm is 6 pages, its VM_LOCKED VMAs have 2",
    ),
    FindingClass.MM_COUNTER_MISMATCH: Finding(
        FindingClass.MM_COUNTER_MISMATCH,
        *(None, None, None, None),
        mappings=(Owner(41, "mount", None, None, 0x1AF4000),),
        note="total_vm is 259 pages, its VMAs have 251",
    ),
    FindingClass.HUGETLB_POOL_MISMATCH: Finding(
        FindingClass.HUGETLB_POOL_MISMATCH,
        *(None, None, None, None),
        note="hugepages-2048kB: resv_huge_pages, reserved: 3 recorded, 2 found",
    ),
    FindingClass.IN_FLIGHT: Finding(
        FindingClass.IN_FLIGHT,
        None,
        0,
        None,
        None,
        mappings=(Owner(None, None, None, None, 0x1AF4000),),
        note="a CPU is inside this mm's page tables",
    ),
}
_PROOF = {
    VerdictKind.FREED_BEFORE_RMAP_REMOVED: FindingClass.REFCOUNT_BELOW_MAPCOUNT,
    VerdictKind.MAPPING_LEAKED: FindingClass.MORE_MAPCOUNT_THAN_PTES,
    VerdictKind.RMAP_UNDERFLOW: FindingClass.MAPCOUNT_UNDERFLOW,
    VerdictKind.PTE_LEFT_BEHIND: FindingClass.MORE_PTES_THAN_MAPCOUNT,
    VerdictKind.WRONG_RMAP: FindingClass.WRONG_RMAP,
    VerdictKind.REFCOUNT_LEAKED: FindingClass.REFCOUNT_LEAKED,
    VerdictKind.LOCKED_VM_MISMATCH: FindingClass.LOCKED_VM_MISMATCH,
    VerdictKind.HUGETLB_POOL_MISMATCH: FindingClass.HUGETLB_POOL_MISMATCH,
    VerdictKind.REFCOUNT_OVERPUT: FindingClass.MAPPED_BUT_FREE,
    VerdictKind.SCRIBBLED: FindingClass.MORE_MAPCOUNT_THAN_PTES,
    VerdictKind.FREED_TWICE: FindingClass.DIRTY_FREE_PAGE,
    VerdictKind.MAPPED_WITHOUT_RMAP: FindingClass.MORE_PTES_THAN_MAPCOUNT,
    VerdictKind.UNEXPLAINED: FindingClass.DIRTY_FREE_PAGE,
}


def of_kind(kind: VerdictKind) -> Verdict:
    """A verdict with the evidence that this kind has."""
    doubt = ("Only the audit carries this: a capture of the same boot would show the order.",)
    if kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED:
        return VERDICT
    if kind is VerdictKind.CLEAN:
        return Verdict(kind, sentences("No page was refused or freed while mapped."))
    if kind is VerdictKind.RSS_MISMATCH:
        text = "An mm's resident-set counters do not agree with what it maps."
        proof = (FINDINGS[FindingClass.RSS_MISMATCH],)
        return Verdict(kind, sentences(text), comm="mount", pid=41, proof=proof, doubts=doubt)
    removed = OrderStep("the page's rmap is removed", 5_000, 0, 41, 0, 2)
    return dataclasses.replace(
        VERDICT,
        kind=kind,
        sentences=sentences(f"Something that is called {kind.value} happened to pfn {PFN:#x}."),
        order=(ZAP, removed),
        proof=(FINDINGS[_PROOF[kind]],),
        doubts=doubt,
    )
