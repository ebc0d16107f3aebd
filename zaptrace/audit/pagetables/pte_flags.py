"""The bits of page-table entries by name: one row an architecture and kind of entry.

x86_64: arch/x86/include/asm/pgtable_types.h.  s390x: arch/s390/include/asm/pgtable.h;
its READ and WRITE bits of large leaves have moved (6.14) and are left out.
"""

from __future__ import annotations

from typing import NamedTuple

Names = tuple[tuple[int, str], ...]


class EntryBits(NamedTuple):
    """Bit -> name: of PTEs, of large leaves and of entries that point to a table."""

    pte: Names
    large: Names
    table: Names


_X86_TABLE: Names = (
    (1 << 0, "PRESENT"),
    (1 << 1, "RW"),
    (1 << 2, "USER"),
    (1 << 3, "PWT"),
    (1 << 4, "PCD"),
    (1 << 5, "ACCESSED"),
    (1 << 63, "NX"),
)
_X86_LEAF: Names = (
    *_X86_TABLE[:-1],
    (1 << 6, "DIRTY"),
    (1 << 8, "GLOBAL"),  # PROTNONE without PRESENT
    (1 << 9, "SPECIAL"),
    (1 << 10, "UFFD_WP"),
    (1 << 11, "SOFT_DIRTY"),
    (1 << 63, "NX"),
)

_S390_CRST: Names = ((0x200, "PROTECT"), (0x100, "NOEXEC"), (0x020, "INVALID"))

BITS = {
    "x86_64": EntryBits(
        pte=(*_X86_LEAF, (1 << 7, "PAT")),
        large=(*_X86_LEAF, (1 << 7, "PSE"), (1 << 12, "PAT"), (1 << 58, "DEVMAP")),
        table=_X86_TABLE,
    ),
    "s390x": EntryBits(
        pte=(
            (0x001, "PRESENT"),
            (0x002, "SOFT_DIRTY"),
            (0x004, "YOUNG"),
            (0x008, "DIRTY"),
            (0x010, "READ"),
            (0x020, "WRITE"),
            (0x040, "SPECIAL"),
            (0x080, "UNUSED"),
            (0x100, "NOEXEC"),
            (0x200, "PROTECT"),
            (0x400, "INVALID"),
        ),
        large=(*_S390_CRST, (0x400, "LARGE"), (0x1000, "YOUNG"), (0x2000, "DIRTY")),
        table=_S390_CRST,
    ),
}


def names(bits: Names, entry: int) -> tuple[str, ...]:
    """The names of the bits that are set, lowest first."""
    return tuple(name for bit, name in sorted(bits) if entry & bit)
