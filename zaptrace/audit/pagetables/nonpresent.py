"""Entries that are not present but say something: swap, migration, device, hwpoison, markers.

The generic part (include/linux/swap.h): of 32 types the lowest MAX_SWAPFILES are swap files, the
others, upwards: hwpoison, migration, device, marker; each there only if configured.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import drgn
import numpy as np
import numpy.typing as npt

from zaptrace.arch.page_tables import SwapEncoding
from zaptrace.audit.arrays import Counts, Index, Words
from zaptrace.audit.functions import has_function
from zaptrace.audit.pagetables.table_format import TableFormat
from zaptrace.audit.pagetables.walk import Nonpresent, Walked

_TYPES = 32  # 1 << MAX_SWAPFILES_SHIFT
_TYPE_SHIFT = 58  # SWP_TYPE_SHIFT: BITS_PER_XA_VALUE - MAX_SWAPFILES_SHIFT
_MOST_MARKERS = 2
_PHYSMEM_BITS = 46  # MAX_PHYSMEM_BITS where VMCOREINFO does not say


class SwapKind(enum.IntEnum):
    """What an entry that is not present stands for."""

    UNKNOWN = 0
    """This kernel's types are not known."""
    SWAP = 1
    HWPOISON = 2
    MIGRATION = 3
    """The page moves: it is in the rss, but not mapped."""
    DEVICE_PRIVATE = 4
    """The page is in a device's memory, and mapped."""
    DEVICE_EXCLUSIVE = 5
    """A device has the page for itself; mapped since 6.15 only."""
    MARKER = 6
    """userfaultfd's write protection, poison, a guard, a swap entry that is lost: no page."""


WITH_PFN = (
    SwapKind.HWPOISON,
    SwapKind.MIGRATION,
    SwapKind.DEVICE_PRIVATE,
    SwapKind.DEVICE_EXCLUSIVE,
)
IN_RSS = (SwapKind.MIGRATION, SwapKind.DEVICE_PRIVATE, SwapKind.DEVICE_EXCLUSIVE)
"""Counted as the page they name (zap_nonpresent_ptes(), mm/memory.c)."""


@dataclass(frozen=True, slots=True)
class SwapTypes:
    """This kernel's types.

    Attributes:
        kinds: kind of each type, shape (32,).
        pfn_bits: low bits of the offset that are the PFN; above them are flags of migration.
        exclusive_mapped: whether device-exclusive entries count as mappings.
    """

    kinds: npt.NDArray[np.uint8]
    pfn_bits: int
    exclusive_mapped: bool = False


NO_TYPES = SwapTypes(np.zeros(_TYPES, np.uint8), 0)
"""Types that have not been looked up."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The entries that are not present, one element each.

    Attributes:
        kind: SwapKind.
        pfn: the first page of those in WITH_PFN, else 0.
        mm: index into the roots.
        level: index in `TableFormat.levels`.
        mapped: whether it counts as a mapping of its page.
    """

    kind: npt.NDArray[np.uint8]
    pfn: Words
    mm: npt.NDArray[np.int32]
    level: npt.NDArray[np.uint8]
    mapped: npt.NDArray[np.bool_]

    def per_mm(self, kind: SwapKind, mms: int) -> Counts:
        """Return how many of a kind each mm has. Shape (mms,)."""
        return np.bincount(self.mm[self.kind == kind], minlength=mms)

    def mms_with(self, kind: SwapKind) -> frozenset[int]:
        """Return the mms that have one of a kind."""
        return frozenset(self.mm[self.kind == kind].tolist())

    def of_mm(self, number: int) -> Absent:
        """Those of one mm."""
        mine = self.mm == number
        columns = (self.kind, self.pfn, self.mm, self.level, self.mapped)
        return Absent(*(column[mine] for column in columns))

    def by_kind(self) -> dict[str, int]:
        """Kind's name -> how many, without those that do not occur."""
        counts = np.bincount(self.kind, minlength=len(SwapKind)).tolist()
        return {kind.name.lower(): counts[kind] for kind in SwapKind if counts[kind]}


def types_of(prog: drgn.Program, vmcoreinfo: dict[str, str], page_shift: int) -> SwapTypes:
    """Find this kernel's types; all UNKNOWN where it cannot be said which there are.

    The length of swap_info[] is MAX_SWAPFILES, symbols say what is configured, and what is then
    left of the 32 types are those without a page: the marker (CONFIG_PTE_MARKER, since 6.3 always
    there), and before 6.3 a swap entry that could not be read (SWP_SWAPIN_ERROR, since 5.19).
    """
    bits = int(vmcoreinfo.get("NUMBER(MAX_PHYSMEM_BITS)", _PHYSMEM_BITS))
    bits -= page_shift
    unknown = SwapTypes(np.zeros(_TYPES, np.uint8), bits)
    rest = [
        *_if(prog, "memory_failure", [SwapKind.HWPOISON]),
        *_if(prog, "migrate_pages", [SwapKind.MIGRATION] * _migration_types(prog)),
        *_device_types(prog),
    ]
    try:
        files = prog["swap_info"].type_.length
    except (LookupError, AttributeError):  # no CONFIG_SWAP
        if not _has_one_marker(prog):
            return unknown
        files = _TYPES - len(rest) - 1
    kinds = [SwapKind.SWAP] * files + rest
    if not 0 <= _TYPES - len(kinds) <= _MOST_MARKERS:
        return unknown
    kinds += [SwapKind.MARKER] * (_TYPES - len(kinds))
    exclusive = has_function(prog, "make_device_exclusive")
    return SwapTypes(np.array(kinds, np.uint8), bits, exclusive_mapped=exclusive)


def _has_one_marker(prog: drgn.Program) -> bool:
    """Return whether there is exactly one type of markers.

    Since v6.3 they are always built in, and a swap entry that could not be read is one.
    `__vm_flags` came in the same release ("mm: introduce vma->vm_flags wrapper functions").
    """
    try:
        return bool(prog.type("struct vm_area_struct").has_member("__vm_flags"))
    except LookupError:
        return False


def _migration_types(prog: drgn.Program) -> int:
    """Three since "mm: remember exclusively mapped anonymous pages with PG_anon_exclusive"."""
    try:
        prog.constant("PG_anon_exclusive")
    except LookupError:
        return 2
    return 3


def _device_types(prog: drgn.Program) -> list[SwapKind]:
    private, exclusive = SwapKind.DEVICE_PRIVATE, SwapKind.DEVICE_EXCLUSIVE
    # "mm: use single SWP_DEVICE_EXCLUSIVE entry type" (6.15), whose series also keeps the mapcount.
    if has_function(prog, "make_device_exclusive"):
        return [private, private, exclusive]
    # "mm: device exclusive memory access" (5.14)
    if has_function(prog, "make_device_exclusive_range"):
        return [private, private, exclusive, exclusive]
    return []


def _if(prog: drgn.Program, symbol: str, kinds: list[SwapKind]) -> list[SwapKind]:
    return kinds if has_function(prog, symbol) else []


def classify(fmt: TableFormat, walked: Walked, types: SwapTypes) -> Absent:
    """Return what the walked entries that are not present stand for."""
    found, code = walked.nonpresent, fmt.tables.swap
    lowest = found.level == len(fmt.levels) - 1
    kind = np.where(
        lowest,
        types.kinds[_bits(found.entry, code.pte_type)],
        types.kinds[_bits(found.entry, code.large_type)],
    )
    pfn = _offset(found.entry, code) & np.uint64((1 << types.pfn_bits) - 1)
    mapped = kind == SwapKind.DEVICE_PRIVATE
    if types.exclusive_mapped:
        mapped |= kind == SwapKind.DEVICE_EXCLUSIVE
    pfn = np.where(np.isin(kind, WITH_PFN), pfn, np.uint64(0))
    return Absent(kind, pfn, found.mm, found.level, mapped)


def swap_keys(fmt: TableFormat, found: Nonpresent, which: Index) -> Words:
    """Return some entries of page tables as the kernel keeps them elsewhere: swp_entry_t.

    Type and offset side by side (swp_entry(), include/linux/swapops.h), as in ->private of a folio
    in the swap cache.

    Args:
        found: the walk's entries that are not present.
        which: places of swap entries among them.
    """
    code, entries = fmt.tables.swap, found.entry[which]
    lowest = found.level[which] == len(fmt.levels) - 1
    kinds = np.where(lowest, _bits(entries, code.pte_type), _bits(entries, code.large_type))
    return (kinds.astype(np.uint64) << np.uint64(_TYPE_SHIFT)) | _offset(entries, code)


def _bits(entries: Words, where: tuple[int, int]) -> npt.NDArray[np.intp]:
    shift, mask = where
    return ((entries >> np.uint64(shift)) & np.uint64(mask)).astype(np.intp)


def _offset(entries: Words, code: SwapEncoding) -> Words:
    stored = ~entries if code.inverted else entries
    return (stored << np.uint64(code.left)) >> np.uint64(code.right)
