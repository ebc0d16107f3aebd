"""What recorded stores show that no counter does: pages freed too early or never, changed words."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.explain.audits import audit
from tests.unit.explain.checked import explain
from tests.unit.explain.life_cases import (
    ABOVE,
    STATE,
    Kept,
    case,
    forked,
    healthy,
    lost,
    objected,
    overput,
    torn_down,
)
from tests.unit.life.builders import FLAGS, PFN, REFCOUNT
from tests.unit.life.folios import FIRST, Folio
from tests.unit.life.lives import NAMES, OTHER, Mapped, resolve
from zaptrace.explain import Evidence, life_rules
from zaptrace.life.changed_words import Changed
from zaptrace.life.freed_mapped import freed_while_mapped
from zaptrace.life.lost_tables import lost_tables
from zaptrace.life.page_life import Role, entry_store
from zaptrace.life.record_layout import NOT_SEEN, VALID
from zaptrace.life.records import of_pages
from zaptrace.model.verdict import Verdict, VerdictKind
from zaptrace.report.site_roles import marked_line, title
from zaptrace.runs.signature import signature_of


def sites(verdict: Verdict) -> list[tuple[str, tuple[str, str | None]]]:
    """The heading of each code site, and the line that is marked."""
    return [(title(one), marked_line(one)) for one in verdict.sites]


def moved() -> Mapped:
    """mremap() that leaves the old PTE as well; the new one is zapped, and the frame used again."""
    page = Mapped()
    page.clears(0x34, 0x23)
    page.sets(0x34, 0x23, slot=OTHER)
    page.sets(0x34, 0x23)
    page.zap(OTHER)
    page.fault()
    page.unmap()
    return page


def test_a_pte_that_outlives_its_page_is_found_though_every_counter_is_right() -> None:
    """6.12, mremap() that leaves the old PTE: nothing is printed, and no counter is wrong."""
    verdict = explain(evidence := Evidence(None, console=True, lives=Kept(moved())))
    assert (verdict.kind, verdict.pfn) == (VerdictKind.MAPPED_WITHOUT_RMAP, PFN)
    assert "zap_pte_range() at mm/memory.c:61 freed pfn 0x5da while a PTE still mapped it" in (
        verdict.summary
    )
    said = "move_ptes() at mm/mremap.c:230 set a PTE that maps it, and took no reference and added"
    assert said in verdict.summary
    assert objected(verdict, evidence) == ""
    assert "life" in verdict.evidence


def test_a_pte_that_outlives_its_page_has_the_lines_that_set_it_and_freed_the_page() -> None:
    """With a word of its struct page not as recorded no store is known to lack a partner."""
    page = Mapped()
    page.unmap()
    verdict = explain(Evidence(None, console=True, lives=Kept(page, whole=False)))
    assert "zap_pte_range() at mm/memory.c:61 freed pfn 0x5da while a PTE still mapped it" in (
        verdict.summary
    )
    assert sites(verdict) == [
        ("PTE set", ("do_anonymous_page", "mm/memory.c:200")),
        ("Freed while mapped", ("zap_pte_range", "mm/memory.c:61")),
    ]


def test_where_a_store_may_be_missing_no_pte_is_said_to_outlive_its_page() -> None:
    assert freed_while_mapped(moved().life(tables=1), resolve)
    assert not freed_while_mapped(moved().life(tables=1, missed=1), resolve)
    assert not freed_while_mapped(moved().life(tables=1, storage=NOT_SEEN), resolve)
    unvalued = moved()
    unvalued.store(FLAGS, 0, 8, flags=VALID)
    assert not freed_while_mapped(unvalued.life(tables=1), resolve)
    assert not freed_while_mapped(moved().life(tables=0), resolve)


def test_a_pte_of_the_kernel_may_map_a_free_page() -> None:
    """7.3, x86_64: free_initmem() frees what a split of the direct map has PTEs for."""
    NAMES[0x15E] = "__change_page_attr at arch/x86/mm/pat/set_memory.c:1600"
    page = Mapped()
    page.sets(0x15E, 0x23, slot=OTHER)
    page.zap()
    assert not freed_while_mapped(page.life(tables=1), resolve)
    page = Mapped()
    page.sets(0x34, 0x23, slot=OTHER)
    page.zap()
    assert freed_while_mapped(page.life(tables=1), resolve)


def test_a_large_folio_that_is_freed_while_a_pmd_maps_it_is_found() -> None:
    folio = Folio()
    folio.fault()
    folio.counts(-1, 0x152, 0x161)
    for count in (1, 0):
        folio.store(REFCOUNT, count, pfn=FIRST)
    (one,) = freed_while_mapped(folio.whole(), resolve)
    assert (one.pfn, one.table) == (FIRST, 4)
    write = entry_store(folio.whole(), FIRST, one.entry)
    assert write is not None and write.pte is Role.PMD_SET
    folio.pmd(0x154, 0x161, pfn=0)
    assert entry_store(folio.whole(), FIRST, len(folio.rows) - 1) is None


def test_a_pte_counts_until_its_page_table_is_freed_and_the_guest_is_stopped() -> None:
    page = Mapped()
    page.unmap()
    (one,) = freed_while_mapped(page.life(tables=1), resolve)
    assert (one.pfn, one.table) == (PFN, 4)
    assert not freed_while_mapped(page.life(tables=1, stop=one.freed), resolve)
    page = Mapped()
    for count in (1, 0):
        page.store(REFCOUNT, count, pfn=4)  # the page of slot 0x4000
    page.unmap()
    assert not freed_while_mapped(page.life(tables=1), resolve)
    assert not freed_while_mapped(healthy().life(tables=1), resolve)


def test_a_page_table_that_is_never_freed_is_found_though_nothing_counts_it() -> None:
    """6.12, free_pte_range() that does not give the table back: `clean`."""
    evidence = Evidence(None, console=True, lives=Kept(torn_down()))
    (one,) = lost(torn_down())
    assert (one.pfn, one.above) == (PFN, ABOVE)
    verdict = explain(evidence)
    assert (verdict.kind, verdict.rule) == (VerdictKind.REFCOUNT_LEAKED, "table_lost")
    assert (
        f"free_pte_range() at mm/memory.c:190 took the page table in pfn {PFN:#x} out of the table "
        "above it, and nothing freed it after that"
    ) in verdict.summary
    assert objected(verdict, evidence) == ""
    assert sites(verdict) == [("Page table taken out", ("free_pte_range", "mm/memory.c:190"))]
    assert str(signature_of(verdict)) == "refcount_leaked in free_pte_range()"


def test_what_a_table_still_held_when_it_was_freed_is_no_lost_table() -> None:
    """7.3: a PGD is typed, is freed with the kernel's entries in it, and becomes a PTE table."""
    page = Mapped()
    page.unmap()
    page.refs(1, 1, 0x21)
    page.sets(0x35, 0x21, slot=ABOVE << 12)
    page.entry(0x400, slot=PFN << 12, pc=0x30)
    for _ in range(2):
        for count in (1, 0):
            page.store(REFCOUNT, count, pfn=ABOVE, pc=4, stack=page.stack(0x20, 0x27))
        page.clears(0x30, 0x21, slot=ABOVE << 12)
    assert not lost(page)


def test_a_page_table_may_be_kept_as_long_as_the_one_above() -> None:
    """pgtable_trans_huge_deposit()."""
    assert not lost(torn_down(frees=True))
    above = lost(torn_down())[0].above_freed
    assert not lost(torn_down(), stop=above)
    assert not lost(torn_down(), missed=1)


def test_a_page_table_that_waits_for_rcu_is_not_lost() -> None:
    """7.3, power-off: of 816 tables two, whose tables above had been freed 10 and 14 ms ago."""
    assert not lost(torn_down(), stop_ns=900_000_000)
    assert not lost(torn_down(), stop_ns=0)


def test_a_page_that_was_a_table_once_is_not_lost_when_a_process_unmaps_it() -> None:
    """A page of the page cache: it outlives the processes that map it, and their tables."""
    page = Mapped()
    page.unmap()
    page.entry(0x400, slot=PFN << 12, pc=0x30)  # a table, of long ago
    page.refs(1, 1, 0x21)
    page.sets(0x35, 0x21, slot=ABOVE << 12)
    page.clears(0x36, 0x27, slot=ABOVE << 12)
    for count in (1, 0):
        page.store(REFCOUNT, count, pfn=ABOVE, pc=4, stack=page.stack(0x20, 0x27))
    assert not lost(page)


def test_a_lost_table_is_known_as_one_by_what_is_kept_of_a_recording() -> None:
    whole = torn_down().life(tables=1, stop_ns=60_000_000_000)
    (one,) = lost_tables(whole)
    assert one.slot >> 12 == PFN
    assert lost_tables(of_pages(whole, (one.pfn, one.above), (one.slot,))) == (one,)
    assert not lost_tables(of_pages(whole, (one.pfn, one.above)))


INDEX = Changed(PFN, "index", 0xB, 3)


def test_a_member_of_a_struct_page_that_no_store_changed_is_found_by_the_dump() -> None:
    """6.12, a bit of a file page's index, or of an anonymous one's mapping: `clean`."""
    evidence = Evidence(None, audit=audit(), lives=Kept(healthy(), changed=(INDEX,)))
    verdict = explain(evidence)
    assert (verdict.kind, verdict.pfn) == (VerdictKind.SCRIBBLED, PFN)
    assert (
        "index of pfn 0x5da was 0xb after the last store to it, and in the dump it is 0x3: no"
        in (verdict.summary)
    )
    assert "culprit" not in [one.role for one in verdict.sites]
    assert objected(verdict, evidence) == ""


def test_another_page_s_is_told_beside_the_verdict() -> None:
    other = Changed(0x777, "lru.next", None, 0x1001)
    evidence = Evidence(None, [STATE], console=True, lives=Kept(forked(), changed=(other,)))
    verdict = explain(evidence)
    assert (verdict.kind, verdict.pfn) == (VerdictKind.MAPPED_WITHOUT_RMAP, PFN)
    assert "lru.next of pfn 0x777 was never stored to, and in the dump it is 0x1001" in (
        verdict.summary
    )


def test_a_page_that_is_freed_while_its_pte_is_there_is_freed_by_another_s_put() -> None:
    """6.8, s390x: a zap dropped the next page's reference, and the next page's zap came after."""
    page = Mapped()
    page.refs(-1, 6, 0x22)
    page.clears(0x31, 0x22)
    page.maps(-1, 5, 0x22)
    wrong = case(Kept(page))
    assert life_rules.refcount_overput(wrong)
    assert not life_rules.freed_before_rmap_removed(wrong)


def test_a_put_that_the_kernel_refused_is_the_fault_of_who_took_no_reference_or_dropped_one() -> (
    None
):
    """6.8, s390x: each was `freed_twice`, whatever the page's life said."""
    reason = "kernel BUG at mm.h:780! (VM_BUG_ON_PAGE(page_ref_count(page) == 0))"
    refused = replace(STATE, kind="vm_bug_on", reason=reason)
    for made, kind in (
        (forked, VerdictKind.MAPPED_WITHOUT_RMAP),
        (overput, VerdictKind.REFCOUNT_OVERPUT),
        (healthy, VerdictKind.FREED_TWICE),
    ):
        assert explain(Evidence(None, [refused], console=True, lives=Kept(made()))).kind is kind
