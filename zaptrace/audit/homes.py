"""Leaves whose page is not the one that their VMA has there, a file's or an anonymous one.

A page's mapping and index make one number.  Less the number of the leaf's page of address space it
is the same all over a VMA, so that one comparison a leaf tells those that are elsewhere.
"""

from __future__ import annotations

import numpy as np

from zaptrace.audit.arrays import Index, Words
from zaptrace.audit.entries import VM_SHARED, EntryRules, has_any
from zaptrace.audit.spans import Spans, spans_of
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.table import MAPPING_ANON
from zaptrace.audit.vmatable import VmaTable

_MIX = np.uint64(0x9E3779B97F4A7C15)
"""Odd: no two addresses of mappings have the same product."""


class Homes:
    """The leaves by their VMAs, and those that are not at home.

    Attributes:
        table: the VMAs in bulk; what it says is a suspicion, which the mm's own tree confirms.
        spans: the leaves by those.
        not_of_file: leaves whose page is not the one that the VMA's file has there, but for
            anonymous pages of private mappings; leaves outside of VMAs, too.
        not_of_anon: leaves of anonymous pages whose index or anon_vma is not the VMA's, and all
            anonymous ones where VMAs of the table overlap; those of KSM and hugetlb among them.
    """

    def __init__(self, state: KernelState, table: VmaTable, rules: EntryRules) -> None:
        """Compare all leaves.

        Raises:
            LookupError: struct page has no index.
        """
        if not state.pages.has("index"):
            raise LookupError("struct page without index")
        self.table = table
        self.spans = spans = spans_of(state.walked, table)
        self.not_of_file: Index
        self.not_of_anon: Index
        self.not_of_file = self.not_of_anon = np.zeros(0, np.int64)
        if not len(spans.start):
            return
        shift = np.uint64(state.fmt.page_shift)
        start = table.start >> shift
        file = rules.file_mappings(table.file)
        of_file = _of_spans(spans, file * _MIX + table.pgoff - start)
        anon = table.anon_vma + np.uint64(MAPPING_ANON)
        of_anon = _of_spans(spans, anon * _MIX + table.anon_pgoff - start)
        there = spans.area >= 0
        private = there.copy()
        private[there] = ~has_any(table.flags[spans.area[there]], VM_SHARED)

        anonymous = state.recorded.anon
        found = _numbers(state).take(state.first, mode="clip")
        found -= state.walked.address >> shift
        # A span is mostly of one kind, that of its first page.
        mostly = private & anonymous.take(state.first[spans.start], mode="clip")
        away = np.flatnonzero(found != np.repeat(np.where(mostly, of_anon, of_file), spans.count))
        away = away[state.counted[away]]
        span, is_anon = spans.of(away), anonymous[state.first[away]]
        odd = (found[away] != of_file[span]) & ~(is_anon & private[span])
        self.not_of_file = away[odd]
        odd = is_anon & (found[away] != of_anon[span])
        twice = there.copy()
        twice[there] = table.overlapping[spans.area[there]]
        twofold = spans.leaves(twice)
        twofold = twofold[state.counted[twofold]]
        twofold = twofold[anonymous[state.first[twofold]]]
        self.not_of_anon = np.union1d(away[odd], twofold)


def _of_spans(spans: Spans, of_vmas: Words) -> Words:
    """Return the VMA's number of each span, 0 for a span outside of VMAs."""
    there = spans.area >= 0
    found = np.zeros(len(spans.area), np.uint64)
    found[there] = of_vmas[spans.area[there]]
    return found


def _numbers(state: KernelState) -> Words:
    """Return the number of each mapped page, 0 of others.  Shape (pages,)."""
    pages = state.pages
    mapped = np.flatnonzero(state.ptes)
    head = state.recorded.head[mapped]
    found = np.zeros(len(pages), np.uint64)
    found[mapped] = pages.column("mapping", head) * _MIX + pages.column("index", head)
    found[mapped] += (mapped - head).astype(np.uint64)
    return found
