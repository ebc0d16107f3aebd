"""Invented reports, in the kernel's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

FREED = ("bad_page", "free_pages_prepare", "free_unref_page", "__folio_put", "my_caller", "outer")
ALLOCATED = ("bad_page", "check_new_page_bad", "get_page_from_freelist", "do_anonymous_page")
DRAINED = ("bad_page", "free_pcppages_bulk", "free_unref_page_commit", "free_unref_page", "munmap")


@dataclass(slots=True)
class Dump:
    """A "Bad page state" as 6.1 and later print it; each part can be left out."""

    pfn: int = 0x1234
    refcount: int = 0
    mapcount: int = 0
    mapping: int = 0
    flags: str = "node=0|zone=1"
    reason: str = "nonzero mapcount"
    task: str = "worker/7"
    taint: str = ""
    release: str = "6.1.0-test"
    stack: Sequence[str] = FREED
    extra: Sequence[str] = ()
    raw: Sequence[int] = ()
    words: dict[int, int] = field(default_factory=dict)
    head: str = ""

    def lines(self) -> list[str]:
        """The report."""
        comm, pid = self.task.split("/")
        head = self.head or f"BUG: Bad page state in process {comm}  pfn:{self.pfn:05x}"
        raw = list(self.raw)
        rest = f"mapping:{self.mapping:016x} index:0x0 pfn:{self.pfn:#x}"
        if self.words and not raw:
            counters = (self.refcount & 0xFFFFFFFF) << 32 | (self.mapcount - 1) & 0xFFFFFFFF
            raw = [0x17FFFFC0000000, 0xDEAD000000000100, 0xDEAD000000000122]
            raw += [self.mapping, 0, 0, counters, 0]
            for at, value in self.words.items():
                raw[at] = value
        told = [
            head,
            f"page: refcount:{self.refcount} mapcount:{self.mapcount} {rest}",
            *self.extra,
            f"flags: 0x17ffffc0000000({self.flags})",
        ]
        for at in range(0, len(raw), 4):
            told.append("raw: " + " ".join(f"{word:016x}" for word in raw[at : at + 4]))
        taint = f"Tainted: {self.taint}" if self.taint else "Not tainted"
        told += [
            f"page dumped because: {self.reason}",
            f"CPU: 1 PID: {pid} Comm: {comm} {taint} {self.release} #1",
        ]
        if self.stack:
            told += ["Call Trace:", *(f" {name}+0x10/0x100" for name in self.stack)]
        return told


def log(*reports: Dump | Sequence[str], start: float = 1.0) -> bytes:
    """A console with some reports, half a second apart."""
    lines = []
    for number, report in enumerate(reports):
        told = report.lines() if isinstance(report, Dump) else report
        for at, line in enumerate(told):
            lines.append(f"[{start + number / 2 + at / 1000:12.6f}] {line}")
    return ("\n".join(lines) + "\n").encode()


def bad_map(
    pte: int = 0x8000000123456067,
    mapcount: int | None = -1,
    vm_flags: int = 0x75,
    handlers: str = "fault:filemap_fault mmap:ext4_file_mmap",
    flags: str = "uptodate|node=0|zone=1",
    pfn: int = 0x123456,
    taint: str = "",
    addr: int = 0x7F0000001000,
    stack: Sequence[str] = ("print_bad_pte", "unmap_page_range", "unmap_vmas"),
) -> list[str]:
    """A "Bad page map"; without a page where `mapcount` is None."""
    told = [f"BUG: Bad page map in process worker  pte:{pte:08x} pmd:12345067"]
    if mapcount is not None:
        told += [
            f"page: refcount:1 mapcount:{mapcount} mapping:0000000000000000 index:0x0 pfn:{pfn:#x}",
            f"flags: 0x17ffffc0000000({flags})",
            "page dumped because: bad pte",
        ]
    name = f"Tainted: {taint}" if taint else "Not tainted"
    return [
        *told,
        (
            f"addr:{addr:016x} vm_flags:{vm_flags:08x} anon_vma:0000000000000000 "
            "mapping:0000000000000000 index:0"
        ),
        f"file:thing {handlers} read_folio:0x0",
        f"CPU: 1 PID: 7 Comm: worker {name} 6.1.0-test #1",
        "Call Trace:",
        *(f" {frame}+0x10/0x100" for frame in stack),
    ]
