"""Is every change recorded?  Each word's last record against the memory of the stopped guest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zaptrace.life.record_layout import U64, VALUE, Array
from zaptrace.life.records import Life

MOST_NAMED = 64
"""Words that are named, of those that differ."""
Span = tuple[int, Array]
"""First PFN of some struct pages, and their memory as words of 8 bytes."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a struct page that is not as it was last recorded.

    Attributes:
        offset: in the struct page.
        recorded: None: no store to it was recorded, and it is not 0.
    """

    pfn: int
    offset: int
    recorded: int | None
    memory: int


@dataclass(frozen=True, slots=True)
class Completeness:
    """What the comparison came to.

    Attributes:
        words: how many were compared.
        differ: how many are not as recorded.
        named: the first of them.
    """

    words: int
    differ: int
    named: tuple[Word, ...] = ()

    def of_page(self, pfn: int) -> tuple[Word, ...]:
        """Return the differing words of one page, among those that are named."""
        return tuple(word for word in self.named if word.pfn == pfn)

    def to_json(self) -> dict[str, Any]:
        """Return it as life.zap and `life --json` have it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Completeness:
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError, LookupError: it is not such a thing.
        """
        words, differ = data["words"], data["differ"]
        named = tuple(Word(**one) for one in data["named"])
        numbers = [words, differ]
        for word in named:
            numbers += [word.pfn, word.offset, word.memory, word.recorded or 0]
        if any(type(one) is not int or not 0 <= one < 2**64 for one in numbers):
            raise ValueError("not an unsigned 64-bit number")
        return cls(words, differ, named)


def compare(life: Life, spans: Iterable[Span], before: int | None = None) -> Completeness:
    """Hold the recording against memory.

    Args:
        spans: all struct pages of the kernel, as its memory has them.
        before: the number of records there were when the memory was read; None: all.
    """
    at, values = _words(life, before)
    words = life.fields.size // 8
    compared, differ = 0, 0
    named: list[Word] = []
    for first, memory in spans:
        start = first * words
        last, has = np.zeros(len(memory), "<u8"), np.zeros(len(memory), bool)
        places = at - start
        inside = places.view(np.uint64) < len(memory)  # what is below wraps
        if not inside.all():
            last[places[inside]] = values[inside]
            has[places[inside]] = True
        else:
            last[places] = values  # of several to one place the last stays
            has[places] = True
        found = np.flatnonzero(last != memory)
        compared, differ = compared + len(memory), differ + len(found)
        for place in found[: MOST_NAMED - len(named)].tolist():
            recorded = _said(int(last[place]), life) if has[place] else None
            pfn, word = divmod(start + place, words)
            named.append(Word(pfn, word * 8, recorded, _said(int(memory[place]), life)))
    return Completeness(compared, differ, tuple(named))


def _words(life: Life, before: int | None) -> tuple[npt.NDArray[np.int64], U64]:
    """Return of each store the place of its word in the range, and the word after it."""
    records = life.records
    good = (records["flags"] & VALUE) != 0
    if before is not None:
        good &= life.numbers < before
    at, values = records["va"], records["value"].view("<u8")
    if not good.all():
        at, values = at[good], values[good]
    return ((at - np.uint64(life.facts.base)) >> np.uint64(3)).view(np.int64), values


def _said(value: int, life: Life) -> int:
    """Return the number that the guest means by these 8 bytes."""
    return int.from_bytes(value.to_bytes(8, "little"), life.fields.endian)
