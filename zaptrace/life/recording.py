"""The memory that a guest's plugin records into: ours, anonymous, gone with the last of us.

Nothing of it is on a disk, so that a full one cannot end the guest, and a killed zaptrace leaves
no file.  Only what was written takes memory.
"""

from __future__ import annotations

import mmap
import os
from types import TracebackType

import numpy as np

from zaptrace.life.record_layout import MAGIC, NODE, SHARED, STORED, Array
from zaptrace.model.errors import Missing

MOST_RECORDS = 1 << 24
"""A boot to user space makes 1.7 million; touching and freeing 330 MB 8 million.  400 MB when full;
what is not recorded takes none."""
MOST_NODES = 1 << 20
"""Distinct return addresses in their callers; a boot has some 10,000."""
_PAGE = 4096


class Recording:
    """The shared memory, from before QEMU starts until its records are read.

    Attributes:
        fd: what QEMU inherits.
        stop: how many records there were when the guest was stopped and dumped.

    Raises:
        Missing: no memory for it.
    """

    def __init__(self, records: int = MOST_RECORDS, nodes: int = MOST_NODES) -> None:
        nodes_at = _PAGE
        records_at = -(-(nodes_at + nodes * NODE.itemsize) // _PAGE) * _PAGE
        size = records_at + records * STORED.itemsize
        try:
            self.fd = os.memfd_create("zaptrace-life", os.MFD_CLOEXEC)
        except OSError as error:
            raise _no_memory(error) from None
        try:
            os.ftruncate(self.fd, size)  # EFBIG: ulimit -f is for this, too
            self._map = mmap.mmap(self.fd, size)
        except OSError as error:
            os.close(self.fd)
            raise _no_memory(error) from None
        self.stop: int | None = None
        self._shared = np.frombuffer(self._map, SHARED, 1)
        shared = {"magic": np.void(MAGIC), "size": size}
        shared |= {"nodes_at": nodes_at, "max_nodes": nodes}
        shared |= {"records_at": records_at, "max_records": records}
        for name, value in shared.items():
            self._shared[name] = value

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.fd)

    def follow_tables(self, page_size: int, at: int, mask: int, value: int) -> None:
        """Record stores to page tables as well; before `arm`.

        Args:
            page_size: bytes of a struct page.
            at: offset of page_type in it.
            mask, value: a page is a page table when `page_type & mask == value`.
        """
        for name, number in zip(
            ("page_size", "type_at", "type_mask", "type_value"),
            (page_size, at, mask, value),
            strict=True,
        ):
            self._shared[name] = number

    def arm(self, base: int, size: int, direct: int, moved: int = 0) -> None:
        """Record from now on; while the guest is stopped.

        Args:
            base: the address of PFN 0's struct page.
            size: bytes of the range of struct pages.
            direct: virtual address of physical 0 in the direct map.
            moved: how far above the plugin's `texts` the kernel's code runs, modulo 2**64.
        """
        self._shared["moved"] = moved
        self._shared["lo"] = base
        self._shared["direct"] = direct
        self._shared["len"] = size

    def mark_stop(self) -> None:
        """Remember how far the recording is; while the guest is stopped."""
        self.stop = self.fact("count")

    def fact(self, name: str) -> int:
        """Return a number of the shared header."""
        return int(self._shared[name][0])

    def stored(self) -> Array:
        """Return all records so far, STORED; read-only."""
        count = min(self.fact("count"), self.fact("max_records"))
        return self._array(STORED, "records_at", count)

    def nodes(self) -> Array:
        """Return the call tree so far; number 0 is no node."""
        return self._array(NODE, "nodes_at", min(self.fact("nodes"), self.fact("max_nodes")))

    def _array(self, of: np.dtype[np.void], place: str, count: int) -> Array:
        found = np.frombuffer(self._map, of, count, self.fact(place)) if count else np.zeros(0, of)
        found.flags.writeable = False
        return found


def _no_memory(error: OSError) -> Missing:
    return Missing(f"no memory to record them in: {error.strerror}")
