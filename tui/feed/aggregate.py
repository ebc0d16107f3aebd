"""Increments of a source -> snapshots."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from tui.feed.rates import Rates
from tui.feed.retained import Kept, keep
from tui.feed.ring import Ring
from tui.feed.snapshot import Snapshot
from tui.feed.symbols import Names
from zaptrace.explain.suspects import Suspects
from zaptrace.model.events import ABSENT, Events, Kind, Records

MOST_SUSPECTS = 500
"""Suspected pages that are shown."""
_SECOND = 1.0


class Aggregate:
    """Takes increments in; used by one thread.

    Args:
        now: the wall's clock, seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._meta: dict[str, Any] = {}
        self._generation = 0
        self._waiting: list[Events] = []
        self._begin()

    def _begin(self) -> None:
        self._ring, self._rates = Ring(), Rates()
        self._suspects, self._kept = Suspects(), Kept()
        self._names = Names()
        self._totals = np.zeros(256, np.int64)
        self._lost = 0
        self._span: tuple[int, int] | None = None
        self._arrived: deque[tuple[float, int]] = deque()

    def add(self, events: Events) -> None:
        """Take an increment in; the work on it is done at the next snapshot."""
        generation = events.meta.get("generation", self._generation)
        if generation != self._generation:
            self._generation = generation
            self._waiting.clear()
            self._begin()
        self._meta |= events.meta
        self._waiting.append(events)

    @property
    def waiting(self) -> int:
        """Records that no snapshot shows yet."""
        return sum(len(events.records) for events in self._waiting)

    def snapshot(self, ended: str | None) -> Snapshot:
        """Return the picture as it is now."""
        self.digest()
        return Snapshot(
            chunks=self._ring.chunks,
            kept=self._kept,
            names=self._names,
            totals={int(kind): int(self._totals[kind]) for kind in self._totals.nonzero()[0]},
            rates=self._rates.snapshot(),
            suspects=self._suspects.ranking(MOST_SUSPECTS),
            suspected=len(self._suspects),
            lost=self._lost,
            meta=dict(self._meta),
            span_ns=self._span[1] - self._span[0] if self._span else None,
            per_second=self._per_second(),
            ended=ended,
            generation=self._generation,
        )

    def digest(self) -> None:
        """Add up what waits."""
        news, self._waiting = self._waiting, []
        for events in news:
            self._names.learn(events)
        strings = {number: text for events in news for number, text in events.strings.items()}
        records = np.concatenate([events.records for events in news] or [Events().records])
        self._arrived.append((self._now(), len(records)))
        self._suspects.add(Events(records, strings))
        if not len(records):
            return
        self._totals += np.bincount(records["kind"], minlength=256)
        lost = records["nr"][records["kind"] == Kind.LOST]
        self._lost += int(lost.sum(dtype=np.uint64))
        self._rates.add(records)
        self._ring.add(records)
        self._kept = keep(self._kept, self._ring.chunks, self._suspects)
        self._stretch(records)

    def _stretch(self, records: Records) -> None:
        clock = records["clock"][records["clock"] != ABSENT]
        if len(clock):
            first, last = self._span or (2**64, 0)
            self._span = min(first, int(clock.min())), max(last, int(clock.max()))

    def _per_second(self) -> int:
        since = self._now() - _SECOND
        while self._arrived and self._arrived[0][0] <= since:
            self._arrived.popleft()
        return sum(count for _, count in self._arrived)
