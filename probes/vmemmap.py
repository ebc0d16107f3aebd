"""struct page addresses -> page frame numbers, on a running kernel."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from zaptrace.arch import arch_named
from zaptrace.elf.core import read_headers
from zaptrace.kernel.kallsyms import Kallsyms
from zaptrace.model.errors import BadInput
from zaptrace.model.page_array import pfns_of

KCORE = Path("/proc/kcore")
IOMEM = Path("/proc/iomem")

_WITNESS = "jiffies"  # variables are among the kernel's symbols (KALLSYMS_ALL) when this one is
_FLATMEM = "mem_map"  # without SPARSEMEM it is set, and there is no vmemmap; with it, NULL
_RAM = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) : System RAM$", re.MULTILINE)

_Span = tuple[int, int]
"""Start and size, bytes."""


@dataclass(frozen=True, slots=True)
class Vmemmap:
    """The array of all struct pages.

    Attributes:
        base: address of PFN 0's struct page.
        struct_size: bytes of a struct page.
        end: first PFN after the last RAM.
    """

    base: int
    struct_size: int
    end: int

    def pfns(self, pages: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Return the PFN of each struct page address, ABSENT for others (`pfns_of`)."""
        return pfns_of(pages, self.base, self.struct_size, (range(self.end),))


def find_vmemmap(
    symbols: Kallsyms, arch: str, struct_size: int, kcore: Path = KCORE, iomem: Path = IOMEM
) -> Vmemmap | None:
    """Return the running kernel's, or None when it cannot be found.

    Args:
        struct_size: bytes of its struct page.
    """
    try:
        ranges = [(int(start, 16), int(end, 16)) for start, end in _RAM.findall(iomem.read_text())]
    except OSError:
        ranges = []
    page_size = os.sysconf("SC_PAGE_SIZE")
    pfns = [(start // page_size, (end + 1) // page_size) for start, end in ranges]
    end = max((stop for _, stop in pfns), default=0)
    base = _base(symbols, arch, kcore)
    if base is None and end:
        base = _listed(kcore, pfns, struct_size, page_size)
    # Without privilege all of iomem's addresses are 0.
    return Vmemmap(base, struct_size, end) if base and end and struct_size > 0 else None


def _base(symbols: Kallsyms, arch: str, kcore: Path) -> int | None:
    for choice in arch_named(arch).vmemmap:
        if isinstance(choice, int):
            flat = symbols.address(_FLATMEM)
            known = symbols.address(_WITNESS) is not None
            return choice if known and (flat is None or read_word(kcore, flat) == 0) else None
        name, offset = choice
        address = symbols.address(name)
        if address is not None:
            return read_word(kcore, address + offset)
    return None


def _listed(kcore: Path, ram: list[_Span], struct_size: int, page_size: int) -> int | None:
    """Return the base from what /proc/kcore lists: with each RAM, the part of the array that is for
    it (get_sparsemem_vmemmap_info(), fs/proc/kcore.c), rounded to whole pages."""
    try:
        with kcore.open("rb", buffering=0) as file:
            listed = {(start, size) for start, size, _ in _segments(file)}
    except OSError:
        return None
    bases = set()
    for first, stop in ram:
        head = first * struct_size % page_size
        size = -(-(head + (stop - first) * struct_size) // page_size) * page_size
        bases |= {start + head - first * struct_size for start, length in listed if length == size}
    return bases.pop() if len(bases) == 1 else None


def read_word(kcore: Path, address: int) -> int | None:
    """Return the 64-bit word at a kernel address, through /proc/kcore; None when it is not
    available."""
    try:
        with kcore.open("rb", buffering=0) as file:
            for start, size, offset in _segments(file):
                if start <= address <= start + size - 8:
                    file.seek(offset + address - start)
                    return int.from_bytes(file.read(8), sys.byteorder)
    except (OSError, OverflowError, ValueError):
        pass
    return None


def _segments(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """Yield what /proc/kcore lists: virtual address, size, offset in it; nothing when it cannot."""
    try:
        loads = read_headers(file, KCORE).loads()
    except BadInput:
        return
    for load in loads:
        yield load.vaddr, load.memsz, load.offset
