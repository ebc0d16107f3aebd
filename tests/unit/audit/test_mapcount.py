"""Counters derived from made-up struct pages, against scalar copies of the kernel's functions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.audit.struct_pages import BASE, Memory, judged, struct_pages
from zaptrace.audit.arrays import NOWHERE
from zaptrace.audit.structpages.mapcount import derive
from zaptrace.audit.structpages.page_flags import Flags

BUDDY = -129
TABLE = -513


@dataclass
class Folio:
    """A large folio as prep_compound_page() and the rmap leave it."""

    order: int
    anon: bool = True
    hugetlb: bool = False
    double_map: bool = False
    entire: int = 0
    own: list[int] = field(default_factory=list)

    def write(self, pages: Memory, at: int) -> None:
        raw = pages.raw
        nr = 1 << self.order
        raw["mapping"][at] = 0x1000 | self.anon
        raw["raw_mapcount"][at : at + nr] = np.array(self.own) - 1
        raw["refcount"][at + 1 : at + nr] = 0
        raw["compound_head"][at + 1 : at + nr] = BASE + 64 * at + 1
        raw["compound_mapcount"][at + 1] = self.entire - 1
        raw["compound_dtor"][at + 1] = 2 if self.hugetlb else 1
        raw["flags"][at + 1] = self.double_map << 8

    def page_mapcount(self, page: int) -> int:
        """page_mapcount() and __page_mapcount() of 6.1 (include/linux/mm.h, mm/util.c)."""
        if self.hugetlb:
            return self.entire
        mapcount = self.own[page]
        if not self.anon:
            return mapcount
        return mapcount + self.entire - (1 if self.double_map else 0)

    def folio_mapcount(self) -> int:
        """folio_mapcount() of 6.1 (mm/util.c)."""
        if self.hugetlb:
            return self.entire
        total = self.entire + sum(self.own)
        nr = 1 << self.order
        if not self.anon:
            return total - self.entire * nr
        return total - (nr if self.double_map else 0)


@st.composite
def folios(draw: st.DrawFn) -> Folio:
    order = draw(st.integers(1, 3))
    anon = draw(st.booleans())
    return Folio(
        order,
        anon,
        hugetlb=draw(st.booleans()),
        double_map=anon and draw(st.booleans()),
        entire=draw(st.integers(0, 3)),
        own=draw(st.lists(st.integers(0, 4), min_size=1 << order, max_size=1 << order)),
    )


@settings(deadline=None)
@given(st.lists(folios(), min_size=1, max_size=4))
def test_large_folios_count_as_the_kernel_counts_them(found: list[Folio]) -> None:
    pages = struct_pages(64)
    starts = [1 + 9 * number for number in range(len(found))]
    for start, folio in zip(starts, found, strict=True):
        folio.write(pages, start)
    recorded = judged(pages)
    for start, folio in zip(starts, found, strict=True):
        nr = 1 << folio.order
        assert recorded.head[start : start + nr].tolist() == [start] * nr
        assert recorded.mapcount[start : start + nr].tolist() == [
            folio.page_mapcount(page) for page in range(nr)
        ]
        assert recorded.mappings[start] == folio.folio_mapcount()
        assert not recorded.mappings[start + 1 : start + nr].any()
        assert recorded.refcount[start : start + nr].tolist() == [1] * nr
        assert recorded.order[start] == folio.order
        assert recorded.anon[start : start + nr].all() == folio.anon
        assert recorded.hugetlb[start : start + nr].all() == folio.hugetlb
    assert recorded.mapcount[0] == 0
    assert recorded.head[63] == 63


@pytest.mark.parametrize("link", [0xDEAD0001, BASE + 64 * 9 + 1, BASE + 64 * 5 + 1, BASE + 33])
def test_a_tail_without_a_head_before_it_stands_for_itself(link: int) -> None:
    pages = struct_pages(8)
    pages.raw["compound_head"][5] = link
    assert judged(pages).head.tolist() == list(range(8))


def test_a_tail_of_a_tail_stands_for_itself() -> None:
    pages = struct_pages(8)
    pages.raw["compound_head"][3] = BASE + 64 * 2 + 1
    pages.raw["compound_head"][4] = BASE + 64 * 3 + 1
    assert judged(pages).head.tolist() == [0, 1, 2, 2, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("flags", 1 << 9),  # a slab
        ("raw_mapcount", BUDDY),
        ("raw_mapcount", TABLE),
        ("mapping", 0x5002),  # PAGE_MAPPING_MOVABLE: a driver's page
    ],
)
def test_where_the_field_is_no_mapcount_it_is_not_judged(change: str, value: int) -> None:
    pages = struct_pages(4)
    pages.raw[change][2] = value
    assert judged(pages).mappable.tolist() == [True, True, False, True]


def test_underflow_is_a_mapcount_and_not_a_type() -> None:
    pages = struct_pages(3)
    pages.raw["raw_mapcount"] = [-2, -128, -129]
    recorded = judged(pages)
    assert recorded.mappable.tolist() == [True, True, False]
    assert recorded.mapcount[:2].tolist() == [-1, -127]


def test_types_in_the_top_byte_leave_more_room_for_underflow() -> None:
    pages = struct_pages(3)
    pages.raw["raw_mapcount"] = [-2, -4096, 0xF0000000 - (1 << 32)]
    new = Flags(slab=None, swapbacked=17, buddy=0xF0000000 - (1 << 32))
    recorded = derive(pages.gathered(), new, np.array([], np.int64))
    assert recorded.mappable.tolist() == [True, True, False]
    assert recorded.free.tolist() == [False, False, True]


def test_a_large_slab_is_a_slab_to_its_last_page() -> None:
    """Its first page alone has the type."""
    pages = struct_pages(6)
    pages.raw["raw_mapcount"][1] = 0xF5000000 - (1 << 32)
    pages.raw["compound_head"][2:5] = BASE + 64 + 1
    new = Flags(slab=None, swapbacked=17, buddy=0xF0000000 - (1 << 32))
    recorded = derive(pages.gathered(), new, np.array([], np.int64))
    assert recorded.mappable.tolist() == [True, False, False, False, False, True]


def test_pages_that_are_uninitialised_or_missing_are_unknown() -> None:
    pages = struct_pages(3)
    pages.raw["flags"][0] = 2**64 - 1
    pages.readable[1] = False
    recorded = judged(pages)
    assert recorded.known.tolist() == [False, False, True]
    assert recorded.mappable.tolist() == [False, False, True]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 2**64 - 1)), max_size=6))
def test_buddy_blocks_cover_their_order_and_never_more_than_there_is(
    blocks: list[tuple[int, int]],
) -> None:
    pages = struct_pages(64)
    for at, order in blocks:
        pages.raw["raw_mapcount"][at] = BUDDY
        pages.raw["private"][at] = order
    expected = [False] * 64
    for at in {at for at, _ in blocks}:
        order = int(pages.raw["private"][at])
        for page in range(at, min(at + (1 << min(order, 6)), 64)):
            expected[page] = True
    assert judged(pages).free.tolist() == expected


def test_pages_on_cpu_lists_are_free() -> None:
    assert np.flatnonzero(judged(struct_pages(8), [2, 5]).free).tolist() == [2, 5]


def test_columns_of_pages_that_are_not_held_whole_are_read_when_they_are_asked_for() -> None:
    memory = struct_pages(8)
    memory.raw["index"] = np.arange(8) * 11
    memory.raw["raw_mapcount"][[2, 5]] = BUDDY, TABLE
    pages = memory.gathered()
    assert pages.kept.tolist() == [2, 5]
    where = np.array([5, 0, 2, 7, 5])
    assert pages.column("index", where).tolist() == [55, 0, 22, 77, 55]
    memory.raw["refcount"][7] = 3  # as a running kernel does
    assert pages.column("refcount", where).tolist() == [1] * 5
    assert pages.again("refcount", where).tolist() == [1, 1, 1, 3, 1]


class TestIndices:
    """Places in an array of struct pages with a hole in it."""

    pages = struct_pages(30, [range(10, 30), range(100, 110)]).gathered()

    def test_pfns_and_indices_are_each_others_inverse(self) -> None:
        everywhere = np.arange(30)
        pfns = self.pages.pfns(everywhere)
        assert pfns.tolist() == [*range(10, 30), *range(100, 110)]
        assert self.pages.indices(pfns).tolist() == everywhere.tolist()

    def test_pfns_without_a_struct_page_are_nowhere(self) -> None:
        outside = np.array([0, 9, 30, 99, 110, 2**64 - 1], np.uint64)
        assert (self.pages.indices(outside) == NOWHERE).all()

    @settings(deadline=None)
    @given(st.integers(BASE - 200, BASE + 64 * 120) | st.integers(0, 2**64 - 1))
    def test_one_address_and_many_addresses_agree(self, address: int) -> None:
        alone = self.pages.index_at(address)
        assert alone == self.pages.indices_at(np.array([address], np.uint64))[0]
        pfn, rest = divmod(address - BASE, 64)
        there = not rest and (10 <= pfn < 30 or 100 <= pfn < 110)
        assert (alone != NOWHERE) == there
