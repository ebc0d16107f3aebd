"""The numbers of one kernel that one needs to read its struct pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import drgn
import numpy as np
import numpy.typing as npt

from zaptrace.audit.arrays import Mask

# Below these a raw mapcount is a page type.  6.1: PAGE_MAPCOUNT_RESERVE, and buddy is ~0x80.
# Since "mm: allow reuse of the lower 16 bit of the page type with an actual type" (6.11) types lie
# in the upper bits, and since "mm: support only one page_type per page" (6.12) in the top byte.
_OLD_TYPES_BELOW = -128
_NEW_TYPES_BELOW = -(1 << 24)
_TYPE_BYTE = -(1 << 24)


@dataclass(frozen=True, slots=True)
class Flags:
    """What of a kernel's numbers one needs to read struct pages.

    Attributes:
        slab: bit number of PG_slab, None where slab is a page type.
        slab_type: raw mapcount of a slab's first page, None where it is no type.
        swapbacked: bit number of PG_swapbacked.
        buddy: raw mapcount of a free block's first page.
        hugetlb: compound_dtor of hugetlb folios, None without.
        double_map: bit number of PG_double_map in the first tail page, None without.
        hugetlb_type: raw mapcount of a hugetlb folio's first page, None where it is no type.
        hugetlb_flag: bit number of PG_hugetlb in the first tail page, None without.
        head_mask: the bit of page->flags that a large folio's first page has, 0 if unknown.
    """

    slab: int | None
    swapbacked: int
    buddy: int
    hugetlb: int | None = None
    double_map: int | None = None
    hugetlb_type: int | None = None
    hugetlb_flag: int | None = None
    head_mask: int = 0
    slab_type: int | None = None

    @property
    def types_below(self) -> int:
        """A raw mapcount less than this is a page type."""
        return _OLD_TYPES_BELOW if self.buddy > _NEW_TYPES_BELOW else _NEW_TYPES_BELOW


def flags_of(prog: drgn.Program, vmcoreinfo: dict[str, str]) -> Flags:
    """Find this kernel's numbers.

    Raises:
        LookupError, ValueError: VMCOREINFO is older than 4.0's, or broken.
    """
    # A page type since "mm: free up PG_slab" (6.10), before that a flag.
    slab_type = _slab_type(prog, vmcoreinfo)
    slab = vmcoreinfo.get("NUMBER(PG_slab)") if slab_type is None else None
    # A page type since "mm: turn folio_test_hugetlb into a PageType" (6.9), before that
    # "mm: remove HUGETLB_PAGE_DTOR" (6.6) a flag.
    hugetlb = vmcoreinfo.get("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)")
    return Flags(
        slab=None if slab is None else int(slab),
        swapbacked=int(vmcoreinfo["NUMBER(PG_swapbacked)"]),
        buddy=_signed32(int(vmcoreinfo["NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)"])),
        hugetlb=_constant(prog, "HUGETLB_PAGE_DTOR"),
        double_map=_constant(prog, "PG_double_map"),
        hugetlb_type=None if hugetlb is None else _signed32(int(hugetlb)),
        hugetlb_flag=_constant(prog, "PG_hugetlb") if hugetlb is None else None,
        head_mask=int(vmcoreinfo.get("NUMBER(PG_head_mask)", 0)),
        slab_type=slab_type,
    )


def has_bit(bits: npt.NDArray[Any], number: int) -> Mask:
    """Return which of `bits` have that bit. Same shape."""
    found: Mask = (bits & np.uint64(1 << number)) != 0
    return found


def of_type(raw: npt.NDArray[np.int32], page_type: int) -> Mask:
    """Return which raw mapcounts say that page type. Same shape.

    All of it is the type, until "mm: support only one page_type per page" (6.12) gave the low
    24 bits to the type's users.
    """
    mask = -1 if page_type & ~_TYPE_BYTE else _TYPE_BYTE
    found: Mask = (raw & np.int32(mask)) == page_type
    return found


def _slab_type(prog: drgn.Program, vmcoreinfo: dict[str, str]) -> int | None:
    exported = vmcoreinfo.get("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)")
    if exported is not None:
        return _signed32(int(exported))
    in_top_byte = _constant(prog, "PGTY_slab")
    return None if in_top_byte is None else _signed32(in_top_byte << 24)


def _constant(prog: drgn.Program, name: str) -> int | None:
    try:
        return int(prog.constant(name).value_())
    except LookupError:
        return None


def _signed32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value
