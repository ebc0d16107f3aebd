"""The plan's events, read out of the ftrace ring buffer in a dump."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import drgn
import numpy as np
import numpy.typing as npt
from drgn.helpers.linux.pid import find_task

from zaptrace.ftrace.decoding import Decoder
from zaptrace.ftrace.derived_arguments import join_entry_args
from zaptrace.ftrace.formats import TraceFormat
from zaptrace.ftrace.subbuffers import CpuRing
from zaptrace.memory.event_formats import kprobe_formats
from zaptrace.memory.members import first_member
from zaptrace.memory.open import boot_id, kernel_offset
from zaptrace.memory.pages import byte_order, page_layout
from zaptrace.memory.ringbuffer import read_rings
from zaptrace.model.events import ABSENT, NO_CPU, Events, Kind, Records, blank
from zaptrace.model.kprobe_names import site_names
from zaptrace.model.plan import ProbePlan, ProbeSite


def read_trace(prog: drgn.Program, plan: ProbePlan) -> Events:
    """Read what boot-time kprobes of `plan` recorded (see `probes.boot_kprobes.render`).

    Returns:
        The records by clock, each with its stack if it has one; sites are run-time
        addresses.  Overwritten and dropped records, and kprobes that could not run, are
        LOST records.
        `meta` says, besides what every capture says, `clock` (the trace
        clock's name), `unavailable` (events that this kernel did not set up)
        and `damage` (what could not be read: one sentence each).  A kernel
        that traces nothing gives no records and a sentence in `damage`.

    Raises:
        BadInput: the dump's struct pages cannot be found.
    """
    plan = plan.moved(kernel_offset(prog))
    events = Events(meta=_meta(prog, plan))
    names = site_names(plan)
    try:
        formats = kprobe_formats(prog, names)
        decoder = _decoder(prog, names, formats)
        rings = list(read_rings(prog, _trace_buffer(prog)))
        events.meta["clock"] = _clock(prog)
    except (drgn.FaultError, LookupError, AttributeError) as error:
        events.meta["damage"].append(f"no trace in this kernel's memory: {error}")
        return events
    events.meta["unavailable"] = [name for name in names if name not in formats]
    parts = [_missed(decoder)]
    for ring in rings:
        events.meta["damage"] += ring.damage
        parts += [_lost(ring), decoder.decode(ring)]
    if decoder.short:
        events.meta["damage"].append(f"{decoder.short} records too short for their event")
    events.strings, events.stacks = decoder.strings, decoder.stacks
    events.records = _finished(prog, plan, np.concatenate(parts))
    events.symbols = _symbols(prog, events)
    return events


def _meta(prog: drgn.Program, plan: ProbePlan) -> dict[str, Any]:
    whole = plan.to_json()
    return {
        **{key: whole[key] for key in ("arch", "release", "build_id", "sites")},
        "page_size": prog["PAGE_SIZE"].value_(),
        "source": "ftrace ring buffer of a dump",
        "boot_id": boot_id(prog),
        "clock": None,
        "unavailable": [],
        "damage": [],
    }


def _trace_buffer(prog: drgn.Program) -> drgn.Object:
    trace = prog["global_trace"]
    # "tracing: Make struct ring_buffer less ambiguous" (5.6) renamed it.
    return first_member(trace, "array_buffer", "trace_buffer").buffer.read_()


def _clock(prog: drgn.Program) -> str:
    clock = prog["trace_clocks"][prog["global_trace"].clock_id]
    raw: bytes = clock.name.string_()
    return raw.decode(errors="replace")


def _decoder(
    prog: drgn.Program, names: dict[str, ProbeSite], formats: dict[str, TraceFormat]
) -> Decoder:
    stack = prog.type("struct stack_entry")
    return Decoder(
        order=byte_order(prog),
        sites={form.id: (names[name], form) for name, form in formats.items()},
        pid_at=drgn.offsetof(prog.type("struct trace_entry"), "pid"),
        stack_type=prog.constant("TRACE_STACK").value_(),
        depth_at=drgn.offsetof(stack, "size"),
        stack_at=drgn.offsetof(stack, "caller"),
    )


def _lost(ring: CpuRing) -> Records:
    """Return what this CPU's ring could not keep: one LOST record, in front of what it kept."""
    records = blank(1 if ring.lost else 0)
    records["kind"] = Kind.LOST
    records["cpu"] = ring.cpu
    records["clock"] = ring.stamps[0] if len(ring.stamps) else 0
    records["nr"] = min(ring.lost, 2**32 - 1)
    return records


def _missed(decoder: Decoder) -> Records:
    """Return hits that a kprobe could not take: LOST records without CPU, in front of all."""
    missed = [(site, form.missed) for site, form in decoder.sites.values() if form.missed > 0]
    records = blank(len(missed))
    records["kind"] = Kind.LOST
    records["cpu"] = NO_CPU
    records["clock"] = 0
    records["site"] = [ABSENT if site.address is None else site.address for site, _ in missed]
    records["nr"] = [min(count, 2**32 - 1) for _, count in missed]
    return records


def _finished(prog: drgn.Program, plan: ProbePlan, records: Records) -> Records:
    """Order events by clock, and add what the records do not say themselves."""
    records = records[np.argsort(records["clock"], kind="stable")]
    records["pfn"] = page_layout(prog).pfns(records["page"])
    records["tgid"] = _tgids(prog, records["pid"])
    join_entry_args(records, plan)
    return records


def _symbols(prog: drgn.Program, events: Events) -> dict[int, str]:
    """Return the names of the kernel addresses that the events bring: "function+0x1c"."""
    sites, callers = (set(np.unique(events.records[name]).tolist()) for name in ("site", "caller"))
    named = {}
    for address in {*sites, *callers, *itertools.chain(*events.stacks.values())} - {ABSENT}:
        # A return address may lie past its function's end, where the call does not return.
        inside = address if address in sites else address - 1
        with contextlib.suppress(LookupError):
            symbol = prog.symbol(max(inside, 0))
            named[address] = f"{symbol.name}+{address - symbol.address:#x}"
    return named


def _tgids(prog: drgn.Program, pids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the process ids of threads that still exist in the dump, else -1.  Same shape."""
    distinct, which = np.unique(pids, return_inverse=True)
    tgids = np.full(len(distinct), -1, np.int32)
    for row, pid in enumerate(distinct.tolist()):
        try:
            task = find_task(prog, pid) if pid > 0 else None
            if task:
                tgids[row] = task.tgid.value_()
        except (drgn.FaultError, LookupError):
            continue
    return tgids[which]
