"""One CPU's trace_pipe_raw, read in bulk."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from zaptrace.ftrace.formats import PageHeader
from zaptrace.ftrace.rawpages import read_page
from zaptrace.ftrace.subbuffers import Broken, CpuRing, SubBuffer, parse

ORDER = "<" if sys.byteorder == "little" else ">"
_MOST = 1024  # sub-buffers of one read: others want their turn
_LOSSES = re.compile(r"^(?:overrun|commit overrun|dropped events): (\d+)$", re.MULTILINE)


class RawPipe:
    """What one CPU of a tracing instance records.

    Args:
        folder: the instance's per_cpu/cpuN.
        with_stack: common_type of the events that a stack follows.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, folder: Path, header: PageHeader, with_stack: frozenset[int]) -> None:
        self.cpu = int(folder.name.removeprefix("cpu"))
        self._header = header
        self._with_stack = np.array(sorted(with_stack), np.uint16)
        self._stored = self._reported = 0
        self._tail: CpuRing | None = None
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        self._pipe = os.open(folder / "trace_pipe_raw", flags)
        try:
            self._stats = os.open(folder / "stats", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self._pipe)
            raise

    def close(self) -> None:
        """Close it, once."""
        os.close(self._pipe)
        os.close(self._stats)

    def read(self) -> tuple[CpuRing, int | None]:
        """Return what was recorded since the last call, with what was lost.

        Returns:
            The records, and the time up to which they are complete; None when
            all were read.

        Raises:
            OSError: the pipe is broken.
        """
        pages, damage, drained = self._pages()
        if not pages and self._tail is None:
            return self._nothing(damage), None
        ring = parse(self.cpu, pages, ORDER)
        ring.damage += damage
        if self._tail is not None:
            ring = _joined(self._tail, ring)
        more = self._tail is None or len(ring.starts) > 1
        self._tail = None
        ring.lost = self._lost()
        if not drained:
            return ring, int(ring.stamps[-1]) if len(ring.stamps) else 0
        if more and self._awaits_stack(ring):
            # Its stack is written after it, and may not have been there yet.
            ring, self._tail = _split(ring)
            return ring, int(self._tail.stamps[0])
        return ring, None

    def _nothing(self, damage: list[str]) -> CpuRing:
        none = np.zeros(0, np.int64)
        return CpuRing(
            self.cpu, np.zeros(0, np.uint8), none, none, np.zeros(0, np.uint64), damage=damage
        )

    def _pages(self) -> tuple[list[SubBuffer], list[str], bool]:
        """Return sub-buffers, what was wrong with others, and whether these are all for now."""
        pages: list[SubBuffer] = []
        damage: list[str] = []
        for _ in range(_MOST):
            try:
                raw = os.read(self._pipe, self._header.size)
            except BlockingIOError:
                return pages, damage, True
            if not raw:
                return pages, damage, True
            try:
                page, lost = read_page(raw, self._header, ORDER)
            except Broken as error:
                damage.append(f"CPU {self.cpu}: {error}")
                continue
            pages.append(page)
            self._stored += lost
        return pages, damage, False

    def _lost(self) -> int:
        """Return how many records were lost since the last call.

        The buffer's own counters know of all; what stands in the pages is of
        the same records, and the more only if those cannot be read.
        """
        try:
            text = os.pread(self._stats, 4096, 0).decode(errors="replace")
        except OSError:
            text = ""
        total = max(sum(map(int, _LOSSES.findall(text))), self._stored)
        lost, self._reported = max(0, total - self._reported), max(total, self._reported)
        return lost

    def _awaits_stack(self, ring: CpuRing) -> bool:
        if not len(ring.starts) or ring.sizes[-1] < 2:
            return False
        start = int(ring.starts[-1])
        kind = ring.data[start : start + 2].view(np.uint16)[0]
        return bool(np.isin(kind, self._with_stack))


def _split(ring: CpuRing) -> tuple[CpuRing, CpuRing]:
    """Split off the last record: all others, and that one alone."""
    start, size = int(ring.starts[-1]), int(ring.sizes[-1])
    rest = replace(ring, starts=ring.starts[:-1], sizes=ring.sizes[:-1], stamps=ring.stamps[:-1])
    last = CpuRing(
        ring.cpu,
        ring.data[start : start + size],
        np.zeros(1, np.int64),
        ring.sizes[-1:],
        ring.stamps[-1:],
    )
    return rest, last


def _joined(first: CpuRing, second: CpuRing) -> CpuRing:
    return CpuRing(
        second.cpu,
        np.concatenate([first.data, second.data]),
        np.concatenate([first.starts, second.starts + len(first.data)]),
        np.concatenate([first.sizes, second.sizes]),
        np.concatenate([first.stamps, second.stamps]),
        damage=second.damage,
    )
