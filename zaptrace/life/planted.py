"""Where a value that the kernel died of was stored: in which struct page, by which store.

A member that something scribbled over need not be looked at by any check: the kernel follows it as
a pointer, and oopses.  The value is then still where it was stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from zaptrace.life.record_layout import NOT_SEEN, VALUE
from zaptrace.life.records import Life, until

MOST_PLANTED = 4
"""Pages that are returned: what stores one value all over has been seen then."""
_LIST_POISON = (0xDEAD000000000100, 0xDEAD000000000122)
"""What list_del() leaves (include/linux/poison.h, with x86's and s390's offset): no stray store."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A member of a struct page that held, when the guest was stopped, what the kernel died of.

    Attributes:
        stored: number of the store that brought the value; nothing changed it after that.
    """

    pfn: int
    name: str
    value: int
    stored: int


def planted(life: Life, wild: Iterable[int]) -> tuple[Planted, ...]:
    """Return the pages in whose struct pages such values were, by the instruction that was the
    first to store one: what takes such a page off a list stores it in its neighbours.

    Where a store may be missing none is returned.

    Args:
        wild: values that were followed as pointers, and could not be.
    """
    facts, fields = life.facts, life.fields
    # `mapping` and `compound_head` have marks in their lowest bits.
    values = [one | mark for one in wild if one not in _LIST_POISON for mark in range(4)]
    if facts.missed or facts.values or facts.storage == NOT_SEEN or not values:
        return ()
    before = life if facts.stop is None else until(life, facts.stop - 1)
    records = before.records[(before.records["flags"] & VALUE) != 0]
    numbers = before.numbers[(before.records["flags"] & VALUE) != 0]
    stored = np.ascontiguousarray(records["value"]).view(f"{fields.order}u8")
    words = records["va"].astype(np.uint64) & ~np.uint64(7)
    found: list[tuple[int, Planted]] = []
    for word in np.unique(words[np.isin(stored, np.array(values, np.uint64))]).tolist():
        mine = np.flatnonzero(words == np.uint64(word))
        last = int(stored[mine[-1]])
        pfn, place = divmod(word - facts.base, fields.size)
        name = next((f.name for f in fields.fields if f.offset == place and f.size == 8), None)
        if last not in values or name is None:
            continue
        others = np.flatnonzero(stored[mine] != np.uint64(last))
        first = mine[others[-1] + 1 if len(others) else 0]
        one = Planted(pfn, name, last, int(numbers[first]))
        found.append((int(records["pc"][first]), one))
    found.sort(key=lambda pair: pair[1].stored)
    pages: dict[int, Planted] = {}
    for pc, one in found:
        if pc == found[0][0]:
            pages.setdefault(one.pfn, one)
    return tuple(pages.values())[:MOST_PLANTED]
