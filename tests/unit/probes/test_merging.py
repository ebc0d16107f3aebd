"""Records of many CPUs, read in turns, as one stream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probes.merging import Merger
from zaptrace.model.events import ABSENT, Kind, Records, blank
from zaptrace.model.plan import ProbeArg, ProbePlan, ProbeSite

PLAN = ProbePlan(
    "00",
    "s390x",
    None,
    (
        ProbeSite(
            *("zap", "unmap_page_range", 8, None, True, None),
            {"vma": ProbeArg("%r3", at_entry=True), "end": ProbeArg("%r5")},
        ),
        ProbeSite(
            *("zap_enter", "unmap_page_range", 0, None, False, None),
            {"vma": ProbeArg("%r3"), "end": ProbeArg("%r5")},
        ),
    ),
)


def event(clock: int, kind: Kind = Kind.RMAP_REMOVE, pid: int = 1, vma: int = ABSENT) -> Records:
    record = blank(1)
    record["clock"], record["kind"], record["pid"], record["vma"] = clock, kind, pid, vma
    return record


def test_what_may_still_be_overtaken_is_held_back() -> None:
    merger = Merger(PLAN)
    assert merger.add(event(30), 20)["clock"].tolist() == []
    assert merger.add(event(10), 30)["clock"].tolist() == [10, 30]
    assert merger.add(event(50), 40)["clock"].tolist() == []
    assert merger.rest()["clock"].tolist() == [50]
    assert merger.rest()["clock"].tolist() == []


def test_a_zap_gets_what_its_thread_said_at_entry_long_ago() -> None:
    merger = Merger(PLAN)
    merger.add(event(1, Kind.ZAP_ENTER, 7, vma=77), 10)
    merger.add(event(2, Kind.ZAP_ENTER, 8, vma=88), 10)
    for clock in (20, 30):
        (zap,) = merger.add(event(clock, Kind.ZAP, 7), 100)
        assert (zap["clock"], zap["vma"]) == (clock, 77)
    merger.add(event(40, Kind.ZAP_ENTER, 7, vma=78), 100)
    assert merger.add(event(50, Kind.ZAP, 7), 100)["vma"].tolist() == [78]
    assert merger.add(event(60, Kind.ZAP, 8), 100)["vma"].tolist() == [88]
    assert merger.add(event(70, Kind.ZAP, 9), 100)["vma"].tolist() == [ABSENT]


@given(st.lists(st.tuples(st.lists(st.integers(0, 100), max_size=4), st.integers(0, 100))))
def test_every_record_comes_once_and_increments_are_in_order(
    turns: list[tuple[list[int], int]],
) -> None:
    merger = Merger(PLAN)
    told: list[int] = []
    for clocks, horizon in turns:
        for clock in clocks:
            more = merger.add(event(clock), horizon)["clock"].tolist()
            assert more == sorted(more) and all(one <= horizon for one in more)
            told += more
    told += merger.rest()["clock"].tolist()
    assert sorted(told) == sorted(clock for clocks, _ in turns for clock in clocks)
