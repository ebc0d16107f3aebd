"""The shared zero pages: mapped by many without a mapcount, and never to be freed while mapped.

A PTE of the zero page is special (do_anonymous_page()), and vm_normal_page_pmd() knows the huge
zero page: neither adds an rmap or a reference.  The kernel holds a reference of its own: to the
small ones for ever, to the huge one until no mm uses it (shrink_huge_zero_page_scan()).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from zaptrace.audit.arrays import NOWHERE
from zaptrace.audit.pagetables.normal_pages import zero_kinds
from zaptrace.audit.rmap import Owners, Place
from zaptrace.audit.state import KernelState
from zaptrace.model.findings import Finding, FindingClass

_MAX_MAPPINGS = 64


def freed_zero_pages(
    state: KernelState, owners: Owners, known: frozenset[int]
) -> Iterator[Finding]:
    """Yield a finding for each zero page that page tables map and that has no reference left.

    Args:
        known: struct pages with a finding already.
    """
    walked, recorded = state.walked, state.recorded
    kinds = zero_kinds(state.prog)
    indices = state.pages.indices(np.array(list(kinds), np.uint64)).tolist()
    for (pfn, kind), index in zip(kinds.items(), indices, strict=True):
        if index == NOWHERE or index in known or not recorded.known[index]:
            continue
        if recorded.refcount[index] > 0 and not recorded.free[index]:
            continue
        leaves = np.flatnonzero(~state.normal & (walked.pfn == np.uint64(pfn)))
        if not len(leaves):
            continue
        places = [Place(int(walked.mm[at]), int(walked.address[at])) for at in leaves]
        yield Finding(
            cls=FindingClass.MAPPED_BUT_FREE,
            pfn=pfn,
            ptes=len(leaves),
            mapcount=None,
            refcount=int(recorded.refcount[index]),
            mappings=tuple(owners.owner(place) for place in places[:_MAX_MAPPINGS]),
            folio={
                "pfn": pfn,
                "order": int(recorded.order[index]),
                "kind": kind,
                "free": bool(recorded.free[index]),
                "ptes": len(leaves),
            },
            raw_mapcount=int(recorded.raw_mapcount[index]),
            note=f"it is the {kind}: no mapping of it is counted or holds a reference",
        )
