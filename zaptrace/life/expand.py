"""What the plugin stored, short as it is, as records: see struct record in vm/plugin/plugin.h."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zaptrace.life.record_layout import (
    BYTES_BITS,
    CPU_BITS,
    FLAGS_AT,
    PLACE_BITS,
    RECORD,
    TABLE,
    TIME_SHIFT,
    U64,
    UNKNOWN,
    VALID,
    WRITER,
    Array,
)

_CHUNK = 1 << 14
"""Records that are expanded at once, while they are in the cache."""


def numbers_of(stored: Array) -> tuple[U64, U64]:
    """Return the numbers of the whole records of struct pages, and of those of page tables.

    Args:
        stored: STORED.
    """
    where = np.ascontiguousarray(stored["where"])
    flags = (where >> np.uint64(FLAGS_AT)).astype(np.uint8)
    size, inside = _bytes(where), where.astype(np.uint8) & 7
    good = (flags & VALID) != 0
    good &= (size >= 1) & (size <= 8) & (inside + size <= 8)
    table = (flags & TABLE) != 0
    return np.flatnonzero(good & ~table).view(np.uint64), np.flatnonzero(good & table).view(
        np.uint64
    )


def writers_of(stored: Array, nodes: Array) -> Array:
    """Return the instructions that stored, and how often each did, as WRITER.

    Args:
        stored: STORED; what is torn has no node.
    """
    counts = np.bincount(stored["node"], minlength=len(nodes))[: len(nodes)]
    used = np.flatnonzero(counts)
    used = used[used > 0]
    pcs, at = np.unique(nodes["address"][used], return_inverse=True)
    found = np.zeros(len(pcs), WRITER)
    found["pc"] = pcs
    np.add.at(found["count"], at, counts[used].astype(np.uint64))
    return found


def times(stored: Array, start_ns: int) -> U64:
    """Return each record's time in ns, CLOCK_MONOTONIC.

    Args:
        stored: STORED, all of a recording: what it holds of the time begins again every 18 minutes.
        start_ns: the first record's time.
    """
    units = stored["time"].astype(np.int64)
    steps = np.diff(units)
    again = (steps < -(2**31)).astype(np.int64) - (steps > 2**31)
    if again.any():
        units[1:] += np.cumsum(again) << 32
    found: U64 = (units << TIME_SHIFT).view(np.uint64) + np.uint64(start_ns)
    return found


def expand(stored: Array, ns: U64, numbers: U64, nodes: Array, base: int, direct: int) -> Array:
    """Return some stores as RECORD.

    Args:
        stored: STORED, all of a recording.
        ns: the time of each.
        numbers: which are wanted.
        nodes: the call tree, each node after its parent.
        base: virtual address of the recorded range.
        direct: virtual address of physical 0 in the kernel's direct map.
    """
    found = np.empty(len(numbers), RECORD)
    for at in range(0, len(numbers), _CHUNK):
        mine = numbers[at : at + _CHUNK]
        first, last = int(mine[0]), int(mine[-1]) + 1
        whole = last - first == len(mine)
        some: slice | U64 = slice(first, last) if whole else mine
        _fill(found[at : at + _CHUNK], stored[some], nodes, base, direct)
        found["ns"][at : at + _CHUNK] = ns[some]
    return found


def _fill(records: Array, stored: Array, nodes: Array, base: int, direct: int) -> None:
    where = np.ascontiguousarray(stored["where"])
    place = where & np.uint64((1 << PLACE_BITS) - 1)
    flags = (where >> np.uint64(FLAGS_AT)).astype(np.uint8)
    table = (flags & TABLE) != 0
    node = stored["node"]
    if node.max() >= len(nodes):
        node = np.where(node < len(nodes), node, 0)
    records["pc"] = nodes["address"][node]
    records["value"] = stored["value"]
    records["stack"] = nodes["parent"][node]
    records["cpu"] = (where >> np.uint64(PLACE_BITS)).astype(np.uint8)
    records["bytes"] = _bytes(where)
    records["flags"] = flags
    records["pad"] = 0
    if table.any():
        records["va"] = place + np.where(table, np.uint64(direct), np.uint64(base))
        records["pa"] = np.where(table, place, np.uint64(UNKNOWN))
    else:
        records["va"] = place + np.uint64(base)
        records["pa"] = UNKNOWN


def _bytes(where: U64) -> npt.NDArray[np.uint8]:
    found = (where >> np.uint64(PLACE_BITS + CPU_BITS)).astype(np.uint8)
    return found & np.uint8((1 << BYTES_BITS) - 1)
