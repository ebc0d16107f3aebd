"""Which bug it is."""

from __future__ import annotations

import pytest

from zaptrace.model.errors import BadInput
from zaptrace.model.verdict import CodeSite, Verdict, VerdictKind
from zaptrace.runs.signature import Signature, signature_of

FREED = CodeSite(
    "unmap_page_range",
    0xD6E,
    "include/linux/mm.h:1182",
    (
        "folio_put at include/linux/mm.h:1182",
        "try_zap_anon_pte_range at mm/memory.c:1464",
        "zap_pte_range at mm/memory.c:1516",
    ),
    "freed",
)
CLEARED = CodeSite("unmap_page_range", 742, None, ("zap_pte_range at ?",), "pte_cleared")
COW = CodeSite("wp_page_copy", 0x9C, "mm/memory.c:3368", ("wp_page_copy at ?",), "culprit")
PUT = CodeSite(
    "unmap_page_range",
    8,
    None,
    ("zapfault_zap_pte at mm/memory.c:1509", "zap_pte_range at mm/memory.c:1572"),
    "culprit",
)
NO_NAMES = CodeSite("pipe_buf_release", 8, None, (), "culprit")
REPORTED = CodeSite("free_pcp_prepare", 276, None, (), "reported")


def verdict(*sites: CodeSite, pfn: int = 1) -> Verdict:
    return Verdict(VerdictKind.FREED_BEFORE_RMAP_REMOVED, (), pfn=pfn, sites=sites)


def test_the_function_is_the_innermost_zap_that_freed() -> None:
    signature = signature_of(verdict(REPORTED, CLEARED, FREED))
    assert str(signature) == "freed_before_rmap_removed in try_zap_anon_pte_range()"
    assert signature == signature_of(verdict(FREED, pfn=2))


def test_the_page_s_life_knows_better_than_the_zap_that_freed_it() -> None:
    """A COW that forgets an rmap was "mapping_leaked in zap_pte_range()"."""
    assert signature_of(verdict(FREED, CLEARED, COW)).function == "wp_page_copy"
    assert signature_of(verdict(FREED, NO_NAMES)).function == "pipe_buf_release"
    assert signature_of(verdict(REPORTED, PUT)).function == "zap_pte_range"


def test_else_the_one_that_cleared_the_pte() -> None:
    assert signature_of(verdict(REPORTED, CLEARED)).function == "zap_pte_range"
    assert signature_of(verdict(REPORTED)).function is None


def test_the_same_kind_elsewhere_is_another_bug() -> None:
    here, there = Signature("pte_left_behind", "a"), Signature("pte_left_behind", "b")
    assert here.matches(here)
    assert not here.matches(there)
    assert not here.matches(Signature("rmap_underflow", "a"))
    assert not here.matches(Signature("pte_left_behind"))
    assert Signature("pte_left_behind").matches(here)


def test_it_is_read_as_it_is_typed() -> None:
    assert Signature.parse("rmap_underflow") == Signature("rmap_underflow")
    assert Signature.parse("rmap_underflow:zap_pte_range()").function == "zap_pte_range"
    for wrong in ("clean", "unexplained", "", "oops"):
        with pytest.raises(BadInput, match="no bug is called"):
            Signature.parse(wrong)
