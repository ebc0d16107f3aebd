"""A small simulated kernel that records events: one that is right, and those with a bug.

It knows mm's rules and nothing of zaptrace.explain.  Each CPU runs one thread
at a time; what the threads do interleaves at random.  A freed page is the first
that its CPU hands out again (the per-CPU lists of mm/page_alloc.c).
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
RETURN_INTO_WP, RETURN_INTO_MIGRATE = 0x21_F0A2, 0x25_1C3E
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
    unseen: list[tuple[int, Thread]] = field(default_factory=list)
    hot: dict[int, list[int]] = field(default_factory=dict)  # of each CPU, the last one first out
    mapped: dict[int, tuple[Thread, list[int]]] = field(default_factory=dict)  # by CPU
    stopped: bool = False
    stop_at_bad_page: bool = False
    resets_mapcount: bool = True
    records_every_free: bool = False
    checks_frees: bool = True  # DEBUG_VM; without it a page in a bad state is used again

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

    def allocate(self, cpu: int) -> int | None:
        """A page that is not in use, its counters as new."""
        if self.hot.get(cpu):
            pfn = self.hot[cpu].pop()
        else:
            taken = (
                self.refcount.keys() | self.leaked | {p for hot in self.hot.values() for p in hot}
            )
            free = [pfn for pfn in range(self.pages) if pfn not in taken]
            if not free:
                return None
            pfn = self.rng.choice(free[:4])
        self.mapcount[pfn] = self.refcount[pfn] = 0
        return pfn

    def map_pages(self, thread: Thread, shared: list[int]) -> list[int]:
        """Fault pages in; some are another process's, mapped once more (fork, files)."""
        mine: list[int] = []
        for _ in range(self.rng.randrange(1, 8)):
            pfn = self.rng.choice(shared) if shared and self.rng.random() < 0.3 else None
            if pfn is None or pfn in mine or not self.refcount.get(pfn):
                pfn = self.allocate(thread.cpu)
            if pfn is not None:
                self.mapcount[pfn] += 1
                self.refcount[pfn] += 1
                mine.append(pfn)
        return mine

    def copy_on_write(self, thread: Thread, pages: list[int]) -> None:
        """wp_page_copy(): a new page takes an old one's place."""
        new = self.allocate(thread.cpu) if pages else None
        if new is None:
            return
        old = pages.pop(self.rng.randrange(len(pages)))
        self.mapcount[new] = self.refcount[new] = 1
        self.remove_rmap(thread, old, caller=RETURN_INTO_WP)
        self.put(thread, old)
        pages.append(new)

    def migrate(self, thread: Thread) -> None:
        """try_to_migrate_one(), for a page that is mapped: its PTEs go to a new page."""
        others = [(who, pages) for who, pages in self.mapped.values() if pages]
        if not others:
            return
        owner, pages = self.rng.choice(others)
        old = self.rng.choice(pages)
        new = self.allocate(thread.cpu) if self.mapcount[old] == 1 else None
        if new is None:
            return
        self.mapcount[new] = self.refcount[new] = 1
        self.remove_rmap(thread, old, caller=RETURN_INTO_MIGRATE, mm=owner.mm)
        self.put(thread, old)
        pages[pages.index(old)] = new

    def put(self, thread: Thread, pfn: int) -> None:
        """Drop one reference; the page is freed with the last."""
        self.refcount[pfn] -= 1
        if self.refcount[pfn]:
            return
        raw = self.mapcount[pfn] - 1
        if raw != -1 or self.records_every_free:
            about = self.about(pfn)
            self.emit(thread, Kind.PAGE_FREE, FREE_SITE, **about, refcount=0, order=0)
        if raw != -1 and self.checks_frees:
            self.bad_page(thread, pfn)
            return
        if raw != -1:
            self.unseen.append((pfn, thread))
        del self.refcount[pfn]
        self.hot.setdefault(thread.cpu, []).append(pfn)

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

    def remove_rmap(
        self,
        thread: Thread,
        pfn: int,
        nr: int = 1,
        caller: int = RETURN_AFTER,
        mm: int | None = None,
    ) -> None:
        about = {**self.about(pfn), "refcount": self.refcount.get(pfn, 0)}
        about["mm"] = thread.mm if mm is None else mm
        self.emit(thread, Kind.RMAP_REMOVE, RMAP_SITE, **about, nr=nr, caller=caller)
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

    def zap_and_leak(self, thread: Thread, pages: list[int]) -> Iterator[None]:
        """PTE and free, and of the first page no rmap removal at all."""
        self.begin_zap(thread, len(pages))
        for number, pfn in enumerate(pages):
            yield
            if number:
                self.remove_rmap(thread, pfn)
            yield
            self.put(thread, pfn)
            if self.stopped:
                return

    def process(self, thread: Thread, shared: list[int], bug: str | None) -> Iterator[None]:
        """Map, write, unmap a part, map and write again, exit."""
        # Shared pages and a wrong order have a test each.
        pages = self.map_pages(thread, [] if bug else shared)
        if not bug:
            shared[:] = [pfn for pfn in pages if self.rng.random() < 0.3]
        self.mapped[thread.cpu] = (thread, [] if bug == "batch" else pages)
        yield
        zap = {"batch": self.zap_as_posted, "leak": self.zap_and_leak}.get(
            bug or "", self.zap_rightly
        )
        # An address space has several page tables: several zaps a process.
        for last in (False, True):
            gone = pages[:] if last else pages[: len(pages) // 2]
            del pages[: len(gone)]
            if gone:
                yield from zap(thread, gone)
            if last or self.stopped:
                break
            pages += self.map_pages(thread, [])
            for _ in range(self.rng.randrange(3)):
                yield
                self.copy_on_write(thread, pages)
                yield
                self.migrate(thread)
        self.mapped.pop(thread.cpu, None)

    def run(
        self, processes: int, buggy_share: float = 0.0, cpus: int = 3, bug: str = "batch"
    ) -> Events:
        """Let processes come and go on every CPU until all are done, or the kernel is stopped.

        Args:
            bug: what is wrong with the zaps of some: "batch" or "leak".
        """
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
                running[cpu] = self.process(who, shared, bug if buggy else None)
            elif cpu in running and next(running[cpu], "done") == "done":
                del running[cpu]
        return self.events()

    def events(self) -> Events:
        return events_of(self.rows)


def events_of(rows: list[dict[str, Any]], *, lost: int = 0) -> Events:
    """Rows of field values -> events, with the strings and stacks of this kernel."""
    if lost:
        rows = [*rows, {"kind": Kind.LOST, "nr": lost}]
    absent = blank(1)
    nothing = dict(zip(EVENT.names or (), absent[0].tolist(), strict=True))
    whole = [tuple((nothing | row).values()) for row in rows]
    records = np.array(whole, absent.dtype)
    registers = records["origin"] == Origin.REGISTERS
    ordered = np.concatenate([records[~registers], records[registers]])
    return Events(ordered.astype(EVENT), {1: "nonzero mapcount"}, {1: STACK})
