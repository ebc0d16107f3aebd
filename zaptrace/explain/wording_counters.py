"""The sentences about what counters alone say: references, locked memory, pools, a wrong rmap."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.explain.naming import page
from zaptrace.explain.predicates import Case
from zaptrace.explain.rests_on import refer, refer_all, whole
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.model.task_name import task_name
from zaptrace.model.verdict import Sentence

Told = Iterator[Sentence]

MOST_NAMED = 4


def refcount_leaked(case: Case) -> Told:
    """References that nothing holds."""
    finding = case.story.finding
    assert finding is not None
    yield Sentence(f"{page(case.story)} has {finding.note}.", refer(finding))
    yield Sentence(
        "Something took such a reference and did not drop it: no page table, cache, batch or pipe "
        "holds it, and no task of the dump was where it could. The page is never freed.",
        (*refer(finding), *whole(case.evidence, "audit")),
    )


def wrong_rmap(case: Case) -> Told:
    """An rmap that does not lead to the PTE."""
    finding = case.story.finding
    assert finding is not None
    yield Sentence(
        f"The rmap of {page(case.story)} does not lead to its place in {_who(finding)}: "
        f"{finding.note}.",
        refer(finding),
    )
    yield Sentence(
        "Its PTE or swap entry was moved, or made anew, and the folio's index and anon_vma were "
        "left as they were: reclaim and migration do not find that mapping.",
        refer(finding),
    )


def locked_vm(case: Case) -> Told:
    """An mm's locked_vm, and its VMAs."""
    some = [one for one in case.story.counters if one.cls is FindingClass.LOCKED_VM_MISMATCH]
    for one in some[:MOST_NAMED]:
        yield Sentence(f"{_who(one)}: {one.note}.", refer(one))
    yield Sentence(
        "VM_LOCKED was set or cleared, or such a VMA made, moved or removed, without its pages "
        "being added to locked_vm or taken off it; no page is known to be wrong.",
        refer_all(some),
    )


def hugetlb_pool(case: Case) -> Told:
    """A pool's counters, and what is there."""
    some = [one for one in case.story.counters if one.cls is FindingClass.HUGETLB_POOL_MISMATCH]
    for one in some[:MOST_NAMED]:
        yield Sentence(f"The counters of a pool of huge pages are wrong: {one.note}.", refer(one))


def _who(finding: Finding) -> str:
    owner = next(iter(finding.mappings), None)
    if owner is None or owner.pid is None:
        return "an mm that no task uses"
    return task_name(owner.comm, owner.pid)
