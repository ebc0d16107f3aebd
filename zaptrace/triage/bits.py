"""Values that differ from a legal one, or from their neighbours', by one bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from zaptrace.model.splats import Splat
from zaptrace.triage.dump import AT_FREE, checked_flags, page_type, swap_value, table_value
from zaptrace.triage.raw_words import TAIL_MAPPINGS, one_bit, word

_WORD = 0xFFFFFFFF
_LEAST_COUNT_BIT = 4
"""Counts below 16 are what software reaches by counting."""
_ENOUGH = 3
"""Entries whose flags a neighbour's are compared with."""
# Of an x86 PTE that maps ordinary memory of a user: present, user, PWT, PCD, PAT and global, and
# bits 52 to 57, are the same in all; write, accessed, dirty, soft-dirty, uffd-wp, pkey and NX are
# not.  Other architectures' bits mean other things.
_SAME_IN_ALL = 0x03F000000000019D
_X86 = frozenset(
    ("do_syscall_64", "entry_SYSCALL_64_after_hwframe", "entry_SYSCALL_64", "x64_sys_call")
)
_ORDINARY = 0x400 | 0x4000 | 0x10000000
"""Not VM_PFNMAP, VM_IO or VM_MIXEDMAP (include/linux/mm.h)."""


@dataclass(frozen=True, slots=True)
class Flip:
    """A value that one bit keeps from being legal.

    Attributes:
        field: where it stands.
        value, legal: what it is, and what it would be.
        plain: the field can only be legal in this one way; flags, which software sets one by
            one, cannot.
    """

    field: str
    value: int
    legal: int
    bit: int
    splat: Splat
    plain: bool = True

    @property
    def text(self) -> str:
        """`refcount 0x10000, not 0: bit 16`."""
        return f"{self.field} is {self.value:#x}, not {self.legal:#x}: bit {self.bit} alone"


def flips(splats: tuple[Splat, ...]) -> tuple[Flip, ...]:
    """Return the values of all reports that differ by one bit from a legal one."""
    found = [
        flip
        for splat, after in zip_longest(splats, splats[1:])
        for flip in _of_one(splat)
        if not _is_its_pte(flip, after)
    ]
    return (*found, *_of_neighbours(splats))


def _is_its_pte(flip: Flip, after: Splat | None) -> bool:
    """Return whether the next report shows the PTE that was taken for a swap entry."""
    if flip.splat.kind != "bad_swap_entry" or after is None or after.kind != "bad_page_map":
        return False
    return after.log == flip.splat.log and any(_of_one(after))


def _of_one(splat: Splat) -> Iterator[Flip]:
    if splat.kind == "bad_page_state":
        yield from _of_refused(splat)
    for field, value in (
        ("the swap entry", swap_value(splat)),
        ("the page-table entry", table_value(splat)),
        ("the PTE", splat.pte if splat.mapcount is None else None),
    ):
        if value is not None and (flip := _flip(field, value, 0, splat)):
            yield flip


def _of_refused(splat: Splat) -> Iterator[Flip]:
    """Yield bit flips in fields that are 0 in a free page: mapping, memcg, refcount, mapcount."""
    for field, value in (
        ("mapping", word(splat, "mapping") or splat.mapping),
        ("memcg_data", splat.memcg),
    ):
        if value and value not in TAIL_MAPPINGS and (flip := _flip(field, value, 0, splat)):
            yield flip
    if splat.refcount and not splat.folio:
        flip = _flip("the refcount", splat.refcount & _WORD, 0, splat)
        if flip and flip.bit >= _LEAST_COUNT_BIT:
            yield flip
    if splat.mapcount and page_type(splat) is None:
        flip = _flip("the stored mapcount", (splat.mapcount - 1) & _WORD, _WORD, splat)
        if flip and flip.bit >= _LEAST_COUNT_BIT:
            yield flip
    flags = [flag for flag in checked_flags(splat) if flag in AT_FREE]
    if len(flags) == 1 and splat.flags_word is not None:
        yield Flip(f"flag {flags[0]}", 1, 0, 0, splat, plain=False)


def _is_comparable(splat: Splat) -> bool:
    """Return whether it is an x86 PTE of an ordinary VMA, as far as the report says so."""
    names = {frame.symbol for frame in splat.trace}
    return (
        splat.kind == "bad_page_map"
        and splat.pte is not None
        and splat.vm_flags is not None
        and not splat.vm_flags & _ORDINARY
        and not names.isdisjoint(_X86)
    )


def _flip(field: str, value: int, legal: int, splat: Splat) -> Flip | None:
    bit = one_bit(value, legal)
    return None if bit is None else Flip(field, value, legal, bit, splat)


def _of_neighbours(splats: tuple[Splat, ...]) -> Iterator[Flip]:
    """PTEs whose flags differ by one bit from those that most others of the log have."""
    entries = [one for one in splats if _is_comparable(one)]
    if len(entries) < _ENOUGH:
        return
    flags = [(one.pte or 0) & _SAME_IN_ALL for one in entries]
    usual, many = Counter(flags).most_common(1)[0]
    if many < _ENOUGH - 1 or many * 2 <= len(entries):
        return
    for one, value in zip(entries, flags, strict=True):
        bit = one_bit(value, usual)
        if bit is not None:
            yield Flip("the PTE's flags", value, usual, bit, one)
