"""One address through the page tables, level by level: crash's `vtop`.

Pure, like the walk: tables come from a `Ram`, nothing in them is trusted.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any

import numpy as np

from zaptrace.arch.page_tables import FlagNames, Level
from zaptrace.audit.pagetables.table_format import Root, TableFormat, any_of, end_entry, first_entry
from zaptrace.audit.pagetables.walk import Ram, Unreadable


class EntryKind(enum.Enum):
    """What an entry is."""

    TABLE = "table"
    LEAF = "leaf"
    EMPTY = "empty"
    SWAP = "swap"
    MALFORMED = "malformed"
    ABSENT = "absent"
    """The table ends before it, or the address is no user address."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Step:
    """One level of the way.

    Attributes:
        level: the level's name.
        table: physical address of the table, bytes.
        index: of the entry in the table.
        entry: as stored, None when it could not be read.
        flags: its bits by name.
        target: physical address that it points to, None without one.
    """

    level: str
    table: int
    index: int
    entry: int | None
    kind: EntryKind
    flags: tuple[str, ...] = ()
    target: int | None = None

    def to_json(self) -> dict[str, Any]:
        """For `inspect --json`."""
        return dataclasses.asdict(self) | {"kind": self.kind.value, "flags": list(self.flags)}


def follow(fmt: TableFormat, root: Root, ram: Ram, address: int) -> tuple[Step, ...]:
    """Every entry on the way to a user address, topmost first; ends where the way does.

    Args:
        fmt: the tables' format.
        root: where the mm's tables begin.
        ram: what the tables are read from.
        address: user virtual address, bytes.
    """
    steps: list[Step] = []
    table, first, end = root.table, root.first, root.end
    for depth, level in enumerate(fmt.levels[root.level :], root.level):
        index = address >> level.shift
        if depth > root.level:
            index &= level.entries - 1
        entry = _read(fmt, ram, table, index) if first <= index < end else None
        if entry is None:
            outside = not first <= index < end
            kind = EntryKind.ABSENT if outside else EntryKind.UNREADABLE
            steps.append(Step(level.name, table, index, None, kind))
            break
        step = _decoded(fmt, depth, table, index, entry)
        steps.append(step)
        if step.kind is not EntryKind.TABLE or step.target is None:
            break
        table, first, end = step.target, 0, fmt.levels[depth + 1].entries
        if level.span is not None:
            words = np.array([entry], np.uint64)
            first = int(first_entry(level.span, words)[0])
            end = int(end_entry(level.span, words)[0])
    return tuple(steps)


def mapped_pfn(fmt: TableFormat, steps: tuple[Step, ...], address: int) -> int | None:
    """Return the PFN that a way ends at; None when nothing is mapped there."""
    last = steps[-1]
    if last.kind is not EntryKind.LEAF or last.target is None:
        return None
    level = next(level for level in fmt.levels if level.name == last.level)
    return (last.target + (address & ((1 << level.shift) - 1))) >> fmt.page_shift


def _read(fmt: TableFormat, ram: Ram, table: int, index: int) -> int | None:
    address = table + 8 * index
    if not any(address in span and address + 7 in span for span in ram.ranges):
        return None
    try:
        return int(np.frombuffer(ram.read(address, 8), fmt.word)[0])
    except Unreadable:
        return None


def _decoded(fmt: TableFormat, depth: int, table: int, index: int, entry: int) -> Step:
    level = fmt.levels[depth]
    words = np.array([entry], np.uint64)
    kind = _kind(level, words)
    bits, lowest = fmt.tables.flags, depth == len(fmt.levels) - 1
    flags: tuple[str, ...] = ()
    target: int | None = None
    if kind is EntryKind.LEAF:
        flags = _names(bits.pte if lowest else bits.large, entry)
        inverted = bool(any_of(level.inverted, words)[0])
        target = (~entry if inverted else entry) & level.leaf_origin
    elif kind is EntryKind.TABLE:
        flags = _names(bits.table, entry)
        target = entry & level.table_origin
    return Step(level.name, table, index, entry, kind, flags, target)


def _kind(level: Level, words: np.ndarray[Any, np.dtype[np.uint64]]) -> EntryKind:
    kinds = (
        (level.empty, EntryKind.EMPTY),
        (level.leaf, EntryKind.LEAF),
        (level.table, EntryKind.TABLE),
        (level.swap, EntryKind.SWAP),
    )
    for matches, kind in kinds:
        if any_of(matches, words)[0]:
            return kind
    return EntryKind.MALFORMED


def _names(bits: FlagNames, entry: int) -> tuple[str, ...]:
    """Return the names of the bits that are set, lowest first."""
    return tuple(name for bit, name in sorted(bits) if entry & bit)
