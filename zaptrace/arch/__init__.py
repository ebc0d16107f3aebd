"""The architectures: one file of plain data each.  Standard library only.

To add one: a file with its row here, an instruction decoder in
`zaptrace.kernel.machinecode`, a kconfig fragment in `vm/kconfig`, and two functions
in the audit, which read through drgn what no table can hold.
"""

from __future__ import annotations

from zaptrace.arch.arch import Arch, Byteorder, Variable, VectorTable
from zaptrace.arch.s390x import S390X
from zaptrace.arch.x86_64 import X86_64
from zaptrace.model.errors import BadInput

ARCHES = {arch.name: arch for arch in (S390X, X86_64)}
"""Name -> row."""
NAMES = " or ".join(ARCHES)
"""For help texts and errors."""

__all__ = [
    "ARCHES",
    "NAMES",
    "Arch",
    "Byteorder",
    "Variable",
    "VectorTable",
    "arch_named",
    "arch_of_elf",
]


def arch_named(name: str) -> Arch:
    """Return the row of an architecture.

    Raises:
        BadInput: zaptrace does not know it.
    """
    found = ARCHES.get(name)
    if found is None:
        raise BadInput(f"zaptrace does not know the architecture {name!r}", f"use {NAMES}")
    return found


def arch_of_elf(
    what: object, machine: int, byteorder: Byteorder, bits: int = 64, hint: str | None = None
) -> Arch:
    """Return the row of an ELF file's architecture.

    Args:
        what: the file, for the error's sentence.
        machine: its e_machine.
        bits: 32 or 64, of its class.
        hint: what to do about it.

    Raises:
        BadInput: zaptrace does not know it.
    """
    for arch in ARCHES.values():
        if (arch.elf_machine, arch.byteorder, 64) == (machine, byteorder, bits):
            return arch
    raise BadInput(
        f"{what} is for ELF machine {machine} ({bits} bits, {byteorder}-endian); "
        f"zaptrace knows {' and '.join(ARCHES)}",
        hint,
    )
