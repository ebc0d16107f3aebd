"""The kernel's whole array of struct pages, held once and read by column.

A page's *index* is its place in this array: PFNs without a struct page have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import drgn
import numpy as np
import numpy.typing as npt

from zaptrace.audit.arrays import NOWHERE, Index, Mask, Words
from zaptrace.memory.pages import PageLayout, page_dtype, read_struct_pages

# Low bits of page->mapping, include/linux/page-flags.h.
MAPPING_ANON = 0x1  # the rest is an anon_vma
MAPPING_MOVABLE = 0x2  # without ANON a driver's page, never mapped; with it a KSM page
MAPPING_FLAGS = 0x3

_CHUNK_PAGES = 1 << 18  # 16 MB of struct pages
_SMALLEST_READ = 64  # struct pages in one page of the array

# Column -> members that may hold it, newest first.  Columns of members that this kernel
# lacks are absent.  All from include/linux/mm_types.h.
_MEMBERS: dict[str, tuple[str, ...]] = {
    # "mm: introduce memdesc_flags_t" (6.18)
    "flags": ("flags.f", "flags"),
    "lru_next": ("lru.next",),
    "mapping": ("mapping",),
    # "mm: rename page->index to page->__folio_index" (6.16)
    "index": ("__folio_index", "index"),
    "private": ("private",),
    "raw_mapcount": ("_mapcount.counter",),
    "refcount": ("_refcount.counter",),
    "compound_head": ("compound_info", "compound_head"),
}

# The same for what a folio keeps in its first tail page: members of struct folio or, before
# "mm: move compound_order into the folio" and its kin (6.3), of that struct page.
_TAIL_MEMBERS: dict[str, tuple[str, ...]] = {
    "large_mapcount": ("_large_mapcount.counter",),
    "compound_mapcount": ("_entire_mapcount.counter", "compound_mapcount.counter"),
    "compound_dtor": ("_folio_dtor", "compound_dtor"),
}


@dataclass(frozen=True, slots=True)
class StructPages:
    """All struct pages.

    Attributes:
        layout: where they lie.
        raw: dtype with a field for each column, shape (number of pages,); read-only.
        readable: which of them are in the dump.
    """

    layout: PageLayout
    raw: npt.NDArray[Any]
    readable: Mask

    def __len__(self) -> int:
        return len(self.raw)

    def has(self, name: str) -> bool:
        """Whether this kernel has the column."""
        return name in (self.raw.dtype.names or ())

    def column(self, name: str, where: Index | None = None) -> npt.NDArray[Any]:
        """A column (at some pages) in native byte order.  Shape (pages,)."""
        values = self.raw[name] if where is None else self.raw[name][where]
        return values.astype(values.dtype.newbyteorder("="))

    def pfns(self, where: Index) -> Words:
        """The PFNs of some pages."""
        starts = np.array([span.start for span in self.layout.valid], np.int64)
        firsts = _first_indices(self.layout)
        span = np.searchsorted(firsts, where, side="right") - 1
        return (where - firsts[span] + starts[span]).astype(np.uint64)

    def addresses(self, where: Index) -> Words:
        """The addresses of some struct pages."""
        size = np.uint64(self.layout.struct_size)
        return np.uint64(self.layout.base) + self.pfns(where) * size

    def indices(self, pfns: Words) -> Index:
        """The indices of some PFNs, NOWHERE for those without a struct page."""
        found = np.full(pfns.shape, NOWHERE, np.int64)
        for span, first in zip(self.layout.valid, _first_indices(self.layout), strict=True):
            here = (pfns >= np.uint64(span.start)) & (pfns < np.uint64(span.stop))
            found[here] = pfns[here].astype(np.int64) - span.start + first
        return found

    def indices_at(self, addresses: Words) -> Index:
        """The indices of struct pages by their address, NOWHERE for what is none."""
        return self.indices(self.layout.pfns(addresses))

    def index_at(self, address: int) -> int:
        """The index of the struct page at an address, NOWHERE for what is none."""
        pfn, rest = divmod(address - self.layout.base, self.layout.struct_size)
        first = 0
        for span in self.layout.valid:
            if pfn in span and not rest:
                return first + pfn - span.start
            first += len(span)
        return NOWHERE


def read_all(prog: drgn.Program, layout: PageLayout) -> StructPages:
    """Read every struct page: 64 bytes a page, 1/64 of RAM.

    Raises:
        LookupError: struct page has no `_mapcount` or no `_refcount`.
    """
    dtype = _dtype(prog, layout)
    parts: list[npt.NDArray[Any]] = []
    there: list[bool] = []
    for span in layout.valid:
        for pfns in _steps(span, _CHUNK_PAGES):
            for found, is_there in _read(prog, layout, pfns, dtype):
                parts.append(found)
                there.append(is_there)
    readable = np.repeat(there, [len(part) for part in parts])
    if len(parts) == 1:
        return StructPages(layout, parts[0], readable)
    # As bytes: numpy copies a structured array by its fields and drops what lies between.
    memory = np.concatenate([part.view(np.uint8) for part in parts])
    return StructPages(layout, memory.view(dtype), readable)


def _dtype(prog: drgn.Program, layout: PageLayout) -> np.dtype[Any]:
    dtype = _first_of(prog, layout, _MEMBERS, "struct page")
    missing = {"flags", "raw_mapcount", "refcount", "compound_head"} - set(dtype)
    if missing:
        raise LookupError(f"struct page without {', '.join(sorted(missing))}")
    in_page = _first_of(prog, layout, _TAIL_MEMBERS, "struct page")
    in_folio = _first_of(prog, layout, _TAIL_MEMBERS, "struct folio")
    for name, (kind, offset) in in_folio.items():
        # Before 6.3 struct folio had those of its first tail page under their old names only.
        if layout.struct_size <= offset < 2 * layout.struct_size:
            in_page[name] = kind, offset - layout.struct_size
    dtype |= in_page
    return np.dtype(
        {
            "names": list(dtype),
            "formats": [kind for kind, _ in dtype.values()],
            "offsets": [offset for _, offset in dtype.values()],
            "itemsize": layout.struct_size,
        }
    )


def _first_of(
    prog: drgn.Program, layout: PageLayout, members: dict[str, tuple[str, ...]], kind: str
) -> dict[str, tuple[str, int]]:
    """Column -> format and offset of the first of its members that the type has."""
    found: dict[str, tuple[str, int]] = {}
    for name, candidates in members.items():
        for path in candidates:
            try:
                dtype = page_dtype(prog, layout, {name: path}, kind)
            except (LookupError, TypeError):  # no such type or member, or no struct
                continue
            assert dtype.fields is not None
            field, offset = dtype.fields[name][:2]
            found[name] = field.str, offset
            break
    return found


def _read(
    prog: drgn.Program, layout: PageLayout, pfns: range, dtype: np.dtype[Any]
) -> Iterator[tuple[npt.NDArray[Any], bool]]:
    """Some struct pages in as few pieces as possible, and which pieces are in the dump."""
    try:
        yield read_struct_pages(prog, layout, pfns, dtype), True
    except drgn.FaultError:
        if len(pfns) <= _SMALLEST_READ:
            yield np.zeros(len(pfns), dtype), False
            return
        half = len(pfns) // 2
        yield from _read(prog, layout, pfns[:half], dtype)
        yield from _read(prog, layout, pfns[half:], dtype)


def _steps(span: range, size: int) -> Iterator[range]:
    return (span[start : start + size] for start in range(0, len(span), size))


def _first_indices(layout: PageLayout) -> Index:
    lengths = np.array([len(span) for span in layout.valid], np.int64)
    return np.cumsum(lengths) - lengths
