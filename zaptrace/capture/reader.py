"""Reading captures: hostile or torn, a bad frame costs that frame alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from zaptrace.capture import frames
from zaptrace.capture.frames import FrameType
from zaptrace.model.errors import BadInput, Missing
from zaptrace.model.events import EVENT, Events, Kind, Origin, Records

T = TypeVar("T")
_ENTRY = struct.Struct("<II")
_NAME = struct.Struct("<QI")
_KINDS = np.array([int(kind) for kind in Kind], np.uint8)
_ORIGINS = np.array([int(origin) for origin in Origin], np.uint8)


class _Damaged(Exception):
    """A frame with a good checksum whose content makes no sense."""


def read(source: Path | BinaryIO) -> Events:
    """Read a capture from a file, or from a pipe up to its end.

    Whatever is wrong inside is skipped and counted in `meta`, always present:
    `damaged_frames` (a torn tail counts as one) and `damaged_records` (a kind
    or origin that does not exist).  A record's reason or stack whose text or
    addresses were lost reads 0.

    Raises:
        BadInput: not a capture, or one of a version that this program cannot read.
        Missing: no such file, or not readable.
    """
    data, name = _content(source)
    _check_file_header(data, name)
    events = Events()
    chunks: list[Records] = []
    damaged = 0
    for frame in frames.split(data):
        try:
            if frame.payload is None:
                raise _Damaged
            _take(frame.type, frame.payload, events, chunks)
        except _Damaged:
            damaged += 1
    events.records, strange = _sound(chunks)
    _drop_dangling(events)
    events.meta["damaged_frames"] = damaged
    events.meta["damaged_records"] = strange
    return events


def _content(source: Path | BinaryIO) -> tuple[bytes, str]:
    name = str(source) if isinstance(source, Path) else str(getattr(source, "name", "the stream"))
    try:
        return (source.read_bytes() if isinstance(source, Path) else source.read()), name
    except OSError as error:
        raise Missing(f"{name}: cannot be read: {error.strerror}") from error


def _check_file_header(data: bytes, name: str) -> None:
    if len(data) < frames.FILE_HEADER.size or not data.startswith(frames.MAGIC):
        raise BadInput(f"{name}: not a zaptrace capture")
    version = frames.FILE_HEADER.unpack_from(data)[1]
    if version != frames.VERSION:
        raise BadInput(
            f"{name}: a capture of version {version}; this zaptrace reads {frames.VERSION}"
        )


def _take(kind: int, payload: memoryview, events: Events, chunks: list[Records]) -> None:
    match kind:
        case FrameType.META:
            events.meta.update(_meta(payload))
        case FrameType.EVENTS:
            chunks.append(_records(payload))
        case FrameType.STRINGS:
            events.strings.update(_numbered(_texts(payload, _ENTRY)))
        case FrameType.STACKS:
            events.stacks.update(_numbered(_stacks(payload)))
        case FrameType.SYMBOLS:
            events.symbols.update(_texts(payload, _NAME))
        case _:
            raise _Damaged


def _meta(payload: memoryview) -> dict[str, Any]:
    try:
        data = json.loads(bytes(payload))
    except (ValueError, RecursionError) as error:
        raise _Damaged from error
    if not isinstance(data, dict):
        raise _Damaged
    return data


def _records(payload: memoryview) -> Records:
    if len(payload) < 4 or struct.unpack_from("<I", payload)[0] != EVENT.itemsize:
        raise _Damaged
    if (len(payload) - 4) % EVENT.itemsize:
        raise _Damaged
    return np.frombuffer(payload, EVENT, offset=4)


def _texts(payload: memoryview, header: struct.Struct) -> dict[int, str]:
    """Entries of a key and a text; `header` holds the key and the text's length in bytes."""
    found = {}
    position = 0
    while position < len(payload):
        key, size = _entry(payload, position, header)
        position += header.size
        if size > len(payload) - position:
            raise _Damaged
        found[key] = bytes(payload[position : position + size]).decode("utf-8", "replace")
        position += size
    return found


def _stacks(payload: memoryview) -> dict[int, tuple[int, ...]]:
    found = {}
    position = 0
    while position < len(payload):
        number, depth = _entry(payload, position, _ENTRY)
        position += _ENTRY.size
        if depth * 8 > len(payload) - position:
            raise _Damaged
        found[number] = struct.unpack_from(f"<{depth}Q", payload, position)
        position += depth * 8
    return found


def _entry(payload: memoryview, position: int, header: struct.Struct) -> tuple[int, int]:
    if len(payload) - position < header.size:
        raise _Damaged
    key, size = header.unpack_from(payload, position)
    return key, size


def _numbered(entries: dict[int, T]) -> dict[int, T]:
    if 0 in entries:  # what a record says that has none
        raise _Damaged
    return entries


def _sound(chunks: list[Records]) -> tuple[Records, int]:
    """All records that this program understands, and how many it does not."""
    if not chunks:
        return Events().records, 0
    records = np.concatenate(chunks)
    good = np.isin(records["kind"], _KINDS) & np.isin(records["origin"], _ORIGINS)
    return records[good], int(len(records) - good.sum())


def _drop_dangling(events: Events) -> None:
    for field, table in (("reason", events.strings), ("stack", events.stacks)):
        ids = events.records[field]
        known = np.array(list(table), np.uint32)
        ids[~np.isin(ids, known)] = 0
