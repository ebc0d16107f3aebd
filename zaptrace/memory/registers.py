"""The registers that each CPU had when the guest was dumped.

From the NT_PRSTATUS notes that QEMU writes, one per CPU, in CPU order.  drgn
does not use them: it looks for the notes that a crashing kernel stores in its
own memory (crash_notes), and a guest that was stopped from outside has none.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import drgn

from zaptrace.arch import Arch
from zaptrace.elf.core import arch_of, opened, read_headers, read_notes
from zaptrace.elf.notes import parse_notes
from zaptrace.memory import vmcore
from zaptrace.model.errors import BadInput

_NT_PRSTATUS = 1
_PR_REG = 112  # offsetof(struct elf_prstatus, pr_reg) on every 64-bit architecture


@dataclass(frozen=True, slots=True)
class CpuRegisters:
    """One CPU's general registers.

    Attributes:
        cpu: number of the CPU, counted as QEMU does: the order of the notes.
        pc: the instruction that it would have executed next.
        sp: its stack pointer.
        values: register name -> value, names as in kprobe events (`r2`).
        arch: the dump's.
    """

    cpu: int
    pc: int
    sp: int
    values: dict[str, int]
    arch: Arch

    @property
    def in_user_space(self) -> bool:
        """Whether it was between two instructions of a program."""
        name, bits, wanted = self.arch.user_mode
        return self.values[name] & bits == wanted


def cpu_registers(core: Path) -> list[CpuRegisters]:
    """Return the registers of every CPU, in CPU order; empty when the dump has no such notes.

    Raises:
        BadInput: not an ELF core dump, truncated, or of an unknown architecture.
        Missing: no such file, or not readable.
    """
    with opened(core) as file:
        headers = read_headers(file, core)
        vmcore.check_core(headers, whole=False)
        notes = read_notes(file, headers)
    arch = arch_of(headers)
    registers = struct.Struct(f"{headers.order}{len(arch.prstatus)}Q")
    found: list[CpuRegisters] = []
    for note in parse_notes(notes, headers.order):
        if note.name != b"CORE" or note.type != _NT_PRSTATUS:
            continue
        if len(note.desc) < _PR_REG + registers.size:
            raise BadInput(f"{core}: the registers of CPU {len(found)} are truncated")
        values = dict(zip(arch.prstatus, registers.unpack_from(note.desc, _PR_REG), strict=True))
        found.append(
            CpuRegisters(
                cpu=len(found),
                pc=values[arch.program_counter],
                sp=values[arch.stack_pointer],
                values=values,
                arch=arch,
            )
        )
    return found


def as_pt_regs(prog: drgn.Program, registers: CpuRegisters) -> drgn.Object:
    """Return the registers as a `struct pt_regs` value, which drgn can unwind from."""
    kind = prog.type("struct pt_regs")
    raw = bytearray(drgn.sizeof(kind))
    for name, member in registers.arch.pt_regs_members.items():
        struct.pack_into(
            f"{registers.arch.order}Q", raw, drgn.offsetof(kind, member), registers.values[name]
        )
    return drgn.Object.from_bytes_(prog, kind, bytes(raw))


def known_registers(core: Path) -> list[CpuRegisters] | None:
    """Return the same, None where the dump does not say: makedumpfile's formats.

    Raises:
        Missing: no such file, or not readable.
    """
    try:
        return cpu_registers(core)
    except BadInput:
        return None
