"""s390x page tables in made-up memory."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from zaptrace.audit.pagetables.arches import FORMATS, s390x_root
from zaptrace.audit.pagetables.table_format import Root
from zaptrace.audit.pagetables.walk import Unreadable

S390X = FORMATS["s390x"]


RAM_BYTES = 2 << 20


SHIFTS = (53, 42, 31, 20, 12)


TYPES = (0xC, 0x8, 0x4, 0x0)


PTE_LEVEL, SEGMENT_LEVEL = 4, 3


EMPTY_PTE = 0x400


@dataclass
class Bytes:
    """Physical memory in a bytearray; reads that touch `holes` fail."""

    memory: bytearray
    holes: Sequence[range] = ()
    reads: int = 0

    @property
    def ranges(self) -> Sequence[range]:
        return [range(len(self.memory))]

    def read(self, address: int, size: int) -> bytes:
        self.reads += 1
        assert 0 <= address <= address + size <= len(self.memory)
        for hole in self.holes:
            if address < hole.stop and hole.start < address + size:
                raise Unreadable
        return bytes(self.memory[address : address + size])

    def word(self, address: int) -> int:
        value: int = struct.unpack_from(">Q", self.memory, address)[0]
        return value

    def put(self, address: int, value: int) -> None:
        struct.pack_into(">Q", self.memory, address, value)


@dataclass
class Builder:
    """Writes s390x page tables, as arch/s390/mm/pgalloc.c lays them out."""

    ram: Bytes = field(default_factory=lambda: Bytes(bytearray(RAM_BYTES)))
    next_crst: int = 0x4000
    next_fragment: int = RAM_BYTES - 0x800

    def table(self, level: int) -> int:
        """An empty table; crst tables from below, 2 KB page tables from above."""
        if level == PTE_LEVEL:
            at, entries, empty = self.next_fragment, 256, EMPTY_PTE
            self.next_fragment -= 0x800
        else:
            at, entries, empty = self.next_crst, 2048, 0x20 | TYPES[level]
            self.next_crst += 0x4000
        assert self.next_crst <= self.next_fragment, "the test's RAM is full"
        self.ram.memory[at : at + 8 * entries] = struct.pack(">Q", empty) * entries
        return at

    def mm(self, top: int) -> int:
        """An ASCE whose topmost table has level `top`."""
        return self.table(top) | TYPES[top] | 0x3 | 0x1C0

    def map(self, asce: int, address: int, entry: int, level: int = PTE_LEVEL) -> None:
        """Put a leaf at an address, making the tables on the way."""
        table, here = asce & ~0xFFF, 3 - (asce >> 2 & 3)
        while here < level:
            slot = table + 8 * (address >> SHIFTS[here] & 2047)
            if self.ram.word(slot) & 0x20:
                below = self.table(here + 1)
                more = 0 if here == SEGMENT_LEVEL else TYPES[here] | 0x3
                self.ram.put(slot, below | more)
            origin = ~0x7FF if here == SEGMENT_LEVEL else ~0xFFF
            table = self.ram.word(slot) & origin
            here += 1
        mask = 255 if level == PTE_LEVEL else 2047
        self.ram.put(table + 8 * (address >> SHIFTS[level] & mask), entry)


def roots_of(asces: Sequence[int]) -> list[Root]:
    roots = [s390x_root(asce) for asce in asces]
    assert None not in roots
    return [root for root in roots if root is not None]
