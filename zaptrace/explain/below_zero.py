"""Removals below zero: an rmap removal of a page that counted no mapping by then.

The kernel need not notice: 6.12 asks for the folio's mapcount only, and a large folio that other
PTEs map has one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from zaptrace.explain.event_view import (
    PAGE_MAPCOUNT_RESERVE,
    Mask,
    Moment,
    moment,
    of_page,
    same_page,
)
from zaptrace.explain.gathers import Resolve
from zaptrace.explain.kernel_functions import names_at, zaps
from zaptrace.explain.lifetimes import same_mm
from zaptrace.model.events import ABSENT, Events, Kind

MOST = 256
"""Removals that are looked at; all of one bug have the same story."""


def removals_below_zero(events: Events, resolve: Resolve) -> Iterator[Moment]:
    """Yield removals by a zap that found the page unmapped by the last one before, of the same mm.

    That a page's own counter is below 0 says nothing of a PMD's mapping, which is counted
    elsewhere, nor of any page of a large folio with CONFIG_NO_PAGE_MAPCOUNT: there a removal of
    several pages begins below 0 as well.
    """
    records = events.records
    removals = records["kind"] == Kind.RMAP_REMOVE
    below = removals & (records["raw_mapcount"] < 0)
    below &= records["raw_mapcount"] >= PAGE_MAPCOUNT_RESERVE
    if not below.any() or (below & (records["nr"] > 1)).any():
        return
    for at in np.flatnonzero(below)[:MOST].tolist():
        found = moment(events, at)
        before = _before(events, removals, at)
        if before is None or before.raw_mapcount != 0 or not same_page(before, found):
            continue
        if same_mm(events, before, found) and _takes_a_pte(found, resolve):
            yield found


def _before(events: Events, removals: Mask, at: int) -> Moment | None:
    """Return the removal before, of the same page."""
    places = np.flatnonzero(removals[:at] & of_page(events.records, at)[:at])
    if not len(places) or events.records["mm"][at] == ABSENT:
        return None
    return moment(events, int(places[-1]))


def _takes_a_pte(removed: Moment, resolve: Resolve) -> bool:
    """Return whether a removal was made by a zap of PTEs, not by a zap of a PMD."""
    site = resolve(removed.caller) if removed.caller is not None else None
    zap = next(filter(zaps, names_at(site)), None) if site else None
    return zap is not None and "huge" not in zap
