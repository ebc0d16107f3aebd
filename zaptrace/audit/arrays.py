"""The arrays that the audit's modules hand each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
"""Addresses, PFNs or raw page-table entries, in native byte order."""
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Index = npt.NDArray[np.int64]
"""Places in the array of all struct pages (`structpages`); NOWHERE where there is none."""

NOWHERE = -1


_ALIGNED = 64  # bytes, a cache line


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
