"""What a plugin or a file has is checked before it is believed."""

from __future__ import annotations

import numpy as np

from tests.unit.life.builders import (
    BASE,
    PFN,
    REFCOUNT,
    Recorder,
    a_zapped_page,
    page_fields,
)
from zaptrace.life.page_life import page_life
from zaptrace.life.record_layout import NOT_SEEN, VALID
from zaptrace.life.records import DEEPEST, Facts, checked, last_of_stacks, of_pages


def test_a_torn_record_is_left_out_and_counted() -> None:
    some = a_zapped_page()
    some.store(REFCOUNT, 5, flags=0)
    some.store(REFCOUNT, 6, size=4)
    some.rows[-1] = (*some.rows[-1][:7], 200, *some.rows[-1][8:])  # 200 bytes in a word
    life = some.life()
    assert len(life.records) == 7 and life.facts.missed == 2
    assert life.unseen() == (
        "2 of 9 stores are missing from pages' lives: their records are not whole.",
    )
    assert life.numbers.tolist() == list(range(7))


def test_a_stack_that_is_no_node_is_empty_and_circles_end() -> None:
    some = Recorder()
    some.store(REFCOUNT, 1, stack=77)
    some.nodes += [(2, 0, 0xA), (1, 0, 0xB), (9, 0, 0xC)]
    some.store(REFCOUNT, 2, stack=2)
    life = some.life()
    assert life.stack(int(life.records["stack"][0])) == ()
    assert life.stack(2) == (0xB, 0xA)
    assert life.stack(3) == (0xC,)


def test_a_stack_is_followed_so_deep_and_no_deeper() -> None:
    some = Recorder()
    node = some.stack(*range(0x1000, 0x1000 + 2 * DEEPEST))
    some.store(REFCOUNT, 1, stack=node)
    assert len(some.life().stack(node)) == DEEPEST


def test_no_records_are_a_recording_too() -> None:
    life = Recorder().life()
    assert not len(life.records)
    assert page_life(life, PFN).writes == ()
    none = np.zeros(0, life.nodes.dtype)
    facts = Facts(BASE, 1, 1, 0, 0, 0, 0, None, 0)
    assert len(checked(life.records, none, page_fields(), facts).nodes) == 1


def test_kept_pages_keep_their_stacks_and_all_writers() -> None:
    some = a_zapped_page()
    some.store(REFCOUNT, 1, pfn=PFN + 1, pc=0x9000, stack=some.stack(0x500, 0x600))
    life = some.life()
    kept = of_pages(life, (PFN + 1,))
    assert kept.pfns == (PFN + 1,) and len(kept.records) == 1
    assert kept.stack(int(kept.records["stack"][0])) == (0x600, 0x500, 0x10000)
    assert len(kept.nodes) == 4 and kept.numbers.tolist() == [7]
    assert dict(kept.writers.tolist())[0x1300] == 1 and len(kept.writers) == 8
    assert of_pages(life, None).pfns is None


def test_the_last_store_on_a_kept_stack_is_kept_whatever_its_page() -> None:
    some = Recorder()
    some.store(REFCOUNT, 1, stack=some.stack(0x500, root=0x10000))
    for pfn, root in ((PFN + 1, 0x10000), (PFN + 2, 0x20000), (PFN + 3, 0x10000)):
        some.store(REFCOUNT, 1, pfn=pfn, stack=some.stack(0x600, root=root))
    some.store(REFCOUNT, 2, pfn=PFN + 4)  # on a stack that is not known
    kept = of_pages(some.life(), (PFN,))
    assert kept.pages().tolist() == [PFN, PFN + 3]
    assert last_of_stacks(kept) == {0x10000: 1}
    assert last_of_stacks(some.life()) == {0x10000: 3, 0x20000: 2}


def test_what_is_missing_is_said() -> None:
    some = a_zapped_page()
    some.store(REFCOUNT, 1, flags=VALID)
    said = " ".join(some.life(storage=NOT_SEEN, lost_stacks=3, missed=4).unseen())
    assert "was full: 4 of 8 stores are missing" in said
    assert "MVC" in said and "3 call stacks" in said and "1 stores" in said
