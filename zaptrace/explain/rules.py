"""The rules: small pure questions to one page's story.

Each rule says yes only when the evidence leaves no other reading, or when the kind
is the same by every reading that is left (see `readings`).  A story to which all say
no is unexplained; `table.RULES` has them in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from zaptrace.explain import late_removal, life_rules
from zaptrace.explain.changed_entry import of_another, other_page
from zaptrace.explain.event_view import PAGE_MAPCOUNT_RESERVE, same_page
from zaptrace.explain.mapcount_gaps import jump_of
from zaptrace.explain.predicates import (
    Case,
    all_at_rest,
    at_rest,
    cut_off,
    freed_while_counted,
    is_a,
    is_free,
    is_small,
    left_mapped,
    overlap,
    ptes_at_the_stop,
    removals_are_seen,
    within,
    zap_is_over,
    zero_kind,
)
from zaptrace.explain.sites import (
    freed_alone,
    freed_by_gather,
    freed_elsewhere,
    freed_in_zap,
    is_zap,
    zap_line,
)
from zaptrace.explain.unseen_entry import printed_entry, taken_from, unseen_entry
from zaptrace.model.findings import FindingClass, Owner
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import CodeSite
from zaptrace.triage.signs import unreferenced
from zaptrace.triage.stacks import base_name, reliable

REPORTS_SECONDS = 5.0
"""How far the two reports of one zap may be apart."""


def removed_late(case: Case) -> bool:
    """Return whether the zap that freed the page removed its rmap only after that.

    A page that this zap maps twice is unmapped twice in it: then a count of its PTEs must
    say that none was left to be cleared.
    """
    story = case.story
    if story.fault is None or not removed_in_a_zap(case):
        return False
    return story.removed is None or ptes_at_the_stop(case) == 0


def removed_in_a_zap(case: Case) -> bool:
    """Return whether the removal after the free was made by a zap, as far as its stack is known.

    bad_page() keeps what it refuses from being used again.  A page that it did not see is
    soon another's, whose rmap is removed by whatever the same thread does next: then the
    removal must have found the page unused, or its stack name a zap and no event be missing.
    """
    removed = case.story.removed_late
    if removed is None:
        return False
    stack = (removed.caller, *removed.stack)
    known = [site for one in stack if one is not None and (site := case.evidence.resolve(one))]
    if known and not any(zap_line(site) for site in known):
        return False
    unused = same_page(removed, case.story.fault) and removed.refcount == 0
    kept = late_removal.kept_by(case.story.bad, removed)
    return kept or unused or (bool(known) and case.evidence.complete)


def reported_twice_in_one_zap(case: Case) -> bool:
    """Return whether, by the console alone, the thread found mapcount 0 in the zap whose page was
    refused.

    bad_page() resets `_mapcount` (see `order`), so a zap that asks for the count
    only after the free reports a bad PTE with a mapcount of exactly 0.  Had the
    removal come first, another one's later removal would make it -1.
    """
    state, after = case.story.state, case.story.map
    return bool(
        state
        and after
        and state.reason == "nonzero mapcount"
        and after.mapcount == 0
        and reported_in_a_row(case.evidence.splats, state, after)
        and in_one_zap(state, after)
        and freed_in_zap(case.sites)
    )


def in_one_zap(one: Splat, other: Splat) -> bool:
    """Return whether both call traces go through one frame of a zap function, with the same
    callers.

    Two calls of a function differ in a return address further out, unless a loop makes them.
    A trace that was cut is compared as far as it goes, which is at least to the zap.
    """
    first, second = _callers_of_zap(one), _callers_of_zap(other)
    if not first or not second or first[0][0] != second[0][0]:
        return False
    return all(two[0] == two[1] for two in zip(first[1:], second[1:], strict=False))


def _callers_of_zap(splat: Splat) -> tuple[tuple[str, int | None], ...]:
    """Return function and offset of the zap and of all that called it; empty where no zap is named.

    Begins with unmap_page_range where that is named: what it calls or holds inlined is left by
    then, or differs from one page to the next.
    """
    frames = tuple((base_name(one.symbol or ""), one.offset) for one in reliable(splat.trace))
    names = [name for name, _ in frames]
    if "unmap_page_range" in names:
        return frames[names.index("unmap_page_range") :]
    zaps = (at for at, name in enumerate(names) if zap_line(CodeSite(name, None, None)))
    return frames[next(zaps, len(frames)) :]


def reported_in_a_row(splats: Sequence[Splat], state: Splat, after: Splat) -> bool:
    """Return whether one thread's report followed the other with no other page refused in between.

    A zap prints the two within milliseconds, on a slow console within a second.  A pid and a
    page frame are both used again: reports minutes apart belong to two lives.
    """
    if state.pid is None or thread_of(state) != thread_of(after):
        return False
    places = [at for at, splat in enumerate(splats) if splat is state or splat is after]
    if len(places) != 2 or splats[places[0]] is not state:
        return False
    apart = 0.0 if None in (state.time, after.time) else (after.time or 0) - (state.time or 0)
    if not 0 <= apart <= REPORTS_SECONDS:
        return False
    between = splats[places[0] + 1 : places[1]]
    return not any(
        one.kind == "bad_page_state" and thread_of(one) == thread_of(state) for one in between
    )


def thread_of(splat: Splat) -> tuple[int | None, str | None]:
    """Return pid and name of the thread that a report is about."""
    return splat.pid, splat.comm or splat.process


def freed_before_rmap_removed(case: Case) -> bool:
    """Return whether the zap freed the page first and removed its rmap second."""
    if not freed_while_counted(case) or ptes_at_the_stop(case) or freed_elsewhere(case.sites):
        return False
    return removed_late(case) or reported_twice_in_one_zap(case)


def pte_went_in_the_zap(case: Case) -> bool:
    """Return whether the zap that freed the page cleared its PTE.

    A zap or its gather has freed it, and it is not mapped any more, or it is a whole page: a
    zap drops the references of the PTEs that it clears.  A part of a large folio is freed with
    the last reference to any of them.
    """
    if not (freed_in_zap(case.sites) or freed_by_gather(case.sites)):
        return False
    if ptes_at_the_stop(case) is not None:
        return ptes_at_the_stop(case) == 0
    return freed_alone(case.story, case.evidence.resolve)


def never_removed(case: Case) -> bool:
    """Return whether the whole story was recorded and no removal of the page is in it."""
    story = case.story
    removed = (story.removed, story.removed_late, story.earlier)
    return (
        story.fault is not None
        and story.zap is not None
        and removals_are_seen(case)
        and zap_is_over(case)
        and not any(removed)
        and not story.removed_elsewhere
    )


def counted_without_pte(case: Case) -> bool:
    """Return whether, by the audit alone, a page has fewer PTEs than its mapcount, and no CPU is
    about to correct that.

    bad_page() resets the counter of what it refuses (see `order`): a count that is still
    there was never looked at, or is looked at now.
    """
    finding = case.story.finding
    if finding is None or finding.ptes is None or (finding.mapcount or 0) <= finding.ptes:
        return False
    if finding.cls is FindingClass.MORE_MAPCOUNT_THAN_PTES:
        return (finding.refcount or 0) > 0
    return finding.cls is FindingClass.REFCOUNT_BELOW_MAPCOUNT and all_at_rest(case)


def zapped_and_leaked(case: Case) -> bool:
    """Return whether, by the events, a zap cleared the PTE and freed the page but removed no rmap
    of it."""
    return freed_while_counted(case) and never_removed(case) and pte_went_in_the_zap(case)


def counter_jumped(case: Case) -> bool:
    """Return whether the counter fell with no removal recorded, or rose between the last removal
    and the free."""
    jump = jump_of(case)
    return jump is not None and (not jump.rises or case.story.fault is not None)


def counted_once_too_often(case: Case) -> bool:
    """Return whether exactly one mapping is counted that has no PTE, and no event says otherwise.

    A counter that is several above the PTEs may be anything: each leak would be a bug of its own.
    """
    story, finding = case.story, case.story.finding
    if not counted_without_pte(case) or finding is None or counter_jumped(case):
        return False
    if cut_off(case):
        return False
    if story.removed_late or (finding.mapcount or 0) - (finding.ptes or 0) != 1:
        return False
    if other_page(case) is not None or printed_entry(case) is not None or unseen_entry(case):
        return False
    return story.fault is None or freed_while_counted(case)


def rmap_underflow(case: Case) -> bool:
    """Return whether one zap removed the page's rmap twice, the second time with none left.

    That the count is below 0 is not enough: an earlier zap that did not clear the PTE, and
    a later one that finds it, do the same between them.
    """
    story = case.story
    again = story.removed_again
    return bool(
        story.removed
        and again
        and again.raw_mapcount is not None
        and PAGE_MAPCOUNT_RESERVE <= again.raw_mapcount < 0
        and removals_are_seen(case)
        and not overlap(story.zap, story.earlier_zap)
        and not of_another(case)
        and taken_from(case) is None
    )


def zapped_again(case: Case) -> bool:
    """Return whether a zap found a PTE of a page that was not mapped: an earlier zap had removed
    the rmap only.

    Both went over the same addresses, each removed the rmap once, and the page was not
    mapped in between: the second removal began below 0.
    """
    story = case.story
    first, second = story.earlier, story.removed
    return bool(
        first
        and second
        and first.raw_mapcount == 0
        and second.raw_mapcount == -1
        and story.removed_again is None
        and is_zap(first.caller, case.evidence.resolve)
        and overlap(story.earlier_zap, story.zap)
        and removals_are_seen(case)
    )


def never_refused(case: Case) -> bool:
    """Return whether bad_page() has not reset the page's counter: it is in use, free, or refused
    just now."""
    finding = case.story.finding
    assert finding is not None
    in_use = (finding.refcount or 0) > 0
    return in_use or is_free(finding) or case.evidence.ended == "bad_page"


def pte_of_nobody(case: Case) -> bool:
    """Return whether, by the audit alone, a PTE has neither a mapcount nor a reference."""
    finding = case.story.finding
    if finding is None or not finding.ptes or not finding.mappings:
        return False
    if finding.mapcount is None or not at_rest(case, finding.mappings) or not never_refused(case):
        return False
    if is_free(finding):
        return finding.mapcount == 0
    # References, unlike mapcounts, are those of the whole folio.
    mapped = (finding.folio or {}).get("ptes", finding.ptes if is_small(finding) else 0)
    return finding.mapcount < finding.ptes and (finding.refcount or 0) < mapped


def zapped_but_there(case: Case) -> bool:
    """Return whether a zap removed the page's rmap and its owner's PTE still exists in that zap's
    range."""
    story, finding = case.story, case.story.finding
    if finding is None or story.earlier is None or (finding.mapcount or 0) >= (finding.ptes or 0):
        return False
    return (
        (story.earlier.raw_mapcount or 0) >= 0
        and any(within(story.earlier_zap, owner) for owner in finding.mappings)
        and is_zap(story.earlier.caller, case.evidence.resolve)
        and at_rest(case, finding.mappings)
        and removals_are_seen(case)
    )


def pte_left_behind(case: Case) -> bool:
    """Return whether the mapping's count is gone and its PTE is still there."""
    if case.story.removed or case.story.bad_pte:
        return zapped_again(case)
    if case.story.fault or case.story.state or other_page(case) is not None:
        return False
    return pte_of_nobody(case) or zapped_but_there(case)


def _may_be_zapped(case: Case, owner: Owner) -> bool:
    """Return whether the zap that freed the page may still clear the PTE: too early to say."""
    zap = case.story.zap or case.story.freed_in
    if zap and None not in (zap.mm, zap.addr, zap.end, owner.mm, owner.address):
        return within(zap, owner)
    return not at_rest(case, (owner,)) and not left_mapped(case)


def refcount_overput(case: Case) -> bool:
    """Return whether a reference of another holder was dropped: counted PTEs still map the page."""
    story, finding = case.story, case.story.finding
    if finding is None or not finding.ptes or finding.ptes != finding.mapcount:
        return False
    if any(_may_be_zapped(case, owner) for owner in finding.mappings) or not finding.mappings:
        return False
    if story.fault or story.state:
        return freed_while_counted(case) and ptes_at_the_stop(case) is not None
    # A large folio with a reference for each PTE counts a mapping too many: none is missing.
    mapped = (finding.folio or {}).get("ptes")
    if mapped is not None and (finding.refcount or 0) >= mapped:
        return False
    short = is_a(finding, FindingClass.REFCOUNT_BELOW_MAPCOUNT, FindingClass.MAPPED_BUT_FREE)
    return short and folio_is_mapped_as_counted(case)


def zero_page_freed(case: Case) -> bool:
    """Return whether a shared zero page has no reference left, and page tables map it."""
    finding = case.story.finding
    return is_a(finding, FindingClass.MAPPED_BUT_FREE) and zero_kind(finding) is not None


def zero_page_unmapped(case: Case) -> bool:
    """Return whether a zero page's mapcount is below 0 and an rmap of it was removed: none is ever
    added."""
    story = case.story
    if not story.removals and story.below_zero is None:
        return False  # or something wrote over the counter
    underflow = is_a(story.finding, FindingClass.MAPCOUNT_UNDERFLOW)
    return underflow and zero_kind(story.finding) is not None


def folio_is_mapped_as_counted(case: Case) -> bool:
    """Return whether all other pages of the folio are mapped exactly as often as they are
    counted."""
    finding, audit = case.story.finding, case.evidence.audit
    if finding is None or audit is None or finding.folio is None:
        return True
    same = [one for one in audit.findings if one.folio and one.pfn != finding.pfn]
    return all(
        one.ptes == one.mapcount
        for one in same
        if one.folio and one.folio.get("pfn") == finding.folio.get("pfn")
    )


def wrong_rmap(case: Case) -> bool:
    """Return whether, by the audit alone, an anonymous page's index or anon_vma does not lead to
    its PTE."""
    return not case.story.fault and is_a(case.story.finding, FindingClass.WRONG_RMAP)


def refcount_leaked(case: Case) -> bool:
    """Return whether, by the audit alone, a page has references that nothing holds or could hold
    unseen."""
    return not case.story.fault and is_a(case.story.finding, FindingClass.REFCOUNT_LEAKED)


def put_when_free(case: Case) -> bool:
    """Return whether the kernel's own check stopped a task that was about to drop a reference to a
    page without one (put_page_testzero(), include/linux/mm.h), and the page's life does not show
    why it had none."""
    if life_rules.mapped_without_rmap(case) or life_rules.refcount_overput(case):
        return False
    report = case.story.report
    if case.story.fault or case.story.state or report is None or report.refcount != 0:
        return False
    return unreferenced(report) == "dropped"


def locked_vm_mismatch(case: Case) -> bool:
    """Return whether an mm's locked_vm differs from the size of its VM_LOCKED VMAs."""
    return any(is_a(one, FindingClass.LOCKED_VM_MISMATCH) for one in case.story.counters)


def hugetlb_pool_mismatch(case: Case) -> bool:
    """Return whether the counters of a hugetlb pool differ from what it holds."""
    return any(is_a(one, FindingClass.HUGETLB_POOL_MISMATCH) for one in case.story.counters)


def mm_counter_mismatch(case: Case) -> bool:
    """Return whether an mm does not count the VMAs or page tables that it has."""
    return any(is_a(one, FindingClass.MM_COUNTER_MISMATCH) for one in case.story.counters)


def rss_mismatch(case: Case) -> bool:
    """Return whether the counters of an mm differ from what it maps, and no page is known to be
    wrong."""
    return bool(case.story.rss or case.story.rss_splats)
