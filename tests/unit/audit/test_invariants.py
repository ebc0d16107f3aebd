"""The rules, one page at a time, and against a scalar model of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zaptrace.audit.invariants import (
    Recorded,
    count_ptes,
    judge,
    rss_mismatches,
    settle,
    strayed,
)
from zaptrace.model.findings import FindingClass as Class


@dataclass(frozen=True)
class Page:
    """One order-0 page; by default an anonymous one that one PTE maps."""

    ptes: int = 1
    raw: int = 0
    refcount: int = 1
    free: bool = False
    mappable: bool = True
    known: bool = True


def recorded(pages: list[Page]) -> Recorded:
    count = len(pages)
    raw = np.array([page.raw for page in pages], np.int32)
    return Recorded(
        known=np.array([page.known for page in pages], bool),
        mappable=np.array([page.mappable and page.known for page in pages], bool),
        raw_mapcount=raw,
        mapcount=raw.astype(np.int64) + 1,
        counted=np.ones(count, bool),
        head=np.arange(count),
        mappings=raw.astype(np.int64) + 1,
        refcount=np.array([page.refcount for page in pages], np.int32),
        free=np.array([page.free for page in pages], bool),
        anon=np.ones(count, bool),
        swapbacked=np.ones(count, bool),
        hugetlb=np.zeros(count, bool),
        order=np.zeros(count, np.uint8),
    )


def classes(pages: list[Page]) -> dict[int, Class]:
    ptes = np.array([page.ptes for page in pages], np.int64)
    suspects = judge(ptes, recorded(pages))
    assert len({suspect.index for suspect in suspects}) == len(suspects), "one class a page"
    return {suspect.index: suspect.cls for suspect in suspects}


FREE = Page(ptes=0, raw=-1, refcount=0, free=True)
BUDDY = replace(FREE, raw=-129, mappable=False)
UNUSED = Page(ptes=0, raw=-1)


@pytest.mark.parametrize(
    "page",
    [
        Page(),
        UNUSED,
        FREE,
        BUDDY,
        Page(ptes=3, raw=2, refcount=3),
        Page(refcount=9),  # pinned, in the page cache, ...
        Page(ptes=0, raw=-1, refcount=0),  # frozen (page_ref_freeze), or on its way to a list
        Page(ptes=0, raw=-500, mappable=False),  # a page of page tables: the field is a type
        Page(ptes=0, raw=77, mappable=False),  # a slab page: the field is anything
        Page(ptes=0, raw=77, refcount=-5, known=False),  # not in the dump
    ],
)
def test_what_every_clean_kernel_has(page: Page) -> None:
    assert classes([page]) == {}


@pytest.mark.parametrize(
    ("page", "cls"),
    [
        # The founding bug at bad_page: freed with its mapcount, PTE cleared.
        (Page(ptes=0, raw=0, refcount=0), Class.REFCOUNT_BELOW_MAPCOUNT),
        (Page(ptes=2, raw=1, refcount=1), Class.REFCOUNT_BELOW_MAPCOUNT),
        (Page(ptes=1, raw=0, refcount=0), Class.MAPPED_BUT_FREE),
        (replace(BUDDY, ptes=1), Class.MAPPED_BUT_FREE),
        (replace(FREE, ptes=1), Class.MAPPED_BUT_FREE),
        (replace(FREE, raw=0), Class.DIRTY_FREE_PAGE),
        (replace(FREE, refcount=1), Class.DIRTY_FREE_PAGE),
        (replace(BUDDY, refcount=1), Class.DIRTY_FREE_PAGE),
        (replace(FREE, raw=-2), Class.DIRTY_FREE_PAGE),
        (Page(ptes=0, raw=-2), Class.MAPCOUNT_UNDERFLOW),
        (Page(ptes=1, raw=-2), Class.MAPCOUNT_UNDERFLOW),
        (Page(ptes=1, raw=-1), Class.MORE_PTES_THAN_MAPCOUNT),
        (Page(ptes=3, raw=1, refcount=5), Class.MORE_PTES_THAN_MAPCOUNT),
        (Page(ptes=1, raw=-500, mappable=False), Class.MORE_PTES_THAN_MAPCOUNT),
        (Page(ptes=0, raw=0, refcount=1), Class.MORE_MAPCOUNT_THAN_PTES),
        (Page(ptes=1, raw=1, refcount=2), Class.MORE_MAPCOUNT_THAN_PTES),
    ],
)
def test_what_no_clean_kernel_has(page: Page, cls: Class) -> None:
    assert classes([UNUSED, page, Page()]) == {1: cls}


def test_only_the_number_of_ptes_can_be_excused_by_who_is_in_flight() -> None:
    number = (Class.MORE_MAPCOUNT_THAN_PTES, Class.MORE_PTES_THAN_MAPCOUNT)
    for cls in Class:
        excused = settle(cls, differ=1, excused=1) is Class.IN_FLIGHT
        assert excused == (cls in (*number, Class.IN_FLIGHT))
        assert settle(cls, differ=1, excused=0) is cls


def test_a_place_in_flight_is_good_for_one_pte() -> None:
    lost = Class.MORE_MAPCOUNT_THAN_PTES
    assert settle(lost, differ=2, excused=1) is lost
    assert settle(lost, differ=2, excused=3) is Class.IN_FLIGHT


def test_at_every_step_of_a_clean_zap_the_page_is_sound_or_in_flight() -> None:
    steps = [
        Page(ptes=1, raw=0, refcount=1),
        Page(ptes=0, raw=0, refcount=1),  # ptep_get_and_clear
        Page(ptes=0, raw=-1, refcount=1),  # page_remove_rmap
        Page(ptes=0, raw=-1, refcount=0),  # the last put_page
        FREE,
    ]
    for step in steps:
        for cls in classes([step]).values():
            assert settle(cls, differ=1, excused=1) is Class.IN_FLIGHT


def test_the_founding_order_is_found_although_the_cpu_is_in_flight() -> None:
    freed_too_early = Page(ptes=0, raw=0, refcount=0)
    (cls,) = classes([freed_too_early]).values()
    assert settle(cls, differ=1, excused=1) is Class.REFCOUNT_BELOW_MAPCOUNT


def test_a_tail_page_is_judged_by_its_folios_references() -> None:
    """An anonymous folio of two pages, both mapped by PTEs: the head has both references."""
    sound = recorded([Page(refcount=2), Page(refcount=0)])
    folio = replace(
        sound,
        head=np.array([0, 0]),
        mappings=np.array([2, 0]),
        refcount=np.array([2, 2], np.int32),
    )
    ptes = np.array([1, 1], np.int64)
    assert judge(ptes, folio) == []
    short = replace(folio, refcount=np.array([1, 1], np.int32))
    (suspect,) = judge(ptes, short)
    assert (suspect.index, suspect.cls) == (0, Class.REFCOUNT_BELOW_MAPCOUNT)
    gone = replace(folio, refcount=np.array([0, 0], np.int32))
    assert {suspect.cls for suspect in judge(ptes, gone)} == {Class.MAPPED_BUT_FREE}


def slow_class(page: Page) -> Class | None:
    """The rules once more, in plain words."""
    if not page.known:
        return None
    mapcount = page.raw + 1
    if page.ptes and (page.free or page.refcount == 0):
        return Class.MAPPED_BUT_FREE
    if page.free and (page.refcount != 0 or (page.mappable and page.raw != -1)):
        return Class.DIRTY_FREE_PAGE
    if not page.mappable:
        return Class.MORE_PTES_THAN_MAPCOUNT if page.ptes else None
    if page.refcount < mapcount:
        return Class.REFCOUNT_BELOW_MAPCOUNT
    if mapcount < 0:
        return Class.MAPCOUNT_UNDERFLOW
    if page.ptes > mapcount:
        return Class.MORE_PTES_THAN_MAPCOUNT
    return Class.MORE_MAPCOUNT_THAN_PTES if page.ptes < mapcount else None


small = st.integers(-3, 3)
some_page = st.builds(
    Page,
    ptes=st.integers(0, 3),
    raw=small,
    refcount=small,
    free=st.booleans(),
    mappable=st.booleans(),
    known=st.just(True),
) | st.builds(Page, known=st.just(False), ptes=st.integers(0, 3), raw=small, refcount=small)


@settings(deadline=None)
@given(st.lists(some_page, max_size=40))
def test_any_pages_get_the_class_that_the_scalar_model_gives(pages: list[Page]) -> None:
    expected = {index: slow_class(page) for index, page in enumerate(pages)}
    assert classes(pages) == {index: cls for index, cls in expected.items() if cls is not None}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 31), st.sampled_from([1, 1, 1, 4, 16])), max_size=60))
def test_entries_are_counted_at_every_page_that_they_map(entries: list[tuple[int, int]]) -> None:
    slow = [0] * 32
    for first, pages in entries:
        for page in range(first, min(first + pages, 32)):
            slow[page] += 1
    firsts = np.array([first for first, _ in entries], np.int64)
    sizes = np.array([pages for _, pages in entries], np.int64)
    assert count_ptes(firsts, sizes, 32).tolist() == slow


@pytest.mark.parametrize(
    ("mapped", "counted", "swaps", "unresolved", "wrong"),
    [
        ((3, 5, 2), (3, 5, 2, 0), 0, 0, False),
        ((3, 5, 2), (3, 6, 2, 0), 0, 0, True),
        # The founding bug: PageAnon was gone when the counter was chosen.
        ((3, 5, 2), (2, 6, 2, 0), 0, 0, True),
        ((3, 5, 2), (3, 5, 2, 1), 0, 0, True),  # a swap entry is counted, none is there
        ((3, 5, 2), (3, 5, 2, 0), 1, 0, True),
        ((3, 5, 2), (3, 5, 2, 1), 1, 0, False),
        ((3, 5, 2), (3, 5, 2, 4), 0, 4, False),
        ((3, 5, 2), (5, 5, 2, 0), 0, 2, False),  # migration entries count as their pages
        ((3, 5, 2), (3, 5, 2, 5), 0, 4, True),
        ((3, 5, 2), (3, 5, 2, 5), 1, 4, False),
        ((3, 5, 2), (3, 4, 2, 0), 0, 4, True),
    ],
)
def test_rss(
    mapped: tuple[int, ...], counted: tuple[int, ...], swaps: int, unresolved: int, wrong: bool
) -> None:
    answer = rss_mismatches(*(np.array([one]) for one in (mapped, counted, swaps, unresolved)))
    assert answer.tolist() == [wrong]


def test_what_kind_a_page_was_is_lost_when_it_is_mapped_without_being_counted() -> None:
    sound = [Page(), UNUSED, FREE, BUDDY, Page(ptes=3, raw=2, refcount=3), Page(ptes=0, raw=0)]
    lost = [
        Page(raw=-1, refcount=0, free=True),
        Page(raw=0, refcount=0),
        Page(raw=-1),
        Page(ptes=2, raw=0),
        Page(raw=-500, mappable=False),
    ]
    ptes = np.array([page.ptes for page in sound + lost], np.int64)
    found = strayed(ptes, recorded(sound + lost)).tolist()
    assert found == list(range(len(sound), len(sound + lost)))


def test_a_hugetlb_folio_says_once_what_all_its_pages_would() -> None:
    """Each of its pages has the folio's mapcount, and it is mapped as a whole."""
    pages = [Page(ptes=0, raw=0)] + [Page(ptes=0, raw=0, refcount=1)] * 7
    ordinary = recorded(pages)
    huge = replace(ordinary, hugetlb=np.ones(8, bool), head=np.zeros(8, np.int64))
    none = np.zeros(8, np.int64)
    assert len(judge(none, ordinary)) == 8
    assert [(one.index, one.cls) for one in judge(none, huge)] == [
        (0, Class.MORE_MAPCOUNT_THAN_PTES)
    ]
