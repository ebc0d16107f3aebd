"""Stores to page tables: which page a PTE maps before and after."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from zaptrace.life.record_layout import TABLE, U64, UNKNOWN, VALUE, Array

PTE = np.dtype(
    [
        ("number", "<u8"),  # place in the whole recording
        ("ns", "<u8"),
        ("pc", "<u8"),
        ("slot", "<u8"),  # where the entry lies in the guest's memory
        ("before", "<u8"),  # 0 where no earlier store to it was recorded
        ("after", "<u8"),
        ("stack", "<u4"),
        ("cpu", "u1"),
        ("known", "u1"),  # whether an earlier store to the slot was recorded
        ("pad", "<u2"),
    ]
)
"""One store to a page-table entry."""
NO_PAGE = 2**64 - 1
"""What an entry maps that maps nothing."""
_MOST_MATCHES = 8


@dataclass(frozen=True, slots=True)
class PteFormat:
    """How an architecture's PTE says which page it maps.

    Attributes:
        leaf: (mask, value): it maps a page when `entry & mask == value` for one of them.
        inverted: of those that do, the ones that hold the complement of the address.
        origin: mask of the page's physical address.
        shift: log2 of a page's bytes.
        huge: (mask, value) of entries one level above (PMDs) that map a large folio as a whole;
            empty where those cannot be distinguished from PTEs, or do not exist.
        huge_origin: mask of that folio's physical address.
    """

    leaf: tuple[tuple[int, int], ...]
    inverted: tuple[tuple[int, int], ...]
    origin: int
    shift: int = 12
    huge: tuple[tuple[int, int], ...] = ()
    huge_origin: int = 0

    @property
    def pages_of_huge(self) -> int:
        """How many pages such a large folio has; 0 where there are none."""
        lowest = self.huge_origin & -self.huge_origin
        return lowest >> self.shift

    def pfns(self, entries: npt.ArrayLike) -> U64:
        """Return the page of each entry, NO_PAGE where an entry maps none.  Same shape."""
        return self._mapped(np.asarray(entries, np.uint64), self.leaf, self.origin)

    def heads(self, entries: npt.ArrayLike) -> U64:
        """Return the first page of the large folio that each entry maps as a whole, NO_PAGE where
        an entry maps none.  Same shape."""
        return self._mapped(np.asarray(entries, np.uint64), self.huge, self.huge_origin)

    def first_pages(self, entries: npt.ArrayLike) -> U64:
        """Return the page that each entry maps, or the first of the large folio, NO_PAGE where an
        entry maps none.  Same shape."""
        pages, heads = self.pfns(entries), self.heads(entries)
        found: U64 = np.where(pages == np.uint64(NO_PAGE), heads, pages)
        return found

    def _mapped(self, words: U64, leaf: tuple[tuple[int, int], ...], origin: int) -> U64:
        inverted = _meets(words, self.inverted)
        at = np.where(inverted, ~words, words) & np.uint64(origin)
        found = np.where(_meets(words, leaf), at >> np.uint64(self.shift), np.uint64(NO_PAGE))
        return cast(U64, found)

    def to_json(self) -> dict[str, Any]:
        """Return it as life.zap has it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> PteFormat:
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError, LookupError: it is not such a thing.
        """
        leaf, inverted, huge = (
            tuple((_word(mask), _word(value)) for mask, value in data.get(name, [])[:_MOST_MATCHES])
            for name in ("leaf", "inverted", "huge")
        )
        if data["shift"] not in range(12, 17):
            raise ValueError("no page has such a size")
        origin, large = _word(data["origin"]), _word(data.get("huge_origin", 0))
        return cls(leaf, inverted, origin, data["shift"], huge, large)


def _word(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise ValueError("not a mask of a PTE")
    return value


def _meets(words: U64, matches: tuple[tuple[int, int], ...]) -> npt.NDArray[np.bool_]:
    found = np.zeros(words.shape, bool)
    for mask, value in matches:
        found |= (words & np.uint64(mask)) == np.uint64(value)
    return found


def pte_stores(records: Array, numbers: Array, order: str) -> Array:
    """Return the stores to page tables among some records, as PTE, in their order.

    Args:
        numbers: each record's place in the whole recording.
        order: the guest's byte order, "<" or ">".
    """
    mine = (records["flags"] & (TABLE | VALUE)) == (TABLE | VALUE)
    mine &= records["pa"] != np.uint64(UNKNOWN)
    records, numbers = records[mine], numbers[mine]
    found = np.zeros(len(records), PTE)
    for name in ("ns", "pc", "stack", "cpu"):
        found[name] = records[name]
    found["number"] = numbers
    found["slot"] = records["pa"] & ~np.uint64(7)
    found["after"] = np.ascontiguousarray(records["value"]).view(f"{order}u8")
    by_slot = np.argsort(found["slot"], kind="stable")
    slots = found["slot"][by_slot]
    again = np.flatnonzero(slots[1:] == slots[:-1]) + 1
    found["before"][by_slot[again]] = found["after"][by_slot[again - 1]]
    found["known"][by_slot[again]] = 1
    return found


def of_struct_pages(records: Array) -> npt.NDArray[np.bool_]:
    """Return which records are stores to struct pages, not to page tables.  Shape (n,)."""
    mine: npt.NDArray[np.bool_] = (records["flags"] & TABLE) == 0
    return mine


def no_ptes() -> Array:
    """Return an empty array of stores to page tables."""
    return np.zeros(0, PTE)
