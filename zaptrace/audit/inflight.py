"""Which mms a CPU is changing at this very moment.

Every change of a PTE and of the mapcount that goes with it happens under a
page-table lock, so an mm is in flight exactly while one of its locks is held:
`page->ptl` of a page of PTEs (split locks: USE_SPLIT_PTE_PTLOCKS) or
`mm->page_table_lock`.  Where the kernel keeps its locks out of our sight (no SMP, lock
debugging) every mm that a runnable task or nobody uses counts as in flight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import drgn
import numpy as np
from drgn.helpers.linux.sched import cpu_curr

from zaptrace.audit.arrays import NOWHERE
from zaptrace.audit.broken import Dispensable
from zaptrace.audit.reconcile import Recorded
from zaptrace.audit.sources import Mm, Task, task_of
from zaptrace.audit.structpages import StructPages
from zaptrace.audit.tables import PAGE_SHIFT
from zaptrace.audit.walk import Walked
from zaptrace.memory.pages import byte_order
from zaptrace.memory.registers import CpuRegisters
from zaptrace.memory.stacks import stack_of

NO_LOCKS = "mms whose page-table locks cannot be seen: in flight is what may run"

# Who holds a lock, from its word.  s390x: the low half is the holder's CPU + 1
# (arch_spin_lockval(), arch/s390/include/asm/spinlock.h).  x86_64's queued
# spinlocks do not say (kernel/locking/qspinlock.c).
_HOLDERS: dict[str, Callable[[int], int | None]] = {
    "s390x": lambda word: (word & 0xFFFF) - 1 if word & 0xFFFF else None,
}

# What changes page tables, for the note of a finding; the innermost on the stack is named.
_CHANGERS = frozenset(
    (
        *("zap_pte_range", "unmap_page_range", "__zap_vma_range", "copy_page_range"),
        *("handle_mm_fault", "__handle_mm_fault", "move_page_tables", "change_protection"),
        *("try_to_unmap_one", "try_to_migrate_one", "remove_migration_pte"),
    )
)


@dataclass(frozen=True, slots=True)
class InFlight:
    """Somebody is inside an mm's page tables.

    Attributes:
        cpu: who holds the lock, None when that is not known.
        task: what runs on that CPU.
        function: what it is doing, None when its registers are not known.
    """

    cpu: int | None = None
    task: Task | None = None
    function: str | None = None

    def __str__(self) -> str:
        who = "somebody" if self.cpu is None else f"CPU {self.cpu}"
        if self.task is not None:
            who += f" ({self.task.comm}, pid {self.task.pid})"
        what = "" if self.function is None else f", in {self.function}"
        return f"{who} is inside this mm's page tables{what}"


@dataclass(frozen=True, slots=True)
class _Locks:
    """Where page-table locks lie: 4-byte words, 0 when free."""

    in_page: int
    in_mm: int
    word: str


def find(
    prog: drgn.Program,
    arch: str,
    mms: Sequence[Mm],
    walked: Walked,
    pages: StructPages,
    recorded: Recorded,
    cpus: Sequence[CpuRegisters] | None,
    gaps: Counter[str],
) -> dict[int, InFlight]:
    """The mms in flight, by index.

    Args:
        prog, arch, mms, walked, pages, recorded: the audit's.
        cpus: the CPUs' registers if they are known: they name what a CPU is doing.
        gaps: the mms whose locks cannot be seen are counted here.
    """
    locks = _locks(prog)
    if locks is None:
        gaps[NO_LOCKS] += len(mms)
        return {
            number: InFlight()
            for number, mm in enumerate(mms)
            if not mm.tasks or any(task.runs for task in mm.tasks)
        }
    held = _held_ptls(locks, walked, pages, recorded)
    for number, mm in enumerate(mms):
        word = prog.read_u32(mm.address + locks.in_mm)
        if word:
            held.setdefault(number, word)
    return {number: _who(prog, arch, word, cpus or ()) for number, word in held.items()}


def _locks(prog: drgn.Program) -> _Locks | None:
    """None when the locks' words cannot be seen."""
    try:
        lock = prog.type("spinlock_t")
        word = drgn.offsetof(lock, "rlock.raw_lock")
        if drgn.sizeof(prog.type("arch_spinlock_t")) != 4:
            return None
        table = _table_type(prog)
        ptl = table.member("ptl")
        if ptl.type.type_name() != lock.type_name():  # ALLOC_SPLIT_PTLOCKS: a pointer
            return None
        return _Locks(
            drgn.offsetof(table, "ptl") + word,
            drgn.offsetof(prog.type("struct mm_struct"), "page_table_lock") + word,
            f"{byte_order(prog)}u4",
        )
    except LookupError:
        return None


def _table_type(prog: drgn.Program) -> drgn.Type:
    try:  # "mm: introduce ptdesc"'s series took ptl out of struct page, which it overlies (6.6)
        return prog.type("struct ptdesc")
    except LookupError:
        return prog.type("struct page")


def _held_ptls(
    locks: _Locks, walked: Walked, pages: StructPages, recorded: Recorded
) -> dict[int, int]:
    """The lock word of one held table of each mm that has one."""
    index = pages.indices(walked.table >> np.uint64(PAGE_SHIFT))
    # Only a page of the type "table" has been through pgtable_pte_page_ctor().
    where = np.flatnonzero(index != NOWHERE)
    where = where[~recorded.mappable[index[where]]]
    words = pages.member(locks.word, locks.in_page, index[where])
    taken = np.flatnonzero(words)
    return {int(walked.table_mm[where[at]]): int(words[at]) for at in taken}


def _who(prog: drgn.Program, arch: str, word: int, cpus: Sequence[CpuRegisters]) -> InFlight:
    holder = _HOLDERS.get(arch)
    cpu = holder(word) if holder is not None else _only_changer(prog, cpus)
    if cpu is None:
        return InFlight()
    task = None
    with Dispensable():
        task = task_of(cpu_curr(prog, cpu))
    return InFlight(cpu, task, _function(prog, next((c for c in cpus if c.cpu == cpu), None)))


def _only_changer(prog: drgn.Program, cpus: Sequence[CpuRegisters]) -> int | None:
    """The CPU that is changing page tables, by its stack; None unless it is one alone."""
    changing = [registers.cpu for registers in cpus if _function(prog, registers)]
    return changing[0] if len(changing) == 1 else None


def _function(prog: drgn.Program, registers: CpuRegisters | None) -> str | None:
    if registers is None:
        return None
    for address in (registers.pc, *stack_of(prog, registers)):
        try:
            name: str = prog.symbol(address).name
        except LookupError:
            continue
        if name in _CHANGERS:
            return name
    return None
