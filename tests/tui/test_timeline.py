"""A page's timeline, out of the ring and of what outlived it."""

from __future__ import annotations

from tests.unit.explain.kernel import events_of
from tui.feed.aggregate import Aggregate
from tui.feed.snapshot import Snapshot
from tui.timeline import PageName, story_of, timeline_lines
from zaptrace.model.events import ABSENT, Events, Kind

ZAP = {"kind": Kind.ZAP, "pid": 41, "comm": b"mount", "addr": 0x1000, "end": 0x4000}
REFUSED = {"kind": Kind.BAD_PAGE, "pfn": 0xA81, "raw_mapcount": 0, "refcount": 0}
REFUSAL = {**REFUSED, "reason": 1, "stack": 1, "pid": 41, "comm": b"mount"}
REMOVAL = {"kind": Kind.RMAP_REMOVE, "pfn": 0xA80, "nr": 3, "raw_mapcount": -1, "pid": 41}


def snapshot_of(*parts: Events) -> Snapshot:
    aggregate = Aggregate(lambda: 0.0)
    for part in parts:
        aggregate.add(part)
        snapshot = aggregate.snapshot(None)
    return snapshot


def lines_of(name: PageName, snapshot: Snapshot) -> list[str]:
    lines = timeline_lines(name, story_of(name, snapshot), snapshot.names)
    return ["".join(text for text, _ in line).strip() for line in lines]


def founding() -> Events:
    other = {**ZAP, "pid": 7, "comm": b"init", "clock": 1500}
    rows = [{**ZAP, "clock": 500}, {**ZAP, "clock": 1000}, other]
    return events_of([*rows, {**REFUSAL, "clock": 2000}, {**REMOVAL, "clock": 5500}])


def test_the_founding_story() -> None:
    lines = lines_of(PageName(0xA81), snapshot_of(founding()))
    heads = [line for line in lines if line.startswith("0.0")]
    assert [line.split()[0] for line in heads] == ["0.000001", "0.000002", "0.000005"]
    assert "3 PTEs from 0x1000" in heads[0] and "mount/41" in heads[0]
    assert "+1.0 µs" in heads[1] and "+3.5 µs" in heads[2] and "0xa80+3" in heads[2]
    for said in (
        "mapcount 1, refcount 0",
        "✖ freed while still mapped",
        "nonzero mapcount",
        "called from 0x23a898",
        "✖ too late: +3.5 µs after the page was freed",
        "one of 3 pages from 0xa80+3; the first: mapcount 0",
    ):
        assert said in lines


def test_a_right_page_s_counters_before_and_after() -> None:
    removal = {**REMOVAL, "pfn": 5, "nr": 1, "raw_mapcount": 1, "refcount": 2, "clock": 9}
    assert lines_of(PageName(5), snapshot_of(events_of([removal])))[1:] == [
        "mapcount 2 before, 1 after, refcount 2"
    ]


def test_what_left_the_ring_is_still_reported_once() -> None:
    noise = events_of([{**ZAP, "pid": 9, "clock": 10_000 + at} for at in range(100)])
    flood = [Events(noise.records.repeat(300))] * 3
    before = snapshot_of(founding())
    after = snapshot_of(founding(), *flood)
    assert after.chunks[0].first > 0
    assert lines_of(PageName(0xA81), after) == lines_of(PageName(0xA81), before)


def test_a_page_that_only_has_an_address() -> None:
    rows = [{**REFUSAL, "pfn": ABSENT, "page": 0x40, "clock": 5}, {**REFUSAL, "clock": 6}]
    assert len(story_of(PageName(None, 0x40), snapshot_of(events_of(rows)))) == 1


def test_an_unknown_page_has_no_story() -> None:
    assert lines_of(PageName(0x123456), snapshot_of(founding())) == []
