"""Struct pages that were written over, and flags that were left: the store is named.

Each was a fault of a patched 6.12, of functions that no rule was made for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from tests.unit.explain.audits import audit
from tests.unit.explain.checked import explain
from tests.unit.explain.life_cases import Kept, objected
from tests.unit.explain.rows import OTHER, finding
from tests.unit.explain.test_unseen_entry import LOST, Two, lost, mistaken, printed
from tests.unit.life.builders import FLAGS, MAPPING, PFN
from tests.unit.life.lives import Mapped, know
from zaptrace.explain import Evidence
from zaptrace.explain.page_account import PageAccount
from zaptrace.model.findings import AuditResult, FindingClass
from zaptrace.model.splats import Frame, Splat
from zaptrace.model.verdict import Verdict, VerdictKind

know(
    {
        0x250: "memset at lib/string.c:1",
        0x251: "list_del at include/linux/list.h:1|lruvec_del_folio at mm/swap.c:3",
        0x252: "prep_compound_page at mm/page_alloc.c:5",
        0x253: "run_timers at kernel/time/timer.c:9",
        0x254: "__folio_add_file_rmap at mm/rmap.c:1485|folio_add_file_rmap_ptes at mm/rmap.c:1507",
        0x255: "set_pte_range at mm/memory.c:5055",
        0x256: "page_move_anon_rmap at mm/rmap.c:1190",
        0x257: "wp_can_reuse_anon_folio at mm/memory.c:3641",
        0x258: "set_bit at include/linux/bitops.h:1|tick at mm/util.c:8",
        0x259: "clear_bit at include/linux/bitops.h:2|untick at mm/util.c:9",
    }
)
WILD = 0x5A5A5A5A5A5A5A5A
NEXT = 8
OOPS = Splat("other", reason="Oops: general protection fault: 0000 [#1]", line=9, pid=36, comm="x")


def culprits(verdict: Verdict) -> list[tuple[str | None, str | None]]:
    return [(one.role, one.source) for one in verdict.sites]


def test_what_the_kernel_died_of_names_who_stored_it() -> None:
    """`no page is known to be wrong`, of a page whose list pointers a timer had written over."""
    page = Mapped()
    page.store(NEXT, WILD, 8, pc=0x250, stack=page.stack(0x253))
    evidence = Evidence(
        None, [OOPS], ended="oops", console=True, lives=Kept(page, over=False, wild=(WILD,))
    )
    verdict = explain(evidence)
    assert (verdict.kind, verdict.pfn, verdict.pid) == (VerdictKind.SCRIBBLED, PFN, 36)
    assert (
        f"The kernel oopsed when it followed {WILD:#x}, which was in lru.next of the struct page "
        f"of pfn {PFN:#x}. By the recording memset() at lib/string.c:1 had stored it there"
    ) in verdict.summary
    assert culprits(verdict) == [("culprit", "lib/string.c:1")]
    assert objected(verdict, evidence) == ""
    assert explain(replace(evidence, lives=Kept(page))).kind is VerdictKind.UNEXPLAINED


def astray(pc: int, value: int, *, in_one_call: bool = True) -> Evidence:
    """A zap of another page's PTE, which took this page for it: the other one's compound_head."""
    evidence = mistaken(in_one_call=in_one_call, twin_at=PFN + 0x33)
    two = evidence.lives
    assert isinstance(two, Two)
    twin = Mapped()
    twin.store(NEXT, value, 8, pc=pc, stack=twin.stack(0x253))
    twin.clears(0x31, 0x22)
    return replace(evidence, lives=replace(two, other=Kept(twin)))


def test_a_page_that_was_made_a_tail_by_a_stray_store_names_that_store() -> None:
    """`whatever led to that one`, of a compound_head that a timer had written over."""
    evidence = astray(0x250, 0x37200001001)
    verdict = explain(evidence)
    assert (verdict.kind, verdict.pfn) == (VerdictKind.SCRIBBLED, PFN)
    assert "memset() at lib/string.c:1 had stored 0x37200001001 to its lru.next" in verdict.summary
    assert ("culprit", "lib/string.c:1") in culprits(verdict)
    assert objected(verdict, evidence) == ""


@pytest.mark.parametrize(("pc", "value"), [(0x252, 0x37200001001), (0x251, 0x37200001000)])
def test_what_makes_compound_pages_or_lists_leads_nowhere_else(pc: int, value: int) -> None:
    verdict = explain(astray(pc, value))
    assert verdict.kind is not VerdictKind.SCRIBBLED
    assert "whatever led to that one" in verdict.summary


def test_a_pte_that_is_no_page_s_is_named_beside_the_rmap_that_has_none() -> None:
    """A special PTE of a file's page: `__folio_add_file_rmap() added an rmap, and set no PTE`."""
    page = Mapped()
    page.zap()
    page.refs(1, 7, 0x25)
    page.maps(1, 0x254, 0x255)
    one = replace(finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 1), pfn=PFN)
    splat = printed(PFN)
    evidence = Evidence(None, [splat], audit(one), ended="exit", console=True, lives=Kept(page))
    verdict = explain(evidence)
    assert verdict.kind is VerdictKind.MAPPING_LEAKED
    assert (
        "set_pte_range() at mm/memory.c:5055 added an rmap, and set no PTE for that. But the "
        f"kernel reported PTE {splat.pte:#x} as bad, which has its number: such a PTE maps no page"
    ) in verdict.summary
    assert objected(verdict, evidence) == ""
    alone = explain(replace(evidence, splats=[]))
    assert "But the kernel reported" not in alone.summary


def test_a_pte_without_reference_and_rmap_is_one_sentence() -> None:
    """mprotect() changed a PTE's page number: the same line was named twice."""
    page = Mapped()
    page.sets(0x40, 0x23, slot=0x8000)
    one = replace(finding(FindingClass.MORE_PTES_THAN_MAPCOUNT, 2, 1, 1), pfn=PFN)
    verdict = explain(Evidence(None, (), audit(one), ended="exit", lives=Kept(page)))
    assert verdict.kind is VerdictKind.MAPPED_WITHOUT_RMAP
    assert (
        "change_pte_range() at mm/mprotect.c:240 set a PTE that maps it, and took no reference and "
        "added no rmap for that."
    ) in verdict.summary
    assert verdict.summary.count("change_pte_range()") == 1


@dataclass(frozen=True)
class Missed(Kept):
    """The life of a page whose rmap does not lead to its PTE."""

    def account(
        self, pfn: int, audit: AuditResult | None, until_store: int | None = None
    ) -> PageAccount | None:
        found = super().account(pfn, audit, until_store)
        if found is None:
            return None
        sets = [one for one in found.named.writes if one.role == "PTE set"]
        return replace(found, entry=sets[-1])


@pytest.mark.parametrize("moved", [True, False], ids=["the entry", "the rmap"])
def test_an_rmap_that_misses_its_pte_names_which_of_the_two_was_stored_last(moved: bool) -> None:
    """A COW that reused a shared page: `Its PTE was moved, or made anew`, and it was not."""
    page = Mapped()
    if moved:
        page.store(MAPPING, 0x7001, 8, pc=0x256, stack=page.stack(0x257))
    page.clears(0x34, 0x23)
    page.sets(0x34, 0x23, slot=0x8000)
    if not moved:
        page.store(MAPPING, 0x7001, 8, pc=0x256, stack=page.stack(0x257))
    wrong = replace(finding(FindingClass.WRONG_RMAP, 1, 1, 1, OTHER), pfn=PFN, note="its anon_vma")
    verdict = explain(Evidence(None, (), audit(wrong), ended="exit", lives=Missed(page)))
    assert verdict.kind is VerdictKind.WRONG_RMAP
    assert "left as they were; or these were changed, and that entry stayed" in verdict.summary
    assert "That PTE was last stored by move_ptes() at mm/mremap.c:230" in verdict.summary
    when = "before" if moved else "after"
    assert f"mapping was last stored {when} that, by wp_can_reuse_anon_folio()" in verdict.summary
    last = ("entry_stored", "mm/mremap.c:230") if moved else ("rmap_stored", "mm/memory.c:3641")
    assert culprits(verdict) == [last]


@pytest.mark.parametrize(("pc", "named"), [(0x258, True), (0x259, False)])
def test_who_set_a_flag_that_was_left_is_a_place_in_the_source(pc: int, named: bool) -> None:
    page = Mapped()
    page.store(FLAGS, 0, 8, pc=1)
    page.store(FLAGS, 1 << 5, 8, pc=pc, stack=page.stack(0x253))
    page.zap()
    state = Splat("bad_page_state", pfn=PFN, mapcount=0, refcount=0, flags=("lru",), line=3)
    state = replace(state, reason="PAGE_FLAGS_CHECK_AT_FREE flag(s) set")
    verdict = explain(Evidence(None, [state], console=True, lives=Kept(page)))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    said = "tick() at mm/util.c:8 set flag lru, which was not cleared before the free"
    assert (said in verdict.summary) is named
    assert culprits(verdict) == ([("flag_set", "mm/util.c:8")] if named else [])


def test_a_condition_that_a_macro_has_expanded_is_cut() -> None:
    """VM_BUG_ON_PAGE() of PAGE_FLAGS_CHECK_AT_PREP prints some 2,000 characters, twice."""
    reason = f"kernel BUG at mm/page_alloc.c:822! (VM_BUG_ON_PAGE({'(1UL << 20) | ' * 100}))"
    page = lost(0x31)
    splat = Splat("vm_bug_on", pfn=PFN, mapcount=1, refcount=1, reason=reason, line=4)
    verdict = explain(Evidence(None, [splat], audit(LOST), console=True, lives=Kept(page)))
    assert "kernel BUG at mm/page_alloc.c:822! (VM_BUG_ON_PAGE((1UL << 20) |" in verdict.summary
    assert max(map(len, (verdict.summary, *(one.what for one in verdict.order)))) < 600


_TRACE = ("__free_one_page", "free_pcppages_bulk", "free_unref_page_commit", "free_unref_folios")


@pytest.mark.parametrize(("refcount", "mapcount"), [(1, 1), (1, 0), (0, 0)])
def test_a_page_whose_flags_a_check_among_free_pages_refused_has_readings(
    refcount: int, mapcount: int
) -> None:
    """Pages of a corrupt LRU list: `what was found there, not how it came to be`, without one."""
    reason = "kernel BUG at mm/page_alloc.c:822! (VM_BUG_ON_PAGE(page->flags & (1UL << 20)))"
    splat = Splat("vm_bug_on", pfn=PFN, mapcount=mapcount, refcount=refcount, reason=reason, line=4)
    frames = tuple(Frame(name) for name in _TRACE)
    verdict = explain(Evidence(None, [replace(splat, trace=frames)], ended="panic", console=True))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    listed = "a list that leads through struct pages is corrupt"
    assert any(listed in one for one in verdict.readings) is (refcount > 0)
    held = f"it is still referenced and mapped (refcount 1, mapcount {mapcount})"
    assert any(held in one for one in verdict.readings) is (mapcount > 0)
    assert any("(refcount_overput)" in one for one in verdict.readings)
    elsewhere = replace(splat, trace=tuple(Frame(name) for name in ("lru_add", *_TRACE[2:])))
    assert explain(Evidence(None, [elsewhere], ended="panic", console=True)).readings == ()
