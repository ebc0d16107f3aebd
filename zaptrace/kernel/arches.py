"""What differs between architectures when arguments are looked for: one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from zaptrace.kernel.machinecode import s390x, x86_64
from zaptrace.kernel.machinecode.instruction import Instruction

Byteorder = Literal["big", "little"]


@dataclass(frozen=True, slots=True)
class Arch:
    """One architecture's registers and calling convention.

    Attributes:
        name: as in ProbePlan.arch.
        machine: e_machine of its ELF files.
        byteorder: of kernel and ELF file.
        registers: DWARF register number -> name that ftrace knows
            (regs_query_register_offset() of arch/*/kernel/ptrace.c).
        arguments: ftrace names of the registers that carry integer arguments.
        caller: fetch argument for the return address at a function's first
            instruction.
        pmd_size: bytes that one PMD entry maps (include/linux/pgtable.h).
        vector: names of the exception handler that the CPUs' own table leads to once the kernel
            has set it up, newest first.
        instruction_at: reads the instruction at an index of some code; None when it
            is cut off, or not one that we know.
    """

    name: str
    machine: int
    byteorder: Byteorder
    registers: tuple[str, ...]
    arguments: tuple[str, ...]
    caller: str
    pmd_size: int
    vector: tuple[str, ...]
    instruction_at: Callable[[bytes, int], Instruction | None]


ARCHES = (
    # ELF Application Binary Interface s390x Supplement: r2-r6 carry arguments,
    # r14 the return address; DWARF numbers 0-15 are r0-r15, then come the
    # floating-point registers, which kernel code does not use.
    Arch(
        name="s390x",
        machine=22,
        byteorder="big",
        registers=tuple(f"r{number}" for number in range(16)),
        arguments=("r2", "r3", "r4", "r5", "r6"),
        caller="%r14",
        pmd_size=1 << 20,
        # setup_lowcore() in arch/s390/kernel/setup.c: program_new_psw.
        vector=("pgm_check_handler",),
        instruction_at=s390x.instruction_at,
    ),
    # System V ABI, AMD64 supplement, figures 3.4 (arguments) and 3.36 (DWARF numbers).
    Arch(
        name="x86_64",
        machine=62,
        byteorder="little",
        registers=(
            *("ax", "dx", "cx", "bx", "si", "di", "bp", "sp"),
            *(f"r{number}" for number in range(8, 16)),
        ),
        arguments=("di", "si", "dx", "cx", "r8", "r9"),
        caller="+0(%sp)",
        pmd_size=1 << 21,
        # "x86/entry: Convert page fault exception to IDTENTRY_RAW" (5.8) renamed it.
        vector=("asm_exc_page_fault", "page_fault"),
        instruction_at=x86_64.instruction_at,
    ),
)


def arch_of(machine: int, byteorder: Byteorder) -> Arch | None:
    """The architecture of an ELF file, or None when it is not one of ours."""
    for arch in ARCHES:
        if (arch.machine, arch.byteorder) == (machine, byteorder):
            return arch
    return None
