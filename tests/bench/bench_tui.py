"""Whether 100,000 events a second lose an event or hold up a key press."""

from __future__ import annotations

import asyncio
import itertools
import time

import numpy as np
from textual.events import Key

from tests.tui.scripted import founding_bug
from tui.app import ZapApp
from tui.panes.events_pane import EventTable
from zaptrace.model.events import Events, Records

RATE = 100_000
SECONDS = 5.0
KEY_PERIOD = 0.05
SIZE = (120, 40)


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


def rows() -> list[dict[str, object]]:
    """`tui_100k`: the longest key press, in ms; what was lost stands in its conditions."""
    longest, lost = asyncio.run(flood(SECONDS))
    return [
        {
            "name": "tui_100k",
            "value": longest * 1000,
            "unit": "ms",
            "conditions": (
                f"longest of a key press every {KEY_PERIOD * 1000:.0f} ms, from the key to the "
                f"screen with the moved cursor, over {SECONDS:.0f} s at {RATE:,} events/s "
                f"(the founding bug among them), {SIZE[0]}x{SIZE[1]}; events lost: {lost}"
            ),
        }
    ]


async def flood(seconds: float) -> tuple[float, int]:
    """The longest key press in seconds, and how many events did not arrive."""
    source = Flood(seconds)
    app = ZapApp(source, title="bench")
    longest = 0.0
    async with app.run_test(size=SIZE):
        ends = time.monotonic() + seconds
        table = app.query_one(EventTable)
        while not len(app.latest.chunks):
            await asyncio.sleep(0.01)
        for number in itertools.count():
            longest = max(longest, await _press(app, table, "up" if number % 2 else "down"))
            if number % 10 == 9:
                table.follow()  # a held table would have less to do
            if time.monotonic() > ends:
                break
            await asyncio.sleep(KEY_PERIOD)
        while app.latest.ended is None and time.monotonic() < ends + 10:
            await asyncio.sleep(0.05)
        return longest, source.sent - app.latest.events


async def _press(app: ZapApp, table: EventTable, key: str) -> float:
    """Seconds from a key to the screen that shows what it did."""
    before, drawn = table.cursor, asyncio.Event()
    started = time.monotonic()
    app.post_message(Key(key, None))
    while table.cursor == before:
        await asyncio.sleep(0.001)
    table.call_after_refresh(drawn.set)
    await drawn.wait()
    return time.monotonic() - started
