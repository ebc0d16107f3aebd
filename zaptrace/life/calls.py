"""Stores as units that are paired, by the call of the kernel that they were made in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from zaptrace.life.named_life import Frame, NamedWrite

MOST_UNITS = 1024
"""References that one store may take or drop, and be paired one by one; a folio has fewer."""
ENTRIES = frozenset(
    {
        # arch/s390/kernel/entry.S, syscall.c, traps.c, arch/s390/mm/fault.c
        *("system_call", "__do_syscall", "do_syscall", "pgm_check_handler", "__do_pgm_check"),
        *("do_dat_exception", "do_protection_exception", "do_exception"),
        # arch/x86/entry/entry_64.S, common.c, arch/x86/mm/fault.c
        *("entry_SYSCALL_64", "do_syscall_64", "do_syscall_x64", "asm_exc_page_fault"),
        *("exc_page_fault", "handle_page_fault", "do_user_addr_fault", "x64_sys_call"),
        *("asm_exc_invalid_op", "exc_invalid_op", "handle_bug", "monitor_event_exception"),
        *(
            "entry_SYSCALL_64_after_hwframe",
            "ret_from_fork",
            "ret_from_fork_asm",
            "__ret_from_fork",
        ),
    }
)
"""How the kernel is entered: functions that stores of different calls have in common as well.  One
in the middle of a stack begins a call of its own: a fault in a system call, an exit in an oops."""


@dataclass(slots=True, eq=False)
class Unit:
    """One reference or one mapping, taken or dropped."""

    at: int
    write: NamedWrite
    partner: Unit | None = None

    def entry(self) -> int:
        """Return how many of `calls` lie outside its own: up to the kernel's innermost entry."""
        callers = self.write.callers
        for at, frames in enumerate(callers):
            if all(frame.function in ENTRIES for frame in frames if not frame.left):
                return 1 + len(callers) - at
        return 1

    def calls(self) -> tuple[int, ...]:
        """Return the call stack, outermost first: the kernel stack, then the return addresses."""
        return (self.write.write.root, *reversed(self.write.write.stack))

    def call(self) -> tuple[int, ...]:
        """Return what the stores of one system call, fault or exit have in common, and those of no
        other one (`same_call`)."""
        return self.calls()[: self.entry() + 1]


def units_of(
    writes: Sequence[NamedWrite],
    roles: Sequence[str],
    counter: str,
    also: NamedWrite | None = None,
) -> list[Unit]:
    """Return one unit for each step of a counter, of the stores that have one of some roles.

    Args:
        also: a store that counts as well, whatever its role.
    """
    found: list[Unit] = []
    for at, one in enumerate(writes):
        change = one.write.change(counter)
        counts = one.role in roles or one is also
        if counts and change is not None and change.before is not None:
            count = min(abs(change.after - change.before), MOST_UNITS)
            found += [Unit(at, one) for _ in range(count)]
    return found


def stores_of(units: Iterable[Unit]) -> tuple[NamedWrite, ...]:
    """Return the stores that some units are of, each once."""
    return tuple({id(one.write): one.write for one in units}.values())


def same_call(one: Unit, other: Unit) -> bool:
    """Return whether both stores belong to one system call, fault or exit, by their stacks."""
    return shared_frames(one, other) > max(one.entry(), other.entry())


def call_is_over(one: NamedWrite, last: Mapping[int, tuple[int, tuple[int, ...]]]) -> bool:
    """Return whether the task of a store has made another call since.

    Args:
        last: kernel stack -> the number and the call stack of the last store on it, outermost
            first.
    """
    root = one.write.root
    if not root or root not in last:
        return False
    number, calls = last[root]
    mine = Unit(0, one)
    common = 0
    for its, other in zip(mine.calls(), calls, strict=False):
        if its != other:
            break
        common += 1
    return number > one.write.number and common <= mine.entry()


def shared_frames(one: Unit, other: Unit) -> int:
    """Outermost frames that both stacks have, the kernel stack among them."""
    count = 0
    for mine, its in zip(one.calls(), other.calls(), strict=False):
        if mine != its:
            break
        count += 1
    return count


def place(one: NamedWrite) -> str:
    """Return where a store is, in the function that did it: not the counter's own helper."""
    frame = author(one)
    return f"{frame} {frame.source or '?'}"


_COUNTERS = frozenset(
    {
        *("release_pages", "__folio_put", "put_page", "folio_put", "get_page", "folio_get"),
        *("put_page_testzero", "try_get_folio", "folios_put_refs", "try_grab_page"),
        *("try_grab_folio", "folio_add_lru", "free_pages_and_swap_cache"),
        "free_page_and_swap_cache",
        # They look a page up and give their caller its reference: mm/filemap.c, mm/shmem.c.
        *("mapping_get_entry", "filemap_get_entry", "pagecache_get_page", "__filemap_get_folio"),
        *("find_get_entry", "find_lock_entries", "find_get_entries", "filemap_get_folios"),
        *("shmem_get_folio_gfp", "shmem_get_folio", "shmem_getpage_gfp"),
        # They take a page out of hugetlb's pool: mm/hugetlb.c.
        *("dequeue_hugetlb_folio_node_exact", "dequeue_hugetlb_folio_nodemask"),
        *("dequeue_hugetlb_folio_vma", "alloc_hugetlb_folio_reserve", "alloc_hugetlb_folio"),
        *("alloc_hugetlb_folio_nodemask", "dequeue_huge_page_node_exact", "alloc_huge_page"),
        *("dequeue_huge_page_nodemask", "dequeue_huge_page_vma", "alloc_huge_page_nodemask"),
    }
)
"""Functions that only change a counter: their callers are what matters."""
_RMAP_COUNTERS = re.compile(r"(?:add|remove|dup|move)(?:_\w+)?_rmap(?:_\w+)?")
"""Those of the rmap, on every kernel: page_add_anon_rmap(), __folio_add_file_rmap(),
folio_remove_rmap_ptes() and their like."""
_LIBRARIES = frozenset({"mm/gup.c", "lib/iov_iter.c"})
"""Files whose functions take references for their callers: get_user_pages() and what calls it."""


def author(one: NamedWrite) -> Frame:
    """Return the innermost frame in a .c file that is not a counter's function, nor a library's."""
    if one.write.slot is not None:
        return one.author
    code = [frame for frame in one.chain if frame.is_code]
    own = [frame for frame in code if not _only_counts(frame.function or "")]
    users = (frame for frame in own if frame.file not in _LIBRARIES)
    return next(users, (own or code or [one.author])[0])


def _only_counts(function: str) -> bool:
    return function in _COUNTERS or _RMAP_COUNTERS.search(function) is not None


def before_in_call(writes: Sequence[NamedWrite], of: NamedWrite) -> list[NamedWrite]:
    """Return the stores of a page that the same call made before one of them."""
    this = Unit(0, of)
    earlier = (one for one in writes if one.write.number < of.write.number)
    return [one for one in earlier if same_call(Unit(0, one), this)]
