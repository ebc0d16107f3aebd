"""Splats: the kernel's own reports, as read off a console."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a call trace.

    Attributes:
        symbol: function name, None when only an address was printed.
        offset: bytes from the symbol to the return address.
        size: bytes of the function.
        address: the return address as printed, None when it was not.
        source: `file:line` once resolved, else None.
        module: the module that the function lies in, as printed after it (`[nvidia]`); None
            for the kernel's own.
        reliable: False when the kernel printed it as a mere clue found on the
            stack (x86 `? symbol`, s390x `([<address>] symbol)`).
    """

    symbol: str | None
    offset: int | None = None
    size: int | None = None
    address: int | None = None
    source: str | None = None
    reliable: bool = True
    module: str | None = None


@dataclass(frozen=True, slots=True)
class FolioCounters:
    """The dump's `head:` line: counters of the whole folio as printed; absent is None."""

    order: int | None = None
    mapcount: int | None = None
    entire_mapcount: int | None = None
    nr_pages_mapped: int | None = None
    large_mapcount: int | None = None
    pincount: int | None = None


@dataclass(frozen=True, slots=True)
class OwnerStack:
    """What page_owner remembers of a page's last allocation or free.

    Attributes:
        pid, tgid, comm: the task, None when not printed.
        order: of the allocation.
        gfp: `gfp_mask` as printed, names and all.
        migratetype: as printed.
        time_ns: `ts`: boot clock in ns.
        free_time_ns: `free_ts`: the boot clock in ns of the free before this allocation.
        trace: the stack.
    """

    pid: int | None = None
    tgid: int | None = None
    comm: str | None = None
    order: int | None = None
    gfp: str | None = None
    migratetype: str | None = None
    time_ns: int | None = None
    free_time_ns: int | None = None
    trace: tuple[Frame, ...] = ()


@dataclass(frozen=True, slots=True)
class PageOwner:
    """page_owner's lines of a dump.

    Attributes:
        state: `allocated` or `freed`, None when not printed.
        allocated: the last allocation.
        freed: the last free.
    """

    state: str | None = None
    allocated: OwnerStack | None = None
    freed: OwnerStack | None = None


@dataclass(frozen=True, slots=True)
class Splat:
    """One report.  Keys and meanings are `splat --json`'s; absent is None.

    `mapcount` is as the kernel prints it (stored value + 1); `time` is seconds
    since boot as printed; numbers that the kernel prints in hex are numbers.
    """

    kind: str
    """One of the table's (zaptrace.splat.kinds)."""
    time: float | None = None
    process: str | None = None
    pfn: int | None = None
    refcount: int | None = None
    mapcount: int | None = None
    mapping: int | None = None
    index: int | None = None
    flags: tuple[str, ...] = ()
    page_type: int | None = None
    reason: str | None = None
    pte: int | None = None
    pmd: int | None = None
    addr: int | None = None
    vm_flags: int | None = None
    file: str | None = None
    cpu: int | None = None
    pid: int | None = None
    comm: str | None = None
    tainted: str | None = None
    kernel_release: str | None = None
    hardware: str | None = None
    suppressed: int | None = None
    """How many reports of this kind the kernel says it held back before it."""
    trace: tuple[Frame, ...] = ()
    mm: int | None = None
    """bad_rss_counter: struct mm_struct * as printed (often hashed)."""
    rss_type: str | None = None
    """bad_rss_counter: MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES."""
    rss_value: int | None = None
    """bad_rss_counter: pages."""
    line: int | None = None
    """Line number of the headline in the console log, from 1."""
    folio: FolioCounters | None = None
    page_owner: PageOwner | None = None
    vm_fault: str | None = None
    """bad_page_map: the VMA's fault handler, as printed after `fault:`."""
    file_mmap: str | None = None
    """bad_page_map: the file's mmap function, as printed after `mmap:`."""
    memcg: int | None = None
    """page->memcg_data, as printed after `memcg:`."""
    aops: str | None = None
    """The operations of the page's address space, as printed after `aops:`: its file system's."""
    flags_word: int | None = None
    """page->flags as printed after `flags:`: node, zone and so on too.  Not in JSON."""
    raw: tuple[int, ...] = ()
    """The words of struct page as printed after `raw:`, in the order of the lines."""
    fingerprint: str | None = None
    """The same for reports of the same bug: stable over pfns, addresses and pids."""
    log: str | None = None
    """The file that the report was read from, where several are."""
    unread: tuple[str, ...] = ()
    """Lines among the report's own that no rule reads, without prefixes; not in JSON."""
    unread_count: int = 0
    """How many such lines there are: `unread` holds the first of them only.  Not in JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return it as `splat --json` prints it."""
        # Not dataclasses.asdict(), which copies each value of each frame.
        data: dict[str, Any] = {name: getattr(self, name) for name in _PRINTED}
        data["flags"] = list(self.flags)
        data["trace"] = [_frame_json(frame) for frame in self.trace]
        data["raw"] = list(self.raw) or None
        if self.folio:
            data["folio"] = dataclasses.asdict(self.folio)
        if self.page_owner:
            data["page_owner"] = dataclasses.asdict(self.page_owner)
            for stack in data["page_owner"].values():
                if isinstance(stack, dict):
                    stack["trace"] = list(stack["trace"])
        return data


_PRINTED = tuple(
    field.name
    for field in dataclasses.fields(Splat)
    if field.name not in ("unread", "unread_count", "flags_word")
)
_OF_A_FRAME = tuple(field.name for field in dataclasses.fields(Frame))


def _frame_json(frame: Frame) -> dict[str, Any]:
    """Return a frame; a module only where there is one."""
    data = {name: getattr(frame, name) for name in _OF_A_FRAME}
    if frame.module is None:
        del data["module"]
    return data
