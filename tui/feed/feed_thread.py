"""The feed: a thread that reads the source, adds up, and posts snapshots."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from tui.feed.aggregate import Aggregate
from tui.feed.playback import Clocked
from tui.feed.snapshot import Snapshot
from zaptrace.model.errors import ZaptraceError
from zaptrace.model.events import Events
from zaptrace.model.source import Source

PERIOD = 0.1
"""Seconds between snapshots, at least."""
_MOST_WAITING = 50_000  # records; more are added up before the period is over
_PATIENCE = 10.0  # seconds; how long a source may take to close: to detach takes a guest some


class Feed:
    """Reads a source until it ends or is stopped, and closes it.

    The source is touched by this thread only.

    Args:
        post: takes a snapshot; called from the thread.
        broken: takes an exception that is a bug of ours; called from the thread.
        now: the wall's clock, seconds.
    """

    def __init__(
        self,
        source: Source,
        post: Callable[[Snapshot], object],
        broken: Callable[[BaseException], object],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._post = post
        self._broken = broken
        self._stopped = threading.Event()
        self._aggregate = Aggregate(now)
        self._thread = threading.Thread(target=self._run, name="zaptrace feed", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End; the source is closed when this returns, unless it hangs."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def _run(self) -> None:
        try:
            self._read_all()
        except Exception as error:  # noqa: BLE001 - the app raises it in its own thread
            self._broken(error)
        finally:
            self._source.close()

    def _read_all(self) -> None:
        due = 0.0
        while not self._stopped.is_set():
            left = max(due - time.monotonic(), 0.0)
            try:
                events = self._source.read(min(left, PERIOD) or PERIOD)
            except ZaptraceError as error:
                self._post(self._aggregate.snapshot(f"the source broke: {error}"))
                return
            if events is None:
                self._post(self._aggregate.snapshot("the source has ended"))
                if not isinstance(self._source, Clocked):
                    return
                self._stopped.wait(PERIOD)  # a seek may bring it back
                continue
            self._aggregate.add(events)
            self._pace(events, due)
            if time.monotonic() >= due:
                self._post(self._aggregate.snapshot(None))
                due = time.monotonic() + PERIOD
        # Nobody looks any more; but a source may write down what it gives away.
        with contextlib.suppress(ZaptraceError):
            self._source.read(0)

    def _pace(self, events: Events, due: float) -> None:
        """Add up early when much waits; leave others room when nothing does."""
        if self._aggregate.waiting > _MOST_WAITING:
            self._aggregate.digest()
        elif not len(events.records) and time.monotonic() < due:
            # A source that does not wait (a paused clock) must not spin.
            self._stopped.wait(0.005)
