"""Who freed my mapped page?  zaptrace's results as Python objects.

    import zaptrace

    run = zaptrace.open_run("RUN")           # a run folder, or a capture alone
    run.verdict["verdict"]["summary"]        # what `zaptrace explain --json` prints
    run.events                               # pandas: one row an event
    run.pages                                # one row a page
    run.findings                             # one row a finding of the audit
    run.splats                               # the kernel's own reports
    run.story(0xb12)                         # the events of one page
    run.life(0xb12)                          # every store to its struct page

    dump = zaptrace.open_vmcore("vmcore", "vmlinux")
    dump.findings, dump.pages, dump.ptes

Every frame is made on first use.  A caller may catch ZaptraceError, or one of its
kinds: BadInput (a file cannot be used), Missing (something that this machine lacks) and
CannotTell (no answer).  `str(error)` says what is wrong and where, `error.hint` the command
that fixes it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from zaptrace.model.errors import BadInput, CannotTell, Missing, ZaptraceError

if TYPE_CHECKING:
    from zaptrace.report.dataframes import Run, Vmcore

__version__ = "0.1.0"
__all__ = [
    "BadInput",
    "CannotTell",
    "Missing",
    "Run",
    "Vmcore",
    "ZaptraceError",
    "__version__",
    "open_run",
    "open_vmcore",
]


def __getattr__(name: str) -> Any:
    """Import Run and Vmcore on first use: guests and every command import this."""
    if name in ("Run", "Vmcore"):
        from zaptrace.report import dataframes

        return getattr(dataframes, name)
    raise AttributeError(f"module 'zaptrace' has no attribute {name!r}")


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a run folder, or a capture alone.

    Raises:
        BadInput: it is neither, or damaged.
        Missing: no such file; or, on first use of a frame, no pandas.
    """
    from pathlib import Path

    from zaptrace.capture.reader import read
    from zaptrace.model.events import Events
    from zaptrace.report.dataframes import Run
    from zaptrace.runs.folder import RunFolder
    from zaptrace.runs.run_life import open_life
    from zaptrace.splat import parse_console

    given = Path(path)
    if not given.is_dir():
        return Run(read(given), name=str(given))
    folder = RunFolder.open(given)
    return Run(
        read(folder.capture) if folder.capture.is_file() else Events(),
        folder.audit(),
        folder.verdict(),
        tuple(parse_console(folder.console.read_bytes())) if folder.console.is_file() else (),
        str(given),
        lambda pfn: open_life(folder).page(pfn),
    )


def open_vmcore(core: str | os.PathLike[str], vmlinux: str | os.PathLike[str]) -> Vmcore:
    """Audit a crash dump, as `zaptrace inspect` does.

    Args:
        core: an ELF or kdump-compressed vmcore.
        vmlinux: the same build's vmlinux, with DWARF.

    Raises:
        BadInput: `core` is not a vmcore, `vmlinux` belongs to another build or has no debug info,
            or the kernel's memory management cannot be read.
        Missing: no such file; or, on first use of a frame, no pandas.
    """
    from pathlib import Path

    from zaptrace.audit import audit
    from zaptrace.memory.open import open_program
    from zaptrace.memory.registers import known_registers
    from zaptrace.report.dataframes import Vmcore

    prog = open_program(Path(core), Path(vmlinux), whole=False)
    found = audit(prog, cpus=known_registers(Path(core)))
    return Vmcore(found.result(), found.page_columns(), found.pte_columns(), str(core))
