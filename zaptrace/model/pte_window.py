"""A stretch of one address space's page table."""

from __future__ import annotations

from dataclasses import dataclass

PAGES = 128
"""Pages of a window."""


@dataclass(frozen=True, slots=True)
class TableWindow:
    """What the PTEs of some consecutive pages map.

    Attributes:
        start: user address of the first page, bytes.
        page_size: bytes.
        address: the user address that the window is about.
        pfn: the page that was mapped there, None when unknown.
        pfns: what each PTE maps; None where there is no present PTE.
        vma: the user addresses of the mapping that `address` is in, None when unknown.
    """

    start: int
    page_size: int
    address: int
    pfn: int | None
    pfns: tuple[int | None, ...]
    vma: range | None = None
