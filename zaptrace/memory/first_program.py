"""Where a kernel is about to run its first program, and what makes such guests differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import drgn

from zaptrace.memory.vmlinux import open_vmlinux
from zaptrace.model.errors import BadInput

_EXEC = ("kernel_execve", "do_execve")
"""What runs a program on the kernel's own behalf.  kernel_execve() since Linux kernel commit
be619f7f063a ("exec: Implement kernel_execve") (in v5.9); before that, do_execve()."""
_RANDOM, _KEY, _GENERATION = "base_crng", "key", "generation"
"""What all CPUs' random numbers come from, since Linux kernel commit 186873c549df ("random: use
simpler fast key erasure flow on per-cpu keys") (in v5.18)."""


@dataclass(frozen=True, slots=True)
class FirstProgram:
    """Addresses in a kernel; None for what it does not have.

    Attributes:
        begin: the function that runs a program for the kernel itself.
        delay: `__udelay()`: waits some microseconds without sleeping.
        never: a function that no healthy kernel enters.
        command_line: the pointer to the command line that is kept.
        random_key, random_generation: the key that each CPU's random numbers begin with (32
            bytes), and the number by which a CPU sees that it is another one (8 bytes).
    """

    begin: int
    delay: int | None
    never: int
    command_line: int
    random_key: int | None
    random_generation: int | None


def first_program(vmlinux: Path, offset: int = 0) -> FirstProgram:
    """Look the addresses up.

    Args:
        offset: how far above its link-time addresses the kernel runs.

    Raises:
        BadInput: it has no debug info, or none of the functions.
    """
    prog = open_vmlinux(vmlinux, offset=offset)
    begin = next((found for name in _EXEC if (found := _code(prog, name))), None)
    never, line = _code(prog, "panic"), _address(prog, "saved_command_line")
    if begin is None or never is None or line is None:
        raise BadInput(f"{vmlinux} does not say where the kernel runs its first program")
    key, generation = (_address(prog, _RANDOM, one) for one in (_KEY, _GENERATION))
    if key is None or generation is None:
        key = generation = None
    return FirstProgram(begin, _code(prog, "__udelay"), never, line, key, generation)


def _code(prog: drgn.Program, name: str) -> int | None:
    try:
        return int(prog.symbol(name).address)
    except LookupError:
        return None


def _address(prog: drgn.Program, name: str, *members: str) -> int | None:
    try:
        found = prog[name]
        for member in members:
            found = found.member_(member)
    except (LookupError, TypeError):
        return None
    address: int | None = found.address_
    return address
