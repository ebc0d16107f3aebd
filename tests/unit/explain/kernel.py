"""A small simulated kernel that records events: one that is right, and one with the bug.

It knows mm's rules and nothing of zaptrace.explain.  Each CPU runs one thread
at a time; what the threads do interleaves at random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zaptrace.model.events import EVENT, Events, Kind, Origin, blank

PAGE = 4096
VMEMMAP = 0x3_7200_0000_0000
ZAP_SITE, FREE_SITE, BAD_SITE, RMAP_SITE = 0x21_0000, 0x23_C3A0, 0x23_8610, 0x21_5000
RETURN_INTO_ZAP, RETURN_INTO_FREE, RETURN_AFTER = 0x21_B0E4, 0x23_A898, 0x21_B110
STACK = (RETURN_INTO_FREE, 0x23_C3D0, RETURN_INTO_ZAP, 0x21_B57A)
COMMS = (b"init", b"mount", b"sh", b"stress")


@dataclass
class Thread:
    """A task on one CPU."""

    cpu: int
    pid: int
    comm: bytes
    mm: int


@dataclass
class Kernel:
    """Pages, their counters, and the events that were recorded."""

    rng: random.Random
    pages: int = 64
    mapcount: dict[int, int] = field(default_factory=dict)  # of pages in use
    refcount: dict[int, int] = field(default_factory=dict)  # one for each mapping
    rows: list[dict[str, Any]] = field(default_factory=list)
    clock: int = 600_000_000
    leaked: set[int] = field(default_factory=set)
    refused: list[tuple[int, Thread]] = field(default_factory=list)
    stopped: bool = False
    stop_at_bad_page: bool = False
    resets_mapcount: bool = True
    records_every_free: bool = False

    def emit(self, thread: Thread, kind: Kind, site: int, **fields: Any) -> None:
        self.clock += self.rng.randrange(200, 4000)
        row = {
            "kind": kind,
            "clock": self.clock,
            "site": site,
            "cpu": thread.cpu,
            "pid": thread.pid,
            "tgid": thread.pid,
            "comm": thread.comm,
            **fields,
        }
        self.rows.append(row)

    def about(self, pfn: int) -> dict[str, Any]:
        return {
            "page": VMEMMAP + 64 * pfn,
            "pfn": pfn,
            "raw_mapcount": self.mapcount.get(pfn, 0) - 1,
        }

    def allocate(self) -> int | None:
        """A page that nobody uses; few are, so that they go out again soon."""
        used = self.mapcount.keys() | self.leaked
        free = [pfn for pfn in range(self.pages) if pfn not in used]
        return self.rng.choice(free[:4]) if free else None

    def map_pages(self, shared: list[int]) -> list[int]:
        """Fault pages in; some are another process's, mapped once more (fork, files)."""
        mine: list[int] = []
        for _ in range(self.rng.randrange(1, 8)):
            pfn = self.rng.choice(shared) if shared and self.rng.random() < 0.3 else None
            if pfn is None or pfn in mine or self.mapcount.get(pfn, 0) < 1:
                pfn = self.allocate()
            if pfn is not None:
                self.mapcount[pfn] = self.mapcount.get(pfn, 0) + 1
                self.refcount[pfn] = self.refcount.get(pfn, 0) + 1
                mine.append(pfn)
        return mine

    def put(self, thread: Thread, pfn: int) -> None:
        """Drop one reference; the page is freed with the last."""
        self.refcount[pfn] -= 1
        if self.refcount[pfn]:
            return
        raw = self.mapcount[pfn] - 1
        if raw != -1 or self.records_every_free:
            about = self.about(pfn)
            self.emit(thread, Kind.PAGE_FREE, FREE_SITE, **about, refcount=0, order=0)
        if raw == -1:
            del self.mapcount[pfn]
        else:
            self.bad_page(thread, pfn)

    def bad_page(self, thread: Thread, pfn: int) -> None:
        self.refused.append((pfn, thread))
        self.leaked.add(pfn)
        fields = {**self.about(pfn), "refcount": 0, "reason": 1, "caller": RETURN_INTO_FREE}
        self.emit(thread, Kind.BAD_PAGE, BAD_SITE, **fields, stack=1)
        if self.stop_at_bad_page:
            self.rows[-1] |= {"origin": Origin.REGISTERS, "clock": 2**64 - 1}
            self.stopped = True
        if self.resets_mapcount:
            self.mapcount[pfn] = 0

    def remove_rmap(self, thread: Thread, pfn: int, nr: int = 1) -> None:
        about = self.about(pfn)
        self.emit(thread, Kind.RMAP_REMOVE, RMAP_SITE, **about, nr=nr, caller=RETURN_AFTER)
        for one in range(pfn, pfn + nr):
            self.mapcount[one] -= 1

    def begin_zap(self, thread: Thread, count: int) -> None:
        start = self.rng.randrange(1 << 30) * PAGE
        span = {"addr": start, "end": start + count * PAGE, "mm": thread.mm}
        self.emit(thread, Kind.ZAP, ZAP_SITE, **span)

    def zap_rightly(self, thread: Thread, pages: list[int]) -> Iterator[None]:
        """PTE, rmap, then free: at once (s390x), or all of them at the end (mmu_gather)."""
        gather = self.rng.random() < 0.5
        gathered: list[int] = []
        self.begin_zap(thread, len(pages))
        for pfn in pages:
            yield
            self.remove_rmap(thread, pfn)
            yield
            if gather:
                gathered.append(pfn)
            else:
                self.put(thread, pfn)
        for pfn in gathered:
            yield
            self.put(thread, pfn)

    def zap_as_posted(self, thread: Thread, pages: list[int]) -> Iterator[None]:
        """PTEs, frees, and only then the rmap of the whole range (July 2023, v3)."""
        runs: list[list[int]] = []
        for pfn in sorted(pages):
            if runs and runs[-1][-1] == pfn - 1:
                runs[-1].append(pfn)
            else:
                runs.append([pfn])
        self.begin_zap(thread, len(pages))
        for run in runs:
            for pfn in run:
                yield
                self.put(thread, pfn)
                if self.stopped:
                    return
            yield
            self.remove_rmap(thread, run[0], len(run))

    def process(self, thread: Thread, shared: list[int], buggy: bool) -> Iterator[None]:
        pages = self.map_pages([] if buggy else shared)
        if not buggy:
            shared[:] = [pfn for pfn in pages if self.rng.random() < 0.3]
        yield
        if pages and buggy:
            yield from self.zap_as_posted(thread, pages)
        elif pages:
            # An address space has several page tables: several zaps a process.
            half = len(pages) // 2
            for part in (pages[:half], pages[half:]):
                if part:
                    yield from self.zap_rightly(thread, part)

    def run(self, processes: int, buggy_share: float = 0.0, cpus: int = 3) -> Events:
        """Let processes come and go on every CPU until all are done, or the kernel is stopped."""
        waiting = processes
        running: dict[int, Iterator[None]] = {}
        shared: list[int] = []
        while (waiting or running) and not self.stopped:
            cpu = self.rng.randrange(cpus)
            if cpu not in running and waiting:
                waiting -= 1
                # Few pids: they are used again soon.
                who = Thread(
                    cpu,
                    30 + cpu + cpus * self.rng.randrange(2),
                    self.rng.choice(COMMS),
                    0x8000_0000 + 0x400 * self.rng.randrange(8),
                )
                buggy = self.rng.random() < buggy_share
                running[cpu] = self.process(who, [] if buggy else shared, buggy)
            elif cpu in running and next(running[cpu], "done") == "done":
                del running[cpu]
        return self.events()

    def events(self) -> Events:
        return events_of(self.rows)


def events_of(rows: list[dict[str, Any]], *, lost: int = 0) -> Events:
    """Rows of field values -> events, with the strings and stacks of this kernel."""
    if lost:
        rows = [*rows, {"kind": Kind.LOST, "nr": lost}]
    records = blank(len(rows))
    for record, row in zip(records, rows, strict=True):
        for name, value in row.items():
            record[name] = value
    registers = records["origin"] == Origin.REGISTERS
    ordered = np.concatenate([records[~registers], records[registers]])
    return Events(ordered.astype(EVENT), {1: "nonzero mapcount"}, {1: STACK})
