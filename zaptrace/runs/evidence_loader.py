"""A run's evidence, read from its files; what is not there yet is made from what is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import drgn

from zaptrace.audit import audit
from zaptrace.capture.reader import read as read_capture
from zaptrace.capture.writer import write as write_capture
from zaptrace.memory.ftrace_events import read_trace
from zaptrace.memory.kernel_log import kernel_log
from zaptrace.memory.open import boot_id, open_program, vmcoreinfo_of
from zaptrace.memory.registers import cpu_registers
from zaptrace.memory.resolve import code_site
from zaptrace.memory.stopped_cpu import stop_events
from zaptrace.memory.vmcore import standardise
from zaptrace.memory.vmlinux import open_vmlinux
from zaptrace.model.errors import BadInput, ZaptraceError
from zaptrace.model.events import Events
from zaptrace.model.findings import AuditResult
from zaptrace.model.paths import write_whole
from zaptrace.model.plan import ProbePlan
from zaptrace.model.progress import Listener, step
from zaptrace.model.verdict import CodeSite
from zaptrace.runs import merge_events
from zaptrace.runs.dump_identity import Identity
from zaptrace.runs.folder import RunFacts, RunFolder
from zaptrace.runs.whole_console import not_printed

_MAY_HAVE_LOGGED_MORE = ("panic", "oops", "hang", "timeout")


class EvidenceLoader:
    """The evidence of one run, a part at a time; each is written to the folder when it is made.

    Attributes:
        prog: the run's dump, opened; None without one.
        unopened: why a dump that is there was not opened, a sentence each.
    """

    def __init__(self, folder: RunFolder, facts: RunFacts, listener: Listener) -> None:
        """Open the dump.

        Raises:
            BadInput: it is damaged, or of another build than the run's vmlinux.
        """
        self._folder = folder
        self._facts = facts
        self._listener = listener
        self.prog, self.unopened = self._open()

    def _open(self) -> tuple[drgn.Program | None, tuple[str, ...]]:
        vmcore, vmlinux = self._folder.vmcore, Path(self._facts.vmlinux)
        if not vmcore.exists():
            return None, ()
        if not vmlinux.exists():
            return None, (f"The dump was not opened: {vmlinux} is gone.",)
        with step("open", "Open the vmcore", self._listener, self._facts.timing):
            if self._facts.ended is not None:
                return open_program(vmcore, vmlinux), ()
            try:  # the run was cut short, maybe in the middle of its dump
                standardise(vmcore)
                return open_program(vmcore, vmlinux), ()
            except BadInput as error:
                return None, (f"The run was cut short, and its dump is unusable: {error}.",)

    def identity(self) -> Identity | None:
        """Return which dump was opened."""
        return identity_of(self.prog, self._folder.vmcore) if self.prog else None

    def events(self) -> Events | None:
        """Read the capture, or the dump's ring buffer when there is no capture yet.

        Raises:
            BadInput: the capture is damaged from its first byte on.
        """
        if self._folder.capture.exists():
            return read_capture(self._folder.capture)
        plan = self._folder.plan()
        if self.prog is None or plan is None:
            return None
        title = "Read the events out of the dump"
        with step("events", title, self._listener, self._facts.timing) as current:
            stop = stop_events(self.prog, self._folder.vmcore, plan)
            _name(self.prog, stop)
            events = merge_events.whole(read_trace(self.prog, plan), stop, self._later(plan))
            # This shows a file that was cut between two frames.
            events.meta["records"] = len(events.records)
            write_capture(self._folder.capture, events)
            self._folder.later.unlink(missing_ok=True)
            current.note = f"{len(events.records)} events, {events.lost} lost"
        return events

    def _later(self, plan: ProbePlan) -> Events | None:
        """Return what the ring buffer held after the guest had run on, if it was dumped again."""
        later = self._folder.later
        if not later.exists():
            return None
        try:
            standardise(later)
            events = read_trace(open_program(later, Path(self._facts.vmlinux)), plan)
        except ZaptraceError:
            return None  # a torn dump, or a guest that has wrecked itself since
        # In the capture, for what is read out of the stop's dump alone has not seen it.
        events.meta["after"] = self._facts.after
        return events

    def audit(self) -> AuditResult | None:
        """Return the stored audit; audit the dump when that is missing, or of another dump."""
        found = self._folder.audit()
        if self.prog is None:
            return found if self._may_be_of_the_dump() else None
        dump = identity_of(self.prog, self._folder.vmcore)
        if found is not None and self._folder.audited() == dump:
            return found
        title = "Audit every page table against every counter"
        with step("audit", title, self._listener, self._facts.timing) as current:
            found = audit(self.prog, cpus=cpu_registers(self._folder.vmcore)).result()
            self._folder.save_audit(found, dump)
            current.note = f"{found.ptes} PTEs, {len(found.findings)} findings"
        return found

    def _may_be_of_the_dump(self) -> bool:
        """Return whether the audit's dump is gone, or cannot be opened and has the same size."""
        of, vmcore = self._folder.audited(), self._folder.vmcore
        return of is None or not vmcore.exists() or vmcore.stat().st_size == of.size

    def log(self) -> None:
        """Keep the end of the kernel's log that the console lacks, of a guest that was not stopped
        in the middle of its work."""
        folder, ended = self._folder, self._facts.ended
        if self.prog is None or ended not in _MAY_HAVE_LOGGED_MORE or folder.kernel_log.exists():
            return
        printed = folder.console.read_bytes() if folder.console.exists() else b""
        lines = not_printed(printed, kernel_log(self.prog))
        if lines:
            write_whole(folder.kernel_log, "".join(f"{line}\n" for line in lines).encode())

    def debug_info(self, events: Events | None) -> drgn.Program | None:
        """Return what knows the kernel's source lines: the dump, or the run's vmlinux alone.

        None when vmlinux is gone, or is not of the build that the events name.
        """
        if self.prog is not None:
            return self.prog
        try:
            wanted = events.meta.get("build_id") if events else None
            vmlinux = Path(self._facts.vmlinux)
            return open_vmlinux(vmlinux, wanted, self._facts.kernel_offset or 0)
        except ZaptraceError:
            return None


def identity_of(prog: drgn.Program, vmcore: Path) -> Identity:
    """Return which dump it is that was opened."""
    status = vmcore.stat()
    build_id = vmcoreinfo_of(prog).get("BUILD-ID")
    return Identity(build_id, boot_id(prog), status.st_size, status.st_mtime_ns)


def _name(prog: drgn.Program, events: Events) -> None:
    """Name the addresses of the stacks: a capture may be read where there is no vmlinux."""
    for address in {address for stack in events.stacks.values() for address in stack}:
        site = code_site(prog, address)
        if site.symbol is not None:
            events.symbols[address] = f"{site.symbol}+{site.offset or 0:#x}"


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
