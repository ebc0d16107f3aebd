"""Bytes that one instruction stored one by one, as the one store that they are.

QEMU since 8.1 reports what s390x's MVC and its like store byte by byte.  What a word held in
between, no instruction has stored: a page-table entry would seem to map pages that it never did.
"""

from __future__ import annotations

import numpy as np

from zaptrace.life.record_layout import Array


def merge_bytes(records: Array, numbers: Array) -> tuple[Array, Array]:
    """Return the records with each run of bytes as one: the place of the first, the last's value.

    A run is what one CPU stored by one instruction, in one call, byte after byte of one word.

    Args:
        numbers: each record's place in the whole recording.
    """
    single = np.flatnonzero(records["bytes"] == 1)
    if len(single) < 2:
        return records, numbers
    single = single[np.argsort(records["cpu"][single], kind="stable")]
    mine = records[single]
    continues = mine["va"][1:] == mine["va"][:-1] + np.uint64(1)
    continues &= (mine["va"][1:] & np.uint64(7)) != 0
    for name in ("cpu", "pc", "stack", "flags"):
        continues &= mine[name][1:] == mine[name][:-1]
    if not continues.any():
        return records, numbers
    first = np.flatnonzero(np.append(True, ~continues))
    last = np.append(first[1:], len(mine)) - 1
    records = records.copy()
    for name in ("va", "pa"):
        records[name][single[last]] = mine[name][first]
    records["bytes"][single[last]] = last - first + 1
    kept = np.ones(len(records), bool)
    kept[single[:-1][continues]] = False
    return records[kept], numbers[kept]
