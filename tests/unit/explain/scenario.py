"""Events of faults in other functions than the zap, as a kernel with either way to free has them.

A `Machine` knows mm's rules: it counts, and records what the probes record.  Each fault leaves
one step out of what a function of the kernel does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.unit.explain.kernel import VMEMMAP, ZAP_SITE
from zaptrace.model.events import Kind
from zaptrace.model.verdict import CodeSite

SYMBOLS = (
    *("free_unref_page", "zap_pte_range", "unmap_page_range", "tlb_finish_mmu", "exit_mmap"),
    *("wp_page_copy", "handle_mm_fault", "exc_page_fault", "page_cache_pipe_buf_release"),
    *("splice_direct_to_actor", "free_pcppages_bulk", "drain_pages_zone", "get_page_from_freelist"),
    *("move_page_tables", "change_pte_range", "try_to_migrate_one"),
)
ADDRESS = {name: 0x10_0000 + 0x1000 * at for at, name in enumerate(SYMBOLS)}
NAMES = {address: name for name, address in ADDRESS.items()}


def resolve(address: int) -> CodeSite | None:
    name = NAMES.get(address)
    return CodeSite(name, 0x10, None, (), None, address) if name else None


@dataclass
class Process:
    """Its mm, and the pages that its PTEs map by address."""

    pid: int
    comm: str
    mm: int
    cpu: int = 0
    ptes: dict[int, int] = field(default_factory=dict)


@dataclass
class Machine:
    """Counters of pages and the recorded rows; stops at its first bad page when it should."""

    gathers: bool
    clock: int = 1_000_000
    rows: list[dict[str, Any]] = field(default_factory=list)
    stacks: dict[int, tuple[int, ...]] = field(default_factory=dict)
    mapcount: dict[int, int] = field(default_factory=dict)
    refcount: dict[int, int] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    ptes_at_stop: int | None = None
    processes: list[Process] = field(default_factory=list)

    def new(self, pid: int, comm: str, mm: int, cpu: int = 0) -> Process:
        """A process; its mm_struct may have an address that another's had."""
        self.processes.append(Process(pid, comm, mm, cpu))
        return self.processes[-1]

    def emit(self, who: Process, kind: Kind, **fields: Any) -> None:
        self.clock += 2000
        row = {"kind": kind, "clock": self.clock, "cpu": who.cpu, "pid": who.pid, "tgid": who.pid}
        self.rows.append({**row, "comm": who.comm.encode(), **fields})

    def about(self, pfn: int) -> dict[str, Any]:
        counts = {"raw_mapcount": self.mapcount[pfn] - 1, "refcount": self.refcount[pfn]}
        return {"pfn": pfn, "page": VMEMMAP + 64 * pfn, **counts}

    def map(self, who: Process, addr: int, pfn: int, *, rmap: bool = True) -> None:
        """Set a PTE; count it and take its reference."""
        self.mapcount[pfn] = self.mapcount.get(pfn, 0) + rmap
        self.refcount[pfn] = self.refcount.get(pfn, 0) + 1
        who.ptes[addr] = pfn

    def fork(self, parent: Process, pid: int, mm: int, *, rmap: bool = True) -> Process:
        child = self.new(pid, parent.comm, mm, cpu=1)
        for addr, pfn in parent.ptes.items():
            self.map(child, addr, pfn, rmap=rmap)
        return child

    def remove_rmap(self, who: Process, pfn: int, *caller: str) -> None:
        self.emit(
            who,
            Kind.RMAP_REMOVE,
            **self.about(pfn),
            mm=who.mm,
            nr=1,
            caller=ADDRESS[caller[0]],
        )
        self.mapcount[pfn] -= 1

    def put(self, who: Process, pfn: int, *stack: str) -> None:
        """Drop a reference; free the page with the last, on that stack."""
        self.refcount[pfn] -= 1
        if self.refcount[pfn]:
            return
        if self.mapcount[pfn]:
            self.emit(who, Kind.PAGE_FREE, **self.about(pfn), order=0)
            self.bad_page(who, pfn, *stack)

    def bad_page(self, who: Process, pfn: int, *stack: str) -> None:
        number = len(self.stacks) + 1
        self.stacks[number] = tuple(ADDRESS[name] for name in stack)
        if not self.refused:
            maps = [page for one in self.processes for page in one.ptes.values()]
            self.ptes_at_stop = maps.count(pfn)
        self.refused.append(pfn)
        self.emit(who, Kind.BAD_PAGE, **self.about(pfn), reason=1, stack=number)

    def zap(self, who: Process, *ranges: tuple[int, int], remove: bool = True) -> None:
        """unmap_vmas() of some ranges: one zap_pte_range() each, freed at once or after all."""
        gathered: list[int] = []
        for begin, end in ranges:
            self.emit(who, Kind.ZAP, addr=begin, end=end, mm=who.mm, site=ZAP_SITE)
            for addr in sorted(addr for addr in who.ptes if begin <= addr < end):
                pfn = who.ptes.pop(addr)
                if remove:
                    self.remove_rmap(who, pfn, "unmap_page_range")
                if self.gathers:
                    gathered.append(pfn)
                else:
                    self.put(who, pfn, "free_unref_page", "unmap_page_range", "exit_mmap")
        for pfn in gathered:
            self.put(who, pfn, "free_unref_page", "tlb_finish_mmu", "exit_mmap")

    def copy_on_write(self, who: Process, addr: int, new: int, *, remove: bool = True) -> None:
        """wp_page_copy(): the old page loses its PTE, its rmap and its reference."""
        old = who.ptes.pop(addr)
        self.map(who, addr, new)
        if remove:
            self.remove_rmap(who, old, "wp_page_copy")
        self.put(who, old, "free_unref_page", "wp_page_copy", "handle_mm_fault", "exc_page_fault")

    def exit(self, who: Process) -> None:
        """exit_mmap(): every range, upwards."""
        self.zap(who, (0x1000, 0x4000), (0x10000, 0x20000), (0x7F0000, 0x800000))
        self.processes.remove(who)
