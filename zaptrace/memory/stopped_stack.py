"""Stacks of CPUs that were stopped from outside."""

from __future__ import annotations

import drgn

from zaptrace.memory.registers import CpuRegisters, as_pt_regs


def stack_of(prog: drgn.Program, registers: CpuRegisters) -> tuple[int, ...]:
    """Return addresses of a stopped CPU's kernel stack, innermost first.

    drgn unwinds by DWARF CFI, and by s390x's back chain where there is no CFI.
    The program counter itself is not among them.  Ends where user space begins;
    empty when the CPU was in user space or the stack cannot be read.
    """
    try:
        frames = list(prog.stack_trace(as_pt_regs(prog, registers)))
    except (drgn.FaultError, LookupError):
        return ()
    addresses: list[int] = []
    for frame in frames:
        if frame.is_inline:  # shares its caller's address
            continue
        if frame.pc == 0 or (frame.interrupted and not _is_kernel_text(prog, frame.pc)):
            break
        addresses.append(frame.pc)
    # After x86_64's entry code there is nothing to unwind by, and drgn guesses once more.
    while len(addresses) > 1 and not _is_kernel_text(prog, addresses[-1]):
        addresses.pop()
    return tuple(addresses[1:])


def _is_kernel_text(prog: drgn.Program, address: int) -> bool:
    try:
        prog.symbol(address)
    except LookupError:
        return False
    return True
