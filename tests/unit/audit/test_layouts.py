"""Large folios under the layouts after 6.1, against scalar copies of those kernels' functions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.audit.page_layouts import LAYOUTS, TYPE_BUDDY, Layout
from tests.unit.audit.struct_pages import BASE, Memory
from zaptrace.audit.invariants import Recorded
from zaptrace.audit.structpages.mapcount import derive
from zaptrace.audit.structpages.page_flags import Flags

PLAIN = Flags(slab=None, swapbacked=17, buddy=TYPE_BUDDY)


@dataclass
class Folio:
    order: int
    hugetlb: bool
    entire: int
    own: list[int]

    def write(self, layout: Layout, pages: Memory, at: int) -> None:
        raw, nr = pages.raw, 1 << self.order
        own = np.zeros(nr, np.int64) if self.hugetlb else np.array(self.own)
        raw["raw_mapcount"][at : at + nr] = own - 1
        raw["mapping"][at] = 0x1001
        raw["refcount"][at + 1 : at + nr] = 0
        link = (2**64 - (64 << self.order)) if layout.masks else BASE + 64 * at
        raw["compound_head"][at + 1 : at + nr] = link | 1
        raw["compound_mapcount"][at + 1] = self.entire - 1
        if "large_mapcount" in layout.tail:
            raw["large_mapcount"][at + 1] = self.folio_mapcount() - 1
        if not self.hugetlb:
            return
        flags = layout.flags
        if flags.hugetlb_type is not None:
            raw["raw_mapcount"][at] = flags.hugetlb_type
        elif flags.hugetlb_flag is not None:
            raw["flags"][at + 1] = 1 << flags.hugetlb_flag
        else:
            raw["compound_dtor"][at + 1] = flags.hugetlb

    def page_mapcount(self, page: int) -> int:
        """folio_precise_page_mapcount() (fs/proc/internal.h); a hugetlb page has the whole's."""
        return self.entire + (0 if self.hugetlb else self.own[page])

    def folio_mapcount(self) -> int:
        return self.entire + (0 if self.hugetlb else sum(self.own))


@st.composite
def folios(draw: st.DrawFn) -> Folio:
    order = draw(st.integers(1, 3))
    own = draw(st.lists(st.integers(0, 4), min_size=1 << order, max_size=1 << order))
    return Folio(order, draw(st.booleans()), draw(st.integers(0, 3)), own)


def derived(layout: Layout, found: list[Folio]) -> Recorded:
    pages = layout.pages(64)
    for number, folio in enumerate(found):
        folio.write(layout, pages, 8 + 8 * number)
    return derive(pages.gathered(), layout.flags, np.zeros(0, np.int64))


@pytest.mark.parametrize("version", sorted(LAYOUTS))
@settings(deadline=None, max_examples=40)
@given(found=st.lists(folios(), min_size=1, max_size=6))
def test_folios_count_as_that_kernel_counts_them(version: str, found: list[Folio]) -> None:
    recorded = derived(LAYOUTS[version], found)
    for number, folio in enumerate(found):
        start, nr = 8 + 8 * number, 1 << folio.order
        inside = slice(start, start + nr)
        assert recorded.head[inside].tolist() == [start] * nr
        assert recorded.hugetlb[inside].tolist() == [folio.hugetlb] * nr
        assert recorded.mappable[inside].all()
        assert recorded.mapcount[inside].tolist() == [folio.page_mapcount(n) for n in range(nr)]
        assert recorded.counted[inside].all()
        assert recorded.mappings[start] == folio.folio_mapcount()
        assert recorded.order[start] == folio.order


def test_where_no_page_of_a_large_folio_counts_none_is_judged_by_its_count() -> None:
    """CONFIG_NO_PAGE_MAPCOUNT: the folio alone knows that it is mapped seven times."""
    layout = LAYOUTS["7.3"]
    pages = layout.pages(32)
    Folio(2, False, 1, [2, 2, 2, 0]).write(layout, pages, 8)
    pages.raw["raw_mapcount"] = -1
    recorded = derive(pages.gathered(), layout.flags, np.zeros(0, np.int64))
    assert np.flatnonzero(~recorded.counted).tolist() == [8, 9, 10, 11]
    assert recorded.mappings[8] == 7


def test_a_hugetlb_folios_type_may_carry_a_number_of_its_own() -> None:
    layout = LAYOUTS["6.12"]
    pages = layout.pages(32)
    Folio(2, True, 3, [0] * 4).write(layout, pages, 8)
    pages.raw["raw_mapcount"][8] += 0x1234
    recorded = derive(pages.gathered(), layout.flags, np.zeros(0, np.int64))
    assert recorded.hugetlb[8:12].all()
    assert recorded.mapcount[8:12].tolist() == [3] * 4


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 2**64 - 1)), max_size=40))
def test_links_that_are_garbage_never_make_a_head_of_a_later_page_or_of_a_tail(
    links: list[tuple[int, int]],
) -> None:
    layout = LAYOUTS["7.3"]
    pages = layout.pages(64)
    for at, link in links:
        pages.raw["compound_head"][at] = link | 1
    head = derive(pages.gathered(), layout.flags, np.zeros(0, np.int64)).head
    assert (head <= np.arange(64)).all()
    assert (head[head] == head).all()


def test_the_struct_pages_of_a_hugetlb_folio_may_be_one_page_again_and_again() -> None:
    """HUGETLB_PAGE_OPTIMIZE_VMEMMAP: from the 64th on the kernel maps the first 64 once more."""
    plain = LAYOUTS["6.12"]
    layout = dataclasses.replace(plain, flags=dataclasses.replace(plain.flags, head_mask=1 << 6))
    pages = layout.pages(1024)
    folio = Folio(9, True, 3, [0] * 512)
    folio.write(layout, pages, 256)
    pages.raw["flags"][256] |= 1 << 6
    for copy in range(256 + 64, 256 + 512, 64):
        pages.raw[copy : copy + 64] = pages.raw[256 : 256 + 64]
    recorded = derive(pages.gathered(), layout.flags, np.zeros(0, np.int64))
    assert recorded.head[256:768].tolist() == [256] * 512
    assert recorded.mapcount[256:768].tolist() == [3] * 512
    assert recorded.order[256] == 9
    assert recorded.hugetlb[256:768].all()
    # What has no PG_head is not a copy of a head, whatever the link after it says.
    pages.raw["flags"][256] &= ~np.uint64(1 << 6)
    recorded = derive(pages.gathered(), layout.flags, np.zeros(0, np.int64))
    assert recorded.head[256 + 64] == 256 + 64
