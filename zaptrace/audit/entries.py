"""Page-table entries against the VMAs that they are in.

In an mm at rest (no page-table lock held, mmap_lock free, exit_mmap() not begun):

- Every present entry is in a VMA: munmap() clears the PTEs of what it takes out of the tree before
  it gives mmap_lock back, also where it goes on as a reader (mmap_write_downgrade()).
- An entry gives no right that its VMA has not: it is made of vm_page_prot, and the bit to write is
  added by maybe_mkwrite() or where VM_WRITE was asked for; mprotect() changes the VMA's flags and
  then its PTEs (pte_modify()) with mmap_lock held for writing.  FOLL_FORCE copies what it writes
  and leaves the copy read-only.  An entry without the right may be there any time: for a COW,
  dirty tracking, userfaultfd, a NUMA hint.
- An entry that may write maps what is its mapping's own.  A private mapping copies the page
  cache's pages and KSM's before it writes (do_wp_page()), and an anonymous page is then marked:
  "mm: remember exclusively mapped anonymous pages with PG_anon_exclusive" (5.19).
- A file's mapping maps at each address the page whose index is linear_page_index() of it, out of
  vm_file->f_mapping, or (a private one) anonymous pages; a mapping without vm_ops anonymous
  pages alone.  rmap_walk_file() finds the PTEs by that.

What drivers map as they like (VM_PFNMAP, VM_MIXEDMAP, VM_IO), special PTEs, and pages without a
mapping where filemap_map_pages() is not the VMA's are left alone.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zaptrace.audit.arrays import Index, Mask, Words
from zaptrace.audit.mms import vma_at
from zaptrace.audit.objects import read_members
from zaptrace.audit.optional import optional_step
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.page_flags import has_bit
from zaptrace.audit.structpages.table import MAPPING_ANON, MAPPING_FLAGS
from zaptrace.audit.vmatable import VmaTable

# include/linux/mm.h
VM_READ, VM_WRITE, VM_EXEC, VM_SHARED, VM_MAYSHARE = 0x1, 0x2, 0x4, 0x8, 0x80
VM_DRIVERS = 0x400 | 0x4000 | 0x10000000
"""VM_PFNMAP, VM_IO, VM_MIXEDMAP."""
_VM_STACK_INCOMPLETE_SETUP = 0x00008000 | 0x00010000
_KSM = MAPPING_FLAGS


class Wrong(enum.IntEnum):
    """What is wrong with an entry, the worst last."""

    NOTHING = 0
    WRITES_NOT_EXCLUSIVE = 1
    WRITES_PAGE_CACHE = 2
    WRITES_KSM = 3
    NOT_ANONYMOUS = 4
    NOT_OF_FILE = 5
    OTHER_INDEX = 6
    OTHER_FILE = 7
    BEYOND_PROT_NONE = 8
    BEYOND_EXEC = 9
    BEYOND_WRITE = 10
    OUTSIDE = 11


@dataclass(frozen=True, slots=True)
class Vmas:
    """The VMA of each of some leaves; arrays of one shape.

    Attributes:
        there: there is one.
        flags: vm_flags.
        pgoff: the index of a file's page at the leaf.
        file: vm_file is set.
        file_mapping: address of vm_file->f_mapping; 0 without, or where it cannot be read.
        has_ops: it has vm_ops.
        filemap: what faults around is filemap_map_pages().
    """

    there: Mask
    flags: Words
    pgoff: Words
    file_mapping: Words
    has_ops: Mask
    filemap: Mask


class EntryRules:
    """What may not be, of one kernel."""

    def __init__(self, state: KernelState) -> None:
        self._state = state
        self._exclusive: int | None = None
        with optional_step():
            self._exclusive = int(state.prog.constant("PG_anon_exclusive").value_())
        self._filemap = 0
        with optional_step():
            self._filemap = state.prog.symbol("filemap_map_pages").address
        # A machine without it has it in no entry.
        noexec = np.bitwise_or.reduce(state.walked.entry, initial=np.uint64(0))
        self.has_noexec = bool(int(noexec) & state.fmt.tables.noexec)

    def own(self) -> Mask:
        """Return which pages are anonymous ones that a single mapping may write.  Shape (pages,).

        All anonymous ones in a kernel that does not mark them.
        """
        anon = self._state.recorded.anon
        if self._exclusive is None:
            return anon
        return anon & has_bit(self._state.pages.column("flags"), self._exclusive)

    def by_table(self, table: VmaTable, leaves: Index, areas: Index) -> Vmas:
        """Return the VMAs of some leaves.

        Args:
            areas: their places in the table, -1 for none; shape of `leaves`.
        """
        there = areas >= 0
        if not len(table.mm):
            none = np.zeros(len(leaves), np.uint64)
            return Vmas(there, none, none, none, there, there)
        pages = (self._state.walked.address[leaves] - table.start[areas]) >> self._page_shift
        return Vmas(
            there,
            table.flags[areas],
            table.pgoff[areas] + pages,
            self.file_mappings(table.file)[areas],
            (table.ops != 0)[areas],
            self.are_filemap(table.ops)[areas],
        )

    def by_tree(self, leaf: int) -> Vmas | None:
        """Return the VMA of a leaf, by its mm's tree; None for a stack that execve() moves.

        Raises:
            drgn.FaultError, ValueError, NotImplementedError, AttributeError: it cannot be read.
        """
        walked = self._state.walked
        address = int(walked.address[leaf])
        vma = vma_at(self._state.mms[int(walked.mm[leaf])], address)
        words = np.zeros((4, 1), np.uint64)
        if vma is not None:
            flags = vma.vm_flags.value_()
            if flags & _VM_STACK_INCOMPLETE_SETUP == _VM_STACK_INCOMPLETE_SETUP:
                return None
            pages = np.uint64((address - vma.vm_start.value_()) >> self._state.fmt.page_shift)
            words[0], words[1] = flags, vma.vm_pgoff.value_()
            words[1] += pages
            words[2], words[3] = vma.vm_file.value_(), vma.vm_ops.value_()
        flags, pgoff, file, ops = words
        there = np.array([vma is not None])
        mappings = self.file_mappings(file)
        return Vmas(there, flags, pgoff, mappings, ops != 0, self.are_filemap(ops))

    def wrong(self, leaves: Index, vmas: Vmas) -> npt.NDArray[np.uint8]:
        """Return what is wrong with each of some leaves, one of `Wrong`."""
        found = np.zeros(len(leaves), np.uint8)
        for what, mask in self._checks(leaves, vmas):
            found[mask] = what
        return found

    def file_mappings(self, files: Words) -> Words:
        """Return the f_mapping of each file, 0 without a file or where it cannot be read."""
        return self._member("struct file", "f_mapping", files)

    def are_filemap(self, ops: Words) -> Mask:
        """Return which vm_operations_structs fault around by filemap_map_pages()."""
        functions = self._member("struct vm_operations_struct", "map_pages", ops)
        found: Mask = (functions == np.uint64(self._filemap)) & bool(self._filemap)
        return found

    def _member(self, struct: str, name: str, addresses: Words) -> Words:
        """Return a pointer of each of some structs, 0 where there is none or it cannot be read."""
        some, which = np.unique(addresses, return_inverse=True)
        layout = self._state.pages.layout
        rows, good = read_members(self._state.prog, layout, struct, {"it": name}, some)
        found: Words = np.where(good & (some != 0), rows["it"], np.uint64(0))[which]
        return found

    @property
    def _page_shift(self) -> np.uint64:
        return np.uint64(self._state.fmt.page_shift)

    def _checks(self, leaves: Index, vmas: Vmas) -> Iterator[tuple[Wrong, Mask]]:
        state, tables = self._state, self._state.fmt.tables
        recorded, pages = state.recorded, state.pages
        ordinary = vmas.there & ((vmas.flags & np.uint64(VM_DRIVERS)) == 0)
        mapped = ordinary & state.counted[leaves]
        index = np.where(mapped, state.first[leaves], 0)
        head = recorded.head[index]
        mapped &= recorded.known[index] & recorded.mappable[index] & ~recorded.free[index]
        mapping = pages.column("mapping", head)
        anon = (mapping & np.uint64(MAPPING_ANON)) != 0
        plain = ((mapping & np.uint64(MAPPING_FLAGS)) == 0) & (mapping != 0)
        entry = state.walked.entry[leaves]
        with_bits = ordinary & (tables.large_rights | (leaves >= state.walked.large))
        may_use = with_bits & has_any(entry, tables.readable)
        may_write = with_bits & has_any(entry, tables.writable)
        private = mapped & may_write & ((vmas.flags & np.uint64(VM_SHARED)) == 0)
        if self._exclusive is not None:
            marked = has_bit(pages.column("flags", index), self._exclusive)
            yield Wrong.WRITES_NOT_EXCLUSIVE, private & anon & ~marked
        yield Wrong.WRITES_PAGE_CACHE, private & plain
        yield Wrong.WRITES_KSM, private & ((mapping & np.uint64(MAPPING_FLAGS)) == _KSM)
        small = mapped & ~recorded.hugetlb[head]
        of_file = small & (vmas.file_mapping != 0)
        other = mapping != vmas.file_mapping
        yield Wrong.NOT_ANONYMOUS, small & ~vmas.has_ops & ~anon
        shared = (vmas.flags & np.uint64(VM_MAYSHARE)) != 0
        yield Wrong.NOT_OF_FILE, of_file & vmas.filemap & other & (shared | ~anon)
        stored = pages.column("index", head) + (index - head).astype(np.uint64)
        yield Wrong.OTHER_INDEX, of_file & plain & ~other & (stored != vmas.pgoff)
        yield Wrong.OTHER_FILE, of_file & plain & other
        rights = vmas.flags & np.uint64(VM_READ | VM_WRITE | VM_EXEC)
        yield Wrong.BEYOND_PROT_NONE, may_use & (rights == 0)
        if self.has_noexec:
            may_execute = may_use & ~has_any(entry, tables.noexec)
            denied = (rights != 0) & ((rights & np.uint64(VM_EXEC)) == 0)
            yield Wrong.BEYOND_EXEC, may_execute & denied
        yield Wrong.BEYOND_WRITE, may_write & ((rights & np.uint64(VM_WRITE)) == 0)
        yield Wrong.OUTSIDE, ~vmas.there


def has_any(words: Words, bits: int) -> Mask:
    """Return which words have one of some bits.  Same shape."""
    found: Mask = (words & np.uint64(bits)) != 0
    return found
