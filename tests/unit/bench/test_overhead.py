"""What is said of turns under zaptrace and bpftrace, of numbers that the test made."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.bench_live import LOOP, compared

PAGES, ROUNDS, TURNS = LOOP
EVENTS = PAGES * ROUNDS


def turns(ours: float = 300.0, theirs: float = 300.0) -> dict[str, Any]:
    """Equal turns, none of which lost anything; a page takes 100 ns untraced."""
    nanoseconds = {"alone": 100.0, "zaptrace": ours, "bpftrace": theirs}
    return {
        "nanoseconds": {name: [each] * TURNS for name, each in nanoseconds.items()},
        "events": {name: [{"kept": EVENTS}] * TURNS for name in ("zaptrace", "bpftrace")},
    }


def lossy(name: str, count: int, nanoseconds: float) -> dict[str, Any]:
    """The same, but that one lost events in the last turns, and took as long then."""
    found = turns()
    less: dict[str, int] = {"kept": EVENTS, "lost": 3}
    found["events"][name] = [{"kept": EVENTS}] * (TURNS - count) + [less] * count
    found["nanoseconds"][name][-count:] = [nanoseconds] * count
    return found


def test_as_fast_as_bpftrace_is_met() -> None:
    row = compared(turns())
    assert (row["value"], row["peer_value"], row["ratio"], row["met"]) == (3, 3, 1, True)
    assert "0 left out" in row["conditions"]


def test_slower_by_more_than_the_floor_is_missed() -> None:
    assert compared(turns(ours=301.0))["met"] is False  # equal turns: the floor is 0


@pytest.mark.parametrize(("name", "met"), [("zaptrace", False), ("bpftrace", True)])
def test_a_pair_in_which_events_were_lost_is_left_out_and_counted(name: str, met: bool) -> None:
    row = compared(lossy(name, 2, nanoseconds=1.0))
    assert (row["value"], row["peer_value"], row["ratio"], row["met"]) == (3, 3, 1, met)
    assert "2 left out" in row["conditions"] and f"{name} 6" in row["conditions"]


def test_losses_in_most_turns_are_no_measurement() -> None:
    with pytest.raises(AssertionError, match="lost in most turns"):
        compared(lossy("bpftrace", TURNS // 2, nanoseconds=1.0))
