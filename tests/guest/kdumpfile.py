"""ELF dumps rewritten as makedumpfile and QEMU write them: kdump-compressed, pages left out.

Format: makedumpfile's diskdump_mod.h, version 6; in the byte order of the dump.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Container
from pathlib import Path
from typing import BinaryIO

from zaptrace.arch import ARCHES
from zaptrace.elf.core import Headers, read_headers, read_notes
from zaptrace.elf.notes import parse_notes

BLOCK = 4096
VMCOREINFO = b"VMCOREINFO"
_MACHINES = {arch.elf_machine: arch.name.encode() for arch in ARCHES.values()}
_ZLIB = 1
_DESCRIPTOR = 24


def compressed(core: Path, target: Path, *, without: Container[int] = ()) -> None:
    """Write a kdump-compressed copy.

    Args:
        core: an ELF vmcore with VMCOREINFO.
        target: the file to write.
        without: PFNs to leave out, as makedumpfile leaves out free or user pages.
    """
    with core.open("rb") as source, target.open("wb") as out:
        headers = read_headers(source, core)
        loads = headers.loads()
        pages = sorted(
            (pfn, load.offset + (pfn * BLOCK - load.paddr))
            for load in loads
            for pfn in range(load.paddr // BLOCK, (load.paddr + load.filesz) // BLOCK)
        )
        end = pages[-1][0] + 1
        there, dumped = bytearray(-(-end // 8)), bytearray(-(-end // 8))
        for pfn, _ in pages:
            there[pfn >> 3] |= 1 << (pfn & 7)
        kept = [(pfn, offset) for pfn, offset in pages if pfn not in without]
        for pfn, _ in kept:
            dumped[pfn >> 3] |= 1 << (pfn & 7)
        _head(out, headers, end, read_notes(source, headers))
        out.write(_padded(there) + _padded(dumped))
        _pages(source, out, headers.order, [offset for _, offset in kept])


def _head(out: BinaryIO, headers: Headers, end: int, notes: bytes) -> None:
    order = headers.order
    info = next(note.desc for note in parse_notes(notes, order) if note.name == VMCOREINFO)
    bitmaps = 2 * len(_padded(bytes(-(-end // 8)))) // BLOCK
    sub_blocks = 1 + len(_padded(notes)) // BLOCK
    release = dict(line.split(b"=", 1) for line in info.splitlines() if b"=" in line)[b"OSRELEASE"]
    names = (b"Linux", b"lab", release, b"#1", _MACHINES[headers.header.machine], b"")
    head = b"KDUMP   " + struct.pack(order + "i", 6)
    head += b"".join(name.ljust(65, b"\0") for name in names)
    head = head.ljust(408, b"\0") + bytes(16)
    numbers = (_ZLIB, BLOCK, sub_blocks, bitmaps, end, end, 0, end, 0, 1)
    out.write(_padded(head + struct.pack(order + "Iii6Ii", *numbers)))
    sub = struct.pack(order + "QiiQQ", 0, 0, 0, 0, 0)
    place = 2 * BLOCK + notes.index(info)
    sub += struct.pack(order + "QQQQQQ", place, len(info), 2 * BLOCK, len(notes), 0, 0)
    sub += struct.pack(order + "QQQ", 0, 0, end)
    out.write(_padded(sub) + _padded(notes))


def _pages(source: BinaryIO, out: BinaryIO, order: str, offsets: list[int]) -> None:
    """The descriptors, then the data; all pages of zeros are one."""
    at = out.tell() + _DESCRIPTOR * len(offsets)
    descriptors, data = bytearray(), bytearray()
    zeros: tuple[int, int] | None = None
    for offset in offsets:
        source.seek(offset)
        page = source.read(BLOCK)
        empty = not any(page)
        if empty and zeros is not None:
            place = zeros
        else:
            packed = zlib.compress(page, 1)
            place = at + len(data), len(packed)
            data += packed
            zeros = place if empty else zeros
        descriptors += struct.pack(order + "QIIQ", *place, _ZLIB, 0)
    out.write(descriptors)
    out.write(data)


def _padded(raw: bytes | bytearray) -> bytes:
    return bytes(raw) + bytes(-len(raw) % BLOCK)
