"""The numpy walker against tables that the test wrote and a scalar walker that knows no numpy."""

from __future__ import annotations

import random
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.audit.s390x_tables import (
    EMPTY_PTE,
    PTE_LEVEL,
    RAM_BYTES,
    S390X,
    SEGMENT_LEVEL,
    SHIFTS,
    TYPES,
    Builder,
    Bytes,
    roots_of,
)
from zaptrace.audit.pagetables.walk import MALFORMED, OUTSIDE, TWICE, UNREADABLE, walk


def lookup(ram: Bytes, asce: int, address: int) -> tuple[int, int] | None:
    """(level, entry) of the leaf at an address: one path, by the Principles of Operation."""
    here = 3 - (asce >> 2 & 3)
    table, first, last = asce & ~0xFFF, 0, asce & 3
    while here < PTE_LEVEL:
        index = address >> SHIFTS[here] & 2047
        slot = table + 8 * index
        if not first <= index // 512 <= last or slot + 8 > len(ram.memory):
            return None
        entry = ram.word(slot)
        if here >= 2 and entry & 0x40C == 0x400 | TYPES[here]:
            return here, entry
        if entry & 0x20 or entry & 0xC != TYPES[here]:
            return None
        first, last = (entry >> 6 & 3, entry & 3) if here < SEGMENT_LEVEL else (0, 3)
        table = entry & (~0x7FF if here == SEGMENT_LEVEL else ~0xFFF)
        here += 1
    slot = table + 8 * (address >> 12 & 255)
    if slot + 8 > len(ram.memory):
        return None
    entry = ram.word(slot)
    return (PTE_LEVEL, entry) if entry & 1 else None


pages = st.integers(0, 255).map(lambda number: number << 12)
# Addresses near each other, so that tables are shared, in all regions of the address space.
bases = st.sampled_from([0, 0x11 << 20, 0x7FF << 20, 3 << 31, 0x7FF << 31, 5 << 42, 0x7FF << 53])
ptes = st.builds(
    lambda pfn, bits, kind: (pfn << 12) | bits | kind,
    st.integers(0, 2**40),
    st.integers(0, 2**12 - 1).map(lambda bits: bits & ~0x601),
    st.sampled_from([0x001, 0x401, 0x601]),  # present: valid, invalid (old), prot-none
)
large = st.builds(
    lambda frame, invalid: (frame << 20) | 0x400 | invalid | 0x3,
    st.integers(0, 2**30),
    st.sampled_from([0, 0x20]),
)


@st.composite
def spaces(draw: st.DrawFn) -> tuple[Builder, list[int], set[tuple[int, int, int, int]]]:
    """Some mms and the leaves that were put there: (mm, address, entry, level)."""
    builder = Builder()
    asces: list[int] = []
    expected: set[tuple[int, int, int, int]] = set()
    for mm in range(draw(st.integers(1, 3))):
        top = draw(st.integers(0, 3))
        asce = builder.mm(top)
        asces.append(asce)
        mapped = draw(st.dictionaries(st.tuples(bases, pages), ptes, max_size=12))
        for (base, page), entry in mapped.items():
            address = (base | page) & ((1 << SHIFTS[top] + 11) - 1)
            builder.map(asce, address, entry)
            expected = {leaf for leaf in expected if leaf[:2] != (mm, address)}
            expected.add((mm, address, entry, PTE_LEVEL))
        if draw(st.booleans()):
            entry, address = draw(large), 0x123 << 20
            builder.map(asce, address, entry, SEGMENT_LEVEL)
            expected.add((mm, address, entry, SEGMENT_LEVEL))
    return builder, asces, expected


@settings(max_examples=30, deadline=None)
@given(spaces())
def test_the_walk_finds_exactly_what_was_mapped(
    space: tuple[Builder, list[int], set[tuple[int, int, int, int]]],
) -> None:
    builder, asces, expected = space
    walked = walk(S390X, roots_of(asces), builder.ram)
    columns = (walked.mm, walked.address, walked.entry, walked.level)
    found = list(zip(*(column.tolist() for column in columns), strict=True))
    assert sorted(found) == sorted(expected)
    for (mm, address, entry, level), pfn in zip(found, walked.pfn.tolist(), strict=True):
        assert lookup(builder.ram, asces[mm], address) == (level, entry)
        bits = 20 if level == SEGMENT_LEVEL else 12
        assert pfn == entry >> bits << (bits - 12)
    assert walked.gaps == {}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
def test_garbage_never_loops_or_raises_and_what_is_found_is_really_there(
    seed: int, asces: list[int]
) -> None:
    rng = random.Random(seed)
    words = [garbage_word(rng) for _ in range(16 << 10)]
    ram = Bytes(bytearray(struct.pack(f">{len(words)}Q", *words)))
    asces = [(asce & 0xF | rng.randrange(32) << 12 | 1 << 12) for asce in asces]
    walked = walk(S390X, roots_of(asces), ram)
    # Tables begin at multiples of 2 KB and each is read once on each of five levels.
    assert walked.tables <= 5 * len(ram.memory) // 0x800
    sample = rng.sample(range(len(walked.pfn)), min(len(walked.pfn), 200))
    for leaf in sample:
        mm, address = int(walked.mm[leaf]), int(walked.address[leaf])
        expected = int(walked.level[leaf]), int(walked.entry[leaf])
        assert lookup(ram, asces[mm], address) == expected


def garbage_word(rng: random.Random) -> int:
    """A word that is often a table entry into the garbage itself."""
    if rng.random() < 0.5:
        return rng.getrandbits(64)
    return rng.randrange(40) << 12 | rng.getrandbits(12)


def test_a_table_that_points_to_itself_ends_with_the_levels() -> None:
    builder = Builder()
    asce = builder.mm(0)
    table = asce & ~0xFFF
    for index in range(2048):  # every entry of a region-first table points back to it
        builder.ram.put(table + 8 * index, table | 0xC | 0x3)
    walked = walk(S390X, roots_of([asce]), builder.ram)
    # On the level below its entries have the wrong type.
    assert walked.tables == 2
    assert walked.gaps == {TWICE: 2047, MALFORMED: 2048}


def test_the_same_root_twice_is_walked_once_for_the_first() -> None:
    builder = Builder()
    asce = builder.mm(2)
    builder.map(asce, 0x5000, 0x9001)
    walked = walk(S390X, roots_of([asce, asce]), builder.ram)
    assert walked.mm.tolist() == [0]
    assert walked.gaps == {TWICE: 1}


def test_a_table_outside_of_memory_is_counted_and_the_rest_found() -> None:
    builder = Builder()
    asce = builder.mm(2)
    builder.map(asce, 0x5000, 0x9001)
    builder.ram.put((asce & ~0xFFF) + 8, 1 << 40 | 0x4 | 0x3)
    builder.ram.put((asce & ~0xFFF) + 16, RAM_BYTES - 0x1000 | 0x4 | 0x3)  # its end sticks out
    walked = walk(S390X, roots_of([asce]), builder.ram)
    assert walked.address.tolist() == [0x5000]
    assert walked.gaps == {OUTSIDE: 2}


def test_what_the_dump_lacks_is_counted_and_its_neighbours_are_read() -> None:
    builder = Builder()
    asce = builder.mm(2)
    for number in range(9):
        builder.map(asce, number << 20, number + 1 << 12 | 1)
    lost = RAM_BYTES - 5 * 0x800  # the fifth page table
    builder.ram.holes = [range(lost, lost + 8)]
    walked = walk(S390X, roots_of([asce]), builder.ram)
    assert sorted(walked.pfn.tolist()) == [1, 2, 3, 4, 6, 7, 8, 9]
    assert walked.gaps == {UNREADABLE: 1}


def test_an_mm_of_which_a_part_could_not_be_seen_is_named_and_no_other() -> None:
    builder = Builder()
    asces = [builder.mm(2) for _ in range(5)]
    for number, asce in enumerate(asces):
        builder.map(asce, 0x5000, 0x9001 + 0x1000 * number)
    lost = RAM_BYTES - 2 * 0x800  # the second mm's page table
    builder.ram.holes = [range(lost, lost + 8)]
    top = [asce & ~0xFFF for asce in asces]
    builder.ram.put(top[2] + 8, 1 << 40 | 0x4 | 0x3)  # outside of memory
    builder.ram.put(top[3] + 8, 0x8000 | 0x8 | 0x3)  # of another level's type
    walked = walk(S390X, roots_of(asces), builder.ram)
    assert walked.gaps == {UNREADABLE: 1, OUTSIDE: 1, MALFORMED: 1}
    assert walked.blind == {1, 2, 3}


def test_neighbouring_tables_are_read_at_once() -> None:
    builder = Builder()
    asce = builder.mm(2)
    for number in range(64):
        builder.map(asce, number << 20, number + 1 << 12 | 1)
    walked = walk(S390X, roots_of([asce]), builder.ram)
    assert walked.tables == 66
    assert builder.ram.reads == 3  # one a level


def test_entries_beyond_a_tables_length_do_not_exist() -> None:
    builder = Builder()
    asce = builder.mm(2)
    for address in (0x1000, 600 << 31):
        builder.map(asce, address, 0x9001)
    short = asce & ~0x3  # 512 entries
    assert walk(S390X, roots_of([short]), builder.ram).address.tolist() == [0x1000]
    # A region-third entry whose segment table begins with its second quarter.
    slot = asce & ~0xFFF
    builder.map(asce, 700 << 20, 0xA001)
    builder.ram.put(slot, builder.ram.word(slot) | 0x40)
    walked = walk(S390X, roots_of([short]), builder.ram)
    assert walked.address.tolist() == [700 << 20]


def test_swap_entries_count_for_their_mm_and_are_no_leaves() -> None:
    builder = Builder()
    asces = [builder.mm(2), builder.mm(2)]
    builder.map(asces[0], 0x1000, 0x7000 | 0x200)
    builder.map(asces[1], 0x1000, 0x7000 | 0x600)
    builder.map(asces[1], 0x2000, 0x8000 | 0x604)
    builder.map(asces[1], 0x3000, 0x9001)
    walked = walk(S390X, roots_of(asces), builder.ram)
    assert sorted(walked.nonpresent.mm.tolist()) == [0, 1, 1]
    assert sorted(walked.nonpresent.entry.tolist()) == [0x7200, 0x7600, 0x8604]
    assert walked.address.tolist() == [0x3000]


def test_the_tables_whose_locks_guard_leaves_are_named() -> None:
    builder = Builder()
    asce = builder.mm(2)
    builder.map(asce, 0x1000, EMPTY_PTE)  # a table that a zap has just emptied
    builder.map(asce, 3 << 31, EMPTY_PTE)  # below a segment table without leaves
    locks = walk(S390X, roots_of([asce]), builder.ram).locks
    lowest = [(0, (1 << 20) - 1), (3 << 31, (3 << 31) + (1 << 20) - 1)]
    segments = [(0, (1 << 31) - 1), (3 << 31, (4 << 31) - 1)]
    spans = list(zip(locks.first.tolist(), locks.last.tolist(), strict=True))
    assert sorted(span for span, low in zip(spans, locks.lowest, strict=True) if low) == lowest
    # A region-third table can hold leaves, too.
    high = sorted(span for span, low in zip(spans, locks.lowest, strict=True) if not low)
    assert high == sorted([(0, (1 << 42) - 1), *segments])
    assert RAM_BYTES - 0x800 in locks.table.tolist()
    assert set(locks.mm.tolist()) == {0}


def test_no_mm_at_all() -> None:
    walked = walk(S390X, [], Builder().ram)
    assert (len(walked.pfn), walked.tables, walked.gaps) == (0, 0, {})
