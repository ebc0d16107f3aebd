"""A vmlinux alone, for names and source lines where a run has no dump."""

from __future__ import annotations

from pathlib import Path

import drgn

from zaptrace.elf.core import opened, read_headers
from zaptrace.kernel import build_id
from zaptrace.model.errors import BadInput

_END = 2**64 - 1


def open_vmlinux(vmlinux: Path, wanted: str | None = None, offset: int = 0) -> drgn.Program:
    """Return symbols and debug info at the addresses where the kernel ran; no memory.

    Args:
        vmlinux: with DWARF.
        wanted: the build ID it must have; None takes any.
        offset: how far above its link-time addresses it ran, in bytes modulo 2**64.

    Raises:
        BadInput: it is another build's, no kernel, or has no debug info.
        Missing: it does not exist or cannot be read.
    """
    with opened(vmlinux) as file:
        loads = read_headers(file, vmlinux).loads()
    if not loads:
        raise BadInput(f"{vmlinux}: nothing in it is loaded: not a vmlinux")
    has = build_id(vmlinux) if wanted else None
    if has != wanted:
        raise BadInput(f"{vmlinux} has build ID {has}, the run's kernel has {wanted}")
    prog = drgn.Program()
    prog.set_enabled_debug_info_finders([])
    module = prog.extra_module("vmlinux", create=True)
    # drgn takes the first segment's page for where the file begins: the bias is the offset.
    linked = loads[0].vaddr & -max(loads[0].align, 1)
    module.address_ranges = [((linked + offset) % 2**64, _END)]
    try:
        module.try_file(str(vmlinux), force=True)
    except Exception as error:  # drgn raises bare Exception for libdw's complaints
        raise BadInput(f"{vmlinux}: debug info cannot be read: {error}") from error
    biased = module.debug_file_status == drgn.ModuleFileStatus.HAVE
    if not biased or (module.debug_file_bias or 0) % 2**64 != offset % 2**64:
        raise BadInput(f"{vmlinux}: has no debug info that can be used")
    return prog
