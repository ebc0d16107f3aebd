"""Each PTE that maps a page with its rmap: what was set or cleared without the other.

A PTE and its rmap go together in one call of the kernel: the rmap is added before the PTE is set,
and removed after it is cleared.  What has no partner in its own call is named.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from zaptrace.life.calls import Unit, same_call, units_of
from zaptrace.life.named_life import NamedWrite
from zaptrace.life.page_life import MAPCOUNT, Role


class Odd(enum.StrEnum):
    """What has no partner."""

    PTE_WITHOUT_RMAP = "pte_set_without_rmap"
    RMAP_WITHOUT_PTE = "rmap_added_without_pte"
    PTE_CLEARED = "pte_cleared_rmap_not_removed"
    PTE_STAYS = "rmap_removed_pte_stays"
    NO_PTE = "rmap_removed_without_pte"


@dataclass(frozen=True, slots=True)
class Alone:
    """A store without its partner."""

    odd: Odd
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


def pair_mappings(writes: Sequence[NamedWrite]) -> Mappings:
    """Pair the stores to PTEs and to `_mapcount` of one small page.

    A removal while a PTE still maps the page leaves that PTE behind.

    Args:
        writes: from a moment on at which nothing mapped it.
    """
    found = Mappings()
    cleared: list[Unit] = []
    added: list[Unit] = []
    for step in _steps(writes):
        role = step.write.role
        if not step.write.write.after_stop:
            found.ptes_at_the_stop += {Role.PTE_SET: 1, Role.PTE_CLEARED: -1}.get(Role(role), 0)
        if role == Role.PTE_SET:
            found.ptes += 1
            if _take(added, step):
                found.sets.append(step)
            elif (before := _take(cleared, step)) is not None:
                found.clears.remove(before)
            else:
                found.sets.append(step)
                found.alone.append(Alone(Odd.PTE_WITHOUT_RMAP, step.write))
        elif role == Role.PTE_CLEARED:
            found.ptes -= 1
            cleared.append(step)
            found.clears.append(step)
        elif role == Role.MAPPED:
            added.append(step)
        elif _take(cleared, step) is None:
            odd = Odd.PTE_STAYS if found.ptes > 0 else Odd.NO_PTE
            found.alone.append(Alone(odd, step.write))
    found.alone += [Alone(Odd.PTE_CLEARED, one.write) for one in cleared]
    found.alone += [Alone(Odd.RMAP_WITHOUT_PTE, one.write) for one in added]
    found.alone.sort(key=lambda one: one.write.write.number)
    return found


_UNCOUNTED = frozenset({"__text_poke", "pmd_install", "free_pte_range", "__pte_alloc_kernel"})
"""Functions whose entries are no mapping: of kernel text for a moment, in an mm of its own
(arch/x86/kernel/alternative.c); of a page table in the table above it (mm/memory.c)."""


_KERNELS_OWN = frozenset(
    {
        *("mm/vmalloc.c", "mm/early_ioremap.c", "mm/sparse-vmemmap.c", "mm/hugetlb_vmemmap.c"),
        *("mm/kasan/init.c", "mm/kasan/shadow.c", "arch/s390/mm/vmem.c"),
        *("arch/s390/mm/pageattr.c", "arch/x86/mm/pat/set_memory.c"),
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


def _steps(writes: Sequence[NamedWrite]) -> list[Unit]:
    entries = [
        Unit(at, one)
        for at, one in enumerate(writes)
        if one.role in (Role.PTE_SET, Role.PTE_CLEARED) and _is_counted(one)
    ]
    counts = units_of(writes, (Role.MAPPED, Role.UNMAPPED), MAPCOUNT)
    return sorted([*entries, *counts], key=lambda one: one.at)


def _is_counted(one: NamedWrite) -> bool:
    """Return whether an entry is one that the rmap counts: a process's."""
    return one.author.file not in _KERNELS_OWN and not _UNCOUNTED & set(one.functions())


def _take(waiting: list[Unit], step: Unit) -> Unit | None:
    """Return the last one of the same call that waits, which waits no longer."""
    for at in range(len(waiting) - 1, -1, -1):
        if same_call(waiting[at], step):
            return waiting.pop(at)
    return None
