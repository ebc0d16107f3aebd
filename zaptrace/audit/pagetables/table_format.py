"""One kernel's page tables, and numpy's view of what an architecture's row says of entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import drgn
import numpy as np

from zaptrace.arch.page_tables import Level, Match, PageTables, Span
from zaptrace.audit.arrays import Mask, Words


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
    """The page tables of one kernel.

    Attributes:
        arch: the architecture's name.
        word: numpy dtype of an entry in memory.
        tables: its architecture's, with what only the running kernel decides.
        root: mm_struct -> where its tables begin; None when the mm has none (yet).
    """

    arch: str
    word: str
    tables: PageTables
    root: Callable[[drgn.Object], Root | None]

    @property
    def levels(self) -> tuple[Level, ...]:
        """Topmost first; the last one holds PTEs."""
        return self.tables.levels

    @property
    def page_shift(self) -> int:
        """log2 of the bytes of a page."""
        return self.tables.page_shift

    @property
    def leaf_pages(self) -> tuple[int, ...]:
        """How many pages a leaf of each level maps."""
        return tuple(1 << (level.shift - self.page_shift) for level in self.levels)


def matching(match: Match, entries: Words) -> Mask:
    """Return which of `entries` match. Same shape."""
    found: Mask = (entries & np.uint64(match.mask)) == np.uint64(match.value)
    return found


def any_of(matches: tuple[Match, ...], entries: Words) -> Mask:
    """Return which of `entries` meet one of `matches`. Same shape."""
    if not matches:
        return np.zeros(entries.shape, bool)
    found = matching(matches[0], entries)
    for match in matches[1:]:
        found |= matching(match, entries)
    return found


def first_entry(span: Span, entries: Words) -> Words:
    """Index of the first entry that exists in each table pointed to."""
    units = (entries & np.uint64(span.first_mask)) >> np.uint64(span.first_shift)
    return units * np.uint64(span.unit)


def end_entry(span: Span, entries: Words) -> Words:
    """Index after the last entry that exists in each table pointed to."""
    return ((entries & np.uint64(span.last_mask)) + np.uint64(1)) * np.uint64(span.unit)
