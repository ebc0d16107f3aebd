"""vm_normal_page() and vm_normal_page_pmd(), array against scalar."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zaptrace.audit.special import Areas, normal
from zaptrace.audit.tables import FORMATS
from zaptrace.audit.walk import Nonpresent, Walked

S390X = FORMATS["s390x"]
SEGMENT, PAGE = 3, 4
SPECIAL = 0x40
VM_SHARED, VM_MAYWRITE, VM_PFNMAP, VM_MIXEDMAP = 0x8, 0x20, 0x400, 0x10000000
AREA = (0x10000000, 0x20000000)
PGOFF = 0x5000


def leaves(*rows: tuple[int, int, int, int]) -> Walked:
    """Rows of (pfn, address, entry, level), all of mm 0."""
    pfn, address, entry, level = zip(*rows, strict=True)
    none = np.zeros(0, np.uint64)
    return Walked(
        pfn=np.array(pfn, np.uint64),
        address=np.array(address, np.uint64),
        mm=np.zeros(len(rows), np.int32),
        entry=np.array(entry, np.uint64),
        level=np.array(level, np.uint8),
        table=none,
        table_mm=np.zeros(0, np.int32),
        nonpresent=Nonpresent(none, none, np.zeros(0, np.int32), np.zeros(0, np.uint8)),
        tables=0,
        gaps={},
    )


def no_areas(mm: int) -> Areas:
    raise AssertionError("the VMAs are asked for large leaves only")


def area(flags: int) -> Areas:
    columns = np.array([[AREA[0]], [AREA[1]], [flags], [PGOFF]], np.uint64)
    return Areas(*columns)


def test_a_special_pte_is_no_normal_page_and_any_other_is() -> None:
    walked = leaves((5, 0x1000, 0x5001, PAGE), (5, 0x2000, 0x5001 | SPECIAL, PAGE))
    assert normal(S390X, walked, no_areas).tolist() == [True, False]


def slow_pmd(pfn: int, address: int, flags: int) -> bool:
    """vm_normal_page_pmd() of 6.1 (mm/memory.c); every pfn of the test is valid."""
    if flags & (VM_PFNMAP | VM_MIXEDMAP):
        if flags & VM_MIXEDMAP:
            return True
        offset = (address - AREA[0]) >> 12
        if pfn == PGOFF + offset:
            return False
        if flags & (VM_SHARED | VM_MAYWRITE) != VM_MAYWRITE:  # !is_cow_mapping
            return False
    return True


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([VM_SHARED, VM_MAYWRITE, VM_PFNMAP, VM_MIXEDMAP]), unique=True),
    st.integers(0, 255),
    st.booleans(),
)
def test_a_large_leaf_is_judged_by_its_vma(bits: list[int], megabyte: int, linear: bool) -> None:
    flags = sum(bits)
    address = AREA[0] + (megabyte << 20)
    pfn = PGOFF + (megabyte << 8) if linear else 0x77700
    walked = leaves((pfn, address, 0x403 | SPECIAL, SEGMENT))
    answer = normal(S390X, walked, lambda mm: area(flags))
    assert answer.tolist() == [slow_pmd(pfn, address, flags)]


@pytest.mark.parametrize("address", [AREA[0] - (1 << 20), AREA[1]])
def test_a_large_leaf_outside_of_every_vma_is_normal(address: int) -> None:
    walked = leaves((0x77700, address, 0x403, SEGMENT))
    assert normal(S390X, walked, lambda mm: area(VM_PFNMAP)).tolist() == [True]
    nothing = Areas(*np.zeros((4, 0), np.uint64))
    assert normal(S390X, walked, lambda mm: nothing).tolist() == [True]
