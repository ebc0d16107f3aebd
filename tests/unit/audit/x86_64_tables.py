"""x86_64 page tables in made-up memory."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from zaptrace.audit.pagetables.arches import FORMATS
from zaptrace.audit.pagetables.walk import Unreadable

X86_64 = FORMATS["x86_64"]


LEVELS = {level.name: level for level in X86_64.levels}


PRESENT, WRITE, USER, ACCESSED, DIRTY, HUGE, GLOBAL = 0x1, 0x2, 0x4, 0x20, 0x40, 0x80, 0x100


PAT_LARGE, SPECIAL, NX = 0x1000, 0x200, 1 << 63


TABLE = PRESENT | WRITE | USER | ACCESSED | DIRTY  # _PAGE_TABLE


ADDRESS_BITS = 0x000FFFFFFFFFF000


def inverted(pfn: int) -> int:
    """The address bits of a leaf without PRESENT (protnone_mask(), pgtable-invert.h)."""
    return ~(pfn << 12) & ADDRESS_BITS


@dataclass
class Tables:
    """Page tables in a bytearray."""

    memory: bytearray = field(default_factory=lambda: bytearray(1 << 20))
    free: int = 0x1000
    encrypted: int = 0
    """The C bit, set in every entry that points to a table."""

    @property
    def ranges(self) -> list[range]:
        return [range(len(self.memory))]

    def read(self, address: int, size: int) -> bytes:
        if address + size > len(self.memory):
            raise Unreadable
        return bytes(self.memory[address : address + size])

    def table(self) -> int:
        self.free += 0x1000
        return self.free - 0x1000

    def map(self, root: int, top: int, address: int, entry: int, level: str) -> None:
        table = root
        for here in X86_64.levels[top:]:
            slot = table + 8 * (address >> here.shift & 511)
            if here.name == level:
                struct.pack_into("<Q", self.memory, slot, entry)
                return
            (found,) = struct.unpack_from("<Q", self.memory, slot)
            if not found:
                found = self.table() | TABLE | self.encrypted
                struct.pack_into("<Q", self.memory, slot, found)
            table = found & ADDRESS_BITS & ~self.encrypted


def random_leaves(rng: random.Random, top_shift: int) -> Iterator[tuple[int, str, int, int]]:
    """(address, level, entry, pfn), no two in one 1 GB."""
    for gigabyte in rng.sample(range(1 << (top_shift + 8 - 30)), 12):
        level = rng.choice(("pte", "pmd", "pud"))
        shift = LEVELS[level].shift
        address = gigabyte << 30 | rng.randrange(1 << (30 - shift)) << shift
        pfn = rng.randrange(1, 1 << 20) << (shift - 12)
        huge = 0 if level == "pte" else HUGE
        if rng.random() < 0.4:
            yield address, level, inverted(pfn) | GLOBAL | huge, pfn
        else:
            pat = PAT_LARGE if huge and rng.random() < 0.5 else 0
            yield address, level, pfn << 12 | PRESENT | USER | huge | pat, pfn
