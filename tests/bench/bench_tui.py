"""Whether 100,000 events a second lose an event or hold up a key press."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
from textual.app import App, ComposeResult
from textual.events import Key
from textual.widgets import Static

from tests.bench.limits import judged
from tests.tui.scripted import founding_bug
from tui.app import ZapApp
from tui.feed.feed_thread import PERIOD
from tui.panes.events_pane import EventTable
from zaptrace.model.events import Events, Records

RATE = 100_000
SECONDS = 5.0
KEY_PERIOD = 0.05
SIZE = (120, 40)
STALLED = 0.1
"""Seconds after which a person feels that a key waits."""


class Flood:
    """RATE events a second, by the wall's clock, none left out however late it is read."""

    def __init__(self, seconds: float) -> None:
        self._template = founding_bug(400)
        records = self._template.records
        self._records = np.tile(records, RATE // len(records) + 2)
        self._seconds = seconds
        self._started: float | None = None
        self._meta = dict(self._template.meta)
        self.sent = 0

    def read(self, seconds: float) -> Events | None:
        now = time.monotonic()
        if self._started is None:
            self._started = now
        elif self.sent >= int(RATE * self._seconds):
            return None
        time.sleep(min(seconds, 0.01))
        due = int(min(time.monotonic() - self._started, self._seconds) * RATE)
        records = self._slice(due - self.sent)
        names = self._template if not self.sent else Events()
        self.sent += len(records)
        meta, self._meta = self._meta, {}
        return Events(records, names.strings, names.stacks, names.symbols, meta)

    def _slice(self, count: int) -> Records:
        """The next records, with later clocks."""
        count = min(count, RATE)
        start = self.sent % len(self._template.records)
        records = self._records[start : start + count].copy()
        records["clock"] = (self.sent + np.arange(len(records))) * (1_000_000_000 // RATE)
        return records

    def close(self) -> None:
        pass


class Number(Static, can_focus=True):
    """All that the blank app draws."""

    cursor = 0

    def on_key(self) -> None:
        self.cursor += 1
        self.update(str(self.cursor))


class Blank(App[None]):
    """What Textual itself takes for a key."""

    def compose(self) -> ComposeResult:
        yield Number()


def rows() -> Iterator[dict[str, object]]:
    """`tui_100k`: the longest key press, in ms; what was lost stands in its conditions."""
    longest, lost = asyncio.run(flood(SECONDS))
    alone = asyncio.run(blank(SECONDS))
    row: dict[str, object] = {
        "name": "tui_100k",
        "value": longest * 1000,
        "unit": "ms",
        "peer": "a blank Textual app, the same events read",
        "peer_value": alone * 1000,
        "ratio": alone / longest,
        "conditions": (
            f"longest of a key press every {KEY_PERIOD * 1000:.0f} ms, from the key to the "
            f"screen with the moved cursor, over {SECONDS:.0f} s at {RATE:,} events/s "
            f"(the founding bug among them), {SIZE[0]}x{SIZE[1]}; events lost: {lost}"
        ),
    }
    limit = f"{STALLED * 1000:.0f} ms, or the blank app's, and none lost"
    yield judged(row, limit, met=longest <= max(STALLED, alone) and not lost)


async def flood(seconds: float) -> tuple[float, int]:
    """The longest key press in seconds, and how many events did not arrive."""
    source = Flood(seconds)
    app = ZapApp(source, title="bench")
    async with app.run_test(size=SIZE):
        ends = time.monotonic() + seconds
        table = app.query_one(EventTable)
        while not len(app.latest.chunks):
            await asyncio.sleep(0.01)
        longest = 0.0
        async for number, took in _presses(app, table, ends):
            longest = max(longest, took)
            if number % 10 == 9:
                table.follow()  # a held table would have less to do
        while app.latest.ended is None and time.monotonic() < ends + 10:
            await asyncio.sleep(0.05)
        return longest, source.sent - app.latest.events


async def blank(seconds: float) -> float:
    """The longest key press of an app that draws nothing else, beside the same flood."""
    source, app = Flood(seconds), Blank()

    def read_all() -> None:
        while source.read(PERIOD) is not None:
            pass

    reader = threading.Thread(target=read_all)
    async with app.run_test(size=SIZE):
        number = app.query_one(Number)
        number.focus()
        reader.start()
        ends = time.monotonic() + seconds
        longest = max([took async for _, took in _presses(app, number, ends)])
    reader.join()
    return longest


async def _presses(
    app: App[Any], widget: EventTable | Number, ends: float
) -> AsyncIterator[tuple[int, float]]:
    """Number and seconds of each key press until then."""
    for number in itertools.count():
        yield number, await _press(app, widget, "up" if number % 2 else "down")
        if time.monotonic() > ends:
            return
        await asyncio.sleep(KEY_PERIOD)


async def _press(app: App[Any], widget: EventTable | Number, key: str) -> float:
    """Seconds from a key to the screen that shows what it did."""
    before, drawn = widget.cursor, asyncio.Event()
    started = time.monotonic()
    app.post_message(Key(key, None))
    while widget.cursor == before:
        await asyncio.sleep(0.001)
    widget.call_after_refresh(drawn.set)
    await drawn.wait()
    return time.monotonic() - started
