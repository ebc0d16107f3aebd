"""Every VMA of every mm by column, out of their slab cache.

for_each_vma() takes some 50 µs a VMA; a machine has tens of thousands.  Among the allocated
objects are VMAs that are in no mm's tree (any more, or not yet: vm_area_dup(), vm_area_free() by
RCU), so that what this table says of an mm is a suspicion, which the mm's own tree confirms.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import drgn
import numpy as np
import numpy.typing as npt

from zaptrace.audit.arrays import Index, Mask, Words
from zaptrace.audit.objects import read_members
from zaptrace.audit.slub import allocated_objects
from zaptrace.audit.structpages.page_flags import Flags
from zaptrace.audit.structpages.table import StructPages

VM_LOCKED = 0x00002000  # include/linux/mm.h

_MEMBERS = {
    "mm": "vm_mm",
    "start": "vm_start",
    "end": "vm_end",
    "flags": "vm_flags",
    "pgoff": "vm_pgoff",
    "anon_vma": "anon_vma",
    "file": "vm_file",
    "ops": "vm_ops",
}
# "mm: introduce and use vma anonymous page offset" (7.3): anonymous pages of a private mapping of
# a file have an index that says where they were mapped, not where in the file they come from.
_ANON_PGOFF = {"anon_low": "__vm_anon_pgoff_lo", "anon_high": "__vm_anon_pgoff_hi"}


@dataclass(frozen=True, slots=True)
class VmaTable:
    """VMAs, sorted by mm and start; arrays of shape (VMAs,).

    Attributes:
        address: of the vm_area_struct.
        mm: index of its mm.
        start, end: bytes.
        flags: vm_flags.
        pgoff: the index of a file's page at `start`, pages.
        anon_pgoff: the same of an anonymous page.
        file: address of the mapped file, 0 without.
        ops: address of its vm_operations_struct, 0 without.
        anon_vma: address of its anon_vma, 0 without.
        overlapping: another one of the table has addresses of it: one of them is in no tree.
    """

    address: Words
    mm: Index
    start: Words
    end: Words
    flags: Words
    pgoff: Words
    anon_pgoff: Words
    file: Words
    ops: Words
    anon_vma: Words
    overlapping: Mask

    def find(self, mm: Index, address: Words) -> Index:
        """Return the place of the VMA that has each address, -1 for none.  Shape of `mm`."""
        found = np.full(len(mm), -1, np.int64)
        if not len(mm):
            return found
        order = np.argsort(mm, kind="stable")
        edges = np.flatnonzero(np.diff(mm[order])) + 1
        for mine in np.split(order, edges):
            number = int(mm[mine[0]])
            first, end = np.searchsorted(self.mm, [number, number + 1]).tolist()
            at = first + np.searchsorted(self.start[first:end], address[mine], side="right") - 1
            inside = at >= first
            mine, at = mine[inside], at[inside]
            before_end = address[mine] < self.end[at]
            found[mine[before_end]] = at[before_end]
        return found

    def locked_pages(self, mms: int, page_shift: int) -> Index:
        """Return how many pages each mm's VM_LOCKED VMAs have.  Shape (mms,)."""
        return self._sizes((self.flags & np.uint64(VM_LOCKED)) != 0, mms, page_shift)

    def pages(self, mms: int, page_shift: int) -> Index:
        """Return how many pages each mm's VMAs have.  Shape (mms,)."""
        return self._sizes(np.ones(len(self.mm), bool), mms, page_shift)

    def _sizes(self, which: Mask, mms: int, page_shift: int) -> Index:
        pages = ((self.end - self.start) >> np.uint64(page_shift))[which].astype(np.float64)
        return np.bincount(self.mm[which], pages, minlength=mms).astype(np.int64)


def read_table(
    prog: drgn.Program, pages: StructPages, flags: Flags, mms: list[int], gaps: Counter[str]
) -> VmaTable:
    """Read the VMAs of some mms.

    Args:
        mms: addresses of the mm_structs, by index.
        gaps: what could not be read is counted here.

    Raises:
        LookupError, AttributeError, drgn.FaultError: there is no such slab cache, or it cannot be
            read.
    """
    found = allocated_objects(prog["vm_area_cachep"], pages, flags, gaps)
    addresses = np.array(found, np.uint64)
    columns = dict(_MEMBERS)
    if prog.type("struct vm_area_struct").has_member("__vm_anon_pgoff_lo"):
        columns |= _ANON_PGOFF
    rows, good = read_members(prog, pages.layout, "struct vm_area_struct", columns, addresses)
    number_of = {address: number for number, address in enumerate(mms)}
    numbers = np.array([number_of.get(mm, -1) for mm in rows["mm"].tolist()], np.int64)
    keep = np.flatnonzero(good & (numbers >= 0) & (rows["start"] < rows["end"]))
    return table_of(addresses[keep], numbers[keep], rows[keep])


def table_of(addresses: Words, mm: Index, rows: npt.NDArray[Any]) -> VmaTable:
    """Return VMAs as a table.

    Args:
        addresses: of the vm_area_structs, in any order; shape (n,).
        mm: index of each one's mm.
        rows: their members, by the names of `_MEMBERS`.
    """
    order = np.lexsort((rows["start"], mm))
    addresses, mm, rows = addresses[order], mm[order], rows[order]
    overlapping = np.zeros(len(mm), bool)
    over = (mm[1:] == mm[:-1]) & (rows["start"][1:] < rows["end"][:-1])
    overlapping[1:] |= over
    overlapping[:-1] |= over
    anon_pgoff = rows["pgoff"]
    if "anon_low" in (rows.dtype.names or ()):
        anon_pgoff = (rows["anon_high"].astype(np.uint64) << np.uint64(32)) + rows["anon_low"]
    return VmaTable(
        addresses,
        mm,
        rows["start"],
        rows["end"],
        rows["flags"],
        rows["pgoff"],
        anon_pgoff.astype(np.uint64),
        rows["file"],
        rows["ops"],
        rows["anon_vma"],
        overlapping,
    )


def anon_pgoff_of(vma: drgn.Object) -> int:
    """Return the index of an anonymous page at the start of a VMA (vma_start_anon_pgoff()).

    Raises:
        drgn.FaultError: the VMA is not in the dump.
    """
    if hasattr(vma, "__vm_anon_pgoff_lo"):
        high, low = vma.member_("__vm_anon_pgoff_hi"), vma.member_("__vm_anon_pgoff_lo")
        return int((high.value_() << 32) + low.value_())
    return int(vma.vm_pgoff.value_())
