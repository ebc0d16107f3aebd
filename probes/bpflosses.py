"""LOST records of BPF programs: no room for an event, a hit missed, a hit that BPF skipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.losses import Misses, lost_at
from zaptrace.ftrace.record_array import joined
from zaptrace.model.events import Records
from zaptrace.model.plan import ProbeSite

COUNTS = np.dtype([(name, "u8") for name in ("entered", "failed", "stackless", "reasonless")])
"""struct counts of zap.bpf.c, in the machine's own byte order."""
Counts = npt.NDArray[np.void]
"""Counts of every site on every CPU: shape (sites, CPUs), dtype COUNTS."""
_KEPT = (
    ("stackless", "stacks that the kernel's map had no place for"),
    ("reasonless", "reasons that the kernel's map had no place for"),
)
_SETTLE = 0.01
"""Seconds from a hit to the beginning of its program, at most: a CPU of a guest may stand still."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Where the kernel and the programs count.  All of it only grows.

    Attributes:
        kprobes: event name -> hits that its kprobe took, and those that it missed
            (`DynamicEvents.profile`); an event that is not known of now is not in it.
        programs: what the programs counted.
        recursions: name of a site that is no kprobe -> hits that its program did not
            take because it was running already.
    """

    kprobes: Callable[[], Mapping[str, tuple[int, int]]]
    programs: Callable[[], Counts]
    recursions: Callable[[], Mapping[str, int]]


class BpfLosses:
    """What did not arrive, from now on.

    Args:
        sites: all of the program's, at their run-time addresses.
        numbers: the name of each that is attached -> its place among them.
    """

    def __init__(
        self, counters: Counters, sites: list[ProbeSite], numbers: Mapping[str, int]
    ) -> None:
        self._counters = counters
        self._sites = sites
        self._numbers = dict(numbers)
        self._never: dict[str, int] = {}
        self._skipped = dict.fromkeys(numbers, 0)
        self._failed = counters.programs()["failed"]
        self.notes: list[str] = []
        """What of the events that did arrive could not be kept, one sentence each."""
        self._misses = Misses(self._look, {name: sites[at] for name, at in numbers.items()})

    def hurry(self) -> None:
        """See `Misses.hurry`."""
        self._misses.hurry()

    def since(self, now: int) -> Records:
        """Return what was lost since the last look, which is not long ago: LOST records.

        Args:
            now: ns of the boot clock.
        """
        if not self._misses.is_due:
            return lost_at([], [], [], now)
        return joined([self._full(now), self._misses.since(now)])

    def _full(self, now: int) -> Records:
        """Return events that found the ring full, or locked: by site and CPU."""
        counts = self._counters.programs()
        self.notes = _notes(counts)
        failed = counts["failed"]
        more = failed - self._failed
        self._failed = failed
        numbers, cpus = more.nonzero()
        sites = [self._sites[number] for number in numbers.tolist()]
        return lost_at(sites, cpus.tolist(), more[numbers, cpus].tolist(), now)

    def _look(self) -> dict[str, int]:
        """Return hits by name: missed, skipped, or come while their program was running."""
        skipped, missed = self._bounds()
        if any(count > self._skipped[name] for name, count in skipped.items()):
            # A hit whose program has yet to begin is not skipped.
            time.sleep(_SETTLE)
            again, missed = self._bounds()
            skipped = {name: min(skipped[name], again.get(name, 0)) for name in skipped}
            self._skipped |= {name: max(self._skipped[name], skipped[name]) for name in skipped}
        losses = {name: missed[name] + self._skipped[name] for name in missed}
        return losses | dict(self._counters.recursions())

    def _bounds(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return the hits of each kprobe that BPF skipped, at least; and that the kprobe missed.

        Hits and entries cannot be read at once.  Those that were never to be entered, because
        the program was not there yet, are at most what the entries before the hits leave over,
        in the quietest of all looks; what the entries after them leave over is skipped.
        """
        before = self._counters.programs()["entered"].sum(axis=1, dtype=np.uint64).tolist()
        profile = self._counters.kprobes()
        entered = self._counters.programs()["entered"].sum(axis=1, dtype=np.uint64).tolist()
        skipped, missed = {}, {}
        for name, number in self._numbers.items():
            if name not in profile:
                continue
            hits, missed[name] = profile[name]
            least = hits - before[number]
            self._never[name] = min(self._never.get(name, least), least)
            skipped[name] = max(0, hits - entered[number] - self._never[name])
        return skipped, missed


def _notes(counts: Counts) -> list[str]:
    counted = ((int(counts[name].sum(dtype=np.uint64)), what) for name, what in _KEPT)
    return [f"{what}: {number:,}" for number, what in counted if number]
