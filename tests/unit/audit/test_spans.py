"""Leaves by the VMA that they are in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np

from tests.unit.audit.vma_tables import table
from zaptrace.audit.pagetables.walk import Runs, Walked
from zaptrace.audit.spans import spans_of

THREE = table((0, 0x1000, 0x5000, 0), (0, 0x5000, 0x6000, 0), (1, 0x1000, 0x9000, 0))


def walked(*tables: tuple[int, tuple[int, ...]]) -> Walked:
    """Tables: index of the mm, and the addresses of the leaves."""
    mm = np.array([number for number, _ in tables], np.int32)
    counts = np.array([len(leaves) for _, leaves in tables], np.int64)
    address = np.array([one for _, leaves in tables for one in leaves], np.uint64)
    runs = Runs(mm, np.zeros(len(mm), np.uint8), counts)
    return cast(
        Walked,
        SimpleNamespace(runs=runs, mm=np.repeat(mm, counts), address=address, pfn=address),
    )


def test_a_table_of_one_vma_is_one_span_and_another_is_split() -> None:
    spans = spans_of(
        walked((1, (0x1000, 0x2000)), (0, ()), (0, (0x1000, 0x4000, 0x5000, 0x7000))), THREE
    )
    assert spans.start.tolist() == [0, 2, 4, 5]
    assert spans.count.tolist() == [2, 2, 1, 1]
    starts = [None if at < 0 else (int(THREE.mm[at]), int(THREE.start[at])) for at in spans.area]
    assert starts == [(1, 0x1000), (0, 0x1000), (0, 0x5000), None]
    assert spans.of(np.array([1, 3, 5])).tolist() == [0, 1, 3]
    assert spans.leaves(spans.area < 0).tolist() == [5]


def test_an_overlapping_vma_is_looked_up_by_leaf() -> None:
    stale = table((0, 0x1000, 0x9000, 0), (0, 0x3000, 0x4000, 0))
    spans = spans_of(walked((0, (0x1000, 0x3000, 0x5000))), stale)
    assert spans.start.tolist() == [0, 1, 2]
    assert spans.area.tolist() == [0, 1, -1]


def test_no_leaf_and_no_vma() -> None:
    assert spans_of(walked(), THREE).start.tolist() == []
    assert spans_of(walked((0, (0x1000, 0x2000))), table()).area.tolist() == [-1]
