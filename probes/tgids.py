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
_LAST_STEPS = 0.1  # seconds a thread may take from leaving /proc to its last switch
_AGAIN = 0.002


class Tgids:
    """Process ids of threads.

    Args:
        root: where tracefs is mounted.
        certain: who asks chooses by process: tell each that the kernel knows,
            whatever the reading costs.  Otherwise some of the threads that end
            within a second stay unknown on a busy machine.
    """

    def __init__(self, root: Path, *, certain: bool = False) -> None:
        self._saved = root / "saved_tgids"
        self._certain = certain
        self._known: dict[int, int] = {}
        self._not_before = 0.0

    def tgids(self, pids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return the process id of each thread id, -1 when it is not known.  Same shape."""
        distinct, which = np.unique(pids, return_inverse=True)
        wanted = [pid for pid in distinct.tolist() if pid > 0]
        if len(self._known) > _KNOWN:
            self._known.clear()
        for pid in wanted:
            if pid not in self._known and (tgid := _tgid(pid)) is not None:
                self._known[pid] = tgid
        unknown = {pid for pid in wanted if pid not in self._known}
        if unknown and self._certain:
            self._insist(unknown)
        elif unknown and time.monotonic() >= self._not_before:
            self._look_up(unknown)
        found = np.array([self._known.get(pid, -1) for pid in distinct.tolist()], np.int32)
        return found[which].reshape(pids.shape)

    def _insist(self, pids: set[int]) -> None:
        """Look up until all are known: one that ends leaves /proc before it is noted."""
        deadline = time.monotonic() + _LAST_STEPS
        while self._look_up(pids) and not pids <= self._known.keys():
            if time.monotonic() >= deadline:
                return
            time.sleep(_AGAIN)

    def _look_up(self, pids: set[int]) -> bool:
        """Look up threads that are gone: the kernel notes them at each switch (record-tgid).

        Returns:
            Whether the kernel has such notes.
        """
        began = time.monotonic()
        try:
            lines = self._saved.read_text().splitlines()
        except OSError:
            return False
        pairs = (line.split() for line in lines)
        saved = {int(one[0]): int(one[1]) for one in pairs if len(one) == 2}
        self._known |= {pid: saved[pid] for pid in pids & saved.keys()}
        ended = time.monotonic()
        self._not_before = ended + _SHARE * (ended - began)
        return True


def threads(pid: int) -> list[int]:
    """Return the threads of a process; none when it is gone."""
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
