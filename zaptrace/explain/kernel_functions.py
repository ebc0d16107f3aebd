"""The kernel's functions that a stack is judged by, under every name that they have had."""

from __future__ import annotations

import re

from zaptrace.model.verdict import CodeSite

# The functions that take PTEs down, by the names that they had from 2.6 to 7.x: zap_pte_range,
# zap_present_ptes, zap_present_folio_ptes, do_zap_pte_range, __zap_vma_range, zap_huge_pmd,
# try_zap_anon_pte_range (-next, July 2023), and what they are inlined into.
_ZAPS = re.compile(r"(?:try_|do_|_+)*zap_\w+|unmap_(?:page_range|single_vma|vmas)\b")

# What clears a present PTE: ptep_get_and_clear_full() and the like; {get_and_,}clear_{full_,}ptes()
# since 6.9.  Not pte_clear_not_present_full(), which takes swap entries.
_CLEARS = re.compile(
    r"(?:native_(?:local_)?)?ptep_(?:get_and_clear|clear_flush)\w*"
    r"|(?:get_and_)?clear_(?:full_)?ptes\w*"
)

# What frees the pages that zaps have gathered, when they are done (mm/mmu_gather.c).
_GATHERS = re.compile(r"tlb_(?:flush_mmu\w*|finish_mmu|batch_pages_flush)|__tlb_batch_free\w*")

# What stands between a zap and a free that an interrupt or a fault did in the middle of it.
_INTERRUPTS = re.compile(r"\w*(?:irq|softirq|interrupt|_int_handler|_nmi|page_fault|pgm_check)\w*")


def zaps(function: str) -> bool:
    """Return whether a function takes page-table entries down."""
    return _ZAPS.match(function) is not None


def clears(function: str) -> bool:
    """Return whether a function's work is to clear a present PTE."""
    return _CLEARS.fullmatch(function) is not None


def is_clearing(site: CodeSite) -> bool:
    """Return whether a site is where the PTE itself is cleared, not only a zap that does so."""
    return any(clears(link.partition(" at ")[0]) for link in site.inline_chain)


def gathers(function: str) -> bool:
    """Return whether a function frees what a zap has gathered."""
    return _GATHERS.fullmatch(function) is not None


def interrupts(function: str) -> bool:
    """Return whether what a function calls interrupted the thread."""
    return _INTERRUPTS.fullmatch(function) is not None


def names_at(site: CodeSite) -> tuple[str, ...]:
    """Return the functions at a code site, innermost first."""
    inlined = tuple(link.partition(" at ")[0] for link in site.inline_chain)
    return inlined or ((site.symbol,) if site.symbol else ())
