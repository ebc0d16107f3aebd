"""Which process a thread belongs to, also when it is gone."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

_TGID = re.compile(r"^Tgid:\s*(\d+)$", re.MULTILINE)
_KNOWN = 1 << 16  # threads that are remembered
_SHARE = 20  # saved_tgids lists every thread: no more than 1/20 of the time goes into reading it


class Tasks:
    """Process ids of threads.

    Args:
        root: where tracefs is mounted.
    """

    def __init__(self, root: Path) -> None:
        self._saved = root / "saved_tgids"
        self._known: dict[int, int] = {}
        self._not_before = 0.0

    def tgids(self, pids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The process id of each thread id, -1 when it cannot be told.  Same shape."""
        distinct, which = np.unique(pids, return_inverse=True)
        wanted = [pid for pid in distinct.tolist() if pid > 0]
        if len(self._known) > _KNOWN:
            self._known.clear()
        for pid in wanted:
            if pid not in self._known and (tgid := _tgid(pid)) is not None:
                self._known[pid] = tgid
        unknown = [pid for pid in wanted if pid not in self._known]
        if unknown and time.monotonic() >= self._not_before:
            self._look_up(unknown)
        found = np.array([self._known.get(pid, -1) for pid in distinct.tolist()], np.int32)
        return found[which].reshape(pids.shape)

    def _look_up(self, pids: list[int]) -> None:
        """Threads that are gone: the kernel notes them at each switch (record-tgid)."""
        began = time.monotonic()
        try:
            lines = self._saved.read_text().splitlines()
        except OSError:
            return
        pairs = (line.split() for line in lines)
        saved = {int(one[0]): int(one[1]) for one in pairs if len(one) == 2}
        self._known |= {pid: saved[pid] for pid in pids if pid in saved}
        ended = time.monotonic()
        self._not_before = ended + _SHARE * (ended - began)


def threads(pid: int) -> list[int]:
    """The threads of a process; none when it is gone."""
    try:
        return sorted(int(path.name) for path in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _tgid(pid: int) -> int | None:
    try:
        found = _TGID.search(Path(f"/proc/{pid}/status").read_text(errors="replace"))
    except OSError:
        return None
    return int(found[1]) if found else None
