"""Which mms a CPU is changing at this very moment, and where.

Every change of a PTE, of the mapcount that goes with it and of the rss happens under the
page-table lock of the table that the PTE is in: `page->ptl` of a page of PTEs or of PMDs (split
locks: USE_SPLIT_PTE_PTLOCKS), else `mm->page_table_lock`.  So an mm is in flight exactly while
one of its locks is held, and where the held lock's table maps: zap_pte_range() and its like add to
the rss (add_mm_rss_vec()) before they drop the lock, and an mmu_gather holds pages that are
neither mapped nor counted as such.  The exception is a collapse: `zaptrace.audit.collapse`.
Where the kernel keeps its locks out of our sight (no SMP, lock debugging) every mm that a runnable
task or no task uses counts as in flight.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import drgn
import numpy as np
from drgn.helpers.linux.sched import cpu_curr

from zaptrace.arch import ARCHES
from zaptrace.audit import collapse
from zaptrace.audit.arrays import NOWHERE
from zaptrace.audit.invariants import Recorded
from zaptrace.audit.mms import Mm, Task, task_of
from zaptrace.audit.optional import optional_step
from zaptrace.audit.pagetables.walk import Walked
from zaptrace.audit.structpages.table import StructPages
from zaptrace.memory.members import first_type
from zaptrace.memory.pages import byte_order
from zaptrace.memory.registers import CpuRegisters
from zaptrace.memory.stopped_stack import stack_of
from zaptrace.model.task_name import task_name

NO_LOCKS = "mms whose page-table locks cannot be seen: in flight is what may run"

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
    """Somebody is changing an mm.

    Attributes:
        cpu: who holds the lock, None when that is not known.
        task: what runs on that CPU; failing that, who is collapsing.
        function: what it is doing, None when its registers are not known.
        spans: the first and the last user addresses, bytes, that the held locks guard; None when
            they guard all of them.
        collapsing: a huge-page collapse may be under way: tables that do not exist any more
            are in flight too, and so is the rss.
    """

    cpu: int | None = None
    task: Task | None = None
    function: str | None = None
    spans: tuple[tuple[int, int], ...] | None = None
    collapsing: bool = False

    def guards(self, address: int) -> bool:
        """Return whether a held lock guards the entry of a user address."""
        if self.spans is None:
            return True
        return any(first <= address <= last for first, last in self.spans)

    def may_owe(self, size: int) -> bool:
        """Return whether so many bytes may be missing from an rss counter, or be too many."""
        if self.spans is None or self.collapsing:
            return True
        return size <= sum(last + 1 - first for first, last in self.spans)

    def __str__(self) -> str:
        cpu, task = self.cpu, self.task
        who = "a task" if cpu is None else f"CPU {cpu}"
        if task is not None and cpu is None:
            who = task_name(task.comm, task.pid)
        elif task is not None:
            who += f" ({task_name(task.comm, task.pid)})"
        if self.spans == ():
            return f"{who} may be collapsing a huge page in this mm"
        what = "" if self.function is None else f", in {self.function}"
        return f"{who} is inside this mm's page tables{what}"


@dataclass(frozen=True, slots=True)
class _Locks:
    """Where page-table locks lie: 4-byte words, 0 when free."""

    in_page: int
    in_mm: int
    word: str


class _Held(NamedTuple):
    """One of an mm's locks that are held, by its word, and what all of them guard."""

    word: int
    spans: tuple[tuple[int, int], ...] | None


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
    """Return the mms in flight, by index.

    Args:
        prog, arch, mms, walked, pages, recorded: the audit's.
        cpus: the CPUs' registers if they are known: they name what a CPU is doing.
        gaps: the mms whose locks cannot be seen are counted here.
    """
    locks = _locks(prog)
    if locks is None:
        gaps[NO_LOCKS] += len(mms)
        busy = {
            number: InFlight()
            for number, mm in enumerate(mms)
            if not mm.tasks or any(task.runs for task in mm.tasks)
        }
    else:
        held = _held_ptls(locks, walked, pages, recorded)
        for number, mm in enumerate(mms):
            word = prog.read_u32(mm.address + locks.in_mm)
            if word:
                held[number] = _Held(word, None)
        busy = {
            number: dataclasses.replace(_who(prog, arch, one.word, cpus or ()), spans=one.spans)
            for number, one in held.items()
        }
    for number, task in collapse.under_way(prog, mms).items():
        alone = InFlight(task=task, spans=())
        busy[number] = dataclasses.replace(busy.get(number, alone), collapsing=True)
    return busy


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
    # "mm: introduce ptdesc"'s series took ptl out of struct page, which it overlies (6.6)
    return first_type(prog, "struct ptdesc", "struct page")


def _held_ptls(
    locks: _Locks, walked: Walked, pages: StructPages, recorded: Recorded
) -> dict[int, _Held]:
    """Return the tables' locks that are held, by mm."""
    tables = walked.locks
    index = pages.indices(tables.table >> np.uint64(pages.layout.page_shift))
    # Only a page of the type "table" has been through pgtable_pte_page_ctor().
    where = np.flatnonzero(index != NOWHERE)
    where = where[~recorded.mappable[index[where]]]
    words = pages.member(locks.word, locks.in_page, index[where])
    held: dict[int, _Held] = {}
    # Of s390x's tables of PTEs two share a page, and its lock.
    for at in np.flatnonzero(words).tolist():
        table = where[at]
        span = int(tables.first[table]), int(tables.last[table])
        before = held.get(int(tables.mm[table]), _Held(int(words[at]), ()))
        held[int(tables.mm[table])] = _Held(before.word, (*(before.spans or ()), span))
    return held


def _who(prog: drgn.Program, arch: str, word: int, cpus: Sequence[CpuRegisters]) -> InFlight:
    mask = ARCHES[arch].lock_holder_mask
    holder = (word & mask) - 1 if word & mask else None
    cpu = holder if mask else _only_changer(prog, cpus)
    if cpu is None:
        return InFlight()
    task = None
    with optional_step():
        task = task_of(cpu_curr(prog, cpu))
    return InFlight(cpu, task, _function(prog, next((c for c in cpus if c.cpu == cpu), None)))


def _only_changer(prog: drgn.Program, cpus: Sequence[CpuRegisters]) -> int | None:
    """Return the CPU that is changing page tables, by its stack; None unless it is one alone."""
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
