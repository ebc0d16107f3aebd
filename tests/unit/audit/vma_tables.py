"""VMAs by column, without a kernel."""

from __future__ import annotations

import numpy as np

from zaptrace.audit.vmatable import VmaTable, table_of


def table(*rows: tuple[int, int, int, int]) -> VmaTable:
    """Rows of mm, start, end, flags, in any order."""
    columns = np.array(rows, np.uint64).reshape(len(rows), 4)
    names = ("start", "end", "flags", "pgoff", "anon_vma", "file", "ops")
    kinds = [(name, np.uint64) for name in names]
    found = np.zeros(len(rows), kinds)
    for at, name in enumerate(("start", "end", "flags"), start=1):
        found[name] = columns[:, at]
    addresses = np.arange(len(rows), dtype=np.uint64)
    return table_of(addresses, columns[:, 0].astype(np.int64), found)
