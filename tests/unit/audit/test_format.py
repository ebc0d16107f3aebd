"""s390x entries against the tables of bit patterns in arch/s390/include/asm/pgtable.h."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from zaptrace.arch.page_tables import Level
from zaptrace.audit.pagetables.arches import FORMATS, s390x_root
from zaptrace.audit.pagetables.table_format import any_of

LEVELS = {level.name: level for level in FORMATS["s390x"].levels}

# "possible bit combinations for the pte hardware and software bits in the last 12 bits":
# '.' unassigned, x don't care, t swap type.  Bits 11 to 0.
PTE_PATTERNS = """
empty                    .10.00000000  empty
swap                     .11..ttttt.0  swap
prot-none, clean, old    .11.xx0000.1  leaf
prot-none, clean, young  .11.xx0001.1  leaf
prot-none, dirty, old    .11.xx0010.1  leaf
prot-none, dirty, young  .11.xx0011.1  leaf
read-only, clean, old    .11.xx0100.1  leaf
read-only, clean, young  .01.xx0101.1  leaf
read-only, dirty, old    .11.xx0110.1  leaf
read-only, dirty, young  .01.xx0111.1  leaf
read-write, clean, old   .11.xx1100.1  leaf
read-write, clean, young .01.xx1101.1  leaf
read-write, dirty, old   .10.xx1110.1  leaf
read-write, dirty, young .00.xx1111.1  leaf
"""

# "Segment table and region3 table entry encoding": dy..R...I...wr, bits 13 to 0.
LARGE_PATTERNS = """
prot-none, clean, old    00..1...1...00
prot-none, clean, young  01..1...1...00
prot-none, dirty, old    10..1...1...00
prot-none, dirty, young  11..1...1...00
read-only, clean, old    00..1...1...01
read-only, clean, young  01..1...0...01
read-only, dirty, old    10..1...1...01
read-only, dirty, young  11..1...0...01
read-write, clean, old   00..1...1...11
read-write, clean, young 01..1...0...11
read-write, dirty, old   10..0...1...11
read-write, dirty, young 11..0...0...11
"""


def kind_of(level: Level, entry: int) -> str:
    entries = np.array([entry], np.uint64)
    kinds = ("empty", "leaf", "table", "swap")
    met = [kind for kind in kinds if any_of(getattr(level, kind), entries)[0]]
    assert len(met) <= 1
    return met[0] if met else "malformed"


def rows(table: str) -> Iterator[tuple[str, ...]]:
    for line in table.strip().splitlines():
        yield line[:24].strip(), *line[24:].split()


def meant_by(pattern: str) -> Iterator[int]:
    """Every value of the low bits that a pattern stands for, unassigned bits 0."""
    choices = [{"x": (0, 1), "t": (0, 1), "1": (1,)}.get(letter, (0,)) for letter in pattern]
    for bits in itertools.product(*choices):
        yield int("".join(map(str, bits)), 2)


@pytest.mark.parametrize(("name", "pattern", "kind"), list(rows(PTE_PATTERNS)))
def test_every_pte_of_the_kernels_table_is_what_the_table_says(
    name: str, pattern: str, kind: str
) -> None:
    origin = 0 if kind == "empty" else 0x1234 << 12
    for bits in meant_by(pattern):
        assert kind_of(LEVELS["page"], origin | bits) == kind, f"{name}: {bits:#x}"


@pytest.mark.parametrize(("name", "pattern"), list(rows(LARGE_PATTERNS)))
@pytest.mark.parametrize(("level", "type_bits"), [("segment", 0), ("region third", 0x4)])
def test_a_large_leaf_is_present_even_where_the_hardware_calls_it_invalid(
    level: str, type_bits: int, name: str, pattern: str
) -> None:
    for bits in meant_by(pattern):
        entry = (1 << 31) | bits | 0x400 | type_bits
        assert kind_of(LEVELS[level], entry) == "leaf", name


@pytest.mark.parametrize(
    ("level", "entry", "kind"),
    [
        ("region first", 0x5000 | 0x0C | 0x03, "table"),  # _REGION1_ENTRY
        ("region first", 0x0C | 0x20, "empty"),  # _REGION1_ENTRY_EMPTY
        ("region first", 0x5000 | 0x08 | 0x03, "malformed"),  # the type of another level
        ("region second", 0x5000 | 0x08 | 0x03, "table"),
        ("region second", 0x08 | 0x20, "empty"),
        ("region second", 0x5000 | 0x04 | 0x03, "malformed"),
        ("region third", 0x5000 | 0x04 | 0x03, "table"),
        ("region third", 0x04 | 0x20, "empty"),
        ("region third", 0x5000, "malformed"),
        ("segment", 0x5800, "table"),  # page tables are 2 KB: a 4 KB page holds two
        ("segment", 0x20, "empty"),
        ("segment", 0x5800 | 0x04, "malformed"),
        ("segment", 0x5000 | 0x30 | 3 << 6, "swap"),  # mk_swap_rste()
        ("segment", 0x5000 | 0x30 | 29 << 6, "swap"),  # the type covers the large bit
        ("region third", 0x5000 | 0x34 | 29 << 6, "swap"),
        ("page", 0, "malformed"),  # neither present, nor swap, nor pte_none()
    ],
)
def test_entries_that_are_no_leaves(level: str, entry: int, kind: str) -> None:
    assert kind_of(LEVELS[level], entry) == kind


def test_the_asce_says_where_a_walk_begins() -> None:
    levels = FORMATS["s390x"].levels
    user_bits = 0x40 | 0x80 | 0x100
    for type_bits, name in ((0xC, "first"), (0x8, "second"), (0x4, "third"), (0x0, "segment")):
        root = s390x_root(0xABC000 | user_bits | type_bits | 0x03)
        assert root is not None
        assert name in levels[root.level].name
        assert (root.table, root.first, root.end) == (0xABC000, 0, 2048)
    short = s390x_root(0xABC000 | 0x01)
    assert short is not None
    assert short.end == 1024
    assert s390x_root(user_bits | 0x3) is None


def test_a_leaf_maps_as_many_pages_as_its_level_covers() -> None:
    assert FORMATS["s390x"].leaf_pages[-3:] == (2048 * 256, 256, 1)  # 2 GB, 1 MB, 4 KB
    assert LEVELS["page"].bytes == 2048
