"""ELF core dumps by their headers alone: 64-bit, either byte order, nothing trusted.

Format: the generic ABI's "Object Files" and "Program Loading" chapters, and
the note layout of Linux core dumps (name and descriptor padded to 4 bytes).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zaptrace.arch import Arch, Byteorder, arch_of_elf
from zaptrace.model.errors import BadInput, Missing

ET_CORE = 4
PT_LOAD = 1
PT_NOTE = 4
PN_XNUM = 0xFFFF
"""e_phnum that says: the real number is sh_info of section header 0."""

_HEADER = "16sHHIQQQIHHHHHH"
_SEGMENT = "IIQQQQQQ"
_NOTE = "III"
_SECTION_INFO = 44  # offset of sh_info in a section header
HEADER_SIZE = struct.calcsize("<" + _HEADER)
SEGMENT_SIZE = struct.calcsize("<" + _SEGMENT)
_MAX_NOTES = 64 << 20  # bytes; 8,192 CPUs of s390x fill some 10 MB


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header.  Offsets, addresses and sizes in bytes."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True, slots=True)
class Note:
    """An ELF note: `name` without its NUL."""

    name: bytes
    type: int
    desc: bytes


@dataclass(frozen=True, slots=True)
class Headers:
    """What the headers of an ELF file say.

    Attributes:
        order: byte order as `struct` spells it, `<` or `>`.
        type: e_type.
        machine: e_machine.
        raw: the ELF header's own bytes.
        segments: every program header, in the file's order.
        size: bytes of the whole file.
        table_at: offset of the program headers (e_phoff).
    """

    path: Path
    order: str
    type: int
    machine: int
    raw: bytes
    segments: tuple[Segment, ...]
    size: int
    table_at: int

    def loads(self) -> list[Segment]:
        """The segments that hold memory."""
        return [segment for segment in self.segments if segment.type == PT_LOAD]


def opened(path: Path) -> BinaryIO:
    """The file, open for reading.

    Raises:
        Missing: no such file, or not readable.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise Missing(f"{path}: cannot be read: {error.strerror}") from error


def read_headers(file: BinaryIO, path: Path) -> Headers:
    """Read the ELF header and the program headers.

    Args:
        path: what to call the file in errors.

    Raises:
        BadInput: not a 64-bit ELF file, or its header points outside the file.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    raw = file.read(HEADER_SIZE)
    if len(raw) < HEADER_SIZE or raw[:4] != b"\x7fELF":
        raise BadInput(f"{path}: not an ELF file")
    order = {1: "<", 2: ">"}.get(raw[5])
    if raw[4] != 2 or order is None:
        raise BadInput(f"{path}: not a 64-bit ELF file")
    fields = struct.unpack(order + _HEADER, raw)
    e_type, machine, phoff, shoff = fields[1], fields[2], fields[5], fields[6]
    phentsize, phnum = fields[9], fields[10]
    if phnum == PN_XNUM:
        phnum = _extended_phnum(file, path, order, shoff, size)
    if phnum and phentsize != SEGMENT_SIZE:
        raise BadInput(f"{path}: program headers of {phentsize} bytes, expected {SEGMENT_SIZE}")
    if phoff + phnum * SEGMENT_SIZE > size:
        raise BadInput(f"{path}: truncated: its program headers lie beyond the end of the file")
    file.seek(phoff)
    table = file.read(phnum * SEGMENT_SIZE)
    segments = tuple(Segment(*one) for one in struct.iter_unpack(order + _SEGMENT, table))
    return Headers(path, order, e_type, machine, raw, segments, size, phoff)


def _extended_phnum(file: BinaryIO, path: Path, order: str, shoff: int, size: int) -> int:
    if shoff + _SECTION_INFO + 4 > size:
        raise BadInput(f"{path}: truncated: section header 0 lies beyond the end of the file")
    file.seek(shoff + _SECTION_INFO)
    number: int = struct.unpack(order + "I", file.read(4))[0]
    return number


def arch_of(headers: Headers) -> Arch:
    """Return the row of a file's architecture.

    Raises:
        BadInput: zaptrace does not know it.
    """
    byteorder: Byteorder = "little" if headers.order == "<" else "big"
    return arch_of_elf(headers.path, headers.machine, byteorder)


def check_complete(headers: Headers, segments: Iterable[Segment]) -> None:
    """See that segments lie inside the file.

    Raises:
        BadInput: the file ends before a segment does.
    """
    for segment in segments:
        end = segment.offset + segment.filesz
        if segment.type in (PT_LOAD, PT_NOTE) and end > headers.size:
            raise BadInput(
                f"{headers.path}: truncated: {headers.size:,} bytes, "
                f"but its headers promise {end:,}",
                hint="copy or dump it again, with enough free disk space",
            )


def read_notes(file: BinaryIO, headers: Headers) -> bytes:
    """All note segments' bytes, one behind the other.

    Raises:
        BadInput: the notes lie beyond the end of the file or are absurdly large.
    """
    notes = [segment for segment in headers.segments if segment.type == PT_NOTE]
    check_complete(headers, notes)
    if sum(segment.filesz for segment in notes) > _MAX_NOTES:
        raise BadInput(f"{headers.path}: more than {_MAX_NOTES >> 20} MiB of notes")
    raw = bytearray()
    for segment in notes:
        file.seek(segment.offset)
        raw += file.read(segment.filesz)
        raw += bytes(-len(raw) % 4)
    return bytes(raw)


def parse_notes(raw: bytes, order: str) -> Iterator[Note]:
    """The notes in `raw`; stops at the first one that does not fit."""
    head = struct.Struct(order + _NOTE)
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
    """The note as it stands in a file, padded."""
    name = note.name + b"\0"
    head = struct.pack(order + _NOTE, len(name), len(note.desc), note.type)
    return (
        head
        + name.ljust(_padded(len(name)), b"\0")
        + note.desc.ljust(_padded(len(note.desc)), b"\0")
    )


def pack_segments(segments: Iterable[Segment], order: str) -> bytes:
    """A program-header table."""
    return b"".join(
        struct.pack(
            order + _SEGMENT,
            one.type,
            one.flags,
            one.offset,
            one.vaddr,
            one.paddr,
            one.filesz,
            one.memsz,
            one.align,
        )
        for one in segments
    )


def pack_header(headers: Headers, phoff: int, phnum: int) -> bytes:
    """The ELF header with another program-header table and no sections."""
    fields = list(struct.unpack(headers.order + _HEADER, headers.raw))
    fields[5], fields[6] = phoff, 0  # e_phoff, e_shoff
    fields[8:] = [HEADER_SIZE, SEGMENT_SIZE, phnum, 0, 0, 0]
    return struct.pack(headers.order + _HEADER, *fields)


def _padded(size: int) -> int:
    return (size + 3) & ~3
