"""Registers out of NT_PRSTATUS notes, laid out by hand after asm/ptrace.h and asm/user_64.h."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from zaptrace.arch.s390x import S390X
from zaptrace.arch.x86_64 import X86_64
from zaptrace.elf.core import ET_CORE, PT_LOAD, PT_NOTE, SEGMENT_SIZE, Segment, pack_segments
from zaptrace.elf.header import HEADER_SIZE
from zaptrace.elf.notes import Note, pack_note
from zaptrace.memory.registers import cpu_registers
from zaptrace.model.errors import BadInput


def core(path: Path, *notes: Note, machine: int = S390X.elf_machine) -> Path:
    order = ">" if machine == S390X.elf_machine else "<"
    raw = b"".join(pack_note(note, order) for note in notes)
    at = HEADER_SIZE + 2 * SEGMENT_SIZE
    segments = [
        Segment(PT_NOTE, 0, at, 0, 0, len(raw), len(raw), 4),
        Segment(PT_LOAD, 0, at + len(raw), 0, 0, 8, 8, 0),
    ]
    ident = b"\x7fELF" + bytes([2, 2 if order == ">" else 1, 1]) + bytes(9)
    fields = (ET_CORE, machine, 1, 0, HEADER_SIZE, 0, 0, 64, 56, 2, 0, 0, 0)
    header = struct.pack(order + "16sHHIQQQIHHHHHH", ident, *fields)
    path.write_bytes(header + pack_segments(segments, order) + raw + bytes(8))
    return path


def prstatus(pid: int, pswaddr: int, first: int) -> Note:
    """struct elf_prstatus of s390x: pid at 32, then at 112 the PSW and r0 ... r15."""
    desc = bytearray(336)
    struct.pack_into(">I", desc, 32, pid)
    struct.pack_into(">18Q", desc, 112, 0x0704C00180000000, pswaddr, *range(first, first + 16))
    return Note(b"CORE", 1, bytes(desc))


def test_every_cpu_in_the_order_of_the_notes(tmp_path: Path) -> None:
    other = Note(b"LINUX", 1, bytes(336))  # the same number in another name space
    path = core(tmp_path / "core", prstatus(1, 0x1000, 100), other, prstatus(2, 0x2000, 200))
    first, second = cpu_registers(path)
    assert (first.cpu, first.pc, first.sp) == (0, 0x1000, 115)
    assert (second.cpu, second.pc, second.sp) == (1, 0x2000, 215)
    assert second.values["r2"] == 202
    assert second.values["pswmask"] == 0x0704C00180000000


def test_x86_64s_registers_bear_the_names_of_kprobe_events(tmp_path: Path) -> None:
    desc = bytearray(336)
    values = dict.fromkeys(range(27), 0)  # user_regs_struct: 27 words
    values |= {14: 0xFFFFEA0000001000, 13: 0xFFFFFFFF82000000}  # di: page, si: reason
    values |= {16: 0xFFFFFFFF81234560, 19: 0xFFFFC90000004000}  # ip, sp
    struct.pack_into("<27Q", desc, 112, *values.values())
    path = core(tmp_path / "core", Note(b"CORE", 1, bytes(desc)), machine=X86_64.elf_machine)
    (registers,) = cpu_registers(path)
    assert (registers.pc, registers.sp) == (0xFFFFFFFF81234560, 0xFFFFC90000004000)
    assert registers.values["di"] == 0xFFFFEA0000001000
    assert registers.values["si"] == 0xFFFFFFFF82000000


def test_a_core_without_registers_has_none(tmp_path: Path) -> None:
    assert cpu_registers(core(tmp_path / "core")) == []


def test_damaged_notes_and_strange_machines_are_refused(tmp_path: Path) -> None:
    short = Note(b"CORE", 1, bytes(200))
    with pytest.raises(BadInput, match="registers of CPU 0 are truncated"):
        cpu_registers(core(tmp_path / "core", short))
    with pytest.raises(BadInput, match="machine 183"):
        cpu_registers(core(tmp_path / "core", prstatus(1, 0, 0), machine=183))
