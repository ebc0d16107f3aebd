"""x86_64 entries and tables against a scalar reading of arch/x86/include/asm/pgtable*.h."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

import drgn
import numpy as np
import pytest
from drgn import Architecture, Platform

from tests.unit.audit.x86_64_tables import (
    ACCESSED,
    DIRTY,
    GLOBAL,
    HUGE,
    LEVELS,
    NX,
    PRESENT,
    TABLE,
    USER,
    X86_64,
    Tables,
    inverted,
    random_leaves,
)
from zaptrace.arch.page_tables import Level
from zaptrace.audit.pagetables import arches
from zaptrace.audit.pagetables.arches import format_of, without_bits
from zaptrace.audit.pagetables.table_format import Root, any_of
from zaptrace.audit.pagetables.walk import MALFORMED, OUTSIDE, walk
from zaptrace.model.errors import BadInput

PFN = 0x12345


def kind_of(level: Level, entry: int) -> str:
    entries = np.array([entry], np.uint64)
    if any_of(level.empty, entries)[0]:
        return "empty"
    kinds = ("leaf", "table", "swap")
    met = [kind for kind in kinds if any_of(getattr(level, kind), entries)[0]]
    assert len(met) <= 1
    return met[0] if met else "malformed"


@pytest.mark.parametrize(
    ("level", "entry", "kind"),
    [
        ("pte", PFN << 12 | PRESENT | USER | ACCESSED | NX, "leaf"),
        ("pte", PFN << 12 | PRESENT | HUGE, "leaf"),  # bit 7 of a PTE is PAT
        ("pte", inverted(PFN) | GLOBAL | ACCESSED, "leaf"),  # PROT_NONE
        ("pte", 0, "empty"),
        ("pte", DIRTY | ACCESSED, "empty"),  # _PAGE_KNL_ERRATUM_MASK
        ("pte", 0x3F << 58 | 0x7FFFFFF << 9, "swap"),
        ("pmd", 0x5000 | TABLE, "table"),
        ("pmd", 0x200000 | PRESENT | HUGE | USER, "leaf"),
        ("pmd", inverted(0x200) | HUGE | GLOBAL, "leaf"),  # PROT_NONE
        ("pmd", inverted(0x200) | HUGE, "leaf"),  # pmd_mkinvalid(): PSE alone says present
        ("pmd", 0x1E << 58 | 0x400, "swap"),  # a migration entry of a huge page
        ("pud", 1 << 30 | PRESENT | HUGE, "leaf"),
        ("pud", 0x5000 | TABLE, "table"),
        ("p4d", 0x5000 | TABLE, "table"),
        ("pgd", 0x5000 | TABLE | NX, "table"),  # PTI: no execution from the kernel's table
        ("pgd", 0x5000, "malformed"),
    ],
)
def test_entries_are_what_the_kernel_takes_them_for(level: str, entry: int, kind: str) -> None:
    assert kind_of(LEVELS[level], entry) == kind


@pytest.mark.parametrize(("top", "top_shift"), [(1, 39), (0, 48)])
@pytest.mark.parametrize("seed", range(8))
def test_every_leaf_is_found_with_four_and_five_levels(top: int, top_shift: int, seed: int) -> None:
    ram, wanted = Tables(), set()
    root = ram.table()
    for address, level, entry, pfn in random_leaves(random.Random(seed), top_shift):
        ram.map(root, top, address, entry, level)
        wanted.add((address, level, entry, pfn))
    walked = walk(X86_64, [Root(root, top, 0, 256)], ram)
    found = {
        (int(address), X86_64.levels[level].name, int(entry), int(pfn))
        for address, level, entry, pfn in zip(
            walked.address, walked.level, walked.entry, walked.pfn, strict=True
        )
    }
    assert found == wanted
    assert MALFORMED not in walked.gaps


@pytest.mark.parametrize("bit", [47, 51])
@pytest.mark.parametrize("seed", range(4))
def test_the_bit_of_memory_encryption_is_no_part_of_an_address(bit: int, seed: int) -> None:
    """sme_me_mask: in tables, leaves and, never complemented, in PROT_NONE leaves too."""
    ram, wanted = Tables(encrypted=1 << bit), set()
    root = ram.table()
    for address, level, entry, pfn in random_leaves(random.Random(seed), 39):
        if pfn >> bit - 12:  # no memory is above the bit
            continue
        ram.map(root, 1, address, entry | 1 << bit, level)
        wanted.add((address, pfn))
    roots = [Root(root, 1, 0, 256)]
    walked = walk(without_bits(X86_64, 1 << bit), roots, ram)
    assert set(zip(walked.address.tolist(), walked.pfn.tolist(), strict=True)) == wanted
    assert walked.gaps == {}
    plain = walk(X86_64, roots, ram)
    assert len(plain.pfn) == 0
    assert plain.gaps[OUTSIDE] > 0
    assert plain.blind == {0}


class Told:
    """A kernel that says these lines in VMCOREINFO, and may have the variable."""

    platform = Platform(Architecture.X86_64)

    def __init__(self, lines: dict[str, int], variable: int | None) -> None:
        text = "".join(f"NUMBER({name})={value}\n" for name, value in lines.items())
        self._said = {"VMCOREINFO": text.encode(), "__pgtable_l5_enabled": variable}

    def __getitem__(self, name: str) -> Any:
        if self._said[name] is None:
            raise KeyError(name)
        said = self._said[name]
        return SimpleNamespace(string_=lambda: said, value_=lambda: said)


@pytest.mark.parametrize(
    ("told", "variable", "top"),
    [
        ({"pgtable_l5_enabled": 1}, None, 0),
        ({"pgtable_l5_enabled": 0}, 1, 1),
        ({}, 1, 0),
        ({}, 0, 1),
    ],
)
def test_the_number_of_levels_is_what_vmcoreinfo_says_or_else_the_kernels_variable(
    told: dict[str, int], variable: int | None, top: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arches, "virt_to_phys", lambda pgd: SimpleNamespace(value_=lambda: 0x5000))
    fmt = format_of(cast(drgn.Program, Told(told, variable)))
    mm = SimpleNamespace(pgd=SimpleNamespace(read_=lambda: 0x1000))
    assert fmt.root(cast(drgn.Object, mm)) == Root(0x5000, top, 0, 256)


def test_levels_are_not_guessed_and_the_encryptions_bit_is_read() -> None:
    with pytest.raises(BadInput, match="four levels or five"):
        format_of(cast(drgn.Program, Told({}, None)))
    encrypted = format_of(
        cast(drgn.Program, Told({"pgtable_l5_enabled": 0, "sme_mask": 1 << 51}, 0))
    )
    assert {level.table_origin >> 51 & 1 for level in encrypted.levels} == {0}
    assert {level.leaf_origin >> 51 & 1 for level in encrypted.levels} == {0}


def test_the_kernels_half_is_not_walked() -> None:
    ram = Tables()
    root = ram.table()
    ram.map(root, 1, 0xFFFF_8880_0000_0000, PFN << 12 | PRESENT, "pte")
    assert len(walk(X86_64, [Root(root, 1, 0, 256)], ram).pfn) == 0
