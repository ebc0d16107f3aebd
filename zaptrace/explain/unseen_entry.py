"""A PTE that was changed by no recorded store: what cleared it took it for another entry.

A zap finds a PTE that is not present, special, beyond memory, or another page's.  It clears it, and
removes no rmap, or that other page's: it is right to.  The recorded lives of both pages would
blame the zap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zaptrace.explain.predicates import Case
from zaptrace.explain.rests_on import refer
from zaptrace.life.calls import Unit, same_call
from zaptrace.life.left_over import LeftOver, What
from zaptrace.life.named_life import NamedWrite
from zaptrace.model.findings import FindingClass
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import Reference

_OF_NO_PAGE = frozenset({"clear_not_present_full_ptes", "pte_clear_not_present_full"})
"""Helpers that clear an entry which is not present (include/linux/pgtable.h)."""
_PAGE_SHIFT = 12
_NUMBER = (1 << 52) - 1
_MOST_TWINS = 8
_FOR_ANOTHER = (What.PTE_STAYS, What.NO_PTE)


@dataclass(frozen=True, slots=True)
class Twin:
    """A page whose PTE was taken for this one's, or this one's for that.

    Attributes:
        pfn: the other page's.
        cleared, removed: the store that cleared the one's PTE, and the one that removed the
            other's rmap.
        led: the store that had made the one a tail page of the other's folio, though no compound
            page was made of them; None where there was none.
    """

    pfn: int
    cleared: NamedWrite
    removed: NamedWrite
    led: NamedWrite | None = None


def unseen_entry(case: Case) -> LeftOver | None:
    """Return the clearing of a PTE that had been changed before, as far as that is known."""
    if case.account is None:
        return None
    fact = case.account.first(What.PTE_CLEARED)
    if fact is None:
        return None
    by = {one.function for one in fact.among[0].frames}
    known = bool(by & _OF_NO_PAGE) or printed_entry(case) is not None
    return fact if known or taken_for(case) is not None else None


def taken_for(case: Case) -> Twin | None:
    """Return the page that this one's PTE was taken for, when it was cleared."""
    mine = case.account.first(What.PTE_CLEARED) if case.account is not None else None
    for pfn in _alike(case) if mine is not None else ():
        removed = _first(case, pfn, *_FOR_ANOTHER)
        if mine is not None and removed is not None and _together(mine.among[0], removed):
            return Twin(pfn, mine.among[0], removed)
    return None


def taken_from(case: Case) -> Twin | None:
    """Return the page whose PTE was taken for this one's, for which its rmap was removed."""
    mine = case.account.first(*_FOR_ANOTHER) if case.account is not None else None
    for pfn in _alike(case) if mine is not None else ():
        cleared = _first(case, pfn, What.PTE_CLEARED)
        if mine is not None and cleared is not None and _together(cleared, mine.among[0]):
            return Twin(pfn, cleared, mine.among[0])
    return None


def instead_of(case: Case) -> Twin | None:
    """Return the page whose PTE was cleared, and whose rmap was not removed, in the call that
    removed this one's for no PTE; None where none is known, or more than one."""
    audit, own = case.evidence.audit, case.story.pfn
    mine = case.account.first(*_FOR_ANOTHER) if case.account is not None else None
    if mine is None or audit is None:
        return None
    leaked = [one for one in audit.findings if one.cls is FindingClass.MORE_MAPCOUNT_THAN_PTES]
    found = []
    for one in leaked[:_MOST_TWINS]:
        cleared = _first(case, one.pfn, What.PTE_CLEARED) if one.pfn not in (None, own) else None
        if one.pfn is not None and cleared is not None and _together(cleared, mine.among[0]):
            found.append(
                Twin(one.pfn, cleared, mine.among[0], _made_a_tail(case, one.pfn, cleared))
            )
    return found[0] if len(found) == 1 and len(leaked) <= _MOST_TWINS else None


def _made_a_tail(case: Case, pfn: int, cleared: NamedWrite) -> NamedWrite | None:
    """Return the last store to a page's `compound_head` before its PTE was cleared, if that made it
    a tail page and no function that makes compound pages did it."""
    lives = case.evidence.lives
    account = lives.account(pfn, case.evidence.audit) if lives is not None else None
    for one in reversed(account.named.writes if account is not None else ()):
        change = one.write.change(_COMPOUND_HEAD)
        if change is not None and one.write.number < cleared.write.number:
            makes = any("compound" in function for function in one.functions())
            return one if change.after & 1 and not makes else None
    return None


_COMPOUND_HEAD = "lru.next"
"""What shares its place with a tail's compound_head, whose lowest bit says that it is one."""


def _alike(case: Case) -> Iterator[int]:
    """Yield the other pages that are known to be wrong, whose number differs in one bit."""
    audit, own = case.evidence.audit, case.story.pfn
    pages = [one.pfn for one in audit.findings] if audit is not None else []
    pages += [one.pfn for one in case.evidence.splats]
    alike = [one for one in pages if None not in (one, own) and _one_bit(one or 0, own or 0)]
    yield from list(dict.fromkeys(one for one in alike if one is not None))[:_MOST_TWINS]


def _first(case: Case, pfn: int | None, *kinds: What) -> NamedWrite | None:
    """Return the first store of another page's that has no partner yet."""
    lives = case.evidence.lives
    if lives is None or pfn is None:
        return None
    account = lives.account(pfn, case.evidence.audit)
    if account is None or not account.whole:
        return None
    found = (one for one in account.ledger.left_over if one.what in kinds)
    fact = next(found, None)
    return fact.among[0] if fact is not None else None


def _together(cleared: NamedWrite, removed: NamedWrite) -> bool:
    """Return whether a PTE was cleared and an rmap removed in one call, in this order."""
    before = cleared.write.number < removed.write.number
    return before and same_call(Unit(0, cleared), Unit(0, removed))


def _one_bit(one: int, other: int) -> bool:
    return (one ^ other).bit_count() == 1


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
