"""Recordings made by hand: a kernel with struct pages of 64 bytes, as 6.1 has them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from zaptrace.life.page_members import Field, PageFields
from zaptrace.life.pte_records import PteFormat
from zaptrace.life.record_layout import NODE, RECORD, TABLE, VALID, VALUE, Array
from zaptrace.life.records import Facts, Life, checked

BASE = 0x37200000000
PFN = 0x5DA
FLAGS, MAPPING, MAPCOUNT, REFCOUNT = 0, 24, 48, 52
RESERVED, HEAD = 12, 16
"""Bits of the flags."""
PTE_FORMAT = PteFormat(leaf=((0x41, 0x01),), inverted=(), origin=2**64 - 4096)
"""s390x's: present, and not special."""


def page_fields(order: str = ">") -> PageFields:
    fields = [Field("flags", FLAGS, 8), Field("lru.next", 8, 8), Field("lru.prev", 16, 8)]
    fields += [Field("mapping", MAPPING, 8), Field("index", 32, 8), Field("private", 40, 8)]
    fields += [Field("_mapcount", MAPCOUNT, 4, True), Field("_refcount", REFCOUNT, 4, True)]
    fields += [Field("word 56", 56, 8)]
    return PageFields(
        64,
        order,
        tuple(fields),
        {0: "locked", 2: "uptodate", 5: "lru", RESERVED: "reserved", HEAD: "head"},
    )


@dataclass
class Recorder:
    """Stores to pages, one after the other; `memory` is what they leave."""

    order: str = ">"
    rows: list[tuple[int | bytes, ...]] = field(default_factory=list)
    nodes: list[tuple[int, int, int]] = field(default_factory=lambda: [(0, 0, 0)])
    memory: dict[int, bytearray] = field(default_factory=dict)

    def stack(self, *addresses: int, root: int = 0x10000) -> int:
        """Addresses outermost first; the node of the innermost."""
        at = 0
        for address in (root, *addresses):
            row = (at, 0, address)
            if row not in self.nodes:
                self.nodes.append(row)
            at = self.nodes.index(row)
        return at

    def store(
        self,
        offset: int,
        value: int,
        size: int = 4,
        *,
        pfn: int = PFN,
        pc: int = 0x100100,
        stack: int = 0,
        cpu: int = 0,
        flags: int = VALID | VALUE,
        va: int | None = None,
        seen: bytes | None = None,
    ) -> None:
        """One store; `seen`: the word as the record has it, when another CPU was faster."""
        page = self.memory.setdefault(pfn, bytearray(64))
        order = "big" if self.order == ">" else "little"
        page[offset : offset + size] = (value % 2 ** (8 * size)).to_bytes(size, order)
        word = bytes(page[offset & ~7 : (offset & ~7) + 8]) if seen is None else seen
        at = BASE + pfn * 64 + offset if va is None else va
        physical = 0x1000000 + pfn * 64 + offset
        ns = 1_000_000 + 1000 * len(self.rows)
        self.rows.append((ns, pc, at, word, physical, stack, cpu, size, flags, 0))

    def entry(
        self, value: int, *, slot: int = 0x4000, pc: int = 0x100100, stack: int = 0, cpu: int = 0
    ) -> None:
        """One store to a page-table entry, which lies at `slot` in the guest's memory."""
        ns = 1_000_000 + 1000 * len(self.rows)
        word = value.to_bytes(8, "big" if self.order == ">" else "little")
        flags = VALID | VALUE | TABLE
        self.rows.append((ns, pc, 0x80000000 + slot, word, slot, stack, cpu, 8, flags, 0))

    def counters(self, mapcount: int, refcount: int) -> bytes:
        """The word of both counters."""
        return struct.pack(f"{self.order}ii", mapcount, refcount)

    def life(self, **facts: int | None) -> Life:
        records, nodes = self.arrays()
        known: dict[str, int | None] = {"base": BASE, "api": 1, "storage": 1, "missed": 0}
        known |= {"wanted": len(records), "values": 0, "lost_stacks": 0, "stop": None}
        known |= {"start_ns": 1_000_000, **facts}
        of = Facts.from_json(known)
        return checked(records, nodes, page_fields(self.order), of, pte_format=PTE_FORMAT)

    def arrays(self) -> tuple[Array, Array]:
        return np.array(self.rows, RECORD), np.array(self.nodes, NODE)


def a_zapped_page(order: str = ">") -> Recorder:
    """Allocated, mapped, freed while mapped, and then its rmap goes: the founding bug."""
    some = Recorder(order)
    syscall = some.stack(0x200, 0x300)
    zap = some.stack(0x200, 0x400)
    some.store(MAPCOUNT, -1, pc=0x1000)
    some.store(REFCOUNT, 0, pc=0x1004)
    some.store(REFCOUNT, 1, pc=0x1100, stack=syscall)
    some.store(FLAGS, 4, 8, pc=0x1200, stack=syscall)
    some.store(MAPCOUNT, 0, pc=0x1300, stack=syscall)
    some.store(REFCOUNT, 0, pc=0x1400, stack=zap)
    some.store(MAPCOUNT, -1, pc=0x1500, stack=zap)
    return some
