"""Struct pages as kernels of several releases lay them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.unit.audit.struct_pages import BASE, Memory
from zaptrace.audit.structpages.page_flags import Flags
from zaptrace.memory.pages import PageLayout

TYPE_BUDDY, TYPE_HUGETLB = 0xF0000000 - (1 << 32), 0xF4000000 - (1 << 32)


COMMON = {
    "flags": ("<u8", 0),
    "compound_head": ("<u8", 8),
    "lru_next": ("<u8", 8),
    "mapping": ("<u8", 24),
    "index": ("<u8", 32),
    "private": ("<u8", 40),
    "raw_mapcount": ("<i4", 48),
    "refcount": ("<i4", 52),
}


@dataclass(frozen=True)
class Layout:
    """Columns beside the common ones, and how hugetlb is marked."""

    tail: dict[str, tuple[str, int]]
    flags: Flags
    masks: bool = False

    def pages(self, count: int) -> Memory:
        fields = COMMON | self.tail
        dtype = np.dtype(
            {
                "names": list(fields),
                "formats": [kind for kind, _ in fields.values()],
                "offsets": [offset for _, offset in fields.values()],
                "itemsize": 64,
            }
        )
        raw: Any = np.zeros(count, dtype)
        raw["raw_mapcount"] = -1
        raw["refcount"] = 1
        layout = PageLayout(BASE, 64, 12, (range(count),))
        return Memory(layout, raw, np.ones(count, bool), self.flags.slab)


ENTIRE = {"compound_mapcount": ("<i4", 24)}


LARGE = {"compound_mapcount": ("<i4", 24), "large_mapcount": ("<i4", 16)}


LAYOUTS = {
    "6.2": Layout(
        ENTIRE | {"compound_dtor": ("u1", 16)}, Flags(9, 17, -129, hugetlb=2, double_map=None)
    ),
    "6.6": Layout(ENTIRE, Flags(9, 17, -129, hugetlb_flag=8)),
    "6.9": Layout(ENTIRE, Flags(9, 17, -129, hugetlb_type=-2049)),
    "6.12": Layout(LARGE, Flags(None, 17, TYPE_BUDDY, hugetlb_type=TYPE_HUGETLB)),
    "7.3": Layout(LARGE, Flags(None, 17, TYPE_BUDDY, hugetlb_type=TYPE_HUGETLB), masks=True),
}
