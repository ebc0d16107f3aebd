"""A kernel that dies inside page tables leaves what it had begun there half done."""

from __future__ import annotations

from tests.unit.explain.checked import explain
from tests.unit.explain.rows import PFN, busy, finding
from zaptrace.explain import Evidence
from zaptrace.model.findings import FindingClass
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import VerdictKind

REASON = "BUG: kernel NULL pointer dereference, address: 0000000000000000"
LEAKED = finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 2)


def test_a_page_whose_zap_an_oops_cut_off_has_no_leaked_mapping() -> None:
    """6.12, a bit of a file page's `mapping` flipped: folio_mark_dirty() in the zap is an oops,
    between the PTE and the rmap, and by its mapping the page is no mm's."""
    oops = Splat("other", reason=REASON, pid=38, comm="truncate", line=9)
    verdict = explain(Evidence(None, [oops], busy(LEAKED, 0x7000), ended="oops", console=True))
    assert (verdict.kind, verdict.pfn) == (VerdictKind.UNEXPLAINED, PFN)
    assert any("the kernel died in the call that was about to" in one for one in verdict.readings)
    assert f"the kernel reported {REASON}" in verdict.others


def test_of_a_kernel_at_rest_it_has() -> None:
    for ended, mms in (("oops", ()), ("exit", (0x7000,))):
        verdict = explain(Evidence(None, (), busy(LEAKED, *mms), ended=ended))
        assert verdict.kind is VerdictKind.MAPPING_LEAKED
        assert not any("the kernel died" in one for one in verdict.readings)
