"""What page tables look like: one row an architecture.

Sources of the bits: arch/s390/include/asm/pgtable.h ("Bits in the segment/region
table address-space-control-element" and the tables of bit patterns below it) and the
z/Architecture Principles of Operation, chapter 3, "Translation Tables".
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

    Leaf, table, empty and swap exclude each other; an entry that is none of them is
    malformed.

    Attributes:
        name: for people.
        shift: log2 of the bytes of address space that one entry covers.
        entries: entries in a full table, 8 bytes each.
        leaf: the entry maps memory.
        leaf_origin: mask of the memory's physical address in a leaf.
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
        user_end: first address that is not user space any more.
        root: mm_struct -> where its tables begin; None when the mm has none (yet).
    """

    arch: str
    word: str
    levels: tuple[Level, ...]
    special: int
    user_end: int
    root: Callable[[drgn.Object], Root | None]


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

_S390_TABLE_TYPE = 0x0C
_S390_INVALID = 0x20
_S390_LARGE = 0x400
_S390_ORIGIN = ALL_BITS & ~0xFFF
_S390_CRST_ENTRIES = 2048
_S390_SPAN = Span(first_mask=0xC0, first_shift=6, last_mask=0x03, unit=512)


def _s390x_region(name: str, shift: int, kind: int, large: int = 0) -> Level:
    return Level(
        name,
        shift,
        _S390_CRST_ENTRIES,
        leaf=(Match(large | _S390_TABLE_TYPE, large | kind),) if large else (),
        leaf_origin=ALL_BITS & ~0x7FFFFFFF,
        table=(Match(large | _S390_INVALID | _S390_TABLE_TYPE, kind),),
        table_origin=_S390_ORIGIN,
        empty=(Match(large | _S390_INVALID, _S390_INVALID),),
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
        leaf=(Match(_S390_LARGE | _S390_TABLE_TYPE, _S390_LARGE),),
        leaf_origin=ALL_BITS & ~0xFFFFF,
        table=(Match(_S390_LARGE | _S390_INVALID | _S390_TABLE_TYPE, 0),),
        table_origin=ALL_BITS & ~0x7FF,
        empty=(Match(_S390_LARGE | _S390_INVALID, _S390_INVALID),),
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


FORMATS = {
    "s390x": TableFormat(
        arch="s390x",
        word=">u8",
        levels=_S390X_LEVELS,
        special=0x040,
        user_end=2**64,
        root=_s390x_root_of,
    ),
}
