"""A page's life out of stores that were made by hand."""

from __future__ import annotations

import pytest

from tests.unit.life.builders import FLAGS, MAPCOUNT, PFN, REFCOUNT, Recorder, a_zapped_page
from zaptrace.life.page_life import Role, last_store, page_life
from zaptrace.life.record_layout import STORAGE, VALID, VALUE
from zaptrace.life.records import of_pages


@pytest.mark.parametrize("order", ["<", ">"])
def test_each_store_says_what_was_before_and_after(order: str) -> None:
    found = page_life(a_zapped_page(order).life(), PFN)
    assert found.since_allocation
    assert (len(found.writes), found.all) == (5, 7)
    assert [write.role for write in found.writes] == [
        *(Role.ALLOCATED, Role.OTHER, Role.MAPPED, Role.FREED, Role.UNMAPPED)
    ]
    freed, unmapped = found.writes[-2:]
    change = freed.change("_refcount")
    assert change is not None
    assert (change.before, change.after, freed.pc, freed.stack) == (1, 0, 0x1400, (0x400, 0x200))
    assert freed.root == 0x10000
    change = unmapped.change("_mapcount")
    assert change is not None and (change.before, change.after) == (0, -1)


def test_the_whole_life_begins_with_what_is_unknown() -> None:
    found = page_life(a_zapped_page().life(), PFN, since_boot=True)
    assert len(found.writes) == found.all == 7
    assert [(one.name, one.before, one.after) for one in found.writes[0].changes] == [
        ("_mapcount", None, -1)
    ]


def test_a_page_without_an_allocation_shows_all_it_has() -> None:
    some = Recorder()
    some.store(FLAGS, 1, 8)
    found = page_life(some.life(), PFN)
    assert not found.since_allocation and len(found.writes) == 1
    assert page_life(some.life(), PFN + 1).writes == ()


def test_a_thawed_reference_count_is_no_allocation() -> None:
    some = a_zapped_page()
    some.store(REFCOUNT, 1, pc=0x2000)
    assert len(page_life(some.life(), PFN).writes) == 1
    found = page_life(some.life(), PFN, allocates=lambda pc: pc == 0x1100)
    assert len(found.writes) == 6


def test_a_page_type_is_no_mapping() -> None:
    some = a_zapped_page()
    some.store(MAPCOUNT, -129)
    some.store(MAPCOUNT, -1)
    assert [one.role for one in page_life(some.life(), PFN).writes[-2:]] == [Role.TYPED] * 2


def test_what_changed_beside_a_store_was_not_stored_by_it() -> None:
    some = a_zapped_page()
    some.store(MAPCOUNT, 0, seen=some.counters(0, 9))
    last = page_life(some.life(), PFN).writes[-1]
    assert [(one.name, one.before, one.after, one.stored) for one in last.changes] == [
        ("_mapcount", -1, 0, True),
        ("_refcount", 0, 9, False),
    ]


def test_two_cpus_at_one_word_each_get_their_own_change() -> None:
    some = a_zapped_page()
    some.store(MAPCOUNT, 0, cpu=0, pc=0x3000, seen=some.counters(0, 5))
    some.store(REFCOUNT, 5, cpu=1, pc=0x3004, seen=some.counters(0, 5))
    first, second = page_life(some.life(), PFN).writes[-2:]
    assert [one.name for one in first.changes] == ["_mapcount"]
    assert [(one.name, one.before, one.after) for one in second.changes] == [("_refcount", 0, 5)]


def test_a_store_without_a_value_leaves_the_next_ones_before_unknown() -> None:
    some = a_zapped_page()
    some.store(REFCOUNT, 1, flags=VALID | STORAGE)
    some.store(REFCOUNT, 2)
    unknown, after = page_life(some.life(), PFN).writes[-2:]
    assert not unknown.valued and unknown.storage and not unknown.changes
    change = after.change("_refcount")
    assert change is not None and (change.before, change.after) == (None, 2)
    assert after.role is Role.OTHER


def test_a_store_that_changes_nothing_is_there_all_the_same() -> None:
    some = a_zapped_page()
    some.store(MAPCOUNT, -1, flags=VALID | VALUE)
    last = page_life(some.life(), PFN).writes[-1]
    assert not last.changes and last.role is Role.OTHER


def test_what_came_after_the_stop_is_marked() -> None:
    found = page_life(a_zapped_page().life(stop=6), PFN)
    assert [write.after_stop for write in found.writes] == [False] * 4 + [True]


def test_the_last_store_to_an_entry_is_the_one_before_the_stop() -> None:
    """Whatever it stored: a swap entry maps no page."""
    some = a_zapped_page()
    some.entry(0x12340400, slot=0x5000, pc=0x7000)
    some.entry(0x400, slot=0x5000, pc=0x7004)
    some.entry(0x12340400, slot=0x6000, pc=0x7008)
    some.entry(0x400, slot=0x6000, pc=0x700C)
    life = some.life(stop=len(some.rows) - 1)
    last = last_store(life, 0x6000)
    assert last is not None and (last.pc, last.slot, last.role) == (0x7008, 0x6000, "PTE changed")
    assert last_store(life, 0x8000) is None
    kept = of_pages(life, (PFN,), (0x6000,))
    assert last_store(kept, 0x6000) == last and last_store(kept, 0x5000) is None
