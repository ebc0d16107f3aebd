"""One run a rule: what it must see, and what must keep it from speaking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.explain.audits import audit, resolve
from tests.unit.explain.builders import (
    AGAIN,
    ELSEWHERE,
    LEAKED,
    TWICE,
    UNSEEN,
    copied,
    in_gather,
    in_zap,
    second_look,
)
from tests.unit.explain.checked import explain
from tests.unit.explain.kernel import (
    RETURN_INTO_FREE,
    RETURN_INTO_WP,
    RETURN_INTO_ZAP,
    ZAP_SITE,
    events_of,
)
from tests.unit.explain.rows import (
    AT_THE_STOP,
    MINE,
    MM,
    OTHER,
    PFN,
    busy,
    finding,
    freed,
    of_page,
    refused,
    removed,
    told,
    zap,
)
from zaptrace.explain import Evidence
from zaptrace.model.events import Kind
from zaptrace.model.findings import FindingClass
from zaptrace.model.verdict import CodeSite, VerdictKind


def test_the_founding_bug_in_a_whole_run() -> None:
    verdict = told([zap(1000), freed(3000), refused(4000), removed(6500, raw=-1)], resolve=resolve)
    assert verdict.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    assert (verdict.pfn, verdict.comm, verdict.pid) == (PFN, "init", 30)
    assert [step.time_ns for step in verdict.order] == [1000, 3000, 4000, 6500]
    assert "3.5 µs after it was freed: too late; bad_page() has reset" in verdict.order[-1].what
    assert "The removal, at mm/memory.c:1456, came 3.5 µs after the free." in verdict.summary
    assert [site.role for site in verdict.sites] == ["freed", "rmap_removed", "reported"]
    assert verdict.sites[0].source == "include/asm-generic/tlb.h:460"


def test_at_the_stop_a_late_removal_and_none_look_alike() -> None:
    proof = finding(FindingClass.REFCOUNT_BELOW_MAPCOUNT, 0, 1, 0)
    verdict = told(AT_THE_STOP, "bad_page", audit=busy(proof, MM), resolve=resolve)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert verdict.proof == (proof,)
    assert any("comes late" in doubt and "or never" in doubt for doubt in verdict.doubts)


def test_the_second_dump_distinguishes_them() -> None:
    proof = finding(FindingClass.REFCOUNT_BELOW_MAPCOUNT, 0, 1, 0)
    cut = [zap(1000), freed(3000), refused(4000)]
    known: dict[str, Any] = {"audit": busy(proof, MM), "resolve": resolve}
    late = explain(Evidence(second_look([*cut, removed(6500, raw=-1)]), ended="bad_page", **known))
    assert late.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    assert [step.evidence for step in late.order] == ["event"] * 4
    assert late.evidence == ("capture",)
    never = explain(Evidence(second_look([ELSEWHERE, *cut]), ended="bad_page", **known))
    assert never.kind is VerdictKind.MAPPING_LEAKED
    assert never.evidence == ("capture", "vmcore")
    assert never.order[-1].what == "the page's rmap is never removed"


def test_the_plan_in_the_capture_names_the_zap() -> None:
    events = events_of(AT_THE_STOP)
    events.meta["sites"] = [
        {"event": "bad_page", "address": 1},
        {
            "event": "zap",
            "address": ZAP_SITE,
            "symbol": "unmap_page_range",
            "offset": 802,
            "source": "mm/memory.c:1653",
            "function": "zap_pte_range",
        },
    ]
    verdict = explain(Evidence(events, ended="bad_page"))
    (site,) = (site for site in verdict.sites if site.role == "pte_cleared")
    assert (site.symbol, site.offset, site.source) == ("unmap_page_range", 802, "mm/memory.c:1653")
    assert site.inline_chain == ("zap_pte_range at mm/memory.c:1653",)


@pytest.mark.parametrize("meta", [{"sites": "x"}, {"sites": [1, None, {}]}, {"sites": {}}])
def test_a_capture_s_plan_is_hostile(meta: dict[str, Any]) -> None:
    events = events_of(AT_THE_STOP)
    events.meta.update(meta)
    assert explain(Evidence(events, ended="bad_page")).kind is VerdictKind.UNEXPLAINED


def test_the_stop_alone_proves_nothing() -> None:
    """No count of PTEs, no source line: another task may have freed it."""
    verdict = told(AT_THE_STOP, "bad_page")
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert (verdict.pfn, verdict.pid) == (PFN, 30)
    assert any("zaptrace inspect" in doubt for doubt in verdict.doubts)


def test_a_pte_that_still_maps_the_page_is_an_overput() -> None:
    proof = finding(FindingClass.MAPPED_BUT_FREE, 1, 1, 0, OTHER)
    verdict = told(AT_THE_STOP, "bad_page", audit=audit(proof), resolve=resolve)
    assert verdict.kind is VerdictKind.REFCOUNT_OVERPUT
    assert "1 PTE of holder/77" in verdict.summary


def test_a_pte_inside_the_zap_that_freed_is_too_early_to_judge() -> None:
    proof = finding(FindingClass.IN_FLIGHT, 1, 1, 0, MINE)
    verdict = told(AT_THE_STOP, "bad_page", audit=audit(proof), resolve=resolve)
    assert verdict.kind is VerdictKind.UNEXPLAINED


def test_a_free_by_an_interrupt_in_the_middle_of_a_zap_is_not_the_zap_s() -> None:
    def in_softirq(address: int) -> CodeSite | None:
        inner = CodeSite("__do_softirq", 0x100, None, (), None, address)
        return resolve(address) if address == RETURN_INTO_ZAP else inner

    rows = [zap(1000), freed(3000), refused(4000), removed(6500)]
    verdict = told(rows, resolve=in_softirq)
    assert verdict.kind is VerdictKind.UNEXPLAINED


def test_a_removal_that_never_comes_is_a_leak() -> None:
    verdict = told(LEAKED, resolve=resolve)
    assert verdict.kind is VerdictKind.MAPPING_LEAKED
    assert told(LEAKED, resolve=resolve, lost=1).kind is VerdictKind.UNEXPLAINED
    assert told(LEAKED[1:], resolve=resolve).kind is VerdictKind.UNEXPLAINED


@pytest.mark.parametrize(
    ("meta", "doubt"),
    [
        ({"damaged_frames": 1}, "Frames of the capture are damaged: 1"),
        ({"damaged_records": 2}, "Records of the capture are damaged: 2"),
        ({"dropped_entries": 3}, "were too many: 3"),
        ({"unavailable": ["zt2_rmap_remove"]}, "did not set up the probe zt2_rmap_remove"),
        ({"damage": ["CPU 1: the ring is torn"]}, "the ring is torn"),
        ({"records": 6}, "5 of 6 records"),
    ],
)
def test_a_recording_that_is_not_whole_does_not_say_never(meta: dict[str, Any], doubt: str) -> None:
    events = events_of(LEAKED)
    events.meta.update(meta)
    verdict = explain(Evidence(events, resolve=resolve))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert any(doubt in one for one in verdict.doubts)
    unrecorded = Evidence(events_of(LEAKED), resolve=resolve, unrecorded=("Frees were not seen.",))
    assert "Frees were not seen." in explain(unrecorded).doubts


def test_a_zap_is_over_when_another_thread_runs_on_its_cpu() -> None:
    other: dict[str, Any] = {"pid": 99, "tgid": 99, "comm": b"sh", "pfn": 1}
    evidence = Evidence(second_look(LEAKED[:4], "timeout"), resolve=resolve, ended="bad_page")
    assert explain(evidence).kind is VerdictKind.UNEXPLAINED
    for cpu, kind in ((1, VerdictKind.MAPPING_LEAKED), (0, VerdictKind.UNEXPLAINED)):
        events = second_look([*LEAKED[:4], removed(9000, cpu=cpu, **other)], "timeout")
        assert explain(replace(evidence, events=events)).kind is kind
    same = second_look(
        [*LEAKED[:4], removed(9000, pfn=1)], "timeout"
    )  # in its zap, or an interrupt
    assert explain(replace(evidence, events=same)).kind is VerdictKind.UNEXPLAINED


def test_a_removal_by_another_task_still_counts() -> None:
    assert told([*LEAKED, removed(9500, pid=99)], resolve=resolve).kind is VerdictKind.UNEXPLAINED


def test_a_page_that_is_unmapped_in_time_and_still_counted_is_no_leak_of_that_zap() -> None:
    """Somebody else's mapping is counted: whether its PTE is there, the events do not say."""
    rows = [LEAKED[1], removed(2000, raw=1), *LEAKED[2:]]
    verdict = told(rows, resolve=resolve)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert any("refcount_overput" in doubt for doubt in verdict.doubts)
    proof = finding(FindingClass.MAPPED_BUT_FREE, 1, 1, 0, OTHER)
    both = told(rows, "bad_page", audit=audit(proof), resolve=resolve)
    assert (both.kind, both.evidence) == (
        VerdictKind.REFCOUNT_OVERPUT,
        ("capture", "vmcore"),
    )


def test_a_part_of_a_large_folio_may_be_freed_by_a_zap_that_never_touched_it() -> None:
    rows = [*LEAKED[:2], freed(3000, order=9), *LEAKED[3:]]
    verdict = told(rows, resolve=resolve)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert any("large folio" in one for one in verdict.readings)
    proof = finding(FindingClass.REFCOUNT_BELOW_MAPCOUNT, 0, 1, 0)
    settled = told(rows, "bad_page", audit=busy(proof, MM), resolve=resolve)
    assert settled.kind is VerdictKind.MAPPING_LEAKED


def test_a_leak_is_seen_when_the_gather_is_flushed() -> None:
    rows = [ELSEWHERE, zap(1000), refused(4000), zap(9000)]
    assert told(rows, resolve=in_gather).kind is VerdictKind.MAPPING_LEAKED
    before = [zap(100), removed(200, raw=1), *rows[1:]]
    assert told(before, resolve=in_gather).kind is VerdictKind.UNEXPLAINED
    other_life = [zap(100), removed(200, raw=0), *rows[1:]]
    assert told(other_life, resolve=in_gather).kind is VerdictKind.MAPPING_LEAKED


def test_a_zap_of_a_swap_entry_frees_a_page_that_it_did_not_map() -> None:
    def in_swap(address: int) -> CodeSite | None:
        inner = CodeSite("free_swap_and_cache", 0x100, None, (), None, address)
        return inner if address == RETURN_INTO_FREE else resolve(address)

    assert told(LEAKED, resolve=in_swap).kind is VerdictKind.UNEXPLAINED


def test_a_page_mapped_twice_in_one_zap_needs_its_ptes_counted() -> None:
    rows = [zap(1000), removed(2000, raw=1), freed(3000), refused(4000), removed(6500, raw=-1)]
    assert told(rows, resolve=resolve).kind is VerdictKind.UNEXPLAINED
    proof = finding(FindingClass.REFCOUNT_BELOW_MAPCOUNT, 0, 1, 0)
    counted = told(rows, "bad_page", audit=busy(proof, MM), resolve=resolve)
    assert counted.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED


def test_another_task_s_removal_is_not_this_zap_s() -> None:
    late = removed(6500, pid=99, tgid=99)
    verdict = told([zap(1000), freed(3000), refused(4000), late, zap(9000)])
    assert verdict.kind is VerdictKind.UNEXPLAINED


def test_a_removal_in_the_next_zap_is_too_late_to_be_this_one_s() -> None:
    verdict = told([zap(1000), freed(3000), refused(4000), zap(5000), removed(6500)])
    assert verdict.kind is not VerdictKind.FREED_BEFORE_RMAP_REMOVED


ANOTHER: dict[str, Any] = {"pid": 99, "tgid": 99, "comm": b"sh"}


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        # Copied on write, from another mm, still referenced, found unmapped, with no name at all.
        ([*UNSEEN, removed(9_000_000, caller=RETURN_INTO_WP)], True),
        ([*UNSEEN, removed(9_000_000, mm=MM + 0x800)], True),
        ([*UNSEEN, removed(9_000_000, refcount=1)], True),
        ([*UNSEEN, removed(9_000_000, raw=-1)], True),
        ([*UNSEEN, removed(9_000_000)], False),
        # On another CPU, after another thread ran on this one, after another's removal.
        ([*UNSEEN, removed(9_000_000, cpu=0)], True),
        ([*UNSEEN, removed(5000, pfn=1, **ANOTHER), removed(9000)], True),
        ([*UNSEEN, removed(5000, cpu=0, **ANOTHER), removed(9000)], True),
        # Refused only afterwards, at its next free.
        ([*UNSEEN, removed(9_000_000), refused(9_500_000)], False),
        ([*UNSEEN, removed(9_000_000, refcount=1), refused(9_500_000)], True),
        # Refused, and so never used again: a removal of another mapping all the same.
        ([*UNSEEN, refused(4000), removed(9_000_000, caller=RETURN_INTO_WP)], True),
        ([*UNSEEN, refused(4000), removed(9_000_000, mm=MM + 0x800)], True),
        ([*UNSEEN, refused(4000), removed(9_000_000, raw=3)], True),
    ],
)
def test_a_removal_of_another_life_is_not_late(rows: list[dict[str, Any]], named: bool) -> None:
    verdict = told(rows, resolve=copied if named else lambda _: None)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert not any("too late" in step.what for step in verdict.order)


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([*UNSEEN, removed(6500)], True),
        ([*UNSEEN, removed(6500, refcount=0)], False),
        ([*UNSEEN, of_page(Kind.BAD_PTE, 4000, 0), removed(6500)], True),
        ([*UNSEEN, refused(4000), removed(6500, raw=-1)], False),
        ([*UNSEEN, refused(4000), removed(5000, mm=MM + 0x800), removed(6500, raw=-1)], True),
    ],
)
def test_a_removal_of_the_same_life_is_late(rows: list[dict[str, Any]], named: bool) -> None:
    verdict = told(rows, resolve=copied if named else lambda _: None)
    assert verdict.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    assert (verdict.order[-1].time_ns, "too late" in verdict.order[-1].what) == (6500, True)


def test_a_range_s_removal_takes_every_page_of_it() -> None:
    whole = removed(6500, pfn=PFN - 5, page=1)
    assert told([zap(1), freed(3), refused(4), {**whole, "nr": 6}]).order[-1].time_ns == 6500
    short = told([zap(1), freed(3), refused(4), {**whole, "nr": 5}])
    assert short.kind is VerdictKind.UNEXPLAINED


def test_a_pid_that_is_used_again_brings_no_zap_along() -> None:
    """The last zap of a dead task with the same pid is not the zap of the new one."""
    old = zap(1000, comm=b"gone", mm=MM + 0x400)
    verdict = told([old, freed(3000), refused(4000), removed(6500)])
    assert "zap_pte_range" not in verdict.order[0].what
    assert any("zap that the page was freed in was not recorded" in one for one in verdict.doubts)


def test_pages_are_joined_by_struct_page_where_pfns_are_not_known() -> None:
    rows = [zap(1000), freed(3000), refused(4000), removed(6500)]
    for row in rows[1:]:
        row["pfn"] = 2**64 - 1
    verdict = told(rows)
    assert (verdict.kind, verdict.pfn) == (VerdictKind.FREED_BEFORE_RMAP_REMOVED, None)


def test_two_removals_in_one_zap_are_an_underflow() -> None:
    verdict = told(TWICE)
    assert verdict.kind is VerdictKind.RMAP_UNDERFLOW
    assert verdict.summary.startswith("init/30 removed the rmap of pfn 0xa80 twice in one zap")
    assert "its mapcount is -1." in verdict.summary
    assert [step.time_ns for step in verdict.order] == [1000, 2000, 2100, 2500, 3000, 4000]
    quiet = told(TWICE[:4])
    assert quiet.kind is VerdictKind.RMAP_UNDERFLOW


def test_a_count_below_zero_alone_does_not_say_whose_removal_was_too_many() -> None:
    verdict = told([TWICE[0], *TWICE[2:]])
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert "more often than it was added, or its counter is wrong (mapcount -1)" in verdict.facts
    # All removals are recorded, and there is but one: nothing was removed twice.
    assert not any("twice" in one or "left behind" in one for one in verdict.readings)
    unseen = told([TWICE[0], *TWICE[2:]], lost=1)
    assert "twice in one zap" in unseen.readings[0]
    rows = [TWICE[0], removed(1500, raw=2), removed(1600, raw=1)]
    assert told(rows, console=True).kind is VerdictKind.CLEAN


def test_a_pte_that_a_later_zap_finds_was_not_cleared() -> None:
    verdict = told(AGAIN, resolve=in_zap)
    assert verdict.kind is VerdictKind.PTE_LEFT_BEHIND
    assert "init/30 zapped pfn 0xa80 and removed its rmap. A later zap" in verdict.summary
    assert [step.time_ns for step in verdict.order] == [1000, 1100, 2000, 2100, 2500]
    assert told([*AGAIN, refused(3000, raw=-2)], resolve=in_zap).kind is verdict.kind


@pytest.mark.parametrize(
    "rows",
    [
        # Of another range, by another mm, not the last mapping, not by a zap at all, and twice.
        [zap(1000, addr=0x1000, end=0x2000), *AGAIN[1:]],
        [zap(1000, mm=MM + 0x400), removed(1100, raw=0, mm=MM + 0x400), *AGAIN[2:]],
        [AGAIN[0], removed(1100, raw=1), *AGAIN[2:]],
        [AGAIN[0], removed(1100, raw=0, caller=1), *AGAIN[2:]],
        [*AGAIN[:4], removed(2200, raw=-2), *AGAIN[4:]],
    ],
)
def test_what_else_removes_twice_is_no_leftover_pte(rows: list[dict[str, Any]]) -> None:
    def known(address: int) -> CodeSite | None:
        return None if address == 1 else in_zap(address)

    assert told(rows, resolve=known).kind is VerdictKind.UNEXPLAINED


def test_a_zapped_page_whose_pte_is_still_there() -> None:
    """It is in use elsewhere: only events and page tables together show that."""
    proof = finding(FindingClass.MORE_PTES_THAN_MAPCOUNT, 1, 0, 1, MINE)
    verdict = told(AGAIN[:2], audit=busy(proof), resolve=in_zap)
    assert verdict.kind is VerdictKind.PTE_LEFT_BEHIND
    assert verdict.evidence == ("capture", "vmcore")
    assert (verdict.comm, verdict.pid, verdict.order[-1].evidence) == ("init", 30, "audit")
    flight = told(AGAIN[:2], audit=busy(proof, MM), resolve=in_zap)
    assert flight.kind is VerdictKind.UNEXPLAINED
    elsewhere = finding(FindingClass.MORE_PTES_THAN_MAPCOUNT, 1, 0, 1, OTHER)
    assert told(AGAIN[:2], audit=busy(elsewhere), resolve=in_zap).kind is VerdictKind.UNEXPLAINED


def test_a_page_type_is_no_mapcount() -> None:
    """Page tables and slabs keep their type where others keep the count."""
    rows = [zap(1), removed(2), freed(3, raw=-1 - 0x400)]
    assert told(rows, console=True).kind is VerdictKind.CLEAN


def test_another_reason_is_not_the_mapcount_s() -> None:
    events = events_of([zap(1000), refused(4000, raw=-1)])
    events.strings[1] = "PAGE_FLAGS_CHECK_AT_FREE flag(s) set"
    verdict = explain(Evidence(events))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert "PAGE_FLAGS_CHECK_AT_FREE" in verdict.summary


def test_a_flood_of_faults_ends() -> None:
    """A hostile capture of nothing but faults is looked at in bounded time."""
    rows = [zap(0), *(freed(at, pfn=at) for at in range(1, 20_000))]
    verdict = told(rows)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert "19998 more pages" in verdict.summary
