"""Zero pages: known by their PFNs, and found where they are free and mapped."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.unit.audit.partial import partial
from zaptrace.audit.invariants import Recorded
from zaptrace.audit.pagetables.normal_pages import HUGE_ZERO, ZERO, zero_kinds
from zaptrace.audit.pagetables.walk import Walked
from zaptrace.audit.state import KernelState
from zaptrace.audit.zero_pages import freed_zero_pages
from zaptrace.model.findings import FindingClass

NONE = (1 << 64) - 1
SMALL, HUGE = 3, 8


class Value:
    def __init__(self, number: int) -> None:
        self.number = number

    def value_(self) -> int:
        return self.number


class Prog:
    """A kernel's variables."""

    def __init__(self, **variables: int) -> None:
        self.variables = variables

    def variable(self, name: str) -> Value:
        return Value(self.variables[name])

    def __getitem__(self, name: str) -> Value:
        return Value({"PAGE_SHIFT": 12}[name])


def state(prog: Prog, refcounts: dict[int, int], free: set[int]) -> KernelState:
    """Sixteen struct pages, and leaves: a normal one, one of each zero page."""
    pages = 16
    refcount = np.ones(pages, np.int32)
    for index, count in refcounts.items():
        refcount[index] = count
    return partial(
        KernelState,
        prog=prog,
        pages=SimpleNamespace(indices=lambda pfns: pfns.astype(np.int64)),
        recorded=partial(
            Recorded,
            known=np.ones(pages, bool),
            refcount=refcount,
            raw_mapcount=np.full(pages, -1, np.int32),
            order=np.zeros(pages, np.uint8),
            free=np.isin(np.arange(pages), list(free)),
        ),
        normal=np.array([True, False, False]),
        walked=partial(
            Walked,
            pfn=np.array([1, SMALL, HUGE], np.uint64),
            mm=np.array([0, 0, 1]),
            address=np.array([0x1000, 0x2000, 0x200000], np.uint64),
        ),
    )


OWNERS: Any = SimpleNamespace(owner=lambda place: place)
BOTH = Prog(zero_pfn=SMALL, huge_zero_pfn=HUGE)


def test_the_zero_pages_of_a_kernel() -> None:
    some: Any = BOTH
    assert zero_kinds(some) == {SMALL: ZERO, HUGE: HUGE_ZERO}
    coloured: Any = Prog(zero_pfn=0xC00, zero_page_mask=0x3000, huge_zero_pfn=NONE)
    assert zero_kinds(coloured) == dict.fromkeys(range(0xC00, 0xC04), ZERO)
    unknown: Any = Prog()
    assert zero_kinds(unknown) == {}


@pytest.mark.parametrize(
    ("refcounts", "free", "found"),
    [
        ({}, set(), []),
        ({HUGE: 0}, set(), [(HUGE, HUGE_ZERO)]),
        ({HUGE: 0}, {HUGE}, [(HUGE, HUGE_ZERO)]),
        ({SMALL: 0}, set(), [(SMALL, ZERO)]),
        ({SMALL: 0, HUGE: -1}, set(), [(SMALL, ZERO), (HUGE, HUGE_ZERO)]),
        ({1: 0}, {1}, []),  # another page is others' to judge
    ],
)
def test_one_without_a_reference_that_page_tables_map(
    refcounts: dict[int, int], free: set[int], found: list[tuple[int, str]]
) -> None:
    findings = list(freed_zero_pages(state(BOTH, refcounts, free), OWNERS, frozenset()))
    assert [(one.pfn, (one.folio or {})["kind"]) for one in findings] == found
    assert all(one.cls is FindingClass.MAPPED_BUT_FREE and one.ptes == 1 for one in findings)


def test_what_has_a_finding_already_and_what_is_not_mapped_has_none() -> None:
    one = state(BOTH, {HUGE: 0, SMALL: 0}, set())
    assert list(freed_zero_pages(one, OWNERS, frozenset({HUGE, SMALL}))) == []
    one.normal[:] = True
    assert list(freed_zero_pages(one, OWNERS, frozenset())) == []
