"""An audited kernel by column: plain arrays, to make tables of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState

Column = npt.NDArray[Any]


def page_columns(state: KernelState) -> dict[str, Column]:
    """Every struct page, by PFN; all of shape (pages,).

    `pfn`, `flags` (page->flags), `ptes`, `raw_mapcount`, `mapcount` (where `mappable`: elsewhere
    the field counts no mappings), `refcount` of the folio, `folio` (the first page's PFN), `order`
    (at the first page), `free`, `anon`, `hugetlb`, `known` (in the dump, and initialised).
    """
    pages, recorded = state.pages, state.recorded
    pfns = pages.pfns(np.arange(len(pages), dtype=np.int64))
    return {
        "pfn": pfns,
        "known": recorded.known,
        "free": recorded.free,
        "ptes": state.ptes,
        "mapcount": recorded.mapcount,
        "mappable": recorded.mappable,
        "raw_mapcount": recorded.raw_mapcount,
        "refcount": recorded.refcount,
        "folio": pfns[recorded.head],
        "order": recorded.order,
        "anon": recorded.anon,
        "hugetlb": recorded.hugetlb,
        "flags": pages.column("flags"),
    }


def pte_columns(state: KernelState, owners: Owners) -> dict[str, Column]:
    """Every leaf of the page tables, in the order of the walk; all of one shape.

    `mm` (address), `pid` (-1 where no task uses the mm) and `comm` (empty), `address`, `pfn` of the
    first page, `pages` that it maps, `level` (its name), `entry` as stored, `normal` (it maps pages
    that the kernel counts).
    """
    walked, numbers = state.walked, range(len(state.mms))
    tasks = [owners.task(number) for number in numbers]
    of_mm = {
        "mm": np.array([mm.address for mm in state.mms], np.uint64),
        "pid": np.array([-1 if task is None else task.tgid for task in tasks], np.int64),
        "comm": np.array(["" if task is None else task.comm for task in tasks], np.str_),
    }
    levels = np.array([level.name for level in state.fmt.levels])
    return {
        **{name: values[walked.mm] for name, values in of_mm.items()},
        "address": walked.address,
        "pfn": walked.pfn,
        "pages": np.ascontiguousarray(state.sizes),
        "level": levels[walked.level],
        "entry": walked.entry,
        "normal": state.normal,
    }
