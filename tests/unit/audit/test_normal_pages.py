"""vm_normal_page() and vm_normal_page_pmd(), array against scalar."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.audit import pretend
from zaptrace.audit.pagetables.arches import FORMATS
from zaptrace.audit.pagetables.normal_pages import Areas, Uncounted, normal, uncounted_in
from zaptrace.audit.pagetables.table_format import TableFormat
from zaptrace.audit.pagetables.walk import Locks, Nonpresent, Runs, Walked

S390X, X86_64 = FORMATS["s390x"], FORMATS["x86_64"]
SEGMENT, PMD, PAGE = 3, 3, 4
SPECIAL = 0x40
X86_SPECIAL, X86_DEVMAP, X86_PSE = 1 << 9, 1 << 58, 0x80
HUGE_ZERO = 0x99200
NOTHING = Uncounted(0, None, 12)
VM_SHARED, VM_MAYWRITE, VM_PFNMAP, VM_MIXEDMAP = 0x8, 0x20, 0x400, 0x10000000
AREA = (0x10000000, 0x20000000)
PGOFF = 0x5000


def leaves(fmt: TableFormat, *rows: tuple[int, int, int, int]) -> Walked:
    """Rows of (pfn, address, entry, level), all of mm 0."""
    pfn, address, entry, level = zip(*rows, strict=True)
    assert list(level) == sorted(level), "a walk finds large leaves first"
    runs = Runs(np.zeros(len(rows), np.int32), np.array(level, np.uint8), np.ones(len(rows), int))
    none = np.zeros(0, np.uint64)
    return Walked(
        pfn=np.array(pfn, np.uint64),
        find_addresses=lambda: np.array(address, np.uint64),
        find_entries=lambda: np.array(entry, np.uint64),
        special=(np.array(entry, np.uint64) & np.uint64(fmt.tables.special)) != 0,
        runs=runs,
        large=sum(one != PAGE for one in level),
        locks=Locks(none, none, none, np.zeros(0, np.int32), np.zeros(0, bool)),
        nonpresent=Nonpresent(none, none, np.zeros(0, np.int32), np.zeros(0, np.uint8)),
        tables=0,
        gaps={},
    )


def no_areas(mm: int) -> Areas:
    raise AssertionError("the VMAs are read for large leaves only")


def area(flags: int) -> Areas:
    columns = np.array([[AREA[0]], [AREA[1]], [flags], [PGOFF]], np.uint64)
    return Areas(*columns)


def test_a_special_pte_is_no_normal_page_and_any_other_is() -> None:
    walked = leaves(S390X, (5, 0x1000, 0x5001, PAGE), (5, 0x2000, 0x5001 | SPECIAL, PAGE))
    assert normal(walked, lambda: NOTHING, no_areas).tolist() == [True, False]


def slow_pmd(pfn: int, address: int, flags: int, entry: int) -> bool:
    """vm_normal_page_pmd() (mm/memory.c) on x86_64; every pfn of the test is valid.

    pmd_special() first, as from 6.12 on ("mm: mark special bits for huge pfn mappings when
    inject").  Before VM_MIXEDMAP stand the two tests that the kernel has at the end: it goes past
    them there, and yet counts neither (vma_is_special_huge() and is_huge_zero_pmd() in
    zap_huge_pmd()).
    """
    if entry & X86_SPECIAL:
        return False
    if entry & X86_DEVMAP:
        return False
    if pfn == HUGE_ZERO:
        return False
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
    st.lists(st.sampled_from([X86_SPECIAL, X86_DEVMAP]), unique=True),
    st.integers(0, 127),
    st.sampled_from(["linear", "huge zero", "any"]),
)
def test_a_large_leaf_is_judged_by_itself_and_its_vma(
    flags: list[int], bits: list[int], at: int, page: str
) -> None:
    address = AREA[0] + (at << 21)
    pfn = {"linear": PGOFF + (at << 9), "huge zero": HUGE_ZERO, "any": 0x77600}[page]
    entry = pfn << 12 | X86_PSE | 0x67 | sum(bits)
    walked = leaves(X86_64, (pfn, address, entry, PMD))
    uncounted = Uncounted(X86_64.tables.large_special | X86_DEVMAP, HUGE_ZERO, 12)
    answer = normal(walked, lambda: uncounted, lambda mm: area(sum(flags)))
    assert answer.tolist() == [slow_pmd(pfn, address, sum(flags), entry)]


def test_a_bit_that_a_kernel_lacks_means_nothing() -> None:
    """Bit 58 without pfn_t, and on s390x what is SPECIAL in a PTE."""
    walked = leaves(X86_64, (0x77600, AREA[0], X86_PSE | 0x67 | X86_DEVMAP, PMD))
    only = Uncounted(X86_64.tables.large_special, None, 12)
    assert normal(walked, lambda: only, lambda mm: area(0)).tolist() == [True]
    walked = leaves(S390X, (0x77700, AREA[0], 0x403 | SPECIAL, SEGMENT))
    none = Uncounted(S390X.tables.large_special, None, 12)
    assert normal(walked, lambda: none, lambda mm: area(0)).tolist() == [True]


@pytest.mark.parametrize(
    ("functions", "types", "bit"),
    [
        (set(), {"pfn_t"}, 58),
        ({"pte_mkwrite"}, {"pfn_t"}, 57),  # 6.6 to 6.16: bit 58 is a dirty page's
        ({"pte_mkwrite"}, set(), None),
    ],
)
def test_the_bit_of_a_devices_memory_is_this_kernels(
    functions: set[str], types: set[str], bit: int | None
) -> None:
    prog = pretend.kernel(functions, typedefs=types)
    wanted = X86_64.tables.large_special | (0 if bit is None else 1 << bit)
    assert uncounted_in(prog, X86_64).bits == wanted


def test_only_a_large_leaf_maps_the_huge_zero_page() -> None:
    walked = leaves(X86_64, (HUGE_ZERO, 0x1000, HUGE_ZERO << 12 | 0x67, PAGE))
    assert normal(walked, lambda: Uncounted(0, HUGE_ZERO, 12), no_areas).tolist() == [True]


@pytest.mark.parametrize("address", [AREA[0] - (1 << 20), AREA[1]])
def test_a_large_leaf_outside_of_every_vma_is_normal(address: int) -> None:
    walked = leaves(S390X, (0x77700, address, 0x403, SEGMENT))
    assert normal(walked, lambda: NOTHING, lambda mm: area(VM_PFNMAP)).tolist() == [True]
    nothing = Areas(*np.zeros((4, 0), np.uint64))
    assert normal(walked, lambda: NOTHING, lambda mm: nothing).tolist() == [True]
