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
        reliable: False when the kernel printed it as a mere clue found on the
            stack (x86 `? symbol`, s390x `([<address>] symbol)`).
    """

    symbol: str | None
    offset: int | None = None
    size: int | None = None
    address: int | None = None
    source: str | None = None
    reliable: bool = True


@dataclass(frozen=True, slots=True)
class Splat:
    """One report.  Keys and meanings are `splat --json`'s; absent is None.

    `mapcount` is as the kernel prints it (stored value + 1); `time` is seconds
    since boot as printed; numbers that the kernel prints in hex are numbers.
    """

    kind: str
    """bad_page_state, bad_page_map, bad_rss_counter or other."""
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

    def to_json(self) -> dict[str, Any]:
        """As `splat --json` prints it."""
        data = dataclasses.asdict(self)
        data["flags"] = list(self.flags)
        data["trace"] = [dataclasses.asdict(frame) for frame in self.trace]
        return data
