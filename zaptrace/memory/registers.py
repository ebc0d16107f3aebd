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

from zaptrace.memory import elf, vmcore
from zaptrace.model.errors import BadInput

_NT_PRSTATUS = 1
_PR_REG = 112  # offsetof(struct elf_prstatus, pr_reg) on every 64-bit architecture


@dataclass(frozen=True, slots=True)
class _Layout:
    """One architecture's elf_gregset_t.

    Attributes:
        order: register names in pr_reg's order, 8 bytes each.  Names are those
            of kprobe events (regs_query_register_offset) where they have one.
        pc, sp: which of them are the program counter and the stack pointer.
        pt_regs: register name -> member of struct pt_regs.
    """

    order: tuple[str, ...]
    pc: str
    sp: str
    pt_regs: dict[str, str]


_GPRS = tuple(f"r{number}" for number in range(16))
_X86_PT_REGS = (
    *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx"),
    *("si", "di", "orig_ax", "ip", "cs", "flags", "sp", "ss"),
)
_LAYOUTS = {
    # s390_regs (arch/s390/include/uapi/asm/ptrace.h): PSW, then the GPRs.
    elf.EM_S390: _Layout(
        order=("pswmask", "pswaddr", *_GPRS),
        pc="pswaddr",
        sp="r15",
        pt_regs={
            "pswmask": "psw.mask",
            "pswaddr": "psw.addr",
            **{name: f"gprs[{number}]" for number, name in enumerate(_GPRS)},
        },
    ),
    # user_regs_struct (arch/x86/include/asm/user_64.h): struct pt_regs, then the
    # bases and data segments.  Names: regoffset_table (arch/x86/kernel/ptrace.c).
    elf.EM_X86_64: _Layout(
        order=(*_X86_PT_REGS, "fs_base", "gs_base", "ds", "es", "fs", "gs"),
        pc="ip",
        sp="sp",
        pt_regs={name: name for name in _X86_PT_REGS},
    ),
}


@dataclass(frozen=True, slots=True)
class CpuRegisters:
    """One CPU's general registers.

    Attributes:
        cpu: number of the CPU, counted as QEMU does: the order of the notes.
        pc: the instruction that it would have executed next.
        sp: its stack pointer.
        values: register name -> value, names as in kprobe events (`r2`).
        machine: the dump's ELF machine.
    """

    cpu: int
    pc: int
    sp: int
    values: dict[str, int]
    machine: int


def cpu_registers(core: Path) -> list[CpuRegisters]:
    """The registers of every CPU, in CPU order; empty when the dump has no such notes.

    Raises:
        BadInput: not an ELF core dump, truncated, or of an unknown architecture.
        Missing: no such file, or not readable.
    """
    with elf.opened(core) as file:
        headers = elf.read_headers(file, core)
        vmcore.check_core(headers, whole=False)
        notes = elf.read_notes(file, headers)
    layout = _LAYOUTS.get(headers.machine)
    if layout is None:
        raise BadInput(f"{core}: registers of ELF machine {headers.machine} are not known")
    registers = struct.Struct(f"{headers.order}{len(layout.order)}Q")
    found: list[CpuRegisters] = []
    for note in elf.parse_notes(notes, headers.order):
        if note.name != b"CORE" or note.type != _NT_PRSTATUS:
            continue
        if len(note.desc) < _PR_REG + registers.size:
            raise BadInput(f"{core}: the registers of CPU {len(found)} are truncated")
        values = dict(zip(layout.order, registers.unpack_from(note.desc, _PR_REG), strict=True))
        found.append(
            CpuRegisters(len(found), values[layout.pc], values[layout.sp], values, headers.machine)
        )
    return found


def as_pt_regs(prog: drgn.Program, registers: CpuRegisters) -> drgn.Object:
    """The registers as a `struct pt_regs` value, which drgn can unwind from."""
    kind = prog.type("struct pt_regs")
    raw = bytearray(drgn.sizeof(kind))
    order = "<" if prog.platform.flags & drgn.PlatformFlags.IS_LITTLE_ENDIAN else ">"
    for name, member in _LAYOUTS[registers.machine].pt_regs.items():
        struct.pack_into(f"{order}Q", raw, drgn.offsetof(kind, member), registers.values[name])
    return drgn.Object.from_bytes_(prog, kind, bytes(raw))


def known_registers(core: Path) -> list[CpuRegisters] | None:
    """The same, None where the dump does not say: makedumpfile's formats.

    Raises:
        Missing: no such file, or not readable.
    """
    try:
        return cpu_registers(core)
    except BadInput:
        return None
