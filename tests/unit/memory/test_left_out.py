"""Physical memory that an ELF dump has in its file, and what reads as zeros for it has not."""

from __future__ import annotations

import drgn
import pytest

from zaptrace.elf.core import PT_LOAD, Segment
from zaptrace.memory.left_out import is_left_out, note_left_out

PAGE = 4096


def load(paddr: int, filesz: int, memsz: int) -> Segment:
    return Segment(PT_LOAD, 7, 0, 0, paddr * PAGE, filesz * PAGE, memsz * PAGE, 0)


def left_out(*loads: Segment) -> list[int]:
    prog = drgn.Program()
    note_left_out(prog, loads)
    return [page for page in range(10) if is_left_out(prog, page * PAGE)]


def test_what_a_segment_has_in_memory_alone_is_left_out() -> None:
    assert left_out(load(0, 2, 4), load(4, 3, 3), load(7, 0, 2)) == [2, 3, 7, 8, 9]


def test_memory_that_another_segment_has_in_the_file_is_not_left_out() -> None:
    assert left_out(load(0, 1, 4), load(0, 6, 6), load(2, 1, 1)) == [6, 7, 8, 9]


def test_of_a_dump_that_is_whole_nothing_is_left_out() -> None:
    """Other formats fail to read what they lack, as does a place between segments."""
    assert left_out(load(0, 4, 4), load(6, 4, 4)) == left_out() == []


@pytest.mark.parametrize("size", [2**64 - 1, 2**63])
def test_segments_at_the_end_of_all_addresses_are_no_error(size: int) -> None:
    prog = drgn.Program()
    note_left_out(prog, [Segment(PT_LOAD, 7, 0, 0, 2**64 - 1, size, 2**64 - 1, 0), load(0, 1, 2)])
    assert is_left_out(prog, PAGE)
    assert not is_left_out(prog, 0)
