"""QEMU dumps made proper vmcores: in place, once, and safe against a torn write."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zaptrace.arch.s390x import S390X
from zaptrace.arch.x86_64 import X86_64
from zaptrace.elf.core import (
    ET_CORE,
    PN_XNUM,
    PT_LOAD,
    PT_NOTE,
    SEGMENT_SIZE,
    Headers,
    Segment,
    pack_segments,
    read_headers,
    read_notes,
)
from zaptrace.elf.header import HEADER_SIZE
from zaptrace.elf.notes import Note, pack_note, parse_notes
from zaptrace.memory import vmcore
from zaptrace.model.errors import BadInput, Missing

PAGE = 4096
LOWCORE_VMCORE_INFO = 0xE0C
NOTE_AT = 0x5004  # where the guest kernel put its note; any 4-byte aligned address
INFO = b"OSRELEASE=6.1.0-test\nBUILD-ID=00ff\nPAGESIZE=4096\n"
INFO_NOTE = Note(vmcore.VMCOREINFO, 0, INFO)
PRSTATUS = Note(b"CORE", 1, bytes(range(256)) + bytes(80))


def memory(info: Note | None = INFO_NOTE, pages: int = 16) -> bytes:
    """Guest memory as s390x has it: a pointer in the lowcore to the VMCOREINFO note."""
    raw = bytearray(random.Random(1).randbytes(pages * PAGE))
    raw[LOWCORE_VMCORE_INFO : LOWCORE_VMCORE_INFO + 8] = bytes(8)
    if info is not None:
        struct.pack_into(">Q", raw, LOWCORE_VMCORE_INFO, NOTE_AT)
        note = pack_note(info, ">")
        raw[NOTE_AT : NOTE_AT + len(note)] = note
    return bytes(raw)


def qemu_dump(
    content: bytes, *, machine: int = S390X.elf_machine, extra: tuple[Note, ...] = ()
) -> bytes:
    """A dump as QEMU 7.2 writes it: e_ehsize and section headers are nonsense there."""
    order = ">" if machine == S390X.elf_machine else "<"
    notes = b"".join(pack_note(note, order) for note in (PRSTATUS, *extra))
    phoff = 192
    at = phoff + 2 * SEGMENT_SIZE
    table = pack_segments(
        [
            Segment(PT_NOTE, 0, at, 0, 0, len(notes), len(notes), 0),
            Segment(PT_LOAD, 0, at + len(notes), 0, 0, len(content), len(content), 0),
        ],
        order,
    )
    ident = b"\x7fELF" + bytes([2, 2 if order == ">" else 1, 1]) + bytes(9)
    fields = (ET_CORE, machine, 1, 0, phoff, 64, 0, 8, 56, 2, 64, 2, 1)
    header = struct.pack(order + "16sHHIQQQIHHHHHH", ident, *fields)
    return header.ljust(phoff, b"\xee") + table + notes + content


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "vmcore"
    path.write_bytes(qemu_dump(memory()))
    return path


def opened(path: Path) -> tuple[Headers, list[Note]]:
    with path.open("rb") as file:
        headers = read_headers(file, path)
        vmcore.check_core(headers)
        return headers, list(parse_notes(read_notes(file, headers), headers.order))


def physical_memory(path: Path) -> dict[int, bytes]:
    headers, _ = opened(path)
    raw = path.read_bytes()
    return {load.paddr: raw[load.offset : load.offset + load.filesz] for load in headers.loads()}


def test_the_note_is_found_and_physical_addresses_mean_something(dump: Path) -> None:
    vmcore.standardise(dump)
    headers, notes = opened(dump)
    assert notes == [PRSTATUS, INFO_NOTE]
    assert [(load.paddr, load.vaddr) for load in headers.loads()] == [(0, 0), (PAGE, PAGE)]
    parts = physical_memory(dump)
    assert parts[0] + parts[PAGE] == memory()


@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf")
def test_readelf_finds_nothing_to_complain_about(dump: Path) -> None:
    vmcore.standardise(dump)
    told = subprocess.run(["readelf", "-hlnW", dump], capture_output=True, text=True, check=True)
    assert told.stderr == ""
    assert "VMCOREINFO" in told.stdout
    assert told.stdout.count("LOAD ") == 2


def test_twice_is_as_good_as_once(dump: Path) -> None:
    vmcore.standardise(dump)
    once = dump.read_bytes()
    vmcore.standardise(dump)
    assert dump.read_bytes() == once


def test_a_read_only_dump_is_standardised_and_stays_read_only(dump: Path) -> None:
    dump.chmod(0o400)  # QEMU creates its dumps so
    vmcore.standardise(dump)
    assert dump.stat().st_mode & 0o777 == 0o400
    assert len(opened(dump)[0].loads()) == 2


def test_torn_at_any_moment_it_reads_as_before_or_as_a_vmcore(dump: Path, tmp_path: Path) -> None:
    before = dump.read_bytes()
    vmcore.standardise(dump)
    after = dump.read_bytes()
    torn = tmp_path / "torn"
    for length in range(len(before), len(after), 37):  # appended in part, header not yet written
        torn.write_bytes(before + after[len(before) : length])
        assert physical_memory(torn) == {0: memory()}
        vmcore.standardise(torn)  # and it can be standardised again
        assert opened(torn)[1] == opened(dump)[1]
    kept = min(load.offset for load in opened(tmp_path / "vmcore")[0].loads())
    assert after[kept : len(before)] == before[kept:], "only headers may change in place"


@pytest.mark.parametrize("machine", [S390X.elf_machine, X86_64.elf_machine])
def test_program_headers_lie_where_makedumpfile_looks(tmp_path: Path, machine: int) -> None:
    dump = tmp_path / "vmcore"
    dump.write_bytes(qemu_dump(memory(), machine=machine, extra=(INFO_NOTE,)))
    vmcore.standardise(dump)
    headers, notes = opened(dump)
    assert headers.header.segments_at == HEADER_SIZE
    assert notes == [PRSTATUS, INFO_NOTE]
    assert b"".join(physical_memory(dump).values()) == memory()


def test_newer_s390x_kernels_say_where_physical_zero_is_mapped(tmp_path: Path) -> None:
    dump = tmp_path / "vmcore"
    info = INFO + b"IDENTITYBASE=200000000000\nKERNELOFFPHYS=a000\n"
    dump.write_bytes(qemu_dump(memory(Note(vmcore.VMCOREINFO, 0, info))))
    vmcore.standardise(dump)
    loads = opened(dump)[0].loads()
    assert [(load.paddr, load.vaddr) for load in loads] == [
        (0, 0x200000000000),
        (PAGE, 0x200000000000 + PAGE),
    ]


def test_a_guest_that_lies_about_its_addresses_breaks_nothing(tmp_path: Path) -> None:
    dump = tmp_path / "vmcore"
    info = INFO + b"IDENTITYBASE=ffffffffffffffff\n"
    raw = bytearray(qemu_dump(memory(Note(vmcore.VMCOREINFO, 0, info))))
    struct.pack_into(">Q", raw, 192 + SEGMENT_SIZE + 40, 0)  # p_memsz below p_filesz
    dump.write_bytes(raw)
    vmcore.standardise(dump)
    assert [load.vaddr for load in opened(dump)[0].loads()] == [2**64 - 1, PAGE - 1]


def test_x86_64_brings_its_note_along(tmp_path: Path) -> None:
    dump = tmp_path / "vmcore"
    dump.write_bytes(qemu_dump(memory(None), machine=X86_64.elf_machine, extra=(INFO_NOTE,)))
    vmcore.standardise(dump)
    assert opened(dump)[1] == [PRSTATUS, INFO_NOTE]
    dump.write_bytes(qemu_dump(memory(None), machine=X86_64.elf_machine))
    with pytest.raises(BadInput, match="holds no VMCOREINFO"):
        vmcore.standardise(dump)


def test_x86_64_without_the_note_among_its_notes_has_it_in_memory(tmp_path: Path) -> None:
    """Stock kernels have qemu_fw_cfg as a module: until it is loaded QEMU knows of no note."""
    content = bytearray(memory(None))
    note = pack_note(INFO_NOTE, "<")
    content[0x3040 : 0x3040 + len(note)] = note  # a copy, not at the start of a page
    content[0x7000 : 0x7000 + len(note)] = note
    dump = tmp_path / "vmcore"
    dump.write_bytes(qemu_dump(bytes(content), machine=X86_64.elf_machine))
    vmcore.standardise(dump)
    assert opened(dump)[1] == [PRSTATUS, INFO_NOTE]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not an ELF file"),
        (b"#!/bin/sh\n" * 20, "not an ELF file"),
        (qemu_dump(memory(None)), "holds no VMCOREINFO"),
        (qemu_dump(memory(Note(b"GNU", 0, INFO))), "holds no VMCOREINFO"),
        (qemu_dump(memory(Note(vmcore.VMCOREINFO, 0, b"rubbish"))), "holds no VMCOREINFO"),
        (qemu_dump(memory())[:-1], "truncated"),
        (qemu_dump(memory())[:200], "truncated"),
        (qemu_dump(memory(), machine=183), "machine 183"),
    ],
)
def test_what_cannot_be_standardised_is_refused_and_left_alone(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "dump"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=complaint):
        vmcore.standardise(path)
    assert path.read_bytes() == content


def test_a_dump_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="nowhere: cannot be read"):
        vmcore.standardise(tmp_path / "nowhere")


def test_a_lying_note_size_is_not_believed(tmp_path: Path) -> None:
    raw = bytearray(memory())
    struct.pack_into(">I", raw, NOTE_AT + 4, 0xFFFFFFF0)
    path = tmp_path / "dump"
    path.write_bytes(qemu_dump(bytes(raw)))
    with pytest.raises(BadInput, match="holds no VMCOREINFO"):
        vmcore.standardise(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_broken_headers_give_badinput_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(qemu_dump(memory(pages=8)))
    headers = 192 + 2 * SEGMENT_SIZE
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, headers - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "dump"
    path.write_bytes(raw)
    try:
        vmcore.standardise(path)
    except BadInput:
        assert path.read_bytes() == raw
    else:
        opened(path)


def test_more_program_headers_than_a_header_can_count_are_read(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    raw = bytearray(qemu_dump(memory()))
    struct.pack_into(">H", raw, 56, PN_XNUM)  # e_phnum
    struct.pack_into(">I", raw, 64 + 44, 2)  # section header 0, sh_info
    path.write_bytes(raw)
    assert len(opened(path)[0].segments) == 2
    struct.pack_into(">I", raw, 64 + 44, 2**32 - 1)
    path.write_bytes(raw)
    with pytest.raises(BadInput, match="truncated"):
        opened(path)
