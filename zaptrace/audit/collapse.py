"""Which mms may be under a huge-page collapse (mm/khugepaged.c).

That is the one change of mapcounts for which a page-table lock says nothing, as checked in 6.1:

- collapse_huge_page() takes a table of PTEs out of the mm (pmdp_collapse_flush()) and only then
  removes its pages' rmaps, up to 512 of them; what it adds to the rss meanwhile is added without
  a lock (__collapse_huge_page_copy()).
- collapse_pte_mapped_thp() removes the rmaps of a file's huge page and leaves the PTEs where they
  are, until it frees their table after the lock.  Since "mm/khugepaged: collapse_pte_mapped_thp()
  with mmap_read_lock()" (6.6) it clears them first, but changes the rss after the lock still.

Both hold the mm's mmap_lock, for writing but for the last case; that one is khugepaged's, or a
running task's (madvise()).
"""

from __future__ import annotations

from collections.abc import Sequence

import drgn

from zaptrace.audit.mms import Mm, Task, state_of, task_of
from zaptrace.memory.members import first_member

_TASK_INTERRUPTIBLE = 0x0001  # include/linux/sched.h
_RWSEM_WRITER_LOCKED = 1 << 0  # kernel/locking/rwsem.c
_WRITER_BIAS = 1 << 30  # include/linux/rwbase_rt.h
_OWNER_FLAGS = 0x7


def under_way(prog: drgn.Program, mms: Sequence[Mm]) -> dict[int, Task | None]:
    """Return the mms that may be under a huge-page collapse, by index, and whose it may be.

    An mm without users is left out: exit_mmap() takes the lock when its last PTE is gone, and who
    else has it then is khugepaged.
    """
    try:
        scan, khugepaged = prog["khugepaged_scan"], prog["khugepaged_thread"].read_()
    except LookupError:  # no CONFIG_TRANSPARENT_HUGEPAGE
        return {}
    scanned = scanned_mm(scan, khugepaged)
    found: dict[int, Task | None] = {}
    for number, mm in enumerate(mms):
        who = khugepaged.value_() if mm.address == scanned else writer(mm.obj)
        if who is not None:
            found[number] = _task_at(prog, who)
    return found


def _task_at(prog: drgn.Program, address: int) -> Task | None:
    try:
        return task_of(drgn.Object(prog, "struct task_struct *", value=address))
    except drgn.FaultError:  # not in the dump
        return None


def scanned_mm(scan: drgn.Object, khugepaged: drgn.Object) -> int | None:
    """Address of the mm that khugepaged is at, unless it sleeps until its next scan."""
    slot = scan.mm_slot.read_()
    if not slot or not khugepaged or state_of(khugepaged) & _TASK_INTERRUPTIBLE:
        return None
    # A struct khugepaged_mm_slot around it since "mm: thp: convert to use common struct mm_slot"
    # (6.1), until that has nothing else any more.
    return int(first_member(slot, "mm", "slot.mm").value_())


def writer(mm: drgn.Object) -> int | None:
    """Address of the task that holds an mm's mmap_lock for writing, None without."""
    lock = mm.mmap_lock
    if hasattr(lock, "rwbase"):  # CONFIG_PREEMPT_RT
        held = lock.rwbase.readers.counter.value_() == _WRITER_BIAS
        owner = lock.rwbase.rtmutex.owner
    else:
        held = bool(lock.count.counter.value_() & _RWSEM_WRITER_LOCKED)
        owner = lock.owner.counter
    if not held or mm.mm_users.counter.value_() <= 0:
        return None
    return int(owner.value_()) & ~_OWNER_FLAGS
