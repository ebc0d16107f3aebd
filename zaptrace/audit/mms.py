"""Where the walk begins: every mm_struct, and the tasks that use it.

Tasks alone are not enough: an exiting task has `mm == NULL` while its page
tables still map pages, and an mm that execve() prepares belongs to no task yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import drgn
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.mm import for_each_vma, vma_find
from drgn.helpers.linux.percpu import per_cpu_ptr
from drgn.helpers.linux.pid import for_each_task

from zaptrace.audit.optional import is_broken, optional_step
from zaptrace.audit.pagetables.table_format import Root, TableFormat
from zaptrace.audit.slub import allocated_objects
from zaptrace.audit.structpages.page_flags import Flags
from zaptrace.audit.structpages.table import StructPages
from zaptrace.memory.members import first_member
from zaptrace.model.errors import BadInput

RSS_COUNTERS = ("MM_FILEPAGES", "MM_ANONPAGES", "MM_SHMEMPAGES", "MM_SWAPENTS")
"""enum in include/linux/mm_types_task.h; the order in which we keep them."""

_PF_EXITING = 0x00000004  # include/linux/sched.h
_PF_KTHREAD = 0x00200000
_MAX_VMAS = 1 << 20  # vm.max_map_count is 65,530 unless it was raised

UNREADABLE = "mms not in the dump"
NO_CACHE = "mms that no task uses: their slab cache cannot be read"
NO_SLABS = "mms that no task uses: their slabs' struct pages may not be in the dump"
NO_RSS = "mms whose rss counters cannot be read"
NO_TASKS = "tasks, and which mms they use"

BROKEN_TREE = (drgn.FaultError, ValueError, NotImplementedError, AttributeError)
"""What drgn raises for a maple tree that is broken, or in the middle of a change, or unknown."""


@dataclass(frozen=True, slots=True)
class Task:
    """A thread.

    Attributes:
        address: of its task_struct.
        pid: thread id.
        tgid: process id.
        runs: runnable, hence perhaps in the middle of something.
        has_mm: task->mm is set still.
    """

    address: int
    pid: int
    tgid: int
    comm: str
    runs: bool
    has_mm: bool = True


@dataclass(slots=True)
class Mm:
    """One address space.

    Attributes:
        obj: `struct mm_struct *`.
        root: where its page tables begin.
        rss: RSS_COUNTERS as recorded, what the tasks cache included; None when not known.
        tasks: the threads that use it; an exiting thread that gave it up last, too.
    """

    obj: drgn.Object
    root: Root
    rss: list[int] | None
    tasks: list[Task] = field(default_factory=list)

    @property
    def address(self) -> int:
        """Address of the mm_struct."""
        return int(self.obj.value_())

    @property
    def task(self) -> Task | None:
        """The task to name: the thread group's leader where it is there."""
        return min(self.tasks, key=lambda task: (task.pid != task.tgid, task.pid), default=None)


def find_mms(
    prog: drgn.Program, fmt: TableFormat, pages: StructPages, flags: Flags, gaps: Counter[str]
) -> list[Mm]:
    """Every mm_struct that can map anything, those with tasks first; never init_mm.

    Args:
        prog: the kernel.
        fmt: its page tables.
        pages: all struct pages.
        flags: this kernel's numbers.
        gaps: what could not be looked at is counted here.

    Raises:
        BadInput: neither the slab cache of mm_structs nor the tasks can be found.
        LookupError, AttributeError: a kernel whose mm_struct is unlike those that we know.
    """
    init_mm = prog["init_mm"].address_
    kind = prog.type("struct mm_struct *")
    mms: dict[int, Mm] = {}
    for address in _addresses(prog, pages, flags, gaps):
        try:
            mm = _mm(drgn.Object(prog, kind, value=address), fmt)
        except drgn.FaultError:
            gaps[UNREADABLE] += 1
            continue
        if mm is not None and address != init_mm:
            mms[address] = mm
    with optional_step(lambda: gaps.update([NO_TASKS])):
        _add_tasks(prog, mms)
    _count_rss(prog, list(mms.values()), gaps)
    # While dup_mm() copies its parent's mm_struct, two have one root: the one in use goes first.
    return sorted(mms.values(), key=lambda mm: (not mm.tasks, mm.address))


def _addresses(
    prog: drgn.Program, pages: StructPages, flags: Flags, gaps: Counter[str]
) -> list[int]:
    """Every mm_struct; where not all slabs of their cache are found, those that tasks use too."""
    found: set[int] = set()
    with optional_step(lambda: gaps.update([NO_CACHE])):
        found.update(allocated_objects(prog["mm_cachep"], pages, flags, gaps))
        if pages.readable.all():
            return sorted(found)
        gaps[NO_SLABS] += 1
    try:
        for task in for_each_task(prog):
            found |= {task.mm.value_(), task.active_mm.value_()}
    except Exception as error:
        if not is_broken(error):
            raise
        if found:
            return sorted(found - {0})
        raise BadInput(f"the kernel's mm_structs cannot be found: {error}") from error
    return sorted(found - {0})


def vmas(mm: Mm) -> list[drgn.Object]:
    """Return the mm's VMAs by address, as far as they can be read."""
    found: list[drgn.Object] = []
    try:
        for vma in for_each_vma(mm.obj):
            found.append(vma)
            if len(found) >= _MAX_VMAS:
                break
    except BROKEN_TREE:
        pass
    return found


def vma_at(mm: Mm, address: int) -> drgn.Object | None:
    """Return the VMA of an address, by the mm's own tree; None where no VMA is.

    Raises:
        drgn.FaultError, ValueError, NotImplementedError, AttributeError: it cannot be read, or the
            tree is broken: it leads to a VMA that does not hold the address.
    """
    vma = vma_find(mm.obj, address)
    if not vma:
        return None
    start, end = vma.vm_start.value_(), vma.vm_end.value_()
    if not start <= address < end:
        raise ValueError(f"the VMA of {address:#x} is {start:#x}-{end:#x} in a broken tree")
    return vma


def task_of(task: drgn.Object, *, has_mm: bool = True) -> Task:
    """Return what we keep of a task_struct.

    Raises:
        drgn.FaultError: it is not in the dump.
    """
    return Task(
        address=task.value_(),
        pid=task.pid.value_(),
        tgid=task.tgid.value_(),
        comm=printable(task.comm.string_()),
        runs=state_of(task) == 0,
        has_mm=has_mm,
    )


def state_of(task: drgn.Object) -> int:
    """Return what a task_struct says that its thread waits in; 0 when it is runnable.

    Raises:
        drgn.FaultError: it is not in the dump.
    """
    # "sched: Change task_struct::state" (5.14)
    return int(first_member(task, "__state", "state").value_())


def printable(text: bytes) -> str:
    """Return a name out of a dump, safe for a terminal."""
    return "".join(
        letter if letter.isprintable() else "?" for letter in text.decode(errors="replace")
    )


def _count_rss(prog: drgn.Program, mms: Sequence[Mm], gaps: Counter[str]) -> None:
    """Fill in the rss counters of each mm."""
    with optional_step(lambda: gaps.update({NO_RSS: len(mms)})):
        rss = _Rss(prog)
        for mm in mms:
            try:
                mm.rss = rss.of(mm)
            except drgn.FaultError:  # of this mm alone: its CPUs' counters
                gaps[NO_RSS] += 1


class _Rss:
    """Reads rss counters, in the order of RSS_COUNTERS."""

    def __init__(self, prog: drgn.Program) -> None:
        self._prog = prog
        self._numbers = [prog.constant(name).value_() for name in RSS_COUNTERS]
        stat = prog.type("struct mm_struct").member("rss_stat").type
        # "mm: convert mm's rss stats into percpu_counter" (6.2); "struct mm_rss_stat" before
        self._per_cpu = stat.kind == drgn.TypeKind.ARRAY
        self._cached = prog.type("struct task_struct").has_member("rss_stat")

    def of(self, mm: Mm) -> list[int]:
        """Return what the mm has, and what its tasks have not handed over yet."""
        parts = [self._of_mm(mm.obj), *(self._of_task(task) for task in mm.tasks)]
        return [sum(counters) for counters in zip(*parts, strict=True)]

    def _of_mm(self, mm: drgn.Object) -> list[int]:
        stat = mm.rss_stat
        if self._per_cpu:
            return [_sum(stat[number]) for number in self._numbers]
        count = stat.count.read_()
        return [count[number].counter.value_() for number in self._numbers]

    def _of_task(self, task: Task) -> list[int]:
        """Return changes that a task has cached (SPLIT_RSS_COUNTING, sync_mm_rss(); until 6.2)."""
        if not self._cached or not task.has_mm:
            return [0] * len(RSS_COUNTERS)
        obj = drgn.Object(self._prog, "struct task_struct *", value=task.address)
        count = obj.rss_stat.count.read_()
        return [count[number].value_() for number in self._numbers]


def _mm(obj: drgn.Object, fmt: TableFormat) -> Mm | None:
    """None when it maps nothing: it is being made or freed, or exit_mmap() is through with it.

    Its top table may be garbage then: mm_init() sets the pgd before it is cleared, and
    __mmdrop() frees it first.  The bytes of the tables below are counted before the first of
    them is entered and until after the last is gone (mm_inc_nr_ptes(), since 4.15).
    """
    if obj.mm_count.counter.value_() <= 0 or obj.pgtables_bytes.counter.value_() == 0:
        return None
    root = fmt.root(obj)
    return None if root is None else Mm(obj, root, rss=None)


def _add_tasks(prog: drgn.Program, mms: dict[int, Mm]) -> None:
    for task in for_each_task(prog):
        try:
            mm = mms.get(task.mm.value_())
            has_mm = mm is not None
            if not has_mm and task.flags.value_() & (_PF_EXITING | _PF_KTHREAD) == _PF_EXITING:
                # exit_mm() has given up task->mm; until it is scheduled away it keeps active_mm.
                mm = mms.get(task.active_mm.value_())
            if mm is not None:
                mm.tasks.append(task_of(task, has_mm=has_mm))
        except drgn.FaultError:
            continue


def _sum(counter: drgn.Object) -> int:
    """Return a percpu_counter over every CPU: one that was stopped for a power-off is not online
    any more (stop_this_cpu()), and what it had counted was not handed over."""
    cpus = for_each_possible_cpu(counter.prog_)
    parts = sum(per_cpu_ptr(counter.counters, cpu)[0].value_() for cpu in cpus)
    return int(counter.count.value_() + parts)
