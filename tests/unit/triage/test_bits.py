"""Single bits: which differ by a fault of memory, and which numbers have one bit of their own."""

from __future__ import annotations

import pytest

from tests.unit.triage.builders import Dump, bad_map, log
from tests.unit.triage.case import found


@pytest.mark.parametrize(
    "line",
    ["memcg:0000000000010000", "memcg:0000000000000001"],
)
def test_a_charge_of_one_bit_is_no_pointer(line: str) -> None:
    dump = Dump(reason="page still charged to cgroup", extra=[line])
    (clue,) = found(log(dump), "memcg")
    assert "overwritten" in clue.causes[0].what
    assert found(log(dump), "one_bit")


def test_counts_that_software_reaches_by_counting_are_no_flipped_bit() -> None:
    for refcount in (1, 2, 4, 8, -1, -2, 3, 0x30000):
        assert not found(log(Dump(refcount=refcount)), "one_bit"), refcount
    for mapcount in (1, 2, 3, -1, -2, -128, -512, -1024):
        assert not found(log(Dump(mapcount=mapcount)), "one_bit"), mapcount
    assert found(log(Dump(mapcount=-(1 << 20))), "one_bit")
    assert found(log(Dump(refcount=-(1 << 31))), "one_bit")


def test_a_pte_that_differs_from_its_neighbours_by_one_bit() -> None:
    stack = ("print_bad_pte", "unmap_page_range", "do_syscall_64")
    usual = [
        bad_map(pte=0x8000000000000067 | pfn << 12, pfn=pfn, stack=stack) for pfn in (5, 6, 7, 8)
    ]
    odd = 0x8000000000000167 | 9 << 12
    (clue,) = found(log(*usual, bad_map(pte=odd, pfn=9, stack=stack)), "one_bit")
    assert "bit 8 alone" in clue.seen
    assert clue.pfns == (9,)
    assert not found(log(*usual), "one_bit")
    # Of another architecture, or a driver's; and what differs between any two mappings.
    assert not found(log(*usual, bad_map(pte=odd, pfn=9)), "one_bit")
    assert not found(log(*usual, bad_map(pte=odd, vm_flags=0x400, stack=stack)), "one_bit")
    for legal in (0x8000000000000065, 0x67, 0x8000000000000027, 0x8000000000000867):
        assert not found(log(*usual, bad_map(pte=legal, stack=stack)), "one_bit")


@pytest.mark.parametrize("entry", ["00004000", "2000000000000"])
def test_an_empty_entry_with_one_bit_set(entry: str) -> None:
    data = log([f"swap_free: Unused swap offset entry {entry}"])
    assert found(data, "one_bit")


def test_one_bit_of_the_same_entry_is_seen_once() -> None:
    same = log(
        [f"[    {second}.000000] swap_dup: Bad swap file entry 00004000" for second in "123"]
    )
    (clue,) = found(same, "one_bit")
    assert "0x4000" in clue.seen


def test_swap_entries_of_many_single_bits_are_small_numbers_and_no_flips() -> None:
    entries = ("00001000", "00000020", "00000040", "00002000")
    assert not found(log([f"swap_free: Bad swap file entry {one}" for one in entries]), "one_bit")


def test_a_swap_entry_of_one_bit_among_others_is_a_small_number() -> None:
    entries = ("00000003", "00000043", "00000001")
    assert not found(log([f"swap_free: Bad swap offset entry {one}" for one in entries]), "one_bit")


def test_a_pte_that_was_taken_for_a_swap_entry_is_one_flip() -> None:
    entry = bad_map(pte=0x10000, mapcount=None)
    data = log(["swap_free: Unused swap offset entry 00000004", *entry])
    (clue,) = found(data, "one_bit")
    assert "the PTE is 0x10000" in clue.seen
    (clue,) = found(data, "pte_without_page")
    assert "not present" in clue.causes[-1].speaks_against[0]
