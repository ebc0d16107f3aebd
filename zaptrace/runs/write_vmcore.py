"""A proper vmcore of a guest that another program started, or of a dump that QEMU wrote."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from vm.monitor import dump_through
from zaptrace.memory.vmcore import standardise
from zaptrace.model.errors import BadInput
from zaptrace.runs.asyncio_run import run_to_end


def write_vmcore(source: Path, vmcore: Path) -> None:
    """Dump, and make the dump one that plain drgn opens.

    Args:
        source: a QMP unix socket of a running guest, or a QEMU dump (kept as it is).
        vmcore: the file to write (0600).

    Raises:
        BadInput: `source` is neither, or `vmcore` is there already.
        GuestLost: the monitor does not answer.
    """
    if vmcore.exists():
        raise BadInput(f"{vmcore} is there already", f"rm {vmcore}")
    if not source.exists():
        raise BadInput(f"{source}: no such file or socket")
    part = vmcore.with_name(vmcore.name + ".part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        if stat.S_ISSOCK(source.stat().st_mode):
            run_to_end(dump_through(source, part))
        else:
            shutil.copyfile(source, part)
        standardise(part)
        part.rename(vmcore)
    finally:
        part.unlink(missing_ok=True)
