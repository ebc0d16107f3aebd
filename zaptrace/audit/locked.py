"""mm->locked_vm against the pages of the VMAs that are VM_LOCKED.

Whatever sets VM_LOCKED adds the VMA's pages, and whatever clears it or removes the VMA takes
them off: mlock_fixup() (mm/mlock.c), mmap_region(), do_brk_flags(), expand_stack(), mremap() and
munmap() (mm/mmap.c, mm/vma.c, mm/mremap.c).  VM_LOCKONFAULT goes with VM_LOCKED.  Those that
mlock() leaves out (VM_SPECIAL, hugetlb, DAX) never get the flag, and a child of fork() starts with
neither.  All of it happens under mmap_lock for writing, or, for a stack that grows, under
page_table_lock (until "mm: always expand the stack with the mmap write lock held", 6.5).

Drivers that pin a process's memory add to it as well: account_locked_vm(), of vfio and iommufd.
"""

from __future__ import annotations

from collections.abc import Callable

import drgn
from drgn.helpers.linux.mm import for_each_vma

from zaptrace.audit.mms import BROKEN_TREE, Mm
from zaptrace.audit.openfiles import UNKNOWN, OpenFiles
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState
from zaptrace.audit.vmatable import VM_LOCKED, VmaTable
from zaptrace.model.findings import Finding, FindingClass

PINNED = "mms whose locked_vm a driver may have added to"
UNREADABLE = "mms whose locked_vm cannot be compared"

_ACCOUNTING = {"vfio_fops", "vfio_device_fops", "vfio_group_fops", "iommufd_fops", "afu_fops"}
"""Files whose users call account_locked_vm() (drivers/vfio, drivers/iommu, drivers/fpga)."""
_WRITER = 1  # RWSEM_WRITER_LOCKED, kernel/locking/rwsem.c
_MOST_VMAS = 1 << 20


def locked_findings(
    state: KernelState, owners: Owners, table: VmaTable, files: Callable[[], OpenFiles]
) -> list[Finding]:
    """Return the mms whose locked_vm is not what their VM_LOCKED VMAs have.

    Args:
        table: the VMAs in bulk; what it says is confirmed by the mm's own tree.
        files: the open files, read only where a driver may have added to a counter.
    """
    pages = table.locked_pages(len(state.mms), state.pages.layout.page_shift)
    found = []
    for number, mm in enumerate(state.mms):
        try:
            recorded = mm.obj.locked_vm.value_()
            if recorded == pages[number] or not is_at_rest(state, number):
                continue
            locked = _locked_pages(mm, state.pages.layout.page_shift)
        except BROKEN_TREE:
            state.gaps[UNREADABLE] += 1
            continue
        if locked == recorded:
            continue
        if recorded > locked and _may_be_accounted(files()):
            state.gaps[PINNED] += 1
            continue
        found.append(
            Finding(
                cls=FindingClass.LOCKED_VM_MISMATCH,
                pfn=None,
                ptes=None,
                mapcount=None,
                refcount=None,
                mappings=(owners.owner_of_mm(number),),
                note=f"locked_vm is {recorded} pages, its VM_LOCKED VMAs have {locked}",
            )
        )
    return found


def is_at_rest(state: KernelState, number: int) -> bool:
    """Return whether no CPU is changing the mm's VMAs and exit_mmap() has not begun to free
    them.

    Raises:
        drgn.FaultError: the mm is not in the dump.
    """
    mm, busy = state.mms[number], state.in_flight.get(number)
    if mm.obj.mm_users.counter.value_() <= 0 or (busy is not None and busy.spans is None):
        return False
    return not is_write_locked(mm.obj)


def is_write_locked(mm: drgn.Object) -> bool:
    """Return whether a task holds mmap_lock for writing.

    Raises:
        drgn.FaultError: the mm is not in the dump.
    """
    lock = mm.mmap_lock
    if hasattr(lock, "count"):
        return bool(lock.count.counter.value_() & _WRITER)
    # PREEMPT_RT (rwbase_rt): WRITER_BIAS alone means that it is held for writing.
    return int(lock.rwbase.readers.counter.value_()) == 1 << 30


def is_lock_free(mm: drgn.Object) -> bool:
    """Return whether no task holds mmap_lock, or waits for it.

    Raises:
        drgn.FaultError: the mm is not in the dump.
    """
    lock = mm.mmap_lock
    if hasattr(lock, "count"):
        return bool(lock.count.counter.value_() == 0)
    # PREEMPT_RT (rwbase_rt): READER_BIAS alone means that it is free.
    return int(lock.rwbase.readers.counter.value_()) & 0xFFFFFFFF == 1 << 31


def _locked_pages(mm: Mm, page_shift: int) -> int:
    """Pages of the VM_LOCKED VMAs in the mm's own tree."""
    pages = 0
    for count, vma in enumerate(for_each_vma(mm.obj)):
        if vma.vm_flags.value_() & VM_LOCKED:
            pages += (vma.vm_end.value_() - vma.vm_start.value_()) >> page_shift
        if count >= _MOST_VMAS:
            raise ValueError("too many VMAs")
    return pages


def _may_be_accounted(files: OpenFiles) -> bool:
    """Return whether an open file's driver pins memory for its users, or is unknown."""
    return not files.complete or bool(files.kinds() & {*_ACCOUNTING, UNKNOWN})
