"""What page tables look like, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

ALL_BITS = 2**64 - 1

FlagNames = tuple[tuple[int, str], ...]
"""Bits of an entry and their names."""


class Match(NamedTuple):
    """An entry is meant when `entry & mask == value`."""

    mask: int
    value: int


class Span(NamedTuple):
    """Bits that say which part of the next table exists, in units of `unit` entries."""

    first_mask: int
    first_shift: int
    last_mask: int
    unit: int


@dataclass(frozen=True, slots=True)
class Level:
    """One level of tables.

    Leaf, table and swap exclude each other, and what is empty is neither of them; an entry that
    is not one of the four is malformed.

    Attributes:
        name: for people.
        shift: log2 of the bytes of address space that one entry covers.
        entries: entries in a full table, 8 bytes each.
        leaf: the entry maps memory.
        leaf_origin: mask of the memory's physical address in a leaf.
        inverted: leaves that hold the complement of that address.
        table: the entry points to a table of the next level.
        table_origin: mask of that table's physical address.
        empty: nothing is mapped here.
        swap: not present, but not empty: a swap or migration entry or a marker.
        span: what part of the next table exists, None when always all of it.
    """

    name: str
    shift: int
    entries: int
    leaf: tuple[Match, ...] = ()
    leaf_origin: int = 0
    inverted: tuple[Match, ...] = ()
    table: tuple[Match, ...] = ()
    table_origin: int = 0
    empty: tuple[Match, ...] = ()
    swap: tuple[Match, ...] = ()
    span: Span | None = None

    @property
    def bytes(self) -> int:
        """Size of a full table."""
        return self.entries * 8

    @property
    def index_bits(self) -> int:
        """log2 of the entries in a full table."""
        return self.entries.bit_length() - 1


class EntryFlags(NamedTuple):
    """Names of the bits: of PTEs, of large leaves and of entries that point to a table."""

    pte: FlagNames
    large: FlagNames
    table: FlagNames


class SwapEncoding(NamedTuple):
    """How a non-present entry stores type and offset (__swp_type(), __swp_offset()).

    Attributes:
        pte_type: shift and mask of the type in a PTE.
        large_type: the same in an entry of a higher level.
        inverted: the offset is stored complemented.
        left, right: how far to shift the entry left, and then right, to get the offset.
    """

    pte_type: tuple[int, int]
    large_type: tuple[int, int]
    inverted: bool
    left: int
    right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTables:
    """One architecture's page tables.

    Attributes:
        levels: topmost first; the last one holds PTEs.
        special: _PAGE_SPECIAL of a PTE: no struct page belongs to the mapping
            (vm_normal_page(), CONFIG_ARCH_HAS_PTE_SPECIAL).
        readable: the bit of a PTE through which user space may read: one of PROT_NONE, or one that
            waits for a NUMA hint (pte_protnone()), lacks it.
        writable: pte_write(): the bit of a PTE through which user space may write.
        noexec: the bit of a PTE through which user space may not execute, where the machine has it.
        large_rights: those bits are a large leaf's, too, in every kernel.
        large_special: the same of a large leaf (pmd_special(), pud_special()), 0 without.
        large_devmaps: _PAGE_DEVMAP of a large leaf, in kernels that have it: a function that a
            kernel must have ("": any kernel), and then the bit; the first that fits.
        user_end: first address that is not user space any more.
        flags: names of the bits.
        swap: how non-present entries are encoded.
    """

    levels: tuple[Level, ...]
    special: int
    readable: int
    writable: int
    noexec: int
    large_rights: bool
    large_special: int
    large_devmaps: tuple[tuple[str, int], ...]
    user_end: int
    flags: EntryFlags
    swap: SwapEncoding

    @property
    def page_shift(self) -> int:
        """log2 of the bytes of a page: of what one PTE maps."""
        return self.levels[-1].shift
