"""Rows on page tables: bad PTEs, the VMAs and pages that they belong to, upper levels."""

from __future__ import annotations

import re

from zaptrace.model.splats import Splat
from zaptrace.triage.console import Console
from zaptrace.triage.dump import below_zero, entry_level, page_type, table_value
from zaptrace.triage.row import Candidate, Row, Sign, each
from zaptrace.triage.signs import (
    FOREIGN_MODULES,
    IN_MODULE,
    MANY,
    VM_IO,
    VM_MIXEDMAP,
    VM_PFNMAP,
    driver,
    functions,
    has_flag,
    of_driver,
    several_pages,
    special_mapping,
    vma_has,
)

_PAGE_SIZE_BIT = 0x80  # _PAGE_PSE of x86


_OF_MAPS = ("bad_page_map", "page_table_check")
_CHECKS = ("vm_bug_on", "vm_warn_on")
_MAPPING = re.compile(r"\w*_rmap\w*|set_pte\w*|\w*insert_pages?\w*|remap_\w+|vm_insert_\w+")


def _maps(splat: Splat) -> bool:
    """Return whether the call trace has a function that maps pages, not only a reader."""
    return any(_MAPPING.fullmatch(name) for name in functions(splat))


def _names_page(splat: Splat) -> bool:
    return splat.mapcount is not None or splat.refcount is not None or splat.pfn is not None


def _underflow(splat: Splat, _console: Console) -> str | None:
    below = below_zero(splat)
    if below is None or splat.kind != "bad_page_map":
        return None
    return f"A {entry_level(splat)}'s page counts fewer mappings than none ({below})."


def _below_in_another(splat: Splat, _console: Console) -> str | None:
    below = below_zero(splat)
    if below is None or splat.kind in ("bad_page_map", "bad_page_state"):
        return None
    return f"A page counts fewer mappings than none ({below})."


def _counted(splat: Splat, _console: Console) -> str | None:
    if splat.kind != "bad_page_map" or not _names_page(splat) or page_type(splat):
        return None
    if below_zero(splat) or splat.mapcount is None:
        return None
    return f"A {entry_level(splat)} was reported as bad whose page has mapcount {splat.mapcount}."


def _without_page(splat: Splat, _console: Console) -> str | None:
    # The VMA's line follows the page's: without it, lines are missing.
    if splat.kind != "bad_page_map" or _names_page(splat) or splat.addr is None:
        return None
    return f"A {entry_level(splat)} was reported as bad, and no page with it."


def _special(splat: Splat, _console: Console) -> str | None:
    if splat.kind != "bad_page_map":
        return None
    flags = splat.vm_flags or 0
    kinds = [(VM_PFNMAP, "VM_PFNMAP"), (VM_MIXEDMAP, "VM_MIXEDMAP"), (VM_IO, "VM_IO")]
    named = [name for bit, name in kinds if flags & bit]
    who = driver(splat)
    if not (flags & (VM_PFNMAP | VM_MIXEDMAP)) and who is None:
        return None
    by = f", mapped by {who}()" if who else ""
    what = "|".join(named)
    return f"The VMA is no ordinary one ({what or 'a driver maps it'}){by}."


def _typed(splat: Splat, _console: Console) -> str | None:
    kind = page_type(splat) or ("slab" if "slab" in splat.flags else None)
    if kind is None or not (splat.kind in _OF_MAPS or (splat.kind in _CHECKS and _maps(splat))):
        return None
    return f"A page of type {kind} is mapped, or was about to be."


def _reserved(splat: Splat, _console: Console) -> str | None:
    if splat.kind != "bad_page_map" or "reserved" not in splat.flags:
        return None
    return f"The page that the {entry_level(splat)} maps is reserved."


def _bad_table(splat: Splat, _console: Console) -> str | None:
    if splat.kind != "bad_page_table":
        return None
    if splat.process or splat.addr is not None:
        return "The CPU itself found an entry of a page table corrupted (reserved bits set)."
    if (splat.reason or "").startswith("bad pte"):
        return "The code that read a PTE did not accept what it holds."
    return "An entry of an upper page table points to none (the kernel clears such an entry)."


def _huge(splat: Splat, _console: Console) -> bool:
    value = table_value(splat)
    return value is not None and bool(value & _PAGE_SIZE_BIT) and value.bit_count() > 1


def _refused_before(splat: Splat, console: Console) -> bool:
    """Return whether the allocator had refused the page before it was reported here."""
    first = console.refused.get((splat.log, splat.pfn))
    return first is not None and first < (splat.line or 0)


def _swap_refused(splat: Splat, console: Console) -> bool:
    """Return whether the line before says that the entry is no swap entry that can be."""
    return (splat.log, (splat.line or 0)) in console.after_swap_entries


def _is_pattern(splat: Splat, _console: Console) -> bool:
    """Return whether a PTE of 64 bits is text, or one value twice."""
    value = splat.pte or 0
    data = value.to_bytes(8, "little") if value < 1 << 64 else b""
    is_text = bool(data) and all(0x20 <= byte < 0x7F for byte in data)
    return is_text or (value > 0 and value >> 32 == value & 0xFFFFFFFF)


def _is_buddy(splat: Splat, _console: Console) -> bool:
    return page_type(splat) == "buddy"


_ON_FREE_LIST = "it is on the free lists"
_NO_SWAP_ENTRY = "the kernel took it for a swap entry first, and refused that"
_GARBAGE = "the PTE itself is garbage: its page table was overwritten, or used for something else"
_NEVER_ADDED = (
    "a mapping was made and never added to the rmap (a page fault, fork, mremap, migration)"
)
_NEVER = "the page was mapped without an rmap being added (special, PFN or driver mapping)"

ROWS = (
    Row(
        name="mapcount_underflow",
        title="a PTE whose page has a mapcount below 0",
        sees=each(_underflow),
        causes=(
            Candidate(
                "its rmap was removed twice in one zap",
                3,
                (Sign(-1, "the page is reserved", has_flag("reserved")),),
            ),
            Candidate(
                "an earlier zap removed its rmap and left the PTE, which was found again",
                3,
                (Sign(-1, "the page is reserved", has_flag("reserved")),),
            ),
            Candidate(_NEVER_ADDED, 2, (Sign(-1, "the page is reserved", has_flag("reserved")),)),
            Candidate(
                _NEVER,
                1,
                (
                    Sign(3, "vm_flags has VM_PFNMAP", vma_has(VM_PFNMAP)),
                    Sign(3, "vm_flags has VM_MIXEDMAP", vma_has(VM_MIXEDMAP)),
                    Sign(2, "the page is reserved", has_flag("reserved")),
                    Sign(2, "fault: is a special mapping's", special_mapping),
                    Sign(2, "fault: or mmap: names a driver", of_driver),
                ),
            ),
            Candidate(
                _GARBAGE,
                1,
                (
                    Sign(1, "the page is reserved", has_flag("reserved")),
                    Sign(-1, f"{MANY} pages or more are reported", several_pages),
                ),
            ),
            Candidate("the counter itself was overwritten", 0),
        ),
        measure=(
            "zaptrace repro ARCH --kernel-tree TREE: each rmap removal, with its zap",
            "a dump, and zaptrace inspect VMCORE --vmlinux VMLINUX",
        ),
        source="print_bad_pte(), zap_pte_range(), vm_normal_page(), mm/memory.c",
    ),
    Row(
        name="mapped_less_than_never",
        title="a mapcount below 0 in a report of another kind",
        sees=each(_below_in_another),
        causes=(
            Candidate("its rmap was removed more often than it was added", 3),
            Candidate(_NEVER_ADDED, 2),
            Candidate(_NEVER, 1),
            Candidate("the counter itself was overwritten", 0),
        ),
        measure=(
            "zaptrace repro ARCH --kernel-tree TREE: each rmap removal, with its zap",
            "a dump, and zaptrace inspect VMCORE --vmlinux VMLINUX",
        ),
        source="page_remove_rmap(), mm/rmap.c; __folio_rmap_sanity_checks(), include/linux/rmap.h",
    ),
    Row(
        name="bad_pte_counted",
        title="a bad PTE whose page's mapcount is not below 0",
        sees=each(_counted),
        causes=(
            Candidate(
                "the zap reports a page that it has just freed: bad_page() resets mapcounts to 0",
                1,
                (
                    Sign(
                        3,
                        "the same page was refused by the allocator before",
                        _refused_before,
                    ),
                ),
            ),
            Candidate("the folio's, not the page's, mapcount is wrong", 1),
            Candidate("another CPU changed the counter before it was printed", 1),
            Candidate(_GARBAGE, 1),
        ),
        measure=("zaptrace repro ARCH --kernel-tree TREE: the order of free and rmap removal",),
        source="print_bad_pte(), mm/memory.c; page_mapcount_reset() in bad_page(), up to v6.9",
    ),
    Row(
        name="pte_without_page",
        title="a bad PTE without a page",
        sees=each(_without_page),
        causes=(
            Candidate(
                _GARBAGE,
                2,
                (
                    Sign(-1, "fault: or mmap: names a driver", of_driver),
                    Sign(1, _NO_SWAP_ENTRY, _swap_refused),
                    Sign(2, "it is text, or one value twice", _is_pattern),
                ),
            ),
            Candidate(
                "a driver put a special PTE into an ordinary VMA, or one beyond memory",
                1,
                (
                    Sign(2, "fault: or mmap: names a driver", of_driver),
                    Sign(
                        -3, "it is not present: the kernel took it for a swap entry", _swap_refused
                    ),
                    FOREIGN_MODULES,
                    IN_MODULE,
                ),
            ),
            Candidate(
                "the page table was freed while it was walked (a race with the mm's end)",
                0,
                (Sign(3, "its PMD is 0 by now", lambda splat, _: splat.pmd == 0),),
            ),
            Candidate(
                "a swap entry whose swap area is gone", 1, (Sign(1, _NO_SWAP_ENTRY, _swap_refused),)
            ),
        ),
        measure=(
            "XOR the PTE with its neighbours' pattern: one bit is memory, many are a wild write",
            "CONFIG_PAGE_TABLE_CHECK, page_table_check=on",
        ),
        source="vm_normal_page(), zap_pte_range(), mm/memory.c; ec63a44011dc",
    ),
    Row(
        name="special_vma",
        title="a PFNMAP, MIXEDMAP or driver's VMA",
        sees=each(_special),
        causes=(
            Candidate(
                "the driver's remap_pfn_range() or vm_insert_*() does not fit the VMA or the page",
                2,
                (
                    Sign(2, "fault: or mmap: names a driver", of_driver),
                    FOREIGN_MODULES,
                    IN_MODULE,
                ),
            ),
            Candidate(
                "PTEs of the VMA lost their special bit",
                1,
                (Sign(1, "fault: is a special mapping's", special_mapping),),
            ),
        ),
        measure=("file:, fault: and mmap: name the driver: reproduce without it",),
        source="vm_normal_page(), mm/memory.c; open-gpu-kernel-modules issue 705",
    ),
    Row(
        name="reserved_mapped",
        title="a reserved page is mapped",
        sees=each(_reserved),
        causes=(
            Candidate(
                _NEVER, 2, (Sign(1, "vm_flags has VM_PFNMAP", vma_has(VM_PFNMAP | VM_MIXEDMAP)),)
            ),
            Candidate("the shared zero page, mapped where it is not expected", 1),
            Candidate("the PTE's page frame number is wrong", 1),
        ),
        measure=("compare the pfn with that of the zero page, the vdso and /proc/iomem",),
        source="vm_normal_page(), mm/memory.c",
    ),
    Row(
        name="typed_page_mapped",
        title="a page of a kernel type is mapped",
        sees=each(_typed),
        causes=(
            Candidate(
                "a driver maps slab, vmalloc or other memory of the kernel wrongly",
                2,
                (
                    Sign(-2, _ON_FREE_LIST, _is_buddy),
                    Sign(1, "fault: or mmap: names a driver", of_driver),
                    FOREIGN_MODULES,
                    IN_MODULE,
                ),
            ),
            Candidate(
                "the page was freed while mapped, and given to another user since",
                2,
                (Sign(1, _ON_FREE_LIST, _is_buddy),),
            ),
            Candidate("its struct page was overwritten", 1),
        ),
        measure=(
            "page_table_check=on stops at the wrong map",
            "file:, fault: and mmap: of the VMA",
        ),
        source="0ee930e6cafa, 44d0fb387b53, 0143d148d1e8",
    ),
    Row(
        name="bad_table",
        title="a corrupt page-table entry",
        sees=each(_bad_table),
        causes=(
            Candidate(
                "a live huge mapping was misread as a table and cleared: its mapping is lost",
                1,
                (Sign(2, "the value has x86's page-size bit (0x80)", _huge),),
            ),
            Candidate("the page table was overwritten, or freed and used again", 2),
            Candidate("a weak bit of memory in the page table", 1),
        ),
        measure=(
            "does the value have the large-page bit?  was it during swapoff, or on hugetlb?",
            "page_owner=on: who had the table's page",
        ),
        source="pmd_clear_bad(), mm/pgtable-generic.c; 7528c4fb1237; bb50655b8b70",
    ),
)
