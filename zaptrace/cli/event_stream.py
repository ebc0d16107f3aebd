"""Pump a source dry into sinks: what every command does that shows no TUI."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np

from zaptrace.model.events import Events, Kind
from zaptrace.model.source import Source
from zaptrace.report.words import count, damage, plain

PATIENCE = 0.1  # s: how late a stop may be noticed
_BUGS = (Kind.BAD_PAGE, Kind.BAD_PTE, Kind.BAD_TABLE)

Sink = Callable[[Events], None]


@dataclass(slots=True)
class Tally:
    """What went through a pump.

    Attributes:
        events: records, those that only count lost ones left out.
        bugs: bad_page, bad_pte and bad_table records among them.
        lost: events that the source could not deliver.
        meta: what the source said of itself.
    """

    events: int = 0
    bugs: int = 0
    lost: int = 0
    meta: dict[str, Any] = field(default_factory=dict)

    def add(self, events: Events) -> None:
        """Count one increment."""
        kinds = events.records["kind"]
        self.events += int(np.count_nonzero(kinds != Kind.LOST))
        self.bugs += int(np.isin(kinds, _BUGS).sum())
        self.lost += events.lost
        self.meta |= events.meta


def pump(source: Source, sinks: Sequence[Sink], stop: Callable[[], bool]) -> Tally:
    """Read a source to its end, or until `stop` says so, and give each increment to every sink.

    What is there when it is stopped is read still.

    Raises:
        ZaptraceError: the source broke, or a sink cannot be written.
        BrokenPipeError: a sink has no reader any more.
    """
    tally = Tally()
    stopped = False
    while not stopped:
        stopped = stop()
        events = source.read(0 if stopped else PATIENCE)
        if events is None:
            break
        for sink in sinks:
            sink(events)
        tally.add(events)
    return tally


@contextlib.contextmanager
def until(seconds: float | None = None) -> Iterator[Callable[[], bool]]:
    """Give a `stop` for pump(): a signal came, or the time is up; main thread only.

    The first Ctrl-C (or SIGTERM) ends the pump between two increments, so that
    every sink is whole; a second one does what it did before.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    signalled = False
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal signalled
        signalled = True
        restore()

    for number in before:
        signal.signal(number, end)
    try:
        yield lambda: signalled or (deadline is not None and time.monotonic() >= deadline)
    finally:
        restore()


def say_what_is_missing(tally: Tally) -> None:
    """On stderr: what the source noted, and whatever did not arrive, with its number."""
    notes = [plain(note) for note in tally.meta.get("notes", ())]
    for gap in tally.meta.get("missing", ()):
        notes.append(plain(f"no {gap.get('event')} events: {gap.get('why')}"))
    if tally.lost:
        notes.append(f"LOST: {count(tally.lost, 'event')} could not be delivered")
    notes += [f"not read: {damaged}" for damaged in damage(tally.meta)]
    for note in notes:
        print(f"zaptrace: {note}", file=sys.stderr)
