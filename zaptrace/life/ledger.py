"""A page's ledger: each get with its put, each rmap with its PTE, and what is left over.

What was recorded is paired.  Where stores to page tables were not recorded, each rmap is paired
with its removal, by count.  The ledger says which stores have no partner, and where two of several
may be the one too many, it names all of them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from zaptrace.life.calls import ENTRIES, Unit, stores_of, units_of
from zaptrace.life.flags import is_head, is_large, is_reserved, last_put_by_freeze
from zaptrace.life.folio_references import folio_references
from zaptrace.life.left_over import HELD, LeftOver, What
from zaptrace.life.mappings import (
    Mappings,
    is_of_zero_folio,
    is_typed,
    pair_mappings,
    splits,
)
from zaptrace.life.named_life import STRAY, NamedLife, NamedWrite
from zaptrace.life.page_life import ENTIRE, Role
from zaptrace.life.page_members import MAPCOUNT, REFCOUNT, PageFields
from zaptrace.life.page_references import page_references, references_since_the_boot
from zaptrace.life.unseen import changed_unseen

_OF_A_PMD = re.compile(r"huge_pmd|do_set_pmd|migration_pmd|pmd_migration")
"""do_set_pmd(), zap_huge_pmd(), copy_huge_pmd(), remove_migration_pmd() and their like."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was paired, and what was not.

    Attributes:
        adds, removals: of the page's rmap.
        gets, puts: of its references, the one that it was allocated with among them.
        left_over: in the order of their stores.
        unpaired: why there is no ledger, or no ledger of its references; None when there is.
    """

    adds: int = 0
    removals: int = 0
    gets: int = 0
    puts: int = 0
    left_over: tuple[LeftOver, ...] = ()
    unpaired: str | None = None


def ledger(
    named: NamedLife,
    fields: PageFields,
    ptes: int | None = None,
    often: Mapping[int, int] | None = None,
) -> Ledger:
    """Pair what was recorded since the page was allocated.

    Of a page whose allocation was not recorded (one of the boot's own, like the zero page) the
    mappings alone are paired; and its references where it is reserved, for nothing may
    drop the one that it has since the boot.

    Args:
        ptes: how many PTEs mapped the page when the guest was stopped, where that is known: it
            distinguishes a mapping that still exists from one whose rmap was forgotten.
        often: instruction -> how often it stored in the whole boot.
    """
    writes = named.writes
    unknown = None if named.life.since_allocation else "its allocation was not recorded"
    reserved = unknown is not None and is_reserved(writes, fields)
    if unknown and not (named.life.entries or reserved):
        return Ledger(unpaired=unknown)
    if (broken := _broken(writes)) is not None:
        return broken
    adds = units_of(writes, ("mapped",), MAPCOUNT)
    removals = units_of(writes, ("unmapped",), MAPCOUNT)
    gets = units_of(writes, ("allocated", "got"), REFCOUNT)
    frozen = last_put_by_freeze(writes)
    puts = units_of(writes, ("put", "freed"), REFCOUNT, also=frozen)
    left = [*_strays(writes), *_freed(writes, frozen)]
    dropped: tuple[NamedWrite, ...] = ()
    whole = [units_of(writes, (role,), ENTIRE) for role in ("mapped", "unmapped")]
    large = is_large(writes, fields)
    head = named.life.pages > 1 or is_head(writes, fields)
    counted = [one for one in writes if one is not frozen]
    why = unknown or _no_references(counted, is_tail=large and not head)
    paired = _paired(named, [*adds, *removals], large=large)
    mappings = pair_mappings(writes, paired) if paired else None
    if mappings is not None and ptes is None and MAPCOUNT in paired:
        ptes = mappings.ptes_at_the_stop
    mapped = _is_mapped(adds, removals, ptes)
    taken = (adds, removals) if mappings is None else _taken(mappings, removals)
    left += references_since_the_boot(taken, gets, puts) if reserved else []
    if why is None and large:
        left += folio_references(named, frozen)
    elif why is None:
        found, dropped = page_references(taken, mappings, gets, puts, mapped)
        left += found
    if MAPCOUNT not in paired:
        missing = _mappings(_of_ptes(adds, paired), _of_ptes(removals, paired), dropped)
        # A mapping that is still there owes nothing.
        left += [one for one in missing if not (mapped and one.what is What.RMAP_NOT_REMOVED)]
    left += _alone(mappings)
    added, removed = len(adds) + len(whole[0]), len(removals) + len(whole[1])
    return Ledger(added, removed, len(gets), len(puts), _in_order(left, often), why)


def _broken(writes: Sequence[NamedWrite]) -> Ledger | None:
    """Return the ledger of a life whose stores do not give its counters; None when they do."""
    if any(not one.write.valued for one in writes):
        return Ledger(unpaired="the value of a store is not known")
    if any(map(_has_another_stack, writes)):
        return Ledger(unpaired="the call stack of a store is another task's")
    odd = changed_unseen(writes)
    if odd is None:
        return None
    unseen = LeftOver(What.UNSEEN, 1, (odd[0],))
    return Ledger(left_over=(unseen,), unpaired=f"its {odd[1]} changed without a store")


def _has_another_stack(one: NamedWrite) -> bool:
    """Return whether the scheduler, or an entry of the kernel, seems to have changed the rmap.

    A stack that is followed from outside can get lost: it is then that of the task which ran
    before.
    """
    caller = one.callers[0] if one.callers else ()
    if one.role not in (Role.MAPPED, Role.UNMAPPED):
        return False
    return any(by.file.startswith("kernel/sched/") or by.function in ENTRIES for by in caller)


def _paired(named: NamedLife, rmaps: list[Unit], *, large: bool) -> list[str]:
    """Return the counters whose steps are paired with the entries that map the page: those of which
    all entries are known."""
    if not named.life.entries:
        return []
    # Of a large folio's pages some kernels count nothing one by one (CONFIG_NO_PAGE_MAPCOUNT).
    counted = not large or (bool(rmaps) and not _by_pmd(rmaps))
    found = [MAPCOUNT] if counted and not is_typed(named.writes) else []
    if large and named.life.folio and not is_of_zero_folio(named.writes):
        found.append(ENTIRE)
    return found


def _alone(mappings: Mappings | None) -> list[LeftOver]:
    found = mappings.alone if mappings is not None else ()
    return [LeftOver(one.what, 1, (one.write,)) for one in found]


def _in_order(left: list[LeftOver], often: Mapping[int, int] | None) -> tuple[LeftOver, ...]:
    if often is not None:
        left = [_by_rarity(one, often) for one in left]
    return tuple(sorted(left, key=_order))


def _taken(mappings: Mappings, removals: list[Unit]) -> tuple[list[Unit], list[Unit]]:
    """Return what took a mapping's reference, and what drops it.

    A zap that leaves its PTE for good drops the mapping's own: nothing clears the PTE later.
    """
    stays = [one.write for one in mappings.alone if one.what is What.PTE_STAYS]
    left = [one for one in removals if one.write in stays][: mappings.ptes]
    return mappings.sets, sorted([*mappings.clears, *left], key=lambda one: one.at)


def _order(one: LeftOver) -> tuple[bool, int, bool]:
    """Return a sort key: by time, causes before effects; what is merely held comes last."""
    first = min(write.write.number for write in one.among)
    return one.what in HELD, first, one.what is What.FREED_WHILE_MAPPED


def _by_rarity(one: LeftOver, often: Mapping[int, int]) -> LeftOver:
    """Sort stores so that the one made least often by other lives comes first."""
    among = sorted(one.among, key=lambda write: often.get(write.write.pc, 0))
    counts = tuple(often.get(write.write.pc, 0) for write in among)
    return dataclasses.replace(one, among=tuple(among), often=counts)


def _is_mapped(adds: list[Unit], removals: list[Unit], ptes: int | None) -> bool | None:
    """Return whether each rmap had its PTE at the stop; None when that is not known."""
    if ptes is None:
        return None
    there = [sum(not one.write.write.after_stop for one in units) for units in (adds, removals)]
    return ptes >= there[0] - there[1]


def _freed(writes: Sequence[NamedWrite], frozen: NamedWrite | None) -> Iterator[LeftOver]:
    """Frees of a page that was mapped."""
    counts = {MAPCOUNT: -1, ENTIRE: -1}
    for one in writes:
        counts |= {each.name: each.after for each in one.write.changes if each.name in counts}
        if (one.role == "freed" or one is frozen) and max(counts.values()) >= 0:
            yield LeftOver(What.FREED_WHILE_MAPPED, 1, (one,))


def _strays(writes: Iterable[NamedWrite]) -> Iterator[LeftOver]:
    for one in writes:
        if one.role == STRAY and not one.write.after_stop:
            yield LeftOver(What.STRAY, 1, (one,))


def _by_pmd(units: Iterable[Unit]) -> bool:
    """Return whether an rmap may belong to a huge page's PMD, which has no PTE."""
    return any(_is_of_pmd(one) and not _is_of_split(one) for one in units)


def _is_of_pmd(unit: Unit) -> bool:
    return any(_OF_A_PMD.search(name) for name in unit.write.functions())


def _is_of_split(unit: Unit) -> bool:
    """Return whether it is of a PTE that took the place of a part of the PMD.

    Where __split_huge_pmd_locked() counts by itself (before v6.2), it may count each page once more
    (PG_double_map).
    """
    files = {frame.file for frame in unit.write.frames}
    return splits(unit.write) and bool(files & {"mm/rmap.c", "include/linux/rmap.h"})


_OF_A_FILE = frozenset({"page_add_file_rmap", "page_remove_file_rmap"})
"""Functions that count a file's folio as a whole, and each page of it as well (before v6.2)."""


def _of_ptes(units: list[Unit], paired: list[str]) -> list[Unit]:
    """Return those that `_entire_mapcount` does not count as well."""
    if ENTIRE not in paired:
        return units
    return [
        one for one in units if not (_is_of_pmd(one) and _OF_A_FILE & set(one.write.functions()))
    ]


def _no_references(writes: Sequence[NamedWrite], *, is_tail: bool) -> str | None:
    """Why the page's references cannot be paired."""
    for one in writes:
        # A cmpxchg that fails stores what was there (x86_64; folio_batch_move_lru() of 7.x tries).
        if one.role in ("frozen", "thawed") and one.write.change(REFCOUNT):
            return "its references were frozen for a while"
        if one.role == STRAY and one.write.change(REFCOUNT):
            return "something stored over its reference count"
    if is_tail:
        return "it is a tail of a large folio, whose references are its head's"
    return None


def _mappings(
    adds: list[Unit], removals: list[Unit], dropped: tuple[NamedWrite, ...]
) -> Iterator[LeftOver]:
    """Yield rmaps added but never removed, or removed but never added; which of several is not
    known."""
    count = len(adds) - len(removals)
    if count > 0:
        yield LeftOver(What.RMAP_NOT_REMOVED, count, stores_of(adds), dropped)
    elif count < 0:
        yield LeftOver(What.REMOVED_TOO_OFTEN, -count, stores_of(removals))
