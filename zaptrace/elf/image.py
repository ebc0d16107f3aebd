"""A vmlinux as a file: header, sections, notes.  Standard library only, so that it is quick.

Everything in it is checked against the file's size before it is used.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from zaptrace.arch import Arch, arch_of_elf
from zaptrace.elf.compressed import Damaged, decompress
from zaptrace.elf.debuglink import candidates
from zaptrace.elf.header import HEADER_SIZE, parse_header
from zaptrace.elf.notes import build_id_in
from zaptrace.model.errors import BadInput

DEBUG_INFO_HINT = (
    "give the uncompressed vmlinux with debug info: Debian's linux-image-VERSION-ARCH-dbg package, "
    "or the vmlinux of your own build with CONFIG_DEBUG_INFO_DWARF5=y"
)
_ET_REL = 1
_SHT_NOTE = 7
_SHT_NOBITS = 8
_SHF_ALLOC = 0x2
_SHF_COMPRESSED = 0x800
_SECTION = "IIQQQQIIQQ"


@dataclass(frozen=True, slots=True)
class Section:
    """One section header; offsets and sizes in bytes, checked against the file."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int

    def holds(self, address: int) -> bool:
        """Return whether the file has the byte of this address in this section."""
        in_file = self.flags & _SHF_ALLOC and self.type != _SHT_NOBITS
        return bool(in_file) and self.address <= address < self.address + self.size


class Image:
    """An ELF file of an architecture that we know; use it as a context manager.

    Attributes:
        order: `<` or `>`, for struct and numpy.
        other: the file with what was split off from this one, or None.
        sections: by name; of several with one name, the first.

    Raises:
        BadInput: no such file, not ELF, truncated, another architecture, or a
            relocatable object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.other: Image | None = None
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise BadInput(f"cannot read {path}: {error.strerror}") from None
        try:
            self.size = self._file.seek(0, 2)
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it, and its other half."""
        self._file.close()
        if self.other is not None:
            self.other.close()

    def join(self) -> None:
        """Open the other half where this is half of a kernel: debug info without code, or
        code without debug info.

        Raises:
            BadInput: dwz has moved what several files share into yet another one.
        """
        if ".gnu_debugaltlink" in self.sections:
            raise BadInput(
                f"{self.path}: dwz has moved a part of its debug info into another file",
                hint=DEBUG_INFO_HINT,
            )
        if self._is_whole():
            return
        identity = self.build_id()
        for path in candidates(self.path, self.data(".gnu_debuglink"), identity):
            if identity is None or not path.is_file() or path.samefile(self.path):
                continue
            other = Image(path)
            if other.build_id() == identity:
                self.other = other
                return
            other.close()

    def _is_whole(self) -> bool:
        text = self.sections.get(".text")
        return ".debug_info" in self.sections and text is not None and text.type != _SHT_NOBITS

    def _read_header(self) -> None:
        raw = self._read(0, min(HEADER_SIZE, self.size))
        header = parse_header(self.path, raw, DEBUG_INFO_HINT)
        self.order = header.order
        self.arch: Arch = arch_of_elf(
            self.path, header.machine, header.byteorder, header.bits, DEBUG_INFO_HINT
        )
        if header.type == _ET_REL:
            raise BadInput(f"{self.path} is an object file that is not linked yet")
        size = struct.calcsize("<" + _SECTION)
        if header.section_size != size or header.names >= header.sections:
            raise BadInput(f"{self.path} has no section headers", hint=DEBUG_INFO_HINT)
        self._read_sections(self._read(header.sections_at, header.sections * size), header.names)

    def _read_sections(self, table: bytes, names: int) -> None:
        rows = list(struct.iter_unpack(self.order + _SECTION, table))
        texts = self._read(rows[names][4], rows[names][5])
        self.sections: dict[str, Section] = {}
        for row in rows:
            start = row[0]
            name = texts[start : texts.find(b"\0", start)].decode("ascii", "replace")
            section = Section(name, row[1], row[2], row[3], row[4], row[5])
            if section.type != _SHT_NOBITS and section.offset + section.size > self.size:
                raise BadInput(
                    f"{self.path} is truncated: section {name} ends at byte "
                    f"{section.offset + section.size:,} of {self.size:,}"
                )
            self.sections.setdefault(name, section)

    def _read(self, offset: int, size: int) -> bytes:
        if offset + size > self.size:
            raise BadInput(
                f"{self.path} is truncated: it has {self.size:,} bytes, "
                f"its headers speak of {offset + size:,}"
            )
        self._file.seek(offset)
        return self._file.read(size)

    def data(self, name: str) -> bytes | None:
        """Return a section's bytes, decompressed; None when there is no such section.

        Raises:
            BadInput: its compression is damaged or of a kind we do not know.
        """
        section = self.sections.get(name)
        if section is None or section.type == _SHT_NOBITS:
            return None if self.other is None else self.other.data(name)
        raw = self._read(section.offset, section.size)
        return self._decompress(name, raw) if section.flags & _SHF_COMPRESSED else raw

    def _decompress(self, name: str, raw: bytes) -> bytes:
        """Return the bytes after an Elf64_Chdr."""
        try:
            return decompress(raw, self.order)
        except Damaged as why:
            hint = f"objcopy --decompress-debug-sections {self.path} vmlinux.plain"
            raise BadInput(f"{self.path}: {name} {why}", hint=hint) from None

    def at(self, address: int, size: int) -> bytes:
        """Return up to `size` bytes from a link-time address; empty when the file does not have
        them."""
        for section in self.sections.values():
            if section.holds(address):
                skipped = address - section.address
                return self._read(section.offset + skipped, min(size, section.size - skipped))
        return b"" if self.other is None else self.other.at(address, size)

    def build_id(self) -> str | None:
        """Return the GNU build ID in hex digits; None without one."""
        for section in self.sections.values():
            if section.type == _SHT_NOTE:
                found = build_id_in(self._read(section.offset, section.size), self.order)
                if found is not None:
                    return found
        return None
