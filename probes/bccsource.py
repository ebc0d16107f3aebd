"""Events through a BPF program that bcc compiles.

prepare (the program's text) -> compile (once, then out of the cache) -> attach (each
probe's program is verified; one that the kernel refuses costs itself alone) -> activate
(the gate opens: from here on every event is taken, and the plan's sites all at the same
moment).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probes import bpfcalls
from probes.bcccompiler import compiled
from probes.bccrecords import RECORD, Ids, decode
from probes.bpfkprobes import CONTROL, BpfKprobes, recursion_misses
from probes.bpfloaded import Loaded
from probes.bpflosses import BpfLosses, Counters, Counts
from probes.bpfobject import Compiled
from probes.bpfprogram import FREED, RING_BYTES, SPARE_BYTES, render
from probes.bpfrings import ALL, Rings
from probes.dynevents import Refused, clean_leftovers
from probes.filters import Filters
from probes.merging import Merger
from probes.preflight import TRACING, check, check_filters
from probes.ringbuf import RingBuffer
from probes.vmemmap import find_vmemmap
from zaptrace.ftrace.record_array import joined
from zaptrace.ftrace.return_addresses import return_addresses
from zaptrace.kernel.kallsyms import Kallsyms
from zaptrace.model.errors import Missing
from zaptrace.model.events import ABSENT, Events, Records
from zaptrace.model.plan import ProbePlan, ProbeSite

LOOK_SECONDS = 0.02
"""How often the ring is looked at; 100,000 events/s fill a sixtieth of it meanwhile."""
_MOST_WORDS = 300
"""Characters of what the kernel and bcc say of a failure."""
_TRACING = ("bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_")
"""Functions between a tracepoint and a BPF program."""


class BccSource:
    """Live events of this machine's kernel; a `zaptrace.model.source.Source`.

    Args:
        plan: of the running kernel.
        symbols: its symbols; read anew when None.
        root: where tracefs is mounted.

    Raises:
        Missing: no bcc, no tracefs, no permission, or the kernel refuses the program.
        BadInput: a filter makes no sense.
    """

    def __init__(
        self,
        plan: ProbePlan,
        filters: Filters,
        symbols: Kallsyms | None = None,
        root: Path = TRACING,
    ) -> None:
        check(root, CONTROL)
        check_filters(filters)
        program = render(plan, filters)
        self._plan, self._sites = plan, program.sites
        self._symbols = Kallsyms.of_this_kernel() if symbols is None else symbols
        self._named: set[int] = set()
        self._merger = Merger(plan)
        self._reason_ids: dict[int, int] = {}
        self._stack_ids: dict[tuple[int, int, int], int] = {}
        self._fresh = Events()
        size = plan.offsets.get("sizeof page", 0)
        self._vmemmap = find_vmemmap(self._symbols, plan.arch, size)
        leftovers = clean_leftovers(root, CONTROL)
        self._clean_up = contextlib.ExitStack()
        self._used, self._closed = threading.Lock(), False
        self._bpf = _loaded(compiled(program))
        self._clean_up.callback(self._bpf.close)
        try:
            if filters.cgroup is not None:
                self._bpf.watch_cgroup(filters.cgroup)
            self._kprobes = BpfKprobes(root, bpfcalls.attach_event)
            self._clean_up.callback(self._kprobes.close)
            attached, missing = self._attach()
            found = [self._address(one) for one in self._sites]
            self._addresses = np.array([ABSENT if at is None else at for at in found], np.uint64)
            self._rings = Rings(self._ring("events", RING_BYTES), self._ring("spare", SPARE_BYTES))
            self._losses = self._losses_of(attached)
            self._bpf.open_gate()
        except BaseException:
            self._clean_up.close()
            raise
        self._fresh.meta = self._meta(attached, missing, leftovers)
        self._notes: list[str] = self._fresh.meta["notes"]
        self._found: list[str] = []

    def read(self, seconds: float) -> Events | None:
        """Return what has come; see `Source.read`.  Ends when it is closed."""
        with self._used:
            return None if self._closed else self._read(seconds)

    def _read(self, seconds: float) -> Events:
        deadline = time.monotonic() + seconds
        if seconds <= 0:
            self._losses.hurry()
        while True:
            raw, horizon = self._rings.read()
            lost = self._losses.since(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
            self._note(self._losses.notes)
            if len(raw) or len(lost) or self._fresh.meta or time.monotonic() >= deadline:
                return self._increment(raw, lost, ALL if seconds <= 0 else horizon)
            time.sleep(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))

    def close(self) -> None:
        """Detach everything; what is still in the ring is gone.

        From any thread, also while another one reads or closes: it waits for that.
        """
        with self._used:
            self._closed = True
            self._clean_up.close()

    def _ring(self, name: str, size: int) -> RingBuffer:
        ring = RingBuffer(self._bpf.ring(name), size, RECORD.itemsize)
        self._clean_up.callback(ring.close)
        return ring

    def _increment(self, raw: npt.NDArray[np.uint8], lost: Records, horizon: int = ALL) -> Events:
        records = decode(raw, self._sites, self._addresses, self._reasons, self._stacks)
        if self._vmemmap is not None:
            records["pfn"] = self._vmemmap.pfns(records["page"])
        # A ring has them in the order in which they were begun; what is held is the spare one's.
        records = self._merger.add(records, horizon)
        events, self._fresh = self._fresh, Events()
        events.records = joined([lost, records])
        self._name(events)
        return events

    def _note(self, found: list[str]) -> None:
        """Tell what could not be kept, when that has changed."""
        if found != self._found:
            self._found = found
            self._fresh.meta["notes"] = [*self._notes, *found]

    def _name(self, events: Events) -> None:
        """Name the addresses that have not been named yet."""
        sites = set(np.unique(events.records["site"]).tolist()) - self._named - {ABSENT}
        returns = set(np.unique(events.records["caller"]).tolist())
        returns.update(address for stack in events.stacks.values() for address in stack)
        returns -= self._named | sites | {ABSENT}
        events.symbols = self._symbols.names(sites, returns)
        self._named |= sites | returns

    def _reasons(self, addresses: npt.NDArray[np.uint64]) -> Ids:
        return np.array([self._reason(address) for address in addresses.tolist()], np.uint32)

    def _reason(self, address: int) -> int:
        """Return the id of the text at a kernel address, which the program has kept."""
        if address not in self._reason_ids:
            try:
                text = self._bpf.reason(address)
            except KeyError:  # more different reasons than it keeps
                return 0
            number = len(self._reason_ids) + 1
            self._reason_ids[address] = number
            self._fresh.strings[number] = text.decode(errors="replace")
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
            addresses = self._bpf.stack(kernel_id)
            if site == ABSENT:
                self._fresh.stacks[number] = self._after_tracepoint(addresses)
            else:
                self._fresh.stacks[number] = return_addresses(addresses, site, caller)
        return self._stack_ids[key]

    def _after_tracepoint(self, stack: list[int]) -> tuple[int, ...]:
        """Return a tracepoint's stack without what the tracepoint itself and BPF put on it."""
        names = self._symbols.names(stack)
        ours = (names.get(one, "").startswith(_TRACING) or one not in names for one in stack)
        return tuple(stack[len(list(itertools.takewhile(bool, ours))) :])

    def _attach(self) -> tuple[dict[str, int], list[dict[str, str]]]:
        """Attach each site's program; the numbers of those that are, by the names of their
        events, and why the others are not."""
        attached, missing = {}, []
        for number, site in enumerate(self._sites):
            # kprobe_profile lists misses by name alone: no other group has these.
            name = f"zt{number}_{site.event}_{os.getpid()}"
            try:
                self._attach_one(number, site, name)
            except (Refused, OSError) as error:
                said = " ".join(str(error).split())[:_MOST_WORDS]
                why = f"{site.symbol}+{site.offset:#x} cannot be probed: {said}"
                missing.append({"event": site.event, "why": why})
            else:
                attached[name] = number
        if all(self._sites[number] is FREED for number in attached.values()):
            why = missing[0]["why"] if missing else "the probe plan has none"
            raise Missing(f"the kernel takes none of the kprobes: {why}", "zaptrace doctor")
        return attached, missing

    def _attach_one(self, number: int, site: ProbeSite, name: str) -> None:
        if site is FREED:
            self._bpf.attach_raw_tracepoint(f"site_{number}", site.symbol)
        else:
            place = f"{site.symbol}+{site.offset:#x}"
            self._kprobes.attach(name, place, self._program(number))

    def _program(self, number: int) -> int:
        """Return the descriptor of a site's program, which is loaded once."""
        kind = bpfcalls.RAW_TRACEPOINT if self._sites[number] is FREED else bpfcalls.KPROBE
        return self._bpf.program(f"site_{number}", kind)

    def _counts(self) -> Counts:
        """Return what the programs counted."""
        return self._bpf.counts(len(self._sites))

    def _losses_of(self, attached: dict[str, int]) -> BpfLosses:
        counters = Counters(self._kprobes.profile, self._counts, lambda: self._recursions(attached))
        # A tracepoint has no address; the function that calls its programs stands for it.
        calls = self._symbols.address(f"__traceiter_{FREED.symbol}")
        places = [calls if one is FREED else self._address(one) for one in self._sites]
        here = [replace(one, address=at) for one, at in zip(self._sites, places, strict=True)]
        return BpfLosses(counters, here, attached)

    def _recursions(self, attached: dict[str, int]) -> dict[str, int]:
        """Count frees by the name of their site, where the kernel counts them."""
        freed = {name: at for name, at in attached.items() if self._sites[at] is FREED}
        counts = {name: recursion_misses(self._program(at)) for name, at in freed.items()}
        return {name: count for name, count in counts.items() if count is not None}

    def _address(self, site: ProbeSite) -> int | None:
        start = None if site is FREED else self._symbols.address(site.symbol)
        return None if start is None else start + site.offset

    def _meta(
        self, attached: dict[str, int], missing: list[dict[str, str]], leftovers: list[str]
    ) -> dict[str, Any]:
        whole = self._plan.to_json()
        # At the addresses where they are now: KASLR moves them.
        sites = [self._sites[number] for number in attached.values()]
        here = [replace(site, address=self._address(site)) for site in sites]
        removed = [f"removed what {name}, which is gone, left in tracefs" for name in leftovers]
        unknown = [] if self._vmemmap else ["page frame numbers are not available on this kernel"]
        if FREED in sites and not self._recursions(attached):
            unknown.append("this kernel does not count frees that come while one is judged")
        return {
            **{key: whole[key] for key in ("arch", "release", "build_id")},
            "page_size": os.sysconf("SC_PAGE_SIZE"),
            "source": "bcc",
            "clock": "boot",
            "sites": ProbePlan(None, "", None, tuple(here)).to_json()["sites"],
            "missing": [
                *(gap for gap in whole["missing"] if gap["event"] != "page_free"),
                *missing,
            ],
            "notes": [*whole["notes"], *removed, *unknown],
        }


def _loaded(program: Compiled) -> Loaded:
    """Return its maps in the kernel.

    Raises:
        Missing: the kernel does not take it.
    """
    try:
        return Loaded(program)
    except OSError as error:
        raise Missing(f"the kernel does not take the program: {error.strerror}") from None
