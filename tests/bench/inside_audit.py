"""One audit in a process of its own: `python inside_audit.py VMCORE VMLINUX`, JSON on stdout.

Seconds by the clock, less those that other processes had the CPU; bytes.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import drgn

from zaptrace.audit import audit
from zaptrace.audit.state import read_state
from zaptrace.memory.open import open_program
from zaptrace.memory.pages import page_layout

_PIECE = 1 << 20
_TABLE = 4096
ROUNDS = 3


def main() -> None:
    """Audit, then read the same bytes and do nothing with them; from the disk each time."""
    vmcore, vmlinux = map(Path, sys.argv[1:3])
    prog = open_program(vmcore, vmlinux)
    opened = _peak()
    read_state(prog, None)  # what drgn keeps of the debug info is no part of an audit's time
    cold = min(_seconds(lambda: audit(prog).result(), vmcore) for _ in range(ROUNDS))
    warm = min(_seconds(lambda: audit(prog).result()) for _ in range(ROUNDS))
    state = read_state(prog, None)
    tables = state.walked.locks.table.tolist()
    pages = len(state.pages) * state.pages.layout.struct_size
    read_cold = min(_seconds(lambda: _read(prog, tables), vmcore) for _ in range(ROUNDS))
    read_warm = min(_seconds(lambda: _read(prog, tables)) for _ in range(ROUNDS))
    print(
        json.dumps(
            {
                "cold": cold,
                "warm": warm,
                "read_cold": read_cold,
                "read_warm": read_warm,
                "bytes": pages + len(tables) * _TABLE,
                "opened": opened,
                "peak": _peak(),
                "ptes": int(state.counted.sum()),
                "findings": len(audit(prog).result().findings),
            }
        )
    )


def _read(prog: drgn.Program, tables: list[int]) -> None:
    layout = page_layout(prog)
    for span in layout.valid:
        start, size = layout.address(span.start), len(span) * layout.struct_size
        for offset in range(0, size, _PIECE):
            prog.read(start + offset, min(_PIECE, size - offset))
    for table in tables:
        prog.read(table, _TABLE, physical=True)


def _seconds(work: Callable[[], object], forgotten: Path | None = None) -> float:
    if forgotten is not None:
        _forget(forgotten)
    started = time.perf_counter() - _kept_waiting()
    work()
    return time.perf_counter() - _kept_waiting() - started


def _kept_waiting() -> float:
    """Seconds that this process was ready to run and others had the CPU."""
    told = Path("/proc/thread-self/schedstat").read_text().split()
    return int(told[1]) / 1e9


def _peak() -> int:
    """The most memory that this process ever had."""
    told = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert told is not None
    return int(told[1]) << 10


def _forget(path: Path) -> None:
    """Drop the file from the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
