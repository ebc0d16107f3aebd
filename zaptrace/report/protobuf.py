"""The little of protobuf's wire format that a trace needs (protobuf.dev: Encoding).

A message is the concatenation of its fields; each function returns one field.
"""

from __future__ import annotations

_VARINT, _BYTES = 0, 2
_TWO_TO_64 = 1 << 64


def number(field: int, value: int) -> bytes:
    """Return an integer, enum or bool; a negative one as int64 has it (two's complement)."""
    return varint(field << 3 | _VARINT) + varint(value % _TWO_TO_64)


def text(field: int, value: str) -> bytes:
    """Return a string; a lone surrogate, which UTF-8 does not have, becomes `?`."""
    return message(field, value.encode("utf-8", "replace"))


def message(field: int, *parts: bytes) -> bytes:
    """Return a message inside a message, or bytes."""
    body = b"".join(parts)
    return varint(field << 3 | _BYTES) + varint(len(body)) + body


def varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; `value` is not negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
