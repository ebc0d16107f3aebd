"""A PTE that was changed by no store: the zap that finds it is not at fault.

Memory of a running 6.12 was changed from outside: a bit of a PTE of an anonymous page (special, one
of its page's number, present).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from tests.unit.explain.audits import audit
from tests.unit.explain.checked import explain
from tests.unit.explain.kernel import events_of
from tests.unit.explain.life_cases import Kept, objected
from tests.unit.explain.rows import finding
from tests.unit.life.builders import PFN
from tests.unit.life.lives import Mapped, know
from zaptrace.explain import Evidence
from zaptrace.explain.bad_pages import faults
from zaptrace.explain.evidence import no_source
from zaptrace.explain.page_account import PageAccount
from zaptrace.life.changed_words import Changed
from zaptrace.life.freed_mapped import FreedMapped
from zaptrace.life.lost_tables import LostTable
from zaptrace.life.planted import Planted
from zaptrace.model.events import ABSENT, Kind
from zaptrace.model.findings import AuditResult, FindingClass
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import VerdictKind

know(
    {
        0x71: "clear_not_present_full_ptes at include/linux/pgtable.h:800|zap_pte_range at "
        "mm/memory.c:1774",
    }
)
ROW = {"kind": Kind.BAD_PTE, "clock": 1000, "pid": 36, "tgid": 36, "pfn": ABSENT, "page": 0}
LOST = replace(finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 1), pfn=PFN)


def printed(number: int, bits: int = 0x8000000000000267) -> Splat:
    entry = number << 12 | bits
    return Splat("bad_page_map", pte=entry, addr=0x7F0000, pid=36, comm="hold", line=7)


def lost(pc: int) -> Mapped:
    """The zap clears the PTE, and removes no rmap."""
    page = Mapped()
    page.clears(pc, 0x22)
    return page


def test_a_bad_pte_of_no_page_is_no_page_that_went_wrong() -> None:
    """`met a bad PTE that maps a page`, `print_bad_pte() finds its mapcount wrong`: of no page."""
    assert faults(events_of([ROW]), no_source) == []
    verdict = explain(Evidence(events_of([ROW, ROW]), (), ended="exit"))
    assert (verdict.kind, verdict.pfn, verdict.pid) == (VerdictKind.UNEXPLAINED, None, 36)
    assert "reported a PTE as bad that it takes for no page's (print_bad_pte(), 2 times)" in (
        verdict.summary
    )
    assert verdict.order == () and verdict.others == ()


@pytest.mark.parametrize(("number", "said"), [(PFN, ""), (PFN ^ 1 << 21, " but for one bit")])
def test_the_page_whose_number_the_bad_pte_holds_is_the_verdict_s(number: int, said: str) -> None:
    splat = printed(number)
    evidence = Evidence(events_of([ROW]), [splat], audit(LOST), ended="exit", console=True)
    verdict = explain(evidence)
    assert (verdict.kind, verdict.pfn) == (VerdictKind.UNEXPLAINED, PFN)
    assert f"reported PTE {splat.pte:#x} as bad, which has its number{said}" in verdict.readings[0]
    other = replace(evidence, splats=[printed(PFN ^ 3)])
    assert explain(other).kind is VerdictKind.MAPPING_LEAKED


@pytest.mark.parametrize(
    ("pc", "splats", "zap"),
    [
        (0x31, [printed(PFN)], "zap_pte_range() at mm/memory.c:21"),
        (0x71, [], "zap_pte_range() at mm/memory.c:1774"),
    ],
    ids=["reported as bad", "not present"],
)
def test_by_its_life_the_zap_that_cleared_what_was_no_page_s_is_not_at_fault(
    pc: int, splats: list[Splat], zap: str
) -> None:
    kept = Kept(lost(pc))
    evidence = Evidence(None, splats, audit(LOST), ended="exit", console=True, lives=kept)
    verdict = explain(evidence)
    assert (verdict.kind, verdict.pfn, verdict.readings) == (VerdictKind.UNEXPLAINED, PFN, ())
    assert f"its PTE had changed when {zap} cleared it, and no recorded store" in verdict.summary
    assert "did not remove its rmap" not in verdict.summary
    assert "culprit" not in [one.role for one in verdict.sites]
    assert objected(verdict, evidence) == ""


def test_a_zap_that_clears_the_page_s_own_pte_is() -> None:
    kept = Kept(lost(0x31))
    verdict = explain(Evidence(None, (), audit(LOST), ended="exit", console=True, lives=kept))
    assert verdict.kind is VerdictKind.MAPPING_LEAKED
    assert "zap_pte_range() at mm/memory.c:21 cleared a PTE of it" in verdict.summary


TWIN = PFN ^ 2


@dataclass(frozen=True)
class Two:
    """The lives of two pages; one kernel's, of which the numbers are in one order."""

    mine: Kept
    other: Kept
    at: int

    def account(
        self, pfn: int, audit: AuditResult | None, until_store: int | None = None
    ) -> PageAccount | None:
        kept = {PFN: self.mine, self.at: self.other}.get(pfn)
        return kept.account(PFN, audit, until_store) if kept is not None else None

    def freed_while_mapped(self) -> tuple[FreedMapped, ...]:
        return ()

    def changed_unseen(self) -> tuple[Changed, ...]:
        return ()

    def planted(self) -> tuple[Planted, ...]:
        return ()

    def lost_tables(self) -> tuple[LostTable, ...]:
        return ()


def mistaken(*, in_one_call: bool, twin_at: int = TWIN) -> Evidence:
    """The zap clears the twin's PTE, which a flipped bit made this page's, and then this page's."""
    mine = Mapped()
    mine.refs(1, 7, 0x23)
    mine.refs(-1, 8, 0x23)
    caller = 0x22 if in_one_call else 0x25
    mine.maps(-1, 5, caller)
    mine.refs(-1, 6, caller)
    mine.clears(0x31, caller)
    mine.maps(-1, 5, caller)
    mine.refs(-1, 6, caller)
    twin = lost(0x31)
    leaked = replace(LOST, pfn=twin_at)
    state = Splat("bad_page_state", pfn=PFN, mapcount=-1, refcount=-1, line=3)
    state = replace(state, reason="nonzero _refcount")
    lives = Two(Kept(mine), Kept(twin), twin_at)
    return Evidence(None, [state], audit(leaked), ended="bad_page", console=True, lives=lives)


def test_an_rmap_removed_for_a_pte_that_a_flipped_bit_made_the_page_s_blames_nobody() -> None:
    """A bit of a PTE's page number: `freed_twice`, and the zap `did not clear its PTE`."""
    verdict = explain(mistaken(in_one_call=True))
    assert (verdict.kind, verdict.pfn) == (VerdictKind.UNEXPLAINED, PFN)
    assert (
        f"of pfn {TWIN:#x}, whose number differs in one bit, zap_pte_range() at mm/memory.c:21 "
        "cleared a PTE that had been set for the latter"
    ) in verdict.summary
    assert "culprit" not in [one.role for one in verdict.sites]
    assert not any("mapping_leaked" in one for one in verdict.others)


def test_of_two_calls_each_has_its_own_fault() -> None:
    assert explain(mistaken(in_one_call=False)).kind is not VerdictKind.UNEXPLAINED


def test_an_rmap_removed_instead_of_another_page_s_is_told_with_that_page() -> None:
    """A compound_head written over: the rmap of the page that it led to was removed."""
    said = f"cleared a PTE of pfn {PFN + 0x33:#x}, whose rmap had not been removed by"
    assert said in explain(mistaken(in_one_call=True, twin_at=PFN + 0x33)).summary
    assert said not in explain(mistaken(in_one_call=False, twin_at=PFN + 0x33)).summary
