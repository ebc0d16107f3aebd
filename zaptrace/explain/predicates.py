"""What is known of a story: the questions that several rules ask."""

from __future__ import annotations

from dataclasses import dataclass

from zaptrace.explain.event_view import Moment
from zaptrace.explain.evidence import Evidence
from zaptrace.explain.page_account import PageAccount
from zaptrace.explain.sites import refused_on
from zaptrace.explain.story import Story
from zaptrace.life.changed_words import Changed
from zaptrace.life.planted import Planted
from zaptrace.model.findings import Finding, FindingClass, Owner
from zaptrace.model.verdict import CodeSite
from zaptrace.triage.stacks import Way


@dataclass(frozen=True, slots=True)
class Case:
    """A story before the rules, with the code sites that were found for it.

    Attributes:
        account: the recorded life of its page, where that was kept.
    """

    story: Story
    sites: tuple[CodeSite, ...]
    evidence: Evidence
    account: PageAccount | None = None


def removals_are_seen(case: Case) -> bool:
    """Return whether rmap removals are recorded and none was lost: a missing one then did not
    happen."""
    return case.evidence.saw("rmap_remove")


def freed_while_counted(case: Case) -> bool:
    """Return whether the page was given to the allocator, and its counter said that it was mapped.

    One that was met in an allocation, or as a CPU's list was drained, had been freed before: its
    counter may have changed since.
    """
    raw, refcount = case.story.raw_mapcount, case.story.refcount
    return raw is not None and raw >= 0 and refcount in (0, None) and seen_at_its_free(case)


def seen_at_its_free(case: Case) -> bool:
    """Return whether what is known of the page dates from its free, not from a later check."""
    if case.story.freed:
        return True
    if case.story.refused or case.story.finding:
        return way_of(case) not in (Way.ALLOC, Way.DRAIN)
    return case.story.state is None or way_of(case) is Way.FREE


def way_of(case: Case) -> Way:
    """Return what the task did when bad_page() looked at the page, as far as a stack says it."""
    return refused_on(case.story, case.evidence.resolve)


def ptes_at_the_stop(case: Case) -> int | None:
    """Return how many PTEs mapped the page when it was refused; None without a dump of then."""
    finding = case.story.finding
    return finding.ptes if finding and case.story.stopped else None


def zap_is_over(case: Case) -> bool:
    """Return whether the thread has left the zap: what the zap did not do by then, it never did."""
    return case.story.went_on or case.evidence.ran_to_its_end


def busy_mms(case: Case) -> frozenset[int] | None:
    """Return the mms that a CPU was changing when the dump was taken; None when that is not
    known."""
    audit = case.evidence.audit
    if audit is None or audit.details.get("mms_in_flight") == 0:
        return frozenset() if audit else None
    busy = audit.details.get("in_flight")
    return frozenset(busy) if isinstance(busy, list) else None


def at_rest(case: Case, owners: tuple[Owner, ...]) -> bool:
    """Return whether no CPU was inside the page tables of a page's owners: its PTEs and counters
    are final."""
    busy = busy_mms(case)
    return busy is not None and not any(owner.mm is None or owner.mm in busy for owner in owners)


def all_at_rest(case: Case) -> bool:
    """Return whether no CPU was inside any page table."""
    return busy_mms(case) == frozenset()


def left_mapped(case: Case) -> bool:
    """Return whether, by the page's life, the call that freed it left all its PTEs as they were.

    s390x frees inside the zap: the dump of that moment alone does not say what it was about to do.
    """
    ptes = ptes_at_the_stop(case)
    if case.account is None or not ptes or not freed_while_counted(case):
        return False
    return case.account.left_mapped(ptes)


def cut_off(case: Case) -> bool:
    """Return whether the kernel died while a CPU was inside page tables: what it had begun there
    stays half done."""
    died = case.evidence.ended in ("oops", "panic")
    return died and case.evidence.audit is not None and not all_at_rest(case)


def changed_members(case: Case) -> tuple[Changed, ...]:
    """Return the members of the page's struct page that no recorded store had changed."""
    lives = case.evidence.lives
    found = lives.changed_unseen() if lives is not None else ()
    return tuple(one for one in found if one.pfn == case.story.pfn)


def planted_member(case: Case) -> Planted | None:
    """Return the member of the page's struct page that held what the kernel died of."""
    lives, account = case.evidence.lives, case.account
    if lives is None or account is None:
        return None
    found = (one for one in lives.planted() if one.pfn == case.story.pfn)
    return next((one for one in found if account.write(one.stored) is not None), None)


def is_a(finding: Finding | None, *classes: FindingClass) -> bool:
    """Return whether the audit found the page, in one of some classes."""
    return finding is not None and finding.cls in classes


def is_small(finding: Finding) -> bool:
    """Return whether the page's refcount is its own, not that of a large folio."""
    return not (finding.folio or {}).get("order")


def zero_kind(finding: Finding | None) -> str | None:
    """Return what a shared zero page is called, None for any other page.

    Many page tables map one, and none of those mappings adds an rmap or a reference
    (`zaptrace.audit.zero_pages`).
    """
    kind = (finding.folio or {}).get("kind") if finding else None
    return kind if kind in ("zero page", "huge zero page") else None


def is_free(finding: Finding) -> bool:
    """Return whether the page was on a free list."""
    return bool((finding.folio or {}).get("free"))


def within(zap: Moment | None, owner: Owner) -> bool:
    """Return whether an owner's PTE lies in the range of a zap."""
    if zap is None or zap.addr is None or zap.end is None or owner.address is None:
        return False
    return zap.mm == owner.mm and zap.addr <= owner.address < zap.end


def overlap(one: Moment | None, other: Moment | None) -> bool:
    """Return whether two zaps of one mm have an address in common."""
    if one is None or other is None or one.mm is None or one.mm != other.mm:
        return False
    if None in (one.addr, one.end, other.addr, other.end):
        return False
    assert one.addr is not None and one.end is not None
    assert other.addr is not None and other.end is not None
    return one.addr < other.end and other.addr < one.end
