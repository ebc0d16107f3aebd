"""Each PTE that maps a page with its rmap: what was set or cleared without the other.

A PTE and its rmap go together in one call of the kernel: the rmap is added before the PTE is set,
and removed after it is cleared.  What has no partner in its own call is named.  A PMD that maps a
large folio goes with the folio's `_entire_mapcount` in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from zaptrace.life.calls import Unit, same_call, units_of
from zaptrace.life.left_over import What
from zaptrace.life.named_life import NamedWrite
from zaptrace.life.page_life import CLEARS, ENTIRE, SETS, Role
from zaptrace.life.page_members import MAPCOUNT


@dataclass(frozen=True, slots=True)
class Alone:
    """A store without its partner."""

    what: What
    write: NamedWrite


@dataclass(slots=True)
class Mappings:
    """What was paired.

    Attributes:
        alone: what has no partner, in the order of the stores.
        sets, clears: stores that set or cleared a PTE, but for PTEs that were moved or modified:
            cleared and set again in one call.
        ptes, ptes_at_the_stop: how many PTEs map the page after the last store, and when the
            guest was stopped.
    """

    alone: list[Alone] = field(default_factory=list)
    sets: list[Unit] = field(default_factory=list)
    clears: list[Unit] = field(default_factory=list)
    ptes: int = 0
    ptes_at_the_stop: int = 0


def pair_mappings(writes: Sequence[NamedWrite], counters: Sequence[str] = (MAPCOUNT,)) -> Mappings:
    """Pair the stores to PTEs and to `_mapcount` of one page, those to PMDs and to
    `_entire_mapcount` of a large folio's first one.

    A removal while a PTE still maps the page leaves that PTE behind.

    Args:
        writes: from a moment on at which nothing mapped it.
        counters: which of the two.
    """
    found = Mappings()
    for counter in counters:
        _pair(found, _steps(writes, counter))
    found.alone.sort(key=lambda one: one.write.write.number)
    return found


def _pair(found: Mappings, steps: list[Unit]) -> None:
    """Pair the entries of one level with their counter."""
    cleared: list[Unit] = []
    added: list[Unit] = []
    early: list[Unit] = []
    entries = 0
    for step in steps:
        role = step.write.role
        by = (role in SETS) - (role in CLEARS)
        entries += by
        found.ptes += by
        found.ptes_at_the_stop += 0 if step.write.write.after_stop else by
        if by > 0:
            if _take(added, step):
                found.sets.append(step)
            elif (before := _take(cleared, step)) is not None:
                found.clears.remove(before)
            else:
                found.sets.append(step)
                found.alone.append(Alone(What.PTE_WITHOUT_RMAP, step.write))
        elif by < 0:
            found.clears.append(step)
            if (removal := _take(early, step)) is None:
                cleared.append(step)
            else:
                found.alone = [one for one in found.alone if one.write is not removal.write]
        elif role == Role.MAPPED:
            added.append(step)
        elif _take(cleared, step) is None:
            what = What.PTE_STAYS if entries > 0 else What.NO_PTE
            found.alone.append(Alone(what, step.write))
            early += [step] if splits(step.write) else []
    found.alone += [Alone(What.PTE_CLEARED, one.write) for one in cleared]
    found.alone += [Alone(What.RMAP_WITHOUT_PTE, one.write) for one in added]


def splits(one: NamedWrite) -> bool:
    """Return whether it is of a PMD's split, which removes that one's rmap and only then puts the
    page table in its place (__split_huge_pmd_locked(), mm/huge_memory.c)."""
    return any("split_huge_pmd" in name for name in one.functions())


def is_of_zero_folio(writes: Sequence[NamedWrite]) -> bool:
    """Return whether the page is the huge zero folio's, whose mappings nothing counts."""
    return any("huge_zero" in name for one in writes for name in one.functions())


_UNCOUNTED = frozenset(
    {
        *("__text_poke", "pmd_install", "free_pte_range", "__pte_alloc_kernel"),
        *("mm_alloc_pgd", "pgd_alloc"),
    }
)
"""Functions whose entries are no mapping: of kernel text for a moment, in an mm of its own
(arch/x86/kernel/alternative.c); of a page table in the table above it (mm/memory.c), and the
kernel's in each new mm (kernel/fork.c)."""


_KERNELS_OWN = frozenset(
    {
        *("mm/vmalloc.c", "mm/early_ioremap.c", "mm/sparse-vmemmap.c", "mm/hugetlb_vmemmap.c"),
        *("mm/kasan/init.c", "mm/kasan/shadow.c", "arch/s390/mm/vmem.c"),
        *("arch/s390/mm/pageattr.c", "arch/x86/mm/pat/set_memory.c", "arch/x86/mm/init_64.c"),
    }
)
"""Files that set entries of the kernel's own page tables, which have no rmap; some architectures
type those as page tables, too (s390x before 6.5: its fragments of 2 KiB are every mm's)."""


def is_typed(writes: Sequence[NamedWrite]) -> bool:
    """Return whether the page had a type while it was in use: then nothing maps it.

    What points to it are entries of a table above it: it is a page table.
    """
    for one in writes:
        if one.role == Role.FREED:
            return False
        if one.role == Role.TYPED:
            return True
    return False


def _steps(writes: Sequence[NamedWrite], counter: str) -> list[Unit]:
    entries: list[Unit] = []
    others: set[int | None] = set()
    for at, one in enumerate(writes):
        if counter == ENTIRE and one.role == Role.FREED:
            break  # the second page is no tail any more: its counter is not followed
        if one.role not in (*SETS, *CLEARS) or one.write.is_whole != (counter == ENTIRE):
            continue
        # What such a table's next user stores over it is as little of a mapping.
        if one.role in SETS and not is_counted(one):
            others.add(one.write.slot)
        elif is_counted(one) and not (one.role in CLEARS and one.write.slot in others):
            entries.append(Unit(at, one))
        elif one.role in CLEARS:
            others.discard(one.write.slot)
    counts = units_of(writes, (Role.MAPPED, Role.UNMAPPED), counter)
    return sorted([*entries, *counts], key=lambda one: one.at)


def is_counted(one: NamedWrite) -> bool:
    """Return whether an entry is one that the rmap counts: a process's."""
    return one.author.file not in _KERNELS_OWN and not _UNCOUNTED & set(one.functions())


def _take(waiting: list[Unit], step: Unit) -> Unit | None:
    """Return the last one of the same call that waits, which waits no longer."""
    for at in range(len(waiting) - 1, -1, -1):
        if same_call(waiting[at], step):
            return waiting.pop(at)
    return None
