"""Members of many kernel objects of one type, read in bulk."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import drgn
import numpy as np
import numpy.typing as npt

from zaptrace.audit.arrays import Mask, Words
from zaptrace.memory.pages import PageLayout, page_dtype

_BRIDGE_BYTES = 2048
"""Two objects no further apart than this are read with what lies between them."""
_MOST_BYTES = 1 << 20  # of one read


def read_members(
    prog: drgn.Program,
    layout: PageLayout,
    kind: str,
    members: dict[str, str],
    addresses: Words,
) -> tuple[npt.NDArray[Any], Mask]:
    """Read some members of each of some objects.

    Args:
        kind: name of their type.
        members: field name -> member path; integers and pointers only.
        addresses: where the objects lie; shape (n,).

    Returns:
        A structured array in native byte order and which objects could be read; shape (n,).
        What could not be read is zeros.

    Raises:
        LookupError: this kernel's type has no such member.
    """
    dtype = page_dtype(prog, layout, members, kind)
    order = np.argsort(addresses, kind="stable")
    where = addresses[order]
    raw = np.zeros((len(where), dtype.itemsize), np.uint8)
    good = np.zeros(len(where), bool)
    limit = np.uint64(dtype.itemsize + _BRIDGE_BYTES)
    edges = [0, *(np.flatnonzero(np.diff(where) > limit) + 1).tolist(), len(where)]
    todo = [(first, end) for first, end in pairwise(edges) if first < end]
    while todo:
        first, end = todo.pop()
        start = int(where[first])
        size = int(where[end - 1]) - start + dtype.itemsize
        try:
            if size > _MOST_BYTES and end - first > 1:
                raise drgn.FaultError("too much for one read", start)
            span = np.frombuffer(prog.read(start, size), np.uint8)
        except (drgn.FaultError, OverflowError):
            if end - first > 1:
                middle = (first + end) // 2
                todo += [(first, middle), (middle, end)]
            continue
        at = (where[first:end] - np.uint64(start)).astype(np.int64)
        raw[first:end] = span[at[:, None] + np.arange(dtype.itemsize)]
        good[first:end] = True
    found = np.zeros(len(where), [(name, dtype[name].newbyteorder("=")) for name in members])
    rows = raw.view(dtype)[:, 0] if len(where) else np.zeros(0, dtype)
    readable = np.zeros(len(where), bool)
    readable[order] = good
    for name in members:
        found[name][order] = rows[name]
    return found, readable
