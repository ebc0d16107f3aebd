"""Arguments that no fetch gives whole: what they lack is worked out here, after recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from zaptrace.model.events import ABSENT, Kind, Records
from zaptrace.model.kprobe_names import recorded_args
from zaptrace.model.plan import ProbeArg, ProbePlan


def derive(records: Records, args: dict[str, ProbeArg]) -> None:
    """Do the arithmetic that the kernel's fetch arguments cannot express, in place."""
    for name, arg in args.items():
        if arg.addend or arg.block:
            values = _values(arg, records[name], records["end"])
            records[name] = values.astype(records.dtype[name])


def join_entry_args(records: Records, plan: ProbePlan) -> None:
    """Give each zap the arguments that its thread's zap_enter recorded, in place.

    zap_pte_range is mostly inlined, and some of its arguments live on only as
    the enclosing function's entry values (ProbeArg.at_entry).  A thread is in
    that function once at a time, so the last zap_enter of the same thread
    before a zap is its own; when that one was lost, an older one must not
    stand in for it: the zap's range has to lie inside the entry's.

    Args:
        records: by clock.
    """
    zaps, enters = _pairs(records)
    for name, (source, arg) in _sources(plan).items():
        records[name][zaps] = _values(arg, records[source][enters], records["end"][zaps])


def _values(
    arg: ProbeArg, fetched: npt.NDArray[Any], ends: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """Return ProbeArg.value of each; ABSENT where the range's end is needed and unknown."""
    values = fetched.astype(np.uint64) + np.uint64(arg.addend % 2**64)
    if not arg.block:
        return values
    last = ends - np.uint64(1)
    begun = np.where(ends > 0, last - last % np.uint64(arg.block), np.uint64(0))
    return np.where(ends == np.uint64(ABSENT), np.uint64(ABSENT), np.maximum(values, begun))


def _pairs(records: Records) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return row of each zap whose zap_enter is known, and row of that zap_enter."""
    by_thread = np.lexsort((np.arange(len(records)), records["pid"]))
    kinds = records["kind"][by_thread]
    places = np.arange(len(records))
    # Position of the last zap_enter at or before each record; -1 before the first.
    last = np.maximum.accumulate(np.where(kinds == Kind.ZAP_ENTER, places, -1))
    joined = (kinds == Kind.ZAP) & (last >= 0)
    zaps, enters = by_thread[joined], by_thread[last[joined]]
    own = (records["pid"][zaps] == records["pid"][enters]) & _inside(
        records["end"][zaps], records["addr"][enters], records["end"][enters]
    )
    return zaps[own], enters[own]


def _inside(
    end: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64], high: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    """Return whether a zap that ends at `end` can be of the range [low, high), where those are
    known."""
    absent = np.uint64(ABSENT)
    inside: npt.NDArray[np.bool_] = (end == absent) | (
        ((low == absent) | (end > low)) & ((high == absent) | (end <= high))
    )
    return inside


def _sources(plan: ProbePlan) -> dict[str, tuple[str, ProbeArg]]:
    """Return argument of zap -> the field of zap_enter that was fetched from the same location."""
    fields = {
        (site.symbol, arg.location): name
        for site in plan.sites
        if site.event == "zap_enter"
        for name, arg in recorded_args(site).items()
    }
    return {
        name: (fields[site.symbol, arg.location], arg)
        for site in plan.sites
        if site.event == "zap"
        for name, arg in recorded_args(site, at_entry=True).items()
        if (site.symbol, arg.location) in fields
    }
