"""A QEMU dump made a proper vmcore, in place.

`dump-guest-memory` writes an ELF file whose memory is complete but which, on
s390x, nothing opens without help: it has no VMCOREINFO note (the guest
firmware interface that x86 uses for it does not exist there), and its only
PT_LOAD starts at physical address 0, so that drgn takes the file for one
without physical addresses.  Both are fixed by appending to the file and then
replacing its headers.  They are put where the kernel's own vmcores have them:
makedumpfile looks for program headers right after the ELF header only, and
QEMU has section headers there.
"""

from __future__ import annotations

import dataclasses
import errno
import mmap
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from zaptrace.arch import Arch
from zaptrace.elf.core import (
    ET_CORE,
    PN_XNUM,
    PT_NOTE,
    SEGMENT_SIZE,
    Headers,
    Segment,
    arch_of,
    check_complete,
    opened,
    pack_segments,
    read_headers,
    read_notes,
)
from zaptrace.elf.header import HEADER_SIZE, pack_header
from zaptrace.elf.notes import HEAD_SIZE, Note, pack_note, parse_notes
from zaptrace.model.errors import BadInput, Missing

VMCOREINFO = b"VMCOREINFO"
_PAGE = 4096
_NOTE_BEGINS = VMCOREINFO + b"\0\0OSRELEASE="
_MAX_VMCOREINFO = 1 << 20  # bytes; the kernel's own limit is a few pages


def standardise(dump: Path) -> None:
    """Make a QEMU `dump-guest-memory` ELF a vmcore that drgn and makedumpfile read as it is.

    Done in place: old notes and the VMCOREINFO note are appended and synced, and
    only then are the headers replaced, in one write; torn at any moment, the
    file reads as it did before or as a proper vmcore.  A file that is a proper
    vmcore already is left alone.

    Raises:
        BadInput: not such a dump, truncated, or the guest had no VMCOREINFO yet.
        Missing: the file cannot be read or written (no space, no permission).
    """
    with opened(dump) as file:
        headers = read_headers(file, dump)
        check_core(headers)
        arch = arch_of(headers)
        notes = read_notes(file, headers)
        info = _vmcoreinfo_among(notes, headers.order)
        if info is not None and any(segment.paddr for segment in headers.loads()):
            if headers.header.segments_at != HEADER_SIZE and _has_room(headers.segments):
                _rewrite(dump, headers, b"", headers.segments)
            return
        if info is None:
            found = _vmcoreinfo_in_memory(file, headers, arch)
            notes += pack_note(found, headers.order)
            info = found.desc
    loads = _usable_loads(headers.loads(), _identity_base(info, arch))
    if len(loads) + 1 >= PN_XNUM:
        raise BadInput(f"{dump}: {len(loads)} memory segments are too many for an ELF header")
    at = _end(headers)
    note = Segment(PT_NOTE, 0, at, 0, 0, len(notes), len(notes), 4)
    _rewrite(dump, headers, notes, (note, *loads))


def check_core(headers: Headers, whole: bool = True) -> None:
    """Check that an ELF file is a core dump with all its segments inside the file.

    Args:
        whole: False when memory may be cut off, but not the notes.

    Raises:
        BadInput: it is not.
    """
    if headers.type != ET_CORE or not headers.loads():
        raise BadInput(f"{headers.path}: an ELF file, but not a core dump")
    segments = [one for one in headers.segments if whole or one.type == PT_NOTE]
    check_complete(headers, segments)


def _vmcoreinfo_among(notes: bytes, order: str) -> bytes | None:
    for note in parse_notes(notes, order):
        if note.name == VMCOREINFO:
            return note.desc
    return None


def _vmcoreinfo_in_memory(file: BinaryIO, headers: Headers, arch: Arch) -> Note:
    missing = BadInput(
        f"{headers.path}: the guest's memory holds no VMCOREINFO",
        hint="dump later in the boot; the kernel needs CONFIG_CRASH_DUMP"
        " (and on x86_64 QEMU's -device vmcoreinfo)",
    )
    address = _note_address(file, headers, arch.vmcoreinfo_pointer)
    # The header says how long the note is; it is read before it is believed.
    head = _read_physical(file, headers, address, 12) if address else b""
    if len(head) < 12:
        raise missing
    namesz, descsz = struct.unpack_from(headers.order + "II", head)
    if namesz > _PAGE or descsz > _MAX_VMCOREINFO:
        raise missing
    raw = _read_physical(file, headers, address, 12 + namesz + 3 + descsz + 3)
    note = next(parse_notes(raw, headers.order), None)
    if note is None or note.name != VMCOREINFO or b"OSRELEASE=" not in note.desc:
        raise missing
    return note


def _note_address(file: BinaryIO, headers: Headers, pointer_at: int | None) -> int:
    """Return the physical address of the kernel's VMCOREINFO note; 0 without one."""
    if pointer_at is not None:
        pointer = _read_physical(file, headers, pointer_at, 8)
        return struct.unpack(headers.order + "Q", pointer)[0] if len(pointer) == 8 else 0
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for load in headers.loads():
            end = load.offset + load.filesz
            found = content.find(_NOTE_BEGINS, load.offset, end)
            while found >= 0:
                # alloc_pages_exact() in crash_save_vmcoreinfo_init(): at the start of a page.
                inside = found - HEAD_SIZE - load.offset
                if inside >= 0 and (load.paddr + inside) % _PAGE == 0:
                    return load.paddr + inside
                found = content.find(_NOTE_BEGINS, found + 1, end)
    return 0


def _read_physical(file: BinaryIO, headers: Headers, address: int, size: int) -> bytes:
    for segment in headers.loads():
        inside = address - segment.paddr
        if 0 <= inside < segment.filesz:
            file.seek(segment.offset + inside)
            return file.read(min(size, segment.filesz - inside))
    return b""


def _identity_base(info: bytes, arch: Arch) -> int:
    if arch.identity_base is None:
        return 0
    found = re.search(rb"^%b=([0-9a-fA-F]{1,16})$" % arch.identity_base, info, re.M)
    return int(found[1], 16) if found else 0


def _usable_loads(loads: list[Segment], identity_base: int) -> list[Segment]:
    """Return the same memory, with addresses that mean something to drgn.

    drgn ignores p_paddr when it is 0 everywhere (libdrgn/program.c), so the
    first page gets a segment of its own.
    """
    usable = []
    for load in loads:
        vaddr = (identity_base + load.paddr) % 2**64
        load = dataclasses.replace(load, vaddr=vaddr, memsz=max(load.filesz, load.memsz))
        if load.paddr == 0 and load.filesz > _PAGE:
            usable.append(dataclasses.replace(load, filesz=_PAGE, memsz=_PAGE))
            load = dataclasses.replace(
                load,
                offset=load.offset + _PAGE,
                vaddr=(load.vaddr + _PAGE) % 2**64,
                paddr=_PAGE,
                filesz=load.filesz - _PAGE,
                memsz=load.memsz - _PAGE,
            )
        usable.append(load)
    return usable


def _end(headers: Headers) -> int:
    """Return where something can be appended, aligned."""
    return (headers.size + 7) & ~7


def _has_room(segments: Sequence[Segment]) -> bool:
    """Return whether the program headers fit between the ELF header and what they describe."""
    size = len(segments) * SEGMENT_SIZE
    return HEADER_SIZE + size <= min(segment.offset for segment in segments)


def _rewrite(dump: Path, headers: Headers, notes: bytes, segments: Sequence[Segment]) -> None:
    """Append notes, and then give the file other program headers.

    Raises:
        Missing: the file cannot be written.
    """
    table = pack_segments(segments, headers.order)
    appended = notes + bytes(-len(notes) % 8)
    trailer = b""
    if _has_room(segments):
        table_at, trailer = HEADER_SIZE, table
    else:
        table_at = _end(headers) + len(appended)
        appended += table
    try:
        mode = dump.stat().st_mode
        dump.chmod(mode | 0o200)  # QEMU leaves its dumps read-only
        try:
            _write(dump, _end(headers), appended)
            _write(
                dump,
                0,
                pack_header(headers.header, table_at, len(segments), SEGMENT_SIZE) + trailer,
            )
        finally:
            dump.chmod(mode)
    except OSError as error:
        raise Missing(f"{dump}: cannot be written: {error.strerror}") from error


def _write(dump: Path, at: int, what: bytes) -> None:
    """Write in one piece, and sync before anything else is written."""
    with dump.open("r+b", buffering=0) as file:
        if os.pwrite(file.fileno(), what, at) != len(what):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
