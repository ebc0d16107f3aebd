"""Anonymous folios against the places that their (swap) PTEs are at: `wrong_rmap`.

An anonymous folio's index and anon_vma lead to every PTE of it (rmap_walk_anon(), mm/rmap.c): a
PTE at an address of a VMA maps the page whose index is linear_page_index() of that address, and
the folio's anon_vma is one that the VMA is chained to.  __page_check_anon_rmap() asks the same of
one page, in kernels with DEBUG_VM.  Both hold as long as the PTE is there, and while a folio that
was swapped out waits in the swap cache.

KSM's pages have another rmap.  What KSM merged and swapped out comes back as an ordinary folio in
the swap cache, at whose index the first process lay that took it (ksm_might_need_to_copy()): where
KSM has run, the swap cache says nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import drgn
import numpy as np
from drgn.helpers.linux.list import list_for_each_entry

from zaptrace.audit import findings, invariants
from zaptrace.audit.arrays import Index, Mask, Words
from zaptrace.audit.functions import has_function
from zaptrace.audit.homes import Homes
from zaptrace.audit.locked import is_write_locked
from zaptrace.audit.mms import vma_at
from zaptrace.audit.objects import read_members
from zaptrace.audit.optional import is_broken
from zaptrace.audit.pagetables.nonpresent import SwapKind, swap_keys
from zaptrace.audit.rmap import Owners, Place, entry_at
from zaptrace.audit.slub import allocated_objects
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.page_flags import has_bit
from zaptrace.audit.structpages.table import MAPPING_ANON, MAPPING_FLAGS
from zaptrace.audit.vmatable import VmaTable, anon_pgoff_of
from zaptrace.model.findings import Finding, FindingClass

UNREADABLE = "anonymous pages whose VMA cannot be read"
MAX_CONFIRMED = 1000
"""Suspicions that are confirmed by the mm's own VMAs."""

_TEMPORARY = 0x00008000 | 0x00010000
"""VM_STACK_INCOMPLETE_SETUP, include/linux/mm.h: a stack that execve() is about to move."""
_MOST_CHAINS = 1 << 16


class _Mapped(NamedTuple):
    """Pages and the places that they should be mapped at; all of one shape.

    Attributes:
        page: index of the struct page.
        mm: by index.
        address: of the (swap) PTE.
        pgoff: the page's index as its folio says it.
        anon_vma: the folio's.
        area: the VMA's place in the table, -1 for none.
    """

    page: Index
    mm: Index
    address: Words
    pgoff: Words
    anon_vma: Words
    area: Index

    def take(self, which: Mask | Index) -> _Mapped:
        return _Mapped(
            self.page[which],
            self.mm[which],
            self.address[which],
            self.pgoff[which],
            self.anon_vma[which],
            self.area[which],
        )


def wrong_rmaps(
    state: KernelState, owners: Owners, homes: Homes, known: frozenset[int]
) -> list[Finding]:
    """Return the anonymous pages whose rmap does not lead to where their PTE is.

    Args:
        homes: the leaves by their VMAs; what those in bulk say is confirmed by the mm's own tree.
        known: pages that have another finding, by index.
    """
    found: dict[int, Finding] = {}
    table = homes.table
    for mapped, swapped in (
        (_present(state, homes), False),
        (_in_swap_cache(state, table), True),
    ):
        suspects = mapped.take(_suspicious(state, table, mapped))
        state.gaps[UNREADABLE] += max(len(suspects.page) - MAX_CONFIRMED, 0)
        for at in range(min(len(suspects.page), MAX_CONFIRMED)):
            one = suspects.take(np.array([at]))
            index = int(one.page[0])
            if index in known or index in found:
                continue
            note = _confirmed(state, one, swapped=swapped)
            if note:
                found[index] = _finding(state, owners, one, note, swapped=swapped)
    return list(found.values())


def _present(state: KernelState, homes: Homes) -> _Mapped:
    """Return what the present entries map elsewhere than their VMA has it, anonymous and not KSM's
    or hugetlb's."""
    recorded, walked = state.recorded, state.walked
    # hugetlb's index was in huge pages until "mm/filemap: remove hugetlb special casing in
    # filemap.c" (6.7).
    ordinary = recorded.known & ~recorded.hugetlb & ~recorded.free
    leaves = homes.not_of_anon
    leaves = leaves[ordinary[state.first[leaves]]]
    page = state.first[leaves]
    mm, area = walked.mm[leaves].astype(np.int64), homes.spans.area[homes.spans.of(leaves)]
    return _with_rmap(state, page, mm, walked.address[leaves], area)


def _with_rmap(state: KernelState, page: Index, mm: Index, address: Words, area: Index) -> _Mapped:
    heads = state.recorded.head[page]
    index, anon_vma, ordinary = _rmap_of(state, heads)
    pgoff = index + (page - heads).astype(np.uint64)
    return _Mapped(page, mm, address, pgoff, anon_vma, area).take(ordinary)


def _rmap_of(state: KernelState, heads: Index) -> tuple[Words, Words, Mask]:
    """Return of some folios' first pages: index, anon_vma, and which are anonymous and not
    KSM's."""
    pages = state.pages
    if not pages.has("index"):
        raise LookupError("struct page without index")
    mapping = pages.column("mapping", heads)
    ordinary = (mapping & np.uint64(MAPPING_FLAGS)) == MAPPING_ANON
    return pages.column("index", heads), mapping - np.uint64(MAPPING_ANON), ordinary


def _in_swap_cache(state: KernelState, table: VmaTable) -> _Mapped:
    """Swap entries of page tables whose folio is in the swap cache, and has an rmap."""
    none, nowhere = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    nothing = _Mapped(nowhere, nowhere, none, none, none, nowhere)
    here = np.flatnonzero(state.absent.kind == SwapKind.SWAP)
    if not len(here) or _ksm_may_have_merged(state.prog):
        return nothing
    cached = _swap_cache(state)
    if not len(cached):
        return nothing
    rows, good = read_members(
        state.prog,
        state.pages.layout,
        "struct page",
        {"entry": "private"},
        state.pages.addresses(cached),
    )
    cached, entries = cached[good], rows["entry"][good]
    order = np.argsort(entries)
    cached, entries = cached[order], entries[order]
    keys = swap_keys(state.fmt, state.walked.nonpresent, here)
    at = np.searchsorted(entries, keys, side="right") - 1
    sizes = np.left_shift(np.uint64(1), state.recorded.order[cached].astype(np.uint64))
    inside = (at >= 0) & (keys - entries[at] < sizes[at])
    pages = cached[at[inside]] + (keys - entries[at])[inside].astype(np.int64)
    where = here[inside]
    nonpresent = state.walked.nonpresent
    mm, address = nonpresent.mm[where].astype(np.int64), nonpresent.address[where]
    return _with_rmap(state, pages, mm, address, table.find(mm, address))


def _swap_cache(state: KernelState) -> Index:
    """First pages of the anonymous folios in the swap cache."""
    try:
        number = int(state.prog.constant("PG_swapcache").value_())
    except LookupError:
        return np.zeros(0, np.int64)
    recorded = state.recorded
    cached = has_bit(state.pages.column("flags"), number) & recorded.anon & recorded.swapbacked
    cached &= recorded.known & ~recorded.free & (recorded.refcount > 0) & ~recorded.hugetlb
    heads = np.flatnonzero(cached)
    first: Index = heads[recorded.head[heads] == heads]
    return first


def _ksm_may_have_merged(prog: drgn.Program) -> bool:
    if not has_function(prog, "ksm_might_need_to_copy"):
        return False
    try:
        return bool(
            prog["ksm_run"].value_()
            or prog["ksm_pages_shared"].value_()
            or prog["ksm_scan"].seqnr.value_()
        )
    except (LookupError, AttributeError, drgn.FaultError):
        return True


def _suspicious(state: KernelState, table: VmaTable, mapped: _Mapped) -> Index:
    """Return which disagree with the VMAs in bulk, or lie where two of those overlap."""
    there = np.flatnonzero(mapped.area >= 0)
    some = mapped.take(there)
    area = some.area
    shift = np.uint64(state.pages.layout.page_shift)
    expected = table.anon_pgoff[area] + ((some.address - table.start[area]) >> shift)
    wrong = (expected != some.pgoff) | table.overlapping[area]
    foreign = np.flatnonzero(~wrong & (table.anon_vma[area] != some.anon_vma))
    if len(foreign):
        chained = _chained(state)
        pairs = zip(
            table.address[area[foreign]].tolist(), some.anon_vma[foreign].tolist(), strict=True
        )
        wrong[foreign] = [pair not in chained for pair in pairs]
    suspicious: Index = there[wrong]
    return suspicious


def _chained(state: KernelState) -> frozenset[tuple[int, int]]:
    """Every VMA and anon_vma that an anon_vma_chain joins, by address."""
    prog = state.prog
    try:
        found = allocated_objects(
            prog["anon_vma_chain_cachep"], state.pages, state.flags, state.gaps
        )
        rows, good = read_members(
            prog,
            state.pages.layout,
            "struct anon_vma_chain",
            {"vma": "vma", "anon_vma": "anon_vma"},
            np.array(found, np.uint64),
        )
    except Exception as error:
        if not is_broken(error):
            raise
        return frozenset()
    return frozenset(zip(rows["vma"][good].tolist(), rows["anon_vma"][good].tolist(), strict=True))


def _confirmed(state: KernelState, one: _Mapped, *, swapped: bool) -> str | None:
    """Return what is wrong according to the mm's own VMAs; None when nothing is, or when they are
    being changed."""
    number, address = int(one.mm[0]), int(one.address[0])
    mm, busy = state.mms[number], state.in_flight.get(number)
    try:
        if mm.obj.mm_users.counter.value_() <= 0 or is_write_locked(mm.obj):
            return None
        if busy is not None and (busy.guards(address) or busy.collapsing):
            return None
        vma = vma_at(mm, address)
        if vma is None or vma.vm_flags.value_() & _TEMPORARY == _TEMPORARY:
            return None
        shift = state.pages.layout.page_shift
        start: int = vma.vm_start.value_()
        expected = anon_pgoff_of(vma) + ((address - start) >> shift)
        what = "swap PTE" if swapped else "PTE"
        stored = int(one.pgoff[0])
        if stored != expected:
            return f"its index is {stored:#x}, its {what} at {address:#x} is that of {expected:#x}"
        if int(one.anon_vma[0]) not in set(_anon_vmas(vma)):
            return (
                f"its anon_vma {int(one.anon_vma[0]):#x} does not lead to the VMA of its {what} "
                f"at {address:#x}"
            )
    except Exception as error:
        if not is_broken(error) and not isinstance(error, NotImplementedError):
            raise
        state.gaps[UNREADABLE] += 1
    return None


def _anon_vmas(vma: drgn.Object) -> Iterator[int]:
    chains = list_for_each_entry(
        "struct anon_vma_chain", vma.anon_vma_chain.address_of_(), "same_vma"
    )
    for number, chain in enumerate(chains):
        if number >= _MOST_CHAINS:
            raise ValueError("an endless list")
        yield chain.anon_vma.value_()


def _finding(
    state: KernelState, owners: Owners, one: _Mapped, note: str, *, swapped: bool
) -> Finding:
    index = int(one.page[0])
    suspect = invariants.Suspect(index, FindingClass.WRONG_RMAP, int(state.ptes[index]))
    finding = findings.page_finding(state, owners, suspect)
    mappings = finding.mappings
    place = Place(int(one.mm[0]), int(one.address[0]))
    if swapped:
        mappings += (owners.owner(place),)
    mm, at = state.mms[place.mm].address, entry_at(state, place)
    mappings = tuple(
        dataclasses.replace(owner, entry_at=at)
        if (owner.mm, owner.address) == (mm, place.address)
        else owner
        for owner in mappings
    )
    return dataclasses.replace(finding, mappings=mappings, note=note)
