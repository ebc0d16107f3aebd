"""Folios that are locked while no task is at work that could hold the lock: `left_locked`.

A folio is locked by a task that runs or sleeps in the middle of something, or, while it is read in,
by I/O (folio_end_read() and its like mark it up to date and unlock it, in an interrupt).  So one
that is up to date and locked, in a kernel in which every task waits for something else, or for this
very lock, was left locked.

Who waits for a folio's lock stands in a hash table (folio_wait_table, mm/filemap.c).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import drgn
import numpy as np
from drgn.helpers.linux.list import list_for_each_entry

from zaptrace.audit import findings, invariants
from zaptrace.audit.quiet import task_at_large
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.table import MAPPING_FLAGS
from zaptrace.model.findings import Finding, FindingClass

MOST_FOUND = 64
"""Folios that are asked about."""
_MOST_WAITERS = 1 << 16


def left_locked(
    state: KernelState, owners: Owners, known: frozenset[int], *, running: bool = False
) -> Iterator[Finding]:
    """Yield a finding for each folio that is locked by nothing.

    Args:
        known: struct pages with a finding already.
        running: see `zaptrace.audit.quiet.task_at_large`.

    Raises:
        LookupError: this kernel has no such flags, or no such table.
        ValueError: an endless list of tasks that wait.
    """
    constant = state.prog.constant
    locked, uptodate, lru = (
        np.uint64(1 << int(constant(f"PG_{name}").value_()))
        for name in ("locked", "uptodate", "lru")
    )
    recorded, flags = state.recorded, state.pages.column("flags")
    both = locked | uptodate
    heads = np.flatnonzero((flags & both) == both)
    heads = heads[recorded.known[heads] & recorded.mappable[heads] & ~recorded.free[heads]]
    heads = heads[(recorded.head[heads] == heads) & (recorded.refcount[heads] > 0)]
    user = ((flags[heads] & lru) != 0) | (state.pages.column("mapping", heads) > MAPPING_FLAGS)
    heads = heads[user & ~np.isin(heads, list(known))]
    if not len(heads):
        return
    waiting = _waiting(state.prog)
    for head in heads[:MOST_FOUND].tolist():
        address = int(state.pages.addresses(np.array([head]))[0])
        tasks = waiting.get(address, frozenset())
        if task_at_large(state, running=running, but=tasks):  # it may well have locked this one
            continue
        suspect = invariants.Suspect(head, FindingClass.LEFT_LOCKED, int(state.ptes[head]))
        many = {0: "no task waits", 1: "1 task waits"}.get(len(tasks), f"{len(tasks)} tasks wait")
        yield dataclasses.replace(
            findings.page_finding(state, owners, suspect),
            note=f"PG_locked is set, no task is at work that could hold it, and {many} for it",
        )


def _waiting(prog: drgn.Program) -> dict[int, frozenset[int]]:
    """Return the tasks that wait for a bit of a folio, by the address of its struct page."""
    found: dict[int, set[int]] = {}
    count = 0
    for queue in prog["folio_wait_table"]:
        entries = list_for_each_entry(
            "struct wait_page_queue", queue.head.address_of_(), "wait.entry"
        )
        for entry in entries:
            count += 1
            if count > _MOST_WAITERS:
                raise ValueError("an endless list")
            found.setdefault(entry.folio.value_(), set()).add(entry.wait.private.value_())
    return {address: frozenset(tasks) for address, tasks in found.items()}
