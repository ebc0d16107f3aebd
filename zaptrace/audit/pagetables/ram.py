"""A dump's physical memory, as the walker wants it."""

from __future__ import annotations

from collections.abc import Sequence

import drgn

from zaptrace.audit.pagetables.walk import Unreadable
from zaptrace.memory.pages import PageLayout, ram_ranges


class DumpRam:
    """Physical memory read through drgn.

    Attributes:
        ranges: System RAM; where the kernel's own list is broken, all that has
            struct pages.
    """

    def __init__(self, prog: drgn.Program, layout: PageLayout) -> None:
        self._prog = prog
        shift = layout.page_shift
        with_pages = [range(s.start << shift, s.stop << shift) for s in layout.valid]
        self.ranges: Sequence[range] = ram_ranges(prog) or with_pages

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes at a physical address.

        Raises:
            Unreadable: not all of them are in the dump.
        """
        try:
            found: bytes = self._prog.read(address, size, physical=True)
        except drgn.FaultError as error:
            raise Unreadable(str(error)) from error
        return found
