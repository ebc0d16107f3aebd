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
    payload: bytearray | None


def file_header() -> bytes:
    """Return the first bytes of every capture."""
    return FILE_HEADER.pack(MAGIC, VERSION, 0, 0)


def pack(kind: FrameType, payload: bytes) -> bytes:
    """Return a frame, ready to write.

    Raises:
        ValueError: more than MAX_PAYLOAD bytes.
    """
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a frame of {len(payload)} bytes; at most {MAX_PAYLOAD}")
    fields = _FIELDS.pack(SYNC, kind, len(payload), zlib.crc32(payload))
    return fields + _CHECK.pack(zlib.crc32(fields)) + payload


class Splitter:
    """Cuts the bytes after the file header into frames; they may come in pieces of any size.

    Damaged frames have the payload None; bytes that belong to no frame count as
    one damaged frame a stretch.  Holds one unfinished frame at most.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._header: _Header | None = None  # of the frame at the start of `_bytes`
        self._astray = False  # no header where one should be: looking for the next

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that these bytes make whole."""
        self._bytes += data
        found = []
        while (frame := self._next()) is not None:
            found.append(frame)
        return found

    def finish(self) -> list[Frame]:
        """Return the bytes have ended: what is left of them is at most one damaged frame."""
        torn = bool(self._bytes) and not self._astray
        self._bytes.clear()
        return [Frame(self._header[0] if self._header else 0, None)] if torn else []

    def _next(self) -> Frame | None:
        if self._header is None and not self._astray:
            if len(self._bytes) < FRAME_HEADER_SIZE:
                return None
            self._header = _header_at(self._bytes, 0)
            if self._header is None:
                self._astray = True
                return Frame(0, None)
        if self._astray and not self._find_header():
            return None
        return self._cut()

    def _find_header(self) -> bool:
        """Skip bytes that belong to no frame; return whether a header follows them."""
        position = 0
        while (position := self._bytes.find(SYNC, position)) >= 0:
            if len(self._bytes) - position < FRAME_HEADER_SIZE:
                break
            self._header = _header_at(self._bytes, position)
            if self._header is not None:
                self._astray = False
                break
            position += 1
        else:
            position = max(0, len(self._bytes) - len(SYNC) + 1)  # half a mark may be there
        del self._bytes[:position]
        return not self._astray

    def _cut(self) -> Frame | None:
        assert self._header is not None
        kind, length, checksum = self._header
        if len(self._bytes) < FRAME_HEADER_SIZE + length:
            return None
        payload = self._bytes[FRAME_HEADER_SIZE : FRAME_HEADER_SIZE + length]
        del self._bytes[: FRAME_HEADER_SIZE + length]
        self._header = None
        return Frame(kind, payload if zlib.crc32(payload) == checksum else None)


_Header = tuple[int, int, int]  # type, payload bytes, payload checksum


def _header_at(data: bytearray, position: int) -> _Header | None:
    """Return the frame header there, None when there is no header; FRAME_HEADER_SIZE bytes must be
    there."""
    sync, kind, length, checksum = _FIELDS.unpack_from(data, position)
    (check,) = _CHECK.unpack_from(data, position + _FIELDS.size)
    fields = data[position : position + _FIELDS.size]
    if sync != SYNC or zlib.crc32(fields) != check or length > MAX_PAYLOAD:
        return None
    return kind, length, checksum
