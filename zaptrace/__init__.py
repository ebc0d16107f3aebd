"""zaptrace: who freed my mapped page?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zaptrace.report.frames import Frames, VmcoreFrames

__all__ = ["open_run", "open_vmcore"]


def open_run(path: str | os.PathLike[str]) -> Frames:
    """Open a run folder, or a capture alone, as pandas DataFrames.

    Returns:
        An object with `.events`, `.pages` and `.findings` (see Frames); each is
        made when it is asked for.

    Raises:
        BadInput: it is neither, or damaged.
        Missing: no such file; or, when a frame is asked for, no pandas.
    """
    # Guests and every command import this package: what this needs is imported here.
    from pathlib import Path

    from zaptrace.capture.reader import read
    from zaptrace.model.events import Events
    from zaptrace.report.frames import Frames
    from zaptrace.runs.folder import RunFolder

    given = Path(path)
    if not given.is_dir():
        return Frames(read(given))
    run = RunFolder.open(given)
    return Frames(read(run.capture) if run.capture.is_file() else Events(), run.audit())


def open_vmcore(core: str | os.PathLike[str], vmlinux: str | os.PathLike[str]) -> VmcoreFrames:
    """Audit a crash dump, as `zaptrace inspect` does, for pandas DataFrames.

    Args:
        core: an ELF or kdump-compressed vmcore.
        vmlinux: the same build's vmlinux, with DWARF.

    Returns:
        An object with `.findings`, `.pages` and `.ptes` (see VmcoreFrames); each is
        made when it is asked for.

    Raises:
        BadInput: `core` is no vmcore, `vmlinux` is another build's or without debug info, or
            the kernel's memory management cannot be read.
        Missing: no such file; or, when a frame is asked for, no pandas.
    """
    import time
    from pathlib import Path

    from zaptrace.audit.columns import page_columns, pte_columns
    from zaptrace.audit.judged import judged
    from zaptrace.audit.run import result_of
    from zaptrace.memory import opening
    from zaptrace.memory.registers import known_registers
    from zaptrace.report.frames import VmcoreFrames

    prog = opening.open_vmcore(Path(core), Path(vmlinux), whole=False)
    started = time.perf_counter()
    found = judged(prog, known_registers(Path(core)))
    audit = result_of(found, time.perf_counter() - started)
    return VmcoreFrames(audit, page_columns(found.ledger), pte_columns(found))
