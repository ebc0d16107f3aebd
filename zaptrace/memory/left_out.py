"""Memory that an ELF dump leaves out, and that drgn reads as zeros.

`makedumpfile -E` leaves out what it filters, and pages of zeros as well, by segments that are
larger in memory (p_memsz) than in the file (p_filesz).  Which of both a page is cannot be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import drgn
import numpy as np
import numpy.typing as npt

from zaptrace.elf.core import Segment

_KEY = "zaptrace.memory.left_out"


@dataclass(frozen=True, slots=True)
class _InFile:
    """Physical ranges that the file has: their starts, ascending, and the highest end up to each.

    Both of shape (segments,), uint64.
    """

    starts: npt.NDArray[np.uint64]
    ends: npt.NDArray[np.uint64]


def note_left_out(prog: drgn.Program, loads: Sequence[Segment]) -> None:
    """Remember which physical memory an ELF dump has, for `is_left_out`.

    Args:
        prog: the opened dump.
        loads: its PT_LOAD segments.
    """
    if all(load.memsz <= load.filesz for load in loads):
        return
    spans = sorted((load.paddr, load.paddr + load.filesz) for load in loads)
    starts = np.array([start for start, _ in spans], object)
    ends = np.maximum.accumulate(np.array([end for _, end in spans], object))
    highest = 2**64 - 1
    prog.cache[_KEY] = _InFile(
        starts.astype(np.uint64), np.minimum(ends, highest).astype(np.uint64)
    )


def is_left_out(prog: drgn.Program, address: int) -> bool:
    """Return whether a physical address is memory that reads as zeros for it is not in the file."""
    found = prog.cache.get(_KEY)
    if found is None:
        return False
    at = int(np.searchsorted(found.starts, np.uint64(address), side="right"))
    return at == 0 or int(found.ends[at - 1]) <= address
