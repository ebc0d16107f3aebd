"""The functions of mm/ that are probed, under every name that they have had."""

from __future__ import annotations

from dataclasses import dataclass

ZAP = "zap_pte_range"

ZAP_NEIGHBOURS = (
    # Functions of mm/memory.c that are never inlined everywhere; any of them
    # leads to the compile unit of zap_pte_range.
    ZAP,
    "unmap_page_range",
    "unmap_vmas",
    "zap_vma_ptes",
    "copy_page_range",
)
ZAP_FILE = "mm/memory.c"

ZAP_PARAMETERS = ("addr", "end", "vma", "tlb", "pmd", "details")

ZAP_ENTER_FIELDS = ("addr", "end", "vma", "mm", "caller")
"""What the entry of the function around zap_pte_range gives, where it has such a parameter."""

ZAP_OUTERMOST = (
    "unmap_page_range",
    # 66837206f325 "mm/memory: inline unmap_page_range() into __zap_vma_range()"
    "__zap_vma_range",
)
ZAP_CALLERS = ("zap_pmd_range", "zap_pud_range", "zap_p4d_range", *ZAP_OUTERMOST)
"""From the inside out; mm/memory.c: each loops over its part of [addr, end)."""

ZAP_AROUND = (
    ZAP,
    *ZAP_CALLERS,
    "unmap_single_vma",
)
"""From the inside out: the first that a kernel has out of line is the nearest to zap_pte_range
that can be watched without debug info."""

PASSED_DOWN = ("tlb", "vma", "details")
"""Parameters that every one of ZAP_CALLERS hands on as it got them."""

PASSED_BY_CALLER = {"pmd": "pmd", "addr": "addr", "end": "next"}
"""zap_pte_range's parameter -> the variable of zap_pmd_range that is passed for it
(mm/memory.c: `next = zap_pte_range(tlb, vma, pmd, addr, next, details)`)."""


FREE = (
    # mm/page_alloc.c; each page that reaches the allocator passes it, those of a batch one by one.
    # In 7.x free_pages_prepare() is a function around it, for compaction.
    "__free_pages_prepare",
    "free_pages_prepare",
)
FREE_NEIGHBOURS = ("__free_pages_ok", "bad_page", "get_page_from_freelist")
"""Functions of mm/page_alloc.c that are not inlined everywhere."""

FREE_FIELDS = ("page", "raw_mapcount", "refcount", "order")


@dataclass(frozen=True, slots=True)
class Target:
    """An event that is taken at the entry of functions.

    Attributes:
        event: its name in the plan.
        functions: one group for each way into it; of a group the first one that
            this kernel has is probed.
        wanted: event fields, most wanted first (trace_boot.c takes 255
            characters a probe; what does not fit is dropped from the end).
        unseen: functions by which things pass unseen -> why.
    """

    event: str
    functions: tuple[tuple[str, ...], ...]
    wanted: tuple[str, ...]
    unseen: tuple[tuple[str, str], ...] = ()


FIELD_OF_PARAMETER = {
    # C parameter -> event field, where they differ.
    "nr_pages": "nr",  # folio_remove_rmap_ptes()
    "address": "addr",
    "start": "addr",  # __zap_vma_range()
    "start_addr": "addr",  # unmap_single_vma()
    "end_addr": "end",
    "entry": "pte",  # print_bad_page_map()
}

MEMBER_OF = {
    # Event field -> (C parameter that points at the struct, member).
    "mm": ("vma", "vm_area_struct.vm_mm"),
    "raw_mapcount": ("page", "page._mapcount"),
    "refcount": ("page", "page._refcount"),
}

MEMBERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # Struct, and member whose offset a plan says: its names, newest first.  The oldest one is
    # the plan's, so that what reads a plan knows one name.
    ("page", ("_mapcount",)),
    ("page", ("_refcount",)),
    ("page", ("flags",)),
    ("page", ("mapping",)),
    # "mm: rework compound_head() for power-of-2 sizeof(struct page)" (7.1)
    ("page", ("compound_info", "compound_head")),
    ("vm_area_struct", ("vm_mm",)),
    ("mmu_gather", ("mm",)),
    ("mm_struct", ("pgd",)),
)

_BY_LIST = "frees pages by the list: those are not seen one by one"

ENTRIES = (
    Target(
        event="rmap_remove",
        functions=(
            ("page_remove_rmap",),
            # July 2023, "mm: implement folio_remove_rmap_range()"
            ("folio_remove_rmap_range",),
            # "mm/rmap: introduce folio_remove_rmap_[pte|ptes|pmd]()": _pte is a
            # macro over _ptes, but a compiler may make a function of its own.
            ("folio_remove_rmap_ptes",),
            ("folio_remove_rmap_pte",),
            ("folio_remove_rmap_pmd",),
        ),
        wanted=("page", "raw_mapcount", "refcount", "mm", "nr", "caller", "vma", "folio"),
    ),
    Target(
        event="page_free",
        functions=(
            # "mm/page_alloc: export free_frozen_pages() instead of free_unref_page()";
            # it became a wrapper around __free_frozen_pages() later.
            ("__free_frozen_pages", "free_frozen_pages", "free_unref_page"),
            ("__free_pages_ok",),
        ),
        wanted=("page", "raw_mapcount", "refcount", "order", "caller"),
        unseen=(
            ("free_unref_page_list", _BY_LIST),
            # "mm: remove free_unref_page_list()" put the folio batch in its place.
            ("free_unref_folios", _BY_LIST),
        ),
    ),
    Target(
        event="bad_page",
        functions=(("bad_page",),),
        wanted=("page", "reason", "raw_mapcount", "refcount", "caller"),
    ),
    Target(
        event="bad_pte",
        # print_bad_pte() became a macro over print_bad_page_map() in 6.18.
        functions=(("print_bad_pte", "print_bad_page_map"),),
        wanted=("page", "addr", "pte", "mm", "vma", "raw_mapcount", "refcount", "caller"),
    ),
    Target(
        event="bad_table",
        # mm/pgtable-generic.c: they print "bad pmd" (pmd_ERROR()) and clear the entry, whatever
        # it maps.  Folded levels have no such function.  The lowest comes first: see runs.stops.
        functions=(("pmd_clear_bad",), ("pud_clear_bad",), ("p4d_clear_bad",), ("pgd_clear_bad",)),
        wanted=("caller",),
    ),
)
