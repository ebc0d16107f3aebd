"""Suspects: none in a right kernel, every refused page in a wrong one, however it is cut."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.explain.kernel import Kernel, events_of
from zaptrace.explain import suspects as module
from zaptrace.explain.suspects import Suspect, Suspects
from zaptrace.model.events import ABSENT, Events, Kind, Origin

SEEDS = st.integers(0, 2**32)


def ranked(events: Events, *, chunk: int | None = None, limit: int = 100) -> tuple[Suspect, ...]:
    found = Suspects()
    size = chunk or max(len(events.records), 1)
    for start in range(0, len(events.records), size):
        part = events.records[start : start + size]
        found.add(Events(part, events.strings if start == 0 else {}))
    return found.ranking(limit)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.booleans())
def test_a_right_kernel_has_none(seed: int, every_free: bool) -> None:
    events = Kernel(random.Random(seed), records_every_free=every_free).run(processes=20)
    assert ranked(events) == ()


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.booleans(), st.sampled_from((0.3, 1.0)))
def test_every_refused_page_is_one(seed: int, every_free: bool, share: float) -> None:
    kernel = Kernel(random.Random(seed), records_every_free=every_free)
    events = kernel.run(processes=20, buggy_share=share)
    rows = ranked(events)
    assert {row.pfn for row in rows} == {pfn for pfn, _ in kernel.refused}
    pids = {pfn: thread.pid for pfn, thread in kernel.refused}
    assert all(row.pid == pids[row.pfn] for row in rows if row.pfn is not None)
    for row in rows:
        assert "freed with mapcount 1" in row.reasons
        assert "bad_page: nonzero mapcount" in row.reasons
        # A shared page may be refused in one thread and its rmap removed in another.
        assert row.reasons[0].startswith("rmap removed ") or share < 1


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 40))
def test_increments_may_be_cut_anywhere(seed: int, chunk: int) -> None:
    events = Kernel(random.Random(seed)).run(processes=15, buggy_share=0.5)
    assert ranked(events, chunk=chunk) == ranked(events)


def removal(pfn: int, clock: int, raw: int = 0, nr: int = 1, pid: int = 41) -> dict[str, Any]:
    fields = {"kind": Kind.RMAP_REMOVE, "pfn": pfn, "clock": clock, "raw_mapcount": raw}
    return {**fields, "nr": nr, "pid": pid, "comm": b"mount"}


def refusal(pfn: int, clock: int, pid: int = 41) -> dict[str, Any]:
    fields = {"kind": Kind.BAD_PAGE, "pfn": pfn, "clock": clock, "raw_mapcount": 0}
    return {**fields, "refcount": 0, "reason": 1, "pid": pid, "comm": b"mount"}


def test_the_founding_pair() -> None:
    """FACTS: bad_page with _mapcount 0, and 3 µs later the removal of the range, _mapcount -1."""
    rows = [refusal(0xA81, 1000), refusal(0xA82, 2000), removal(0xA80, 5500, nr=3)]
    first, second = ranked(events_of(rows))
    assert (first.pfn, first.comm, first.pid, first.first_ns, first.last_ns, first.events) == (
        *(0xA81, "mount", 41, 1000, 5500, 3),
    )
    assert first.reasons == (
        "rmap removed 4.5 µs after the free",
        "freed with mapcount 1",
        "bad_page: nonzero mapcount",
    )
    assert (second.pfn, second.score) == (0xA82, first.score)
    assert second.reasons[0] == "rmap removed 3.5 µs after the free"


def test_another_task_s_removal_and_an_earlier_one_are_not_late() -> None:
    rows = [removal(7, 900), refusal(7, 1000), removal(7, 5000, pid=42), removal(6, 6000)]
    (only,) = ranked(events_of(rows))
    assert only.reasons == ("freed with mapcount 1", "bad_page: nonzero mapcount")


@pytest.mark.parametrize("chunk", [1, 2, None])
def test_a_removal_in_another_zap_is_not_late(chunk: int | None) -> None:
    """A page that leaked and that its thread then maps again is removed as it should be."""
    zap = {"kind": Kind.ZAP, "pid": 41, "addr": 0x1000, "end": 0x2000}
    others = {"kind": Kind.ZAP, "pid": 42, "addr": 0x1000, "end": 0x2000, "clock": 3000}
    rows = [zap | {"clock": 500}, refusal(7, 1000), others, refusal(8, 3500)]
    rows += [removal(8, 3600), zap | {"clock": 4000}, removal(7, 5000), removal(8, 5500)]
    eight, seven = ranked(events_of(rows), chunk=chunk)
    assert (eight.pfn, eight.events) == (8, 3)
    assert eight.reasons[0] == "rmap removed 0.1 µs after the free"
    assert (seven.pfn, len(seven.reasons)) == (7, 2)


def test_worse_stands_first() -> None:
    bad_pte = {"kind": Kind.BAD_PTE, "pfn": 5, "clock": 1, "pid": 9}
    rows = [bad_pte, removal(6, 2, raw=-1), refusal(7, 3)]
    assert [row.pfn for row in ranked(events_of(rows))] == [7, 5, 6]
    assert [row.pfn for row in ranked(events_of(rows), limit=1)] == [7]


def test_page_types_and_referenced_pages_are_none() -> None:
    free = {"kind": Kind.PAGE_FREE, "pfn": 5, "clock": 1, "refcount": 0}
    rows = [
        {**free, "raw_mapcount": -129},
        {**free, "raw_mapcount": -1},
        {**free, "raw_mapcount": 0, "refcount": 1},
        removal(5, 2, raw=-(2**31)),
    ]
    assert ranked(events_of(rows)) == ()


def test_a_stopped_cpu_s_registers_have_no_clock() -> None:
    registers = {"origin": Origin.REGISTERS, "clock": ABSENT}
    (only,) = ranked(events_of([refusal(7, 0) | registers, removal(8, 6000)]))
    assert (only.first_ns, only.last_ns, only.pfn) == (None, None, 7)


def test_a_page_without_a_pfn_is_known_by_its_struct_page() -> None:
    rows = [refusal(0, 1000) | {"pfn": ABSENT, "page": 0xFFFFEA0000000040}]
    late = removal(0, 2000, nr=2**32 - 1) | {"pfn": ABSENT, "page": 0xFFFFEA0000000040}
    (only,) = ranked(events_of([*rows, late]))
    assert (only.pfn, only.page, len(only.reasons)) == (None, 0xFFFFEA0000000040, 3)


def test_a_flood_of_wrong_pages_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PAGES", 10)
    found = Suspects()
    found.add(events_of([refusal(100 - pfn, pfn) for pfn in range(25)]))
    assert (len(found), found.unlisted) == (10, 15)
    assert {row.pfn for row in found.ranking(99)} == set(range(91, 101))  # the earliest
    assert found.ranking(3)[0].pfn == 100


def test_hostile_ranges_are_bounded() -> None:
    found = Suspects()
    found.add(events_of([refusal(pfn, 10) for pfn in range(400)]))
    wide = removal(0, 99, nr=2**32 - 1)
    far = removal(2**64 - 2, 99, nr=2**32 - 1)
    events = events_of([wide, far])
    found.add(Events(np.repeat(events.records, 5000)))
    assert len(found.ranking(1000)) == 400
