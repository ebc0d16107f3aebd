"""Free lists that do not lead on as a list does: `free_list_broken`.

A page that is added to a list a second time, or that is taken off one and not off the other, leaves
a list that runs in a circle, runs into another list, or leads to a page that is in use: the
allocator hands a page out twice, or loses the rest of the list.  A kernel without DEBUG_LIST says
nothing of it.

The buddy allocator's lists are looked at all at once: each page of theirs has one page or list head
before it.  They change under a lock, so that they are judged where no task is in the middle of
something.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import drgn
import numpy as np

from zaptrace.audit import findings, invariants
from zaptrace.audit.arrays import NOWHERE
from zaptrace.audit.quiet import task_at_large
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.pcp_lists import breaks
from zaptrace.model.findings import Finding, FindingClass

MOST_FOUND = 64
BEYOND = f"breaks of free lists, beyond the first {MOST_FOUND}"


def broken_free_lists(
    state: KernelState,
    owners: Owners,
    known: frozenset[int],
    *,
    running: bool = False,
) -> Iterator[Finding]:
    """Yield a finding for each page at which a free list breaks; none of a running kernel, whose
    lists change while they are read.

    Args:
        known: struct pages with a finding already.

    Raises:
        LookupError: a struct page without `lru`.
    """
    if running:
        return
    found = dict([*breaks(state.prog, state.pages), *_of_buddies(state)])
    found = {index: what for index, what in found.items() if index not in known}
    if not found or task_at_large(state, running=False):
        return
    state.gaps[BEYOND] += max(len(found) - MOST_FOUND, 0)
    for index, what in sorted(found.items())[:MOST_FOUND]:
        ptes = int(state.ptes[index])
        suspect = invariants.Suspect(index, FindingClass.FREE_LIST_BROKEN, ptes)
        used = "in use and " if state.recorded.refcount[index] > 0 else ""
        yield dataclasses.replace(
            findings.page_finding(state, owners, suspect), note=f"it is {used}{what}"
        )


def _of_buddies(state: KernelState) -> Iterator[tuple[int, str]]:
    """Yield the pages of the buddy allocator that lead to a page that another one leads to, too, or
    to a page that is not the allocator's; each with what it is."""
    pages, recorded = state.pages, state.recorded
    raw = pages.column("raw_mapcount")
    buddy = state.flags.buddy
    buddies = np.flatnonzero(recorded.known & (raw == buddy))
    member = np.uint64(drgn.offsetof(state.prog.type("struct page"), "lru"))
    to = pages.indices_at(pages.links()[buddies] - member)
    buddies, to = buddies[to != NOWHERE], to[to != NOWHERE]  # others lead to a list's head
    once, before = np.unique(to, return_inverse=True)
    twice = (np.bincount(before, minlength=len(once)) > 1)[before]
    foreign = pages.readable[to] & recorded.known[to] & (raw[to] != buddy)
    for index, target, is_foreign in zip(
        *(each[twice | foreign].tolist() for each in (buddies, to, foreign)), strict=True
    ):
        pfn = int(pages.pfns(np.array([target]))[0])
        what = (
            "is not the buddy allocator's" if is_foreign else "another free page leads to as well"
        )
        yield (
            index,
            (
                f"on a free list (the buddy allocator's), and its lru.next leads to pfn {pfn:#x}, "
                f"which {what}"
            ),
        )
