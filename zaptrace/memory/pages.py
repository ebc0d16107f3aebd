"""struct page and memory in bulk: spans read at once, decoded by numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import drgn
import numpy as np
import numpy.typing as npt
from drgn.helpers.linux.mm import for_each_valid_page_range

from zaptrace.model.errors import BadInput
from zaptrace.model.page_array import pfns_of

U64 = npt.NDArray[np.uint64]

_IORESOURCE_SYSRAM = 0x01000000  # include/linux/ioport.h
_MAX_RESOURCES = 65536  # more top-level resources than any machine has: a broken list


@dataclass(frozen=True, slots=True)
class PageLayout:
    """Where the array of struct pages lies (vmemmap, or mem_map with FLATMEM).

    Attributes:
        base: address of PFN 0's struct page; mapped only where `valid` says.
        struct_size: bytes of a struct page.
        page_shift: log2 of the page size in bytes.
        valid: PFNs that have a struct page, ascending.
    """

    base: int
    struct_size: int
    page_shift: int
    valid: tuple[range, ...]

    def pfns(self, addresses: U64) -> U64:
        """Return the PFN of each struct page address, ABSENT for others (`pfns_of`)."""
        return pfns_of(addresses, self.base, self.struct_size, self.valid)

    def address(self, pfn: int) -> int:
        """Return the address of the struct page of `pfn`."""
        return self.base + pfn * self.struct_size


def page_layout(prog: drgn.Program) -> PageLayout:
    """Find the struct pages of a kernel with SPARSEMEM_VMEMMAP or FLATMEM.

    Raises:
        BadInput: a memory model that drgn does not know, or broken memory sections.
    """
    try:
        spans = list(for_each_valid_page_range(prog))
        size = drgn.sizeof(prog.type("struct page"))
        shift = prog["PAGE_SHIFT"].value_()
    except (LookupError, drgn.FaultError, ValueError) as error:
        raise BadInput(f"the kernel's struct pages cannot be found: {error}") from error
    if not spans:
        raise BadInput("the kernel's memory sections are all empty: a broken dump?")
    valid = tuple(range(start, end) for start, end, _ in spans)
    return PageLayout(spans[0][2].value_(), size, shift, valid)


def ram_ranges(prog: drgn.Program) -> list[range]:
    """Return physical addresses that are system RAM, bytes, as /proc/iomem lists them.

    Walks iomem_resource's children (kernel/resource.c); an empty list when
    the kernel's list is broken, or another.
    """
    shift: int = prog["PAGE_SHIFT"].value_()
    found: list[range] = []
    try:
        resource = prog["iomem_resource"].child.read_()
        for _ in range(_MAX_RESOURCES):
            if not resource:
                return found
            if resource.flags.value_() & _IORESOURCE_SYSRAM:
                start, end = resource.start.value_(), resource.end.value_() + 1
                # A page belongs to RAM when all of it does (PFN_UP, PFN_DOWN).
                found.append(range(-(-start >> shift) << shift, end >> shift << shift))
            resource = resource.sibling.read_()
    except (drgn.FaultError, LookupError, AttributeError):
        pass
    return []


def byte_order(prog: drgn.Program) -> str:
    """Return the kernel's byte order as numpy and struct spell it: `<` or `>`."""
    platform = prog.platform
    little = platform is None or platform.flags & drgn.PlatformFlags.IS_LITTLE_ENDIAN
    return "<" if little else ">"


def read_array(
    prog: drgn.Program,
    address: int,
    dtype: npt.DTypeLike,
    count: int,
    *,
    physical: bool = False,
) -> npt.NDArray[Any]:
    """Return `count` items of `dtype` read in one go.  Shape (count,), read-only.

    `dtype` carries the byte order (see `byte_order`).

    Raises:
        drgn.FaultError: some of it is not in the dump.
    """
    item = np.dtype(dtype)
    return np.frombuffer(prog.read(address, count * item.itemsize, physical), item)


def page_dtype(
    prog: drgn.Program, layout: PageLayout, members: dict[str, str], of: str = "struct page"
) -> np.dtype[Any]:
    """Return a dtype that picks members out of struct page.

    Args:
        of: struct folio, for members of its first page or beyond.
        members: field name -> struct page member path, such as
            {"raw_mapcount": "_mapcount.counter"}.  Integers and pointers only.

    Raises:
        LookupError: this kernel's struct page has no such member.
    """
    page = prog.type(of)
    names, formats, offsets = [], [], []
    for name, path in members.items():
        parts = path.split(".")
        kind = page
        for part in parts:
            kind = _unaliased(kind.member(part).type)
        signed = kind.kind == drgn.TypeKind.INT and kind.is_signed
        names.append(name)
        formats.append(f"{byte_order(prog)}{'i' if signed else 'u'}{drgn.sizeof(kind)}")
        offsets.append(drgn.offsetof(page, path))
    return np.dtype(
        {
            "names": names,
            "formats": formats,
            "offsets": offsets,
            "itemsize": layout.struct_size if of == "struct page" else drgn.sizeof(page),
        }
    )


def _unaliased(kind: drgn.Type) -> drgn.Type:
    while kind.kind == drgn.TypeKind.TYPEDEF:
        kind = kind.type
    return kind
