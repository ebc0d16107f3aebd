"""The canonical frame address at an instruction: from .debug_frame, else .eh_frame."""

from __future__ import annotations

import struct
from functools import cached_property
from io import BytesIO

from elftools.dwarf.callframe import FDE, CallFrameInfo, CFIEntry
from elftools.dwarf.structs import DWARFStructs

from zaptrace.elf.image import Image
from zaptrace.kernel.dwarf.place import Place, Unavailable

_CIE = 0xFFFFFFFF
_LENGTH = 4


class Frames:
    """Call frame information of a vmlinux."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._structs = DWARFStructs(
            little_endian=image.order == "<", dwarf_format=32, address_size=8
        )

    def cfa(self, pc: int) -> Place:
        """Return the canonical frame address at an instruction, from that instruction's registers.

        Raises:
            Unavailable: the frame is not described, or not by a register and an offset.
        """
        entry = self._described(pc)
        if entry is None:
            raise Unavailable("on the stack, whose layout is not described here")
        # Rows are in the order of their addresses; the last that has begun holds.
        begun = [row for row in entry.get_decoded().table if row["pc"] <= pc]
        rule = begun[-1]["cfa"] if begun else None
        if rule is None or rule.reg is None:
            raise Unavailable("on the stack, after a frame whose size is computed")
        return Place(rule.reg, addend=rule.offset)

    def _described(self, pc: int) -> CFIEntry | None:
        section = self._image.data(".debug_frame")
        if section:
            return self._in_debug_frame(section, pc)
        for entry in self._eh_frame:
            start = entry["initial_location"]
            if start <= pc < start + entry["address_range"]:
                return entry
        return None

    def _in_debug_frame(self, section: bytes, pc: int) -> CFIEntry | None:
        """Decode the one description that we need: a kernel has tens of thousands,
        and pyelftools takes seconds for all."""
        layout = struct.Struct(f"{self._image.order}IIQQ")
        at = 0
        while at + layout.size <= len(section):
            length, cie, start, size = layout.unpack_from(section, at)
            if cie != _CIE and start <= pc < start + size and length != _CIE:
                return self._parse(section, at, cie)
            at += _LENGTH + length
        return None

    def _parse(self, section: bytes, at: int, cie: int) -> CFIEntry | None:
        """Parse one description, the common part that it refers to in front of it."""
        word = struct.Struct(f"{self._image.order}I")
        common = _entry(section, cie, word)
        own = _entry(section, at, word)
        own = own[:_LENGTH] + word.pack(0) + own[2 * _LENGTH :]
        stream = BytesIO(common + own)
        frames = CallFrameInfo(stream, len(common) + len(own), 0, self._structs)
        for entry in frames.get_entries():
            if isinstance(entry, FDE):
                return entry
        return None

    @cached_property
    def _eh_frame(self) -> list[FDE]:
        section = self._image.sections.get(".eh_frame")
        data = self._image.data(".eh_frame")
        if section is None or not data:
            return []
        frames = CallFrameInfo(
            BytesIO(data), len(data), section.address, self._structs, for_eh_frame=True
        )
        return [entry for entry in frames.get_entries() if isinstance(entry, FDE)]


def _entry(section: bytes, at: int, word: struct.Struct) -> bytes:
    """Return a whole entry of .debug_frame, its length in front."""
    (length,) = word.unpack_from(section, at)
    return section[at : at + _LENGTH + length]
