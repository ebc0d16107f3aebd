"""Which site a step of the order was done at, and which step is the wrong one."""

from __future__ import annotations

import pytest

from zaptrace.model.verdict import CodeSite, OrderStep, Verdict, VerdictKind
from zaptrace.report.site_roles import (
    is_freed_wrong,
    is_turn,
    marked_line,
    places,
    shared_tail,
    title,
)

OUTER = ("zap_pte_range at mm/memory.c:1516", "unmap_page_range at mm/memory.c:1741")


def site(role: str, *inner: str) -> CodeSite:
    chain = (*inner, *OUTER)
    return CodeSite("unmap_page_range", 4, chain[0].partition(" at ")[2], chain, role)


FREED = site("freed", "put_page at include/linux/mm.h:1", "try_zap_range at mm/memory.c:1464")
CLEARED = site("pte_cleared", "ptep_get_and_clear_full at x.h:1", "try_zap_range at mm/memory.c:9")
LATE = site("rmap_removed", "try_zap_range at mm/memory.c:1473")


def verdict(*what: str) -> Verdict:
    order = tuple(OrderStep(one, at) for at, one in enumerate(what))
    kind = VerdictKind.FREED_BEFORE_RMAP_REMOVED
    return Verdict(kind, (), order=order, sites=(FREED, CLEARED, LATE))


def test_each_step_has_its_own_site() -> None:
    told = verdict(
        "zap_pte_range() begins on 0x1-0x2; it clears the page's PTE",
        "the page is handed to the allocator: mapcount 1",
        "the page's rmap is removed, 5.4 ms after it was freed: too late",
    )
    lines = ["mm/memory.c:9", "mm/memory.c:1464", "mm/memory.c:1473"]
    assert places(told) == [f"{line} in try_zap_range()" for line in lines]


def test_a_site_is_given_once_to_the_last_step_that_it_can_be_of() -> None:
    told = verdict(
        *("zap_pte_range() begins", "the page's rmap is removed; its PTE stays"),
        *("zap_pte_range() begins", "the page's rmap is removed", "the reason is not known"),
    )
    assert [one and one.split()[0] for one in places(told)] == [
        *(None, None),
        *("mm/memory.c:9", "mm/memory.c:1473", None),
    ]


def test_what_clears_is_distinguished_from_a_zap_that_does_so_somewhere() -> None:
    assert title(CLEARED) == "PTE cleared"
    assert title(site("pte_cleared")) == "Zap entered"


def test_a_pte_is_cleared_where_its_clearing_is_called() -> None:
    inner = ("native_ptep_get_and_clear at x.h:1", "ptep_get_and_clear at x.h:2")
    cleared = site("pte_cleared", *inner, "helper at mm/memory.c:1492", "zap_it at mm/memory.c:9")
    assert marked_line(cleared) == ("helper", "mm/memory.c:1492")
    removed = site("rmap_removed", "folio_remove_rmap_pte at rmap.h:7", "helper at mm/memory.c:8")
    assert marked_line(removed) == ("helper", "mm/memory.c:8")
    assert marked_line(CodeSite("f", 4, None, (), "rmap_removed")) == ("f", None)
    freed = site("freed", "helper at mm/memory.c:1507", "zap_it at mm/memory.c:9")
    assert marked_line(freed) == ("zap_it", "mm/memory.c:9")


def test_the_outer_links_are_reported_once() -> None:
    assert shared_tail(CLEARED, FREED) == 2 and shared_tail(FREED, FREED) == 0
    assert shared_tail(site("reported"), FREED) == 0  # it would have nothing of its own left


@pytest.mark.parametrize(
    ("what", "raw", "turn"),
    [
        ("the page is handed to the allocator", 0, True),
        ("the page is handed to the allocator", -1, False),
        ("the page is handed to the allocator", None, False),
        ("bad_page() refuses it: nonzero mapcount", 0, True),
        ("the page's rmap is removed", 0, False),
        ("the page's rmap is removed; its PTE stays", 0, True),
        ("the page's rmap is removed again, in the same zap", -1, True),
        ("the page's rmap is never removed", None, True),
        ("in the dump the PTE is still there", -1, True),
    ],
)
def test_the_step_that_goes_wrong(what: str, raw: int | None, turn: bool) -> None:
    step = OrderStep(what, 1, raw_mapcount=raw)
    assert is_turn(step) is turn
    assert is_freed_wrong(step) is (turn and "rmap" not in what and "dump" not in what)
