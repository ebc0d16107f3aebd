"""Replay: the clock of a recorded stream, with a clock of ours."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaptrace.capture.replay import NS, Replay
from zaptrace.model.events import ABSENT, Events, Kind, blank

START = 5 * NS  # nothing may depend on the clock's beginning


class Clock:
    """Seconds; stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def events(*clocks: int, absent: int = 0) -> Events:
    """Events at ns after START, numbered by `addr`; then some without a clock."""
    made = blank(len(clocks) + absent)
    made["kind"] = Kind.ZAP
    made["clock"][: len(clocks)] = np.array(clocks, np.uint64) + np.uint64(START)
    made["addr"] = range(len(made))
    return Events(made, {1: "why"}, {1: (2,)}, {2: "f+0x1"}, {"arch": "s390x"})


SECONDS = (0, NS, NS, 2 * NS, 3 * NS)


def player(*clocks: int, absent: int = 0, speed: float = 1.0) -> tuple[Replay, Clock]:
    clock = Clock()
    return Replay(events(*(clocks or SECONDS), absent=absent), speed, clock), clock


def addrs(replay: Replay, seconds: float = 0) -> list[int]:
    came = replay.read(seconds)
    assert came is not None
    return [int(addr) for addr in came.records["addr"]]


def test_the_first_increment_says_everything_and_later_ones_only_what_is_new() -> None:
    replay, clock = player()
    first = replay.read(0)
    assert first is not None
    assert len(first.records) == 1
    assert (first.strings, first.stacks, first.symbols) == ({1: "why"}, {1: (2,)}, {2: "f+0x1"})
    assert first.meta == {"arch": "s390x", "generation": 0}
    clock.now += 1
    second = replay.read(0)
    assert second is not None
    assert (second.strings, second.meta) == ({}, {})


def test_events_come_when_their_time_has_come() -> None:
    replay, clock = player(absent=2)
    assert addrs(replay) == [0]
    clock.now += 0.999
    assert addrs(replay) == []
    clock.now += 0.001
    assert addrs(replay) == [1, 2]
    assert replay.position == NS
    clock.now += 1
    assert (addrs(replay), replay.ended) == ([3], False)
    clock.now += 1
    # Those without a clock stand at the end.
    assert (addrs(replay), replay.ended) == ([4, 5, 6], True)
    assert replay.position == replay.duration == 3 * NS
    assert addrs(replay) == []  # not None: one may go back


def test_speed() -> None:
    replay, clock = player(speed=2)
    addrs(replay)
    clock.now += 0.5
    assert addrs(replay) == [1, 2]
    replay.speed = 0.5
    assert replay.position == NS
    clock.now += 1
    assert addrs(replay) == []
    clock.now += 1
    assert addrs(replay) == [3]


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_an_invalid_speed_is_refused(speed: float) -> None:
    replay, _ = player()
    with pytest.raises(ValueError, match="speed"):
        replay.speed = speed
    assert replay.speed == 1


def test_pause_and_resume() -> None:
    replay, clock = player()
    addrs(replay)
    clock.now += 0.5
    replay.pause()
    clock.now += 50
    assert (replay.paused, replay.position, addrs(replay)) == (True, NS // 2, [])
    replay.resume()
    clock.now += 0.5
    assert addrs(replay) == [1, 2]


def test_what_was_due_before_the_pause_still_comes() -> None:
    replay, clock = player()
    clock.now += 1
    replay.pause()
    assert addrs(replay) == [0, 1, 2]


def test_a_step_is_one_event_even_where_two_have_one_time() -> None:
    replay, clock = player()
    addrs(replay)
    replay.step()
    assert addrs(replay) == [1]
    assert (replay.paused, replay.position) == (True, NS)
    replay.step()
    assert addrs(replay) == [2]
    replay.step(9)
    assert addrs(replay) == [3, 4]
    assert replay.ended
    clock.now += 5
    replay.step(-2)
    assert (replay.generation, replay.position, addrs(replay)) == (1, NS, [0, 1, 2])
    replay.step(-9)
    assert (replay.generation, replay.position, addrs(replay)) == (2, 0, [])


def test_a_seek_forward_gives_what_lies_between_at_once() -> None:
    replay, clock = player()
    addrs(replay)
    replay.seek(2 * NS)
    assert (addrs(replay), replay.generation) == ([1, 2, 3], 0)
    clock.now += 1
    assert addrs(replay) == [4]


def test_a_seek_back_starts_anew() -> None:
    replay, clock = player()
    clock.now += 3
    assert (len(addrs(replay)), replay.ended) == (5, True)
    replay.seek(NS)
    assert (replay.position, replay.ended) == (NS, False)
    came = replay.read(0)
    assert came is not None
    assert len(came.records) == 3
    assert came.meta == {"arch": "s390x", "generation": 1}
    assert came.strings == {1: "why"}
    clock.now += 1
    assert addrs(replay) == [3]


def test_a_seek_goes_no_further_than_the_ends() -> None:
    replay, _ = player(absent=1)
    replay.pause()
    replay.seek(10**30)
    assert (replay.position, addrs(replay)) == (3 * NS, [0, 1, 2, 3, 4, 5])
    replay.seek(-5)
    assert (replay.position, addrs(replay)) == (0, [0])


def test_idle_gaps_are_skipped() -> None:
    hour = 3600 * NS
    replay, clock = player(0, hour, hour + NS)
    addrs(replay)
    clock.now += 1.9
    assert addrs(replay) == []
    clock.now += 0.1
    assert (replay.position, addrs(replay)) == (hour, [1])
    clock.now += 1
    assert addrs(replay) == [2]
    replay.seek(1800 * NS)  # into the gap: on to its end
    assert addrs(replay) == [0, 1]
    patient = Replay(events(0, hour), clock=clock, skip_idle=None)
    addrs(patient)
    clock.now += 3599
    assert addrs(patient) == []


def test_clocks_out_of_order_are_put_in_order() -> None:
    replay, clock = player(2 * NS, 0, NS)
    clock.now += 2
    assert addrs(replay) == [1, 2, 0]


@pytest.mark.parametrize("absent", [0, 3])
def test_nothing_with_a_clock(absent: int) -> None:
    clock = Clock()
    replay = Replay(events(absent=absent), clock=clock)
    assert addrs(replay) == list(range(absent))
    assert replay.ended
    replay.step(-1)
    replay.seek(7)
    replay.resume()
    clock.now += 1
    assert len(addrs(replay)) in (0, absent)
    assert replay.position == replay.duration == 0


def test_hostile_clocks_do_no_harm() -> None:
    made = events(0, 1, 2)
    made.records["clock"] = (0, ABSENT - 2, ABSENT - 1)
    clock = Clock()
    replay = Replay(made, speed=1e12, clock=clock, skip_idle=None)
    replay.seek(replay.duration - 1)
    assert addrs(replay) == [0, 1]
    clock.now += 1e9
    assert addrs(replay) == [2]


def test_an_increment_cannot_change_the_recording() -> None:
    replay, _ = player()
    came = replay.read(0)
    assert came is not None
    with pytest.raises(ValueError, match="read-only"):
        came.records["addr"] = 1


def test_a_reader_that_waits_is_woken_by_the_controls() -> None:
    replay = Replay(events(*SECONDS))
    addrs(replay)
    replay.pause()
    threading.Timer(0.05, replay.seek, [3 * NS]).start()
    assert addrs(replay, 1000) == [1, 2, 3, 4]
    threading.Timer(0.05, replay.close).start()
    assert replay.read(1000) is None
    replay.close()


def test_a_reader_waits_for_the_next_event() -> None:
    replay = Replay(events(0, NS // 20))
    started = time.monotonic()
    assert addrs(replay, 30) == [0]
    assert addrs(replay, 30) == [1]
    assert time.monotonic() - started > 0.04


moves = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 3)),
    st.tuples(st.just("seek"), st.integers(-NS, 6 * NS)),
    st.tuples(st.just("step"), st.integers(-3, 3)),
    st.tuples(st.sampled_from(["pause", "resume", "read"]), st.none()),
    st.tuples(st.just("speed"), st.floats(0.01, 100)),
)


@given(
    st.lists(st.integers(0, 5 * NS), max_size=8), st.integers(0, 2), st.lists(moves, max_size=12)
)
def test_whatever_is_pressed_a_view_holds_each_event_up_to_the_position_once(
    clocks: list[int], absent: int, presses: list[tuple[str, float | int | None]]
) -> None:
    clock = Clock()
    replay = Replay(events(*sorted(clocks), absent=absent), clock=clock)
    view: list[int] = []
    generation = 0
    for name, value in [*presses, ("read", None)]:
        before = replay.position
        if name == "wait":
            clock.now += float(value or 0)
        elif name == "speed":
            replay.speed = float(value or 1)
        elif name == "read":
            came = replay.read(0)
            assert came is not None
            if "generation" in came.meta:
                view, generation = [], came.meta["generation"]
            view += came.records["addr"].tolist()
            assert generation == replay.generation
            assert view == list(range(len(view)))
            times = np.sort(np.array(clocks, np.int64))
            passed = times - times[:1] if len(times) else times
            assert all(int(passed[one]) <= replay.position for one in view if one < len(clocks))
            if not replay.paused:
                assert len(view) >= np.count_nonzero(passed <= replay.position)
        elif value is None:
            getattr(replay, name)()
        else:
            getattr(replay, name)(value)
        assert 0 <= replay.position <= replay.duration
        if name not in ("seek", "step"):  # a slower clock may find itself in a gap to skip
            assert replay.position >= before
