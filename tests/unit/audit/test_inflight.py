"""Where page tables are in flight, and what that excuses; in an invented kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from tests.unit.audit.partial import partial
from zaptrace.audit import findings
from zaptrace.audit.inflight import InFlight
from zaptrace.audit.invariants import Recorded
from zaptrace.audit.mms import Task
from zaptrace.audit.rmap import Place
from zaptrace.audit.state import KernelState

TABLE = 1 << 21
HELD = (4 * TABLE, 5 * TABLE - 1)
ZAPPING = InFlight(cpu=1, spans=(HELD,))
COLLAPSING = InFlight(task=Task(0, 34, 34, "khugepaged", True), spans=(), collapsing=True)
INSIDE, OUTSIDE = Place(0, HELD[0] + 0x3000), Place(0, HELD[1] + 1)
OTHER_MM = Place(1, INSIDE.address)


@dataclass
class MadeUp:
    """What is known of one page; tables of PTEs are everywhere but in `no_table`."""

    remembered: list[Place]
    mapped: list[Place] = field(default_factory=list)
    no_table: list[Place] = field(default_factory=list)
    rmap: bool = True
    anon: bool = True
    order: int = 0
    new_in: set[int] = field(default_factory=set)

    def first_mapped_in(self, head: int) -> set[int]:
        return self.new_in

    def candidates(self, index: int, head: int) -> tuple[list[Place], bool]:
        return self.remembered, self.rmap

    def has_table(self, place: Place) -> bool:
        return place not in self.no_table

    def is_empty(self, place: Place) -> bool:
        return place not in self.mapped

    def state(self, in_flight: dict[int, InFlight]) -> KernelState:
        recorded = partial(
            Recorded,
            head=np.array([0]),
            anon=np.array([self.anon]),
            hugetlb=np.array([False]),
            order=np.array([self.order]),
        )
        return partial(KernelState, recorded=recorded, in_flight=in_flight)

    def excused(self, in_flight: dict[int, InFlight], short: int = 1) -> int:
        """For how many missing PTEs those in flight are good."""
        state, mapped = self.state(in_flight), set(self.mapped)
        return findings._lost(state, cast(Any, self), 0, mapped, short)[2]

    def left(self, in_flight: dict[int, InFlight]) -> list[Place]:
        return findings._left(self.state(in_flight), cast(Any, self), 0, self.mapped)


@pytest.mark.parametrize(("place", "excused"), [(INSIDE, 1), (OUTSIDE, 0), (OTHER_MM, 0)])
def test_a_held_lock_excuses_what_its_table_maps(place: Place, excused: int) -> None:
    assert MadeUp([place]).excused({0: ZAPPING}) == excused


@pytest.mark.parametrize("place", [INSIDE, OUTSIDE])
def test_the_lock_of_the_whole_mm_excuses_all_of_it(place: Place) -> None:
    assert MadeUp([place]).excused({0: InFlight()}) == 1


def test_every_missing_pte_needs_a_place() -> None:
    """Shared by three mms, two rmaps too many, one mm in flight."""
    page = MadeUp([INSIDE, OTHER_MM, Place(2, INSIDE.address)], mapped=[OTHER_MM])
    assert page.excused({0: ZAPPING}, short=2) == 1
    assert page.excused({0: ZAPPING, 2: ZAPPING}, short=2) == 2


def test_a_page_without_an_rmap_may_be_anybodys() -> None:
    assert MadeUp([], rmap=False).excused({0: ZAPPING}) == 1
    assert MadeUp([], rmap=False).excused({}) == 0
    assert MadeUp([], rmap=True).excused({0: ZAPPING}) == 0


def test_a_page_that_is_mapped_for_the_first_time_may_have_the_index_of_its_last_life() -> None:
    assert MadeUp([], new_in={0}).excused({0: ZAPPING}) == 1
    assert MadeUp([OUTSIDE], new_in={0}).excused({0: ZAPPING}) == 1
    assert MadeUp([], mapped=[OUTSIDE], new_in={0}).excused({0: ZAPPING}) == 0


def test_a_huge_leaf_that_is_being_split_is_there_and_counts_more() -> None:
    """__split_huge_pmd_locked(): one leaf, and rmaps for the PTEs to come."""
    split = MadeUp([INSIDE], mapped=[INSIDE], no_table=[INSIDE])
    assert split.excused({0: ZAPPING}) == 1
    assert split.excused({}) == 0
    assert MadeUp([INSIDE], mapped=[INSIDE]).excused({0: ZAPPING}) == 0


def test_a_collapse_excuses_where_the_table_is_gone() -> None:
    assert MadeUp([OUTSIDE], no_table=[OUTSIDE]).excused({0: COLLAPSING}) == 1
    assert MadeUp([OUTSIDE]).excused({0: COLLAPSING}) == 0
    assert MadeUp([OTHER_MM], no_table=[OTHER_MM]).excused({0: COLLAPSING}) == 0


def test_ptes_without_rmaps_are_excused_in_a_collapse_of_a_huge_file_page_only() -> None:
    file = MadeUp([], mapped=[OUTSIDE, OTHER_MM], anon=False, order=9)
    assert file.left({0: COLLAPSING}) == [OUTSIDE]
    assert file.left({0: InFlight()}) == []
    assert MadeUp([], mapped=[OUTSIDE], anon=True, order=9).left({0: COLLAPSING}) == []
    assert MadeUp([], mapped=[OUTSIDE], anon=False).left({0: COLLAPSING}) == []
    huge = MadeUp([], mapped=[OUTSIDE], no_table=[OUTSIDE], anon=False, order=9)
    assert huge.left({0: COLLAPSING}) == []


def test_the_rss_may_lack_what_the_held_tables_map() -> None:
    assert ZAPPING.may_owe(512 << 12)
    assert not ZAPPING.may_owe(513 << 12)
    assert InFlight().may_owe(1 << 30)
    assert COLLAPSING.may_owe(1 << 30)


def test_it_says_who_does_what() -> None:
    assert str(ZAPPING) == "CPU 1 is inside this mm's page tables"
    assert str(InFlight()) == "a task is inside this mm's page tables"
    assert str(COLLAPSING) == "khugepaged/34 may be collapsing a huge page in this mm"
