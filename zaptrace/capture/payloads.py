"""What a frame's payload says; nothing in it is believed before it is checked."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from zaptrace.model.events import EVENT, Records

T = TypeVar("T")
MAX_ENTRIES = 1 << 16
"""Strings, stacks or symbols in one frame; writers keep well below."""
_ENTRY = struct.Struct("<II")
_SYMBOL = struct.Struct("<QI")


class Damaged(Exception):
    """A payload with a good checksum whose content makes no sense."""


def _list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(one, kind) for one in value)


def _text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _count(value: Any) -> bool:
    return value is None or type(value) is int


_META = {
    "arch": _text,
    "release": _text,
    "build_id": _text,
    "boot_id": _text,
    "source": _text,
    "page_size": _count,
    "records": _count,
    "sites": _list_of(dict),
    "missing": _list_of(dict),
    "notes": _list_of(str),
    "damage": _list_of(str),
    "unavailable": _list_of(str),
}
"""The keys whose types our own code relies on."""


def meta(payload: bytearray) -> dict[str, Any]:
    """Return the JSON object of a META frame.

    Raises:
        Damaged: it is not a payload, or a key that every reader knows has the wrong type.
    """
    try:
        data = json.loads(payload)
        json.dumps(data, ensure_ascii=False).encode()  # half a surrogate could not be printed
    except (ValueError, RecursionError) as error:
        raise Damaged from error
    if not isinstance(data, dict):
        raise Damaged
    if not all(sound(data[key]) for key, sound in _META.items() if key in data):
        raise Damaged
    return data


def records(payload: bytearray) -> Records:
    """Return the records of an EVENTS frame, dtype EVENT; kinds and origins may be unknown ones.

    Raises:
        Damaged: not whole records of our size.
    """
    if len(payload) < 4 or struct.unpack_from("<I", payload)[0] != EVENT.itemsize:
        raise Damaged
    if (len(payload) - 4) % EVENT.itemsize:
        raise Damaged
    return np.frombuffer(payload, EVENT, offset=4)


def strings(payload: bytearray) -> dict[int, str]:
    """Id -> text of a STRINGS frame.

    Raises:
        Damaged: a length that cannot be, or the id 0.
    """
    return _numbered(_texts(payload, _ENTRY))


def symbols(payload: bytearray) -> dict[int, str]:
    """Kernel address -> text of a SYMBOLS frame.

    Raises:
        Damaged: a length that cannot be.
    """
    return _texts(payload, _SYMBOL)


def stacks(payload: bytearray) -> dict[int, tuple[int, ...]]:
    """Id -> return addresses of a STACKS frame.

    Raises:
        Damaged: a depth that cannot be, or the id 0.
    """
    found: dict[int, tuple[int, ...]] = {}
    position = 0
    while position < len(payload):
        number, depth = _entry(payload, position, _ENTRY, len(found))
        position += _ENTRY.size
        if depth * 8 > len(payload) - position:
            raise Damaged
        found[number] = struct.unpack_from(f"<{depth}Q", payload, position)
        position += depth * 8
    return _numbered(found)


def _texts(payload: bytearray, header: struct.Struct) -> dict[int, str]:
    """Entries of a key and a text; `header` holds the key and the text's length in bytes."""
    found: dict[int, str] = {}
    position = 0
    while position < len(payload):
        key, size = _entry(payload, position, header, len(found))
        position += header.size
        if size > len(payload) - position:
            raise Damaged
        found[key] = payload[position : position + size].decode("utf-8", "replace")
        position += size
    return found


def _entry(
    payload: bytearray, position: int, header: struct.Struct, before: int
) -> tuple[int, int]:
    if len(payload) - position < header.size or before == MAX_ENTRIES:
        raise Damaged
    key, size = header.unpack_from(payload, position)
    return key, size


def _numbered(entries: dict[int, T]) -> dict[int, T]:
    if 0 in entries:  # what a record says that has none
        raise Damaged
    return entries
