"""One address followed through the tables, against tables that the test wrote."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.audit.s390x_tables import S390X, Builder, Bytes, roots_of
from tests.unit.audit.x86_64_tables import PRESENT, USER, X86_64, Tables, inverted, random_leaves
from zaptrace.audit.pagetables.arches import FORMATS
from zaptrace.audit.pagetables.table_format import Root
from zaptrace.audit.pagetables.translate import EntryKind, follow, mapped_pfn


@pytest.mark.parametrize(("top", "top_shift"), [(1, 39), (0, 48)])
@pytest.mark.parametrize("seed", range(4))
def test_x86_64_every_address_of_a_leaf_leads_to_its_page(
    top: int, top_shift: int, seed: int
) -> None:
    ram = Tables()
    root = Root(ram.table(), top, 0, 256)
    leaves = list(random_leaves(random.Random(seed), top_shift))
    for address, level, entry, _ in leaves:
        ram.map(root.table, top, address, entry, level)
    shifts = {level.name: level.shift for level in X86_64.levels}
    for address, level, entry, pfn in leaves:
        inside = (1 << shifts[level]) - 1
        for offset in (0, inside):
            steps = follow(X86_64, root, ram, address + offset)
            assert [step.kind for step in steps[:-1]] == [EntryKind.TABLE] * (len(steps) - 1)
            assert (steps[-1].level, steps[-1].entry) == (level, entry)
            assert mapped_pfn(X86_64, steps, address + offset) == pfn + (offset >> 12)


def test_s390x_names_the_bits_of_each_level() -> None:
    tables = Builder()
    asce = tables.mm(2)
    (root,) = roots_of([asce])
    tables.map(asce, 0x12345678000, 0x5DA000 | 0x03D)
    steps = follow(S390X, root, tables.ram, 0x12345678123)
    assert [step.level for step in steps] == ["region third", "segment", "page"]
    assert steps[-1].flags == ("PRESENT", "YOUNG", "DIRTY", "READ", "WRITE")
    assert mapped_pfn(S390X, steps, 0x12345678123) == 0x5DA


def test_x86_64_names_the_bits_of_a_prot_none_page() -> None:
    ram = Tables()
    root = Root(ram.table(), 1, 0, 256)
    ram.map(root.table, 1, 0x7000, inverted(0x1234) | 0x100 | 0x20, "pte")
    steps = follow(X86_64, root, ram, 0x7000)
    assert {"GLOBAL", "ACCESSED"} <= set(steps[-1].flags)
    assert "PRESENT" not in steps[-1].flags
    assert steps[-2].flags == ("PRESENT", "RW", "USER", "ACCESSED")
    assert mapped_pfn(X86_64, steps, 0x7000) == 0x1234


@pytest.mark.parametrize(
    ("entry", "kind"),
    [(0, EntryKind.EMPTY), (0x3F << 58 | 0x400, EntryKind.SWAP), (1 << 40 | 1, EntryKind.LEAF)],
)
def test_the_way_ends_at_what_is_no_table(entry: int, kind: EntryKind) -> None:
    ram = Tables()
    root = Root(ram.table(), 1, 0, 256)
    ram.map(root.table, 1, 0x8000, PRESENT | USER | 0x1000, "pte")  # makes the tables
    ram.map(root.table, 1, 0x7000, entry, "pte")
    steps = follow(X86_64, root, ram, 0x7000)
    assert [step.kind for step in steps] == [EntryKind.TABLE] * 3 + [kind]


def test_a_table_outside_of_memory_is_unreadable_and_the_kernels_half_is_absent() -> None:
    ram = Tables()
    root = Root(ram.table(), 1, 0, 256)
    ram.map(root.table, 1, 0x7000, (1 << 45) | PRESENT, "pmd")
    assert follow(X86_64, root, ram, 0x7000)[-1].kind is EntryKind.UNREADABLE
    assert follow(X86_64, root, ram, 0xFFFF_8880_0000_0000)[-1].kind is EntryKind.ABSENT


@settings(max_examples=80, deadline=None)
@given(
    arch=st.sampled_from(sorted(FORMATS)),
    words=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 2**16), min_size=1, max_size=7),
    address=st.integers(0, 2**64 - 1),
)
def test_garbage_ends_after_at_most_one_step_a_level(
    arch: str, words: list[int], address: int
) -> None:
    fmt = FORMATS[arch]
    memory = struct.pack(f"{fmt.word[0]}{len(words)}Q", *words)
    ram = Bytes(bytearray(memory * (0x8000 // len(memory))))
    steps = follow(fmt, Root(0, 0, 0, 2048), ram, address)
    assert 1 <= len(steps) <= len(fmt.levels)
