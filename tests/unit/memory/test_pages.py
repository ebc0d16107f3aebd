"""Arithmetic between PFNs and struct pages."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from zaptrace.memory.pages import PageLayout
from zaptrace.model.events import ABSENT

LAYOUT = PageLayout(0x37200000000, 64, 12, (range(16, 1000), range(4096, 5000)))


@given(st.lists(st.integers(0, 2**20)))
def test_a_struct_page_leads_back_to_its_pfn_where_there_is_one(pfns: list[int]) -> None:
    addresses = np.array([LAYOUT.address(pfn) for pfn in pfns], np.uint64)
    expected = [pfn if 16 <= pfn < 1000 or 4096 <= pfn < 5000 else ABSENT for pfn in pfns]
    assert LAYOUT.pfns(addresses).tolist() == expected


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_what_is_no_struct_page_has_no_pfn(addresses: list[int]) -> None:
    found = LAYOUT.pfns(np.array(addresses, np.uint64)).tolist()
    for address, pfn in zip(addresses, found, strict=True):
        assert pfn == ABSENT or LAYOUT.address(pfn) == address


def test_inside_a_struct_page_is_not_its_beginning() -> None:
    address = np.array([LAYOUT.address(20), LAYOUT.address(20) + 8], np.uint64)
    assert LAYOUT.pfns(address).tolist() == [20, ABSENT]
