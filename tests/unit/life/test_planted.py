"""Values that the kernel died of, and the store that brought them into a struct page.

A timer of a 6.12 kernel stored 0x5a over both list pointers of a page on the LRU; the next unmap of
that page oopsed, and no page was known to be wrong.
"""

from __future__ import annotations

import pytest

from tests.unit.life.builders import PFN, Recorder
from zaptrace.life.planted import Planted, planted

WILD = 0x5A5A5A5A5A5A5A5A
NEXT, PREV, MAPPING = 8, 16, 24


def scribbled(order: str = ">") -> Recorder:
    """A page on a list, of which both pointers are written over; then its neighbour's are."""
    some = Recorder(order)
    for at in (NEXT, PREV):
        some.store(at, 0x37200001008, 8, pc=1)
    for at in (NEXT, PREV):
        some.store(at, WILD, 8, pc=2)
    some.store(PREV, WILD, 8, pfn=PFN + 1, pc=3)
    return some


@pytest.mark.parametrize("order", "<>")
def test_a_value_that_was_followed_is_found_where_it_was_stored_first(order: str) -> None:
    assert planted(scribbled(order).life(), [WILD]) == (Planted(PFN, "lru.next", WILD, 2),)


def test_a_value_that_was_stored_over_again_is_not() -> None:
    some = scribbled()
    some.store(NEXT, 0x37200001008, 8, pc=4)
    assert planted(some.life(), [WILD]) == (Planted(PFN, "lru.prev", WILD, 3),)
    some.store(PREV, 0x37200001008, 8, pc=4)
    assert planted(some.life(), [WILD]) == (Planted(PFN + 1, "lru.prev", WILD, 4),)


def test_what_one_instruction_stored_in_several_pages_is_found_in_each() -> None:
    some = scribbled()
    some.store(PREV, WILD, 8, pfn=PFN + 2, pc=2)
    assert [one.pfn for one in planted(some.life(), [WILD])] == [PFN, PFN + 2]


def test_a_pointer_with_marks_in_its_lowest_bits_is_the_same_value() -> None:
    some = Recorder()
    some.store(MAPPING, WILD & ~7 | 1, 8, pc=2)
    assert planted(some.life(), [WILD & ~7]) == (Planted(PFN, "mapping", WILD & ~7 | 1, 0),)


@pytest.mark.parametrize("poison", [0xDEAD000000000100, 0xDEAD000000000122])
def test_what_list_del_leaves_is_no_scribble(poison: int) -> None:
    some = Recorder()
    some.store(NEXT, poison, 8, pc=2)
    assert planted(some.life(), [poison]) == ()


@pytest.mark.parametrize("facts", [{"missed": 1}, {"storage": 2}])
def test_where_a_store_may_be_missing_nobody_is_named(facts: dict[str, int]) -> None:
    assert planted(scribbled().life(**facts), [WILD]) == ()


def test_what_was_stored_after_the_stop_does_not_count() -> None:
    assert planted(scribbled().life(stop=3), [WILD]) == (Planted(PFN, "lru.next", WILD, 2),)
    assert planted(scribbled().life(stop=2), [WILD]) == ()
