"""The feed: in order, on one thread, to the end, and never silent about a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from tests.tui.driving import PATIENCE
from tests.tui.scripted import Script, Tape, founding_bug, lost
from tui.feed.feed_thread import PERIOD, Feed
from tui.feed.snapshot import Snapshot
from zaptrace.model.errors import BadInput
from zaptrace.model.events import Events, Kind
from zaptrace.model.source import Source


class Listener:
    """Notes the snapshots and when they came."""

    def __init__(self) -> None:
        self.shots: list[Snapshot] = []
        self.times: list[float] = []
        self.errors: list[BaseException] = []

    def post(self, shot: Snapshot) -> None:
        self.shots.append(shot)
        self.times.append(time.monotonic())

    def feed(self, source: Source) -> Feed:
        feed = Feed(source, self.post, self.errors.append)
        feed.start()
        return feed


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def increments(events: Events, size: int) -> list[Events]:
    first = Events(events.records[:size], events.strings, events.stacks, events.symbols)
    first.meta = events.meta
    rest = range(size, len(events.records), size)
    return [first, *(Events(events.records[at : at + size]) for at in rest)]


def test_every_event_arrives_once_and_in_order() -> None:
    events, listener = founding_bug(), Listener()
    source = Script(increments(events, 7), ends=True)
    feed = listener.feed(source)
    until(lambda: source.closed > 0)
    feed.stop()
    last = listener.shots[-1]
    assert last.ended == "the source has ended"
    assert (np.concatenate([chunk.records for chunk in last.chunks]) == events.records).all()
    kinds, counts = np.unique(events.records["kind"], return_counts=True)
    assert last.totals == dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    assert last.suspected == len(np.unique(events.of_kind(Kind.BAD_PAGE)["pfn"]))
    assert last.names.string(1) == "nonzero mapcount"
    totals = [shot.events for shot in listener.shots]
    assert totals == sorted(totals)
    assert source.closed == 1 and not listener.errors


def test_one_thread_reads_and_it_is_not_ours() -> None:
    listener, source = Listener(), Script([founding_bug()])
    feed = listener.feed(source)
    until(lambda: len(listener.shots) > 1)
    feed.stop()
    assert len(source.readers) == 1 and threading.get_ident() not in source.readers
    assert source.closed == 1


def test_at_most_ten_pictures_a_second() -> None:
    listener = Listener()
    feed = listener.feed(Script([lost(1) for _ in range(20_000)]))
    until(lambda: len(listener.times) >= 4)
    feed.stop()
    # What stop() posts at last keeps no distance.
    assert np.diff(listener.times[:4]).min() >= PERIOD * 0.9


def test_a_snapshot_stays_what_it_was() -> None:
    listener, source = Listener(), Script([founding_bug()])
    feed = listener.feed(source)
    until(lambda: bool(listener.shots))
    first = listener.shots[0]
    before = (
        first.events,
        len(first.chunks[0].records),
        first.rates.sum(),
        len(first.kept.serials),
    )
    source.say(founding_bug())
    until(lambda: listener.shots[-1].events > first.events)
    feed.stop()
    after = (first.events, len(first.chunks[0].records), first.rates.sum(), len(first.kept.serials))
    assert after == before


def test_what_was_lost_is_counted_and_is_no_event() -> None:
    listener = Listener()
    source = Script([lost(5), lost(7)], ends=True)
    listener.feed(source)
    until(lambda: source.closed > 0)
    assert (listener.shots[-1].lost, listener.shots[-1].events) == (12, 0)


def test_a_source_that_breaks_keeps_what_it_said() -> None:
    listener = Listener()
    source = Script([founding_bug()], error=BadInput("the stream was cut"))
    listener.feed(source)
    until(lambda: source.closed > 0)
    last = listener.shots[-1]
    assert last.ended == "the source broke: the stream was cut"
    assert last.events == len(founding_bug().records)


def test_a_bug_of_ours_is_reported() -> None:
    class Wrong(Script):
        def read(self, seconds: float) -> Events | None:
            raise RuntimeError("not the user's fault")

    listener, source = Listener(), Wrong([])
    listener.feed(source)
    until(lambda: bool(listener.errors) and source.closed > 0)
    assert isinstance(listener.errors[0], RuntimeError)


def test_another_generation_begins_anew() -> None:
    first, second = founding_bug(), lost(3)
    second.meta = {"generation": 1}
    listener = Listener()
    source = Script([first, second], ends=True)
    listener.feed(source)
    until(lambda: source.closed > 0)
    last = listener.shots[-1]
    assert (last.generation, last.events, last.lost, last.suspects) == (1, 0, 3, ())
    assert last.meta["arch"] == "s390x"  # the kernel is the same


def test_a_tape_at_its_end_can_be_wound_back() -> None:
    class Short(Tape):
        def read(self, seconds: float) -> Events | None:
            return super().read(seconds) if self._increments else None

    listener, source = Listener(), Short([lost(1)])
    feed = listener.feed(source)
    until(lambda: bool(listener.shots) and listener.shots[-1].ended is not None)
    source.say(lost(2))
    until(lambda: listener.shots[-1].lost == 3)
    feed.stop()
    assert source.closed == 1


def test_the_last_read_asks_for_all_there_is() -> None:
    class Asked(Script):
        seconds = -1.0

        def read(self, seconds: float) -> Events | None:
            self.seconds = seconds
            return super().read(seconds)

    listener, source = Listener(), Asked([founding_bug()])
    feed = listener.feed(source)
    until(lambda: bool(listener.shots))
    assert source.seconds > 0
    feed.stop()
    assert (source.seconds, source.closed) == (0, 1)
