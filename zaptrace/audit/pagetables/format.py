"""What page tables look like: one row an architecture.

Sources of the bits of s390x: arch/s390/include/asm/pgtable.h ("Bits in the
segment/region table address-space-control-element" and the tables of bit patterns
below it) and the z/Architecture Principles of Operation, chapter 3, "Translation
Tables".  Of x86_64: arch/x86/include/asm/pgtable_types.h, pgtable_64.h and
pgtable-invert.h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import drgn
import numpy as np
from drgn.helpers.linux.mm import virt_to_phys

from zaptrace.audit.arrays import Mask, Words

ALL_BITS = 2**64 - 1
PAGE_SHIFT = 12


class Match(NamedTuple):
    """An entry is meant when `entry & mask == value`."""

    mask: int
    value: int

    def of(self, entries: Words) -> Mask:
        """Which of `entries` match.  Same shape."""
        matching: Mask = (entries & np.uint64(self.mask)) == np.uint64(self.value)
        return matching


class Span(NamedTuple):
    """Bits that say which part of the next table exists, in units of `unit` entries."""

    first_mask: int
    first_shift: int
    last_mask: int
    unit: int

    def first(self, entries: Words) -> Words:
        """Index of the first entry that exists in each table pointed to."""
        units = (entries & np.uint64(self.first_mask)) >> np.uint64(self.first_shift)
        return units * np.uint64(self.unit)

    def end(self, entries: Words) -> Words:
        """Index behind the last entry that exists in each table pointed to."""
        return ((entries & np.uint64(self.last_mask)) + np.uint64(1)) * np.uint64(self.unit)


@dataclass(frozen=True, slots=True)
class Level:
    """One level of tables.

    Leaf, table and swap exclude each other, and what is empty is none of them; an
    entry that is nothing of it all is malformed.

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

    @property
    def pages(self) -> int:
        """Pages that a leaf of this level maps."""
        return 1 << (self.shift - PAGE_SHIFT)


class Root(NamedTuple):
    """Where the walk of one mm begins: entries [first, end) of a table.

    Attributes:
        table: physical address.
        level: index in `TableFormat.levels`.
    """

    table: int
    level: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class TableFormat:
    """One architecture's page tables.

    Attributes:
        arch: as DESIGN names it.
        word: numpy dtype of an entry in memory.
        levels: topmost first; the last one holds PTEs.
        special: _PAGE_SPECIAL of a PTE: no struct page belongs to the mapping
            (vm_normal_page(), CONFIG_ARCH_HAS_PTE_SPECIAL).
        large_special: the same of a large leaf (pmd_special(), pud_special()), 0 without.
        large_devmaps: _PAGE_DEVMAP of a large leaf, in kernels that have it: a function that a
            kernel must have ("": any kernel), and then the bit; the first that fits.
        user_end: first address that is not user space any more.
        root: mm_struct -> where its tables begin; None when the mm has none (yet).
    """

    arch: str
    word: str
    levels: tuple[Level, ...]
    special: int
    user_end: int
    root: Callable[[drgn.Object], Root | None]
    large_special: int = 0
    large_devmaps: tuple[tuple[str, int], ...] = ()


def any_of(matches: tuple[Match, ...], entries: Words) -> Mask:
    """Which of `entries` meet one of `matches`.  Same shape."""
    if not matches:
        return np.zeros(entries.shape, bool)
    found = matches[0].of(entries)
    for match in matches[1:]:
        found |= match.of(entries)
    return found


# s390x -----------------------------------------------------------------------
#
# The address-space-control element (mm->context.asce) holds the origin of the
# topmost table and its type; Linux begins at region-third tables (4 TB) and
# grows upwards (crst_table_upgrade(), arch/s390/mm/pgalloc.c).
# Region and segment tables: invalid bit 0x20; the type must be the level's own
# ("TT", 0x0c), else the hardware takes a translation-specification exception.
# A segment or region-third leaf may be invalid and still present (young
# tracking), so the large bit alone decides.
# A PTE is present by the software bit 0x001 alone, for the same reason.
# A swap entry of these levels has COMM and not PRESENT (0x001); its type covers the large bit
# ("s390/mm: Introduce region-third and segment table swap entries", 6.14).  Nothing that is in
# user space has COMM otherwise.

_S390_TABLE_TYPE = 0x0C
_S390_INVALID = 0x20
_S390_LARGE = 0x400
_S390_COMM = 0x10
_S390_ORIGIN = ALL_BITS & ~0xFFF
_S390_CRST_ENTRIES = 2048
_S390_SPAN = Span(first_mask=0xC0, first_shift=6, last_mask=0x03, unit=512)


def _s390x_swap(kind: int) -> Match:
    known = _S390_INVALID | _S390_COMM
    return Match(known | _S390_TABLE_TYPE | 0x001, known | kind)


def _s390x_region(name: str, shift: int, kind: int, large: int = 0) -> Level:
    return Level(
        name,
        shift,
        _S390_CRST_ENTRIES,
        leaf=(Match(large | _S390_COMM | _S390_TABLE_TYPE, large | kind),) if large else (),
        leaf_origin=ALL_BITS & ~0x7FFFFFFF,
        table=(Match(large | _S390_INVALID | _S390_TABLE_TYPE, kind),),
        table_origin=_S390_ORIGIN,
        empty=(Match(large | _S390_COMM | _S390_INVALID, _S390_INVALID),),
        swap=(_s390x_swap(kind),) if large else (),
        span=_S390_SPAN,
    )


_S390X_LEVELS = (
    _s390x_region("region first", 53, 0x0C),
    _s390x_region("region second", 42, 0x08),
    _s390x_region("region third", 31, 0x04, _S390_LARGE),
    Level(
        "segment",
        20,
        _S390_CRST_ENTRIES,
        leaf=(Match(_S390_LARGE | _S390_COMM | _S390_TABLE_TYPE, _S390_LARGE),),
        leaf_origin=ALL_BITS & ~0xFFFFF,
        table=(Match(_S390_LARGE | _S390_INVALID | _S390_TABLE_TYPE, 0),),
        table_origin=ALL_BITS & ~0x7FF,
        empty=(Match(_S390_LARGE | _S390_COMM | _S390_INVALID, _S390_INVALID),),
        swap=(_s390x_swap(0),),
    ),
    Level(
        "page",
        12,
        256,
        leaf=(Match(0x001, 0x001),),
        leaf_origin=_S390_ORIGIN,
        empty=(Match(ALL_BITS, 0x400),),
        swap=(Match(0x201, 0x200),),
    ),
)


def s390x_root(asce: int) -> Root | None:
    """Where an address-space-control element begins; None when it holds no origin."""
    origin = asce & _S390_ORIGIN
    if not origin:
        return None
    level = 3 - ((asce & _S390_TABLE_TYPE) >> 2)
    return Root(origin, level, 0, ((asce & 0x03) + 1) * _S390_SPAN.unit)


def _s390x_root_of(mm: drgn.Object) -> Root | None:
    asce: int = mm.context.asce.value_()
    pgd = mm.pgd.read_()
    # Between mm_alloc_pgd() and init_new_context() the ASCE is another mm's (dup_mm() copies it).
    if not pgd or virt_to_phys(pgd).value_() != asce & _S390_ORIGIN:
        return None
    return s390x_root(asce)


# x86_64 ----------------------------------------------------------------------
#
# Present is PRESENT (0x001) or PROT_NONE (0x100, the GLOBAL bit of an entry that
# is not PRESENT); a huge page is PSE (0x080), also while PRESENT is taken back for
# an invalidation (pmd_present()).  A leaf without PRESENT holds its address
# complemented (L1TF: __pte_needs_invert()).  Bit 12 of a huge leaf is PAT.
# "Empty" ignores ACCESSED and DIRTY, which an erratum may set (pte_none()).
# The bits of an address in an entry may include encryption's: `pagetables.arches` takes it out.
# PTI keeps a second topmost table for user space, with the same tables below.

_X86_ORIGIN = 0x000FFFFFFFFFF000
_X86_ENTRIES = 512
_X86_NOT_PRESENT = (Match(0x001, 0),)
_X86_PTE_EMPTY = (Match(ALL_BITS & ~0x060, 0),)
_X86_USER_ENTRIES = 256
"""Of a topmost table: the rest of it is the kernel's."""


def _x86_directory(name: str, shift: int, *, huge: bool) -> Level:
    return Level(
        name,
        shift,
        _X86_ENTRIES,
        leaf=(Match(0x080, 0x080),) if huge else (),
        leaf_origin=_X86_ORIGIN & ~((1 << shift) - 1),
        inverted=_X86_NOT_PRESENT,
        table=(Match(0x081 if huge else 0x001, 0x001),),
        table_origin=_X86_ORIGIN,
        empty=_X86_PTE_EMPTY,
        swap=(Match(0x181, 0),) if huge else (),
    )


_X86_64_LEVELS = (
    _x86_directory("pgd", 48, huge=False),
    _x86_directory("p4d", 39, huge=False),
    _x86_directory("pud", 30, huge=True),
    _x86_directory("pmd", 21, huge=True),
    Level(
        "pte",
        12,
        _X86_ENTRIES,
        leaf=(Match(0x001, 0x001), Match(0x101, 0x100)),
        leaf_origin=_X86_ORIGIN,
        inverted=_X86_NOT_PRESENT,
        empty=_X86_PTE_EMPTY,
        swap=(Match(0x101, 0),),
    ),
)


def x86_64_root(mm: drgn.Object, *, top: int = 1) -> Root | None:
    """Where an mm begins, with the p4d folded into the pgd (`top` 1) or five levels (0)."""
    pgd = mm.pgd.read_()
    if not pgd:
        return None
    return Root(virt_to_phys(pgd).value_(), top, 0, _X86_USER_ENTRIES)


FORMATS = {
    "s390x": TableFormat(
        arch="s390x",
        word=">u8",
        levels=_S390X_LEVELS,
        special=0x040,
        user_end=2**64,
        root=_s390x_root_of,
    ),
    "x86_64": TableFormat(
        arch="x86_64",
        word="<u8",
        levels=_X86_64_LEVELS,
        special=0x200,  # _PAGE_SOFTW1
        user_end=2**56,
        root=x86_64_root,
        large_special=0x200,
        # _PAGE_SOFTW4, which "x86/mm: Introduce _PAGE_SAVED_DIRTY" (6.6) moved, to have its bit for
        # a write-protected page that is dirty; that series made pte_mkwrite() a function.
        large_devmaps=(("pte_mkwrite", 1 << 57), ("", 1 << 58)),
    ),
}
