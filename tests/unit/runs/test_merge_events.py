"""One boot's events out of two readings of its ring buffer."""

from __future__ import annotations

from typing import Any

from tests.unit.explain.kernel import events_of
from zaptrace.model.events import ABSENT, NO_CPU, Events, Kind, Origin
from zaptrace.runs.merge_events import whole

WHO: dict[str, Any] = {"cpu": 1, "pid": 30, "page": 0x1000, "pfn": 1}


def row(clock: int, kind: Kind = Kind.RMAP_REMOVE, **other: Any) -> dict[str, Any]:
    return {**WHO, "kind": kind, "clock": clock, **other}


def stop() -> Events:
    registers = {"origin": Origin.REGISTERS, "reason": 1, "stack": 1}
    return events_of([row(ABSENT, Kind.BAD_PAGE, **registers)])


def clocks(events: Events) -> list[int]:
    return [int(clock) for clock in events.records["clock"]]


BEFORE = [row(10), row(20)]
PROBED = row(30, Kind.BAD_PAGE)


def test_who_looks_once_has_the_registers() -> None:
    found = whole(events_of(BEFORE), stop(), None)
    assert clocks(found) == [10, 20, ABSENT]


def test_the_kprobe_s_own_event_stands_for_the_registers() -> None:
    later = events_of([*BEFORE, PROBED, row(40)])
    assert clocks(whole(events_of(BEFORE), stop(), later)) == [10, 20, 30, 40]


def test_a_stop_that_no_kprobe_saw_stays() -> None:
    later = events_of([*BEFORE, row(30, Kind.BAD_PAGE, pid=31), row(40)])
    found = whole(events_of(BEFORE), stop(), later)
    assert clocks(found) == [10, 20, 30, 40, ABSENT]
    assert found.strings[int(found.records["reason"][-1])] == "nonzero mapcount"
    assert found.stacks[int(found.records["stack"][-1])]


def test_an_earlier_report_on_the_page_is_not_the_stop_s() -> None:
    before = [row(5, Kind.BAD_PAGE), *BEFORE]
    assert clocks(whole(events_of(before), stop(), events_of([*before, row(40)])))[-1] == ABSENT


def test_what_the_buffer_has_overwritten_since_was_read_before() -> None:
    gone = row(15, Kind.LOST, nr=1)
    found = whole(events_of(BEFORE), stop(), events_of([gone, row(20), PROBED, row(40)]))
    assert (clocks(found), found.lost) == ([10, 20, 30, 40], 0)


def test_a_gap_between_the_two_readings_stays_lost() -> None:
    gone = row(35, Kind.LOST, nr=7)
    found = whole(events_of(BEFORE), stop(), events_of([gone, row(35), row(40)]))
    assert (clocks(found), found.lost) == ([10, 20, 35, 35, 40, ABSENT], 7)


def test_a_process_that_has_ended_since_keeps_its_id() -> None:
    before = events_of([row(10, tgid=30, comm=b"mount"), row(20)])
    rows = [row(10, comm=b"mount"), row(20), PROBED, row(40, comm=b"other")]
    found = whole(before, stop(), events_of(rows))
    assert found.records["tgid"].tolist() == [30, -1, -1, -1]


def test_hits_that_a_kprobe_missed_are_counted_once() -> None:
    def missed(count: int) -> dict[str, Any]:
        return {"kind": Kind.LOST, "cpu": NO_CPU, "clock": 0, "nr": count}

    before, later = events_of([missed(2), *BEFORE]), events_of([missed(5), *BEFORE, PROBED])
    assert whole(before, stop(), later).lost == 5
