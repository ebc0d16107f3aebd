"""The ELF header (the generic ABI's chapter "Object Files")."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from zaptrace.arch import Byteorder
from zaptrace.model.errors import BadInput

_LAYOUT = "16sHHIQQQIHHHHHH"
HEADER_SIZE = struct.calcsize("<" + _LAYOUT)
_BITS = {1: 32, 2: 64}
_ORDERS = {1: "<", 2: ">"}


@dataclass(frozen=True, slots=True)
class Header:
    """What an ELF header says.  Of a 32-bit file only `bits`, `order`, `type` and `machine` hold.

    Attributes:
        bits: 32 or 64.
        order: byte order as `struct` spells it, `<` or `>`.
        type: e_type.
        machine: e_machine.
        segments_at, segment_size, segments: program headers: offset, bytes of one, how many.
        sections_at, section_size, sections: section headers, likewise.
        names: which section has the sections' names.
        raw: the header's own bytes.
    """

    bits: int
    order: str
    type: int
    machine: int
    segments_at: int
    segment_size: int
    segments: int
    sections_at: int
    section_size: int
    sections: int
    names: int
    raw: bytes

    @property
    def byteorder(self) -> Byteorder:
        """The byte order as Python's int spells it."""
        return "little" if self.order == "<" else "big"


def parse_header(path: Path, raw: bytes, hint: str | None = None) -> Header:
    """Parse the first bytes of a file.

    Args:
        path: what to call the file in errors.
        raw: its first HEADER_SIZE bytes, fewer where it is shorter.
        hint: what to do about a file of another kind.

    Raises:
        BadInput: it is not an ELF file.
    """
    if len(raw) < HEADER_SIZE or raw[:4] != b"\x7fELF":
        raise BadInput(f"{path} is not an ELF file", hint)
    bits, order = _BITS.get(raw[4]), _ORDERS.get(raw[5])
    if bits is None or order is None:
        raise BadInput(f"{path} is not an ELF file of 32 or 64 bits", hint)
    fields = struct.unpack(order + _LAYOUT, raw)
    _, kind, machine, _, _, segments_at, sections_at, _, _ = fields[:9]
    segment_size, segments, section_size, sections, names = fields[9:]
    return Header(
        bits,
        order,
        kind,
        machine,
        segments_at,
        segment_size,
        segments,
        sections_at,
        section_size,
        sections,
        names,
        raw,
    )


def pack_header(header: Header, segments_at: int, segments: int, segment_size: int) -> bytes:
    """Return the header with another program-header table and no sections."""
    fields = list(struct.unpack(header.order + _LAYOUT, header.raw))
    fields[5], fields[6] = segments_at, 0
    fields[8:] = [HEADER_SIZE, segment_size, segments, 0, 0, 0]
    return struct.pack(header.order + _LAYOUT, *fields)
