"""PG_lru against the LRU lists: `lru_flag_mismatch`.

A folio is on an LRU list exactly while PG_lru is set, but for

- what takes it off: folio_isolate_lru() clears the flag and then takes lru_lock, and the others do
  both under it, as does what adds it (lru_add_fn());
- a folio in a CPU's batch that is to be moved to another list: it may have lost the flag already
  ("mm/gup: clear the LRU flag of a page before adding to LRU batch", 6.11; reverted later);
- an unevictable one, which has the flag and is on no list ("mm/munlock: maintain page->mlock_count
  while unevictable", 5.18).

So in a kernel in which no task is in the middle of something the lists and the flags agree; and a
free page is on no list, whatever a task does: it is taken off before (__page_cache_release()).
What a folio's lru.next leads to is on its list: the lists are not walked one by one, but all at
once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import drgn
import numpy as np

from zaptrace.audit import findings, invariants
from zaptrace.audit.arrays import NOWHERE, Index
from zaptrace.audit.quiet import task_at_large
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.page_flags import has_bit
from zaptrace.model.findings import Finding, FindingClass

_POISON = 0xDEAD  # CONFIG_ILLEGAL_POINTER_VALUE's first 16 bits
_LOWEST = 0x1000
MOST_FOUND = 1000
BEYOND = f"folios whose PG_lru is wrong, beyond the first {MOST_FOUND:,}"
_NOT_SET = "it is on an LRU list, and PG_lru is not set: reclaim leaves it alone"
_FREE = "an LRU list leads to it, and it is free: it was freed without being taken off"
_ON_NONE = "PG_lru is set, and it is on no LRU list: who takes it off breaks another list"


def lru_findings(
    state: KernelState,
    owners: Owners,
    in_batches: Callable[[], frozenset[int]],
    known: frozenset[int],
    *,
    running: bool = False,
) -> Iterator[Finding]:
    """Yield a finding for each folio of which PG_lru and the lists say different things.

    Args:
        in_batches: the folios in CPUs' batches, by the index of their first page.
        known: struct pages with a finding already.
        running: see `zaptrace.audit.quiet.task_at_large`.

    Raises:
        LookupError: this kernel has no such flags, or a struct page without `lru`.
    """
    without, alone = _suspects(state)
    if not len(without) and not len(alone):
        return
    batches, free = in_batches(), state.recorded.free
    on_none: list[int] = []
    off: set[int] = set(without.tolist())
    for index in alone.tolist():
        leads_back, before = _before(state, index)
        if before != NOWHERE and (leads_back or free[before]):
            # The first one of its list, which has lost the flag; or one whose link was reused.
            off.add(before)
        elif not leads_back:
            on_none.append(index)
    found = [(index, _FREE) for index in sorted(off) if free[index]]
    # A struct page that the dump has not is zeros.
    in_use = [index for index in sorted(off) if state.recorded.refcount[index] > 0]
    moved = [
        *((index, _NOT_SET) for index in in_use if not free[index] and index not in batches),
        *((index, _ON_NONE) for index in on_none),
    ]
    if moved and task_at_large(state, running=running):
        moved = []
    found = [one for one in (*found, *moved) if one[0] not in known]
    state.gaps[BEYOND] += max(len(found) - MOST_FOUND, 0)
    for index, note in found[:MOST_FOUND]:
        ptes = int(state.ptes[index])
        suspect = invariants.Suspect(index, FindingClass.LRU_FLAG_MISMATCH, ptes)
        yield dataclasses.replace(findings.page_finding(state, owners, suspect), note=note)


def _suspects(state: KernelState) -> tuple[Index, Index]:
    """Return the pages that others with PG_lru lead to and that lack it, and those that have it
    and that none leads to: the first ones of the lists, too."""
    names = ("PG_lru", "PG_unevictable")
    lru, unevictable = (int(state.prog.constant(name).value_()) for name in names)
    pages, recorded = state.pages, state.recorded
    flags = pages.column("flags")
    bits = np.uint64(1 << lru | 1 << unevictable)
    on_list = (flags & bits) == np.uint64(1 << lru)
    listed = np.flatnonzero(on_list)
    member = np.uint64(drgn.offsetof(state.prog.type("struct page"), "lru"))
    to = pages.indices_at(pages.links()[listed] - member)
    led_to = np.zeros(len(flags), bool)
    led_to[to[to != NOWHERE]] = True
    alone = np.flatnonzero(on_list & ~led_to)
    has_lru = has_bit(flags, lru)
    # What a free page or a tail has there says nothing.
    says = recorded.known & ~recorded.free
    by = np.flatnonzero((to != NOWHERE) & ~has_lru[to])
    by = by[says[listed[by]] & (recorded.head[listed[by]] == listed[by])]
    without = np.unique(to[by])
    # Without a reference one is on its way to the allocator, or was refused there.
    alone = alone[says[alone] & (recorded.head[alone] == alone) & (recorded.refcount[alone] > 0)]
    return without[recorded.known[without]], alone


def _before(state: KernelState, index: int) -> tuple[bool, int]:
    """Return whether a page's lru.prev leads to what leads back, a list's head or a page; and
    which page that is, NOWHERE for a head.

    What cannot be read is taken to lead back, but for what list_del() has left (LIST_POISON2).
    """
    address = int(state.pages.addresses(np.array([index]))[0])
    lru = drgn.Object(state.prog, "struct page *", value=address).lru
    try:
        mine, prev = lru.address_of_().value_(), lru.prev.value_()
    except drgn.FaultError:
        return True, NOWHERE
    before = state.pages.index_at(prev - (mine - address))
    try:
        return lru.prev.next.value_() == mine, before
    except drgn.FaultError:
        return not (prev < _LOWEST or prev >> 48 == _POISON), before
