"""A free list that breaks at a page: who stored its link, by the page's life."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.explain.checked import explain
from tests.unit.explain.life_cases import Kept, objected
from tests.unit.explain.rows import busy, finding
from tests.unit.life.builders import PFN
from tests.unit.life.lives import Mapped, know
from zaptrace.explain import Evidence
from zaptrace.model.findings import FindingClass
from zaptrace.model.verdict import VerdictKind

LINK = 8
"""Where lru.next lies."""
FREES, AGAIN = 0x1F4, 0x1F5
know(
    {
        FREES: "list_add at include/linux/list.h:88|free_unref_page_commit at mm/page_alloc.c:3436",
        AGAIN: "list_add at include/linux/list.h:88|strange_free at drivers/strange.c:7|"
        "strange_free at drivers/strange.c:5",
    }
)
BROKEN = replace(
    finding(FindingClass.FREE_LIST_BROKEN, 0, 0, 0),
    pfn=PFN,
    note="it is on a free list (CPU 0's list of zone Normal), and its lru.next leads to itself",
)


def freed_page(*stores: tuple[int, int]) -> Mapped:
    page = Mapped()
    page.zap()
    for pc, value in stores:
        page.store(LINK, value, 8, pc=pc, stack=page.stack(0x20, 0x27))
    return page


def test_who_put_it_on_the_list_and_who_before_is_named() -> None:
    page = freed_page((FREES, 0x37200001008), (AGAIN, 0x37200017688))
    evidence = Evidence(None, audit=busy(BROKEN), lives=Kept(page))
    verdict = explain(evidence)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert (
        "Its lru.next was last stored by strange_free() at drivers/strange.c:7, called by "
        "exit_mmap() at mm/mmap.c:3000; before that by free_unref_page_commit() at "
        "mm/page_alloc.c:3436"
    ) in verdict.summary
    assert objected(verdict, evidence) == ""


def test_of_a_life_that_is_not_whole_nothing_is_said() -> None:
    page = freed_page((FREES, 0x37200001008))
    summary = explain(Evidence(None, audit=busy(BROKEN), lives=Kept(page, whole=False))).summary
    assert "free list" in summary and "last stored" not in summary
