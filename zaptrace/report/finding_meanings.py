"""What a finding of the audit is, in a few words, and whose page or mm it is about."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.model.findings import Finding, FindingClass, Owner
from zaptrace.report.words import hexadecimal, task

MEANINGS = {
    FindingClass.MAPPED_BUT_FREE: "PTEs map a page that is free: others may get it",
    FindingClass.MORE_PTES_THAN_MAPCOUNT: "PTEs map it that its mapcount does not count",
    FindingClass.MORE_MAPCOUNT_THAN_PTES: "its mapcount counts mappings that no page table has",
    FindingClass.REFCOUNT_BELOW_MAPCOUNT: "it counts more mappings than references",
    FindingClass.MAPCOUNT_UNDERFLOW: "its mapcount went below 0: more rmaps removed than added",
    FindingClass.DIRTY_FREE_PAGE: "it is on a free list and still has references or mappings",
    FindingClass.WRONG_RMAP: "its rmap does not lead to where its PTE is",
    FindingClass.WRITABLE_BUT_SHARED: "two PTEs map it, and one may write: no page is private then",
    FindingClass.STALE_MIGRATION_ENTRY: "a migration entry names it, and nobody migrates it",
    FindingClass.PTE_OUTSIDE_VMAS: "a PTE maps it outside of every VMA",
    FindingClass.WRITABLE_NOT_OWN: "a PTE may write to it that may only read it before a COW",
    FindingClass.PTE_BEYOND_VMA: "a PTE of it gives a right that its VMA has not",
    FindingClass.WRONG_FILE_PAGE: "its mapping and index are not those that the VMA has there",
    FindingClass.TAIL_WITHOUT_HEAD: "it is a tail page, and of no folio",
    FindingClass.LRU_FLAG_MISMATCH: "its PG_lru is not what the LRU lists say",
    FindingClass.FREE_LIST_BROKEN: "the free list that it is on does not lead on as a list does",
    FindingClass.LEFT_LOCKED: "it is locked, and no task is at work that could hold the lock",
    FindingClass.REFCOUNT_LEAKED: "it has references that nothing holds",
    FindingClass.LOCKED_VM_MISMATCH: "the mm's locked_vm is not what its VM_LOCKED VMAs have",
    FindingClass.MM_COUNTER_MISMATCH: "the mm does not count the VMAs or page tables that it has",
    FindingClass.HUGETLB_POOL_MISMATCH: "a pool of huge pages does not count what is there",
    FindingClass.RSS_MISMATCH: "the mm's rss counters are not what its page tables map",
    FindingClass.IN_FLIGHT: "no bug: a CPU was inside this mm's page tables",
}
_OF_AN_MM = (
    FindingClass.RSS_MISMATCH,
    FindingClass.LOCKED_VM_MISMATCH,
    FindingClass.MM_COUNTER_MISMATCH,
    FindingClass.IN_FLIGHT,
)
MOST_OWNERS = 8


def owner_lines(finding: Finding, most: int = MOST_OWNERS) -> Iterator[str]:
    """Yield who maps the page, or whose mm it is; a line each, the first `most`.

    After those of its PTEs stand the places where the rmap, or the page's index alone, says that
    one may be missing.
    """
    for number, owner in enumerate(finding.mappings[:most]):
        if finding.cls in _OF_AN_MM and owner.address is None:
            yield f"mm {hexadecimal(owner.mm)} of {who(owner)}"
            continue
        there = finding.ptes is None or number < finding.ptes
        mapped = "mapped by" if there else "may have been mapped by"
        yield f"{mapped} {who(owner)} at {hexadecimal(owner.address)}  {owner.vma or ''}".rstrip()
    more = len(finding.mappings) - most
    if more > 0:
        yield f"and {more} more"


def who(owner: Owner) -> str:
    """Return `mount/41`; an mm may have outlived its tasks."""
    if owner.pid is None and owner.comm is None:
        return "no task any more"
    return task(owner.comm, owner.pid)
