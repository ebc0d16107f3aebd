"""A capture as a Perfetto trace, for ui.perfetto.dev and trace_processor.

A track for each task and each CPU: zaps are slices, everything else instants;
and a counter track with the mapcount of each page that was refused.
A record says when a zap began, not when it ended: the slice reaches to the last
event that its thread had before its next zap, which its `ends` argument says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from zaptrace.model.events import ABSENT, ABSENT_I32, NO_CPU, Events, Kind, Records, is_kind
from zaptrace.report.record_order import in_order
from zaptrace.report.trace_packets import BEGIN, END, INSTANT, Timed, count, event, fact, trace_of
from zaptrace.report.trace_packets import track as descriptor

_CPUS, _PAGES, _FIRST_TASK = 1 << 32, 2 << 32, 3 << 32  # track uuids begin here
MOST_PAGES = 64
"""Pages that get a counter track of their own."""
MOST_CPUS = 8192
"""CPU numbers above are not believed (NR_CPUS is 8192 at most)."""

Places = npt.NDArray[np.intp]


def trace(events: Events) -> bytes:
    """Return the whole trace: one length-prefixed packet after the other."""
    records, when = in_order(events.records)
    clocks = when.tolist()
    tracks = _Tasks(records)
    pages = _refused_pages(records)
    traced = Events(records, events.strings, events.stacks, events.symbols, events.meta)
    todo = [*_slices(traced, clocks, tracks), *_instants(traced, clocks, tracks)]
    todo += _counters(records, clocks, pages)
    # At one time an end stands before what begins there.
    return trace_of(_descriptors(records, tracks, pages), todo)


class _Tasks:
    """A track for each thread, and the thread of each record."""

    def __init__(self, records: Records) -> None:
        names = ("tgid", "pid", "comm")
        keys = np.empty(len(records), [(name, records.dtype[name]) for name in names])
        for name in names:
            keys[name] = records[name]
        # The comm does not distinguish threads: exec changes it.
        ids = np.where(keys["pid"] == 0, -1 - keys["tgid"], keys["pid"])
        distinct, self.of = np.unique(ids, return_inverse=True)
        last = np.zeros(len(distinct), np.intp)
        last[self.of] = np.arange(len(ids))
        self.last = keys[last]  # as the task was called last

    def track(self, at: int) -> int:
        """Return the track of one record's thread."""
        return _FIRST_TASK + int(self.of[at])


def _refused_pages(records: Records) -> list[int]:
    bad = records["pfn"][is_kind(records, (Kind.BAD_PAGE, Kind.BAD_PTE))]
    return [int(pfn) for pfn in np.unique(bad[bad != ABSENT])[:MOST_PAGES]]


def _descriptors(records: Records, tasks: _Tasks, pages: list[int]) -> Iterator[bytes]:
    """Names of the tracks."""
    yield descriptor(_CPUS, "CPUs")
    cpus = np.unique(records["cpu"])
    for cpu in cpus[cpus < MOST_CPUS].tolist():
        yield descriptor(_CPUS + 1 + cpu, f"CPU {cpu}", _CPUS)
    for at, one in enumerate(tasks.last):
        comm = bytes(one["comm"]).decode("utf-8", "replace") or "?"
        uuid = _FIRST_TASK + at
        pid, tgid = int(one["pid"]), int(one["tgid"])
        if pid <= 0:  # unknown, or a CPU's idle task: no thread of any process
            yield descriptor(uuid, comm)
            continue
        yield descriptor(uuid, thread=(tgid if tgid > 0 else pid, pid, comm))
    if pages:
        yield descriptor(_PAGES, "Refused pages")
    for at, pfn in enumerate(pages):
        yield descriptor(_PAGES + 1 + at, f"mapcount of pfn {pfn:#x}", _PAGES, counter=True)


def _slices(events: Events, clocks: list[int], tasks: _Tasks) -> Iterator[Timed]:
    """Yield each zap, on its task's track and on its CPU's."""
    records = events.records
    yield from _nested(events, clocks, tasks.of, tasks.of, tasks.track)
    on_cpu = records["cpu"].astype(np.int64)
    yield from _nested(events, clocks, tasks.of, on_cpu, lambda at: _cpu_track(records, at))


def _nested(
    events: Events,
    clocks: list[int],
    threads: Places,
    lanes: npt.NDArray[Any],
    track: Callable[[int], int],
) -> Iterator[Timed]:
    """Yield the zaps of each lane, one after the other."""
    order = np.argsort(lanes, kind="stable")
    zap = events.records["kind"][order] == Kind.ZAP
    starts = np.flatnonzero(zap)
    for number_, start in enumerate(starts.tolist()):
        at = int(order[start])
        after = int(starts[number_ + 1]) if number_ + 1 < len(starts) else len(order)
        same = order[start:after]
        same = same[(lanes[same] == lanes[at]) & (threads[same] == threads[at])]
        uuid = track(at)
        if uuid == 0:
            continue
        yield clocks[at], 1, event(BEGIN, uuid, "zap_pte_range", _facts(events, at))
        end = clocks[int(same[-1])]
        yield end, 0 if end > clocks[at] else 2, event(END, uuid)


def _cpu_track(records: Records, at: int) -> int:
    """Return the track of a record's CPU; 0 when it has none."""
    cpu = int(records["cpu"][at])
    return 0 if cpu == NO_CPU or cpu >= MOST_CPUS else _CPUS + 1 + cpu


def _instants(events: Events, clocks: list[int], tasks: _Tasks) -> Iterator[Timed]:
    """Everything that is no zap, on both tracks."""
    names = {int(kind): kind.name.lower() for kind in Kind}
    left_out = is_kind(events.records, (Kind.ZAP, Kind.ZAP_ENTER))
    for at in np.flatnonzero(~left_out).tolist():
        name = names.get(int(events.records["kind"][at]), "unknown")
        for uuid in (tasks.track(at), _cpu_track(events.records, at)):
            if uuid:
                yield clocks[at], 1, event(INSTANT, uuid, name, _facts(events, at))


def _counters(records: Records, clocks: list[int], pages: list[int]) -> Iterator[Timed]:
    """Yield the mapcount of refused pages, each time that a record has it."""
    for lane, pfn in enumerate(pages):
        here = (records["pfn"] == np.uint64(pfn)) & (records["raw_mapcount"] != ABSENT_I32)
        for at in np.flatnonzero(here).tolist():
            mapcount = int(records["raw_mapcount"][at]) + 1
            yield clocks[at], 1, count(_PAGES + 1 + lane, mapcount)


def _facts(events: Events, at: int) -> bytes:
    """Return a record's fields, as debug annotations."""
    record = events.records[at]
    out = [
        fact(name, int(record[name]), address=True)
        for name in ("pfn", "addr", "end", "mm", "page")
        if record[name] != ABSENT
    ]
    if record["raw_mapcount"] != ABSENT_I32:
        out.append(fact("mapcount", int(record["raw_mapcount"]) + 1))
    if record["refcount"] != ABSENT_I32:
        out.append(fact("refcount", int(record["refcount"])))
    if record["nr"]:
        out.append(fact("nr", int(record["nr"])))
    names = {"reason": events.strings.get(int(record["reason"]))}
    names["where"] = events.symbols.get(int(record["site"]))
    stack = events.stacks.get(int(record["stack"]), ())
    names["stack"] = "\n".join(events.symbols.get(one, f"{one:#x}") for one in stack) or None
    if record["kind"] == Kind.ZAP:
        names["ends"] = "at the last event seen in it"
    if record["clock"] == ABSENT:
        names["time"] = "unknown: read from a stopped CPU's registers"
    return b"".join([*out, *(fact(key, said) for key, said in names.items() if said)])
