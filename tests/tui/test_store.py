"""Ring, window, rates and what is kept: the feed's arithmetic, without a screen."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tui.scripted import founding_bug
from tui.feed.filtered_view import Window
from tui.feed.rates import BUCKET_NS, BUCKETS, Rates
from tui.feed.retained import Kept, keep
from tui.feed.ring import Ring
from zaptrace.explain.suspects import Suspects
from zaptrace.model import event_filter
from zaptrace.model.events import ABSENT, Events, Kind, Records, blank


def numbered(start: int, count: int) -> Records:
    records = blank(count)
    records["pid"] = np.arange(start, start + count)
    records["clock"] = np.arange(start, start + count)
    records["kind"] = Kind.ZAP
    return records


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6000), max_size=12), st.integers(1, 9000))
def test_the_ring_holds_the_newest(sizes: list[int], capacity: int) -> None:
    ring = Ring(capacity)
    sent = 0
    for size in sizes:
        ring.add(numbered(sent, size))
        sent += size
    assert ring.total == sent
    pids = [int(pid) for chunk in ring.chunks for pid in chunk.records["pid"]]
    assert len(pids) >= min(sent, capacity)
    assert pids == list(range(sent - len(pids), sent))
    assert all(chunk.first == chunk.records["pid"][0] for chunk in ring.chunks)
    assert not any(chunk.records.flags.writeable for chunk in ring.chunks)


def test_many_small_increments_make_few_chunks() -> None:
    ring = Ring()
    for start in range(3000):
        ring.add(numbered(start * 3, 3))
    assert len(ring.chunks) <= 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=8), st.integers(1, 50))
def test_a_window_is_the_filtered_ring_backwards(sizes: list[int], divisor: int) -> None:
    ring = Ring(5000)
    window = Window(lambda records: records["pid"] % divisor == 0)
    sent = 0
    for size in sizes:
        ring.add(numbered(sent, size))
        sent += size
        window.show(ring.chunks)
    held = [int(pid) for chunk in ring.chunks for pid in chunk.records["pid"]]
    expected = [pid for pid in reversed(held) if pid % divisor == 0]
    found = [window.at(row) for row in range(len(window))]
    assert [int(record["pid"][0]) for _, record in found] == expected
    assert [serial for serial, _ in found] == expected


def test_a_window_asks_each_full_chunk_once() -> None:
    asked: list[int] = []

    def predicate(records: Records) -> event_filter.Mask:
        asked.append(len(records))
        return np.ones(len(records), bool)

    ring, window = Ring(), Window(predicate)
    for start in range(0, 25_000, 5000):
        ring.add(numbered(start, 5000))
        window.show(ring.chunks)
    assert asked == [5000] * 5


def test_rates_count_by_kind_and_tenth_of_a_second() -> None:
    rates = Rates()
    records = blank(6)
    records["kind"] = [Kind.ZAP, Kind.ZAP, Kind.BAD_PAGE, Kind.ZAP, Kind.ZAP, Kind.ZAP]
    records["clock"] = np.array([50, 51, 52, 53, 50, 0], np.uint64) * np.uint64(BUCKET_NS)
    records["clock"][5] = ABSENT
    rates.add(records[:3])
    rates.add(records[3:])
    counts = rates.snapshot()
    assert [int(one) for one in counts[-4:, Kind.ZAP]] == [2, 1, 0, 1]
    assert int(counts[-2, Kind.BAD_PAGE]) == 1
    assert counts.sum() == 5


def test_rates_forget_what_is_two_minutes_old_and_survive_any_clock() -> None:
    rates = Rates()
    early, late = blank(1), blank(1)
    for record, clock in ((early, 0), (late, (BUCKETS + 5) * BUCKET_NS)):
        record["kind"], record["clock"] = Kind.ZAP, clock
    rates.add(early)
    rates.add(late)
    rates.add(early)
    assert rates.snapshot().sum() == 1
    far = blank(1)
    far["kind"], far["clock"] = 255, ABSENT - 1
    rates.add(far)
    far["kind"] = Kind.ZAP
    rates.add(far)
    assert rates.snapshot()[-1, Kind.ZAP] == 1


def test_suspected_pages_outlive_the_ring() -> None:
    events = founding_bug()
    suspects, ring, kept = Suspects(), Ring(100), Kept()
    for start in range(0, len(events.records), 20):
        part = events.records[start : start + 20]
        suspects.add(Events(part))
        ring.add(part)
        kept = keep(kept, ring.chunks, suspects)
    ring.add(numbered(0, 500))
    refused = {int(pfn) for pfn in events.of_kind(Kind.BAD_PAGE)["pfn"]}
    mine = kept.records[kept.records["kind"] == Kind.BAD_PAGE]
    assert {int(pfn) for pfn in mine["pfn"]} == refused
    assert (kept.records["kind"] == Kind.ZAP).any()
    assert (events.records[kept.serials] == kept.records).all()
    assert len(np.unique(kept.serials)) == len(kept.serials)
