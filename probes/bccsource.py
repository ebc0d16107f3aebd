"""Events through bcc: the only module that knows it.

prepare (the program's text) -> load (compile, verify) -> attach (each probe; one
that the kernel refuses costs itself alone) -> activate (the gate opens: from here
on every event is taken, and the plan's sites all at the same moment).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probes import bpfheaders
from probes.bccrecords import RECORD, Ids, decode
from probes.bpfprogram import FREED, RING_BYTES, Program, render
from probes.filters import Filters
from probes.kallsyms import Kallsyms
from probes.merging import Merger
from probes.ringbuf import RingBuffer
from probes.vmemmap import find_vmemmap
from zaptrace.ftrace.decoding import return_addresses
from zaptrace.ftrace.records import joined
from zaptrace.model.errors import Missing
from zaptrace.model.events import ABSENT, Events, Kind, Records, blank
from zaptrace.model.plan import ProbePlan, ProbeSite

LOOK_SECONDS = 0.02
"""How often the ring is looked at; 100,000 events/s fill a sixtieth of it meanwhile."""
_TRACING = ("bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_")
"""Functions between a tracepoint and a BPF program."""
INSTALL = "apt-get install python3-bpfcc"


def available() -> bool:
    """Whether bcc is installed where this Python finds it."""
    return importlib.util.find_spec("bcc") is not None


class BccSource:
    """Live events of this machine's kernel; a `zaptrace.model.source.Source`.

    Args:
        plan: of the running kernel.

    Raises:
        Missing: no bcc, no permission, or the kernel refuses the program.
    """

    def __init__(self, plan: ProbePlan, filters: Filters) -> None:
        program = render(plan, filters)
        self._plan = plan
        self._symbols = Kallsyms.of_this_kernel()
        self._named: set[int] = set()
        self._merger = Merger(plan)
        self._lost: dict[int, int] = {}
        self._reason_ids: dict[int, int] = {}
        self._stack_ids: dict[tuple[int, int, int], int] = {}
        self._fresh = Events()
        size = plan.offsets.get("sizeof page", 0)
        self._vmemmap = find_vmemmap(self._symbols, plan.arch, size)
        self._bpf = _load(program)
        try:
            if filters.cgroup is not None:
                self._bpf["cgroup"][0] = str(filters.cgroup)
            self._sites, missing = _attach(self._bpf, program)
            self._program = program
            found = [self._address(one) for one in program.sites]
            self._addresses = np.array([ABSENT if at is None else at for at in found], np.uint64)
            self._ring = RingBuffer(self._bpf["events"].map_fd, RING_BYTES, RECORD.itemsize)
            self._bpf["gate"][ctypes.c_int(0)] = ctypes.c_uint32(1)
        except BaseException:
            self._bpf.cleanup()
            raise
        self._fresh.meta = self._meta(missing)

    def read(self, seconds: float) -> Events | None:
        """What has come; see `Source.read`.  Never ends."""
        deadline = time.monotonic() + seconds
        while True:
            raw = self._ring.read()
            lost = self._lost_records()
            if len(raw) or len(lost) or self._fresh.meta or time.monotonic() >= deadline:
                return self._increment(raw, lost)
            time.sleep(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))

    def close(self) -> None:
        """Detach everything; what is still in the ring is gone."""
        if self._bpf is not None:
            self._ring.close()
            self._bpf.cleanup()
            self._bpf = None

    def _increment(self, raw: npt.NDArray[np.uint8], lost: Records) -> Events:
        records = decode(raw, self._program.sites, self._addresses, self._reasons, self._stacks)
        if self._vmemmap is not None:
            records["pfn"] = self._vmemmap.pfns(records["page"])
        # The ring has them in the order in which they were begun: none is to be waited for.
        records = self._merger.add(records, 2**64 - 1)
        events, self._fresh = self._fresh, Events()
        events.records = joined([lost, records])
        self._name(events)
        return events

    def _name(self, events: Events) -> None:
        """Names for addresses that have not been named yet."""
        columns = [np.unique(events.records[name]) for name in ("site", "caller")]
        met = {address for column in columns for address in column.tolist()}
        met.update(address for stack in events.stacks.values() for address in stack)
        new = met - self._named - {ABSENT}
        events.symbols = self._symbols.names(new)
        self._named |= new

    def _reasons(self, addresses: npt.NDArray[np.uint64]) -> Ids:
        return np.array([self._reason(address) for address in addresses.tolist()], np.uint32)

    def _reason(self, address: int) -> int:
        """The id of the text at a kernel address, which the program has kept."""
        if address not in self._reason_ids:
            try:
                text = bytes(self._bpf["reasons"][ctypes.c_uint64(address)].text)
            except KeyError:  # more different reasons than it keeps
                return 0
            number = len(self._reason_ids) + 1
            self._reason_ids[address] = number
            self._fresh.strings[number] = text.split(b"\0")[0].decode(errors="replace")
        return self._reason_ids[address]

    def _stacks(self, kernel_ids: npt.NDArray[np.int32], records: Records) -> Ids:
        triples = zip(
            kernel_ids.tolist(), records["site"].tolist(), records["caller"].tolist(), strict=True
        )
        return np.array([self._stack(*triple) for triple in triples], np.uint32)

    def _stack(self, kernel_id: int, site: int, caller: int) -> int:
        key = (kernel_id, site, caller)
        if key not in self._stack_ids:
            number = self._stack_ids[key] = len(self._stack_ids) + 1
            addresses = [int(one) for one in self._bpf["stacks"].walk(kernel_id)]
            if site == ABSENT:
                self._fresh.stacks[number] = self._behind_tracepoint(addresses)
            else:
                self._fresh.stacks[number] = return_addresses(addresses, site, caller)
        return self._stack_ids[key]

    def _behind_tracepoint(self, stack: list[int]) -> tuple[int, ...]:
        """A tracepoint's stack without what the tracepoint itself and BPF put on it."""
        names = self._symbols.names(stack)
        ours = (names.get(one, "").startswith(_TRACING) or one not in names for one in stack)
        return tuple(stack[len(list(itertools.takewhile(bool, ours))) :])

    def _lost_records(self) -> Records:
        """Events that found the ring full since the last look: a LOST record for each CPU."""
        counts = {cpu: int(count) for cpu, count in enumerate(self._bpf["failed"][ctypes.c_int(0)])}
        more = {cpu: count - self._lost.get(cpu, 0) for cpu, count in counts.items()}
        self._lost = counts
        rows = [(cpu, count) for cpu, count in more.items() if count > 0]
        records = blank(len(rows))
        records["kind"] = Kind.LOST
        records["clock"] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        records["cpu"] = [cpu for cpu, _ in rows]
        records["nr"] = [min(count, 2**32 - 1) for _, count in rows]
        return records

    def _address(self, site: ProbeSite) -> int | None:
        start = None if site is FREED else self._symbols.address(site.symbol)
        return None if start is None else start + site.offset

    def _meta(self, missing: list[dict[str, str]]) -> dict[str, Any]:
        whole = self._plan.to_json()
        # At the addresses where they are now: KASLR moves them.
        here = [replace(site, address=self._address(site)) for site in self._sites]
        unknown = [] if self._vmemmap else ["page frame numbers cannot be had on this kernel"]
        attached = ProbePlan(None, "", None, tuple(here)).to_json()["sites"]
        return {
            **{key: whole[key] for key in ("arch", "release", "build_id")},
            "page_size": os.sysconf("SC_PAGE_SIZE"),
            "source": "bcc",
            "clock": "boot",
            "sites": attached,
            "missing": [
                *(gap for gap in whole["missing"] if gap["event"] != "page_free"),
                *missing,
            ],
            "notes": [*whole["notes"], *unknown],
        }


def _attach(bpf: Any, program: Program) -> tuple[list[ProbeSite], list[dict[str, str]]]:
    """Attach each site's probe; those that are, and why the others are not."""
    attached, missing = [], []
    for number, site in enumerate(program.sites):
        name = f"site_{number}"
        try:
            with _quiet():
                if site is FREED:
                    bpf.attach_raw_tracepoint(tp=site.symbol, fn_name=name)
                else:
                    bpf.attach_kprobe(event=site.symbol, event_off=site.offset, fn_name=name)
        except Exception as error:  # noqa: BLE001  bcc raises nothing more special
            why = f"{site.symbol}+{site.offset:#x} cannot be probed: {error}"
            missing.append({"event": site.event, "why": why})
            continue
        attached.append(site)
    if not attached:
        raise Missing("the kernel refuses every probe: " + missing[0]["why"], "zaptrace doctor")
    return attached, missing


def _load(program: Program) -> Any:
    """Compile and load it.  Importing bcc loads clang: a second or two."""
    try:
        bcc = importlib.import_module("bcc")
    except ImportError as error:
        raise Missing(f"bcc cannot be imported: {error}", INSTALL) from None
    with tempfile.TemporaryDirectory(prefix="zaptrace-") as folder, _environment(folder):
        bpfheaders.write(Path(folder))
        with _quiet() as words:
            try:
                return bcc.BPF(text=program.text)
            except Exception as error:  # noqa: BLE001  bcc raises nothing more special
                said = " ".join(words().split())[:300]
                raise Missing(f"the kernel does not take the program: {error} {said}") from None


@contextlib.contextmanager
def _environment(headers: str) -> Iterator[None]:
    before = os.environ.get("BCC_KERNEL_SOURCE")
    os.environ["BCC_KERNEL_SOURCE"] = headers
    try:
        yield
    finally:
        os.environ.pop("BCC_KERNEL_SOURCE")
        if before is not None:
            os.environ["BCC_KERNEL_SOURCE"] = before


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Keep what C libraries write to stderr; yields a function that tells it."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:

        def words() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        os.dup2(file.fileno(), 2)
        try:
            yield words
        finally:
            os.dup2(kept, 2)
            os.close(kept)
