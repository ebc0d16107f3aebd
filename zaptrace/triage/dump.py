"""The dump of a struct page in a report, read: types, flags, the checks that it fails."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zaptrace.model.splats import Splat
from zaptrace.triage.raw_words import TAIL_MAPPINGS, word
from zaptrace.triage.stacks import Way, read_stack

# include/linux/page-flags.h, the type in the top byte, since "mm: make page_mapcount() et al
# use the top byte" (v6.12); dump_page() prints it shifted down.
_TYPES = {
    0xF0: "buddy",
    0xF1: "offline",
    0xF2: "table",
    0xF3: "guard",
    0xF4: "hugetlb",
    0xF5: "slab",
    0xF6: "zsmalloc",
    0xF7: "unaccepted",
    0xF8: "large_kmalloc",
}
# One bit cleared a type, in v6.10 and v6.11; and from v4.18 to v6.9, where offline, kmemcg,
# table and guard have moved.
_BITS = {
    0x40000000: "buddy",
    0x20000000: "offline",
    0x10000000: "table",
    0x08000000: "guard",
    0x04000000: "hugetlb",
    0x02000000: "slab",
    0x80: "buddy",
    0x100: "offline or balloon",
    0x200: "kmemcg or table",
    0x400: "table or guard",
    0x800: "guard or hugetlb",
    0x1000: "slab",
}
_MAPCOUNT_OF_BUDDY = (-127, -128)
"""Printed: -128 + 1 up to v4.17 (PAGE_BUDDY_MAPCOUNT_VALUE), ~0x80 + 1 since."""
# PAGE_FLAGS_CHECK_AT_FREE, include/linux/page-flags.h; slab up to v6.9.
AT_FREE = frozenset(
    (
        *("lru", "locked", "private", "private_2", "writeback", "reserved", "slab", "active"),
        *("unevictable", "mlocked"),
    )
)
NO_TYPE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Check:
    """One check of page_bad_reason() that a page fails.

    Attributes:
        reason: the kernel's words when it is the last that fails.
        because: the value that fails it.
    """

    reason: str
    because: str


def page_type(splat: Splat) -> str | None:
    """Return the name of the page's type; None when it has none, or it is not printed.

    Types share the field with the mapcount: up to 6.9 a dump may print one as a mapcount far
    below zero.
    """
    value = splat.page_type
    if value is not None and value != NO_TYPE:
        named = _TYPES.get(value if value <= 0xFF else value >> 24)
        if named or value <= 0xFF:
            return named or f"{value:#x}"
        missing = [name for bit, name in _BITS.items() if not value & bit]
        return missing[0] if len(missing) == 1 else _old_type(value)
    mapcount = splat.mapcount
    if mapcount in _MAPCOUNT_OF_BUDDY:
        return "buddy"
    if mapcount is None or mapcount >= _MAPCOUNT_OF_BUDDY[0]:
        return None
    return _old_type((mapcount - 1) & NO_TYPE)


def _old_type(value: int) -> str | None:
    """Return a type of v4.18 to v6.9: exactly one bit of the type's twelve is clear."""
    clear = ~value & 0xFFFF
    return _BITS.get(clear) if value >> 16 == 0xFFFF else None


def entry_level(splat: Splat) -> str:
    """Return `PTE`, or `PMD` where a report of a bad mapping is about a huge page's entry.

    Since "mm/memory: convert print_bad_pte() to print_bad_page_map()" (6.18) the headline names
    the level; the line of the tables below it has a PMD for a PTE too.
    """
    of_pmd = any("_pmd" in (frame.symbol or "") for frame in splat.trace)
    return "PMD" if splat.pte is None and splat.pmd is not None and of_pmd else "PTE"


def below_zero(splat: Splat) -> str | None:
    """Return `mapcount -1`: which mapcount is below zero; page types are not counts."""
    if splat.mapcount is not None and _MAPCOUNT_OF_BUDDY[0] < splat.mapcount < 0:
        return f"mapcount {splat.mapcount}"
    folio = splat.folio
    for name in ("mapcount", "entire_mapcount", "large_mapcount"):
        value = getattr(folio, name) if folio else None
        if value is not None and value < 0:
            return f"the folio's {name.replace('_', ' ')} {value}"
    return None


def failing(splat: Splat) -> tuple[Check, ...]:
    """Return the checks of page_bad_reason() that the dumped page fails, in the kernel's order.

    The kernel prints the last one only (mm/page_alloc.c).  What a dump does not show cannot be
    checked: a mapping is printed as that of the folio, and as NULL for anonymous pages.
    """
    return tuple(
        check
        for check in (_mapcount(splat), _mapping(splat), _refcount(splat), _flags(splat))
        if check
    ) + tuple(check for check in (_memcg(splat), _page_pool(splat)) if check)


def _mapcount(splat: Splat) -> Check | None:
    kind = page_type(splat)
    if kind:
        return Check("nonzero mapcount", f"page type {kind}, in the mapcount's place")
    if splat.mapcount in (None, 0):
        return None
    return Check("nonzero mapcount", f"mapcount {splat.mapcount}")


def _mapping(splat: Splat) -> Check | None:
    value = word(splat, "mapping")
    if value is None:
        value = splat.mapping
    # That of a large folio's tail page is another field's place; what is printed is the head's.
    if not value or value in TAIL_MAPPINGS or "head" in splat.flags or splat.folio:
        return None
    return Check("non-NULL mapping", f"mapping {value:#x}")


def _refcount(splat: Splat) -> Check | None:
    if splat.refcount in (None, 0) or splat.folio:
        return None
    return Check("nonzero _refcount", f"refcount {splat.refcount}")


def checked_flags(splat: Splat) -> tuple[str, ...]:
    """Return the flags that a page must not have where it was looked at."""
    if at_allocation(splat):
        return tuple(flag for flag in splat.flags if flag != "hwpoison")
    return tuple(flag for flag in splat.flags if flag in AT_FREE)


def at_allocation(splat: Splat) -> bool:
    """Return whether the page was looked at as it was allocated, by the reason or the stack."""
    if "CHECK_AT_PREP" in (splat.reason or ""):
        return True
    if "CHECK_AT_FREE" in (splat.reason or ""):
        return False
    return read_stack(splat.trace).way is Way.ALLOC


def _flags(splat: Splat) -> Check | None:
    flags = checked_flags(splat)
    if not flags:
        return None
    where = "PREP" if at_allocation(splat) else "FREE"
    return Check(f"PAGE_FLAGS_CHECK_AT_{where} flag(s) set", "|".join(flags))


def _memcg(splat: Splat) -> Check | None:
    if not splat.memcg:
        return None
    return Check("page still charged to cgroup", f"memcg {splat.memcg:#x}")


PP_SIGNATURE = 0xDEAD000000000040
"""In page->pp_magic, where lru.next is; the two lowest bits are masked (page_pool_page_is_pp())."""


def _page_pool(splat: Splat) -> Check | None:
    magic = word(splat, "lru.next")
    if magic is None or magic & ~3 != PP_SIGNATURE:
        return None
    return Check("page_pool leak", f"pp_magic {magic:#x}")


_HEX = re.compile(r"\(?\b([0-9a-f]{4,16})\)?\.?$", re.IGNORECASE)


def table_value(splat: Splat) -> int | None:
    """Return the value that a `bad pmd`, `bad pud` ... line prints; None when it has none."""
    found = _HEX.search((splat.reason or "").strip()) if splat.kind == "bad_page_table" else None
    return int(found[1], 16) if found and splat.process is None else None


def swap_value(splat: Splat) -> int | None:
    """Return the swap entry that a line prints; None when it has none."""
    found = _HEX.search((splat.reason or "").strip()) if splat.kind == "bad_swap_entry" else None
    return int(found[1], 16) if found else None


def described(splat: Splat) -> str:
    """Return the report's kind as a phrase."""
    if splat.kind in _KINDS:
        return _KINDS[splat.kind]
    reason = splat.reason or ""
    found = (what for start, what in _OTHERS if reason.startswith(start))
    return next(found, "an oops")


_OTHERS = (
    ("WARNING", "a warning"),
    ("kernel BUG", "a failed assertion"),
    ("Kernel panic", "a panic"),
)
_KINDS = {
    "bad_page_state": "a bad page state",
    "bad_page_map": "a bad page map",
    "bad_page_cache": "a bad page cache",
    "bad_rss_counter": "a bad rss-counter state",
    "nonzero_page_tables": "a count of page tables that is not 0 when their mm ends",
    "bad_page_table": "a bad page table",
    "bad_swap_entry": "a bad swap entry",
    "page_table_check": "a failed page-table check",
    "vm_bug_on": "a failed assertion",
    "vm_warn_on": "a failed sanity check",
    "page_dump": "a page",
}
