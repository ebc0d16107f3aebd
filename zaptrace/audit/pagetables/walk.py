"""Every page table of every mm, read level by level in bulk.

Pure: tables come from a `Ram`, so the same code walks a dump and a test's bytes.

Hostile tables cost time, never an endless walk or an exception: the number of
levels is fixed, a table is walked once (a second way to it is counted in
`gaps`), addresses outside of RAM are counted and left alone.  Walking a
shared table once is also what the counters ask for: hugetlb's shared PMD
tables count one mapping, however many mms share them.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from zaptrace.arch.page_tables import Level
from zaptrace.audit.arrays import Index, Mask, Words, side_by_side
from zaptrace.audit.pagetables.table_format import Root, TableFormat, any_of, end_entry, first_entry

Numbers = npt.NDArray[np.int32]

_CHUNK_BYTES = 512 << 10
"""How much of the tables is held at once: what a CPU's cache keeps through all steps."""
_BRIDGE_BYTES = 16 << 10
"""Two tables no further apart than this are read with what lies between them."""

OUTSIDE = "page tables outside of memory"
UNREADABLE = "page tables not in the dump"
TWICE = "page tables reached twice"
MALFORMED = "malformed page-table entries"


class Unreadable(Exception):
    """A `Ram` does not hold what is read."""


class Ram(Protocol):
    """Physical memory.

    Attributes:
        ranges: physical addresses, bytes, at which memory may lie; ascending.
    """

    @property
    def ranges(self) -> Sequence[range]:
        """See above."""
        ...

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes at a physical address.

        Raises:
            Unreadable: not all of them are there.
        """
        ...


class Tables(NamedTuple):
    """Tables of one level, all arrays of one shape.

    Attributes:
        address: physical address.
        base: user virtual address that entry 0 stands for.
        mm: index of the root that leads here.
        first, end: the entries that exist.
    """

    address: Words
    base: Words
    mm: Numbers
    first: Words
    end: Words

    def take(self, which: npt.NDArray[np.intp] | Mask | slice) -> Tables:
        """Return some of them."""
        return Tables(
            self.address[which],
            self.base[which],
            self.mm[which],
            self.first[which],
            self.end[which],
        )


class Nonpresent(NamedTuple):
    """Entries that are neither present nor empty, one element each; see `Walked`."""

    entry: Words
    address: Words
    mm: Numbers
    level: npt.NDArray[np.uint8]


class Locks(NamedTuple):
    """Tables that can hold leaves: each has a lock that guards them.  One element a table.

    Attributes:
        table: physical address.
        first, last: the user virtual addresses, bytes, that its entries stand for.
        mm: index of the root that leads here.
        lowest: it is a table of PTEs.
    """

    table: Words
    first: Words
    last: Words
    mm: Numbers
    lowest: Mask


class Runs(NamedTuple):
    """The leaves by the table that they are in, in the order of the leaves.  One element a table.

    Attributes:
        mm: index of the root that leads here.
        level: index in `TableFormat.levels`.
        leaves: how many.
    """

    mm: Numbers
    level: npt.NDArray[np.uint8]
    leaves: Index


@dataclass(frozen=True)
class Walked:
    """What the walk found.

    `pfn`, `special`, `entry`, `mm`, `level` and `address` have one element a leaf.

    Attributes:
        pfn: the first page that the leaf maps.
        special: it has the bit `TableFormat.special`.
        runs: the tables that the leaves are in.
        large: how many leaves are no PTEs; they come first.
        find_entries, find_addresses: see `entry` and `address`.
        locks: the tables whose locks guard leaves, also those without any at the moment.
        nonpresent: entries that are neither present nor empty.
        tables: how many tables were read.
        gaps: what could not be looked at -> how many.
        blind: the roots below which something could not be looked at: more may be mapped there.
    """

    pfn: Words
    special: Mask
    runs: Runs
    large: int
    find_entries: Callable[[], Words]
    find_addresses: Callable[[], Words]
    locks: Locks
    nonpresent: Nonpresent
    tables: int
    gaps: dict[str, int]
    blind: frozenset[int] = frozenset()

    # Made on first use: most callers never use them.

    @functools.cached_property
    def entry(self) -> Words:
        """The raw PTE (or large leaf) in native byte order."""
        return self.find_entries()

    @functools.cached_property
    def mm(self) -> Numbers:
        """Index into the roots."""
        return np.repeat(self.runs.mm, self.runs.leaves)

    @functools.cached_property
    def level(self) -> npt.NDArray[np.uint8]:
        """Index in `TableFormat.levels`."""
        return np.repeat(self.runs.level, self.runs.leaves)

    @functools.cached_property
    def address(self) -> Words:
        """User virtual addresses, bytes."""
        return self.find_addresses()


class _Place(NamedTuple):
    """Where entries of some tables stand.

    Attributes:
        base: the user virtual address at which each table begins.
        at: of each entry, its place in all of these tables, one after the other.
    """

    level: Level
    base: Words
    at: Index

    def addresses(self) -> Words:
        """Return the user virtual addresses that the entries stand for, bytes."""
        found = (self.at & (self.level.entries - 1)).astype(np.uint64)
        found <<= np.uint64(self.level.shift)
        found += self.base[self.at >> self.level.index_bits]
        return found


@dataclass(slots=True)
class _Harvest:
    """What the walk has gathered so far."""

    frames: list[Words] = field(default_factory=list)
    entries: list[Words] = field(default_factory=list)
    special: list[Mask] = field(default_factory=list)
    runs: list[Runs] = field(default_factory=list)
    places: list[_Place] = field(default_factory=list)
    locks: list[Locks] = field(default_factory=list)
    tables: int = 0
    gaps: Counter[str] = field(default_factory=Counter)
    blind: set[int] = field(default_factory=set)
    nonpresent: list[Nonpresent] = field(default_factory=list)

    def missed(self, what: str, mms: Numbers) -> None:
        """Count what could not be looked at, once for each of `mms`."""
        self.gaps[what] += len(mms)
        self.blind.update(mms.tolist())


def walk(fmt: TableFormat, roots: Sequence[Root], ram: Ram) -> Walked:
    """Walk all page tables below `roots`, one root an mm.

    Never raises for what it finds in memory: see `Walked.gaps`.
    """
    harvest = _Harvest()
    below = _no_tables()
    for depth, level in enumerate(fmt.levels):
        wanted = _joined([below, _starting(roots, depth)])
        tables = _reachable(wanted, level, ram, harvest)
        found: list[Tables] = []
        for some, words in _chunks(tables, level, fmt.word, ram, harvest):
            harvest.tables += len(words)
            found.append(_look_at(fmt, depth, some, words, harvest))
        below = _joined(found)
    return _finish(harvest, len(fmt.levels) - 1)


def _starting(roots: Sequence[Root], depth: int) -> Tables:
    """Return the tables at which walks begin on this level."""
    here = [(number, root) for number, root in enumerate(roots) if root.level == depth]
    return Tables(
        np.array([root.table for _, root in here], np.uint64),
        np.zeros(len(here), np.uint64),
        np.array([number for number, _ in here], np.int32),
        np.array([root.first for _, root in here], np.uint64),
        np.array([root.end for _, root in here], np.uint64),
    )


def _no_tables() -> Tables:
    none = np.zeros(0, np.uint64)
    return Tables(none, none, np.zeros(0, np.int32), none, none)


def _joined(parts: list[Tables]) -> Tables:
    parts = [part for part in parts if len(part.address)] or [_no_tables()]
    return Tables(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _reachable(tables: Tables, level: Level, ram: Ram, harvest: _Harvest) -> Tables:
    """Return each table that lies in memory once, by ascending address; count the rest."""
    inside = np.zeros(len(tables.address), bool)
    for span in ram.ranges:
        if len(span) >= level.bytes:
            last = np.uint64(span.stop - level.bytes)
            inside |= (tables.address >= np.uint64(span.start)) & (tables.address <= last)
    harvest.missed(OUTSIDE, tables.mm[~inside])
    tables = tables.take(inside)
    # Stable: of two mms with one table the first is its owner.
    tables = tables.take(np.argsort(tables.address, kind="stable"))
    again = np.zeros(len(tables.address), bool)
    again[1:] = tables.address[1:] == tables.address[:-1]
    harvest.gaps[TWICE] += int(np.count_nonzero(again))
    return tables.take(~again)


def _chunks(
    tables: Tables, level: Level, word: str, ram: Ram, harvest: _Harvest
) -> Iterator[tuple[Tables, Words]]:
    """Yield the tables with their entries, shape (tables, entries), a few MB at a time."""
    step = _CHUNK_BYTES // level.bytes
    for start in range(0, len(tables.address), step):
        some = tables.take(slice(start, start + step))
        words, good = _read(some.address, level, word, ram)
        if not good.all():
            harvest.missed(UNREADABLE, some.mm[~good])
            some, words = some.take(good), words[good]
        yield some, words


def _read(addresses: Words, level: Level, word: str, ram: Ram) -> tuple[Words, Mask]:
    """Return the entries of tables at ascending addresses, and which tables could be read."""
    words = np.empty((len(addresses), level.entries), np.uint64)
    good = np.zeros(len(addresses), bool)
    far = np.diff(addresses) > np.uint64(level.bytes + _BRIDGE_BYTES)
    edges = [0, *(np.flatnonzero(far) + 1).tolist(), len(addresses)]
    todo = [(first, end) for first, end in pairwise(edges) if first < end]
    while todo:
        first, end = todo.pop()
        start = int(addresses[first])
        try:
            raw = ram.read(start, int(addresses[end - 1]) - start + level.bytes)
        except Unreadable:
            if end - first > 1:  # find those that can be read
                middle = (first + end) // 2
                todo += [(first, middle), (middle, end)]
            continue
        read = np.frombuffer(raw, word)
        places = (addresses[first:end] - np.uint64(start)) // np.uint64(8)
        for number, place in enumerate(places.tolist(), first):
            words[number] = read[place : place + level.entries]
        good[first:end] = True
    return words, good


def _look_at(
    fmt: TableFormat, depth: int, tables: Tables, words: Words, harvest: _Harvest
) -> Tables:
    """Sort the entries of some tables; gather leaves, return the tables they point to."""
    level = fmt.levels[depth]
    at = _there(fmt, level, tables, words)
    entries = words.reshape(-1)[at]
    leaf = any_of(level.leaf, entries)
    below = _no_tables()
    if not leaf.all():
        others = ~leaf
        below = _look_below(fmt, depth, tables, at[others], entries[others], harvest)
        entries, at = entries[leaf], at[leaf]
    if len(entries):
        harvest.frames.append(_origins(level, entries) >> np.uint64(fmt.page_shift))
        harvest.entries.append(entries)
        harvest.special.append((entries & np.uint64(fmt.tables.special)) != 0)
        harvest.places.append(_Place(level, tables.base, at))
        edges = np.arange(len(tables.mm) + 1) << level.index_bits
        depths = np.full(len(tables.mm), depth, np.uint8)
        harvest.runs.append(Runs(tables.mm, depths, np.diff(np.searchsorted(at, edges))))
    if level.leaf:  # also of a table that a zap has just emptied
        last = tables.base + np.uint64((level.entries << level.shift) - 1)
        lowest = np.full(len(tables.base), depth == len(fmt.levels) - 1)
        harvest.locks.append(Locks(tables.address, tables.base, last, tables.mm, lowest))
    return below


def _look_below(
    fmt: TableFormat, depth: int, tables: Tables, at: Index, entries: Words, harvest: _Harvest
) -> Tables:
    """Sort entries that are no leaves; gather those not present, return the tables of the rest."""
    level = fmt.levels[depth]
    mm, address = tables.mm[at >> level.index_bits], _Place(level, tables.base, at).addresses()
    swap, table = any_of(level.swap, entries), any_of(level.table, entries)
    harvest.missed(MALFORMED, mm[~(table | swap)])
    if swap.any():
        depths = np.full(int(np.count_nonzero(swap)), depth, np.uint8)
        harvest.nonpresent.append(Nonpresent(entries[swap], address[swap], mm[swap], depths))
    return _pointed_to(level, entries[table], address[table], mm[table], fmt, depth)


def _there(fmt: TableFormat, level: Level, tables: Tables, words: Words) -> Index:
    """Return the places of the entries that are not empty, and are user space's."""
    columns = np.arange(level.entries, dtype=np.uint64)
    there = ~any_of(level.empty, words)
    if tables.first.any() or (tables.end != np.uint64(level.entries)).any():
        there &= (columns >= tables.first[:, None]) & (columns < tables.end[:, None])
    span = (level.entries - 1) << level.shift
    if len(tables.base) and int(tables.base.max()) + span >= fmt.tables.user_end:
        address = tables.base[:, None] + (columns << np.uint64(level.shift))
        there &= address < np.uint64(fmt.tables.user_end)
    return np.flatnonzero(there)


def _origins(level: Level, leaves: Words) -> Words:
    """Return the physical address that each leaf maps. Same shape."""
    inverted = any_of(level.inverted, leaves)
    origins = np.where(inverted, ~leaves, leaves) if inverted.any() else leaves
    return origins & np.uint64(level.leaf_origin)


def _pointed_to(
    level: Level, entries: Words, base: Words, mm: Numbers, fmt: TableFormat, depth: int
) -> Tables:
    if depth == len(fmt.levels) - 1:
        return _no_tables()
    full = fmt.levels[depth + 1].entries
    first = np.zeros(len(entries), np.uint64)
    end = np.full(len(entries), full, np.uint64)
    if level.span is not None:
        first = first_entry(level.span, entries)
        end = end_entry(level.span, entries)
    return Tables(entries & np.uint64(level.table_origin), base, mm, first, end)


def _finish(harvest: _Harvest, lowest: int) -> Walked:
    empty, no_mm, no_level = np.zeros(0, np.uint64), np.zeros(0, np.int32), np.zeros(0, np.uint8)
    pfn, special = side_by_side(sum(map(len, harvest.frames)), [np.uint64, np.bool_])
    np.concatenate([empty, *harvest.frames], out=pfn)
    np.concatenate([np.zeros(0, bool), *harvest.special], out=special)
    found = harvest.runs or [Runs(no_mm, no_level, np.zeros(0, np.int64))]
    runs = Runs(*map(np.concatenate, zip(*found, strict=True)))
    absent = harvest.nonpresent or [Nonpresent(empty, empty, no_mm, no_level)]
    locks = harvest.locks or [Locks(empty, empty, empty, no_mm, np.zeros(0, bool))]
    return Walked(
        pfn=pfn,
        special=special,
        runs=runs,
        large=int(runs.leaves[runs.level != lowest].sum()),
        find_entries=lambda: np.concatenate([empty, *harvest.entries]),
        find_addresses=lambda: np.concatenate([empty, *(p.addresses() for p in harvest.places)]),
        locks=Locks(*map(np.concatenate, zip(*locks, strict=True))),
        nonpresent=Nonpresent(*map(np.concatenate, zip(*absent, strict=True))),
        tables=harvest.tables,
        gaps={what: count for what, count in harvest.gaps.items() if count},
        blind=frozenset(harvest.blind),
    )
