"""What an mm counts of itself: total_vm and map_count against its VMAs, pgtables_bytes against its
page tables.

- total_vm and map_count change with the VMAs under mmap_lock: vm_stat_account() (mm/mmap.c,
  mm/vma.c, mm/mremap.c, kernel/fork.c), do_brk_flags(); a stack that grows holds it as well.
- pgtables_bytes has each table of PTEs, of PMDs and of PUDs but the topmost (mm_inc_nr_ptes() and
  its like; crst_table_upgrade() counts the table that was topmost), and a table of PTEs for each
  huge page that may be split (pgtable_trans_huge_deposit()), which no entry leads to.  A table
  that is counted and that the walk does not come to has lost its entry: what it maps is out of
  reach.

Tables come and go under their locks; but what is taken off for one that is freed is taken off later
(retract_page_tables(), free_pte()): a difference is stated where no task is in the middle of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from drgn.helpers.linux.mm import for_each_vma

from zaptrace.audit.arrays import Counts
from zaptrace.audit.locked import is_at_rest, is_lock_free
from zaptrace.audit.mms import BROKEN_TREE, Mm
from zaptrace.audit.objects import read_members
from zaptrace.audit.pagetables.walk import TWICE
from zaptrace.audit.quiet import task_at_large
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState
from zaptrace.audit.vmatable import VmaTable
from zaptrace.model.findings import Finding, FindingClass

UNREADABLE = "mms whose counters cannot be compared"
_MOST_VMAS = 1 << 20
_COUNTERS = {
    "total_vm": "total_vm",
    "map_count": "map_count",
    "pgtables_bytes": "pgtables_bytes.counter",
}


def mm_counter_findings(
    state: KernelState, owners: Owners, table: VmaTable, *, running: bool = False
) -> Iterator[Finding]:
    """Yield the mms that do not count what they have.

    Args:
        table: the VMAs in bulk; what it says is confirmed by the mm's own tree.
        running: see `zaptrace.audit.quiet.task_at_large`.
    """
    if not state.mms:
        return
    addresses = np.array([mm.address for mm in state.mms], np.uint64)
    rows, good = read_members(
        state.prog, state.pages.layout, "struct mm_struct", _COUNTERS, addresses
    )
    areas = np.bincount(table.mm, minlength=len(state.mms))
    pages = table.pages(len(state.mms), state.pages.layout.page_shift)
    least, most = _table_bytes(state)
    counted = rows["pgtables_bytes"].astype(np.int64)
    of_vmas = (rows["total_vm"] != pages) | (rows["map_count"] != areas)
    of_tables = (counted < least) | (counted > most)
    if state.walked.gaps.get(TWICE):  # which mm's they are is not known
        of_tables[:] = False
    for number in np.flatnonzero(good & (of_vmas | of_tables)).tolist():
        mm = state.mms[number]
        try:
            if not (is_at_rest(state, number) and is_lock_free(mm.obj)):
                continue
            said = []
            if of_vmas[number]:
                said += _said_of_vmas(mm, state.pages.layout.page_shift)
            known = number not in {*state.blind, *state.in_flight}
            if of_tables[number] and known and not task_at_large(state, running=running):
                said.append(_said_of_tables(int(counted[number]), int(least[number])))
        except BROKEN_TREE:
            state.gaps[UNREADABLE] += 1
            continue
        if said:
            yield Finding(
                cls=FindingClass.MM_COUNTER_MISMATCH,
                pfn=None,
                ptes=None,
                mapcount=None,
                refcount=None,
                mappings=(owners.owner_of_mm(number),),
                note="; ".join(said),
            )


def _table_bytes(state: KernelState) -> tuple[Counts, Counts]:
    """Return the bytes of tables that the walk found of each mm, and those with a table for each
    large entry.  Shape (mms,)."""
    walked, levels = state.walked, state.fmt.levels
    locks, mms = walked.locks, len(state.mms)
    roots = np.array([mm.root.table for mm in state.mms], np.uint64)
    # What a table maps says of which level it is.
    sizes = np.zeros(len(locks.table), np.float64)
    spans = locks.last - locks.first
    for level in levels:
        whole = (level.entries << level.shift) - 1
        if whole < 1 << 64:
            sizes[spans == np.uint64(whole)] = level.bytes
    sizes[locks.table == roots[locks.mm]] = 0
    found = np.bincount(locks.mm, sizes, minlength=mms).astype(np.int64)
    large = np.bincount(walked.mm[: walked.large], minlength=mms)
    above = state.absent.level < len(levels) - 1
    large = large + np.bincount(state.absent.mm[above], minlength=mms)
    return found, found + large * levels[-1].bytes


def _said_of_vmas(mm: Mm, page_shift: int) -> list[str]:
    """Return what the mm counts beside what its own tree has."""
    pages = areas = 0
    for vma in for_each_vma(mm.obj):
        pages += (vma.vm_end.value_() - vma.vm_start.value_()) >> page_shift
        areas += 1
        if areas > _MOST_VMAS:
            raise ValueError("too many VMAs")
    total, count = mm.obj.total_vm.value_(), mm.obj.map_count.value_()
    said = []
    if total != pages:
        said.append(f"total_vm is {total} pages, its VMAs have {pages}")
    if count != areas:
        said.append(f"map_count is {count}, it has {areas} VMAs")
    return said


def _said_of_tables(counted: int, found: int) -> str:
    return f"pgtables_bytes is {counted}, the page tables that it leads to have {found}"
