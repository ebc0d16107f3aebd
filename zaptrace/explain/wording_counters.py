"""The sentences about what counters say: references, locked memory, pools, rmaps, zero pages."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.explain.console_only import where
from zaptrace.explain.naming import counters, page, reason_of, rss_value, task, when_freed
from zaptrace.explain.predicates import Case, zero_kind
from zaptrace.explain.rests_on import refer, refer_all, whole
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.model.task_name import task_name
from zaptrace.model.verdict import Sentence

Sentences = Iterator[Sentence]

MOST_NAMED = 4


def refcount_leaked(case: Case) -> Sentences:
    """Yield references that nothing holds."""
    finding = case.story.finding
    assert finding is not None
    yield Sentence(f"{page(case.story)} has {finding.note}.", refer(finding))
    yield Sentence(
        "Something took such a reference and did not drop it: no page table, cache, batch or pipe "
        "holds it, and no task of the dump was where it could. The page is never freed.",
        (*refer(finding), *whole(case.evidence, "audit")),
    )


def put_when_free(case: Case) -> Sentences:
    """Yield the put that the kernel refused, and what is not known of it."""
    story, report = case.story, case.story.report
    assert report is not None
    said = counters(None if report.mapcount is None else report.mapcount - 1, report.refcount)
    yield Sentence(
        f"{task(story)} was about to drop a reference to {page(story)}{where(report)}, which had "
        f"none left ({said}): {reason_of(report)}.",
        refer(report),
    )
    yield Sentence(
        "That put is one too many, or an earlier one was, or a reference was never taken.",
        refer(report),
    )


def wrong_rmap(case: Case) -> Sentences:
    """Yield an rmap that does not lead to the PTE."""
    finding = case.story.finding
    assert finding is not None
    yield Sentence(
        f"The rmap of {page(case.story)} does not lead to its place in {_who(finding)}: "
        f"{finding.note}.",
        refer(finding),
    )
    yield Sentence(
        "Its PTE or swap entry was moved, or made anew, and the folio's index and anon_vma were "
        "left as they were; or these were changed, and that entry stayed: reclaim and migration "
        "do not find that mapping.",
        refer(finding),
    )


def locked_vm(case: Case) -> Sentences:
    """Yield an mm's locked_vm, and its VMAs."""
    some = [one for one in case.story.counters if one.cls is FindingClass.LOCKED_VM_MISMATCH]
    for one in some[:MOST_NAMED]:
        yield Sentence(f"{_who(one)}: {one.note}.", refer(one))
    yield Sentence(
        "VM_LOCKED was set or cleared, or such a VMA made, moved or removed, without its pages "
        "being added to locked_vm or taken off it; no page is known to be wrong.",
        refer_all(some),
    )


def hugetlb_pool(case: Case) -> Sentences:
    """Yield a pool's counters, and what is there."""
    some = [one for one in case.story.counters if one.cls is FindingClass.HUGETLB_POOL_MISMATCH]
    for one in some[:MOST_NAMED]:
        yield Sentence(f"The counters of a pool of huge pages are wrong: {one.note}.", refer(one))


def mm_counters(case: Case) -> Sentences:
    """Yield an mm's counters, and what it has."""
    some = [one for one in case.story.counters if one.cls is FindingClass.MM_COUNTER_MISMATCH]
    for one in some[:MOST_NAMED]:
        yield Sentence(f"{_who(one)}: {one.note}.", refer(one))
    yield Sentence(
        "A VMA or a page table came or went without being counted, or was counted and is lost: an "
        "entry of a table above it was cleared; no page is known to be wrong.",
        refer_all(some),
    )


def zero_page_unmapped(case: Case) -> Sentences:
    """Yield the removal, and what went with it."""
    story, finding = case.story, case.story.finding
    assert finding is not None and finding.mapcount is not None
    removed = story.below_zero or story.removals[-1]
    yield Sentence(
        f"{task_name(removed.comm, removed.tgid)} removed an rmap of {page(story)}, the shared "
        f"{zero_kind(finding)}, that never was added: no mapping of that page is counted, and its "
        f"mapcount is {finding.mapcount}.",
        refer(removed, finding),
    )
    if not finding.refcount:
        yield Sentence(
            "A reference was dropped, too, that no mapping holds (refcount_overput): its refcount "
            f"is {finding.refcount}.",
            refer(*story.witnesses, finding),
        )
    wrong = [one for one in case.evidence.splats if (one.rss_value or 0) < 0][:4]
    if wrong:
        yield Sentence(
            f"{', '.join(rss_value(one) for one in wrong)} was still counted {when_freed(wrong)} "
            "(rss_mismatch): a mapping was taken off that never was counted.",
            refer(*wrong),
        )


def zero_page_freed(case: Case) -> Sentences:
    """Yield which shared zero page was freed while page tables map it."""
    story, finding = case.story, case.story.finding
    assert finding is not None
    many = "1 entry" if finding.ptes == 1 else f"{finding.ptes} entries"
    yield Sentence(
        f"{page(story)} is the shared {zero_kind(finding)}, which {many} of the page tables "
        f"map{'s' if finding.ptes == 1 else ''}, and it is free (refcount {finding.refcount}).",
        refer(finding),
    )
    yield Sentence(
        "No mapping of it holds a reference: one was dropped that was the kernel's own, by "
        "something that did not hold it; which, the audit does not say.",
        refer(finding),
    )


def _who(finding: Finding) -> str:
    owner = next(iter(finding.mappings), None)
    if owner is None or owner.pid is None:
        return "an mm that no task uses"
    return task_name(owner.comm, owner.pid)
