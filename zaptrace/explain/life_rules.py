"""The rules that ask a page's recorded life: whatever function it was, by its own stores."""

from __future__ import annotations

from zaptrace.explain.predicates import Case, changed_members, planted_member
from zaptrace.explain.unseen_entry import instead_of, taken_from, unseen_entry
from zaptrace.life.left_over import What

_MAPPING = (What.PTE_WITHOUT_RMAP, What.PTE_CLEARED, What.PTE_STAYS, What.NO_PTE)


def _has(case: Case, *kinds: What) -> bool:
    return case.account is not None and case.account.first(*kinds) is not None


def _begins_with(case: Case, *kinds: What) -> bool:
    """Return whether the first thing that went wrong with the page's mappings is of one of these
    kinds.

    What came later may follow from it: a PTE that was not counted is removed once too often.
    """
    if case.account is None or _has(case, What.STRAY):
        return False
    first = case.account.first(*_MAPPING)
    return first is not None and first.what in kinds


def table_lost(case: Case) -> bool:
    """Return whether it is a page table that was never freed."""
    return case.story.lost_table is not None and case.account is not None


def scribbled(case: Case) -> bool:
    """Return whether the struct page was written by code that has no business there, or by no
    store at all, or holds what the kernel died of, or was taken for another's that had been made
    its tail by a stray store."""
    if _has(case, What.STRAY, What.UNSEEN) or changed_members(case):
        return True
    twin = instead_of(case)
    return planted_member(case) is not None or (twin is not None and twin.led is not None)


def freed_twice(case: Case) -> bool:
    """Return whether a reference was dropped when the page had none left.

    Where one was put too often before, or was never taken for a mapping, that is why.
    """
    if case.account is None:
        return False
    first = case.account.first(What.FREED_TWICE, What.MAPPED_WITHOUT_GET, What.PUT_WITHOUT_GET)
    return first is not None and first.what is What.FREED_TWICE and taken_from(case) is None


def mapped_without_rmap(case: Case) -> bool:
    """Return whether a PTE was set, and no rmap was added in that call."""
    return _begins_with(case, What.PTE_WITHOUT_RMAP)


def mapping_leaked(case: Case) -> bool:
    """Return whether a PTE was cleared, and no rmap was removed in that call."""
    return _begins_with(case, What.PTE_CLEARED) and unseen_entry(case) is None


def rmap_without_pte(case: Case) -> bool:
    """Return whether an rmap was added, and no PTE set in that call."""
    if case.account is None or _has(case, What.STRAY):
        return False
    first = case.account.first(*_MAPPING, What.RMAP_WITHOUT_PTE)
    return first is not None and first.what is What.RMAP_WITHOUT_PTE


def pte_left_behind(case: Case) -> bool:
    """Return whether the rmap was removed, and the PTE of that mapping was not cleared in that
    call.

    With a PTE that was cleared later and without an rmap the two only came in the wrong order.
    """
    stays = _begins_with(case, What.PTE_STAYS) and not _has(case, What.PTE_CLEARED)
    return stays and taken_from(case) is None


def rmap_underflow(case: Case) -> bool:
    """Return whether the rmap was removed when no PTE of the page was left."""
    if _has(case, What.FREED_WHILE_MAPPED):
        return False
    return _begins_with(case, What.NO_PTE) and taken_from(case) is None


def refcount_overput(case: Case) -> bool:
    """Return whether a reference was put that had not been taken, or a mapping took none of its
    own."""
    if _has(case, What.STRAY, *_MAPPING):
        return False
    return _has(case, What.PUT_WITHOUT_GET, What.MAPPED_WITHOUT_GET)


def freed_before_rmap_removed(case: Case) -> bool:
    """Return whether the page was freed while mapped, and its rmap removed only then, each PTE with
    its own."""
    if case.account is None or _has(case, What.STRAY, What.PUT_WITHOUT_GET, *_MAPPING):
        return False
    removal = case.account.late_removal()
    return case.account.whole and removal is not None
