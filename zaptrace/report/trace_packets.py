"""Packets of a Perfetto trace, in protobuf's wire format.

Field numbers: protos/perfetto/trace/{trace,trace_packet}.proto and track_event/*.proto of the
Perfetto project.
"""

from __future__ import annotations

from collections.abc import Iterable

from zaptrace.report.protobuf import message, number, text

_PACKET = 1  # Trace.packet
_TIMESTAMP, _SEQUENCE, _EVENT, _SEQUENCE_FLAGS, _CLOCK, _DESCRIPTOR = 8, 10, 11, 13, 58, 60
_CLEARED = 1  # SEQ_INCREMENTAL_STATE_CLEARED
_BOOTTIME = 6  # ClockSnapshot.Clock.BuiltinClocks
_ANNOTATION, _TYPE, _TRACK, _CATEGORY, _NAME, _COUNTER = 4, 9, 11, 22, 23, 30  # TrackEvent
BEGIN, END, INSTANT, _COUNT = 1, 2, 3, 4
"""TrackEvent.Type."""
_OUR_SEQUENCE = 1

Timed = tuple[int, int, bytes]
"""Time in ns, rank among what has the same time, the packet's body."""


def trace_of(descriptors: Iterable[bytes], events: Iterable[Timed]) -> bytes:
    """Return the whole trace: one length-prefixed packet after the other.

    Args:
        descriptors: of the tracks, each parent before its children.
        events: sorted here; what has the same time and rank keeps its order.
    """
    out = [_packet(number(_SEQUENCE_FLAGS, _CLEARED))]
    out += [_packet(one) for one in descriptors]
    for clock, _, body in sorted(events, key=lambda one: one[:2]):
        out.append(_packet(number(_TIMESTAMP, clock), number(_CLOCK, _BOOTTIME), body))
    return b"".join(out)


def _packet(*parts: bytes) -> bytes:
    return message(_PACKET, *parts, number(_SEQUENCE, _OUR_SEQUENCE))


def track(
    uuid: int,
    name: str | None = None,
    parent: int | None = None,
    thread: tuple[int, int, str] | None = None,
    *,
    counter: bool = False,
) -> bytes:
    """Return a track's descriptor (TrackDescriptor: uuid=1, name=2, parent=5, thread=4, counter=8).

    Args:
        thread: tgid, pid and comm.
    """
    parts = [number(1, uuid)]
    if name is not None:
        parts.append(text(2, name))
    if parent is not None:
        parts.append(number(5, parent))
    if thread is not None:  # ThreadDescriptor: pid=1, tid=2, thread_name=5
        tgid, pid, comm = thread
        parts.append(message(4, number(1, tgid), number(2, pid), text(5, comm)))
    if counter:
        parts.append(message(8))
    return message(_DESCRIPTOR, *parts)


def event(kind: int, uuid: int, name: str | None = None, facts: bytes = b"") -> bytes:
    """Return a slice's beginning or end, or an instant, of a track.

    Args:
        facts: debug annotations, one after the other.
    """
    said = b"" if name is None else text(_NAME, name) + text(_CATEGORY, "zaptrace")
    return message(_EVENT, number(_TYPE, kind), number(_TRACK, uuid), said, facts)


def count(uuid: int, value: int) -> bytes:
    """Return a counter track's new value."""
    body = (number(_TYPE, _COUNT), number(_TRACK, uuid), number(_COUNTER, value))
    return message(_EVENT, *body)


def fact(name: str, value: int | str, *, address: bool = False) -> bytes:
    """Return a debug annotation (name=10, int=4, string=6, pointer=7)."""
    said = text(6, value) if isinstance(value, str) else number(7 if address else 4, value)
    return message(_ANNOTATION, text(10, name), said)
