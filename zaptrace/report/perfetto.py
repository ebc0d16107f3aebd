"""A capture as a Perfetto trace, for ui.perfetto.dev and trace_processor.

A track for each task and each CPU: zaps are slices, everything else instants;
and a counter track with the mapcount of each page that was refused.
Field numbers: protos/perfetto/trace/{trace,trace_packet}.proto and
track_event/*.proto of the Perfetto project.

A record says when a zap began, not when it ended: the slice reaches to the last
event that its thread had before its next zap, which its `ends` argument says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from zaptrace.model.events import ABSENT, ABSENT_I32, NO_CPU, Events, Kind, Records
from zaptrace.report.protobuf import message, number, text
from zaptrace.report.record_order import in_order

_PACKET = 1  # Trace.packet
_TIMESTAMP, _SEQUENCE, _EVENT, _SEQUENCE_FLAGS, _CLOCK, _DESCRIPTOR = 8, 10, 11, 13, 58, 60
_CLEARED = 1  # SEQ_INCREMENTAL_STATE_CLEARED
_BOOTTIME = 6  # ClockSnapshot.Clock.BuiltinClocks
_ANNOTATION, _TYPE, _TRACK, _CATEGORY, _NAME, _COUNTER = 4, 9, 11, 22, 23, 30  # TrackEvent
_BEGIN, _END, _INSTANT, _COUNT = 1, 2, 3, 4  # TrackEvent.Type
_OUR_SEQUENCE = 1
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
    out = [_packet(number(_SEQUENCE_FLAGS, _CLEARED))]
    out += [_packet(one) for one in _descriptors(records, tracks, pages)]
    todo = [*_slices(traced, clocks, tracks), *_instants(traced, clocks, tracks)]
    todo += _counters(records, clocks, pages)
    # At one time an end stands before what begins there; sorting keeps the order otherwise.
    for clock, _, body in sorted(todo, key=lambda one: one[:2]):
        out.append(_packet(number(_TIMESTAMP, clock), number(_CLOCK, _BOOTTIME), body))
    return b"".join(out)


def _packet(*parts: bytes) -> bytes:
    return message(_PACKET, *parts, number(_SEQUENCE, _OUR_SEQUENCE))


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
    bad = records["pfn"][np.isin(records["kind"], (Kind.BAD_PAGE, Kind.BAD_PTE))]
    return [int(pfn) for pfn in np.unique(bad[bad != ABSENT])[:MOST_PAGES]]


def _descriptors(records: Records, tasks: _Tasks, pages: list[int]) -> Iterator[bytes]:
    """Names of the tracks (TrackDescriptor: uuid=1, name=2, parent=5, thread=4, counter=8)."""
    yield message(_DESCRIPTOR, number(1, _CPUS), text(2, "CPUs"))
    cpus = np.unique(records["cpu"])
    for cpu in cpus[cpus < MOST_CPUS].tolist():
        parts = (number(1, _CPUS + 1 + cpu), text(2, f"CPU {cpu}"), number(5, _CPUS))
        yield message(_DESCRIPTOR, *parts)
    for at, one in enumerate(tasks.last):
        comm = bytes(one["comm"]).decode("utf-8", "replace") or "?"
        uuid = number(1, _FIRST_TASK + at)
        pid, tgid = int(one["pid"]), int(one["tgid"])
        if pid <= 0:  # unknown, or a CPU's idle task: no thread of any process
            yield message(_DESCRIPTOR, uuid, text(2, comm))
            continue
        # ThreadDescriptor: pid=1, tid=2, thread_name=5
        thread = (number(1, tgid if tgid > 0 else pid), number(2, pid), text(5, comm))
        yield message(_DESCRIPTOR, uuid, message(4, *thread))
    if pages:
        yield message(_DESCRIPTOR, number(1, _PAGES), text(2, "Refused pages"))
    for at, pfn in enumerate(pages):
        page = (number(1, _PAGES + 1 + at), number(5, _PAGES))
        yield message(_DESCRIPTOR, *page, text(2, f"mapcount of pfn {pfn:#x}"), message(8))


_Timed = tuple[int, int, bytes]
"""Clock, rank among what has the same clock, the packet's body."""


def _slices(events: Events, clocks: list[int], tasks: _Tasks) -> Iterator[_Timed]:
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
) -> Iterator[_Timed]:
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
        yield clocks[at], 1, _event(_BEGIN, uuid, "zap_pte_range", _facts(events, at))
        end = clocks[int(same[-1])]
        yield end, 0 if end > clocks[at] else 2, _event(_END, uuid)


def _cpu_track(records: Records, at: int) -> int:
    """Return the track of a record's CPU; 0 when it has none."""
    cpu = int(records["cpu"][at])
    return 0 if cpu == NO_CPU or cpu >= MOST_CPUS else _CPUS + 1 + cpu


def _instants(events: Events, clocks: list[int], tasks: _Tasks) -> Iterator[_Timed]:
    """Everything that is no zap, on both tracks."""
    names = {int(kind): kind.name.lower() for kind in Kind}
    left_out = np.isin(events.records["kind"], (Kind.ZAP, Kind.ZAP_ENTER))
    for at in np.flatnonzero(~left_out).tolist():
        name = names.get(int(events.records["kind"][at]), "unknown")
        for uuid in (tasks.track(at), _cpu_track(events.records, at)):
            if uuid:
                yield clocks[at], 1, _event(_INSTANT, uuid, name, _facts(events, at))


def _counters(records: Records, clocks: list[int], pages: list[int]) -> Iterator[_Timed]:
    """Yield the mapcount of refused pages, each time that a record has it."""
    for lane, pfn in enumerate(pages):
        here = (records["pfn"] == np.uint64(pfn)) & (records["raw_mapcount"] != ABSENT_I32)
        for at in np.flatnonzero(here).tolist():
            mapcount = int(records["raw_mapcount"][at]) + 1
            body = (number(_TYPE, _COUNT), number(_TRACK, _PAGES + 1 + lane))
            yield clocks[at], 1, message(_EVENT, *body, number(_COUNTER, mapcount))


def _event(kind: int, track: int, name: str | None = None, facts: bytes = b"") -> bytes:
    said = b"" if name is None else text(_NAME, name) + text(_CATEGORY, "zaptrace")
    return message(_EVENT, number(_TYPE, kind), number(_TRACK, track), said, facts)


def _facts(events: Events, at: int) -> bytes:
    """Return a record's fields, as debug annotations (name=10, int=4, string=6, pointer=7)."""
    record = events.records[at]
    out = [
        message(_ANNOTATION, text(10, name), number(7, int(record[name])))
        for name in ("pfn", "addr", "end", "mm", "page")
        if record[name] != ABSENT
    ]
    if record["raw_mapcount"] != ABSENT_I32:
        mapcount = int(record["raw_mapcount"]) + 1
        out.append(message(_ANNOTATION, text(10, "mapcount"), number(4, mapcount)))
    if record["refcount"] != ABSENT_I32:
        out.append(message(_ANNOTATION, text(10, "refcount"), number(4, int(record["refcount"]))))
    if record["nr"]:
        out.append(message(_ANNOTATION, text(10, "nr"), number(4, int(record["nr"]))))
    names = {"reason": events.strings.get(int(record["reason"]))}
    names["where"] = events.symbols.get(int(record["site"]))
    stack = events.stacks.get(int(record["stack"]), ())
    names["stack"] = "\n".join(events.symbols.get(one, f"{one:#x}") for one in stack) or None
    if record["kind"] == Kind.ZAP:
        names["ends"] = "at the last event seen in it"
    if record["clock"] == ABSENT:
        names["time"] = "unknown: read from a stopped CPU's registers"
    out += [
        message(_ANNOTATION, text(10, key), text(6, said)) for key, said in names.items() if said
    ]
    return b"".join(out)
