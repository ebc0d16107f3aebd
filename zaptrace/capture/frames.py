"""Frames: what a capture is made of, on disk as on a pipe.

A capture is a file header and then frames, all little-endian.

    file header   8 bytes magic, u16 version, u16 reserved, u32 reserved
    frame         4 bytes sync, u32 type, u32 length, u32 crc32 of the payload,
                  u32 crc32 of the 16 bytes before it; then `length` payload bytes

The header's own checksum is what lets a reader trust `length`: a bad payload
costs exactly its frame, and a bad header costs the way to the next sync
mark.  Either way a reader passes over each byte once, whatever it is fed.

    META     a JSON object; keys of later frames win
    EVENTS   u32 bytes per record, then records (model.events.EVENT)
    STRINGS  u32 id, u32 bytes, UTF-8 text; repeated
    STACKS   u32 id, u32 depth, u64 return address * depth, innermost first; repeated
    SYMBOLS  u64 kernel address, u32 bytes, UTF-8 text; repeated
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\x89zaptrc\n"  # like PNG's: a text transfer breaks it visibly
VERSION = 1
SYNC = b"\xf5ZTF"
FILE_HEADER = struct.Struct("<8sHHI")
MAX_PAYLOAD = 16 << 20
_FIELDS = struct.Struct("<4sIII")
_CHECK = struct.Struct("<I")
FRAME_HEADER_SIZE = _FIELDS.size + _CHECK.size


class FrameType(enum.IntEnum):
    """What a frame holds.  The numbers are part of the format."""

    META = 1
    EVENTS = 2
    STRINGS = 3
    STACKS = 4
    SYMBOLS = 5


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame.

    Attributes:
        type: a FrameType, or a number that this version does not know.
        payload: the bytes, or None when they are damaged or cut off.
    """

    type: int
    payload: memoryview | None


def file_header() -> bytes:
    """The first bytes of every capture."""
    return FILE_HEADER.pack(MAGIC, VERSION, 0, 0)


def pack(kind: FrameType, payload: bytes) -> bytes:
    """A frame, ready to write.

    Raises:
        ValueError: more than MAX_PAYLOAD bytes.
    """
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a frame of {len(payload)} bytes; at most {MAX_PAYLOAD}")
    fields = _FIELDS.pack(SYNC, kind, len(payload), zlib.crc32(payload))
    return fields + _CHECK.pack(zlib.crc32(fields)) + payload


def split(data: bytes) -> Iterator[Frame]:
    """The frames behind the file header, damaged ones with payload None.

    Bytes that belong to no frame count as one damaged frame a stretch.
    """
    position = FILE_HEADER.size
    view = memoryview(data)
    while position < len(data):
        header = _header_at(data, position)
        if header is None:
            position = _next_header(data, position + 1)
            yield Frame(0, None)
            continue
        kind, length, checksum = header
        payload = view[position + FRAME_HEADER_SIZE :][:length]
        whole = len(payload) == length and zlib.crc32(payload) == checksum
        yield Frame(kind, payload if whole else None)
        position += FRAME_HEADER_SIZE + length


def _header_at(data: bytes, position: int) -> tuple[int, int, int] | None:
    if len(data) - position < FRAME_HEADER_SIZE or not data.startswith(SYNC, position):
        return None
    _, kind, length, checksum = _FIELDS.unpack_from(data, position)
    (check,) = _CHECK.unpack_from(data, position + _FIELDS.size)
    fields = data[position : position + _FIELDS.size]
    if zlib.crc32(fields) != check or length > MAX_PAYLOAD:
        return None
    return kind, length, checksum


def _next_header(data: bytes, position: int) -> int:
    while (position := data.find(SYNC, position)) >= 0:
        if _header_at(data, position) is not None:
            return position
        position += 1
    return len(data)
