"""Cutting a capture down to one page's story: small enough to ship, to mail, to test with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from zaptrace.model.errors import BadInput
from zaptrace.model.events import ABSENT, TROUBLE, Events, Kind, Records, about_page, is_kind

WINDOW = 1_000_000
"""Ns before and after the page's trouble."""

Mask = npt.NDArray[np.bool_]


def around(events: Events, pfn: int, window: int = WINDOW) -> Events:
    """Return what the page, and the threads that had to do with it, went through.

    Kept are the page's events and all those of its threads, from `window` ns
    before its trouble (the records of page_free, bad_page and bad_pte; of all its
    records when there was none) to `window` ns after it; every LOST record; and the
    strings, stacks and symbols that these need.

    Raises:
        BadInput: no event is about this page.
    """
    records = events.records
    page = about_page(records, pfn)
    if not page.any():
        raise BadInput(f"no event of this capture is about pfn {pfn:#x}")
    near = _near(records, page, window)
    threads = np.unique(records["pid"][page & near])
    own = page | np.isin(records["pid"], threads[threads != -1])
    kept = records[(own & near) | (records["kind"] == Kind.LOST)]
    return _with_what_it_needs(events, kept)


def _near(records: Records, page: Mask, window: int) -> Mask:
    """Return which records lie within the window; those without a clock do."""
    clocks = records["clock"]
    timed = clocks != ABSENT
    trouble = page & timed & is_kind(records, TROUBLE)
    marks = clocks[trouble if trouble.any() else page & timed]
    if not len(marks):
        return np.ones(len(records), np.bool_)
    start = max(0, int(marks.min()) - window)
    end = min(ABSENT - 1, int(marks.max()) + window)
    near: Mask = ~timed | ((clocks >= np.uint64(start)) & (clocks <= np.uint64(end)))
    return near


def _with_what_it_needs(events: Events, kept: Records) -> Events:
    stacks = _only(events.stacks, kept["stack"])
    addresses = {address for stack in stacks.values() for address in stack}
    named = addresses | set(kept["site"].tolist()) | set(kept["caller"].tolist())
    return Events(
        kept.copy(),
        _only(events.strings, kept["reason"]),
        stacks,
        {address: name for address, name in events.symbols.items() if address in named},
        dict(events.meta),
    )


def _only(table: dict[int, Any], ids: npt.NDArray[np.uint32]) -> dict[int, Any]:
    used = set(np.unique(ids).tolist())
    return {number: value for number, value in table.items() if number in used}
