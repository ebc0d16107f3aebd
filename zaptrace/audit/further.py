"""What else must hold beside mapcounts and PTEs: rmaps, references, locked memory, huge pages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zaptrace.audit.anon_rmap import wrong_rmaps
from zaptrace.audit.entries import EntryRules
from zaptrace.audit.free_lists import broken_free_lists
from zaptrace.audit.held_while_free import held_while_free
from zaptrace.audit.homes import Homes
from zaptrace.audit.hugetlb import pool_findings
from zaptrace.audit.impossible import impossible_entries
from zaptrace.audit.invariants import Suspect
from zaptrace.audit.leaks import leaked
from zaptrace.audit.left_locked import left_locked
from zaptrace.audit.locked import locked_findings
from zaptrace.audit.lru import lru_findings
from zaptrace.audit.mm_counters import mm_counter_findings
from zaptrace.audit.optional import optional_step
from zaptrace.audit.references import References
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState
from zaptrace.audit.unlike_vma import entries_unlike_vma
from zaptrace.audit.vmatable import read_table
from zaptrace.audit.zero_pages import freed_zero_pages
from zaptrace.model.findings import Finding

NO_VMAS = "checks of VMAs: their slab cache cannot be read"
NO_MM_COUNTERS = "total_vm, map_count and pgtables_bytes of mms"
NO_LISTS = "LRU lists"
NO_FREE_LISTS = "breaks of free lists"
NO_WAITERS = "folios that nothing has locked"
NO_REFERENCES = "references that nothing holds"


def further_findings(
    state: KernelState, owners: Owners, suspects: Sequence[Suspect], *, running: bool = False
) -> list[Finding]:
    """Return findings about pages that counters and PTEs agree on, about mms and about pools.

    Args:
        suspects: pages with a finding already.
        running: the kernel runs, and is looked at several times.
    """
    known = frozenset(suspect.index for suspect in suspects)
    references = References(state, owners)
    found = [*freed_zero_pages(state, owners, known)]
    with optional_step(lambda: state.gaps.update([NO_VMAS])):
        mms = [mm.address for mm in state.mms]
        table = read_table(state.prog, state.pages, state.flags, mms, state.gaps)
        found += impossible_entries(state, owners, known)
        known = _and(known, state, found)
        rules = EntryRules(state)
        homes = Homes(state, table, rules)
        found += entries_unlike_vma(state, owners, homes, rules, known)
        known = _and(known, state, found)
        found += wrong_rmaps(state, owners, homes, known)
        found += locked_findings(state, owners, table, lambda: references.files)
        with optional_step(lambda: state.gaps.update([NO_MM_COUNTERS])):
            found += mm_counter_findings(state, owners, table, running=running)
        found += pool_findings(state, table, lambda: references.files, running=running)
    known = _and(known, state, found)
    with optional_step(lambda: state.gaps.update([NO_LISTS])):
        found += lru_findings(
            state, owners, lambda: frozenset(references.batches), known, running=running
        )
    with optional_step(lambda: state.gaps.update([NO_FREE_LISTS])):
        found += broken_free_lists(state, owners, known, running=running)
    with optional_step(lambda: state.gaps.update([NO_WAITERS])):
        found += left_locked(state, owners, known, running=running)
    with optional_step(lambda: state.gaps.update([NO_REFERENCES])):
        found += held_while_free(state, owners, references, known, running=running)
        found += leaked(state, owners, references, known, running=running)
    return found


def _and(known: frozenset[int], state: KernelState, found: Sequence[Finding]) -> frozenset[int]:
    """Return the struct pages that have a finding now."""
    pfns = np.array([one.pfn for one in found if one.pfn is not None], np.uint64)
    return known.union(state.pages.indices(pfns).tolist())
