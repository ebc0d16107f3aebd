"""The kernel's whole array of struct pages, read once and held by column.

A page's *index* is its place in this array: PFNs without a struct page have none.

The array is 1/64 of RAM, so it goes through the CPU's cache once, a piece at a time: what
every page has (`DENSE`) becomes native columns, and a whole struct page is kept only where it
says more than a mapcount does: free blocks, slabs, page tables, a folio's first tail page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import drgn
import numpy as np
import numpy.typing as npt

from zaptrace.audit.arrays import NOWHERE, Index, Mask, Words, side_by_side
from zaptrace.memory.pages import PageLayout, page_dtype

# Low bits of page->mapping, include/linux/page-flags.h.
MAPPING_ANON = 0x1  # the rest is an anon_vma
MAPPING_MOVABLE = 0x2  # without ANON a driver's page, never mapped; with it a KSM page
MAPPING_FLAGS = 0x3

_CHUNK_PAGES = 1 << 14  # 1 MB of struct pages, which a CPU's second-level cache holds
_SMALLEST_READ = 64  # struct pages in one page of the array
_PLAIN_MAPCOUNT = -1  # raw mapcount of a page without mappings; what is less has a type

DENSE = ("flags", "mapping", "compound_head", "raw_mapcount", "refcount")
"""The columns that are held for every page."""
_DENSE_IF_THERE = ("index",)
"""The same, of kernels that have them."""

_NEEDED = ("private", "compound_mapcount")
"""What else there is no audit without: how large blocks are, how often large folios are mapped."""

# Column -> members that may hold it, newest first.  Columns of members that this kernel
# lacks are absent.  All from include/linux/mm_types.h.
MEMBERS: dict[str, tuple[str, ...]] = {
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

# The same for what a folio keeps in its first tail page: members of struct folio or, before the
# first tail page's members were taken out of struct page (6.3), of that struct page.
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
        dtype: a struct page as it lies in memory, a field for each column.
        readable: which of them are in the dump; those that are not read as zeros.
        dense: column of DENSE, and of _DENSE_IF_THERE what there is, -> native values, shape
            (number of pages,).
        kept: the indices of those that are held whole, ascending.
        whole: the bytes of those, shape of `kept`.
        fetch: reads the struct page of a PFN.
    """

    layout: PageLayout
    dtype: np.dtype[Any]
    readable: Mask
    dense: dict[str, npt.NDArray[Any]]
    kept: Index
    whole: npt.NDArray[np.void]
    fetch: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.readable)

    def has(self, name: str) -> bool:
        """Return whether this kernel has the column."""
        return name in (self.dtype.names or ())

    def column(self, name: str, where: Index | None = None) -> npt.NDArray[Any]:
        """Return a column in native byte order: a dense one, or any at some pages.

        Shape (pages,) or that of `where`.
        """
        if name in self.dense:
            return self.dense[name] if where is None else self.dense[name][where]
        assert where is not None, f"{name} is not held for every page"
        assert self.dtype.fields is not None
        kind, offset = self.dtype.fields[name][:2]
        return self.member(kind, offset, where)

    def member(self, kind: npt.DTypeLike, offset: int, where: Index) -> npt.NDArray[Any]:
        """Return what lies at an offset in some struct pages, in native byte order."""
        # As bytes: a structured array of no pages cannot be cut out of a buffer.
        rows = self._rows(where).view(np.uint8).reshape(len(where), self.dtype.itemsize)
        kind = np.dtype(kind)
        values = np.ascontiguousarray(rows[:, offset : offset + kind.itemsize]).view(kind)[:, 0]
        return values.astype(kind.newbyteorder("="))

    def again(self, name: str, where: Index) -> npt.NDArray[Any]:
        """Return a column at some pages, read from the kernel's memory once more."""
        raw = b"".join(self.fetch(pfn) for pfn in self.pfns(where).tolist())
        values = np.frombuffer(raw, self.dtype)[name]
        return values.astype(values.dtype.newbyteorder("="))

    def links(self) -> npt.NDArray[np.uint64]:
        """Return `lru.next` of every page: `compound_head` lies over it."""
        assert self.dtype.fields is not None
        assert self.dtype.fields["lru_next"][:2] == self.dtype.fields["compound_head"][:2]
        return self.dense["compound_head"]

    def _rows(self, where: Index) -> npt.NDArray[np.void]:
        at = np.searchsorted(self.kept, where)
        at[at == len(self.kept)] = 0
        held = self.kept[at] == where if len(self.kept) else np.zeros(len(where), bool)
        if held.all():
            return self.whole[at]
        rows = np.zeros(len(where), self.whole.dtype)
        rows[held] = self.whole[at[held]]
        others = np.flatnonzero(~held)
        pfns = self.pfns(where[others]).tolist()
        for number, pfn in zip(others.tolist(), pfns, strict=True):
            rows[number] = np.void(self.fetch(pfn))
        return rows

    def pfns(self, where: Index) -> Words:
        """Return the PFNs of some pages."""
        starts = np.array([span.start for span in self.layout.valid], np.int64)
        firsts = _first_indices(self.layout)
        span = np.searchsorted(firsts, where, side="right") - 1
        return (where - firsts[span] + starts[span]).astype(np.uint64)

    def addresses(self, where: Index) -> Words:
        """Return the addresses of some struct pages."""
        size = np.uint64(self.layout.struct_size)
        return np.uint64(self.layout.base) + self.pfns(where) * size

    def indices(self, pfns: Words) -> Index:
        """Return the indices of some PFNs, NOWHERE for those without a struct page."""
        if not len(pfns):
            return np.zeros(0, np.int64)
        spans = list(zip(self.layout.valid, _first_indices(self.layout).tolist(), strict=True))
        lowest, highest = int(pfns.min()), int(pfns.max())
        for span, first in spans:  # mostly one holds them all
            if lowest in span and highest in span:
                places: Index = pfns.view(np.int64) + (first - span.start)
                return places
        found = np.full(pfns.shape, NOWHERE, np.int64)
        for span, first in spans:
            inside = pfns - np.uint64(span.start)  # below: wraps to a huge number
            here = inside < np.uint64(len(span))
            np.copyto(found, inside.view(np.int64) + first, where=here)
        return found

    def indices_at(self, addresses: Words) -> Index:
        """Return the indices of struct pages by their address, NOWHERE for other addresses."""
        return self.indices(self.layout.pfns(addresses))

    def index_at(self, address: int) -> int:
        """Return the index of the struct page at an address, NOWHERE for other addresses."""
        pfn, rest = divmod(address - self.layout.base, self.layout.struct_size)
        first = 0
        for span in self.layout.valid:
            if pfn in span and not rest:
                return first + pfn - span.start
            first += len(span)
        return NOWHERE


def read_all(prog: drgn.Program, layout: PageLayout, slab: int | None) -> StructPages:
    """Read every struct page: 64 bytes a page, 1/64 of RAM.

    Args:
        slab: bit number of PG_slab, None where slab is a page type.

    Raises:
        LookupError: struct page has no `_mapcount` or another member that everything hangs on.
    """
    dtype = _dtype(prog, layout)

    def fetch(pfn: int) -> bytes:
        try:
            return bytes(prog.read(layout.address(pfn), layout.struct_size))
        except drgn.FaultError:
            return bytes(layout.struct_size)

    gatherer = Gatherer(layout, dtype, slab)
    for span in layout.valid:
        for pfns in _steps(span, _CHUNK_PAGES):
            for count, raw in _read(prog, layout, pfns):
                gatherer.add(count, raw)
    return gatherer.finish(fetch)


@dataclass(slots=True)
class Gatherer:
    """Takes struct pages in the order of their index."""

    layout: PageLayout
    dtype: np.dtype[Any]
    slab: int | None
    _at: int = 0
    _dense: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    _readable: Mask = field(default_factory=lambda: np.zeros(0, bool))
    _kept: list[Index] = field(default_factory=list)
    _whole: list[npt.NDArray[np.void]] = field(default_factory=list)

    def __post_init__(self) -> None:
        total = sum(len(span) for span in self.layout.valid)
        assert self.dtype.fields is not None
        fields = self.dtype.fields
        names = [*DENSE, *(name for name in _DENSE_IF_THERE if name in fields)]
        kinds = [fields[name][0].newbyteorder("=") for name in names]
        *columns, self._readable = side_by_side(total, [*kinds, np.bool_])
        self._dense = dict(zip(names, columns, strict=True))

    def add(self, count: int, raw: bytes | None) -> None:
        """Add the next `count` struct pages, None when they are not in the dump."""
        here = slice(self._at, self._at + count)
        self._at += count
        self._readable[here] = raw is not None
        if raw is None:
            for column in self._dense.values():
                column[here] = 0
            return
        pages = np.frombuffer(raw, self.dtype)
        for name, column in self._dense.items():
            column[here] = pages[name]
        odd = np.flatnonzero(self._says_more(here))
        if len(odd):
            self._kept.append(odd + here.start)
            self._whole.append(np.frombuffer(raw, f"V{self.dtype.itemsize}")[odd])

    def _says_more(self, here: slice) -> Mask:
        typed: Mask = self._dense["raw_mapcount"][here] < _PLAIN_MAPCOUNT
        tail = (self._dense["compound_head"][here] & np.uint64(1)) != 0
        typed[0] |= tail[0]
        typed[1:] |= tail[1:] & ~tail[:-1]
        if self.slab is not None:
            typed |= (self._dense["flags"][here] & np.uint64(1 << self.slab)) != 0
        return typed

    def finish(self, fetch: Callable[[int], bytes]) -> StructPages:
        """Return all that was taken."""
        none = np.zeros(0, f"V{self.dtype.itemsize}")
        return StructPages(
            layout=self.layout,
            dtype=self.dtype,
            readable=self._readable,
            dense=self._dense,
            kept=np.concatenate([np.zeros(0, np.int64), *self._kept]),
            whole=np.concatenate([none, *self._whole]),
            fetch=fetch,
        )


def _dtype(prog: drgn.Program, layout: PageLayout) -> np.dtype[Any]:
    dtype = _first_of(prog, layout, MEMBERS, "struct page")
    in_page = _first_of(prog, layout, _TAIL_MEMBERS, "struct page")
    in_folio = _first_of(prog, layout, _TAIL_MEMBERS, "struct folio")
    for name, (kind, offset) in in_folio.items():
        # Before 6.3 struct folio had those of its first tail page under their old names only.
        if layout.struct_size <= offset < 2 * layout.struct_size:
            in_page[name] = kind, offset - layout.struct_size
    dtype |= in_page
    missing = {*DENSE, *_NEEDED} - set(dtype)
    if missing:
        raise LookupError(f"struct page without {', '.join(sorted(missing))}")
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
    prog: drgn.Program, layout: PageLayout, pfns: range
) -> Iterator[tuple[int, bytes | None]]:
    """Yield some struct pages in as few pieces as possible; None for those not in the dump."""
    try:
        yield len(pfns), prog.read(layout.address(pfns.start), len(pfns) * layout.struct_size)
    except drgn.FaultError:
        if len(pfns) <= _SMALLEST_READ:
            yield len(pfns), None
            return
        half = len(pfns) // 2
        yield from _read(prog, layout, pfns[:half])
        yield from _read(prog, layout, pfns[half:])


def _steps(span: range, size: int) -> Iterator[range]:
    return (span[start : start + size] for start in range(0, len(span), size))


def _first_indices(layout: PageLayout) -> Index:
    lengths = np.array([len(span) for span in layout.valid], np.int64)
    return np.cumsum(lengths) - lengths
