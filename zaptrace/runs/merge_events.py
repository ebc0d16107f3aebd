"""The second dump: the events of a stopped guest, and those that came after it was resumed.

At the stop the story is cut: a removal that comes late and one that never comes
look alike.  The ring buffer is read again when the guest has run on.  Memory
and registers are those of the stop all the same: the audit is about that moment.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zaptrace.model.events import NO_CPU, Events, Kind, Origin, Records, followed_by

Mask = npt.NDArray[np.bool_]


def whole(before: Events, stop: Events, later: Events | None) -> Events:
    """Return all that is known of one boot's events, once each.

    Args:
        before: what was recorded up to the stop.
        stop: what the stopped CPUs' registers say (Origin.REGISTERS).
        later: the same buffer, read when the guest had run on; None when it was not read again.
    """
    if later is None:
        return followed_by(before, stop)
    recorded = _continued(before, later) if later.lost > before.lost else later
    _know_processes(recorded.records, before.records, stop.records)
    probed = recorded.records[_after(recorded.records, _last(before.records))]
    silent = [row for row in stop.records if not _taken_by_probe(row, probed)]
    if not silent:
        return recorded
    rest = Events(np.array(silent, stop.records.dtype), stop.strings, stop.stacks, stop.symbols)
    return followed_by(recorded, rest)


def _know_processes(records: Records, *known: Records) -> None:
    """Fill in the process ids of threads that were there at the stop and have ended since."""
    tasks = np.concatenate([part[["pid", "comm", "tgid"]] for part in known])
    tasks = np.unique(tasks[tasks["tgid"] > 0])
    for pid, comm, tgid in tasks.tolist():
        same = (records["pid"] == pid) & (records["comm"] == comm) & (records["tgid"] == -1)
        records["tgid"][same] = tgid


def _taken_by_probe(stop: np.void, probed: Records) -> bool:
    """Return whether the kprobe at the stop fired when the guest was resumed."""
    same = probed["kind"] == stop["kind"]
    for name in ("page", "pid", "cpu"):
        same &= probed[name] == stop[name]
    return bool(same.any())


def _continued(before: Events, later: Events) -> Events:
    """Return what the buffer held at the stop, and what came after: it has overwritten its
    beginning.

    A CPU's LOST record stands where its oldest record does: when that lies before
    the stop, `before` has all that was overwritten.
    """
    last = _last(before.records)
    records = later.records
    missed = (records["kind"] == Kind.LOST) & (records["cpu"] == NO_CPU)  # counted up from boot
    new = Events(
        records[_after(records, last) | missed], later.strings, later.stacks, later.symbols
    )
    old = (before.records["kind"] == Kind.LOST) & (before.records["cpu"] == NO_CPU)
    kept = Events(
        before.records[~old], before.strings, before.stacks, before.symbols, dict(later.meta)
    )
    return followed_by(kept, new)


def _last(records: Records) -> int:
    """Return the clock of the last event; 0 without events."""
    clocks = records["clock"][records["origin"] == Origin.PROBE]
    return int(clocks.max()) if len(clocks) else 0


def _after(records: Records, last: int) -> Mask:
    mask: Mask = (records["clock"] > last) & (records["origin"] == Origin.PROBE)
    return mask
