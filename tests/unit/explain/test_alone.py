"""A dump alone, the console alone: what one piece of evidence can show, and what not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.explain.audits import audit
from tests.unit.explain.builders import BELOW, FREED, MAP, MORE, STATE
from tests.unit.explain.checked import explain
from tests.unit.explain.kernel import events_of
from tests.unit.explain.rows import (
    FREE,
    GOLDEN,
    MINE,
    MM,
    OTHER,
    PFN,
    busy,
    finding,
    freed,
    refused,
    removed,
    told,
    zap,
)
from zaptrace.explain import Evidence
from zaptrace.model.events import Events
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.model.splats import Frame, Splat
from zaptrace.model.verdict import VerdictKind
from zaptrace.splat import parse


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 1, 2, 2), VerdictKind.MAPPING_LEAKED),
        (finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 0), VerdictKind.UNEXPLAINED),
        (finding(BELOW, 1, 2, 1), VerdictKind.MAPPING_LEAKED),
        (finding(FindingClass.MAPCOUNT_UNDERFLOW, 0, -1, 1), VerdictKind.UNEXPLAINED),
        (finding(BELOW, 2, 2, 1, OTHER, OTHER), VerdictKind.REFCOUNT_OVERPUT),
        (finding(BELOW, 2, 2, 1), VerdictKind.UNEXPLAINED),  # whose PTEs is not known
        (finding(FREED, 1, 1, 0, OTHER), VerdictKind.REFCOUNT_OVERPUT),
        (replace(finding(FREED, 1, 0, 0, OTHER), folio=FREE), VerdictKind.PTE_LEFT_BEHIND),
        (finding(FREED, 1, 0, 0, OTHER), VerdictKind.UNEXPLAINED),  # refused, and reset
        (finding(MORE, 2, 1, 1, OTHER, MINE), VerdictKind.PTE_LEFT_BEHIND),
        (finding(MORE, 1, 0, 1, OTHER), VerdictKind.UNEXPLAINED),  # or removed twice
        (finding(MORE, 1, 0, 1), VerdictKind.UNEXPLAINED),
        (finding(FindingClass.IN_FLIGHT, 1, 2, 1), VerdictKind.CLEAN),
        (finding(FindingClass.RSS_MISMATCH, 0, 0, 0), VerdictKind.RSS_MISMATCH),
        (finding(FindingClass.WRONG_RMAP, 1, 1, 1, OTHER), VerdictKind.WRONG_RMAP),
        (finding(FindingClass.REFCOUNT_LEAKED, 1, 1, 2, OTHER), VerdictKind.REFCOUNT_LEAKED),
        (finding(FindingClass.LOCKED_VM_MISMATCH, 0, 0, 0), VerdictKind.LOCKED_VM_MISMATCH),
        (finding(FindingClass.HUGETLB_POOL_MISMATCH, 0, 0, 0), VerdictKind.HUGETLB_POOL_MISMATCH),
    ],
)
def test_a_dump_alone(one: Finding, kind: VerdictKind) -> None:
    verdict = explain(Evidence(None, (), busy(one)))
    assert verdict.kind is kind
    assert verdict.evidence == ("vmcore",)
    if one.cls in (BELOW, FREED, MORE):
        flight = explain(Evidence(None, (), busy(one, MM, MM + 0x400), ended="bad_page"))
        assert flight.kind is VerdictKind.UNEXPLAINED
        assert any("A CPU was changing page tables" in doubt for doubt in flight.doubts)


def test_another_page_of_the_folio_explains_its_refcount() -> None:
    """A large folio's references are counted at its head: which mapping lacks one, others say."""
    folio = {"pfn": PFN, "order": 9, "kind": "anon", "free": False}
    head = replace(finding(BELOW, 1, 1, 510, OTHER), folio=folio)
    leaked = replace(
        finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 510), pfn=PFN + 5, folio=folio
    )
    alone = explain(Evidence(None, (), busy(head)))
    assert (alone.kind, alone.pfn) == (VerdictKind.REFCOUNT_OVERPUT, PFN)
    verdict = explain(Evidence(None, (), audit(head, leaked)))
    assert (verdict.kind, verdict.pfn) == (VerdictKind.MAPPING_LEAKED, PFN + 5)


def test_the_worst_stands_first_and_the_others_are_counted() -> None:
    pages = [
        replace(finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 1, 2, 2), pfn=pfn) for pfn in (1, 2)
    ]
    worst = finding(FREED, 1, 1, 0, OTHER)
    rss = finding(FindingClass.RSS_MISMATCH, 0, 0, 0)
    found = replace(audit(*pages, worst, rss), details={"mms_in_flight": 0})
    verdict = explain(Evidence(None, (), found))
    assert (verdict.kind, verdict.pfn) == (VerdictKind.REFCOUNT_OVERPUT, PFN)
    assert verdict.others == ("2 more pages: mapping_leaked",)


def test_pages_without_a_verdict_of_their_own_are_counted_too() -> None:
    """What stands in `others` is as many pages as the summary says."""
    rows = [zap(1000), freed(3000), refused(4000), removed(5000)]
    rows += [{**refused(6000 + page), "pfn": PFN + page} for page in (1, 2)]
    verdict = told(rows)
    assert verdict.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    assert "2 more pages went wrong" in verdict.summary
    assert verdict.others == ("2 more pages: no verdict of their own",)


def test_a_mapcount_below_zero_on_the_console_may_be_either() -> None:
    below = Splat("bad_page_map", pfn=PFN, mapcount=-1, refcount=1, pid=30, comm="init")
    verdict = explain(Evidence(None, [below]))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    readings = ("twice in one zap", "left the PTE", "without an rmap", "PTE itself is garbage")
    assert all(reading in verdict.summary for reading in readings)
    state = replace(STATE, mapcount=-1)
    twice, again, never, other = explain(Evidence(None, [below, state])).readings
    assert "twice in one zap" in twice and "for a PTE that an earlier zap" in again
    assert "never added" in never and "wrote over the counter" in other


def test_the_console_alone_shows_the_founding_bug() -> None:
    splats = parse((GOLDEN / "s390x_6.1_crlf.log").read_bytes())
    verdict = explain(Evidence(None, splats))
    assert verdict.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    assert (verdict.pfn, verdict.comm, verdict.pid) == (0x1F3C5, "mount", 41)
    assert [step.evidence for step in verdict.order] == ["splat", "splat"]
    assert verdict.order[0].time_ns == 1_204_211_000
    assert verdict.sites[0].symbol == "unmap_page_range"
    assert any("No events" in doubt for doubt in verdict.doubts)


OLD = replace(MAP, time=5.0)


@pytest.mark.parametrize(
    ("splats", "right"),
    [
        ([STATE, MAP], True),
        ([replace(STATE, time=None), replace(MAP, time=None)], True),
        ([OLD, STATE, MAP], True),
        ([STATE, replace(STATE, pid=31, pfn=7), MAP], True),
        ([replace(STATE, time=104.9), replace(MAP, time=105.0)], True),
        # Long before, long after, the wrong way round, of two threads, another page in between.
        ([OLD, STATE], False),
        ([STATE, replace(MAP, time=900.0)], False),
        ([STATE, OLD], False),
        ([replace(MAP, time=None), replace(STATE, time=None)], False),
        ([STATE, replace(MAP, pid=31)], False),
        ([STATE, replace(MAP, comm="sh")], False),
        ([STATE, replace(STATE, pfn=7), MAP], False),
        ([STATE, replace(MAP, mapcount=-1)], False),
    ],
)
def test_two_reports_of_one_zap_follow_each_other(splats: list[Splat], right: bool) -> None:
    wanted = VerdictKind.FREED_BEFORE_RMAP_REMOVED if right else VerdictKind.UNEXPLAINED
    verdict = explain(Evidence(None, splats))
    assert (verdict.kind, verdict.pfn) == (wanted, PFN)


def test_what_a_kernel_holds_back_makes_a_count_a_lower_bound() -> None:
    many = [replace(STATE, pfn=pfn, line=pfn) for pfn in range(1, 61)]
    doubts = explain(Evidence(None, many)).doubts
    assert any("60 a minute: more may have been held back" in one for one in doubts)
    told = [STATE, replace(STATE, pfn=7, suppressed=12)]
    doubts = explain(Evidence(None, told)).doubts
    assert any("60 a minute: 12 more were held back" in one for one in doubts)
    assert not any("a minute" in one for one in explain(Evidence(None, many[:59])).doubts)


def test_a_bad_page_state_alone_does_not_say_why() -> None:
    splats = parse((GOLDEN / "s390x_6.1_crlf.log").read_bytes())[:1]
    assert explain(Evidence(None, splats)).kind is VerdictKind.UNEXPLAINED


def test_resident_sets_that_do_not_add_up() -> None:
    splats = parse((GOLDEN / "s390x_6.1_crlf.log").read_bytes())[2:]
    verdict = explain(Evidence(Events(), splats))
    assert verdict.kind is VerdictKind.RSS_MISMATCH
    assert "MM_ANONPAGES +1, MM_SHMEMPAGES -1" in verdict.summary


@pytest.mark.parametrize(
    ("reason", "ended", "kind"),
    [
        ("Kernel panic - not syncing: Attempted to kill init! exitcode=0", "panic", "clean"),
        ("Kernel panic - not syncing: Fatal exception", "panic", "unexplained"),
        ("Kernel panic - not syncing: No working init found.", "panic", "unexplained"),
        ("kernel BUG at mm/mmu_gather.c:138!", "panic", "unexplained"),
        ("WARNING: CPU: 0 PID: 1 at kernel/x.c:1 y+0x1/0x2", "exit", "clean"),
    ],
)
def test_reports_that_are_not_about_pages(reason: str, ended: str, kind: str) -> None:
    splats = [Splat("other", reason=reason, trace=(Frame("a"),))]
    verdict = explain(Evidence(Events(), splats, audit(), ended=ended))
    assert verdict.kind.value == kind
    assert any(reason in text for text in (verdict.summary, *verdict.doubts))


@pytest.mark.parametrize("ended", ["panic", "bad_page"])
def test_a_stop_that_nothing_explains_is_not_clean(ended: str) -> None:
    assert explain(Evidence(Events(), (), audit(), ended=ended)).kind is VerdictKind.UNEXPLAINED


def test_clean_says_what_it_rests_on() -> None:
    rows = [zap(1000), removed(2000), zap(3000)]
    verdict = explain(Evidence(events_of(rows, lost=3), (), audit(), ended="timeout"))
    assert verdict.kind is VerdictKind.CLEAN
    assert "131072 pages agree with 441 PTEs in 12 mms" in verdict.summary
    lost, ended = verdict.doubts
    assert lost.startswith("3 events were lost")
    assert ended == "The time limit ended the run, not the guest."


@pytest.mark.parametrize("apart", [2, 3])
def test_a_pte_of_another_page_whose_number_differs_in_one_bit(apart: int) -> None:
    """A bit of a PTE was flipped in a running 6.12: no PTE was left behind, and nothing leaked."""
    mapped = finding(FindingClass.MORE_PTES_THAN_MAPCOUNT, 2, 1, 1)
    counted = finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 1)
    mapped, counted = replace(mapped, pfn=0x1FFD8 ^ apart), replace(counted, pfn=0x1FFD8)
    verdict = explain(Evidence(None, audit=audit(mapped, counted)))
    if apart == 3:  # two bits: two pages, each with its own story
        assert not any("differs in one bit" in one for one in verdict.readings)
        return
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert verdict.readings[0].endswith(
        "a PTE of another page was changed by a stray write or a bit flip, and maps this one: pfn "
        "0x1ffd8, whose number differs in one bit, counts a mapping without one."
    )
    assert not any("mapping_leaked" in one for one in verdict.others)
