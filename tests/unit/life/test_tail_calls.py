"""Functions that ended with a jump to the next one: the call before a return address names them.

On s390x folio_batch_move_lru() leaves for folios_put_refs() that way.  Its put was not known as a
batch's, the batch's reference was paired with another's put, and of a page fault that took two
references "the reference that prep_new_page() took was never dropped".
"""

from __future__ import annotations

import pytest

from tests.unit.life.builders import PFN, REFCOUNT
from tests.unit.life.lives import Mapped, know, resolve
from zaptrace.life.calls import Unit, author
from zaptrace.life.named_life import Frame, Function, NamedWrite, named_life
from zaptrace.report.life import frame_line

know(
    {
        0x260: "folios_put_refs at mm/swap.c:971",
        0x268: "lru_add_drain at mm/swap.c:735",
        0x270: "lru_add_drain at mm/swap.c:736|madvise_cold at mm/madvise.c:9",
    }
)
MOVES = Function("folio_batch_move_lru", 0x900, 0x40)


def put(called: Function | None) -> NamedWrite:
    page = Mapped()
    page.store(REFCOUNT, 0, pc=0x260, stack=page.stack(0x20, 0x270, 0x268))
    told = {0x268: called, 0x270: Function("lru_add_drain", 0x260, 0x10)}
    return named_life(page.life(tables=1), PFN, resolve, told.get).writes[-1]


def test_what_left_for_the_next_function_stands_between_the_two() -> None:
    write = put(MOVES)
    assert write.callers[0] == (
        Frame("folio_batch_move_lru", None, left=True),
        Frame("lru_add_drain", "mm/swap.c:735"),
    )
    assert write.callers[1][0].source == "mm/swap.c:736"  # it had called what is on the stack
    assert "folio_batch_move_lru" in write.functions()
    assert frame_line(write.callers[0][0]) == "folio_batch_move_lru (tail call)"
    assert author(write).function == "lru_add_drain"  # the innermost whose line is known


@pytest.mark.parametrize(
    "called",
    [
        None,
        Function("folios_put_refs", 0x900, 0),  # by its name: a part of it lies elsewhere
        Function("folios_put", 0x250, 0x20),  # by its place: an alias
    ],
)
def test_what_was_called_and_is_there_did_not_leave(called: Function | None) -> None:
    assert [len(frames) for frames in put(called).callers] == [1, 2, 1]


def test_it_is_no_entry_of_the_kernel() -> None:
    page = Mapped()
    page.refs(1, 7, 0x23)
    writes = named_life(page.life(), PFN, resolve, lambda _at: MOVES).writes
    plain = named_life(page.life(), PFN, resolve).writes
    assert Unit(0, writes[-1]).entry() == Unit(0, plain[-1]).entry() == 2
