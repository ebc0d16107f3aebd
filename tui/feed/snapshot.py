"""What the feed passes to the screen: one immutable picture at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tui.feed.rates import BUCKETS, Counts
from tui.feed.retained import Kept
from tui.feed.ring import Chunk
from tui.feed.symbols import Names
from zaptrace.explain.suspects import Suspect
from zaptrace.model.events import Kind


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is known at one moment.

    Attributes:
        chunks: the newest records, oldest first.
        kept: records of suspected pages and the zaps before them.
        totals: events by kind since the beginning.
        rates: shape (BUCKETS, kinds), tenths of seconds, oldest first.
        suspects: the worst pages, worst first.
        suspected: how many pages are suspected in all.
        lost: events that could not be delivered.
        meta: the newest word of the source on each subject.
        span_ns: event clock from the first event to the newest; None before the first.
        per_second: events of the last second (of the wall's clock).
        ended: why nothing comes any more, or None while it does.
        generation: another one means that all that was before is void.
    """

    chunks: tuple[Chunk, ...] = ()
    kept: Kept = field(default_factory=Kept)
    names: Names = field(default_factory=Names)
    totals: Mapping[int, int] = field(default_factory=dict)
    rates: Counts = field(default_factory=lambda: np.zeros((BUCKETS, max(Kind) + 1), np.uint32))
    suspects: tuple[Suspect, ...] = ()
    suspected: int = 0
    lost: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)
    span_ns: int | None = None
    per_second: int = 0
    ended: str | None = None
    generation: int = 0

    @property
    def events(self) -> int:
        """Events since the beginning, the reports of losses aside."""
        return sum(count for kind, count in self.totals.items() if kind != Kind.LOST)
