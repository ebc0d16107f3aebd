"""The arrays that the audit's modules hand each other."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
"""Addresses, PFNs or raw page-table entries, in native byte order."""
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Index = npt.NDArray[np.int64]
"""Places in the array of all struct pages (`structpages`); NOWHERE for what is not in it."""

NOWHERE = -1


_ALIGNED = 64  # bytes, a cache line
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 1 << 30


@functools.cache
def keep_freed_memory() -> None:
    """Let malloc() keep what is freed for the arrays to come, up to 1 GB.

    It would give large arrays back to the kernel, and fresh memory comes by faults: they cost a
    quarter of an audit.  Of glibc; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def side_by_side(length: int, kinds: Sequence[npt.DTypeLike]) -> list[npt.NDArray[Any]]:
    """Arrays of one length, not initialised, in one allocation.

    From 4 MB on numpy asks the kernel for huge pages, and to fault memory in by small pages costs
    more than to compute what is stored there.
    """
    dtypes = [np.dtype(kind) for kind in kinds]
    sizes = [-(-length * dtype.itemsize // _ALIGNED) * _ALIGNED for dtype in dtypes]
    block = np.empty(sum(sizes), np.uint8)
    arrays, start = [], 0
    for dtype, size in zip(dtypes, sizes, strict=True):
        arrays.append(block[start : start + length * dtype.itemsize].view(dtype))
        start += size
    return arrays
