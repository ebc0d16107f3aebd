"""The page-table entries around one user address: a picture for a report."""

from __future__ import annotations

import re

import drgn
import numpy as np

from zaptrace.audit.pagetables.arches import format_of
from zaptrace.audit.pagetables.ram import DumpRam
from zaptrace.audit.pagetables.walk import walk
from zaptrace.memory.pages import page_layout
from zaptrace.model.errors import BadInput
from zaptrace.model.findings import Owner
from zaptrace.model.pte_window import PAGES, TableWindow

_VMA = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) ")


def around(prog: drgn.Program, owner: Owner, pfn: int | None) -> TableWindow:
    """Return the `PAGES` entries among which a mapping lies.

    Args:
        prog: a stopped kernel's memory.
        owner: the mapping, with its mm and its address.
        pfn: the page that the report is about.

    Raises:
        BadInput: the mm or its page tables cannot be read.
    """
    mm, address = owner.mm or 0, owner.address or 0
    try:
        fmt = format_of(prog)
        obj = drgn.Object(prog, prog.type("struct mm_struct *"), value=mm)
        root = fmt.root(obj)
        walked = walk(fmt, [root] if root else [], DumpRam(prog, page_layout(prog)))
    except (LookupError, ValueError, drgn.FaultError) as error:
        raise BadInput(f"the page tables of mm {mm:#x} cannot be read: {error}") from error
    size = 1 << fmt.page_shift
    start = address // (PAGES * size) * PAGES * size
    found: list[int | None] = [None] * PAGES
    lowest = max(start - max(fmt.leaf_pages) * size, 0)
    near = (walked.address >= np.uint64(lowest)) & (
        walked.address < np.uint64(start + PAGES * size)
    )
    for leaf in np.flatnonzero(near).tolist():
        pages = fmt.leaf_pages[int(walked.level[leaf])]
        begin = (int(walked.address[leaf]) - start) >> fmt.page_shift
        for at in range(max(begin, 0), min(begin + pages, PAGES)):
            found[at] = int(walked.pfn[leaf]) + at - begin
    return TableWindow(start, size, address, pfn, tuple(found), _vma(owner))


def _vma(owner: Owner) -> range | None:
    found = _VMA.match(owner.vma or "")
    return range(int(found[1], 16), int(found[2], 16)) if found else None
