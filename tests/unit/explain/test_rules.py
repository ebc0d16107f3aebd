"""One run a rule: what it must see, and what must keep it from speaking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.explain.kernel import (
    RETURN_AFTER,
    RETURN_INTO_ZAP,
    VMEMMAP,
    ZAP_SITE,
    events_of,
)
from tests.unit.explain.test_simulated import audit, resolve
from zaptrace.explain import Evidence, explain
from zaptrace.model.events import Events, Kind, Origin
from zaptrace.model.findings import Finding, FindingClass, Owner
from zaptrace.model.splats import Frame, Splat
from zaptrace.model.verdict import CodeSite, Verdict, VerdictKind
from zaptrace.splat import parse

GOLDEN = Path(__file__).parents[2] / "golden" / "splat"
PFN, MM = 0xA80, 0x8000_0400
TASK: dict[str, Any] = {"cpu": 1, "pid": 30, "tgid": 30, "comm": b"init"}


def zap(clock: int, **other: Any) -> dict[str, Any]:
    span = {"addr": 0x3FFFFFF0000, "end": 0x40000000000, "mm": MM, "site": ZAP_SITE}
    return {**TASK, "kind": Kind.ZAP, "clock": clock, **span, **other}


def of_page(kind: Kind, clock: int, raw: int, **other: Any) -> dict[str, Any]:
    about = {"pfn": PFN, "page": VMEMMAP + 64 * PFN, "raw_mapcount": raw}
    return {**TASK, "kind": kind, "clock": clock, **about, **other}


def freed(clock: int, raw: int = 0, **other: Any) -> dict[str, Any]:
    return of_page(Kind.PAGE_FREE, clock, raw, refcount=0, **other)


def refused(clock: int, raw: int = 0, **other: Any) -> dict[str, Any]:
    return of_page(Kind.BAD_PAGE, clock, raw, refcount=0, reason=1, stack=1, **other)


def removed(clock: int, raw: int = 0, **other: Any) -> dict[str, Any]:
    return of_page(Kind.RMAP_REMOVE, clock, raw, nr=1, caller=RETURN_AFTER, **other)


STOPPED = {"clock": 2**64 - 1, "origin": Origin.REGISTERS}
AT_THE_STOP = [zap(1000), freed(3000), {**refused(0), **STOPPED}]


def finding(cls: FindingClass, ptes: int, mapcount: int, refcount: int, *owners: Owner) -> Finding:
    return Finding(cls, PFN, ptes, mapcount, refcount, (), owners, raw_mapcount=mapcount - 1)


def told(rows: list[dict[str, Any]], ended: str = "exit", **more: Any) -> Verdict:
    lost = more.pop("lost", 0)
    more.setdefault("audit", None)
    return explain(Evidence(events_of(rows, lost=lost), ended=ended, **more))


def test_the_founding_bug_in_a_whole_run() -> None:
    verdict = told([zap(1000), freed(3000), refused(4000), removed(6500, raw=-1)], resolve=resolve)
    assert verdict.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    assert (verdict.pfn, verdict.comm, verdict.pid) == (PFN, "init", 30)
    assert [step.time_ns for step in verdict.order] == [1000, 3000, 4000, 6500]
    assert "3.5 µs after it was freed: too late; bad_page() has reset" in verdict.order[-1].what
    assert "The removal came 3.5 µs after the free." in verdict.summary
    assert [site.role for site in verdict.sites] == ["freed", "rmap_removed", "reported"]
    assert verdict.sites[0].source == "include/asm-generic/tlb.h:460"


def test_the_founding_bug_at_the_stop() -> None:
    proof = finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 0)
    verdict = told(AT_THE_STOP, "bad_page", audit=audit(proof), resolve=resolve)
    assert verdict.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    assert [step.evidence for step in verdict.order] == ["event", "event", "registers", None]
    assert verdict.proof == (proof,)
    assert any("--stop-at exit" in doubt for doubt in verdict.doubts)


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
    proof = finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 0)
    verdict = explain(Evidence(events, (), audit(proof), ended="bad_page"))
    (site,) = (site for site in verdict.sites if site.role == "pte_cleared")
    assert (site.symbol, site.offset, site.source) == ("unmap_page_range", 802, "mm/memory.c:1653")
    assert site.inline_chain == ("zap_pte_range at mm/memory.c:1653",)


@pytest.mark.parametrize("meta", [{"sites": "x"}, {"sites": [1, None, {}]}, {"sites": {}}])
def test_a_capture_s_plan_is_hostile(meta: dict[str, Any]) -> None:
    events = events_of(AT_THE_STOP)
    events.meta.update(meta)
    assert explain(Evidence(events, ended="bad_page")).kind is VerdictKind.UNEXPLAINED


def test_the_stop_alone_proves_nothing() -> None:
    """No count of PTEs, no source line: it may as well have been freed by somebody else."""
    verdict = told(AT_THE_STOP, "bad_page")
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert (verdict.pfn, verdict.pid) == (PFN, 30)
    assert any("zaptrace inspect" in doubt for doubt in verdict.doubts)


def test_a_pte_that_still_maps_the_page_is_an_overput() -> None:
    other = Owner(77, "holder", 0x1000, None, MM + 0x400)
    proof = finding(FindingClass.MAPPED_BUT_FREE, 1, 1, 0, other)
    verdict = told(AT_THE_STOP, "bad_page", audit=audit(proof), resolve=resolve)
    assert verdict.kind is VerdictKind.REFCOUNT_OVERPUT
    assert "1 PTE of holder/77" in verdict.summary


def test_a_pte_inside_the_zap_that_freed_is_too_early_to_judge() -> None:
    mine = Owner(30, "init", 0x3FFFFFFB000, None, MM)
    proof = finding(FindingClass.IN_FLIGHT, 1, 1, 0, mine)
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
    elsewhere = removed(500, pid=99, pfn=1)
    rows = [elsewhere, zap(1000), freed(3000), refused(4000), zap(9000)]
    verdict = told(rows, resolve=resolve)
    assert verdict.kind is VerdictKind.MAPPING_LEAKED
    assert told(rows, resolve=resolve, lost=1).kind is VerdictKind.UNEXPLAINED
    assert told(rows[1:], resolve=resolve).kind is VerdictKind.UNEXPLAINED


def test_somebody_else_s_removal_is_not_this_zap_s() -> None:
    late = removed(6500, pid=99, tgid=99)
    verdict = told([zap(1000), freed(3000), refused(4000), late, zap(9000)])
    assert verdict.kind is VerdictKind.UNEXPLAINED


def test_a_removal_in_the_next_zap_is_too_late_to_be_this_one_s() -> None:
    verdict = told([zap(1000), freed(3000), refused(4000), zap(5000), removed(6500)])
    assert verdict.kind is not VerdictKind.FREED_BEFORE_RMAP_REMOVED


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


def test_a_count_below_zero_is_an_underflow() -> None:
    rows = [zap(1000), removed(2000, raw=-1), freed(3000, raw=-2), refused(4000, raw=-2)]
    verdict = told(rows)
    assert verdict.kind is VerdictKind.RMAP_UNDERFLOW
    assert verdict.summary.startswith("The rmap of pfn 0xa80 was removed more often")
    assert "its mapcount is -1." in verdict.summary


def test_a_page_type_is_no_mapcount() -> None:
    """Page tables and slabs keep their type where others keep the count."""
    assert told([zap(1), freed(3, raw=-1 - 0x400)]).kind is VerdictKind.CLEAN


def test_another_reason_is_not_the_mapcount_s() -> None:
    events = events_of([zap(1000), refused(4000, raw=-1)])
    events.strings[1] = "PAGE_FLAGS_CHECK_AT_FREE flag(s) set"
    verdict = explain(Evidence(events))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert "PAGE_FLAGS_CHECK_AT_FREE" in verdict.summary


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 1, 2, 2), VerdictKind.MAPPING_LEAKED),
        (finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 0), VerdictKind.UNEXPLAINED),
        (finding(FindingClass.MAPCOUNT_UNDERFLOW, 0, -1, 1), VerdictKind.RMAP_UNDERFLOW),
        (finding(FindingClass.REFCOUNT_BELOW_MAPCOUNT, 2, 2, 1), VerdictKind.REFCOUNT_OVERPUT),
        (finding(FindingClass.REFCOUNT_BELOW_MAPCOUNT, 1, 2, 1), VerdictKind.UNEXPLAINED),
        (finding(FindingClass.MORE_PTES_THAN_MAPCOUNT, 1, 0, 1), VerdictKind.UNEXPLAINED),
        (finding(FindingClass.IN_FLIGHT, 1, 2, 1), VerdictKind.CLEAN),
        (finding(FindingClass.RSS_MISMATCH, 0, 0, 0), VerdictKind.RSS_MISMATCH),
    ],
)
def test_a_dump_alone(one: Finding, kind: VerdictKind) -> None:
    assert explain(Evidence(None, (), audit(one))).kind is kind


def test_the_console_alone_tells_the_founding_bug() -> None:
    splats = parse((GOLDEN / "s390x_6.1_crlf.log").read_bytes())
    verdict = explain(Evidence(None, splats))
    assert verdict.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    assert (verdict.pfn, verdict.comm, verdict.pid) == (0x1F3C5, "mount", 41)
    assert [step.evidence for step in verdict.order] == ["splat", "splat"]
    assert verdict.order[0].time_ns == 1_204_211_000
    assert verdict.sites[0].symbol == "unmap_page_range"
    assert any("No events" in doubt for doubt in verdict.doubts)


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
    verdict = explain(Evidence(events_of([], lost=3), (), audit(), ended="timeout"))
    assert verdict.kind is VerdictKind.CLEAN
    assert "131072 pages agree with 441 PTEs in 12 mms" in verdict.summary
    assert verdict.doubts == ("3 events were lost.", "The time limit ended the run, not the guest.")


def test_a_flood_of_faults_ends() -> None:
    """A hostile capture of nothing but faults is looked at in bounded time."""
    rows = [zap(0), *(freed(at, pfn=at) for at in range(1, 20_000))]
    verdict = told(rows)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert "19998 more pages" in verdict.summary
