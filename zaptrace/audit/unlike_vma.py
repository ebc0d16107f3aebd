"""Findings of page-table entries that their VMA excludes: see `zaptrace.audit.entries`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from zaptrace.audit import findings, invariants
from zaptrace.audit.arrays import Index
from zaptrace.audit.entries import (
    VM_DRIVERS,
    VM_EXEC,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    EntryRules,
    Wrong,
    has_any,
)
from zaptrace.audit.homes import Homes
from zaptrace.audit.locked import is_lock_free
from zaptrace.audit.optional import is_broken
from zaptrace.audit.rmap import Owners, Place, entry_at
from zaptrace.audit.spans import Spans
from zaptrace.audit.state import KernelState
from zaptrace.audit.vmatable import VmaTable
from zaptrace.model.findings import Finding, FindingClass

MOST_CONFIRMED = 1000
"""Suspicions that are confirmed by the mm's own VMAs."""
BEYOND = f"entries that their VMA excludes, beyond the first {MOST_CONFIRMED:,}"
UNREADABLE = "entries whose VMA cannot be read"

_SAYS = {
    Wrong.NOT_ANONYMOUS: (
        FindingClass.WRONG_FILE_PAGE,
        "is in an anonymous mapping, and the page is not anonymous",
    ),
    Wrong.NOT_OF_FILE: (
        FindingClass.WRONG_FILE_PAGE,
        "is in a file's mapping, and the page is not of that file",
    ),
    Wrong.OTHER_INDEX: (
        FindingClass.WRONG_FILE_PAGE,
        "is where its VMA maps another page of the file",
    ),
    Wrong.OTHER_FILE: (
        FindingClass.WRONG_FILE_PAGE,
        "is where its VMA maps another file",
    ),
    Wrong.WRITES_NOT_EXCLUSIVE: (
        FindingClass.WRITABLE_NOT_OWN,
        "may write, and the anonymous page is not marked exclusive (PG_anon_exclusive)",
    ),
    Wrong.WRITES_PAGE_CACHE: (
        FindingClass.WRITABLE_NOT_OWN,
        "may write, its mapping is private, and the page is the page cache's",
    ),
    Wrong.WRITES_KSM: (
        FindingClass.WRITABLE_NOT_OWN,
        "may write, and the page is KSM's",
    ),
    Wrong.BEYOND_PROT_NONE: (
        FindingClass.PTE_BEYOND_VMA,
        "may be used, and its VMA may not be accessed (PROT_NONE)",
    ),
    Wrong.BEYOND_EXEC: (
        FindingClass.PTE_BEYOND_VMA,
        "may be executed, and its VMA may not (VM_EXEC)",
    ),
    Wrong.BEYOND_WRITE: (
        FindingClass.PTE_BEYOND_VMA,
        "may write, and its VMA may not be written (VM_WRITE)",
    ),
    Wrong.OUTSIDE: (FindingClass.PTE_OUTSIDE_VMAS, "is in no VMA"),
}


def entries_unlike_vma(
    state: KernelState, owners: Owners, homes: Homes, rules: EntryRules, known: frozenset[int]
) -> Iterator[Finding]:
    """Yield a finding for each page that an entry maps in a way that its VMA excludes.

    Args:
        homes: the leaves by their VMAs.
        rules: what may not be in this kernel.
        known: struct pages with a finding already.
    """
    suspects = _suspects(state, homes, rules)
    suspects = suspects[~np.isin(state.first[suspects], list(known))]
    state.gaps[BEYOND] += max(len(suspects) - MOST_CONFIRMED, 0)
    seen = set(known)
    for leaf in suspects[:MOST_CONFIRMED].tolist():
        index = int(state.first[leaf])
        if index in seen or index < 0:
            continue
        try:
            wrong = _confirmed(state, rules, leaf)
        except Exception as error:
            if not is_broken(error) and not isinstance(error, NotImplementedError):
                raise
            state.gaps[UNREADABLE] += 1
            continue
        if wrong:
            seen.add(index)
            yield _finding(state, owners, leaf, wrong)


def _suspects(state: KernelState, homes: Homes, rules: EntryRules) -> Index:
    """Return the leaves that the VMAs in bulk exclude."""
    table, spans = homes.table, homes.spans
    if not len(spans.start):
        return np.zeros(0, np.int64)
    large = np.arange(state.walked.large)
    looked_at = np.unique(
        np.concatenate(
            [
                large,
                _beyond_rights(state, table, rules, spans),
                homes.not_of_file,
            ]
        )
    )
    if not len(looked_at):
        return looked_at
    vmas = rules.by_table(table, looked_at, spans.area[spans.of(looked_at)])
    found: Index = looked_at[rules.wrong(looked_at, vmas) != 0]
    return found


def _beyond_rights(state: KernelState, table: VmaTable, rules: EntryRules, spans: Spans) -> Index:
    """Return leaves outside of VMAs, in spans of which one has rights that the VMA has not, and
    those that may write to what is not their mapping's own."""
    walked, tables = state.walked, state.fmt.tables
    there = spans.area >= 0
    flags = np.zeros(len(there), np.uint64)
    flags[there] = table.flags[spans.area[there]]
    ordinary = there & ~has_any(flags, VM_DRIVERS)
    some = np.bitwise_or.reduceat(walked.entry, spans.start)
    all_ = np.bitwise_and.reduceat(walked.entry, spans.start)
    writes = has_any(some, tables.writable)
    odd = writes & ~has_any(flags, VM_WRITE)
    odd |= has_any(some, tables.readable) & ~has_any(flags, VM_READ | VM_WRITE | VM_EXEC)
    if rules.has_noexec:
        odd |= ~has_any(all_, tables.noexec) & ~has_any(flags, VM_EXEC)
    private = spans.leaves(ordinary & writes & ~has_any(flags, VM_SHARED))
    private = private[has_any(walked.entry[private], tables.writable)]
    not_own = private[~rules.own().take(state.first[private], mode="clip")]
    return np.concatenate([spans.leaves(~there | (odd & ordinary)), not_own])


def _confirmed(state: KernelState, rules: EntryRules, leaf: int) -> Wrong:
    """Return what is wrong according to the mm's own VMAs; NOTHING also while they are changed.

    Raises:
        drgn.FaultError, ValueError, NotImplementedError, AttributeError: they cannot be read.
    """
    number, address = int(state.walked.mm[leaf]), int(state.walked.address[leaf])
    mm, busy = state.mms[number].obj, state.in_flight.get(number)
    if busy is not None and (busy.guards(address) or busy.collapsing):
        return Wrong.NOTHING
    if mm.mm_users.counter.value_() <= 0 or not mm.map_count.value_() or not is_lock_free(mm):
        return Wrong.NOTHING
    vmas = rules.by_tree(leaf)
    if vmas is None:
        return Wrong.NOTHING
    return Wrong(int(rules.wrong(np.array([leaf]), vmas)[0]))


def _finding(state: KernelState, owners: Owners, leaf: int, wrong: Wrong) -> Finding:
    index = int(state.first[leaf])
    place = Place(int(state.walked.mm[leaf]), int(state.walked.address[leaf]))
    cls, said = _SAYS[wrong]
    suspect = invariants.Suspect(index, cls, int(state.ptes[index]))
    finding = findings.page_finding(state, owners, suspect)
    owner = dataclasses.replace(owners.owner(place), entry_at=entry_at(state, place))
    here = (owner.mm, owner.address)
    others = [one for one in finding.mappings if (one.mm, one.address) != here]
    note = f"its PTE at {place.address:#x} {said}"
    if cls is FindingClass.WRONG_FILE_PAGE:
        head = state.recorded.head[index : index + 1]
        mapping, pgoff = (int(state.pages.column(name, head)[0]) for name in ("mapping", "index"))
        note += f": mapping {mapping:#x}, index {pgoff + index - int(head[0]):#x}"
    return dataclasses.replace(finding, mappings=(owner, *others), note=note)
