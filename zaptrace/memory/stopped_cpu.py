"""The event at which a guest was stopped: read from a CPU's registers.

A breakpoint at a function's first instruction stops the guest before a kprobe
at the same address has fired.  The event is still whole: its arguments lie in
the stopped CPU's registers, where the probe plan says.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import drgn
import numpy as np
from drgn.helpers.linux.sched import cpu_curr

from zaptrace.memory.open import kernel_offset
from zaptrace.memory.pages import page_layout
from zaptrace.memory.registers import CpuRegisters, cpu_registers
from zaptrace.memory.stopped_stack import stack_of
from zaptrace.model.events import EVENT, Events, Kind, Origin, blank
from zaptrace.model.plan import ProbeArg, ProbePlan, ProbeSite

LONGEST_STRING = 256
_DEREFERENCE = re.compile(r"([+-]\d+)\((.+)\)")
_SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "x8": 1, "x16": 2, "x32": 4, "x64": 8}
_SIZES |= {"s8": 1, "s16": 2, "s32": 4, "s64": 8}


def stop_events(prog: drgn.Program, core: Path, plan: ProbePlan) -> Events:
    """Return one Origin.REGISTERS record for each CPU that stands at a probe site.

    Args:
        prog: the opened dump.
        core: its file, for the registers that drgn does not use.

    Raises:
        BadInput: the dump's register notes are damaged.
    """
    events = Events()
    here = plan.moved(kernel_offset(prog))
    sites = {site.address: site for site in here.sites if site.offset == 0 and not site.inlined}
    found = [
        _record(prog, registers, sites[registers.pc], events)
        for registers in cpu_registers(core)
        if registers.pc in sites
    ]
    if found:
        events.records = blank(len(found))
        for row, fields in zip(events.records, found, strict=True):
            for name, value in fields.items():
                row[name] = value if isinstance(value, bytes) else _wrapped(value, EVENT[name])
        events.records["pfn"] = page_layout(prog).pfns(events.records["page"])
    return events


def _record(
    prog: drgn.Program, registers: CpuRegisters, site: ProbeSite, events: Events
) -> dict[str, int | bytes]:
    """Return the fields of one record; strings and stacks go into `events`."""
    kind = Kind[site.event.upper()]
    fields: dict[str, int | bytes] = {"kind": kind, "site": registers.pc, "cpu": registers.cpu}
    fields["origin"] = Origin.REGISTERS
    for name, arg in site.args.items():
        value = _fetch(prog, arg, registers)
        if value is None or name not in (EVENT.names or ()):
            continue
        if isinstance(value, bytes):
            number = len(events.strings) + 1
            events.strings[number] = value.decode(errors="replace")
            value = number
        fields[name] = value
    stack = stack_of(prog, registers)
    if stack:
        events.stacks[len(events.stacks) + 1] = stack
        fields["stack"] = len(events.stacks)
        fields["caller"] = stack[0]
    return fields | _task(prog, registers.cpu)


def _wrapped(value: int, kind: np.dtype[Any]) -> np.generic:
    """Return what fits of a register, as C would assign it: the guest says what it likes."""
    wrapped: np.generic = np.uint64(value % 2**64).astype(kind)
    return wrapped


def _task(prog: drgn.Program, cpu: int) -> dict[str, int | bytes]:
    """Return the task that runs on the CPU."""
    try:
        task = cpu_curr(prog, cpu).read_()
        fields: dict[str, int | bytes] = {
            "pid": task.pid.value_(),
            "tgid": task.tgid.value_(),
            "comm": task.comm.string_(),
        }
    except (drgn.FaultError, LookupError):
        return {}
    return fields


def _fetch(prog: drgn.Program, arg: ProbeArg, registers: CpuRegisters) -> int | bytes | None:
    """Evaluate an ftrace fetch argument; None when it cannot be obtained here."""
    if arg.location is None or arg.at_entry:
        return None
    try:
        if arg.type == "string":
            address = _address(prog, arg.location, registers)
            text: bytes = prog.read_c_string(address, max_size=LONGEST_STRING)
            return text
        size = _SIZES.get(arg.type or "")
        if size is None:
            return None
        value = _value(prog, arg.location, registers, size) + arg.addend
    except (drgn.FaultError, KeyError, ValueError):
        return None
    signed = (arg.type or "").startswith("s")
    value &= (1 << 8 * size) - 1
    return value - (1 << 8 * size) if signed and value >> (8 * size - 1) else value


def _value(prog: drgn.Program, location: str, registers: CpuRegisters, size: int) -> int:
    if location.startswith("%"):
        return registers.values[location[1:]]
    raw = prog.read(_address(prog, location, registers), size)
    little = prog.platform.flags & drgn.PlatformFlags.IS_LITTLE_ENDIAN
    return int.from_bytes(raw, "little" if little else "big")


def _address(prog: drgn.Program, location: str, registers: CpuRegisters) -> int:
    """Return what `+off(INNER)` points at."""
    found = _DEREFERENCE.fullmatch(location)
    if found is None:
        raise ValueError(f"not a fetch argument that reads memory: {location}")
    return int(found[1]) + _value(prog, found[2], registers, 8)
