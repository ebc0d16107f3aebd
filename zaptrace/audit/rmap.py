"""Whose page is it: the mappings that exist, and those that the rmap still remembers."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import drgn
import numpy as np
from drgn.helpers.linux.mm import vma_name
from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry

from zaptrace.audit.arrays import Index, Words
from zaptrace.audit.mms import BROKEN_TREE, Mm, Task, printable, vma_at, vmas
from zaptrace.audit.optional import optional_step
from zaptrace.audit.pagetables.normal_pages import zero_kinds
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.table import MAPPING_ANON, MAPPING_FLAGS
from zaptrace.audit.vmatable import anon_pgoff_of
from zaptrace.model.findings import Owner

_MAX_RMAP = 1 << 20  # VMAs looked at in one rmap tree

# vm_flags, include/linux/mm.h, as /proc/PID/maps shows them.
_SHOWN = ((0x1, "r"), (0x2, "w"), (0x4, "x"))
_VM_MAYSHARE = 0x80

_ENTRY_BYTES = 8


@dataclass(frozen=True, slots=True)
class Place:
    """A user address: `mm` is the mm's index."""

    mm: int
    address: int


class _Lookup:
    """Where a value occurs in an array: sorted once, found by bisection."""

    def __init__(self, values: Words | Index) -> None:
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]

    def find(self, value: int) -> Index:
        """Positions of a value, ascending."""
        wanted = self._sorted.dtype.type(value)
        start = np.searchsorted(self._sorted, wanted, side="left")
        end = np.searchsorted(self._sorted, wanted, side="right")
        return self._order[start:end]


class Owners:
    """Answers for one audit."""

    def __init__(self, state: KernelState) -> None:
        self._state = state
        self._numbers = {mm.address: number for number, mm in enumerate(state.mms)}
        self._large = np.flatnonzero(state.counted[: state.walked.large])

    def mapped_at(self, index: int) -> list[Place]:
        """Return where the walk found a page."""
        first, walked = self._state.first, self._state.walked
        shift = self._state.fmt.page_shift
        leaves = self._by_page.find(index)
        large = self._large[(first[self._large] < index)]
        around = large[index < first[large] + self._state.sizes[large]]
        found = np.concatenate([leaves[self._state.counted[leaves]], around])
        return [
            Place(
                int(walked.mm[leaf]),
                int(walked.address[leaf]) + ((index - int(first[leaf])) << shift),
            )
            for leaf in found
        ]

    def is_zero(self, head: int) -> bool:
        """Return whether it is a zero page: mapped by many, with neither mapcount nor rmap."""
        return head in self._zeros

    def candidates(self, index: int, head: int) -> tuple[list[Place], bool]:
        """Return where the rmap says that a page may be mapped, and whether these are all places
        (not for a folio without mapping, a KSM page, or a broken rmap).

        Follows page->mapping (rmap_walk_anon(), rmap_walk_file(): mm/rmap.c).  A page on
        its way to the allocator has lost its mapping already (free_pages_prepare()),
        but not its index: it is looked for in the mms that may have a gather under way, where
        anonymous pages are mapped.

        Args:
            index: of the struct page.
            head: index of its folio's first page, which has mapping and index.
        """
        places: list[Place] = []
        with optional_step(self._broken):  # a broken tree: what was found so far
            for place in self._candidates(index, head):
                places.append(place)
            return places, self._has_rmap(head)
        return places, False

    def first_mapped_in(self, head: int) -> set[int]:
        """Return the mms in flight that an anonymous page may be getting its first PTE in.

        These are those that its rmap leads to, at whatever address: its index is that of its last
        life until __folio_set_anon() has set both, the mapping first.  It is on no LRU list yet.
        """
        state = self._state
        with optional_step():
            lru = 1 << int(state.prog.constant("PG_lru").value_())
            flags = int(state.pages.column("flags", np.array([head], np.int64))[0])
            if flags & lru or not state.recorded.anon[head]:
                return set()
            found = (
                self._numbers.get(vma.vm_mm.value_()) for vma in self._vmas(self._mapping(head))
            )
            return {number for number in found if number is not None} & state.in_flight.keys()
        return set()

    def may_be_in(self, mms: Container[int], index: int, head: int) -> bool:
        """Return whether a page may be mapped in one of some mms: the rmap leads there, or nowhere.

        Args:
            mms: by index.
            index, head: as of `candidates`.
        """
        if not self._has_rmap(head) or self._state.recorded.hugetlb[head]:
            return True
        with optional_step():
            return any(place.mm in mms for place in self._candidates(index, head))
        return True

    def kind(self, head: int) -> str:
        """Return what a folio is: "anon", "file" or "other" by its mapping, or a zero page."""
        if head in self._zeros:
            return self._zeros[head]
        mapping = self._mapping(head)
        if mapping & MAPPING_ANON:
            return "anon"
        return "file" if mapping and not mapping & MAPPING_FLAGS else "other"

    def is_empty(self, place: Place) -> bool:
        """Return whether nothing is mapped there (a large leaf counts at its first address
        only)."""
        here = self._by_address.find(place.address)
        return not (self._state.walked.mm[here] == place.mm).any()

    def has_table(self, place: Place) -> bool:
        """Return whether there is a table of PTEs for that address."""
        shift = self._state.fmt.levels[-2].shift
        return (place.mm, place.address >> shift) in self._tables

    def owner(self, place: Place) -> Owner:
        """Return who that is."""
        mm = self._state.mms[place.mm]
        task = self.task(place.mm)
        return Owner(
            pid=None if task is None else task.tgid,
            comm=None if task is None else task.comm,
            address=place.address,
            vma=_describe(mm, place.address),
            mm=mm.address,
        )

    def owner_of_mm(self, number: int) -> Owner:
        """Return who an mm is."""
        task = self.task(number)
        pid, comm = (None, None) if task is None else (task.tgid, task.comm)
        return Owner(pid, comm, None, None, self._state.mms[number].address)

    def task(self, number: int) -> Task | None:
        """Return a task that uses the mm; failing that, the one that is inside of it (exec,
        exit)."""
        task = self._state.mms[number].task
        if task is None and number in self._state.in_flight:
            task = self._state.in_flight[number].task
        return task

    def _broken(self) -> None:
        self._state.gaps["rmaps that cannot be followed"] += 1

    def _has_rmap(self, head: int) -> bool:
        """Return whether a folio's mapping can be followed: not without one, and not KSM's."""
        mapping = self._mapping(head)
        return mapping > MAPPING_FLAGS and mapping & MAPPING_FLAGS in (0, MAPPING_ANON)

    def _candidates(self, index: int, head: int) -> Iterator[Place]:
        where = np.array([head], np.int64)
        pgoff = int(self._state.pages.column("index", where)[0]) + index - head
        mapping = self._mapping(head)
        # One on its way to the allocator was anonymous: see `_vmas`.
        anonymous = mapping <= MAPPING_FLAGS or bool(mapping & MAPPING_ANON)
        for vma in self._vmas(mapping):
            yield from self.places(vma, pgoff, anonymous=anonymous)

    def _vmas(self, mapping: int) -> Iterator[drgn.Object]:
        if mapping <= MAPPING_FLAGS:
            for number in self._unsettled:
                # The page was anonymous: what a file's mappings have, the page cache has.
                yield from (vma for vma in vmas(self._state.mms[number]) if vma.anon_vma)
        elif mapping & MAPPING_FLAGS == MAPPING_ANON:
            yield from self._anon_vmas(mapping - MAPPING_ANON)
        elif not mapping & MAPPING_FLAGS:
            yield from self._file_vmas(mapping)

    def _anon_vmas(self, address: int) -> Iterator[drgn.Object]:
        anon_vma = drgn.Object(self._state.prog, "struct anon_vma *", value=address)
        root = anon_vma.rb_root.rb_root.address_of_()
        for chain in islice(_in_tree("struct anon_vma_chain", root, "rb"), _MAX_RMAP):
            yield chain.vma

    def _file_vmas(self, address: int) -> Iterator[drgn.Object]:
        space = drgn.Object(self._state.prog, "struct address_space *", value=address)
        root = space.i_mmap.rb_root.address_of_()
        yield from islice(_in_tree("struct vm_area_struct", root, "shared.rb"), _MAX_RMAP)

    def places(self, vma: drgn.Object, pgoff: int, *, anonymous: bool) -> list[Place]:
        """Return where a VMA maps a page, if it does (vma_address(), mm/internal.h).

        Args:
            pgoff: the page's index.
            anonymous: what that counts from: since 7.x a private mapping of a file numbers the
                file's pages and its own copies differently (vma_anon_address()).
        """
        number = self._numbers.get(vma.vm_mm.value_())
        start, end = vma.vm_start.value_(), vma.vm_end.value_()
        first = anon_pgoff_of(vma) if anonymous else vma.vm_pgoff.value_()
        address = start + ((pgoff - first) << self._state.fmt.page_shift)
        if number is None or not start <= address < end:
            return []
        return [Place(number, address)]

    def _mapping(self, head: int) -> int:
        """page->mapping: an address and two flag bits, 0 for none."""
        return int(self._state.pages.column("mapping", np.array([head], np.int64))[0])

    @cached_property
    def _unsettled(self) -> list[int]:
        """The mms in flight, and those that a runnable task or no task uses: a gather that frees
        pages at its end (tlb_finish_mmu()) holds no page-table lock any more."""
        return [
            number
            for number, mm in enumerate(self._state.mms)
            if number in self._state.in_flight
            or not mm.tasks
            or any(task.runs for task in mm.tasks)
        ]

    @cached_property
    def _zeros(self) -> dict[int, str]:
        """The zero pages' struct pages and what they are called."""
        kinds = zero_kinds(self._state.prog)
        found = self._state.pages.indices(np.array(list(kinds), np.uint64)).tolist()
        return dict(zip(found, kinds.values(), strict=True))

    @cached_property
    def _tables(self) -> set[tuple[int, int]]:
        """Of each table of PTEs its mm and its place among those of the mm."""
        locks, shift = self._state.walked.locks, np.uint64(self._state.fmt.levels[-2].shift)
        places = locks.first[locks.lowest] >> shift
        return set(zip(locks.mm[locks.lowest].tolist(), places.tolist(), strict=True))

    @cached_property
    def _by_page(self) -> _Lookup:
        return _Lookup(self._state.first)

    @cached_property
    def _by_address(self) -> _Lookup:
        return _Lookup(self._state.walked.address)


def entry_at(state: KernelState, place: Place) -> int | None:
    """Return the physical address of a PTE; None where it is not in one table of PTEs."""
    locks = state.walked.locks
    address = np.uint64(place.address)
    here = (
        (locks.mm == place.mm) & locks.lowest & (locks.first <= address) & (address <= locks.last)
    )
    tables = np.flatnonzero(here)
    if len(tables) != 1:
        return None
    number = (place.address - int(locks.first[tables[0]])) >> state.pages.layout.page_shift
    return int(locks.table[tables[0]]) + number * _ENTRY_BYTES


def _in_tree(kind: str, root: drgn.Object, member: str) -> Iterator[drgn.Object]:
    found: Iterator[drgn.Object] = rbtree_inorder_for_each_entry(kind, root, member)
    return found


def _describe(mm: Mm, address: int) -> str | None:
    try:
        vma = vma_at(mm, address)
        return None if vma is None else describe_vma(vma, address)
    except BROKEN_TREE:  # also a VMA without a member that is shown
        return None


def describe_vma(vma: drgn.Object, address: int | None = None) -> str:
    """Return `start-end flags what` of a VMA, as in /proc/PID/maps.

    Args:
        vma: `struct vm_area_struct *`.
        address: of a page in it: a file's name is followed by the page's offset in it.

    Raises:
        drgn.FaultError: it is not in the dump.
    """
    flags, start = vma.vm_flags.value_(), vma.vm_start.value_()
    shown = "".join(letter if flags & bit else "-" for bit, letter in _SHOWN)
    shown += "s" if flags & _VM_MAYSHARE else "p"
    span = f"{start:x}-{vma.vm_end.value_():x} {shown}"
    try:
        what = printable(vma_name(vma))
        if what and address is not None and vma.vm_file:
            file_offset = vma.vm_pgoff.value_() << vma.prog_["PAGE_SHIFT"].value_()
            what += f"+{file_offset + address - start:#x}"
    except (drgn.FaultError, LookupError, ValueError, AttributeError):
        what = ""
    return f"{span} {what}".rstrip()
