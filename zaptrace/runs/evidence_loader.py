"""A run's evidence, read from its files; what is not there yet is made from what is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import drgn

from zaptrace.audit import audit
from zaptrace.capture.reader import read as read_capture
from zaptrace.capture.writer import write as write_capture
from zaptrace.memory.ftrace_events import read_trace
from zaptrace.memory.open import boot_id, open_program, vmcoreinfo_of
from zaptrace.memory.registers import cpu_registers
from zaptrace.memory.resolve import code_site
from zaptrace.memory.stopped_cpu import stop_events
from zaptrace.memory.vmcore import standardise
from zaptrace.model.errors import BadInput, ZaptraceError
from zaptrace.model.events import Events
from zaptrace.model.findings import AuditResult
from zaptrace.model.plan import ProbePlan
from zaptrace.model.progress import Listener, step
from zaptrace.model.verdict import CodeSite
from zaptrace.runs import merge_events
from zaptrace.runs.dump_identity import Identity
from zaptrace.runs.folder import RunFacts, RunFolder


def open_dump(
    folder: RunFolder, facts: RunFacts, listener: Listener
) -> tuple[drgn.Program | None, tuple[str, ...]]:
    """The dump, opened, and why not where there is one: a sentence each.

    Raises:
        BadInput: it is damaged, or of another build than the run's vmlinux.
    """
    vmlinux = Path(facts.vmlinux)
    if not folder.vmcore.exists():
        return None, ()
    if not vmlinux.exists():
        return None, (f"The dump was not opened: {vmlinux} is gone.",)
    with step("open", "Open the vmcore", listener, facts.timing):
        if facts.ended is not None:
            return open_program(folder.vmcore, vmlinux), ()
        try:  # the run was cut short, maybe in the middle of its dump
            standardise(folder.vmcore)
            return open_program(folder.vmcore, vmlinux), ()
        except BadInput as error:
            return None, (f"The run was cut short, and its dump is of no use: {error}.",)


def load_events(
    folder: RunFolder, prog: drgn.Program | None, facts: RunFacts, listener: Listener
) -> Events | None:
    """The capture; out of the dump's ring buffer when it is not yet on disk."""
    if folder.capture.exists():
        return read_capture(folder.capture)
    plan = folder.plan()
    if prog is None or plan is None:
        return None
    with step("events", "Read the events out of the dump", listener, facts.timing) as current:
        stop = stop_events(prog, folder.vmcore, plan)
        _name(prog, stop)
        later = _later(folder, facts, plan)
        events = merge_events.whole(read_trace(prog, plan), stop, later)
        events.meta["records"] = len(events.records)  # a file that was cut between frames tells
        write_capture(folder.capture, events)
        folder.later.unlink(missing_ok=True)
        current.note = f"{len(events.records)} events, {events.lost} lost"
    return events


def _name(prog: drgn.Program, events: Events) -> None:
    """Name the addresses of the stacks: a capture may be read where there is no vmlinux."""
    for address in {address for stack in events.stacks.values() for address in stack}:
        site = code_site(prog, address)
        if site.symbol is not None:
            events.symbols[address] = f"{site.symbol}+{site.offset or 0:#x}"


def _later(folder: RunFolder, facts: RunFacts, plan: ProbePlan) -> Events | None:
    """What the ring buffer held when the guest had run on; None when nobody looked then."""
    if not folder.later.exists():
        return None
    try:
        standardise(folder.later)
        later = read_trace(open_program(folder.later, Path(facts.vmlinux)), plan)
    except ZaptraceError:
        return None  # a torn dump, or a guest that has wrecked itself since
    # In the capture, for what is read out of the stop's dump alone has not seen it.
    later.meta["after"] = facts.after
    return later


def load_audit(
    folder: RunFolder, prog: drgn.Program | None, facts: RunFacts, listener: Listener
) -> AuditResult | None:
    """The audit; of the dump when it is not yet on disk, or is of another dump."""
    found = folder.audit()
    if prog is None:
        return found if _may_be_of(folder) else None
    dump = identity(prog, folder.vmcore)
    if found is not None and folder.audited() == dump:
        return found
    title = "Audit every page table against every counter"
    with step("audit", title, listener, facts.timing) as current:
        found = audit(prog, cpus=cpu_registers(folder.vmcore)).result()
        folder.save_audit(found, dump)
        current.note = f"{found.ptes} PTEs, {len(found.findings)} findings"
    return found


def identity(prog: drgn.Program, vmcore: Path) -> Identity:
    """Which dump it is that was opened."""
    status = vmcore.stat()
    build_id = vmcoreinfo_of(prog).get("BUILD-ID")
    return Identity(build_id, boot_id(prog), status.st_size, status.st_mtime_ns)


def _may_be_of(folder: RunFolder) -> bool:
    """The audit is of a dump that is gone, or that cannot be opened and is as long."""
    of = folder.audited()
    return of is None or not folder.vmcore.exists() or folder.vmcore.stat().st_size == of.size


def resolver(prog: drgn.Program | None, events: Events | None) -> Callable[[int], CodeSite | None]:
    """Return address -> code site; without debug info by the names that the capture carries."""
    if prog is not None:
        opened = prog
        return lambda address: code_site(opened, address)
    symbols = events.symbols if events else {}
    return lambda address: _named(symbols, address)


def _named(symbols: Mapping[int, str], address: int) -> CodeSite | None:
    name, plus, offset = symbols.get(address, "").partition("+0x")
    try:
        return CodeSite(name, int(offset, 16), None, address=address) if plus else None
    except ValueError:  # a capture is hostile
        return None
