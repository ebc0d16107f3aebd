"""Struct pages that are made up, and what the audit derives from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from zaptrace.audit.invariants import Recorded
from zaptrace.audit.structpages.mapcount import derive
from zaptrace.audit.structpages.page_flags import Flags
from zaptrace.audit.structpages.table import Gatherer, StructPages
from zaptrace.memory.pages import PageLayout

BASE = 0x37200000000


FLAGS = Flags(slab=9, swapbacked=19, buddy=-129, hugetlb=2, double_map=8)


# struct page of 6.1 with 64 bytes, big-endian; the first tail page's words overlie.
FIELDS: dict[str, tuple[str, int]] = {
    "flags": (">u8", 0),
    "compound_head": (">u8", 8),
    "lru_next": (">u8", 8),
    "compound_dtor": ("u1", 16),
    "compound_mapcount": (">i4", 20),
    "mapping": (">u8", 24),
    "index": (">u8", 32),
    "private": (">u8", 40),
    "raw_mapcount": (">i4", 48),
    "refcount": (">i4", 52),
}


DTYPE = np.dtype(
    {
        "names": list(FIELDS),
        "formats": [kind for kind, _ in FIELDS.values()],
        "offsets": [offset for _, offset in FIELDS.values()],
        "itemsize": 64,
    }
)


@dataclass
class Memory:
    """Struct pages as they lie in a dump; `readable` says which are in it."""

    layout: PageLayout
    raw: Any
    readable: Any
    slab: int | None

    def gathered(self) -> StructPages:
        """As `read_all` gathers them, by threes."""
        gatherer = Gatherer(self.layout, self.raw.dtype, self.slab)
        for start in range(0, len(self.raw), 3):
            for at in range(start, min(start + 3, len(self.raw))):
                if not self.readable[start : start + 3].all():
                    gatherer.add(1, self.raw[at : at + 1].tobytes() if self.readable[at] else None)
            if self.readable[start : start + 3].all():
                piece = self.raw[start : start + 3]
                gatherer.add(len(piece), piece.tobytes())
        return gatherer.finish(lambda pfn: self.raw[pfn : pfn + 1].tobytes())


def struct_pages(count: int, valid: Iterable[range] | None = None) -> Memory:
    """`count` unused pages: mapcount 0, one reference."""
    raw: Any = np.zeros(count, DTYPE)
    raw["raw_mapcount"] = -1
    raw["refcount"] = 1
    layout = PageLayout(BASE, 64, 12, tuple(valid or [range(count)]))
    return Memory(layout, raw, np.ones(count, bool), FLAGS.slab)


def judged(pages: Memory, lists: Iterable[int] = ()) -> Recorded:
    return derive(pages.gathered(), FLAGS, np.array(list(lists), np.int64))
