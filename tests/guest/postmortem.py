"""What a guest that no longer answers was doing: its console's end, and its kernel's stacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import drgn
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_state_to_char

from zaptrace.memory.open import open_program
from zaptrace.memory.registers import as_pt_regs, cpu_registers
from zaptrace.memory.vmcore import standardise
from zaptrace.model.errors import ZaptraceError

_CONSOLE_LINES = 15
_MOST_TASKS = 40


def told(vmcore: Path, vmlinux: Path, console: Path) -> str:
    """A text for a test's failure, out of a dump as QEMU wrote it."""
    lines = ["its console's end:", *console.read_text(errors="replace").splitlines()]
    lines = [lines[0], *lines[1:][-_CONSOLE_LINES:]]
    try:
        standardise(vmcore)
        lines += _stacks(vmcore, vmlinux)
    except (ZaptraceError, drgn.FaultError, LookupError, OSError) as error:
        lines.append(f"its dump cannot be read: {error}")
    return "\n".join(lines)


def _stacks(vmcore: Path, vmlinux: Path) -> Iterator[str]:
    prog = open_program(vmcore, vmlinux)
    for registers in cpu_registers(vmcore):
        yield f"CPU {registers.cpu} at {registers.pc:#x}:"
        yield _trace(prog, as_pt_regs(prog, registers))
    shown = 0
    for task in for_each_task(prog):
        state = task_state_to_char(task)
        if (state in "SI" and task.mm.value_() == 0) or shown == _MOST_TASKS:
            continue
        shown += 1
        yield f"{task.comm.string_().decode(errors='replace')}/{task.pid.value_()} {state}:"
        yield _trace(prog, task)


def _trace(prog: drgn.Program, of: drgn.Object) -> str:
    try:
        return str(prog.stack_trace(of))
    except (ValueError, drgn.FaultError, LookupError) as error:
        return f"  no stack: {error}"
