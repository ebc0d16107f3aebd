"""The words of a struct page that a dump prints after `raw:`: which is which, and what is in them.

The layout is that of "mm: Use the new struct page layout" and later (v4.18): flags, lru (or what
shares its place), mapping, index, private, _mapcount with _refcount, memcg_data.  Words are
named only where the counters that the dump also prints as numbers stand where that layout has
them; another layout, or another's lines, are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from zaptrace.model.splats import Splat

NAMES = ("flags", "lru.next", "lru.prev", "mapping", "index", "private")
_LOW = 0xFFFFFFFF

# include/linux/poison.h; POISON_POINTER_DELTA is 0xdead000000000000 where pointers have 64 bits.
LIST_POISON = {0xDEAD000000000100: "LIST_POISON1", 0xDEAD000000000122: "LIST_POISON2"}
_POISONED_LISTS = (*LIST_POISON, 0x100, 0x122)
TAIL_MAPPINGS = (0xDEAD000000000400, 0x400)
"""Of a tail page; s390x, arm and 32 bits have no POISON_POINTER_DELTA."""
_BYTES = {
    0xAA: "PAGE_POISON (page_poison=1 wrote over a free page)",
    0x6B: "POISON_FREE (a slab object that was freed)",
    0x5A: "POISON_INUSE (a slab object that was never written)",
    0xA5: "POISON_END",
    0xBB: "SLUB_RED_INACTIVE",
    0xCC: "SLUB_RED_ACTIVE, or POISON_FREE_INITMEM",
}


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a struct page.

    Attributes:
        name: the member, or `word N` where the layout is not known.
        wide: bits of a word.
    """

    name: str
    value: int
    wide: int


def words(splat: Splat) -> tuple[Word, ...]:
    """Return the words that a dump prints, in order."""
    wide = 64 if any(value > _LOW for value in splat.raw) else 32
    known = is_known(splat)
    names = [*NAMES, "_mapcount, _refcount", "memcg_data"] if known else []
    if known and wide == 32 and _at_32(splat):
        names = [*NAMES, "_mapcount", "_refcount", "memcg_data"]
    return tuple(
        Word(names[at] if at < len(names) else f"word {at}", value, wide)
        for at, value in enumerate(splat.raw)
    )


def word(splat: Splat, name: str) -> int | None:
    """Return one word by its member's name; None when it is not known which it is."""
    return next((one.value for one in words(splat) if one.name == name), None)


def is_known(splat: Splat) -> bool:
    """Return whether the words lie as v4.18 and later have them: the counters prove it."""
    if len(splat.raw) < 8 or not (_at_64(splat) or _at_32(splat)):
        return False
    # Counters of 0 prove nothing, for most words are 0: then `lru` must be where it is poisoned.
    return _counters(splat) != (0, 0) or all(word in _POISONED_LISTS for word in splat.raw[1:3])


def _counters(splat: Splat) -> tuple[int, int] | None:
    if splat.mapcount is None or splat.refcount is None or splat.folio:
        return None
    return (splat.mapcount - 1) & _LOW, splat.refcount & _LOW


def _at_64(splat: Splat) -> bool:
    """Return whether both counters are in word 6, in either byte order."""
    wanted = _counters(splat)
    low, high = splat.raw[6] & _LOW, splat.raw[6] >> 32
    return wanted is not None and (wanted in ((low, high), (high, low)))


def _at_32(splat: Splat) -> bool:
    wanted = _counters(splat)
    return wanted is not None and wanted == (splat.raw[6], splat.raw[7])


def repeated_byte(one: Word) -> int | None:
    """Return the byte that a word consists of; None when there is more than one.

    All zeros, and all ones, are what memory holds for other reasons.
    """
    data = one.value.to_bytes(one.wide // 8, "little")
    return data[0] if len(set(data)) == 1 and data[0] not in (0, 0xFF) else None


def poison(one: Word) -> str | None:
    """Return the name of the poison that a word holds; list poison is at home in `lru`.

    Where the layout is not known, any word may be `lru`.
    """
    if one.value in LIST_POISON and not one.name.startswith(("lru", "word")):
        return LIST_POISON[one.value]
    byte = repeated_byte(one)
    return _BYTES.get(byte) if byte is not None else None


def as_text(one: Word) -> str | None:
    """Return a word's bytes as text when all are printable ASCII; little-endian where either is."""
    data = one.value.to_bytes(one.wide // 8, "little")
    return data.decode("ascii") if all(0x20 <= byte < 0x7F for byte in data) else None


def texts(splat: Splat) -> tuple[tuple[Word, str], ...]:
    """Return the words that hold nothing but printable ASCII, each with its text."""
    found = ((one, as_text(one)) for one in words(splat) if repeated_byte(one) is None)
    return tuple((one, text) for one, text in found if text)


def one_bit(value: int, legal: int) -> int | None:
    """Return the bit in which two values differ; None when they differ in none, or in more."""
    differ = value ^ legal
    return differ.bit_length() - 1 if differ > 0 and not differ & (differ - 1) else None
