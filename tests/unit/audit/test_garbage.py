"""Page tables full of garbage, in both byte orders: the walk ends, and says what it left out."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.audit.s390x_tables import Bytes
from zaptrace.audit.invariants import count_ptes
from zaptrace.audit.pagetables.arches import FORMATS
from zaptrace.audit.pagetables.nonpresent import WITH_PFN, SwapKind, SwapTypes, classify
from zaptrace.audit.pagetables.table_format import Root, TableFormat
from zaptrace.audit.pagetables.translate import EntryKind, follow, mapped_pfn
from zaptrace.audit.pagetables.walk import MALFORMED, OUTSIDE, TWICE, UNREADABLE, Walked, walk

RAM_BYTES = 128 << 10
KNOWN_GAPS = {MALFORMED, OUTSIDE, TWICE, UNREADABLE}
# An entry that points to a table, as each architecture's lowest levels write it.
POINTER_BITS = {"x86_64": (0x001, 0x067), "s390x": (0x003, 0x007, 0x00B, 0x00F)}

seeds = st.integers(0, 2**32 - 1)
arches = pytest.mark.parametrize("arch", sorted(FORMATS))


def garbage(arch: str, seed: int) -> tuple[Bytes, list[Root], random.Random]:
    """Memory in which most words are entries that lead back into it, or just outside of it."""
    rng, fmt = random.Random(seed), FORMATS[arch]
    words = [_word(rng, arch) for _ in range(RAM_BYTES // 8)]
    memory = bytearray(struct.pack(f"{fmt.word[0]}{len(words)}Q", *words))
    hole = rng.randrange(RAM_BYTES)
    ram = Bytes(memory, holes=[range(hole, hole + 64)] if rng.random() < 0.5 else [])
    roots = [
        Root(rng.randrange(0, RAM_BYTES, 0x1000), rng.randrange(len(fmt.levels) - 1), 0, 256)
        for _ in range(rng.randrange(1, 4))
    ]
    return ram, roots, rng


def _word(rng: random.Random, arch: str) -> int:
    kind = rng.random()
    if kind < 0.3:
        return rng.getrandbits(64)
    if kind < 0.5:
        return 0
    # Up to one and a half times the memory: a third of the pointers lead outside.
    origin = rng.randrange(0, RAM_BYTES * 3 // 2, 0x1000)
    return origin | rng.choice(POINTER_BITS[arch])


def walked(arch: str, seed: int) -> tuple[TableFormat, Bytes, list[Root], Walked]:
    ram, roots, _ = garbage(arch, seed)
    return FORMATS[arch], ram, roots, walk(FORMATS[arch], roots, ram)


@arches
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_each_table_is_read_once_a_level_and_each_gap_has_a_name(arch: str, seed: int) -> None:
    fmt, _, _, found = walked(arch, seed)
    for level in fmt.levels:
        assert level.bytes <= RAM_BYTES
    # Tables begin at multiples of 2 KB (of 4 KB on x86_64).
    assert found.tables <= len(fmt.levels) * RAM_BYTES // 0x800
    assert set(found.gaps) <= KNOWN_GAPS
    assert all(count > 0 for count in found.gaps.values())


@arches
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_one_address_at_a_time_is_led_to_the_same_leaves(arch: str, seed: int) -> None:
    fmt, ram, roots, found = walked(arch, seed)
    sample = random.Random(seed).sample(range(len(found.pfn)), min(len(found.pfn), 40))
    for leaf in sample:
        address = int(found.address[leaf])
        steps = follow(fmt, roots[int(found.mm[leaf])], ram, address)
        # The walk takes whole tables only: what sticks out of memory it does not enter.
        assert steps[-1].kind is EntryKind.LEAF
        assert steps[-1].entry == found.entry[leaf]
        assert mapped_pfn(fmt, steps, address) == found.pfn[leaf]


@arches
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_no_address_is_found_twice_and_none_beyond_user_space(arch: str, seed: int) -> None:
    fmt, _, _, found = walked(arch, seed)
    pairs = set(zip(found.mm.tolist(), found.address.tolist(), strict=True))
    assert len(pairs) == len(found.address)
    assert not len(found.address) or int(found.address.max()) < fmt.tables.user_end


@arches
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_entries_that_are_not_present_have_a_kind_and_pages_only_where_one_is_meant(
    arch: str, seed: int
) -> None:
    fmt, _, _, found = walked(arch, seed)
    kinds = np.array([SwapKind.SWAP] * 28 + [SwapKind.MIGRATION] * 3 + [SwapKind.MARKER], np.uint8)
    absent = classify(fmt, found, SwapTypes(kinds, pfn_bits=34))
    assert len(absent.kind) == len(found.nonpresent.entry)
    assert sum(absent.by_kind().values()) == len(absent.kind)
    assert not absent.pfn[~np.isin(absent.kind, WITH_PFN)].any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 63), st.sampled_from([1, 256, 512, 1 << 18, 1 << 19]))),
    st.integers(64, 80),
)
def test_leaves_that_map_more_than_there_is_count_what_there_is(
    leaves: list[tuple[int, int]], total: int
) -> None:
    firsts = np.array([first for first, _ in leaves], np.int64)
    sizes = np.array([pages for _, pages in leaves], np.int64)
    slow = [sum(first <= page < first + pages for first, pages in leaves) for page in range(total)]
    assert count_ptes(firsts, sizes, total).tolist() == slow
