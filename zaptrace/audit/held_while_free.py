"""Free pages that a CPU's batch or a pipe still holds: `dirty_free_page`.

A batch of folios and a pipe's buffer have a reference of each page in them.  A page that such a one
leads to and that the allocator has was freed with a reference that was not the dropper's; its
counters do not show it until the batch or the pipe drops its own.  It is stated where no task
is in the middle of something: folios_put() drops a batch's references before it empties the batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from zaptrace.audit import findings, invariants
from zaptrace.audit.quiet import task_at_large
from zaptrace.audit.references import References
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState
from zaptrace.model.findings import Finding, FindingClass


def held_while_free(
    state: KernelState,
    owners: Owners,
    references: References,
    known: frozenset[int],
    *,
    running: bool = False,
) -> Iterator[Finding]:
    """Yield a finding for each free page that a batch or a pipe has.

    Args:
        known: struct pages with a finding already.
        running: see `zaptrace.audit.quiet.task_at_large`.
    """
    held = [
        (index, f"{what} ({places[0]}) holds it")
        for what, found in (("an LRU batch", references.batches), ("a pipe", references.pipes))
        for index, places in found.items()
        if state.recorded.free[index] and index not in known
    ]
    if not held or task_at_large(state, running=running):
        return
    for index, note in dict(held).items():
        suspect = invariants.Suspect(index, FindingClass.DIRTY_FREE_PAGE, int(state.ptes[index]))
        yield dataclasses.replace(findings.page_finding(state, owners, suspect), note=note)
