"""ELF core dumps by their headers alone: 64-bit, either byte order, nothing trusted.

Format: the generic ABI's chapters "Object Files" and "Program Loading".
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zaptrace.arch import Arch, arch_of_elf
from zaptrace.elf.header import HEADER_SIZE, Header, parse_header
from zaptrace.model.errors import BadInput, Missing

ET_CORE = 4
PT_LOAD = 1
PT_NOTE = 4
PN_XNUM = 0xFFFF
"""e_phnum that says: the real number is sh_info of section header 0."""

_SEGMENT = "IIQQQQQQ"
_SECTION_INFO = 44  # offset of sh_info in a section header
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
class Headers:
    """What the headers of an ELF file say.

    Attributes:
        header: the ELF header.
        segments: every program header, in the file's order.
        size: bytes of the whole file.
    """

    path: Path
    header: Header
    segments: tuple[Segment, ...]
    size: int

    @property
    def order(self) -> str:
        """Byte order as `struct` spells it, `<` or `>`."""
        return self.header.order

    @property
    def type(self) -> int:
        """Return e_type."""
        return self.header.type

    def loads(self) -> list[Segment]:
        """Return the segments that hold memory."""
        return [segment for segment in self.segments if segment.type == PT_LOAD]


def opened(path: Path) -> BinaryIO:
    """Return the file, open for reading.

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
    header = parse_header(path, file.read(HEADER_SIZE))
    if header.bits != 64:
        raise BadInput(f"{path}: not a 64-bit ELF file")
    count, at = header.segments, header.segments_at
    if count == PN_XNUM:
        count = _extended_phnum(file, path, header, size)
    if count and header.segment_size != SEGMENT_SIZE:
        raise BadInput(
            f"{path}: program headers of {header.segment_size} bytes, expected {SEGMENT_SIZE}"
        )
    if at + count * SEGMENT_SIZE > size:
        raise BadInput(f"{path}: truncated: its program headers lie beyond the end of the file")
    file.seek(at)
    table = file.read(count * SEGMENT_SIZE)
    segments = tuple(Segment(*one) for one in struct.iter_unpack(header.order + _SEGMENT, table))
    return Headers(path, header, segments, size)


def _extended_phnum(file: BinaryIO, path: Path, header: Header, size: int) -> int:
    at = header.sections_at
    if at + _SECTION_INFO + 4 > size:
        raise BadInput(f"{path}: truncated: section header 0 lies beyond the end of the file")
    file.seek(at + _SECTION_INFO)
    number: int = struct.unpack(header.order + "I", file.read(4))[0]
    return number


def arch_of(headers: Headers) -> Arch:
    """Return the row of a file's architecture.

    Raises:
        BadInput: zaptrace does not know it.
    """
    header = headers.header
    return arch_of_elf(headers.path, header.machine, header.byteorder, header.bits)


def check_complete(headers: Headers, segments: Iterable[Segment]) -> None:
    """Check that segments lie inside the file.

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
    """Return all note segments' bytes, one after the other.

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


def pack_segments(segments: Iterable[Segment], order: str) -> bytes:
    """Return a program-header table."""
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
