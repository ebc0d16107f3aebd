"""A capture played again: a source with a clock that stops, steps, seeks and changes speed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from zaptrace.model.events import ABSENT, Events

NS = 1_000_000_000
SKIP_IDLE = 2.0
_TICK = 0.02  # s: what is due within it comes in one increment
_LONG = 3600.0  # s

Times = npt.NDArray[np.uint64]


class Replay:
    """Implements model.source.Source over recorded events, and the controls of a player.

    Positions are ns of the event clock since the first event.  Events without a
    clock (Origin.REGISTERS) come at the end.  `read` belongs to one thread; the
    controls may be used from any.  At the end it waits for a seek: only after
    `close()` does the stream end.

    Going back starts the stream anew: `generation` goes up, and the next
    increment holds everything from the first event to the new position, with
    `meta["generation"]`, for views to forget what they had.  The first
    increment is generation 0.

    Args:
        events: not changed, and not to be changed any more.
        speed: event seconds a second.
        clock: s; what the replay goes by.
        skip_idle: where nothing happens for longer than this (s at the chosen
            speed), the rest of the gap is skipped; None plays every gap.
    """

    def __init__(
        self,
        events: Events,
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        skip_idle: float | None = SKIP_IDLE,
    ) -> None:
        clocks = events.records["clock"]
        self._events = events
        self._records = events.records[np.argsort(clocks, kind="stable")]  # ABSENT is largest
        self._records.flags.writeable = False  # increments are views of it
        timed = int(np.count_nonzero(clocks != ABSENT))
        self._times: Times = self._records["clock"][:timed] - self._records["clock"][:1]
        self._clock = clock
        self._skip_idle = skip_idle
        self._changed = threading.Condition()
        self._generation = 0
        self._sent = 0  # records that were read
        self._target = 0  # records that are due; less than `_sent` after going back
        self._fresh = True  # the next increment is the first of its generation
        self._paused = False
        self._closed = False
        with self._changed:
            self._set_speed(speed, position=0)

    @property
    def duration(self) -> int:
        """Ns from the first event to the last."""
        return int(self._times[-1]) if len(self._times) else 0

    @property
    def generation(self) -> int:
        """How often the replay has gone back."""
        return self._generation

    @property
    def paused(self) -> bool:
        """Whether the clock stands."""
        return self._paused

    @property
    def ended(self) -> bool:
        """Whether everything was read."""
        with self._changed:
            return not self._fresh and self._sent == self._target == len(self._records)

    @property
    def position(self) -> int:
        """Ns since the first event, now."""
        with self._changed:
            return self._now()

    @property
    def speed(self) -> float:
        """Event seconds a second; may be set at any time, above 0."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        with self._changed:
            self._set_speed(speed, self._now())

    def pause(self) -> None:
        """Let the clock stand."""
        with self._changed:
            self._advance()
            self._move(self._now(), self._target)
            self._paused = True

    def resume(self) -> None:
        """Resume the clock."""
        with self._changed:
            self._move(self._now(), self._target)
            self._paused = False

    def step(self, n: int = 1) -> None:
        """Pause, and step by exactly `n` events (back when negative)."""
        with self._changed:
            self._advance()
            self._paused = True
            target = min(max(self._target + n, 0), len(self._records))
            if target < self._target:
                self._restart()
            self._move(self._time_of(target - 1) if target else 0, target)

    def seek(self, ns: int) -> None:
        """Seek to a position, or the nearest one; continue from there unless paused."""
        with self._changed:
            position = min(max(ns, 0), self.duration)
            if position < self._now():
                self._restart()
            self._move(position, self._due(position))

    def read(self, seconds: float) -> Events | None:
        """Return what became due since the last call; waits up to `seconds` while there is
        nothing."""
        deadline = time.monotonic() + seconds
        with self._changed:
            if not self._pending():
                self._changed.wait(min(seconds, _TICK))
            while not self._closed:
                self._advance()
                left = deadline - time.monotonic()
                if self._pending():
                    return self._increment()
                if left <= 0:
                    return Events()
                self._changed.wait(min(left, max(self._until_next(), _TICK)))
        return None

    def close(self) -> None:
        """End the stream; may be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _pending(self) -> bool:
        return self._fresh or self._closed or self._target > self._sent

    def _increment(self) -> Events:
        events = Events(self._records[self._sent : self._target])
        self._sent = self._target
        if self._fresh:
            self._fresh = False
            whole = self._events
            events.strings, events.stacks = dict(whole.strings), dict(whole.stacks)
            events.symbols = dict(whole.symbols)
            events.meta = {**whole.meta, "generation": self._generation}
        return events

    def _restart(self) -> None:
        self._generation += 1
        self._sent = self._target = 0
        self._fresh = True

    def _move(self, position: int, target: int) -> None:
        """Be there now, with so many records due."""
        self._position, self._target = position, target
        self._anchor, self._anchor_played = self._clock(), self._played_at(position)
        self._changed.notify_all()

    def _advance(self) -> None:
        """Let become due what the clock has passed."""
        if not self._paused:
            self._target = max(self._target, self._due(self._now()))

    def _due(self, position: int) -> int:
        """Return how many records there are up to a position, its own among them."""
        if position >= self.duration:
            return len(self._records)
        return int(np.searchsorted(self._times, np.uint64(position), "right"))

    def _time_of(self, index: int) -> int:
        return int(self._times[index]) if index < len(self._times) else self.duration

    # Playing time is the event clock without what is skipped of its gaps:
    # `_played[i]` of event i, ns since the first one at the present speed.

    def _set_speed(self, speed: float, position: int) -> None:
        if not (speed > 0 and math.isfinite(speed)):
            raise ValueError(f"a replay cannot have the speed {speed}")
        self._speed = speed
        gaps = np.diff(self._times, prepend=self._times[:1])
        if self._skip_idle is not None:
            gaps = np.minimum(gaps, np.uint64(min(self._skip_idle * speed * NS, 2**62)))
        self._played: Times = np.cumsum(gaps, dtype=np.uint64)
        self._move(position, self._target)

    def _now(self) -> int:
        if self._paused or not len(self._times):
            return self._position
        played = self._playing()
        index = int(np.searchsorted(self._played, np.uint64(played), "right")) - 1
        return min(self.duration, int(self._times[index]) + played - int(self._played[index]))

    def _playing(self) -> int:
        """Playing time, now."""
        since = self._anchor_played + int((self._clock() - self._anchor) * self._speed * NS)
        return min(since, int(self._played[-1]))

    def _played_at(self, position: int) -> int:
        if not len(self._times):
            return 0
        index = int(np.searchsorted(self._times, np.uint64(position), "right")) - 1
        played = int(self._played[index]) + position - int(self._times[index])
        return min(played, int(self._played[min(index + 1, len(self._played) - 1)]))

    def _until_next(self) -> float:
        """Seconds until the next event is due."""
        if self._paused or self._target >= len(self._times):
            return _LONG
        return (int(self._played[self._target]) - self._playing()) / NS / self._speed
