"""Faults that the rules were not made for: every sentence is true, and the cause is among the open.

Both ways to free: at once, as on s390x, and by mmu_gather, after many zaps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.explain.checked import explain
from tests.unit.explain.kernel import ZAP_SITE, events_of
from tests.unit.explain.rows import busy
from tests.unit.explain.scenario import Machine, resolve
from zaptrace.explain import Evidence
from zaptrace.explain.bad_pages import MOST_FAULTS
from zaptrace.model.events import Events, Kind
from zaptrace.model.findings import AuditResult, Finding, FindingClass, Owner
from zaptrace.model.splats import Frame, Splat
from zaptrace.model.verdict import Verdict, VerdictKind

STRUCK = 0x500
OTHER_PAGE = 0x600
PARENT, CHILD = 0x8000_0400, 0x8000_0800


def cow(machine: Machine) -> None:
    """A copy-on-write forgets the old page's rmap; both processes map it before."""
    parent = machine.new(40, "sh", PARENT)
    machine.map(parent, 0x2000, STRUCK)
    child = machine.fork(parent, 41, CHILD)
    machine.copy_on_write(child, 0x2000, OTHER_PAGE, remove=False)
    machine.exit(child)
    machine.exit(parent)


def cow_alone(machine: Machine) -> None:
    """The same, of a page that is mapped nowhere else: the copy-on-write frees it."""
    parent = machine.new(40, "sh", PARENT)
    machine.map(parent, 0x2000, STRUCK)
    machine.zap(parent, (0x7F0000, 0x800000))
    machine.copy_on_write(parent, 0x2000, OTHER_PAGE, remove=False)
    machine.exit(parent)


def fork(machine: Machine) -> None:
    """A fork maps the page, takes a reference, and adds no rmap."""
    parent = machine.new(40, "sh", PARENT)
    machine.map(parent, 0x2000, STRUCK)
    child = machine.fork(parent, 41, CHILD, rmap=False)
    machine.exit(child)
    machine.exit(parent)


def wild_store(machine: Machine) -> None:
    """Something writes 8 over the counter, when the page has been unmapped as it should be."""
    parent = machine.new(40, "sh", PARENT)
    machine.map(parent, 0x2000, STRUCK)
    machine.refcount[STRUCK] += 1
    machine.exit(parent)
    machine.mapcount[STRUCK] = 9
    machine.put(parent, STRUCK, "free_unref_page", "page_cache_pipe_buf_release")


def wild_store_in_the_gather(machine: Machine) -> None:
    """The same between the removal and the free of one gather."""
    parent = machine.new(40, "sh", PARENT)
    machine.map(parent, 0x2000, STRUCK)

    def put(who: Any, pfn: int, *stack: str) -> None:
        machine.mapcount[pfn] = 9
        Machine.put(machine, who, pfn, *stack)

    with mock.patch.object(machine, "put", put):
        machine.exit(parent)


def extra_put(machine: Machine) -> None:
    """A pipe drops a reference that it does not hold; the page is mapped meanwhile."""
    parent = machine.new(40, "sh", PARENT)
    machine.map(parent, 0x2000, STRUCK)
    piper = machine.new(50, "cat", 0x8000_1000)
    machine.put(piper, STRUCK, "free_unref_page", "page_cache_pipe_buf_release")


def drained(machine: Machine) -> None:
    """6.1 without DEBUG_VM: the task that empties the CPU's list finds the page."""
    other = machine.new(60, "kworker/0:1", 0x8000_2000)
    machine.mapcount[STRUCK], machine.refcount[STRUCK] = 1, 0
    machine.bad_page(other, STRUCK, "free_pcppages_bulk", "drain_pages_zone")


def allocated(machine: Machine) -> None:
    """Found when it is handed out again."""
    other = machine.new(60, "make", 0x8000_2000)
    machine.mapcount[STRUCK], machine.refcount[STRUCK] = 1, 0
    machine.bad_page(other, STRUCK, "get_page_from_freelist", "handle_mm_fault")


def leak(machine: Machine) -> None:
    """The lab's own: a zap that removes no rmap."""
    parent = machine.new(40, "sh", PARENT)
    machine.map(parent, 0x2000, STRUCK)
    bystander = machine.new(45, "x", 0x8000_3000, cpu=1)
    machine.map(bystander, 0x2000, OTHER_PAGE)
    machine.exit(bystander)
    machine.zap(parent, (0x1000, 0x4000), remove=False)
    machine.exit(parent)


Fault = Callable[[Machine], None]
FAULTS: dict[Fault, tuple[str, ...]] = {
    cow: ("mapping_leaked", "its rmap was not removed"),
    cow_alone: ("mapping_leaked", "its rmap was not removed"),
    fork: ("never added to the rmap",),
    wild_store: ("something else wrote to the counter",),
    wild_store_in_the_gather: ("something else wrote to the counter",),
    extra_put: ("by something that did not hold it",),
    drained: ("its rmap was not removed", "after it had been freed"),
    allocated: ("its rmap was not removed", "after it had been freed"),
    leak: ("without removing its rmap",),
}
"""Words of the true cause: the verdict says it, or leaves it open."""
NEVER: dict[Fault, tuple[str, ...]] = {
    cow: ("zapped and freed", "without removing its rmap at all"),
    cow_alone: ("zapped and freed", "without removing its rmap at all", "The zap removed"),
    fork: ("twice in one zap", "left behind"),
    wild_store: ("without removing its rmap at all", "zapped and"),
    wild_store_in_the_gather: ("without removing its rmap at all",),
    extra_put: ("the reference was not its own", "zapped"),
    drained: ("freed pfn", "zap"),
    allocated: ("make/60 freed", "zap"),
    leak: (),
}
"""What would be false."""


def run(fault: Fault, *, gathers: bool) -> Machine:
    machine = Machine(gathers)
    fault(machine)
    ender = machine.new(99, "poweroff", 0x8000_9000)
    machine.exit(ender)
    return machine


def audit(machine: Machine) -> AuditResult:
    """Of the stop: what the page tables held when bad_page() refused the first page."""
    bad = next(row for row in machine.rows if row["kind"] == 4)
    ptes, raw = machine.ptes_at_stop or 0, bad["raw_mapcount"]
    owners = tuple(
        Owner(one.pid, one.comm, 0x2000, None, one.mm)
        for one in machine.processes
        if bad["pfn"] in one.ptes.values()
    )
    cls = FindingClass.MAPPED_BUT_FREE if ptes else FindingClass.REFCOUNT_BELOW_MAPCOUNT
    cls = FindingClass.MAPCOUNT_UNDERFLOW if raw < -1 else cls
    found = Finding(cls, bad["pfn"], ptes, raw + 1, 0, (), owners, raw_mapcount=raw)
    return busy(found)


def evidence(machine: Machine, *, audited: bool, whole: bool = True) -> Evidence:
    recorded: Events = events_of(machine.rows, lost=0 if whole else 1)
    recorded.stacks = dict(machine.stacks)
    recorded.meta["after"] = "exit"
    found = audit(machine) if audited else None
    return Evidence(recorded, (), found, resolve, "bad_page" if audited else "exit", console=True)


@pytest.mark.parametrize("audited", [True, False], ids=["stopped", "events"])
@pytest.mark.parametrize("gathers", [False, True], ids=["at_once", "gather"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_another_function(fault: Fault, gathers: bool, audited: bool) -> None:
    machine = run(fault, gathers=gathers)
    assert machine.refused == [STRUCK]
    verdict = explain(evidence(machine, audited=audited))
    said = " ".join((verdict.summary, *(step.what for step in verdict.order)))
    assert verdict.pfn == STRUCK
    assert all(words in said for words in FAULTS[fault]), said
    assert not any(words in said for words in NEVER[fault]), said
    if fault is leak:
        assert verdict.kind is VerdictKind.MAPPING_LEAKED


def test_a_copy_on_write_names_its_function() -> None:
    verdict = explain(evidence(run(cow_alone, gathers=True), audited=True))
    assert "freed pfn 0x500 in wp_page_copy()" in verdict.summary
    assert verdict.sites[0].symbol == "wp_page_copy"


def test_an_extra_put_names_the_function_that_dropped_the_last() -> None:
    verdict = explain(evidence(run(extra_put, gathers=True), audited=True))
    assert verdict.kind is VerdictKind.REFCOUNT_OVERPUT
    assert "cat/50 dropped the last reference to pfn 0x500 in page_cache_pipe_buf_release()" in (
        verdict.summary
    )


def test_a_zap_that_the_thread_made_before_is_not_of_a_page_that_it_frees_elsewhere() -> None:
    for audited in (True, False):
        machine = Machine(gathers=False)
        parent = machine.new(40, "sh", PARENT)
        machine.map(parent, 0x2000, STRUCK)
        machine.map(parent, 0x3000, OTHER_PAGE)
        machine.zap(parent, (0x3000, 0x4000))
        machine.put(parent, STRUCK, "free_unref_page", "page_cache_pipe_buf_release")
        machine.exit(machine.new(99, "poweroff", 0x8000_9000))
        verdict = explain(evidence(machine, audited=audited))
        assert not any("zap_pte_range" in step.what for step in verdict.order)
        assert not any(site.role == "pte_cleared" for site in verdict.sites)


def test_a_page_of_the_page_cache_that_is_freed_lacks_a_reference() -> None:
    machine = Machine(gathers=True)
    machine.mapcount[STRUCK] = machine.refcount[STRUCK] = 0
    machine.bad_page(machine.new(40, "sh", PARENT), STRUCK, "free_unref_page", "wp_page_copy")
    whole = evidence(machine, audited=False)
    assert whole.events is not None
    whole.events.strings[1] = "non-NULL mapping"
    verdict = explain(whole)
    assert "dropped by something that did not hold it" in verdict.readings[0]
    assert "->mapping was not cleared" in verdict.readings[1]


def test_a_counter_of_a_large_folio_is_not_the_page_s() -> None:
    machine = Machine(gathers=True)
    machine.mapcount[STRUCK] = machine.refcount[STRUCK] = 0
    machine.bad_page(machine.new(40, "sh", PARENT), STRUCK, "free_unref_page", "tlb_finish_mmu")
    whole = evidence(machine, audited=False)
    assert whole.events is not None
    whole.events.strings[1] = "nonzero large_mapcount"
    verdict = explain(whole)
    assert "it is a counter of its large folio that is wrong" in verdict.facts
    assert any("of a page of its folio was not removed" in one for one in verdict.readings)
    assert any("a part of its folio is still mapped" in one for one in verdict.readings)
    assert any("of its folio was removed twice in one zap" in one for one in verdict.readings)


def test_two_pages_that_nothing_explains_have_not_the_same_story() -> None:
    machine = Machine(gathers=True)
    parent = machine.new(40, "sh", PARENT)
    for pfn, mapcount in ((STRUCK, 1), (STRUCK + 1, 1), (STRUCK + 2, 7)):
        machine.mapcount[pfn], machine.refcount[pfn] = mapcount, 0
        machine.bad_page(parent, pfn, "free_unref_page", "wp_page_copy")
    verdict = explain(evidence(machine, audited=False))
    assert "2 more pages went wrong in this run: 1 in the same state, 1 in another." in (
        verdict.summary
    )


def test_a_fork_that_adds_no_rmap_is_spoken_for_by_its_processes() -> None:
    verdict = explain(evidence(run(fork, gathers=True), audited=False))
    assert "2 processes each removed one mapping of pfn 0x500, of its own mm" in verdict.summary


def test_a_counter_that_was_written_to_is_said_to_have_changed() -> None:
    for fault in (wild_store, wild_store_in_the_gather):
        verdict = explain(evidence(run(fault, gathers=True), audited=True))
        assert verdict.kind is VerdictKind.UNEXPLAINED
        assert "The mapcount of pfn 0x500 went from 0 to 9 between 0.00" in verdict.facts
        assert "something else wrote to the counter" in verdict.readings[0]  # what speaks is first


def test_the_story_of_a_gather_begins_with_the_page_s_own_zap() -> None:
    """exit_mmap() zaps three ranges and frees after the last: the page was in the first."""
    verdict = explain(evidence(run(cow, gathers=True), audited=True))
    (zap,) = [step for step in verdict.order if step.what.startswith("zap_pte_range")]
    assert "0x1000-0x4000" in zap.what
    assert "removed its own mapping before the free, which left mapcount 1." in verdict.facts


def test_of_a_gather_whose_removal_is_missing_the_address_chooses_the_zap() -> None:
    machine = run(leak, gathers=True)
    found = audit(machine)
    owner = Owner(40, "sh", 0x2000, None, PARENT)
    where = replace(found, findings=(replace(found.findings[0], mappings=(owner,)),))
    for audited in (where, found):
        verdict = explain(replace(evidence(machine, audited=True), audit=audited))
        assert verdict.kind is VerdictKind.MAPPING_LEAKED
        (zap,) = [step for step in verdict.order if step.what.startswith("zap_pte_range")]
        assert "0x1000-0x4000" in zap.what


def test_a_pte_that_was_lost_still_has_its_reference_and_is_still_counted() -> None:
    """change_pte_range() or move_page_tables() loses the PTE: no zap, no removal, no put."""
    owner = Owner(40, "sh", 0x2000, None, PARENT)
    lost = Finding(
        FindingClass.MORE_MAPCOUNT_THAN_PTES, STRUCK, 0, 1, 1, (), (owner,), raw_mapcount=0
    )
    counter = Splat(
        "bad_rss_counter", rss_type="MM_ANONPAGES", rss_value=1, comm="sh", pid=40, line=3
    )
    machine = Machine(gathers=True)
    machine.exit(machine.new(40, "sh", PARENT))
    recorded = events_of(machine.rows)
    verdict = explain(Evidence(recorded, (counter,), busy(lost), resolve))
    assert "mapcount 1 and 0 PTEs (refcount 1); which of the two is wrong" in verdict.facts
    assert "the PTE alone was lost, or never set" in verdict.readings[0]
    assert "MM_ANONPAGES +1 was still counted when sh/40 freed an mm" in verdict.readings[0]
    leaked = replace(lost, ptes=1, mapcount=2, refcount=1, raw_mapcount=1)
    verdict = explain(Evidence(recorded, (), busy(leaked), resolve))
    assert not any("the PTE alone" in one for one in verdict.readings)
    assert "rmap was not removed (mapping_leaked): its references are" in verdict.readings[0]


def test_a_flag_that_is_set_is_named() -> None:
    reason = "PAGE_FLAGS_CHECK_AT_FREE flag(s) set"
    trace = tuple(Frame(one, 0x10, 0x20) for one in ("bad_page", "free_unref_page", "kvfree"))
    flags = ("uptodate", "mlocked", "swapbacked")
    splat = Splat(
        "bad_page_state", pfn=STRUCK, mapcount=0, refcount=0, reason=reason, flags=flags, pid=40
    )
    for one in (splat, replace(splat, comm="sh", trace=trace)):
        assert "flag mlocked set" in explain(Evidence(None, (one,), console=True)).summary
    machine = Machine(gathers=True)
    machine.mapcount[STRUCK] = machine.refcount[STRUCK] = 0
    machine.bad_page(machine.new(40, "sh", PARENT), STRUCK, "free_unref_page", "wp_page_copy")
    whole = evidence(machine, audited=False)
    assert whole.events is not None
    whole.events.strings[1] = reason
    verdict = explain(replace(whole, splats=(replace(splat, comm="sh", trace=trace),)))
    assert "flag mlocked set), mapcount 0, refcount 0; its mapcount is not what was wrong" in (
        verdict.facts
    )


def test_counters_of_the_wrong_type_are_one_mistake() -> None:
    counters = [
        Splat("bad_rss_counter", rss_type=name, rss_value=value, mm=1, comm="sh", pid=40, line=at)
        for at, (name, value) in enumerate((("MM_FILEPAGES", 12), ("MM_SHMEMPAGES", -12)), 1)
    ]
    verdict = explain(Evidence(None, counters, console=True))
    assert "MM_FILEPAGES +12, MM_SHMEMPAGES -12 pages when sh/40 freed an mm" in verdict.summary
    assert "What one counter has too many another has too few" in verdict.summary
    one = explain(Evidence(None, counters[:1], console=True))
    assert "too many" not in one.summary


def test_a_pte_that_is_referenced_and_not_counted_may_never_have_been() -> None:
    """A COW that adds no rmap, patched into a running 6.12: seen by the audit alone."""
    owner = Owner(40, "sh", 0x2000, None, PARENT)
    wrong = Finding(
        FindingClass.MORE_PTES_THAN_MAPCOUNT, STRUCK, 1, 0, 2, (), (owner,), raw_mapcount=-1
    )
    verdict = explain(Evidence(None, (), busy(wrong)))
    assert len(verdict.readings) == 4
    assert "a mapping was made and never added to the rmap (a page fault" in verdict.readings[0]


def test_a_part_of_a_huge_page_may_have_been_mapped_by_its_pmd() -> None:
    """A zap_huge_pmd() that keeps the rmap: no PTE went."""
    folio = {"order": 9, "ptes": 0, "kind": "other", "free": False}
    lost = Finding(
        FindingClass.MORE_MAPCOUNT_THAN_PTES, STRUCK, 0, 1, 0, (), (), folio, raw_mapcount=0
    )
    readings = explain(Evidence(None, (), busy(lost))).readings
    assert any("a mapping of it went and its rmap was not removed" in one for one in readings)
    small = explain(Evidence(None, (), busy(replace(lost, folio=None)))).readings
    assert any("a PTE of it went and its rmap was not removed" in one for one in small)


def test_a_large_folio_that_counts_more_mappings_than_references() -> None:
    """Another page's PTE went and its rmap stayed; as its mm was in flight the head alone is found
    (leak-large on s390x's 6.12)."""
    owner = Owner(40, "sh", 0x2000, None, PARENT)
    folio = {"order": 4, "ptes": 15, "kind": "anon", "free": False}
    wrong = Finding(
        FindingClass.REFCOUNT_BELOW_MAPCOUNT, STRUCK, 1, 1, 15, (), (owner,), folio, raw_mapcount=0
    )
    verdict = explain(Evidence(None, (), busy(wrong)))
    assert "rmap was not removed (mapping_leaked)" in verdict.readings[0]
    assert len(verdict.readings) == 3 and "a reference is missing" not in verdict.summary


def test_a_report_names_who_freed_the_mm_and_an_audit_whose_it_is() -> None:
    """check_mm() runs in the next task on the CPU of one that ended: so seen on 7.3."""
    printed = Splat("bad_rss_counter", rss_type="MM_ANONPAGES", rss_value=1, comm="init", pid=1)
    owner = Owner(40, "sh", None, None, PARENT)
    note = "MM_ANONPAGES 30 recorded, 29 mapped"
    wrong = Finding(FindingClass.RSS_MISMATCH, None, 9, None, None, (), (owner,), note=note)
    console = explain(Evidence(None, (printed,), console=True))
    assert "(MM_ANONPAGES +1 pages when init/1 freed an mm)" in console.summary
    assert console.pid is None and console.comm is None
    both = explain(Evidence(None, (printed,), busy(wrong), console=True))
    assert f"(sh/40: {note}; MM_ANONPAGES +1 pages when init/1 freed an mm)" in both.summary
    assert (both.comm, both.pid) == ("sh", 40)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(list(FAULTS)), st.booleans(), st.booleans(), st.data())
def test_less_evidence_never_says_more(
    fault: Fault, gathers: bool, audited: bool, data: st.DataObject
) -> None:
    """Events are lost: what is left says the same, or less, and no other thing."""
    machine = run(fault, gathers=gathers)
    whole = explain(evidence(machine, audited=audited))
    kept = [row for row in machine.rows if row["kind"] == 4 or data.draw(st.booleans())]
    lossy = replace(machine, rows=kept)
    verdict: Verdict = explain(evidence(lossy, audited=audited, whole=False))
    assert verdict.kind in (whole.kind, VerdictKind.UNEXPLAINED) or verdict.readings
    assert "without removing its rmap at all" not in verdict.summary
    assert "no recorded event did it" not in verdict.summary
    assert not any(
        words in verdict.facts for words in NEVER[fault] if words not in ("zap", "zapped")
    )


def test_a_leak_after_another_s_removal_does_not_deny_that() -> None:
    machine = Machine(gathers=False)
    parent = machine.new(40, "sh", PARENT)
    machine.map(parent, 0x2000, STRUCK)
    child = machine.fork(parent, 41, CHILD)
    machine.copy_on_write(parent, 0x2000, OTHER_PAGE)
    machine.zap(child, (0x1000, 0x4000), remove=False)
    machine.zap(child, (0x10000, 0x20000))
    verdict = explain(evidence(machine, audited=True))
    assert (verdict.kind, verdict.pfn) == (VerdictKind.MAPPING_LEAKED, STRUCK)
    assert "the removals of it in the recording are others' (sh/40)" in verdict.summary
    assert verdict.order[-1].what == "the page's rmap is never removed by that zap"


def test_pages_without_a_dump_may_share_the_story_of_the_one_with_a_dump() -> None:
    """A fork takes no reference; the PTEs of the first page alone were counted at its free."""
    machine = Machine(gathers=False)
    parent = machine.new(40, "sh", PARENT)
    for number in range(3):
        machine.map(parent, 0x2000 + number * 0x100, STRUCK + number)
    child = machine.fork(parent, 41, CHILD)
    for number in range(3):
        machine.refcount[STRUCK + number] -= 1
    machine.exit(child)
    verdict = explain(evidence(machine, audited=True))
    assert (verdict.kind, verdict.pfn) == (VerdictKind.REFCOUNT_OVERPUT, STRUCK)
    assert "2 more pages went wrong in this run: 2 by the same story." in verdict.summary
    assert verdict.others == ("2 more pages: no verdict of their own",)


def test_a_refused_page_is_reported_however_many_bad_ptes_were_reported_before() -> None:
    machine = Machine(gathers=False)
    who = machine.new(40, "sh", PARENT)
    machine.mapcount[OTHER_PAGE], machine.refcount[OTHER_PAGE] = -1, 9
    for at in range(MOST_FAULTS + 1):
        about = {**machine.about(OTHER_PAGE), "pfn": OTHER_PAGE + at}
        machine.emit(who, Kind.BAD_PTE, **about, mm=PARENT)
    machine.mapcount[STRUCK], machine.refcount[STRUCK] = -1, 0
    machine.bad_page(who, STRUCK, "free_unref_page", "unmap_page_range")
    assert explain(evidence(machine, audited=False)).pfn == STRUCK


def test_a_zap_of_other_pages_is_no_zap_of_the_page_that_it_frees() -> None:
    """The dump knows that the page was mapped elsewhere in the same mm."""
    machine = Machine(gathers=False)
    who = machine.new(40, "sh", PARENT)
    machine.map(who, 0x2000, STRUCK)
    machine.emit(who, Kind.ZAP, addr=0x10000, end=0x20000, mm=PARENT, site=ZAP_SITE)
    machine.put(who, STRUCK, "free_unref_page", "unmap_page_range")
    whole = evidence(machine, audited=True)
    verdict = explain(whole)
    assert verdict.kind is VerdictKind.REFCOUNT_OVERPUT
    (zap,) = (step.what for step in verdict.order if "zap_pte_range" in step.what)
    assert zap.startswith("zap_pte_range() begins on 0x10000-0x20000")
    assert zap.endswith(": the last zap before the free, of other pages")


def test_a_page_that_another_task_frees_later_was_removed_twice_by_one() -> None:
    """7.3: a batch of the LRU lists holds a reference; the task that empties it frees the page."""
    machine = Machine(gathers=False)
    who, other = machine.new(40, "sh", PARENT), machine.new(41, "x", CHILD)
    machine.map(who, 0x2000, STRUCK)
    machine.emit(who, Kind.ZAP, addr=0x1000, end=0x4000, mm=PARENT, site=ZAP_SITE)
    for _ in range(2):
        machine.remove_rmap(who, STRUCK, "unmap_page_range")
    machine.put(other, STRUCK, "free_unref_page", "drain_pages_zone")
    readings = explain(evidence(machine, audited=False)).readings
    assert any("twice in one zap" in one for one in readings)
    machine.rows.insert(2, {**machine.rows[0], "clock": machine.rows[1]["clock"] + 1})
    readings = explain(evidence(machine, audited=False)).readings
    assert not any("twice in one zap" in one for one in readings)
    assert any("an earlier zap had left behind" in one for one in readings)


def test_a_free_page_is_told_with_what_holds_it() -> None:
    """Its counters are those of any free page."""
    note = "an LRU batch (CPU 0, lru_add) holds it"
    one = Finding(FindingClass.DIRTY_FREE_PAGE, STRUCK, 0, 0, 0, (), note=note)
    verdict = explain(Evidence(audit=busy(one)))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert f": it is free, and {note}" in verdict.summary
