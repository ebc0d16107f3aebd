"""ELF notes, as files and core dumps of Linux have them: name and descriptor padded to 4 bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HEAD = "III"  # sizes of name and descriptor, type
HEAD_SIZE = struct.calcsize("<" + _HEAD)
_GNU_BUILD_ID = (b"GNU", 3)  # NT_GNU_BUILD_ID
_LONGEST_BUILD_ID = 64


@dataclass(frozen=True, slots=True)
class Note:
    """An ELF note: `name` without its NUL."""

    name: bytes
    type: int
    desc: bytes


def parse_notes(raw: bytes, order: str) -> Iterator[Note]:
    """Yield the notes in `raw`; stop at the first one that does not fit.

    Args:
        order: byte order, `<` or `>`.
    """
    head = struct.Struct(order + _HEAD)
    position = 0
    while position + head.size <= len(raw):
        namesz, descsz, kind = head.unpack_from(raw, position)
        name_at = position + head.size
        desc_at = name_at + _padded(namesz)
        if desc_at + descsz > len(raw):
            return
        name = raw[name_at : name_at + namesz].rstrip(b"\0")
        yield Note(name, kind, raw[desc_at : desc_at + descsz])
        position = desc_at + _padded(descsz)


def pack_note(note: Note, order: str) -> bytes:
    """Return the note as it stands in a file, padded."""
    name = note.name + b"\0"
    head = struct.pack(order + _HEAD, len(name), len(note.desc), note.type)
    return (
        head
        + name.ljust(_padded(len(name)), b"\0")
        + note.desc.ljust(_padded(len(note.desc)), b"\0")
    )


def build_id_in(raw: bytes, order: str) -> str | None:
    """Return the GNU build ID in some notes, in hex digits; None without one."""
    for note in parse_notes(raw, order):
        if (note.name, note.type) == _GNU_BUILD_ID and 0 < len(note.desc) <= _LONGEST_BUILD_ID:
            return note.desc.hex()
    return None


def _padded(size: int) -> int:
    return (size + 3) & ~3
