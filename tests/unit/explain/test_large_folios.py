"""Large folios: the page whose own counter is wrong, not the one that has the folio's counters.

free_tail_page_prepare() gives bad_page() the folio's second page for those (since 6.10).
"""

from __future__ import annotations

import pytest

from tests.unit.explain.checked import explain
from tests.unit.explain.kernel import VMEMMAP, ZAP_SITE, events_of
from tests.unit.explain.scenario import ADDRESS, Machine, Process, resolve
from zaptrace.explain import Evidence
from zaptrace.model.events import Kind
from zaptrace.model.findings import AuditResult, Finding, FindingClass
from zaptrace.model.splats import FolioCounters, Frame, Splat
from zaptrace.model.verdict import VerdictKind

HEAD, SIXTH = 0x500, 0x505
MM = 0x8000_0400
OF_FOLIO, OF_PAGE, OF_PRIVATE = 2, 1, 3
"""Reasons: nonzero large_mapcount, nonzero mapcount, nonzero private (7.3)."""
ADDRESS_OF_ZAP_HUGE_PMD = 0x77_0000
FREE = ("free_unref_page", "unmap_page_range", "exit_mmap")


def bad_page(machine: Machine, who: Process, pfn: int, reason: int) -> None:
    number = len(machine.stacks) + 1
    machine.stacks[number] = tuple(ADDRESS[name] for name in FREE)
    machine.emit(who, Kind.BAD_PAGE, **machine.about(pfn), reason=reason, stack=number)


def zap(machine: Machine, who: Process) -> None:
    machine.emit(who, Kind.ZAP, addr=0x10000, end=0x20000, mm=MM, site=ZAP_SITE)


def recorded(machine: Machine, audit: AuditResult | None = None) -> Evidence:
    events = events_of(machine.rows)
    events.strings[OF_FOLIO] = "nonzero large_mapcount"
    events.strings[OF_PRIVATE] = "nonzero private"
    events.stacks = dict(machine.stacks)
    events.meta["after"] = "exit"
    ended = "exit" if audit is None else "bad_page"
    return Evidence(events, (), audit, resolve, ended, console=True)


def audited(*findings: Finding) -> AuditResult:
    return AuditResult("6.12", 0x1000, 1, 4, 0.0, findings=findings)


@pytest.fixture
def machine() -> Machine:
    found = Machine(gathers=False)
    for pfn in range(HEAD, HEAD + 16):
        found.mapcount[pfn] = found.refcount[pfn] = 0
    return found


@pytest.mark.parametrize("leaked", [HEAD, SIXTH], ids=["head", "tail"])
def test_a_leak_of_one_of_its_pages_is_that_page_s(machine: Machine, leaked: int) -> None:
    who = machine.new(40, "sh", MM)
    machine.mapcount[leaked] = 1
    removal(machine, machine.new(45, "x", 0x8000_3000), 0x900, 0)
    zap(machine, who)
    if leaked == HEAD:
        machine.emit(who, Kind.PAGE_FREE, **machine.about(HEAD), order=4)
    bad_page(machine, who, HEAD + 1, OF_FOLIO)
    bad_page(machine, who, HEAD + 1, OF_PRIVATE)
    bad_page(machine, who, leaked, OF_PAGE)
    zap(machine, who)
    finding = Finding(FindingClass.REFCOUNT_BELOW_MAPCOUNT, leaked, 0, 1, 0, raw_mapcount=0)
    verdict = explain(recorded(machine, audited(finding)))
    assert (verdict.kind, verdict.pfn) == (VerdictKind.MAPPING_LEAKED, leaked)
    assert "more page" not in verdict.summary
    steps = [step.what for step in verdict.order]
    assert "bad_page() refuses its large folio, at pfn 0x501: nonzero large_mapcount" in steps
    assert "bad_page() refuses it: nonzero mapcount" in steps
    # The last look at memory was before bad_page() came to the page itself.
    machine.rows = [row for row in machine.rows if row.get("reason") != OF_PAGE]
    if leaked == HEAD:
        assert explain(recorded(machine, audited(finding))).pfn == HEAD


def test_reports_of_two_frees_are_two_pages_(machine: Machine) -> None:
    who = machine.new(40, "sh", MM)
    machine.mapcount[SIXTH] = 1
    bad_page(machine, who, HEAD + 1, OF_FOLIO)
    zap(machine, who)
    bad_page(machine, who, SIXTH, OF_PAGE)
    verdict = explain(recorded(machine))
    assert verdict.pfn == HEAD + 1
    assert "1 more page went wrong in this run" in verdict.summary


def splat(pfn: int, mapcount: int, reason: str, line: int, folio: int) -> Splat:
    trace = tuple(Frame(name, 4, 0x100) for name in ("bad_page", *FREE))
    counters = FolioCounters(order=4, mapcount=folio, entire_mapcount=0, pincount=0)
    return Splat(
        "bad_page_state",
        pfn=pfn,
        mapcount=mapcount,
        reason=reason,
        line=line,
        trace=trace,
        folio=counters,
        process="sh",
        comm="sh",
        pid=40,
        refcount=0,
        time=line / 10,
    )


def test_two_reports_on_the_console_are_of_one_page() -> None:
    first = splat(HEAD + 1, 0, "nonzero large_mapcount", 10, 1)
    private = splat(HEAD + 1, 0, "nonzero private", 20, 1)
    last = splat(SIXTH, 1, "nonzero mapcount", 30, 1)
    verdict = explain(Evidence(None, (first, private, last)))
    assert verdict.pfn == SIXTH
    assert "more page" not in verdict.summary
    assert any("a part of a large folio" in one for one in verdict.readings)
    assert "of its large folio, at pfn 0x501" in verdict.order[0].what


@pytest.mark.parametrize("folio", [1, -1])
def test_the_sign_of_the_folio_s_counter_leaves_fewer_readings(folio: int) -> None:
    only = splat(HEAD + 1, 0, "nonzero large_mapcount", 10, folio)
    readings = " ".join(explain(Evidence(None, (only,))).readings)
    assert ("was not removed" in readings) == (folio > 0)
    assert ("twice in one zap" in readings) == (folio < 0)


def removal(
    machine: Machine, who: Process, pfn: int, raw: int, *, nr: int = 1, caller: int = 0
) -> None:
    about = {"pfn": pfn, "page": VMEMMAP + 64 * pfn, "raw_mapcount": raw, "refcount": 16}
    at = caller or ADDRESS["zap_pte_range"]
    machine.emit(who, Kind.RMAP_REMOVE, **about, mm=who.mm, nr=nr, caller=at)


def removed_twice(machine: Machine, *, caller: int = 0, other: bool = False) -> None:
    who = machine.new(40, "sh", MM)
    zap(machine, who)
    removal(machine, who, SIXTH, 0)
    if other:
        who = machine.new(41, "sh", MM + 0x400)
    machine.emit(who, Kind.ZAP, addr=0x15000, end=0x16000, mm=who.mm, site=ZAP_SITE)
    removal(machine, who, SIXTH, -1, caller=caller)
    machine.emit(who, Kind.ZAP, addr=0x70000, end=0x80000, mm=who.mm, site=ZAP_SITE)


def test_a_removal_below_zero_that_the_kernel_does_not_notice(machine: Machine) -> None:
    removed_twice(machine)
    verdict = explain(recorded(machine))
    assert (verdict.kind, verdict.pfn) == (VerdictKind.PTE_LEFT_BEHIND, SIXTH)
    assert [step.what for step in verdict.order if "rmap" in step.what] == [
        "the page's rmap is removed; its PTE stays",
        "the page's rmap is removed for a PTE that was left behind",
    ]


def test_what_a_page_does_not_count_is_no_fault(machine: Machine) -> None:
    """A PMD's removal; a kernel that counts no page of a large folio; another process."""
    removed_twice(machine, caller=ADDRESS_OF_ZAP_HUGE_PMD)
    assert explain(recorded(machine)).pfn is None
    machine.rows.clear()
    removed_twice(machine)
    removal(machine, machine.processes[-1], HEAD, -1, nr=4)
    assert explain(recorded(machine)).pfn is None
    machine.rows.clear()
    removed_twice(machine, other=True)
    assert explain(recorded(machine)).pfn is None
