"""The members of struct page, and a word of it read by them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

MOST_SIZE = 4096
"""Bytes of a struct page that are believed; it has 32 to 256."""
REFCOUNT, MAPCOUNT = "_refcount", "_mapcount"
"""Names of the two counters."""
TYPED_BELOW = -128
"""`_mapcount` below this is a page type (PAGE_MAPCOUNT_RESERVE, include/linux/page-flags.h)."""


@dataclass(frozen=True, slots=True)
class Field:
    """A member of struct page.

    Attributes:
        offset, size: bytes; it does not cross an aligned word of 8.
    """

    name: str
    offset: int
    size: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class PageFields:
    """What a kernel's struct page looks like.

    Attributes:
        size: bytes.
        order: byte order, "<" or ">".
        fields: one for each place, ascending; what shares a place has one name.
        flags: bit of `flags` -> its name.
        entire: the counter of a large folio's mappings as a whole, by its place in the folio's
            second struct page; None when there is none.
    """

    size: int
    order: str
    fields: tuple[Field, ...]
    flags: dict[int, str] = dataclasses.field(default_factory=dict)
    entire: Field | None = None

    @property
    def endian(self) -> Literal["little", "big"]:
        """The byte order as Python's integers spell it."""
        return "little" if self.order == "<" else "big"

    def value(self, field: Field, word: bytes) -> int:
        """Return a field's value, out of the aligned 8 bytes that hold it."""
        inside = field.offset % 8
        part = word[inside : inside + field.size]
        return int.from_bytes(part, self.endian, signed=field.signed)

    def flag_names(self, value: int) -> tuple[str, ...]:
        """Names of the flags that are set; the zone, node and section bits have none."""
        return tuple(name for bit, name in sorted(self.flags.items()) if value >> bit & 1)

    def flag_changes(self, before: int, after: int) -> list[str]:
        """Names of the flags that differ: `-lru`, then `+reserved`."""
        was, now = self.flag_names(before), self.flag_names(after)
        gone = [f"-{name}" for name in was if name not in now]
        return gone + [f"+{name}" for name in now if name not in was]

    def to_json(self) -> dict[str, Any]:
        """Return it as life.zap has it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> PageFields:
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError, LookupError: it is not such a thing.
        """
        fields = tuple(Field(**one) for one in data["fields"])
        flags = {int(bit): str(name) for bit, name in data["flags"].items()}
        size, order, entire = data["size"], data["order"], data.get("entire")
        whole = None if entire is None else Field(**entire)
        if order not in ("<", ">") or size not in range(8, MOST_SIZE + 1):
            raise ValueError("no struct page has such a size or byte order")
        for one in (*fields, *(() if whole is None else (whole,))):
            crosses = one.offset // 8 != (one.offset + one.size - 1) // 8
            if one.size not in (1, 2, 4, 8) or not 0 <= one.offset <= size - one.size or crosses:
                raise ValueError(f"no struct page has such a {one.name}")
        if any(bit not in range(64) for bit in flags):
            raise ValueError("no such flags")
        return cls(size, order, fields, flags, whole)
