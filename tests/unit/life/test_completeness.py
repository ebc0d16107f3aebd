"""Recorded words against memory."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.life.builders import BASE, PFN, REFCOUNT, Recorder, a_zapped_page
from zaptrace.life.changed_words import MOST_CHANGED, Changed, changed_unseen
from zaptrace.life.completeness import Completeness, Word, compare


def _memory(some: Recorder) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.frombuffer(bytes(some.memory[PFN]), "<u8").copy()


def test_a_recording_of_all_stores_is_complete() -> None:
    some = a_zapped_page()
    assert compare(some.life(), [(PFN, _memory(some))]) == Completeness(8, 0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_was_not_recorded_is_named(order: str) -> None:
    some = a_zapped_page(order)
    memory = _memory(some)
    some.memory[PFN][REFCOUNT : REFCOUNT + 4] = some.counters(0, 77)[4:]
    some.memory[PFN][56] = 1
    found = compare(some.life(), [(PFN, _memory(some))])
    number = "big" if order == ">" else "little"
    assert (found.words, found.differ) == (8, 2)
    assert found.of_page(PFN) == (
        Word(
            *(PFN, 48, int.from_bytes(memory[6:7].tobytes(), number)),  # type: ignore[arg-type]
            int.from_bytes(some.counters(-1, 77), number),  # type: ignore[arg-type]
        ),
        Word(PFN, 56, None, 1 << 56 if order == ">" else 1),
    )
    assert found.of_page(0) == ()


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_members_that_no_store_changed_are_named_where_no_store_is_missing(order: str) -> None:
    some = a_zapped_page(order)
    some.memory[PFN][REFCOUNT : REFCOUNT + 4] = some.counters(0, 77)[4:]
    found = compare(some.life(), [(PFN, _memory(some))])
    assert changed_unseen(some.life(), found) == (Changed(PFN, "_refcount", 0, 77),)
    assert changed_unseen(some.life(missed=1), found) == ()
    assert changed_unseen(some.life(), None) == ()
    for at in range(MOST_CHANGED):  # of many words the recording is not whole
        some.memory[PFN][8 * at] ^= 1
    found = compare(some.life(), [(PFN, _memory(some))])
    assert found.differ == MOST_CHANGED + 1 and changed_unseen(some.life(), found) == ()


def test_only_what_was_recorded_before_the_dump_counts() -> None:
    some = a_zapped_page()
    memory = _memory(some)
    some.store(REFCOUNT, 9)
    assert compare(some.life(), [(PFN, memory)]).differ == 1
    assert compare(some.life(), [(PFN, memory)], before=7).differ == 0


def test_no_store_and_no_memory_is_complete() -> None:
    life = Recorder().life()
    assert compare(life, []) == Completeness(0, 0)
    assert compare(life, [(0, np.zeros(8, "<u8"))]) == Completeness(8, 0)
    assert life.facts.base == BASE
