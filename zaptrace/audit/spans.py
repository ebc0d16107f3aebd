"""The leaves of the page tables by the VMA that they are in, as spans of one VMA each.

To look up the VMA of each of a million PTEs costs more than the rest of an audit.  A table of PTEs
is mostly of one VMA: its first and its last leaf say so, and only the others are looked up by leaf.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zaptrace.audit.arrays import Index, Mask
from zaptrace.audit.pagetables.walk import Walked
from zaptrace.audit.vmatable import VmaTable


@dataclass(frozen=True, slots=True)
class Spans:
    """Leaves side by side that are in one VMA, or in none; arrays of one shape.

    Attributes:
        start: the first leaf.
        count: how many.
        area: the VMA's place in the table, -1 for none.
    """

    start: Index
    count: Index
    area: Index

    def of(self, leaves: Index) -> Index:
        """Return the places of the spans that some leaves are in."""
        found: Index = np.searchsorted(self.start, leaves, side="right") - 1
        return found

    def leaves(self, which: Mask) -> Index:
        """Return the leaves of some spans."""
        return _within(self.start[which], self.start[which] + self.count[which])


def spans_of(walked: Walked, table: VmaTable) -> Spans:
    """Return the spans of all leaves, in their order."""
    leaves = walked.runs.leaves
    full = np.flatnonzero(leaves)
    end = np.cumsum(leaves)[full]
    start = end - leaves[full]
    mm = walked.runs.mm[full].astype(np.int64)
    # The leaves of a table ascend.
    first = table.find(mm, walked.address[start])
    whole = first == table.find(mm, walked.address[end - 1])
    # In none at both ends, or in one that another one overlaps: it may be in another in between.
    whole &= first >= 0
    whole[whole] = ~table.overlapping[first[whole]]
    mixed = _within(start[~whole], end[~whole])
    areas = table.find(walked.mm[mixed].astype(np.int64), walked.address[mixed])
    begins = np.ones(len(mixed), bool)
    begins[1:] = (np.diff(areas) != 0) | (np.diff(mixed) != 1)
    begins |= np.isin(mixed, start[~whole])
    starts = np.concatenate([start[whole], mixed[begins]])
    area = np.concatenate([first[whole], areas[begins]])
    order = np.argsort(starts)
    starts, area = starts[order], area[order]
    return Spans(starts, np.diff(starts, append=len(walked.pfn)), area)


def _within(start: Index, end: Index) -> Index:
    """Return the leaves from each of `start` up to its `end`."""
    counts = end - start
    before = np.cumsum(counts) - counts
    found: Index = np.arange(int(counts.sum())) + np.repeat(start - before, counts)
    return found
