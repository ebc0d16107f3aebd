"""Entries that are not present, against scalar readings of the kernel's encodings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.audit import pretend
from zaptrace.audit.pagetables.arches import FORMATS
from zaptrace.audit.pagetables.nonpresent import NO_TYPES, SwapKind, SwapTypes, classify, types_of
from zaptrace.audit.pagetables.table_format import TableFormat
from zaptrace.audit.pagetables.walk import Locks, Nonpresent, Runs, Walked

KINDS = [
    *[SwapKind.SWAP] * 23,
    SwapKind.HWPOISON,
    *[SwapKind.MIGRATION] * 3,
    *[SwapKind.DEVICE_PRIVATE] * 2,
    *[SwapKind.DEVICE_EXCLUSIVE] * 2,
    SwapKind.MARKER,
]
PFN_BITS = 34
TYPES = SwapTypes(np.array(KINDS, np.uint8), PFN_BITS)


def walked(fmt: TableFormat, entries: list[tuple[int, int, int]]) -> Walked:
    """What a walk leaves of (entry, mm, level)."""
    entry, mm, level = np.array(entries, np.uint64).reshape(-1, 3).T
    none = np.zeros(0, np.uint64)
    found = Nonpresent(entry, entry, mm.astype(np.int32), level.astype(np.uint8))
    mms = np.zeros(0, np.int32)
    locks = Locks(none, none, none, mms, np.zeros(0, bool))
    runs = Runs(mms, np.zeros(0, np.uint8), np.zeros(0, np.int64))
    return Walked(none, none == 1, runs, 0, lambda: none, lambda: none, locks, found, 0, {})


def x86_entry(kind: int, offset: int, level: int) -> int:
    """__swp_entry() of arch/x86/include/asm/pgtable_64.h."""
    return (~offset << 14 & 2**64 - 1) >> 5 | kind << 59


def s390_entry(kind: int, offset: int, level: int) -> int:
    """mk_swap_pte() and mk_swap_rste() of arch/s390/include/asm/pgtable.h."""
    low = 0x600 | kind << 2 if level == 4 else 0x30 | kind << 6
    return offset << 12 | low


ENCODED = {"x86_64": x86_entry, "s390x": s390_entry}
one = st.tuples(st.integers(0, 31), st.integers(0, 2**PFN_BITS - 1), st.integers(0, 3))
levels = st.sampled_from([3, 4])


@pytest.mark.parametrize("arch", sorted(FORMATS))
@settings(max_examples=60, deadline=None)
@given(entries=st.lists(st.tuples(one, levels), max_size=20))
def test_type_and_page_are_what_was_encoded(
    arch: str, entries: list[tuple[tuple[int, int, int], int]]
) -> None:
    encode = ENCODED[arch]
    fmt = FORMATS[arch]
    raw = [(encode(kind, pfn, level), mm, level) for (kind, pfn, mm), level in entries]
    absent = classify(fmt, walked(fmt, raw), TYPES)
    assert absent.kind.tolist() == [KINDS[kind] for (kind, _, _), _ in entries]
    for found, ((kind, pfn, _), _) in zip(absent.pfn.tolist(), entries, strict=True):
        assert found == (pfn if 23 <= kind <= 30 else 0)
    for kind in SwapKind:
        counts = [0] * 4
        for (number, _, mm), _ in entries:
            counts[mm] += KINDS[number] is kind
        assert absent.per_mm(kind, 4).tolist() == counts


def test_flags_above_the_page_of_a_migration_entry_are_no_part_of_it() -> None:
    fmt = FORMATS["x86_64"]
    young = 1 << PFN_BITS  # SWP_MIG_YOUNG
    absent = classify(fmt, walked(fmt, [(x86_entry(24, 0x1234 | young, 4), 0, 4)]), TYPES)
    assert absent.pfn.tolist() == [0x1234]


@pytest.mark.parametrize(("exclusive", "mapped"), [(False, [True, False]), (True, [True, True])])
def test_what_a_device_has_counts_as_mapped(exclusive: bool, mapped: list[bool]) -> None:
    fmt = FORMATS["x86_64"]
    raw = [(x86_entry(27, 5, 4), 0, 4), (x86_entry(30, 6, 4), 0, 4)]
    types = SwapTypes(TYPES.kinds, PFN_BITS, exclusive_mapped=exclusive)
    assert classify(fmt, walked(fmt, raw), types).mapped.tolist() == mapped


def test_types_that_are_not_known_are_not_guessed() -> None:
    fmt = FORMATS["s390x"]
    raw = [(s390_entry(kind, 7, 4), 0, 4) for kind in range(32)]
    absent = classify(fmt, walked(fmt, raw), SwapTypes(np.zeros(32, np.uint8), PFN_BITS))
    assert absent.by_kind() == {"unknown": 32}
    assert not absent.mapped.any()
    assert not absent.pfn.any()


def test_the_mms_with_entries_of_a_type_that_is_unknown_are_known() -> None:
    fmt = FORMATS["x86_64"]
    entries = [
        (x86_entry(30, 5, 4), 0, 4),
        (x86_entry(31, 5, 4), 2, 4),
        (x86_entry(24, 5, 4), 2, 4),
    ]
    untold = SwapTypes(
        np.array([*[SwapKind.SWAP] * 30, SwapKind.UNKNOWN, SwapKind.MARKER], np.uint8), PFN_BITS
    )
    assert classify(fmt, walked(fmt, entries), untold).mms_with(SwapKind.UNKNOWN) == {0}
    assert classify(fmt, walked(fmt, entries), NO_TYPES).mms_with(SwapKind.UNKNOWN) == {0, 2}
    assert classify(fmt, walked(fmt, entries), TYPES).mms_with(SwapKind.UNKNOWN) == set()


@pytest.mark.parametrize(
    ("files", "functions", "rest"),
    [
        # Debian's 6.1 for x86_64, of two kinds: one without hwpoison
        (27, {"migrate_pages"}, "MIGRATION*3 MARKER*2"),
        (26, {"migrate_pages", "memory_failure"}, "HWPOISON MIGRATION*3 MARKER*2"),
        # 6.12
        (27, {"migrate_pages", "memory_failure"}, "HWPOISON MIGRATION*3 MARKER"),
        # 6.1 with a device's memory, and no userfaultfd
        (
            23,
            {"migrate_pages", "memory_failure", "make_device_exclusive_range"},
            "HWPOISON MIGRATION*3 DEVICE_PRIVATE*2 DEVICE_EXCLUSIVE*2 MARKER",
        ),
        # 6.15
        (
            24,
            {"migrate_pages", "memory_failure", "make_device_exclusive"},
            "HWPOISON MIGRATION*3 DEVICE_PRIVATE*2 DEVICE_EXCLUSIVE MARKER",
        ),
        (25, {"migrate_pages"}, None),  # three unknown ones
        (30, {"migrate_pages"}, None),  # one too many
    ],
)
def test_the_types_are_what_this_kernel_has(
    files: int, functions: set[str], rest: str | None
) -> None:
    prog = pretend.kernel(functions, arrays={"swap_info": files}, constants={"PG_anon_exclusive"})
    found = types_of(prog, {}, 12).kinds.tolist()
    if rest is None:
        assert found == [SwapKind.UNKNOWN] * 32
        return
    words = (word.partition("*") for word in rest.split())
    behind = [SwapKind[name] for name, _, many in words for _ in range(int(many or 1))]
    assert found == [SwapKind.SWAP] * files + behind
