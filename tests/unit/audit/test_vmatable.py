"""VMAs by column: who has an address, and what is locked."""

from __future__ import annotations

import numpy as np

from tests.unit.audit.vma_tables import table
from zaptrace.audit.vmatable import VM_LOCKED

LOCKED_ON_FAULT = VM_LOCKED | 0x00080000


THREE = table((1, 0x5000, 0x7000, 0), (0, 0x1000, 0x3000, VM_LOCKED), (1, 0x1000, 0x2000, 0))


def test_an_address_is_found_in_its_own_mm_alone() -> None:
    mm = np.array([0, 0, 1, 1, 1, 1, 2])
    address = np.array([0x1000, 0x3000, 0x1FFF, 0x2000, 0x5000, 0x6FFF, 0x1000], np.uint64)
    found = THREE.find(mm, address).tolist()
    assert [None if at < 0 else int(THREE.start[at]) for at in found] == [
        *(0x1000, None, 0x1000, None, 0x5000, 0x5000, None)
    ]


def test_no_vma_at_all_finds_nothing() -> None:
    assert table().find(np.array([0]), np.array([0x1000], np.uint64)).tolist() == [-1]


def test_locked_pages_are_those_of_locked_vmas_whether_faulted_in_or_not() -> None:
    locked = table(
        (0, 0x1000, 0x3000, VM_LOCKED), (0, 0x4000, 0x5000, LOCKED_ON_FAULT), (1, 0, 0x9000, 0)
    )
    assert locked.locked_pages(3, 12).tolist() == [3, 0, 0]


def test_of_two_vmas_that_overlap_both_are_marked() -> None:
    found = table((0, 0x1000, 0x3000, 0), (0, 0x2000, 0x4000, 0), (0, 0x4000, 0x5000, 0))
    assert found.overlapping.tolist() == [True, True, False]
